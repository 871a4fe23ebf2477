//! What is found after the machine stopped.

use std::collections::BTreeSet;

use super::{content, names, open, put};
use crate::fs::{
    Access, Attributes, Existing, FileSystem,
    memory::{Loss, MemoryFs},
};

/// Enough seeds that each outcome with a probability of a few percent is seen.
pub(super) const SEEDS: std::ops::Range<u64> = 0..400;
pub(super) const LOSSES_OF_POWER: [Loss; 4] = [Loss::Nothing, Loss::Prefix, Loss::Subset, Loss::Torn];

pub(super) fn with_dirs(dirs: &[&str]) -> MemoryFs {
    let fs = MemoryFs::new();
    dirs.iter().for_each(|dir| fs.create_dir(dir, Attributes::PRIVATE_DIR).unwrap());
    sync_volume(&fs);
    fs
}

pub(super) fn sync_volume(fs: &MemoryFs) {
    fs.volume_sync().unwrap().unwrap().sync().unwrap();
}

/// All contents of a file that are found after a loss of this kind.
pub(super) fn outcomes(fs: &MemoryFs, how: Loss, path: &str) -> BTreeSet<Option<Vec<u8>>> {
    SEEDS.map(|seed| content(&fs.power_loss(how, seed), path)).collect()
}

/// Whatever the loss of power, this is what is found.
pub(super) fn certain(fs: &MemoryFs, path: &str) -> Option<Vec<u8>> {
    let all: BTreeSet<_> = LOSSES_OF_POWER.into_iter().flat_map(|how| outcomes(fs, how, path)).collect();
    assert_eq!(all.len(), 1, "{path} is not certain");
    all.into_iter().next().unwrap()
}

pub(super) fn some(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(bytes.to_vec())
}

#[test]
fn synced_file_without_synced_directory_is_lost() {
    let fs = MemoryFs::new();
    put(&fs, "a", b"abc").sync_all().unwrap();
    assert_eq!(content(&fs.power_loss(Loss::Nothing, 0), "a"), None);
    assert_eq!(outcomes(&fs, Loss::Subset, "a"), BTreeSet::from([None, some(b"abc")]));
    fs.sync_dir("").unwrap();
    assert_eq!(certain(&fs, "a"), some(b"abc"));
}

#[test]
fn synced_directory_keeps_the_name_but_not_the_data() {
    let fs = MemoryFs::new();
    let file = put(&fs, "a", b"abc");
    fs.sync_dir("").unwrap();
    assert_eq!(content(&fs.power_loss(Loss::Nothing, 0), "a"), some(b""));
    file.sync_data().unwrap();
    assert_eq!(certain(&fs, "a"), some(b"abc"));
}

#[test]
fn file_is_lost_with_its_new_directory_until_the_parent_is_synced() {
    let fs = MemoryFs::new();
    fs.create_dir("one", Attributes::PRIVATE_DIR).unwrap();
    fs.create_dir("one/two", Attributes::PRIVATE_DIR).unwrap();
    put(&fs, "one/two/a", b"abc").sync_all().unwrap();
    fs.sync_dir("one/two").unwrap();
    assert_eq!(names(&fs.power_loss(Loss::Nothing, 0), ""), [""; 0]);
    fs.sync_dir("").unwrap();
    assert_eq!(names(&fs.power_loss(Loss::Nothing, 0), "one"), [""; 0]);
    fs.sync_dir("one").unwrap();
    assert_eq!(certain(&fs, "one/two/a"), some(b"abc"));
}

