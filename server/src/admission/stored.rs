//! What a tenant stores in all shards, and how much of that it may.

use crate::shard::state::Usage;
use std::sync::atomic::{AtomicU64, Ordering};

/// Something that is stored, or about to be.
pub type Stored = Usage;

/// What a tenant stores.
#[derive(Debug)]
pub struct StoredTotals {
    bytes: AtomicU64,
    files: AtomicU64,
    bytes_limit: u64,
    files_limit: u64,
}

/// There is no room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

impl StoredTotals {
    /// Nothing is stored yet. No limit is `None`.
    #[must_use]
    pub fn new(bytes_limit: Option<u64>, files_limit: Option<u32>) -> Self {
        Self {
            bytes: AtomicU64::new(0),
            files: AtomicU64::new(0),
            bytes_limit: bytes_limit.unwrap_or(u64::MAX),
            files_limit: files_limit.map_or(u64::MAX, u64::from),
        }
    }

    /// Adds what is about to be stored, if the limits allow it.
    ///
    /// # Errors
    /// [`NoRoom`]; then nothing was added.
    pub fn reserve(&self, more: Stored) -> Result<(), NoRoom> {
        add_up_to(&self.bytes, more.bytes, self.bytes_limit)?;
        add_up_to(&self.files, more.files, self.files_limit).inspect_err(|_| {
            self.bytes.fetch_sub(more.bytes, Ordering::Relaxed);
        })
    }

    /// Replaces what was added before by what is there. Limits have no say: it is there.
    pub fn correct(&self, before: Stored, after: Stored) {
        // Wrapping: each shard takes away no more than it has added.
        self.bytes.fetch_add(after.bytes.wrapping_sub(before.bytes), Ordering::Relaxed);
        self.files.fetch_add(after.files.wrapping_sub(before.files), Ordering::Relaxed);
    }

    /// Whether there is a limit.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.bytes_limit != u64::MAX || self.files_limit != u64::MAX
    }

    /// Bytes that are stored.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Files that there are.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// Most bytes.
    #[must_use]
    pub fn bytes_limit(&self) -> u64 {
        self.bytes_limit
    }

    /// Most files.
    #[must_use]
    pub fn files_limit(&self) -> u64 {
        self.files_limit
    }
}

fn add_up_to(total: &AtomicU64, more: u64, limit: u64) -> Result<(), NoRoom> {
    if more == 0 {
        return Ok(());
    }
    let added = total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |before| {
        before.checked_add(more).filter(|after| *after <= limit)
    });
    added.map(|_| ()).map_err(|_| NoRoom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_exactly_and_what_goes_makes_room() {
        let totals = StoredTotals::new(Some(10), Some(1));
        assert_eq!(totals.reserve(Stored { bytes: 10, files: 1 }), Ok(()));
        assert_eq!(totals.reserve(Stored { bytes: 1, files: 0 }), Err(NoRoom));
        assert_eq!(totals.reserve(Stored { bytes: 0, files: 1 }), Err(NoRoom));
        totals.correct(Stored { bytes: 10, files: 1 }, Stored { bytes: 4, files: 0 });
        assert_eq!(totals.reserve(Stored { bytes: 7, files: 1 }), Err(NoRoom));
        assert_eq!((totals.bytes(), totals.files()), (4, 0), "a refused reservation leaves nothing");
        assert_eq!(totals.reserve(Stored { bytes: 6, files: 1 }), Ok(()));
    }

    #[test]
    fn what_is_there_counts_above_the_limit_too() {
        let totals = StoredTotals::new(Some(1), None);
        totals.correct(Stored::default(), Stored { bytes: 5, files: 3 });
        assert_eq!((totals.bytes(), totals.files()), (5, 3));
        assert_eq!(totals.reserve(Stored { bytes: 0, files: 1 }), Ok(()));
    }
}
