//! What each stratum of the server costs by itself: the decoding of a message, the decisions of a shard with its frame and
//! its acks, bringing bytes to plain files, and a recovery with plain files. `cargo bench -p inkpot-tests --bench strata`;
//! the log alone is in `server/wal/benches`. The disk is that of the temporary folder (`TMPDIR`).
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use divan::{
    Bencher, black_box,
    counter::{BytesCount, ItemsCount},
};
use inkpot_proto::{
    path::{FilePath, TenantName},
    v1::{self, Durability, WriteRequest, write_request::Frame},
};
use inkpot_server::{
    admission::Admission,
    apply::{
        applier::{Applier, Which},
        backlog::Backlog,
        registry::Registry,
    },
    catalog::Catalog,
    commit::{ShardWriter, driver::Spec},
    config::Config,
    host::Host,
    recovery::{Ground, recover},
    shard::{Batch, Mode, Open, SessionLink, Write, WriteBody, ids::FileKey, outbox::Outbox, turns::Item},
    telemetry::ShardMetrics,
};
use inkpot_wal::fs::{Attributes, FileSystem, real::RealFs};
use prost::Message;
use std::{
    cell::RefCell,
    sync::Arc,
    task::{Context, Waker},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A short line, a message of lines, and a large piece: bytes of an append, and records in it.
const APPENDS: [(usize, usize); 4] = [(100, 1), (10_000, 100), (100 << 10, 100), (64 << 10, 1)];
/// Appends that a shard takes at once.
const ROUND: usize = 100;

fn main() {
    divan::main();
}

fn append(len: usize, records: usize) -> v1::Append {
    let data = Bytes::from(vec![b'x'; len]);
    let record_lengths = if records == 1 { Vec::new() } else { vec![u32::try_from(len / records).unwrap(); records] };
    v1::Append {
        channel: 7,
        seq: 1_000,
        crc32c: Some(crc32c::crc32c(&data)),
        payload: Some(v1::Payload { data, record_lengths }),
        ..v1::Append::default()
    }
}

#[divan::bench(args = APPENDS)]
fn decode(bencher: Bencher, (len, records): (usize, usize)) {
    let request = WriteRequest { frame: Some(Frame::Append(append(len, records))) };
    let bytes = Bytes::from(request.encode_to_vec());
    bencher.counter(ItemsCount::new(records)).bench(|| WriteRequest::decode(black_box(bytes.clone())).unwrap());
}

/// A shard that is driven by hand, on a disk of its own.
struct Shard {
    spec: Spec,
    backlog: Arc<Backlog>,
    writer: ShardWriter,
    applier: Applier,
    session: Arc<SessionLink>,
    files: u32,
    seq: u64,
    folder: TempDir,
}

impl Shard {
    /// With so many files that are open on channels from 1 on.
    fn new(files: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fs: Arc<dyn FileSystem> = Arc::new(RealFs::open(folder.path()).unwrap());
        for dir in ["files", "staging", "shards", "shards/0000", "shards/0000/wal", "shards/0000/parked"] {
            fs.create_dir(dir, Attributes::PRIVATE_DIR).unwrap();
        }
        Catalog::create(fs.as_ref(), 0).unwrap();
        Self::open(folder, fs, files)
    }

    fn open(folder: TempDir, fs: Arc<dyn FileSystem>, files: u32) -> Self {
        let config = Arc::new(Config::default());
        let admission = Arc::new(Admission::new(Arc::clone(&config)));
        let tenant = admission.tenant(&TenantName::parse("t").unwrap());
        let session = Arc::new(SessionLink { id: 1, tenant, outbox: Arc::new(Outbox::default()), unary: false });
        let metrics = ShardMetrics::off();
        let spec = Spec { number: 0, fs, config, admission, metrics, salt: 0, host: Host::Threads };
        let registry = Arc::new(Registry::default());
        let backlog = Arc::new(Backlog::new(spec.config.apply.budget_bytes));
        let ground = Ground { number: 0, fs: &spec.fs, config: &spec.config, registry: &registry };
        let (recovered, unsynced) = recover(&ground, None).unwrap();
        let applier = Applier::new(
            Arc::clone(&spec.fs),
            Arc::clone(&recovered.catalog),
            Arc::clone(&backlog),
            spec.config.apply.open_files,
            recovered.log.maker().reserve(),
            unsynced,
            Arc::clone(&spec.metrics),
        );
        let now = Instant::now();
        let writer = ShardWriter::new(&spec, registry, Arc::clone(&backlog), recovered, now);
        let mut shard = Self { spec, backlog, writer, applier, session, files, seq: 0, folder };
        for channel in 1..=files {
            let session = Arc::clone(&shard.session);
            let path = FilePath::parse(&format!("dir-{}/{channel}.log", channel % 100)).unwrap();
            let key = FileKey { tenant: TenantName::parse("t").unwrap(), path };
            let producer = Some(("p".into(), 0));
            let open = Open { session, channel, key, mode: Mode::Append, producer, if_generation: None };
            shard.writer.turns().push(&shard.session.tenant, Item::Open(open));
        }
        shard.commit();
        shard
    }

    /// One round of appends, on one channel after the other.
    fn batch(&mut self, data: &Bytes, records: usize) -> Batch {
        let crc32c = crc32c::crc32c(data);
        let write = |number: u64| {
            let permit = self.session.tenant.try_acquire(data.len() as u64).unwrap();
            let body = WriteBody {
                data: data.clone(),
                records: u32::try_from(records).unwrap(),
                crc32c,
                expected_offset: None,
                durability: Durability::Written,
                permit,
                trace: None,
            };
            let channel = u32::try_from(number % u64::from(self.files)).unwrap() + 1;
            Write { channel, seq: 0, body: Ok(body) }
        };
        let writes = (self.seq..).take(ROUND).map(write).collect();
        self.seq += ROUND as u64;
        Batch { session: Arc::clone(&self.session), writes, since: Instant::now() }
    }

    fn commit(&mut self) {
        self.writer.commit(Instant::now()).unwrap();
        while self.session.outbox.poll_next(&mut Context::from_waker(Waker::noop())).is_ready() {}
    }

    fn apply(&mut self) {
        self.writer.tick(Instant::now() + Duration::from_secs(1)).unwrap();
        let _ = self.applier.round(Which::Waited(Duration::ZERO), Instant::now()).unwrap();
    }

    /// As a checkpoint does; what the log was used for is used again.
    fn checkpoint(&mut self) {
        let snapshot = self.writer.snapshot(Instant::now()).unwrap();
        let mark = snapshot.progress.mark;
        assert!(self.applier.checkpoint(snapshot, Instant::now()).unwrap().is_none());
        self.writer.checkpointed(&mark, Instant::now()).unwrap();
    }

    fn keep_small(&mut self) {
        if self.backlog.is_over_budget() {
            self.apply();
        }
        if self.writer.unreleased_bytes() > 64 << 20 {
            self.apply();
            self.checkpoint();
        }
    }
}

/// Decisions, their frame in the page cache, and acks: a hundred appends at once, in one file or a hundred.
#[divan::bench(args = APPENDS, consts = [1, 100], sample_size = 1, sample_count = 500)]
fn decide<const FILES: u32>(bencher: Bencher, (len, records): (usize, usize)) {
    let (shard, data) = (RefCell::new(Shard::new(FILES)), Bytes::from(vec![b'x'; len]));
    let prepared = || {
        let mut shard = shard.borrow_mut();
        shard.keep_small();
        shard.batch(&data, records)
    };
    bencher.counter(ItemsCount::new(ROUND * records)).with_inputs(prepared).bench_local_values(|batch| {
        let mut shard = shard.borrow_mut();
        shard.writer.push_batch(batch, Instant::now());
        shard.commit();
    });
}

/// What a hundred commits have left for the plain files, one of them or a hundred.
#[divan::bench(args = APPENDS, consts = [1, 100], sample_size = 1, sample_count = 50)]
fn apply<const FILES: u32>(bencher: Bencher, (len, records): (usize, usize)) {
    let (shard, data) = (RefCell::new(Shard::new(FILES)), Bytes::from(vec![b'x'; len]));
    let rounds = (32 << 20) / (ROUND * len);
    let prepared = || {
        let mut shard = shard.borrow_mut();
        shard.checkpoint();
        for _ in 0..rounds {
            let batch = shard.batch(&data, records);
            shard.writer.push_batch(batch, Instant::now());
            shard.commit();
        }
    };
    let bytes = BytesCount::new(rounds * ROUND * len);
    bencher.counter(bytes).with_inputs(prepared).bench_local_values(|()| shard.borrow_mut().apply());
}

/// A start after the death of the process: 64 MiB of log behind the mark, in a hundred files, of which nothing is taken
/// for granted. With what the page cache has.
#[divan::bench(args = APPENDS, sample_size = 1, sample_count = 10)]
fn recovery(bencher: Bencher, (len, records): (usize, usize)) {
    let (mut shard, data) = (Shard::new(100), Bytes::from(vec![b'x'; len]));
    let rounds = (64 << 20) / (ROUND * len);
    for _ in 0..rounds {
        let batch = shard.batch(&data, records);
        shard.writer.push_batch(batch, Instant::now());
        shard.commit();
        shard.apply();
    }
    let Shard { spec, folder: _folder, .. } = shard;
    bencher.counter(BytesCount::new(rounds * ROUND * len)).bench_local(|| {
        let registry = Arc::new(Registry::default());
        let ground = Ground { number: 0, fs: &spec.fs, config: &spec.config, registry: &registry };
        recover(&ground, None).unwrap();
    });
}
