//! What the running machine did and its disk does not hold yet, in the order in which it was done.
//!
//! Data of each file waits for a sync of the file. Names wait for a sync of a directory they stand in, and become
//! durable together with the earlier operations that they build on, but not with those of their parents.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::image::Image;
use crate::fs::{Existing, FILE_ID_BYTES};

/// A change of the content of a file.
#[derive(Clone, Debug)]
pub(super) enum Data {
    Write {
        offset: u64,
        bytes: Vec<u8>,
        /// The machine stopped while it was at this one: any prefix of it may have been done.
        interrupted: bool,
    },
    SetLen(u64),
    /// As `SetLen`, but never makes a file longer.
    Cut(u64),
}

impl Data {
    pub(super) fn apply(&self, image: &mut Image, inode: u64) {
        match self {
            Self::Write { offset, bytes, .. } => image.write(inode, *offset, bytes),
            Self::SetLen(len) => image.set_len(inode, *len),
            Self::Cut(len) => {
                let is_longer = image.content(inode).is_some_and(|content| content.len() as u64 > *len);
                if is_longer {
                    image.set_len(inode, *len);
                }
            }
        }
    }
}

/// A name in a directory, which is given by its inode number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) dir: u64,
    pub(super) name: Arc<str>,
}

/// A name and the inode that it leads to.
#[derive(Clone, Debug)]
pub(super) struct Named(pub(super) Place, pub(super) u64);

/// A change of names or attributes.
#[derive(Clone, Debug)]
pub(super) enum Meta {
    Link {
        at: Place,
        inode: u64,
    },
    Move {
        from: Place,
        to: Place,
        inode: u64,
        existing: Existing,
        displaced: Option<u64>,
    },
    /// Two different regular files change places.
    Exchange {
        one: Named,
        other: Named,
    },
    Unlink {
        at: Place,
        inode: u64,
    },
    FileId {
        inode: u64,
        id: [u8; FILE_ID_BYTES],
    },
}

impl Meta {
    /// What it is about: one inode, or two.
    pub(super) fn inodes(&self) -> [Option<u64>; 2] {
        match self {
            Self::Link { inode, .. }
            | Self::Move { inode, .. }
            | Self::Unlink { inode, .. }
            | Self::FileId { inode, .. } => [Some(*inode), None],
            Self::Exchange { one, other } => [Some(one.1), Some(other.1)],
        }
    }

    fn places(&self) -> [Option<&Place>; 2] {
        match self {
            Self::Link { at, .. } | Self::Unlink { at, .. } => [Some(at), None],
            Self::Move { from, to, .. } => [Some(from), Some(to)],
            Self::Exchange { one, other } => [Some(&one.0), Some(&other.0)],
            Self::FileId { .. } => [None, None],
        }
    }

    /// Does it in an image in which something that it builds on may be missing: then it is skipped.
    pub(super) fn apply(&self, image: &mut Image) {
        match self {
            Self::Link { at, inode } => {
                if image.inodes.contains_key(inode) && image.look_up(at.dir, &at.name) == Ok(None) {
                    image.link(at.dir, &at.name, *inode);
                }
            }
            Self::Unlink { at, inode } => {
                if leads_to(image, at, *inode) && may_vanish(image, *inode) {
                    image.unlink(at.dir, &at.name);
                }
            }
            Self::Move { from, to, inode, existing, .. } => {
                if leads_to(image, from, *inode) && may_arrive(image, to, *inode, *existing) {
                    image.unlink(from.dir, &from.name);
                    image.unlink(to.dir, &to.name);
                    image.link(to.dir, &to.name, *inode);
                }
            }
            Self::Exchange { one: Named(at, inode), other: Named(other_at, other) } => {
                if leads_to(image, at, *inode) && leads_to(image, other_at, *other) {
                    image.unlink(at.dir, &at.name);
                    image.unlink(other_at.dir, &other_at.name);
                    image.link(at.dir, &at.name, *other);
                    image.link(other_at.dir, &other_at.name, *inode);
                }
            }
            Self::FileId { inode, id } => {
                if let Some(inode) = image.inodes.get_mut(inode) {
                    inode.file_id = Some(*id);
                }
            }
        }
    }
}

fn leads_to(image: &Image, place: &Place, inode: u64) -> bool {
    image.look_up(place.dir, &place.name) == Ok(Some(inode))
}

fn may_vanish(image: &Image, inode: u64) -> bool {
    !image.is_directory(inode) || image.is_empty_directory(inode)
}

fn may_arrive(image: &Image, to: &Place, inode: u64, existing: Existing) -> bool {
    let is_free = match image.look_up(to.dir, &to.name) {
        Ok(None) => true,
        Ok(Some(displaced)) => existing == Existing::Replace && may_vanish(image, displaced),
        Err(_) => false,
    };
    is_free && !(image.is_directory(inode) && image.contains(inode, to.dir))
}

/// One operation of the journal.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pending<'j> {
    Data(u64, &'j Data),
    Meta(&'j Meta),
}

/// All operations that are not durable.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal {
    next: u64,
    data: BTreeMap<u64, Vec<(u64, Data)>>,
    meta: BTreeMap<u64, Meta>,
}

