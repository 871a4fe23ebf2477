//! Files, tenants, sessions and appends for tests.
#![allow(clippy::unwrap_used)]

use super::{
    Batch, SessionLink, Write, WriteBody,
    ids::{FileId, FileKey},
    outbox::{Event, Outbox},
    state::File,
};
use crate::{
    admission::{Admission, Permit, Tenant},
    apply::view::{FileView, ViewState},
    config::{Config, Flush, Tenant as TenantConfig},
};
use bytes::Bytes;
use inkpot_proto::{
    path::{FilePath, TenantName},
    v1::Durability,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

/// A name for a tenant.
pub fn name(tenant: &str) -> TenantName {
    TenantName::parse(tenant).unwrap()
}

/// A path of tenant `t`.
pub fn key(path: &str) -> FileKey {
    FileKey { tenant: name("t"), path: FilePath::parse(path).unwrap() }
}

/// A view of a file of tenant `t`.
pub fn view(path: &str, id: u64, state: ViewState) -> Arc<FileView> {
    Arc::new(FileView::new(key(path), FileId::new(0, 1, id), id, state))
}

/// A file without anything in it.
pub fn file(path: &str, id: u64) -> File {
    let view = view(path, id, ViewState::default());
    File::new(view, false)
}

/// The defaults, with tenants of these weights.
pub fn weighted(weights: &[(&str, u32)]) -> Config {
    let mut config = Config::default();
    for (tenant, weight) in weights {
        let mut settings = TenantConfig::default();
        settings.limits.weight = Some(*weight);
        config.tenants.insert((*tenant).to_owned(), settings);
    }
    config
}

/// The tenant of that name under this configuration.
pub fn tenant_of(config: Config, tenant: &str) -> Arc<Tenant> {
    Admission::new(Arc::new(config)).tenant(&name(tenant))
}

/// A tenant with the defaults.
pub fn tenant() -> Arc<Tenant> {
    tenant_of(Config::default(), "t")
}

/// A tenant with this flush policy.
pub fn gathering(flush: Flush) -> Arc<Tenant> {
    tenant_of(Config { flush, ..Config::default() }, "t")
}

/// A session of a tenant.
pub fn session(tenant: &Arc<Tenant>, id: u64) -> Arc<SessionLink> {
    Arc::new(SessionLink { id, tenant: Arc::clone(tenant), outbox: Arc::new(Outbox::default()), unary: false })
}

/// A permit of a tenant that has room.
pub fn permit(tenant: &Arc<Tenant>, len: usize) -> Permit {
    tenant.try_acquire(len as u64).unwrap()
}

/// One append of `len` bytes and as many `records`.
pub fn write(tenant: &Arc<Tenant>, seq: u64, len: usize, records: u32) -> Write {
    let data = Bytes::from(vec![b'x'; len]);
    let crc32c = crc32c::crc32c(&data);
    let permit = permit(tenant, len);
    let body =
        WriteBody { data, records, crc32c, expected_offset: None, durability: Durability::Synced, permit, trace: None };
    Write { channel: 1, seq, body: Ok(body) }
}

/// Appends of these lengths, of one record each, numbered from 1.
pub fn batch(session: &Arc<SessionLink>, lens: &[usize]) -> Batch {
    let writes = (1..).zip(lens).map(|(seq, len)| write(&session.tenant, seq, *len, 1)).collect();
    Batch { session: Arc::clone(session), writes, since: std::time::Instant::now() }
}

/// Everything that the session can read now.
pub fn told(session: &SessionLink) -> Vec<Event> {
    let mut events = Vec::new();
    while let Poll::Ready(Some(event)) = session.outbox.poll_next(&mut Context::from_waker(Waker::noop())) {
        events.push(event);
    }
    events
}

/// Counts how often it was woken.
#[derive(Debug, Default)]
pub struct Alarm(AtomicUsize);

impl Alarm {
    /// Since the beginning.
    pub fn rings(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls once.
pub fn poll<T>(alarm: &Arc<Alarm>, what: std::pin::Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Poll<T> {
    what.poll(&mut Context::from_waker(&Waker::from(Arc::clone(alarm))))
}
