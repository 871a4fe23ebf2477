//! What goes in when a file is opened, and what comes back.

use crate::{BatchPolicy, Error, Producer, batch::Sealed};
use inkpot_proto::v1::{self, Admission, Durability, Framing, Limits};
use std::fmt;

/// How a file is opened for appending. The default: SYNCED, waiting at limits, no framing, a producer of its own,
/// batches of at most 100 records, 256 KiB or 5 ms.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// What an append must survive before it is acknowledged.
    pub durability: Durability,
    /// What happens at a limit of the tenant: the session waits, or the append is refused and sent again later.
    pub admission: Admission,
    /// How records lie in the file.
    pub framing: Framing,
    /// Before each record stands the time at which the server took it: RFC 3339 in UTC with milliseconds, and a space.
    /// Comes before what `framing` adds.
    pub timestamps: bool,
    /// Who writes.
    pub producer: Producer,
    /// How records are gathered into appends.
    pub batch: BatchPolicy,
    /// If set: the generation that the file must have; 0: there must be no file.
    pub if_generation: Option<u64>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Synced,
            admission: Admission::Wait,
            framing: Framing::None,
            timestamps: false,
            producer: Producer::default(),
            batch: BatchPolicy::default(),
            if_generation: None,
        }
    }
}

/// What the server said when the file was opened for the first time.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Opened {
    /// Generation of the file; 0 while there is none.
    pub generation: u64,
    /// The producer id that is used; empty without a producer.
    pub producer_id: String,
    /// Epoch of the producer; 0 without one.
    pub epoch: u64,
    /// Last seq of this epoch that was there before: where a producer that resumes goes on.
    pub last_seq: u64,
    /// Where the next append would have begun, in bytes.
    pub next_offset: u64,
    /// The epoch before, if this Open raised it; 0 otherwise.
    pub previous_epoch: u64,
    /// Last seq of the epoch before; 0 if there was none.
    pub previous_last_seq: u64,
    /// Bounds that the server announced.
    pub limits: Limits,
    /// Whether this is an upload; `next_offset` is how much of it is kept.
    pub upload: bool,
    /// Whether the upload was published before, by this producer in this epoch.
    pub published: bool,
}

impl Opened {
    pub(crate) fn new(frame: &v1::Opened, producer_id: &str) -> Self {
        Self {
            generation: frame.generation,
            producer_id: producer_id.to_owned(),
            epoch: frame.epoch,
            last_seq: frame.last_seq,
            next_offset: frame.next_offset,
            previous_epoch: frame.previous_epoch,
            previous_last_seq: frame.previous_last_seq,
            limits: frame.limits.unwrap_or_default(),
            upload: frame.upload,
            published: frame.published,
        }
    }
}

/// The acknowledgement of one append.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ack {
    /// Its number.
    pub seq: u64,
    /// Offset of its first byte; `None` for a duplicate whose offset the server no longer remembers.
    pub first_offset: Option<u64>,
    /// Offset after its last byte; `None` like `first_offset`.
    pub end_offset: Option<u64>,
    /// The level that it reached, or a lower one that was reached by what was acknowledged with it.
    pub level: Durability,
    /// Generation of the file.
    pub generation: u64,
    /// It was there before, from an earlier try: success, not written again.
    pub duplicate: bool,
}

/// What a writer has sent and got acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Records that the writer took, whether sent by now or not.
    pub sent_records: u64,
    /// Records that are acknowledged.
    pub acked_records: u64,
    /// Bytes that are acknowledged.
    pub acked_bytes: u64,
    /// Appends that are acknowledged.
    pub acked_appends: u64,
    /// Offset of the first byte of the first append whose offset is known.
    pub first_offset: Option<u64>,
    /// Offset after the last byte of the last append whose offset is known. Between the two there may be bytes of
    /// other producers, or a rotation, with which offsets begin anew.
    pub end_offset: Option<u64>,
    /// Generation of the file as the last acknowledgement has it; 0: none. A rotation raises it.
    pub generation: u64,
    /// The lowest level of any acknowledgement.
    pub level: Option<Durability>,
    /// Appends that were there before, from an earlier try; they count as acknowledged.
    pub duplicates: u64,
    /// Seq of the last acknowledged append; 0: none.
    pub last_seq: u64,
    /// Highest seq that is known to survive power loss; 0: none.
    pub synced_seq: u64,
}

impl Progress {
    pub(crate) fn add(&mut self, append: &Sealed, duplicate: bool) {
        self.acked_records += u64::from(append.records);
        self.acked_bytes += append.data.len() as u64;
        self.acked_appends += 1;
        self.duplicates += u64::from(duplicate);
    }

    pub(crate) fn reached(&mut self, ack: &v1::Ack, level: Durability) {
        self.last_seq = ack.through_seq;
        self.generation = ack.generation;
        self.level = Some(self.level.map_or(level, |lowest| lowest.min(level)));
        if let (Some(first), Some(end)) = (ack.first_offset, ack.end_offset) {
            self.first_offset.get_or_insert(first);
            self.end_offset = Some(end);
        }
    }
}

/// What a writer did not take, and why. Nothing of it was sent. Becomes the [`Error`] alone with `?`.
#[derive(Clone)]
pub struct Unsent<T> {
    /// Why.
    pub error: Error,
    /// The record or records, as they were given.
    pub value: T,
}

impl<T> From<Unsent<T>> for Error {
    fn from(unsent: Unsent<T>) -> Self {
        unsent.error
    }
}

/// Without the value: it may be large, and is not for logs.
impl<T> fmt::Debug for Unsent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unsent").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<T> fmt::Display for Unsent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T> std::error::Error for Unsent<T> {}
