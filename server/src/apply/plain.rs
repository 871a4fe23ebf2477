//! Plain files: making them, and noticing what other programs did to them. Identity is the id in the inode plus the
//! inode number, never the path alone.

use super::{
    names::TRIES,
    view::{FileView, Location, Seen, staged_path},
};
use crate::shard::ids::{FileId, FileKey};
use inkpot_proto::{error::Refused, path::TenantName, v1::ErrorReason};
use inkpot_wal::{
    fs::{Access, Attributes, File, FileSystem, Kind, Metadata, parent},
    planted::{self, Bug},
    writer::is_full,
};
use rustix::io::Errno;
use std::{
    collections::{BTreeSet, HashSet},
    io,
    sync::Arc,
};

/// Makes plain files, and remembers which directories are there.
#[derive(Debug)]
pub struct PlainFiles {
    fs: Arc<dyn FileSystem>,
    shard: u32,
    file: Attributes,
    dir: Attributes,
    known_dirs: HashSet<String>,
    /// Directories whose names are durable, with those of the directories above them.
    kept_dirs: HashSet<String>,
    /// Directories whose names changed and that the next checkpoint has to sync.
    changed_dirs: BTreeSet<String>,
}

/// Directories that are remembered at most; beyond it the memory starts anew.
const MAX_KNOWN_DIRS: usize = 65_536;

impl PlainFiles {
    /// Files and directories get these attributes.
    #[must_use]
    pub fn new(fs: Arc<dyn FileSystem>, shard: u32, file: Attributes, dir: Attributes) -> Self {
        Self {
            fs,
            shard,
            file,
            dir,
            known_dirs: HashSet::new(),
            kept_dirs: HashSet::new(),
            changed_dirs: BTreeSet::new(),
        }
    }

    /// Where everything lies.
    pub(super) fn fs(&self) -> &dyn FileSystem {
        self.fs.as_ref()
    }

    /// What directories of plain files get.
    pub(super) fn dir_attributes(&self) -> Attributes {
        self.dir
    }

    /// Directories may not be there any more.
    pub(super) fn forget_dirs(&mut self) {
        self.known_dirs.clear();
        self.kept_dirs.clear();
    }

    /// A directory is not there any more.
    pub(super) fn forget_dir(&mut self, dir: &str) {
        self.known_dirs.remove(dir);
        self.kept_dirs.remove(dir);
        self.changed_dirs.remove(dir);
    }

    /// Makes the empty plain file: in staging, stamped with its id, then moved into place without overwriting anything.
    /// Its parents are made too. Nothing is synced: [`PlainFiles::take_changed_dirs`] tells what a checkpoint has to.
    ///
    /// # Errors
    /// `EEXIST` if the name is taken, and those of the file system.
    pub fn create(&mut self, key: &FileKey, id: FileId) -> io::Result<Arc<dyn File>> {
        let staged = staged_path(&key.tenant, self.shard, id);
        let path = key.plain_path();
        self.make_dirs(parent(&path), self.dir)?;
        let file = self.stage(&staged, id)?;
        if let Err(error) = self.rename_new(&staged, &path, Location::Plain) {
            // What stays in staging is removed at the next start.
            let _ = self.fs.remove_file(&staged);
            return Err(error);
        }
        Ok(file)
    }

    /// Where a file of the shard lies in staging.
    #[must_use]
    pub fn staged(&self, tenant: &TenantName, id: FileId) -> String {
        staged_path(tenant, self.shard, id)
    }

    /// Makes or opens a file in staging: it carries its id, and is empty if it was made.
    ///
    /// # Errors
    /// Those of the file system; `InvalidData` if something else has its name.
    pub fn open_staged(&mut self, tenant: &TenantName, id: FileId) -> io::Result<Arc<dyn File>> {
        let staged = staged_path(tenant, self.shard, id);
        match self.fs.open(&staged, Access::ReadWrite) {
            Ok(file) if file.file_id()? == Some(id.to_bytes()) => Ok(file),
            Ok(file) if file.metadata()?.len == 0 => self.stage(&staged, id),
            Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, format!("{staged} does not carry its id"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.stage(&staged, id),
            Err(error) => Err(error),
        }
    }

    /// The directories in which names changed since the last call, with all their parents up to `files`.
    pub fn take_changed_dirs(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.changed_dirs)
    }

    /// Puts a directory and its parents on the list of what a checkpoint has to sync.
    pub fn note_change(&mut self, dir: &str) {
        let mut dir = dir;
        while !dir.is_empty() && self.changed_dirs.insert(dir.to_owned()) {
            dir = parent(dir);
        }
    }

