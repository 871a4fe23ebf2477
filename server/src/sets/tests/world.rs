//! A server whose shards take one command at a time, when they are told to, on a disk in memory. Leader and resolvers are
//! the real ones; their clock goes when nothing else does.

use super::schedule::{Bounds, Choices};
use crate::{
    admission::Admission,
    apply::{
        applier::{Applier, Which},
        backlog::Backlog,
        registry::{Found, Registry},
    },
    catalog::{Catalog, CatalogSlot},
    commit::{
        ShardWriter,
        driver::{Health, Spec},
        stager::Stager,
        unknown,
    },
    config::Config,
    datadir::{DataDir, Opening},
    host::Host,
    recovery::{Ground, plain_files, recover},
    sets::{Sets, resolver},
    shard::{
        Batch, Command, Ending, Mode, Open, SessionLink, ShardHandle, Write, WriteBody,
        ids::{FileId, FileKey},
        outbox::{Event, Outbox},
        testing::{key, name, told},
        turns::Item,
    },
    telemetry::ShardMetrics,
};
use bytes::Bytes;
use inkpot_proto::{
    error::Refused,
    v1::{Durability, ErrorReason},
};
use inkpot_wal::{
    fs::{
        Attributes, FileSystem,
        faulty::{FaultKind, FaultyFs, Op, When},
        memory::{Loss, MemoryFs},
    },
    recovery::Retained,
};
use std::{
    collections::VecDeque,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What is seen at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// This file.
    File(FileId),
    /// No file.
    Nothing,
    /// Nobody is told now.
    Untold,
}

/// What may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// A shard takes the command that has waited longest there.
    Take(usize),
    /// A shard recovers.
    Open(usize),
    /// The process dies, and another one starts.
    Crash,
    /// A shard fails.
    Fail(usize),
    /// A shard fails after what it takes is in the log, and before it is synced.
    FailTaking(usize),
    /// The client does something beside.
    Beside,
}

struct Live {
    writer: ShardWriter,
    applier: Applier,
    stager: Stager,
    catalog: Arc<Catalog>,
}

struct Shard {
    handle: ShardHandle,
    mailbox: mpsc::Receiver<Command>,
    /// When it came, and what.
    waiting: VecDeque<(u64, Command)>,
    health: watch::Sender<Health>,
    live: Option<Live>,
    /// Set while it is closed after a failure.
    retained: Option<Retained>,
}

/// See the module.
pub struct World {
    pub memory: MemoryFs,
    pub sets: Arc<Sets>,
    /// Counts the lives of the process.
    pub life: usize,
    pub trace: Vec<String>,
    faulty: FaultyFs,
    fs: Arc<dyn FileSystem>,
    config: Arc<Config>,
    admission: Arc<Admission>,
    shards: Vec<Shard>,
    arrivals: u64,
    drain: CancellationToken,
    pub bounds: Bounds,
    /// Paths that somebody asks about while their shard opens, and what they are told.
    pub asked: Vec<FileKey>,
    pub told: Vec<(FileKey, Sight)>,
    /// Whether the client may do something beside.
    pub beside: bool,
    session: Arc<SessionLink>,
    now: Instant,
}

fn make_shards(config: &Config) -> Vec<Shard> {
    let make = |number| {
        let (sender, mailbox) = mpsc::channel(64);
        let handle = ShardHandle::new(
            number,
            Host::Threads,
            Arc::new(Registry::default()),
            Arc::new(CatalogSlot::default()),
            sender,
        );
        let health = watch::channel(Health::Opening).0;
        Shard { handle, mailbox, waiting: VecDeque::new(), health, live: None, retained: None }
    };
    (0..config.shards).map(make).collect()
}

fn closed() -> Refused {
    Refused::new(ErrorReason::ShardClosed, "the shard is closed")
}

fn refuse(command: Command) {
    match command {
        Command::Step(step) => step.refuse(closed()),
        Command::AllotId { reply } => _ = reply.send(Err(closed())),
        Command::Lookup { reply, .. } => _ = reply.send(Err(closed())),
        other => panic!("no part of a set: {other:?}"),
    }
}

