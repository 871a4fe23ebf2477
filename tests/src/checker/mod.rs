//! Decides whether what clients were told can be true, given what the files hold in the end. Pure: a [`History`] and the
//! final [`Content`] go in, [`Violation`]s come out.
//!
//! Each append carries bytes that no other one has ([`History::append`] makes them so), so that a file can be taken apart
//! into the appends that it holds. The rules are those of the contract: what is acknowledged is there, once, where the ack
//! said; a producer's appends are there in their order, without a gap; offsets are dense, and nobody's bytes are between
//! them; what was refused for certain is nowhere; what was read stays; who was fenced wrote nothing afterwards; and what
//! was acknowledged before something else was sent precedes it.
//!
//! Loss of power takes back what was only WRITTEN, and nothing else ([`Event::PowerLost`]). An answer may have been on its
//! way when power was lost; so what was only WRITTEN counts from the moment at which it was asked for. Not judged: files that are cut,
//! replaced, renamed or removed.

mod rules;
#[cfg(test)]
mod tests;

pub use rules::{Violation, check};

use std::collections::BTreeMap;

/// Number of an append in its history.
pub type AppendId = usize;

/// How durable an ack said that an append is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Survives the process.
    Written,
    /// Survives power loss.
    Synced,
}

/// Who writes, with the epoch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Producer {
    /// Its name.
    pub id: String,
    /// Its epoch.
    pub epoch: u64,
}

/// An append that a client made up.
#[derive(Clone, Debug)]
pub struct Append {
    /// The file.
    pub file: String,
    /// Who writes, and the number that it gave, from 1 on in each file. Without a producer a retry is another append.
    pub producer: Option<(Producer, u64)>,
    /// What is to be in the file.
    pub data: Vec<u8>,
}

/// What happened, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A client began to send it, for the first time or again.
    Sent(AppendId),
    /// A client was told that it is there.
    Acked {
        /// The append.
        append: AppendId,
        /// Where it begins, if that was told.
        offset: Option<u64>,
        /// How durable it is.
        level: Level,
        /// Generation of the file.
        generation: u64,
    },
    /// A client was told that this attempt is not applied and never will be. An attempt without this or an ack has an
    /// unknown outcome.
    Refused(AppendId),
    /// A producer opened a file.
    Opened {
        /// The file.
        file: String,
        /// The producer.
        producer: Producer,
        /// Its last seq in the file, as it was told.
        last_seq: u64,
        /// How many events there were when it asked.
        asked: usize,
    },
    /// A client read these bytes.
    Read {
        /// The file.
        file: String,
        /// Generation of what was read.
        generation: u64,
        /// Offset of the first byte.
        offset: u64,
        /// The bytes.
        data: Vec<u8>,
        /// How many events there were when it asked.
        asked: usize,
    },
    /// The machine of the server lost power; the death of the process alone is no event.
    PowerLost,
}

/// What clients did and were told.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// All appends, by their number.
    pub appends: Vec<Append>,
    /// All events, in the order of time.
    pub events: Vec<Event>,
}

/// What a file is in the end.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// Its generation.
    pub generation: u64,
    /// The bytes that Read gives.
    pub read: Vec<u8>,
    /// The bytes of the plain file on the disk of the server.
    pub plain: Vec<u8>,
}

/// All files in the end, by path. A file that is not here does not exist.
pub type Contents = BTreeMap<String, Content>;

/// What parts the number of an append from the rest of its data.
const MARK: u8 = b':';

impl History {
    /// Makes up an append of at least `len` bytes that no other append has.
    pub fn append(&mut self, file: &str, producer: Option<(Producer, u64)>, len: usize) -> AppendId {
        let id = self.appends.len();
        let mut data = id.to_string().into_bytes();
        data.push(MARK);
        // Differs from append to append, so that a piece of one never looks like a piece of another.
        let fill = (0u64..).map(|at| b'a' + ((id as u64 * 31 + at * 7 + at / 11) % 26) as u8);
        data.extend(fill.take(len.saturating_sub(data.len() + 1)));
        data.push(b'\n');
        self.appends.push(Append { file: file.to_owned(), producer, data });
        id
    }

    /// The append that begins at these bytes, if they are all there.
    fn append_at(&self, bytes: &[u8]) -> Option<AppendId> {
        let digits = bytes.iter().position(|byte| *byte == MARK)?;
        let id: AppendId = std::str::from_utf8(&bytes[..digits]).ok()?.parse().ok()?;
        self.appends.get(id).filter(|append| bytes.starts_with(&append.data)).map(|_| id)
    }
}
