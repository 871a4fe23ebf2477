//! What a shard remembers across starts, as of its last checkpoint: files, producers, and the mark in the log up to
//! which all of it is in synced plain files. An embedded database (redb) on our [`FileSystem`]; written only at
//! checkpoints, read when a file is used that is not in memory.

mod backend;
mod list;
mod rows;
mod scratch;
mod slot;

pub use list::Listed;
pub use rows::{FileRow, Stored};
pub(crate) use rows::{decode_producer, encode_producer};
pub use slot::CatalogSlot;

use crate::shard::{
    codec::{Reader, Undecodable, put_number},
    ids::{FileId, FileKey, ProducerId},
    state::{Producer, Usage},
};
use backend::Backend;
use bytes::Bytes;
use inkpot_proto::path::TenantName;
use inkpot_wal::{
    fs::{Access, Attributes, Existing, File, FileSystem},
    recovery::Mark,
};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use scratch::Scratch;
use std::{collections::HashSet, io, sync::Arc};
use thiserror::Error;

const FILES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("files");
const PATHS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("paths");
const PRODUCERS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("producers");
/// Ids of the files that are not published yet.
const UPLOADS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("uploads");
/// What each tenant has in the shard.
const USAGE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("usage");
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const PROGRESS: &str = "progress";
const SETS: &str = "sets";
/// Memory that one catalog may use as a cache, in bytes.
const CACHE_BYTES: usize = 8 << 20;

/// Why the catalog could not be read or written.
#[derive(Debug, Error)]
pub enum CatalogError {
    /// The file could not be made or opened.
    #[error("catalog {path} cannot be opened")]
    Open {
        /// The file.
        path: String,
        /// The error of the file system.
        source: io::Error,
    },
    /// The database failed.
    #[error("catalog {path} failed")]
    Database {
        /// The file.
        path: String,
        /// The error of the database.
        source: Box<redb::Error>,
    },
    /// A row does not decode.
    #[error("catalog {path} has a row that does not decode")]
    Row {
        /// The file.
        path: String,
        /// Where.
        source: Undecodable,
    },
}

impl CatalogError {
    /// The kind of the error of the file system behind it, if there is one.
    #[must_use]
    pub fn io_kind(&self) -> io::ErrorKind {
        match self {
            Self::Open { source, .. } => source.kind(),
            Self::Database { source, .. } => match source.as_ref() {
                redb::Error::Io(error) => error.kind(),
                _ => io::ErrorKind::Other,
            },
            Self::Row { .. } => io::ErrorKind::InvalidData,
        }
    }
}

/// How far a shard has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Up to here everything is in synced plain files and in the catalog.
    pub mark: Mark,
    /// How long the shard has been running in all its life, in seconds; no wall clock.
    pub running: u64,
}

/// What a checkpoint writes.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Files that changed, and are there.
    pub files: Vec<Stored>,
    /// Files that are gone.
    pub removed: Vec<FileId>,
    /// Paths that were taken from files.
    pub unbound: Vec<(FileKey, FileId)>,
    /// What each tenant has.
    pub usage: Vec<(TenantName, Usage)>,
    /// Sets that are not over, as records.
    pub sets: Bytes,
}

/// The catalog of one shard.
#[derive(Debug)]
pub struct Catalog {
    path: String,
    db: Database,
}

