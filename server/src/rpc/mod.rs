//! The services of package `inkpot.v1`, and the only place that knows tonic: messages come in, are checked once
//! ([`convert`]), and go on as domain types; what shards say becomes messages again ([`answer`]).

mod adopt;
pub mod answer;
mod append;
mod channels;
pub mod convert;
mod delete_prefix;
mod file;
pub mod layers;
mod listener;
mod operate;
mod read;
mod routes;
mod server;
mod session;
#[cfg(test)]
mod testing;
mod verify;
mod write;

pub use file::Files;
pub use listener::tcp;
pub use server::{ServeError, serve_on};
pub use tonic::transport::server::Connected;
pub use verify::Admin;
pub use write::Writes;

use crate::{
    admission::{Admission, Tenant},
    audit::AuditLog,
    config::Config,
    host::Host,
    route,
    sets::Sets,
    shard::{SessionLink, ShardHandle, ids::FileKey, outbox::Outbox},
    telemetry::{Calls, Telemetry, Waits, trace::Tracing},
};
use inkpot_proto::{
    error::Refused,
    limits::{MAX_MESSAGE_BYTES, MAX_RECORDS_PER_APPEND},
    path::{FilePath, TenantName},
    v1::{self, ErrorReason},
};
use inkpot_wal::fs::FileSystem;
use layers::Identity;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What all services work with.
#[derive(Debug)]
pub struct Services {
    /// The shards, in the order of their numbers.
    pub shards: Arc<[ShardHandle]>,
    /// Tenants and their permits.
    pub admission: Arc<Admission>,
    /// Every knob.
    pub config: Arc<Config>,
    /// What was deleted, replaced, cut and adopted.
    pub audit: Arc<AuditLog>,
    /// Where the plain files lie.
    pub fs: Arc<dyn FileSystem>,
    /// Cancelled when the server begins to stop: sessions take no more and end.
    pub drain: CancellationToken,
    /// Where calls of the disk run.
    pub host: Host,
    /// What leads sets through.
    pub sets: Arc<Sets>,
    /// Which appends are traced.
    pub tracing: Tracing,
    /// How long appends wait for permits.
    pub waits: Waits,
    /// How calls end.
    pub calls: Calls,
    /// Every task that a call leaves behind: sessions, readers, appends whose caller has gone.
    pub tasks: TaskTracker,
    sessions: Arc<Semaphore>,
    /// Turns of calls that verify files.
    verifying: Semaphore,
    reads: Arc<Semaphore>,
    next_session: AtomicU64,
}

impl Services {
    /// Services in front of these shards; `shards` are in the order of their numbers, and at least one.
    #[must_use]
    pub fn new(
        shards: Arc<[ShardHandle]>,
        admission: Arc<Admission>,
        config: Arc<Config>,
        fs: Arc<dyn FileSystem>,
        drain: CancellationToken,
        tasks: TaskTracker,
        telemetry: &Telemetry,
    ) -> Self {
        let sessions = Arc::new(Semaphore::new(config.limits.sessions as usize));
        let reads = Arc::new(Semaphore::new(config.limits.reads as usize));
        let (tracing, waits, calls) = (telemetry.tracing(&config), telemetry.waits(), telemetry.calls());
        let next_session = AtomicU64::new(1);
        let sets = Arc::new(Sets::new(Arc::clone(&shards), Arc::clone(&fs), drain.clone()));
        let host = shards.first().map_or(Host::Threads, |shard| shard.host);
        let audit = Arc::new(AuditLog::new(Arc::clone(&fs), host));
        let verifying = Semaphore::new(verify::AT_ONCE);
        Self {
            shards,
            admission,
            config,
            audit,
            fs,
            drain,
            host,
            sets,
            tracing,
            waits,
            calls,
            tasks,
            sessions,
            verifying,
            reads,
            next_session,
        }
    }

    /// Index of the shard that owns a file.
    fn shard_of(&self, tenant: &TenantName, path: &FilePath) -> usize {
        let shards = u32::try_from(self.shards.len()).unwrap_or(u32::MAX);
        route::shard_of(tenant, path, shards) as usize
    }

    fn shard(&self, key: &FileKey) -> &ShardHandle {
        &self.shards[self.shard_of(&key.tenant, &key.path)]
    }

    /// A link under a number that was never used before, for a session or a `unary` append.
    fn link(&self, tenant: &TenantName, unary: bool) -> Arc<SessionLink> {
        let id = self.next_session.fetch_add(1, Ordering::Relaxed);
        let outbox = Arc::new(Outbox::default());
        Arc::new(SessionLink { id, tenant: self.admission.tenant(tenant), outbox, unary })
    }

    /// The right to be one of the sessions of the node.
    fn admit_session(&self) -> Result<OwnedSemaphorePermit, Refused> {
        self.refuse_if_draining()?;
        Arc::clone(&self.sessions).try_acquire_owned().map_err(|_| {
            let limit = "limits.sessions";
            let message = format!("{limit} = {} are open; close some, or raise the limit", self.config.limits.sessions);
            Refused::new(ErrorReason::QuotaExceeded, message).with_limit(limit)
        })
    }

    /// The right to be one of the readers of a tenant and of the node.
    fn admit_read(&self, tenant: &Tenant) -> Result<[OwnedSemaphorePermit; 2], Refused> {
        let of_tenant = tenant.admit_read().map_err(|most| {
            let message = format!(
                "tenant {}: reads = {most} files are being read; end some, or raise the limit of the tenant",
                tenant.name
            );
            Refused::new(ErrorReason::QuotaExceeded, message).with_limit("reads")
        })?;
        let of_node = Arc::clone(&self.reads).try_acquire_owned().map_err(|_| {
            let limit = "limits.reads";
            let message =
                format!("{limit} = {} files are being read; end some, or raise the limit", self.config.limits.reads);
            Refused::new(ErrorReason::QuotaExceeded, message).with_limit(limit)
        })?;
        Ok([of_tenant, of_node])
    }

    fn refuse_if_draining(&self) -> Result<(), Refused> {
        if self.drain.is_cancelled() { Err(draining()) } else { Ok(()) }
    }

    /// What `Opened` announces.
    fn limits(&self) -> v1::Limits {
        let limits = &self.config.limits;
        v1::Limits {
            max_record_bytes: limits.record_bytes,
            max_append_bytes: limits.append_bytes,
            max_records_per_append: MAX_RECORDS_PER_APPEND as u32,
            max_message_bytes: MAX_MESSAGE_BYTES as u64,
            max_appends_in_flight: limits.session_appends_in_flight,
            max_channels: limits.session_channels,
            producer_retention_seconds: self.config.producers.retention.as_secs(),
            remembered_appends: self.config.producers.remembered,
            upload_expiry_seconds: self.config.uploads.expiry.as_secs(),
        }
    }
}

fn draining() -> Refused {
    Refused::new(ErrorReason::Draining, "the server is stopping; nothing was applied, connect anew")
}

/// Whose call it is.
fn tenant_of<T>(request: &tonic::Request<T>) -> Result<TenantName, Refused> {
    let identity = request.extensions().get::<Identity>();
    identity.map(|identity| identity.tenant.clone()).ok_or_else(|| {
        Refused::new(ErrorReason::Unauthenticated, "nobody has told who calls; the server has no identity layer")
    })
}
