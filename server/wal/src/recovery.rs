//! Reading a log after a stop of any kind, and starting the next epoch.
//!
//! [`Survey::read`] walks the frames from the catalog's mark and decides what is torn and what is damaged: within the
//! last epoch an invalid frame is damage if a later valid frame has `durable_through` at or above it, else it is the
//! torn tail; below the sealed end of an older epoch everything must be there. It changes nothing on disk.
//! [`Survey::begin`] carries frames that are valid but not proven durable into a new epoch, under their sequences,
//! syncs them, and only then writes and syncs the begin frame. An epoch without one never was, so two power losses in a
//! row lose nothing.

mod cut;
mod epochs;
mod walk;

pub use cut::{Cut, Extent};

use self::{
    epochs::{Logs, chain},
    walk::{Walk, load},
};
use crate::{
    WalError,
    frame::{self, Frame, Kind},
    fs::{Attributes, FileSystem},
    planted::{self, Bug},
    reserve::Reserve,
    segment::{Found, HEADER_BYTES, SegmentId, SegmentMaker, epoch_dir, parse_number, wal_dir},
    writer::{Writer, is_full},
};
use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::Arc,
};

/// A place in the log up to which everything is in synced plain files: kept in the catalog. The default is the
/// beginning of a log that has no epoch yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Sequence of the last frame that is covered.
    pub sequence: u64,
    /// Epoch in which the next frame lies; 0 before the first.
    pub epoch: u64,
    /// Segment of that epoch.
    pub segment: u64,
    /// Where the next frame begins in it, in bytes.
    pub offset: u64,
}

/// What a begin frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// The epoch that begins. In another epoch's segment the frame is a relic that was carried over.
    pub epoch: u64,
    /// The older epochs on disk, ascending, each with the sequence at which it ends; inclusive.
    pub sealed: Vec<(u64, u64)>,
}

impl Begin {
    fn encode(&self) -> Vec<u8> {
        let pairs = self.sealed.iter().flat_map(|(epoch, through)| [*epoch, *through]);
        std::iter::once(self.epoch).chain(pairs).flat_map(u64::to_le_bytes).collect()
    }

    fn decode(payload: &[u8]) -> Option<Self> {
        let (words, rest) = payload.as_chunks::<8>();
        let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let (epoch, pairs) = words.split_first().filter(|_| rest.is_empty())?;
        let (pairs, rest) = pairs.as_chunks::<2>();
        rest.is_empty().then(|| Self { epoch: *epoch, sealed: pairs.iter().map(|pair| (pair[0], pair[1])).collect() })
    }
}

/// What a process that did not die still holds of a log whose sync failed: the page cache is not evidence.
#[derive(Clone, Debug, Default)]
pub struct Retained {
    /// Frames since the last successful sync, with dense sequences.
    pub frames: Vec<Frame>,
    /// Sequence of the last frame whose append returned; nothing above it is taken from disk, but for what is proven
    /// durable. Either that of the last frame of decisions, or of a seal behind it that was synced.
    pub last_sequence: u64,
}

/// The torn tail of a log: incomplete, never acknowledged as synced, left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Segment.
    pub path: String,
    /// Where the first incomplete frame begins, in bytes.
    pub offset: u64,
}

/// What lies in a log. Made by [`Survey::read`].
#[derive(Debug)]
pub struct Survey {
    shard: u32,
    mark: Mark,
    /// Frames after the mark that are proven durable, in order.
    durable: Vec<Found>,
    /// Frames after those, in order: they become durable with the next epoch.
    unproven: Vec<Frame>,
    proven: u64,
    torn: Option<Torn>,
    /// Epochs that the next begin frame has to name.
    sealed: Vec<(u64, u64)>,
    /// Highest epoch that has a directory, begun or not.
    highest_epoch: u64,
    /// Segments that are still needed, oldest first.
    live: VecDeque<SegmentId>,
    /// Segments below the mark.
    below: Vec<SegmentId>,
    /// Files of epochs that never were, and of segments that were never finished.
    void: Vec<String>,
}

