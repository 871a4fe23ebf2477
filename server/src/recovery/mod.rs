//! From what lies on disk to a shard that can serve: catalog, then the log behind the catalog's mark.
//!
//! In this order, so that a stop at any point changes nothing that a next attempt needs: read the log; fold what it
//! says into files and producers; start the next epoch, by which every frame is durable; only then bring bytes to the
//! plain files, all of them behind the mark again, even where they look equal, because the page cache is not evidence.
//! The catalog is not written here: a checkpoint does that.

mod bytes;
mod names;

use crate::{
    apply::{
        applier::Unsynced,
        plain::PlainFiles,
        registry::Registry,
        view::{FileView, Location, Piece, Place, ViewState},
    },
    catalog::{Catalog, CatalogError, Stored},
    commit::from_catalog,
    config::Config,
    shard::{
        codec::Undecodable,
        ids::{FileId, FileKey},
        record::{self, Part, Record},
        state::{File, Files},
    },
};
use bytes::Bringer;
use inkpot_wal::{
    WalError,
    fs::{Attributes, FileSystem, VolumeSync},
    recovery::{Retained, Survey},
    writer::{Writer, is_full},
};
use std::{
    collections::{HashMap, HashSet},
    io,
    sync::Arc,
};
use thiserror::Error;

/// Why a shard cannot be opened.
#[derive(Debug, Error)]
pub enum RecoveryError {
    /// The log; [`WalError::Damaged`] if acknowledged frames are not readable.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A frame that passed its checksum holds what this version does not know.
    #[error("frame {sequence} of the log cannot be understood; a newer version may have written it")]
    Record {
        /// Its sequence.
        sequence: u64,
        /// Where.
        source: Undecodable,
    },
    /// The log speaks of a file that neither it nor the catalog has named.
    #[error("frame {sequence} of the log speaks of file id {id}, which nothing names: log and catalog do not fit")]
    Stranger {
        /// Its sequence.
        sequence: u64,
        /// The id.
        id: FileId,
    },
    /// The thread of a recovery in place.
    #[error("the thread of the recovery failed")]
    Thread(#[source] io::Error),
    /// A plain file.
    #[error("{path} failed")]
    File {
        /// Which.
        path: String,
        /// The error of the file system.
        source: io::Error,
    },
}

impl RecoveryError {
    /// Whether the disk has no room for what recovery needs; it goes on by itself when there is.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Wal(WalError::Full { .. }) => true,
            Self::Wal(error) => matches!(error, WalError::Io { source, .. } if is_full(source)),
            Self::Catalog(error) => {
                matches!(error.io_kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            Self::File { source, .. } => is_full(source),
            Self::Record { .. } | Self::Stranger { .. } | Self::Thread(_) => false,
        }
    }

    /// Whether trying again cannot help: what is on disk has to be looked at.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Wal(WalError::Damaged { .. }) | Self::Record { .. } | Self::Stranger { .. })
            || matches!(self, Self::Catalog(CatalogError::Row { .. }))
    }
}

/// What recovery stands on.
#[derive(Debug)]
pub struct Ground<'a> {
    /// Number of the shard.
    pub number: u32,
    /// Where everything lies.
    pub fs: &'a Arc<dyn FileSystem>,
    /// The settings.
    pub config: &'a Config,
    /// Files that readers have, from before a failure; empty at a start.
    pub registry: &'a Registry,
}

/// What a shard goes on from.
#[derive(Debug)]
pub struct Recovered {
    /// The catalog.
    pub catalog: Arc<Catalog>,
    /// Files that the log behind the mark speaks of.
    pub files: Files,
    /// Who makes plain files; knows the directories that the next checkpoint has to sync.
    pub plain: PlainFiles,
    /// The log in its new epoch.
    pub log: Writer,
    /// Running time of the shard so far, in seconds.
    pub running: u64,
    /// Bytes that could not be brought to their files, in order.
    pub aside: Vec<(Arc<FileView>, Piece)>,
}

