//! What a shard hands to its applier for a checkpoint, and what it gives up when that is done.

use super::{ShardError, ShardWriter};
use crate::{
    apply::applier::{Snapshot, SnapshotFile},
    catalog::Progress,
    shard::{
        ids::{FileId, FileKey},
        state::File,
    },
};
use inkpot_wal::{WalError, recovery::Mark};
use std::{collections::HashSet, sync::Arc, time::Instant};

impl ShardWriter {
    /// Makes the log durable and tells what a checkpoint has to.
    ///
    /// # Errors
    /// As for [`ShardWriter::commit`].
    pub fn snapshot(&mut self, now: Instant) -> Result<Snapshot, ShardError> {
        self.sync()?;
        let mark = self.log.mark().ok_or(WalError::Closed)?;
        let changed = self.files.take_changed();
        let changed = changed.iter().filter_map(|id| self.files.get(*id)).filter(|file| file.named);
        let (gone, there): (Vec<_>, Vec<_>) = changed.partition(|file| file.gone.is_some());
        let removed = gone.iter().map(|file| Arc::clone(&file.view)).collect();
        let files = there.into_iter().map(snapshot_of).collect();
        let progress = Progress { mark, running: self.running_seconds(now) };
        let mut usage: Vec<_> = self.files.usage().map(|(tenant, usage)| (tenant.clone(), usage)).collect();
        usage.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let unbound = self.files.take_unbound();
        self.unbound.extend(unbound.iter().map(|(key, _)| key.clone()));
        let sets = self.files.encode_sets();
        Ok(Snapshot { progress, files, removed, unbound, usage, sets, dirs: self.plain.take_changed_dirs() })
    }

    /// A checkpoint is done: gives up the log before it, and files that nobody uses.
    ///
    /// # Errors
    /// As for [`ShardWriter::commit`].
    pub fn checkpointed(&mut self, mark: &Mark, now: Instant) -> Result<(), ShardError> {
        self.log.release(mark)?;
        // What was taken since the snapshot may have a row of this very checkpoint.
        let taken_since: HashSet<&FileKey> = self.files.unbound().iter().map(|(key, _)| key).collect();
        let unbound = std::mem::take(&mut self.unbound);
        self.registry.drop_absent(unbound.iter().filter(|key| !taken_since.contains(key)));
        self.expiry_due = self.files.has_uploads();
        let idle = |file: &&File| {
            file.channels == 0
                && file.upload.is_none()
                && file.frozen.is_none()
                && !self.files.is_changed(file.view.id)
                && file.view.state().pending.is_empty()
        };
        let idle: Vec<FileId> = self.files.iter().filter(idle).map(|file| file.view.id).collect();
        for id in idle {
            if self.files.get(id).is_some_and(|file| self.registry.remove_unused(&file.view)) {
                self.files.remove(id);
            }
        }
        if self.disk_full {
            // An idle shard must not say so for ever.
            self.look_for_room(now)?;
        }
        self.note_state();
        Ok(())
    }

    /// Bytes of log that a checkpoint could release: what lies before the present segment.
    #[must_use]
    pub fn unreleased_bytes(&self) -> u64 {
        self.log.live_bytes() - self.config.wal.segment_bytes.min(self.log.live_bytes())
    }

    /// Whether a checkpoint at `mark` covered everything, and nothing waits.
    #[must_use]
    pub fn is_settled(&self, mark: &Mark) -> bool {
        self.is_idle() && self.files.is_unchanged() && mark.sequence <= self.log.synced_sequence()
    }

    /// Whether nothing waits for a commit.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.turns.is_empty() && self.held_back.is_none() && self.steps.is_empty() && self.staging == 0
    }
}

/// A file as it is now.
pub(super) fn snapshot_of(file: &File) -> SnapshotFile {
    let mut producers: Vec<_> = file.producers.iter().map(|(id, state)| (id.clone(), state.clone())).collect();
    // What a catalog is made of in the same order is the same in each byte.
    producers.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    SnapshotFile {
        view: Arc::clone(&file.view),
        key: file.key.clone(),
        created: file.created,
        end: file.end,
        sequence: file.sequence,
        producers,
        content: file.content.clone(),
        upload: file.upload.clone(),
    }
}
