//! The machine: what its processes see, what its disk holds, and every call that changes either.

use std::{collections::BTreeMap, sync::Arc};

use rustix::io::Errno;

use super::{
    image::{Body, Image, Inode, ROOT},
    journal::{Data, Journal, Meta, Named, Place},
    space::Space,
};
use crate::fs::{DirEntry, Existing, FILE_ID_BYTES, names};

/// Largest file, in bytes: beyond this a test has lost its way.
const FILE_BYTES_MAX: u64 = 1 << 30;

#[derive(Debug)]
pub(super) struct State {
    /// What the running machine sees.
    pub(super) current: Image,
    /// What its disk holds; inodes here may have no name yet.
    pub(super) durable: Image,
    /// What leads from `durable` to `current`, but for what was dropped on purpose.
    pub(super) journal: Journal,
    pub(super) space: Space,
    /// How many handles each open inode has.
    pub(super) handles: BTreeMap<u64, u64>,
    pub(super) next_inode: u64,
    /// Milliseconds since the epoch.
    pub(super) clock: u64,
    pub(super) operations: u64,
    pub(super) fail_from: Option<u64>,
}

impl State {
    pub(super) fn new(capacity: u64) -> Self {
        Self {
            current: Image::new(),
            durable: Image::new(),
            journal: Journal::default(),
            space: Space::new(capacity),
            handles: BTreeMap::new(),
            next_inode: ROOT + 1,
            clock: 0,
            operations: 0,
            fail_from: None,
        }
    }

    /// Every call that only looks comes through here.
    pub(super) fn look(&self) -> Result<&Self, Errno> {
        if self.is_off() { Err(Errno::IO) } else { Ok(self) }
    }

    /// Every call that changes something comes through here, and is counted.
    pub(super) fn begin(&mut self) -> Result<&mut Self, Errno> {
        if self.is_off() {
            return Err(Errno::IO);
        }
        self.operations += 1;
        self.clock += 1;
        if self.is_off() { Err(Errno::IO) } else { Ok(self) }
    }

    fn is_off(&self) -> bool {
        self.fail_from.is_some_and(|first| self.operations > first)
    }

    pub(super) fn open(&mut self, path: &str) -> Result<u64, Errno> {
        let inode = self.look()?.current.find(names::check(path)?)?;
        match self.current.inodes[&inode].body {
            Body::File(_) => Ok(self.handle(inode)),
            Body::Directory(_) => Err(Errno::ISDIR),
            Body::Symlink => Err(Errno::LOOP),
            Body::Fifo => Err(Errno::INVAL),
        }
    }

    pub(super) fn create(&mut self, path: &str) -> Result<u64, Errno> {
        let inode = self.begin()?.make(path, Body::File(Arc::default()))?;
        Ok(self.handle(inode))
    }

    /// Makes an inode of any kind under a name that is free.
    pub(super) fn make(&mut self, path: &str, body: Body) -> Result<u64, Errno> {
        let (place, taken) = self.place(path)?;
        if taken.is_some() {
            return Err(Errno::EXIST);
        }
        let number = self.next_inode;
        self.next_inode += 1;
        let inode = Inode::new(body, self.clock);
        self.durable.inodes.insert(number, inode.clone());
        self.current.inodes.insert(number, inode);
        self.current.link(place.dir, &place.name, number);
        self.journal.push_meta(Meta::Link { at: place, inode: number });
        Ok(number)
    }

    pub(super) fn rename(&mut self, from: &str, to: &str, existing: Existing) -> Result<(), Errno> {
        self.begin()?;
        let (from, inode) = self.place(from)?;
        let (to, displaced) = self.place(to)?;
        let inode = inode.ok_or(Errno::NOENT)?;
        match (existing, displaced) {
            (Existing::Exchange, None) => return Err(Errno::NOENT),
            (Existing::Exchange, Some(other)) => return self.exchange(Named(from, inode), Named(to, other)),
            (Existing::Keep, Some(_)) => return Err(Errno::EXIST),
            _ if self.current.is_directory(inode) && self.current.contains(inode, to.dir) => return Err(Errno::INVAL),
            (Existing::Replace, Some(displaced)) if displaced == inode => return Ok(()),
            (Existing::Replace, Some(displaced)) => self.allow_displacing(displaced, inode, &from)?,
            (Existing::Keep | Existing::Replace, None) => {}
        }
        self.current.unlink(from.dir, &from.name);
        self.current.unlink(to.dir, &to.name);
        self.current.link(to.dir, &to.name, inode);
        self.journal.push_meta(Meta::Move { from, to, inode, existing, displaced });
        displaced.into_iter().for_each(|displaced| self.forget_unused(displaced));
        Ok(())
    }