    fn stage(&mut self, staged: &str, id: FileId) -> io::Result<Arc<dyn File>> {
        self.make_dirs(parent(staged), Attributes::PRIVATE_DIR)?;
        let file = match self.fs.create(staged, self.file) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.fs.remove_file(staged)?;
                self.fs.create(staged, self.file)?
            }
            made => made?,
        };
        if let Err(error) = file.set_file_id(&id.to_bytes()) {
            let _ = self.fs.remove_file(staged);
            return Err(error);
        }
        Ok(file)
    }

    /// Makes the names of a directory and of those above it durable, before content is moved there that lies nowhere
    /// else: a sync of the directory that it leaves would let go of it there.
    pub(super) fn keep_dir(&mut self, dir: &str) -> io::Result<()> {
        let mut at = dir;
        while !parent(at).is_empty() && !self.kept_dirs.contains(at) {
            match self.fs.sync_dir(parent(at)) {
                // It is made when it is missed.
                Err(error) if displaced(&error).is_some() => return Ok(()),
                synced => synced?,
            }
            if self.kept_dirs.len() >= MAX_KNOWN_DIRS {
                self.kept_dirs.clear();
            }
            self.kept_dirs.insert(at.to_owned());
            at = parent(at);
        }
        Ok(())
    }

    pub(super) fn make_dirs(&mut self, dir: &str, attributes: Attributes) -> io::Result<()> {
        if dir.is_empty() || self.known_dirs.contains(dir) {
            return Ok(());
        }
        match self.fs.metadata(dir) {
            Ok(found) if found.kind == Kind::Directory => {}
            Ok(found) if found.kind == Kind::File => return Err(Errno::NOTDIR.into()),
            Ok(_) => return Err(Errno::LOOP.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.make_dir(dir, attributes)?,
            Err(error) => return Err(error),
        }
        if self.known_dirs.len() >= MAX_KNOWN_DIRS {
            self.known_dirs.clear();
        }
        self.known_dirs.insert(dir.to_owned());
        Ok(())
    }

    /// Makes a directory that is not there, and those above it.
    fn make_dir(&mut self, dir: &str, attributes: Attributes) -> io::Result<()> {
        for _ in 1..TRIES {
            self.make_dirs(parent(dir), attributes)?;
            match self.fs.create_dir(dir, attributes) {
                // Another shard found one above it empty, and removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.forget_dirs(),
                // Another shard was quicker.
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {
                    self.note_change(parent(dir));
                    return Ok(());
                }
            }
        }
        Err(Errno::NOENT.into())
    }
}

/// Makes a directory in staging, with those above it, unless it is there. Its name is durable when this returns, whoever
/// made it.
///
/// # Errors
/// Those of the file system.
pub fn keep_staging_dir(fs: &dyn FileSystem, dir: &str) -> io::Result<()> {
    if parent(dir).is_empty() {
        return Ok(());
    }
    keep_staging_dir(fs, parent(dir))?;
    match fs.create_dir(dir, Attributes::PRIVATE_DIR) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    fs.sync_dir(parent(dir))
}

/// What stands at the path of a file that Inkpot has not made.
///
/// # Errors
/// The refusal of an open: a directory, something special, a file of somebody else. An empty file of ours that no
/// record names, left by a crash, is removed.
pub fn check_vacant(fs: &dyn FileSystem, key: &FileKey, shard: u32) -> Result<(), Refused> {
    let path = key.plain_path();
    let found = match fs.metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refuse(&error, key)),
        Ok(found) => found,
    };
    match found.kind {
        Kind::Directory => Err(refuse(&Errno::ISDIR.into(), key)),
        Kind::Other => match fs.open(&path, Access::Read) {
            Err(error) => Err(refuse(&error, key)),
            Ok(_) => Err(not_plain(key, "is no regular file")),
        },
        Kind::File if found.links > 1 => Err(not_plain(key, "has more than one name (hard link)")),
        Kind::File => {
            let file = fs.open(&path, Access::Read).map_err(|error| refuse(&error, key))?;
            let id = file.file_id().map_err(|error| refuse(&error, key))?.map(FileId::from_bytes);
            if found.len == 0 && id.is_some_and(|id| id.shard() == shard) {
                // Durably: a loss of power must not bring it back where something else is then.
                let synced = || if planted::is(Bug::LeftoverUnsynced) { Ok(()) } else { fs.sync_dir(parent(&path)) };
                let removed = fs.remove_file(&path).and_then(|()| synced());
                return removed.map_err(|error| refuse(&error, key));
            }
            Err(foreign(key, "was put there by another program"))
        }
    }
}

/// What differs from the file as we left it, with `len` bytes; `None` if nothing does.
#[must_use]
pub fn difference(metadata: &Metadata, len: u64, seen: Option<Seen>) -> Option<String> {
    if metadata.links == 0 {
        return Some("was deleted".to_owned());
    }
    if metadata.links > 1 {
        return Some("has more than one name (hard link)".to_owned());
    }
    if metadata.len != len {
        return Some(format!("has {} bytes instead of {len}", metadata.len));
    }
    match seen {
        Some(seen) if seen.inode != metadata.inode => Some("was replaced".to_owned()),
        Some(seen) if seen.modified != metadata.modified => Some("was modified".to_owned()),
        _ => None,
    }
}

