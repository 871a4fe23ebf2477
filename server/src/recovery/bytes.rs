//! Brings the bytes of the log behind the mark to the plain files, after checking that these are still ours.

use super::{Ground, RecoveryError};
use crate::{
    apply::{
        plain::{PlainFiles, check_vacant, open_ours},
        view::{FileView, Parked, Piece, Seen},
    },
    shard::{ids::FileId, record::Record, state::Files},
};
use bytes::Bytes;
use inkpot_proto::v1::ErrorReason;
use inkpot_wal::{
    fs::{Access, File, parent},
    planted::{self, Bug},
    writer::is_full,
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    sync::Arc,
};

/// Bytes that are gathered before files are written: the more, the fewer writes for many files with a little each.
const GATHER_BYTES: usize = 32 << 20;
/// Files that are open at once while their last pages, which a write changes in part, are read from a cold disk.
const FILES_AT_ONCE: usize = 512;

/// Bytes of one file: where each part belongs, and the frame that carried it.
type Parts = Vec<(u64, Bytes, u64)>;

/// Files that were written to, and pieces that could not be brought to theirs.
type Brought = (Vec<Arc<FileView>>, Vec<(Arc<FileView>, Piece)>);

/// What stands where a plain file should.
enum Ours {
    Yes(Arc<dyn File>),
    Foreign(String),
    NoRoom,
}

/// See the module.
pub(super) struct Bringer<'a> {
    ground: &'a Ground<'a>,
    files: &'a Files,
    plain: &'a mut PlainFiles,
    /// Whether the next checkpoint can sync the whole volume.
    volume_sync: bool,
    fresh: HashSet<FileId>,
    plain_ends: HashMap<FileId, u64>,
    gathered: BTreeMap<FileId, Parts>,
    gathered_bytes: usize,
    checked: HashSet<FileId>,
    /// Files that take no bytes now: those of somebody else, and those without room.
    barred: HashSet<FileId>,
    foreign: HashMap<FileId, String>,
    aside: Vec<(Arc<FileView>, Piece)>,
    /// Where the first piece of a file in `aside` belongs.
    first_aside: HashMap<FileId, u64>,
}

impl<'a> Bringer<'a> {
    pub(super) fn new(
        ground: &'a Ground<'a>,
        files: &'a Files,
        plain: &'a mut PlainFiles,
        volume_sync: bool,
        fresh: HashSet<FileId>,
        plain_ends: HashMap<FileId, u64>,
    ) -> Self {
        Self {
            ground,
            files,
            plain,
            volume_sync,
            fresh,
            plain_ends,
            gathered: BTreeMap::new(),
            gathered_bytes: 0,
            checked: HashSet::new(),
            barred: HashSet::new(),
            foreign: HashMap::new(),
            aside: Vec::new(),
            first_aside: HashMap::new(),
        }
    }

    pub(super) fn take(&mut self, record: &Record, sequence: u64) -> Result<(), RecoveryError> {
        let Record::Append { id, offset, data, .. } = record else { return Ok(()) };
        let id = if planted::is(Bug::PathsForIds) {
            &self.files.get(*id).and_then(|file| self.files.id_of(&file.key)).unwrap_or(*id)
        } else {
            id
        };
        // Of a file that was another shard's meanwhile: between what it got here before and what it gets now lies what it
        // got there.
        if self.plain_ends.get(id).is_some_and(|end| offset < end) {
            return Ok(());
        }
        self.gathered.entry(*id).or_default().push((*offset, data.clone(), sequence));
        self.gathered_bytes += data.len();
        if self.gathered_bytes >= GATHER_BYTES { self.write() } else { Ok(()) }
    }

    /// Writes the rest, and leaves every file's view as the log says it is.
    pub(super) fn finish(mut self, touched: &HashSet<FileId>) -> Result<Brought, RecoveryError> {
        self.write()?;
        let mut unsynced = Vec::new();
        for id in touched {
            let Some(file) = self.files.get(*id) else { continue };
            let view = Arc::clone(&file.view);
            if file.created && file.takes_bytes() {
                self.settle(*id, &view, file.end)?;
                if !self.barred.contains(id) {
                    unsynced.push(Arc::clone(&view));
                }
            }
        }
        Ok((unsynced, self.aside))
    }

    /// The view of a file whose bytes were brought, less those that were put aside.
    fn settle(&mut self, id: FileId, view: &Arc<FileView>, end: u64) -> Result<(), RecoveryError> {
        let seen = match self.check(id, view, end)? {
            Ours::Yes(file) => Some(self.seen(view, file.as_ref())?),
            Ours::Foreign(_) => view.state().seen,
            // It was cut back, which changed its time.
            Ours::NoRoom => None,
        };
        let aside = self.first_aside.get(&id).copied();
        let mut state = view.state();
        // What was put aside counts again when it is handed to the applier.
        state.committed = aside.unwrap_or(end);
        // What a checkpoint parked before it failed is parked again.
        let parked = state.parked.map(|parked| Parked { end: parked.end.min(state.committed), ..parked });
        state.parked = parked.filter(|parked| parked.from < parked.end);
        state.applied = state.parked.map_or(state.committed, |parked| parked.from);
        state.synced = state.committed;
        state.pending.clear();
        state.pending_bytes = 0;
        state.pending_since = None;
        state.listed = false;
        state.seen = seen;
        state.foreign = self.foreign.get(&id).cloned().or(state.foreign.take());
        Ok(())
    }

    fn seen(&self, view: &FileView, file: &dyn File) -> Result<Seen, RecoveryError> {
        let metadata = file.metadata().map_err(|source| failed(view, source))?;
        Ok(Seen { inode: metadata.inode, modified: metadata.modified })
    }

