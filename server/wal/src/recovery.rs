//! Reading a log after a stop of any kind, and starting the next epoch.
//!
//! [`Survey::read`] walks the frames from the catalog's mark and decides what is torn and what is damaged: within the
//! last epoch an invalid frame is damage if a later valid frame has `durable_through` at or above it, else it is the
//! torn tail; below the sealed end of an older epoch everything must be there. It changes nothing on disk.
//! [`Survey::begin`] carries frames that are valid but not proven durable into a new epoch, under their sequences,
//! syncs them, and only then writes and syncs the begin frame. An epoch without one never was, so two power losses in a
//! row lose nothing.

use crate::{
    WalError,
    frame::{Frame, Kind},
    fs::{Attributes, FileSystem},
    segment::{self, Found, HEADER_BYTES, Loaded, SegmentId, SegmentMaker, epoch_dir, wal_dir},
    writer::Writer,
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
        Some(Self { epoch: *epoch, sealed: pairs.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect() })
    }
}

/// What a process that did not die still holds of a log whose sync failed: the page cache is not evidence.
#[derive(Debug, Default)]
pub struct Retained {
    /// Frames since the last successful sync, with dense sequences.
    pub frames: Vec<Frame>,
    /// Sequence of the last frame that was written whole; nothing above it is taken from disk.
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
    /// Segments that are not: below the mark, or of epochs that never were.
    dead: Vec<SegmentId>,
}

impl Survey {
    /// Reads the log of `shard` from `mark` on.
    ///
    /// # Errors
    /// [`WalError::Damaged`] if something durable is missing, [`WalError::Io`] if it cannot be read.
    pub fn read(fs: &dyn FileSystem, shard: u32, mark: Mark, retained: Option<Retained>) -> Result<Self, WalError> {
        let epochs = list_epochs(fs, shard)?;
        let mut logs = BTreeMap::new();
        let mut dead = Vec::new();
        for &epoch in &epochs {
            let log = EpochLog::read(fs, shard, epoch, &mark, &mut dead)?;
            logs.insert(epoch, log);
        }
        let chain = chain(&logs, shard, &mark)?;
        for (epoch, log) in &logs {
            if !chain.iter().any(|link| link.epoch == *epoch) {
                dead.extend(&log.segments);
            }
        }
        let mut walk = Walk { shard, next: mark.sequence + 1, at: start_of(&mark), frames: Vec::new() };
        let mut proven = mark.sequence;
        let mut torn = None;
        for link in &chain {
            let Some(log) = logs.get(&link.epoch) else {
                walk.require_sealed(link)?;
                continue;
            };
            walk.through(log, link.sealed);
            match link.sealed {
                Some(_) => {
                    walk.require_sealed(link)?;
                    proven = walk.next - 1;
                }
                None => {
                    walk.require_no_later_proof(log)?;
                    proven = log.frames.iter().map(|f| f.header.durable_through).fold(proven, u64::max);
                    torn = walk.torn(fs)?;
                }
            }
        }
        let unproven_at = walk.frames.partition_point(|found| found.header.sequence <= proven);
        let tail = walk.frames.split_off(unproven_at);
        let unproven = merge(load(fs, shard, &tail)?, proven, retained, &walk)?;
        let sealed = chain.iter().map(|link| (link.epoch, link.sealed.unwrap_or(proven))).collect();
        let live = chain.iter().filter_map(|link| logs.get(&link.epoch)).flat_map(|log| log.segments.clone()).collect();
        let highest_epoch = epochs.last().copied().unwrap_or(0).max(mark.epoch);
        Ok(Self { shard, mark, durable: walk.frames, unproven, proven, torn, sealed, highest_epoch, live, dead })
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

    /// Starts the next epoch. When this returns, every frame of the survey is durable.
    ///
    /// # Errors
    /// Those of the file system; then the epoch never was, and a new survey may try again.
    pub fn begin(self, fs: &Arc<dyn FileSystem>, segment_bytes: u64) -> Result<Writer, WalError> {
        let epoch = create_epoch(fs.as_ref(), self.shard, self.highest_epoch + 1)?;
        let maker = Arc::new(SegmentMaker::new(Arc::clone(fs), self.shard, epoch, segment_bytes));
        let mut writer = Writer::new(Arc::clone(&maker), self.shard, self.proven, self.live)?;
        for frame in &self.unproven {
            writer.append_rewritten(frame.header, &frame.payload)?;
        }
        writer.sync()?;
        writer.append_begin(&Begin { epoch, sealed: self.sealed }.encode())?;
        // Only now is anything given up: before the begin frame was durable the older epochs were the log.
        for id in self.dead {
            let path = id.path(self.shard);
            maker.release(path.clone()).map_err(|source| WalError::io(&path, source))?;
        }
        remove_empty_epochs(fs.as_ref(), self.shard, epoch);
        Ok(writer)
    }
}

/// Where a walk from the mark begins.
fn start_of(mark: &Mark) -> (SegmentId, u64) {
    (SegmentId { epoch: mark.epoch, number: mark.segment }, mark.offset.max(HEADER_BYTES as u64))
}

/// An epoch that belongs to the log, and where it ends if a later one has sealed it.
#[derive(Clone, Copy, Debug)]
struct Link {
    epoch: u64,
    sealed: Option<u64>,
}

/// What lies on disk of one epoch.
#[derive(Debug)]
struct EpochLog {
    segments: Vec<SegmentId>,
    /// All valid frames from the mark on, also behind damage.
    frames: Vec<Found>,
    begin: Option<Begin>,
    /// A frame that only an epoch that had begun can have.
    first_own: Option<Found>,
}

impl EpochLog {
    fn read(
        fs: &dyn FileSystem,
        shard: u32,
        epoch: u64,
        mark: &Mark,
        dead: &mut Vec<SegmentId>,
    ) -> Result<Self, WalError> {
        let (start, start_offset) = start_of(mark);
        let mut log = Self { segments: Vec::new(), frames: Vec::new(), begin: None, first_own: None };
        for id in segment::list(fs, shard, epoch)? {
            if id < start {
                dead.push(id);
                continue;
            }
            log.segments.push(id);
            let loaded = Loaded::read(fs, shard, id).map_err(|source| WalError::io(&id.path(shard), source))?;
            if let Some(loaded) = loaded {
                let offset = if id == start { start_offset } else { 0 };
                log.take(epoch, &loaded, offset);
            } else if id == start {
                return Err(damaged_mark(shard, mark, "its header is not that of this segment"));
            }
        }
        Ok(log)
    }