#[test]
fn rename_is_atomic_and_kept_by_a_sync_of_either_directory() {
    for synced in ["one", "two"] {
        let fs = with_dirs(&["one", "two"]);
        put(&fs, "one/a", b"abc");
        sync_volume(&fs);
        fs.rename("one/a", "two/b", Existing::Keep).unwrap();
        for how in LOSSES_OF_POWER {
            let found: BTreeSet<_> =
                SEEDS.map(|seed| fs.power_loss(how, seed)).map(|fs| (names(&fs, "one"), names(&fs, "two"))).collect();
            let before = (vec!["a".to_owned()], vec![]);
            let after = (vec![], vec!["b".to_owned()]);
            let possible =
                if how == Loss::Nothing { BTreeSet::from([before]) } else { BTreeSet::from([before, after]) };
            assert_eq!(found, possible);
        }
        fs.sync_dir(synced).unwrap();
        assert_eq!((certain(&fs, "one/a"), certain(&fs, "two/b")), (None, some(b"abc")));
    }
}

#[test]
fn sync_of_the_target_directory_keeps_a_new_file_that_was_moved_there() {
    let fs = with_dirs(&["staging", "files"]);
    let file = put(&fs, "staging/1", b"abc");
    file.set_file_id(&[1; 16]).unwrap();
    file.sync_data().unwrap();
    fs.rename("staging/1", "files/a", Existing::Keep).unwrap();
    fs.sync_dir("files").unwrap();
    assert_eq!((certain(&fs, "files/a"), certain(&fs, "staging/1")), (some(b"abc"), None));
    let found = fs.power_loss(Loss::Nothing, 0);
    assert_eq!(found.open("files/a", Access::Read).unwrap().file_id().unwrap(), Some([1; 16]));
}

#[test]
fn replaced_file_is_found_old_or_new_and_never_missing() {
    let fs = MemoryFs::new();
    put(&fs, "a", b"old");
    sync_volume(&fs);
    put(&fs, "tmp", b"new").sync_data().unwrap();
    fs.rename("tmp", "a", Existing::Replace).unwrap();
    for how in [Loss::Prefix, Loss::Subset, Loss::Torn] {
        assert_eq!(outcomes(&fs, how, "a"), BTreeSet::from([some(b"old"), some(b"new")]), "{how:?}");
    }
    fs.sync_dir("").unwrap();
    assert_eq!(certain(&fs, "a"), some(b"new"));
}

#[test]
fn file_replaced_before_its_data_was_synced_may_be_empty() {
    let fs = MemoryFs::new();
    put(&fs, "a", b"old");
    sync_volume(&fs);
    put(&fs, "tmp", b"new");
    fs.rename("tmp", "a", Existing::Replace).unwrap();
    fs.sync_dir("").unwrap();
    assert_eq!(outcomes(&fs, Loss::Subset, "a"), BTreeSet::from([some(b""), some(b"new")]));
}

#[test]
fn removed_file_comes_back_until_the_directory_is_synced() {
    let fs = MemoryFs::new();
    put(&fs, "a", b"abc");
    sync_volume(&fs);
    fs.remove_file("a").unwrap();
    assert_eq!(content(&fs.power_loss(Loss::Nothing, 0), "a"), some(b"abc"));
    fs.sync_dir("").unwrap();
    assert_eq!(certain(&fs, "a"), None);
}

#[test]
fn removed_directory_takes_what_was_moved_out_of_it_along_to_the_disk() {
    let fs = with_dirs(&["old", "new"]);
    put(&fs, "old/a", b"abc");
    sync_volume(&fs);
    fs.rename("old/a", "new/a", Existing::Keep).unwrap();
    fs.remove_dir("old").unwrap();
    fs.sync_dir("").unwrap();
    assert_eq!(certain(&fs, "new/a"), some(b"abc"));
    assert_eq!(names(&fs.power_loss(Loss::Nothing, 0), ""), ["new"]);
}

#[test]
fn replaced_directory_takes_what_was_moved_out_of_it_along_to_the_disk() {
    let fs = with_dirs(&["one", "one/old", "two", "new"]);
    put(&fs, "one/old/a", b"abc");
    sync_volume(&fs);
    fs.rename("one/old/a", "two/a", Existing::Keep).unwrap();
    fs.rename("new", "one/old", Existing::Replace).unwrap();
    fs.sync_dir("one").unwrap();
    assert_eq!(certain(&fs, "two/a"), some(b"abc"));
    assert_eq!(names(&fs.power_loss(Loss::Nothing, 0), ""), ["one", "two"]);
}

