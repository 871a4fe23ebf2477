//! A log whose acknowledged frames are damaged, cut before the damage: what an operator may decide, and nobody else.
//!
//! What lies before the damage is kept as it is, readable frame for readable frame; what lies behind it is given up, also
//! where it could be read: state is the sum of all frames, and one that is missing may be what the others build on. If
//! not even the place is readable where the catalog's mark leads to, nothing of the log is kept, and the catalog alone is
//! what there is: its mark has to be moved then ([`Cut::moves_mark`]).
//!
//! One thing is mended: a begin frame of the newest epoch that alone is broken. It holds no decision, and what it said is
//! known from what lies around it; the frames of its epoch go into the new one then, with their sequences.
//!
//! [`Cut::find`] changes nothing. [`Cut::begin`] starts the next epoch, which states where the older ones end now, and
//! only then removes the segments that are no longer part of the log. Whoever calls it has copied [`Cut::aside`] before.
//! Cut short at any point it can be done again, and finds the same to keep.

use super::{
    Begin, Mark, Survey,
    epochs::{EpochLog, Link, Logs, chain},
    start_of,
    walk::{Walk, load},
};
use crate::{
    WalError,
    frame::{Frame, Header, Kind},
    fs::{FileSystem, parent},
    segment::{Found, Loaded, SegmentId},
    writer::Writer,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// What is kept of a damaged log, and what is given up.
#[derive(Debug)]
pub struct Cut {
    /// Why the log cannot be opened: the first thing that was found.
    pub damage: WalError,
    /// Segments that are damaged, or of which something is given up; paths.
    pub aside: Vec<String>,
    /// Those of them that are no part of the log any more.
    leaving: Vec<String>,
    survey: Survey,
    /// Frames that can be read and are given up, in the order of their sequences.
    behind: Vec<Found>,
    /// What frames that can be read say to have been durable.
    known_through: u64,
    moves_mark: bool,
}

/// Frames by what becomes of them, as sequences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The last frame that the catalog covers; those behind it are of the log.
    pub mark: u64,
    /// The last frame that is kept.
    pub kept_through: u64,
    /// How many frames behind that can be read.
    pub readable: u64,
    /// How many frames behind that cannot be read, as far as the others tell.
    pub unreadable: u64,
}

impl Cut {
    /// Looks for damage; `None`: there is none, and the log can be opened.
    ///
    /// # Errors
    /// [`WalError::Io`] if the disk does not give what is there.
    pub fn find(fs: &dyn FileSystem, shard: u32, mark: Mark) -> Result<Option<Self>, WalError> {
        match Survey::read(fs, shard, mark, None) {
            Ok(_) => Ok(None),
            Err(damage @ WalError::Damaged { .. }) => Kept::find(fs, shard, mark)?.into_cut(fs, damage).map(Some),
            Err(error) => Err(error),
        }
    }

    /// Whether the mark of the catalog has to be moved to that of the new epoch.
    #[must_use]
    pub fn moves_mark(&self) -> bool {
        self.moves_mark
    }

    /// How much is kept and given up.
    #[must_use]
    pub fn extent(&self) -> Extent {
        let (kept_through, readable) = (self.survey.last_sequence(), self.behind.len() as u64);
        let last = self.behind.last().map_or(kept_through, |found| found.header.sequence);
        // Without any behind it, the frame that is missing was the last one; if one is.
        let is_whole = !self.survey.unproven.is_empty() && self.known_through <= kept_through;
        let all = (last - kept_through).max(u64::from(readable == 0 && !is_whole));
        Extent { mark: self.survey.mark.sequence, kept_through, readable, unreadable: all - readable }
    }

    /// Hands every frame of decisions that is kept to `visit`, in order.
    ///
    /// # Errors
    /// Those of `visit`, and [`WalError`].
    pub fn kept<E: From<WalError>>(
        &self,
        fs: &dyn FileSystem,
        visit: impl FnMut(Frame) -> Result<(), E>,
    ) -> Result<(), E> {
        self.survey.replay(fs, visit)
    }

