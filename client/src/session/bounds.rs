//! The limits that the server announced, applied before anything is sent. Pure.

use crate::{BatchPolicy, Error, Result};
use bytes::Bytes;
use inkpot_proto::{
    error::Refused,
    limits::{MAX_MESSAGE_BYTES, MAX_RECORDS_PER_APPEND, MESSAGE_OVERHEAD_BYTES},
    v1::{ErrorReason, Limits},
};

/// What fits in one append.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    record_bytes: u64,
    append_bytes: u64,
    records: u32,
}

impl Bounds {
    /// A limit of 0 was not announced; those of the wire hold.
    pub(crate) fn new(limits: &Limits) -> Self {
        let or = |announced: u64, otherwise: usize| if announced == 0 { otherwise as u64 } else { announced };
        let message = or(limits.max_message_bytes, MAX_MESSAGE_BYTES);
        let room = message.saturating_sub(MESSAGE_OVERHEAD_BYTES as u64).clamp(1, u64::from(u32::MAX));
        let append_bytes = or(limits.max_append_bytes, MAX_MESSAGE_BYTES).min(room);
        let records = or(limits.max_records_per_append.into(), MAX_RECORDS_PER_APPEND);
        Self {
            record_bytes: or(limits.max_record_bytes, MAX_MESSAGE_BYTES).min(append_bytes),
            append_bytes,
            records: u32::try_from(records).unwrap_or(u32::MAX),
        }
    }

    /// The policy, within the bounds.
    pub(crate) fn policy(&self, asked: &BatchPolicy) -> BatchPolicy {
        BatchPolicy {
            max_records: asked.max_records.min(self.records),
            max_bytes: asked.max_bytes.min(self.append_bytes),
            linger: asked.linger,
        }
    }

    /// Largest record, in bytes.
    pub(crate) fn record_limit(&self) -> usize {
        usize::try_from(self.record_bytes).unwrap_or(usize::MAX)
    }

    /// Refuses here what the server would refuse, before it takes the channel down.
    pub(crate) fn check_record(&self, record: &Bytes) -> Result<()> {
        let bytes = record.len() as u64;
        if bytes == 0 {
            return Err(refuse(ErrorReason::EmptyAppend, "a record needs at least one byte".to_owned()));
        }
        if bytes > self.record_bytes {
            let most = self.record_bytes;
            let message = format!("a record of {bytes} bytes is larger than the {most} that the server takes");
            return Err(refuse(ErrorReason::RecordTooLarge, message));
        }
        Ok(())
    }

    /// As [`Self::check_record`], for an append. Gives its size in bytes.
    pub(crate) fn check_append(&self, records: &[Bytes]) -> Result<usize> {
        if records.is_empty() {
            return Err(refuse(ErrorReason::EmptyAppend, "an append needs at least one record".to_owned()));
        }
        records.iter().try_for_each(|record| self.check_record(record))?;
        let bytes = records.iter().map(Bytes::len).sum();
        if bytes as u64 > self.append_bytes || records.len() as u64 > u64::from(self.records) {
            let message = format!(
                "an append of {} records and {bytes} bytes is larger than the {} records and {} bytes that the server \
                 takes; split it",
                records.len(),
                self.records,
                self.append_bytes
            );
            return Err(refuse(ErrorReason::RecordTooLarge, message));
        }
        Ok(bytes)
    }
}

fn refuse(reason: ErrorReason, message: String) -> Error {
    Error::refused(Refused::new(reason, message))
}
