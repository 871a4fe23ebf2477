//! Compressed content that can be read from any offset: zstd frames of [`FRAME_BYTES`] of input each (the last may have
//! less), then a seek table in a frame that decoders skip. `zstd -d` decodes the file.
//!
//! The layout is that of `contrib/seekable_format` in the sources of zstd, without checksums in the table: each frame
//! has one of its own. All numbers are little-endian:
//!
//! ```text
//! frame, frame, ...
//! 0x184D2A5E u32, bytes that follow u32
//! per frame: bytes in the file u32, bytes of input u32
//! number of frames u32, descriptor u8 (0), 0x8F92EAB1 u32
//! ```
//!
//! Nothing that a damaged file says is believed before it fits the size of the file and the bounds below.

use bytes::Bytes;
use inkpot_wal::fs::File;
use std::io;
use zstd::bulk::{Compressor, decompress};

/// Input of each frame but the last, in bytes: what one read has to decode, and the memory that it takes.
pub const FRAME_BYTES: usize = 1 << 20;

/// zstd's own default; more takes much longer for little.
const LEVEL: i32 = zstd::DEFAULT_COMPRESSION_LEVEL;
const SKIPPABLE_MAGIC: u32 = 0x184D_2A5E;
const SEEKABLE_MAGIC: u32 = 0x8F92_EAB1;
/// Most frames that the format allows.
const MAX_FRAMES: u64 = 0x800_0000;
const HEADER_BYTES: u64 = 8;
const ENTRY_BYTES: u64 = 8;
const FOOTER_BYTES: u64 = 9;

/// What compressing came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compressed {
    /// Bytes of input.
    pub len: u64,
    /// crc32c of the input.
    pub crc32c: u32,
    /// Bytes of output.
    pub stored: u64,
}

/// Compresses `len` bytes. `source` gives up to so many bytes (the second argument) from an offset (the first) on, and at
/// least one; `sink` takes what comes next, first each frame, then the table. Takes memory for about two frames.
///
/// # Errors
/// Those of `source` and `sink`; `UnexpectedEof` if `source` gives nothing, `FileTooLarge` beyond 128 TiB.
pub fn compress(
    mut source: impl FnMut(u64, usize) -> io::Result<Bytes>,
    len: u64,
    mut sink: impl FnMut(&[&[u8]]) -> io::Result<()>,
) -> io::Result<Compressed> {
    let frames = len.div_ceil(FRAME_BYTES as u64);
    if frames > MAX_FRAMES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("{len} bytes are too many to compress")));
    }
    let mut compressor = Compressor::new(LEVEL)?;
    compressor.include_checksum(true)?;
    let largest = frame_len(0, len);
    let (mut input, mut output) = (Vec::with_capacity(largest), Vec::with_capacity(zstd::compress_bound(largest)));
    let mut done = Compressed { len, crc32c: 0, stored: 0 };
    let mut entries = Vec::new();
    for frame in 0..frames {
        gather(&mut source, &mut input, frame * FRAME_BYTES as u64, frame_len(frame, len))?;
        output.clear();
        compressor.compress_to_buffer(&input, &mut output)?;
        sink(&[&output])?;
        done.crc32c = crc32c::crc32c_append(done.crc32c, &input);
        done.stored += output.len() as u64;
        for bytes in [output.len(), input.len()] {
            entries.extend_from_slice(&u32::try_from(bytes).map_err(io::Error::other)?.to_le_bytes());
        }
    }
    let frames = u32::try_from(frames).map_err(io::Error::other)?;
    sink(&[&header(frames), &entries, &footer(frames)])?;
    done.stored += table_bytes(frames);
    Ok(done)
}

