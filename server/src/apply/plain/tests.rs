#![allow(clippy::unwrap_used)]

use super::*;
use crate::shard::testing::{key, view};
use inkpot_wal::fs::{
    faulty::{FaultKind, FaultyFs, Op, When},
    memory::{Loss, MemoryFs},
};
use std::time::{Duration, UNIX_EPOCH};

fn plain(fs: Arc<dyn FileSystem>) -> PlainFiles {
    PlainFiles::new(fs, 0, Attributes::PRIVATE, Attributes::PRIVATE_DIR)
}

fn folder() -> MemoryFs {
    let memory = MemoryFs::new();
    ["files", "staging"].iter().for_each(|dir| memory.create_dir(dir, Attributes::PRIVATE_DIR).unwrap());
    ["files", "staging", ""].iter().for_each(|dir| memory.sync_dir(dir).unwrap());
    memory
}

fn id(counter: u64) -> FileId {
    FileId::new(0, 1, counter)
}

#[test]
fn file_is_made_with_its_id_and_its_directories() {
    let memory = folder();
    let mut plain = plain(Arc::new(memory.clone()));
    let file = plain.create(&key("a/b/c"), id(1)).unwrap();
    assert_eq!(file.file_id().unwrap(), Some(id(1).to_bytes()));
    assert_eq!(memory.metadata("files/t/a/b/c").unwrap().inode, file.metadata().unwrap().inode);
    assert!(memory.read_dir("staging/t/0000").unwrap().is_empty());
}

#[test]
fn syncing_the_changed_directories_makes_a_new_file_durable() {
    let memory = folder();
    let mut plain = plain(Arc::new(memory.clone()));
    plain.create(&key("a/b/c"), id(1)).unwrap();
    plain.create(&key("d"), id(2)).unwrap();
    let dirs = plain.take_changed_dirs();
    for dir in ["files", "files/t", "files/t/a", "files/t/a/b"] {
        assert!(dirs.contains(dir), "{dir} is not in {dirs:?}");
    }
    dirs.iter().for_each(|dir| memory.sync_dir(dir).unwrap());
    let after = memory.power_loss(Loss::Nothing, 1);
    for (path, id) in [("files/t/a/b/c", id(1)), ("files/t/d", id(2))] {
        assert_eq!(after.open(path, Access::Read).unwrap().file_id().unwrap(), Some(id.to_bytes()));
    }
    assert!(plain.take_changed_dirs().is_empty());
    plain.create(&key("a/b/e"), id(3)).unwrap();
    assert!(plain.take_changed_dirs().contains("files/t/a/b"));
}

