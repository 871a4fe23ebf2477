//! Inodes and names: one image is what the running machine sees, another what its disk holds.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rustix::io::Errno;

use crate::fs::FILE_ID_BYTES;

/// Inode number of the data folder.
pub(super) const ROOT: u64 = 1;
/// Longest name that Linux takes, in bytes.
const NAME_BYTES: usize = 255;

#[derive(Clone, Debug)]
pub(super) enum Body {
    File(Arc<Vec<u8>>),
    Directory(BTreeMap<Arc<str>, u64>),
    Symlink,
    Fifo,
}

#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub(super) body: Body,
    pub(super) file_id: Option<[u8; FILE_ID_BYTES]>,
    pub(super) links: u64,
    /// Milliseconds since the epoch.
    pub(super) modified: u64,
}

impl Inode {
    /// An inode that has no name yet.
    pub(super) fn new(body: Body, modified: u64) -> Self {
        Self { body, file_id: None, links: 0, modified }
    }

    fn is_empty_directory(&self) -> bool {
        matches!(&self.body, Body::Directory(names) if names.is_empty())
    }

    pub(super) fn is_directory(&self) -> bool {
        matches!(self.body, Body::Directory(_))
    }
}

#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) inodes: BTreeMap<u64, Inode>,
}

impl Image {
    /// An empty data folder.
    pub(super) fn new() -> Self {
        let mut root = Inode::new(Body::Directory(BTreeMap::new()), 0);
        root.links = 1;
        Self { inodes: BTreeMap::from([(ROOT, root)]) }
    }

    /// The inode that a path leads to; the last name may be a symbolic link.
    pub(super) fn find(&self, path: &str) -> Result<u64, Errno> {
        let mut at = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            at = self.look_up(at, name)?.ok_or(Errno::NOENT)?;
        }
        Ok(at)
    }

    /// The directory that a path leads to.
    pub(super) fn find_directory(&self, path: &str) -> Result<u64, Errno> {
        let at = self.find(path)?;
        self.names(at).map(|_| at)
    }

    /// What stands under a name in a directory.
    pub(super) fn look_up(&self, dir: u64, name: &str) -> Result<Option<u64>, Errno> {
        let names = self.names(dir)?;
        if name.len() > NAME_BYTES {
            return Err(Errno::NAMETOOLONG);
        }
        Ok(names.get(name).copied())
    }

    /// The names in a directory; the error says why this inode has none.
    pub(super) fn names(&self, dir: u64) -> Result<&BTreeMap<Arc<str>, u64>, Errno> {
        match self.inodes.get(&dir).map(|inode| &inode.body) {
            Some(Body::Directory(names)) => Ok(names),
            Some(Body::Symlink) => Err(Errno::LOOP),
            Some(Body::File(_) | Body::Fifo) => Err(Errno::NOTDIR),
            None => Err(Errno::NOENT),
        }
    }

    pub(super) fn is_directory(&self, inode: u64) -> bool {
        self.inodes.get(&inode).is_some_and(Inode::is_directory)
    }

    pub(super) fn is_empty_directory(&self, inode: u64) -> bool {
        self.inodes.get(&inode).is_some_and(Inode::is_empty_directory)
    }

    /// Whether `inside` is `dir` or lies somewhere below it.
    pub(super) fn contains(&self, dir: u64, inside: u64) -> bool {
        self.below(dir).contains(&inside)
    }

    /// Puts an existing inode under a name that is free, in a directory that exists.
    pub(super) fn link(&mut self, dir: u64, name: &Arc<str>, inode: u64) {
        if let Some(Body::Directory(names)) = self.inodes.get_mut(&dir).map(|inode| &mut inode.body) {
            names.insert(Arc::clone(name), inode);
        }
        if let Some(inode) = self.inodes.get_mut(&inode) {
            inode.links += 1;
        }
    }

    /// Takes a name away and returns what it led to.
    pub(super) fn unlink(&mut self, dir: u64, name: &str) -> Option<u64> {
        let Some(Body::Directory(names)) = self.inodes.get_mut(&dir).map(|inode| &mut inode.body) else { return None };
        let gone = names.remove(name)?;
        if let Some(inode) = self.inodes.get_mut(&gone) {
            inode.links -= 1;
        }
        Some(gone)
    }

    /// The content of a regular file.
    pub(super) fn content(&self, inode: u64) -> Option<&Arc<Vec<u8>>> {
        match &self.inodes.get(&inode)?.body {
            Body::File(content) => Some(content),
            _ => None,
        }
    }

    /// The content of a regular file, no longer shared with another image.
    pub(super) fn content_mut(&mut self, inode: u64) -> Option<&mut Vec<u8>> {
        match &mut self.inodes.get_mut(&inode)?.body {
            Body::File(content) => Some(Arc::make_mut(content)),
            _ => None,
        }
    }

    /// Writes into a regular file; a gap before `offset` reads as zeros.
    pub(super) fn write(&mut self, inode: u64, offset: u64, bytes: &[u8]) {
        if let Some(content) = self.content_mut(inode).filter(|_| !bytes.is_empty()) {
            let offset = index(offset);
            let end = offset + bytes.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[offset..end].copy_from_slice(bytes);
        }
    }

    pub(super) fn set_len(&mut self, inode: u64, len: u64) {
        if let Some(content) = self.content_mut(inode) {
            content.resize(index(len), 0);
        }
    }

    /// Drops every inode that no path leads to, and counts the names of the others.
    pub(super) fn drop_unreachable(&mut self) {
        let reachable = self.below(ROOT);
        self.inodes.retain(|number, inode| {
            inode.links = u64::from(*number == ROOT);
            reachable.contains(number)
        });
        let named: Vec<u64> = self
            .inodes
            .keys()
            .filter_map(|dir| self.names(*dir).ok())
            .flat_map(|names| names.values().copied())
            .collect();
        for number in named {
            if let Some(inode) = self.inodes.get_mut(&number) {
                inode.links += 1;
            }
        }
    }

    /// An inode and everything below it.
    fn below(&self, top: u64) -> BTreeSet<u64> {
        let mut found = BTreeSet::from([top]);
        let mut unseen = vec![top];
        while let Some(dir) = unseen.pop() {
            unseen.extend(self.names(dir).into_iter().flat_map(BTreeMap::values).filter(|inode| found.insert(**inode)));
        }
        found
    }
}

/// A position in a file as an index: contents are bounded far below what memory can address.
fn index(position: u64) -> usize {
    usize::try_from(position).expect("the size of a file is bounded before it gets here")
}
