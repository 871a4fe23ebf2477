//! Which shard owns a file. A pure function: nobody looks it up, and it never changes for a data folder.

use inkpot_proto::path::{FilePath, TenantName};

/// The shard of a file, in `0..shards`: FNV-1a (64 bit, offset basis and prime as published) over tenant, a zero byte
/// and path, folded to spread the high bits.
#[must_use]
pub fn shard_of(tenant: &TenantName, path: &FilePath, shards: u32) -> u32 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let bytes = tenant.as_str().bytes().chain([0]).chain(path.as_str().bytes());
    let hash = bytes.fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    let folded = hash ^ (hash >> 32);
    u32::try_from(folded % u64::from(shards.max(1))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn shard_of_a_file_never_changes() {
        let shard = |tenant, path| shard_of(&TenantName::parse(tenant).unwrap(), &FilePath::parse(path).unwrap(), 4);
        let shards = [shard("default", "a"), shard("default", "logs/app.log"), shard("other", "logs/app.log")];
        assert_eq!(shards, [1, 0, 0], "an existing data folder would not find its files");
    }

    #[test]
    fn files_spread_evenly() {
        let tenant = TenantName::parse("default").unwrap();
        let mut counts = [0; 4];
        for n in 0..10_000 {
            counts[shard_of(&tenant, &FilePath::parse(&format!("logs/{n}.log")).unwrap(), 4) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (2_300..2_700).contains(count)), "{counts:?}");
    }
}
