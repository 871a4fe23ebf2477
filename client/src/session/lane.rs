//! What a writer and the driver share of one channel without the lock of the session: its batch, its end, who waits.

use crate::{
    Error, Opened, Result,
    batch::{Batch, Sealed},
};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::Notify;

/// Lock order: the batch of a lane before the state of the session; never two batches.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) id: u32,
    pub(crate) path: String,
    batch: Mutex<Batch>,
    changed: Notify,
    opened: OnceLock<Opened>,
    error: OnceLock<Error>,
}

impl Lane {
    pub(crate) fn new(id: u32, path: String) -> Self {
        Self {
            id,
            path,
            batch: Mutex::default(),
            changed: Notify::new(),
            opened: OnceLock::new(),
            error: OnceLock::new(),
        }
    }

    pub(crate) fn batch(&self) -> MutexGuard<'_, Batch> {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the server said when it opened the file for the first time.
    pub(crate) fn opened(&self) -> Option<&Opened> {
        self.opened.get()
    }

    pub(crate) fn set_opened(&self, opened: impl FnOnce() -> Opened) {
        self.opened.get_or_init(opened);
    }

    /// Why the channel ended, if it ended badly.
    pub(crate) fn error(&self) -> Option<Error> {
        self.error.get().cloned()
    }

    /// The first error stays.
    pub(crate) fn set_error(&self, error: Error) {
        self.error.get_or_init(|| error);
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.error().map_or(Ok(()), Err)
    }

    /// Wakes all who wait for a change of this channel.
    pub(crate) fn notify(&self) {
        self.changed.notify_waiters();
    }

    /// Waits until `check` has something to say; asks again at each change of the channel.
    pub(crate) async fn wait<T>(&self, mut check: impl FnMut() -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified(); // sees what happens from here on
            if let Some(found) = check() {
                return found;
            }
            changed.await;
        }
    }

    /// Takes the batch, if there is one.
    pub(crate) fn take(batch: &mut Batch) -> Option<Sealed> {
        (!batch.is_empty()).then(|| batch.seal())
    }
}
