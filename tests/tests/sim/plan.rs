//! What happens in a simulation: all of it drawn from its seed.

use inkpot_client::{Admission, Durability};
use inkpot_tests::checker::Producer;
use inkpot_wal::fs::{
    faulty::{FaultKind, Op},
    memory::Loss,
};
use rand::{Rng, SeedableRng, rngs::SmallRng, seq::IndexedRandom};
use std::time::Duration;

/// `EIO` and `ENOSPC`.
const EIO: i32 = libc::EIO;
const ENOSPC: i32 = libc::ENOSPC;

/// A simulation.
#[derive(Debug, Default)]
pub struct Plan {
    /// All files that are written.
    pub files: Vec<String>,
    /// Those who write as producers.
    pub producers: Vec<Writing>,
    /// Those who write without.
    pub alone: Vec<Writing>,
    /// Those who write as producers, in calls of their own.
    pub once: Vec<Writing>,
    /// Those who do things to files as a whole.
    pub operators: Vec<Operating>,
    /// Those of the other tenant, which has little room.
    pub flooders: Vec<Writing>,
    /// What each reader reads, and how often.
    pub readers: Vec<usize>,
    /// Faults, with the time of each.
    pub faults: Vec<(Duration, Fault)>,
    /// Delay of messages.
    pub latency: (Duration, Duration),
}

/// What a client writes.
#[derive(Clone, Debug)]
pub struct Writing {
    /// Where all else is drawn from.
    pub seed: u64,
    /// The file.
    pub file: String,
    /// As whom.
    pub producer: Producer,
    /// How durable.
    pub durability: Durability,
    /// How many appends.
    pub appends: usize,
    /// How many may be on their way.
    pub window: usize,
    /// Bytes of the largest.
    pub most_bytes: usize,
    /// When it begins.
    pub begin: Duration,
    /// How probably a life ends in the middle.
    pub vanishes: f64,
    /// What it does at a limit.
    pub admission: Admission,
}

/// What a client does to files as a whole.
#[derive(Clone, Debug)]
pub struct Operating {
    /// Where all else is drawn from.
    pub seed: u64,
    /// Paths that it works on; those of the producers and others.
    pub paths: Vec<String>,
    /// How many operations.
    pub operations: usize,
    /// When it begins.
    pub begin: Duration,
}

impl Writing {
    /// Length of an append: mostly short.
    pub fn len(&self, rng: &mut impl Rng) -> usize {
        let most = if rng.random_bool(0.1) { self.most_bytes } else { self.most_bytes.min(200) };
        rng.random_range(1..=most)
    }

    /// Time between two appends.
    pub fn pause(&self, rng: &mut impl Rng) -> Duration {
        Duration::from_millis(rng.random_range(1..120))
    }
}

/// Something that goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The server stops now; after `down` it starts with what this loss leaves.
    Crash {
        /// What becomes of what was not synced.
        loss: Loss,
        /// Time until the next start.
        down: Duration,
    },
    /// As a crash, at the `after`-th call from now on that changes the disk.
    CrashAtCall {
        /// How many calls still work.
        after: u64,
        /// What becomes of what was not synced.
        loss: Loss,
        /// Time until the next start.
        down: Duration,
    },
    /// Messages of a client are lost, in one direction or both, for so long.
    Partition {
        /// Which client.
        client: usize,
        /// To the server, from the server.
        ways: (bool, bool),
        /// How long.
        time: Duration,
    },
    /// Messages of a client are held back for so long, then all come at once.
    Hold {
        /// Which client.
        client: usize,
        /// How long.
        time: Duration,
    },
    /// The connections that a client has lead nowhere from now on, in one direction or both; new ones work.
    Cut {
        /// Which client.
        client: usize,
        /// To the server, from the server.
        ways: (bool, bool),
    },
    /// Calls of the disk take so long, for so long.
    Slow {
        /// Only syncs.
        syncs: bool,
        /// Each call.
        each: Duration,
        /// How long.
        time: Duration,
    },
    /// One call of the disk fails: the `nth` of this kind from now on.
    Disk {
        /// Its kind.
        op: Op,
        /// Part of its path.
        path: &'static str,
        /// Which.
        nth: u64,
        /// How.
        kind: FaultKind,
    },
    /// The disk has room for no more than so many bytes beyond what it has, for so long.
    Full {
        /// Bytes.
        room: u64,
        /// How long.
        time: Duration,
    },
}

