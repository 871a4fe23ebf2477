//! The load: what is sent, the producers that send it for a fixed time, and what they saw together.

use super::{
    super::failure::Failure,
    check, cost,
    producer::{self, Phases, Run, Tally},
    scrape::{self, Counts},
};
use bytes::Bytes;
use hdrhistogram::Histogram;
use inkpot_client::{Client, ClientBuilder, Error, Session};
use inkpot_proto::v1::Durability;
use serde::{Serialize, Serializer};
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{Barrier, watch},
    task::JoinSet,
    time::sleep_until,
};

/// Most bytes that all producers together keep in flight: several times what the fastest wire holds, and no more than
/// a machine can spare.
const MOST_BYTES_IN_FLIGHT: usize = 64 << 20;

/// What a producer does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    /// Appends to its files; a time is that of an append, to its ack
    #[default]
    Append,
    /// Replaces its files by uploads; a time is that of a whole upload, until it is published
    Upload,
}

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Load {
    pub(super) mode: Mode,
    /// Bytes of a record, its newline included.
    pub(super) record_size: usize,
    pub(super) files: usize,
    /// Exponent of Zipf's law among the files of a producer; in turn without.
    pub(super) skew: Option<f64>,
    pub(super) producers: usize,
    pub(super) connections: usize,
    pub(super) tenants: usize,
    /// Records of an append.
    pub(super) batch: usize,
    /// Appends that a producer keeps in flight.
    pub(super) window: usize,
    /// Bytes of an upload, rounded up to whole appends.
    pub(super) upload_size: usize,
    #[serde(skip)]
    pub(super) durability: Durability,
    /// Records that are due in a second; as many as are acknowledged without.
    pub(super) rate: Option<f64>,
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
        let most = MOST_BYTES_IN_FLIGHT / (self.producers * self.append_bytes());
        self.window = self.window.min(most.max(1));
        self
    }

    /// Bytes of an append.
    pub(super) fn append_bytes(&self) -> usize {
        self.record_size * self.batch
    }

    /// Appends of an upload.
    pub(super) fn upload_appends(&self) -> usize {
        self.upload_size.div_ceil(self.append_bytes())
    }

    /// How far apart the appends (or uploads) of one producer are due; nothing in a closed loop.
    pub(super) fn interval(&self) -> Option<Duration> {
        let records = match self.mode {
            Mode::Append => self.batch,
            Mode::Upload => self.batch * self.upload_appends(),
        };
        self.rate.map(|rate| Duration::from_secs_f64((records * self.producers) as f64 / rate))
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

    /// A record.
    pub(super) fn line(&self) -> Bytes {
        let mut line: Vec<u8> = b"2026-11-23T01:02:03.456789Z INFO request served status=200 bytes=5120 path=/a/b "
            .iter()
            .copied()
            .cycle()
            .take(self.record_size.saturating_sub(1))
            .collect();
        line.push(b'\n');
        line.into()
    }

    /// The records of an append. The buffer is shared by all of them and by all appends.
    pub(super) fn records(&self) -> Vec<Bytes> {
        vec![self.line(); self.batch]
    }
}

/// Where the load goes.
#[derive(Debug)]
pub(super) struct Goal {
    /// A builder for each tenant.
    pub(super) tenants: Vec<ClientBuilder>,
    /// What the paths of the files begin with.
    pub(super) prefix: String,
    /// The process of the server, if it is known.
    pub(super) pid: Option<u32>,
    /// Its metrics, if they are known.
    pub(super) metrics: Option<SocketAddr>,
    /// Whether the files are read afterwards, and compared with what was acknowledged.
    pub(super) check: bool,
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
    /// How it committed, if its metrics are known.
    pub(super) counts: Option<Counts>,
}

