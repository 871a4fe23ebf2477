//! Writes the frames of one epoch, in order, into its segments. Never retries a sync: after an error the epoch is over.

use crate::{
    WalError,
    frame::{self, Header, Kind, Place},
    recovery::Mark,
    segment::{HEADER_BYTES, Segment, SegmentId, SegmentMaker},
};
use std::{collections::VecDeque, io, sync::Arc};

/// The log of a shard, open for writing in one epoch.
#[derive(Debug)]
pub struct Writer {
    maker: Arc<SegmentMaker>,
    shard: u32,
    segment: Segment,
    /// Where the next frame goes in `segment`.
    offset: u64,
    last_sequence: u64,
    synced_sequence: u64,
    last_kind: Kind,
    /// Segments, also of earlier epochs, that a checkpoint has not released, oldest first; without `segment`.
    older: VecDeque<SegmentId>,
    failed: bool,
}

impl Writer {
    pub(crate) fn new(
        maker: Arc<SegmentMaker>,
        shard: u32,
        last_sequence: u64,
        older: VecDeque<SegmentId>,
    ) -> Result<Self, WalError> {
        let segment = maker.take().map_err(|source| WalError::io("a new segment", source))?;
        Ok(Self {
            maker,
            shard,
            segment,
            offset: HEADER_BYTES as u64,
            last_sequence,
            synced_sequence: last_sequence,
            last_kind: Kind::Begin,
            older,
            failed: false,
        })
    }

    /// Writes one frame of decisions whose payload is `parts`, one after the other, and returns its sequence. It is in
    /// the operating system then, not yet durable.
    ///
    /// # Errors
    /// [`WalError::Full`]: there is no room on the disk; nothing was written, the same call may succeed later.
    /// Any other error ends the epoch.
    pub fn append(&mut self, parts: &[&[u8]]) -> Result<u64, WalError> {
        let header = self.next_header(Kind::Decisions);
        self.write(header, parts)?;
        Ok(header.sequence)
    }

    /// Makes all frames written so far durable.
    ///
    /// # Errors
    /// Any error ends the epoch: what was written since the last success is neither durable nor known to be lost.
    pub fn sync(&mut self) -> Result<(), WalError> {
        if self.synced_sequence < self.last_sequence {
            if self.failed {
                return Err(WalError::Closed);
            }
            // A sync that fails, for whatever reason, has lost what it was to save: the epoch ends.
            self.segment.file.sync_data().map_err(|source| self.fail(source))?;
            self.synced_sequence = self.last_sequence;
        }
        Ok(())
    }

    /// Writes and syncs an empty frame if the last one is not such a frame: it proves that the frame before it was
    /// durable, so that rot there is told from a torn write.
    ///
    /// # Errors
    /// As for [`Writer::append`] and [`Writer::sync`].
    pub fn seal(&mut self) -> Result<(), WalError> {
        self.sync()?;
        if self.last_kind == Kind::Seal {
            return Ok(());
        }
        let header = self.next_header(Kind::Seal);
        self.write(header, &[])?;
        self.sync()
    }

    /// Sequence of the last frame.
    #[must_use]
    pub fn last_sequence(&self) -> u64 {
        self.last_sequence
    }

