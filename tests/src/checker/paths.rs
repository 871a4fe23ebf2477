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
    let mut add = |file: &'a str, generation, begin, end| {
        sightings.entry(file).or_default().push(Sighting { generation, begin, end });
    };
    for (at, event) in history.events.iter().enumerate() {
        match event {
            Event::Acked { append, generation, duplicate: false, sent, .. } => {
                add(&history.appends[*append].file, Some(*generation), *sent, at);
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
    let power_lost = |before: usize| history.events[..before].iter().rposition(|event| *event == Event::PowerLost);
    // A file that is not there may have lost its first bytes with power; they may come again.
    let is_lasting = |seen: &[Sighting], it: &Sighting, generation: u64| {
        let lost = power_lost(it.begin).map_or(0, |at| at + 1);
        let was_there =
            |other: &Sighting| other.generation == Some(generation) && other.begin >= lost && other.end < it.begin;
        it.generation.is_some() || seen.iter().any(was_there)
    };
    let is_synced = |wanted: u64, before: usize| {
        let of_it = |event: &Event| matches!(event, Event::Acked { generation, level: Level::Synced, .. } if *generation == wanted);
        history.events[..before].iter().any(of_it)
    };
    for (file, seen) in sightings(history, courses, contents) {
        let mut spans: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
        for sighting in &seen {
            let Some(generation) = sighting.generation else { continue };
            let (first, last) = spans.entry(generation).or_insert((sighting.end, sighting.begin));
            (*first, *last) = ((*first).min(sighting.end), (*last).max(sighting.begin));
        }
        for (generation, (first, last)) in spans {
            let elsewhere = |it: &Sighting| {
                it.generation != Some(generation)
                    && it.begin > first
                    && it.end < last
                    && is_lasting(&seen, it, generation)
            };
            let was_taken = courses.possible().any(|course| {
                let is_between = course.asked > first && course.happened.is_some_and(|at| at < last);
                // It takes what is there; first bytes that were only WRITTEN may have been lost with power, and come again.
                let is_sure = !matches!(course.operation.deed, Deed::DeletePrefix { .. })
                    || is_synced(generation, course.asked)
                    || seen.iter().any(|it| {
                        let lost = power_lost(course.asked).map_or(0, |at| at + 1);
                        it.generation == Some(generation) && it.begin >= lost && it.end < course.asked
                    });
                is_between && is_sure && course.takes(file)
            });
            let may_return = courses.possible().any(|course| course.may_bring(file, generation));
            if !may_return && (was_taken || seen.iter().any(elsewhere)) {
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
    let mut sealed: BTreeMap<u64, (u64, usize)> = BTreeMap::new();
    let mut lost = 0;
    for (at, event) in history.events.iter().enumerate() {
        let told = match event {
            Event::PowerLost => {
                lost = at + 1;
                continue;
            }
            Event::Acked { append, offset: Some(offset), generation, level, sent, .. } => {
                let end = offset + history.appends[*append].data.len() as u64;
                ends.entry(*generation).or_default().push(End { at, sent: *sent, end, level: *level });
                continue;
            }
            Event::Done { operation, generations, size: Some(size) } => {
                if let (Deed::Seal { .. }, [generation]) = (&history.operations[*operation].deed, &generations[..]) {
                    sealed.insert(*generation, (*size, at));
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
        if sealed.get(&content.generation).is_some_and(|(size, _)| *size > content.read.len() as u64) {
            violations.push(Violation::Sealed { file: file.clone(), generation: content.generation });
        }
    }
    // What was only WRITTEN may have been lost before.
    let is_kept = |sent: usize, sealed: usize| sent >= lost || sent > sealed;
    for (generation, (size, at)) in sealed {
        let read = history.events.iter().filter_map(|event| match event {
            Event::Read { generation: it, offset, data, asked, .. } if *it == generation && is_kept(*asked, at) => {
                Some(offset + data.len() as u64)
            }
            _ => None,
        });
        let told = ends.get(&generation).into_iter().flatten();
        let told =
            told.filter(|it| it.level == Level::Synced || is_kept(it.sent, at)).map(|it| it.end).chain(read).max();
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
