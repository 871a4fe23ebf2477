//! What a writer and the driver share of one channel without the lock of the session: its batch, its end, who waits.

use crate::{
    BatchPolicy, Error, Opened, Result,
    batch::{Batch, Sealed},
};
use bytes::Bytes;
use inkpot_proto::{
    error::Refused,
    limits::{MAX_MESSAGE_BYTES, MAX_RECORDS_PER_APPEND, MESSAGE_OVERHEAD_BYTES},
    v1::{ErrorReason, Limits},
};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::Notify;

/// Lock order: the batch of a lane before the state of the session; never two batches.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) id: u32,
    pub(crate) path: String,
    policy: BatchPolicy,
    batch: Mutex<Batch>,
    changed: Notify,
    opened: OnceLock<Opened>,
    error: OnceLock<Error>,
}

impl Lane {
    pub(crate) fn new(id: u32, path: String, policy: BatchPolicy) -> Self {
        Self {
            id,
            path,
            policy,
            batch: Mutex::default(),
            changed: Notify::new(),
            opened: OnceLock::new(),
            error: OnceLock::new(),
        }
    }

    pub(crate) fn batch(&self) -> MutexGuard<'_, Batch> {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The policy, within what the server takes.
    pub(crate) fn policy(&self) -> BatchPolicy {
        let (_, append, records) = self.bounds();
        BatchPolicy {
            max_records: self.policy.max_records.min(records),
            max_bytes: self.policy.max_bytes.min(append),
            linger: self.policy.linger,
        }
    }

    /// What the server said when it opened the file for the first time.
    pub(crate) fn opened(&self) -> Option<&Opened> {
        self.opened.get()
    }

    pub(crate) fn set_opened(&self, opened: impl FnOnce() -> Opened) {
        self.opened.get_or_init(opened);
    }

    /// Why the channel ended, if it ended badly.
    pub(crate) fn error(&self) -> Option<Error> {
        self.error.get().cloned()
    }

    /// The first error stays.
    pub(crate) fn set_error(&self, error: Error) {
        self.error.get_or_init(|| error);
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.error().map_or(Ok(()), Err)
    }

    /// Wakes all who wait for a change of this channel.
    pub(crate) fn notify(&self) {
        self.changed.notify_waiters();
    }

    /// Waits until `check` has something to say; asks again at each change of the channel.
    pub(crate) async fn wait<T>(&self, mut check: impl FnMut() -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified(); // sees what happens from here on
            if let Some(found) = check() {
                return found;
            }
            changed.await;
        }
    }

    /// Largest record and append in bytes, and most records of an append.
    fn bounds(&self) -> (u64, u64, u32) {
        let limits = self.opened().map_or_else(Limits::default, |opened| opened.limits);
        let or = |announced: u64, otherwise: usize| if announced == 0 { otherwise as u64 } else { announced };
        let message = or(limits.max_message_bytes, MAX_MESSAGE_BYTES);
        let room = message.saturating_sub(MESSAGE_OVERHEAD_BYTES as u64).max(1);
        let append = or(limits.max_append_bytes, MAX_MESSAGE_BYTES).min(room).min(u64::from(u32::MAX));
        let record = or(limits.max_record_bytes, MAX_MESSAGE_BYTES).min(append);
        let records = or(limits.max_records_per_append.into(), MAX_RECORDS_PER_APPEND);
        (record, append, u32::try_from(records).unwrap_or(u32::MAX))
    }

    /// Refuses here what the server would refuse, before it takes the channel down.
    pub(crate) fn check_records(&self, records: &[Bytes]) -> Result<usize> {
        let (record_bytes, append_bytes, max_records) = self.bounds();
        let refuse = |reason, message: String| Err(Error::refused(Refused::new(reason, message)).on(&self.path));
        if records.is_empty() || records.iter().any(Bytes::is_empty) {
            let message = "an append needs a record, and each record a byte; nothing was sent".to_owned();
            return refuse(ErrorReason::EmptyAppend, message);
        }
        if let Some(large) = records.iter().map(Bytes::len).find(|len| *len as u64 > record_bytes) {
            let message = format!("a record of {large} bytes is larger than the {record_bytes} that the server takes");
            return refuse(ErrorReason::RecordTooLarge, message);
        }
        let bytes: usize = records.iter().map(Bytes::len).sum();
        if bytes as u64 > append_bytes || records.len() as u64 > u64::from(max_records) {
            let message = format!(
                "an append of {} records and {bytes} bytes is larger than the {max_records} records and \
                 {append_bytes} bytes that the server takes; split it",
                records.len()
            );
            return refuse(ErrorReason::RecordTooLarge, message);
        }
        Ok(bytes)
    }

    /// Takes the batch, if there is one.
    pub(crate) fn take(batch: &mut Batch) -> Option<Sealed> {
        (!batch.is_empty()).then(|| batch.seal())
    }
}
