//! What somebody was told of the bytes of a generation: it must be so, in the end too, unless the generation may have come
//! to an end.

use super::{
    Append, AppendId, Content, Contents, Deed, Event, History, Level, Violation,
    content::first_difference,
    operations::{Course, Courses, Effect},
};
use std::collections::BTreeMap;

/// Something that is true of a generation from a time on.
struct Fact<'a> {
    file: &'a str,
    /// `None`: that of the file which holds the bytes.
    generation: Option<u64>,
    /// `None`: anywhere.
    offset: Option<u64>,
    bytes: &'a [u8],
    /// From when on something may have ended it, by the index of the event.
    since: usize,
    /// The operation that made it so, by when it was asked for: it did not end it too.
    by: Option<usize>,
    source: Source<'a>,
}

/// Who tells.
#[derive(Clone, Copy)]
enum Source<'a> {
    Append(AppendId),
    Read(&'a str),
    /// Somebody was told that the path has the generation.
    Sight(&'a str),
}

/// All files by their generation.
struct Finals<'a>(BTreeMap<u64, &'a Content>);

/// What is known of the acks of an append.
#[derive(Clone, Copy)]
pub struct Ack {
    /// When the last one came, by the index of the event.
    pub at: usize,
    /// When the attempt that it answers was sent, or an earlier one.
    sent: usize,
    /// From when on it may have been there.
    since: usize,
    /// Offset and generation.
    pub place: Option<(u64, u64)>,
    level: Level,
}

/// What the events say of each append.
pub struct Acks {
    /// When power was lost for the last time.
    power_lost: Option<usize>,
    /// First time that it was sent, by the index of the event.
    pub sent: BTreeMap<AppendId, usize>,
    /// Acks that must be true in the end.
    pub holding: BTreeMap<AppendId, Ack>,
}

impl Acks {
    pub fn of(history: &History) -> Self {
        let power_lost = history.events.iter().rposition(|event| *event == Event::PowerLost);
        let mut acks = Self { power_lost, sent: BTreeMap::new(), holding: BTreeMap::new() };
        for (at, event) in history.events.iter().enumerate() {
            match event {
                Event::Sent(id) => _ = acks.sent.entry(*id).or_insert(at),
                Event::Acked { append, offset, level, generation, duplicate, sent } => {
                    let (sent, first) = (*sent, acks.sent.get(append).copied().unwrap_or_default());
                    let since = if *duplicate { first } else { sent };
                    let place = offset.map(|offset| (offset, *generation));
                    acks.add(*append, Ack { at, sent, since, place, level: *level });
                }
                _ => {}
            }
        }
        let mut holding = std::mem::take(&mut acks.holding);
        holding.retain(|_, ack| acks.holds(ack));
        Self { holding, ..acks }
    }

    /// A later ack tells more, unless it leaves the place out and the one before still holds.
    fn add(&mut self, append: AppendId, ack: Ack) {
        let holding = self.holding.get(&append).filter(|before| self.holds(before));
        let merged = match holding {
            Some(before) => {
                let (place, level) = (ack.place.or(before.place), ack.level.max(before.level));
                Ack { place, level, since: before.since.min(ack.since), ..ack }
            }
            None => ack,
        };
        self.holding.insert(append, merged);
    }

    /// Whether power was not lost since, or could not take it.
    fn holds(&self, ack: &Ack) -> bool {
        ack.level == Level::Synced || self.power_lost.is_none_or(|lost| lost < ack.sent)
    }
}

/// All that was told is there in the end, or may have come to an end.
pub fn stay(history: &History, acks: &Acks, courses: &Courses, contents: &Contents, violations: &mut Vec<Violation>) {
    let finals = Finals(contents.values().map(|content| (content.generation, content)).collect());
    for fact in facts(history, acks, courses) {
        violations.extend(finals.judge(&fact, courses));
    }
}

fn facts<'a>(history: &'a History, acks: &Acks, courses: &Courses<'a>) -> Vec<Fact<'a>> {
    let mut facts = Vec::new();
    for (&append, ack) in &acks.holding {
        let Append { file, data, .. } = &history.appends[append];
        let (offset, generation) = ack.place.unzip();
        let source = Source::Append(append);
        facts.push(Fact { file, generation, offset, bytes: data, since: ack.since, by: None, source });
    }
    let lost = acks.power_lost.map_or(0, |at| at + 1);
    for event in &history.events {
        match event {
            Event::Read { file, generation, offset, data, asked, .. } if *asked >= lost => {
                let source = Source::Read(file);
                let (generation, offset) = (Some(*generation), Some(*offset));
                facts.push(Fact { file, generation, offset, bytes: data, since: *asked, by: None, source });
            }
            Event::Seen { file, generation: Some(generation), asked, .. } if *asked >= lost => {
                facts.push(sight(file, *generation, *asked, None));
            }
            _ => {}
        }
    }
    for course in courses.possible() {
        facts_of_operation(history, course, &mut facts);
    }
    facts
}

