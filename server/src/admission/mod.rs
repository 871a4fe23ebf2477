//! Who may occupy memory and queue room: per tenant a semaphore for writes in flight and one for their bytes, and the
//! memory of the node. A [`Permit`] travels inside the write and ends where the write is answered, whatever became of
//! the client.

mod stored;

pub use stored::{Stored, StoredTotals};

use crate::{
    config::{Config, Flush},
    policy::Policies,
    telemetry::{Tally, Tenants, Usage},
};
use inkpot_proto::{path::TenantName, v1::ErrorReason};
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, futures::Notified};

/// What an append is charged at least, in bytes: its place in queues costs memory too.
pub const MIN_CHARGE_BYTES: u64 = 256;

/// What metrics call the tenants that they do not name.
const OTHER: &str = "other";

/// A limit that may have no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `writes_in_flight` of the tenant.
    WritesInFlight,
    /// `bytes_in_flight` of the tenant.
    BytesInFlight,
    /// `memory.writes_bytes` of the node.
    NodeMemory,
}

impl Limit {
    /// Its name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WritesInFlight => "writes_in_flight",
            Self::BytesInFlight => "bytes_in_flight",
            Self::NodeMemory => "memory.writes_bytes",
        }
    }

    /// The reason of a refusal for want of room.
    #[must_use]
    pub fn reason(self) -> ErrorReason {
        match self {
            Self::WritesInFlight | Self::BytesInFlight => ErrorReason::QuotaExceeded,
            Self::NodeMemory => ErrorReason::NodeMemory,
        }
    }
}

/// A tenant with its semaphores.
#[derive(Debug)]
pub struct Tenant {
    /// Its name.
    pub name: TenantName,
    /// Its share of a shard, relative to other tenants; at least 1.
    pub weight: u32,
    /// How long its writes may gather.
    pub flush: Flush,
    /// The name that metrics give it: its own, or `other` where there are more tenants than metrics name.
    pub label: Arc<str>,
    /// What is counted of it.
    pub tally: Tally,
    /// What it stores.
    pub stored: StoredTotals,
    /// How its files are rotated, kept and compressed.
    pub policies: Policies,
    writes_limit: u32,
    bytes_limit: u64,
    writes: Semaphore,
    bytes: Semaphore,
    reads_limit: u32,
    reads: Arc<Semaphore>,
    memory: Arc<Memory>,
    waiting: AtomicU32,
}

/// The memory of the node for writes in flight.
#[derive(Debug)]
struct Memory {
    limit: u64,
    bytes: Semaphore,
    /// Sessions of any tenant that wait for it.
    waiting: AtomicU32,
    /// Told when a session begins to wait for anything, so that writes that only gather are committed at once.
    hurry: Notify,
}

/// All tenants of the node.
#[derive(Debug)]
pub struct Admission {
    config: Arc<Config>,
    memory: Arc<Memory>,
    tenants: Mutex<HashMap<TenantName, Arc<Tenant>>>,
    /// What shards that recover had charged their tenants for.
    charged: Mutex<HashMap<u32, Vec<(TenantName, Stored)>>>,
    /// Shards of which it is not known yet what tenants store there.
    uncounted: Mutex<HashSet<u32>>,
}

impl Admission {
    /// Semaphores as `config` sets them.
    #[must_use]
    pub fn new(config: Arc<Config>) -> Self {
        let limit = config.memory.writes_bytes;
        let memory =
            Memory { limit, bytes: Semaphore::new(permits(limit)), waiting: AtomicU32::new(0), hurry: Notify::new() };
        Self {
            config,
            memory: Arc::new(memory),
            tenants: Mutex::default(),
            charged: Mutex::default(),
            uncounted: Mutex::default(),
        }
    }

