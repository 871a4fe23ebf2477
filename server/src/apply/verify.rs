//! Whether a plain file holds what was committed: read from the disk, and held against the checksum of the catalog.
//!
//! The file may be appended to meanwhile. What is held against what is fixed at one moment, under the lock of the view:
//! the checksum of everything committed, how much of that the plain file has, and the bytes that are still in memory.
//! Committed bytes never change and an inode only grows, so the first part can be read at leisure afterwards, and its
//! checksum, continued by that of the rest, is the one of that moment or the bytes are wrong. What happens to the file
//! as a whole (rotation, truncation, replacement, compression) gives its path another inode and another view; whoever
//! asks looks again before anything is said against a file.

use super::{
    plain::open_stamped,
    seekable::{FRAME_BYTES, SeekTable},
    view::{FileView, Location, ViewState},
};
use bytes::Bytes;
use inkpot_proto::v1::Damage;
use inkpot_wal::fs::{Access, File, FileSystem, Metadata};
use std::{
    io,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

/// Bytes that are read at once.
const PIECE_BYTES: u64 = FRAME_BYTES as u64;
/// Bytes after which to rest.
const REST_AFTER_BYTES: u64 = 1 << 20;
/// What a file costs beside its bytes, as bytes.
const FILE_COST_BYTES: u64 = 16 << 10;

/// How fast, and whether still. Shared by who reads and who asked for it.
#[derive(Debug)]
pub struct Pace {
    /// How long to rest after each MiB.
    pub pause: Duration,
    /// Bytes of content read so far.
    pub read: AtomicU64,
    /// Nobody wants to know any more.
    pub cancelled: AtomicBool,
    owed: AtomicU64,
}

/// Whoever asked has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled;

impl Pace {
    /// Rests for `pause` after each MiB.
    #[must_use]
    pub fn new(pause: Duration) -> Self {
        Self { pause, read: AtomicU64::new(0), cancelled: AtomicBool::new(false), owed: AtomicU64::new(0) }
    }

    /// Rests, if it is time after this.
    fn spend(&self, bytes: u64) -> Result<(), Cancelled> {
        if self.owed.fetch_add(bytes, Ordering::Relaxed) + bytes >= REST_AFTER_BYTES {
            self.owed.store(0, Ordering::Relaxed);
            thread::sleep(self.pause);
        }
        if self.cancelled.load(Ordering::Relaxed) { Err(Cancelled) } else { Ok(()) }
    }
}

/// What a look at a file came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds what was committed.
    Good,
    /// It can be read and has its size; no checksum is known.
    WithoutChecksum,
    /// The path does not lead to it any more.
    Gone,
    /// It is not as it should be.
    Wrong(Finding),
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub damage: Damage,
    /// Bytes that it should have.
    pub expected_size: u64,
    /// Bytes that were found.
    pub found_size: Option<u64>,
    /// crc32c that they should have.
    pub expected_crc32c: Option<u32>,
    /// crc32c of what was found.
    pub found_crc32c: Option<u32>,
    /// For people.
    pub detail: String,
}

/// What a file has to be, as of one moment.
struct Moment {
    /// Bytes that its plain file has.
    applied: u64,
    /// Bytes that are committed.
    committed: u64,
    /// crc32c of those.
    crc32c: Option<u32>,
    /// crc32c of the committed bytes behind the applied ones.
    rest: u32,
    /// Bytes on the disk, if it is compressed.
    stored: Option<u64>,
    foreign: Option<String>,
    /// When we wrote to it last.
    modified: Option<std::time::SystemTime>,
}

impl Moment {
    /// `None`: there is nothing to look at.
    fn of(view: &FileView) -> Option<Self> {
        let (mut moment, pieces) = {
            let state = view.state();
            if state.gone.is_some() || !state.exists {
                return None;
            }
            let pieces: Vec<Bytes> = state.pending.iter().map(|piece| piece.data.clone()).collect();
            (Self::without_rest(&state), pieces)
        };
        moment.rest = pieces.iter().fold(0, |crc32c, piece| crc32c::crc32c_append(crc32c, piece));
        Some(moment)
    }

    fn without_rest(state: &ViewState) -> Self {
        Self {
            applied: state.applied,
            committed: state.committed,
            crc32c: state.crc32c,
            rest: 0,
            stored: state.compressed,
            foreign: state.foreign.clone(),
            modified: state.seen.map(|seen| seen.modified),
        }
    }

    fn wrong(&self, damage: Damage, found_size: Option<u64>, detail: impl Into<String>) -> Verdict {
        let (expected_size, expected_crc32c) = (self.committed, self.crc32c);
        let detail = detail.into();
        Verdict::Wrong(Finding { damage, expected_size, found_size, expected_crc32c, found_crc32c: None, detail })
    }

    /// What is wrong with the inode, before its bytes are looked at. `committed` are the bytes that were committed when
    /// `found` had been seen.
    fn look_at(&self, found: &Metadata, committed: u64) -> Option<Verdict> {
        if found.links > 1 {
            return Some(self.wrong(Damage::Changed, None, "it has more than one name (hard link)"));
        }
        let (least, most) = self.stored.map_or((self.applied, committed), |stored| (stored, stored));
        if (least..=most).contains(&found.len) {
            return None;
        }
        let (damage, instead) = if found.len < least { (Damage::Truncated, least) } else { (Damage::Changed, most) };
        // Of a compressed file the size says nothing about that of the content.
        let found_size = Some(found.len).filter(|_| self.stored.is_none());
        Some(self.wrong(damage, found_size, format!("it has {} bytes on the disk, not {instead}", found.len)))
    }
}