#[test]
fn name_that_is_taken_is_not_overwritten_and_leaves_nothing_in_staging() {
    let memory = folder();
    let mut plain = plain(Arc::new(memory.clone()));
    plain.create(&key("a"), id(1)).unwrap();
    let error = plain.create(&key("a"), id(2)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(memory.open("files/t/a", Access::Read).unwrap().file_id().unwrap(), Some(id(1).to_bytes()));
    assert!(memory.read_dir("staging/t/0000").unwrap().is_empty());
}

#[test]
fn directory_that_somebody_removed_is_made_again() {
    let memory = folder();
    let mut plain = plain(Arc::new(memory.clone()));
    plain.create(&key("a/b"), id(1)).unwrap();
    memory.remove_file("files/t/a/b").unwrap();
    memory.remove_dir("files/t/a").unwrap();
    plain.create(&key("a/b"), id(2)).unwrap();
    assert!(memory.metadata("files/t/a/b").is_ok());
}

#[test]
fn failure_at_any_step_leaves_a_state_in_which_the_next_try_succeeds() {
    for op in [Op::CreateDir, Op::Create, Op::SetFileId, Op::Rename] {
        for nth in 1..=2 {
            let memory = folder();
            let faulty = FaultyFs::over_memory(&memory);
            let mut plain = plain(Arc::new(faulty.clone()));
            faulty.fail(op, "", When::Nth(nth), FaultKind::Errno(Errno::NOSPC.raw_os_error()));
            let first = plain.create(&key("a/b"), id(1));
            assert_eq!(first.is_err(), nth == 1 || op == Op::CreateDir, "{op:?}");
            if first.is_err() {
                assert!(memory.metadata("files/t/a/b").is_err(), "{op:?}");
                plain.create(&key("a/b"), id(1)).unwrap();
            }
        }
    }
}

#[test]
fn what_differs_from_how_a_file_was_left_is_named() {
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    let left = Metadata { kind: Kind::File, len: 10, inode: 5, links: 1, modified: at(1) };
    let seen = Some(Seen { inode: 5, modified: at(1) });
    assert_eq!(difference(&left, 10, seen), None);
    assert_eq!(difference(&left, 10, None), None);
    let cases = [
        (Metadata { links: 0, ..left.clone() }, "was deleted"),
        (Metadata { links: 2, ..left.clone() }, "has more than one name (hard link)"),
        (Metadata { len: 11, ..left.clone() }, "has 11 bytes instead of 10"),
        (Metadata { inode: 6, ..left.clone() }, "was replaced"),
        (Metadata { modified: at(2), ..left.clone() }, "was modified"),
    ];
    for (found, what) in cases {
        assert_eq!(difference(&found, 10, seen).as_deref(), Some(what));
    }
}

#[test]
fn only_a_file_with_the_id_is_ours() {
    let memory = folder();
    let mut plain = plain(Arc::new(memory.clone()));
    let view = view("a", 1, crate::apply::view::ViewState::default());
    assert_eq!(open_ours(&memory, &view, Access::Read).unwrap().unwrap_err(), "was deleted");
    plain.create(&key("a"), id(2)).unwrap();
    assert_eq!(open_ours(&memory, &view, Access::Read).unwrap().unwrap_err(), "does not carry the id of the file");
    memory.remove_file("files/t/a").unwrap();
    plain.create(&key("a"), id(1)).unwrap();
    assert!(open_ours(&memory, &view, Access::Read).unwrap().is_ok());
    memory.fail_from(0);
    memory.remove_file("files/t/a").unwrap_err();
    assert!(open_ours(&memory, &view, Access::Read).is_err(), "a failure of the disk says nothing about the file");
}

#[test]
fn every_error_of_the_file_system_has_its_reason() {
    let cases = [
        (Errno::NOSPC, ErrorReason::DiskFull),
        (Errno::DQUOT, ErrorReason::DiskFull),
        (Errno::NOTDIR, ErrorReason::NotADirectory),
        (Errno::ISDIR, ErrorReason::IsADirectory),
        (Errno::LOOP, ErrorReason::Symlink),
        (Errno::INVAL, ErrorReason::NotAPlainFile),
        (Errno::NAMETOOLONG, ErrorReason::InvalidPath),
        (Errno::EXIST, ErrorReason::ForeignChange),
        (Errno::MFILE, ErrorReason::ShardClosed),
        (Errno::NFILE, ErrorReason::ShardClosed),
        (Errno::NOMEM, ErrorReason::ShardClosed),
        (Errno::IO, ErrorReason::Internal),
        (Errno::ROFS, ErrorReason::Internal),
    ];
    for (errno, reason) in cases {
        let refused = refuse(&errno.into(), &key("some/file"));
        assert_eq!(refused.reason, reason, "{errno:?}");
        assert!(refused.message.contains("some/file"), "{}", refused.message);
    }
}

#[test]
fn only_an_empty_file_of_this_shard_is_removed_from_a_new_path() {
    let memory = folder();
    let mut plain = plain(Arc::new(memory.clone()));
    plain.create(&key("a"), id(1)).unwrap();
    let elsewhere = FileId::new(3, 1, 1);
    plain.create(&key("b"), elsewhere).unwrap();
    let file = plain.create(&key("c"), id(2)).unwrap();
    file.write_at(&[b"x"], 0).unwrap();
    assert_eq!(check_vacant(&memory, &key("a"), 0), Ok(()));
    assert!(memory.metadata("files/t/a").is_err());
    for kept in ["b", "c"] {
        assert_eq!(check_vacant(&memory, &key(kept), 0).unwrap_err().reason, ErrorReason::ForeignChange);
        assert!(memory.metadata(&key(kept).plain_path()).is_ok());
    }
    assert_eq!(check_vacant(&memory, &key("d/e/f"), 0), Ok(()));
}

#[test]
fn what_was_removed_from_a_new_path_does_not_come_back_with_the_next_loss_of_power() {
    let memory = folder();
    plain(Arc::new(memory.clone())).create(&key("a"), id(1)).unwrap();
    ["files/t", "files"].iter().for_each(|dir| memory.sync_dir(dir).unwrap());
    assert!(memory.power_loss(Loss::Nothing, 1).metadata("files/t/a").is_ok());
    assert_eq!(check_vacant(&memory, &key("a"), 0), Ok(()));
    let next = memory.power_loss(Loss::Nothing, 1);
    assert!(next.metadata("files/t/a").is_err());
}