    /// Hands every frame of decisions that can be read and is given up to `visit`, in order.
    ///
    /// # Errors
    /// Those of `visit`, and [`WalError`].
    pub fn given_up<E: From<WalError>>(
        &self,
        fs: &dyn FileSystem,
        mut visit: impl FnMut(Frame) -> Result<(), E>,
    ) -> Result<(), E> {
        for run in self.behind.chunk_by(|a, b| a.segment == b.segment) {
            let frames = load(fs, self.survey.shard, run)?;
            frames.into_iter().filter(|frame| frame.header.kind == Kind::Decisions).try_for_each(&mut visit)?;
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn survey_for_tests(&self) -> &Survey {
        &self.survey
    }

    /// Starts the next epoch, and removes the segments that are given up.
    ///
    /// # Errors
    /// Those of the file system; it can be begun again, with another [`Cut::find`].
    pub fn begin(&self, fs: &Arc<dyn FileSystem>, segment_bytes: u64) -> Result<Writer, WalError> {
        let mut writer = self.survey.begin(fs, segment_bytes)?;
        // As at any start: rot in the begin frame alone would else make the epoch look as if it never was.
        writer.seal()?;
        let mut dirs = BTreeSet::new();
        for path in &self.leaving {
            fs.remove_file(path).map_err(|source| WalError::io(path, source))?;
            dirs.insert(parent(path));
        }
        for dir in dirs {
            fs.sync_dir(dir).map_err(|source| WalError::io(dir, source))?;
        }
        Ok(writer)
    }
}

/// What a lenient reading of a log comes to.
struct Kept {
    shard: u32,
    mark: Mark,
    /// Segments below the mark.
    below: Vec<SegmentId>,
    /// All others, of epochs that began or not.
    segments: Vec<SegmentId>,
    highest_epoch: u64,
    walk: Walk,
    /// The epochs that are kept or a part of which is, with their ends.
    sealed: Vec<(u64, u64)>,
    /// All frames behind the mark, each once.
    frames: BTreeMap<u64, Found>,
    /// The begin frame of the newest epoch, with its sequence, where it alone is broken.
    restored: Option<(u64, Begin)>,
    moves_mark: bool,
}

impl Kept {
    fn find(fs: &dyn FileSystem, shard: u32, mark: Mark) -> Result<Self, WalError> {
        // Where the mark leads to something else, it tells nothing about where to read.
        let nowhere = Mark { sequence: mark.sequence, ..Mark::default() };
        let (mut logs, is_lost) = match Logs::read(fs, shard, &mark) {
            Ok(logs) => (logs, false),
            Err(WalError::Damaged { .. }) => (Logs::read(fs, shard, &nowhere)?, true),
            Err(error) => return Err(error),
        };
        let mut kept = Self {
            shard,
            mark,
            below: std::mem::take(&mut logs.below),
            segments: logs.epochs.values().flat_map(|log| log.segments.clone()).collect(),
            highest_epoch: logs.epochs.keys().last().copied().unwrap_or(0).max(mark.epoch),
            walk: Walk::from(shard, &mark),
            sealed: Vec::new(),
            frames: BTreeMap::new(),
            restored: None,
            moves_mark: false,
        };
        kept.note_frames(&logs);
        // A mark cannot stay in a segment that has to go.
        let (start, _) = start_of(&mark);
        let is_lost = is_lost || logs.epochs.get(&mark.epoch).is_some_and(|log| log.broken == Some(start));
        kept.restored = if is_lost { None } else { logs.restore_begin(shard, &mark) };
        let links = if is_lost { None } else { lenient_chain(&mut logs, shard, &mark) };
        match links {
            Some((links, below)) => kept.walk(&logs, &links, below),
            None => kept.moves_mark = mark.epoch > 0,
        }
        Ok(kept)
    }

    fn note_frames(&mut self, logs: &Logs) {
        for found in logs.epochs.values().flat_map(|log| &log.frames) {
            if found.header.sequence > self.mark.sequence {
                self.frames.insert(found.header.sequence, *found);
            }
        }
    }

    /// Takes what is there in a row, below frame `below`, up to the first thing that is damaged.
    fn walk(&mut self, logs: &Logs, links: &[Link], below: u64) {
        for link in links {
            let end = link.sealed.unwrap_or(u64::MAX).min(below.saturating_sub(1));
            let is_whole = match logs.epochs.get(&link.epoch) {
                Some(log) => self.walk_epoch(log, link, end),
                None => link.sealed.is_some_and(|through| self.walk.require_sealed(link.epoch, through).is_ok()),
            };
            self.sealed.push((link.epoch, self.walk.last().min(end)));
            if !is_whole {
                return;
            }
        }
    }

    fn walk_epoch(&mut self, log: &EpochLog, link: &Link, end: u64) -> bool {
        let through = self.walk.through(log, Some(end));
        let complete = match link.sealed {
            Some(sealed) => self.walk.require_sealed(link.epoch, sealed),
            None => self.walk.require_no_later_proof(log),
        };
        through.is_ok() && complete.is_ok()
    }

    /// The begin frame that was made again, and what follows it in a row, taken from `behind`.
    fn carry_over(&mut self, fs: &dyn FileSystem, behind: &mut Vec<Found>) -> Result<Vec<Frame>, WalError> {
        let at = self.walk.last() + 1;
        let Some((sequence, begin)) = self.restored.take().filter(|(sequence, _)| *sequence == at) else {
            return Ok(Vec::new());
        };
        let in_a_row = behind.iter().zip(sequence + 1..).take_while(|(found, next)| found.header.sequence == *next);
        let rest = behind.split_off(in_a_row.count());
        let followers = std::mem::replace(behind, rest);
        let header = Header { kind: Kind::Begin, rewritten: true, sequence, durable_through: sequence - 1 };
        let mut frames = vec![Frame { header, payload: begin.encode().into() }];
        frames.extend(load(fs, self.shard, &followers)?);
        Ok(frames)
    }

    fn into_cut(mut self, fs: &dyn FileSystem, damage: WalError) -> Result<Cut, WalError> {
        let (shard, proven, end) = (self.shard, self.walk.last(), self.walk.place());
        let mut behind: Vec<Found> = self.frames.split_off(&(proven + 1)).into_values().collect();
        let known_through = behind.iter().map(|found| found.header.durable_through).max().unwrap_or_default();
        let unproven = self.carry_over(fs, &mut behind)?;
        let is_kept =
            |id: &SegmentId| !self.moves_mark && *id <= end && self.sealed.iter().any(|(e, _)| *e == id.epoch);
        let (mut live, mut leaving) = (VecDeque::new(), Vec::new());
        for id in &self.segments {
            let path = id.path(shard);
            let loaded = Loaded::read(fs, shard, *id).map_err(|source| WalError::io(&path, source))?;
            if is_kept(id) && loaded.is_some() {
                live.push_back(*id);
            } else {
                leaving.push(path);
            }
        }
        let mut aside = leaving.clone();
        if live.contains(&end) {
            aside.insert(0, end.path(shard));
        }
        let survey = Survey {
            shard,
            mark: self.mark,
            durable: self.walk.into_frames(),
            unproven,
            proven,
            torn: None,
            sealed: if self.moves_mark { Vec::new() } else { self.sealed },
            highest_epoch: self.highest_epoch,
            live,
            below: self.below,
            void: Vec::new(),
        };
        Ok(Cut { damage, aside, leaving, survey, behind, known_through, moves_mark: self.moves_mark })
    }
}

/// The epochs that make up the log as far as begin frames tell, and the frame before which all of them end: epochs are
/// left out, the newest first, until a chain is found. `None`: there is none that begins at the mark.
fn lenient_chain(logs: &mut Logs, shard: u32, mark: &Mark) -> Option<(Vec<Link>, u64)> {
    let mut below = u64::MAX;
    loop {
        if let Ok(links) = chain(logs, shard, mark) {
            return Some((links, below));
        }
        let (_, left_out) = logs.epochs.last_key_value().filter(|(epoch, _)| **epoch > mark.epoch)?;
        // Its begin frame came before the first frame that only it can have, and ended what came before.
        below = below.min(left_out.first_own_sequence().map_or(u64::MAX, |own| own.saturating_sub(1)));
        logs.epochs.pop_last();
    }
}
