//! Segments: files of one fixed size in which frames lie one after the other, filled with zeros before use and used
//! again after a checkpoint. (A durable write into a growing file costs two to three times as much.)
//!
//! A segment begins with a header of [`HEADER_BYTES`]: magic, version, shard, epoch, number, a random nonce of its
//! present use, crc32c. It is made durable, with its name, before the first frame is written.

use crate::{
    WalError,
    frame::{self, Header, Place},
    fs::{Access, Attributes, Existing, File, FileSystem},
};
use bytes::Bytes;
use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, PoisonError},
};

/// Bytes of a segment before its first frame.
pub const HEADER_BYTES: usize = 64;

const MAGIC: &[u8; 8] = b"INKPTSEG";
const VERSION: u32 = 1;
/// How much is filled with zeros by one write, in bytes.
const FILL_BYTES: usize = 1 << 20;

/// Directory of a shard's log.
#[must_use]
pub fn wal_dir(shard: u32) -> String {
    format!("shards/{shard:04}/wal")
}

/// Directory of an epoch in a shard's log.
#[must_use]
pub fn epoch_dir(shard: u32, epoch: u64) -> String {
    format!("{}/{epoch:010}", wal_dir(shard))
}

/// Which segment of a shard's log: the order of the fields is the order of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentId {
    /// Epoch that wrote it.
    pub epoch: u64,
    /// Number in its epoch, from 0.
    pub number: u64,
}

impl SegmentId {
    /// Where it lies.
    #[must_use]
    pub fn path(self, shard: u32) -> String {
        format!("{}/{:010}", epoch_dir(shard, self.epoch), self.number)
    }
}

/// A segment that is open for writing.
#[derive(Debug)]
pub struct Segment {
    /// Which one.
    pub id: SegmentId,
    /// Random number of its present use.
    pub nonce: u64,
    /// Its file.
    pub file: Arc<dyn File>,
    /// Its size in bytes.
    pub len: u64,
}

/// A frame that was found in a segment.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Which segment.
    pub segment: SegmentId,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Bytes of its payload.
    pub payload: usize,
    /// What it says.
    pub header: Header,
}

impl Found {
    /// Where the next frame begins.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset + frame::size(self.payload) as u64
    }
}

/// The content of a segment, for reading.
#[derive(Debug)]
pub struct Loaded {
    id: SegmentId,
    shard: u32,
    nonce: u64,
    bytes: Bytes,
}

impl Loaded {
    /// Reads a segment. `None`: there is no valid header of this segment, so no frame of its either.
    ///
    /// # Errors
    /// Those of the file system; `NotFound` if there is no such file.
    pub fn read(fs: &dyn FileSystem, shard: u32, id: SegmentId) -> io::Result<Option<Self>> {
        let bytes = Bytes::from(crate::fs::read_all(fs, &id.path(shard))?);
        Ok(decode_header(&bytes, shard, id).map(|nonce| Self { id, shard, nonce, bytes }))
    }

    /// All valid frames from `offset` on, also behind damage.
    #[must_use]
    pub fn frames(&self, offset: u64) -> Vec<Found> {
        let mut found = Vec::new();
        let mut at = usize::try_from(offset).unwrap_or(usize::MAX).max(HEADER_BYTES);
        while at < self.bytes.len() {
            let place = Place { shard: self.shard, epoch: self.id.epoch, nonce: self.nonce, offset: at as u64 };
            if let Some((header, payload)) = frame::decode(&self.bytes[at..], place) {
                found.push(Found { segment: self.id, offset: at as u64, payload, header });
                at += frame::size(payload);
            } else {
                at += frame::ALIGN;
            }
        }
        found
    }

    /// The payload of a frame that was found here.
    #[must_use]
    pub fn payload(&self, found: &Found) -> Bytes {
        let start = usize::try_from(found.offset).unwrap_or(usize::MAX) + frame::HEADER_BYTES;
        self.bytes.slice(start..start + found.payload)
    }

    /// As [`Loaded::payload`], if the frame is still there as it was found.
    #[must_use]
    pub fn payload_checked(&self, found: &Found) -> Option<Bytes> {
        let start = usize::try_from(found.offset).ok()?;
        let place = Place { shard: self.shard, epoch: self.id.epoch, nonce: self.nonce, offset: found.offset };
        let (header, length) = frame::decode(self.bytes.get(start..)?, place)?;
        (header == found.header && length == found.payload).then(|| self.payload(found))
    }

    /// Whether anything but zeros lies behind `offset`.
    #[must_use]
    pub fn has_bytes_from(&self, offset: u64) -> bool {
        self.bytes.iter().skip(usize::try_from(offset).unwrap_or(usize::MAX)).any(|byte| *byte != 0)
    }
}