/// Recovers a shard. `retained` is what this process still holds if it did not die.
///
/// # Errors
/// See [`RecoveryError`]; then nothing was given up, and another attempt may be made.
pub fn recover(ground: &Ground<'_>, retained: Option<Retained>) -> Result<(Recovered, Unsynced), RecoveryError> {
    let volume = open_volume(ground.fs.as_ref());
    let catalog = Arc::new(Catalog::open(ground.fs.as_ref(), ground.number)?);
    let progress = catalog.progress()?;
    let survey = Survey::read(ground.fs.as_ref(), ground.number, progress.mark, retained)?;
    if let Some(torn) = survey.torn() {
        tracing::warn!(
            shard = ground.number,
            path = torn.path,
            offset = torn.offset,
            "the log has a torn tail, left out"
        );
    }
    let mut fold = Fold::new(ground, &catalog, progress.running)?;
    survey.replay::<RecoveryError>(ground.fs.as_ref(), |frame| {
        let sequence = frame.header.sequence;
        decode(&frame.payload, sequence, |record| fold.take(record, sequence))
    })?;
    let Fold { mut files, touched, fresh, plain_ends, places, .. } = fold;
    files.drop_nameless_uploads();
    let mut log = survey.begin(ground.fs, ground.config.wal.segment_bytes)?;
    // A frame behind the begin frame proves it: rot in it alone would else make the epoch look as if it never was.
    log.seal()?;
    let mut plain = plain_files(ground);
    names::settle(ground, &files, &places, &mut plain)?;
    let mut bringer = Bringer::new(ground, &files, &mut plain, volume.is_some(), fresh, plain_ends);
    survey.replay::<RecoveryError>(ground.fs.as_ref(), |frame| {
        let sequence = frame.header.sequence;
        decode(&frame.payload, sequence, |record| bringer.take(&record, sequence))
    })?;
    let (written, aside) = bringer.finish(&touched)?;
    // Never what was before a set that may have happened: others may show it already.
    files.sets().locked().for_each(|key| ground.registry.hold_undecided(key));
    for (key, _) in files.unbound().iter().filter(|(key, _)| files.sets().lock_of(key).is_none()) {
        ground.registry.set_absent(key.clone());
    }
    touched.iter().for_each(|id| names::register(ground, &files, *id));
    files.forget_kept_views();
    tracing::info!(
        shard = ground.number,
        epoch = log.epoch(),
        frames = log.last_sequence() - progress.mark.sequence,
        files = touched.len(),
        "shard recovered"
    );
    let recovered = Recovered { catalog, files, plain, log, running: progress.running, aside };
    Ok((recovered, Unsynced { files: written, volume }))
}

/// Whether the log and a catalog are of one moment: every frame builds on what the catalog and the frames before it have.
/// Changes nothing on disk.
///
/// # Errors
/// Why the shard cannot be recovered.
pub(crate) fn check(ground: &Ground<'_>, catalog: &Catalog) -> Result<(), RecoveryError> {
    let progress = catalog.progress()?;
    let survey = Survey::read(ground.fs.as_ref(), ground.number, progress.mark, None)?;
    let mut fold = Fold::new(ground, catalog, progress.running)?;
    survey.replay::<RecoveryError>(ground.fs.as_ref(), |frame| {
        let sequence = frame.header.sequence;
        decode(&frame.payload, sequence, |record| fold.take(record, sequence))
    })
}

fn decode(
    payload: &::bytes::Bytes,
    sequence: u64,
    mut visit: impl FnMut(Record) -> Result<(), RecoveryError>,
) -> Result<(), RecoveryError> {
    enum Stop {
        Undecodable(Undecodable),
        Recovery(RecoveryError),
    }
    impl From<Undecodable> for Stop {
        fn from(source: Undecodable) -> Self {
            Self::Undecodable(source)
        }
    }
    record::decode(payload, |record| visit(record).map_err(Stop::Recovery)).map_err(|stop| match stop {
        Stop::Undecodable(source) => RecoveryError::Record { sequence, source },
        Stop::Recovery(error) => error,
    })
}

/// A volume reports an error once per descriptor: one result is thrown away, so that a failure of the past does not
/// count against what recovery writes.
fn open_volume(fs: &dyn FileSystem) -> Option<Box<dyn VolumeSync>> {
    let volume = fs.volume_sync().ok().flatten()?;
    if let Err(error) = volume.sync() {
        tracing::warn!(%error, "the volume reports an earlier failure; what is not proven durable is written again");
    }
    Some(volume)
}

