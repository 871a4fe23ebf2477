//! Views whose plain file is compressed.

use super::*;
use crate::apply::{
    compress::{Target, compress_file},
    seekable::FRAME_BYTES,
};
use inkpot_wal::fs::Existing;
use rand::{Rng, SeedableRng, rngs::SmallRng};

const FRAME: u64 = FRAME_BYTES as u64;

/// Content of which no two kilobytes are alike, and which compresses well.
pub(in crate::apply) fn numbers(len: u64) -> Vec<u8> {
    let len = usize::try_from(len).unwrap();
    let mut bytes: Vec<u8> = (0..).flat_map(|n: u32| format!("{n}\n").into_bytes()).take(len).collect();
    bytes.truncate(len);
    bytes
}

/// Puts the compressed file in the place of the plain one, as the shard does.
pub(in crate::apply) fn swap_for_compressed(fs: &dyn FileSystem, view: &FileView) {
    let target = Target { path: "staged", attributes: Attributes::PRIVATE, id: view.id };
    let made = compress_file(fs, view, target, &AtomicBool::new(false), Duration::ZERO).unwrap();
    let mut place = view.place_mut();
    let plain = view.path_at(&place);
    place.location = Location::Compressed;
    fs.rename("staged", &view.path_at(&place), Existing::Keep).unwrap();
    fs.remove_file(&plain).unwrap();
    drop(place);
    view.state().compressed = Some(made.stored);
}

/// A file with this content, all of it in the plain file, which is compressed.
fn compressed(content: &[u8]) -> (MemoryFs, Arc<FileView>) {
    let (fs, view) = laid_out(content, content.len(), content.len(), &[]);
    swap_for_compressed(&fs, &view);
    (fs, view)
}

fn read_whole(fs: &dyn FileSystem, view: &FileView, max: usize) -> Vec<u8> {
    let mut found = Vec::new();
    loop {
        let read = data(view.read(fs, found.len() as u64, max));
        if read.is_empty() {
            return found;
        }
        found.extend_from_slice(&read);
    }
}

#[test]
fn compressed_file_is_read_at_the_offsets_of_its_content() {
    let content = numbers(2 * FRAME + 12_345);
    let (fs, view) = compressed(&content);
    assert!(fs.metadata("files/t/dir/f.zst").unwrap().len < FRAME);
    assert!(read_whole(&fs, &view, 300_000) == content);
    let mut rng = SmallRng::seed_from_u64(1);
    for _ in 0..50 {
        let (offset, max) = (rng.random_range(0..content.len()), rng.random_range(1..400_000));
        let read = view.read(&fs, offset as u64, max).unwrap();
        assert_eq!(read.end, content.len() as u64);
        assert!(!read.data.is_empty() && read.data.len() <= max && content[offset..].starts_with(&read.data));
    }
    assert!(data(view.read(&fs, content.len() as u64, 10)).is_empty());
}

#[test]
fn bytes_that_are_not_in_the_compressed_file_are_read_from_where_they_lie() {
    let content = numbers(60);
    let (fs, view) = laid_out(&content, 20, 40, &[20]);
    view.state().committed = 20;
    swap_for_compressed(&fs, &view);
    view.state().committed = 60;
    assert_eq!(data(view.read(&fs, 15, 99)), content[15..20]);
    assert_eq!(data(view.read(&fs, 25, 99)), content[25..40]);
    assert_eq!(data(view.read(&fs, 50, 99)), content[50..]);
    assert_eq!(read_whole(&fs, &view, 7), content);
}

#[test]
fn seek_table_is_read_once_for_many_reads_of_the_same_file() {
    let content = numbers(2 * FRAME);
    let (memory, view) = compressed(&content);
    let fs = FaultyFs::over_memory(&memory);
    assert!(read_whole(&fs, &view, 256 << 10) == content);
    assert_eq!(fs.count(Op::Read, "f.zst"), 8 + 3, "footer, header and entries once");
}