/// Looks at a file once. Reads the disk and rests: not for an event loop.
///
/// # Errors
/// [`Cancelled`].
pub fn look(fs: &dyn FileSystem, view: &FileView, pace: &Pace) -> Result<Verdict, Cancelled> {
    pace.spend(FILE_COST_BYTES)?;
    let Some(moment) = Moment::of(view) else { return Ok(Verdict::Gone) };
    let (opened, location) = {
        let place = view.place();
        (open_stamped(fs, &view.path_at(&place), view.id, Access::Read), place.location)
    };
    let file = match opened {
        Ok(Ok(file)) => file,
        Ok(Err(what)) => {
            let is_missing = fs.metadata(&view.path()).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
            let damage = if is_missing { Damage::Missing } else { Damage::Changed };
            return Ok(moment.wrong(damage, None, format!("it {what}")));
        }
        Err(error) => return Ok(moment.wrong(Damage::Unreadable, None, format!("it cannot be opened: {error}"))),
    };
    if let Some(what) = &moment.foreign {
        return Ok(moment.wrong(Damage::Changed, None, format!("it {what}; {} bytes of it are ours", moment.applied)));
    }
    let found = match file.metadata() {
        Ok(found) => found,
        Err(error) => return Ok(moment.wrong(Damage::Unreadable, None, error.to_string())),
    };
    let committed = view.state().committed;
    if let Some(wrong) = moment.look_at(&found, committed) {
        return Ok(wrong);
    }
    let content = match Content::of(file.as_ref(), location) {
        Ok(content) => content,
        Err(error) => return Ok(moment.unreadable(&found, 0, &error)),
    };
    moment.hold(&content, &found, pace)
}

impl Moment {
    /// Holds the bytes against the checksum.
    fn hold(&self, content: &Content<'_>, found: &Metadata, pace: &Pace) -> Result<Verdict, Cancelled> {
        let (mut at, mut crc32c) = (0, 0);
        while at < self.applied {
            let piece = match content.read(at, (self.applied - at).min(PIECE_BYTES)) {
                Ok(piece) if piece.is_empty() => {
                    let text = format!("it ends at byte {at}, and {} were brought to it", self.applied);
                    return Ok(self.wrong(Damage::Truncated, Some(at), text));
                }
                Ok(piece) => piece,
                Err(error) => return Ok(self.unreadable(found, at, &error)),
            };
            crc32c = crc32c::crc32c_append(crc32c, &piece);
            at += piece.len() as u64;
            pace.read.fetch_add(piece.len() as u64, Ordering::Relaxed);
            pace.spend(piece.len() as u64)?;
        }
        let Some(expected) = self.crc32c else { return Ok(Verdict::WithoutChecksum) };
        let rest = usize::try_from(self.committed - self.applied).unwrap_or(usize::MAX);
        let crc32c = crc32c::crc32c_combine(crc32c, self.rest, rest);
        if crc32c == expected {
            return Ok(Verdict::Good);
        }
        let (damage, text) = self.blame(found);
        Ok(Verdict::Wrong(Finding {
            damage,
            expected_size: self.committed,
            found_size: Some(self.committed),
            expected_crc32c: Some(expected),
            found_crc32c: Some(crc32c),
            detail: text.to_owned(),
        }))
    }

    /// Whose work wrong bytes are.
    fn blame(&self, found: &Metadata) -> (Damage, &'static str) {
        match self.modified {
            Some(modified) if modified != found.modified => {
                (Damage::Changed, "it holds other bytes, and was written to by another program")
            }
            _ => (Damage::Rotten, "it holds other bytes, and nobody wrote to it: the disk did not keep them"),
        }
    }

    /// Bytes that cannot be read, or not be decoded.
    fn unreadable(&self, found: &Metadata, at: u64, error: &io::Error) -> Verdict {
        if error.kind() == io::ErrorKind::InvalidData {
            let (damage, _) = self.blame(found);
            return self.wrong(damage, None, error.to_string());
        }
        self.wrong(Damage::Unreadable, None, format!("it cannot be read at byte {at}: {error}"))
    }
}

/// The content of a plain file, as the disk has it.
enum Content<'a> {
    Plain(&'a dyn File),
    Compressed(&'a dyn File, SeekTable),
}

impl<'a> Content<'a> {
    fn of(file: &'a dyn File, location: Location) -> io::Result<Self> {
        Ok(match location {
            Location::Plain | Location::Staged => Self::Plain(file),
            Location::Compressed => {
                // All of it: which frame is where is known only behind this.
                file.drop_cached(0, 0);
                Self::Compressed(file, SeekTable::read(file)?)
            }
        })
    }

    /// Up to `max` bytes; none at the end.
    fn read(&self, offset: u64, max: u64) -> io::Result<Bytes> {
        let len = usize::try_from(max).map_err(io::Error::other)?;
        match self {
            Self::Plain(file) => {
                file.drop_cached(offset, max);
                let mut piece = vec![0; len];
                let read = file.read_at(&mut piece, offset)?;
                piece.truncate(read);
                // Nor does it take the place of what others read.
                file.drop_cached(offset, max);
                Ok(piece.into())
            }
            Self::Compressed(file, table) => table.read_at(*file, offset, len),
        }
    }
}

#[cfg(test)]
mod tests;