    fn take(&mut self, epoch: u64, loaded: &Loaded, offset: u64) {
        for found in loaded.frames(offset) {
            if found.header.kind == Kind::Begin
                && let Some(begin) = Begin::decode(&loaded.payload(&found)).filter(|begin| begin.epoch == epoch)
            {
                self.begin = Some(begin);
            } else if !found.header.rewritten && self.first_own.is_none() {
                self.first_own = Some(found);
            }
            self.frames.push(found);
        }
    }
}

/// The epochs that make up the log, in order. The newest begin frame alone tells.
fn chain(logs: &BTreeMap<u64, EpochLog>, shard: u32, mark: &Mark) -> Result<Vec<Link>, WalError> {
    let start = SegmentId { epoch: mark.epoch, number: mark.segment };
    let has_start = logs.get(&mark.epoch).is_some_and(|log| log.segments.first() == Some(&start));
    if mark.epoch > 0 && !has_start {
        return Err(damaged_mark(shard, mark, "the catalog names it, and it is not there"));
    }
    for (epoch, log) in logs.range(mark.epoch + 1..).rev() {
        if let Some(begin) = &log.begin {
            let mut links: Vec<Link> = begin
                .sealed
                .iter()
                .filter(|(sealed, _)| *sealed >= mark.epoch)
                .map(|&(epoch, through)| Link { epoch, sealed: Some(through) })
                .collect();
            if mark.epoch > 0 && links.first().is_none_or(|link| link.epoch != mark.epoch) {
                return Err(damaged_mark(
                    shard,
                    mark,
                    "the newest epoch does not know it: the catalog is from elsewhere",
                ));
            }
            links.push(Link { epoch: *epoch, sealed: None });
            return Ok(links);
        }
        if let Some(own) = log.first_own {
            let detail = format!("the begin frame of epoch {epoch} is broken, and a frame that came after it is not");
            return Err(damaged(shard, own.segment, HEADER_BYTES as u64, own.header.sequence, detail));
        }
    }
    let only = Link { epoch: mark.epoch, sealed: None };
    Ok(if mark.epoch > 0 { vec![only] } else { Vec::new() })
}

/// A walk over frames with dense sequences.
struct Walk {
    shard: u32,
    next: u64,
    /// Where the next frame is looked for.
    at: (SegmentId, u64),
    frames: Vec<Found>,
}

impl Walk {
    fn through(&mut self, log: &EpochLog, sealed: Option<u64>) {
        if let Some(first) = log.segments.first().filter(|first| first.epoch != self.at.0.epoch) {
            self.at = (*first, HEADER_BYTES as u64);
        }
        for found in &log.frames {
            if found.header.sequence == self.next && sealed.is_none_or(|through| self.next <= through) {
                self.frames.push(*found);
                self.next += 1;
                self.at = (found.segment, found.end());
            }
        }
    }

