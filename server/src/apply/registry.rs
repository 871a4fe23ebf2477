//! Files that were used lately, by path: how readers find them without asking the shard.

use super::view::FileView;
use crate::shard::ids::FileKey;
use inkpot_proto::path::{FilePath, TenantName};
use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, PoisonError, RwLock},
};

/// The files of one shard that are in memory.
#[derive(Debug, Default)]
pub struct Registry(RwLock<BTreeMap<FileKey, Arc<FileView>>>);

impl Registry {
    /// The file of that path, if it is in memory and exists.
    #[must_use]
    pub fn get(&self, key: &FileKey) -> Option<Arc<FileView>> {
        let files = self.0.read().unwrap_or_else(PoisonError::into_inner);
        files.get(key).filter(|view| view.state().exists).cloned()
    }

    /// Up to `max` existing files of a tenant whose path begins with `prefix`, after `after`, in order.
    #[must_use]
    pub fn below(&self, tenant: &TenantName, prefix: &str, after: Option<&str>, max: usize) -> Vec<Arc<FileView>> {
        let files = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let is_before = |(key, _): &(&FileKey, &Arc<FileView>)| {
            let path = key.path.as_str();
            key.tenant < *tenant || path < prefix || after.is_some_and(|after| path <= after)
        };
        let is_below =
            |(key, _): &(&FileKey, &Arc<FileView>)| key.tenant == *tenant && key.path.as_str().starts_with(prefix);
        let from = FilePath::parse(after.filter(|after| *after >= prefix).unwrap_or(prefix.trim_end_matches('/'))).ok();
        let from = from.map(|path| FileKey { tenant: tenant.clone(), path });
        let from = from.as_ref().map_or(Bound::Unbounded, Bound::Included);
        let files = files.range::<FileKey, _>((from, Bound::Unbounded));
        let found = files.skip_while(is_before).take_while(is_below).map(|(_, view)| view);
        let found = found.filter(|view| view.state().exists);
        found.take(max).cloned().collect()
    }

    /// Adds or replaces a file.
    pub fn insert(&self, view: Arc<FileView>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(view.key(), view);
    }

    /// Adds a file that had another path until now.
    pub fn insert_moved(&self, view: Arc<FileView>, from: &FileKey) {
        let mut files = self.0.write().unwrap_or_else(PoisonError::into_inner);
        files.remove(from);
        files.insert(view.key(), view);
    }

    /// There is no file at a path any more.
    pub fn set_absent(&self, key: FileKey) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    /// The catalog knows, too, that there is nothing at these paths.
    pub fn drop_absent<'a>(&self, _keys: impl IntoIterator<Item = &'a FileKey>) {}

    /// The views of all files.
    #[must_use]
    pub fn views(&self) -> Vec<Arc<FileView>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Removes a file that nobody uses but the registry and the caller; tells whether it did.
    pub fn remove_unused(&self, view: &Arc<FileView>) -> bool {
        // Whoever gets a view here holds it before the lock is free again, so the count cannot be too low.
        let mut files = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let registered = files.get(&view.key()).is_some_and(|known| Arc::ptr_eq(known, view));
        let unused = Arc::strong_count(view) <= 1 + usize::from(registered);
        if unused && registered {
            files.remove(&view.key());
        }
        unused
    }

    /// How many files are in memory.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether no file is in memory.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests;
