//! A server with one shard, without its threads: every step is a call, and the clock goes by hand.

use super::model::{Model, Stream};
use crate::{
    admission::{Admission, Tenant},
    apply::{
        applier::{Applier, Snapshot, Which},
        backlog::Backlog,
        registry::Registry,
        view::FileView,
    },
    catalog::Catalog,
    commit::{
        ShardWriter,
        driver::Spec,
        stager::{Job, Stager},
        unknown,
    },
    config::Config,
    datadir::{DataDir, Opening},
    host::Host,
    recovery::{Ground, plain_files, recover},
    shard::{
        Batch, Open, SessionLink, Write, WriteBody, WriteState,
        ids::FileKey,
        outbox::{Event, OpenState, Outbox},
        turns::Item,
    },
    telemetry::ShardMetrics,
};
use bytes::Bytes;
use inkpot_proto::{
    error::Refused,
    path::{FilePath, TenantName},
    v1::Durability,
};
use inkpot_wal::{
    fs::{Attributes, FileSystem, faulty::FaultyFs, memory::MemoryFs, read_all},
    recovery::{Mark, Retained},
};
use std::{
    collections::{BTreeMap, VecDeque},
    error::Error,
    path::Path,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

/// Why a step did not come to its end.
pub type Stop = Box<dyn Error + Send + Sync>;

/// Channels from this number on are not the model's: what they are told is kept in [`Machine::told`].
pub const OTHERS: u32 = 100_000;

/// A channel as its client sees it.
#[derive(Clone, Debug)]
pub struct Slot {
    pub stream: Stream,
    pub wanted: u64,
    pub state: Option<OpenState>,
}

/// A shard that runs.
pub struct Live {
    pub writer: ShardWriter,
    pub applier: Applier,
    pub backlog: Arc<Backlog>,
    pub stager: Stager,
    pub catalog: Arc<Catalog>,
}

/// See the module.
pub struct Machine {
    pub memory: MemoryFs,
    pub faulty: FaultyFs,
    pub fs: Arc<dyn FileSystem>,
    pub config: Arc<Config>,
    pub registry: Arc<Registry>,
    pub model: Model,
    pub now: Instant,
    pub live: Option<Live>,
    /// Refusals that came, with channel and seq.
    pub nacks: Vec<(u32, u64, Refused)>,
    pub channels: BTreeMap<u32, Slot>,
    /// Answers on channels of others, in order.
    pub told: Vec<Event>,
    /// What the stager has to do.
    pub jobs: VecDeque<Job>,
    retained: Option<Retained>,
    session: Arc<SessionLink>,
    tenant: Arc<Tenant>,
    admission: Arc<Admission>,
}

/// Small segments and frames, so that a short run fills many.
pub fn config() -> Config {
    let mut config = Config { shards: 1, ..Config::default() };
    config.wal.segment_bytes = 4 << 10;
    config.limits.append_bytes = 1 << 10;
    config
}

pub fn key(path: &str) -> FileKey {
    FileKey { tenant: TenantName::parse("default").unwrap(), path: FilePath::parse(path).unwrap() }
}

impl Machine {
    /// A machine that was not started yet.
    pub fn new(memory: MemoryFs, config: Config, model: Model) -> Self {
        let config = Arc::new(config);
        let admission = Arc::new(Admission::new(Arc::clone(&config)));
        let tenant = admission.tenant(&TenantName::parse("default").unwrap());
        let faulty = FaultyFs::over_memory(&memory);
        let outbox = Arc::new(Outbox::default());
        Self {
            fs: Arc::new(faulty.clone()),
            faulty,
            memory,
            config,
            registry: Arc::default(),
            model,
            now: Instant::now(),
            live: None,
            nacks: Vec::new(),
            channels: BTreeMap::new(),
            told: Vec::new(),
            jobs: VecDeque::new(),
            retained: None,
            session: Arc::new(SessionLink { id: 1, tenant: Arc::clone(&tenant), outbox, unary: false }),
            tenant,
            admission,
        }
    }

    /// A machine that runs.
    pub fn running(config: Config) -> Self {
        let mut machine = Self::new(MemoryFs::new(), config, Model::default());
        machine.boot().unwrap();
        machine
    }

    /// Another machine on that disk, whose clients know the same.
    pub fn on(&self, memory: MemoryFs) -> Self {
        Self::new(memory, Config::clone(&self.config), self.model.clone())
    }

    /// What a start of the server does.
    pub fn boot(&mut self) -> Result<(), Stop> {
        let fs = Arc::clone(&self.fs);
        DataDir::open(&Opening {
            fs: fs.as_ref(),
            folder: Path::new("/data"),
            shards: 1,
            shards_given: false,
            cluster_id: 7,
            files: Attributes { mode: 0o750, uid: None, gid: None },
            probe: &|| Ok(()),
            init_shard: &|fs, shard| Catalog::create(fs, shard).map_err(std::io::Error::other),
        })?;
        self.registry = Arc::default();
        self.retained = None;
        self.recover()
    }

    fn spec(&self) -> Spec {
        Spec {
            number: 0,
            fs: Arc::clone(&self.fs),
            config: Arc::clone(&self.config),
            admission: Arc::clone(&self.admission),
            metrics: ShardMetrics::off(),
            salt: 0,
            host: Host::Threads,
        }
    }

    /// What the shard does at a start and after a failure.
    pub fn recover(&mut self) -> Result<(), Stop> {
        self.drain();
        self.channels.clear();
        let ground = Ground { number: 0, fs: &self.fs, config: &self.config, registry: &self.registry };
        let (recovered, unsynced) = recover(&ground, self.retained.clone())?;
        let catalog = Arc::clone(&recovered.catalog);
        let backlog = Arc::new(Backlog::new(self.config.apply.budget_bytes));
        let applier = Applier::new(
            Arc::clone(&self.fs),
            Arc::clone(&recovered.catalog),
            Arc::clone(&backlog),
            self.config.apply.open_files,
            recovered.log.maker().reserve(),
            unsynced,
            ShardMetrics::off(),
        );
        let writer =
            ShardWriter::new(&self.spec(), Arc::clone(&self.registry), Arc::clone(&backlog), recovered, self.now);
        let stager = Stager::new(Arc::clone(&self.fs), plain_files(&ground));
        self.live = Some(Live { writer, applier, backlog, stager, catalog });
        Ok(())
    }

    /// Closes the shard, as a failure with that answer for what is in flight does.
    pub fn close(&mut self, in_flight: &Refused) {
        if let Some(live) = self.live.take() {
            self.retained = Some(live.writer.close(in_flight).0);
        }
        self.refuse_jobs();
        self.drain();
    }

    /// Closes the shard after that failure, and recovers in place.
    pub fn fail_over(&mut self, failure: &Stop) -> Result<(), Stop> {
        self.close(&unknown(failure.as_ref()));
        self.recover()
    }

    /// What follows a failure, wherever it was: recovery in place, or another start if there was none yet.
    pub fn come_back(&mut self, failure: &Stop) -> Result<(), Stop> {
        if self.live.is_some() || self.retained.is_some() { self.fail_over(failure) } else { self.boot() }
    }

    /// A process that ends without a word, and another one after it.
    pub fn kill_and_restart(&mut self) -> Result<(), Stop> {
        self.live = None;
        self.jobs.clear();
        self.boot()
    }

    pub fn live(&mut self) -> &mut Live {
        self.live.as_mut().expect("the shard runs")
    }

    pub fn writer(&mut self) -> &mut ShardWriter {
        &mut self.live().writer
    }

    /// Asks for a channel; returns its number. Answered by the next commit.
    pub fn open(&mut self, stream: Stream, wanted: u64) -> u32 {
        let channel = self.channels.keys().last().map_or(1, |last| last + 1);
        self.channels.insert(channel, Slot { stream, wanted, state: None });
        let producer = Some((stream.producer.into(), wanted));
        let session = Arc::clone(&self.session);
        let open = Open {
            session,
            channel,
            key: key(stream.file),
            mode: crate::shard::Mode::Append,
            producer,
            if_generation: None,
        };
        let tenant = Arc::clone(&self.tenant);
        self.writer().turns().push(&tenant, Item::Open(open));
        channel
    }

    /// Ends a channel without an answer.
    pub fn finish(&mut self, channel: u32) {
        let (session, tenant) = self.session();
        self.writer().turns().push(&tenant, Item::Finish { session, channel, ending: crate::shard::Ending::default() });
    }

    pub fn session(&self) -> (Arc<SessionLink>, Arc<Tenant>) {
        (Arc::clone(&self.session), Arc::clone(&self.tenant))
    }

    /// The epoch of a channel.
    pub fn epoch(&self, channel: u32) -> u64 {
        let slot = &self.channels[&channel];
        slot.state.map_or(slot.wanted, |state| state.epoch)
    }

    /// Sends the next append of a channel; returns its seq.
    pub fn send(&mut self, channel: u32, durability: Durability) -> u64 {
        let (stream, epoch) = (self.channels[&channel].stream, self.epoch(channel));
        let (seq, data) = self.model.send(stream, epoch);
        self.push(channel, seq, data, durability);
        seq
    }

    /// Sends an append again.
    pub fn resend(&mut self, channel: u32, seq: u64) {
        let (stream, epoch) = (self.channels[&channel].stream, self.epoch(channel));
        let sent = &mut self.model.life(stream, epoch)[usize::try_from(seq).unwrap() - 1];
        sent.refused = false;
        let data = sent.data.clone();
        self.push(channel, seq, data, Durability::Synced);
    }

    fn push(&mut self, channel: u32, seq: u64, data: Bytes, durability: Durability) {
        let permit = self.tenant.try_acquire(data.len() as u64).unwrap();
        let crc32c = crc32c::crc32c(&data);
        let body = WriteBody { data, records: 1, crc32c, expected_offset: None, durability, permit, trace: None };
        let writes = vec![Write { channel, seq, body: Ok(body) }];
        let (session, now) = (Arc::clone(&self.session), self.now);
        self.writer().push_batch(Batch { session, writes, since: now }, now);
    }

    /// Commits what is queued, and does whatever the shard's loop does after that.
    pub fn commit(&mut self) -> Result<(), Stop> {
        while self.commit_once()? {}
        Ok(())
    }

    /// One commit, and what follows one. Tells whether more is queued.
    pub fn commit_once(&mut self) -> Result<bool, Stop> {
        let now = self.now;
        let done = self.writer().commit(now);
        self.drain();
        done?;
        let jobs = self.writer().take_jobs();
        self.jobs.extend(jobs);
        let log = self.writer().log();
        if log.wants_next_segment() && !log.maker().is_ready() {
            // An error shows when the segment is needed.
            let _ = log.maker().prepare(0);
        }
        let writer = self.writer();
        Ok(!writer.turns().is_empty() || writer.due(now).is_some())
    }

    /// Time goes by.
    pub fn tick(&mut self, how_long: Duration) -> Result<(), Stop> {
        self.now += how_long;
        let now = self.now;
        Ok(self.writer().tick(now)?)
    }

    /// Everything that is synced goes to the plain files.
    pub fn round(&mut self) -> Result<(), Stop> {
        let now = self.now;
        self.live().applier.round(Which::Waited(Duration::ZERO), now)?;
        Ok(())
    }

    pub fn snapshot(&mut self) -> Result<Snapshot, Stop> {
        let now = self.now;
        Ok(self.writer().snapshot(now)?)
    }

    /// The part of a checkpoint that runs beside commits. Gives the snapshot back if there was no room.
    pub fn try_checkpoint(&mut self, snapshot: Snapshot) -> Result<Option<Snapshot>, Stop> {
        let (mark, now): (Mark, Instant) = (snapshot.progress.mark, self.now);
        let unfinished = self.live().applier.checkpoint(snapshot, now)?;
        if unfinished.is_none() {
            let now = self.now;
            self.writer().checkpointed(&mark, now)?;
        }
        Ok(unfinished)
    }

    /// As [`Machine::try_checkpoint`], once more if there was no room.
    pub fn finish_checkpoint(&mut self, snapshot: Snapshot) -> Result<(), Stop> {
        if let Some(unfinished) = self.try_checkpoint(snapshot)? {
            assert!(self.try_checkpoint(unfinished)?.is_none(), "there is room");
        }
        Ok(())
    }

    pub fn checkpoint(&mut self) -> Result<(), Stop> {
        let snapshot = self.snapshot()?;
        self.finish_checkpoint(snapshot)
    }

    /// Takes what the session was told.
    pub fn drain(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(event)) = self.session.outbox.poll_next(&mut context) {
            match event {
                Event::Opened { channel, .. }
                | Event::Ack { channel, .. }
                | Event::Nack { channel, .. }
                | Event::Finished { channel, .. }
                    if channel >= OTHERS =>
                {
                    self.told.push(event);
                }
                Event::Opened { channel, state } => {
                    let slot = self.channels.get_mut(&channel).expect("a channel of ours");
                    self.model.opened(slot.stream, slot.wanted, &state);
                    slot.state = Some(state);
                }
                Event::Ack { channel, ack } => {
                    let (stream, epoch) = (self.channels[&channel].stream, self.epoch(channel));
                    self.model.acked(stream, epoch, &ack);
                }
                Event::Nack { channel, seq, refused, .. } => {
                    if seq > 0 {
                        let (stream, epoch) = (self.channels[&channel].stream, self.epoch(channel));
                        self.model.refused(stream, epoch, seq, &refused);
                    }
                    self.nacks.push((channel, seq, *refused));
                }
                Event::Finished { .. } => {}
                other => panic!("nobody asked for {other:?}"),
            }
        }
    }

    /// What a producer has committed.
    pub fn write_state(&mut self, stream: Stream) -> Result<WriteState, Stop> {
        let (reply, mut answer) = tokio::sync::oneshot::channel();
        let producer = Some(stream.producer.into());
        let tenant = Arc::clone(&self.tenant);
        self.writer().turns().push(&tenant, Item::WriteState { key: key(stream.file), producer, reply });
        self.commit()?;
        Ok(answer.try_recv()??)
    }

    pub fn view(&mut self, file: &str) -> Option<Arc<FileView>> {
        self.writer().lookup(&key(file)).unwrap()
    }

    /// What a reader gets of a file.
    pub fn read(&mut self, file: &str) -> Vec<u8> {
        self.try_read(file).unwrap()
    }

    pub fn try_read(&mut self, file: &str) -> Result<Vec<u8>, Stop> {
        let Some(view) = self.writer().lookup(&key(file))? else { return Ok(Vec::new()) };
        let mut bytes = Vec::new();
        loop {
            let chunk = view.read(self.fs.as_ref(), bytes.len() as u64, 1 << 20)?;
            if chunk.data.is_empty() {
                assert_eq!(chunk.end, bytes.len() as u64, "{file} cannot be read to its end");
                return Ok(bytes);
            }
            bytes.extend_from_slice(&chunk.data);
        }
    }

    /// The plain file; empty if there is none.
    pub fn plain(&self, file: &str) -> Vec<u8> {
        read_all(&self.memory, &key(file).plain_path()).unwrap_or_default()
    }
}