impl Plan {
    /// What this seed stands for.
    pub fn of(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        // Some files are rotated.
        let name =
            |rng: &mut SmallRng, n| format!("dir-{}/{}{n}.log", n % 2, if rng.random_bool(0.3) { 'r' } else { 'f' });
        let files: Vec<String> = (0..rng.random_range(1..5)).map(|n| name(&mut rng, n)).collect();
        let lasts = Duration::from_millis(rng.random_range(1_000..5_000));
        let power_fails = rng.random_bool(0.7);
        let producers = producers(&mut rng, &files);
        let alone = (0..rng.random_range(0..3)).map(|n| writing(&mut rng, &files, &format!("alone-{n}"), 1)).collect();
        let operators = operators(&mut rng, &files);
        let flooders = if rng.random_bool(0.25) { flooders(&mut rng) } else { Vec::new() };
        let readers: Vec<usize> = (0..rng.random_range(1..3)).map(|_| rng.random_range(0..15)).collect();
        let once = once(&mut rng, &files);
        let plan = Self { files, producers, alone, once, operators, flooders, readers, ..Self::default() };
        let clients = plan.clients();
        let count = if rng.random_bool(0.1) { 0 } else { rng.random_range(1..10) };
        let mut faults: Vec<_> =
            (0..count).map(|_| (lasts.mul_f64(rng.random()), fault(&mut rng, clients, power_fails))).collect();
        faults.sort_by_key(|(at, _)| *at);
        let slowest = *[2, 5, 20, 100].choose(&mut rng).unwrap_or(&2);
        let latency = (Duration::from_millis(0), Duration::from_millis(slowest));
        Self { faults, latency, ..plan }
    }

    /// How many clients there are.
    pub fn clients(&self) -> usize {
        let writing = self.producers.len() + self.alone.len() + self.once.len() + self.flooders.len();
        writing + self.operators.len() + self.readers.len()
    }
}

/// Mostly a few, on some of the files: what nobody operates on is judged more strictly.
fn operators(rng: &mut SmallRng, files: &[String]) -> Vec<Operating> {
    if rng.random_bool(0.25) {
        return Vec::new();
    }
    let mut paths: Vec<String> = files.iter().filter(|_| rng.random_bool(0.6)).cloned().collect();
    paths.extend((0..rng.random_range(1..4)).map(|n| format!("dir-{}/o{n}.log", n % 2)));
    let operator = |rng: &mut SmallRng| Operating {
        seed: rng.random(),
        paths: paths.clone(),
        operations: rng.random_range(1..12),
        begin: Duration::from_millis(rng.random_range(1..1_500)),
    };
    (0..rng.random_range(1..4)).map(|_| operator(rng)).collect()
}

/// Many at once, with more than their tenant may have in flight.
fn flooders(rng: &mut SmallRng) -> Vec<Writing> {
    let files: Vec<String> = (0..3).map(|n| format!("flood/f{n}.log")).collect();
    let flooder = |rng: &mut SmallRng, n| {
        let admission = if rng.random() { Admission::Reject } else { Admission::Wait };
        let writing = writing(rng, &files, &format!("flood-{n}"), 1);
        Writing { admission, window: 50, most_bytes: 16_000, ..writing }
    };
    (0..rng.random_range(2..5)).map(|n| flooder(rng, n)).collect()
}

fn producers(rng: &mut SmallRng, files: &[String]) -> Vec<Writing> {
    let mut producers = Vec::new();
    for number in 0..rng.random_range(1..5) {
        let first = writing(rng, files, &format!("p{number}"), 1);
        if rng.random_bool(0.25) {
            // Somebody takes over: the same producer with a higher epoch.
            let begin = first.begin + Duration::from_millis(rng.random_range(1..2_000));
            let producer = Producer { epoch: rng.random_range(2..4), ..first.producer.clone() };
            producers.push(Writing { seed: rng.random(), producer, begin, ..first.clone() });
        }
        if rng.random_bool(0.2) {
            // The same program runs twice: the later one takes over, the earlier one still has its connection.
            let begin = first.begin + Duration::from_millis(rng.random_range(1..2_000));
            producers.push(Writing { seed: rng.random(), begin, ..first.clone() });
        }
        producers.push(first);
    }
    producers
}

