//! The rules, one function each.

use super::{AppendId, Content, Contents, Event, History, Level, Producer};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// An acknowledged append is not in the file.
    Lost(AppendId),
    /// An append is in the file more than once.
    Twice(AppendId),
    /// An acknowledged append is elsewhere in the file.
    Misplaced {
        /// The append.
        append: AppendId,
        /// Where the ack said.
        acked: u64,
        /// Where it is.
        found: u64,
    },
    /// Bytes that nobody sent, or sent to another file; or a part of an append.
    Invented {
        /// The file.
        file: String,
        /// Where they begin.
        offset: u64,
    },
    /// An append of which every attempt was refused for certain is in the file.
    Refused(AppendId),
    /// Appends of a producer are not in the order of their numbers.
    OutOfOrder(AppendId, AppendId),
    /// A producer's append is missing below one that is there.
    Gap {
        /// The file.
        file: String,
        /// The producer.
        producer: Producer,
        /// The first number that is missing.
        seq: u64,
    },
    /// The first was acknowledged before the second was sent, and stands behind it.
    Overtaken(AppendId, AppendId),
    /// An append of an epoch stands behind one of a higher epoch, or was sent after the higher epoch had opened the file.
    NotFenced(AppendId),
    /// A producer was told of fewer appends than were acknowledged, or of more than were sent or are there.
    WrongLastSeq {
        /// The file.
        file: String,
        /// The producer.
        producer: Producer,
        /// What it was told.
        told: u64,
        /// What it should have been told: at least, at most.
        bounds: (u64, u64),
    },
    /// Bytes that were read are not there.
    Unread {
        /// The file.
        file: String,
        /// Offset of the first byte that differs.
        offset: u64,
    },
    /// An answer names another generation than the file has.
    Generation {
        /// The file.
        file: String,
        /// Which was told.
        told: u64,
    },
    /// The plain file differs from what Read gives.
    Plain {
        /// The file.
        file: String,
        /// Offset of the first byte that differs.
        offset: u64,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What is wrong; nothing, if all promises were kept.
#[must_use]
pub fn check(history: &History, contents: &Contents) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut places = BTreeMap::new();
    for (file, content) in contents {
        take_apart(history, file, content, &mut places, &mut violations);
        if let Some(offset) = first_difference(&content.read, &content.plain) {
            violations.push(Violation::Plain { file: file.clone(), offset });
        }
    }
    let facts = Facts::of(history);
    acked_is_there(&facts, &places, &mut violations);
    refused_is_not(history, &places, &mut violations);
    producers_keep_order(history, &places, &mut violations);
    time_keeps_order(history, &facts, &places, &mut violations);
    fenced_is_silent(history, &places, &mut violations);
    last_seq_is_true(history, &places, &mut violations);
    read_stays(history, contents, &mut violations);
    generation_stays(history, &facts, contents, &mut violations);
    violations
}

/// Where each append is, with its file's name being that of the append.
type Places = BTreeMap<AppendId, u64>;

fn take_apart(history: &History, file: &str, content: &Content, places: &mut Places, violations: &mut Vec<Violation>) {
    let mut offset = 0;
    while offset < content.read.len() {
        let found = history.append_at(&content.read[offset..]).filter(|id| history.appends[*id].file == file);
        let Some(id) = found else {
            violations.push(Violation::Invented { file: file.to_owned(), offset: offset as u64 });
            return;
        };
        if places.insert(id, offset as u64).is_some() {
            violations.push(Violation::Twice(id));
        }
        offset += history.appends[id].data.len();
    }
}

fn first_difference(one: &[u8], other: &[u8]) -> Option<u64> {
    let common = one.iter().zip(other).position(|(one, other)| one != other);
    common.or_else(|| (one.len() != other.len()).then(|| one.len().min(other.len()))).map(|at| at as u64)
}

/// What the events say of each append.
struct Facts {
    /// When power was lost for the last time.
    power_lost: Option<usize>,
    /// First time that it was sent, by the index of the event.
    sent: BTreeMap<AppendId, usize>,
    /// Acks that must be true in the end.
    acked: BTreeMap<AppendId, Ack>,
}

/// What is known from the acks of an append.
#[derive(Clone, Copy)]
struct Ack {
    /// When the last one came, by the index of the event.
    at: usize,
    /// When the attempt that it answers was sent, or an earlier one.
    sent: usize,
    offset: Option<u64>,
    level: Level,
}

impl Facts {
    fn of(history: &History) -> Self {
        let mut facts = Self { power_lost: None, sent: BTreeMap::new(), acked: BTreeMap::new() };
        let mut last_sent = BTreeMap::new();
        for (at, event) in history.events.iter().enumerate() {
            match event {
                Event::PowerLost => facts.power_lost = Some(at),
                Event::Sent(id) => {
                    facts.sent.entry(*id).or_insert(at);
                    last_sent.insert(*id, at);
                }
                Event::Acked { append, offset, level, .. } => {
                    let sent = last_sent.get(append).copied().unwrap_or_default();
                    facts.ack(*append, Ack { at, sent, offset: *offset, level: *level });
                }
                _ => {}
            }
        }
        let mut acked = std::mem::take(&mut facts.acked);
        acked.retain(|_, ack| facts.holds(ack));
        Self { acked, ..facts }
    }

