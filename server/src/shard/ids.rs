//! Names of things that are never used twice.

use foldhash::{SharedSeed, fast::FoldHasher};
use inkpot_proto::path::{FilePath, TenantName};
use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

/// A file of a tenant by its path. Cheap to clone. Ordered by tenant, then path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileKey {
    /// Whose it is.
    pub tenant: TenantName,
    /// Where it lies below the tenant's root.
    pub path: FilePath,
}

impl FileKey {
    /// Where the plain file lies in the data folder.
    #[must_use]
    pub fn plain_path(&self) -> String {
        format!("files/{}/{}", self.tenant, self.path)
    }
}

impl fmt::Display for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of tenant {}", self.path.as_str(), self.tenant)
    }
}

/// Names an inode: shard (16 bits), epoch (48 bits) and a counter (64 bits) that made it, so it is never used again,
/// also after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u128);

impl FileId {
    /// The `counter`-th id of an epoch of a shard.
    #[must_use]
    pub fn new(shard: u32, epoch: u64, counter: u64) -> Self {
        Self(u128::from(shard & 0xffff) << 112 | u128::from(epoch & 0xffff_ffff_ffff) << 64 | u128::from(counter))
    }

    /// As it stands in the extended attribute.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// From the extended attribute.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// The epoch that made it.
    #[must_use]
    pub fn epoch(self) -> u64 {
        (self.0 >> 64) as u64 & 0xffff_ffff_ffff
    }

    /// Which one of the epoch it is.
    #[must_use]
    pub fn counter(self) -> u64 {
        self.0 as u64
    }

    /// The shard that made it.
    #[must_use]
    pub fn shard(self) -> u32 {
        u32::try_from(self.0 >> 112).unwrap_or(u32::MAX)
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The generation number that goes with a file id: shard (8 bits), epoch (26 bits) and counter (30 bits), never used
/// again in a data folder. `salt`, a number of the folder, makes it another one in every folder, so that a reader who comes
/// back to a folder that was made anew is told. Never 0.
#[must_use]
pub fn generation(id: FileId, salt: u64) -> u64 {
    const EPOCHS: u64 = (1 << 26) - 1;
    const COUNTERS: u64 = (1 << 30) - 1;
    let number = u64::from(id.shard() & 0xff) << 56 | (id.epoch() & EPOCHS) << 30 | (id.counter() & COUNTERS);
    // The salt itself would become 0; no id has all of these bits, as no folder lives for so many epochs.
    if number == salt { u64::MAX ^ salt } else { number ^ salt }
}

/// A table of the hot path. Its hash is quicker than the standard one and seeded at random, which is enough where a bound
/// keeps the table small (producers of a file) or the keys are ours; paths stay with the standard one.
pub type FastMap<K, V> = HashMap<K, V, FastHash>;

/// Hash of a [`FastMap`]. Its seed is drawn like that of the standard one, from the system, where a simulation can pin it;
/// foldhash would take it from addresses, too, and the order in which a table gives its items with it.
#[derive(Clone, Debug)]
pub struct FastHash(u64);

impl Default for FastHash {
    fn default() -> Self {
        Self(RandomState::new().hash_one(0_u8))
    }
}

impl BuildHasher for FastHash {
    type Hasher = FoldHasher<'static>;

    fn build_hasher(&self) -> Self::Hasher {
        FoldHasher::with_seed(self.0, SharedSeed::global_fixed())
    }
}

/// Who writes, over reconnects.
pub type ProducerId = Arc<str>;

#[cfg(test)]
mod tests;
