#![allow(clippy::unwrap_used)]

use super::*;
use crate::apply::{
    seekable::SeekTable,
    view::{Location, tests::compressed::numbers, tests::laid_out},
};
use inkpot_wal::fs::{
    Access,
    faulty::{FaultKind, FaultyFs, Gate, Op, When},
    memory::{Loss, MemoryFs},
    read_all,
};
use rustix::io::Errno;
use std::{sync::Arc, time::Instant};

const FRAME: u64 = FRAME_BYTES as u64;
static GO_ON: AtomicBool = AtomicBool::new(false);
const LONG: Duration = Duration::from_secs(10);

fn target(path: &str) -> Target<'_> {
    Target { path, attributes: Attributes::PRIVATE, id: FileId::new(0, 1, 99) }
}

fn compress(fs: &dyn FileSystem, view: &FileView) -> io::Result<Compressed> {
    compress_file(fs, view, target("staged"), &GO_ON, Duration::ZERO)
}

fn copy(fs: &dyn FileSystem, view: &FileView, len: u64) -> io::Result<u32> {
    copy_file(fs, view, len, target("staged"), &GO_ON)
}

/// What a compressed file decodes to.
fn decoded(fs: &dyn FileSystem, path: &str) -> Vec<u8> {
    let stored = read_all(fs, path).unwrap();
    let table = SeekTable::read(fs.open(path, Access::Read).unwrap().as_ref()).unwrap();
    let content = zstd::stream::decode_all(stored.as_slice()).unwrap();
    assert_eq!(table.input_len(), content.len() as u64);
    content
}

/// A file of three frames: a part in the plain file, one put aside, the others in memory.
fn three_frames() -> (Vec<u8>, MemoryFs, Arc<FileView>) {
    let content = numbers(2 * FRAME + 50_000);
    let (fs, view) = laid_out(&content, 700_000, 1_200_000, &[100_000, content.len() - 1_300_000]);
    (content, fs, view)
}

fn exists(fs: &MemoryFs, path: &str) -> bool {
    fs.metadata(path).is_ok()
}

#[test]
fn everything_committed_is_compressed_wherever_it_lies() {
    let (content, fs, view) = three_frames();
    assert!(view.state().pending.len() == 2 && view.state().parked.is_some());
    let made = compress(&fs, &view).unwrap();
    let stored = fs.metadata("staged").unwrap().len;
    assert_eq!(made, Compressed { len: content.len() as u64, crc32c: crc32c::crc32c(&content), stored });
    assert!(decoded(&fs, "staged") == content);
    assert!(stored < content.len() as u64 / 2);
}

#[test]
fn first_bytes_are_copied_wherever_they_lie() {
    let (content, fs, view) = three_frames();
    for len in [0, 1, 700_000, 1_200_001, content.len()] {
        let crc32c = copy(&fs, &view, len as u64).unwrap();
        assert!(read_all(&fs, "staged").unwrap() == content[..len], "{len}");
        assert_eq!(crc32c, crc32c::crc32c(&content[..len]));
        fs.remove_file("staged").unwrap();
    }
}

#[test]
fn file_without_content_is_compressed_and_copied() {
    let (fs, view) = laid_out(b"", 0, 0, &[]);
    assert_eq!(compress(&fs, &view).unwrap(), Compressed { len: 0, crc32c: 0, stored: 17 });
    assert_eq!(decoded(&fs, "staged"), b"");
    fs.remove_file("staged").unwrap();
    assert_eq!(copy(&fs, &view, 0).unwrap(), 0);
    assert_eq!(read_all(&fs, "staged").unwrap(), b"");
}

#[test]
fn beginning_of_a_compressed_file_is_copied() {
    let content = numbers(FRAME + 3000);
    let (fs, view) = laid_out(&content, content.len(), content.len(), &[]);
    compress_file(&fs, &view, target("files/t/dir/f.zst"), &GO_ON, Duration::ZERO).unwrap();
    fs.open("files/t/dir/f.zst", Access::ReadWrite).unwrap().set_file_id(&view.id.to_bytes()).unwrap();
    fs.remove_file("files/t/dir/f").unwrap();
    view.place_mut().location = Location::Compressed;
    let len = FRAME_BYTES + 10;
    assert_eq!(copy(&fs, &view, len as u64).unwrap(), crc32c::crc32c(&content[..len]));
    assert!(read_all(&fs, "staged").unwrap() == content[..len]);
}

#[test]
fn copies_carry_their_id_and_wait_only_for_the_sync_of_their_directory() {
    let (content, fs, view) = three_frames();
    compress(&fs, &view).unwrap();
    copy_file(&fs, &view, 1000, target("copied"), &GO_ON).unwrap();
    fs.sync_dir("").unwrap();
    let found = fs.power_loss(Loss::Nothing, 1);
    assert!(decoded(&found, "staged") == content);
    assert_eq!(read_all(&found, "copied").unwrap(), content[..1000]);
    for path in ["staged", "copied"] {
        let id = found.open(path, Access::Read).unwrap().file_id().unwrap();
        assert_eq!(id.map(FileId::from_bytes), Some(FileId::new(0, 1, 99)), "{path}");
    }
}

