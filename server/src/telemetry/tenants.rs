//! What is counted per tenant.

use super::{instruments, names, shards::Cell};
use inkpot_proto::v1::{Durability, ErrorReason};
use opentelemetry::{KeyValue, metrics::Meter};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Appends that were acknowledged together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acked {
    /// How many, without those that were there before.
    pub appends: u64,
    /// Their records.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many were there before.
    pub duplicates: u64,
}

impl Acked {
    /// Adds what was acknowledged beside it.
    pub fn add(&mut self, more: Self) {
        self.appends += more.appends;
        self.records += more.records;
        self.bytes += more.bytes;
        self.duplicates += more.duplicates;
    }
}

/// The counters of one tenant. Touched once per commit, and for what is refused.
#[derive(Debug, Default)]
pub struct Tally {
    written: Cell,
    synced: Cell,
    records: Cell,
    bytes: Cell,
    duplicates: Cell,
    refusals: Mutex<BTreeMap<ErrorReason, u64>>,
    no_room: Mutex<BTreeMap<&'static str, u64>>,
    /// Open sessions.
    pub sessions: Cell,
    /// Bytes sent to readers.
    pub read: Cell,
}

impl Tally {
    /// Counts what a commit acknowledged at `level`.
    pub fn acked(&self, level: Durability, acked: Acked) {
        let appends = if level >= Durability::Synced { &self.synced } else { &self.written };
        appends.add(acked.appends);
        self.records.add(acked.records);
        self.bytes.add(acked.bytes);
        if acked.duplicates > 0 {
            self.duplicates.add(acked.duplicates);
        }
    }

    /// Counts a refused append.
    pub fn refused(&self, reason: ErrorReason) {
        *self.refusals.lock().unwrap_or_else(PoisonError::into_inner).entry(reason).or_default() += 1;
    }

    /// Counts an append that a limit had no room for, and that might not wait.
    pub fn found_no_room(&self, limit: &'static str) {
        *self.no_room.lock().unwrap_or_else(PoisonError::into_inner).entry(limit).or_default() += 1;
    }
}

/// A tenant as it is at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Usage<'a> {
    /// What was counted.
    pub tally: &'a Tally,
    /// Sessions that wait for a limit.
    pub waiting: u64,
    /// Appends in flight, and how many may be.
    pub writes: (u64, u64),
    /// Bytes in flight, and how many may be.
    pub bytes: (u64, u64),
}

/// Who knows the tenants.
pub trait Tenants: Send + Sync {
    /// Each tenant under the name that metrics give it; several may share one.
    fn each(&self, tell: &mut dyn FnMut(&Arc<str>, Usage<'_>));
    /// Memory of the node for writes in flight, and how much there may be, in bytes.
    fn memory(&self) -> (u64, u64);
}

/// Lets whoever collects read the numbers of all tenants.
pub(super) fn observe(meter: &Meter, tenants: &Arc<dyn Tenants>) {
    type Read = fn(&Usage<'_>) -> u64;
    let numbers: [(&names::Metric, Read); 10] = [
        (&names::SESSIONS, |tenant| tenant.tally.sessions.get()),
        (&names::WRITES_USAGE, |tenant| tenant.writes.0),
        (&names::WRITES_LIMIT, |tenant| tenant.writes.1),
        (&names::PAYLOAD_USAGE, |tenant| tenant.bytes.0),
        (&names::PAYLOAD_LIMIT, |tenant| tenant.bytes.1),
        (&names::WAITING, |tenant| tenant.waiting),
        (&names::WRITE_RECORDS, |tenant| tenant.tally.records.get()),
        (&names::WRITE_IO, |tenant| tenant.tally.bytes.get()),
        (&names::WRITE_DUPLICATES, |tenant| tenant.tally.duplicates.get()),
        (&names::READ_IO, |tenant| tenant.tally.read.get()),
    ];
    for (metric, read) in numbers {
        observe_one(meter, metric, tenants, None, move |usage, add| add("", read(usage)));
    }
    observe_one(meter, &names::WRITE_APPENDS, tenants, Some(names::DURABILITY), |usage, add| {
        add(names::level_in_words(Durability::Written), usage.tally.written.get());
        add(names::level_in_words(Durability::Synced), usage.tally.synced.get());
    });
    observe_one(meter, &names::WRITE_REFUSALS, tenants, Some(names::REASON), |usage, add| {
        let refusals = usage.tally.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.iter().for_each(|(reason, count)| add(&names::reason_in_words(*reason), *count));
    });
    observe_one(meter, &names::ADMISSION_REFUSALS, tenants, Some(names::LIMIT), |usage, add| {
        let no_room = usage.tally.no_room.lock().unwrap_or_else(PoisonError::into_inner);
        no_room.iter().for_each(|(limit, count)| add(limit, *count));
    });
    for (metric, read) in [(&names::MEMORY_USAGE, 0), (&names::MEMORY_LIMIT, 1)] {
        let tenants = Arc::clone(tenants);
        instruments::observe(meter, metric, move |tell| {
            let (usage, limit) = tenants.memory();
            tell([usage, limit][read], &[]);
        });
    }
}

/// One metric of all tenants, with at most one attribute beside the tenant; those that share a name are added up.
fn observe_one(
    meter: &Meter,
    metric: &names::Metric,
    tenants: &Arc<dyn Tenants>,
    attribute: Option<&'static str>,
    read: impl Fn(&Usage<'_>, &mut dyn FnMut(&str, u64)) + Send + Sync + 'static,
) {
    let tenants = Arc::clone(tenants);
    instruments::observe(meter, metric, move |tell| {
        let mut sums: BTreeMap<(Arc<str>, String), u64> = BTreeMap::new();
        tenants.each(&mut |name, usage| {
            read(&usage, &mut |value, number| {
                *sums.entry((Arc::clone(name), value.to_owned())).or_default() += number;
            });
        });
        for ((name, value), number) in sums {
            let tenant = KeyValue::new(names::TENANT, name);
            match attribute {
                Some(key) => tell(number, &[tenant, KeyValue::new(key, value)]),
                None => tell(number, &[tenant]),
            }
        }
    });
}

#[cfg(test)]
mod tests;