    fn exchange(&mut self, one: Named, other: Named) -> Result<(), Errno> {
        for Named(_, inode) in [&one, &other] {
            match self.current.inodes[inode].body {
                Body::File(_) => {}
                Body::Directory(_) => return Err(Errno::ISDIR),
                Body::Symlink | Body::Fifo => return Err(Errno::INVAL),
            }
        }
        if one.1 != other.1 {
            let meta = Meta::Exchange { one, other };
            meta.apply(&mut self.current);
            self.journal.push_meta(meta);
        }
        Ok(())
    }

    fn allow_displacing(&self, displaced: u64, by: u64, from: &Place) -> Result<(), Errno> {
        match (self.current.is_directory(displaced), self.current.is_directory(by)) {
            (true, _) if self.current.contains(displaced, from.dir) => Err(Errno::NOTEMPTY),
            (true, false) => Err(Errno::ISDIR),
            (false, true) => Err(Errno::NOTDIR),
            (true, true) if !self.current.is_empty_directory(displaced) => Err(Errno::NOTEMPTY),
            _ => Ok(()),
        }
    }

    pub(super) fn remove(&mut self, path: &str, directory: bool) -> Result<(), Errno> {
        self.begin()?.unmake(path, directory)
    }

    /// Takes a name away.
    pub(super) fn unmake(&mut self, path: &str, directory: bool) -> Result<(), Errno> {
        let (place, inode) = self.place(path)?;
        let inode = inode.ok_or(Errno::NOENT)?;
        match (directory, self.current.is_directory(inode)) {
            (false, true) => return Err(Errno::ISDIR),
            (true, false) => return Err(Errno::NOTDIR),
            (true, true) if !self.current.is_empty_directory(inode) => return Err(Errno::NOTEMPTY),
            _ => {}
        }
        self.current.unlink(place.dir, &place.name);
        self.journal.push_meta(Meta::Unlink { at: place, inode });
        self.forget_unused(inode);
        Ok(())
    }

    pub(super) fn read_dir(&self, path: &str) -> Result<Vec<DirEntry>, Errno> {
        let image = &self.look()?.current;
        let names = image.names(image.find(names::check(path)?)?)?;
        let entry =
            |(name, inode): (&Arc<str>, &u64)| DirEntry { name: name.to_string(), is_dir: image.is_directory(*inode) };
        Ok(names.iter().map(entry).collect())
    }

    pub(super) fn write(&mut self, inode: u64, parts: &[&[u8]], offset: u64) -> Result<(), Errno> {
        self.look()?;
        let begun = self.begin().map(|_| ());
        let mut bytes = parts.concat();
        let len = bytes.len() as u64;
        if offset.checked_add(len).is_none_or(|end| end > FILE_BYTES_MAX) {
            return Err(Errno::FBIG);
        }
        if let Err(stopped_now) = begun {
            self.journal.push_data(inode, Data::Write { offset, bytes, interrupted: true });
            return Err(stopped_now);
        }
        let room = self.space.take(inode, offset, len);
        bytes.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        if !bytes.is_empty() {
            self.current.write(inode, offset, &bytes);
            self.journal.push_data(inode, Data::Write { offset, bytes, interrupted: false });
            self.touch(inode);
        }
        if room < len { Err(Errno::NOSPC) } else { Ok(()) }
    }

