//! One life of the machine: its disk, what is open on it, and where it is held.

use super::{
    Side, Stop,
    names::{Names, ROOT},
};
use inkpot_wal::fs::{
    Access, DirEntry, Existing, File, FileSystem, Metadata,
    faulty::{FaultyFs, Op},
    memory::MemoryFs,
};
use rustix::io::Errno;
use std::{collections::HashMap, io, sync::Arc};

/// What a handle is for.
pub(super) enum Handle {
    File(Arc<dyn File>),
    /// A directory, as it was when it was opened.
    Listing(Vec<DirEntry>),
}

pub(super) struct Machine {
    pub(super) memory: MemoryFs,
    pub(super) faulty: FaultyFs,
    pub(super) names: Names,
    handles: HashMap<u64, (u64, Handle)>,
    /// Counts over all lives: a handle of an earlier one leads nowhere.
    last_handle: u64,
    stop: Option<(Stop, u64)>,
    is_stopped: bool,
}

impl Machine {
    pub(super) fn new(memory: MemoryFs) -> Self {
        let faulty = FaultyFs::over_memory(&memory);
        let names = Names::default();
        Self { memory, faulty, names, handles: HashMap::new(), last_handle: 0, stop: None, is_stopped: false }
    }

    /// Begins another life, with what is found on the disk.
    pub(super) fn start(&mut self, found: MemoryFs) {
        *self = Self { last_handle: self.last_handle, ..Self::new(found) };
    }

    pub(super) fn stop_at(&mut self, stop: Stop) {
        self.stop = Some((stop, 0));
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    pub(super) fn go_on(&mut self) {
        self.stop = None;
        self.is_stopped = false;
    }

    /// Whether this call, on this side of it, is the one to be held. Each call is counted on both sides.
    pub(super) fn comes_to(&mut self, op: Op, path: &str, at: Side) -> bool {
        let Some((stop, seen)) = &mut self.stop else { return false };
        if stop.op != op || stop.side != at || !path.contains(stop.path) {
            return false;
        }
        *seen += 1;
        self.is_stopped = *seen == stop.nth;
        self.is_stopped
    }

    pub(super) fn path(&self, inode: u64) -> io::Result<String> {
        self.names.path(inode).ok_or_else(|| Errno::STALE.into())
    }

    pub(super) fn join(&self, dir: u64, name: &str) -> io::Result<String> {
        self.names.join(dir, name).ok_or_else(|| Errno::STALE.into())
    }

    pub(super) fn look_up(&mut self, dir: u64, name: &str) -> io::Result<Metadata> {
        let metadata = self.faulty.metadata(&self.join(dir, name)?)?;
        self.names.set(metadata.inode, dir, name);
        Ok(metadata)
    }

    /// An inode by its last known place, or by a handle if it has lost that.
    pub(super) fn metadata(&self, inode: u64) -> io::Result<Metadata> {
        if inode == ROOT {
            return self.faulty.metadata("");
        }
        let by_path = self.path(inode).and_then(|path| self.faulty.metadata(&path));
        match (by_path, self.handle_of(inode)) {
            (Ok(metadata), _) if metadata.inode == inode => Ok(metadata),
            (_, Some(file)) => file.metadata(),
            (Ok(_), None) => Err(Errno::STALE.into()),
            (Err(error), None) => Err(error),
        }
    }

    /// A regular file to work with.
    pub(super) fn file_at(&self, inode: u64, access: Access) -> io::Result<Arc<dyn File>> {
        let by_path = self.path(inode).and_then(|path| self.faulty.open(&path, access));
        match by_path {
            Ok(file) if file.metadata()?.inode == inode => Ok(file),
            Ok(_) => self.handle_of(inode).ok_or_else(|| Errno::STALE.into()),
            Err(error) => self.handle_of(inode).ok_or(error),
        }
    }

    fn handle_of(&self, inode: u64) -> Option<Arc<dyn File>> {
        self.handles.values().find_map(|(of, handle)| match handle {
            Handle::File(file) if *of == inode => Some(Arc::clone(file)),
            _ => None,
        })
    }

    pub(super) fn open(&mut self, inode: u64, handle: Handle) -> u64 {
        self.last_handle += 1;
        self.handles.insert(self.last_handle, (inode, handle));
        self.last_handle
    }

    pub(super) fn close(&mut self, handle: u64) {
        self.handles.remove(&handle);
    }

    pub(super) fn file(&self, handle: u64) -> io::Result<Arc<dyn File>> {
        match self.handles.get(&handle) {
            Some((_, Handle::File(file))) => Ok(Arc::clone(file)),
            _ => Err(Errno::BADF.into()),
        }
    }

    pub(super) fn listing(&self, handle: u64) -> io::Result<&[DirEntry]> {
        match self.handles.get(&handle) {
            Some((_, Handle::Listing(entries))) => Ok(entries),
            _ => Err(Errno::BADF.into()),
        }
    }

    pub(super) fn rename(&mut self, from: (u64, &str), to: (u64, &str), existing: Existing) -> io::Result<()> {
        let paths = (self.join(from.0, from.1)?, self.join(to.0, to.1)?);
        self.faulty.rename(&paths.0, &paths.1, existing)?;
        self.look_up(to.0, to.1)?;
        if existing == Existing::Exchange {
            self.look_up(from.0, from.1)?;
        }
        Ok(())
    }
}