#[test]
fn directory_is_not_found_removed_with_something_still_in_it() {
    let fs = with_dirs(&["old", "new"]);
    put(&fs, "old/a", b"abc");
    sync_volume(&fs);
    fs.rename("old/a", "new/a", Existing::Keep).unwrap();
    fs.remove_dir("old").unwrap();
    for seed in SEEDS {
        let found = fs.power_loss(Loss::Subset, seed);
        let (old, new) = (content(&found, "old/a"), content(&found, "new/a"));
        assert!(old.is_some() != new.is_some(), "{seed}");
    }
}

#[test]
fn nothing_is_kept_of_what_no_name_leads_to() {
    let fs = MemoryFs::new();
    fs.create_dir("dir", Attributes::PRIVATE_DIR).unwrap();
    put(&fs, "dir/a", b"abc").sync_all().unwrap();
    fs.sync_dir("dir").unwrap();
    assert_eq!(fs.power_loss(Loss::Nothing, 0).inodes(), (1, 1));
    assert_eq!(fs.power_loss(Loss::All, 0).inodes(), (3, 3));
}

#[test]
fn prefix_never_leaves_a_hole() {
    let fs = MemoryFs::new();
    put(&fs, "a", b"");
    put(&fs, "b", b"");
    sync_volume(&fs);
    let (a, b) = (open(&fs, "a").unwrap(), open(&fs, "b").unwrap());
    for number in 0..4_u8 {
        a.write_at(&[&[number]], number.into()).unwrap();
        b.write_at(&[&[number]], number.into()).unwrap();
    }
    let found: BTreeSet<_> = SEEDS
        .map(|seed| fs.power_loss(Loss::Prefix, seed))
        .map(|fs| (content(&fs, "a").unwrap(), content(&fs, "b").unwrap()))
        .collect();
    assert_eq!(found.len(), 9);
    for (a, b) in found {
        assert!(a.len() == b.len() || a.len() == b.len() + 1);
        assert!([0, 1, 2, 3].starts_with(&a) && [0, 1, 2, 3].starts_with(&b));
    }
}

#[test]
fn subset_may_leave_zeros_where_an_earlier_write_was_lost() {
    let fs = MemoryFs::new();
    let file = put(&fs, "a", b"");
    sync_volume(&fs);
    file.write_at(&[b"one"], 0).unwrap();
    file.write_at(&[b"two"], 3).unwrap();
    let possible = [b"".as_slice(), b"one", b"\0\0\0two", b"onetwo"].map(some);
    assert_eq!(outcomes(&fs, Loss::Subset, "a"), BTreeSet::from(possible));
}

#[test]
fn later_write_to_a_synced_file_leaves_the_synced_bytes() {
    let fs = MemoryFs::new();
    let file = put(&fs, "a", b"synced");
    fs.sync_dir("").unwrap();
    file.sync_data().unwrap();
    file.write_at(&[b"tail"], 6).unwrap();
    for how in LOSSES_OF_POWER {
        assert!(outcomes(&fs, how, "a").iter().flatten().all(|found| found.starts_with(b"synced")), "{how:?}");
    }
}

#[test]
fn torn_write_keeps_sectors_of_the_file_each_for_itself() {
    let fs = MemoryFs::new();
    let file = put(&fs, "a", &[1; 2000]);
    sync_volume(&fs);
    file.write_at(&[&[2; 1500]], 100).unwrap();
    let (mut torn, mut within_a_sector) = (BTreeSet::new(), 0);
    for seed in SEEDS {
        let found = content(&fs.power_loss(Loss::Torn, seed), "a").unwrap();
        assert_eq!(found.len(), 2000);
        assert!(found[..100].iter().chain(&found[1600..]).all(|byte| *byte == 1));
        let sectors = [&found[100..512], &found[512..1024], &found[1024..1536], &found[1536..1600]];
        if sectors.iter().all(|sector| sector.iter().all(|byte| *byte == sector[0])) {
            torn.insert(sectors.map(|sector| sector[0]));
        } else {
            within_a_sector += 1;
        }
    }
    assert_eq!(torn.len(), 16, "every choice of sectors is seen");
    assert!((1..SEEDS.end / 4).contains(&within_a_sector), "{within_a_sector} torn within a sector");
}