    /// Highest sequence that is durable.
    #[must_use]
    pub fn synced_sequence(&self) -> u64 {
        self.synced_sequence
    }

    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.segment.id.epoch
    }

    /// Whether [`Writer::seal`] would do nothing.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.last_kind == Kind::Seal && self.synced_sequence == self.last_sequence
    }

    /// Bytes of all segments that no checkpoint has released.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        (self.older.len() as u64 + 1) * self.segment.len
    }

    /// The largest payload that fits a frame of this log, in bytes.
    #[must_use]
    pub fn max_payload(&self) -> usize {
        usize::try_from(self.segment.len).unwrap_or(usize::MAX) - HEADER_BYTES - frame::HEADER_BYTES - frame::ALIGN
    }

    /// The place after the last frame, for a checkpoint that covers all of them. Only a synced log has one.
    #[must_use]
    pub fn mark(&self) -> Option<Mark> {
        let SegmentId { epoch, number } = self.segment.id;
        (self.synced_sequence == self.last_sequence).then_some(Mark {
            sequence: self.last_sequence,
            epoch,
            segment: number,
            offset: self.offset,
        })
    }

    /// Who makes the next segments; for preparing them ahead of need.
    #[must_use]
    pub fn maker(&self) -> Arc<SegmentMaker> {
        Arc::clone(&self.maker)
    }

    /// Whether the present segment is at least half full, so that the next one should be prepared.
    #[must_use]
    pub fn wants_next_segment(&self) -> bool {
        self.offset >= self.segment.len / 2
    }

    /// Gives back the segments before the one that `mark` is in. The mark must be durable in the catalog.
    ///
    /// # Errors
    /// Those of the file system; what was not given back is given back at the next call.
    pub fn release(&mut self, mark: &Mark) -> Result<(), WalError> {
        let first = SegmentId { epoch: mark.epoch, number: mark.segment };
        while let Some(id) = self.older.front().copied().filter(|id| *id < first) {
            let path = id.path(self.shard);
            self.maker.release(path.clone()).map_err(|source| WalError::io(&path, source))?;
            self.older.pop_front();
        }
        Ok(())
    }

    pub(crate) fn append_rewritten(&mut self, header: Header, payload: &[u8]) -> Result<(), WalError> {
        self.write(Header { rewritten: true, durable_through: self.synced_sequence, ..header }, &[payload])
    }

    pub(crate) fn append_begin(&mut self, payload: &[u8]) -> Result<(), WalError> {
        let header = self.next_header(Kind::Begin);
        self.write(header, &[payload])?;
        self.sync()
    }

    fn next_header(&self, kind: Kind) -> Header {
        Header { kind, rewritten: false, sequence: self.last_sequence + 1, durable_through: self.synced_sequence }
    }

    fn write(&mut self, header: Header, parts: &[&[u8]]) -> Result<(), WalError> {
        let payload: usize = parts.iter().map(|part| part.len()).sum();
        let size = frame::size(payload) as u64;
        if payload > self.max_payload() {
            return Err(WalError::FrameTooLarge { payload, max: self.max_payload() });
        }
        if self.offset + size > self.segment.len {
            self.roll()?;
        }
        let place =
            Place { shard: self.shard, epoch: self.segment.id.epoch, nonce: self.segment.nonce, offset: self.offset };
        let head = frame::encode(header, parts, place);
        let padding = [0; frame::ALIGN];
        let mut all = Vec::with_capacity(parts.len() + 2);
        all.push(&head[..]);
        all.extend_from_slice(parts);
        all.push(&padding[..usize::try_from(size).unwrap_or(0) - frame::HEADER_BYTES - payload]);
        self.guard(|writer| writer.segment.file.write_at(&all, writer.offset))?;
        self.offset += size;
        self.last_sequence = header.sequence;
        self.last_kind = header.kind;
        Ok(())
    }

    /// Goes on in the next segment. The present one is synced first: a later sync covers only the later one.
    fn roll(&mut self) -> Result<(), WalError> {
        self.sync()?;
        let next = self.guard(|writer| writer.maker.take())?;
        let full = std::mem::replace(&mut self.segment, next);
        self.older.push_back(full.id);
        self.offset = HEADER_BYTES as u64;
        Ok(())
    }

    /// Runs one call to the disk. For want of room a write leaves the place of the frame as it was, to be written over:
    /// what came before it is whole. After any other error the epoch takes nothing more.
    fn guard<T>(&mut self, call: impl FnOnce(&mut Self) -> io::Result<T>) -> Result<T, WalError> {
        if self.failed {
            return Err(WalError::Closed);
        }
        call(self).map_err(|source| {
            if is_full(&source) {
                return WalError::Full { path: self.segment.id.path(self.shard), source };
            }
            self.fail(source)
        })
    }

    fn fail(&mut self, source: io::Error) -> WalError {
        self.failed = true;
        WalError::io(&self.segment.id.path(self.shard), source)
    }
}

/// Whether an error says that there is no room: `ENOSPC` or `EDQUOT`.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