    /// A later ack tells more, unless it leaves the offset out and the one before still holds.
    fn ack(&mut self, append: AppendId, ack: Ack) {
        let before = self.acked.get(&append);
        let holding = before.filter(|before| self.holds(before));
        let merged = match holding {
            Some(before) => Ack { offset: ack.offset.or(before.offset), level: ack.level.max(before.level), ..ack },
            None => ack,
        };
        self.acked.insert(append, merged);
    }

    /// Whether power was not lost since, or could not take it.
    fn holds(&self, ack: &Ack) -> bool {
        ack.level == Level::Synced || self.power_lost.is_none_or(|lost| lost < ack.sent)
    }
}

fn acked_is_there(facts: &Facts, places: &Places, violations: &mut Vec<Violation>) {
    for (&append, ack) in &facts.acked {
        match (places.get(&append), ack.offset) {
            (None, _) => violations.push(Violation::Lost(append)),
            (Some(&found), Some(acked)) if found != acked => {
                violations.push(Violation::Misplaced { append, acked, found });
            }
            _ => {}
        }
    }
}

fn refused_is_not(history: &History, places: &Places, violations: &mut Vec<Violation>) {
    // Attempts that may have been applied: each one until it is refused.
    let mut open: BTreeMap<AppendId, usize> = BTreeMap::new();
    for event in &history.events {
        match event {
            Event::Sent(id) => *open.entry(*id).or_default() += 1,
            Event::Refused(id) => {
                let attempts = open.entry(*id).or_default();
                *attempts = attempts.saturating_sub(1);
            }
            _ => {}
        }
    }
    let refused = places.keys().filter(|id| open.get(id).copied().unwrap_or_default() == 0);
    violations.extend(refused.map(|id| Violation::Refused(*id)));
}

/// The appends of each file that are there, in the order of their offsets.
fn by_file<'a>(history: &'a History, places: &Places) -> BTreeMap<&'a str, Vec<AppendId>> {
    let mut files: BTreeMap<&str, Vec<(u64, AppendId)>> = BTreeMap::new();
    for (&id, &offset) in places {
        files.entry(history.appends[id].file.as_str()).or_default().push((offset, id));
    }
    let sorted = files.into_iter().map(|(file, mut found)| {
        found.sort_unstable();
        (file, found.into_iter().map(|(_, id)| id).collect())
    });
    sorted.collect()
}

fn producers_keep_order(history: &History, places: &Places, violations: &mut Vec<Violation>) {
    for (file, ids) in by_file(history, places) {
        let mut last: BTreeMap<&Producer, (u64, Option<AppendId>)> = BTreeMap::new();
        for id in ids {
            let Some((producer, seq)) = &history.appends[id].producer else { continue };
            let (last_seq, last_id) = last.entry(producer).or_default();
            if *seq <= *last_seq {
                violations.push(Violation::OutOfOrder(last_id.unwrap_or(id), id));
            } else if *seq > *last_seq + 1 {
                violations.push(Violation::Gap {
                    file: file.to_owned(),
                    producer: producer.clone(),
                    seq: *last_seq + 1,
                });
            }
            (*last_seq, *last_id) = (*seq, Some(id));
        }
    }
}

fn time_keeps_order(history: &History, facts: &Facts, places: &Places, violations: &mut Vec<Violation>) {
    for ids in by_file(history, places).into_values() {
        // From the end on: whichever of those behind was acknowledged first.
        let mut earliest: Option<(usize, AppendId)> = None;
        for id in ids.into_iter().rev() {
            if let (Some((acked, behind)), Some(sent)) = (earliest, facts.sent.get(&id))
                && acked < *sent
            {
                violations.push(Violation::Overtaken(behind, id));
            }
            let acked = facts.acked.get(&id).map(|ack| (ack.at, id));
            earliest = [earliest, acked].into_iter().flatten().min();
        }
    }
}

fn fenced_is_silent(history: &History, places: &Places, violations: &mut Vec<Violation>) {
    for ids in by_file(history, places).into_values() {
        let mut highest: BTreeMap<&str, u64> = BTreeMap::new();
        for id in ids {
            let Some((producer, _)) = &history.appends[id].producer else { continue };
            let epoch = highest.entry(&producer.id).or_default();
            if producer.epoch < *epoch {
                violations.push(Violation::NotFenced(id));
            }
            *epoch = producer.epoch.max(*epoch);
        }
    }
    let mut opened: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut sent = BTreeSet::new();
    for event in &history.events {
        match event {
            Event::Opened { file, producer, .. } => {
                let epoch = opened.entry((file, &producer.id)).or_default();
                *epoch = producer.epoch.max(*epoch);
            }
            Event::Sent(id) if sent.insert(*id) && places.contains_key(id) => {
                let append = &history.appends[*id];
                let Some((producer, _)) = &append.producer else { continue };
                if opened.get(&(append.file.as_str(), producer.id.as_str())).is_some_and(|e| *e > producer.epoch) {
                    violations.push(Violation::NotFenced(*id));
                }
            }
            _ => {}
        }
    }
}