#[test]
fn torn_append_may_tell_of_bytes_that_were_lost_or_hide_bytes_that_were_written() {
    let fs = MemoryFs::new();
    let file = put(&fs, "a", &[1; 512]);
    sync_volume(&fs);
    file.write_at(&[&[2; 1024]], 512).unwrap();
    let found: Vec<_> = outcomes(&fs, Loss::Torn, "a").into_iter().flatten().collect();
    assert!(found.iter().all(|found| found[..512] == [1; 512] && (512..=1536).contains(&found.len())));
    assert!(found.iter().any(|found| found.len() == 1536 && found[512..].iter().all(|byte| *byte == 0)));
    assert!(found.iter().any(|found| found.len() == 1536 && found[512..1024] == [0; 512] && found[1024..] == [2; 512]));
    assert!(found.iter().any(|found| (513..1536).contains(&found.len())));
    assert!(found.iter().any(|found| found.len() == 512));
    assert!(found.iter().any(|found| found[512..] == [2; 1024]));
}

#[test]
fn nothing_is_invented_by_any_loss() {
    let fs = MemoryFs::new();
    let file = put(&fs, "a", &[1; 700]);
    file.set_len(300).unwrap();
    file.write_at(&[&[2; 900]], 250).unwrap();
    fs.sync_dir("").unwrap();
    for how in Loss::EVERY {
        for found in outcomes(&fs, how, "a").into_iter().flatten() {
            assert!(found.len() <= 1150 && found.iter().all(|byte| [0, 1, 2].contains(byte)), "{how:?}");
        }
    }
}

#[test]
fn set_len_waits_for_a_sync() {
    let fs = MemoryFs::new();
    let file = put(&fs, "a", b"abcdef");
    sync_volume(&fs);
    file.set_len(2).unwrap();
    assert_eq!(outcomes(&fs, Loss::Subset, "a"), BTreeSet::from([some(b"abcdef"), some(b"ab")]));
    file.sync_data().unwrap();
    assert_eq!(certain(&fs, "a"), some(b"ab"));
}

#[test]
fn file_id_is_durable_with_the_name_or_by_sync_all_but_not_by_sync_data() {
    let fs = MemoryFs::new();
    let file = put(&fs, "a", b"");
    let found_id = |fs: &MemoryFs| open(&fs.power_loss(Loss::Nothing, 0), "a").unwrap().file_id().unwrap();
    file.set_file_id(&[1; 16]).unwrap();
    fs.sync_dir("").unwrap();
    assert_eq!(found_id(&fs), Some([1; 16]));
    file.set_file_id(&[2; 16]).unwrap();
    file.sync_data().unwrap();
    fs.sync_dir("").unwrap();
    assert_eq!(found_id(&fs), Some([1; 16]));
    file.sync_all().unwrap();
    assert_eq!(found_id(&fs), Some([2; 16]));
}

#[test]
fn file_that_was_moved_into_place_has_the_id_that_it_had_then() {
    let fs = with_dirs(&["staging"]);
    put(&fs, "staging/1", b"").set_file_id(&[1; 16]).unwrap();
    fs.rename("staging/1", "a", Existing::Keep).unwrap();
    let mut kept = 0;
    for (how, seed) in LOSSES_OF_POWER.into_iter().flat_map(|how| SEEDS.map(move |seed| (how, seed))) {
        let found = fs.power_loss(how, seed);
        if let Ok(file) = open(&found, "a") {
            assert_eq!(file.file_id().unwrap(), Some([1; 16]), "{how:?} {seed}");
            kept += 1;
        }
    }
    assert!(kept > 0);
}

