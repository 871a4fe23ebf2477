//! The calls of the kernel, each turned into one of the disk below.

use super::{
    Shared, Side,
    machine::{Handle, Machine},
    names::ROOT,
};
use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenAccMode, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use inkpot_wal::fs::{Access, Attributes, Existing, File, FileSystem, Kind, Metadata, faulty::Op};
use rustix::io::Errno as LinuxErrno;
use std::{
    ffi::OsStr,
    io,
    sync::{Arc, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

/// The kernel keeps nothing that it was told.
const TTL: Duration = Duration::ZERO;
const BLOCK_BYTES: u32 = 4096;
/// The one extended attribute that there is.
const FILE_ID: &str = "user.inkpot.id";
/// For names in a listing: their inodes come with a look-up.
const UNKNOWN_INODE: u64 = 0xffff_ffff;
const NAME_BYTES: u32 = 255;

pub(super) struct Volume(Arc<Shared>);

impl Volume {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.0.lock()
    }

    /// Does a call, unless it is held for good.
    fn call<T>(&self, op: Op, path: &str, work: impl FnOnce(&mut Machine) -> io::Result<T>) -> io::Result<T> {
        let mut machine = self.hold(self.machine(), op, path, Side::Before);
        let done = work(&mut machine);
        drop(self.hold(machine, op, path, Side::After));
        done
    }

    fn hold<'m>(
        &'m self,
        mut machine: MutexGuard<'m, Machine>,
        op: Op,
        path: &str,
        side: Side,
    ) -> MutexGuard<'m, Machine> {
        if machine.comes_to(op, path, side) {
            self.0.changed.notify_all();
            let held = self.0.changed.wait_while(machine, |machine| machine.is_stopped());
            machine = held.unwrap_or_else(PoisonError::into_inner);
        }
        machine
    }

    /// A call on a name in a directory.
    fn named<T>(
        &self,
        op: Op,
        dir: INodeNo,
        name: &OsStr,
        work: impl FnOnce(&mut Machine, &str, &str) -> io::Result<T>,
    ) -> io::Result<T> {
        let name = utf8(name)?;
        let path = self.machine().join(dir.0, name)?;
        self.call(op, &path, |machine| work(machine, name, &path))
    }

    /// A call on an open file.
    fn opened<T>(
        &self,
        op: Op,
        inode: INodeNo,
        handle: FileHandle,
        work: impl FnOnce(&dyn File) -> io::Result<T>,
    ) -> io::Result<T> {
        let path = self.machine().path(inode.0).unwrap_or_default();
        self.call(op, &path, |machine| work(&*machine.file(handle.0)?))
    }

    fn create_file(&self, dir: INodeNo, name: &OsStr) -> io::Result<(FileAttr, FileHandle)> {
        self.named(Op::Create, dir, name, |machine, name, path| {
            let file = machine.faulty.create(path, Attributes::PRIVATE)?;
            let metadata = machine.look_up(dir.0, name)?;
            let handle = machine.open(metadata.inode, Handle::File(file));
            Ok((attributes(&metadata), FileHandle(handle)))
        })
    }

    fn rename_name(&self, from: (u64, &OsStr), to: (u64, &OsStr), flags: RenameFlags) -> io::Result<()> {
        let existing = match flags {
            RenameFlags::RENAME_NOREPLACE => Existing::Keep,
            RenameFlags::RENAME_EXCHANGE => Existing::Exchange,
            flags if flags.is_empty() => Existing::Replace,
            _ => return Err(LinuxErrno::INVAL.into()),
        };
        let (from, to) = ((from.0, utf8(from.1)?), (to.0, utf8(to.1)?));
        let paths = {
            let machine = self.machine();
            format!("{} {}", machine.join(from.0, from.1)?, machine.join(to.0, to.1)?)
        };
        self.call(Op::Rename, &paths, |machine| machine.rename(from, to, existing))
    }

    fn set_size(&self, inode: INodeNo, handle: Option<FileHandle>, size: u64) -> io::Result<()> {
        let path = self.machine().path(inode.0).unwrap_or_default();
        self.call(Op::SetLen, &path, |machine| match handle {
            Some(handle) => machine.file(handle.0)?.set_len(size),
            None => machine.file_at(inode.0, Access::ReadWrite)?.set_len(size),
        })
    }
}

fn utf8(name: &OsStr) -> io::Result<&str> {
    name.to_str().ok_or_else(|| LinuxErrno::ILSEQ.into())
}

fn attributes(metadata: &Metadata) -> FileAttr {
    let (kind, perm) = match metadata.kind {
        Kind::File => (FileType::RegularFile, 0o644),
        Kind::Directory => (FileType::Directory, 0o755),
        Kind::Other => (FileType::NamedPipe, 0o644),
    };
    FileAttr {
        ino: INodeNo(metadata.inode),
        size: metadata.len,
        blocks: metadata.len.div_ceil(512),
        atime: metadata.modified,
        mtime: metadata.modified,
        ctime: metadata.modified,
        crtime: SystemTime::UNIX_EPOCH,
        kind,
        perm,
        nlink: u32::try_from(metadata.links).unwrap_or(u32::MAX),
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK_BYTES,
        flags: 0,
    }
}

/// Answers a call that has no result but that it worked.
fn answer(done: io::Result<()>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(Errno::from(error)),
    }
}

fn answer_entry(found: io::Result<Metadata>, reply: ReplyEntry) {
    match found {
        Ok(metadata) => reply.entry(&TTL, &attributes(&metadata), Generation(0)),
        Err(error) => reply.error(Errno::from(error)),
    }
}

