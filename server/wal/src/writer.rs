//! Writes the frames of one epoch, in order, into its segments. Never retries a sync: after an error the epoch is over.

use crate::{
    WalError,
    frame::{self, Header, Kind, Place},
    planted::{self, Bug},
    recovery::Mark,
    segment::{HEADER_BYTES, MakeError, Segment, SegmentId, SegmentMaker, epoch_dir},
};
use std::{collections::VecDeque, io, mem, sync::Arc};

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
        first_bytes: u64,
    ) -> Result<Self, WalError> {
        let segment = maker.take_first(first_bytes).map_err(|error| error.in_epoch(shard, maker.epoch()))?;
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
    /// [`WalError::Full`]: there is no room on the disk; nothing of the frame counts, now or after any crash, and the
    /// same call may succeed later. [`WalError::FrameTooLarge`]: nothing was written. Any other error ends the epoch,
    /// and whether the frame will be found is not known.
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
        self.require_open()?;
        if self.synced_sequence < self.last_sequence {
            // A sync that fails, for whatever reason, has lost what it was to save: the epoch ends.
            if !planted::is(Bug::AckBeforeSync) {
                self.segment.file.sync_data().map_err(|source| self.fail(source))?;
            }
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

    /// Makes sure that a frame with a payload of up to `payload` bytes has a place, so that a full disk is noticed before
    /// anything is decided.
    ///
    /// # Errors
    /// [`WalError::Full`] if there is no room for the segment that it would need. Any other error but
    /// [`WalError::FrameTooLarge`] ends the epoch.
    pub fn reserve(&mut self, payload: usize) -> Result<(), WalError> {
        self.require_open()?;
        self.require_fit(payload)?;
        if self.fits(payload) || self.maker.is_ready() {
            return Ok(());
        }
        let made = self.maker.make_ready();
        made.map_err(|error| self.no_segment(error))
    }

    fn fits(&self, payload: usize) -> bool {
        self.offset + frame::size(payload) as u64 <= self.segment.len
    }

    /// What [`Writer::reserve`] would take from the disk, in bytes: nothing, or a segment.
    #[must_use]
    pub fn room_to_reserve(&self, payload: usize) -> u64 {
        if self.fits(payload) || self.maker.has_ready() { 0 } else { self.maker.segment_bytes() }
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
        (self.older.len() as u64 + 1) * self.maker.segment_bytes()
    }

    /// The largest payload that fits a frame of this log, in bytes.
    #[must_use]
    pub fn max_payload(&self) -> usize {
        let len = usize::try_from(self.maker.segment_bytes()).unwrap_or(usize::MAX);
        len.saturating_sub(HEADER_BYTES + frame::HEADER_BYTES + frame::ALIGN)
    }

    /// The place after the last frame, for a checkpoint that covers all of them. Only a synced log has one, and
    /// only before its epoch ended.
    #[must_use]
    pub fn mark(&self) -> Option<Mark> {
        let SegmentId { epoch, number } = self.segment.id;
        (!self.failed && self.synced_sequence == self.last_sequence).then_some(Mark {
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
    /// [`WalError::Closed`] after the end of the epoch. Those of the file system; what was not given back is given back
    /// at the next call.
    pub fn release(&mut self, mark: &Mark) -> Result<(), WalError> {
        self.require_open()?;
        let first = SegmentId { epoch: mark.epoch, number: mark.segment };
        while let Some(id) = self.older.front().copied().filter(|id| *id < first) {
            let path = id.path(self.shard);
            self.maker.release(path.clone()).map_err(|source| WalError::io(&path, source))?;
            self.older.pop_front();
        }
        Ok(())
    }

    /// Gives the disk back what [`Writer::release`] keeps for use again, and the segment that is ready unless a frame with
    /// a payload of `payload` bytes needs it: for when it is full.
    ///
    /// # Errors
    /// [`WalError::Closed`] after the end of the epoch. Those of the file system.
    pub fn give_back(&mut self, payload: usize) -> Result<(), WalError> {
        self.require_open()?;
        let and_ready = self.fits(payload);
        self.maker.give_back(and_ready).map_err(|source| WalError::io(&epoch_dir(self.shard, self.epoch()), source))
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
        let sequence = self.last_sequence + 1;
        let durable_through = if planted::is(Bug::WrongDurableThrough) { sequence } else { self.synced_sequence };
        Header { kind, rewritten: false, sequence, durable_through }
    }

    fn write(&mut self, header: Header, parts: &[&[u8]]) -> Result<(), WalError> {
        self.require_open()?;
        let payload: usize = parts.iter().map(|part| part.len()).sum();
        self.require_fit(payload)?;
        if !self.fits(payload) {
            self.roll()?;
        }
        let size = frame::size(payload);
        let head = frame::encode(header, parts, self.place());
        let padding = [0; frame::ALIGN];
        let mut all = Vec::with_capacity(parts.len() + 2);
        all.push(&head[..]);
        all.extend_from_slice(parts);
        all.push(&padding[..size - frame::HEADER_BYTES - payload]);
        match self.segment.file.write_at(&all, self.offset) {
            Ok(()) => {}
            Err(source) if is_full(&source) => {
                self.cut_back(size)?;
                return Err(WalError::Full { path: self.segment.id.path(self.shard), source });
            }
            Err(source) => return Err(self.fail(source)),
        }
        self.offset += size as u64;
        self.last_sequence = header.sequence;
        self.last_kind = header.kind;
        Ok(())
    }

    /// Makes sure that nothing counts of a frame of `size` bytes that found no room. A part of one never does, and is
    /// written over by the next; but the error may have come after the last byte. Such a frame is broken durably, since
    /// the caller will say that it was not applied.
    fn cut_back(&mut self, size: usize) -> Result<(), WalError> {
        let mut bytes = vec![0; size];
        let read = self.segment.file.read_at(&mut bytes, self.offset).map_err(|source| self.fail(source))?;
        if frame::decode(&bytes[..read], self.place()).is_some() {
            let zeros = [0; frame::HEADER_BYTES];
            self.segment.file.write_at(&[&zeros], self.offset).map_err(|source| self.fail(source))?;
            self.segment.file.sync_data().map_err(|source| self.fail(source))?;
            self.synced_sequence = self.last_sequence;
        }
        Ok(())
    }

    /// Goes on in the next segment. The present one is synced first: a later sync covers only the later one.
    fn roll(&mut self) -> Result<(), WalError> {
        self.sync()?;
        let taken = self.maker.take();
        let next = taken.map_err(|error| self.no_segment(error))?;
        let full = mem::replace(&mut self.segment, next);
        self.older.push_back(full.id);
        self.offset = HEADER_BYTES as u64;
        Ok(())
    }

    /// Where the next frame belongs.
    fn place(&self) -> Place {
        let Segment { id, nonce, .. } = self.segment;
        Place { shard: self.shard, epoch: id.epoch, nonce, offset: self.offset }
    }

    fn require_open(&self) -> Result<(), WalError> {
        if self.failed { Err(WalError::Closed) } else { Ok(()) }
    }

    fn require_fit(&self, payload: usize) -> Result<(), WalError> {
        let max = self.max_payload();
        if payload > max { Err(WalError::FrameTooLarge { payload, max }) } else { Ok(()) }
    }

    /// Only a lack of room leaves the epoch as it was.
    fn no_segment(&mut self, error: MakeError) -> WalError {
        self.failed |= matches!(error, MakeError::Failed(_));
        error.in_epoch(self.shard, self.epoch())
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
