//! The load: producers that keep a window of appends in flight for a fixed time, and what they saw.
//!
//! An append is timed from just before it is handed to the library until its producer sees the ack. There is no task
//! per append: each producer keeps its receipts in a ring and takes them in the order in which they were sent. Where
//! acks overtake each other (several files) a later one is seen no sooner than the one before it, so times are never
//! told shorter than they were.

use super::{super::failure::Failure, cost};
use bytes::Bytes;
use futures_util::FutureExt;
use hdrhistogram::Histogram;
use inkpot_client::{Ack, ClientBuilder, Error, OpenOptions, Receipt, Session, Writer};
use inkpot_proto::v1::Durability;
use serde::{Serialize, Serializer};
use std::{
    collections::VecDeque,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{Barrier, watch},
    task::JoinSet,
    time::{sleep_until, timeout_at},
};

/// Longest ack time that is told apart, in microseconds.
const LONGEST_MICROS: u64 = 600_000_000;
/// How long the acks of the last window are waited for. They are not counted.
const LAST_ACKS: Duration = Duration::from_secs(30);

/// Most bytes that all producers together keep in flight: several times what the fastest wire holds, and no more than
/// a machine can spare.
const MOST_BYTES_IN_FLIGHT: usize = 64 << 20;

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Load {
    /// Bytes of a record, its newline included.
    pub(super) record_size: usize,
    pub(super) files: usize,
    pub(super) producers: usize,
    pub(super) connections: usize,
    /// Records of an append.
    pub(super) batch: usize,
    /// Appends that a producer keeps in flight.
    pub(super) window: usize,
    #[serde(skip)]
    pub(super) durability: Durability,
    #[serde(rename = "duration_s", serialize_with = "as_seconds")]
    pub(super) duration: Duration,
    #[serde(rename = "warmup_s", serialize_with = "as_seconds")]
    pub(super) warmup: Duration,
}

fn as_seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

impl Load {
    /// With as many appends in flight as the bytes allow, at least one.
    pub(super) fn within_memory(mut self) -> Self {
        let most = MOST_BYTES_IN_FLIGHT / (self.producers * self.record_size * self.batch);
        self.window = self.window.min(most.max(1));
        self
    }

    /// The files of each producer: a share of its own if there are more files than producers, one otherwise.
    fn shares(&self) -> Vec<Vec<usize>> {
        (0..self.producers)
            .map(|producer| match self.files > self.producers {
                true => (producer..self.files).step_by(self.producers).collect(),
                false => vec![producer % self.files],
            })
            .collect()
    }

    /// The records of an append. The buffer is shared by all of them and by all appends.
    fn records(&self) -> Vec<Bytes> {
        let mut line: Vec<u8> = b"2026-11-23T01:02:03.456789Z INFO request served status=200 bytes=5120 path=/a/b "
            .iter()
            .copied()
            .cycle()
            .take(self.record_size.saturating_sub(1))
            .collect();
        line.push(b'\n');
        vec![Bytes::from(line); self.batch]
    }
}

/// What a run saw between the end of the warm-up and the end.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) elapsed: Duration,
    /// Ack times in microseconds.
    pub(super) ack_micros: Histogram<u64>,
    /// The lowest level of any ack.
    pub(super) level: Option<Durability>,
    /// What the server used meanwhile, if its process is known.
    pub(super) cost: Option<cost::Used>,
}

/// Puts the load on a server. `prefix` begins the paths of its files.
pub(super) async fn run(builder: ClientBuilder, load: &Load, prefix: &str, pid: Option<u32>) -> Result<Seen, Failure> {
    let sessions = connect(builder, load).await?;
    let all_ready = Arc::new(Barrier::new(load.producers + 1));
    let phases = watch::Sender::new(None);
    let mut producers = JoinSet::new();
    for (number, files) in load.shares().into_iter().enumerate() {
        let (session, load, ready) = (sessions[number % sessions.len()].clone(), load.clone(), all_ready.clone());
        let (paths, phases) = (files.iter().map(|f| format!("{prefix}/{f:05}.log")).collect(), phases.subscribe());
        producers.spawn(async move {
            let opened = open_all(&session, &load, paths).await;
            // Even one that failed must let the others go.
            ready.wait().await;
            Run::new(opened?, &load).run(phases).await.map_err(|error| failed(&error))
        });
    }
    all_ready.wait().await;
    let from = Instant::now() + load.warmup;
    let until = from + load.duration;
    phases.send_replace(Some(Phases { from, until }));
    let watched = async { Ok(cost_between(pid, from, until).await) };
    let (tallies, cost) = tokio::try_join!(join(producers), watched)?;
    // The writers are gone; a session that does not end in time ends with its connection.
    drop(sessions);
    Ok(sum(tallies, load, cost))
}

fn failed(error: &Error) -> Failure {
    Failure::writing("bench", error)
}

/// The connections of a run, each with one session. The window of a session fits its producers.
async fn connect(builder: ClientBuilder, load: &Load) -> Result<Vec<Session>, Failure> {
    let sharing = load.producers.div_ceil(load.connections);
    let appends = u32::try_from(sharing * load.window).unwrap_or(u32::MAX);
    let bytes = u64::from(appends).saturating_mul((load.record_size * load.batch) as u64);
    let builder = builder.in_flight(appends, bytes);
    let mut sessions = Vec::with_capacity(load.connections);
    for _ in 0..load.connections {
        let client = builder.clone().connect().await.map_err(|error| failed(&error))?;
        sessions.push(client.session().await);
    }
    Ok(sessions)
}

