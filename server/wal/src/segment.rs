//! Segments: files of one fixed size in which frames lie one after the other, filled with zeros before use and used
//! again after a checkpoint. (A durable write into a growing file costs two to three times as much.)
//!
//! A segment begins with a header of [`HEADER_BYTES`]: magic, version, shard, epoch, number, a random nonce of its
//! present use, its size, crc32c. A segment gets its name only after header and size are durable, and the name is made
//! durable before the first frame is written. So a segment that is still needed and has no valid header, or another
//! size, is damaged: no crash leaves one.

use crate::{
    WalError,
    frame::{self, Header, Place},
    fs::{Access, Attributes, Existing, File, FileSystem},
    reserve::Reserve,
    writer::is_full,
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
    /// Reads a segment. `None`: it has no valid header of this segment, or another size than that says.
    ///
    /// # Errors
    /// Those of the file system; `NotFound` if there is no such file.
    pub fn read(fs: &dyn FileSystem, shard: u32, id: SegmentId) -> io::Result<Option<Self>> {
        let bytes = Bytes::from(crate::fs::read_all(fs, &id.path(shard))?);
        let header = decode_header(&bytes, shard, id).filter(|(_, len)| *len == bytes.len() as u64);
        Ok(header.map(|(nonce, _)| Self { id, shard, nonce, bytes }))
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

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Whether frame `sequence` seems to have been begun at `offset`: a guess, for reports only.
    #[must_use]
    pub fn looks_begun(&self, offset: u64, sequence: u64) -> bool {
        let bytes = usize::try_from(offset).ok().and_then(|offset| self.bytes.get(offset..));
        bytes.is_some_and(|bytes| frame::looks_begun(bytes, sequence))
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
    reserve: Reserve,
    state: Mutex<MakerState>,
}

#[derive(Debug, Default)]
struct MakerState {
    next_number: u64,
    ready: Option<Segment>,
    spare: VecDeque<String>,
    /// An earlier segment failed, and not for want of room: no further one is tried in this epoch.
    failed: bool,
}

/// What file systems hand out at a time, in bytes: a segment that is smaller than usual is a multiple of it.
const BLOCK_BYTES: u64 = 4096;
/// What the first segment of an epoch has beyond what is carried over into it, at the least if there is room, in bytes:
/// some hundred deletes.
const FIRST_SLACK_BYTES: u64 = 64 << 10;
/// Released segments that are kept for use again; more are removed.
const MAX_SPARE: usize = 16;
/// Behind the name of a segment until it is durable.
const UNFINISHED: &str = ".new";

/// Why there is no segment.
#[derive(Debug)]
pub(crate) enum MakeError {
    /// There is no room; a later attempt may find some.
    Full(io::Error),
    /// Anything else, and any failed sync: the epoch is over.
    Failed(io::Error),
}

impl MakeError {
    /// As an error of the log.
    pub(crate) fn in_epoch(self, shard: u32, epoch: u64) -> WalError {
        let path = epoch_dir(shard, epoch);
        match self {
            Self::Full(source) => WalError::Full { path, source },
            Self::Failed(source) => WalError::Io { path, source },
        }
    }
}

impl From<io::Error> for MakeError {
    fn from(error: io::Error) -> Self {
        if is_full(&error) { Self::Full(error) } else { Self::Failed(error) }
    }
}

impl SegmentMaker {
    pub(crate) fn new(epoch: u64, reserve: Reserve) -> Self {
        let (fs, shard, segment_bytes) = (Arc::clone(&reserve.fs), reserve.shard, reserve.bytes);
        Self { fs, shard, epoch, segment_bytes, reserve, state: Mutex::default() }
    }

    /// Makes the next segment if none is ready, unless that left less than `keep` bytes free: a segment ahead of need
    /// must not be what the disk is full of. Meant for a thread that may wait for the disk.
    ///
    /// # Errors
    /// Those of the file system; nothing is ready then. Unless there was no room ([`is_full`]) and nothing failed to
    /// sync, the writer will end its epoch when it needs the segment.
    pub fn prepare(&self, keep: u64) -> io::Result<()> {
        let takes_room = self.lock().spare.is_empty();
        if takes_room && self.fs.free_bytes()? < self.segment_bytes.saturating_add(keep) {
            return Ok(());
        }
        self.make_ready().map_err(|(MakeError::Full(source) | MakeError::Failed(source))| source)
    }

    /// As [`SegmentMaker::prepare`], and tells what the error means.
    pub(crate) fn make_ready(&self) -> Result<(), MakeError> {
        let mut state = self.lock();
        if state.ready.is_none() {
            state.ready = Some(self.make(&mut state, self.segment_bytes)?);
        }
        Ok(())
    }

    /// What the log keeps for when the disk is full.
    #[must_use]
    pub fn reserve(&self) -> Reserve {
        self.reserve.clone()
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether a segment is ready; `false` also while one is being made.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state.try_lock().is_ok_and(|state| state.ready.is_some())
    }

    /// Whether a segment is ready, once one that is being made is.
    pub(crate) fn has_ready(&self) -> bool {
        self.lock().ready.is_some()
    }

    /// The next segment; makes it if none is ready.
    pub(crate) fn take(&self) -> Result<Segment, MakeError> {
        let mut state = self.lock();
        match state.ready.take() {
            Some(segment) => Ok(segment),
            None => self.make(&mut state, self.segment_bytes),
        }
    }

    /// The first segment of an epoch. On a full disk one that holds `bytes` and little more, so that what is kept can be
    /// served, and deleted; with room from the reserve, if there is no other.
    pub(crate) fn take_first(&self, bytes: u64) -> Result<Segment, MakeError> {
        let least = (HEADER_BYTES as u64 + bytes).next_multiple_of(BLOCK_BYTES);
        let mut taken = self.take();
        for len in [least + FIRST_SLACK_BYTES, least] {
            if matches!(taken, Err(MakeError::Full(_))) {
                taken = self.make_from_reserve(len.min(self.segment_bytes));
            }
        }
        taken
    }

    fn make_from_reserve(&self, len: u64) -> Result<Segment, MakeError> {
        loop {
            let made = self.make(&mut self.lock(), len);
            if !matches!(made, Err(MakeError::Full(_))) || !self.reserve.give_for_start(len) {
                return made;
            }
        }
    }

    /// Size of a whole segment, in bytes.
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// Takes back a segment that is no longer needed, whatever happens.
    pub(crate) fn release(&self, path: String) -> io::Result<()> {
        let mut state = self.lock();
        match self.fs.metadata(&path) {
            Ok(metadata) if metadata.len == self.segment_bytes && state.spare.len() < MAX_SPARE => {
                state.spare.push_back(path);
                Ok(())
            }
            Ok(_) => self.fs.remove_file(&path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes the segments that are kept for use again, and perhaps the one that is ready, so that others have their room.
    /// Does nothing while a segment is being made.
    pub(crate) fn give_back(&self, and_ready: bool) -> io::Result<()> {
        let Ok(mut state) = self.state.try_lock() else { return Ok(()) };
        if and_ready && let Some(segment) = state.ready.take() {
            state.spare.push_back(segment.id.path(self.shard));
        }
        while let Some(path) = state.spare.front() {
            self.fs.remove_file(path)?;
            state.spare.pop_front();
        }
        Ok(())
    }

    fn make(&self, state: &mut MakerState, len: u64) -> Result<Segment, MakeError> {
        if state.failed {
            return Err(MakeError::Failed(io::Error::other("an earlier segment could not be made")));
        }
        let id = SegmentId { epoch: self.epoch, number: state.next_number };
        // The number is taken even if nothing comes of it: what a failed attempt left is in nobody's way.
        state.next_number += 1;
        let spare = if len == self.segment_bytes { state.spare.pop_front() } else { None };
        let made = self.make_as(id, len, spare);
        state.failed = matches!(made, Err(MakeError::Failed(_)));
        made
    }

    fn make_as(&self, id: SegmentId, len: u64, spare: Option<String>) -> Result<Segment, MakeError> {
        let path = id.path(self.shard);
        let unfinished = format!("{path}{UNFINISHED}");
        let file = match spare {
            Some(spare) => {
                self.fs.rename(&spare, &unfinished, Existing::Keep)?;
                self.fs.open(&unfinished, Access::ReadWrite)?
            }
            None => self.fs.create(&unfinished, Attributes::PRIVATE)?,
        };
        let nonce = rand::random();
        if let Err(error) = fill(file.as_ref(), len, &encode_header(self.shard, id, nonce, len)) {
            // On a full disk it would only take room; what cannot be removed goes at the next start.
            let _ = self.fs.remove_file(&unfinished);
            return Err(error.into());
        }
        file.sync_all().map_err(MakeError::Failed)?;
        self.fs.rename(&unfinished, &path, Existing::Keep)?;
        self.fs.sync_dir(&epoch_dir(self.shard, self.epoch)).map_err(MakeError::Failed)?;
        Ok(Segment { id, nonce, file, len })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, MakerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the header, and zeros as far as there is nothing to write over.
fn fill(file: &dyn File, len: u64, header: &[u8]) -> io::Result<()> {
    write_zeros(file, len)?;
    file.write_at(&[header], 0)
}

/// Makes a file `len` bytes long, with zeros.
pub(crate) fn write_zeros(file: &dyn File, len: u64) -> io::Result<()> {
    let mut at = file.metadata()?.len;
    let zeros = vec![0; FILL_BYTES.min(usize::try_from(len).unwrap_or(FILL_BYTES))];
    while at < len {
        let part = (len - at).min(zeros.len() as u64);
        file.write_at(&[&zeros[..usize::try_from(part).unwrap_or(zeros.len())]], at)?;
        at += part;
    }
    Ok(())
}

/// What lies in the directory of an epoch.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Its segments, in order.
    pub(crate) segments: Vec<SegmentId>,
    /// Paths of those that were never finished.
    pub(crate) unfinished: Vec<String>,
}

/// Lists the directory of an epoch. Names that are not ours are left alone.
pub(crate) fn list(fs: &dyn FileSystem, shard: u32, epoch: u64) -> Result<Listing, WalError> {
    let dir = epoch_dir(shard, epoch);
    let mut listing = Listing::default();
    for entry in fs.read_dir(&dir).map_err(|source| WalError::io(&dir, source))? {
        if let Some(number) = parse_number(&entry.name) {
            listing.segments.push(SegmentId { epoch, number });
        } else if entry.name.strip_suffix(UNFINISHED).is_some_and(|name| parse_number(name).is_some()) {
            listing.unfinished.push(format!("{dir}/{}", entry.name));
        }
    }
    listing.segments.sort_unstable();
    Ok(listing)
}

/// The number of an epoch or a segment, from a name as we give it and no other.
pub(crate) fn parse_number(name: &str) -> Option<u64> {
    name.parse().ok().filter(|number: &u64| format!("{number:010}") == name)
}

fn encode_header(shard: u32, id: SegmentId, nonce: u64, len: u64) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[0..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..16].copy_from_slice(&shard.to_le_bytes());
    bytes[16..24].copy_from_slice(&id.epoch.to_le_bytes());
    bytes[24..32].copy_from_slice(&id.number.to_le_bytes());
    bytes[32..40].copy_from_slice(&nonce.to_le_bytes());
    bytes[40..48].copy_from_slice(&len.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..HEADER_BYTES - 4]);
    bytes[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Nonce and size of the segment, if these are the bytes of this segment.
fn decode_header(bytes: &[u8], shard: u32, id: SegmentId) -> Option<(u64, u64)> {
    let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
    let nonce = u64::from_le_bytes(header[32..40].try_into().ok()?);
    let len = u64::from_le_bytes(header[40..48].try_into().ok()?);
    (*header == encode_header(shard, id, nonce, len)).then_some((nonce, len))
}
