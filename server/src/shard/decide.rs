//! What becomes of an append. Pure: looks at state, changes nothing, knows no clock and no disk.

use super::{
    ids::{FileId, FileKey, ProducerId},
    state::{File, Producer},
};
use crate::policy::Policy;
use inkpot_proto::{error::Refused, v1::ErrorReason};
use inkpot_wal::planted::{self, Bug};
use std::sync::Arc;

/// A file that a session has open.
#[derive(Clone, Debug)]
pub struct Channel {
    /// The file, or the upload.
    pub file: FileId,
    /// The path that it was opened with.
    pub key: FileKey,
    /// The file has another path by now.
    pub stale: bool,
    /// How much of an upload was sent to staging; `None` if it is none.
    pub staging: Option<Staging>,
    /// The upload was published before: only what is there already is taken.
    pub published: bool,
    /// How its file is rotated, if it is.
    pub rotation: Option<Arc<Policy>>,
    /// Who writes.
    pub producer: Option<ProducerId>,
    /// Number of the open that made the channel: the latest one holds the producer.
    pub open: u64,
    /// The last seq that arrived: one that is not given counts on from here.
    pub arrived: u64,
    /// The last seq that was taken, without a producer.
    pub taken: u64,
    /// Whether an append was refused, so that later ones are too until it comes again.
    pub refused: bool,
    /// The last append that was taken: its seq and its frame.
    pub last: (u64, u64),
    /// Highest seq known to be synced.
    pub synced_seq: u64,
}

/// How much of an upload is on its way to staging, or there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Staging {
    /// The last seq.
    pub seq: u64,
    /// Its end in the staged file, in bytes.
    pub end: u64,
}

/// An append that wants in.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Its seq.
    pub seq: u64,
    /// Its length in bytes; at least 1.
    pub len: u64,
    /// crc32c of its bytes.
    pub crc32c: u32,
    /// Where it must begin.
    pub expected_offset: Option<u64>,
}

/// What becomes of it.
#[derive(Debug, PartialEq)]
pub enum Decision {
    /// It goes to this offset.
    Append(u64),
    /// It is there already; where, if that is remembered.
    Duplicate(Option<Found>),
    /// It is refused.
    Refuse(Box<Refused>),
}

/// Where a duplicate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The generation; another one than the present if the file was rotated or replaced since.
    pub generation: u64,
    /// `[first, end)` in it.
    pub range: (u64, u64),
}

/// The seq that the channel takes next.
#[must_use]
pub fn next_seq(channel: &Channel, producer: Option<&Producer>) -> u64 {
    producer.map_or(channel.taken, |producer| producer.last_seq).saturating_add(1)
}

/// Decides on an append. `producer` is the state of the channel's producer in the file.
#[must_use]
pub fn decide(file: &File, producer: Option<&Producer>, channel: &Channel, wish: &Wish) -> Decision {
    match check(file, producer, channel, wish) {
        Ok(decision) => decision,
        Err(refused) => Decision::Refuse(Box::new(refused)),
    }
}

fn check(file: &File, producer: Option<&Producer>, channel: &Channel, wish: &Wish) -> Result<Decision, Refused> {
    check_path(file, channel)?;
    if let Some(id) = &channel.producer {
        let producer = producer.ok_or_else(|| unknown_producer(file, id))?;
        check_fence(file, id, producer, channel)?;
        if wish.seq <= producer.last_seq {
            return duplicate(file, producer, wish);
        }
    }
    let key = &file.key;
    if channel.published {
        let text = format!("the upload to {key} is published, and takes no more appends; open it with a higher epoch");
        return Err(Refused::new(ErrorReason::UploadFinished, text));
    }
    if file.content.sealed {
        return Err(Refused::new(ErrorReason::Sealed, format!("file {key} is sealed, and takes no more appends")));
    }
    let next = next_seq(channel, producer);
    if wish.seq != next {
        return Err(out_of_turn(file, producer, channel, wish.seq, next));
    }
    if let Some(expected) = wish.expected_offset.filter(|expected| *expected != file.end) {
        let text = format!("file {key} ends at byte {}, not at the expected offset {expected}", file.end);
        let mut refused = Refused::new(ErrorReason::OffsetMismatch, text);
        refused.expected_offset = Some(file.end);
        return Err(refused);
    }
    let fits = file.end.checked_add(wish.len).is_some_and(|end| i64::try_from(end).is_ok());
    if !fits {
        return Err(Refused::new(ErrorReason::OutOfRange, format!("file {key} would be larger than 2^63-1 bytes")));
    }
    Ok(Decision::Append(file.end))
}

