//! Files that were used lately, by path: how readers find them without asking the shard.

use super::view::FileView;
use crate::shard::ids::FileKey;
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

    /// Up to `max` existing files from `from` on, in order.
    #[must_use]
    pub fn range(&self, from: Bound<&FileKey>, max: usize) -> Vec<Arc<FileView>> {
        let files = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let range = files.range::<FileKey, _>((from, Bound::Unbounded));
        range.map(|(_, view)| view).filter(|view| view.state().exists).take(max).cloned().collect()
    }

    /// Adds or replaces a file.
    pub fn insert(&self, view: Arc<FileView>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(view.key.clone(), view);
    }

    /// Removes a file.
    pub fn remove(&self, key: &FileKey) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(key);
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