#[test]
fn file_that_was_put_in_its_place_is_read_with_its_own_table() {
    let content = numbers(FRAME + 50);
    let (fs, view) = compressed(&content);
    assert_eq!(data(view.read(&fs, FRAME, 99)), content[FRAME_BYTES..]);
    let upper = content.to_ascii_uppercase().repeat(2);
    let (other, longer) = compressed(&upper);
    let bytes = inkpot_wal::fs::read_all(&other, &longer.path()).unwrap();
    fs.remove_file(&view.path()).unwrap();
    let file = fs.create(&view.path(), Attributes::PRIVATE).unwrap();
    file.set_file_id(&view.id.to_bytes()).unwrap();
    file.write_at(&[&bytes], 0).unwrap();
    view.state().applied = upper.len() as u64;
    view.state().committed = upper.len() as u64;
    assert!(read_whole(&fs, &view, 1 << 20) == upper);
}

#[test]
fn damage_is_an_error_that_names_the_file() {
    let content = numbers(FRAME + 50);
    let (fs, view) = compressed(&content);
    let size = fs.metadata(&view.path()).unwrap().len;
    fs.flip_bit(&view.path(), 100, 3).unwrap();
    let error = view.read(&fs, 5, 99).unwrap_err();
    assert!(error.kind() == io::ErrorKind::InvalidData && error.to_string().contains("files/t/dir/f.zst"), "{error}");
    assert_eq!(data(view.read(&fs, FRAME, 99)), content[FRAME_BYTES..], "the other frame can be read");
    fs.cut(&view.path(), size - 1).unwrap();
    let error = view.read(&fs, FRAME, 99).unwrap_err();
    assert!(error.kind() == io::ErrorKind::InvalidData && error.to_string().contains("seek table"), "{error}");
    fs.remove_file(&view.path()).unwrap();
    let error = view.read(&fs, 0, 99).unwrap_err();
    assert!(error.kind() == io::ErrorKind::UnexpectedEof && error.to_string().contains("was deleted"), "{error}");
}

#[test]
fn compressed_file_with_less_than_was_applied_is_damaged() {
    let (fs, view) = compressed(b"0123456789");
    view.state().applied = 12;
    view.state().committed = 12;
    assert_eq!(data(view.read(&fs, 8, 99)), "89");
    let error = view.read(&fs, 10, 99).unwrap_err();
    assert!(error.kind() == io::ErrorKind::InvalidData && error.to_string().contains("has 10 bytes"), "{error}");
}

#[test]
fn errors_of_the_disk_are_passed_on_as_they_are() {
    let (memory, view) = compressed(b"0123456789");
    for (op, nth) in [(Op::Open, 1), (Op::Metadata, 1), (Op::Read, 1), (Op::Read, 4)] {
        let fs = FaultyFs::over_memory(&memory);
        let view = FileView::at(
            view.place().clone(),
            0,
            view.id,
            1,
            ViewState { committed: 10, applied: 10, ..ViewState::default() },
        );
        fs.fail(op, "", When::Nth(nth), FaultKind::Errno(Errno::IO.raw_os_error()));
        let error = view.read(&fs, 0, 99).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::IO.raw_os_error()), "{op:?} {nth}");
        assert_eq!(data(view.read(&fs, 0, 99)), "0123456789");
    }
}

#[test]
fn reader_sees_the_same_bytes_while_the_file_is_compressed() {
    let content = numbers(FRAME + 999);
    let (started, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let (fs, view) = laid_out(&content, content.len(), content.len(), &[]);
    thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                let is_last = done.load(Ordering::Acquire);
                assert!(read_whole(&fs, &view, 100_000) == content);
                started.store(true, Ordering::Release);
                if is_last {
                    return;
                }
            }
        });
        while !started.load(Ordering::Acquire) {
            thread::yield_now();
        }
        swap_for_compressed(&fs, &view);
        done.store(true, Ordering::Release);
    });
}
