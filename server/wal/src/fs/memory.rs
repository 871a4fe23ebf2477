//! A volume in memory that keeps, like a real one, only what was synced, and can be asked what is found after power
//! was lost at this very moment ([`MemoryFs::power_loss`]).
//!
//! The model is as strict as the words of [`super`], stricter than most file systems: data waits for a sync of its file,
//! a name for a sync of its directory, and a directory for one of its parent; a name is lost with the directory that it
//! stands in, synced or not. A rename is atomic, and a sync of either directory keeps it. The identity of a file goes to
//! the disk with its name or by [`File::sync_all`], its time of modification by [`File::sync_all`] or at whim.
//!
//! The same calls with the same seeds do the same: time is a counter of calls, inode numbers are never used again.
//! Owners and permissions are not kept.

mod foreign;
mod image;
mod journal;
mod power_loss;
mod space;
mod state;

use std::{
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use rand::{SeedableRng, rngs::SmallRng};
use rustix::io::Errno;

pub use self::power_loss::Loss;
use self::{
    image::{Body, Inode},
    state::State,
};
use super::{
    Access, Attributes, DirEntry, Existing, FILE_ID_BYTES, File, FileSystem, Kind, Metadata, VolumeSync, names,
};

/// Room on a volume unless told otherwise, in bytes.
const DEFAULT_CAPACITY: u64 = 1 << 40;

/// A machine with one volume. Clones are the same machine.
#[derive(Clone)]
pub struct MemoryFs {
    state: Arc<Mutex<State>>,
}

impl Default for MemoryFs {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryFs {
    /// An empty data folder with plenty of room.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(DEFAULT_CAPACITY)
    }

    /// An empty data folder on a volume with room for `bytes` of file content. Names and holes take none. A write that
    /// needs more does what fits, then fails with `ENOSPC`.
    #[must_use]
    pub fn with_capacity(bytes: u64) -> Self {
        Self::of(State::new(bytes))
    }

    /// Makes the volume larger or smaller; what is there stays, even if it is more.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().space.capacity = bytes;
    }

    /// The machine that starts after this one lost power now, or its process died. This one stays as it is, and neither
    /// it nor a handle of it can change the other. The new one counts its operations from 0 and fails none.
    #[must_use]
    pub fn power_loss(&self, how: Loss, seed: u64) -> Self {
        Self::of(power_loss::after(&self.state(), how, &mut SmallRng::seed_from_u64(seed)))
    }

    /// How many calls that change or sync something there were, also those that failed.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// How many operations wait for a sync.
    #[must_use]
    pub fn unsynced_operations(&self) -> usize {
        self.state().journal.len()
    }

    /// Stops the machine once it has done `n` operations, counted as [`MemoryFs::operations`] does: operation `n + 1`
    /// and every call after it, reads too, fail with `EIO`. If that one is a write, the power loss finds it half done.
    pub fn fail_from(&self, n: u64) {
        self.state().fail_from = Some(n);
    }

    /// How many inodes are kept: of the running machine, and of its disk.
    #[cfg(test)]
    pub(super) fn inodes(&self) -> (usize, usize) {
        let state = self.state();
        (state.current.inodes.len(), state.durable.inodes.len())
    }

    fn of(state: State) -> Self {
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, inode: u64, access: Access) -> Arc<dyn File> {
        Arc::new(MemoryFile { fs: self.clone(), inode, access })
    }
}

impl fmt::Debug for MemoryFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryFs").field("operations", &self.operations()).finish_non_exhaustive()
    }
}

impl FileSystem for MemoryFs {
    fn open(&self, path: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let inode = self.state().open(path)?;
        Ok(self.file(inode, access))
    }

    fn create(&self, path: &str, _: Attributes) -> io::Result<Arc<dyn File>> {
        let inode = self.state().create(path)?;
        Ok(self.file(inode, Access::ReadWrite))
    }

    fn create_dir(&self, path: &str, _: Attributes) -> io::Result<()> {
        self.state().begin()?.make(path, Body::Directory(Default::default()))?;
        Ok(())
    }

    fn rename(&self, from: &str, to: &str, existing: Existing) -> io::Result<()> {
        Ok(self.state().rename(from, to, existing)?)
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        Ok(self.state().remove(path, false)?)
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        Ok(self.state().remove(path, true)?)
    }

    fn metadata(&self, path: &str) -> io::Result<Metadata> {
        let state = self.state();
        let inode = state.look()?.current.find(names::check(path)?)?;
        Ok(metadata_of(inode, &state.current.inodes[&inode]))
    }

    fn read_dir(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        Ok(self.state().read_dir(path)?)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        Ok(self.state().sync_dir(path)?)
    }

    fn volume_sync(&self) -> io::Result<Option<Box<dyn VolumeSync>>> {
        self.state().look()?;
        Ok(Some(Box::new(MemoryVolume { fs: self.clone() })))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.state().look()?.space.free())
    }
}

/// An open file. Its inode stays until the last handle is gone.
#[derive(Debug)]
struct MemoryFile {
    fs: MemoryFs,
    inode: u64,
    access: Access,
}

impl MemoryFile {
    fn require_write(&self, otherwise: Errno) -> Result<(), Errno> {
        if self.access == Access::ReadWrite { Ok(()) } else { Err(otherwise) }
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        self.fs.state().close(self.inode);
    }
}

impl File for MemoryFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.fs.state();
        let content = state.look()?.current.content(self.inode).ok_or(Errno::BADF)?;
        let start = usize::try_from(offset).map_or(content.len(), |offset| offset.min(content.len()));
        let read = buf.len().min(content.len() - start);
        buf[..read].copy_from_slice(&content[start..start + read]);
        Ok(read)
    }

    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        self.require_write(Errno::BADF)?;
        Ok(self.fs.state().write(self.inode, parts, offset)?)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.require_write(Errno::INVAL)?;
        Ok(self.fs.state().set_len(self.inode, len)?)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(self.fs.state().sync_data(self.inode)?)
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(self.fs.state().sync_all(self.inode)?)
    }

    fn metadata(&self) -> io::Result<Metadata> {
        let state = self.fs.state();
        let inode = state.look()?.current.inodes.get(&self.inode).ok_or(Errno::BADF)?;
        Ok(metadata_of(self.inode, inode))
    }

    fn set_file_id(&self, id: &[u8; FILE_ID_BYTES]) -> io::Result<()> {
        Ok(self.fs.state().set_file_id(self.inode, *id)?)
    }

    fn file_id(&self) -> io::Result<Option<[u8; FILE_ID_BYTES]>> {
        let state = self.fs.state();
        Ok(state.look()?.current.inodes.get(&self.inode).ok_or(Errno::BADF)?.file_id)
    }
}

#[derive(Debug)]
struct MemoryVolume {
    fs: MemoryFs,
}

impl VolumeSync for MemoryVolume {
    fn sync(&self) -> io::Result<()> {
        Ok(self.fs.state().sync_volume()?)
    }
}

fn metadata_of(number: u64, inode: &Inode) -> Metadata {
    let (kind, len) = match &inode.body {
        Body::File(content) => (Kind::File, content.len() as u64),
        Body::Directory(_) => (Kind::Directory, 0),
        Body::Symlink | Body::Fifo => (Kind::Other, 0),
    };
    let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(inode.modified);
    Metadata { kind, len, inode: number, links: inode.links, modified }
}
