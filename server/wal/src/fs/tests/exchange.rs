//! What is found of two files that changed places after the machine stopped.

use std::collections::BTreeSet;

use super::{
    content, names, open,
    power_loss::{LOSSES_OF_POWER, SEEDS, certain, outcomes, some, sync_volume, with_dirs},
    put,
};
use crate::fs::{
    Attributes, Existing, FileSystem,
    memory::{Loss, MemoryFs},
};

/// `one/a` with `A` and `two/b` with `B`, on the disk.
fn two_files() -> MemoryFs {
    let fs = with_dirs(&["one", "two"]);
    put(&fs, "one/a", b"A");
    put(&fs, "two/b", b"B");
    sync_volume(&fs);
    fs
}

/// What the two names lead to.
fn both(fs: &MemoryFs) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    (content(fs, "one/a"), content(fs, "two/b"))
}

#[test]
fn exchange_is_atomic_and_kept_by_a_sync_of_either_directory() {
    for synced in ["one", "two"] {
        let fs = two_files();
        fs.rename("one/a", "two/b", Existing::Exchange).unwrap();
        for how in LOSSES_OF_POWER {
            let found: BTreeSet<_> = SEEDS.map(|seed| both(&fs.power_loss(how, seed))).collect();
            let (before, after) = ((some(b"A"), some(b"B")), (some(b"B"), some(b"A")));
            let possible =
                if how == Loss::Nothing { BTreeSet::from([before]) } else { BTreeSet::from([before, after]) };
            assert_eq!(found, possible, "{how:?}");
        }
        fs.sync_dir(synced).unwrap();
        assert_eq!((certain(&fs, "one/a"), certain(&fs, "two/b")), (some(b"B"), some(b"A")));
    }
}

#[test]
fn exchange_there_and_back_never_shows_one_file_twice() {
    let fs = two_files();
    fs.rename("one/a", "two/b", Existing::Exchange).unwrap();
    fs.rename("two/b", "one/a", Existing::Exchange).unwrap();
    for how in Loss::EVERY {
        for seed in SEEDS {
            let found = both(&fs.power_loss(how, seed));
            assert!(found == (some(b"A"), some(b"B")) || found == (some(b"B"), some(b"A")), "{how:?}: {found:?}");
        }
    }
    fs.sync_dir("two").unwrap();
    assert_eq!((certain(&fs, "one/a"), certain(&fs, "two/b")), (some(b"A"), some(b"B")));
}

#[test]
fn new_file_that_was_exchanged_for_an_old_one_is_found_whole_with_its_id() {
    let fs = with_dirs(&["staging", "files"]);
    put(&fs, "files/a", b"old").set_file_id(&[1; 16]).unwrap();
    sync_volume(&fs);
    let new = put(&fs, "staging/1", b"new");
    new.set_file_id(&[2; 16]).unwrap();
    new.sync_data().unwrap();
    fs.rename("staging/1", "files/a", Existing::Exchange).unwrap();
    for (how, seed) in LOSSES_OF_POWER.into_iter().flat_map(|how| SEEDS.map(move |seed| (how, seed))) {
        let found = fs.power_loss(how, seed);
        let id = open(&found, "files/a").unwrap().file_id().unwrap();
        match content(&found, "files/a").unwrap().as_slice() {
            b"old" => assert_eq!(id, Some([1; 16])),
            b"new" => assert_eq!(id, Some([2; 16])),
            other => panic!("{other:?}"),
        }
    }
    fs.sync_dir("files").unwrap();
    assert_eq!((certain(&fs, "files/a"), certain(&fs, "staging/1")), (some(b"new"), some(b"old")));
    assert_eq!(open(&fs.power_loss(Loss::Nothing, 0), "files/a").unwrap().file_id().unwrap(), Some([2; 16]));
}

#[test]
fn what_follows_an_exchange_is_not_found_without_it() {
    let fs = two_files();
    fs.rename("one/a", "two/b", Existing::Exchange).unwrap();
    fs.remove_file("one/a").unwrap();
    let possible = BTreeSet::from([(some(b"A"), some(b"B")), (some(b"B"), some(b"A")), (None, some(b"A"))]);
    for how in [Loss::Prefix, Loss::Subset, Loss::Torn] {
        let found: BTreeSet<_> = SEEDS.map(|seed| both(&fs.power_loss(how, seed))).collect();
        assert_eq!(found, possible, "{how:?}");
    }
    fs.sync_dir("one").unwrap();
    assert_eq!((certain(&fs, "one/a"), certain(&fs, "two/b")), (None, some(b"A")));
}

#[test]
fn sync_after_an_exchange_takes_along_what_it_builds_on_and_no_more() {
    let fs = with_dirs(&["one", "two", "three"]);
    put(&fs, "three/a", b"A");
    put(&fs, "two/b", b"B");
    put(&fs, "two/c", b"C");
    sync_volume(&fs);
    fs.rename("three/a", "one/a", Existing::Keep).unwrap();
    fs.rename("one/a", "two/b", Existing::Exchange).unwrap();
    fs.create_dir("three/later", Attributes::PRIVATE_DIR).unwrap();
    fs.sync_dir("one").unwrap();
    assert_eq!((certain(&fs, "one/a"), certain(&fs, "two/b"), certain(&fs, "three/a")), (some(b"B"), some(b"A"), None));
    assert_eq!(names(&fs.power_loss(Loss::Nothing, 0), "three"), [""; 0]);
}

#[test]
fn every_stop_of_a_careful_exchange_leaves_old_or_new() {
    let script = |fs: &MemoryFs| -> std::io::Result<()> {
        let file = fs.create("tmp", Attributes::PRIVATE)?;
        file.write_at(&[&[2; 600]], 0)?;
        file.sync_data()?;
        fs.rename("tmp", "a", Existing::Exchange)?;
        fs.sync_dir("")?;
        fs.remove_file("tmp")?;
        fs.sync_dir("")
    };
    let mut stops = 0;
    loop {
        let fs = MemoryFs::new();
        put(&fs, "a", b"old");
        sync_volume(&fs);
        fs.fail_from(fs.operations() + stops);
        let done = script(&fs).is_ok();
        for how in Loss::EVERY {
            for found in outcomes(&fs, how, "a") {
                assert!(found == some(&[2; 600]) || (!done && found == some(b"old")), "{how:?} at {stops}");
            }
        }
        if done {
            break;
        }
        stops += 1;
    }
    assert_eq!(stops, 7);
}

#[test]
fn exchanged_files_leave_nothing_behind_in_memory() {
    let fs = MemoryFs::new();
    put(&fs, "a", b"0");
    for number in 0..50 {
        put(&fs, "tmp", b"1");
        fs.rename("tmp", "a", Existing::Exchange).unwrap();
        if number % 3 == 0 {
            fs.sync_dir("").unwrap();
        }
        fs.remove_file("tmp").unwrap();
    }
    fs.remove_file("a").unwrap();
    fs.sync_dir("").unwrap();
    assert_eq!((fs.inodes(), fs.unsynced_operations()), ((1, 1), 0));
}
