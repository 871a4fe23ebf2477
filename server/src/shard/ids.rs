//! Names of things that are never used twice.

use inkpot_proto::path::{FilePath, TenantName};
use std::{collections::HashMap, fmt, sync::Arc};

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

/// The generation number that goes with a new file: shard (8 bits), epoch (28 bits) and counter (28 bits); never 0,
/// and never used again.
#[must_use]
pub fn generation(shard: u32, epoch: u64, counter: u64) -> u64 {
    const PART: u64 = (1 << 28) - 1;
    u64::from(shard & 0xff) << 56 | (epoch & PART) << 28 | (counter & PART)
}

/// A table of the hot path. Its hash is quicker than the standard one and seeded at random, which is enough where a bound
/// keeps the table small (producers of a file) or the keys are ours; paths stay with the standard one.
pub type FastMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Who writes, over reconnects.
pub type ProducerId = Arc<str>;

#[cfg(test)]
mod tests;
