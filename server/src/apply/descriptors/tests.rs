#![allow(clippy::unwrap_used)]

use super::*;
use inkpot_wal::fs::{
    Attributes, FileSystem,
    faulty::{FaultKind, FaultyFs, Op, When},
    memory::MemoryFs,
};
use proptest::prelude::*;
use rustix::io::Errno;
use std::collections::HashSet;

/// A file system that counts, with files `1` to `9`.
fn files() -> (FaultyFs, impl Fn(u128) -> Arc<dyn File>) {
    let fs = FaultyFs::over_memory(&MemoryFs::new());
    let opened: Vec<_> = (1..=9).map(|n| fs.create(&n.to_string(), Attributes::PRIVATE).unwrap()).collect();
    (fs, move |n| Arc::clone(&opened[usize::try_from(n).unwrap() - 1]))
}

/// Which of the files are open, without counting as a use.
fn open(descriptors: &Descriptors) -> Vec<u128> {
    let mut open: Vec<u128> = descriptors.entries.keys().map(|id| id.0).collect();
    open.sort_unstable();
    open
}

fn syncs(fs: &FaultyFs) -> u64 {
    fs.count(Op::SyncAll, "") + fs.count(Op::SyncData, "")
}

#[test]
fn least_recently_used_file_is_given_up() {
    let (_, file) = files();
    let mut descriptors = Descriptors::new(3, false);
    assert!(descriptors.is_empty());
    for n in 1..=3 {
        descriptors.insert(FileId(n), file(n)).unwrap();
    }
    assert!(descriptors.get(FileId(1)).is_some());
    descriptors.insert(FileId(4), file(4)).unwrap();
    assert_eq!(open(&descriptors), [1, 3, 4]);
    assert!(descriptors.get(FileId(2)).is_none());
    descriptors.insert(FileId(5), file(5)).unwrap();
    assert_eq!((open(&descriptors), descriptors.len(), descriptors.is_empty()), (vec![1, 4, 5], 3, false));
}

#[test]
fn descriptor_is_the_one_that_was_kept() {
    let (_, file) = files();
    let mut descriptors = Descriptors::new(3, false);
    let kept = file(1);
    descriptors.insert(FileId(1), Arc::clone(&kept)).unwrap();
    assert!(Arc::ptr_eq(&descriptors.get(FileId(1)).unwrap(), &kept));
}

#[test]
fn one_file_is_kept_at_least() {
    let (_, file) = files();
    let mut descriptors = Descriptors::new(0, false);
    descriptors.insert(FileId(1), file(1)).unwrap();
    descriptors.insert(FileId(2), file(2)).unwrap();
    assert_eq!(open(&descriptors), [2]);
}

#[test]
fn unsynced_file_is_synced_before_it_is_given_up() {
    let (fs, file) = files();
    let mut descriptors = Descriptors::new(1, false);
    descriptors.insert(FileId(1), file(1)).unwrap();
    descriptors.mark_unsynced(FileId(1));
    descriptors.insert(FileId(2), file(2)).unwrap();
    assert_eq!((fs.count(Op::SyncAll, "1"), syncs(&fs)), (1, 1));
    descriptors.insert(FileId(3), file(3)).unwrap();
    assert_eq!(syncs(&fs), 1, "a file without unsynced bytes needs no sync");
}

#[test]
fn file_that_a_sync_of_the_volume_covers_is_given_up_without_one() {
    let (fs, file) = files();
    let mut descriptors = Descriptors::new(1, true);
    descriptors.insert(FileId(1), file(1)).unwrap();
    descriptors.mark_unsynced(FileId(1));
    descriptors.insert(FileId(2), file(2)).unwrap();
    assert_eq!((open(&descriptors), syncs(&fs)), (vec![2], 0));
}

#[test]
fn after_a_checkpoint_nothing_has_to_be_synced() {
    let (fs, file) = files();
    let mut descriptors = Descriptors::new(2, false);
    for n in 1..=2 {
        descriptors.insert(FileId(n), file(n)).unwrap();
        descriptors.mark_unsynced(FileId(n));
    }
    descriptors.all_synced();
    descriptors.mark_unsynced(FileId(2));
    descriptors.mark_unsynced(FileId(7));
    descriptors.insert(FileId(3), file(3)).unwrap();
    assert_eq!(syncs(&fs), 0);
    descriptors.insert(FileId(4), file(4)).unwrap();
    assert_eq!((fs.count(Op::SyncAll, "2"), syncs(&fs)), (1, 1));
}

