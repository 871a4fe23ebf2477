//! Which generation a path led to, and when: what was taken away does not come back.

use super::{Contents, Deed, Event, History, Level, Violation, operations::Courses};
use std::collections::BTreeMap;

/// At some moment between two events the path led to this generation; `None`: to no file.
#[derive(Clone, Copy, Debug)]
struct Sighting {
    generation: Option<u64>,
    begin: usize,
    end: usize,
}

type Sightings<'a> = BTreeMap<&'a str, Vec<Sighting>>;

fn sightings<'a>(history: &'a History, courses: &Courses<'a>, contents: &'a Contents) -> Sightings<'a> {
    let mut sightings = Sightings::new();
    let mut sent = BTreeMap::new();
    let mut add = |file: &'a str, generation, begin, end| {
        sightings.entry(file).or_default().push(Sighting { generation, begin, end });
    };
    for (at, event) in history.events.iter().enumerate() {
        match event {
            Event::Sent(id) => _ = sent.insert(*id, at),
            Event::Acked { append, generation, duplicate: false, .. } => {
                let begin = sent.get(append).copied().unwrap_or_default();
                add(&history.appends[*append].file, Some(*generation), begin, at);
            }
            Event::Read { file, generation, asked, .. } => add(file, Some(*generation), *asked, at),
            Event::Seen { file, generation, asked, .. } => add(file, *generation, *asked, at),
            Event::Done { operation, generations, .. } => {
                let course = courses.get(*operation);
                match &course.operation.deed {
                    Deed::Rename { to: file, .. } | Deed::Truncate { path: file, .. } | Deed::Seal { path: file } => {
                        generations.iter().for_each(|it| add(file, Some(*it), course.asked, at));
                    }
                    Deed::Publish { parts } => {
                        for (part, generation) in parts.iter().zip(generations) {
                            add(&part.path, Some(*generation), course.asked, at);
                        }
                    }
                    Deed::Delete { path } => add(path, None, course.asked, at),
                    Deed::DeletePrefix { .. } => {}
                }
            }
            _ => {}
        }
    }
    let end = history.events.len();
    contents.iter().for_each(|(file, content)| add(file, Some(content.generation), end, end + 1));
    sightings
}

/// A generation that a path led to before and after it led elsewhere, or before and after an operation took it away.
pub fn do_not_go_back(history: &History, courses: &Courses, contents: &Contents, violations: &mut Vec<Violation>) {
    for (file, seen) in sightings(history, courses, contents) {
        let mut spans: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
        for sighting in &seen {
            let Some(generation) = sighting.generation else { continue };
            let (first, last) = spans.entry(generation).or_insert((sighting.end, sighting.begin));
            (*first, *last) = ((*first).min(sighting.end), (*last).max(sighting.begin));
        }
        let renames: Vec<usize> =
            courses.possible().filter(|it| it.is_rename() && it.names(file)).map(|it| it.asked).collect();
        for (generation, (first, last)) in spans {
            let elsewhere = |it: &Sighting| it.generation != Some(generation) && it.begin > first && it.end < last;
            let was_taken = courses.possible().any(|course| {
                let is_alone = renames.iter().all(|asked| *asked == course.asked);
                let is_between = course.asked > first && course.happened.is_some_and(|at| at < last);
                is_alone && is_between && course.names(file)
            });
            if (renames.is_empty() && seen.iter().any(elsewhere)) || was_taken {
                violations.push(Violation::CameBack { file: file.to_owned(), generation });
            }
        }
    }
}

/// Where a generation ends at least, and from when on.
struct End {
    at: usize,
    sent: usize,
    end: u64,
    level: Level,
}

/// Whoever asks is told of all that was acknowledged before, and nothing is added to what is sealed.
pub fn ends_are_true(history: &History, contents: &Contents, violations: &mut Vec<Violation>) {
    let mut ends: BTreeMap<u64, Vec<End>> = BTreeMap::new();
    let mut sealed: BTreeMap<u64, u64> = BTreeMap::new();
    let mut sent = BTreeMap::new();
    let mut lost = 0;
    for (at, event) in history.events.iter().enumerate() {
        let told = match event {
            Event::PowerLost => {
                lost = at + 1;
                continue;
            }
            Event::Sent(id) => {
                sent.insert(*id, at);
                continue;
            }
            Event::Acked { append, offset: Some(offset), generation, level, .. } => {
                let end = offset + history.appends[*append].data.len() as u64;
                let sent = sent.get(append).copied().unwrap_or_default();
                ends.entry(*generation).or_default().push(End { at, sent, end, level: *level });
                continue;
            }
            Event::Done { operation, generations, size: Some(size) } => {
                if let (Deed::Seal { .. }, [generation]) = (&history.operations[*operation].deed, &generations[..]) {
                    sealed.insert(*generation, *size);
                }
                continue;
            }
            Event::Read { file, generation, end, asked, .. } => (file, *generation, *end, *asked),
            Event::Seen { file, generation: Some(generation), size, asked, .. } => (file, *generation, *size, *asked),
            _ => continue,
        };
        let (file, generation, end, asked) = told;
        let is_kept = |it: &&End| it.at < asked && (it.level == Level::Synced || it.sent >= lost);
        let acked = ends.get(&generation).into_iter().flatten().filter(is_kept).map(|it| it.end).max().unwrap_or(0);
        if end < acked {
            violations.push(Violation::Behind { file: file.clone(), generation, told: end, acked });
        }
    }
    for (file, content) in contents {
        let told = ends.entry(content.generation).or_default();
        told.push(End { at: 0, sent: 0, end: content.read.len() as u64, level: Level::Synced });
        if sealed.get(&content.generation).is_some_and(|size| *size > content.read.len() as u64) {
            violations.push(Violation::Sealed { file: file.clone(), generation: content.generation });
        }
    }
    for (generation, size) in sealed {
        let of_it = |event: &&Event| matches!(event, Event::Read { generation: it, .. } if *it == generation);
        let read = history.events.iter().filter(of_it).filter_map(|event| match event {
            Event::Read { offset, data, .. } => Some(offset + data.len() as u64),
            _ => None,
        });
        let told = ends.get(&generation).into_iter().flatten().map(|it| it.end).chain(read).max();
        if told.is_some_and(|end| end > size) {
            let file = history.file_of_seal(generation).unwrap_or_default();
            violations.push(Violation::Sealed { file, generation });
        }
    }
}

/// The checksums that were told are those of the bytes.
pub fn checksums_are_true(history: &History, contents: &Contents, violations: &mut Vec<Violation>) {
    let lost = history.events.iter().rposition(|event| *event == Event::PowerLost).map_or(0, |at| at + 1);
    let finals: BTreeMap<u64, &[u8]> = contents.values().map(|it| (it.generation, &it.read[..])).collect();
    for event in &history.events {
        let Event::Seen { file, generation: Some(generation), size, crc32c: Some(told), asked } = event else {
            continue;
        };
        let bytes = finals.get(generation).and_then(|bytes| bytes.get(..usize::try_from(*size).ok()?));
        if *asked >= lost && bytes.is_some_and(|bytes| crc32c::crc32c(bytes) != *told) {
            violations.push(Violation::Checksum { file: file.clone(), generation: *generation });
        }
    }
}
