//! Room that the log of a shard keeps on the disk for when there is no other: a file of zeros beside its epochs, of the
//! size of a segment. It is given up in parts, each with a purpose: a start that finds no room for its epoch takes a
//! part, and so does a checkpoint that finds none for the catalog. Filled up again when there is room. Nothing is read
//! from it, so it does not matter what a crash leaves of it.

use crate::{
    fs::{Access, Attributes, File, FileSystem},
    segment::{wal_dir, write_zeros},
    writer::is_full,
};
use std::{io, sync::Arc};

/// The least that is given up at once, in bytes: less, and a file system may give nothing for it.
const LEAST_PART_BYTES: u64 = 64 << 10;

/// See the module. It has no state but the file.
#[derive(Clone, Debug)]
pub struct Reserve {
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) shard: u32,
    pub(crate) bytes: u64,
}

impl Reserve {
    /// That of a shard; `bytes` are the size of its segments.
    #[must_use]
    pub fn new(fs: Arc<dyn FileSystem>, shard: u32, bytes: u64) -> Self {
        Self { fs, shard, bytes }
    }

    fn path(&self) -> String {
        format!("{}/reserve", wal_dir(self.shard))
    }

    /// Gives up room for `bytes`, or what is left of it; `false` if nothing is. Others may be quicker to take it.
    pub(crate) fn give_for_start(&self, bytes: u64) -> bool {
        self.give(bytes, 0)
    }

    /// As for a start, and leaves half of it to starts.
    #[must_use]
    pub fn give_for_checkpoint(&self, bytes: u64) -> bool {
        self.give(bytes, self.bytes / 2)
    }

    fn give(&self, bytes: u64, keep: u64) -> bool {
        let Ok(file) = self.fs.open(&self.path(), Access::ReadWrite) else { return false };
        let len = file.metadata().map_or(0, |metadata| metadata.len);
        len > keep && file.set_len(len.saturating_sub(bytes.max(LEAST_PART_BYTES)).max(keep)).is_ok()
    }

    /// Fills it up, if that leaves `keep` bytes free, or a segment if that is more: whatever else needs room comes first.
    ///
    /// # Errors
    /// Those of the file system, but for want of room.
    pub fn fill_up(&self, keep: u64) -> io::Result<()> {
        let path = self.path();
        let len = match self.fs.metadata(&path) {
            Ok(metadata) => metadata.len,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        let missing = self.bytes.saturating_sub(len);
        if missing == 0 || self.fs.free_bytes()? < missing + keep.max(self.bytes) {
            return Ok(());
        }
        let filled = self.open_or_create(&path).and_then(|file| {
            write_zeros(file.as_ref(), self.bytes)?;
            file.sync_all()
        });
        match filled {
            Err(error) if is_full(&error) => Ok(()),
            filled => filled.and_then(|()| self.fs.sync_dir(&wal_dir(self.shard))),
        }
    }

    fn open_or_create(&self, path: &str) -> io::Result<Arc<dyn File>> {
        match self.fs.open(path, Access::ReadWrite) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.fs.create(path, Attributes::PRIVATE),
            opened => opened,
        }
    }
}
