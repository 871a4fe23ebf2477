//! What is known of paths without asking the shard: files that were used lately, and paths whose file the catalog has
//! still, although it is gone.
//!
//! Everything that differs from the catalog stands here: a file from before its row is there, and a path that has lost
//! its file until its row is gone. What stands here therefore goes before the catalog; see [`crate::shard::listing`] for
//! how the two are read together.

use super::view::FileView;
use crate::sets::Outcome;
use crate::shard::{
    ids::{FileId, FileKey},
    listing::{Query, behind_prefix},
};
use inkpot_proto::path::{FilePath, TenantName};
use std::{
    borrow::Borrow,
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// The paths of one shard that something is known of.
#[derive(Debug, Default)]
pub struct Registry(RwLock<HashMap<TenantName, Paths>>);

type Paths = BTreeMap<ByText, Entry>;

/// A path that is found by any text.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ByText(FilePath);

impl Borrow<str> for ByText {
    fn borrow(&self) -> &str {
        self.0.as_str()
    }
}

#[derive(Debug)]
enum Entry {
    /// A file; until it exists, the path has none.
    Present(Arc<FileView>),
    /// The path has no file, whatever the catalog says.
    Absent,
    /// The path waits for a set.
    Held(Box<Held>),
}

/// A path that a set is about to give to another file, or to take away.
#[derive(Clone, Debug)]
pub struct Held {
    /// What it has until then.
    pub now: Option<Arc<FileView>>,
    /// What it has from then on.
    pub next: Option<Arc<FileView>>,
    /// Whether the set has happened; `None` while that is being asked, after a start.
    pub outcome: Option<Arc<Outcome>>,
}

impl Entry {
    fn file(&self) -> Option<&Arc<FileView>> {
        let existing = |view: &&Arc<FileView>| view.state().exists;
        match self {
            Self::Present(view) => Some(view).filter(existing),
            Self::Absent => None,
            Self::Held(held) if held.outcome.as_ref().is_some_and(|outcome| outcome.has_happened()) => {
                held.next.as_ref()
            }
            Self::Held(held) => held.now.as_ref().filter(existing),
        }
    }

    fn views(&self) -> [Option<Arc<FileView>>; 2] {
        match self {
            Self::Present(view) => [Some(Arc::clone(view)), None],
            Self::Absent => [None, None],
            Self::Held(held) => [held.now.clone(), held.next.clone()],
        }
    }

    fn is_undecided(&self) -> bool {
        matches!(self, Self::Held(held) if held.outcome.is_none())
    }
}

/// What is known of a path.
#[derive(Clone, Debug)]
pub enum Found {
    /// It has this file.
    Present(Arc<FileView>),
    /// It has no file.
    Absent,
    /// Nothing: it has what the catalog says.
    Unknown,
    /// That is being decided.
    Undecided,
}

/// What is known of paths that follow each other. Each part is in order.
#[derive(Debug, Default)]
pub struct Stretch {
    /// Files that exist, less those below `prefixes`.
    pub files: Vec<(FilePath, Arc<FileView>)>,
    /// With a delimiter: what the paths of files that exist have in common up to it.
    pub prefixes: Vec<String>,
    /// Paths that have no file; not all of those below `prefixes`.
    pub absent: Vec<FilePath>,
    /// The first text that it says nothing of; `None`: it reaches to the end.
    pub end: Option<String>,
    /// A path of which it is being decided what it has; what comes behind is not told.
    pub undecided: Option<FilePath>,
}

impl Stretch {
    /// Whether it says what the path has; the path is not below `prefixes`.
    #[must_use]
    pub fn knows(&self, path: &str) -> bool {
        self.files.binary_search_by(|(known, _)| known.as_str().cmp(path)).is_ok()
            || self.absent.binary_search_by(|known| known.as_str().cmp(path)).is_ok()
    }

    /// Whether this is one of `prefixes`.
    #[must_use]
    pub fn has_prefix(&self, prefix: &str) -> bool {
        self.prefixes.binary_search_by(|known| known.as_str().cmp(prefix)).is_ok()
    }
}

impl Registry {
    /// The file of that path, if it is in memory and exists.
    #[must_use]
    pub fn get(&self, key: &FileKey) -> Option<Arc<FileView>> {
        match self.lookup(key) {
            Found::Present(view) => Some(view),
            Found::Absent | Found::Unknown | Found::Undecided => None,
        }
    }

    /// The view that readers have of a file at this path, whether it is told of or not.
    #[must_use]
    pub fn view_of(&self, key: &FileKey, id: FileId) -> Option<Arc<FileView>> {
        let tenants = self.read();
        let entry = tenants.get(&key.tenant).and_then(|paths| paths.get(key.path.as_str()))?;
        entry.views().into_iter().flatten().find(|view| view.id == id)
    }

    /// What is known of a path.
    #[must_use]
    pub fn lookup(&self, key: &FileKey) -> Found {
        let tenants = self.read();
        let entry = tenants.get(&key.tenant).and_then(|paths| paths.get(key.path.as_str()));
        if entry.is_some_and(Entry::is_undecided) {
            return Found::Undecided;
        }
        match entry.map(Entry::file) {
            Some(Some(view)) => Found::Present(Arc::clone(view)),
            Some(None) => Found::Absent,
            None => Found::Unknown,
        }
    }

    /// What is known of the paths that a query asks for, from `from` on; at most `most` paths are looked at. Goes by
    /// what is below a common prefix once a file that exists is found there.
    #[must_use]
    pub fn stretch(&self, query: &Query, from: &str, most: usize) -> Stretch {
        let mut stretch = Stretch::default();
        let tenants = self.read();
        let Some(paths) = tenants.get(&query.tenant) else { return stretch };
        let mut looked_at = 0;
        let mut next = Some(from.to_owned());
        while let Some(from) = next.take() {
            let range = paths.range::<str, _>((Bound::Included(from.as_str()), Bound::Unbounded));
            for (ByText(path), entry) in range.take_while(|(path, _)| path.0.as_str().starts_with(&query.prefix)) {
                if looked_at == most {
                    stretch.end = Some(path.as_str().to_owned());
                    break;
                }
                looked_at += 1;
                if entry.is_undecided() {
                    stretch.undecided = Some(path.clone());
                    return stretch;
                }
                match (entry.file(), query.common(path.as_str())) {
                    (None, _) => stretch.absent.push(path.clone()),
                    (Some(view), None) => stretch.files.push((path.clone(), Arc::clone(view))),
                    (Some(_), Some(common)) => {
                        next = Some(behind_prefix(common));
                        stretch.prefixes.push(common.to_owned());
                        break;
                    }
                }
            }
        }
        stretch
    }

    /// Adds a file, in the place of what is known of its path. Until it exists, the path has no file.
    pub fn insert(&self, view: Arc<FileView>) {
        insert(&mut self.write(), view);
    }

    /// As [`Registry::insert`], and the path that the file had before has none, unless it has another one by now; in one
    /// step.
    pub fn insert_moved(&self, view: Arc<FileView>, from: &FileKey) {
        let mut tenants = self.write();
        let before = tenants.get(&from.tenant).and_then(|paths| paths.get(from.path.as_str()));
        if !matches!(before, Some(Entry::Present(other)) if !Arc::ptr_eq(other, &view)) {
            put(&mut tenants, from.clone(), Entry::Absent);
        }
        insert(&mut tenants, view);
    }

    /// The path has lost its file. Stays until [`Registry::drop_absent`], because the catalog may have a row of it.
    pub fn set_absent(&self, key: FileKey) {
        put(&mut self.write(), key, Entry::Absent);
    }

    /// After a start or a failure: the path waits for a set, and what it has is not told until that is decided.
    pub fn hold_undecided(&self, key: &FileKey) {
        let mut tenants = self.write();
        let known = tenants.get(&key.tenant).and_then(|paths| paths.get(key.path.as_str()));
        let (now, next) = match known {
            Some(Entry::Present(view)) => (Some(Arc::clone(view)), None),
            // Readers may have these, and go on with them.
            Some(Entry::Held(held)) => (held.now.clone(), held.next.clone()),
            Some(Entry::Absent) | None => (None, None),
        };
        put(&mut tenants, key.clone(), Entry::Held(Box::new(Held { now, next, outcome: None })));
    }

    /// The path waits for a set, until something else is said of it.
    pub fn hold(&self, key: FileKey, held: Held) {
        put(&mut self.write(), key, Entry::Held(Box::new(held)));
    }

    /// Nothing is known of the path: it has what the catalog says.
    pub fn forget(&self, key: &FileKey) {
        remove(&mut self.write(), key);
    }

    /// Forgets paths that had no file at a checkpoint whose catalog is saved: it has no row of them. Those that have a
    /// file by now stay.
    pub fn drop_absent<'a>(&self, keys: impl IntoIterator<Item = &'a FileKey>) {
        let mut tenants = self.write();
        for key in keys {
            let entry = tenants.get(&key.tenant).and_then(|paths| paths.get(key.path.as_str()));
            if matches!(entry, Some(Entry::Absent)) {
                remove(&mut tenants, key);
            }
        }
    }

    /// Removes a file that nobody uses but the registry and the caller; tells whether it did. The catalog must have the
    /// file as it is.
    pub fn remove_unused(&self, view: &Arc<FileView>) -> bool {
        // Whoever gets a view here holds it before the lock is free again, so the count cannot be too low.
        let mut tenants = self.write();
        let key = view.key();
        let entry = tenants.get(&key.tenant).and_then(|paths| paths.get(key.path.as_str()));
        let registered = matches!(entry, Some(Entry::Present(known)) if Arc::ptr_eq(known, view));
        let unused = Arc::strong_count(view) <= 1 + usize::from(registered);
        if unused && registered {
            remove(&mut tenants, &key);
        }
        unused
    }

    /// All files.
    #[must_use]
    pub fn views(&self) -> Vec<Arc<FileView>> {
        let tenants = self.read();
        tenants.values().flat_map(BTreeMap::values).flat_map(Entry::views).flatten().collect()
    }

    /// How many paths something is known of.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().values().map(BTreeMap::len).sum()
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<TenantName, Paths>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<TenantName, Paths>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn insert(tenants: &mut HashMap<TenantName, Paths>, view: Arc<FileView>) {
    put(tenants, view.key(), Entry::Present(view));
}

fn put(tenants: &mut HashMap<TenantName, Paths>, key: FileKey, entry: Entry) {
    tenants.entry(key.tenant).or_default().insert(ByText(key.path), entry);
}

fn remove(tenants: &mut HashMap<TenantName, Paths>, key: &FileKey) {
    let Some(paths) = tenants.get_mut(&key.tenant) else { return };
    paths.remove(key.path.as_str());
    if paths.is_empty() {
        tenants.remove(&key.tenant);
    }
}

#[cfg(test)]
mod tests;
