//! From messages to what the rest of the server works with: every check of a field stands here. Pure: no state, no
//! clock, no I/O. Below this module nobody knows the wire.

pub mod file;
pub mod framing;

use crate::{
    admission::Permit,
    config::Limits,
    shard::{Ending, Mode, WriteBody, ids::ProducerId},
    telemetry::trace::AppendTrace,
};
use bytes::Bytes;
use framing::Framing;
use inkpot_proto::{
    error::Refused,
    limits::{MAX_PRODUCER_ID_BYTES, MAX_RECORDS_PER_APPEND, MAX_TRACEPARENT_BYTES},
    path::FilePath,
    v1::{self, Durability, ErrorReason},
};
use std::time::SystemTime;

/// Largest seq, epoch or offset: so that sums of two fit, and languages without unsigned numbers can hold them.
const MAX_NUMBER: u64 = i64::MAX as u64;
const NEWLINE: u8 = b'\n';

/// What a channel asked for, as far as its appends are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The level of its appends: `Written` or `Synced`.
    pub durability: Durability,
    /// Whether an append that finds no room is refused rather than waits.
    pub reject: bool,
    /// How its records lie in the file.
    pub framing: Framing,
    /// Whether the channel is an upload.
    pub upload: bool,
    /// Whether appends have a producer, and so must have a seq.
    pub has_producer: bool,
}

/// An `Open` that keeps to the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRequest {
    /// The file.
    pub path: FilePath,
    /// How the file is treated.
    pub mode: Mode,
    /// Who writes, and its epoch; epoch 0 asks for the next one.
    pub producer: Option<(ProducerId, u64)>,
    /// The generation that the file must have; 0: there must be none.
    pub if_generation: Option<u64>,
    /// What holds for its appends.
    pub terms: Terms,
}

/// An append that keeps to the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The bytes as they are stored; never empty.
    pub data: Bytes,
    /// crc32c of the bytes as they were sent: by that a duplicate is known.
    pub crc32c: u32,
    /// How many records it has; at least 1.
    pub records: u32,
    /// Where it must begin, in bytes.
    pub expected_offset: Option<u64>,
    /// The level that its ack needs.
    pub durability: Durability,
    /// The W3C context of the span that it belongs to, as it came; empty: none.
    pub traceparent: String,
}

impl Checked {
    /// With the room that was found for it, and its spans if it is traced.
    #[must_use]
    pub fn into_body(self, permit: Permit, trace: Option<Box<AppendTrace>>) -> WriteBody {
        let Self { data, crc32c, records, expected_offset, durability, traceparent: _ } = self;
        let trace = trace.map(AppendTrace::queued);
        WriteBody { data, crc32c, records, expected_offset, durability, permit, trace }
    }
}

/// A unary `Append` that keeps to the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnaryRequest {
    /// The file and who writes.
    pub open: OpenRequest,
    /// Number of the append; 0 without a producer.
    pub seq: u64,
    /// The append.
    pub append: Checked,
}

/// Checks an `Open`.
///
/// # Errors
/// INVALID_PATH, INVALID_FIELD, UNKNOWN_ENUM_VALUE, OUT_OF_RANGE, DURABILITY_UNAVAILABLE.
pub fn open(open: &v1::Open) -> Result<OpenRequest, Refused> {
    let path = path(&open.path)?;
    let mode = mode(open.mode)?;
    if mode == Mode::Create && open.if_generation.is_some_and(|wanted| wanted != 0) {
        return Err(invalid(
            "if_generation is set with MODE_CREATE, which wants that there is no file; use MODE_REPLACE",
        ));
    }
    let producer = producer(&open.producer_id, open.producer_epoch)?;
    let terms = Terms {
        durability: durability(open.durability)?,
        reject: rejects(open.admission)?,
        framing: Framing::parse(open.framing, open.timestamps)?,
        upload: mode != Mode::Append,
        has_producer: producer.is_some(),
    };
    Ok(OpenRequest { path, mode, producer, if_generation: open.if_generation, terms })
}

/// Checks an `Append` of a channel with these terms. `clock` is read at most once, and only if records get a timestamp.
///
/// # Errors
/// INVALID_FIELD, UNKNOWN_ENUM_VALUE, OUT_OF_RANGE, DURABILITY_UNAVAILABLE, EMPTY_APPEND, RECORD_TOO_LARGE,
/// LENGTH_MISMATCH, FRAMING_VIOLATED, CHECKSUM_MISMATCH.
pub fn append(
    append: v1::Append,
    terms: &Terms,
    limits: &Limits,
    clock: impl FnOnce() -> SystemTime,
) -> Result<Checked, Refused> {
    if terms.has_producer && append.seq == 0 {
        return Err(invalid("seq is 0; the appends of a producer are numbered from 1"));
    }
    if append.traceparent.len() > MAX_TRACEPARENT_BYTES {
        return Err(invalid(format!("traceparent is longer than {MAX_TRACEPARENT_BYTES} bytes")));
    }
    fits("seq", append.seq)?;
    let durability = durability_of_append(append.durability, terms.durability)?;
    let payload = append.payload.unwrap_or_default();
    let crc32c = check_payload(&payload, append.crc32c, limits)?;
    let records = u32::try_from(payload.record_lengths.len()).unwrap_or(u32::MAX).max(1);
    let data = terms.framing.store(payload, clock)?;
    check_stored(&data, limits)?;
    let expected_offset = expected_offset(append.expected_offset, data.len())?;
    let traceparent = append.traceparent;
    Ok(Checked { data, crc32c, records, expected_offset, durability, traceparent })
}

