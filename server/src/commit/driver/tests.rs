#![allow(clippy::unwrap_used)]

use super::*;
use crate::{
    apply::applier::ApplyError,
    catalog::Catalog,
    host::Slowness,
    shard::{
        Batch, Open, SessionLink, Write, WriteBody,
        ids::ProducerId,
        listing::Query,
        operation::Action,
        outbox::{Event, Outbox},
        testing::key,
    },
};
use bytes::Bytes;
use inkpot_proto::{path::TenantName, v1::Durability};
use inkpot_wal::fs::{
    Attributes,
    faulty::{FaultKind, FaultyFs, Gate, Op, When},
    memory::MemoryFs,
};
use rustix::io::Errno;
use std::{cell::RefCell, future::poll_fn};

/// How long anything may take on a machine that is busy with other tests.
const BOUND: Duration = Duration::from_secs(30);

/// A shard that really runs, on its threads, over a disk in memory.
struct Rig {
    faulty: FaultyFs,
    running: Running,
    session: Arc<SessionLink>,
}

impl Rig {
    async fn new() -> Self {
        Self::with(Config::default()).await
    }

    async fn with(config: Config) -> Self {
        Self::on(Host::Threads, config).await
    }

    async fn on(host: Host, config: Config) -> Self {
        let memory = MemoryFs::new();
        for dir in ["files", "staging", "shards", "shards/0000", "shards/0000/wal", "shards/0000/parked"] {
            memory.create_dir(dir, Attributes::PRIVATE_DIR).unwrap();
        }
        Catalog::create(&memory, 0).unwrap();
        let faulty = FaultyFs::over_memory(&memory);
        let config = Arc::new(config);
        let admission = Arc::new(Admission::new(Arc::clone(&config)));
        let tenant = admission.tenant(&TenantName::parse("t").unwrap());
        let running = start(Spec {
            number: 0,
            fs: Arc::new(faulty.clone()),
            config,
            admission,
            metrics: ShardMetrics::off(),
            salt: 0,
            host,
        })
        .unwrap();
        let session = Arc::new(SessionLink { id: 1, tenant, outbox: Arc::new(Outbox::default()), unary: false });
        let mut rig = Self { faulty, running, session };
        rig.until(|health| *health == Health::Open).await;
        rig
    }

    async fn until(&mut self, wanted: impl FnMut(&Health) -> bool) {
        tokio::time::timeout(BOUND, self.running.health.wait_for(wanted)).await.unwrap().unwrap();
    }

    async fn tell(&self, command: Command) {
        self.running.handle.send(command).await.unwrap();
    }

    async fn open(&self, channel: u32, path: &str) {
        self.open_as(channel, path, crate::shard::Mode::Append, None).await;
    }

    async fn open_as(&self, channel: u32, path: &str, mode: crate::shard::Mode, producer: Option<(ProducerId, u64)>) {
        let session = Arc::clone(&self.session);
        let open = Open { session, channel, key: key(path), mode, producer, if_generation: None };
        self.tell(Command::Open(open)).await;
        assert!(matches!(self.told().await, Event::Opened { .. }));
    }

    async fn operate(&self, path: &str, action: Action) {
        let tenant = Arc::clone(&self.session.tenant);
        self.running.handle.operate(tenant, key(path), None, None, action).await.unwrap();
    }

    /// What the shard itself says of a path.
    async fn has(&self, path: &str) -> bool {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Lookup { key: key(path), reply }).await;
        answer.await.unwrap().unwrap().is_some()
    }

    async fn listed(&self) -> Result<Vec<String>, ErrorReason> {
        let tenant = key("a").tenant;
        let query = Query { tenant, prefix: String::new(), delimiter: None, from: String::new(), max: 10 };
        let page = self.running.handle.list(query).await.map_err(|refused| refused.reason)?;
        Ok(page.iter().map(|entry| entry.text().to_owned()).collect())
    }

    async fn send(&self, channel: u32, data: &'static [u8]) {
        let permit = self.session.tenant.try_acquire(data.len() as u64).unwrap();
        let (data, crc32c) = (Bytes::from_static(data), crc32c::crc32c(data));
        let body = WriteBody {
            data,
            records: 1,
            crc32c,
            expected_offset: None,
            durability: Durability::Synced,
            permit,
            trace: None,
        };
        self.session.outbox.expect_answers(1);
        let writes = vec![Write { channel, seq: 0, body: Ok(body) }];
        self.tell(Command::Writes(Batch { session: Arc::clone(&self.session), writes, since: Instant::now() })).await;
    }

    async fn told(&self) -> Event {
        let next = poll_fn(|cx| self.session.outbox.poll_next(cx));
        tokio::time::timeout(BOUND, next).await.unwrap().unwrap()
    }

    /// The reason of the next refusal of an append or a channel.
    async fn refusal(&self) -> ErrorReason {
        match self.told().await {
            Event::Nack { refused, .. } => refused.reason,
            other => panic!("not a refusal: {other:?}"),
        }
    }
}