    /// The tenant of that name. Names come from authenticated identities, so there are only as many as configured.
    #[must_use]
    pub fn tenant(&self, name: &TenantName) -> Arc<Tenant> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tenant) = tenants.get(name) {
            return Arc::clone(tenant);
        }
        let limits = self.config.tenant_limits(name);
        let has_label = tenants.len() < self.config.telemetry.max_tenants as usize;
        let tenant = Arc::new(Tenant {
            name: name.clone(),
            label: if has_label { name.as_str().into() } else { OTHER.into() },
            tally: Tally::default(),
            stored: StoredTotals::new(limits.stored_bytes, limits.files),
            policies: self.config.policies(name),
            weight: limits.weight.max(1),
            flush: limits.flush.unwrap_or_else(|| self.config.flush.clone()),
            writes_limit: limits.writes_in_flight,
            bytes_limit: limits.bytes_in_flight,
            writes: Semaphore::new(limits.writes_in_flight as usize),
            bytes: Semaphore::new(permits(limits.bytes_in_flight)),
            reads_limit: limits.reads,
            reads: Arc::new(Semaphore::new(limits.reads as usize)),
            memory: Arc::clone(&self.memory),
            waiting: AtomicU32::new(0),
        });
        tenants.insert(name.clone(), Arc::clone(&tenant));
        tenant
    }

    /// Until each of these shards has told, limits of what is stored let nothing more in.
    pub fn expect_counts(&self, shards: u32) {
        self.uncounted.lock().unwrap_or_else(PoisonError::into_inner).extend(0..shards);
    }

    /// A shard has told what is stored there, or cannot: what it has does not count then.
    pub fn counted(&self, shard: u32) {
        self.uncounted.lock().unwrap_or_else(PoisonError::into_inner).remove(&shard);
    }

    /// Whether it is not known of some shard yet what is stored there.
    #[must_use]
    pub fn is_counting(&self) -> bool {
        !self.uncounted.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Keeps what a shard has charged while it recovers.
    pub fn keep_charged(&self, shard: u32, charged: Vec<(TenantName, Stored)>) {
        self.charged.lock().unwrap_or_else(PoisonError::into_inner).insert(shard, charged);
    }

    /// What a shard had charged before it recovered.
    #[must_use]
    pub fn take_charged(&self, shard: u32) -> Vec<(TenantName, Stored)> {
        self.charged.lock().unwrap_or_else(PoisonError::into_inner).remove(&shard).unwrap_or_default()
    }

    /// Whether no permit is out: every semaphore is full. True whenever nothing is in flight.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        let tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        self.memory.bytes.available_permits() == permits(self.memory.limit)
            && tenants.values().all(|tenant| tenant.in_flight() == (0, 0))
    }

    /// Completes when some session begins to wait for permits.
    pub fn hurried(&self) -> Notified<'_> {
        self.memory.hurry.notified()
    }
}

impl Tenants for Admission {
    fn each(&self, tell: &mut dyn FnMut(&Arc<str>, Usage<'_>)) {
        let tenants: Vec<_> = self.tenants.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for tenant in tenants {
            let (writes, bytes) = tenant.in_flight();
            let usage = Usage {
                tally: &tenant.tally,
                waiting: u64::from(tenant.waiting.load(Ordering::Relaxed)),
                writes: (writes as u64, u64::from(tenant.writes_limit)),
                bytes: (bytes as u64, tenant.bytes_limit),
            };
            tell(&tenant.label, usage);
        }
    }

    fn memory(&self) -> (u64, u64) {
        let limit = permits(self.memory.limit);
        (limit.saturating_sub(self.memory.bytes.available_permits()) as u64, self.memory.limit)
    }
}

impl Tenant {
    /// Counts a session, for as long as what this returns lives.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> Entered {
        self.tally.sessions.add(1);
        Entered(Arc::clone(self))
    }

