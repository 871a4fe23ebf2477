//! Brings committed bytes to the plain files, and makes them durable at checkpoints. Synchronous; runs on a thread of
//! its own beside the shard's, see [`super::driver`].

use super::{
    backlog::Backlog,
    descriptors::Descriptors,
    plain::{barred, difference, displaced, open_ours},
    trail::Trail,
    view::{FileView, Location, Parked, Piece, Seen},
};
use crate::{
    catalog::{Catalog, CatalogError, Changes, FileRow, Progress, Stored},
    shard::{
        ids::{FileId, FileKey, ProducerId},
        state::{Content, Producer, Upload, Usage},
    },
    telemetry::ShardMetrics,
};
use bytes::Bytes;
use inkpot_proto::path::TenantName;
use inkpot_wal::{
    fs::{Access, Attributes, File, FileSystem, VolumeSync, parent},
    planted::{self, Bug},
    reserve::Reserve,
    writer::is_full,
};
use std::{
    collections::{BTreeSet, HashMap},
    io,
    sync::Arc,
    time::{Duration, Instant},
};
use thiserror::Error;

/// A file is written before its delay is over when this much has gathered for it, in bytes.
const WRITE_BYTES: u64 = 256 << 10;
/// One write call takes at most this much, in bytes.
const MAX_WRITE_BYTES: usize = 8 << 20;
/// Up to this many files are synced one by one; more by a sync of the whole volume. (Measured on ext4: 100 files one by
/// one 16 to 36 ms, the volume 2.6 ms.)
const MAX_SYNC_EACH: usize = 32;
/// With less than this free, in bytes, a checkpoint does not begin: some thousand rows.
const CATALOG_ROOM_BYTES: u64 = 1 << 20;

/// Why the plain files or the catalog could not be brought up to date. The shard closes and recovers from the log.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// A plain file or directory.
    #[error("{path} failed")]
    File {
        /// Which.
        path: String,
        /// The error of the file system.
        source: io::Error,
    },
    /// The sync of the volume.
    #[error("the sync of the volume failed")]
    Volume(#[source] io::Error),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// A file as the shard has it at a checkpoint.
#[derive(Debug)]
pub struct SnapshotFile {
    /// The file.
    pub view: Arc<FileView>,
    /// Its tenant and path.
    pub key: FileKey,
    /// Whether the plain file was made.
    pub created: bool,
    /// Decided and synced end, in bytes.
    pub end: u64,
    /// Last frame that changed it.
    pub sequence: u64,
    /// Its producers.
    pub producers: Vec<(ProducerId, Producer)>,
    /// The rest of what is known of its content.
    pub content: Content,
    /// Set while it is not published.
    pub upload: Option<Upload>,
}

/// What a checkpoint makes durable.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Where the shard is; its log is synced up to there.
    pub progress: Progress,
    /// Files that changed since the checkpoint before.
    pub files: Vec<SnapshotFile>,
    /// Files that are gone; what is left of them lies in staging.
    pub removed: Vec<Arc<FileView>>,
    /// Paths that were taken from files.
    pub unbound: Vec<(FileKey, FileId)>,
    /// What each tenant has.
    pub usage: Vec<(TenantName, Usage)>,
    /// Sets that are not over, as records.
    pub sets: Bytes,
    /// Directories in which names changed.
    pub dirs: BTreeSet<String>,
}

/// Which files a round writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those that have waited for this long, or have gathered enough.
    Waited(Duration),
    /// All, with frames up to this one.
    Through(u64),
}

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Files written.
    pub files: usize,
    /// Bytes written.
    pub bytes: u64,
    /// There was no room on the disk for some.
    pub disk_full: bool,
}

/// What recovery did to plain files, and the applier has to make durable.
#[derive(Debug, Default)]
pub struct Unsynced {
    /// Files that were written to and not synced.
    pub files: Vec<Arc<FileView>>,
    /// A descriptor of the volume from before the first of these writes; `None` where its errors cannot be trusted.
    pub volume: Option<Box<dyn VolumeSync>>,
}