/// Who makes plain files and staged ones, as the settings want them.
pub(crate) fn plain_files(ground: &Ground<'_>) -> PlainFiles {
    let files = &ground.config.files;
    let attributes = |mode| Attributes { mode, uid: files.owner, gid: files.group };
    PlainFiles::new(Arc::clone(ground.fs), ground.number, attributes(files.file_mode), attributes(files.dir_mode))
}

/// Whether a record changes where a file is found.
fn is_about_names(record: &Record) -> bool {
    use Record as R;
    matches!(
        record,
        R::Upload { .. }
            | R::Publish { .. }
            | R::Remove { .. }
            | R::Rename { .. }
            | R::Rotate { .. }
            | R::Swap { .. }
            | R::Adopt { .. }
    )
}

/// Files and producers as the log leaves them.
struct Fold<'a> {
    ground: &'a Ground<'a>,
    catalog: &'a Catalog,
    running: u64,
    files: Files,
    /// Files that frames behind the mark change.
    touched: HashSet<FileId>,
    /// Those of them whose plain file was made behind the mark.
    fresh: HashSet<FileId>,
    /// Bytes that the plain file had at the mark.
    plain_ends: HashMap<FileId, u64>,
    /// Where the inode of a file may be that frames behind the mark name anew: wherever it was since then.
    places: HashMap<FileId, Vec<Place>>,
}

impl<'a> Fold<'a> {
    fn new(ground: &'a Ground<'a>, catalog: &'a Catalog, running: u64) -> Result<Self, RecoveryError> {
        let files = Files::new(ground.config.producers.remembered);
        let mut files = files.going_on(catalog.usage()?, ground.registry.views());
        for stored in catalog.uploads()? {
            let view = files.kept_view(stored.id);
            files.insert(from_catalog(stored, view, ground.number));
        }
        let (touched, fresh, plain_ends, places) = Default::default();
        let mut fold = Self { ground, catalog, running, files, touched, fresh, plain_ends, places };
        let sets = catalog.sets()?;
        if !sets.is_empty() {
            // They are as of the mark, and change no file.
            decode(&sets, 0, |record| fold.take(record, 0))?;
        }
        Ok(fold)
    }

    fn take(&mut self, record: Record, sequence: u64) -> Result<(), RecoveryError> {
        if matches!(
            record,
            Record::Prepare { .. } | Record::Decide { .. } | Record::Settle { .. } | Record::Close { .. }
        ) {
            return self.take_step(&record, sequence);
        }
        let id = record.id();
        let is_new = matches!(record, Record::Name { .. } | Record::Upload { .. } | Record::Adopt { .. });
        if self.files.get(id).is_none() && !self.load(id)? && !is_new {
            return Err(RecoveryError::Stranger { sequence, id });
        }
        if let (None, Record::Name { key, generation, .. }) = (self.files.get(id), &record) {
            let view = self.files.kept_view(id);
            let view =
                view.unwrap_or_else(|| Arc::new(FileView::new(key.clone(), id, *generation, ViewState::default())));
            // A view that readers have may have another path by now.
            self.files.insert(File { key: key.clone(), ..File::new(view, true) });
        }
        for key in self.paths_taken(&record) {
            if let Some(displaced) = self.id_at(&key)? {
                self.note_place(displaced);
                self.note_exchange(displaced, self.place_of(id));
            }
        }
        let is_about_names = is_about_names(&record);
        if is_about_names {
            self.note_place(id);
        }
        if matches!(record, Record::Create { .. }) {
            self.fresh.insert(id);
        }
        self.files.apply(&record, sequence, self.running);
        self.touched.insert(id);
        match record {
            Record::Swap { next, .. } => self.note_place(next),
            Record::Rotate { next: heir, .. } | Record::Remove { heir: Some((heir, _)), .. } => {
                self.touched.insert(heir);
            }
            _ => {}
        }
        if is_about_names {
            self.note_place(id);
        }
        Ok(())
    }