/// Mostly none; now and then the same one twice at once.
fn once(rng: &mut SmallRng, files: &[String]) -> Vec<Writing> {
    let count = *[0, 0, 0, 1, 1, 2].choose(rng).unwrap_or(&0);
    let mut once: Vec<_> = (0..count).map(|n| writing(rng, files, &format!("once-{n}"), 1)).collect();
    if rng.random_bool(0.3) {
        let again = once.first().map(|first| Writing { seed: rng.random(), ..first.clone() });
        once.extend(again);
    }
    once
}

fn writing(rng: &mut SmallRng, files: &[String], id: &str, epoch: u64) -> Writing {
    Writing {
        seed: rng.random(),
        file: files.choose(rng).cloned().unwrap_or_default(),
        producer: Producer { id: id.to_owned(), epoch },
        durability: if rng.random_bool(0.7) { Durability::Synced } else { Durability::Written },
        appends: rng.random_range(1..80),
        window: rng.random_range(1..20),
        most_bytes: *[64, 1_000, 16_000].choose(rng).unwrap_or(&64),
        begin: Duration::from_millis(rng.random_range(1..500)),
        vanishes: *[0.0, 0.3, 0.8].choose(rng).unwrap_or(&0.0),
        admission: Admission::Wait,
    }
}

fn loss(rng: &mut SmallRng, power_fails: bool) -> Loss {
    if power_fails { *Loss::EVERY.choose(rng).unwrap_or(&Loss::All) } else { Loss::All }
}

fn fault(rng: &mut SmallRng, clients: usize, power_fails: bool) -> Fault {
    let down = Duration::from_millis(rng.random_range(1..1_500));
    let client = rng.random_range(0..clients);
    let time = Duration::from_millis(rng.random_range(1..3_000));
    match rng.random_range(0..12) {
        0..2 => Fault::Crash { loss: loss(rng, power_fails), down },
        2..5 => Fault::CrashAtCall { after: rng.random_range(0..200), loss: loss(rng, power_fails), down },
        5 => Fault::Partition { client, ways: ways(rng), time },
        6 => Fault::Hold { client, time },
        7..9 => disk_fault(rng),
        9 => Fault::Cut { client, ways: ways(rng) },
        10 => {
            let each = Duration::from_millis(*[1, 10, 200, 2_000].choose(rng).unwrap_or(&1));
            Fault::Slow { syncs: rng.random(), each, time }
        }
        _ => Fault::Full { room: rng.random_range(0..100_000), time },
    }
}

fn ways(rng: &mut SmallRng) -> (bool, bool) {
    *[(true, true), (true, false), (false, true)].choose(rng).unwrap_or(&(true, true))
}

fn disk_fault(rng: &mut SmallRng) -> Fault {
    let path = *["", "/wal/", "catalog", "files/", "staging/"].choose(rng).unwrap_or(&"");
    let ops = [
        Op::Write,
        Op::Write,
        Op::SyncData,
        Op::SyncData,
        Op::SyncAll,
        Op::SyncDir,
        Op::SyncVolume,
        Op::Rename,
        Op::Create,
        Op::CreateDir,
        Op::Remove,
        Op::Open,
        Op::Read,
        Op::SetLen,
        Op::Metadata,
        Op::ReadDir,
    ];
    let op = *ops.choose(rng).unwrap_or(&Op::Write);
    let kind = match op {
        Op::SyncData | Op::SyncAll if rng.random() => FaultKind::LostSync,
        Op::Write if rng.random() => FaultKind::ShortWrite { written: rng.random_range(0..2_000), errno: ENOSPC },
        Op::Write | Op::Create | Op::CreateDir if rng.random() => FaultKind::Errno(ENOSPC),
        _ => FaultKind::Errno(EIO),
    };
    Fault::Disk { op, path, nth: rng.random_range(1..40), kind }
}
