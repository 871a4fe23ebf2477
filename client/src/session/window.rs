//! The window of a session: how much may wait for its ack at a time. First come, first served.

use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Semaphore;

/// Room for appends and bytes.
#[derive(Debug)]
pub(crate) struct Window {
    appends: Semaphore,
    bytes: Semaphore,
    max_bytes: u32,
    waiting: AtomicUsize,
}

/// Room that was taken; goes back when dropped, unless it is kept for an append.
#[derive(Debug)]
#[must_use]
pub(crate) struct Taken<'a> {
    window: &'a Window,
    pub(crate) appends: u32,
    pub(crate) bytes: u32,
}

/// Somebody waits for room, until this is dropped.
#[derive(Debug)]
pub(crate) struct Waiting<'a>(&'a Window);

impl Window {
    pub(crate) fn new(appends: u32, bytes: u64) -> Self {
        let max_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Self {
            appends: Semaphore::new(appends as usize),
            bytes: Semaphore::new(max_bytes as usize),
            max_bytes,
            waiting: AtomicUsize::new(0),
        }
    }

    /// The room that this many bytes take: never more than there is, so that everything passes at some time.
    pub(crate) fn cost(&self, bytes: usize) -> u32 {
        u32::try_from(bytes).unwrap_or(u32::MAX).min(self.max_bytes)
    }

    pub(crate) fn try_take(&self, appends: u32, bytes: u32) -> Option<Taken<'_>> {
        let first = self.appends.try_acquire_many(appends).ok()?;
        let second = self.bytes.try_acquire_many(bytes).ok()?;
        first.forget();
        second.forget();
        Some(Taken { window: self, appends, bytes })
    }

    /// Waits for room. Never fails: the semaphores are not closed.
    pub(crate) async fn take(&self, appends: u32, bytes: u32) -> Taken<'_> {
        let mut taken = Taken { window: self, appends: 0, bytes: 0 };
        if let Ok(permit) = self.appends.acquire_many(appends).await {
            permit.forget();
            taken.appends = appends;
        }
        if let Ok(permit) = self.bytes.acquire_many(bytes).await {
            permit.forget();
            taken.bytes = bytes;
        }
        taken
    }

    /// Gives back what was kept.
    pub(crate) fn give(&self, appends: usize, bytes: usize) {
        if appends > 0 {
            self.appends.add_permits(appends);
        }
        if bytes > 0 {
            self.bytes.add_permits(bytes);
        }
    }

    /// Announces that somebody waits.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        Waiting(self)
    }

    pub(crate) fn has_waiters(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    #[cfg(test)]
    pub(crate) fn free(&self) -> (usize, usize) {
        (self.appends.available_permits(), self.bytes.available_permits())
    }
}

impl Taken<'_> {
    /// The room now belongs to a batch or append, which gives it back.
    pub(crate) fn keep(mut self) -> u32 {
        self.appends = 0;
        std::mem::take(&mut self.bytes)
    }

    /// Gives back the append, for a record that joined one that has its room.
    pub(crate) fn return_append(&mut self) {
        self.window.give(std::mem::take(&mut self.appends) as usize, 0);
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.window.give(self.appends as usize, self.bytes as usize);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}
