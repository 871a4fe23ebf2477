//! Files of the operating system below one folder.
//!
//! Each path is resolved by `openat2` against a descriptor of the data folder, never as a string: neither `..`, nor a
//! symbolic link, nor a mount point leads out of it. It does not see hard links: who opens a file that must be ours
//! checks [`Metadata::links`] and the identity.

mod file;

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use rustix::{
    fs::{
        self, AtFlags, CWD, Dir, FileType, FlockOperation, FsWord, Gid, Mode, OFlags, RenameFlags, ResolveFlags, Uid,
    },
    io::{Errno, retry_on_intr},
};

use self::file::{RealFile, VolumeHandle, kind_of, metadata_of};
use super::{
    Access, Attributes, DirEntry, Existing, FILE_ID_BYTES, File, FileSystem, Kind, Metadata, VolumeSync, names,
};

/// How every path is resolved.
const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);
/// A directory as a starting point for names; needs no permission to read it.
const AS_PARENT: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// A directory to list, sync, lock or change.
const AS_DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// A file to work with. Nothing here may wait for the other end of a FIFO or become the terminal of the process.
const AS_FILE: OFlags = OFlags::CLOEXEC.union(OFlags::NOCTTY).union(OFlags::NONBLOCK);

/// File systems whose `syncfs` does not pass on all errors of writing back (`statfs` magic): FUSE, and overlayfs, which
/// has no record of the errors of the volume below it.
const SYNCFS_KEEPS_SILENT: [FsWord; 2] = [0x6573_5546, 0x794c_7630];
/// The first Linux whose `syncfs` reports errors of writing back.
const SYNCFS_REPORTS_SINCE: (u32, u32) = (5, 8);
/// Name of the file that [`RealFs::probe_file_ids`] makes and removes.
const PROBE: &str = ".inkpot-probe";

/// A data folder on a real volume.
#[derive(Debug)]
pub struct RealFs {
    root: OwnedFd,
}

impl RealFs {
    /// Takes hold of an existing folder. The path itself may lead over symbolic links; nothing below may.
    ///
    /// # Errors
    /// Those of `open`, and `ENOSYS` or `EPERM` where the kernel (before Linux 5.6) or a seccomp filter has no
    /// `openat2`.
    pub fn open(root: &Path) -> io::Result<Self> {
        let root = retry_on_intr(|| fs::openat(CWD, root, AS_DIRECTORY, Mode::empty()))?;
        let this = Self { root };
        this.resolve("", AS_PARENT)?;
        Ok(this)
    }

    /// Claims the data folder for this process, for as long as this value lives.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if somebody else, in this process or another, holds it.
    pub fn lock(&self) -> io::Result<()> {
        Ok(retry_on_intr(|| fs::flock(&self.root, FlockOperation::NonBlockingLockExclusive))?)
    }

    /// Proves that the volume keeps the identity of files: creates a file in `dir`, stamps it, reads it back through
    /// another descriptor, and removes it. One that a crash left behind is removed first.
    ///
    /// # Errors
    /// `ENOTSUP` if the volume has no extended attributes for users, [`io::ErrorKind::InvalidData`] if it does not give
    /// back what was stamped, and those of the calls involved.
    pub fn probe_file_ids(&self, dir: &str) -> io::Result<()> {
        let path = if dir.is_empty() { PROBE.to_owned() } else { format!("{dir}/{PROBE}") };
        match self.remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.create(&path, Attributes::PRIVATE)?;
        let stamped = self.stamp_and_read_back(&path, &*file);
        stamped.and(self.remove_file(&path))
    }

    fn stamp_and_read_back(&self, path: &str, file: &dyn File) -> io::Result<()> {
        let id: [u8; FILE_ID_BYTES] = rand::random();
        file.set_file_id(&id)?;
        if self.open(path, Access::Read)?.file_id()? == Some(id) {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "the volume does not give back extended attributes"))
    }

    /// Opens below the data folder, wherever `path` may want to lead.
    fn resolve(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { "." } else { path };
        open_beneath(&self.root, path, flags, Mode::empty())
    }

    /// The directory of a path, and the name in it.
    fn parent<'p>(&self, path: &'p str) -> Result<(OwnedFd, &'p str), Errno> {
        let (parent, name) = names::split(path)?;
        Ok((self.resolve(parent, AS_PARENT)?, name))
    }
}

impl FileSystem for RealFs {
    fn open(&self, path: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let path = names::check(path)?;
        // Without opening it: a FIFO or a device may act on being opened. What takes its place meanwhile is opened
        // without blocking, and refused.
        require_regular(&self.resolve(path, OFlags::PATH | OFlags::CLOEXEC)?)?;
        let flags = match access {
            Access::Read => OFlags::RDONLY,
            Access::ReadWrite => OFlags::RDWR,
        };
        let fd = self.resolve(path, flags | AS_FILE)?;
        require_regular(&fd)?;
        Ok(Arc::new(RealFile::new(fd)))
    }

