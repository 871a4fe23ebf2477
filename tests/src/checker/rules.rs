//! What may be wrong, and the list of all rules.

use super::{
    AppendId, Contents, Event, History, Level, Producer,
    content::{self, Body},
    facts::{self, Acks},
    operations::Courses,
    paths,
};
use std::{collections::BTreeMap, fmt};

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
    /// A generation that somebody was told of is gone, and nothing ended it.
    Vanished {
        /// The file.
        file: String,
        /// The generation.
        generation: u64,
    },
    /// A path led to a generation again, after it had led elsewhere or an operation had taken the generation away.
    CameBack {
        /// The file.
        file: String,
        /// The generation.
        generation: u64,
    },
    /// Files with the same generation.
    TwoPaths(String, String),
    /// Somebody was told of an end before what had been acknowledged.
    Behind {
        /// The file.
        file: String,
        /// Its generation.
        generation: u64,
        /// What was told.
        told: u64,
        /// What was acknowledged.
        acked: u64,
    },
    /// A file that was sealed has another size than it had then.
    Sealed {
        /// The file.
        file: String,
        /// Its generation.
        generation: u64,
    },
    /// The checksum that was told is not that of the bytes.
    Checksum {
        /// The file.
        file: String,
        /// Its generation.
        generation: u64,
    },
    /// An upload does not stand at the beginning of a file.
    Partial(AppendId),
    /// An upload that nobody published is in a file.
    Unpublished(AppendId),
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
    let mut courses = Courses::of(history);
    let mut bodies = content::bodies(history, contents);
    for body in &mut bodies {
        content::take_apart(history, &courses, body, &mut violations);
    }
    for (upload, at) in content::uploads_seen(history, &bodies) {
        courses.saw(upload, at);
    }
    let acks = Acks::of(history);
    plain_is_the_same(contents, &mut violations);
    facts::stay(history, &acks, &courses, contents, &mut violations);
    content::refused_is_nowhere(history, &bodies, &mut violations);
    content::producers_keep_order(history, &courses, contents, &bodies, &mut violations);
    content::time_keeps_order(history, &acks, &courses, &bodies, &mut violations);
    content::fenced_is_silent(history, &courses, &bodies, &mut violations);
    last_seq_is_true(history, &courses, contents, &bodies, &mut violations);
    paths::do_not_go_back(history, &courses, contents, &mut violations);
    paths::ends_are_true(history, contents, &mut violations);
    paths::checksums_are_true(history, contents, &mut violations);
    violations
}

fn plain_is_the_same(contents: &Contents, violations: &mut Vec<Violation>) {
    let mut paths = BTreeMap::new();
    for (file, content) in contents {
        if let Some(offset) = content::first_difference(&content.read, &content.plain) {
            violations.push(Violation::Plain { file: file.clone(), offset });
        }
        if let Some(other) = paths.insert(content.generation, file) {
            violations.push(Violation::TwoPaths(other.clone(), file.clone()));
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
    /// What it should have been told at least from each event on.
    least: Vec<(usize, u64)>,
}

impl Known {
    fn note(&mut self, at: usize) {
        self.least.push((at, self.synced.max(self.written).max(self.told)));
    }

    /// What whoever asked then is told at least.
    fn least_since(&self, asked: usize) -> u64 {
        let later = self.least.partition_point(|(at, _)| *at < asked);
        let before = later.checked_sub(1).map_or(0, |last| self.least[last].1);
        self.least[later..].iter().map(|(_, least)| *least).fold(before, u64::min)
    }
}

fn last_seq_is_true(
    history: &History,
    courses: &Courses,
    contents: &Contents,
    bodies: &[Body],
    violations: &mut Vec<Violation>,
) {
    let mut known: BTreeMap<(&str, &Producer), Known> = BTreeMap::new();
    let mut lost = 0;
    for (at, event) in history.events.iter().enumerate() {
        match event {
            Event::Sent(id) | Event::Acked { append: id, .. } => {
                let append = &history.appends[*id];
                let Some((producer, seq)) = &append.producer else { continue };
                let known = known.entry((&append.file, producer)).or_default();
                match event {
                    Event::Acked { level: Level::Synced, .. } => known.synced = known.synced.max(*seq),
                    Event::Acked { sent, .. } if *sent >= lost => known.written = known.written.max(*seq),
                    Event::Acked { .. } => {}
                    _ => known.sent = known.sent.max(*seq),
                }
                known.note(at);
            }
            Event::PowerLost => {
                lost = at + 1;
                for known in known.values_mut() {
                    (known.written, known.told) = (0, 0);
                    known.note(at);
                }
            }
            // A file that leaves the path takes its producers with it.
            Event::Opened { file, producer, last_seq, asked } if !courses.rename(file) => {
                let known = known.entry((file, producer)).or_default();
                let bounds = (known.least_since(*asked), known.sent);
                if *last_seq < bounds.0 || *last_seq > bounds.1 {
                    let (file, producer) = (file.clone(), producer.clone());
                    violations.push(Violation::WrongLastSeq { file, producer, told: *last_seq, bounds });
                }
                if *asked >= lost {
                    known.told = known.told.max(*last_seq);
                    known.note(at);
                }
            }
            _ => {}
        }
    }
    // What it was told since power was lost for the last time is there.
    let there = content::last_numbers(history, bodies);
    for ((file, producer), known) in known {
        let last = there.get(&(file, producer)).copied().unwrap_or_default();
        if known.told > last && courses.leave_alone(file) && !content::is_rotated(file, contents) {
            let (file, producer) = (file.to_owned(), producer.clone());
            violations.push(Violation::WrongLastSeq { file, producer, told: known.told, bounds: (last, last) });
        }
    }
}
