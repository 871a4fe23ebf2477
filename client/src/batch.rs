//! Gathering records into appends. Pure: the caller tells the time.

use crate::telemetry::Trace;
use bytes::{Bytes, BytesMut};
use std::time::Duration;
use tokio::time::Instant;

/// When the records of [`Writer::write`](crate::Writer::write) go out as one append: when the first of these is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPolicy {
    /// Most records in one append. 1 sends each record at once, without a copy. Default: 100.
    pub max_records: u32,
    /// Most bytes in one append; a larger record goes alone. Default: 256 KiB.
    pub max_bytes: u64,
    /// Longest time that a record waits for others. Zero sends each record at once. Default: 5 ms.
    pub linger: Duration,
}

impl Default for BatchPolicy {
    fn default() -> Self {
        Self { max_records: 100, max_bytes: 256 << 10, linger: Duration::from_millis(5) }
    }
}

impl BatchPolicy {
    /// Whether a record of this length has nothing to wait for.
    pub(crate) fn alone(&self, len: usize) -> bool {
        self.max_records <= 1 || self.linger.is_zero() || len as u64 >= self.max_bytes
    }
}

/// The payload of an append, ready to be sent, with the room that it takes in the window.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) data: Bytes,
    /// Empty for a single record.
    pub(crate) lengths: Vec<u32>,
    pub(crate) records: u32,
    pub(crate) crc32c: u32,
    /// Bytes taken from the window, to be given back with the ack.
    pub(crate) window_bytes: u32,
    /// The span in which its first record was written.
    pub(crate) trace: Option<Trace>,
}

impl Sealed {
    pub(crate) fn single(record: Bytes, window_bytes: u32) -> Self {
        let (crc32c, trace) = (crc32c::crc32c(&record), Trace::current());
        Self { data: record, lengths: Vec::new(), records: 1, crc32c, window_bytes, trace }
    }

    /// Lengths must fit 32 bits, which the limit on appends sees to.
    pub(crate) fn of(records: &[Bytes], window_bytes: u32) -> Self {
        if let [record] = records {
            return Self::single(record.clone(), window_bytes);
        }
        let mut batch = Batch::default();
        batch.data.reserve(records.iter().map(Bytes::len).sum());
        records.iter().for_each(|record| batch.push(record, 0));
        Self { window_bytes, ..batch.seal() }
    }
}

/// The records that wait to become an append.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    data: BytesMut,
    lengths: Vec<u32>,
    window_bytes: u32,
    trace: Option<Trace>,
    /// When it must go at the latest. Without records: meaningless.
    pub(crate) deadline: Option<Instant>,
    /// Size of the last one, so that the buffer of the next need not grow.
    last_bytes: usize,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    pub(crate) fn records(&self) -> usize {
        self.lengths.len()
    }

    /// Whether one more record of this length keeps within the policy.
    pub(crate) fn fits(&self, len: usize, policy: &BatchPolicy) -> bool {
        (self.data.len() + len) as u64 <= policy.max_bytes
            && (self.lengths.len() as u64) < u64::from(policy.max_records)
    }

    pub(crate) fn is_full(&self, policy: &BatchPolicy) -> bool {
        self.data.len() as u64 >= policy.max_bytes || self.lengths.len() as u64 >= u64::from(policy.max_records)
    }

    /// Adds a record whose length is within the limits of an append.
    pub(crate) fn push(&mut self, record: &[u8], window_bytes: u32) {
        if self.is_empty() {
            self.data.reserve(self.last_bytes.max(record.len()));
            self.trace = Trace::current();
        }
        self.data.extend_from_slice(record);
        self.lengths.push(u32::try_from(record.len()).unwrap_or(u32::MAX));
        self.window_bytes = self.window_bytes.saturating_add(window_bytes);
    }

    /// Takes what was gathered.
    pub(crate) fn seal(&mut self) -> Sealed {
        self.last_bytes = self.data.len();
        self.deadline = None;
        let data = self.data.split().freeze();
        let records = u32::try_from(self.lengths.len()).unwrap_or(u32::MAX);
        let capacity = self.lengths.len();
        let mut lengths = std::mem::replace(&mut self.lengths, Vec::with_capacity(capacity));
        if records == 1 {
            lengths = Vec::new();
        }
        let window_bytes = std::mem::take(&mut self.window_bytes);
        let trace = self.trace.take();
        Sealed { crc32c: crc32c::crc32c(&data), data, lengths, records, window_bytes, trace }
    }
}

#[cfg(test)]
mod tests;