impl Journal {
    pub(super) fn len(&self) -> usize {
        self.meta.len() + self.data.values().map(Vec::len).sum::<usize>()
    }

    pub(super) fn push_data(&mut self, inode: u64, data: Data) {
        let number = self.number();
        self.data.entry(inode).or_default().push((number, data));
    }

    pub(super) fn push_meta(&mut self, meta: Meta) {
        let number = self.number();
        self.meta.insert(number, meta);
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Everything, in the order in which it was done.
    pub(super) fn in_order(&self) -> Vec<Pending<'_>> {
        let data = self
            .data
            .iter()
            .flat_map(|(inode, all)| all.iter().map(move |(number, data)| (*number, Pending::Data(*inode, data))));
        let meta = self.meta.iter().map(|(number, meta)| (*number, Pending::Meta(meta)));
        let mut all: Vec<_> = data.chain(meta).collect();
        all.sort_unstable_by_key(|(number, _)| *number);
        all.into_iter().map(|(_, pending)| pending).collect()
    }

    pub(super) fn has_data(&self, inode: u64) -> bool {
        self.data.contains_key(&inode)
    }

    pub(super) fn has_meta(&self, inode: u64) -> bool {
        self.meta.values().any(|meta| meta.inodes().contains(&Some(inode)))
    }

    pub(super) fn data_mut(&mut self, inode: u64) -> impl Iterator<Item = &mut Data> {
        self.data.get_mut(&inode).into_iter().flatten().map(|(_, data)| data)
    }

    /// All data of all files, to be changed in place.
    pub(super) fn all_data_mut(&mut self) -> impl Iterator<Item = (u64, &mut Data)> {
        self.data.iter_mut().flat_map(|(inode, all)| all.iter_mut().map(|(_, data)| (*inode, data)))
    }

    /// Takes out the data of a file.
    pub(super) fn take_data(&mut self, inode: u64) -> Vec<Data> {
        self.data.remove(&inode).unwrap_or_default().into_iter().map(|(_, data)| data).collect()
    }

    pub(super) fn drop_all_data(&mut self) {
        self.data.clear();
    }

    /// Takes out what became of the identity of a file.
    pub(super) fn take_file_ids(&mut self, of: u64) -> Vec<Meta> {
        let numbers = self.numbers_of(|meta| matches!(meta, Meta::FileId { inode, .. } if *inode == of));
        self.take(&numbers)
    }

    /// Takes out what a sync of a directory makes durable.
    pub(super) fn take_directory(&mut self, dir: u64) -> Vec<Meta> {
        self.take_closure(Closure { dirs: BTreeSet::from([dir]), ..Closure::default() })
    }

    /// Takes out what has to become durable with one name.
    pub(super) fn take_place(&mut self, place: Place) -> Vec<Meta> {
        self.take_closure(Closure { places: BTreeSet::from([place]), ..Closure::default() })
    }

    fn take_closure(&mut self, mut closure: Closure) -> Vec<Meta> {
        let mut numbers = BTreeSet::new();
        for (number, meta) in self.meta.iter().rev() {
            if closure.needs(meta) {
                closure.add(meta);
                numbers.insert(*number);
            }
        }
        // An inode comes with its attributes.
        numbers.extend(
            self.numbers_of(|meta| matches!(meta, Meta::FileId { inode, .. } if closure.entered.contains(inode))),
        );
        self.take(&numbers)
    }

    fn numbers_of(&self, wanted: impl Fn(&Meta) -> bool) -> BTreeSet<u64> {
        self.meta.iter().filter(|(_, meta)| wanted(meta)).map(|(number, _)| *number).collect()
    }

    fn take(&mut self, numbers: &BTreeSet<u64>) -> Vec<Meta> {
        numbers.iter().filter_map(|number| self.meta.remove(number)).collect()
    }
}

/// What a set of name changes builds on, gathered from the newest to the oldest.
#[derive(Debug, Default)]
struct Closure {
    dirs: BTreeSet<u64>,
    places: BTreeSet<Place>,
    entered: BTreeSet<u64>,
}

impl Closure {
    fn needs(&self, meta: &Meta) -> bool {
        meta.places().into_iter().flatten().any(|place| self.dirs.contains(&place.dir) || self.places.contains(place))
    }

    fn add(&mut self, meta: &Meta) {
        self.places.extend(meta.places().into_iter().flatten().cloned());
        match meta {
            Meta::Link { inode, .. } => {
                self.entered.insert(*inode);
            }
            Meta::Move { inode, displaced, .. } => {
                self.entered.insert(*inode);
                self.dirs.extend(displaced);
            }
            Meta::Exchange { one, other } => self.entered.extend([one.1, other.1]),
            // A directory goes only once it is empty: what emptied it comes first.
            Meta::Unlink { inode, .. } => {
                self.dirs.insert(*inode);
            }
            Meta::FileId { .. } => {}
        }
    }
}