/// Whether the path that the channel was opened with still leads to its file.
///
/// # Errors
/// GENERATION_CHANGED; UPLOAD_NOT_FOUND if it was an upload; BEING_DECIDED while it may leave.
pub fn check_path(file: &File, channel: &Channel) -> Result<(), Refused> {
    let key = &channel.key;
    if file.frozen.is_some() {
        let text = format!("file {key} is about to have another path; open it again when that is decided");
        return Err(Refused::new(ErrorReason::BeingDecided, text));
    }
    if file.gone.is_none() && !channel.stale {
        return Ok(());
    }
    if file.upload.is_some() {
        let text = format!("the upload to {key} is gone: it was discarded or has expired; begin anew");
        return Err(Refused::new(ErrorReason::UploadNotFound, text));
    }
    let text =
        format!("file {key} was replaced, cut, renamed or deleted; open it again to go on with what is there now");
    Err(Refused::new(ErrorReason::GenerationChanged, text))
}

/// Whether the channel still holds its producer.
///
/// # Errors
/// PRODUCER_FENCED with the epoch that holds.
pub fn check_fence(file: &File, id: &str, producer: &Producer, channel: &Channel) -> Result<(), Refused> {
    if producer.open == channel.open || planted::is(Bug::FenceIgnored) {
        return Ok(());
    }
    let text = format!(
        "producer {id:?} of file {} was opened anew with epoch {}; open it again with a higher epoch to take it back",
        file.key, producer.epoch
    );
    let mut refused = Refused::new(ErrorReason::ProducerFenced, text);
    refused.current_epoch = Some(producer.epoch);
    Err(refused)
}

fn unknown_producer(file: &File, id: &str) -> Refused {
    let text = format!("producer {id:?} is not known in file {}; open it again and begin with seq 1", file.key);
    let mut refused = Refused::new(ErrorReason::UnknownProducer, text);
    refused.expected_seq = Some(1);
    refused
}

fn duplicate(file: &File, producer: &Producer, wish: &Wish) -> Result<Decision, Refused> {
    let Some(remembered) = producer.remembered(wish.seq) else { return Ok(Decision::Duplicate(None)) };
    if (u64::from(remembered.len), remembered.crc32c) != (wish.len, wish.crc32c) {
        let text = format!("seq {} of file {} is committed with other bytes", wish.seq, file.key);
        return Err(Refused::new(ErrorReason::SequenceReused, text));
    }
    let range = (remembered.offset, remembered.offset + wish.len);
    Ok(Decision::Duplicate(Some(Found { generation: remembered.generation, range })))
}

fn out_of_turn(file: &File, producer: Option<&Producer>, channel: &Channel, seq: u64, next: u64) -> Refused {
    let key = &file.key;
    let mut refused = if channel.refused && seq > next {
        let text =
            format!("seq {seq} of file {key} comes after a refused one; send {next} again, or open the file anew");
        Refused::new(ErrorReason::EarlierSeqRefused, text)
    } else if let (Some(id), Some(_)) = (&channel.producer, producer.filter(|producer| is_fresh(producer))) {
        return unknown_producer(file, id);
    } else {
        Refused::new(ErrorReason::SequenceGap, format!("seq {seq} of file {key} is out of turn: {next} comes next"))
    };
    refused.expected_seq = Some(next);
    refused
}

/// A producer that has written nothing, and had no epoch before: either new or forgotten.
fn is_fresh(producer: &Producer) -> bool {
    producer.last_seq == 0 && producer.previous == (0, 0)
}

#[cfg(test)]
mod tests;