    fn require_sealed(&self, link: &Link) -> Result<(), WalError> {
        match link.sealed.filter(|through| self.next <= *through) {
            None => Ok(()),
            Some(through) => {
                let detail = format!("epoch {} was sealed at frame {through}", link.epoch);
                Err(damaged(self.shard, self.at.0, self.at.1, self.next, detail))
            }
        }
    }

    fn require_no_later_proof(&self, log: &EpochLog) -> Result<(), WalError> {
        let proof = log.frames.iter().find(|found| found.header.durable_through >= self.next);
        proof.map_or(Ok(()), |found| {
            let detail = format!("frame {} behind it says so", found.header.sequence);
            Err(damaged(self.shard, self.at.0, self.at.1, self.next, detail))
        })
    }

    fn torn(&self, fs: &dyn FileSystem) -> Result<Option<Torn>, WalError> {
        let (id, offset) = self.at;
        let path = id.path(self.shard);
        match Loaded::read(fs, self.shard, id) {
            Ok(loaded) => Ok(loaded.filter(|loaded| loaded.has_bytes_from(offset)).map(|_| Torn { path, offset })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(WalError::io(&path, source)),
        }
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
        Some(sequence) => {
            Err(damaged(walk.shard, walk.at.0, walk.at.1, sequence, "this process had synced it".to_owned()))
        }
    }
}

fn load(fs: &dyn FileSystem, shard: u32, frames: &[Found]) -> Result<Vec<Frame>, WalError> {
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

fn damaged(shard: u32, id: SegmentId, offset: u64, sequence: u64, detail: String) -> WalError {
    WalError::Damaged { path: id.path(shard), offset, sequence, detail }
}

fn damaged_mark(shard: u32, mark: &Mark, detail: &str) -> WalError {
    let (id, offset) = start_of(mark);
    damaged(shard, id, offset, mark.sequence + 1, detail.to_owned())
}

fn list_epochs(fs: &dyn FileSystem, shard: u32) -> Result<Vec<u64>, WalError> {
    let dir = wal_dir(shard);
    let entries = fs.read_dir(&dir).map_err(|source| WalError::io(&dir, source))?;
    let mut epochs: Vec<u64> =
        entries.iter().filter(|entry| entry.is_dir).filter_map(|entry| entry.name.parse().ok()).collect();
    epochs.sort_unstable();
    Ok(epochs)
}

/// Takes the first free epoch from `epoch` on: exclusively, so that two attempts never share one.
fn create_epoch(fs: &dyn FileSystem, shard: u32, mut epoch: u64) -> Result<u64, WalError> {
    loop {
        let dir = epoch_dir(shard, epoch);
        match fs.create_dir(&dir, Attributes::PRIVATE_DIR) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => epoch += 1,
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
