//! A frame: what one commit writes. Pure encoding and checking, no I/O.
//!
//! Little-endian: magic `u32`, version `u8`, kind `u8`, flags `u16`, payload length `u32`, crc32c of the payload `u32`,
//! sequence `u64`, durable-through `u64`, crc32c of the header `u32`, zero `u32`, then the payload, padded with zeros to
//! [`ALIGN`]. The checksum of the header covers all of it and, without storing them, where the frame belongs
//! ([`Place`]): a frame that was left by an earlier use of the segment, or that the disk put elsewhere, does not pass.
//!
//! The header has a checksum of its own so that a search for frames believes no length before it is proven: a payload
//! full of bytes that look like headers costs nothing.

use crate::planted::{self, Bug};
use bytes::Bytes;
use std::ops::Range;

/// Bytes of a frame before its payload.
pub const HEADER_BYTES: usize = 40;
/// Frames begin at multiples of this many bytes, so that a search for the next one after damage is quick.
pub const ALIGN: usize = 8;

const MAGIC: u32 = u32::from_le_bytes(*b"INKF");
const VERSION: u8 = 1;
const FLAG_REWRITTEN: u16 = 1;
/// Where the checksum of the header stands in it.
const SIGNATURE: Range<usize> = 32..36;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Decisions of a shard; the payload is theirs.
    Decisions = 1,
    /// Nothing but proof that the frames before it are durable.
    Seal = 2,
    /// The start of an epoch; see [`crate::recovery::Begin`].
    Begin = 3,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Decisions, Self::Seal, Self::Begin].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Where a frame belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the shard.
    pub shard: u32,
    /// Epoch of the segment.
    pub epoch: u64,
    /// Random number of the segment's present use.
    pub nonce: u64,
    /// Where the frame begins in the segment, in bytes.
    pub offset: u64,
}

/// What the header of a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame is for.
    pub kind: Kind,
    /// Whether an earlier epoch wrote it first, and recovery carried it over.
    pub rewritten: bool,
    /// Number of the frame: dense over all epochs of the shard, from 1.
    pub sequence: u64,
    /// The highest sequence that was known to be durable when this frame was written; inclusive.
    pub durable_through: u64,
}

/// A frame with its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What its header says.
    pub header: Header,
    /// Its payload.
    pub payload: Bytes,
}

/// Bytes that a frame with a payload of `payload` bytes takes in a segment, padding included.
#[must_use]
pub fn size(payload: usize) -> usize {
    (HEADER_BYTES + payload).next_multiple_of(ALIGN)
}

/// The header of a frame whose payload is `parts`, one after the other.
///
/// # Panics
/// If the payload has 4 GiB or more: segments are smaller, so the caller has checked.
#[must_use]
pub fn encode(header: Header, parts: &[&[u8]], place: Place) -> [u8; HEADER_BYTES] {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut bytes = [0; HEADER_BYTES];
    bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    bytes[4] = VERSION;
    bytes[5] = header.kind as u8;
    let flags = if header.rewritten { FLAG_REWRITTEN } else { 0 };
    bytes[6..8].copy_from_slice(&flags.to_le_bytes());
    bytes[8..12].copy_from_slice(&u32::try_from(length).expect("a frame is smaller than its segment").to_le_bytes());
    bytes[12..16].copy_from_slice(&checksum(parts).to_le_bytes());
    bytes[16..24].copy_from_slice(&header.sequence.to_le_bytes());
    bytes[24..32].copy_from_slice(&header.durable_through.to_le_bytes());
    let signature = signature(&bytes, place);
    bytes[SIGNATURE].copy_from_slice(&signature.to_le_bytes());
    bytes
}

/// The frame at the beginning of `bytes`, if a valid one begins there, and how many bytes its payload has.
#[must_use]
pub fn decode(bytes: &[u8], place: Place) -> Option<(Header, usize)> {
    let head: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
    if word(head, 0) != MAGIC || head[4] != VERSION {
        return None;
    }
    let mut unsigned = *head;
    unsigned[SIGNATURE].fill(0);
    if signature(&unsigned, place) != word(head, SIGNATURE.start) {
        return None;
    }
    let length = usize::try_from(word(head, 8)).ok()?;
    let end = HEADER_BYTES.checked_add(length)?;
    let payload = bytes.get(HEADER_BYTES..end)?;
    let padding = bytes.get(end..end.checked_next_multiple_of(ALIGN)?)?;
    let is_whole = checksum(&[payload]) == word(head, 12) && padding.iter().all(|byte| *byte == 0);
    if !is_whole && !planted::is(Bug::TornTailAccepted) {
        return None;
    }
    let flags = u16::from_le_bytes([head[6], head[7]]);
    let header = Header {
        kind: Kind::from_byte(head[5])?,
        rewritten: flags & FLAG_REWRITTEN != 0,
        sequence: long(head, 16),
        durable_through: long(head, 24),
    };
    Some((header, length))
}

/// Whether the beginning of `bytes` looks as if frame `sequence` had been begun there: a guess, for reports only.
#[must_use]
pub fn looks_begun(bytes: &[u8], sequence: u64) -> bool {
    bytes.first_chunk().is_some_and(|head| word(head, 0) == MAGIC && long(head, 16) == sequence)
}

fn word(head: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
}

fn long(head: &[u8; HEADER_BYTES], at: usize) -> u64 {
    u64::from(word(head, at)) | u64::from(word(head, at + 4)) << 32
}

fn checksum(parts: &[&[u8]]) -> u32 {
    parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part))
}

/// Checksum of a header, whose own place for it is zero, and of where it belongs.
fn signature(header: &[u8; HEADER_BYTES], place: Place) -> u32 {
    let mut context = [0; 28];
    context[0..4].copy_from_slice(&place.shard.to_le_bytes());
    context[4..12].copy_from_slice(&place.epoch.to_le_bytes());
    context[12..20].copy_from_slice(&place.nonce.to_le_bytes());
    context[20..28].copy_from_slice(&place.offset.to_le_bytes());
    checksum(&[header, &context])
}

#[cfg(test)]
mod tests;