#[test]
fn time_waits_for_sync_all_and_may_be_written_back_before() {
    let fs = MemoryFs::new();
    let file = put(&fs, "a", b"abc");
    sync_volume(&fs);
    let before = file.metadata().unwrap().modified;
    file.write_at(&[b"x"], 0).unwrap();
    file.sync_data().unwrap();
    let after = file.metadata().unwrap().modified;
    let times =
        |how| -> BTreeSet<_> { SEEDS.map(|seed| fs.power_loss(how, seed).metadata("a").unwrap().modified).collect() };
    assert_eq!(times(Loss::Nothing), BTreeSet::from([before]));
    assert_eq!(times(Loss::Subset), BTreeSet::from([before, after]));
    file.sync_all().unwrap();
    assert_eq!(times(Loss::Subset), BTreeSet::from([after]));
}

#[test]
fn volume_sync_keeps_everything() {
    let fs = MemoryFs::new();
    fs.create_dir("dir", Attributes::PRIVATE_DIR).unwrap();
    put(&fs, "dir/tmp", b"abc").set_file_id(&[1; 16]).unwrap();
    fs.rename("dir/tmp", "dir/a", Existing::Keep).unwrap();
    put(&fs, "gone", b"");
    fs.remove_file("gone").unwrap();
    assert!(fs.unsynced_operations() > 0);
    sync_volume(&fs);
    assert_eq!(fs.unsynced_operations(), 0);
    assert_eq!((certain(&fs, "dir/a"), certain(&fs, "gone")), (some(b"abc"), None));
}

#[test]
fn death_of_the_process_loses_nothing_and_syncs_nothing() {
    let fs = MemoryFs::new();
    put(&fs, "a", b"abc");
    let after_kill = fs.power_loss(Loss::All, 0);
    assert_eq!(content(&after_kill, "a"), some(b"abc"));
    assert_eq!(after_kill.unsynced_operations(), fs.unsynced_operations());
    assert_eq!(content(&after_kill.power_loss(Loss::Nothing, 0), "a"), None);
    sync_volume(&after_kill);
    assert_eq!(certain(&after_kill, "a"), some(b"abc"));
}

#[test]
fn data_whose_writing_back_failed_is_seen_until_power_is_lost() {
    let fs = MemoryFs::new();
    let file = put(&fs, "a", b"abc");
    sync_volume(&fs);
    file.write_at(&[b"def"], 3).unwrap();
    fs.drop_unsynced("a").unwrap();
    file.sync_all().unwrap();
    sync_volume(&fs);
    assert_eq!(content(&fs, "a"), some(b"abcdef"));
    assert_eq!(content(&fs.power_loss(Loss::All, 0), "a"), some(b"abcdef"));
    assert_eq!(certain(&fs, "a"), some(b"abc"));
    file.write_at(&[b"ghi"], 6).unwrap();
    file.sync_data().unwrap();
    assert_eq!(certain(&fs, "a"), some(b"abc\0\0\0ghi"));
}

#[test]
fn handles_of_the_dead_machine_change_nothing() {
    let fs = MemoryFs::new();
    let file = put(&fs, "a", b"abc");
    sync_volume(&fs);
    for how in Loss::EVERY {
        let found = fs.power_loss(how, 0);
        file.write_at(&[b"zombie"], 0).unwrap();
        sync_volume(&fs);
        fs.rename("a", "b", Existing::Keep).unwrap();
        assert_eq!((content(&found, "a"), names(&found, "")), (some(b"abc"), vec!["a".to_owned()]), "{how:?}");
        fs.rename("b", "a", Existing::Keep).unwrap();
        file.set_len(0).unwrap();
        file.write_at(&[b"abc"], 0).unwrap();
        sync_volume(&fs);
    }
}

#[test]
fn machine_goes_on_after_a_loss_that_was_only_imagined() {
    let fs = MemoryFs::new();
    put(&fs, "a", b"abc");
    assert_eq!(content(&fs.power_loss(Loss::Nothing, 0), "a"), None);
    sync_volume(&fs);
    assert_eq!(certain(&fs, "a"), some(b"abc"));
}