/// Checks a unary `Append`. `clock` as in [`append`].
///
/// # Errors
/// Those of [`open`] and [`append`].
pub fn unary(
    request: v1::AppendRequest,
    limits: &Limits,
    clock: impl FnOnce() -> SystemTime,
) -> Result<UnaryRequest, Refused> {
    let has_producer = !request.producer_id.is_empty();
    if has_producer && request.producer_epoch == 0 {
        return Err(invalid("producer_epoch is 0; a call cannot ask for the next epoch, open a session for that"));
    }
    if !has_producer && request.seq != 0 {
        return Err(invalid("seq is set without producer_id; it would protect nothing"));
    }
    let open = open(&v1::Open {
        path: request.path,
        producer_id: request.producer_id,
        producer_epoch: request.producer_epoch,
        durability: request.durability,
        admission: request.admission,
        if_generation: request.if_generation,
        framing: request.framing,
        timestamps: request.timestamps,
        ..v1::Open::default()
    })?;
    let seq = request.seq;
    let frame = v1::Append {
        seq,
        expected_offset: request.expected_offset,
        payload: request.payload,
        crc32c: request.crc32c,
        ..v1::Append::default()
    };
    let append = append(frame, &open.terms, limits, clock)?;
    Ok(UnaryRequest { open, seq, append })
}

/// Checks what a `Finish` asks for of a channel with these terms. In mode APPEND all actions come to the same.
///
/// # Errors
/// INVALID_FIELD, UNKNOWN_ENUM_VALUE, OUT_OF_RANGE.
pub fn finish(finish: &v1::Finish, terms: &Terms) -> Result<Ending, Refused> {
    use v1::FinishAction as A;
    let (size, crc32c) = (finish.size, finish.crc32c);
    let ending = match A::try_from(finish.action) {
        Err(_) => return Err(unknown_value("action", finish.action)),
        Ok(A::Unspecified) => return Err(invalid("action is not set; say COMMIT, ABORT or LEAVE_OPEN")),
        Ok(A::Commit) => Ending::Commit { size, crc32c },
        Ok(A::Abort) => Ending::Abort,
        Ok(A::LeaveOpen) => Ending::LeaveOpen,
    };
    if !terms.upload && (size.is_some() || crc32c.is_some()) {
        return Err(invalid("size and crc32c are for uploads; a channel in mode APPEND has none to check"));
    }
    if terms.upload && ending == Ending::LeaveOpen && !terms.has_producer {
        return Err(invalid("an upload without producer_id cannot be left open: nobody could find it again"));
    }
    fits("size", size.unwrap_or(0))?;
    Ok(ending)
}

/// Checks the path of a file.
///
/// # Errors
/// INVALID_PATH.
pub fn path(path: &str) -> Result<FilePath, Refused> {
    FilePath::parse(path).map_err(|invalid| invalid.refuse(path))
}

/// Checks the name of a producer; empty is none.
///
/// # Errors
/// INVALID_FIELD.
pub fn producer_id(id: &str) -> Result<Option<ProducerId>, Refused> {
    if id.len() > MAX_PRODUCER_ID_BYTES {
        return Err(invalid(format!("producer_id is longer than {MAX_PRODUCER_ID_BYTES} bytes")));
    }
    if id.chars().any(char::is_control) {
        return Err(invalid(format!("producer_id {id:?} has a control character")));
    }
    Ok((!id.is_empty()).then(|| id.into()))
}

/// The refusal of a field whose value is outside its bounds.
pub(super) fn invalid(message: impl Into<String>) -> Refused {
    Refused::new(ErrorReason::InvalidField, message)
}

fn producer(id: &str, epoch: u64) -> Result<Option<(ProducerId, u64)>, Refused> {
    fits("producer_epoch", epoch)?;
    let producer = producer_id(id)?;
    if producer.is_none() && epoch != 0 {
        return Err(invalid("producer_epoch is set without producer_id; it would protect nothing"));
    }
    Ok(producer.map(|id| (id, epoch)))
}

