#![allow(clippy::unwrap_used)]

use super::*;
use crate::shard::testing::key;
use proptest::prelude::*;
use std::collections::HashSet;

#[test]
fn id_shows_shard_epoch_and_counter() {
    let id = FileId::new(0x12, 0x345, 0x6789);
    assert_eq!(id.to_string(), "00120000000003450000000000006789");
    assert_eq!(id.to_bytes(), [0, 0x12, 0, 0, 0, 0, 3, 0x45, 0, 0, 0, 0, 0, 0, 0x67, 0x89]);
}

#[test]
fn file_is_named_by_tenant_and_path() {
    let key = key("logs/a.log");
    assert_eq!(key.plain_path(), "files/t/logs/a.log");
    assert_eq!(key.to_string(), "\"logs/a.log\" of tenant t");
}

#[test]
fn keys_are_ordered_by_tenant_and_then_by_the_bytes_of_the_path() {
    let key = |tenant: &str, path: &str| FileKey {
        tenant: TenantName::parse(tenant).unwrap(),
        path: FilePath::parse(path).unwrap(),
    };
    let ordered = [key("a", "z"), key("b", "a"), key("b", "a-"), key("b", "a/b"), key("b", "a0"), key("b", "é")];
    assert!(ordered.is_sorted());
}

#[test]
fn generations_of_shards_epochs_and_counters_differ_and_are_never_0() {
    let numbers = [1, 2, 3, (1 << 26) - 1];
    let mut seen = HashSet::from([0]);
    for shard in [0, 1, 255] {
        for epoch in numbers {
            for counter in numbers {
                let id = FileId::new(shard, epoch, counter);
                assert!(seen.insert(generation(id, 0x1234_5678_9abc_def0)), "{shard} {epoch} {counter}");
            }
        }
    }
}

#[test]
fn hashes_of_two_tables_differ() {
    let (one, other) = (FastHash::default(), FastHash::default());
    assert_eq!(one.hash_one(7), one.clone().hash_one(7));
    assert_ne!(one.hash_one(7), other.hash_one(7), "whoever knows the code could choose keys that collide");
}

proptest! {
    #[test]
    fn ids_differ_when_anything_about_them_does(
        one in (0..1u32 << 16, 0..1u64 << 48, any::<u64>()), other in (0..1u32 << 16, 0..1u64 << 48, any::<u64>()),
    ) {
        let id = |(shard, epoch, counter)| FileId::new(shard, epoch, counter);
        prop_assert_eq!(one == other, id(one) == id(other));
        prop_assert_eq!((id(one).shard(), id(one).epoch(), id(one).counter()), one);
        prop_assert_eq!(FileId::from_bytes(id(one).to_bytes()), id(one));
        // In one shard later ids are larger.
        prop_assert_eq!(id(one).cmp(&id(other)), one.cmp(&other));
    }
}