impl Catalog {
    /// Makes the empty catalog of a shard, durable when this returns.
    ///
    /// # Errors
    /// Those of the file system and the database.
    pub fn create(fs: &dyn FileSystem, shard: u32) -> Result<(), CatalogError> {
        let path = path(shard);
        let new = format!("{path}.new");
        let open = |source| CatalogError::Open { path: path.clone(), source };
        match fs.remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(open(error)),
            _ => {}
        }
        let file = fs.create(&new, Attributes::PRIVATE).map_err(open)?;
        let catalog = Self::on_file(file, &new)?;
        catalog.save(&Changes::default(), Progress::default())?;
        drop(catalog);
        fs.open(&new, Access::ReadWrite).and_then(|file| file.sync_all()).map_err(open)?;
        fs.rename(&new, &path, Existing::Replace).map_err(open)?;
        fs.sync_dir(inkpot_wal::fs::parent(&path)).map_err(open)
    }

    /// Opens the catalog of a shard.
    ///
    /// # Errors
    /// [`CatalogError::Open`] with `NotFound` if there is none.
    pub fn open(fs: &dyn FileSystem, shard: u32) -> Result<Self, CatalogError> {
        let path = path(shard);
        let file = fs.open(&path, Access::ReadWrite);
        let file = file.map_err(|source| CatalogError::Open { path: path.clone(), source })?;
        Self::on_file(file, &path)
    }

    /// Opens the catalog of a shard to look at it: nothing is written, also not to repair it.
    ///
    /// # Errors
    /// As [`Catalog::open`].
    pub fn open_scratch(fs: &dyn FileSystem, shard: u32) -> Result<Self, CatalogError> {
        let path = path(shard);
        let scratch = fs.open(&path, Access::Read).and_then(Scratch::new);
        let scratch = scratch.map_err(|source| CatalogError::Open { path: path.clone(), source })?;
        Self::on_file(Arc::new(scratch), &path)
    }

    fn on_file(file: Arc<dyn File>, path: &str) -> Result<Self, CatalogError> {
        let db = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(Backend::new(file))
            .map_err(|error| CatalogError::Database { path: path.to_owned(), source: Box::new(error.into()) })?;
        Ok(Self { path: path.to_owned(), db })
    }

    /// How far the shard had come at its last checkpoint.
    ///
    /// # Errors
    /// Those of the database.
    pub fn progress(&self) -> Result<Progress, CatalogError> {
        let table = self.read(META)?;
        let row = table.get(PROGRESS).map_err(|error| self.failed(error))?;
        let Some(row) = row else { return Ok(Progress::default()) };
        let mut reader = Reader::new(Bytes::copy_from_slice(row.value()));
        let mut number = || reader.number().map_err(|error| self.undecodable(error));
        let mark = Mark { sequence: number()?, epoch: number()?, segment: number()?, offset: number()? };
        Ok(Progress { mark, running: number()? })
    }

    /// A file with its producers, by path.
    ///
    /// # Errors
    /// Those of the database.
    pub fn by_key(&self, key: &FileKey) -> Result<Option<Stored>, CatalogError> {
        let id = {
            let paths = self.read(PATHS)?;
            let row = paths.get(path_key(key).as_slice()).map_err(|error| self.failed(error))?;
            row.and_then(|row| row.value().try_into().ok().map(FileId::from_bytes))
        };
        id.map_or(Ok(None), |id| self.by_id(id))
    }

    /// A file with its producers, by id.
    ///
    /// # Errors
    /// Those of the database.
    pub fn by_id(&self, id: FileId) -> Result<Option<Stored>, CatalogError> {
        let Some(row) = self.row(&self.read(FILES)?, id)? else { return Ok(None) };
        let producers = self.read(PRODUCERS)?;
        let first = id.to_bytes();
        let range = producers.range::<&[u8]>(first.as_slice()..).map_err(|error| self.failed(error))?;
        let mut found = Vec::new();
        for entry in range {
            let (key, value) = entry.map_err(|error| self.failed(error))?;
            let Some(producer) = key.value().strip_prefix(first.as_slice()) else { break };
            let producer = ProducerId::from(String::from_utf8_lossy(producer));
            let state = rows::decode_producer(value.value()).map_err(|error| self.undecodable(error))?;
            found.push((producer, state));
        }
        Ok(Some(Stored { id, row, producers: found }))
    }

    /// Sets that are not over, as records; empty: none.
    ///
    /// # Errors
    /// Those of the database.
    pub fn sets(&self) -> Result<Bytes, CatalogError> {
        let table = self.read(META)?;
        let row = table.get(SETS).map_err(|error| self.failed(error))?;
        Ok(row.map_or_else(Bytes::new, |row| Bytes::copy_from_slice(row.value())))
    }

    /// The uploads that are not published yet.
    ///
    /// # Errors
    /// Those of the database.
    pub fn uploads(&self) -> Result<Vec<Stored>, CatalogError> {
        let table = self.read(UPLOADS)?;
        let mut found = Vec::new();
        for entry in table.iter().map_err(|error| self.failed(error))? {
            let (id, _) = entry.map_err(|error| self.failed(error))?;
            let id = id.value().try_into().map(FileId::from_bytes).map_err(|_| self.undecodable(Undecodable(0)))?;
            found.extend(self.by_id(id)?);
        }
        Ok(found)
    }

    /// What each tenant has.
    ///
    /// # Errors
    /// Those of the database.
    pub fn usage(&self) -> Result<Vec<(TenantName, Usage)>, CatalogError> {
        let table = self.read(USAGE)?;
        let mut found = Vec::new();
        for entry in table.iter().map_err(|error| self.failed(error))? {
            let (tenant, usage) = entry.map_err(|error| self.failed(error))?;
            let tenant = TenantName::parse(&String::from_utf8_lossy(tenant.value()));
            let tenant = tenant.map_err(|_| self.undecodable(Undecodable(0)))?;
            found.push((tenant, rows::decode_usage(usage.value()).map_err(|error| self.undecodable(error))?));
        }
        Ok(found)
    }

    /// Writes what changed, and how far the shard has come. Durable when this returns.
    ///
    /// # Errors
    /// Those of the database; then the catalog is as it was, or as it should be, and must be opened anew.
    pub fn save(&self, changes: &Changes, progress: Progress) -> Result<(), CatalogError> {
        let mut transaction = self.db.begin_write().map_err(|error| self.failed(error))?;
        // Costs a little at each checkpoint and spares a walk over the whole file after a crash.
        transaction.set_quick_repair(true);
        self.save_files(&transaction, changes).map_err(|error| self.failed(error))?;
        self.save_usage(&transaction, &changes.usage).map_err(|error| self.failed(error))?;
        {
            let mut meta = transaction.open_table(META).map_err(|error| self.failed(error))?;
            let Mark { sequence, epoch, segment, offset } = progress.mark;
            let mut row = Vec::new();
            for number in [sequence, epoch, segment, offset, progress.running] {
                put_number(&mut row, number);
            }
            meta.insert(PROGRESS, row.as_slice()).map_err(|error| self.failed(error))?;
            meta.insert(SETS, changes.sets.as_ref()).map_err(|error| self.failed(error))?;
        }
        transaction.commit().map_err(|error| self.failed(error))
    }

    fn save_files(&self, transaction: &WriteTransaction, changes: &Changes) -> Result<(), redb::Error> {
        let mut rows = transaction.open_table(FILES)?;
        let mut paths = transaction.open_table(PATHS)?;
        let mut producers = transaction.open_table(PRODUCERS)?;
        let mut uploads = transaction.open_table(UPLOADS)?;
        for (key, id) in &changes.unbound {
            let key = path_key(key);
            // It may be another file's by now.
            if paths.get(key.as_slice())?.is_some_and(|row| row.value() == id.to_bytes().as_slice()) {
                paths.remove(key.as_slice())?;
            }
        }
        for id in &changes.removed {
            let id = id.to_bytes();
            rows.remove(id.as_slice())?;
            uploads.remove(id.as_slice())?;
            save_producers(&mut producers, &id, &[])?;
        }
        for file in &changes.files {
            let id = file.id.to_bytes();
            rows.insert(id.as_slice(), file.row.encode().as_slice())?;
            if file.row.upload.is_some() {
                uploads.insert(id.as_slice(), [].as_slice())?;
            } else {
                uploads.remove(id.as_slice())?;
                paths.insert(path_key(&file.row.key).as_slice(), id.as_slice())?;
            }
            save_producers(&mut producers, &id, &file.producers)?;
        }
        Ok(())
    }

    fn save_usage(&self, transaction: &WriteTransaction, usage: &[(TenantName, Usage)]) -> Result<(), redb::Error> {
        let mut table = transaction.open_table(USAGE)?;
        let kept: HashSet<&[u8]> = usage.iter().map(|(tenant, _)| tenant.as_str().as_bytes()).collect();
        table.retain(|tenant, _| kept.contains(tenant))?;
        for (tenant, usage) in usage {
            table.insert(tenant.as_str().as_bytes(), rows::encode_usage(*usage).as_slice())?;
        }
        Ok(())
    }

    fn row(
        &self,
        files: &redb::ReadOnlyTable<&'static [u8], &'static [u8]>,
        id: FileId,
    ) -> Result<Option<FileRow>, CatalogError> {
        let row = files.get(id.to_bytes().as_slice()).map_err(|error| self.failed(error))?;
        let row = row.map(|row| FileRow::decode(row.value()).map_err(|error| self.undecodable(error)));
        row.transpose()
    }

    fn read<K: redb::Key + 'static>(
        &self,
        table: TableDefinition<K, &'static [u8]>,
    ) -> Result<redb::ReadOnlyTable<K, &'static [u8]>, CatalogError> {
        let transaction = self.db.begin_read().map_err(|error| self.failed(error))?;
        transaction.open_table(table).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: impl Into<redb::Error>) -> CatalogError {
        CatalogError::Database { path: self.path.clone(), source: Box::new(error.into()) }
    }

    fn undecodable(&self, source: Undecodable) -> CatalogError {
        CatalogError::Row { path: self.path.clone(), source }
    }
}

fn path(shard: u32) -> String {
    format!("shards/{shard:04}/catalog")
}

/// Writes a file's producers, and removes those that it no longer has.
fn save_producers(
    table: &mut redb::Table<&[u8], &[u8]>,
    id: &[u8; 16],
    producers: &[(ProducerId, Producer)],
) -> Result<(), redb::StorageError> {
    let end = (u128::from_be_bytes(*id).saturating_add(1)).to_be_bytes();
    let kept: HashSet<&[u8]> = producers.iter().map(|(name, _)| name.as_bytes()).collect();
    table.retain_in::<&[u8], _>(id.as_slice()..end.as_slice(), |key, _| kept.contains(&key[id.len()..]))?;
    for (name, state) in producers {
        let key = [id.as_slice(), name.as_bytes()].concat();
        table.insert(key.as_slice(), rows::encode_producer(state).as_slice())?;
    }
    Ok(())
}

fn path_key(key: &FileKey) -> Vec<u8> {
    list::row_key(&key.tenant, key.path.as_str())
}

#[cfg(test)]
pub(crate) mod tests;
