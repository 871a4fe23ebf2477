use super::*;
use inkpot_wal::fs::{FILE_ID_BYTES, Metadata};
use std::{io, sync::Mutex};

/// A file that only takes hints.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<(u64, u64)>>);

impl Told {
    fn hints(&self) -> Vec<(u64, u64)> {
        std::mem::take(&mut self.0.lock().expect("nobody panics"))
    }
}

impl File for Told {
    fn drop_cached(&self, offset: u64, len: u64) {
        self.0.lock().expect("nobody panics").push((offset, len));
    }

    fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
        unreachable!("nothing but hints")
    }

    fn write_at(&self, _: &[&[u8]], _: u64) -> io::Result<()> {
        unreachable!("nothing but hints")
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        unreachable!("nothing but hints")
    }

    fn sync_data(&self) -> io::Result<()> {
        unreachable!("nothing but hints")
    }

    fn sync_all(&self) -> io::Result<()> {
        unreachable!("nothing but hints")
    }

    fn metadata(&self) -> io::Result<Metadata> {
        unreachable!("nothing but hints")
    }

    fn set_file_id(&self, _: &[u8; FILE_ID_BYTES]) -> io::Result<()> {
        unreachable!("nothing but hints")
    }

    fn file_id(&self) -> io::Result<Option<[u8; FILE_ID_BYTES]>> {
        unreachable!("nothing but hints")
    }
}

fn file() -> (Arc<Told>, Arc<dyn File>) {
    let told = Arc::new(Told::default());
    (Arc::clone(&told), told)
}

fn id(number: u64) -> FileId {
    FileId::new(0, 1, number)
}

#[test]
fn bytes_that_follow_each_other_go_together_and_leave_when_there_are_too_many() {
    let ((a, file_a), (b, file_b)) = (file(), file());
    let mut trail = Trail::default();
    let half = PIECE_BYTES / 2;
    trail.wrote(id(1), &file_a, 0, half);
    assert_eq!(a.hints(), []);
    trail.wrote(id(1), &file_a, half, half + 1);
    assert_eq!(a.hints(), [(0, 2 * half + 1)], "it is on its way");
    trail.wrote(id(2), &file_b, 0, KEPT_BYTES - (2 * half + 1));
    assert_eq!((a.hints(), b.hints().len()), (vec![], 1), "there is room for all of it");
    trail.wrote(id(2), &file_b, KEPT_BYTES - (2 * half + 1), PIECE_BYTES);
    assert_eq!(a.hints(), [(0, 2 * half + 1)], "the oldest leaves");
    assert_eq!(trail.bytes, KEPT_BYTES - (2 * half + 1) + PIECE_BYTES);
}

#[test]
fn what_does_not_follow_begins_anew_as_does_everything_after_a_sync() {
    let (a, file_a) = file();
    let mut trail = Trail::default();
    trail.wrote(id(1), &file_a, 0, PIECE_BYTES - 1);
    trail.wrote(id(1), &file_a, PIECE_BYTES * 7, 10);
    assert_eq!(a.hints(), []);
    trail.synced();
    trail.wrote(id(1), &file_a, PIECE_BYTES * 7 + 10, PIECE_BYTES);
    assert_eq!(a.hints(), [(PIECE_BYTES * 7 + 10, PIECE_BYTES)]);
}

#[test]
fn file_that_ends_lets_go_of_what_has_gathered() {
    let (a, file_a) = file();
    let mut trail = Trail::default();
    trail.wrote(id(1), &file_a, 0, 10);
    trail.ended(id(1), &file_a);
    assert_eq!((a.hints(), trail.runs.len()), (vec![(0, 10)], 0));
    trail.ended(id(1), &file_a);
    assert_eq!(a.hints(), []);
}