/// See the module.
#[derive(Debug)]
pub struct Applier {
    fs: Arc<dyn FileSystem>,
    catalog: Arc<Catalog>,
    backlog: Arc<Backlog>,
    reserve: Reserve,
    descriptors: Descriptors,
    trail: Trail,
    volume: Option<Box<dyn VolumeSync>>,
    /// Files with bytes that no checkpoint has synced.
    unsynced: HashMap<FileId, Arc<FileView>>,
    /// Some of them were written by recovery, and closed: only a sync of the volume tells errors of that.
    recovered: bool,
    metrics: Arc<ShardMetrics>,
}

impl Applier {
    /// Goes on from what recovery did.
    #[must_use]
    pub fn new(
        fs: Arc<dyn FileSystem>,
        catalog: Arc<Catalog>,
        backlog: Arc<Backlog>,
        open_files: usize,
        reserve: Reserve,
        unsynced: Unsynced,
        metrics: Arc<ShardMetrics>,
    ) -> Self {
        let Unsynced { files, volume } = unsynced;
        let descriptors = Descriptors::new(open_files, volume.is_some());
        let unsynced: HashMap<_, _> = files.into_iter().map(|view| (view.id, view)).collect();
        let recovered = !unsynced.is_empty();
        Self {
            fs,
            catalog,
            backlog,
            reserve,
            descriptors,
            trail: Trail::default(),
            volume,
            unsynced,
            recovered,
            metrics,
        }
    }

    /// Writes files once.
    ///
    /// # Errors
    /// Any but want of room, after which the bytes wait on and are tried again.
    pub fn round(&mut self, which: Which, now: Instant) -> Result<Round, ApplyError> {
        let begin = Instant::now();
        for (id, file) in self.backlog.take_made() {
            self.keep_open(id, file)?;
        }
        let mut round = Round::default();
        let hurry = self.backlog.is_over_budget();
        for view in self.backlog.take() {
            if !is_due(&view, which, hurry, now) {
                self.backlog.put_back(view);
                continue;
            }
            let through = match which {
                Which::Waited(_) if planted::is(Bug::ApplyPastSynced) => u64::MAX,
                Which::Waited(_) => self.backlog.synced(),
                Which::Through(sequence) => sequence.min(self.backlog.synced()),
            };
            let written = self.write(&view, through)?;
            round.files += usize::from(written.bytes > 0);
            round.bytes += written.bytes;
            // One file may be without room, by a quota, and the next one have some.
            round.disk_full |= written.disk_full;
            self.list_again(view);
        }
        self.backlog.set_disk_full(round.disk_full);
        if round.files > 0 {
            self.metrics.apply_duration.since(begin);
            self.metrics.apply_io.add(round.bytes);
        }
        self.metrics.apply_backlog.set(self.backlog.bytes());
        self.metrics.open_files.set(self.descriptors.len() as u64);
        Ok(round)
    }

    /// Makes everything up to the snapshot durable in plain files and catalog.
    ///
    /// # Errors
    /// `Ok(Some(snapshot))`: there was no room; the same snapshot is to be tried again. An error closes the shard.
    pub fn checkpoint(&mut self, snapshot: Snapshot, now: Instant) -> Result<Option<Snapshot>, ApplyError> {
        let begin = Instant::now();
        let through = snapshot.progress.mark.sequence;
        if self.has_no_room_for_catalog() || self.round(Which::Through(through), now)?.disk_full {
            return Ok(Some(snapshot));
        }
        if !self.park(through)? {
            return Ok(Some(snapshot));
        }
        if !planted::is(Bug::CheckpointBeforeSync) {
            let none = BTreeSet::new();
            self.sync(if planted::is(Bug::LostRename) { &none } else { &snapshot.dirs })?;
        }
        let changes = Changes {
            files: snapshot.files.into_iter().map(stored).collect(),
            removed: snapshot.removed.iter().map(|view| view.id).collect(),
            unbound: snapshot.unbound,
            usage: snapshot.usage,
            sets: snapshot.sets,
        };
        self.catalog.save(&changes, snapshot.progress)?;
        self.clear_away(&snapshot.removed)?;
        self.metrics.checkpoint_duration.since(begin);
        Ok(None)
    }

