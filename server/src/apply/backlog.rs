//! What is committed and not yet in the plain files: shared by a shard, its applier and readers. Bounded: the shard
//! holds commits back while there is too much.

use super::view::{FileView, Piece};
use crate::shard::ids::FileId;
use inkpot_wal::fs::File;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};
use tokio::sync::Notify;

/// Descriptors of new files that wait for the applier, at most.
const MAX_MADE: usize = 512;

/// See the module.
#[derive(Debug, Default)]
pub struct Backlog {
    budget: u64,
    bytes: AtomicU64,
    synced: AtomicU64,
    files: Mutex<Vec<Arc<FileView>>>,
    made: Mutex<Vec<(FileId, Arc<dyn File>)>>,
    /// The applier found no room on the disk and tries again.
    full: AtomicBool,
    /// Told when a file has something waiting that had nothing before.
    pub arrived: Notify,
    /// Told when the applier should look now.
    pub hurry: Notify,
    /// Told when there is less to do, or room on the disk again.
    pub relieved: Notify,
}

impl Backlog {
    /// At most about `budget` bytes wait.
    #[must_use]
    pub fn new(budget: u64) -> Self {
        Self { budget, ..Self::default() }
    }

    /// Adds committed bytes to a file. `crc32c` is that of the file with them, if it is known.
    pub fn push(&self, view: &Arc<FileView>, piece: Piece, crc32c: Option<u32>) {
        let len = piece.data.len() as u64;
        self.bytes.fetch_add(len, Ordering::Relaxed);
        let newly_listed = {
            let mut state = view.state();
            state.exists = true;
            (state.committed, state.crc32c) = (piece.end(), crc32c);
            if piece.sequence <= self.synced() {
                state.synced = piece.end();
            }
            state.pending_bytes += len;
            state.pending_since.get_or_insert_with(Instant::now);
            state.pending.push_back(piece);
            !std::mem::replace(&mut state.listed, true)
        };
        if newly_listed {
            self.lock().push(Arc::clone(view));
            self.arrived.notify_one();
        }
        view.changed.notify_waiters();
        if self.is_over_budget() {
            self.hurry.notify_one();
        }
    }

    /// Takes the list of files that have something waiting.
    pub fn take(&self) -> Vec<Arc<FileView>> {
        std::mem::take(&mut *self.lock())
    }

    /// Whether no file has anything waiting.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Puts a file back on the list.
    pub fn put_back(&self, view: Arc<FileView>) {
        self.lock().push(view);
    }

    /// Hands on the descriptor of a file that was just made, unless many wait to be taken: then the file, in which nothing
    /// is yet, is closed, and opened again when it is written to.
    pub fn hand_on(&self, id: FileId, file: Arc<dyn File>) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.len() < MAX_MADE {
            made.push((id, file));
        }
    }

    /// Takes the descriptors that were handed on.
    pub fn take_made(&self) -> Vec<(FileId, Arc<dyn File>)> {
        std::mem::take(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts bytes that wait no longer.
    pub fn done(&self, bytes: u64) {
        let before = self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if before >= self.budget && before - bytes < self.budget {
            self.relieved.notify_one();
        }
    }

    /// Whether commits have to wait for the applier.
    #[must_use]
    pub fn is_over_budget(&self) -> bool {
        self.bytes() >= self.budget
    }

    /// Bytes that wait.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Highest frame that is synced.
    #[must_use]
    pub fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// Tells that frames up to `sequence` are synced.
    pub fn set_synced(&self, sequence: u64) {
        self.synced.store(sequence, Ordering::Release);
    }

    /// Whether the applier waits for room on the disk.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Tells whether there is room on the disk.
    pub fn set_disk_full(&self, full: bool) {
        // Either way: what was held is refused from now on, or goes on.
        if self.full.swap(full, Ordering::Relaxed) != full {
            self.relieved.notify_one();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<FileView>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
