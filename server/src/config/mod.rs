//! The one configuration tree: every knob of `inkpotd`, with its unit, bounds and default.
//!
//! It is read once at start, from flags, `INKPOT_*` variables and a TOML file, in this order of precedence, over the
//! defaults. Nothing below start-up reads the environment or the file again, and no field is changed while serving.
//!
//! Sizes are whole numbers with a unit (`B`, `KiB`, `MiB`, `GiB`, `KB`, `MB`, `GB`), as in `"64MiB"`; durations too
//! (`"100ms"`, `"30s"`, `"7d"`, `"1m 30s"`).

mod check;
mod dump;
mod fill;
mod keys;
mod load;
mod source;
mod tokens;
pub mod units;

pub use check::SEGMENT_OVERHEAD_BYTES;
pub use load::{Fault, Faults, Flag, Sources};
pub use tokens::{check_token, token_sha256};

use crate::policy::{Policies, Policy};
use inkpot_proto::{limits::DEFAULT_PORT, path::TenantName};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

const MIB: u64 = 1 << 20;

/// Tenant of everybody in development mode.
pub const DEFAULT_TENANT: &str = "default";

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Address that gRPC listens on. Beyond loopback only with a token, or [`Config::allow_remote_without_token`].
    /// `127.0.0.1:7411`.
    pub listen: SocketAddr,
    /// Folder of everything that Inkpot keeps; relative to the working directory. `./inkpot-data`.
    pub data_dir: PathBuf,
    /// Single-writer tasks that files are spread over, 1 to 256. Counts only at the first start on a data folder, which
    /// keeps the number from then on. 4.
    pub shards: u32,
    /// Whether anybody set `shards`; else it is the default, and no reason to warn of another number in the folder.
    pub shards_given: bool,
    /// Take requests from other machines although nobody has to show a token. `false`.
    pub allow_remote_without_token: bool,
    /// Owner and mode of the plain files.
    pub files: Files,
    /// The write-ahead log of each shard.
    pub wal: Wal,
    /// When the log is emptied into plain files and catalog.
    pub checkpoint: Checkpoint,
    /// How committed bytes reach the plain files.
    pub apply: Apply,
    /// How long writes may gather before they are committed.
    pub flush: Flush,
    /// Memory of the node.
    pub memory: Memory,
    /// Bounds of requests, sessions and connections.
    pub limits: Limits,
    /// What is remembered of producers.
    pub producers: Producers,
    /// Uploads that are not published yet.
    pub uploads: Uploads,
    /// Retention and compression, which go on beside everything else.
    pub keeper: Keeper,
    /// Limits of each tenant that sets none of its own.
    pub tenant_defaults: TenantLimits,
    /// `[[tenant_defaults.policies]]`: policies of every tenant, behind its own; the first whose pattern matches a path holds.
    /// None.
    pub default_policies: Vec<Policy>,
    /// Tenants by name. Without a token among them the server is in development mode.
    pub tenants: BTreeMap<String, Tenant>,
    /// Deadlines of the stages of a stop.
    pub shutdown: Shutdown,
    /// What is logged, and how.
    pub log: Log,
    /// Metrics and traces. Where OTLP goes, the standard `OTEL_*` variables say.
    pub telemetry: Telemetry,
}

/// Owner and mode of the plain files and their directories, set as given whatever the umask, because other programs
/// read them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Permission bits of files: octal in a string, at least `"0600"`, not writable by others. `"0640"`.
    pub file_mode: u32,
    /// Permission bits of directories: octal in a string, at least `"0700"`, not writable by others. `"0750"`.
    pub dir_mode: u32,
    /// Numeric owner, if it is not to be the user of the server. Needs the right to give files away.
    pub owner: Option<u32>,
    /// Numeric group, if it is not to be the group of the server.
    pub group: Option<u32>,
}

/// The write-ahead log of each shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wal {
    /// Bytes of a segment, 64 KiB to 1 GiB; at least `limits.append_bytes` and [`SEGMENT_OVERHEAD_BYTES`]. 8 MiB.
    pub segment_bytes: u64,
    /// Bytes that the log of a shard may take, at most 1 TiB and at least two segments; appends wait or are refused
    /// beyond. 512 MiB.
    pub max_bytes: u64,
}

