//! What the log of a shard costs by itself: a frame, an append, a commit, a recovery. `cargo bench -p inkpot-wal`; the disk
//! is that of the temporary folder (`TMPDIR`).
#![allow(clippy::unwrap_used)]

use divan::{Bencher, black_box, counter::BytesCount};
use inkpot_wal::{
    frame::{self, Header, Kind, Place},
    fs::{Attributes, FileSystem, real::RealFs},
    recovery::{Mark, Survey},
    segment::wal_dir,
    writer::Writer,
};
use std::sync::Arc;
use tempfile::TempDir;

const SEGMENT_BYTES: u64 = 8 << 20;
/// A commit of one short append, of a message, of the largest message, and of a busy shard.
const PAYLOADS: [usize; 4] = [100, 4 << 10, 100 << 10, 1 << 20];
/// Log that is released at once, in bytes: as by a checkpoint.
const RELEASED_BYTES: u64 = 64 << 20;

const HEADER: Header = Header { kind: Kind::Decisions, rewritten: false, sequence: 7, durable_through: 6 };
const PLACE: Place = Place { shard: 0, epoch: 1, nonce: 42, offset: 64 };

fn main() {
    divan::main();
}

/// A log in a folder of its own.
struct Log {
    fs: Arc<dyn FileSystem>,
    writer: Writer,
    _folder: TempDir,
}

impl Log {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fs: Arc<dyn FileSystem> = Arc::new(RealFs::open(folder.path()).unwrap());
        for dir in ["shards", "shards/0000", &wal_dir(0)] {
            fs.create_dir(dir, Attributes::PRIVATE_DIR).unwrap();
        }
        let writer = survey(fs.as_ref()).begin(&fs, SEGMENT_BYTES).unwrap();
        Self { fs, writer, _folder: folder }
    }

    fn append(&mut self, payload: &[u8]) {
        self.writer.append(&[payload]).unwrap();
    }

    /// As long as there is much of it: what it was used for is used again.
    fn release(&mut self) {
        if self.writer.live_bytes() >= RELEASED_BYTES {
            self.writer.sync().unwrap();
            let mark = self.writer.mark().unwrap();
            self.writer.release(&mark).unwrap();
        }
    }
}

fn survey(fs: &dyn FileSystem) -> Survey {
    Survey::read(fs, 0, Mark::default(), None).unwrap()
}

#[divan::bench(args = PAYLOADS)]
fn frame_encode(bencher: Bencher, payload: usize) {
    let payload = vec![7; payload];
    bencher.counter(BytesCount::of_slice(&payload)).bench(|| frame::encode(HEADER, &[black_box(&payload)], PLACE));
}

#[divan::bench(args = PAYLOADS)]
fn frame_decode(bencher: Bencher, payload: usize) {
    let payload = vec![7; payload];
    let mut bytes = frame::encode(HEADER, &[&payload], PLACE).to_vec();
    bytes.extend_from_slice(&payload);
    bytes.resize(frame::size(payload.len()), 0);
    bencher.counter(BytesCount::of_slice(&payload)).bench(|| frame::decode(black_box(&bytes), PLACE).unwrap());
}

/// Into the page cache, over segments that are used again.
#[divan::bench(args = PAYLOADS)]
fn append(bencher: Bencher, payload: usize) {
    let (mut log, payload) = (Log::new(), vec![7; payload]);
    bencher.counter(BytesCount::of_slice(&payload)).bench_local(|| {
        log.append(&payload);
        log.release();
    });
}

/// One after the other, each durable.
#[divan::bench(args = PAYLOADS, sample_count = 50)]
fn commit(bencher: Bencher, payload: usize) {
    let (mut log, payload) = (Log::new(), vec![7; payload]);
    bencher.counter(BytesCount::of_slice(&payload)).bench_local(|| {
        log.append(&payload);
        log.writer.sync().unwrap();
        log.release();
    });
}

/// Reading and checking a log of 256 MiB that the page cache has, with every frame handed on.
#[divan::bench(args = [4 << 10, 100 << 10, 1 << 20], sample_count = 5)]
fn recovery(bencher: Bencher, payload: usize) {
    let (mut log, payload) = (Log::new(), vec![7; payload]);
    let frames = (256 << 20) / payload.len();
    for _ in 0..frames {
        log.append(&payload);
    }
    log.writer.seal().unwrap();
    let fs = Arc::clone(&log.fs);
    bencher.counter(BytesCount::new(frames * payload.len())).bench_local(|| {
        let mut found = 0;
        let visited: Result<(), inkpot_wal::WalError> = survey(fs.as_ref()).replay(fs.as_ref(), |frame| {
            found += frame.payload.len();
            Ok(())
        });
        visited.unwrap();
        assert_eq!(found, frames * payload.len());
    });
}