    pub(super) fn set_len(&mut self, inode: u64, len: u64) -> Result<(), Errno> {
        self.begin()?;
        if len > FILE_BYTES_MAX {
            return Err(Errno::FBIG);
        }
        self.space.cut(inode, len);
        self.current.set_len(inode, len);
        self.journal.push_data(inode, Data::SetLen(len));
        self.touch(inode);
        Ok(())
    }

    pub(super) fn set_file_id(&mut self, inode: u64, id: [u8; FILE_ID_BYTES]) -> Result<(), Errno> {
        let meta = Meta::FileId { inode, id };
        meta.apply(&mut self.begin()?.current);
        self.journal.push_meta(meta);
        Ok(())
    }

    pub(super) fn sync_data(&mut self, inode: u64) -> Result<(), Errno> {
        self.begin()?.keep_data(inode);
        Ok(())
    }

    pub(super) fn sync_all(&mut self, inode: u64) -> Result<(), Errno> {
        self.begin()?.keep_data(inode);
        for meta in self.journal.take_file_ids(inode) {
            meta.apply(&mut self.durable);
        }
        self.keep_time(inode);
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, path: &str) -> Result<(), Errno> {
        let dir = self.begin()?.current.find_directory(names::check(path)?)?;
        let metas = self.journal.take_directory(dir);
        self.keep(metas);
        Ok(())
    }

    pub(super) fn sync_volume(&mut self) -> Result<(), Errno> {
        self.begin()?;
        let journal = std::mem::take(&mut self.journal);
        for pending in journal.in_order() {
            pending.apply(&mut self.durable);
        }
        let inodes: Vec<u64> = self.durable.inodes.keys().copied().collect();
        for inode in inodes {
            self.keep_time(inode);
            self.forget_unused(inode);
        }
        Ok(())
    }

    /// Makes the data of a file durable.
    pub(super) fn keep_data(&mut self, inode: u64) {
        for data in self.journal.take_data(inode) {
            data.apply(&mut self.durable, inode);
        }
    }

    /// Makes changes of names, taken out of the journal, durable.
    pub(super) fn keep(&mut self, metas: Vec<Meta>) {
        for meta in &metas {
            meta.apply(&mut self.durable);
        }
        for meta in &metas {
            meta.inodes().into_iter().flatten().for_each(|inode| self.forget_unused(inode));
            if let Meta::Move { displaced: Some(displaced), .. } = meta {
                self.forget_unused(*displaced);
            }
        }
    }

    pub(super) fn keep_time(&mut self, inode: u64) {
        if let (Some(current), Some(durable)) = (self.current.inodes.get(&inode), self.durable.inodes.get_mut(&inode)) {
            durable.modified = current.modified;
        }
    }

    /// The place that a path names, and what stands there.
    pub(super) fn place(&self, path: &str) -> Result<(Place, Option<u64>), Errno> {
        let (parent, name) = names::split(path)?;
        let dir = self.current.find(parent)?;
        let found = self.current.look_up(dir, name)?;
        Ok((Place { dir, name: name.into() }, found))
    }

    pub(super) fn close(&mut self, inode: u64) {
        if let Some(count) = self.handles.get_mut(&inode) {
            *count -= 1;
            if *count == 0 {
                self.handles.remove(&inode);
                self.forget_unused(inode);
            }
        }
    }

    fn handle(&mut self, inode: u64) -> u64 {
        *self.handles.entry(inode).or_default() += 1;
        inode
    }

    pub(super) fn touch(&mut self, inode: u64) {
        let clock = self.clock;
        if let Some(inode) = self.current.inodes.get_mut(&inode) {
            inode.modified = clock;
        }
    }

    /// Lets go of an inode that nobody can reach any more, neither now nor after any power loss.
    pub(super) fn forget_unused(&mut self, inode: u64) {
        let has_name = |image: &Image| image.inodes.get(&inode).is_some_and(|inode| inode.links > 0);
        if has_name(&self.current) || self.handles.contains_key(&inode) {
            return;
        }
        self.current.inodes.remove(&inode);
        self.space.release(inode);
        if !has_name(&self.durable) && !self.journal.has_meta(inode) {
            self.durable.inodes.remove(&inode);
            self.journal.take_data(inode);
        }
    }
}
