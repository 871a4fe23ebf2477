//! What a shard knows of its files and their producers. Changed by [`Files::apply`] alone, from live writes and from
//! replay, so that both come to the same state. No I/O, no clock.

use super::{
    ids::{FastMap, FileId, FileKey, ProducerId},
    record::Record,
};
use crate::apply::view::FileView;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// An append that is remembered, so that its duplicate can be told its offset, and another one with its seq refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u32,
    /// Its crc32c.
    pub crc32c: u32,
}

/// A producer in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Producer {
    /// Its epoch.
    pub epoch: u64,
    /// Last seq of that epoch in the file; 0: none.
    pub last_seq: u64,
    /// The appends up to `last_seq`, oldest first; as many as the configuration says.
    pub remembered: VecDeque<Remembered>,
    /// When it last wrote or opened, in seconds of running time.
    pub active_at: u64,
    /// The epoch before and its last seq.
    pub previous: (u64, u64),
    /// Number of the open that holds the producer; 0: none since the shard began. Not kept on disk.
    pub open: u64,
}

impl Producer {
    /// The append with that seq, if it is remembered.
    #[must_use]
    pub fn remembered(&self, seq: u64) -> Option<&Remembered> {
        let back = usize::try_from(self.last_seq.checked_sub(seq)?).ok()?;
        self.remembered.iter().rev().nth(back)
    }
}

/// A file of a shard.
#[derive(Debug)]
pub struct File {
    /// What readers and the applier see of it.
    pub view: Arc<FileView>,
    /// Whether the log or the catalog names its id.
    pub named: bool,
    /// Whether the plain file was made.
    pub created: bool,
    /// Decided end, in bytes: where the next append begins.
    pub end: u64,
    /// Last frame that changed it.
    pub sequence: u64,
    /// Its producers.
    pub producers: FastMap<ProducerId, Producer>,
    /// Whether it changed since the last snapshot for a checkpoint. Not kept on disk.
    pub changed: bool,
    /// Channels that have it open. Not kept on disk.
    pub channels: u32,
}

impl File {
    /// A file without anything in it. `named` tells whether the log names its id.
    #[must_use]
    pub fn new(view: Arc<FileView>, named: bool) -> Self {
        let producers = FastMap::default();
        Self { view, named, created: false, end: 0, sequence: 0, producers, changed: false, channels: 0 }
    }
}

/// The files of a shard that are in memory.
#[derive(Debug)]
pub struct Files {
    by_id: FastMap<FileId, File>,
    by_key: HashMap<FileKey, FileId>,
    /// Files that changed since the last snapshot for a checkpoint.
    changed: Vec<FileId>,
    remember: usize,
}

impl Files {
    /// No files; `remember` appends are kept per producer.
    #[must_use]
    pub fn new(remember: u32) -> Self {
        let remember = (remember as usize).max(1);
        Self { by_id: FastMap::default(), by_key: HashMap::new(), changed: Vec::new(), remember }
    }

    /// Adds a file that was loaded, or that an open made up.
    pub fn insert(&mut self, file: File) {
        self.by_key.insert(file.view.key(), file.view.id);
        self.by_id.insert(file.view.id, file);
    }

    /// A file by its id.
    #[must_use]
    pub fn get(&self, id: FileId) -> Option<&File> {
        self.by_id.get(&id)
    }

    /// A file by its id.
    pub fn get_mut(&mut self, id: FileId) -> Option<&mut File> {
        self.by_id.get_mut(&id)
    }

    /// The id of a path.
    #[must_use]
    pub fn id_of(&self, key: &FileKey) -> Option<FileId> {
        self.by_key.get(key).copied()
    }

    /// Removes a file from memory.
    pub fn remove(&mut self, id: FileId) {
        if let Some(file) = self.by_id.remove(&id) {
            self.by_key.remove(&file.view.key());
        }
    }

    /// How many files are in memory.
    #[must_use]
    pub fn count(&self) -> usize {
        self.by_id.len()
    }

    /// All files in memory.
    pub fn iter(&self) -> impl Iterator<Item = &File> {
        self.by_id.values()
    }

    /// Takes the ids of the files that changed since the last call.
    pub fn take_changed(&mut self) -> Vec<FileId> {
        let changed = std::mem::take(&mut self.changed);
        for id in &changed {
            if let Some(file) = self.by_id.get_mut(id) {
                file.changed = false;
            }
        }
        changed
    }

    /// Whether a file changed since the last snapshot.
    #[must_use]
    pub fn is_changed(&self, id: FileId) -> bool {
        self.by_id.get(&id).is_some_and(|file| file.changed)
    }

    /// Whether nothing changed since the last snapshot.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.changed.is_empty()
    }

    /// Carries out what was decided. `sequence` is the frame that says so, `now` the running time in seconds. The file
    /// must be in memory; a frame from before the last one that changed it changes nothing.
    pub fn apply(&mut self, record: &Record, sequence: u64, now: u64) {
        let remember = self.remember;
        let Some(file) = self.by_id.get_mut(&record.id()).filter(|file| file.sequence <= sequence) else { return };
        file.sequence = sequence;
        if !std::mem::replace(&mut file.changed, true) {
            self.changed.push(record.id());
        }
        match record {
            Record::Name { .. } => file.named = true,
            Record::Create { .. } => file.created = true,
            Record::Epoch { producer, epoch, .. } => {
                let known = file.producers.entry(producer.clone()).or_default();
                let previous = (known.epoch, known.last_seq);
                let open = known.open;
                *known = Producer { epoch: *epoch, active_at: now, previous, open, ..Producer::default() };
            }
            Record::Forget { producer, .. } => {
                file.producers.remove(producer);
            }
            Record::Append { offset, producer, crc32c, data, .. } => {
                file.end = offset + data.len() as u64;
                if let Some((producer, seq)) = producer
                    && let Some(known) = file.producers.get_mut(producer)
                {
                    known.last_seq = *seq;
                    known.active_at = now;
                    let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
                    known.remembered.push_back(Remembered { offset: *offset, len, crc32c: *crc32c });
                    if known.remembered.len() > remember {
                        known.remembered.pop_front();
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
