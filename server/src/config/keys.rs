//! Every key of the configuration once: its path, the field that it sets, and its bounds. Reading and dumping both go
//! by this list, so neither can forget a key.

use super::{Config, Flush, LogFormat, Tenant, TenantLimits};
use crate::policy::{ClockTime, NameTemplate, Pattern, Policy};
use std::{fmt, net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const EIB: u64 = 1 << 60;
const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// More files than a tenant could ever have here.
const MAX_FILES: u32 = 1_000_000_000;
/// As many as a semaphore of tokio surely holds, on any machine.
const MAX_PERMITS: u32 = 1 << 24;

/// The path of a key: the tables that lead to it, and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyPath(pub(super) Vec<String>);

impl KeyPath {
    pub(super) fn of(dotted: &str) -> Self {
        Self(dotted.split('.').map(str::to_owned).collect())
    }

    pub(super) fn child(&self, name: &str) -> Self {
        Self(self.0.iter().map(String::as_str).chain([name]).map(str::to_owned).collect())
    }

    /// The table with this number in a list of tables; the first has 0.
    pub(super) fn element(&self, number: usize) -> Self {
        self.child(&number.to_string())
    }

    pub(super) fn is_below(&self, table: &Self) -> bool {
        self.0.len() > table.0.len() && self.0.starts_with(&table.0)
    }
}

impl fmt::Display for KeyPath {
    /// As in a TOML file: a part that is not a bare key is quoted, so that its characters do no harm in a log either.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.iter().enumerate() {
            let dot = if index == 0 { "" } else { "." };
            let bare = !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
            if bare { write!(f, "{dot}{part}")? } else { write!(f, "{dot}{part:?}")? }
        }
        Ok(())
    }
}