fn mode(mode: i32) -> Result<Mode, Refused> {
    use v1::Mode as M;
    match M::try_from(mode) {
        Ok(M::Unspecified | M::Append) => Ok(Mode::Append),
        Ok(M::Create) => Ok(Mode::Create),
        Ok(M::Replace) => Ok(Mode::Replace),
        Err(_) => Err(unknown_value("mode", mode)),
    }
}

fn rejects(admission: i32) -> Result<bool, Refused> {
    use v1::Admission as A;
    let admission = A::try_from(admission).map_err(|_| unknown_value("admission", admission))?;
    Ok(admission == A::Reject)
}

fn durability(level: i32) -> Result<Durability, Refused> {
    match Durability::try_from(level) {
        Ok(Durability::Unspecified) => Ok(Durability::Synced),
        Ok(level @ (Durability::Written | Durability::Synced)) => Ok(level),
        Ok(Durability::Replicated) => {
            let message = "durability REPLICATED needs a cluster, and this is one node; SYNCED is the highest here";
            Err(Refused::new(ErrorReason::DurabilityUnavailable, message))
        }
        Err(_) => Err(unknown_value("durability", level)),
    }
}

/// An append raises the level of its channel, and never lowers it.
fn durability_of_append(level: i32, of_channel: Durability) -> Result<Durability, Refused> {
    if level == Durability::Unspecified as i32 {
        return Ok(of_channel);
    }
    durability(level).map(|level| level.max(of_channel))
}

fn check_payload(payload: &v1::Payload, crc: Option<u32>, limits: &Limits) -> Result<u32, Refused> {
    let data = &payload.data;
    if data.is_empty() {
        return Err(Refused::new(ErrorReason::EmptyAppend, "the append has no bytes"));
    }
    let len = data.len() as u64;
    if len > limits.append_bytes {
        return Err(too_large("the append", len, "limits.append_bytes", limits.append_bytes));
    }
    if payload.record_lengths.is_empty() {
        check_record(len, limits)?;
    } else {
        check_records(payload, limits)?;
    }
    let found = crc32c::crc32c(data);
    match crc {
        Some(expected) if expected != found => {
            let message = format!("crc32c of the payload is {found:#010x}, and {expected:#010x} came with it");
            Err(Refused::new(ErrorReason::ChecksumMismatch, message))
        }
        _ => Ok(found),
    }
}

fn check_records(payload: &v1::Payload, limits: &Limits) -> Result<(), Refused> {
    let lengths = &payload.record_lengths;
    if lengths.len() > MAX_RECORDS_PER_APPEND {
        let message = format!("the append has {} records; {MAX_RECORDS_PER_APPEND} is the most", lengths.len());
        return Err(Refused::new(ErrorReason::RecordTooLarge, message).with_limit("max_records_per_append"));
    }
    let sum: u64 = lengths.iter().copied().map(u64::from).sum();
    if sum != payload.data.len() as u64 {
        let message = format!("the record lengths add up to {sum} bytes, and data has {}", payload.data.len());
        return Err(Refused::new(ErrorReason::LengthMismatch, message));
    }
    lengths.iter().try_for_each(|length| check_record(u64::from(*length), limits))
}

fn check_record(len: u64, limits: &Limits) -> Result<(), Refused> {
    if len == 0 {
        return Err(invalid("a record has no bytes; each has at least 1"));
    }
    if len > limits.record_bytes {
        return Err(too_large("a record", len, "limits.record_bytes", limits.record_bytes));
    }
    Ok(())
}

/// Everything that an append passes through has room for `limits.append_bytes`, and so for what its framing adds only
/// within that.
fn check_stored(data: &Bytes, limits: &Limits) -> Result<(), Refused> {
    let len = data.len() as u64;
    if len > limits.append_bytes {
        let what = "the append, with what its framing and timestamps add,";
        return Err(too_large(what, len, "limits.append_bytes", limits.append_bytes));
    }
    Ok(())
}

fn too_large(what: &str, len: u64, limit: &str, max: u64) -> Refused {
    let message = format!("{what} has {len} bytes, more than {limit} = {max}; send less at once");
    Refused::new(ErrorReason::RecordTooLarge, message).with_limit(limit)
}

fn expected_offset(offset: Option<u64>, len: usize) -> Result<Option<u64>, Refused> {
    if let Some(offset) = offset {
        fits("expected_offset + length", offset.saturating_add(len as u64))?;
    }
    Ok(offset)
}

fn fits(field: &str, number: u64) -> Result<(), Refused> {
    if number > MAX_NUMBER {
        let message = format!("{field} is {number}; the largest is {MAX_NUMBER}");
        return Err(Refused::new(ErrorReason::OutOfRange, message));
    }
    Ok(())
}

fn unknown_value(field: &str, value: i32) -> Refused {
    Refused::new(
        ErrorReason::UnknownEnumValue,
        format!("{field} has the value {value}, which this server does not know"),
    )
}

#[cfg(test)]
mod tests;
