#![allow(clippy::unwrap_used)]

use super::*;
use crate::apply::{
    seekable,
    view::{Gone, Seen, tests::laid_out},
};
use inkpot_wal::fs::{
    Access,
    faulty::{FaultKind, FaultyFs, Op, When},
    memory::MemoryFs,
};
use rustix::io::Errno;
use std::sync::Arc;

const CONTENT: &[u8] = b"ten bytes, and as many again\n";

fn looked(fs: &dyn FileSystem, view: &FileView) -> Verdict {
    look(fs, view, &Pace::new(Duration::ZERO)).unwrap()
}

#[track_caller]
fn wrong(verdict: Verdict, damage: Damage) -> Finding {
    match verdict {
        Verdict::Wrong(finding) if finding.damage == damage => finding,
        other => panic!("{other:?}"),
    }
}

/// A file of which `applied` bytes are in the plain file, and the others in memory.
fn file(applied: usize) -> (MemoryFs, Arc<FileView>) {
    let pieces: Vec<usize> = [CONTENT.len() - applied].into_iter().filter(|len| *len > 0).collect();
    let (fs, view) = laid_out(CONTENT, applied, applied, &pieces);
    view.state().crc32c = Some(crc32c::crc32c(CONTENT));
    (fs, view)
}

fn plain(fs: &MemoryFs, view: &FileView) -> Arc<dyn File> {
    fs.open(&view.path(), Access::ReadWrite).unwrap()
}

/// As if our last write had left the file as it is now.
fn note_seen(fs: &MemoryFs, view: &FileView) {
    let metadata = fs.metadata(&view.path()).unwrap();
    view.state().seen = Some(Seen { inode: metadata.inode, modified: metadata.modified });
}

#[test]
fn file_is_good_however_much_of_it_is_in_memory() {
    for applied in [0, 1, 10, CONTENT.len()] {
        let (fs, view) = file(applied);
        let pace = Pace::new(Duration::ZERO);
        assert_eq!(look(&fs, &view, &pace), Ok(Verdict::Good), "{applied}");
        assert_eq!(pace.read.into_inner(), applied as u64, "only what is in the plain file is read");
    }
}

#[test]
fn bytes_that_the_applier_writes_meanwhile_are_no_damage() {
    let (fs, view) = file(10);
    plain(&fs, &view).write_at(&[&CONTENT[10..20]], 10).unwrap();
    assert_eq!(looked(&fs, &view), Verdict::Good);
}

#[test]
fn each_flipped_byte_is_found_with_both_checksums() {
    let (fs, view) = file(20);
    note_seen(&fs, &view);
    for at in 0..20 {
        let mut rotten = CONTENT[..20].to_vec();
        rotten[at] ^= 0x10;
        plain(&fs, &view).write_at(&[&rotten], 0).unwrap();
        note_seen(&fs, &view);
        let finding = wrong(looked(&fs, &view), Damage::Rotten);
        let found = [rotten.as_slice(), &CONTENT[20..]].concat();
        assert_eq!(finding.expected_crc32c, Some(crc32c::crc32c(CONTENT)));
        assert_eq!(finding.found_crc32c, Some(crc32c::crc32c(&found)));
        assert_eq!((finding.expected_size, finding.found_size), (CONTENT.len() as u64, Some(CONTENT.len() as u64)));
    }
}

#[test]
fn bytes_that_somebody_wrote_are_told_from_rot() {
    let (fs, view) = file(20);
    note_seen(&fs, &view);
    plain(&fs, &view).write_at(&[b"X"], 3).unwrap();
    view.state().seen.as_mut().unwrap().modified -= Duration::from_secs(1);
    let _ = wrong(looked(&fs, &view), Damage::Changed);
}

#[test]
fn shorter_longer_missing_and_replaced_files_are_told_apart() {
    let (fs, view) = file(20);
    plain(&fs, &view).set_len(19).unwrap();
    let finding = wrong(looked(&fs, &view), Damage::Truncated);
    assert_eq!((finding.found_size, finding.found_crc32c), (Some(19), None));
    let (fs, view) = file(20);
    plain(&fs, &view).set_len(CONTENT.len() as u64 + 1).unwrap();
    let _ = wrong(looked(&fs, &view), Damage::Changed);
    let (fs, view) = file(20);
    fs.remove_file(&view.path()).unwrap();
    let _ = wrong(looked(&fs, &view), Damage::Missing);
    let (fs, view) = file(20);
    plain(&fs, &view).set_file_id(&[9; 16]).unwrap();
    let _ = wrong(looked(&fs, &view), Damage::Changed);
    let (fs, view) = file(20);
    view.state().foreign = Some("was modified".to_owned());
    assert!(wrong(looked(&fs, &view), Damage::Changed).detail.contains("was modified"));
}

#[test]
fn bytes_that_the_disk_does_not_give_are_told_with_their_place() {
    let (memory, view) = file(20);
    let fs = FaultyFs::over_memory(&memory);
    fs.fail(Op::Read, &view.path(), When::Always, FaultKind::Errno(Errno::IO.raw_os_error()));
    assert!(wrong(looked(&fs, &view), Damage::Unreadable).detail.contains("at byte 0"));
}

#[test]
fn unknown_checksum_gone_content_and_a_caller_who_left_are_no_damage() {
    let (fs, view) = file(20);
    view.state().crc32c = None;
    assert_eq!(looked(&fs, &view), Verdict::WithoutChecksum);
    view.state().gone = Some(Gone::Deleted);
    fs.remove_file(&view.path()).unwrap();
    assert_eq!(looked(&fs, &view), Verdict::Gone);
    let pace = Pace::new(Duration::ZERO);
    pace.cancelled.store(true, Ordering::Relaxed);
    assert_eq!(look(&fs, &view, &pace), Err(Cancelled));
}

#[test]
fn compressed_file_is_held_against_what_it_holds() {
    let (fs, view) = file(CONTENT.len());
    let mut stored = Vec::new();
    let source = |offset: u64, max: usize| {
        let from = usize::try_from(offset).unwrap();
        Ok(Bytes::from_static(CONTENT).slice(from..CONTENT.len().min(from + max)))
    };
    let sink = |parts: &[&[u8]]| {
        stored.extend(parts.concat());
        Ok(())
    };
    let made = seekable::compress(source, CONTENT.len() as u64, sink).unwrap();
    view.state().compressed = Some(made.stored);
    view.place_mut().location = Location::Compressed;
    let put = |bytes: &[u8]| {
        let _ = fs.remove_file(&view.path());
        let file = fs.create(&view.path(), inkpot_wal::fs::Attributes::PRIVATE).unwrap();
        file.write_at(&[bytes], 0).unwrap();
        file.set_file_id(&view.id.to_bytes()).unwrap();
    };
    put(&stored);
    assert_eq!(looked(&fs, &view), Verdict::Good);
    // Behind the header of the frame: there are its content and its checksum, then the table.
    for at in 6..stored.len() {
        let mut rotten = stored.clone();
        rotten[at] ^= 0x04;
        put(&rotten);
        let _ = wrong(looked(&fs, &view), Damage::Rotten);
    }
    put(&stored[..stored.len() - 1]);
    let _ = wrong(looked(&fs, &view), Damage::Truncated);
}