impl Survey {
    /// Reads the log of `shard` from `mark` on.
    ///
    /// # Errors
    /// [`WalError::Damaged`] if something durable is missing, [`WalError::Io`] if it cannot be read.
    pub fn read(fs: &dyn FileSystem, shard: u32, mark: Mark, retained: Option<Retained>) -> Result<Self, WalError> {
        let logs = Logs::read(fs, shard, &mark)?;
        let chain = chain(&logs, shard, &mark)?;
        let mut walk = Walk::from(shard, &mark);
        let mut proven = mark.sequence;
        let mut torn = None;
        for link in &chain {
            if let Some(log) = logs.epochs.get(&link.epoch) {
                walk.through(log, link.sealed)?;
                if link.sealed.is_none() {
                    walk.require_no_later_proof(log)?;
                    proven = log.frames.iter().map(|found| found.header.durable_through).fold(proven, u64::max);
                    torn = walk.torn(fs, log)?;
                }
            }
            if let Some(through) = link.sealed {
                walk.require_sealed(link.epoch, through)?;
                proven = proven.max(through);
            }
        }
        if planted::is(Bug::UnprovenServed) {
            proven = walk.last();
        }
        let tail = walk.split_off_above(proven);
        let unproven = merge(load(fs, shard, &tail)?, proven, retained, &walk)?;
        let (live, mut void) = (logs.segments_of(&chain), logs.unfinished.clone());
        void.extend(logs.segments_not_of(&chain).map(|id| id.path(shard)));
        Ok(Self {
            shard,
            mark,
            durable: walk.into_frames(),
            unproven,
            proven,
            torn,
            sealed: chain.iter().map(|link| (link.epoch, link.sealed.unwrap_or(proven))).collect(),
            highest_epoch: logs.epochs.keys().last().copied().unwrap_or(0).max(mark.epoch),
            live,
            below: logs.below,
            void,
        })
    }

    /// Hands every frame of decisions after the mark to `visit`, in order; one segment is in memory at a time.
    ///
    /// # Errors
    /// Those of `visit`, and [`WalError`] if a segment can no longer be read.
    pub fn replay<E: From<WalError>>(
        &self,
        fs: &dyn FileSystem,
        mut visit: impl FnMut(Frame) -> Result<(), E>,
    ) -> Result<(), E> {
        for run in self.durable.chunk_by(|a, b| a.segment == b.segment) {
            for frame in load(fs, self.shard, run)? {
                if frame.header.kind == Kind::Decisions {
                    visit(frame)?;
                }
            }
        }
        for frame in self.unproven.iter().filter(|frame| frame.header.kind == Kind::Decisions) {
            visit(frame.clone())?;
        }
        Ok(())
    }

    /// Sequence of the last frame.
    #[must_use]
    pub fn last_sequence(&self) -> u64 {
        self.proven + self.unproven.len() as u64
    }

    /// The torn tail, if there was one.
    #[must_use]
    pub fn torn(&self) -> Option<&Torn> {
        self.torn.as_ref()
    }

    /// Whether no frame lies behind the mark.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last_sequence() == self.mark.sequence
    }

    /// Starts the next epoch. When this returns, every frame of the survey is durable. To be called again only if it
    /// failed: an epoch that took frames is unknown to this survey.
    ///
    /// # Errors
    /// Those of the file system; then nothing was given up, and this or a new survey may try again.
    pub fn begin(&self, fs: &Arc<dyn FileSystem>, segment_bytes: u64) -> Result<Writer, WalError> {
        let reserve = Reserve::new(Arc::clone(fs), self.shard, segment_bytes);
        let epoch = create_epoch(fs.as_ref(), self.shard, self.highest_epoch + 1, &reserve)?;
        let begun = self.begin_epoch(fs.as_ref(), SegmentMaker::new(epoch, reserve));
        // If it failed, this may be one of them.
        remove_empty_epochs(fs.as_ref(), self.shard, epoch + u64::from(begun.is_err()));
        begun
    }

    fn begin_epoch(&self, fs: &dyn FileSystem, maker: SegmentMaker) -> Result<Writer, WalError> {
        let maker = Arc::new(maker);
        self.give_up_dead(fs, &maker)?;
        let epoch = maker.epoch();
        let begin = Begin { epoch, sealed: self.sealed.clone() }.encode();
        let frames = self.unproven.iter().map(|frame| frame.payload.len()).chain([begin.len(), 0]);
        let first_bytes = frames.map(|payload| frame::size(payload) as u64).sum();
        let mut writer = Writer::new(maker, self.shard, self.proven, self.live.clone(), first_bytes)?;
        for frame in &self.unproven {
            writer.append_rewritten(frame.header, &frame.payload)?;
        }
        writer.sync()?;
        writer.append_begin(&begin)?;
        Ok(writer)
    }

    /// Makes room for the new epoch from what is no part of the log whether or not the epoch will be, so that attempts
    /// on a full disk do not fill it further. What never was is not used again but removed: power loss could leave it
    /// under its old name with the header of its new use, which in the log of an epoch that may have begun is damage.
    fn give_up_dead(&self, fs: &dyn FileSystem, maker: &SegmentMaker) -> Result<(), WalError> {
        for path in &self.void {
            match fs.remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(WalError::io(path, error)),
                _ => {}
            }
        }
        for path in self.below.iter().map(|id| id.path(self.shard)) {
            maker.release(path.clone()).map_err(|source| WalError::io(&path, source))?;
        }
        Ok(())
    }
}