    /// A record about a set.
    fn take_step(&mut self, record: &Record, sequence: u64) -> Result<(), RecoveryError> {
        if let Record::Prepare { part: Part::Leave { file }, .. } = record
            && self.files.get(*file).is_none()
            && !self.load(*file)?
        {
            return Err(RecoveryError::Stranger { sequence, id: *file });
        }
        let held = match record {
            Record::Settle { id, commit: true } => self.files.sets().held(*id).cloned(),
            _ => None,
        };
        let mut moved = Vec::new();
        for part in held.into_iter().flat_map(|held| held.parts) {
            let displaced = self.files.paths_of(&part).map(|key| self.id_at(&key)).transpose()?.flatten();
            if let Some(displaced) = displaced {
                self.note_place(displaced);
            }
            let (Part::Publish { upload: id } | Part::Leave { file: id }) = &part else {
                let Part::Arrive { file, from } = part else { continue };
                let location =
                    if file.row.content.compressed.is_some() { Location::Compressed } else { Location::Plain };
                let place = Place { key: from, location };
                if let Some(displaced) = displaced {
                    self.note_exchange(displaced, Some(place.clone()));
                }
                self.places.entry(file.id).or_default().push(place);
                // All that it had is in its plain file, synced, whatever this log says of an earlier stay.
                self.plain_ends.insert(file.id, file.row.end);
                self.fresh.remove(&file.id);
                moved.push(file.id);
                continue;
            };
            self.note_place(*id);
            moved.push(*id);
        }
        self.files.apply(record, sequence, self.running);
        moved.into_iter().for_each(|id| self.note_place(id));
        Ok(())
    }

    /// The paths that a record gives to another file than the one that may have them.
    fn paths_taken(&self, record: &Record) -> Vec<FileKey> {
        let own = |id: &FileId| self.files.get(*id).map(|file| file.key.clone());
        match record {
            Record::Rename { to, .. } | Record::Rotate { to, .. } => vec![to.clone()],
            Record::Adopt { key, .. } => vec![key.clone()],
            Record::Publish { id } => own(id).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    /// The file that has a path, brought to memory.
    fn id_at(&mut self, key: &FileKey) -> Result<Option<FileId>, RecoveryError> {
        if let Some(id) = self.files.id_of(key) {
            return Ok(Some(id));
        }
        // The catalog may say what frames have changed: then the file is in memory, under another path or gone.
        let Some(stored) = self.catalog.by_key(key)?.filter(|stored| self.files.get(stored.id).is_none()) else {
            return Ok(None);
        };
        let id = stored.id;
        self.insert(stored);
        Ok(Some(id))
    }

    /// Brings a file that the catalog knows to memory; tells whether it does.
    fn load(&mut self, id: FileId) -> Result<bool, RecoveryError> {
        let stored = self.catalog.by_id(id)?;
        let is_known = stored.is_some();
        stored.into_iter().for_each(|stored| self.insert(stored));
        Ok(is_known)
    }

    fn insert(&mut self, stored: Stored) {
        self.plain_ends.insert(stored.id, stored.row.parked.map_or(stored.row.end, |parked| parked.from));
        let view = self.files.kept_view(stored.id);
        self.files.insert(from_catalog(stored, view, self.ground.number));
    }

    /// Where a file is as decided so far.
    fn place_of(&self, id: FileId) -> Option<Place> {
        let file = self.files.get(id)?;
        let location = match (&file.upload, file.content.compressed) {
            (Some(_), _) => Location::Staged,
            (None, Some(_)) => Location::Compressed,
            (None, None) => Location::Plain,
        };
        Some(Place { key: file.key.clone(), location })
    }

    /// Notes that a file which is displaced may lie where the one comes from that displaces it: the two change places.
    fn note_exchange(&mut self, displaced: FileId, place: Option<Place>) {
        self.places.entry(displaced).or_default().extend(place);
    }

    /// Notes where a file is before or after a record that names it.
    fn note_place(&mut self, id: FileId) {
        let Some(place) = self.place_of(id) else { return };
        self.touched.insert(id);
        let places = self.places.entry(id).or_default();
        if places.last() != Some(&place) {
            places.push(place);
        }
    }
}

#[cfg(test)]
mod tests;
