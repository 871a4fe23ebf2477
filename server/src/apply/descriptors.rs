//! Open plain files: a cache of descriptors, least recently used first out. The descriptor of a file that has unsynced
//! bytes is given up only after its sync, unless a sync of the whole volume will cover it.

use crate::shard::ids::FileId;
use inkpot_wal::fs::File;
use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::Arc,
    time::{Duration, Instant},
};

#[derive(Debug)]
struct Entry {
    file: Arc<dyn File>,
    used: u64,
    unsynced: bool,
    looked_at: Instant,
}

/// How often it is looked whether a path still leads to the file that is open.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub struct Descriptors {
    capacity: usize,
    volume_sync: bool,
    entries: HashMap<FileId, Entry>,
    by_use: BTreeMap<u64, FileId>,
    clock: u64,
    /// A file was given up that has unsynced bytes.
    gave_up_unsynced: bool,
}

impl Descriptors {
    /// Keeps up to `capacity` files open. `volume_sync`: whether checkpoints can sync the whole volume.
    #[must_use]
    pub fn new(capacity: usize, volume_sync: bool) -> Self {
        let capacity = capacity.max(1);
        Self {
            capacity,
            volume_sync,
            entries: HashMap::new(),
            by_use: BTreeMap::new(),
            clock: 0,
            gave_up_unsynced: false,
        }
    }

    /// The descriptor of a file, if it is open.
    pub fn get(&mut self, id: FileId) -> Option<Arc<dyn File>> {
        self.clock += 1;
        let entry = self.entries.get_mut(&id)?;
        self.by_use.remove(&entry.used);
        entry.used = self.clock;
        self.by_use.insert(self.clock, id);
        Some(Arc::clone(&entry.file))
    }

    /// Keeps a descriptor, unless the file is open already; gives up the one that was used least recently if there are
    /// too many.
    ///
    /// # Errors
    /// Those of the sync that giving up an unsynced file needs where the volume cannot be synced.
    pub fn insert(&mut self, id: FileId, file: Arc<dyn File>) -> io::Result<()> {
        if self.get(id).is_some() {
            // The other one may have bytes that are not synced.
            return Ok(());
        }
        self.clock += 1;
        self.entries.insert(id, Entry { file, used: self.clock, unsynced: false, looked_at: Instant::now() });
        self.by_use.insert(self.clock, id);
        while self.entries.len() > self.capacity {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            if let Some(entry) = self.entries.remove(&oldest).filter(|entry| entry.unsynced) {
                if !self.volume_sync {
                    entry.file.sync_all()?;
                }
                self.gave_up_unsynced = true;
            }
        }
        Ok(())
    }

    /// Whether it is time to look whether the path of an open file still leads to it; the caller looks.
    pub fn is_look_due(&mut self, id: FileId, now: Instant) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        let due = now.saturating_duration_since(entry.looked_at) >= LOOK_EVERY;
        if due {
            entry.looked_at = now;
        }
        due
    }

    /// Notes that a file has bytes that are not synced.
    pub fn mark_unsynced(&mut self, id: FileId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.unsynced = true;
        }
    }

    /// Whether a file was given up since the last sync whose unsynced bytes only a sync of the volume answers for: an
    /// error of theirs is told to nobody who opens the file again.
    #[must_use]
    pub fn need_volume_sync(&self) -> bool {
        self.gave_up_unsynced && self.volume_sync
    }

    /// Notes that everything is synced.
    pub fn all_synced(&mut self) {
        self.gave_up_unsynced = false;
        self.entries.values_mut().for_each(|entry| entry.unsynced = false);
    }

    /// Gives up a descriptor.
    pub fn remove(&mut self, id: FileId) {
        if let Some(entry) = self.entries.remove(&id) {
            self.by_use.remove(&entry.used);
        }
    }

    /// How many files are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no file is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests;