#[tokio::test]
async fn what_waits_behind_a_failure_is_answered_and_a_stop_is_not_forgotten() {
    let mut rig = Rig::new().await;
    rig.open(1, "a").await;
    let gate = Gate::new();
    rig.faulty.fail(Op::SyncData, "wal/", When::Nth(1), FaultKind::Hang(gate.clone()));
    rig.send(1, b"hello").await;
    assert!(gate.wait_until_hanging(BOUND));
    let source = Errno::IO.into();
    let failed = ApplyError::File { path: "files/t/b".to_owned(), source };
    rig.tell(Command::Apply(Request::Failed(failed))).await;
    rig.send(1, b"behind it").await;
    rig.tell(Command::Stop).await;
    gate.release();
    assert!(matches!(rig.told().await, Event::Ack { .. }));
    let refusals = [rig.refusal().await, rig.refusal().await];
    assert_eq!(refusals, [ErrorReason::ShardClosed; 2], "the channel, and the append behind the failure");
    rig.until(|health| *health == Health::Stopped).await;
    assert_eq!((rig.session.outbox.outstanding(), rig.session.tenant.in_flight()), (0, (0, 0)));
}

#[tokio::test]
async fn shard_that_fails_while_it_stops_ends() {
    let mut rig = Rig::new().await;
    let gate = Gate::new();
    rig.faulty.fail(Op::SyncData, "wal/", When::Nth(1), FaultKind::Hang(gate.clone()));
    rig.open(1, "a").await;
    rig.send(1, b"hello").await;
    assert!(gate.wait_until_hanging(BOUND));
    rig.tell(Command::Stop).await;
    let failed = ApplyError::File { path: "files/t/b".to_owned(), source: Errno::IO.into() };
    rig.tell(Command::Apply(Request::Failed(failed))).await;
    gate.release();
    rig.until(|health| *health == Health::Stopped).await;
}

thread_local! {
    /// The disk of this thread, and how often staging was written to when it was last asked for.
    static DISK: RefCell<Option<(FaultyFs, u64)>> = const { RefCell::new(None) };
}

/// Each call that writes to staging takes two seconds.
fn staging_is_slow() -> Duration {
    DISK.with_borrow_mut(|disk| {
        let Some((faulty, seen)) = disk else { return Duration::ZERO };
        let calls = faulty.count(Op::Write, "staging/");
        Duration::from_secs(2) * u32::try_from(calls - std::mem::replace(seen, calls)).unwrap()
    })
}

/// Found by the simulation (seed 329 of the generator as it was then): a shard that was to stop asked for one checkpoint
/// after the other while chunks of an upload were on their way to the disk. Where time passes only when there is nothing
/// to do, it never passed again.
#[test]
fn stop_beside_an_upload_on_a_slow_disk_does_not_turn_in_circles() {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut config = Config::default();
            // Real time goes on.
            config.shutdown.close = 100 * BOUND;
            let mut rig = Rig::on(Host::Tasks(Slowness(staging_is_slow)), config).await;
            DISK.set(Some((rig.faulty.clone(), 0)));
            rig.open_as(1, "a", crate::shard::Mode::Replace, Some((ProducerId::from("p".to_owned()), 1))).await;
            rig.send(1, b"written").await;
            assert!(matches!(rig.told().await, Event::Ack { .. }));
            rig.send(1, b"on its way").await;
            rig.tell(Command::Stop).await;
            rig.until(|health| *health == Health::Stopped).await;
        });
        tell.send(()).unwrap();
    });
    told.recv_timeout(BOUND).expect("the shard stops");
}

#[tokio::test]
async fn failed_sync_closes_the_shard_and_it_recovers_in_place() {
    let mut rig = Rig::new().await;
    rig.open(1, "a").await;
    rig.send(1, b"kept ").await;
    assert!(matches!(rig.told().await, Event::Ack { .. }));
    rig.faulty.fail(Op::SyncData, "wal/", When::Nth(1), FaultKind::LostSync);
    rig.send(1, b"unknown ").await;
    assert_eq!(rig.refusal().await, ErrorReason::OutcomeUnknown);
    assert_eq!(rig.refusal().await, ErrorReason::ShardClosed, "the channel is lost");
    rig.until(|health| matches!(health, Health::Closed(_))).await;
    rig.until(|health| *health == Health::Open).await;
    rig.open(1, "a").await;
    rig.send(1, b"after").await;
    let Event::Ack { ack, .. } = rig.told().await else { panic!("no ack") };
    assert_eq!((ack.first_offset, ack.end_offset), (Some(13), Some(18)), "the unknown append had been written");
}

