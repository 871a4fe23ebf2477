#![allow(clippy::unwrap_used)]

pub(in crate::apply) mod compressed;

use super::*;
use crate::shard::testing::view;
use inkpot_wal::fs::{
    Attributes,
    faulty::{FaultKind, FaultyFs, Op, When},
    memory::MemoryFs,
    parent,
};
use proptest::prelude::*;
use rustix::io::Errno;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

pub(in crate::apply) fn write(fs: &dyn FileSystem, path: &str, id: FileId, content: &[u8]) {
    let mut dirs: Vec<&str> =
        std::iter::successors(Some(parent(path)), |dir| Some(parent(dir))).take_while(|dir| !dir.is_empty()).collect();
    while let Some(dir) = dirs.pop() {
        fs.create_dir(dir, Attributes::PRIVATE_DIR).unwrap();
    }
    let file = fs.create(path, Attributes::PRIVATE).unwrap();
    file.set_file_id(&id.to_bytes()).unwrap();
    file.write_at(&[content], 0).unwrap();
}

/// A file whose first `applied` bytes are in the plain file, the next up to `parked` put aside, and the others in
/// pieces of these lengths in memory.
pub(in crate::apply) fn laid_out(
    content: &[u8],
    applied: usize,
    parked: usize,
    pieces: &[usize],
) -> (MemoryFs, Arc<FileView>) {
    let fs = MemoryFs::new();
    let mut state =
        ViewState { exists: true, committed: parked as u64, applied: applied as u64, ..ViewState::default() };
    for len in pieces {
        let from = usize::try_from(state.committed).unwrap();
        let data = Bytes::copy_from_slice(&content[from..from + len]);
        state.pending.push_back(Piece { offset: state.committed, data, sequence: 1 });
        state.committed += *len as u64;
    }
    if parked > applied {
        state.parked = Some(Parked { from: applied as u64, end: parked as u64 });
    }
    let view = view("dir/f", 7, state);
    write(&fs, &view.path(), view.id, &content[..applied]);
    if parked > applied {
        write(&fs, &view.parked_path(), view.id, &content[applied..parked]);
    }
    (fs, view)
}

pub(in crate::apply) fn data(chunk: io::Result<Chunk>) -> Bytes {
    chunk.unwrap().data
}

#[test]
fn piece_ends_after_its_last_byte() {
    assert_eq!(Piece { offset: 5, data: Bytes::from_static(b"abc"), sequence: 1 }.end(), 8);
}

#[test]
fn each_part_of_a_file_is_read_from_where_it_lies() {
    let (fs, view) = laid_out(b"0123456789", 3, 5, &[2, 3]);
    let cases: [(u64, usize, &[u8]); 9] = [
        (0, 99, b"012"),
        (1, 1, b"1"),
        (3, 99, b"34"),
        (4, 99, b"4"),
        (5, 99, b"56"),
        (6, 99, b"6"),
        (7, 2, b"78"),
        (9, 99, b"9"),
        (2, 0, b""),
    ];
    for (offset, max, expected) in cases {
        assert_eq!(view.read(&fs, offset, max).unwrap(), Chunk { data: Bytes::from_static(expected), end: 10 });
    }
}

#[test]
fn nothing_is_read_at_and_behind_the_committed_end() {
    let (fs, view) = laid_out(b"0123", 2, 2, &[1]);
    for offset in [3, 4, u64::MAX] {
        assert_eq!(view.read(&fs, offset, 99).unwrap(), Chunk { data: Bytes::new(), end: 3 });
    }
    let (fs, view) = laid_out(b"", 0, 0, &[]);
    assert_eq!(view.read(&fs, 0, 99).unwrap(), Chunk { data: Bytes::new(), end: 0 });
}

#[test]
fn plain_file_that_is_longer_than_what_is_committed_shows_no_more() {
    let (fs, view) = laid_out(b"0123", 4, 4, &[]);
    fs.open(&view.path(), Access::ReadWrite).unwrap().write_at(&[b"foreign"], 4).unwrap();
    assert_eq!(view.read(&fs, 2, 99).unwrap(), Chunk { data: Bytes::from_static(b"23"), end: 4 });
}

#[test]
fn bytes_in_memory_need_no_disk_and_are_not_copied() {
    let (memory, view) = laid_out(b"0123456789", 2, 2, &[4, 4]);
    let fs = FaultyFs::over_memory(&memory);
    fs.fail(Op::Open, "", When::Always, FaultKind::Errno(Errno::IO.raw_os_error()));
    let kept = view.state().pending[1].data.clone();
    let read = data(view.read(&fs, 7, 2));
    assert_eq!((&read[..], read.as_ptr()), (&b"78"[..], kept[1..].as_ptr()));
    assert_eq!(view.read(&fs, 1, 9).unwrap_err().raw_os_error(), Some(Errno::IO.raw_os_error()));
}

