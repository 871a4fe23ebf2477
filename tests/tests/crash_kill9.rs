//! 16 producers write real log lines into 1 000 files while the server is killed (SIGKILL) at random moments, 50 times
//! over; clients reconnect and send again. In the end every file is exactly the lines of each producer, in order, none
//! lost that was acked, none twice.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use inkpot_client::{BatchPolicy, Client, Durability, OpenOptions, Producer, Session, Writer};
use inkpot_tests::harness::{
    server::{Server, Setup},
    wait,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

const PRODUCERS: usize = 16;
const FILES: usize = 1000;
const KILLS: usize = 50;
/// How long anything may take on a machine that is busy with other tests.
const BOUND: Duration = Duration::from_secs(120);

/// Lines of a real program's output: what the sources of this project read like is as good as any log.
const TEXT: &str = concat!(include_str!("../../ARCHITECTURE.md"), include_str!("../../README.md"));

fn path(file: usize) -> String {
    format!("host-{:02}/service-{file:04}.log", file % 20)
}

/// Half of the files ask for less than the default.
fn durability(file: usize) -> Durability {
    if file.is_multiple_of(2) { Durability::Synced } else { Durability::Written }
}

/// Line `n` of a producer in a file; names itself, so that a file can be taken apart again.
fn line(producer: usize, file: usize, n: u64, text: &[&str]) -> String {
    let words = text[(producer * 31 + file * 7 + usize::try_from(n).unwrap()) % text.len()];
    format!("{producer:02} {file:04} {n:06} INFO {words}\n")
}

struct Shared {
    text: Vec<&'static str>,
    stop: AtomicBool,
    sent: AtomicU64,
}

/// Writes to its files in turn until it is told to stop; returns how many lines each file got.
async fn produce(session: Session, producer: usize, shared: Arc<Shared>) -> Vec<u64> {
    let mut writers = Vec::with_capacity(FILES);
    for file in 0..FILES {
        writers.push(open(&session, producer, file).await);
    }
    let mut counts = vec![0; FILES];
    let mut random = StdRng::seed_from_u64(u64::try_from(producer).unwrap());
    while !shared.stop.load(Ordering::Relaxed) {
        let file = random.random_range(0..FILES);
        for _ in 0..random.random_range(1..4) {
            let line = line(producer, file, counts[file], &shared.text);
            writers[file].write(Bytes::from(line)).await.unwrap();
            counts[file] += 1;
            shared.sent.fetch_add(1, Ordering::Relaxed);
        }
        // A log is written at the pace of its program.
        tokio::time::sleep(Duration::from_micros(300)).await;
    }
    for (file, writer) in writers.into_iter().enumerate() {
        let progress = writer.finish().await.unwrap();
        assert_eq!(progress.acked_records, counts[file], "{} of producer {producer}", path(file));
        let asked = durability(file);
        assert!(progress.level.is_none_or(|level| level as i32 >= asked as i32), "{:?} for {asked:?}", progress.level);
    }
    let reconnects = session.stats().reconnects;
    assert!(reconnects > 10, "producer {producer} noticed only {reconnects} of {KILLS} kills");
    counts
}

async fn open(session: &Session, producer: usize, file: usize) -> Writer {
    let options = OpenOptions {
        durability: durability(file),
        producer: Producer::Named { id: format!("producer-{producer}"), epoch: None },
        batch: BatchPolicy { max_records: 8, linger: Duration::from_millis(1), ..BatchPolicy::default() },
        ..OpenOptions::default()
    };
    session.open(&path(file), options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acked_is_lost_or_doubled_by_50_kills() {
    // Small segments and frequent checkpoints, so that kills also fall into rolling, recycling and checkpointing.
    let mut server = Server::start(Setup::default().config(
        "[wal]\nsegment_bytes = \"5MiB\"\nmax_bytes = \"64MiB\"\n[checkpoint]\nwal_bytes = \"8MiB\"\ninterval = \"400ms\"",
    ));
    let text = TEXT.lines().filter(|line| !line.is_empty()).collect();
    let shared = Arc::new(Shared { text, stop: AtomicBool::new(false), sent: AtomicU64::new(0) });
    let mut tasks = Vec::new();
    for producer in 0..PRODUCERS {
        let client = Client::builder(server.endpoint()).give_up_after(BOUND).connect().await.unwrap();
        let session = client.session().await;
        tasks.push(tokio::spawn(produce(session, producer, Arc::clone(&shared))));
    }
    let mut random = StdRng::seed_from_u64(7);
    for kill in 0..KILLS {
        let until = shared.sent.load(Ordering::Relaxed) + random.random_range(1..6_000);
        wait::until(&format!("lines before kill {kill}"), BOUND, || shared.sent.load(Ordering::Relaxed) >= until).await;
        tokio::task::block_in_place(|| server.restart());
    }
    shared.stop.store(true, Ordering::Relaxed);
    let mut counts = Vec::new();
    for task in tasks {
        counts.push(task.await.unwrap());
    }
    // The plain files themselves are compared, after a stop that brings everything to them.
    assert!(server.terminate().success());
    for file in 0..FILES {
        let plain = std::fs::read_to_string(server.plain(&path(file))).unwrap_or_default();
        check_file(file, &plain, &counts, &shared.text);
    }
}

/// Every producer's lines, each exactly once and in order, and nothing else.
fn check_file(file: usize, plain: &str, counts: &[Vec<u64>], text: &[&str]) {
    let mut next: BTreeMap<usize, u64> = BTreeMap::new();
    for found in plain.split_inclusive('\n') {
        let producer = found.get(..2).and_then(|id| id.parse().ok()).unwrap_or(usize::MAX);
        assert!(producer < PRODUCERS, "{}: a line that nobody sent: {found:?}", path(file));
        let n = next.entry(producer).or_default();
        assert_eq!(found, line(producer, file, *n, text), "{} of producer {producer}", path(file));
        *n += 1;
    }
    for (producer, counts) in counts.iter().enumerate() {
        let found = next.get(&producer).copied().unwrap_or(0);
        assert_eq!(found, counts[file], "lines of producer {producer} in {}", path(file));
    }
}