/// When the log is emptied into plain files and catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// After so many bytes of log, 64 KiB and more, below `wal.max_bytes`. 128 MiB.
    pub wal_bytes: u64,
    /// After so long if anything was written, 10 ms to 1 h. 30 s.
    pub interval: Duration,
}

/// How committed bytes reach the plain files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apply {
    /// How long bytes may gather for a file before they are written to it, 1 ms to 1 min. 100 ms.
    pub delay: Duration,
    /// How far that may stretch under load, `apply.delay` to 10 min. 2 s.
    pub max_delay: Duration,
    /// Unapplied bytes that a shard keeps in memory, at least `limits.append_bytes`; it commits no more beyond. 64 MiB.
    pub budget_bytes: u64,
    /// Plain files that a shard keeps open, 8 to 1 000 000; less if the process may not have that many. 4096.
    pub open_files: usize,
}

/// How long writes may gather before they are committed; whichever bound is reached first ends it, and so does a
/// tenant whose permits ran out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flush {
    /// So many records, 1 to 1 000 000. 100.
    pub records: u32,
    /// So many bytes, 1 B to 1 GiB. 1 MiB.
    pub bytes: u64,
    /// For so long, at most 10 s; 0 commits at once what is there. 0.
    pub delay: Duration,
}

/// Memory of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Payload of all writes in flight, at least `limits.append_bytes`. 256 MiB.
    pub writes_bytes: u64,
}

/// Bounds of requests, sessions and connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest record, at least 1 B and at most `limits.append_bytes`. 1 MiB.
    pub record_bytes: u64,
    /// Largest append, at most 4 MiB less 64 KiB: what a gRPC message has room for. 3 MiB.
    pub append_bytes: u64,
    /// Appends of a session that wait for their ack before it stops reading, 1 to 16 777 216. 65 536.
    pub session_appends_in_flight: u32,
    /// Channels that a session may have open, 1 to 1 000 000. 16 384.
    pub session_channels: u32,
    /// Sessions of the node, 1 to 1 000 000. 10 000.
    pub sessions: u32,
    /// HTTP/2 streams of a connection, 1 to 10 000. 64.
    pub streams_per_connection: u32,
    /// How long a session may take to send its first message, 1 ms to 1 h. 10 s.
    pub first_message: Duration,
    /// Longest deadline of a unary call; also of one that names none. 1 ms to 1 h. 300 s.
    pub deadline_max: Duration,
    /// `Read` calls of the node that are being answered, 1 to 1 000 000. 4096.
    pub reads: u32,
    /// How long a `Read` may be kept waiting by its client before it ends: nothing that was sent is taken. Having nothing
    /// to send does not count. 1 ms to 1 h. 60 s.
    pub read_stall: Duration,
    /// Connections of the node, 1 to 1 000 000; those beyond are closed at once, and so are those for which the process
    /// may not have the descriptors. 10 000.
    pub connections: u32,
    /// Connections from one address, 1 to 1 000 000. A proxy in front of the server is one address. 4096.
    pub connections_per_address: u32,
    /// How long a connection may take to send its first frame, 1 ms to 1 h. 10 s.
    pub handshake: Duration,
    /// How long a frame, or a block of headers, may take from its first byte to its last, and how long a connection may
    /// take none of the bytes that are sent to it, 1 ms to 1 h. 60 s.
    pub frame: Duration,
    /// How long a connection may be there without a call, 1 ms to 7 d. 5 min.
    pub connection_idle: Duration,
    /// Bytes of the headers of a call, uncompressed, with 32 more for each, 1 KiB to 1 MiB. 16 KiB.
    pub header_bytes: u64,
    /// Frames of a connection that are neither calls nor their content (pings, settings, windows, resets), 10 to
    /// 1 000 000 a second; ten times as many at once. What the server sends allows more. 1000.
    pub control_frames_per_second: u32,
}