#[test]
fn failed_sync_is_told() {
    let (fs, file) = files();
    let mut descriptors = Descriptors::new(1, false);
    descriptors.insert(FileId(1), file(1)).unwrap();
    descriptors.mark_unsynced(FileId(1));
    fs.fail(Op::SyncAll, "1", When::Always, FaultKind::Errno(Errno::IO.raw_os_error()));
    let error = descriptors.insert(FileId(2), file(2)).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::IO.raw_os_error()));
}

#[test]
fn file_that_is_open_already_keeps_its_descriptor_and_what_is_known_of_it() {
    let (fs, file) = files();
    let mut descriptors = Descriptors::new(2, false);
    let first = file(1);
    descriptors.insert(FileId(1), Arc::clone(&first)).unwrap();
    descriptors.mark_unsynced(FileId(1));
    descriptors.insert(FileId(2), file(2)).unwrap();
    descriptors.insert(FileId(1), file(9)).unwrap();
    assert_eq!((open(&descriptors), syncs(&fs)), (vec![1, 2], 0));
    assert!(Arc::ptr_eq(&descriptors.get(FileId(1)).unwrap(), &first));
    descriptors.insert(FileId(3), file(3)).unwrap();
    assert_eq!((open(&descriptors), syncs(&fs)), (vec![1, 3], 0), "it was used last");
    descriptors.insert(FileId(4), file(4)).unwrap();
    assert_eq!((open(&descriptors), fs.count(Op::SyncAll, "1")), (vec![3, 4], 1));
}

#[test]
fn path_of_an_open_file_is_looked_at_now_and_then() {
    let (_, file) = files();
    let mut descriptors = Descriptors::new(2, false);
    descriptors.insert(FileId(1), file(1)).unwrap();
    let later = Instant::now() + LOOK_EVERY;
    assert!(descriptors.is_look_due(FileId(1), later));
    assert!(!descriptors.is_look_due(FileId(1), later + LOOK_EVERY / 2), "it was looked at");
    assert!(descriptors.is_look_due(FileId(1), later + LOOK_EVERY));
    assert!(!descriptors.is_look_due(FileId(2), later), "it is not open");
}

#[test]
fn removed_file_makes_room_and_is_not_synced() {
    let (fs, file) = files();
    let mut descriptors = Descriptors::new(2, false);
    for n in 1..=2 {
        descriptors.insert(FileId(n), file(n)).unwrap();
        descriptors.mark_unsynced(FileId(n));
    }
    descriptors.remove(FileId(1));
    descriptors.remove(FileId(1));
    descriptors.insert(FileId(3), file(3)).unwrap();
    assert_eq!((open(&descriptors), syncs(&fs)), (vec![2, 3], 0));
    assert!(descriptors.get(FileId(1)).is_none());
}

proptest! {
    #[test]
    fn cache_agrees_with_a_list_and_no_unsynced_file_is_closed_without_a_sync(
        capacity in 1..4usize, volume: bool, steps in prop::collection::vec((0..5u8, 1..=6u128), 0..60),
    ) {
        let (fs, file) = files();
        let mut descriptors = Descriptors::new(capacity, volume);
        // Least recently used first.
        let mut model: Vec<u128> = Vec::new();
        let mut unsynced = HashSet::new();
        let mut expected_syncs = 0;
        for (step, n) in steps {
            let known = model.iter().position(|other| *other == n);
            match step {
                0 | 1 => {
                    if step == 0 {
                        descriptors.insert(FileId(n), file(n)).unwrap();
                    } else {
                        prop_assert_eq!(descriptors.get(FileId(n)).is_some(), known.is_some());
                    }
                    known.map(|at| model.remove(at));
                    if known.is_some() || step == 0 {
                        model.push(n);
                    }
                    if model.len() > capacity && unsynced.remove(&model.remove(0)) {
                        expected_syncs += u64::from(!volume);
                    }
                }
                2 => {
                    descriptors.mark_unsynced(FileId(n));
                    if known.is_some() {
                        unsynced.insert(n);
                    }
                }
                3 => {
                    descriptors.remove(FileId(n));
                    known.map(|at| model.remove(at));
                    unsynced.remove(&n);
                }
                _ if n == 1 => {
                    descriptors.all_synced();
                    unsynced.clear();
                }
                _ => {}
            }
            let mut sorted = model.clone();
            sorted.sort_unstable();
            prop_assert_eq!((open(&descriptors), syncs(&fs)), (sorted, expected_syncs));
            prop_assert_eq!(descriptors.by_use.values().map(|id| id.0).collect::<Vec<_>>(), model.clone());
        }
    }
}
