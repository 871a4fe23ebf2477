//! Capacity, counting, and the foreign hand.

use rustix::io::Errno;

use super::{content, errno, names, open, put};
use crate::fs::{
    Attributes, Existing, FileSystem,
    memory::{Loss, MemoryFs},
};

#[test]
fn full_volume_takes_what_fits_and_refuses() {
    let fs = MemoryFs::with_capacity(10);
    let file = put(&fs, "a", b"0123456");
    assert_eq!(errno(file.write_at(&[b"78", b"9ab"], 7)), Errno::NOSPC);
    assert_eq!(content(&fs, "a").unwrap(), b"0123456789");
    assert_eq!(errno(file.write_at(&[b"c"], 10)), Errno::NOSPC);
    assert_eq!((file.metadata().unwrap().len, fs.free_bytes().unwrap()), (10, 0));
    file.write_at(&[b"overwritten"], 0).unwrap_err();
    assert_eq!(content(&fs, "a").unwrap(), b"overwritte");
    fs.set_capacity(11);
    file.write_at(&[b"n"], 10).unwrap();
}

#[test]
fn holes_take_no_room_until_they_are_written() {
    let fs = MemoryFs::with_capacity(10);
    let file = put(&fs, "a", b"");
    file.set_len(100).unwrap();
    assert_eq!(fs.free_bytes().unwrap(), 10);
    file.write_at(&[b"xx"], 50).unwrap();
    file.write_at(&[b"yyyy"], 52).unwrap();
    assert_eq!(fs.free_bytes().unwrap(), 4);
    assert_eq!(errno(file.write_at(&[&[1; 20]], 44)), Errno::NOSPC);
    assert_eq!(fs.free_bytes().unwrap(), 0, "four before the taken six, then none");
    let found = content(&fs, "a").unwrap();
    assert_eq!((&found[43..49], found.len()), ([0, 1, 1, 1, 1, 0].as_slice(), 100));
}

#[test]
fn room_comes_back_with_the_last_handle_and_with_a_cut() {
    let fs = MemoryFs::with_capacity(10);
    let file = put(&fs, "a", b"0123456789");
    fs.remove_file("a").unwrap();
    assert_eq!(fs.free_bytes().unwrap(), 0);
    drop(file);
    assert_eq!(fs.free_bytes().unwrap(), 10);
    let file = put(&fs, "b", b"0123456789");
    file.set_len(4).unwrap();
    assert_eq!(fs.free_bytes().unwrap(), 6);
    put(&fs, "c", b"012345");
    fs.rename("c", "b", Existing::Replace).unwrap();
    drop(file);
    assert_eq!(fs.free_bytes().unwrap(), 4);
}

#[test]
fn taken_room_is_counted_again_after_a_loss() {
    let fs = MemoryFs::with_capacity(10);
    let file = put(&fs, "a", b"0123");
    file.set_len(9).unwrap();
    fs.volume_sync().unwrap().unwrap().sync().unwrap();
    put(&fs, "lost", b"456");
    assert_eq!(fs.power_loss(Loss::Nothing, 0).free_bytes().unwrap(), 6);
    assert_eq!(fs.power_loss(Loss::All, 0).free_bytes().unwrap(), 3);
}

#[test]
fn random_writes_and_cuts_keep_the_count_of_room() {
    use rand::{Rng, SeedableRng, rngs::SmallRng};
    let mut rng = SmallRng::seed_from_u64(1);
    let fs = MemoryFs::with_capacity(150);
    let file = put(&fs, "a", b"");
    let mut taken = [false; 200];
    for _ in 0..3000 {
        if rng.random_ratio(1, 10) {
            let len = rng.random_range(0..=200);
            file.set_len(len as u64).unwrap();
            taken[len..].fill(false);
        } else {
            let (start, len) = (rng.random_range(0..150), rng.random_range(0..50));
            let mut free = 150 - taken.iter().filter(|taken| **taken).count();
            let mut written = 0;
            while written < len && (taken[start + written] || free > 0) {
                free -= usize::from(!std::mem::replace(&mut taken[start + written], true));
                written += 1;
            }
            let result = file.write_at(&[&[1; 50][..len]], start as u64);
            assert_eq!(result.is_ok(), written == len);
        }
        assert_eq!(fs.free_bytes().unwrap(), 150 - taken.iter().filter(|taken| **taken).count() as u64);
    }
}

#[test]
fn calls_that_change_are_counted_and_move_the_clock() {
    let fs = MemoryFs::new();
    let file = fs.create("a", Attributes::PRIVATE).unwrap();
    let created = file.metadata().unwrap().modified;
    file.write_at(&[b"abc"], 0).unwrap();
    file.set_len(2).unwrap();
    file.set_file_id(&[1; 16]).unwrap();
    file.sync_data().unwrap();
    file.sync_all().unwrap();
    fs.create_dir("dir", Attributes::PRIVATE_DIR).unwrap();
    fs.rename("a", "dir/a", Existing::Keep).unwrap();
    fs.sync_dir("dir").unwrap();
    fs.volume_sync().unwrap().unwrap().sync().unwrap();
    fs.remove_file("dir/a").unwrap();
    fs.remove_dir("dir").unwrap();
    assert!(fs.remove_dir("dir").is_err());
    assert_eq!(fs.operations(), 13);
    assert!(file.metadata().unwrap().modified > created);
    let _ =
        (file.read_at(&mut [0], 0), fs.metadata(""), fs.read_dir(""), fs.free_bytes(), open(&fs, "a"), file.file_id());
    assert_eq!(fs.operations(), 13);
}