/// Uploads that are not published yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uploads {
    /// How long an upload that nobody writes to is kept, in running time of the server, 1 s to 3650 d. 24 h.
    pub expiry: Duration,
    /// Uploads of a tenant that are open at once in a shard, 1 to 1 000 000. 10 000.
    pub per_tenant: u32,
}

/// Retention and compression, as policies ask for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeper {
    /// How long after one look at all files the next one begins, 10 ms to 1 d. 10 s.
    pub interval: Duration,
    /// How long compressing and verifying files rests after each MiB, so that commits have disk and processor, 1 ms to
    /// 10 s. 20 ms.
    pub pause: Duration,
}

/// What is remembered of producers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producers {
    /// How long an idle producer is remembered, 1 s to 3650 d. 7 d.
    pub retention: Duration,
    /// Appends per producer whose offsets are remembered for duplicates, 1 to 4096. 64.
    pub remembered: u32,
    /// Producers that a file may have, 1 to 10 000 000. 10 000.
    pub per_file: u32,
}

/// What a tenant may have in flight, and stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantLimits {
    /// Appends between admission and ack, 1 to 16 777 216. 65 536.
    pub writes_in_flight: u32,
    /// Payload of those, at least `limits.append_bytes`. 64 MiB.
    pub bytes_in_flight: u64,
    /// `Read` calls that are being answered, 1 to 1 000 000. 1024.
    pub reads: u32,
    /// Share of a busy shard, relative to other tenants, 1 to 1000. 1.
    pub weight: u32,
    /// Bytes of its files and uploads, uncompressed, at least `limits.append_bytes` and at most 1 EiB. Not set: no limit.
    pub stored_bytes: Option<u64>,
    /// Files that it may have, 1 to 1 000 000 000. Not set: no limit.
    pub files: Option<u32>,
    /// Flush policy, if not that of the server. What a given policy leaves out comes from [`Config::flush`].
    pub flush: Option<Flush>,
}

/// A tenant: who may be it, and what it may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tenant {
    /// SHA-256 of its tokens, in lower-case hex: those of `token_sha256` in the file, and of the tokens in the files that
    /// `token_files` names (read once, at start). No token of two tenants may be the same.
    pub token_sha256: Vec<String>,
    /// Its own limits.
    pub limits: TenantOverrides,
    /// `[[tenants.NAME.policies]]`: its own policies, before [`Config::default_policies`]. None.
    pub policies: Vec<Policy>,
}

/// Limits of a tenant that differ from [`Config::tenant_defaults`]; bounds as there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantOverrides {
    /// As [`TenantLimits::writes_in_flight`].
    pub writes_in_flight: Option<u32>,
    /// As [`TenantLimits::bytes_in_flight`].
    pub bytes_in_flight: Option<u64>,
    /// As [`TenantLimits::reads`].
    pub reads: Option<u32>,
    /// As [`TenantLimits::weight`].
    pub weight: Option<u32>,
    /// As [`TenantLimits::stored_bytes`].
    pub stored_bytes: Option<u64>,
    /// As [`TenantLimits::files`].
    pub files: Option<u32>,
    /// As [`TenantLimits::flush`]; what it leaves out comes from the defaults of tenants, then of the server.
    pub flush: Option<Flush>,
}

/// Deadlines of the stages of a stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// How long sessions may take to finish, 1 ms to 1 h. 20 s.
    pub drain: Duration,
    /// How long the last sync, apply and checkpoint may take, 1 ms to 1 h. 10 s.
    pub close: Duration,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Levels by module, as in `"info"` or `"inkpot_server=debug,info"`. `"info"`.
    pub filter: String,
    /// `"text"` or `"json"`. `"text"`.
    pub format: LogFormat,
}

