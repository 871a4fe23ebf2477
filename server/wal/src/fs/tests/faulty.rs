//! Faults on top of both implementations.

use std::{sync::Arc, thread, time::Duration};

use rustix::io::Errno;

use super::{OnDisk, content, errno, names, open, put};
use crate::fs::{
    Access, Attributes, Existing, File, FileSystem,
    faulty::{FaultKind, FaultyFs, Gate, Op, When},
    memory::{Loss, MemoryFs},
};

const EIO: FaultKind = FaultKind::Errno(Errno::IO.raw_os_error());
const LONG: Duration = Duration::from_secs(10);

fn over_memory() -> (MemoryFs, FaultyFs) {
    let memory = MemoryFs::new();
    let faulty = FaultyFs::over_memory(&memory);
    (memory, faulty)
}

#[test]
fn every_kind_of_call_can_fail_and_then_does_nothing() {
    let (memory, fs) = over_memory();
    fs.create_dir("dir", Attributes::PRIVATE_DIR).unwrap();
    let file = put(&fs, "a", b"abc");
    let volume = fs.volume_sync().unwrap().unwrap();
    let calls: [(Op, &dyn Fn() -> std::io::Result<()>); 18] = [
        (Op::Open, &|| fs.open("a", Access::Read).map(drop)),
        (Op::Create, &|| fs.create("new", Attributes::PRIVATE).map(drop)),
        (Op::CreateDir, &|| fs.create_dir("new", Attributes::PRIVATE_DIR)),
        (Op::Rename, &|| fs.rename("a", "b", Existing::Keep)),
        (Op::Remove, &|| fs.remove_file("a")),
        (Op::Remove, &|| fs.remove_dir("dir")),
        (Op::Metadata, &|| fs.metadata("a").map(drop)),
        (Op::Metadata, &|| file.metadata().map(drop)),
        (Op::ReadDir, &|| fs.read_dir("").map(drop)),
        (Op::SyncDir, &|| fs.sync_dir("")),
        (Op::OpenVolume, &|| fs.volume_sync().map(drop)),
        (Op::SyncVolume, &|| volume.sync()),
        (Op::FreeBytes, &|| fs.free_bytes().map(drop)),
        (Op::Read, &|| file.read_at(&mut [0], 0).map(drop)),
        (Op::Write, &|| file.write_at(&[b"x"], 0)),
        (Op::SetLen, &|| file.set_len(0)),
        (Op::SetFileId, &|| file.set_file_id(&[1; 16])),
        (Op::FileId, &|| file.file_id().map(drop)),
    ];
    let before = memory.operations();
    for (op, call) in calls {
        fs.fail(op, "", When::Always, EIO);
        assert_eq!(errno(call()), Errno::IO, "{op:?}");
        fs.clear();
        assert!(fs.count(op, "") > 0);
    }
    assert_eq!(memory.operations(), before);
    for (op, call) in [(Op::SyncData, file.sync_data()), (Op::SyncAll, file.sync_all())] {
        call.unwrap();
        fs.fail(op, "a", When::Always, EIO);
    }
    assert_eq!((errno(file.sync_data()), errno(file.sync_all())), (Errno::IO, Errno::IO));
    assert_eq!((names(&memory, ""), content(&memory, "a").unwrap()), (vec!["a".into(), "dir".into()], b"abc".to_vec()));
}

#[test]
fn rules_meet_by_path_and_by_number() {
    let (_, fs) = over_memory();
    let (wal, file) = (put(&fs, "wal", b""), put(&fs, "file", b""));
    fs.fail(Op::SyncData, "wal", When::Nth(2), EIO);
    fs.fail(Op::SyncData, "file", When::From(2), FaultKind::Errno(Errno::NOSPC.raw_os_error()));
    let synced = |file: &Arc<dyn File>| (0..4).map(|_| file.sync_data().is_ok()).collect::<Vec<_>>();
    assert_eq!(synced(&wal), [true, false, true, true]);
    assert_eq!(synced(&file), [true, false, false, false]);
    assert_eq!(errno(file.sync_data()), Errno::NOSPC);
    wal.sync_all().unwrap();
    assert_eq!((fs.count(Op::SyncData, "wal"), fs.count(Op::SyncData, "")), (4, 9));
    fs.clear();
    file.sync_data().unwrap();
}

#[test]
fn rename_meets_the_rules_of_both_paths_and_counts_once() {
    let (_, fs) = over_memory();
    put(&fs, "from", b"");
    for path in ["from", "to"] {
        fs.fail(Op::Rename, path, When::Always, EIO);
        assert_eq!(errno(fs.rename("from", "to", Existing::Keep)), Errno::IO);
        fs.clear();
    }
    fs.rename("from", "to", Existing::Keep).unwrap();
    assert_eq!((fs.count(Op::Rename, "from"), fs.count(Op::Rename, "")), (3, 3));
}

