//! Every metric of the server: name, kind, unit, attributes and meaning, in one place. What is not in this list cannot be
//! measured: instruments are made from it, and TELEMETRY.md shows it (a test compares them).
//!
//! Names and units follow the conventions of OpenTelemetry; those of calls and of the process are theirs.

use inkpot_proto::{
    error::reason_name,
    v1::{Durability, ErrorReason},
};
use std::fmt;

/// Attribute: whose. The tenants seen first have their name, up to `telemetry.max_tenants`; all others are `other`.
pub const TENANT: &str = "inkpot.tenant";
/// Attribute: number of the shard.
pub const SHARD: &str = "inkpot.shard";
/// Attribute: a limit, as it is called in the configuration.
pub const LIMIT: &str = "inkpot.limit";
/// Attribute: the level that was reached, `written` or `synced`.
pub const DURABILITY: &str = "inkpot.durability";
/// Attribute: an `ErrorReason` in lower case.
pub const REASON: &str = "inkpot.reason";
/// Attribute: `traces`, `metrics` or `logs`.
pub const SIGNAL: &str = "inkpot.signal";
/// Attribute of calls: always `grpc`.
pub const RPC_SYSTEM: &str = "rpc.system.name";
/// Attribute of calls: service and method.
pub const RPC_METHOD: &str = "rpc.method";
/// Attribute of calls: the code that ended it.
pub const RPC_STATUS: &str = "rpc.response.status_code";
/// Attribute of processor time: `user` or `system`.
pub const CPU_MODE: &str = "cpu.mode";

/// Value of [`REASON`]: `sequence_gap`.
#[must_use]
pub fn reason_in_words(reason: ErrorReason) -> String {
    reason_name(reason).to_ascii_lowercase()
}

/// Value of [`DURABILITY`].
#[must_use]
pub fn level_in_words(level: Durability) -> &'static str {
    if level >= Durability::Synced { "synced" } else { "written" }
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A sum that only grows.
    Counter,
    /// A value as it is now.
    Gauge,
    /// A distribution.
    Histogram,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        })
    }
}

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name in OpenTelemetry.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its unit, as UCUM has it.
    pub unit: &'static str,
    /// Keys of its attributes.
    pub attributes: &'static [&'static str],
    /// What it tells.
    pub description: &'static str,
}

impl Metric {
    /// Its name at the Prometheus endpoint; a histogram adds `_bucket`, `_sum` and `_count`.
    #[must_use]
    pub fn prometheus_name(&self) -> String {
        let unit = match self.unit {
            "s" => "_seconds",
            "By" => "_bytes",
            _ => "",
        };
        let total = if self.kind == Kind::Counter { "_total" } else { "" };
        format!("{}{unit}{total}", self.name.replace('.', "_"))
    }
}

