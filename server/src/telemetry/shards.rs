//! What a shard measures. Distributions go straight into their histograms, once per commit, sync, round or ack; the rest
//! are numbers that the shard's threads put down and that are read when somebody collects.

use super::{instruments, names};
use inkpot_proto::v1::Durability;
use opentelemetry::{
    KeyValue,
    metrics::{BoundHistogram, Meter},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// A number that one thread puts down now and then.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Puts down a value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds to it.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Takes away from it.
    pub fn sub(&self, less: u64) {
        self.0.fetch_sub(less, Ordering::Relaxed);
    }

    /// The value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A distribution of one shard.
#[derive(Debug)]
pub struct Distribution(BoundHistogram<f64>);

impl Distribution {
    /// Adds the time since `begin`, in seconds.
    pub fn since(&self, begin: Instant) {
        self.duration(begin.elapsed());
    }

    /// Adds a duration, in seconds.
    pub fn duration(&self, duration: Duration) {
        self.0.record(duration.as_secs_f64());
    }

    /// Adds a number.
    pub fn number(&self, number: u64) {
        // Numbers of appends and bytes in a commit: far below 2^52.
        #[allow(clippy::cast_precision_loss)]
        self.0.record(number as f64);
    }
}

/// What one shard measures.
#[derive(Debug)]
pub struct ShardMetrics {
    /// Number of the shard.
    pub number: u32,
    write_duration: [Distribution; 2],
    /// See [`names::QUEUE_DURATION`].
    pub queue_duration: Distribution,
    /// See [`names::COMMIT_DURATION`].
    pub commit_duration: Distribution,
    /// See [`names::COMMIT_APPENDS`].
    pub commit_appends: Distribution,
    /// See [`names::COMMIT_SIZE`].
    pub commit_size: Distribution,
    /// See [`names::SYNC_DURATION`].
    pub sync_duration: Distribution,
    /// See [`names::APPLY_DURATION`].
    pub apply_duration: Distribution,
    /// See [`names::CHECKPOINT_DURATION`].
    pub checkpoint_duration: Distribution,
    /// See [`names::RECOVERY_DURATION`].
    pub recovery_duration: Distribution,
    /// See [`names::QUEUE_APPENDS`].
    pub queue_appends: Cell,
    /// See [`names::QUEUE_SIZE`].
    pub queue_size: Cell,
    /// See [`names::SHARD_OPEN`].
    pub open: Cell,
    /// See [`names::SHARD_FAILURES`].
    pub failures: Cell,
    /// See [`names::SHARD_FILES`].
    pub files: Cell,
    /// See [`names::SHARD_CHANNELS`].
    pub channels: Cell,
    /// See [`names::WAL_USAGE`].
    pub wal_usage: Cell,
    /// See [`names::APPLY_BACKLOG`].
    pub apply_backlog: Cell,
    /// See [`names::APPLY_IO`].
    pub apply_io: Cell,
    /// See [`names::APPLY_OPEN_FILES`].
    pub open_files: Cell,
    /// See [`names::ROTATIONS`].
    pub rotations: Cell,
    /// See [`names::REMOVALS`].
    pub removals: Cell,
    /// See [`names::COMPRESSIONS`].
    pub compressions: Cell,
    /// See [`names::DISK_FULL`].
    pub disk_full: Cell,
}

impl ShardMetrics {
    /// Measures into `meter`.
    #[must_use]
    pub fn new(meter: &Meter, number: u32) -> Self {
        let shard = KeyValue::new(names::SHARD, i64::from(number));
        let bound = |metric, attribute: &KeyValue| {
            Distribution(instruments::histogram(meter, metric).bind(std::slice::from_ref(attribute)))
        };
        let of_shard = |metric| bound(metric, &shard);
        let level =
            |level| bound(&names::WRITE_DURATION, &KeyValue::new(names::DURABILITY, names::level_in_words(level)));
        Self {
            number,
            write_duration: [level(Durability::Written), level(Durability::Synced)],
            queue_duration: of_shard(&names::QUEUE_DURATION),
            commit_duration: of_shard(&names::COMMIT_DURATION),
            commit_appends: of_shard(&names::COMMIT_APPENDS),
            commit_size: of_shard(&names::COMMIT_SIZE),
            sync_duration: of_shard(&names::SYNC_DURATION),
            apply_duration: of_shard(&names::APPLY_DURATION),
            checkpoint_duration: of_shard(&names::CHECKPOINT_DURATION),
            recovery_duration: of_shard(&names::RECOVERY_DURATION),
            queue_appends: Cell::default(),
            queue_size: Cell::default(),
            open: Cell::default(),
            failures: Cell::default(),
            files: Cell::default(),
            channels: Cell::default(),
            wal_usage: Cell::default(),
            apply_backlog: Cell::default(),
            apply_io: Cell::default(),
            open_files: Cell::default(),
            rotations: Cell::default(),
            removals: Cell::default(),
            compressions: Cell::default(),
            disk_full: Cell::default(),
        }
    }

    /// Measures into nothing.
    #[must_use]
    pub fn off() -> Arc<Self> {
        Arc::new(Self::new(&super::no_meter(), 0))
    }

    /// The distribution of [`names::WRITE_DURATION`] for acks at this level.
    #[must_use]
    pub fn write_duration(&self, level: Durability) -> &Distribution {
        &self.write_duration[usize::from(level >= Durability::Synced)]
    }
}

/// Lets whoever collects read the numbers of all shards.
pub(super) fn observe(meter: &Meter, shards: &[Arc<ShardMetrics>]) {
    type Read = fn(&ShardMetrics) -> u64;
    let cells: [(&names::Metric, Read); 14] = [
        (&names::QUEUE_APPENDS, |shard| shard.queue_appends.get()),
        (&names::QUEUE_SIZE, |shard| shard.queue_size.get()),
        (&names::SHARD_OPEN, |shard| shard.open.get()),
        (&names::SHARD_FAILURES, |shard| shard.failures.get()),
        (&names::SHARD_FILES, |shard| shard.files.get()),
        (&names::SHARD_CHANNELS, |shard| shard.channels.get()),
        (&names::WAL_USAGE, |shard| shard.wal_usage.get()),
        (&names::APPLY_BACKLOG, |shard| shard.apply_backlog.get()),
        (&names::APPLY_IO, |shard| shard.apply_io.get()),
        (&names::APPLY_OPEN_FILES, |shard| shard.open_files.get()),
        (&names::ROTATIONS, |shard| shard.rotations.get()),
        (&names::REMOVALS, |shard| shard.removals.get()),
        (&names::COMPRESSIONS, |shard| shard.compressions.get()),
        (&names::DISK_FULL, |shard| shard.disk_full.get()),
    ];
    for (metric, read) in cells {
        let shards = shards.to_vec();
        instruments::observe(meter, metric, move |tell| {
            for shard in &shards {
                tell(read(shard), &[KeyValue::new(names::SHARD, i64::from(shard.number))]);
            }
        });
    }
}
