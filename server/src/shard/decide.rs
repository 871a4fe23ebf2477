//! What becomes of an append. Pure: looks at state, changes nothing, knows no clock and no disk.

use super::{
    ids::{FileId, ProducerId},
    state::{File, Producer},
};
use inkpot_proto::{error::Refused, v1::ErrorReason};

/// A file that a session has open.
#[derive(Clone, Debug)]
pub struct Channel {
    /// The file.
    pub file: FileId,
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
    /// It is there already; `[first, end)` if that is remembered.
    Duplicate(Option<(u64, u64)>),
    /// It is refused.
    Refuse(Box<Refused>),
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
    let key = &file.view.key();
    if let Some(id) = &channel.producer {
        let producer = producer.ok_or_else(|| unknown_producer(file, id))?;
        check_fence(file, id, producer, channel)?;
        if wish.seq <= producer.last_seq {
            return duplicate(file, producer, wish);
        }
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

/// Whether the channel still holds its producer.
///
/// # Errors
/// PRODUCER_FENCED with the epoch that holds.
pub fn check_fence(file: &File, id: &str, producer: &Producer, channel: &Channel) -> Result<(), Refused> {
    if producer.open == channel.open {
        return Ok(());
    }
    let text = format!(
        "producer {id:?} of file {} was opened anew with epoch {}; open it again with a higher epoch to take it back",
        file.view.key(),
        producer.epoch
    );
    let mut refused = Refused::new(ErrorReason::ProducerFenced, text);
    refused.current_epoch = Some(producer.epoch);
    Err(refused)
}

fn unknown_producer(file: &File, id: &str) -> Refused {
    let text = format!("producer {id:?} is not known in file {}; open it again and begin with seq 1", file.view.key());
    let mut refused = Refused::new(ErrorReason::UnknownProducer, text);
    refused.expected_seq = Some(1);
    refused
}

fn duplicate(file: &File, producer: &Producer, wish: &Wish) -> Result<Decision, Refused> {
    let Some(remembered) = producer.remembered(wish.seq) else { return Ok(Decision::Duplicate(None)) };
    if (u64::from(remembered.len), remembered.crc32c) != (wish.len, wish.crc32c) {
        let text = format!("seq {} of file {} is committed with other bytes", wish.seq, file.view.key());
        return Err(Refused::new(ErrorReason::SequenceReused, text));
    }
    Ok(Decision::Duplicate(Some((remembered.offset, remembered.offset + wish.len))))
}

fn out_of_turn(file: &File, producer: Option<&Producer>, channel: &Channel, seq: u64, next: u64) -> Refused {
    let key = &file.view.key();
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