/// Replaces `input` by the `len` bytes from `start` on.
fn gather(
    source: &mut impl FnMut(u64, usize) -> io::Result<Bytes>,
    input: &mut Vec<u8>,
    start: u64,
    len: usize,
) -> io::Result<()> {
    input.clear();
    while input.len() < len {
        let (at, rest) = (start + input.len() as u64, len - input.len());
        let piece = source(at, rest)?;
        if piece.is_empty() {
            let text = format!("there is nothing to compress at byte {at}, before the end");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        input.extend_from_slice(&piece[..piece.len().min(rest)]);
    }
    Ok(())
}

/// Where the frames of a compressed file lie. Takes 8 bytes of memory per frame.
#[derive(Debug, PartialEq, Eq)]
pub struct SeekTable {
    /// Where each frame ends in the file; it begins where the one before ends.
    ends: Vec<u64>,
    /// Bytes of input.
    len: u64,
}

impl SeekTable {
    /// Reads the table of a compressed file.
    ///
    /// # Errors
    /// `InvalidData` if this is not the whole of what [`compress`] gave; those of the file system.
    pub fn read(file: &dyn File) -> io::Result<Self> {
        let size = file.metadata()?.len;
        let at = size.checked_sub(FOOTER_BYTES).ok_or_else(|| damaged("it is too short for a seek table"))?;
        let found: [u8; FOOTER_BYTES as usize] = read_array(file, at)?;
        let [a, b, c, d, ..] = found;
        let frames = u32::from_le_bytes([a, b, c, d]);
        if found != footer(frames) {
            return Err(damaged("it does not end with a seek table"));
        }
        let table_at = size.checked_sub(table_bytes(frames)).filter(|_| u64::from(frames) <= MAX_FRAMES);
        let table_at = table_at.ok_or_else(|| damaged("its seek table is longer than the file"))?;
        if read_array(file, table_at)? != header(frames) {
            return Err(damaged("its seek table does not begin where it should"));
        }
        let mut entries = vec![0; usize::try_from(u64::from(frames) * ENTRY_BYTES).map_err(io::Error::other)?];
        fill(file, &mut entries, table_at + HEADER_BYTES)?;
        Self::of(&entries, table_at)
    }

    /// The table with these entries of a file whose frames end at `table_at`.
    fn of(entries: &[u8], table_at: u64) -> io::Result<Self> {
        let (entries, _) = entries.as_chunks::<{ ENTRY_BYTES as usize }>();
        let mut table = Self { ends: Vec::with_capacity(entries.len()), len: 0 };
        let mut end = 0;
        for (index, [a, b, c, d, e, f, g, h]) in entries.iter().enumerate() {
            let stored = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
            let len = u32::from_le_bytes([*e, *f, *g, *h]) as usize;
            let is_last = index + 1 == entries.len();
            let fits = if is_last { (1..=FRAME_BYTES).contains(&len) } else { len == FRAME_BYTES };
            if !fits || !(1..=zstd::compress_bound(FRAME_BYTES)).contains(&stored) {
                return Err(damaged(format!("its seek table has {stored} bytes for {len} as frame {index}")));
            }
            end += stored as u64;
            table.ends.push(end);
            table.len += len as u64;
        }
        if end != table_at {
            return Err(damaged(format!("its seek table has {end} bytes of frames where {table_at} are")));
        }
        Ok(table)
    }

    /// Bytes of input.
    #[must_use]
    pub fn input_len(&self) -> u64 {
        self.len
    }

    /// Up to `max` bytes of input from `offset` on, of one frame; none at and behind the end. `file` is the one with this
    /// table.
    ///
    /// # Errors
    /// `InvalidData` if the frame is damaged; those of the file system.
    pub fn read_at(&self, file: &dyn File, offset: u64, max: usize) -> io::Result<Bytes> {
        if offset >= self.len || max == 0 {
            return Ok(Bytes::new());
        }
        let frame = offset / FRAME_BYTES as u64;
        let data = self.frame(file, frame)?;
        let skip = usize::try_from(offset - frame * FRAME_BYTES as u64).map_err(io::Error::other)?;
        if skip == 0 && max >= data.len() {
            return Ok(data.into());
        }
        // A copy: a small piece that waits to be sent does not hold the memory of a whole frame.
        Ok(Bytes::copy_from_slice(&data[skip..data.len().min(skip.saturating_add(max))]))
    }

    /// Decodes one frame.
    fn frame(&self, file: &dyn File, frame: u64) -> io::Result<Vec<u8>> {
        let index = usize::try_from(frame).map_err(io::Error::other)?;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        let mut stored = vec![0; usize::try_from(self.ends[index] - start).map_err(io::Error::other)?];
        fill(file, &mut stored, start)?;
        let expected = frame_len(frame, self.len);
        let data = decompress(&stored, expected)
            .map_err(|error| damaged(format!("frame {frame} at byte {start} cannot be decoded: {error}")))?;
        if data.len() == expected {
            return Ok(data);
        }
        Err(damaged(format!("frame {frame} at byte {start} has {} bytes instead of {expected}", data.len())))
    }
}

/// Bytes of input of a frame, where there are `len` in all.
fn frame_len(frame: u64, len: u64) -> usize {
    // Never more than a frame, so it fits.
    (len - frame * FRAME_BYTES as u64).min(FRAME_BYTES as u64) as usize
}

fn table_bytes(frames: u32) -> u64 {
    HEADER_BYTES + u64::from(frames) * ENTRY_BYTES + FOOTER_BYTES
}

fn header(frames: u32) -> [u8; HEADER_BYTES as usize] {
    let following = frames.wrapping_mul(ENTRY_BYTES as u32).wrapping_add(FOOTER_BYTES as u32);
    let ([a, b, c, d], [e, f, g, h]) = (SKIPPABLE_MAGIC.to_le_bytes(), following.to_le_bytes());
    [a, b, c, d, e, f, g, h]
}

fn footer(frames: u32) -> [u8; FOOTER_BYTES as usize] {
    let ([a, b, c, d], [e, f, g, h]) = (frames.to_le_bytes(), SEEKABLE_MAGIC.to_le_bytes());
    [a, b, c, d, 0, e, f, g, h]
}

fn read_array<const N: usize>(file: &dyn File, offset: u64) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    fill(file, &mut bytes, offset)?;
    Ok(bytes)
}

fn fill(file: &dyn File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    let read = file.read_at(bytes, offset)?;
    if read == bytes.len() { Ok(()) } else { Err(damaged(format!("it ends at byte {}", offset + read as u64))) }
}

fn damaged(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the compressed file is damaged: {}", what.into()))
}

#[cfg(test)]
mod tests;
