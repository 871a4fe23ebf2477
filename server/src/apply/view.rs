//! A file as readers see it: what is committed, what of that is in the plain file, and the bytes in between.

use super::{plain::open_stamped, seekable::SeekTable};
use crate::shard::{
    FileSummary,
    ids::{FileId, FileKey},
};
use bytes::Bytes;
use inkpot_proto::path::TenantName;
use inkpot_wal::fs::{Access, File, FileSystem, Metadata};
use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Instant, SystemTime},
};
use tokio::sync::Notify;

/// Committed bytes that are not in the plain file yet.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Where they belong in the file.
    pub offset: u64,
    /// The bytes; a part of the frame that carried them.
    pub data: Bytes,
    /// The frame that carried them.
    pub sequence: u64,
}

impl Piece {
    /// Offset after the last byte.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset + self.data.len() as u64
    }
}

/// Committed bytes that could not be brought to the plain file and were put aside, from this offset on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parked {
    /// First byte that lies in the parked file, at its beginning.
    pub from: u64,
    /// Offset after the last byte.
    pub end: u64,
}

/// What became of content that its path no longer leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// Other content has taken its place: [`ViewState::successor`].
    Replaced,
    /// The file was deleted.
    Deleted,
    /// The file has another path, which belongs to another shard: its bytes are that one's.
    Left,
}

/// Where the bytes of a file lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Location {
    /// Under its path.
    #[default]
    Plain,
    /// Under its path and [`COMPRESSED_SUFFIX`], compressed.
    Compressed,
    /// In staging, under its id: not published yet, or no longer.
    Staged,
}

/// What a compressed file has behind its path.
pub const COMPRESSED_SUFFIX: &str = ".zst";

/// The name of a file, and where its bytes lie. Both change together, when it is published, renamed or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its tenant and path.
    pub key: FileKey,
    /// Where its bytes lie.
    pub location: Location,
}

/// What changes about a file.
#[derive(Debug, Default)]
pub struct ViewState {
    /// Whether the plain file was ever made. Without it only opens know the file.
    pub exists: bool,
    /// Committed bytes.
    pub committed: u64,
    /// Bytes that are in the plain file.
    pub applied: u64,
    /// Committed bytes known to be synced in the log; at least those applied.
    pub synced: u64,
    /// What lies between the two (less what is parked), in order.
    pub pending: VecDeque<Piece>,
    /// Sum of `pending`, in bytes.
    pub pending_bytes: u64,
    /// When the first of `pending` came.
    pub pending_since: Option<Instant>,
    /// Bytes put aside.
    pub parked: Option<Parked>,
    /// What another program did to the plain file; appends are refused while it is set.
    pub foreign: Option<String>,
    /// Size, inode and modification time of the plain file after our last write, if we know them.
    pub seen: Option<Seen>,
    /// Whether the applier has the file on its list.
    pub listed: bool,
    /// How many producers the file has.
    pub producers: u32,
    /// Whether it takes no more appends.
    pub sealed: bool,
    /// crc32c of the committed bytes, unless it is not known.
    pub crc32c: Option<u32>,
    /// Bytes that the compressed file takes; `None` if it is not compressed.
    pub compressed: Option<u64>,
    /// When it was rotated away, in milliseconds since 1970.
    pub rotated: Option<u64>,
    /// Set once the path no longer leads here; nothing is applied to it any more.
    pub gone: Option<Gone>,
    /// Generation of the content that came after this at the path that it was rotated away from.
    pub rotated_to: Option<u64>,
    /// The content that came after this at the path: of a file that was rotated away or replaced.
    pub successor: Option<Arc<FileView>>,
}

/// How our last write left the plain file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Inode number.
    pub inode: u64,
    /// Modification time.
    pub modified: SystemTime,
}

