//! Contradictions between settings that are each within their bounds: among them every combination under which some
//! request that keeps to the limits could never be admitted. Pure.

use super::{
    Config, DEFAULT_TENANT,
    keys::{self, KeyPath},
    load::Fault,
    source::Origin,
    tokens::HASH_DIGITS,
    units::{show_duration, show_mode, show_size},
};
use crate::{
    policy::{NameTemplate, Policy},
    telemetry::logging,
};
use inkpot_proto::{
    limits::{MAX_MESSAGE_BYTES, MESSAGE_OVERHEAD_BYTES},
    path::TenantName,
};
use std::collections::BTreeMap;

/// Room that a segment has beyond the payload of the largest append: segment and frame header, names, and the lengths of
/// the records. In bytes.
pub const SEGMENT_OVERHEAD_BYTES: u64 = 128 << 10;
/// Largest payload that a gRPC message has room for, in bytes.
const MAX_APPEND_BYTES: u64 = (MAX_MESSAGE_BYTES - MESSAGE_OVERHEAD_BYTES) as u64;

/// All contradictions; each names the key to change, and where it was set.
pub(super) fn check(config: &Config, origins: &BTreeMap<KeyPath, Origin>) -> Vec<Fault> {
    let mut checker = Checker { origins, faults: Vec::new() };
    checker.room_for_appends(config);
    checker.log_and_timers(config);
    checker.modes(config);
    checker.tenants(config);
    checker.policies(config);
    checker.exposure(config);
    checker.faults
}

struct Checker<'a> {
    origins: &'a BTreeMap<KeyPath, Origin>,
    faults: Vec<Fault>,
}