impl World {
    /// A new server. Must be within a runtime.
    pub fn new(shards: u32) -> Self {
        let mut config = Config { shards, ..Config::default() };
        config.wal.segment_bytes = 16 << 10;
        config.limits.append_bytes = 1 << 10;
        let memory = MemoryFs::new();
        DataDir::open(&Opening {
            fs: &memory,
            folder: Path::new("/data"),
            shards,
            shards_given: true,
            cluster_id: 7,
            files: Attributes { mode: 0o750, uid: None, gid: None },
            probe: &|| Ok(()),
            init_shard: &|fs, shard| Catalog::create(fs, shard).map_err(std::io::Error::other),
        })
        .unwrap();
        Self::on(memory, config, 0)
    }

    /// A start on that disk.
    fn on(memory: MemoryFs, config: Config, life: usize) -> Self {
        let config = Arc::new(config);
        let admission = Arc::new(Admission::new(Arc::clone(&config)));
        let faulty = FaultyFs::over_memory(&memory);
        let fs: Arc<dyn FileSystem> = Arc::new(faulty.clone());
        let shards = make_shards(&config);
        let drain = CancellationToken::new();
        let handles: Vec<_> = shards.iter().map(|shard| shard.handle.clone()).collect();
        let sets = Arc::new(Sets::new(handles.into(), Arc::clone(&fs), drain.clone()));
        let health = shards.iter().map(|shard| shard.health.subscribe()).collect();
        resolver::start(&sets, health, &drain, &TaskTracker::new());
        let tenant = admission.tenant(&name("t"));
        let session = Arc::new(SessionLink { id: 1, tenant, outbox: Arc::new(Outbox::default()), unary: false });
        Self {
            memory,
            sets,
            life,
            trace: Vec::new(),
            faulty,
            fs,
            config,
            admission,
            shards,
            arrivals: 0,
            drain,
            bounds: Bounds { orders: 0, faults: 0 },
            asked: Vec::new(),
            told: Vec::new(),
            beside: false,
            session,
            now: Instant::now(),
        }
    }

    /// Another process on a copy of the disk as it is; this one may go on.
    pub fn copy(&self) -> Self {
        Self::on(self.memory.power_loss(Loss::All, 0), Config::clone(&self.config), 0)
    }

    /// Another process on the disk of this one, which has ended.
    pub fn started_again(mut self) -> Self {
        let trace = std::mem::take(&mut self.trace);
        Self { trace, ..self.copy() }
    }

    fn crash(&mut self) {
        self.drain.cancel();
        let next = Self::on(self.memory.power_loss(Loss::All, 0), Config::clone(&self.config), self.life + 1);
        let (bounds, beside) = (self.bounds, self.beside);
        let (trace, asked) = (std::mem::take(&mut self.trace), std::mem::take(&mut self.asked));
        *self = Self { bounds, beside, trace, asked, ..next };
    }

    fn open(&mut self, shard: usize) {
        let Shard { handle, retained, health, live, .. } = &mut self.shards[shard];
        let registry = &handle.registry;
        let ground = Ground { number: handle.number, fs: &self.fs, config: &self.config, registry: registry.as_ref() };
        let (recovered, unsynced) = recover(&ground, retained.take()).unwrap();
        assert!(recovered.aside.is_empty(), "bytes without a plain file");
        let backlog = Arc::new(Backlog::new(self.config.apply.budget_bytes));
        let catalog = Arc::clone(&recovered.catalog);
        let applier = Applier::new(
            Arc::clone(&self.fs),
            Arc::clone(&catalog),
            Arc::clone(&backlog),
            self.config.apply.open_files,
            recovered.log.maker().reserve(),
            unsynced,
            ShardMetrics::off(),
        );
        let spec = Spec {
            number: handle.number,
            fs: Arc::clone(&self.fs),
            config: Arc::clone(&self.config),
            admission: Arc::clone(&self.admission),
            metrics: ShardMetrics::off(),
            salt: 0,
            host: Host::Threads,
        };
        let writer = ShardWriter::new(&spec, Arc::clone(registry), backlog, recovered, self.now);
        let stager = Stager::new(Arc::clone(&self.fs), plain_files(&ground));
        *live = Some(Live { writer, applier, stager, catalog });
        health.send_replace(Health::Open);
        self.answer_asked(shard);
    }

