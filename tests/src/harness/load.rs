//! A load that rides through faults: producers write numbered lines into many files, and in the end every file is exactly
//! the lines of each producer, in order, none lost that was acked, none twice.
#![allow(clippy::missing_panics_doc)] // all of it judges

use super::server::Server;
use bytes::Bytes;
use inkpot_client::{BatchPolicy, Client, Durability, OpenOptions, Producer, Session, Writer};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinHandle;

/// Lines of a real program's output: what the sources of this project read like is as good as any log.
const TEXT: &str = concat!(include_str!("../../../ARCHITECTURE.md"), include_str!("../../../README.md"));

/// How many write to how many files.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Producers; each has a session of its own, and writes to every file.
    pub producers: usize,
    /// Files.
    pub files: usize,
    /// How long each rests between two bursts of lines: a log is written at the pace of its program.
    pub pace: Duration,
    /// How long each goes on trying when the server does not answer.
    pub bound: Duration,
    /// After how much silence a client asks whether the server is there, and how long it then waits for an answer.
    pub keepalive: Duration,
}

struct Shared {
    shape: Shape,
    text: Vec<&'static str>,
    stop: AtomicBool,
    sent: AtomicU64,
}

/// A load that runs.
pub struct Load {
    shared: Arc<Shared>,
    sessions: Vec<Session>,
    tasks: Vec<JoinHandle<Written>>,
}

/// What one producer has written, and what it took.
struct Written {
    /// Lines of each file.
    counts: Vec<u64>,
    reconnects: u64,
}

/// What was written, when all of it is acknowledged.
pub struct Done {
    shared: Arc<Shared>,
    written: Vec<Written>,
}

impl Load {
    /// Starts writing.
    pub async fn start(server: &Server, shape: Shape) -> Self {
        let text = TEXT.lines().filter(|line| !line.is_empty()).collect();
        let shared = Arc::new(Shared { shape, text, stop: AtomicBool::new(false), sent: AtomicU64::new(0) });
        let (mut sessions, mut tasks) = (Vec::new(), Vec::new());
        for producer in 0..shape.producers {
            let client = Client::builder(server.endpoint()).give_up_after(shape.bound);
            let client = client.keepalive(shape.keepalive, shape.keepalive).connect().await.expect("a client");
            let session = client.session().await;
            sessions.push(session.clone());
            tasks.push(tokio::spawn(produce(session, producer, Arc::clone(&shared))));
        }
        Self { shared, sessions, tasks }
    }

    /// Lines that were handed to the clients so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// How often clients were refused something that they send again by themselves.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.sessions.iter().map(|session| session.stats().retries).sum()
    }

    /// Stops, and waits until everything is acknowledged.
    pub async fn finish(self) -> Done {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut written = Vec::new();
        for task in self.tasks {
            written.push(task.await.expect("a producer that ends"));
        }
        Done { shared: self.shared, written }
    }
}

impl Done {
    /// How often the producer reconnected that did so least.
    #[must_use]
    pub fn reconnects(&self) -> u64 {
        self.written.iter().map(|written| written.reconnects).min().unwrap_or(0)
    }

    /// Judges the plain files themselves, after a stop that has brought everything to them.
    pub fn check(&self, server: &Server) {
        for file in 0..self.shared.shape.files {
            let plain = std::fs::read_to_string(server.plain(&path(file))).unwrap_or_default();
            self.check_file(file, &plain);
        }
    }

    /// Every producer's lines, each exactly once and in order, and nothing else.
    fn check_file(&self, file: usize, plain: &str) {
        let mut next: BTreeMap<usize, u64> = BTreeMap::new();
        for found in plain.split_inclusive('\n') {
            let producer = found.get(..2).and_then(|id| id.parse().ok()).unwrap_or(usize::MAX);
            assert!(producer < self.written.len(), "{}: a line that nobody sent: {found:?}", path(file));
            let n = next.entry(producer).or_default();
            assert_eq!(found, line(producer, file, *n, &self.shared.text), "{} of producer {producer}", path(file));
            *n += 1;
        }
        for (producer, written) in self.written.iter().enumerate() {
            let found = next.get(&producer).copied().unwrap_or(0);
            assert_eq!(found, written.counts[file], "lines of producer {producer} in {}", path(file));
        }
    }
}

fn path(file: usize) -> String {
    format!("host-{:02}/service-{file:04}.log", file % 20)
}

/// Half of the files ask for less than the default.
fn durability(file: usize) -> Durability {
    if file.is_multiple_of(2) { Durability::Synced } else { Durability::Written }
}

/// Line `n` of a producer in a file; names itself, so that a file can be taken apart again.
fn line(producer: usize, file: usize, n: u64, text: &[&str]) -> String {
    let words = text[(producer * 31 + file * 7 + usize::try_from(n).unwrap_or(0)) % text.len()];
    format!("{producer:02} {file:04} {n:06} INFO {words}\n")
}

/// Writes to its files in turn until it is told to stop.
async fn produce(session: Session, producer: usize, shared: Arc<Shared>) -> Written {
    let files = shared.shape.files;
    let mut writers = Vec::with_capacity(files);
    for file in 0..files {
        writers.push(open(&session, producer, file).await);
    }
    let mut counts = vec![0; files];
    let mut random = StdRng::seed_from_u64(u64::try_from(producer).unwrap_or(0));
    while !shared.stop.load(Ordering::Relaxed) {
        let file = random.random_range(0..files);
        for _ in 0..random.random_range(1..4) {
            let line = line(producer, file, counts[file], &shared.text);
            writers[file].write(Bytes::from(line)).await.expect("a line that is taken");
            counts[file] += 1;
            shared.sent.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(shared.shape.pace).await;
    }
    for (file, writer) in writers.into_iter().enumerate() {
        let progress = writer.finish().await.expect("everything is acknowledged in the end");
        assert_eq!(progress.acked_records, counts[file], "{} of producer {producer}", path(file));
        let asked = durability(file);
        assert!(progress.level.is_none_or(|level| level as i32 >= asked as i32), "{:?} for {asked:?}", progress.level);
    }
    Written { counts, reconnects: session.stats().reconnects }
}

async fn open(session: &Session, producer: usize, file: usize) -> Writer {
    let options = OpenOptions {
        durability: durability(file),
        producer: Producer::Named { id: format!("producer-{producer}"), epoch: None },
        batch: BatchPolicy { max_records: 8, linger: Duration::from_millis(1), ..BatchPolicy::default() },
        ..OpenOptions::default()
    };
    session.open(&path(file), options).await.expect("a channel")
}
