//! What lies on disk of each epoch, and which epochs make up the log.

use super::{Begin, Mark, damaged, damaged_mark, list_epochs, start_of};
use crate::{
    WalError,
    frame::{ALIGN, Kind},
    fs::FileSystem,
    segment::{self, Found, HEADER_BYTES, Loaded, SegmentId},
};
use std::collections::{BTreeMap, VecDeque};

/// Everything in the log of a shard.
#[derive(Debug, Default)]
pub(super) struct Logs {
    pub(super) epochs: BTreeMap<u64, EpochLog>,
    /// Segments below the mark, which are not read.
    pub(super) below: Vec<SegmentId>,
    /// Paths of segments that were never finished.
    pub(super) unfinished: Vec<String>,
}

impl Logs {
    pub(super) fn read(fs: &dyn FileSystem, shard: u32, mark: &Mark) -> Result<Self, WalError> {
        let (start, _) = start_of(mark);
        let mut logs = Self::default();
        for epoch in list_epochs(fs, shard)? {
            let listing = segment::list(fs, shard, epoch)?;
            let (below, segments) = listing.segments.into_iter().partition(|id| *id < start);
            logs.below.extend::<Vec<_>>(below);
            logs.unfinished.extend(listing.unfinished);
            logs.epochs.insert(epoch, EpochLog::read(fs, shard, segments, mark)?);
        }
        Ok(logs)
    }

    /// Makes the begin frame of the newest epoch again, if nothing but that keeps the epoch from being told: what it said
    /// follows from the frames on both sides of it. Returns it with its sequence; it holds only if every frame before it
    /// is there.
    pub(super) fn restore_begin(&mut self, shard: u32, mark: &Mark) -> Option<(u64, Begin)> {
        let (epoch, mut log) = self.epochs.pop_last()?;
        let restored = if epoch > mark.epoch { self.lost_begin(epoch, &log, shard, mark) } else { None };
        if let Some((_, begin)) = &restored {
            log.begin = Some(begin.clone());
        }
        self.epochs.insert(epoch, log);
        restored
    }

    /// What the begin frame of an epoch said that comes behind all of these. In front of its first own frame stands the
    /// begin frame, and in front of that only what was carried over from where the epoch before was cut off.
    fn lost_begin(&self, epoch: u64, log: &EpochLog, shard: u32, mark: &Mark) -> Option<(u64, Begin)> {
        if log.begin.is_some() || log.broken.is_some() {
            return None;
        }
        let sequence = log.first_own_sequence()?.checked_sub(1)?;
        let sequences = log.frames.iter().map(|found| found.header.sequence);
        let carried: Vec<u64> = sequences.take_while(|carried| *carried <= sequence).collect();
        let through = carried.first().unwrap_or(&sequence).checked_sub(1)?;
        if !carried.iter().copied().eq(through + 1..sequence) {
            return None;
        }
        let links = chain(self, shard, mark).ok()?;
        let sealed = links.iter().map(|link| (link.epoch, link.sealed.unwrap_or(through))).collect();
        Some((sequence, Begin { epoch, sealed }))
    }

    /// Segments of the epochs in `chain`, in order.
    pub(super) fn segments_of(&self, chain: &[Link]) -> VecDeque<SegmentId> {
        chain.iter().filter_map(|link| self.epochs.get(&link.epoch)).flat_map(|log| log.segments.clone()).collect()
    }

    /// Segments of all other epochs.
    pub(super) fn segments_not_of(&self, chain: &[Link]) -> impl Iterator<Item = SegmentId> {
        let others = self.epochs.iter().filter(|(epoch, _)| chain.iter().all(|link| link.epoch != **epoch));
        others.flat_map(|(_, log)| log.segments.clone())
    }
}

/// What lies on disk of one epoch.
#[derive(Debug)]
pub(super) struct EpochLog {
    pub(super) segments: Vec<SegmentId>,
    /// All valid frames from the mark on, also behind damage.
    pub(super) frames: Vec<Found>,
    /// The first segment without a valid header, or with another size than that says.
    pub(super) broken: Option<SegmentId>,
    begin: Option<Begin>,
    /// A frame that only an epoch that had begun can have.
    first_own: Option<Found>,
}

