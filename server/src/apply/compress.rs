//! Copies of committed content in new files: compressed, or the beginning of it for a truncation. They run beside the
//! shard, for as long as it takes. A copy is staged, stamped and synced here; it gets its name, and the sync of its
//! directory, from whoever asked for it.

use super::{
    seekable::{self, Compressed, FRAME_BYTES},
    view::FileView,
};
use crate::shard::ids::FileId;
use bytes::Bytes;
use inkpot_wal::fs::{Attributes, File, FileSystem};
use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

/// So much is written at most before it is synced, in bytes: a sync of much more at once keeps the disk from commits.
const SYNC_BYTES: u64 = 8 << 20;

/// The file that a copy is made into.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Where it lies: a name in staging that is free.
    pub path: &'a str,
    /// Its owner and permissions.
    pub attributes: Attributes,
    /// What it is stamped with.
    pub id: FileId,
}

/// Compresses what is committed of a file now. Between two frames it sleeps for `pause`, so that commits have disk and
/// processor for most of the time.
///
/// # Errors
/// `Interrupted` once `cancel` is set, which is looked at before each pause and each read; `InvalidData` if the content
/// has not the checksum that the view knows; those of [`FileView::read`] and the file system. No file is left then,
/// unless removing it fails too.
pub fn compress_file(
    fs: &dyn FileSystem,
    view: &FileView,
    target: Target<'_>,
    cancel: &AtomicBool,
    pause: Duration,
) -> io::Result<Compressed> {
    let (len, known) = {
        let state = view.state();
        (state.committed, state.crc32c)
    };
    make(fs, target, |sink| {
        let source = |offset, max| {
            if offset > 0 && offset % FRAME_BYTES as u64 == 0 {
                require_wanted(view, cancel)?;
                thread::sleep(pause);
            }
            read(fs, view, offset, max, cancel)
        };
        let made = seekable::compress(source, len, |parts| sink.append(parts))?;
        if known.is_some_and(|known| known != made.crc32c) {
            let text = format!("{} has not the content that was committed: its crc32c differs", view.path());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(made)
    })
}

/// Copies the first `len` committed bytes of a file, and tells their crc32c.
///
/// # Errors
/// `Interrupted` once `cancel` is set, `UnexpectedEof` if less than `len` is committed, and those of [`FileView::read`]
/// and the file system. No file is left then, unless removing it fails too.
pub fn copy_file(
    fs: &dyn FileSystem,
    view: &FileView,
    len: u64,
    target: Target<'_>,
    cancel: &AtomicBool,
) -> io::Result<u32> {
    make(fs, target, |sink| {
        let mut crc32c = 0;
        while sink.written < len {
            let max = (len - sink.written).min(FRAME_BYTES as u64) as usize;
            let piece = read(fs, view, sink.written, max, cancel)?;
            if piece.is_empty() {
                let text = format!("{} has {} committed bytes instead of {len}", view.path(), sink.written);
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
            }
            crc32c = crc32c::crc32c_append(crc32c, &piece);
            sink.append(&[&piece])?;
        }
        Ok(crc32c)
    })
}

fn read(fs: &dyn FileSystem, view: &FileView, offset: u64, max: usize, cancel: &AtomicBool) -> io::Result<Bytes> {
    require_wanted(view, cancel)?;
    Ok(view.read(fs, offset, max)?.data)
}

fn require_wanted(view: &FileView, cancel: &AtomicBool) -> io::Result<()> {
    if cancel.load(Ordering::Relaxed) {
        return Err(io::Error::new(io::ErrorKind::Interrupted, format!("copying {} was cancelled", view.path())));
    }
    Ok(())
}

/// Makes the file, has it filled, and syncs it; or leaves none.
fn make<T>(
    fs: &dyn FileSystem,
    target: Target<'_>,
    fill: impl FnOnce(&mut Sink<'_>) -> io::Result<T>,
) -> io::Result<T> {
    let file = fs.create(target.path, target.attributes)?;
    let made = file
        .set_file_id(&target.id.to_bytes())
        .and_then(|()| fill(&mut Sink { file: file.as_ref(), written: 0, synced: 0 }))
        .and_then(|made| file.sync_all().map(|()| made));
    if made.is_err() {
        // The first error is the one that says why. What stays in staging is removed at the next start.
        let _ = fs.remove_file(target.path);
    }
    made
}

/// A file that grows.
struct Sink<'a> {
    file: &'a dyn File,
    written: u64,
    synced: u64,
}

impl Sink<'_> {
    fn append(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        self.file.write_at(parts, self.written)?;
        self.written += parts.iter().map(|part| part.len() as u64).sum::<u64>();
        if self.written - self.synced >= SYNC_BYTES {
            self.file.sync_data()?;
            self.synced = self.written;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