    fn answer_asked(&mut self, shard: usize) {
        let here: Vec<FileKey> = self.asked.iter().filter(|key| self.shard_of(key) == shard).cloned().collect();
        for key in here {
            let live = self.shards[shard].live.as_mut().unwrap();
            let sight = match live.writer.answer_lookup(&key).unwrap() {
                Ok(view) => view.map_or(Sight::Nothing, |view| Sight::File(view.id)),
                Err(_) => Sight::Untold,
            };
            self.told.push((key, sight));
        }
    }

    /// What a client sees at a path, or saw who asked before it was open.
    pub fn look(&mut self, key: &FileKey) -> Sight {
        let told = self.told.iter().position(|(of, _)| of == key);
        match told {
            Some(told) => self.told.remove(told).1,
            None => self.look_now(key),
        }
    }

    fn fail(&mut self, shard: usize, refused: &Refused) {
        let shard = &mut self.shards[shard];
        let live = shard.live.take().unwrap();
        shard.retained = Some(live.writer.close(refused).0);
        shard.health.send_replace(Health::Closed("as told".to_owned()));
    }

    /// Lets everything run until it waits for a shard or for time, and takes what came for the shards.
    pub async fn quiesce(&mut self, time: Duration) {
        tokio::time::sleep(time).await;
        for shard in &mut self.shards {
            while let Ok(command) = shard.mailbox.try_recv() {
                self.arrivals += 1;
                shard.waiting.push_back((self.arrivals, command));
            }
            if shard.retained.is_some() {
                shard.waiting.drain(..).for_each(|(_, command)| refuse(command));
            }
        }
    }

    fn options(&self) -> Vec<Next> {
        let shards = || (0..self.shards.len()).map(|number| (number, &self.shards[number]));
        let live = || shards().filter(|(_, shard)| shard.live.is_some());
        let mut takes: Vec<_> =
            live().filter_map(|(number, shard)| Some((shard.waiting.front()?.0, Next::Take(number)))).collect();
        takes.sort_unstable_by_key(|(at, _)| *at);
        let opens = shards().filter(|(_, shard)| shard.live.is_none()).map(|(number, _)| Next::Open(number));
        let mut natural: Vec<Next> = opens.chain(takes.into_iter().map(|(_, take)| take)).collect();
        if self.bounds.orders == 0 {
            natural.truncate(1);
        }
        if natural.is_empty() || self.bounds.faults == 0 {
            natural.extend(self.beside.then_some(Next::Beside).filter(|_| !natural.is_empty()));
            return natural;
        }
        let is_step = |shard: &Shard| matches!(shard.waiting.front(), Some((_, Command::Step(_))));
        let taking = live().filter(|(_, shard)| is_step(shard)).map(|(number, _)| Next::FailTaking(number));
        let faults = live().map(|(number, _)| Next::Fail(number)).chain(taking).chain([Next::Crash]);
        natural.extend(faults);
        natural.extend(self.beside.then_some(Next::Beside));
        natural
    }

    /// One thing happens; `None` if nothing can but the passing of time. Tells whether the client is to do something.
    pub fn go_on(&mut self, choices: &mut Choices) -> Option<bool> {
        let options = self.options();
        if options.is_empty() {
            return None;
        }
        let chosen = if options.len() == 1 { 0 } else { choices.choose(options.len()) };
        let next = options[chosen];
        self.trace.push(match next {
            Next::Take(shard) | Next::FailTaking(shard) => {
                let text = format!("{:?}", self.shards[shard].waiting.front().unwrap().1);
                let from = text.find("Step(").map_or(0, |at| at + 5);
                format!("{next:?} {}", text[from..].chars().take(12).collect::<String>())
            }
            next => format!("{next:?}"),
        });
        match next {
            Next::Take(shard) => {
                self.bounds.orders -= usize::from(chosen > 0);
                self.take(shard).unwrap();
            }
            Next::Open(shard) => {
                self.bounds.orders -= usize::from(chosen > 0);
                self.open(shard);
            }
            Next::Crash => {
                self.bounds.faults -= 1;
                self.crash();
            }
            Next::Fail(shard) => {
                self.bounds.faults -= 1;
                self.fail(shard, &closed());
            }
            Next::FailTaking(shard) => {
                self.bounds.faults -= 1;
                let wal = format!("shards/{shard:04}/wal");
                self.faulty.fail(Op::SyncData, &wal, When::Nth(1), FaultKind::LostSync);
                if let Err(error) = self.take(shard) {
                    self.fail(shard, &unknown(&error));
                }
                self.faulty.clear();
            }
            Next::Beside => {
                self.beside = false;
                return Some(true);
            }
        }
        Some(false)
    }

