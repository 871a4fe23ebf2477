//! Decides whether what clients were told can be true, given what the files hold in the end. Pure: a [`History`] and the
//! final [`Content`] go in, [`Violation`]s come out.
//!
//! Each append carries bytes that no other one has ([`History::append`] makes them so), so that a file can be taken apart
//! into the appends that it holds. The rules are those of the contract: what is acknowledged is there, once, where the ack
//! said; a producer's appends are there in their order, without a gap; offsets are dense, and nobody's bytes are between
//! them; what was refused for certain is nowhere; what was read stays; who was fenced wrote nothing afterwards; and what
//! was acknowledged before something else was sent precedes it.
//!
//! **Generations.** What a file holds is known by its generation, which no other content ever has. It moves along when the
//! file gets another path or is rotated away; a cut and a published upload make another one. So whoever was told of bytes
//! was told of bytes of a generation, and these are judged against all else that anybody was told of it, wherever it lies.
//! A generation that is not there in the end must have come to an end: an operation that may have done so, because it was
//! not refused and was not over before, excuses it, and one that kept the bytes (a cut behind them, another path) must
//! have brought them where it says. An operation that was done is never undone; a set is there as a whole or not at all;
//! an upload is there from its first byte to its last.
//!
//! Loss of power takes back what was only WRITTEN, and nothing else ([`Event::PowerLost`]). An answer may have been on its
//! way when power was lost; so what was only WRITTEN counts from the moment at which it was asked for.
//!
//! A producer numbers its appends per path; it must not write to two paths under one name. What an operation's own producer
//! is told is not judged, but what the operation does is.

mod content;
mod facts;
mod operations;
mod paths;
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
    /// It is all of an upload, and no append.
    pub is_upload: bool,
}

/// Number of an operation in its history.
pub type OperationId = usize;

/// What somebody wants to be done to files as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Removes a file.
    Delete {
        /// Its path.
        path: String,
    },
    /// Removes the files below a prefix.
    DeletePrefix {
        /// What their paths begin with.
        prefix: String,
    },
    /// Gives a file another path.
    Rename {
        /// The path before.
        from: String,
        /// The path afterwards.
        to: String,
        /// Whether a file there may be replaced.
        replace: bool,
    },
    /// Cuts a file.
    Truncate {
        /// Its path.
        path: String,
        /// Bytes that stay.
        size: u64,
    },
    /// Seals a file.
    Seal {
        /// Its path.
        path: String,
    },
    /// Publishes one upload, or a set of them.
    Publish {
        /// The uploads.
        parts: Vec<Part>,
    },
}

/// An upload that is to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The path.
    pub path: String,
    /// What it holds.
    pub upload: AppendId,
    /// Whether a file there is replaced.
    pub replace: bool,
}

/// An operation. Asked for again and again with the same number of its producer it is one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// What is to be done.
    pub deed: Deed,
    /// The generation that the file must have; with a rename, the one at its old path.
    pub if_generation: Option<u64>,
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
        /// Generation of the file that holds it; of the present one, if the offset is not told.
        generation: u64,
        /// It was there before.
        duplicate: bool,
        /// The event with which the attempt began that this answers, by its index.
        sent: usize,
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
        /// The end of the file, as it was told with them.
        end: u64,
        /// How many events there were when it asked.
        asked: usize,
    },
    /// A client was told of a file as a whole, by Stat or List.
    Seen {
        /// Its path.
        file: String,
        /// Its generation; `None`: there is no such file.
        generation: Option<u64>,
        /// Its size in bytes.
        size: u64,
        /// crc32c of these, if it was told.
        crc32c: Option<u32>,
        /// How many events there were when it asked.
        asked: usize,
    },
    /// A client began to ask for an operation.
    Asked(OperationId),
    /// A client was told that it is done.
    Done {
        /// The operation.
        operation: OperationId,
        /// Generation of the file afterwards; of each file of a set, in the order of its parts. Empty: not told.
        generations: Vec<u64>,
        /// Size in bytes of a file that was sealed.
        size: Option<u64>,
    },
    /// A client was told that nothing was done, whatever it tried. An operation without this or [`Event::Done`] may have
    /// been done once, at any time since.
    Denied(OperationId),
    /// The machine of the server lost power; the death of the process alone is no event.
    PowerLost,
}

/// What clients did and were told.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// All appends, by their number.
    pub appends: Vec<Append>,
    /// All operations, by their number.
    pub operations: Vec<Operation>,
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
        self.appends.push(Append { file: file.to_owned(), producer, data, is_upload: false });
        id
    }

    /// Makes up an upload of at least `len` bytes.
    pub fn upload(&mut self, file: &str, len: usize) -> AppendId {
        let id = self.append(file, None, len);
        self.appends[id].is_upload = true;
        id
    }

    /// Notes an operation that somebody is about to ask for.
    pub fn operation(&mut self, deed: Deed, if_generation: Option<u64>) -> OperationId {
        self.operations.push(Operation { deed, if_generation });
        self.operations.len() - 1
    }

    /// Path of the file with that generation when it was sealed.
    fn file_of_seal(&self, sealed: u64) -> Option<String> {
        self.events.iter().find_map(|event| match event {
            Event::Done { operation, generations, size: Some(_) } if generations.contains(&sealed) => {
                match &self.operations[*operation].deed {
                    Deed::Seal { path } => Some(path.clone()),
                    _ => None,
                }
            }
            _ => None,
        })
    }

    /// The append that begins at these bytes, if they are all there.
    fn append_at(&self, bytes: &[u8]) -> Option<AppendId> {
        let digits = bytes.iter().position(|byte| *byte == MARK)?;
        let id: AppendId = std::str::from_utf8(&bytes[..digits]).ok()?.parse().ok()?;
        self.appends.get(id).filter(|append| bytes.starts_with(&append.data)).map(|_| id)
    }
}
