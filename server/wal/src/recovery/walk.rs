//! A walk over the frames of a log, in order and without a gap.

use super::{Mark, damaged, epochs::EpochLog, start_of};
use crate::{
    WalError,
    frame::Frame,
    fs::FileSystem,
    planted::{self, Bug},
    recovery::Torn,
    segment::{Found, HEADER_BYTES, Loaded, SegmentId},
};

/// What was found so far.
#[derive(Debug)]
pub(super) struct Walk {
    shard: u32,
    /// Sequence of the next frame.
    next: u64,
    /// Where the next frame is looked for.
    at: (SegmentId, u64),
    frames: Vec<Found>,
}

impl Walk {
    pub(super) fn from(shard: u32, mark: &Mark) -> Self {
        Self { shard, next: mark.sequence + 1, at: start_of(mark), frames: Vec::new() }
    }

    /// Takes the frames of an epoch, up to its end if it was sealed.
    pub(super) fn through(&mut self, log: &EpochLog, sealed: Option<u64>) -> Result<(), WalError> {
        if let Some(first) = log.segments.first().filter(|first| first.epoch != self.at.0.epoch) {
            self.at = (*first, HEADER_BYTES as u64);
        }
        for found in &log.frames {
            let is_of_epoch = sealed.is_none_or(|through| self.next <= through) || planted::is(Bug::SealForgotten);
            if found.header.sequence == self.next && is_of_epoch {
                self.frames.push(*found);
                self.next += 1;
                self.at = (found.segment, found.end());
            }
        }
        log.broken.map_or(Ok(()), |broken| {
            let detail = "the header or the size of this segment is wrong".to_owned();
            Err(damaged(self.shard, broken, 0, self.next, detail))
        })
    }

    /// Below a sealed end nothing may be missing.
    pub(super) fn require_sealed(&self, epoch: u64, through: u64) -> Result<(), WalError> {
        if self.next > through {
            return Ok(());
        }
        Err(self.damaged(self.next, format!("epoch {epoch} was sealed at frame {through}")))
    }

    /// No frame may say that the one which is missing was durable.
    pub(super) fn require_no_later_proof(&self, log: &EpochLog) -> Result<(), WalError> {
        let proof = log.frames.iter().find(|found| found.header.durable_through >= self.next);
        proof.map_or(Ok(()), |found| {
            Err(self.damaged(self.next, format!("frame {} behind it says so", found.header.sequence)))
        })
    }

    /// What was begun behind the last frame of an epoch: there, or at the beginning of a later segment.
    pub(super) fn torn(&self, fs: &dyn FileSystem, log: &EpochLog) -> Result<Option<Torn>, WalError> {
        let later = log.segments.iter().filter(|id| **id > self.at.0).map(|id| (*id, HEADER_BYTES as u64));
        for (id, offset) in std::iter::once(self.at).chain(later) {
            let path = id.path(self.shard);
            let loaded = Loaded::read(fs, self.shard, id).map_err(|source| WalError::io(&path, source))?;
            let has_later = log.frames.iter().any(|found| found.segment == id && found.offset >= offset);
            if has_later || loaded.is_some_and(|loaded| loaded.looks_begun(offset, self.next)) {
                return Ok(Some(Torn { path, offset }));
            }
        }
        Ok(None)
    }

    /// Sequence of the last frame that was taken.
    pub(super) fn last(&self) -> u64 {
        self.next - 1
    }

    /// The segment in which the next frame is looked for.
    pub(super) fn place(&self) -> SegmentId {
        self.at.0
    }

    /// Takes out the frames above `sequence`.
    pub(super) fn split_off_above(&mut self, sequence: u64) -> Vec<Found> {
        let at = self.frames.partition_point(|found| found.header.sequence <= sequence);
        self.frames.split_off(at)
    }

    pub(super) fn into_frames(self) -> Vec<Found> {
        self.frames
    }

    /// The error for a frame that is missing where the walk ended.
    pub(super) fn damaged(&self, sequence: u64, detail: String) -> WalError {
        damaged(self.shard, self.at.0, self.at.1, sequence, detail)
    }
}

/// Reads frames that were found; one segment is in memory at a time.
pub(super) fn load(fs: &dyn FileSystem, shard: u32, frames: &[Found]) -> Result<Vec<Frame>, WalError> {
    let mut all = Vec::with_capacity(frames.len());
    for run in frames.chunk_by(|a, b| a.segment == b.segment) {
        let path = run[0].segment.path(shard);
        let loaded = Loaded::read(fs, shard, run[0].segment).map_err(|source| WalError::io(&path, source))?;
        for found in run {
            let payload = loaded.as_ref().and_then(|loaded| loaded.payload_checked(found));
            let payload = payload.ok_or_else(|| {
                damaged(
                    shard,
                    found.segment,
                    found.offset,
                    found.header.sequence,
                    "it was readable a moment ago".into(),
                )
            })?;
            all.push(Frame { header: found.header, payload });
        }
    }
    Ok(all)
}