impl EpochLog {
    fn read(fs: &dyn FileSystem, shard: u32, segments: Vec<SegmentId>, mark: &Mark) -> Result<Self, WalError> {
        let (start, start_offset) = start_of(mark);
        let mut log = Self { segments, frames: Vec::new(), broken: None, begin: None, first_own: None };
        for id in log.segments.clone() {
            let loaded = Loaded::read(fs, shard, id).map_err(|source| WalError::io(&id.path(shard), source))?;
            match loaded {
                Some(loaded) if id == start => {
                    let frames = loaded.frames(start_offset);
                    require_mark(shard, mark, &loaded, frames.first())?;
                    log.take(frames, &loaded);
                }
                Some(loaded) => log.take(loaded.frames(0), &loaded),
                None => log.broken = log.broken.or(Some(id)),
            }
        }
        Ok(log)
    }

    fn take(&mut self, frames: Vec<Found>, loaded: &Loaded) {
        for found in frames {
            let begin = (found.header.kind == Kind::Begin).then(|| Begin::decode(&loaded.payload(&found))).flatten();
            if let Some(begin) = begin.filter(|begin| begin.epoch == found.segment.epoch) {
                self.begin = Some(begin);
            } else if !found.header.rewritten && self.first_own.is_none() {
                self.first_own = Some(found);
            }
            self.frames.push(found);
        }
    }
}

impl EpochLog {
    /// Sequence of the first frame that only an epoch that had begun can have, beside a readable begin frame.
    pub(super) fn first_own_sequence(&self) -> Option<u64> {
        self.first_own.map(|found| found.header.sequence)
    }
}

/// A mark leads to the place of a frame, where no frame but the next can be.
fn require_mark(shard: u32, mark: &Mark, loaded: &Loaded, first: Option<&Found>) -> Result<(), WalError> {
    let (_, offset) = start_of(mark);
    if !offset.is_multiple_of(ALIGN as u64) || offset > loaded.size() {
        return Err(damaged_mark(shard, mark, "the catalog names a place where no frame can begin"));
    }
    match first.filter(|found| found.offset == offset && found.header.sequence != mark.sequence + 1) {
        None => Ok(()),
        Some(found) => {
            let detail = format!("frame {} is in the place that the catalog names", found.header.sequence);
            Err(damaged_mark(shard, mark, &detail))
        }
    }
}

/// An epoch that belongs to the log, and where it ends if a later one has sealed it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) epoch: u64,
    pub(super) sealed: Option<u64>,
}

/// The epochs that make up the log, in order. The newest begin frame alone tells.
pub(super) fn chain(logs: &Logs, shard: u32, mark: &Mark) -> Result<Vec<Link>, WalError> {
    let (start, _) = start_of(mark);
    let has_start = logs.epochs.get(&mark.epoch).is_some_and(|log| log.segments.first() == Some(&start));
    if mark.epoch > 0 && !has_start {
        return Err(damaged_mark(shard, mark, "the catalog names it, and it is not there"));
    }
    for (epoch, log) in logs.epochs.range(mark.epoch + 1..).rev() {
        if let Some(begin) = &log.begin {
            return links(*epoch, begin, shard, mark);
        }
        require_never_was(*epoch, log, shard, mark)?;
    }
    let only = Link { epoch: mark.epoch, sealed: None };
    Ok(if mark.epoch > 0 { vec![only] } else { Vec::new() })
}

fn links(epoch: u64, begin: &Begin, shard: u32, mark: &Mark) -> Result<Vec<Link>, WalError> {
    let sealed = begin.sealed.iter().filter(|(sealed, _)| *sealed >= mark.epoch);
    let mut links: Vec<Link> = sealed.map(|&(epoch, through)| Link { epoch, sealed: Some(through) }).collect();
    if mark.epoch > 0 && links.first().is_none_or(|link| link.epoch != mark.epoch) {
        return Err(damaged_mark(shard, mark, "the newest epoch does not know it: the catalog is from elsewhere"));
    }
    links.push(Link { epoch, sealed: None });
    Ok(links)
}

/// An epoch without a begin frame never was, unless something in it tells that it had one.
fn require_never_was(epoch: u64, log: &EpochLog, shard: u32, mark: &Mark) -> Result<(), WalError> {
    if let Some(broken) = log.broken {
        let detail = format!("the header or the size of this segment is wrong, and epoch {epoch} may have begun in it");
        return Err(damaged(shard, broken, 0, mark.sequence + 1, detail));
    }
    log.first_own.map_or(Ok(()), |own| {
        let detail = format!("the begin frame of epoch {epoch} is broken, and a frame that came after it is not");
        Err(damaged(shard, own.segment, HEADER_BYTES as u64, own.header.sequence, detail))
    })
}