    /// Takes the permits of one append of `len` bytes.
    ///
    /// # Errors
    /// The first limit that has no room; nothing is taken then.
    pub fn try_acquire(self: &Arc<Self>, len: u64) -> Result<Permit, Limit> {
        let bytes = charge(len);
        let writes = take(&self.writes, 1).ok_or(Limit::WritesInFlight)?;
        let held = take(&self.bytes, bytes).ok_or(Limit::BytesInFlight)?;
        let memory = take(&self.memory.bytes, bytes).ok_or(Limit::NodeMemory)?;
        writes.forget();
        held.forget();
        memory.forget();
        Ok(Permit { tenant: Arc::clone(self), writes: 1, bytes: u64::from(bytes) })
    }

    /// Waits for the permits of one append of `len` bytes. First come, first served.
    pub async fn acquire(self: &Arc<Self>, len: u64) -> Permit {
        let bytes = charge(len);
        let waiting = Waiting::begin(&self.waiting, &self.memory.hurry);
        let writes = self.writes.acquire().await;
        let held = self.bytes.acquire_many(bytes).await;
        drop(waiting);
        // What other tenants let gather holds the memory of the node too.
        let waiting = Waiting::begin(&self.memory.waiting, &self.memory.hurry);
        let memory = self.memory.bytes.acquire_many(bytes).await;
        drop(waiting);
        // The semaphores are never closed, so acquiring cannot fail.
        if let (Ok(writes), Ok(held), Ok(memory)) = (writes, held, memory) {
            writes.forget();
            held.forget();
            memory.forget();
        }
        Permit { tenant: Arc::clone(self), writes: 1, bytes: u64::from(bytes) }
    }

    /// Whether a session waits for permits that writes of this tenant hold, so that they must not gather any longer.
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0 || self.memory.waiting.load(Ordering::Relaxed) > 0
    }

    /// Writes and bytes in flight now.
    #[must_use]
    pub fn in_flight(&self) -> (usize, usize) {
        let writes = (self.writes_limit as usize).saturating_sub(self.writes.available_permits());
        (writes, permits(self.bytes_limit).saturating_sub(self.bytes.available_permits()))
    }

    /// A place among those that read files of the tenant.
    ///
    /// # Errors
    /// The limit `reads`, if as many are there.
    pub fn admit_read(&self) -> Result<OwnedSemaphorePermit, u32> {
        Arc::clone(&self.reads).try_acquire_owned().map_err(|_| self.reads_limit)
    }

    /// The value of a limit.
    #[must_use]
    pub fn limit(&self, limit: Limit) -> u64 {
        match limit {
            Limit::WritesInFlight => u64::from(self.writes_limit),
            Limit::BytesInFlight => self.bytes_limit,
            Limit::NodeMemory => self.memory.limit,
        }
    }
}

/// An open session of a tenant.
#[derive(Debug)]
pub struct Entered(Arc<Tenant>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.tally.sessions.sub(1);
    }
}

/// Counts a waiting session, for as long as it lives.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicU32, hurry: &Notify) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        hurry.notify_waiters();
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The right to occupy memory and queue room. Given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    tenant: Arc<Tenant>,
    writes: u32,
    bytes: u64,
}

impl Permit {
    /// Joins the permits of another write of the same tenant.
    pub fn merge(&mut self, mut other: Self) {
        debug_assert!(Arc::ptr_eq(&self.tenant, &other.tenant), "permits of two tenants");
        self.writes += std::mem::take(&mut other.writes);
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Whose it is.
    #[must_use]
    pub fn tenant(&self) -> &Arc<Tenant> {
        &self.tenant
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.writes > 0 {
            self.tenant.writes.add_permits(self.writes as usize);
            self.tenant.bytes.add_permits(permits(self.bytes));
            self.tenant.memory.bytes.add_permits(permits(self.bytes));
        }
    }
}

fn permits(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS)
}

/// What an append of `len` bytes is charged: as many permits are taken as are given back.
fn charge(len: u64) -> u32 {
    u32::try_from(len.max(MIN_CHARGE_BYTES)).unwrap_or(u32::MAX)
}

fn take(semaphore: &Semaphore, n: u32) -> Option<tokio::sync::SemaphorePermit<'_>> {
    semaphore.try_acquire_many(n).ok()
}

#[cfg(test)]
mod tests;
