//! Compressed files.

use crate::{
    edits::{Input, edit},
    memory::within,
};
use bytes::Bytes;
use inkpot_server::apply::seekable::{FRAME_BYTES, SeekTable, compress};
use inkpot_wal::fs::{Attributes, File, FileSystem, memory::MemoryFs};
use std::sync::{Arc, OnceLock};

/// Two frames, stored and decoded, and what the decoder needs.
const BASE: usize = 6 * FRAME_BYTES;
const OF_A_BYTE: usize = 32;
/// Most bytes that one read asks for here.
const PIECE: usize = 64 << 10;

/// A compressed file: any bytes, or what compressing gave and a disk damaged. Reading gives what went in, or says that the
/// file is damaged; each frame has a checksum of its own.
pub fn seekable(bytes: &[u8]) {
    let mut input = Input(bytes);
    let (which, at) = (usize::from(input.byte()), u64::from(u32::from_le_bytes(input.array())));
    match samples().get(which % 8) {
        Some((content, stored)) => {
            let mut stored = stored.clone();
            edit(&mut stored, &mut input);
            read(&stored, Some(content), at);
        }
        None => read(input.0, None, at),
    }
}

/// Contents and what compressing them gives: the sizes around those of frames.
fn samples() -> &'static [(Vec<u8>, Vec<u8>)] {
    static SAMPLES: OnceLock<Vec<(Vec<u8>, Vec<u8>)>> = OnceLock::new();
    let sizes = [0, 1, 1000, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 5000];
    SAMPLES.get_or_init(|| sizes.into_iter().map(sample).collect())
}

fn sample(len: usize) -> (Vec<u8>, Vec<u8>) {
    let content: Vec<u8> = (0..len).map(|at| (at / 7) as u8 ^ (at >> 9) as u8).collect();
    let mut stored = Vec::new();
    let source = |at: u64, most: usize| {
        let at = at as usize;
        Ok(Bytes::copy_from_slice(&content[at..content.len().min(at + most)]))
    };
    let sink = |parts: &[&[u8]]| {
        stored.extend(parts.iter().flat_map(|part| part.iter().copied()));
        Ok(())
    };
    compress(source, len as u64, sink).expect("there is enough to compress");
    (content, stored)
}

/// Reads at an offset and at the end.
fn read(stored: &[u8], content: Option<&[u8]>, at: u64) {
    let machine = MemoryFs::new();
    let file: Arc<dyn File> = machine.create("f", Attributes::PRIVATE).expect("an empty folder");
    file.write_at(&[stored], 0).expect("there is room");
    within(BASE + OF_A_BYTE * stored.len(), || {
        let Ok(table) = SeekTable::read(&*file) else { return };
        let len = table.input_len();
        for offset in [at % len.saturating_add(1), at, len, u64::MAX] {
            let Ok(piece) = table.read_at(&*file, offset, PIECE) else { continue };
            assert!(piece.len() <= PIECE && (offset >= len) == piece.is_empty());
            let Some(content) = content.filter(|_| !piece.is_empty()) else { continue };
            let expected = content.get(offset as usize..offset as usize + piece.len());
            assert_eq!(Some(&piece[..]), expected, "at {offset}: other bytes than were compressed, and no error");
        }
    });
}