    /// A catalog that runs out of room in the middle closes the shard. Where there is none, the reserve gives some: a
    /// checkpoint is what gives the log back.
    fn has_no_room_for_catalog(&self) -> bool {
        let is_full = self.fs.free_bytes().is_ok_and(|free| free < CATALOG_ROOM_BYTES);
        is_full && !self.reserve.give_for_checkpoint(CATALOG_ROOM_BYTES)
    }

    /// Removes what is left of files that are gone: nothing needs it from now on.
    fn clear_away(&mut self, removed: &[Arc<FileView>]) -> Result<(), ApplyError> {
        for view in removed {
            self.descriptors.remove(view.id);
            let parked = view.state().parked.map(|_| view.parked_path());
            let place = view.place();
            let staged = (place.location == Location::Staged).then(|| view.path_at(&place));
            for path in staged.into_iter().chain(parked) {
                match self.fs.remove_file(&path) {
                    Err(source) if source.kind() != io::ErrorKind::NotFound => {
                        return Err(ApplyError::File { path, source });
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Puts a file back on the list if something still waits for it.
    fn list_again(&self, view: Arc<FileView>) {
        let mut state = view.state();
        state.listed = !state.pending.is_empty();
        let listed = state.listed;
        drop(state);
        if listed {
            self.backlog.put_back(view);
        }
    }

    /// Writes what is synced of a file, in as few calls as may be.
    fn write(&mut self, view: &Arc<FileView>, through: u64) -> Result<Round, ApplyError> {
        let failed = |source| ApplyError::File { path: view.path(), source };
        let mut round = Round::default();
        loop {
            let (applied, seen, parts) = {
                let mut state = view.state();
                if state.gone.is_some() {
                    self.backlog.done(state.drop_pending());
                    return Ok(round);
                }
                if state.foreign.is_some() {
                    return Ok(round);
                }
                (state.applied, state.seen, ready(&state.pending, through))
            };
            if parts.is_empty() {
                return Ok(round);
            }
            let file = match self.open(view)? {
                Ok(file) => file,
                Err(what) => return Ok(self.found_foreign(view, what, round)),
            };
            let before = file.metadata().map_err(failed)?;
            if let Some(what) = difference(&before, applied, seen) {
                return Ok(self.found_foreign(view, what, round));
            }
            let slices: Vec<&[u8]> = parts.iter().map(AsRef::as_ref).collect();
            self.unsynced.insert(view.id, Arc::clone(view));
            self.descriptors.mark_unsynced(view.id);
            let written = file.write_at(&slices, applied);
            if let Err(error) = &written
                && let Some(what) = barred(error)
            {
                file.set_len(applied).map_err(failed)?;
                return Ok(self.found_foreign(view, what.to_owned(), round));
            }
            if let Err(error) = &written
                && is_full(error)
            {
                // A part of it may be there: it is cut off, so that the file is again as we last saw it.
                file.set_len(applied).map_err(failed)?;
                round.disk_full = true;
            } else {
                written.map_err(failed)?;
            }
            let after = file.metadata().map_err(failed)?;
            let seen = Seen { inode: after.inode, modified: after.modified };
            if round.disk_full {
                view.state().seen = Some(seen);
                return Ok(round);
            }
            let bytes = self.took(view, parts.len(), seen);
            self.trail.wrote(view.id, &file, applied, bytes);
            round.bytes += bytes;
        }
    }

    /// The first `parts` pieces are in the plain file now.
    fn took(&self, view: &FileView, parts: usize, seen: Seen) -> u64 {
        let mut state = view.state();
        if state.gone.is_some() {
            return 0;
        }
        let bytes: u64 = state.pending.drain(..parts).map(|piece| piece.data.len() as u64).sum();
        state.applied += bytes;
        state.synced = state.synced.max(state.applied);
        state.pending_bytes -= bytes;
        state.pending_since = state.pending_since.filter(|_| !state.pending.is_empty()).map(|_| Instant::now());
        state.seen = Some(seen);
        drop(state);
        self.backlog.done(bytes);
        bytes
    }

    fn open(&mut self, view: &Arc<FileView>) -> Result<Result<Arc<dyn File>, String>, ApplyError> {
        if let Some(file) = self.descriptors.get(view.id) {
            return Ok(self.check_name(view).map_or(Ok(file), Err));
        }
        let opened = open_ours(self.fs.as_ref(), view, Access::ReadWrite)
            .map_err(|source| ApplyError::File { path: view.path(), source })?;
        if let Ok(file) = &opened {
            self.keep_open(view.id, Arc::clone(file))?;
        }
        Ok(opened)
    }

    /// Now and then: whether the path still leads to the file that is open. `Some` tells what became of it.
    fn check_name(&mut self, view: &FileView) -> Option<String> {
        if !self.descriptors.is_look_due(view.id, Instant::now()) {
            return None;
        }
        let seen = view.state().seen;
        let place = view.place();
        match self.fs.metadata(&view.path_at(&place)) {
            Ok(found) => seen.filter(|seen| seen.inode != found.inode).map(|_| "was replaced".to_owned()),
            Err(error) => displaced(&error).map(str::to_owned),
        }
    }

    fn keep_open(&mut self, id: FileId, file: Arc<dyn File>) -> Result<(), ApplyError> {
        self.descriptors.insert(id, file).map_err(|source| ApplyError::File { path: id.to_string(), source })
    }

    fn found_foreign(&mut self, view: &Arc<FileView>, what: String, round: Round) -> Round {
        tracing::warn!(file = %view.key(), change = %what, "a plain file was changed by another program; appends are refused");
        // What we wrote through this descriptor may be in a file that the path no longer leads to; it is the other
        // program's now, and kept as well as may be.
        if let Some(file) = self.descriptors.get(view.id)
            && let Err(error) = file.sync_all()
        {
            tracing::warn!(file = %view.key(), %error, "a file that another program took away could not be synced");
        }
        self.descriptors.remove(view.id);
        // It stays on the list of syncs: what was written to it before may be there still.
        view.state().foreign = Some(what);
        round
    }

    /// Puts acknowledged bytes of files that somebody else changed aside, so that they do not pin the log. Tells whether
    /// there was room.
    fn park(&mut self, through: u64) -> Result<bool, ApplyError> {
        let mut is_room = true;
        for view in self.backlog.take() {
            while is_room {
                let parts = {
                    let state = view.state();
                    if state.foreign.is_some() { ready(&state.pending, through) } else { Vec::new() }
                };
                if parts.is_empty() {
                    break;
                }
                match self.park_parts(&view, &parts) {
                    Err(ApplyError::File { source, .. }) if is_full(&source) => is_room = false,
                    parked => parked?,
                }
            }
            self.list_again(view);
        }
        Ok(is_room)
    }

    fn park_parts(&self, view: &FileView, parts: &[Bytes]) -> Result<(), ApplyError> {
        let path = view.parked_path();
        let failed = |source| ApplyError::File { path: path.clone(), source };
        let (parked, applied) = {
            let state = view.state();
            (state.parked, state.applied)
        };
        let parked = parked.unwrap_or(Parked { from: applied, end: applied });
        let file = match self.fs.create(&path, Attributes::PRIVATE) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.fs.open(&path, Access::ReadWrite),
            made => made,
        };
        let file = file.map_err(failed)?;
        let slices: Vec<&[u8]> = parts.iter().map(AsRef::as_ref).collect();
        file.write_at(&slices, parked.end - parked.from).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        self.fs.sync_dir(parent(&path)).map_err(failed)?;
        let mut state = view.state();
        let bytes: u64 = state.pending.drain(..parts.len()).map(|piece| piece.data.len() as u64).sum();
        state.pending_bytes -= bytes;
        state.parked = Some(Parked { end: parked.end + bytes, ..parked });
        drop(state);
        self.backlog.done(bytes);
        Ok(())
    }

    /// Makes every file that was written since the last checkpoint durable, and the directories in which names changed.
    fn sync(&mut self, dirs: &BTreeSet<String>) -> Result<(), ApplyError> {
        match &self.volume {
            Some(volume) if self.is_volume_owed(dirs) => {
                volume.sync().map_err(ApplyError::Volume)?;
            }
            _ => {
                for view in
                    self.unsynced.values().filter(|view| view.state().gone.is_none()).cloned().collect::<Vec<_>>()
                {
                    let failed = |source| ApplyError::File { path: view.path(), source };
                    match self.open(&view)? {
                        Ok(file) => file.sync_all().map_err(failed)?,
                        Err(what) => _ = self.found_foreign(&view, what, Round::default()),
                    }
                }
                for dir in dirs {
                    let synced = self.fs.sync_dir(dir);
                    // A directory that somebody removed or replaced is noticed file by file.
                    synced
                        .or_else(|error| displaced(&error).map(|_| ()).ok_or(error))
                        .map_err(|source| ApplyError::File { path: dir.clone(), source })?;
                }
            }
        }
        self.verify_paths()?;
        self.unsynced.clear();
        self.descriptors.all_synced();
        self.trail.synced();
        self.recovered = false;
        Ok(())
    }

    /// Whether only a sync of the whole volume will do, or costs less than many others.
    fn is_volume_owed(&self, dirs: &BTreeSet<String>) -> bool {
        self.recovered || self.descriptors.need_volume_sync() || self.unsynced.len() + dirs.len() > MAX_SYNC_EACH
    }

    /// Notices files whose path leads elsewhere by now, although the descriptor still works.
    fn verify_paths(&mut self) -> Result<(), ApplyError> {
        for view in self.unsynced.values().cloned().collect::<Vec<_>>() {
            let place = view.place();
            let (applied, seen) = {
                let state = view.state();
                if state.gone.is_some() {
                    continue;
                }
                (state.applied, state.seen)
            };
            let what = match self.fs.metadata(&view.path_at(&place)) {
                Ok(found) => difference(&found, applied, seen),
                Err(error) => match displaced(&error) {
                    Some(what) => Some(what.to_owned()),
                    None => return Err(ApplyError::File { path: view.path_at(&place), source: error }),
                },
            };
            drop(place);
            if let Some(what) = what {
                self.found_foreign(&view, what, Round::default());
            }
        }
        Ok(())
    }
}

fn is_due(view: &FileView, which: Which, hurry: bool, now: Instant) -> bool {
    let state = view.state();
    match which {
        Which::Through(_) => true,
        Which::Waited(delay) => {
            let waited = state.pending_since.is_some_and(|since| now.saturating_duration_since(since) >= delay);
            hurry || waited || state.pending_bytes >= WRITE_BYTES
        }
    }
}

/// The bytes that may be written now: of frames that are synced, up to one write call's worth.
fn ready(pending: &std::collections::VecDeque<Piece>, through: u64) -> Vec<Bytes> {
    let mut bytes = 0;
    let synced = pending.iter().take_while(|piece| piece.sequence <= through);
    synced
        .take_while(|piece| {
            let fits = bytes == 0 || bytes + piece.data.len() <= MAX_WRITE_BYTES;
            bytes += piece.data.len();
            fits
        })
        .map(|piece| piece.data.clone())
        .collect()
}

/// A file as the catalog has it.
#[must_use]
pub fn stored(file: SnapshotFile) -> Stored {
    let SnapshotFile { view, key, created, end, sequence, mut producers, content, upload } = file;
    if planted::is(Bug::DedupeNotPersisted) {
        producers.clear();
    }
    let staged = view.place().location == Location::Staged;
    let state = view.state();
    let row = FileRow {
        key,
        generation: view.generation,
        created,
        end,
        sequence,
        parked: state.parked,
        foreign: state.foreign.clone(),
        seen: state.seen,
        producers: u32::try_from(producers.len()).unwrap_or(u32::MAX),
        staged: staged && upload.is_none(),
        content,
        upload,
    };
    drop(state);
    Stored { id: view.id, row, producers }
}

#[cfg(test)]
mod tests;