/// Puts the load on a server.
pub(super) async fn run(goal: &Goal, load: &Load) -> Result<Seen, Failure> {
    let connections = connect(&goal.tenants, load).await?;
    let all_ready = Arc::new(Barrier::new(load.producers + 1));
    let phases = watch::Sender::new(None);
    let mut producers = JoinSet::new();
    let mut checks = Vec::new();
    for (number, files) in load.shares().into_iter().enumerate() {
        let (client, session) = &connections[number % connections.len()];
        let paths: Vec<String> = files.iter().map(|file| format!("{}/{file:05}.log", goal.prefix)).collect();
        checks
            .extend(paths.iter().map(|path| (client.files(), number % connections.len() % load.tenants, path.clone())));
        let (session, load, ready) = (session.clone(), load.clone(), all_ready.clone());
        let phases = phases.subscribe();
        producers.spawn(async move {
            let run = Run::open(session, paths, &load, number).await;
            // Even one that failed must let the others go.
            ready.wait().await;
            run?.run(phases).await
        });
    }
    all_ready.wait().await;
    let from = Instant::now() + load.warmup;
    let phase = Phases { from, until: from + load.duration };
    phases.send_replace(Some(phase));
    let (tallies, (cost, counts)) = tokio::try_join!(join(producers), watch_server(goal, phase))?;
    if goal.check {
        let acked = tallies.iter().map(|tally| tally.acked_bytes_in_all).sum();
        check::compare(checks, load, acked).await?;
    }
    // The writers are gone; a session that does not end in time ends with its connection.
    drop(connections);
    Ok(sum(tallies, load, cost, counts))
}

pub(super) fn failed(error: &Error) -> Failure {
    Failure::writing("bench", error)
}

/// The connections of a run, each with one session, the tenants in turn. The window of a session fits its producers.
async fn connect(tenants: &[ClientBuilder], load: &Load) -> Result<Vec<(Client, Session)>, Failure> {
    let sharing = load.producers.div_ceil(load.connections);
    let appends = u32::try_from(sharing * load.window).unwrap_or(u32::MAX);
    let bytes = u64::from(appends).saturating_mul(load.append_bytes() as u64);
    let mut connections = Vec::with_capacity(load.connections);
    for tenant in tenants.iter().cycle().take(load.connections) {
        let builder = tenant.clone().in_flight(appends, bytes);
        let client = builder.connect().await.map_err(|error| failed(&error))?;
        let session = client.session().await;
        connections.push((client, session));
    }
    Ok(connections)
}

/// What the server used and did in the measured time, as far as it is ours to see.
async fn watch_server(goal: &Goal, phase: Phases) -> Result<(Option<cost::Used>, Option<Counts>), Failure> {
    let read = async || {
        let counts = match goal.metrics {
            Some(endpoint) => Some(scrape::counts(endpoint).await?),
            None => None,
        };
        Ok::<_, Failure>((goal.pid.and_then(cost::Reading::take), counts))
    };
    sleep_until(phase.from.into()).await;
    let (reading, counts) = read().await?;
    sleep_until(phase.until.into()).await;
    let (later, counted) = read().await?;
    let cost = reading.zip(later).map(|(before, after)| after.since(&before));
    Ok((cost, counts.zip(counted).map(|(before, after)| after.since(before))))
}

async fn join(mut producers: JoinSet<Result<Tally, Failure>>) -> Result<Vec<Tally>, Failure> {
    let mut tallies = Vec::with_capacity(producers.len());
    while let Some(tally) = producers.join_next().await {
        tallies.push(tally.map_err(|error| Failure::error("a producer died", error))??);
    }
    Ok(tallies)
}

fn sum(tallies: Vec<Tally>, load: &Load, cost: Option<cost::Used>, counts: Option<Counts>) -> Seen {
    let mut ack_micros = producer::histogram();
    let mut bytes = 0;
    let mut level: Option<Durability> = None;
    for tally in tallies {
        // Cannot fail: all have the same bounds.
        let _ = ack_micros.add(&tally.ack_micros);
        bytes += tally.acked_bytes;
        level = level.into_iter().chain(tally.level).min();
    }
    let records = bytes / load.record_size as u64;
    Seen { records, bytes, elapsed: load.duration, ack_micros, level, cost, counts }
}

#[cfg(test)]
pub(super) mod tests;