    fn take(&mut self, shard: usize) -> Result<(), crate::commit::ShardError> {
        let now = self.now;
        let Shard { waiting, live: Some(live), .. } = &mut self.shards[shard] else {
            panic!("shard {shard} is closed")
        };
        match waiting.pop_front().unwrap().1 {
            Command::Step(step) => {
                live.writer.push_step(*step);
                live.writer.commit(now)?;
            }
            Command::AllotId { reply } => _ = reply.send(Ok(live.writer.allot_id())),
            Command::Lookup { key, reply } => _ = reply.send(live.writer.answer_lookup(&key).unwrap()),
            other => panic!("no part of a set: {other:?}"),
        }
        live.applier.round(Which::Waited(Duration::ZERO), now).unwrap();
        Ok(())
    }

    /// Opens every shard that is not open.
    pub fn open_all(&mut self) {
        for shard in 0..self.shards.len() {
            if self.shards[shard].live.is_none() {
                self.open(shard);
            }
        }
    }

    /// Whether nothing waits, and every shard is open and knows of no set.
    pub fn is_at_rest(&self) -> bool {
        self.shards.iter().all(|shard| {
            let files = shard.live.as_ref().map(|live| live.writer.files());
            shard.waiting.is_empty()
                && files.is_some_and(|files| {
                    files.sets().is_empty()
                        && files.sets().locked().next().is_none()
                        && files.iter().all(|file| file.frozen.is_none())
                })
        })
    }

    fn look_now(&self, key: &FileKey) -> Sight {
        let shard = &self.shards[self.shard_of(key)];
        let Some(live) = &shard.live else { return Sight::Untold };
        match shard.handle.registry.lookup(key) {
            Found::Present(view) => Sight::File(view.id),
            Found::Absent => Sight::Nothing,
            Found::Undecided => Sight::Untold,
            Found::Unknown => {
                let stored = live.catalog.by_key(key).unwrap().filter(|stored| stored.row.created);
                stored.map_or(Sight::Nothing, |stored| Sight::File(stored.id))
            }
        }
    }

    /// The bytes that a reader gets, if the registry has a view of what it is told of.
    pub fn read(&self, key: &FileKey) -> Option<Vec<u8>> {
        let view = self.shards[self.shard_of(key)].handle.registry.get(key)?;
        let mut bytes = inkpot_wal::fs::read_all(self.fs.as_ref(), &view.path()).unwrap();
        for piece in &view.state().pending {
            bytes.extend_from_slice(&piece.data);
        }
        Some(bytes)
    }

    pub fn plain(&self, key: &FileKey) -> Option<Vec<u8>> {
        inkpot_wal::fs::read_all(self.fs.as_ref(), &key.plain_path()).ok()
    }

    /// A producer's last seq in the file at a path, as an open tells it.
    pub fn last_seq(&mut self, key: &FileKey, producer: &str) -> Option<u64> {
        let (shard, now, session) = (self.shard_of(key), self.now, Arc::clone(&self.session));
        let live = self.shards[shard].live.as_mut().unwrap();
        let open_as = Some((producer.into(), 1));
        let open =
            Open { session, channel: 1, key: key.clone(), mode: Mode::Append, producer: open_as, if_generation: None };
        live.writer.turns().push(&Arc::clone(&self.session.tenant), Item::Open(open));
        live.commit(now);
        told(&self.session).iter().find_map(|event| match event {
            Event::Opened { state, .. } => Some(state.last_seq),
            _ => None,
        })
    }

    fn shard_of(&self, key: &FileKey) -> usize {
        crate::route::shard_of(&key.tenant, &key.path, self.config.shards) as usize
    }

    /// A path that begins so and belongs to this shard.
    pub fn path_in(&self, shard: usize, begin: &str) -> FileKey {
        (0..).map(|n| key(&format!("{begin}{n}"))).find(|key| self.shard_of(key) == shard).unwrap()
    }

    /// Whether a client could write to the path now.
    pub fn is_open(&self, key: &FileKey) -> bool {
        self.shards[self.shard_of(key)].live.is_some()
    }