#[test]
fn exchange_that_fails_leaves_both_names_as_they_were() {
    let (memory, fs) = over_memory();
    put(&fs, "a", b"A");
    put(&fs, "b", b"B");
    fs.fail(Op::Rename, "b", When::Nth(1), EIO);
    assert_eq!(errno(fs.rename("a", "b", Existing::Exchange)), Errno::IO);
    assert_eq!((content(&memory, "a").unwrap(), content(&memory, "b").unwrap()), (b"A".to_vec(), b"B".to_vec()));
    fs.rename("a", "b", Existing::Exchange).unwrap();
    assert_eq!((content(&memory, "a").unwrap(), content(&memory, "b").unwrap()), (b"B".to_vec(), b"A".to_vec()));
}

#[test]
fn first_rule_has_the_call_and_the_others_count_it() {
    let (_, fs) = over_memory();
    let file = put(&fs, "a", b"");
    fs.fail(Op::Write, "a", When::Nth(1), EIO);
    fs.fail(Op::Write, "", When::Nth(2), FaultKind::Errno(Errno::NOSPC.raw_os_error()));
    let failures: Vec<_> =
        (0..3).map(|_| file.write_at(&[b"x"], 0).err().and_then(|error| error.raw_os_error())).collect();
    assert_eq!(failures, [Some(Errno::IO.raw_os_error()), Some(Errno::NOSPC.raw_os_error()), None]);
}

#[test]
fn lost_sync_fails_once_then_succeeds_with_the_bytes_gone() {
    let (memory, fs) = over_memory();
    let file = put(&fs, "a", b"abc");
    let other = put(&fs, "b", b"other");
    fs.sync_dir("").unwrap();
    file.sync_data().unwrap();
    file.write_at(&[b"def"], 3).unwrap();
    fs.rename("a", "renamed", Existing::Keep).unwrap();
    fs.sync_dir("").unwrap();
    fs.fail(Op::SyncData, "a", When::Nth(1), FaultKind::LostSync);
    assert_eq!(errno(file.sync_data()), Errno::IO);
    file.sync_data().unwrap();
    other.sync_data().unwrap();
    assert_eq!(content(&fs, "renamed").unwrap(), b"abcdef");
    let found = memory.power_loss(Loss::Nothing, 0);
    assert_eq!(
        (content(&found, "renamed").unwrap(), content(&found, "b").unwrap()),
        (b"abc".to_vec(), b"other".to_vec())
    );
}

#[test]
fn lost_volume_sync_loses_the_data_of_every_file_and_no_name() {
    let (memory, fs) = over_memory();
    let volume = fs.volume_sync().unwrap().unwrap();
    put(&fs, "a", b"abc");
    put(&fs, "b", b"def");
    fs.fail(Op::SyncVolume, "", When::Nth(1), FaultKind::LostSync);
    assert_eq!(errno(volume.sync()), Errno::IO);
    volume.sync().unwrap();
    let found = memory.power_loss(Loss::Nothing, 0);
    assert_eq!((content(&found, "a").unwrap(), content(&found, "b").unwrap()), (vec![], vec![]));
}

#[test]
fn short_write_leaves_its_first_bytes() {
    let world = OnDisk::default();
    let on_disk: Arc<dyn FileSystem> = Arc::new(crate::fs::real::RealFs::open(world.dir.path()).unwrap());
    for fs in [over_memory().1, FaultyFs::new(on_disk)] {
        let file = put(&fs, "a", b"abc");
        let errno_full = Errno::NOSPC.raw_os_error();
        fs.fail(Op::Write, "a", When::Nth(1), FaultKind::ShortWrite { written: 3, errno: errno_full });
        fs.fail(Op::Write, "a", When::Nth(2), FaultKind::ShortWrite { written: 100, errno: errno_full });
        assert_eq!(errno(file.write_at(&[b"de", b"fg"], 3)), Errno::NOSPC);
        assert_eq!(content(&fs, "a").unwrap(), b"abcdef");
        assert_eq!(errno(file.write_at(&[b"gh"], 6)), Errno::NOSPC);
        assert_eq!(content(&fs, "a").unwrap(), b"abcdefgh");
        file.write_at(&[b"ij"], 8).unwrap();
    }
}

#[test]
fn sync_hangs_until_the_gate_is_released() {
    let (memory, fs) = over_memory();
    let file = put(&fs, "a", b"abc");
    fs.sync_dir("").unwrap();
    let gate = Gate::new();
    assert!(!gate.wait_until_hanging(Duration::ZERO));
    fs.fail(Op::SyncData, "a", When::Nth(1), FaultKind::Hang(gate.clone()));
    let syncing = thread::spawn({
        let file = Arc::clone(&file);
        move || file.sync_data()
    });
    assert!(gate.wait_until_hanging(LONG));
    open(&fs, "a").unwrap().write_at(&[b"d"], 3).unwrap();
    assert_eq!(content(&memory.power_loss(Loss::Nothing, 0), "a").unwrap(), b"");
    gate.release();
    syncing.join().unwrap().unwrap();
    assert_eq!(content(&memory.power_loss(Loss::Nothing, 0), "a").unwrap(), b"abcd");
    file.sync_data().unwrap();
}

#[test]
fn clones_share_rules_and_counts() {
    let (_, fs) = over_memory();
    fs.clone().fail(Op::Create, "a", When::Always, EIO);
    assert_eq!(errno(fs.create("a", Attributes::PRIVATE)), Errno::IO);
    assert_eq!(fs.clone().count(Op::Create, "a"), 1);
}