/// Makes segments of one epoch: from those that a checkpoint released, or new ones. Shared by the writer and by
/// whoever prepares the next segment ahead of need.
#[derive(Debug)]
pub struct SegmentMaker {
    fs: Arc<dyn FileSystem>,
    shard: u32,
    epoch: u64,
    segment_bytes: u64,
    state: Mutex<MakerState>,
}

#[derive(Debug, Default)]
struct MakerState {
    next_number: u64,
    ready: Option<Segment>,
    spare: VecDeque<String>,
}

/// Released segments that are kept for use again; more are removed.
const MAX_SPARE: usize = 16;

impl SegmentMaker {
    pub(crate) fn new(fs: Arc<dyn FileSystem>, shard: u32, epoch: u64, segment_bytes: u64) -> Self {
        Self { fs, shard, epoch, segment_bytes, state: Mutex::default() }
    }

    /// Makes the next segment if none is ready. Meant for a thread that may wait for the disk.
    ///
    /// # Errors
    /// Those of the file system; nothing is ready then.
    pub fn prepare(&self) -> io::Result<()> {
        let mut state = self.lock();
        if state.ready.is_none() {
            state.ready = Some(self.make(&mut state)?);
        }
        Ok(())
    }

    /// Whether a segment is ready; `false` also while one is being made.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state.try_lock().is_ok_and(|state| state.ready.is_some())
    }

    /// The next segment; makes it if none is ready.
    pub(crate) fn take(&self) -> io::Result<Segment> {
        let mut state = self.lock();
        match state.ready.take() {
            Some(segment) => Ok(segment),
            None => self.make(&mut state),
        }
    }

    /// Takes back a segment that is no longer needed.
    pub(crate) fn release(&self, path: String) -> io::Result<()> {
        let mut state = self.lock();
        let whole = self.fs.metadata(&path)?.len == self.segment_bytes;
        if whole && state.spare.len() < MAX_SPARE {
            state.spare.push_back(path);
            return Ok(());
        }
        self.fs.remove_file(&path)
    }

    fn make(&self, state: &mut MakerState) -> io::Result<Segment> {
        let id = SegmentId { epoch: self.epoch, number: state.next_number };
        let path = id.path(self.shard);
        let file = match state.spare.front() {
            Some(spare) => {
                self.fs.rename(spare, &path, Existing::Keep)?;
                state.spare.pop_front();
                self.fs.open(&path, Access::ReadWrite)?
            }
            None => self.fill(&path)?,
        };
        // From here on the number is taken, even if the segment does not become usable.
        state.next_number += 1;
        let nonce = rand::random();
        file.write_at(&[&encode_header(self.shard, id, nonce)], 0)?;
        file.sync_all()?;
        self.fs.sync_dir(&epoch_dir(self.shard, self.epoch))?;
        Ok(Segment { id, nonce, file, len: self.segment_bytes })
    }

    fn fill(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let file = self.fs.create(path, Attributes::PRIVATE)?;
        let zeros = vec![0; FILL_BYTES.min(usize::try_from(self.segment_bytes).unwrap_or(FILL_BYTES))];
        let mut at = 0;
        while at < self.segment_bytes {
            let part = (self.segment_bytes - at).min(zeros.len() as u64);
            let written = file.write_at(&[&zeros[..usize::try_from(part).unwrap_or(zeros.len())]], at);
            if let Err(error) = written {
                // A half-filled segment on a full disk would only take room: the next attempt begins anew.
                let _ = self.fs.remove_file(path);
                return Err(error);
            }
            at += part;
        }
        Ok(file)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, MakerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The segments of an epoch that lie on disk, in order.
pub(crate) fn list(fs: &dyn FileSystem, shard: u32, epoch: u64) -> Result<Vec<SegmentId>, WalError> {
    let dir = epoch_dir(shard, epoch);
    let entries = fs.read_dir(&dir).map_err(|source| WalError::io(&dir, source))?;
    let numbers = entries.iter().filter_map(|entry| entry.name.parse().ok());
    let mut segments: Vec<_> = numbers.map(|number| SegmentId { epoch, number }).collect();
    segments.sort_unstable();
    Ok(segments)
}

fn encode_header(shard: u32, id: SegmentId, nonce: u64) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[0..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..16].copy_from_slice(&shard.to_le_bytes());
    bytes[16..24].copy_from_slice(&id.epoch.to_le_bytes());
    bytes[24..32].copy_from_slice(&id.number.to_le_bytes());
    bytes[32..40].copy_from_slice(&nonce.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..HEADER_BYTES - 4]);
    bytes[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The nonce of the segment, if these are the bytes of this segment.
fn decode_header(bytes: &[u8], shard: u32, id: SegmentId) -> Option<u64> {
    let header: &[u8; HEADER_BYTES] = bytes.get(..HEADER_BYTES)?.try_into().ok()?;
    let nonce = u64::from_le_bytes(header[32..40].try_into().ok()?);
    (*header == encode_header(shard, id, nonce)).then_some(nonce)
}