    fn create(&self, path: &str, attributes: Attributes) -> io::Result<Arc<dyn File>> {
        let (parent, name) = self.parent(path)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | AS_FILE;
        let fd = open_beneath(&parent, name, flags, Mode::from_raw_mode(attributes.mode & 0o600))?;
        if let Err(error) = set_attributes(&fd, attributes) {
            // Whether this works or not, the first error is the one that says why.
            let _ = fs::unlinkat(&parent, name, AtFlags::empty());
            return Err(error.into());
        }
        Ok(Arc::new(RealFile::new(fd)))
    }

    fn create_dir(&self, path: &str, attributes: Attributes) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        fs::mkdirat(&parent, name, Mode::RWXU)?;
        let set =
            open_beneath(&parent, name, AS_DIRECTORY, Mode::empty()).and_then(|fd| set_attributes(&fd, attributes));
        if let Err(error) = set {
            // As in `create`.
            let _ = fs::unlinkat(&parent, name, AtFlags::REMOVEDIR);
            return Err(error.into());
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str, existing: Existing) -> io::Result<()> {
        let (from_parent, from_name) = self.parent(from)?;
        let (to_parent, to_name) = self.parent(to)?;
        let flags = match existing {
            Existing::Replace => RenameFlags::empty(),
            Existing::Keep => RenameFlags::NOREPLACE,
            Existing::Exchange => {
                // What takes the place of one of them meanwhile is exchanged too: the step is atomic all the same.
                let kinds = [named_kind(&from_parent, from_name)?, named_kind(&to_parent, to_name)?];
                kinds.into_iter().try_for_each(only_regular)?;
                RenameFlags::EXCHANGE
            }
        };
        Ok(fs::renameat_with(&from_parent, from_name, &to_parent, to_name, flags)?)
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(fs::unlinkat(&parent, name, AtFlags::empty())?)
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)?)
    }

    fn metadata(&self, path: &str) -> io::Result<Metadata> {
        let fd = self.resolve(names::check(path)?, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC)?;
        metadata_of(&fd)
    }

    fn read_dir(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        let directory = self.resolve(names::check(path)?, AS_DIRECTORY)?;
        let mut entries = Vec::new();
        for entry in Dir::read_from(&directory)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if !matches!(name, "." | "..") {
                let is_dir = is_directory(&directory, name, entry.file_type())?;
                entries.extend(is_dir.map(|is_dir| DirEntry { name: name.to_owned(), is_dir }));
            }
        }
        Ok(entries)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        Ok(fs::fsync(self.resolve(names::check(path)?, AS_DIRECTORY)?)?)
    }

    fn volume_sync(&self) -> io::Result<Option<Box<dyn VolumeSync>>> {
        let fd = self.resolve("", AS_DIRECTORY)?;
        if SYNCFS_KEEPS_SILENT.contains(&fs::fstatfs(&fd)?.f_type) || !kernel_reports_in_syncfs() {
            return Ok(None);
        }
        Ok(Some(Box::new(VolumeHandle::new(fd))))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let volume = fs::fstatvfs(&self.root)?;
        Ok(volume.f_bavail.saturating_mul(volume.f_frsize))
    }
}

fn open_beneath(dir: impl AsFd, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    retry_on_intr(|| fs::openat2(&dir, path, flags, mode, RESOLVE))
}

fn require_regular(fd: &OwnedFd) -> Result<(), Errno> {
    only_regular(kind_of(&fs::fstat(fd)?))
}

/// What a name in a directory leads to.
fn named_kind(parent: &OwnedFd, name: &str) -> Result<Kind, Errno> {
    Ok(kind_of(&fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?))
}

/// `EISDIR` for a directory, `EINVAL` for anything else that is no regular file.
fn only_regular(kind: Kind) -> Result<(), Errno> {
    match kind {
        Kind::File => Ok(()),
        Kind::Directory => Err(Errno::ISDIR),
        Kind::Other => Err(Errno::INVAL),
    }
}

/// The owner first: giving a file away clears some of its permission bits.
fn set_attributes(fd: &OwnedFd, attributes: Attributes) -> Result<(), Errno> {
    if attributes.uid.is_some() || attributes.gid.is_some() {
        fs::fchown(fd, attributes.uid.map(Uid::from_raw), attributes.gid.map(Gid::from_raw))?;
    }
    fs::fchmod(fd, Mode::from_raw_mode(attributes.mode))
}

/// Whether a name that was listed is a directory, also where the listing does not tell; `None` if it is gone by now.
fn is_directory(directory: &OwnedFd, name: &str, listed: FileType) -> Result<Option<bool>, Errno> {
    if listed != FileType::Unknown {
        return Ok(Some(listed == FileType::Directory));
    }
    match named_kind(directory, name) {
        Ok(kind) => Ok(Some(kind == Kind::Directory)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

fn kernel_reports_in_syncfs() -> bool {
    let name = rustix::system::uname();
    name.release().to_str().is_ok_and(|release| release_number(release) >= Some(SYNCFS_REPORTS_SINCE))
}

/// Major and minor number of a kernel's release, such as `6.18.44-generic`.
fn release_number(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}
