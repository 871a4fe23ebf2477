#![allow(clippy::unwrap_used)]

mod damage;

use super::*;
use inkpot_wal::fs::{Attributes, FileSystem, memory::MemoryFs};
use rand::{Rng, RngCore, SeedableRng, rngs::SmallRng};
use std::{
    io::Write,
    process::{Command, Stdio},
    sync::Arc,
};

const FRAME: usize = FRAME_BYTES;
/// On both sides of each change in the layout.
const LENGTHS: [usize; 8] = [0, 1, 1000, FRAME - 1, FRAME, FRAME + 1, 2 * FRAME, 3 * FRAME + 4321];

/// Lines of a log, and some bytes that do not compress.
fn content(len: usize) -> Vec<u8> {
    let mut rng = SmallRng::seed_from_u64(len as u64);
    let mut bytes = Vec::with_capacity(len + 100);
    while bytes.len() < len {
        writeln!(bytes, "request {} took {} ms", bytes.len(), rng.random_range(1..500)).unwrap();
        if rng.random_ratio(1, 50) {
            let mut noise = [0; 300];
            rng.fill_bytes(&mut noise);
            bytes.extend_from_slice(&noise);
        }
    }
    bytes.truncate(len);
    bytes
}

fn compressed(content: &[u8]) -> Vec<u8> {
    let mut stored = Vec::new();
    let source = |offset, max| Ok(part(content, offset, max));
    let done = compress(source, content.len() as u64, |parts| {
        stored.extend(parts.concat());
        Ok(())
    })
    .unwrap();
    let expected =
        Compressed { len: content.len() as u64, crc32c: crc32c::crc32c(content), stored: stored.len() as u64 };
    assert_eq!(done, expected);
    stored
}

fn part(content: &[u8], offset: u64, max: usize) -> Bytes {
    let rest = content.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
    Bytes::copy_from_slice(&rest[..rest.len().min(max)])
}

fn file(bytes: &[u8]) -> Arc<dyn File> {
    let file = MemoryFs::new().create("f", Attributes::PRIVATE).unwrap();
    file.write_at(&[bytes], 0).unwrap();
    file
}

/// Everything that can be read, the way that readers do: in pieces from the beginning on.
fn read_all(file: &dyn File) -> io::Result<Vec<u8>> {
    let table = SeekTable::read(file)?;
    let mut found = Vec::new();
    while (found.len() as u64) < table.input_len() {
        found.extend_from_slice(&table.read_at(file, found.len() as u64, 300_000)?);
    }
    Ok(found)
}

#[test]
fn content_of_any_length_is_read_back() {
    for len in LENGTHS {
        let content = content(len);
        let file = file(&compressed(&content));
        assert!(read_all(file.as_ref()).unwrap() == content, "{len}");
    }
}

#[test]
fn any_part_can_be_read_and_stays_within_its_frame() {
    let content = content(3 * FRAME + 4321);
    let file = file(&compressed(&content));
    let table = SeekTable::read(file.as_ref()).unwrap();
    let mut rng = SmallRng::seed_from_u64(1);
    for round in 0..200 {
        let border = rng.random_range(0..4) * FRAME as u64;
        let near = border.saturating_add_signed(rng.random_range(-5..5));
        let offset = if round % 2 == 0 { near } else { rng.random_range(0..content.len() as u64 + 10) };
        let max = [1, 7, 256 << 10, usize::MAX][rng.random_range(0..4)];
        let to_border = FRAME - usize::try_from(offset).unwrap() % FRAME;
        let found = table.read_at(file.as_ref(), offset, max).unwrap();
        assert!(found == part(&content, offset, max.min(to_border)), "{max} from {offset} on");
    }
}

#[test]
fn nothing_is_read_at_and_behind_the_end() {
    for len in [0, 1, FRAME] {
        let file = file(&compressed(&content(len)));
        let table = SeekTable::read(file.as_ref()).unwrap();
        assert_eq!(table.input_len(), len as u64);
        for offset in [len as u64, len as u64 + 1, u64::MAX] {
            assert!(table.read_at(file.as_ref(), offset, 10).unwrap().is_empty());
        }
        assert!(table.read_at(file.as_ref(), 0, 0).unwrap().is_empty());
    }
}

#[test]
fn layout_is_the_public_one() {
    let content = content(FRAME + 1000);
    let stored = compressed(&content);
    let number = |at: usize| u32::from_le_bytes(stored[at..at + 4].try_into().unwrap()) as usize;
    let table = stored.len() - 33;
    assert_eq!((number(table), number(table + 4)), (0x184D_2A5E, 25));
    assert_eq!(number(table + 8) + number(table + 16), table);
    assert_eq!((number(table + 12), number(table + 20)), (FRAME, 1000));
    assert_eq!((number(table + 24), stored[table + 28], number(table + 29)), (2, 0, 0x8F92_EAB1));
    assert_eq!(compressed(b""), [0x5E, 0x2A, 0x4D, 0x18, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0xB1, 0xEA, 0x92, 0x8F]);
}

#[test]
fn any_decoder_of_zstd_decodes_the_whole() {
    for len in LENGTHS {
        let content = content(len);
        assert!(zstd::stream::decode_all(compressed(&content).as_slice()).unwrap() == content, "{len}");
    }
}

#[test]
fn tool_zstd_decodes_the_file() {
    for len in [0, 1000, 2 * FRAME + 1] {
        let (content, dir) = (content(len), tempfile::tempdir().unwrap());
        let path = dir.path().join("f.zst");
        std::fs::write(&path, compressed(&content)).unwrap();
        let shown = Command::new("zstd").arg("-dc").arg(&path).stdin(Stdio::null()).output();
        let shown = shown.expect("zstd is missing: tests/run installs it");
        assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
        assert!(shown.stdout == content, "{len}");
    }
}

#[test]
fn source_may_give_pieces_of_any_size() {
    let content = content(2 * FRAME + 99);
    let expected = compressed(&content);
    let mut rng = SmallRng::seed_from_u64(2);
    let (mut stored, mut next) = (Vec::new(), 0);
    let source = |offset, max| {
        assert!(offset == next && (1..=FRAME).contains(&max));
        let piece = part(&content, offset, rng.random_range(1..=max.min(200_000)));
        next += piece.len() as u64;
        Ok(piece)
    };
    compress(source, content.len() as u64, |parts| {
        stored.extend(parts.concat());
        Ok(())
    })
    .unwrap();
    assert!(stored == expected);
    assert!(stored.len() < content.len());
}

#[test]
fn errors_of_either_side_end_it() {
    let fails = || io::Error::from(io::ErrorKind::StorageFull);
    let data = Bytes::from(vec![1; FRAME]);
    let error = compress(|_, _| Err(fails()), 5, |_| Ok(())).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    let error = compress(|_, _| Ok(data.clone()), 5, |_| Err(fails())).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    let ends = |offset, max: usize| Ok(if offset < 3 { data.slice(..max.min(3)) } else { Bytes::new() });
    let error = compress(ends, 5, |_| Ok(())).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert!(error.to_string().contains("at byte 3"), "{error}");
}

#[test]
fn more_than_the_format_can_tell_is_refused_before_anything_is_written() {
    for len in [(MAX_FRAMES * FRAME_BYTES as u64) + 1, u64::MAX] {
        let error = compress(|_, _| panic!("nothing is read"), len, |_| panic!("nothing is written")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}
