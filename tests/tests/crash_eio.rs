//! Calls of the disk fail under a real server that is under load: writes, syncs of each kind of file and of directories,
//! and renames, once or for a while; and there is no room in each kind of file. A sync that failed has lost its data for
//! good, as on Linux, though the next sync succeeds and reads still show it; so the power fails after every third fault.
//! Nothing that was acknowledged is lost or doubled, the process stays, and it goes on by itself.
//!
//! Each kind once, or as many faults as `INKPOT_TEST_EIO` says.
#![allow(clippy::unwrap_used)]

use inkpot_tests::harness::{
    lossy::LossyDisk,
    server::{Server, Setup},
    wait,
    witness::{Shape, Witness},
};
use inkpot_wal::fs::{
    faulty::{FaultKind, Op, When},
    memory::Loss,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::time::Duration;

/// How long anything may take on a machine that is busy with other tests.
const BOUND: Duration = Duration::from_secs(120);
/// Room on the disk, in bytes.
const ROOM: u64 = 1 << 40;
/// Frequent checkpoints and small segments, so that each kind of call comes soon.
const CONFIG: &str =
    "[wal]\nsegment_bytes = \"5MiB\"\nmax_bytes = \"64MiB\"\n[checkpoint]\nwal_bytes = \"1MiB\"\ninterval = \"200ms\"";
/// How long it lasts if it lasts.
const WHILE: Duration = Duration::from_millis(400);

/// A call that fails.
#[derive(Clone, Copy, Debug)]
struct Fault {
    op: Op,
    path: &'static str,
    kind: Failing,
}

#[derive(Clone, Copy, Debug)]
enum Failing {
    /// With this number, and nothing is done.
    With(i32),
    /// With this number, when some bytes are written.
    Half(i32),
    /// A sync, and its data is lost.
    Lost,
}

impl Failing {
    fn kind(self, random: &mut StdRng) -> FaultKind {
        match self {
            Self::With(errno) => FaultKind::Errno(errno),
            Self::Half(errno) => FaultKind::ShortWrite { written: random.random_range(0..3_000), errno },
            Self::Lost => FaultKind::LostSync,
        }
    }
}

const fn fault(op: Op, path: &'static str, kind: Failing) -> Fault {
    Fault { op, path, kind }
}

/// Every kind of file, and every kind of call that keeps something.
const EIO: [Fault; 13] = [
    fault(Op::SyncData, "/wal/", Failing::Lost),
    fault(Op::SyncAll, "files/", Failing::Lost),
    fault(Op::SyncData, "/catalog", Failing::Lost),
    fault(Op::SyncData, "staging/", Failing::Lost),
    fault(Op::SyncDir, "files", Failing::With(libc::EIO)),
    fault(Op::SyncDir, "staging/", Failing::With(libc::EIO)),
    fault(Op::Write, "/wal/", Failing::With(libc::EIO)),
    fault(Op::Write, "/wal/", Failing::Half(libc::EIO)),
    fault(Op::Write, "files/", Failing::Half(libc::EIO)),
    fault(Op::Write, "/catalog", Failing::With(libc::EIO)),
    fault(Op::Write, "staging/", Failing::Half(libc::EIO)),
    fault(Op::Rename, "staging/", Failing::With(libc::EIO)),
    fault(Op::SyncData, "/wal/", Failing::With(libc::EIO)),
];

/// The log, a plain file by apply or at a checkpoint, the catalog, an upload.
const NO_ROOM: [Fault; 4] = [
    fault(Op::Write, "/wal/", Failing::Half(libc::ENOSPC)),
    fault(Op::Write, "files/", Failing::Half(libc::ENOSPC)),
    fault(Op::Write, "/catalog", Failing::Half(libc::ENOSPC)),
    fault(Op::Write, "staging/", Failing::Half(libc::ENOSPC)),
];

struct World {
    disk: LossyDisk,
    server: Server,
    load: Witness,
    random: StdRng,
}

impl World {
    async fn start(seed: u64) -> Self {
        let disk = LossyDisk::mount(ROOM);
        let server = Server::start(Setup::default().config(CONFIG).data_dir(disk.path().join("data")));
        let shape = Shape { producers: 3, files: 12, window: 8, rest: Duration::from_millis(10), bound: BOUND };
        let load = Witness::start(&server, shape, seed).await;
        Self { disk, server, load, random: StdRng::seed_from_u64(seed) }
    }

    /// Makes it fail, once or for a while, and waits until everything goes on.
    async fn meets(&mut self, fault: Fault, number: usize) {
        let what = format!("fault {number}, {fault:?}");
        self.load.goes_on(self.random.random_range(1..300), &format!("appends before {what}")).await;
        let lasts = self.random.random_bool(0.3);
        let (nth, kind) = (self.random.random_range(1..4), fault.kind.kind(&mut self.random));
        let when = if lasts { When::From(nth) } else { When::Nth(nth) };
        let met = self.disk.count(fault.op, fault.path) + nth;
        let pid = self.server.pid();
        self.disk.fail(fault.op, fault.path, when, kind);
        wait::until(&format!("{what} is met"), BOUND, || self.disk.count(fault.op, fault.path) >= met).await;
        if lasts {
            tokio::time::sleep(WHILE).await;
        }
        self.disk.heal();
        self.load.goes_on(200, &format!("appends after {what}")).await;
        let published = self.load.published();
        wait::until(&format!("an upload after {what}"), BOUND, || self.load.published() > published).await;
        assert!(self.server.is_running() && self.server.pid() == pid, "the server did not survive {what}");
    }

    /// The power fails: what a failed sync has lost is not only in memory any more.
    fn loses_power(&mut self) {
        let (disk, server, seed) = (&self.disk, &mut self.server, self.random.random());
        tokio::task::block_in_place(|| disk.lose_power(server, Loss::Nothing, seed));
        self.load.power_lost();
        tokio::task::block_in_place(|| server.restart());
    }

    async fn judge(mut self) -> (usize, usize) {
        self.load.goes_on(300, "appends in the end").await;
        let done = (self.load.acked(), self.load.published());
        self.load.judge(&mut self.server).await;
        done
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_writes_and_syncs_lose_and_double_nothing_that_was_acknowledged() {
    let times = std::env::var("INKPOT_TEST_EIO").map_or(EIO.len(), |times| times.parse().unwrap());
    let mut world = World::start(3).await;
    for number in 0..times {
        world.meets(EIO[number % EIO.len()], number).await;
        if number % 3 == 2 {
            world.loses_power();
        }
    }
    assert!(world.server.stderr().contains("recover"), "no shard said that it recovers");
    let (acked, published) = world.judge().await;
    println!("{times} faults: {acked} appends, {published} uploads");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_room_in_each_kind_of_file_loses_nothing_and_writing_resumes_by_itself() {
    let mut world = World::start(4).await;
    for (number, fault) in NO_ROOM.into_iter().enumerate() {
        world.meets(fault, number).await;
        if number % 2 == 1 {
            world.loses_power();
        }
    }
    world.judge().await;
}