/// The frames above `proven`: from disk, or, if the process still holds them, from memory.
fn merge(disk: Vec<Frame>, proven: u64, retained: Option<Retained>, walk: &Walk) -> Result<Vec<Frame>, WalError> {
    let Some(retained) = retained else { return Ok(disk) };
    let mut frames: BTreeMap<u64, Frame> = disk.into_iter().map(|frame| (frame.header.sequence, frame)).collect();
    frames.extend(retained.frames.into_iter().map(|frame| (frame.header.sequence, frame)));
    let frames: Vec<Frame> = frames
        .into_values()
        .filter(|frame| (proven + 1..=retained.last_sequence).contains(&frame.header.sequence))
        .collect();
    let missing = (proven + 1..=retained.last_sequence)
        .find(|sequence| frames.get((sequence - proven - 1) as usize).is_none_or(|f| f.header.sequence != *sequence));
    match missing {
        None => Ok(frames),
        Some(sequence) => Err(walk.damaged(sequence, "this process had synced it".to_owned())),
    }
}

fn damaged(shard: u32, id: SegmentId, offset: u64, sequence: u64, detail: String) -> WalError {
    WalError::Damaged { path: id.path(shard), offset, sequence, detail }
}

fn damaged_mark(shard: u32, mark: &Mark, detail: &str) -> WalError {
    let (id, offset) = start_of(mark);
    damaged(shard, id, offset, mark.sequence + 1, detail.to_owned())
}

/// Where a walk from the mark begins.
fn start_of(mark: &Mark) -> (SegmentId, u64) {
    (SegmentId { epoch: mark.epoch, number: mark.segment }, mark.offset.max(HEADER_BYTES as u64))
}

fn list_epochs(fs: &dyn FileSystem, shard: u32) -> Result<Vec<u64>, WalError> {
    let dir = wal_dir(shard);
    let entries = fs.read_dir(&dir).map_err(|source| WalError::io(&dir, source))?;
    let names = entries.iter().filter(|entry| entry.is_dir);
    let mut epochs: Vec<u64> = names.filter_map(|entry| parse_number(&entry.name)).collect();
    epochs.sort_unstable();
    Ok(epochs)
}

/// Takes the first free epoch from `epoch` on: exclusively, so that two attempts never share one.
fn create_epoch(fs: &dyn FileSystem, shard: u32, mut epoch: u64, reserve: &Reserve) -> Result<u64, WalError> {
    loop {
        let dir = epoch_dir(shard, epoch);
        match fs.create_dir(&dir, Attributes::PRIVATE_DIR) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => epoch += 1,
            Err(error) if is_full(&error) && reserve.give_for_start(0) => {}
            Err(source) => return Err(WalError::io(&dir, source)),
        }
    }
    let dir = wal_dir(shard);
    fs.sync_dir(&dir).map_err(|source| WalError::io(&dir, source))?;
    Ok(epoch)
}

/// Removes directories of older epochs that hold nothing any more. One that cannot be removed is tried again at the
/// next start; it does no harm.
fn remove_empty_epochs(fs: &dyn FileSystem, shard: u32, below: u64) {
    for epoch in list_epochs(fs, shard).unwrap_or_default().into_iter().filter(|epoch| *epoch < below) {
        let _ = fs.remove_dir(&epoch_dir(shard, epoch));
    }
}

#[cfg(test)]
mod tests;