#[test]
fn lost_bytes_are_an_error_that_says_where() {
    let (fs, view) = laid_out(b"0123456789", 6, 8, &[2]);
    fs.open("files/t/dir/f", Access::ReadWrite).unwrap().set_len(4).unwrap();
    let error = view.read(&fs, 1, 99).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert!(error.to_string().contains("files/t/dir/f ends at byte 4"), "{error}");
    assert_eq!(data(view.read(&fs, 1, 3)), "123", "what is there can be read");
    fs.remove_file("files/t/dir/f").unwrap();
    let error = view.read(&fs, 1, 3).unwrap_err();
    assert!(error.kind() == io::ErrorKind::UnexpectedEof && error.to_string().contains("was deleted"), "{error}");
    assert_eq!(data(view.read(&fs, 6, 99)), "67");
    fs.remove_file(&view.parked_path()).unwrap();
    assert_eq!(view.read(&fs, 6, 99).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(data(view.read(&fs, 8, 99)), "89");
}

#[test]
fn bytes_of_a_file_that_somebody_else_put_there_are_not_read() {
    let (fs, view) = laid_out(b"0123", 3, 3, &[1]);
    fs.remove_file("files/t/dir/f").unwrap();
    let foreign = fs.create("files/t/dir/f", Attributes::PRIVATE).unwrap();
    foreign.write_at(&[b"abc"], 0).unwrap();
    for id in [None, Some(FileId::new(0, 1, 8))] {
        id.into_iter().for_each(|id| foreign.set_file_id(&id.to_bytes()).unwrap());
        assert_eq!(view.read(&fs, 0, 99).unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "with id {id:?}");
    }
    assert_eq!(data(view.read(&fs, 3, 99)), "3");
}

#[test]
fn parked_bytes_lie_with_the_shard_under_the_id() {
    let view = Arc::new(FileView::new(crate::shard::testing::key("f"), FileId::new(3, 1, 2), 1, ViewState::default()));
    assert_eq!(view.parked_path(), format!("shards/0003/parked/{}", view.id));
}

#[test]
fn summary_tells_what_the_state_says() {
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(9);
    let state = ViewState { committed: 30, applied: 10, synced: 20, producers: 4, ..ViewState::default() };
    let view = view("dir/f", 7, state);
    let mut expected = FileSummary {
        path: view.key().path,
        size: 30,
        applied_size: 10,
        synced_size: 20,
        generation: 7,
        sealed: false,
        producers: 4,
        modified: None,
        foreign_change: false,
        crc32c: None,
        stored_size: 10,
        compressed: false,
        rotated: None,
    };
    assert_eq!(view.summary(), expected);
    view.state().seen = Some(Seen { inode: 1, modified });
    view.state().foreign = Some("was deleted".to_owned());
    (expected.modified, expected.foreign_change) = (Some(modified), true);
    assert_eq!(view.summary(), expected);
}

#[test]
fn reader_sees_the_same_bytes_while_they_move_to_the_plain_file() {
    const PIECES: u8 = 200;
    let content: Vec<u8> = (0..PIECES).flat_map(|n| [n; 50]).collect();
    let (fs, view) = laid_out(&content, 0, 0, &[50; PIECES as usize]);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let is_last = done.load(Ordering::Acquire);
                    let mut found = Vec::new();
                    while found.len() < content.len() {
                        let read = data(view.read(&fs, found.len() as u64, 333));
                        assert!(!read.is_empty());
                        found.extend_from_slice(&read);
                    }
                    assert!(found == content);
                    if is_last {
                        return;
                    }
                }
            });
        }
        let plain = fs.open(&view.path(), Access::ReadWrite).unwrap();
        for _ in 0..PIECES {
            let piece = view.state().pending[0].clone();
            plain.write_at(&[&piece.data], piece.offset).unwrap();
            let mut state = view.state();
            state.pending.pop_front();
            state.applied = piece.end();
            drop(state);
            thread::yield_now();
        }
        done.store(true, Ordering::Release);
    });
}

proptest! {
    #[test]
    fn any_part_of_any_layout_is_what_was_committed(
        applied in 0..20usize, parked in 0..20usize, pieces in prop::collection::vec(1..9usize, 0..6),
        offset in 0..90u64, max in 1..40usize,
    ) {
        let parked = applied + parked;
        let content: Vec<u8> = (0..).take(parked + pieces.iter().sum::<usize>()).collect();
        let (fs, view) = laid_out(&content, applied, parked, &pieces);
        let read = view.read(&fs, offset, max).unwrap();
        let rest = content.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        prop_assert_eq!(read.end, content.len() as u64);
        prop_assert!(read.data.len() <= max && rest.starts_with(&read.data));
        prop_assert_eq!(read.data.is_empty(), rest.is_empty());
        let mut all = Vec::new();
        while all.len() < content.len() {
            all.extend_from_slice(&data(view.read(&fs, all.len() as u64, max)));
        }
        prop_assert_eq!(all, content);
    }
}