/// The field that a key sets, and what it may hold.
pub(super) enum Field<'a> {
    Size(&'a mut u64, RangeInclusive<u64>),
    Span(&'a mut Duration, RangeInclusive<Duration>),
    Count(&'a mut u32, RangeInclusive<u32>),
    Files(&'a mut usize, RangeInclusive<usize>),
    Flag(&'a mut bool),
    Address(&'a mut SocketAddr),
    OptionalAddress(&'a mut Option<SocketAddr>),
    Path(&'a mut PathBuf),
    Text(&'a mut String),
    Format(&'a mut LogFormat),
    Mode(&'a mut u32),
    OptionalId(&'a mut Option<u32>),
    OptionalCount(&'a mut Option<u32>, RangeInclusive<u32>),
    OptionalSize(&'a mut Option<u64>, RangeInclusive<u64>),
    OptionalSpan(&'a mut Option<Duration>, RangeInclusive<Duration>),
    Tokens(&'a mut Vec<String>),
    Pattern(&'a mut Pattern),
    Name(&'a mut NameTemplate),
    ClockTime(&'a mut Option<ClockTime>),
}

/// A key and its field.
pub(super) struct Key<'a> {
    pub(super) path: KeyPath,
    pub(super) field: Field<'a>,
}

fn key<'a>(dotted: &str, field: Field<'a>) -> Key<'a> {
    Key { path: KeyPath::of(dotted), field }
}

/// The keys of the server itself; those of tenants are in [`tenant_defaults`] and [`tenant`].
pub(super) fn server(config: &mut Config) -> Vec<Key<'_>> {
    use Field as F;
    let Config { files, wal, checkpoint, apply, memory, producers, uploads, keeper, shutdown, log, telemetry, .. } =
        config;
    let mut keys = vec![
        key("listen", F::Address(&mut config.listen)),
        key("data_dir", F::Path(&mut config.data_dir)),
        key("shards", F::Count(&mut config.shards, 1..=256)),
        key("allow_remote_without_token", F::Flag(&mut config.allow_remote_without_token)),
        key("files.file_mode", F::Mode(&mut files.file_mode)),
        key("files.dir_mode", F::Mode(&mut files.dir_mode)),
        key("files.owner", F::OptionalId(&mut files.owner)),
        key("files.group", F::OptionalId(&mut files.group)),
        key("wal.segment_bytes", F::Size(&mut wal.segment_bytes, 64 * KIB..=GIB)),
        key("wal.max_bytes", F::Size(&mut wal.max_bytes, 128 * KIB..=TIB)),
        key("checkpoint.wal_bytes", F::Size(&mut checkpoint.wal_bytes, 64 * KIB..=TIB)),
        key("checkpoint.interval", F::Span(&mut checkpoint.interval, 10 * MILLISECOND..=HOUR)),
        key("apply.delay", F::Span(&mut apply.delay, MILLISECOND..=HOUR / 60)),
        key("apply.max_delay", F::Span(&mut apply.max_delay, MILLISECOND..=HOUR / 6)),
        key("apply.budget_bytes", F::Size(&mut apply.budget_bytes, 1..=TIB)),
        key("apply.open_files", F::Files(&mut apply.open_files, 8..=1_000_000)),
        key("memory.writes_bytes", F::Size(&mut memory.writes_bytes, 1..=TIB)),
        key("producers.retention", F::Span(&mut producers.retention, 1000 * MILLISECOND..=3650 * DAY)),
        key("producers.remembered", F::Count(&mut producers.remembered, 1..=4096)),
        key("producers.per_file", F::Count(&mut producers.per_file, 1..=10_000_000)),
        key("uploads.expiry", F::Span(&mut uploads.expiry, 1000 * MILLISECOND..=3650 * DAY)),
        key("uploads.per_tenant", F::Count(&mut uploads.per_tenant, 1..=1_000_000)),
        key("keeper.interval", F::Span(&mut keeper.interval, 10 * MILLISECOND..=DAY)),
        key("keeper.pause", F::Span(&mut keeper.pause, MILLISECOND..=10_000 * MILLISECOND)),
        key("shutdown.drain", F::Span(&mut shutdown.drain, MILLISECOND..=HOUR)),
        key("shutdown.close", F::Span(&mut shutdown.close, MILLISECOND..=HOUR)),
        key("telemetry.metrics_listen", F::OptionalAddress(&mut telemetry.metrics_listen)),
        key("telemetry.max_tenants", F::Count(&mut telemetry.max_tenants, 1..=500)),
        key("telemetry.traced_appends_per_second", F::Count(&mut telemetry.traced_appends_per_second, 0..=100_000)),
        key("log.filter", F::Text(&mut log.filter)),
        key("log.format", F::Format(&mut log.format)),
    ];
    keys.extend(limits(&mut config.limits));
    keys.extend(flush(&KeyPath::of("flush"), &mut config.flush));
    keys
}

fn limits(limits: &mut super::Limits) -> [Key<'_>; 17] {
    use Field as F;
    [
        key("limits.record_bytes", F::Size(&mut limits.record_bytes, 1..=GIB)),
        key("limits.append_bytes", F::Size(&mut limits.append_bytes, 1..=GIB)),
        key("limits.session_appends_in_flight", F::Count(&mut limits.session_appends_in_flight, 1..=MAX_PERMITS)),
        key("limits.session_channels", F::Count(&mut limits.session_channels, 1..=1_000_000)),
        key("limits.sessions", F::Count(&mut limits.sessions, 1..=1_000_000)),
        key("limits.streams_per_connection", F::Count(&mut limits.streams_per_connection, 1..=10_000)),
        key("limits.first_message", F::Span(&mut limits.first_message, MILLISECOND..=HOUR)),
        key("limits.deadline_max", F::Span(&mut limits.deadline_max, MILLISECOND..=HOUR)),
        key("limits.reads", F::Count(&mut limits.reads, 1..=1_000_000)),
        key("limits.read_stall", F::Span(&mut limits.read_stall, MILLISECOND..=HOUR)),
        key("limits.connections", F::Count(&mut limits.connections, 1..=1_000_000)),
        key("limits.connections_per_address", F::Count(&mut limits.connections_per_address, 1..=1_000_000)),
        key("limits.handshake", F::Span(&mut limits.handshake, MILLISECOND..=HOUR)),
        key("limits.frame", F::Span(&mut limits.frame, MILLISECOND..=HOUR)),
        key("limits.connection_idle", F::Span(&mut limits.connection_idle, MILLISECOND..=7 * DAY)),
        key("limits.header_bytes", F::Size(&mut limits.header_bytes, KIB..=KIB * KIB)),
        key("limits.control_frames_per_second", F::Count(&mut limits.control_frames_per_second, 10..=1_000_000)),
    ]
}

/// The keys of a flush policy whose table is `table`.
pub(super) fn flush<'a>(table: &KeyPath, flush: &'a mut Flush) -> [Key<'a>; 3] {
    [
        Key { path: table.child("records"), field: Field::Count(&mut flush.records, 1..=1_000_000) },
        Key { path: table.child("bytes"), field: Field::Size(&mut flush.bytes, 1..=GIB) },
        Key { path: table.child("delay"), field: Field::Span(&mut flush.delay, Duration::ZERO..=10_000 * MILLISECOND) },
    ]
}

/// The keys of the limits that hold for tenants without their own.
pub(super) fn tenant_defaults(limits: &mut TenantLimits) -> Vec<Key<'_>> {
    use Field as F;
    let mut keys = vec![
        key("tenant_defaults.writes_in_flight", F::Count(&mut limits.writes_in_flight, 1..=MAX_PERMITS)),
        key("tenant_defaults.bytes_in_flight", F::Size(&mut limits.bytes_in_flight, 1..=TIB)),
        key("tenant_defaults.reads", F::Count(&mut limits.reads, 1..=1_000_000)),
        key("tenant_defaults.weight", F::Count(&mut limits.weight, 1..=1000)),
        key("tenant_defaults.stored_bytes", F::OptionalSize(&mut limits.stored_bytes, 1..=EIB)),
        key("tenant_defaults.files", F::OptionalCount(&mut limits.files, 1..=MAX_FILES)),
    ];
    keys.extend(limits.flush.iter_mut().flat_map(|policy| flush(&KeyPath::of("tenant_defaults.flush"), policy)));
    keys
}

/// The table of a tenant.
pub(super) fn tenant_table(name: &str) -> KeyPath {
    KeyPath::of("tenants").child(name)
}

/// The keys of a tenant.
pub(super) fn tenant<'a>(name: &str, tenant: &'a mut Tenant) -> Vec<Key<'a>> {
    use Field as F;
    let table = tenant_table(name);
    let own = table.child("limits");
    let limits = &mut tenant.limits;
    let of = |name: &str, field| Key { path: own.child(name), field };
    let mut keys = vec![
        Key { path: table.child("token_sha256"), field: F::Tokens(&mut tenant.token_sha256) },
        of("writes_in_flight", F::OptionalCount(&mut limits.writes_in_flight, 1..=MAX_PERMITS)),
        of("bytes_in_flight", F::OptionalSize(&mut limits.bytes_in_flight, 1..=TIB)),
        of("reads", F::OptionalCount(&mut limits.reads, 1..=1_000_000)),
        of("weight", F::OptionalCount(&mut limits.weight, 1..=1000)),
        of("stored_bytes", F::OptionalSize(&mut limits.stored_bytes, 1..=EIB)),
        of("files", F::OptionalCount(&mut limits.files, 1..=MAX_FILES)),
    ];
    keys.extend(limits.flush.iter_mut().flat_map(|policy| flush(&own.child("flush"), policy)));
    keys
}

/// The list of the policies that hold for every tenant, behind its own.
pub(super) fn default_policies() -> KeyPath {
    KeyPath::of("tenant_defaults.policies")
}

/// The list of the policies of a tenant.
pub(super) fn policies(name: &str) -> KeyPath {
    tenant_table(name).child("policies")
}

/// The keys of a policy whose table is `table`.
pub(super) fn policy<'a>(table: &KeyPath, policy: &'a mut Policy) -> [Key<'a>; 9] {
    use Field as F;
    let Policy { pattern, rotate, keep, compress } = policy;
    let at = |name: &str, field| Key { path: table.child(name), field };
    let rotates = |name: &str, field| Key { path: table.child("rotate").child(name), field };
    let keeps = |name: &str, field| Key { path: table.child("keep").child(name), field };
    let span = || 1000 * MILLISECOND..=3650 * DAY;
    [
        at("pattern", F::Pattern(pattern)),
        at("compress", F::Flag(compress)),
        rotates("size", F::OptionalSize(&mut rotate.size, KIB..=EIB)),
        rotates("age", F::OptionalSpan(&mut rotate.age, span())),
        rotates("at", F::ClockTime(&mut rotate.at)),
        rotates("name", F::Name(&mut rotate.name)),
        keeps("count", F::OptionalCount(&mut keep.count, 1..=1_000_000)),
        keeps("age", F::OptionalSpan(&mut keep.age, span())),
        keeps("bytes", F::OptionalSize(&mut keep.bytes, 1..=EIB)),
    ]
}