    /// A channel is opened, one append sent, the channel left. Returns what was told, and the id of the content.
    pub fn write(&mut self, key: &FileKey, mode: Mode, producer: &str, data: &str) -> (Vec<Event>, Option<FileId>) {
        let (shard, now, session) = (self.shard_of(key), self.now, Arc::clone(&self.session));
        let tenant = Arc::clone(&session.tenant);
        let live = self.shards[shard].live.as_mut().unwrap();
        let (open_as, open_session) = (Some((producer.into(), 1)), Arc::clone(&session));
        let open =
            Open { session: open_session, channel: 1, key: key.clone(), mode, producer: open_as, if_generation: None };
        live.writer.turns().push(&tenant, Item::Open(open));
        live.commit(now);
        let mut events = told(&session);
        let last_seq = events.iter().find_map(|event| match event {
            Event::Opened { state, .. } => Some(state.last_seq),
            _ => None,
        });
        if let Some(last_seq) = last_seq {
            let data = Bytes::copy_from_slice(data.as_bytes());
            let (permit, crc32c) = (tenant.try_acquire(data.len() as u64).unwrap(), crc32c::crc32c(&data));
            let durability = Durability::Synced;
            let body = WriteBody { data, records: 1, crc32c, expected_offset: None, durability, permit, trace: None };
            let writes = vec![Write { channel: 1, seq: last_seq + 1, body: Ok(body) }];
            live.writer.push_batch(Batch { session: Arc::clone(&session), writes, since: now }, now);
            live.commit(now);
        }
        live.writer
            .turns()
            .push(&tenant, Item::Finish { session: Arc::clone(&session), channel: 1, ending: Ending::LeaveOpen });
        live.commit(now);
        events.extend(told(&session));
        let files = live.writer.files();
        (events, files.upload_of(key, &producer.into()).or_else(|| files.id_of(key)))
    }

    /// A checkpoint of every shard.
    pub fn checkpoint(&mut self) {
        for shard in &mut self.shards {
            let live = shard.live.as_mut().unwrap();
            let snapshot = live.writer.snapshot(self.now).unwrap();
            let mark = snapshot.progress.mark;
            assert!(live.applier.checkpoint(snapshot, self.now).unwrap().is_none());
            live.writer.checkpointed(&mark, self.now).unwrap();
        }
    }
}

/// Lets a leader go to its end, and everything else come to rest; `check` looks after each step, and is told what the
/// leader came to and whether the client is to do something beside. `None`: the process died before it was known.
pub async fn drive<T: Send + 'static>(
    world: &mut World,
    choices: &mut Choices,
    leader: impl Future<Output = T> + Send + 'static,
    mut check: impl FnMut(&mut World, Option<&T>, bool),
) -> Option<T> {
    let (mut leader, mut result, mut idle, mut beside) = (Some(tokio::spawn(leader)), None, 0, false);
    loop {
        world.quiesce(Duration::from_millis(1)).await;
        if let Some(ended) = leader.take_if(|leader| leader.is_finished()) {
            result = Some(ended.await.unwrap());
        }
        check(world, result.as_ref(), beside);
        let life = world.life;
        if let Some(next) = world.go_on(choices) {
            (beside, idle) = (next, 0);
        } else if leader.is_none() && world.is_at_rest() {
            return result;
        } else {
            // Somebody waits to ask again.
            idle += 1;
            assert!(idle < 40, "it hangs: {:#?}", world.trace);
            world.quiesce(Duration::from_millis(20)).await;
            beside = false;
        }
        if world.life != life {
            leader.take().into_iter().for_each(|leader| leader.abort());
        }
    }
}

/// A runtime whose clock goes when nothing else does.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

impl Live {
    /// Commits until nothing is left to do, with all that goes by the stager.
    fn commit(&mut self, now: Instant) {
        loop {
            self.writer.commit(now).unwrap();
            let jobs = self.writer.take_jobs();
            if jobs.is_empty() && self.writer.due(now).is_none() {
                break;
            }
            let (items, outcome) = self.stager.run(jobs);
            outcome.unwrap();
            self.writer.staged(items);
        }
        self.applier.round(Which::Waited(Duration::ZERO), now).unwrap();
    }
}