/// Metrics and traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telemetry {
    /// Address of the Prometheus endpoint, `GET /metrics` over plain HTTP/1. Not set: there is none.
    pub metrics_listen: Option<SocketAddr>,
    /// Tenants that metrics name; those seen later share the name `other`. 1 to 500. 100.
    pub max_tenants: u32,
    /// Appends that the node traces in a second, and calls without a trace of their own that begin one; what comes beyond
    /// is done as ever, without spans. 0 to 100 000. 200.
    pub traced_appends_per_second: u32,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// Whether no tenant has a token: then everybody is tenant [`DEFAULT_TENANT`].
    #[must_use]
    pub fn development(&self) -> bool {
        self.tenants.values().all(|tenant| tenant.token_sha256.is_empty())
    }

    /// The limits of a tenant: its own, else the defaults.
    #[must_use]
    pub fn tenant_limits(&self, name: &TenantName) -> TenantLimits {
        let defaults = &self.tenant_defaults;
        let Some(own) = self.tenants.get(name.as_str()).map(|tenant| &tenant.limits) else {
            return defaults.clone();
        };
        TenantLimits {
            writes_in_flight: own.writes_in_flight.unwrap_or(defaults.writes_in_flight),
            bytes_in_flight: own.bytes_in_flight.unwrap_or(defaults.bytes_in_flight),
            reads: own.reads.unwrap_or(defaults.reads),
            weight: own.weight.unwrap_or(defaults.weight),
            stored_bytes: own.stored_bytes.or(defaults.stored_bytes),
            files: own.files.or(defaults.files),
            flush: own.flush.clone().or_else(|| defaults.flush.clone()),
        }
    }

    /// The policies of a tenant: its own, then the defaults.
    #[must_use]
    pub fn policies(&self, name: &TenantName) -> Policies {
        let own = self.tenants.get(name.as_str()).map_or(&[][..], |tenant| &tenant.policies);
        Policies::new(own, &self.default_policies)
    }

    /// The flush policy that holds for a tenant.
    #[must_use]
    pub fn tenant_flush(&self, name: &TenantName) -> Flush {
        self.tenant_limits(name).flush.unwrap_or_else(|| self.flush.clone())
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)),
            data_dir: PathBuf::from("./inkpot-data"),
            shards: 4,
            shards_given: false,
            allow_remote_without_token: false,
            files: Files { file_mode: 0o640, dir_mode: 0o750, owner: None, group: None },
            wal: Wal { segment_bytes: 8 * MIB, max_bytes: 512 * MIB },
            checkpoint: Checkpoint { wal_bytes: 128 * MIB, interval: Duration::from_secs(30) },
            apply: Apply {
                delay: Duration::from_millis(100),
                max_delay: Duration::from_secs(2),
                budget_bytes: 64 * MIB,
                open_files: 4096,
            },
            flush: Flush { records: 100, bytes: MIB, delay: Duration::ZERO },
            memory: Memory { writes_bytes: 256 * MIB },
            limits: Limits::default(),
            producers: Producers { retention: Duration::from_secs(7 * 24 * 60 * 60), remembered: 64, per_file: 10_000 },
            uploads: Uploads { expiry: Duration::from_secs(24 * 60 * 60), per_tenant: 10_000 },
            keeper: Keeper { interval: Duration::from_secs(10), pause: Duration::from_millis(20) },
            tenant_defaults: TenantLimits {
                writes_in_flight: 65_536,
                bytes_in_flight: 64 * MIB,
                reads: 1024,
                weight: 1,
                stored_bytes: None,
                files: None,
                flush: None,
            },
            default_policies: Vec::new(),
            tenants: BTreeMap::new(),
            shutdown: Shutdown { drain: Duration::from_secs(20), close: Duration::from_secs(10) },
            telemetry: Telemetry { metrics_listen: None, max_tenants: 100, traced_appends_per_second: 200 },
            log: Log { filter: "info".to_owned(), format: LogFormat::Text },
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            record_bytes: MIB,
            append_bytes: 3 * MIB,
            session_appends_in_flight: 65_536,
            session_channels: 16_384,
            sessions: 10_000,
            streams_per_connection: 64,
            first_message: Duration::from_secs(10),
            deadline_max: Duration::from_secs(300),
            reads: 4096,
            read_stall: Duration::from_secs(60),
            connections: 10_000,
            connections_per_address: 4096,
            handshake: Duration::from_secs(10),
            frame: Duration::from_secs(60),
            connection_idle: Duration::from_secs(300),
            header_bytes: 16 << 10,
            control_frames_per_second: 1000,
        }
    }
}

#[cfg(test)]
mod tests;
