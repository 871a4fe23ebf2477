//! The end of a group commit: its frame is written, synced if anyone waits for that, published, and answered.

use super::{SYNC_WRITTEN_BYTES, ShardError, ShardWriter, unknown};
use crate::{
    apply::{plain::disk_full, view::Piece},
    telemetry::trace::CommitTrace,
};
use inkpot_proto::v1::Durability;
use inkpot_wal::{
    WalError,
    frame::{Frame, Header, Kind},
};
use std::time::Instant;

impl ShardWriter {
    /// Writes the frame, syncs it if that is wanted, publishes it, answers.
    pub(super) fn finish(&mut self, now: Instant) -> Result<(), ShardError> {
        self.trace = CommitTrace::begin(self.number, std::mem::take(&mut self.traces));
        if let Err(error) = self.write_frame(now) {
            let refused = match &error {
                // The frame's place will be written over: it was never there.
                ShardError::Wal(WalError::Full { path, .. }) => disk_full(path),
                _ => unknown(&error),
            };
            self.permits.clear();
            self.answers.fail(&refused);
            return Err(error);
        }
        if let Err(error) = self.carry_out() {
            self.permits.clear();
            self.answers.fail(&unknown(&error));
            return Err(error);
        }
        let level = if self.unsynced_since.is_none() { Durability::Synced } else { Durability::Written };
        // Before the acks: who has one must find the room that it had taken.
        self.permits.clear();
        self.account.settle(&mut self.files);
        let appends = self.answers.appends();
        if appends > 0 {
            self.metrics.commit_appends.number(appends);
        }
        self.answers.release(level, &self.metrics);
        if let Some(trace) = self.trace.take() {
            trace.end(level);
        }
        Ok(())
    }

    fn write_frame(&mut self, now: Instant) -> Result<(), ShardError> {
        let mut payload = None;
        if !self.encoder.is_empty() {
            let (bytes, data) = self.encoder.finish();
            let durable_through = self.log.synced_sequence();
            let span = self.trace.as_ref().map(CommitTrace::write);
            let sequence = self.log.append(&[&bytes])?;
            drop(span);
            self.metrics.commit_size.number(bytes.len() as u64);
            let header = Header { kind: Kind::Decisions, rewritten: false, sequence, durable_through };
            self.retained_bytes += bytes.len();
            self.retained.push(Frame { header, payload: bytes.clone() });
            self.last_write = now;
            self.unsynced_since.get_or_insert(now);
            payload = Some((bytes, data, sequence));
        }
        if (self.sync_wanted && self.unsynced_since.is_some()) || self.retained_bytes >= SYNC_WRITTEN_BYTES {
            self.sync()?;
        }
        self.sync_wanted = false;
        if let Some((bytes, data, sequence)) = payload {
            for draft in self.drafts.drain(..) {
                let start = data + draft.start;
                let data = bytes.slice(start..start + draft.len);
                self.backlog.push(&draft.view, Piece { offset: draft.offset, data, sequence }, draft.crc32c);
            }
        }
        Ok(())
    }

    pub(super) fn sync(&mut self) -> Result<(), ShardError> {
        let _span = self.trace.as_ref().map(CommitTrace::sync);
        let begin = Instant::now();
        self.log.sync()?;
        self.metrics.sync_duration.since(begin);
        self.synced();
        Ok(())
    }

    pub(super) fn synced(&mut self) {
        self.backlog.set_synced(self.log.synced_sequence());
        self.retained.clear();
        self.retained_bytes = 0;
        self.unsynced_since = None;
    }
}