fn sight(file: &str, generation: u64, since: usize, by: Option<usize>) -> Fact<'_> {
    let source = Source::Sight(file);
    Fact { file, generation: Some(generation), offset: Some(0), bytes: &[], since, by, source }
}

fn facts_of_operation<'a>(history: &'a History, course: &Course<'a>, facts: &mut Vec<Fact<'a>>) {
    let Some(since) = course.happened.map(|_| course.asked) else { return };
    match &course.operation.deed {
        Deed::Rename { to: file, .. } | Deed::Truncate { path: file, .. } => {
            facts.extend(course.generations.first().map(|generation| sight(file, *generation, since, Some(since))));
        }
        Deed::Publish { parts } => {
            for (number, part) in parts.iter().enumerate() {
                let generation = course.generations.get(number).copied();
                let bytes = &history.appends[part.upload].data;
                let source = Source::Append(part.upload);
                facts.push(Fact {
                    file: &part.path,
                    generation,
                    offset: Some(0),
                    bytes,
                    since,
                    by: Some(since),
                    source,
                });
            }
        }
        _ => {}
    }
}

impl Finals<'_> {
    fn judge(&self, fact: &Fact, courses: &Courses) -> Option<Violation> {
        if let Some(content) = fact.generation.and_then(|generation| self.0.get(&generation)) {
            return fact.differs_from(&content.read);
        }
        let is_excused =
            self.excuse(fact, fact.file, fact.generation, fact.since, courses, &mut Vec::from_iter(fact.by));
        (!is_excused).then(|| fact.is_missing())
    }

    /// Whether the bytes may be gone from the file that had this path, or are where they may have got from there.
    fn excuse(
        &self,
        fact: &Fact,
        file: &str,
        generation: Option<u64>,
        since: usize,
        courses: &Courses,
        used: &mut Vec<usize>,
    ) -> bool {
        let found = match generation {
            Some(generation) => self.0.get(&generation).map(|content| fact.is_in(&content.read)),
            None => self.0.values().any(|content| fact.is_in(&content.read)).then_some(true),
        };
        if let Some(is_there) = found {
            return is_there;
        }
        for (course, effect) in courses.effects(file, generation, since) {
            if used.contains(&course.asked) {
                continue;
            }
            let (to, generation) = match effect {
                Effect::Ends => return true,
                Effect::Cuts(size) if fact.reaches_beyond(size) => return true,
                Effect::Cuts(_) => (file, course.generations.first().copied()),
                Effect::Moves(to) => (to, generation),
            };
            used.push(course.asked);
            if self.excuse(fact, to, generation, since.max(course.asked), courses, used) {
                return true;
            }
            used.pop();
        }
        false
    }
}

impl Fact<'_> {
    /// Whether a cut to this size may take it.
    fn reaches_beyond(&self, size: u64) -> bool {
        // Nothing is left of a generation that was only seen.
        self.bytes.is_empty() || self.offset.is_none_or(|offset| offset + self.bytes.len() as u64 > size)
    }

    fn is_in(&self, content: &[u8]) -> bool {
        match self.offset {
            Some(offset) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                content.get(from..).is_some_and(|rest| rest.starts_with(self.bytes))
            }
            None => self.place_in(content).is_some(),
        }
    }

    fn place_in(&self, content: &[u8]) -> Option<u64> {
        content.windows(self.bytes.len()).position(|bytes| bytes == self.bytes).map(|at| at as u64)
    }

    fn differs_from(&self, content: &[u8]) -> Option<Violation> {
        if self.is_in(content) {
            return None;
        }
        Some(match (self.source, self.place_in(content).zip(self.offset)) {
            (Source::Append(append), Some((found, acked))) => Violation::Misplaced { append, acked, found },
            (Source::Read(file), _) => {
                let offset = self.offset.unwrap_or_default();
                let from = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
                let there = &content[from..(from + self.bytes.len()).min(content.len())];
                let at = first_difference(self.bytes, there).unwrap_or_default();
                Violation::Unread { file: file.to_owned(), offset: offset + at }
            }
            _ => self.is_missing(),
        })
    }

    fn is_missing(&self) -> Violation {
        match self.source {
            Source::Append(append) => Violation::Lost(append),
            Source::Read(file) => Violation::Unread { file: file.to_owned(), offset: self.offset.unwrap_or_default() },
            Source::Sight(file) => {
                Violation::Vanished { file: file.to_owned(), generation: self.generation.unwrap_or_default() }
            }
        }
    }
}
