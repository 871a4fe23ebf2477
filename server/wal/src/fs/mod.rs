//! The one way to files. Everything that Inkpot keeps on disk, log, catalog and plain files, goes through
//! [`FileSystem`], so that tests can lose what was not synced ([`memory`]) and make any call fail ([`faulty`]).
//!
//! Paths are relative to the data folder, `/`-separated UTF-8 without empty, `.` or `..` components; `""` is the data
//! folder itself. No implementation follows a symbolic link or leaves the data folder. Errors carry the numbers of
//! Linux (`ENOTDIR`, `EISDIR`, `ELOOP`, `ENOSPC`, ...), because callers tell them apart.
//!
//! A call that returned promises nothing about power loss: file content is kept from [`File::sync_data`] or
//! [`File::sync_all`] on, a name from [`FileSystem::sync_dir`] of its directory on, everything from
//! [`VolumeSync::sync`] on.

pub mod faulty;
pub mod memory;
mod names;
pub mod real;
#[cfg(test)]
mod tests;

use std::{fmt, io, sync::Arc, time::SystemTime};

/// What a name leads to; symbolic links are not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Anything else: symbolic link, FIFO, socket, device.
    Other,
}

/// What the file system knows of an inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: Kind,
    /// Size in bytes.
    pub len: u64,
    /// Inode number.
    pub inode: u64,
    /// How many names it has; 0 once it was removed.
    pub links: u64,
    /// When its content changed last.
    pub modified: SystemTime,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The name, one component. Names that are not UTF-8 are left out by [`FileSystem::read_dir`]: nothing of ours has one.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// Whether a file is opened to read or also to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only to read.
    Read,
    /// To read and write.
    ReadWrite,
}

/// Permission bits and owner of what is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits, set as given: the umask of the process has no say.
    pub mode: u32,
    /// Owner; `None` leaves the user of the process.
    pub uid: Option<u32>,
    /// Group; `None` leaves the group of the process.
    pub gid: Option<u32>,
}

impl Attributes {
    /// For files of our own: nobody else reads them.
    pub const PRIVATE: Self = Self { mode: 0o600, uid: None, gid: None };
    /// For directories of our own.
    pub const PRIVATE_DIR: Self = Self { mode: 0o700, uid: None, gid: None };
}

/// What happens to a file that stands at the target of a rename.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It is replaced.
    Replace,
    /// The rename fails with `EEXIST`.
    Keep,
    /// It gets the name of the other: both change places in one step. Only for two regular files: `ENOENT` if one is
    /// missing, `EISDIR` for a directory, `EINVAL` for anything else, and where the file system cannot do it.
    Exchange,
}

/// Length of the identity that a file of ours carries in an extended attribute, in bytes.
pub const FILE_ID_BYTES: usize = 16;

/// An open regular file. Cheap to share; positions are explicit.
pub trait File: Send + Sync + fmt::Debug {
    /// Reads at `offset` into `buf`; fewer bytes than asked for only at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Says that this part of the file will be needed, so that it can be on its way while others are asked for too. Only
    /// a hint.
    fn will_need(&self, _offset: u64, _len: u64) {}

    /// Drops what memory holds of this part of the file (`len` 0: to the end) and the disk has too, so that the next read
    /// asks the disk. Only a hint: what is not on the disk yet begins to go there, and stays in memory.
    fn drop_cached(&self, _offset: u64, _len: u64) {}

    /// Writes all of `parts`, one after the other, at `offset`. On an error a prefix may have been written.
    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()>;

    /// Cuts the file, or extends it with zeros (which may leave a hole).
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes content and size durable (`fdatasync`). After an error nothing written since the last success may be
    /// taken for durable, whatever a later call says.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes content, size, times and attributes durable (`fsync`). Errors as for [`File::sync_data`].
    fn sync_all(&self) -> io::Result<()>;

    /// What the inode is now.
    fn metadata(&self) -> io::Result<Metadata>;

    /// Stamps the identity of the file (extended attribute `user.inkpot.id`).
    fn set_file_id(&self, id: &[u8; FILE_ID_BYTES]) -> io::Result<()>;

    /// The identity stamped, if there is one of the right length.
    fn file_id(&self) -> io::Result<Option<[u8; FILE_ID_BYTES]>>;
}

/// A descriptor of the volume, held to sync everything on it (`syncfs`). An error is reported once per handle, so each
/// user holds one of their own.
pub trait VolumeSync: Send + Sync + fmt::Debug {
    /// Makes all content and all names on the volume durable.
    fn sync(&self) -> io::Result<()>;
}

/// Files below one data folder.
pub trait FileSystem: Send + Sync + fmt::Debug + 'static {
    /// Opens an existing regular file; `EISDIR` for a directory, `EINVAL` for anything else that is no regular file
    /// (it is never opened, so a FIFO never blocks), `ELOOP` for a symbolic link anywhere in the path.
    fn open(&self, path: &str, access: Access) -> io::Result<Arc<dyn File>>;

    /// Creates a regular file that does not exist (`EEXIST`), open to read and write.
    fn create(&self, path: &str, attributes: Attributes) -> io::Result<Arc<dyn File>>;

    /// Creates one directory whose parent exists; `EEXIST` if the name is taken.
    fn create_dir(&self, path: &str, attributes: Attributes) -> io::Result<()>;

    /// Gives a file or directory another path, atomically.
    fn rename(&self, from: &str, to: &str, existing: Existing) -> io::Result<()>;

    /// Removes a file (or anything that is no directory).
    fn remove_file(&self, path: &str) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, path: &str) -> io::Result<()>;

    /// What a path leads to; the last component is not followed either.
    fn metadata(&self, path: &str) -> io::Result<Metadata>;

    /// The names in a directory, in no order.
    fn read_dir(&self, path: &str) -> io::Result<Vec<DirEntry>>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &str) -> io::Result<()>;

    /// A handle to sync the whole volume; `None` where its errors cannot be trusted (FUSE).
    fn volume_sync(&self) -> io::Result<Option<Box<dyn VolumeSync>>>;

    /// Bytes that may still be written to the volume.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// Reads a whole file; `NotFound` if there is none.
///
/// # Errors
/// Those of [`FileSystem::open`] and [`File::read_at`].
pub fn read_all(fs: &dyn FileSystem, path: &str) -> io::Result<Vec<u8>> {
    let file = fs.open(path, Access::Read)?;
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len).map_err(io::Error::other)?];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// The directory of a path; `""` for a name in the data folder itself.
#[must_use]
pub fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}