impl Filesystem for Volume {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer_entry(self.named(Op::Metadata, parent, name, |machine, name, _| machine.look_up(parent.0, name)), reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, fh: Option<FileHandle>, reply: ReplyAttr) {
        let machine = self.machine();
        let found = match fh.and_then(|fh| machine.file(fh.0).ok()) {
            Some(file) => file.metadata(),
            None => machine.metadata(ino.0),
        };
        match found {
            Ok(metadata) => reply.attr(&TTL, &attributes(&metadata)),
            Err(error) => reply.error(Errno::from(error)),
        }
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        match size.map(|size| self.set_size(ino, fh, size)) {
            Some(Err(error)) => reply.error(Errno::from(error)),
            _ => self.getattr(request, ino, fh, reply),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _mode: u32, _umask: u32, reply: ReplyEntry) {
        let made = self.named(Op::CreateDir, parent, name, |machine, name, path| {
            machine.faulty.create_dir(path, Attributes::PRIVATE_DIR)?;
            machine.look_up(parent.0, name)
        });
        answer_entry(made, reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(self.named(Op::Remove, parent, name, |machine, _, path| machine.faulty.remove_file(path)), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(self.named(Op::Remove, parent, name, |machine, _, path| machine.faulty.remove_dir(path)), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        answer(self.rename_name((parent.0, name), (newparent.0, newname), flags), reply);
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let access = if flags.acc_mode() == OpenAccMode::O_RDONLY { Access::Read } else { Access::ReadWrite };
        let path = self.machine().path(ino.0).unwrap_or_default();
        let opened = self.call(Op::Open, &path, |machine| {
            let file = machine.file_at(ino.0, access)?;
            Ok(machine.open(ino.0, Handle::File(file)))
        });
        match opened {
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::FOPEN_DIRECT_IO),
            Err(error) => reply.error(Errno::from(error)),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        match self.create_file(parent, name) {
            Ok((attributes, handle)) => {
                reply.created(&TTL, &attributes, Generation(0), handle, FopenFlags::FOPEN_DIRECT_IO);
            }
            Err(error) => reply.error(Errno::from(error)),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut bytes = vec![0; size as usize];
        match self.opened(Op::Read, ino, fh, |file| file.read_at(&mut bytes, offset)) {
            Ok(read) => reply.data(&bytes[..read]),
            Err(error) => reply.error(Errno::from(error)),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.opened(Op::Write, ino, fh, |file| file.write_at(&[data], offset)) {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX)),
            Err(error) => reply.error(Errno::from(error)),
        }
    }

    fn flush(&self, _: &Request, _ino: INodeNo, _fh: FileHandle, _lock_owner: LockOwner, reply: ReplyEmpty) {
        // To close a file syncs nothing.
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.machine().close(fh.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, fh: FileHandle, datasync: bool, reply: ReplyEmpty) {
        let done = if datasync {
            self.opened(Op::SyncData, ino, fh, |file| file.sync_data())
        } else {
            self.opened(Op::SyncAll, ino, fh, |file| file.sync_all())
        };
        answer(done, reply);
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let mut machine = self.machine();
        let listed = machine.path(ino.0).and_then(|path| machine.faulty.read_dir(&path));
        match listed {
            Ok(entries) => reply.opened(FileHandle(machine.open(ino.0, Handle::Listing(entries))), FopenFlags::empty()),
            Err(error) => reply.error(Errno::from(error)),
        }
    }

    fn readdir(&self, _: &Request, ino: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let machine = self.machine();
        let entries = match machine.listing(fh.0) {
            Ok(entries) => entries,
            Err(error) => return reply.error(Errno::from(error)),
        };
        let dots = [(ino.0, true, "."), (ROOT, true, "..")].into_iter();
        let names = entries.iter().map(|entry| (UNKNOWN_INODE, entry.is_dir, entry.name.as_str()));
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        for (next, (inode, is_dir, name)) in (1..).zip(dots.chain(names)).skip(from) {
            let kind = if is_dir { FileType::Directory } else { FileType::RegularFile };
            if reply.add(INodeNo(inode), next, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _ino: INodeNo, fh: FileHandle, _flags: OpenFlags, reply: ReplyEmpty) {
        self.machine().close(fh.0);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let path = self.machine().path(ino.0);
        answer(path.and_then(|path| self.call(Op::SyncDir, &path, |machine| machine.faulty.sync_dir(&path))), reply);
    }

    fn statfs(&self, _: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        match self.machine().faulty.free_bytes() {
            Ok(bytes) => {
                let free = bytes / u64::from(BLOCK_BYTES);
                reply.statfs(free * 2, free, free, 1 << 20, 1 << 20, BLOCK_BYTES, NAME_BYTES, BLOCK_BYTES);
            }
            Err(error) => reply.error(Errno::from(error)),
        }
    }

    fn setxattr(
        &self,
        _: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        _flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let Some(id) = value.try_into().ok().filter(|_| name == FILE_ID) else {
            return reply.error(Errno::ENOTSUP);
        };
        let path = self.machine().path(ino.0).unwrap_or_default();
        let set = self.call(Op::SetFileId, &path, |machine| machine.file_at(ino.0, Access::ReadWrite)?.set_file_id(id));
        answer(set, reply);
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        if name != FILE_ID {
            return reply.error(Errno::ENODATA);
        }
        match self.machine().file_at(ino.0, Access::Read).and_then(|file| file.file_id()) {
            Ok(None) => reply.error(Errno::ENODATA),
            Ok(Some(id)) if size == 0 => reply.size(u32::try_from(id.len()).unwrap_or(u32::MAX)),
            Ok(Some(id)) if (size as usize) < id.len() => reply.error(Errno::ERANGE),
            Ok(Some(id)) => reply.data(&id),
            Err(error) => reply.error(Errno::from(error)),
        }
    }
}