/// Opens the plain file of a view. `Ok(Err(..))`: another program did this to it.
///
/// # Errors
/// Those of the file system that say nothing about the file.
pub fn open_ours(fs: &dyn FileSystem, view: &FileView, access: Access) -> io::Result<Result<Arc<dyn File>, String>> {
    let place = view.place();
    open_stamped(fs, &view.path_at(&place), view.id, access)
}

/// As [`open_ours`], the file with this id at this path.
///
/// # Errors
/// As [`open_ours`].
pub fn open_stamped(
    fs: &dyn FileSystem,
    path: &str,
    id: FileId,
    access: Access,
) -> io::Result<Result<Arc<dyn File>, String>> {
    let file = match fs.open(path, access) {
        Err(error) => return displaced(&error).map(|what| Err(what.to_owned())).ok_or(error),
        Ok(file) => file,
    };
    let ours = file.file_id()? == Some(id.to_bytes());
    Ok(if ours { Ok(file) } else { Err("does not carry the id of the file".to_owned()) })
}

/// What an error of the file system says about a plain file that should be there: what became of it, or `None` if it
/// is an error of another kind.
#[must_use]
pub fn displaced(error: &io::Error) -> Option<&'static str> {
    match Errno::from_io_error(error) {
        Some(Errno::NOENT) => Some("was deleted"),
        Some(Errno::NOTDIR) => Some("lost a parent directory to a file"),
        Some(Errno::ISDIR) => Some("was replaced by a directory"),
        Some(Errno::LOOP) => Some("was replaced by a symbolic link"),
        Some(Errno::INVAL) => Some("was replaced by something that is no regular file"),
        Some(Errno::ACCESS | Errno::PERM | Errno::XDEV) => Some("cannot be opened any more"),
        _ => None,
    }
}

/// What an error says that bars one file from growing, and only that one; `None` if it is an error of another kind.
#[must_use]
pub fn barred(error: &io::Error) -> Option<&'static str> {
    match Errno::from_io_error(error) {
        Some(Errno::DQUOT) => Some("cannot grow: a quota of the file system is used up"),
        Some(Errno::FBIG) => Some("cannot grow: the file system takes no larger file"),
        Some(Errno::ACCESS | Errno::PERM) => Some("cannot be written any more"),
        _ => None,
    }
}

/// The refusal of a write whose file was changed by somebody else.
#[must_use]
pub fn foreign(key: &FileKey, what: &str) -> Refused {
    let text = format!(
        "the plain file {key} {what}; Inkpot overwrites nothing: take it as it is now (Adopt), put it back as it was, or \
         move it away and write to another path"
    );
    Refused::new(ErrorReason::ForeignChange, text)
}

fn not_plain(key: &FileKey, what: &str) -> Refused {
    Refused::new(ErrorReason::NotAPlainFile, format!("{key} {what}; move it away or write to another path"))
}

/// The refusal that an error of the file system means for a request about `key`.
#[must_use]
pub fn refuse(error: &io::Error, key: &FileKey) -> Refused {
    if is_full(error) {
        return disk_full(&format!("file {key}"));
    }
    match Errno::from_io_error(error) {
        Some(Errno::NOTDIR) => {
            let text = format!("a component of {key} is a file, so nothing can lie below it; write to another path");
            Refused::new(ErrorReason::NotADirectory, text)
        }
        Some(Errno::ISDIR) => {
            Refused::new(ErrorReason::IsADirectory, format!("{key} is a directory; write to a path below it"))
        }
        Some(Errno::LOOP) => {
            Refused::new(ErrorReason::Symlink, format!("a symbolic link stands in {key}; links are not followed"))
        }
        Some(Errno::INVAL) => not_plain(key, "is no regular file"),
        Some(Errno::NAMETOOLONG) => {
            Refused::new(ErrorReason::InvalidPath, format!("{key} is too long for the file system"))
        }
        Some(Errno::EXIST) => foreign(key, "was put there by another program"),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => {
            Refused::new(ErrorReason::ShardClosed, format!("the server has run out of descriptors or memory for {key}"))
        }
        _ => Refused::new(ErrorReason::Internal, format!("{key} cannot be used: {error}")),
    }
}

/// The refusal of a write for want of room.
#[must_use]
pub fn disk_full(what: &str) -> Refused {
    let text = format!("the disk is full: no room for {what}; writing resumes by itself when there is");
    Refused::new(ErrorReason::DiskFull, text).with_limit("disk")
}

#[cfg(test)]
mod tests;