#[test]
fn inode_numbers_are_not_used_again_after_a_loss() {
    let fs = MemoryFs::new();
    let lost = put(&fs, "a", b"").metadata().unwrap().inode;
    let found = fs.power_loss(Loss::Nothing, 0);
    assert!(put(&found, "b", b"").metadata().unwrap().inode > lost);
}

#[test]
fn same_seed_finds_the_same() {
    let fs = with_dirs(&["dir"]);
    for number in 0..20_u8 {
        put(&fs, &format!("dir/{number}"), &[number; 1000]);
    }
    fs.rename("dir/1", "one", Existing::Keep).unwrap();
    let found = |how, seed| {
        let fs = fs.power_loss(how, seed);
        let files: Vec<_> =
            names(&fs, "dir").into_iter().map(|name| (content(&fs, &format!("dir/{name}")), name)).collect();
        (files, content(&fs, "one"))
    };
    for how in Loss::EVERY {
        assert_eq!(found(how, 7), found(how, 7), "{how:?}");
    }
    assert_ne!(found(Loss::Torn, 7), found(Loss::Torn, 8));
}

#[test]
fn stopped_machine_does_nothing_more() {
    let fs = MemoryFs::new();
    let file = put(&fs, "a", b"abc");
    sync_volume(&fs);
    fs.fail_from(fs.operations() + 1);
    file.write_at(&[b"d"], 3).unwrap();
    assert!(file.sync_data().is_err());
    assert!(file.sync_data().is_err() && file.write_at(&[b"x"], 0).is_err() && file.set_len(0).is_err());
    assert!(file.read_at(&mut [0], 0).is_err() && file.metadata().is_err() && file.file_id().is_err());
    assert!(
        open(&fs, "a").is_err() && fs.metadata("a").is_err() && fs.read_dir("").is_err() && fs.free_bytes().is_err()
    );
    assert!(fs.create("b", Attributes::PRIVATE).is_err() && fs.remove_file("a").is_err() && fs.volume_sync().is_err());
    assert_eq!(outcomes(&fs, Loss::Subset, "a"), BTreeSet::from([some(b"abc"), some(b"abcd")]));
    assert_eq!(outcomes(&fs, Loss::All, "a"), BTreeSet::from([some(b"abcd")]));
    let found = fs.power_loss(Loss::Nothing, 0);
    assert_eq!(found.operations(), 0);
    put(&found, "b", b"alive").sync_all().unwrap();
}

#[test]
fn write_at_which_the_machine_stopped_is_found_in_part() {
    let fs = MemoryFs::new();
    let file = put(&fs, "a", b"abc");
    sync_volume(&fs);
    fs.fail_from(fs.operations());
    assert!(file.write_at(&[b"12", b"34"], 3).is_err());
    assert!(file.write_at(&[b"never"], 0).is_err());
    let prefixes: BTreeSet<_> = [b"abc".as_slice(), b"abc1", b"abc12", b"abc123", b"abc1234"].map(some).into();
    for how in [Loss::Prefix, Loss::Subset, Loss::All] {
        assert_eq!(outcomes(&fs, how, "a"), prefixes, "{how:?}");
    }
    assert_eq!(outcomes(&fs, Loss::Nothing, "a"), BTreeSet::from([some(b"abc")]));
    let after_kill = fs.power_loss(Loss::All, 3);
    let seen = content(&after_kill, "a");
    sync_volume(&after_kill);
    assert_eq!(certain(&after_kill, "a"), seen);
}

#[test]
fn every_stop_of_a_careful_replacement_leaves_old_or_new() {
    let script = |fs: &MemoryFs| -> std::io::Result<()> {
        let file = fs.create("tmp", Attributes::PRIVATE)?;
        file.write_at(&[&[2; 600]], 0)?;
        file.sync_data()?;
        fs.rename("tmp", "a", Existing::Replace)?;
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
    assert_eq!(stops, 5);
}
