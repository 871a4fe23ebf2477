//! What both implementations have to do alike.

use rustix::io::Errno;

use super::{InMemory, OnDisk, World, content, errno, names, open};
use crate::fs::{Access, Attributes, DirEntry, Existing, Kind};

macro_rules! conformance {
    ($($test:ident,)*) => {
        mod memory {
            $(#[test] fn $test() { super::$test(&super::InMemory::default()); })*
        }
        mod real {
            $(#[test] fn $test() { super::$test(&super::OnDisk::default()); })*
        }
    };
}

conformance! {
    reads_back_what_was_written_in_parts,
    reads_short_only_at_the_end,
    gaps_and_extensions_read_as_zeros,
    more_parts_than_one_call_takes_are_written,
    read_only_handle_refuses_to_write,
    enormous_offset_is_refused,
    create_refuses_whatever_stands_there,
    missing_names_are_not_found,
    file_in_the_middle_is_no_directory,
    directory_is_not_opened_as_a_file,
    symlink_is_followed_nowhere,
    symlink_and_fifo_are_other,
    fifo_is_refused,
    paths_out_of_the_grammar_are_refused,
    data_folder_itself_stays,
    too_long_names_are_refused,
    rename_keep_refuses_an_existing_target,
    rename_replaces_and_the_old_inode_lives_in_its_handle,
    rename_between_directories_moves,
    rename_to_another_name_of_the_same_file_does_nothing,
    rename_of_directories_obeys_their_content,
    exchange_swaps_two_files_and_their_handles_go_with_them,
    exchange_works_between_directories,
    exchange_of_one_file_with_itself_does_nothing,
    exchange_needs_both_names,
    exchange_is_only_for_regular_files,
    exchange_follows_no_symlink_and_obeys_the_grammar,
    remove_tells_files_from_directories,
    removed_file_lives_in_its_handle_without_links,
    hard_link_is_counted,
    file_id_is_kept_over_rename_and_reopen,
    metadata_tells_size_and_change,
    inode_numbers_tell_files_apart,
    read_dir_lists_names_and_kinds,
    syncs_of_good_things_succeed,
    free_bytes_are_told,
}

fn reads_back_what_was_written_in_parts(world: &impl World) {
    let file = world.put("a", b"0123456789");
    file.write_at(&[b"AB", b"", b"CDE"], 3).unwrap();
    assert_eq!(content(world.fs(), "a").unwrap(), b"012ABCDE89");
    let mut middle = [0; 4];
    assert_eq!(file.read_at(&mut middle, 2).unwrap(), 4);
    assert_eq!(&middle, b"2ABC");
}

fn reads_short_only_at_the_end(world: &impl World) {
    let file = world.put("a", b"0123456789");
    let mut buf = [0; 8];
    assert_eq!(file.read_at(&mut buf, 7).unwrap(), 3);
    assert_eq!(&buf[..3], b"789");
    assert_eq!(file.read_at(&mut buf, 10).unwrap(), 0);
    assert_eq!(file.read_at(&mut buf, 1 << 40).unwrap(), 0);
    assert_eq!(file.read_at(&mut [], 0).unwrap(), 0);
}

fn gaps_and_extensions_read_as_zeros(world: &impl World) {
    let file = world.put("a", b"xyz");
    file.write_at(&[b"end"], 5).unwrap();
    assert_eq!(content(world.fs(), "a").unwrap(), b"xyz\0\0end");
    file.set_len(2).unwrap();
    file.set_len(4).unwrap();
    assert_eq!(content(world.fs(), "a").unwrap(), b"xy\0\0");
    file.write_at(&[], 100).unwrap();
    file.write_at(&[b""], 100).unwrap();
    assert_eq!(file.metadata().unwrap().len, 4);
}

fn more_parts_than_one_call_takes_are_written(world: &impl World) {
    let bytes: Vec<u8> = (0..5000_u32).map(|number| number as u8).collect();
    let parts: Vec<&[u8]> = bytes.chunks(2).collect();
    assert!(parts.len() > 2 * 1024);
    world.put("a", b"").write_at(&parts, 1).unwrap();
    assert_eq!(content(world.fs(), "a").unwrap()[1..], bytes);
}

fn read_only_handle_refuses_to_write(world: &impl World) {
    world.put("a", b"abc");
    let file = world.fs().open("a", Access::Read).unwrap();
    assert_eq!(errno(file.write_at(&[b"x"], 0)), Errno::BADF);
    assert_eq!(errno(file.set_len(0)), Errno::INVAL);
    assert_eq!(content(world.fs(), "a").unwrap(), b"abc");
}

fn enormous_offset_is_refused(world: &impl World) {
    let file = world.put("a", b"abc");
    assert!(file.write_at(&[b"x"], u64::MAX).is_err());
    assert!(file.write_at(&[b"x"], i64::MAX as u64).is_err());
    assert!(file.set_len(u64::MAX).is_err());
    assert_eq!(content(world.fs(), "a").unwrap(), b"abc");
}

fn create_refuses_whatever_stands_there(world: &impl World) {
    let fs = world.fs();
    world.put("file", b"abc");
    world.dir("dir");
    world.symlink("link");
    world.fifo("fifo");
    for path in ["file", "dir", "link", "fifo"] {
        assert_eq!(errno(fs.create(path, Attributes::PRIVATE)), Errno::EXIST, "{path}");
        assert_eq!(errno(fs.create_dir(path, Attributes::PRIVATE_DIR)), Errno::EXIST, "{path}");
    }
    assert_eq!(content(fs, "file").unwrap(), b"abc");
}

fn missing_names_are_not_found(world: &impl World) {
    let fs = world.fs();
    for path in ["a", "a/b"] {
        assert_eq!(errno(open(fs, path)), Errno::NOENT);
        assert_eq!(errno(fs.metadata(path)), Errno::NOENT);
        assert_eq!(errno(fs.read_dir(path)), Errno::NOENT);
        assert_eq!(errno(fs.sync_dir(path)), Errno::NOENT);
        assert_eq!(errno(fs.remove_file(path)), Errno::NOENT);
        assert_eq!(errno(fs.remove_dir(path)), Errno::NOENT);
        assert_eq!(errno(fs.rename(path, "z", Existing::Replace)), Errno::NOENT);
    }
    assert_eq!(errno(fs.create("a/b", Attributes::PRIVATE)), Errno::NOENT);
    assert_eq!(errno(fs.create_dir("a/b", Attributes::PRIVATE_DIR)), Errno::NOENT);
    world.put("z", b"");
    assert_eq!(errno(fs.rename("z", "a/b", Existing::Replace)), Errno::NOENT);
    assert_eq!(errno(fs.rename("a", "z", Existing::Keep)), Errno::NOENT);
}

fn file_in_the_middle_is_no_directory(world: &impl World) {
    let fs = world.fs();
    world.put("file", b"");
    world.fifo("fifo");
    for path in ["file/x", "fifo/x", "file/x/y"] {
        assert_eq!(errno(open(fs, path)), Errno::NOTDIR);
        assert_eq!(errno(fs.create(path, Attributes::PRIVATE)), Errno::NOTDIR);
        assert_eq!(errno(fs.create_dir(path, Attributes::PRIVATE_DIR)), Errno::NOTDIR);
        assert_eq!(errno(fs.metadata(path)), Errno::NOTDIR);
        assert_eq!(errno(fs.rename("file", path, Existing::Replace)), Errno::NOTDIR);
        assert_eq!(errno(fs.remove_file(path)), Errno::NOTDIR);
    }
    assert_eq!(errno(fs.read_dir("file")), Errno::NOTDIR);
    assert_eq!(errno(fs.sync_dir("file")), Errno::NOTDIR);
}

fn directory_is_not_opened_as_a_file(world: &impl World) {
    world.dir("dir");
    for path in ["dir", ""] {
        assert_eq!(errno(world.fs().open(path, Access::Read)), Errno::ISDIR);
        assert_eq!(errno(world.fs().open(path, Access::ReadWrite)), Errno::ISDIR);
    }
}

fn symlink_is_followed_nowhere(world: &impl World) {
    let fs = world.fs();
    world.put("file", b"abc");
    world.dir("dir");
    world.symlink("link");
    world.symlink("dir/link");
    for path in ["link", "dir/link", "link/file", "dir/link/file", "link/missing"] {
        assert_eq!(errno(fs.open(path, Access::Read)), Errno::LOOP, "{path}");
        assert_eq!(errno(open(fs, path)), Errno::LOOP, "{path}");
        if path.ends_with("/file") || path.ends_with("missing") {
            assert_eq!(errno(fs.create(path, Attributes::PRIVATE)), Errno::LOOP, "{path}");
            assert_eq!(errno(fs.create_dir(path, Attributes::PRIVATE_DIR)), Errno::LOOP, "{path}");
            assert_eq!(errno(fs.metadata(path)), Errno::LOOP, "{path}");
            assert_eq!(errno(fs.remove_file(path)), Errno::LOOP, "{path}");
            assert_eq!(errno(fs.rename(path, "x", Existing::Keep)), Errno::LOOP, "{path}");
            assert_eq!(errno(fs.rename("file", path, Existing::Replace)), Errno::LOOP, "{path}");
        }
    }
    for path in ["link", "dir/link"] {
        assert!(matches!(errno(fs.read_dir(path)), Errno::LOOP | Errno::NOTDIR));
        assert!(matches!(errno(fs.sync_dir(path)), Errno::LOOP | Errno::NOTDIR));
    }
    fs.rename("link", "moved", Existing::Keep).unwrap();
    assert_eq!(fs.metadata("moved").unwrap().kind, Kind::Other);
    fs.remove_file("moved").unwrap();
    assert_eq!(names(fs, ""), ["dir", "file"]);
}

fn symlink_and_fifo_are_other(world: &impl World) {
    world.symlink("link");
    world.fifo("fifo");
    for path in ["link", "fifo"] {
        assert_eq!(world.fs().metadata(path).unwrap().kind, Kind::Other);
    }
    assert!(world.fs().read_dir("").unwrap().iter().all(|entry| !entry.is_dir));
}

fn fifo_is_refused(world: &impl World) {
    world.fifo("fifo");
    assert_eq!(errno(world.fs().open("fifo", Access::Read)), Errno::INVAL);
    assert_eq!(errno(world.fs().open("fifo", Access::ReadWrite)), Errno::INVAL);
}

fn paths_out_of_the_grammar_are_refused(world: &impl World) {
    let fs = world.fs();
    world.dir("dir");
    world.put("file", b"");
    for path in
        ["..", "../file", ".", "./file", "dir/..", "dir/../file", "/", "/etc", "dir/", "dir//x", "a\0b", "dir/."]
    {
        assert_eq!(errno(open(fs, path)), Errno::INVAL, "{path:?}");
        assert_eq!(errno(fs.create(path, Attributes::PRIVATE)), Errno::INVAL, "{path:?}");
        assert_eq!(errno(fs.create_dir(path, Attributes::PRIVATE_DIR)), Errno::INVAL, "{path:?}");
        assert_eq!(errno(fs.rename(path, "new", Existing::Keep)), Errno::INVAL, "{path:?}");
        assert_eq!(errno(fs.rename("file", path, Existing::Replace)), Errno::INVAL, "{path:?}");
        assert_eq!(errno(fs.remove_file(path)), Errno::INVAL, "{path:?}");
        assert_eq!(errno(fs.remove_dir(path)), Errno::INVAL, "{path:?}");
        assert_eq!(errno(fs.metadata(path)), Errno::INVAL, "{path:?}");
        assert_eq!(errno(fs.read_dir(path)), Errno::INVAL, "{path:?}");
        assert_eq!(errno(fs.sync_dir(path)), Errno::INVAL, "{path:?}");
    }
    assert_eq!(names(fs, ""), ["dir", "file"]);
}

fn data_folder_itself_stays(world: &impl World) {
    let fs = world.fs();
    world.dir("dir");
    assert_eq!(fs.metadata("").unwrap().kind, Kind::Directory);
    assert_eq!(errno(fs.create_dir("", Attributes::PRIVATE_DIR)), Errno::INVAL);
    assert_eq!(errno(fs.remove_dir("")), Errno::INVAL);
    assert_eq!(errno(fs.rename("", "dir/x", Existing::Keep)), Errno::INVAL);
    assert_eq!(errno(fs.rename("dir", "", Existing::Replace)), Errno::INVAL);
}

fn too_long_names_are_refused(world: &impl World) {
    let fs = world.fs();
    let longest = "n".repeat(255);
    world.put(&longest, b"");
    assert_eq!(names(fs, ""), [longest.as_str()]);
    let too_long = format!("{longest}n");
    assert_eq!(errno(fs.create(&too_long, Attributes::PRIVATE)), Errno::NAMETOOLONG);
    assert_eq!(errno(open(fs, &too_long)), Errno::NAMETOOLONG);
    assert_eq!(errno(fs.metadata(&"a/".repeat(2100).replace("a/a/a", "a/b/c")[..4101])), Errno::NAMETOOLONG);
}

fn rename_keep_refuses_an_existing_target(world: &impl World) {
    let fs = world.fs();
    world.put("a", b"A");
    world.put("b", b"B");
    world.dir("dir");
    for target in ["b", "dir", "a"] {
        assert_eq!(errno(fs.rename("a", target, Existing::Keep)), Errno::EXIST, "{target}");
    }
    assert_eq!((content(fs, "a").unwrap(), content(fs, "b").unwrap()), (b"A".to_vec(), b"B".to_vec()));
    fs.rename("a", "c", Existing::Keep).unwrap();
    assert_eq!(content(fs, "c").unwrap(), b"A");
}

fn rename_replaces_and_the_old_inode_lives_in_its_handle(world: &impl World) {
    let fs = world.fs();
    let new = world.put("new", b"new");
    let old = world.put("old", b"old");
    fs.rename("new", "old", Existing::Replace).unwrap();
    assert_eq!(names(fs, ""), ["old"]);
    assert_eq!(content(fs, "old").unwrap(), b"new");
    let mut bytes = [0; 3];
    old.read_at(&mut bytes, 0).unwrap();
    assert_eq!((&bytes, old.metadata().unwrap().links), (b"old", 0));
    assert_eq!(new.metadata().unwrap().inode, fs.metadata("old").unwrap().inode);
}

fn rename_between_directories_moves(world: &impl World) {
    let fs = world.fs();
    world.dir("one");
    world.dir("two");
    let file = world.put("one/a", b"A");
    fs.rename("one/a", "two/b", Existing::Keep).unwrap();
    assert_eq!(names(fs, "one"), [""; 0]);
    assert_eq!(content(fs, "two/b").unwrap(), b"A");
    file.write_at(&[b"more"], 1).unwrap();
    assert_eq!(content(fs, "two/b").unwrap(), b"Amore");
    assert_eq!(file.metadata().unwrap().links, 1);
}

fn rename_to_another_name_of_the_same_file_does_nothing(world: &impl World) {
    let fs = world.fs();
    world.put("a", b"A");
    world.hard_link("a", "b");
    fs.rename("a", "b", Existing::Replace).unwrap();
    fs.rename("a", "a", Existing::Replace).unwrap();
    assert_eq!(names(fs, ""), ["a", "b"]);
}

fn rename_of_directories_obeys_their_content(world: &impl World) {
    let fs = world.fs();
    for path in ["full", "full/sub", "empty", "file_parent"] {
        world.dir(path);
    }
    world.put("full/file", b"F");
    world.put("file", b"");
    assert_eq!(errno(fs.rename("empty", "full", Existing::Replace)), Errno::NOTEMPTY);
    assert_eq!(errno(fs.rename("file", "empty", Existing::Replace)), Errno::ISDIR);
    assert_eq!(errno(fs.rename("empty", "file", Existing::Replace)), Errno::NOTDIR);
    assert_eq!(errno(fs.rename("full", "full/sub/x", Existing::Replace)), Errno::INVAL);
    assert_eq!(errno(fs.rename("full", "full/x", Existing::Keep)), Errno::INVAL);
    assert_eq!(errno(fs.rename("full", "full/file", Existing::Replace)), Errno::INVAL);
    assert_eq!(errno(fs.rename("full/file", "full", Existing::Replace)), Errno::NOTEMPTY);
    fs.rename("full", "empty", Existing::Replace).unwrap();
    assert_eq!(content(fs, "empty/file").unwrap(), b"F");
    assert_eq!(names(fs, ""), ["empty", "file", "file_parent"]);
}

fn exchange_swaps_two_files_and_their_handles_go_with_them(world: &impl World) {
    let fs = world.fs();
    let (one, other) = (world.put("a", b"one"), world.put("b", b"other"));
    one.set_file_id(&[1; 16]).unwrap();
    fs.rename("a", "b", Existing::Exchange).unwrap();
    assert_eq!(names(fs, ""), ["a", "b"]);
    assert_eq!((content(fs, "a").unwrap(), content(fs, "b").unwrap()), (b"other".to_vec(), b"one".to_vec()));
    assert_eq!(open(fs, "b").unwrap().file_id().unwrap(), Some([1; 16]));
    one.write_at(&[b"!"], 3).unwrap();
    assert_eq!(content(fs, "b").unwrap(), b"one!");
    assert_eq!(one.metadata().unwrap(), fs.metadata("b").unwrap());
    assert_eq!((one.metadata().unwrap().links, other.metadata().unwrap().links), (1, 1));
    fs.rename("b", "a", Existing::Exchange).unwrap();
    assert_eq!((content(fs, "a").unwrap(), content(fs, "b").unwrap()), (b"one!".to_vec(), b"other".to_vec()));
}

fn exchange_works_between_directories(world: &impl World) {
    let fs = world.fs();
    world.dir("one");
    world.dir("one/sub");
    world.put("one/sub/a", b"A");
    world.put("b", b"B");
    fs.rename("one/sub/a", "b", Existing::Exchange).unwrap();
    assert_eq!((content(fs, "one/sub/a").unwrap(), content(fs, "b").unwrap()), (b"B".to_vec(), b"A".to_vec()));
    assert_eq!((names(fs, ""), names(fs, "one/sub")), (vec!["b".to_owned(), "one".to_owned()], vec!["a".to_owned()]));
}

fn exchange_of_one_file_with_itself_does_nothing(world: &impl World) {
    let fs = world.fs();
    world.put("a", b"A");
    world.hard_link("a", "b");
    fs.rename("a", "b", Existing::Exchange).unwrap();
    fs.rename("a", "a", Existing::Exchange).unwrap();
    assert_eq!((names(fs, ""), fs.metadata("a").unwrap().links), (vec!["a".to_owned(), "b".to_owned()], 2));
}

fn exchange_needs_both_names(world: &impl World) {
    let fs = world.fs();
    world.put("a", b"A");
    world.dir("dir");
    for (from, to) in [("a", "x"), ("x", "a"), ("x", "y"), ("a", "x/y"), ("x/y", "a"), ("dir", "x"), ("x", "dir")] {
        assert_eq!(errno(fs.rename(from, to, Existing::Exchange)), Errno::NOENT, "{from} and {to}");
    }
    assert_eq!(errno(fs.rename("dir/x", "a/x", Existing::Exchange)), Errno::NOTDIR);
    assert_eq!((names(fs, ""), content(fs, "a").unwrap()), (vec!["a".to_owned(), "dir".to_owned()], b"A".to_vec()));
}

fn exchange_is_only_for_regular_files(world: &impl World) {
    let fs = world.fs();
    world.put("a", b"A");
    world.dir("dir");
    world.symlink("link");
    world.fifo("fifo");
    for (special, refusal) in [("dir", Errno::ISDIR), ("link", Errno::INVAL), ("fifo", Errno::INVAL)] {
        for (from, to) in [("a", special), (special, "a"), (special, special)] {
            assert_eq!(errno(fs.rename(from, to, Existing::Exchange)), refusal, "{from} and {to}");
        }
    }
    assert_eq!(content(fs, "a").unwrap(), b"A");
}

fn exchange_follows_no_symlink_and_obeys_the_grammar(world: &impl World) {
    let fs = world.fs();
    world.put("a", b"A");
    world.put("b", b"B");
    world.symlink("link");
    for (outside, refusal) in [("link/b", Errno::LOOP), ("../b", Errno::INVAL), ("", Errno::INVAL)] {
        assert_eq!(errno(fs.rename("a", outside, Existing::Exchange)), refusal, "{outside:?}");
        assert_eq!(errno(fs.rename(outside, "a", Existing::Exchange)), refusal, "{outside:?}");
    }
    assert_eq!((content(fs, "a").unwrap(), content(fs, "b").unwrap()), (b"A".to_vec(), b"B".to_vec()));
}

fn remove_tells_files_from_directories(world: &impl World) {
    let fs = world.fs();
    world.dir("dir");
    world.put("dir/file", b"");
    world.symlink("link");
    world.fifo("fifo");
    assert_eq!(errno(fs.remove_file("dir")), Errno::ISDIR);
    assert_eq!(errno(fs.remove_dir("dir/file")), Errno::NOTDIR);
    assert_eq!(errno(fs.remove_dir("dir")), Errno::NOTEMPTY);
    fs.remove_file("dir/file").unwrap();
    fs.remove_dir("dir").unwrap();
    fs.remove_file("link").unwrap();
    fs.remove_file("fifo").unwrap();
    assert_eq!(names(fs, ""), [""; 0]);
}

fn removed_file_lives_in_its_handle_without_links(world: &impl World) {
    let file = world.put("a", b"abc");
    assert_eq!(file.metadata().unwrap().links, 1);
    world.fs().remove_file("a").unwrap();
    file.write_at(&[b"d"], 3).unwrap();
    let mut bytes = [0; 4];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 4);
    assert_eq!(&bytes, b"abcd");
    assert_eq!(file.metadata().unwrap().links, 0);
    file.sync_all().unwrap();
    world.put("a", b"another");
    assert_ne!(file.metadata().unwrap().inode, world.fs().metadata("a").unwrap().inode);
}

fn hard_link_is_counted(world: &impl World) {
    world.put("a", b"abc");
    world.hard_link("a", "b");
    assert_eq!(world.fs().metadata("a").unwrap(), world.fs().metadata("b").unwrap());
    assert_eq!(world.fs().metadata("a").unwrap().links, 2);
    world.fs().remove_file("a").unwrap();
    assert_eq!(world.fs().metadata("b").unwrap().links, 1);
    assert_eq!(content(world.fs(), "b").unwrap(), b"abc");
}

fn file_id_is_kept_over_rename_and_reopen(world: &impl World) {
    let file = world.put("a", b"");
    assert_eq!(file.file_id().unwrap(), None);
    file.set_file_id(&[7; 16]).unwrap();
    file.set_file_id(&[9; 16]).unwrap();
    world.fs().rename("a", "b", Existing::Keep).unwrap();
    assert_eq!(world.fs().open("b", Access::Read).unwrap().file_id().unwrap(), Some([9; 16]));
}

fn metadata_tells_size_and_change(world: &impl World) {
    let file = world.put("a", b"abc");
    let before = file.metadata().unwrap();
    assert_eq!((before.kind, before.len), (Kind::File, 3));
    assert_eq!(world.fs().metadata("a").unwrap(), before);
    let bound = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while file.metadata().unwrap().modified == before.modified {
        assert!(std::time::Instant::now() < bound, "writing never changes the time");
        file.write_at(&[b"abcd"], 0).unwrap();
    }
    let after = file.metadata().unwrap();
    assert!(after.modified > before.modified);
    assert_eq!((after.len, after.inode), (4, before.inode));
}

fn inode_numbers_tell_files_apart(world: &impl World) {
    let (a, b) = (world.put("a", b""), world.put("b", b""));
    assert_ne!(a.metadata().unwrap().inode, b.metadata().unwrap().inode);
}

fn read_dir_lists_names_and_kinds(world: &impl World) {
    world.dir("dir");
    world.put("dir/file", b"");
    world.dir("dir/sub");
    let mut entries = world.fs().read_dir("dir").unwrap();
    entries.sort();
    let entry = |name: &str, is_dir| DirEntry { name: name.to_owned(), is_dir };
    assert_eq!(entries, [entry("file", false), entry("sub", true)]);
}

fn syncs_of_good_things_succeed(world: &impl World) {
    world.dir("dir");
    let file = world.put("dir/file", b"abc");
    file.sync_data().unwrap();
    file.sync_all().unwrap();
    world.fs().sync_dir("dir").unwrap();
    world.fs().sync_dir("").unwrap();
    if let Some(volume) = world.fs().volume_sync().unwrap() {
        volume.sync().unwrap();
    }
    assert_eq!(content(world.fs(), "dir/file").unwrap(), b"abc");
}

fn free_bytes_are_told(world: &impl World) {
    assert!(world.fs().free_bytes().unwrap() > 0);
}