/// A file of a shard, shared by its writer, its applier and its readers.
#[derive(Debug)]
pub struct FileView {
    place: RwLock<Place>,
    /// The shard that has it.
    pub shard: u32,
    /// Its inode's id.
    pub id: FileId,
    /// Its generation.
    pub generation: u64,
    state: Mutex<ViewState>,
    /// Seek table of the compressed file that a reader saw last; of no other than the one with this metadata.
    seek_table: Mutex<Option<Arc<(Metadata, SeekTable)>>>,
    /// Told whenever more is committed, or the path leads elsewhere.
    pub changed: Notify,
}

/// A piece of a file for a reader.
#[derive(Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The bytes; empty at the end of what is committed.
    pub data: Bytes,
    /// Committed end of the file.
    pub end: u64,
}

/// Where the next bytes for a reader lie.
enum Source {
    Memory(Bytes),
    Plain(u64),
    Parked { skip: u64, len: u64 },
}

impl FileView {
    /// A view with this state, of a file of the shard that made its id.
    #[must_use]
    pub fn new(key: FileKey, id: FileId, generation: u64, state: ViewState) -> Self {
        Self::at(Place { key, location: Location::Plain }, id.shard(), id, generation, state)
    }

    /// A view of a file that lies there, with this state.
    #[must_use]
    pub fn at(place: Place, shard: u32, id: FileId, generation: u64, state: ViewState) -> Self {
        let place = RwLock::new(place);
        let (state, seek_table) = (Mutex::new(state), Mutex::default());
        Self { place, shard, id, generation, state, seek_table, changed: Notify::new() }
    }

    /// Its tenant and path, at present.
    #[must_use]
    pub fn key(&self) -> FileKey {
        self.place().key.clone()
    }

    /// Its name and where its bytes lie, which do not change while this is held: for one call that takes a path.
    pub fn place(&self) -> RwLockReadGuard<'_, Place> {
        self.place.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`FileView::place`], to change it together with what is on disk. For the shard.
    pub fn place_mut(&self) -> RwLockWriteGuard<'_, Place> {
        self.place.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where its bytes lie, if this is its place.
    #[must_use]
    pub fn path_at(&self, place: &Place) -> String {
        match place.location {
            Location::Plain => place.key.plain_path(),
            Location::Compressed => place.key.plain_path() + COMPRESSED_SUFFIX,
            Location::Staged => staged_path(&place.key.tenant, self.shard, self.id),
        }
    }

    /// Where its bytes lie at present.
    #[must_use]
    pub fn path(&self) -> String {
        self.path_at(&self.place())
    }

    /// The state, locked: for short steps without I/O.
    pub fn state(&self) -> MutexGuard<'_, ViewState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Up to `max` committed bytes from `offset` on. Reads the disk: not for an event loop.
    ///
    /// # Errors
    /// Those of the file system; `UnexpectedEof` if the plain file has lost bytes that were there, `InvalidData` if it is
    /// compressed and damaged.
    pub fn read(&self, fs: &dyn FileSystem, offset: u64, max: usize) -> io::Result<Chunk> {
        let (source, end) = {
            let state = self.state();
            let end = state.committed;
            if offset >= end {
                return Ok(Chunk { data: Bytes::new(), end });
            }
            (state.source(offset), end)
        };
        let data = match source {
            Source::Memory(data) => data.slice(..data.len().min(max)),
            Source::Plain(applied) => self.read_plain(fs, offset, cut(applied - offset, max))?,
            Source::Parked { skip, len } => {
                let path = self.parked_path();
                read_exact(fs.open(&path, Access::Read)?.as_ref(), &path, skip, cut(len, max))?
            }
        };
        Ok(Chunk { data, end })
    }

    fn read_plain(&self, fs: &dyn FileSystem, offset: u64, len: usize) -> io::Result<Bytes> {
        let (opened, path, location) = {
            let place = self.place();
            let path = self.path_at(&place);
            (open_stamped(fs, &path, self.id, Access::Read)?, path, place.location)
        };
        let file = opened.map_err(|what| lost(format!("the plain file {what}")))?;
        match location {
            Location::Plain | Location::Staged => read_exact(file.as_ref(), &path, offset, len),
            Location::Compressed => {
                self.read_compressed(file.as_ref(), offset, len).map_err(|error| match error.kind() {
                    kind @ io::ErrorKind::InvalidData => io::Error::new(kind, format!("{path}: {error}")),
                    _ => error,
                })
            }
        }
    }

    /// Up to `max` bytes, at least one: what a frame has.
    fn read_compressed(&self, file: &dyn File, offset: u64, max: usize) -> io::Result<Bytes> {
        let known = self.seek_table(file)?;
        let (_, table) = &*known;
        let data = table.read_at(file, offset, max)?;
        if data.is_empty() && max > 0 {
            let text = format!("has {} bytes instead of more than {offset}", table.input_len());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(data)
    }

    /// The table of a compressed file, which is read again only if the file is another one than the last time.
    fn seek_table(&self, file: &dyn File) -> io::Result<Arc<(Metadata, SeekTable)>> {
        let found = file.metadata()?;
        let known = || self.seek_table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known().as_ref().filter(|known| known.0 == found) {
            return Ok(Arc::clone(known));
        }
        let read = Arc::new((found, SeekTable::read(file)?));
        *known() = Some(Arc::clone(&read));
        Ok(read)
    }

    /// What Stat and List tell of it.
    #[must_use]
    pub fn summary(&self) -> FileSummary {
        let path = self.key().path;
        let state = self.state();
        FileSummary {
            path,
            size: state.committed,
            applied_size: state.applied,
            synced_size: state.synced,
            generation: self.generation,
            sealed: state.sealed,
            producers: state.producers,
            modified: state.seen.map(|seen| seen.modified),
            foreign_change: state.foreign.is_some(),
            crc32c: state.crc32c,
            stored_size: state.compressed.unwrap_or(state.applied),
            compressed: state.compressed.is_some(),
            rotated: state.rotated,
        }
    }

    /// Where bytes of this file are put aside.
    #[must_use]
    pub fn parked_path(&self) -> String {
        format!("shards/{:04}/parked/{}", self.shard, self.id)
    }
}

