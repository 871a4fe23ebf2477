//! The reference of what the disk could do: the same bytes, written durably by one thread into a file that is filled with
//! zeros before, so that no write changes the file system's own data. The commits are of the size that is best here, up to
//! 1 MiB, whatever those of the server were; a file system that cannot write past its cache syncs instead.

use super::{super::failure::Failure, load::Load};
use hdrhistogram::Histogram;
use rustix::fs::OFlags;
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    time::{Duration, Instant},
};

/// What is written over and over, in bytes: as much as several segments of a log.
const FILE_BYTES: u64 = 64 << 20;
/// Sizes of a commit that are tried, in bytes.
const COMMIT_BYTES: [usize; 4] = [64 << 10, 256 << 10, 512 << 10, 1 << 20];
/// How long each of them is tried.
const TRIAL: Duration = Duration::from_millis(200);
/// A small durable write, in bytes: what ack times are held against.
const SMALL_BYTES: usize = 4 << 10;
/// What a write past the cache must be aligned to, in memory and in the file.
const ALIGNMENT: usize = 4 << 10;

/// What the disk gave.
#[derive(Debug)]
pub(super) struct Seen {
    /// Bytes a second, durable, at the best size of a commit.
    pub(super) bytes_per_s: f64,
    /// That size, in bytes.
    pub(super) commit_bytes: usize,
    /// Times of durable writes of 4 KiB, in microseconds.
    pub(super) small_micros: Histogram<u64>,
}

/// Measures the disk of a folder for as long as the load lasts: half of that at the best size, half with small writes.
pub(super) fn measure(folder: &Path, load: &Load) -> Result<Seen, Failure> {
    let failed =
        |error: io::Error| Failure::error(format_args!("cannot measure the disk of {}", folder.display()), error);
    let mut disk = Disk::new(folder, load).map_err(failed)?;
    let half = load.duration / 2;
    let mut best = (0.0, COMMIT_BYTES[0]);
    for size in COMMIT_BYTES {
        let rate = disk.write_for(TRIAL.min(half), size, None).map_err(failed)?;
        if rate > best.0 {
            best = (rate, size);
        }
    }
    let mut small_micros = super::producer::histogram();
    disk.write_for(half, SMALL_BYTES, Some(&mut small_micros)).map_err(failed)?;
    let bytes_per_s = disk.write_for(half, best.1, None).map_err(failed)?;
    Ok(Seen { bytes_per_s, commit_bytes: best.1, small_micros })
}

struct Disk {
    /// Has no name: it is gone with the process, whatever becomes of that.
    file: File,
    /// Whether a write is durable when it returns.
    past_cache: bool,
    buffer: Vec<u8>,
    /// Where in the buffer the payload begins, so that it is aligned.
    begin: usize,
    at: u64,
}

impl Disk {
    fn new(folder: &Path, load: &Load) -> io::Result<Self> {
        let longest = COMMIT_BYTES.into_iter().max().unwrap_or_default();
        let mut buffer = vec![0; longest + ALIGNMENT];
        let begin = buffer.as_ptr().align_offset(ALIGNMENT);
        let named = tempfile::Builder::new().prefix("inkpot-bench-").tempfile_in(folder)?;
        let zeros = &buffer[..longest];
        for at in (0..FILE_BYTES).step_by(longest) {
            named.as_file().write_all_at(zeros, at)?;
        }
        named.as_file().sync_all()?;
        let line = load.line();
        let payload = line.iter().copied().cycle();
        buffer[begin..begin + longest].iter_mut().zip(payload).for_each(|(to, byte)| *to = byte);
        let flags = (OFlags::DIRECT | OFlags::DSYNC).bits().cast_signed();
        let direct = OpenOptions::new().write(true).custom_flags(flags).open(named.path());
        let direct = direct.and_then(|file| file.write_all_at(&buffer[begin..begin + ALIGNMENT], 0).map(|()| file));
        let (file, past_cache) = match direct {
            Ok(file) => (file, true),
            Err(_) => (named.reopen()?, false),
        };
        Ok(Self { file, past_cache, buffer, begin, at: 0 })
    }

    /// Writes for so long. Gives bytes a second.
    fn write_for(&mut self, time: Duration, size: usize, mut micros: Option<&mut Histogram<u64>>) -> io::Result<f64> {
        let begin = Instant::now();
        let mut written = 0_u64;
        while begin.elapsed() < time {
            let since = Instant::now();
            self.write(size)?;
            written += size as u64;
            if let Some(micros) = micros.as_deref_mut() {
                micros.saturating_record(u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX));
            }
        }
        Ok(written as f64 / begin.elapsed().as_secs_f64())
    }

    fn write(&mut self, size: usize) -> io::Result<()> {
        if self.at + size as u64 > FILE_BYTES {
            self.at = 0;
        }
        self.file.write_all_at(&self.buffer[self.begin..self.begin + size], self.at)?;
        self.at += size as u64;
        if self.past_cache { Ok(()) } else { self.file.sync_data() }
    }
}

#[cfg(test)]
mod tests;