#[test]
fn foreign_hand_is_durable_and_not_counted() {
    let fs = MemoryFs::new();
    put(&fs, "unsynced", b"");
    let own = put(&fs, "own", b"abcdef");
    own.set_file_id(&[1; 16]).unwrap();
    own.sync_all().unwrap();
    let before = fs.operations();
    fs.foreign_put("own", b"theirs").unwrap();
    fs.foreign_put("new", b"new").unwrap();
    fs.foreign_write("new", 1, b"EWS").unwrap();
    fs.symlink("link").unwrap();
    fs.fifo("fifo").unwrap();
    fs.hard_link("new", "second").unwrap();
    assert_eq!(fs.operations(), before);
    let found = fs.power_loss(Loss::Nothing, 0);
    for fs in [&fs, &found] {
        assert_eq!(content(fs, "own").unwrap(), b"theirs");
        assert_eq!(content(fs, "second").unwrap(), b"nEWS");
        assert_eq!(open(fs, "own").unwrap().file_id().unwrap(), None);
        assert_eq!(fs.metadata("new").unwrap().links, 2);
    }
    assert_eq!(names(&found, ""), ["fifo", "link", "new", "own", "second"]);
    found.foreign_remove("new").unwrap();
    assert_eq!(names(&found.power_loss(Loss::Nothing, 0), ""), ["fifo", "link", "own", "second"]);
    assert_eq!(errno(fs.foreign_remove("missing")), Errno::NOENT);
    assert_eq!(errno(fs.foreign_write("link", 0, b"x")), Errno::INVAL);
    assert_eq!(errno(fs.hard_link("own", "new")), Errno::EXIST);
}

#[test]
fn foreign_remove_of_an_unsynced_file_is_final() {
    let fs = MemoryFs::new();
    put(&fs, "a", b"abc").sync_all().unwrap();
    fs.foreign_remove("a").unwrap();
    assert_eq!(fs.unsynced_operations(), 0);
    for seed in 0..20 {
        assert_eq!(content(&fs.power_loss(Loss::Subset, seed), "a"), None);
    }
}

#[test]
fn rot_is_everywhere_at_once_and_leaves_the_time() {
    let fs = MemoryFs::new();
    let file = put(&fs, "a", b"aaaa");
    fs.volume_sync().unwrap().unwrap().sync().unwrap();
    file.write_at(&[b"bb"], 1).unwrap();
    let before = file.metadata().unwrap();
    fs.flip_bit("a", 1, 0).unwrap();
    fs.flip_bit("a", 3, 1).unwrap();
    assert_eq!(file.metadata().unwrap(), before);
    assert_eq!(content(&fs, "a").unwrap(), b"acbc");
    assert_eq!(content(&fs.power_loss(Loss::Nothing, 0), "a").unwrap(), b"a`ac");
    file.sync_data().unwrap();
    assert_eq!(content(&fs.power_loss(Loss::Nothing, 0), "a").unwrap(), b"acbc");
    assert_eq!(errno(fs.flip_bit("a", 4, 0)), Errno::INVAL);
}

#[test]
fn cut_is_durable_whatever_waits_for_a_sync() {
    let fs = MemoryFs::new();
    let file = put(&fs, "a", b"aaaaaa");
    fs.volume_sync().unwrap().unwrap().sync().unwrap();
    file.write_at(&[b"bbbb"], 4).unwrap();
    fs.cut("a", 5).unwrap();
    assert_eq!(content(&fs, "a").unwrap(), b"aaaab");
    assert_eq!(content(&fs.power_loss(Loss::Nothing, 0), "a").unwrap(), b"aaaaa");
    file.sync_data().unwrap();
    assert_eq!(content(&fs.power_loss(Loss::Nothing, 0), "a").unwrap(), b"aaaab");
    fs.cut("a", 50).unwrap();
    assert_eq!(content(&fs, "a").unwrap(), b"aaaab");
}

#[test]
fn removed_files_leave_nothing_behind_in_memory() {
    let fs = MemoryFs::new();
    for number in 0..100 {
        let file = put(&fs, "tmp", &[0; 100]);
        file.sync_data().unwrap();
        fs.rename("tmp", "a", Existing::Replace).unwrap();
        if number % 3 == 0 {
            fs.sync_dir("").unwrap();
        }
        file.write_at(&[b"x"], 0).unwrap();
    }
    fs.remove_file("a").unwrap();
    fs.sync_dir("").unwrap();
    assert_eq!(fs.inodes(), (1, 1));
    assert_eq!(fs.unsynced_operations(), 0);
}