/// Opens the files and gives each its first append, so that creating them is not measured.
async fn open_all(session: &Session, load: &Load, paths: Vec<String>) -> Result<Vec<Writer>, Failure> {
    let mut writers = Vec::with_capacity(paths.len());
    let mut receipts = Vec::with_capacity(paths.len());
    for path in &paths {
        let options = OpenOptions { durability: load.durability, ..OpenOptions::default() };
        let writer = session.open(path, options).await.map_err(|error| failed(&error))?;
        receipts.push(writer.append(load.records()).await.map_err(|error| failed(&error))?);
        writers.push(writer);
    }
    for receipt in receipts {
        receipt.await.map_err(|error| failed(&error))?;
    }
    Ok(writers)
}

async fn cost_between(pid: Option<u32>, from: Instant, until: Instant) -> Option<cost::Used> {
    sleep_until(from.into()).await;
    let before = pid.and_then(cost::Reading::take);
    sleep_until(until.into()).await;
    let after = pid.and_then(cost::Reading::take);
    before.zip(after).map(|(before, after)| after.since(&before))
}

async fn join(mut producers: JoinSet<Result<Tally, Failure>>) -> Result<Vec<Tally>, Failure> {
    let mut tallies = Vec::with_capacity(producers.len());
    while let Some(tally) = producers.join_next().await {
        tallies.push(tally.map_err(|error| Failure::error("a producer died", error))??);
    }
    Ok(tallies)
}

fn sum(tallies: Vec<Tally>, load: &Load, cost: Option<cost::Used>) -> Seen {
    let mut ack_micros = histogram();
    let mut appends = 0;
    let mut level: Option<Durability> = None;
    for tally in tallies {
        // Cannot fail: all have the same bounds.
        let _ = ack_micros.add(&tally.ack_micros);
        appends += tally.appends;
        level = level.into_iter().chain(tally.level).min();
    }
    let records = appends * load.batch as u64;
    let bytes = records * load.record_size as u64;
    Seen { records, bytes, elapsed: load.duration, ack_micros, level, cost }
}

/// 1 us up to ten minutes, to three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_MICROS, 3).expect("the bounds are valid")
}

/// Acks from `from` to `until` count.
#[derive(Clone, Copy, Debug)]
struct Phases {
    from: Instant,
    until: Instant,
}

/// What one producer saw.
#[derive(Debug)]
struct Tally {
    appends: u64,
    ack_micros: Histogram<u64>,
    level: Option<Durability>,
}

impl Tally {
    fn count(&mut self, sent: Instant, now: Instant, ack: &Ack, phases: Phases) {
        if now < phases.from || now >= phases.until {
            return;
        }
        self.appends += 1;
        let micros = u64::try_from(now.duration_since(sent).as_micros()).unwrap_or(u64::MAX);
        self.ack_micros.saturating_record(micros);
        self.level = Some(self.level.map_or(ack.level, |level| level.min(ack.level)));
    }
}

/// One producer at work.
struct Run {
    writers: Vec<Writer>,
    records: Vec<Bytes>,
    window: usize,
    in_flight: VecDeque<(Instant, Receipt)>,
    tally: Tally,
}

impl Run {
    fn new(writers: Vec<Writer>, load: &Load) -> Self {
        let tally = Tally { appends: 0, ack_micros: histogram(), level: None };
        let in_flight = VecDeque::with_capacity(load.window);
        Self { writers, records: load.records(), window: load.window, in_flight, tally }
    }

    async fn run(mut self, mut phases: watch::Receiver<Option<Phases>>) -> Result<Tally, Error> {
        let told = phases.wait_for(Option::is_some).await.ok().and_then(|phases| *phases);
        // Without phases the run was given up.
        let Some(phases) = told else { return Ok(self.tally) };
        let mut turns = (0..self.writers.len()).cycle();
        while let Some(turn) = turns.next().filter(|_| Instant::now() < phases.until) {
            while self.in_flight.len() >= self.window {
                take(front(&mut self.in_flight).await?, &mut self.tally, phases);
            }
            self.send(turn, phases).await?;
            while let Some(ack) = front(&mut self.in_flight).now_or_never() {
                take(ack?, &mut self.tally, phases);
            }
        }
        self.last_acks(phases).await;
        Ok(self.tally)
    }

    /// Sends an append; the acks that come while it waits for its turn are seen at once.
    async fn send(&mut self, turn: usize, phases: Phases) -> Result<(), Error> {
        let sent = Instant::now();
        let mut sending = pin!(self.writers[turn].append(self.records.clone()));
        let receipt = loop {
            tokio::select! {
                biased;
                receipt = &mut sending => break receipt?,
                ack = front(&mut self.in_flight) => take(ack?, &mut self.tally, phases),
            }
        };
        self.in_flight.push_back((sent, receipt));
        Ok(())
    }

    /// Leaves nothing behind that would be a load on the next run. What fails here fails after the end.
    async fn last_acks(&mut self, phases: Phases) {
        let end = (phases.until + LAST_ACKS).into();
        while !self.in_flight.is_empty() && matches!(timeout_at(end, front(&mut self.in_flight)).await, Ok(Ok(_))) {}
    }
}

/// The ack of the oldest append in flight, and when that was sent; waits for ever if there is none.
async fn front(in_flight: &mut VecDeque<(Instant, Receipt)>) -> Result<(Instant, Ack), Error> {
    let Some((sent, receipt)) = in_flight.front_mut() else { return std::future::pending().await };
    let (sent, ack) = (*sent, receipt.await);
    in_flight.pop_front();
    Ok((sent, ack?))
}

fn take((sent, ack): (Instant, Ack), tally: &mut Tally, phases: Phases) {
    tally.count(sent, Instant::now(), &ack, phases);
}

#[cfg(test)]
mod tests;