#[tokio::test]
async fn shard_that_recovers_in_place_refuses_meanwhile() {
    let mut rig = Rig::new().await;
    rig.open(1, "a").await;
    let gate = Gate::new();
    rig.faulty.fail(Op::SyncData, "wal/", When::Nth(1), FaultKind::LostSync);
    rig.faulty.fail(Op::SyncDir, "wal", When::Nth(1), FaultKind::Hang(gate.clone()));
    rig.send(1, b"unknown").await;
    assert_eq!(rig.refusal().await, ErrorReason::OutcomeUnknown);
    assert_eq!(rig.refusal().await, ErrorReason::ShardClosed, "the channel is lost");
    assert!(gate.wait_until_hanging(BOUND), "the recovery hangs");
    rig.send(1, b"meanwhile").await;
    assert_eq!(rig.refusal().await, ErrorReason::ShardClosed);
    gate.release();
    rig.until(|health| *health == Health::Open).await;
}

#[tokio::test]
async fn files_are_listed_while_the_shard_is_open_and_not_while_it_recovers() {
    let mut rig = Rig::new().await;
    rig.open(1, "a").await;
    rig.send(1, b"kept").await;
    assert!(matches!(rig.told().await, Event::Ack { .. }));
    assert_eq!(rig.listed().await.unwrap(), ["a"]);
    let gate = Gate::new();
    rig.faulty.fail(Op::SyncData, "wal/", When::Nth(1), FaultKind::LostSync);
    rig.faulty.fail(Op::Open, "catalog", When::Nth(1), FaultKind::Hang(gate.clone()));
    rig.send(1, b"unknown").await;
    assert_eq!(rig.refusal().await, ErrorReason::OutcomeUnknown);
    assert!(gate.wait_until_hanging(BOUND), "the recovery hangs");
    rig.until(|health| matches!(health, Health::Closed(_))).await;
    assert_eq!(rig.listed().await, Err(ErrorReason::ShardClosed));
    gate.release();
    rig.until(|health| *health == Health::Open).await;
    assert_eq!(rig.listed().await.unwrap(), ["a"]);
    rig.tell(Command::Stop).await;
    rig.until(|health| *health == Health::Stopped).await;
    assert_eq!(rig.listed().await, Err(ErrorReason::ShardClosed));
}

/// The catalog has the rows still, until the next checkpoint.
#[tokio::test]
async fn path_that_lost_its_file_since_the_checkpoint_has_none() {
    let mut config = Config::default();
    config.checkpoint.interval = Duration::from_secs(1);
    let rig = Rig::with(config).await;
    for (channel, path) in [(1, "deleted"), (2, "moved")] {
        rig.open(channel, path).await;
        rig.send(channel, b"x").await;
        assert!(matches!(rig.told().await, Event::Ack { .. }));
    }
    let is_stored = |path| rig.running.handle.catalog.read(|catalog| catalog.by_key(&key(path)).unwrap().is_some());
    let deadline = Instant::now() + BOUND;
    while !(is_stored("deleted").unwrap() && is_stored("moved").unwrap()) {
        assert!(Instant::now() < deadline, "no checkpoint");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    rig.operate("deleted", Action::Delete).await;
    rig.operate("moved", Action::Rename { to: key("new"), replace: false }).await;
    assert!(!rig.has("deleted").await && !rig.has("moved").await && rig.has("new").await);
    assert_eq!(rig.listed().await.unwrap(), ["new"]);
}

#[test]
fn shard_that_cannot_open_for_want_of_room_says_so() {
    let source = Errno::NOSPC.into();
    let refused = refusal(&RecoveryError::File { path: "files/t/a".to_owned(), source });
    assert_eq!((refused.reason, refused.code()), (ErrorReason::DiskFull, tonic::Code::ResourceExhausted));
}

#[tokio::test]
async fn file_that_may_not_be_opened_any_more_closes_nothing() {
    let mut rig = Rig::new().await;
    rig.faulty.fail(Op::Write, "t/", When::Nth(1), FaultKind::Errno(Errno::ACCESS.raw_os_error()));
    rig.open(1, "barred").await;
    rig.open(2, "good").await;
    rig.send(1, b"kept aside").await;
    assert!(matches!(rig.told().await, Event::Ack { .. }));
    let view = rig.running.handle.registry.get(&key("barred")).unwrap();
    let deadline = Instant::now() + BOUND;
    while view.state().foreign.is_none() {
        assert!(Instant::now() < deadline, "the applier did not notice");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    rig.send(1, b"more").await;
    assert_eq!(rig.refusal().await, ErrorReason::ForeignChange);
    rig.send(2, b"goes on").await;
    assert!(matches!(rig.told().await, Event::Ack { .. }));
    assert_eq!(*rig.running.health.borrow(), Health::Open);
    rig.tell(Command::Stop).await;
    rig.until(|health| *health == Health::Stopped).await;
    assert_eq!(view.state().parked.map(|parked| (parked.from, parked.end)), Some((0, 10)));
}