/// What is known of a producer in a file while time goes on.
#[derive(Default)]
struct Known {
    sent: u64,
    synced: u64,
    /// The highest that was acknowledged as no more than WRITTEN, and sent since power was lost.
    written: u64,
    /// The highest that it was told at an Open, and asked for since power was lost.
    told: u64,
}

fn last_seq_is_true(history: &History, places: &Places, violations: &mut Vec<Violation>) {
    let mut known: BTreeMap<(&str, &Producer), Known> = BTreeMap::new();
    let mut sent_at: BTreeMap<AppendId, usize> = BTreeMap::new();
    let mut lost = 0;
    for (at, event) in history.events.iter().enumerate() {
        match event {
            Event::Sent(id) | Event::Acked { append: id, .. } => {
                let append = &history.appends[*id];
                let Some((producer, seq)) = &append.producer else { continue };
                let known = known.entry((&append.file, producer)).or_default();
                match event {
                    Event::Acked { level: Level::Synced, .. } => known.synced = known.synced.max(*seq),
                    Event::Acked { .. } if sent_at.get(id).is_some_and(|sent| *sent >= lost) => {
                        known.written = known.written.max(*seq);
                    }
                    Event::Acked { .. } => {}
                    _ => {
                        known.sent = known.sent.max(*seq);
                        sent_at.insert(*id, at);
                    }
                }
            }
            Event::PowerLost => {
                lost = at + 1;
                known.values_mut().for_each(|known| (known.written, known.told) = (0, 0));
            }
            Event::Opened { file, producer, last_seq, asked } => {
                let known = known.entry((file, producer)).or_default();
                let bounds = (known.synced.max(known.written).max(known.told), known.sent);
                if *last_seq < bounds.0 || *last_seq > bounds.1 {
                    let (file, producer) = (file.clone(), producer.clone());
                    violations.push(Violation::WrongLastSeq { file, producer, told: *last_seq, bounds });
                }
                if *asked >= lost {
                    known.told = known.told.max(*last_seq);
                }
            }
            _ => {}
        }
    }
    // What it was told since power was lost for the last time is there.
    let mut there: BTreeMap<(&str, &Producer), u64> = BTreeMap::new();
    for id in places.keys() {
        let append = &history.appends[*id];
        let Some((producer, seq)) = &append.producer else { continue };
        let last = there.entry((&append.file, producer)).or_default();
        *last = (*last).max(*seq);
    }
    for ((file, producer), known) in known {
        let last = there.get(&(file, producer)).copied().unwrap_or_default();
        if known.told > last {
            let (file, producer) = (file.to_owned(), producer.clone());
            violations.push(Violation::WrongLastSeq { file, producer, told: known.told, bounds: (last, last) });
        }
    }
}

/// How many events there were when power was lost for the last time, that one too.
fn after_power_loss(history: &History) -> usize {
    history.events.iter().rposition(|event| *event == Event::PowerLost).map_or(0, |at| at + 1)
}

fn read_stays(history: &History, contents: &Contents, violations: &mut Vec<Violation>) {
    let lost = after_power_loss(history);
    for event in &history.events {
        let Event::Read { file, offset, data, asked, .. } = event else { continue };
        if *asked < lost {
            continue;
        }
        let content = contents.get(file).map_or(&[][..], |content| &content.read);
        let from = usize::try_from(*offset).unwrap_or(usize::MAX).min(content.len());
        let there = &content[from..(from + data.len()).min(content.len())];
        if let Some(at) = first_difference(data, there) {
            violations.push(Violation::Unread { file: file.clone(), offset: offset + at });
        }
    }
}

fn generation_stays(history: &History, facts: &Facts, contents: &Contents, violations: &mut Vec<Violation>) {
    let lost = after_power_loss(history);
    let mut told: BTreeSet<(&str, u64)> = BTreeSet::new();
    for event in &history.events {
        match event {
            Event::Acked { append, generation, level, .. }
                if *level == Level::Synced || (lost == 0 && facts.acked.contains_key(append)) =>
            {
                told.insert((&history.appends[*append].file, *generation));
            }
            Event::Read { file, generation, data, asked, .. } if !data.is_empty() && *asked >= lost => {
                told.insert((file, *generation));
            }
            _ => {}
        }
    }
    let wrong = told.into_iter().filter(|(file, told)| contents.get(*file).is_some_and(|it| it.generation != *told));
    violations.extend(wrong.map(|(file, told)| Violation::Generation { file: file.to_owned(), told }));
}
