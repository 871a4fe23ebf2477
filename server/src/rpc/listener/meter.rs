//! What a client may send that is no call: settings, pings, priorities, windows, resets, empty data. A bucket that fills
//! with time, and with what the server sends, because whoever reads a lot also has to open windows. Pure.

use super::frames::{END_STREAM, Head, kind};
use std::time::Duration;
use tokio::time::Instant;

/// Seconds' worth of frames that may come at once.
const BURST_SECONDS: u64 = 10;
/// Frames that a frame of data from us allows: windows of stream and connection, and two probes of the bandwidth.
const PER_DATA_FRAME: u64 = 4;
/// Bytes of data from us that allow one more frame.
const BYTES_PER_FRAME: u64 = 4096;
/// What the bucket counts in: parts of a frame, so that short times are not lost.
const PARTS: u64 = 1_000_000;

/// How much a connection may still send that is no call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    per_second: u64,
    parts: u64,
    filled: Instant,
}

impl Meter {
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        let per_second = u64::from(per_second);
        Self { per_second, parts: per_second * BURST_SECONDS * PARTS, filled: now }
    }

    /// A frame of the client. Returns whether it is one too many.
    pub(super) fn received(&mut self, head: Head, now: Instant) -> bool {
        if !is_control(head) {
            return false;
        }
        let since = now.saturating_duration_since(self.filled);
        if since > Duration::ZERO {
            let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
            self.fill(micros.saturating_mul(self.per_second));
            self.filled = now;
        }
        match self.parts.checked_sub(PARTS) {
            Some(left) => {
                self.parts = left;
                false
            }
            None => true,
        }
    }

    /// A frame of ours.
    pub(super) fn sent(&mut self, head: Head) {
        if head.kind == kind::DATA {
            self.fill((PER_DATA_FRAME + head.length as u64 / BYTES_PER_FRAME) * PARTS);
        }
    }

    fn fill(&mut self, parts: u64) {
        self.parts = self.parts.saturating_add(parts).min(self.per_second * BURST_SECONDS * PARTS);
    }
}

/// Calls are bounded elsewhere: by streams, and by what each may have in flight.
fn is_control(head: Head) -> bool {
    match head.kind {
        kind::HEADERS => false,
        kind::DATA => head.length == 0 && head.flags & END_STREAM == 0,
        _ => true,
    }
}