macro_rules! metrics {
    ($($constant:ident = $kind:ident $name:literal [$unit:literal] ($($attribute:ident),*) $description:literal;)*) => {
        $(
            #[doc = $description]
            pub const $constant: Metric = Metric {
                name: $name,
                kind: Kind::$kind,
                unit: $unit,
                attributes: &[$($attribute),*],
                description: $description,
            };
        )*
        /// All of them, in the order of the path of a write.
        pub const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    RPC_DURATION = Histogram "rpc.server.call.duration" ["s"] (RPC_SYSTEM, RPC_METHOD, RPC_STATUS)
        "Time from the head of a call to the end of its answer; a session is one call. Health checks are left out.";
    SESSIONS = Gauge "inkpot.sessions.active" ["{session}"] (TENANT)
        "Open sessions.";

    CONNECTION_REFUSALS = Counter "inkpot.connections.refusals" ["{connection}"] (LIMIT)
        "Connections that were refused, or closed later, by the limit that they passed; clients that were idle connect anew by themselves.";

    WRITES_USAGE = Gauge "inkpot.admission.writes.usage" ["{append}"] (TENANT)
        "Appends in flight: between admission and ack.";
    WRITES_LIMIT = Gauge "inkpot.admission.writes.limit" ["{append}"] (TENANT)
        "How many appends may be in flight.";
    PAYLOAD_USAGE = Gauge "inkpot.admission.payload.usage" ["By"] (TENANT)
        "Bytes in flight; an append counts as at least 256.";
    PAYLOAD_LIMIT = Gauge "inkpot.admission.payload.limit" ["By"] (TENANT)
        "How many bytes may be in flight.";
    MEMORY_USAGE = Gauge "inkpot.admission.memory.usage" ["By"] ()
        "Bytes in flight of all tenants.";
    MEMORY_LIMIT = Gauge "inkpot.admission.memory.limit" ["By"] ()
        "How many bytes may be in flight on the node.";
    WAITING = Gauge "inkpot.admission.waiting" ["{session}"] (TENANT)
        "Sessions that stand still because a limit of their tenant has no room.";
    WAIT_DURATION = Histogram "inkpot.admission.wait.duration" ["s"] (TENANT, LIMIT)
        "How long an append that found no room waited, by the limit that it ran into.";
    ADMISSION_REFUSALS = Counter "inkpot.admission.refusals" ["{append}"] (TENANT, LIMIT)
        "Appends that found no room and were refused instead of waiting.";

    QUEUE_APPENDS = Gauge "inkpot.shard.queue.appends" ["{append}"] (SHARD)
        "Appends that a shard has and has not decided on.";
    QUEUE_SIZE = Gauge "inkpot.shard.queue.size" ["By"] (SHARD)
        "Bytes of those.";
    QUEUE_DURATION = Histogram "inkpot.shard.queue.duration" ["s"] (SHARD)
        "How long the oldest append of a commit had been under way when the commit took it.";
    SHARD_OPEN = Gauge "inkpot.shard.open" ["{shard}"] (SHARD)
        "1 while the shard serves, 0 while it is closed or recovers.";
    SHARD_FAILURES = Counter "inkpot.shard.failures" ["{failure}"] (SHARD)
        "How often the shard closed, or failed to open again: a failed sync, damage, a panic.";
    SHARD_FILES = Gauge "inkpot.shard.files" ["{file}"] (SHARD)
        "Files that the shard has in memory.";
    SHARD_CHANNELS = Gauge "inkpot.shard.channels" ["{channel}"] (SHARD)
        "Open channels.";

    COMMIT_DURATION = Histogram "inkpot.commit.duration" ["s"] (SHARD)
        "Time of a group commit that wrote something, to telling the acks.";
    COMMIT_APPENDS = Histogram "inkpot.commit.appends" ["{append}"] (SHARD)
        "Appends that a group commit acknowledged, duplicates among them.";
    COMMIT_SIZE = Histogram "inkpot.commit.size" ["By"] (SHARD)
        "Size of the frame of a group commit.";
    SYNC_DURATION = Histogram "inkpot.wal.sync.duration" ["s"] (SHARD)
        "Time of a sync of the log.";
    WAL_USAGE = Gauge "inkpot.wal.usage" ["By"] (SHARD)
        "Size of the log that no checkpoint has released.";
    WAL_LIMIT = Gauge "inkpot.wal.limit" ["By"] (SHARD)
        "Size of the log at which writes wait for a checkpoint.";

    WRITE_APPENDS = Counter "inkpot.write.appends" ["{append}"] (TENANT, DURABILITY)
        "Acknowledged appends, without duplicates.";
    WRITE_RECORDS = Counter "inkpot.write.records" ["{record}"] (TENANT)
        "Records of those.";
    WRITE_IO = Counter "inkpot.write.io" ["By"] (TENANT)
        "Bytes of those.";
    WRITE_DUPLICATES = Counter "inkpot.write.duplicates" ["{append}"] (TENANT)
        "Acknowledged appends that were there before, and were not written again.";
    WRITE_REFUSALS = Counter "inkpot.write.refusals" ["{append}"] (TENANT, REASON)
        "Refused appends.";
    WRITE_DURATION = Histogram "inkpot.write.duration" ["s"] (DURABILITY)
        "Time from reading appends to their acks. Measured once for what a session read at once and a commit took together.";

    APPLY_BACKLOG = Gauge "inkpot.apply.backlog" ["By"] (SHARD)
        "Committed bytes that are not in their plain files yet.";
    APPLY_IO = Counter "inkpot.apply.io" ["By"] (SHARD)
        "Bytes brought to plain files.";
    APPLY_DURATION = Histogram "inkpot.apply.round.duration" ["s"] (SHARD)
        "Time of a round of writing to plain files.";
    APPLY_OPEN_FILES = Gauge "inkpot.apply.files.open" ["{file}"] (SHARD)
        "Plain files that are kept open.";
    CHECKPOINT_DURATION = Histogram "inkpot.checkpoint.duration" ["s"] (SHARD)
        "Time of a checkpoint.";
    RECOVERY_DURATION = Histogram "inkpot.recovery.duration" ["s"] (SHARD)
        "Time of a recovery, at the start or after a failure.";
    ROTATIONS = Counter "inkpot.files.rotations" ["{file}"] (SHARD)
        "Files that were rotated.";
    REMOVALS = Counter "inkpot.files.removals" ["{file}"] (SHARD)
        "Rotated files that were removed because their policy does not keep them.";
    COMPRESSIONS = Counter "inkpot.files.compressions" ["{file}"] (SHARD)
        "Files that were compressed.";
    DISK_FULL = Gauge "inkpot.disk.full" ["{shard}"] (SHARD)
        "1 while the shard refuses writes because the disk is full.";
    DISK_FREE = Gauge "inkpot.disk.free" ["By"] ()
        "Room on the disk of the data folder.";

    READ_IO = Counter "inkpot.read.io" ["By"] (TENANT)
        "Bytes sent to readers.";

    EXPORT_FAILURES = Counter "inkpot.telemetry.failures" ["{export}"] (SIGNAL)
        "Batches of telemetry that could not be delivered, and are lost. Writes are not affected.";
    CPU_TIME = Counter "process.cpu.time" ["s"] (CPU_MODE)
        "Processor time of the server.";
    PROCESS_MEMORY = Gauge "process.memory.usage" ["By"] ()
        "Resident memory of the server.";
    DESCRIPTORS = Gauge "process.unix.file_descriptor.count" ["{file_descriptor}"] ()
        "Open descriptors: plain files, segments, connections.";
    UPTIME = Gauge "process.uptime" ["s"] ()
        "Time since the server started.";
}

#[cfg(test)]
mod tests;