    fn write(&mut self) -> Result<(), RecoveryError> {
        self.gathered_bytes = 0;
        let mut gathered = std::mem::take(&mut self.gathered).into_iter();
        loop {
            let mut open = Vec::with_capacity(FILES_AT_ONCE);
            for (id, parts) in gathered.by_ref().take(FILES_AT_ONCE) {
                let Some(file) = self.files.get(id).filter(|file| file.takes_bytes()) else { continue };
                let view = Arc::clone(&file.view);
                let ours = self.check(id, &view, file.end)?;
                if let (Ours::Yes(plain), Some((first, ..))) = (&ours, parts.first()) {
                    plain.will_need(first.saturating_sub(1), 1);
                }
                open.push((view, ours, parts));
            }
            if open.is_empty() {
                return Ok(());
            }
            for (view, ours, parts) in open {
                self.bring(view, &ours, parts)?;
            }
        }
    }

    fn bring(&mut self, view: Arc<FileView>, ours: &Ours, parts: Parts) -> Result<(), RecoveryError> {
        let written = match ours {
            Ours::Yes(plain) => self.write_file(&view, plain.as_ref(), &parts)?,
            Ours::Foreign(_) | Ours::NoRoom => false,
        };
        if !written {
            self.barred.insert(view.id);
            if let Some((first, ..)) = parts.first() {
                self.first_aside.entry(view.id).or_insert(*first);
            }
            let pieces = parts.into_iter().map(|(offset, data, sequence)| Piece { offset, data, sequence });
            self.aside.extend(pieces.map(|piece| (Arc::clone(&view), piece)));
        }
        Ok(())
    }

    /// Writes bytes that lie one after the other; tells whether there was room.
    fn write_file(
        &self,
        view: &FileView,
        plain: &dyn File,
        parts: &[(u64, Bytes, u64)],
    ) -> Result<bool, RecoveryError> {
        let Some((first, ..)) = parts.first() else { return Ok(true) };
        let slices: Vec<&[u8]> = parts.iter().map(|(_, data, _)| data.as_ref()).collect();
        match plain.write_at(&slices, *first) {
            Err(error) if is_full(&error) => {
                plain.set_len(*first).map_err(|source| failed(view, source))?;
                Ok(false)
            }
            written => {
                // Nobody would be told of an error after the file is closed, but by a sync of the volume.
                let synced = written.and_then(|()| if self.volume_sync { Ok(()) } else { plain.sync_all() });
                synced.map(|()| true).map_err(|source| failed(view, source))
            }
        }
    }

    /// The plain file, if it is ours. After a crash our own writes may have changed size and time of a file with frames
    /// behind the mark: its id counts, and a size between that at the mark and the end of its frames.
    fn check(&mut self, id: FileId, view: &Arc<FileView>, end: u64) -> Result<Ours, RecoveryError> {
        if let Some(what) = self.foreign.get(&id) {
            return Ok(Ours::Foreign(what.clone()));
        }
        let is_first = self.checked.insert(id);
        if self.barred.contains(&id) {
            return Ok(Ours::NoRoom);
        }
        let known_foreign = view.state().foreign.clone();
        let ours = match known_foreign {
            Some(what) => Ours::Foreign(what),
            None => self.look(id, view, end)?,
        };
        if let Ours::Foreign(what) = &ours {
            tracing::warn!(file = %view.key(), change = %what, "a plain file was changed by another program");
            self.foreign.insert(id, what.clone());
        }
        if is_first && self.fresh.contains(&id) {
            self.plain.note_change(parent(&view.path()));
        }
        Ok(ours)
    }

    fn look(&mut self, id: FileId, view: &Arc<FileView>, end: u64) -> Result<Ours, RecoveryError> {
        match open_ours(self.ground.fs.as_ref(), view, Access::ReadWrite).map_err(|source| failed(view, source))? {
            Ok(file) => {
                let metadata = file.metadata().map_err(|source| failed(view, source))?;
                let compressed = self.files.get(id).and_then(|file| file.content.compressed);
                let least = compressed.or(self.plain_ends.get(&id).copied()).unwrap_or(0);
                let end = compressed.unwrap_or(end);
                Ok(if metadata.links != 1 {
                    Ours::Foreign("has more than one name (hard link)".to_owned())
                } else if (least..=end).contains(&metadata.len) {
                    Ours::Yes(file)
                } else {
                    Ours::Foreign(format!("has {} bytes, not {least} to {end}", metadata.len))
                })
            }
            Err(what) if self.fresh.contains(&id) => self.make_again(id, view, what),
            Err(what) => Ok(Ours::Foreign(what)),
        }
    }

    /// A file that was made behind the mark, and whose name did not survive: it is made again, with its id.
    fn make_again(&mut self, id: FileId, view: &Arc<FileView>, what: String) -> Result<Ours, RecoveryError> {
        match check_vacant(self.ground.fs.as_ref(), &view.key(), self.ground.number) {
            Ok(()) => {}
            // A disk that does not say what is there says nothing about other programs.
            Err(refused) if matches!(refused.reason, ErrorReason::Internal | ErrorReason::DiskFull) => {
                return Err(failed(view, io::Error::other(refused.message)));
            }
            Err(_) => return Ok(Ours::Foreign(what)),
        }
        match self.plain.create(&view.key(), id) {
            Ok(file) => Ok(Ours::Yes(file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Ours::Foreign(what)),
            Err(error) => Err(failed(view, error)),
        }
    }
}

fn failed(view: &FileView, source: io::Error) -> RecoveryError {
    RecoveryError::File { path: view.path(), source }
}