impl Checker<'_> {
    fn require(&mut self, holds: bool, key: &KeyPath, problem: impl FnOnce() -> String) {
        if !holds {
            self.faults.push(Fault::of(key, self.origins.get(key), problem()));
        }
    }

    fn at_least(&mut self, key: &KeyPath, bytes: u64, least: u64, what: &str) {
        let problem = || format!("{} is less than {what}; set it to {} at least", show_size(bytes), show_size(least));
        self.require(bytes >= least, key, problem);
    }

    fn at_most(&mut self, key: &str, bytes: u64, most: u64, what: &str) {
        let problem = || format!("{} is more than {what}; set it to {} at most", show_size(bytes), show_size(most));
        self.require(bytes <= most, &KeyPath::of(key), problem);
    }

    /// The largest append fits into everything that it passes through.
    fn room_for_appends(&mut self, config: &Config) {
        let append = config.limits.append_bytes;
        let whole = "limits.append_bytes, so the largest append could never be admitted";
        self.at_most("limits.append_bytes", append, MAX_APPEND_BYTES, "a gRPC message has room for");
        self.at_most("limits.record_bytes", config.limits.record_bytes, append, "limits.append_bytes");
        self.at_least(&KeyPath::of("memory.writes_bytes"), config.memory.writes_bytes, append, whole);
        self.at_least(&KeyPath::of("apply.budget_bytes"), config.apply.budget_bytes, append, whole);
        let in_segment = append + SEGMENT_OVERHEAD_BYTES;
        let why = "limits.append_bytes and the overhead of a frame, so the largest append could never be logged";
        self.at_least(&KeyPath::of("wal.segment_bytes"), config.wal.segment_bytes, in_segment, why);
        let defaults = KeyPath::of("tenant_defaults.bytes_in_flight");
        self.at_least(&defaults, config.tenant_defaults.bytes_in_flight, append, whole);
        let defaults = KeyPath::of("tenant_defaults.stored_bytes");
        self.at_least(&defaults, config.tenant_defaults.stored_bytes.unwrap_or(append), append, whole);
        for (name, tenant) in &config.tenants {
            let table = KeyPath::of("tenants").child(name).child("limits");
            let limits =
                [("bytes_in_flight", tenant.limits.bytes_in_flight), ("stored_bytes", tenant.limits.stored_bytes)];
            for (key, limit) in limits {
                self.at_least(&table.child(key), limit.unwrap_or(append), append, whole);
            }
        }
    }

    fn log_and_timers(&mut self, config: &Config) {
        let two = config.wal.segment_bytes.saturating_mul(2);
        let why = "two segments (wal.segment_bytes), so the log could never go on to a next one";
        self.at_least(&KeyPath::of("wal.max_bytes"), config.wal.max_bytes, two, why);
        let below = config.wal.max_bytes - 1;
        let why = "what stays below wal.max_bytes, so the log would be full before a checkpoint empties it";
        self.at_most("checkpoint.wal_bytes", config.checkpoint.wal_bytes, below, why);
        let apply = &config.apply;
        self.require(apply.max_delay >= apply.delay, &KeyPath::of("apply.max_delay"), || {
            let delay = show_duration(apply.delay);
            format!("{} is shorter than apply.delay; set it to {delay} at least", show_duration(apply.max_delay))
        });
        if let Err(problem) = logging::check_filter(&config.log.filter) {
            let problem = || format!("{:?} is not a log filter: {problem}; as in \"info\"", config.log.filter);
            self.require(false, &KeyPath::of("log.filter"), problem);
        }
        self.require(!config.data_dir.as_os_str().is_empty(), &KeyPath::of("data_dir"), || {
            "it is empty; name a folder, as in \"./inkpot-data\"".to_owned()
        });
    }

    fn modes(&mut self, config: &Config) {
        let modes =
            [("files.file_mode", config.files.file_mode, 0o600), ("files.dir_mode", config.files.dir_mode, 0o700)];
        for (key, mode, least) in modes {
            self.require(mode & least == least, &KeyPath::of(key), || {
                format!("{} keeps the server itself out; set at least {}", show_mode(mode), show_mode(least))
            });
            self.require(mode & !0o775 == 0, &KeyPath::of(key), || {
                let wanted = show_mode(mode & 0o775);
                format!("{} lets others write, or has special bits; set {wanted}", show_mode(mode))
            });
        }
    }

    fn tenants(&mut self, config: &Config) {
        let mut owner_of = BTreeMap::new();
        for (name, tenant) in &config.tenants {
            let table = KeyPath::of("tenants").child(name);
            if let Err(problem) = TenantName::parse(name) {
                self.require(false, &table, || format!("not a name for a tenant: {problem}"));
            }
            self.require(name == DEFAULT_TENANT || !tenant.token_sha256.is_empty(), &table, || {
                "it has no token, so nobody could be this tenant; set token_sha256 (`inkpotd hash-token` makes it) or \
                 token_files"
                    .to_owned()
            });
            let hashes = table.child("token_sha256");
            for hash in &tenant.token_sha256 {
                let hex = hash.len() == HASH_DIGITS && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
                self.require(hex, &hashes, || {
                    format!(
                        "an entry is not the {HASH_DIGITS} hex digits of a SHA-256; `inkpotd hash-token` makes them"
                    )
                });
                let other = owner_of.insert(hash, name);
                self.require(other.is_none(), &hashes, || {
                    format!("tenant {:?} has the same token; give each its own", other.map_or("", String::as_str))
                });
            }
        }
    }

    fn policies(&mut self, config: &Config) {
        self.list_of_policies(&keys::default_policies(), &config.default_policies);
        for (name, tenant) in &config.tenants {
            self.list_of_policies(&keys::policies(name), &tenant.policies);
        }
    }

    fn list_of_policies(&mut self, list: &KeyPath, policies: &[Policy]) {
        for (number, policy) in policies.iter().enumerate() {
            let table = list.element(number);
            self.require_of(policy.pattern.is_set(), &table, &table.child("pattern"), || {
                "it is not set, so the policy holds for no file; name the paths, as in \"logs/**/*.log\"".to_owned()
            });
            let same = |other: &Policy| other.pattern.is_set() && other.pattern == policy.pattern;
            let earlier = policies[..number].iter().position(same);
            self.require_of(earlier.is_none(), &table, &table.child("pattern"), || {
                let earlier = list.element(earlier.unwrap_or_default());
                format!("{earlier} has the same pattern and comes first, so this one never holds; make them one")
            });
            let cuts = policy.rotate.is_set();
            let remedy = "set one of rotate.size, rotate.age and rotate.at";
            self.require_of(cuts || !policy.keep.is_set(), &table.child("keep"), &table.child("keep"), || {
                format!("no file is ever rotated under this policy, so there is nothing to keep; {remedy}")
            });
            let named = policy.rotate.name != NameTemplate::default();
            self.require(cuts || !named, &table.child("rotate").child("name"), || {
                format!("no file is ever rotated under this policy, so none gets this name; {remedy}")
            });
        }
    }

    /// As [`Checker::require`], for a key that need not be set: the place is that of the first key of `table`.
    fn require_of(&mut self, holds: bool, table: &KeyPath, key: &KeyPath, problem: impl FnOnce() -> String) {
        if !holds {
            let origin = self.origins.iter().find(|(path, _)| path.is_below(table)).map(|(_, origin)| origin);
            self.faults.push(Fault::of(key, self.origins.get(key).or(origin), problem()));
        }
    }

    fn exposure(&mut self, config: &Config) {
        let safe = config.listen.ip().is_loopback() || config.allow_remote_without_token || !config.development();
        self.require(safe, &KeyPath::of("listen"), || {
            format!(
                "{} is reached from other machines, and no tenant has a token, so anybody could write; give tenants \
                 tokens (tenants.NAME.token_sha256, which `inkpotd hash-token` makes), or say that this is meant with \
                 --allow-remote-without-token",
                config.listen
            )
        });
    }
}