#[test]
fn more_than_is_committed_is_not_copied() {
    let (content, fs, view) = three_frames();
    let error = copy(&fs, &view, content.len() as u64 + 1).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert!(error.to_string().contains("files/t/dir/f"), "{error}");
    assert!(!exists(&fs, "staged"));
}

#[test]
fn content_that_differs_from_what_was_committed_is_not_compressed() {
    let (content, fs, view) = three_frames();
    view.state().crc32c = Some(crc32c::crc32c(&content));
    compress(&fs, &view).unwrap();
    fs.remove_file("staged").unwrap();
    fs.flip_bit("files/t/dir/f", 5, 1).unwrap();
    let error = compress(&fs, &view).unwrap_err();
    assert!(error.kind() == io::ErrorKind::InvalidData && error.to_string().contains("files/t/dir/f"), "{error}");
    assert!(!exists(&fs, "staged"));
}

#[test]
fn file_that_stands_at_the_target_is_left_alone() {
    let (_, fs, view) = three_frames();
    fs.create("staged", Attributes::PRIVATE).unwrap().write_at(&[b"other"], 0).unwrap();
    assert_eq!(compress(&fs, &view).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(copy(&fs, &view, 1).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(read_all(&fs, "staged").unwrap(), b"other");
}

#[test]
fn error_at_any_step_is_passed_on_and_leaves_no_file() {
    let (_, memory, view) = three_frames();
    let steps = [
        (Op::Create, "staged", 1),
        (Op::SetFileId, "staged", 1),
        (Op::Open, "files/t/dir/f", 1),
        (Op::Read, "parked", 1),
        (Op::Write, "staged", 1),
        (Op::Write, "staged", 2),
        (Op::SyncAll, "staged", 1),
    ];
    for (op, path, nth) in steps {
        let fs = FaultyFs::over_memory(&memory);
        for what in ["compress", "copy"] {
            fs.clear();
            fs.fail(op, path, When::Nth(nth), FaultKind::Errno(Errno::NOSPC.raw_os_error()));
            let error = match what {
                "compress" => compress(&fs, &view).map(drop),
                _ => copy(&fs, &view, 1_900_000).map(drop),
            };
            assert_eq!(error.unwrap_err().raw_os_error(), Some(Errno::NOSPC.raw_os_error()), "{what}: {op:?} {nth}");
            assert!(!exists(&memory, "staged"), "{what}: {op:?} {nth}");
        }
    }
}

#[test]
fn cancelled_between_two_frames_it_ends_and_leaves_no_file() {
    let (_, memory, view) = three_frames();
    for what in ["compress", "copy"] {
        let (fs, gate, cancel) = (FaultyFs::over_memory(&memory), Gate::new(), AtomicBool::new(false));
        fs.fail(Op::Write, "staged", When::Nth(1), FaultKind::Hang(gate.clone()));
        let ended = thread::scope(|scope| {
            let copying = scope.spawn(|| match what {
                "compress" => compress_file(&fs, &view, target("staged"), &cancel, LONG).map(drop),
                _ => copy_file(&fs, &view, 1_900_000, target("staged"), &cancel).map(drop),
            });
            assert!(gate.wait_until_hanging(LONG));
            cancel.store(true, Ordering::Relaxed);
            gate.release();
            copying.join().unwrap()
        });
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::Interrupted, "{what}");
        assert_eq!(fs.count(Op::Write, "staged"), 1, "{what}");
        assert!(!exists(&memory, "staged"), "{what}");
    }
}

#[test]
fn it_rests_between_two_frames() {
    let (_, fs, view) = three_frames();
    let pause = Duration::from_millis(30);
    let start = Instant::now();
    compress_file(&fs, &view, target("staged"), &GO_ON, pause).unwrap();
    assert!(start.elapsed() >= 2 * pause, "three frames, so two rests");
}

#[test]
fn long_copy_is_synced_on_the_way() {
    let (memory, view) = laid_out(&numbers(20 * FRAME), 20 << 20, 20 << 20, &[]);
    let fs = FaultyFs::over_memory(&memory);
    copy(&fs, &view, 20 * FRAME).unwrap();
    assert_eq!((fs.count(Op::SyncData, "staged"), fs.count(Op::SyncAll, "staged")), (2, 1));
    fs.fail(Op::SyncData, "again", When::Nth(2), FaultKind::Errno(Errno::IO.raw_os_error()));
    let error = copy_file(&fs, &view, 20 * FRAME, target("again"), &GO_ON).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::IO.raw_os_error()));
    assert!(!exists(&memory, "again"));
}
