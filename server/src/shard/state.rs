//! What a shard knows of its files and their producers. Changed by [`Files::apply`] alone, from live writes and from
//! replay, so that both come to the same state. No I/O, no clock.

mod apply;
mod sets;

pub use sets::{Held, Sets};

use super::{
    ids::{FastMap, FileId, FileKey, ProducerId},
    record::SetId,
};
use crate::apply::view::{FileView, Gone};
use inkpot_proto::path::TenantName;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// An append that is remembered, so that its duplicate can be told its offset, and another one with its seq refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The generation that it is in.
    pub generation: u64,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its length in bytes; 0 of an operation.
    pub len: u32,
    /// crc32c of the bytes as they were sent; of an operation, what tells it from others.
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

/// What is particular to a file that is not published yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upload {
    /// Whether it may take the place of a file.
    pub replace: bool,
    /// The generation that it must replace; 0: there must be none.
    pub if_generation: Option<u64>,
    /// Who sends it. Without a producer it ends with its channel.
    pub producer: Option<ProducerId>,
    /// When it was last written to or opened, in seconds of running time.
    pub active_at: u64,
}

/// What is known of the content of a file, beside its size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// crc32c of it, unless it is not known.
    pub crc32c: Option<u32>,
    /// Whether it takes no more appends.
    pub sealed: bool,
    /// Bytes that it takes compressed; `None` if it is not.
    pub compressed: Option<u64>,
    /// The producer, and its epoch, whose upload it was.
    pub origin: Option<(ProducerId, u64)>,
    /// When its plain file was made, in milliseconds since 1970.
    pub began: u64,
    /// When it was rotated away, in milliseconds since 1970, and the generation that came after it.
    pub rotated: Option<(u64, u64)>,
}

/// A file of a shard, or an upload.
#[derive(Debug)]
pub struct File {
    /// What readers and the applier see of it.
    pub view: Arc<FileView>,
    /// Its tenant and path, as decided; the view has them once that is durable.
    pub key: FileKey,
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
    /// The rest of what is known of its content.
    pub content: Content,
    /// Set while it is not published.
    pub upload: Option<Upload>,
    /// Set once its path leads elsewhere, or it was discarded. It stays until channels and checkpoint are done with it.
    pub gone: Option<Gone>,
    /// Whether it changed since the last snapshot for a checkpoint. Not kept on disk.
    pub changed: bool,
    /// Channels that have it open. Not kept on disk.
    pub channels: u32,
    /// It is about to leave the shard, or could be: it takes nothing meanwhile. Not kept on disk; what is, is the part of
    /// the set.
    pub frozen: Option<SetId>,
}

impl File {
    /// A file without anything in it, at the path of its view. `named` tells whether the log names its id.
    #[must_use]
    pub fn new(view: Arc<FileView>, named: bool) -> Self {
        Self {
            key: view.key(),
            view,
            named,
            created: false,
            end: 0,
            sequence: 0,
            producers: FastMap::default(),
            content: Content { crc32c: Some(0), ..Content::default() },
            upload: None,
            gone: None,
            changed: false,
            channels: 0,
            frozen: None,
        }
    }

    /// Its generation, as clients are told; 0 while there is nothing at its path.
    #[must_use]
    pub fn generation(&self) -> u64 {
        if self.created && self.gone.is_none() { self.view.generation } else { 0 }
    }

    /// Whether replay brings bytes to its plain file. One that is held for a set has them all, synced, and may be another
    /// shard's by now.
    #[must_use]
    pub fn takes_bytes(&self) -> bool {
        self.gone.is_none() && self.frozen.is_none()
    }

    /// What it counts for its tenant.
    fn usage(&self) -> Usage {
        if self.gone.is_some() {
            return Usage::default();
        }
        Usage { bytes: self.content.compressed.unwrap_or(self.end), files: u64::from(self.created) }
    }
}

/// What a tenant has in a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of files, as they are stored, and of uploads.
    pub bytes: u64,
    /// Files.
    pub files: u64,
}