impl ViewState {
    /// Forgets what waits for the plain file of content that is gone. Returns how many bytes that were.
    pub fn drop_pending(&mut self) -> u64 {
        self.pending.clear();
        self.pending_since = None;
        std::mem::take(&mut self.pending_bytes)
    }

    fn source(&self, offset: u64) -> Source {
        if let Some(parked) = self.parked.filter(|parked| (parked.from..parked.end).contains(&offset)) {
            return Source::Parked { skip: offset - parked.from, len: parked.end - offset };
        }
        if offset < self.applied {
            return Source::Plain(self.applied);
        }
        let at = self.pending.partition_point(|piece| piece.end() <= offset);
        self.pending.get(at).map_or(Source::Memory(Bytes::new()), |piece| {
            Source::Memory(piece.data.slice(usize::try_from(offset - piece.offset).unwrap_or(0)..))
        })
    }
}

/// Where a file of a shard lies that is not published yet, or no longer. Each shard has a directory of its own there.
#[must_use]
pub fn staged_path(tenant: &TenantName, shard: u32, id: FileId) -> String {
    format!("staging/{tenant}/{shard:04}/{id}")
}

fn cut(available: u64, max: usize) -> usize {
    usize::try_from(available).unwrap_or(usize::MAX).min(max)
}

fn read_exact(file: &dyn File, path: &str, offset: u64, len: usize) -> io::Result<Bytes> {
    let mut data = vec![0; len];
    let read = file.read_at(&mut data, offset)?;
    if read < len {
        return Err(lost(format!("{path} ends at byte {}, before what was written to it", offset + read as u64)));
    }
    Ok(data.into())
}

/// What was written is not where it was written to.
fn lost(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, text)
}

#[cfg(test)]
pub(super) mod tests;