/// The files of a shard that are in memory; uploads always are.
#[derive(Debug)]
pub struct Files {
    by_id: FastMap<FileId, File>,
    by_key: HashMap<FileKey, FileId>,
    uploads: HashMap<(FileKey, ProducerId), FileId>,
    /// What each tenant has, those files included that are not in memory.
    usage: FastMap<TenantName, Usage>,
    /// Tenants whose part of that changed since it was last asked.
    usage_changed: Vec<TenantName>,
    /// Files that changed since the last snapshot for a checkpoint.
    changed: Vec<FileId>,
    /// Paths that were taken from files since then.
    unbound: Vec<(FileKey, FileId)>,
    sets: Sets,
    /// Views that readers have had since before a failure: they go on being those of their files.
    kept_views: HashMap<FileId, Arc<FileView>>,
    remember: usize,
}

impl Files {
    /// No files; `remember` appends are kept per producer.
    #[must_use]
    pub fn new(remember: u32) -> Self {
        Self {
            by_id: FastMap::default(),
            by_key: HashMap::new(),
            uploads: HashMap::new(),
            usage: FastMap::default(),
            usage_changed: Vec::new(),
            changed: Vec::new(),
            unbound: Vec::new(),
            sets: Sets::default(),
            kept_views: HashMap::new(),
            remember: (remember as usize).max(1),
        }
    }

    /// Goes on from what the tenants had, and from views that readers have.
    #[must_use]
    pub fn going_on(mut self, usage: Vec<(TenantName, Usage)>, views: Vec<Arc<FileView>>) -> Self {
        self.usage = usage.into_iter().collect();
        self.kept_views = views.into_iter().map(|view| (view.id, view)).collect();
        self
    }

    /// A view that readers have of a file, if some do.
    #[must_use]
    pub fn kept_view(&self, id: FileId) -> Option<Arc<FileView>> {
        self.kept_views.get(&id).cloned()
    }

    /// Replay is over: files that come to memory from now on get views of their own.
    pub fn forget_kept_views(&mut self) {
        self.kept_views = HashMap::new();
    }

    /// Adds a file that was loaded, or that an open made up.
    pub fn insert(&mut self, file: File) {
        let id = file.view.id;
        match &file.upload {
            Some(Upload { producer: Some(producer), .. }) => {
                self.uploads.insert((file.key.clone(), producer.clone()), id);
            }
            Some(_) => {}
            None => _ = self.by_key.insert(file.key.clone(), id),
        }
        self.by_id.insert(id, file);
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

    /// The upload of a producer to a path.
    #[must_use]
    pub fn upload_of(&self, key: &FileKey, producer: &ProducerId) -> Option<FileId> {
        self.uploads.get(&(key.clone(), producer.clone())).copied()
    }

    /// All uploads that somebody could go on with, by path.
    pub fn uploads(&self) -> impl Iterator<Item = (&FileKey, FileId)> {
        self.uploads.iter().map(|((key, _), id)| (key, *id))
    }

    /// Whether there are uploads.
    #[must_use]
    pub fn has_uploads(&self) -> bool {
        !self.uploads.is_empty()
    }

    /// Removes a file from memory.
    pub fn remove(&mut self, id: FileId) {
        let Some(file) = self.by_id.remove(&id) else { return };
        if self.by_key.get(&file.key) == Some(&id) {
            self.by_key.remove(&file.key);
        }
        if let Some(Upload { producer: Some(producer), .. }) = file.upload {
            self.uploads.remove(&(file.key, producer));
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

    /// What a tenant has.
    #[must_use]
    pub fn usage_of(&self, tenant: &TenantName) -> Usage {
        self.usage.get(tenant).copied().unwrap_or_default()
    }

    /// What each tenant has.
    pub fn usage(&self) -> impl Iterator<Item = (&TenantName, Usage)> {
        self.usage.iter().map(|(tenant, usage)| (tenant, *usage))
    }

    /// Takes the tenants whose usage changed since the last call; one may be named more than once.
    pub fn take_usage_changed(&mut self) -> Vec<TenantName> {
        std::mem::take(&mut self.usage_changed)
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

    /// The paths that were taken from files since the last snapshot for a checkpoint.
    #[must_use]
    pub fn unbound(&self) -> &[(FileKey, FileId)] {
        &self.unbound
    }

    /// Takes the paths that were taken from files since the last call.
    pub fn take_unbound(&mut self) -> Vec<(FileKey, FileId)> {
        std::mem::take(&mut self.unbound)
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

    /// Takes a path from a file, if it has it.
    fn unbind(&mut self, key: &FileKey, id: FileId) {
        if self.by_key.get(key) == Some(&id) {
            self.by_key.remove(key);
            self.unbound.push((key.clone(), id));
        }
    }
}

#[cfg(test)]
mod tests;
