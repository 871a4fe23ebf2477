//! What policies ask for beside the path of a write: rotated files that are not kept are removed, and rotated and sealed
//! ones are compressed, one at a time. Everything that this changes goes through the shards, as an operation that names the
//! generation; a stop or a crash between any two steps leaves nothing but a staged file that the next start removes.

mod look;

use crate::{
    admission::{Admission, Tenant},
    apply::{
        compress::{Target, compress_file},
        plain::keep_staging_dir,
        view::{COMPRESSED_SUFFIX, FileView, staged_path},
    },
    audit::{AuditLog, Entry},
    config::{Config, DEFAULT_TENANT},
    host::Host,
    shard::{
        FileSummary, ShardHandle,
        ids::FileKey,
        listing::{self, Query},
        operation::{Action, Prepared, is_certain},
    },
    telemetry::ShardMetrics,
};
use inkpot_proto::{error::Refused, path::TenantName, v1::ErrorReason};
use inkpot_wal::fs::{Attributes, FileSystem, parent};
use look::{Look, Tried};
use std::{
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

/// Files that are asked for at once.
const PAGE_FILES: usize = 500;
/// Looking takes one part in so many of the time, so that a million files cost the shards next to nothing.
const LOOK_SHARE: u32 = 10;
/// Room on the disk that compression leaves to writes, in bytes.
const RESERVE_BYTES: u64 = 64 << 20;

/// What the keeper works with.
#[derive(Debug)]
pub struct Keeper {
    /// The shards, in the order of their numbers.
    pub shards: Arc<[ShardHandle]>,
    /// What they measure, in the same order.
    pub metrics: Vec<Arc<ShardMetrics>>,
    /// Tenants and their policies.
    pub admission: Arc<Admission>,
    /// The settings.
    pub config: Arc<Config>,
    /// Where it is told what was removed.
    pub audit: Arc<AuditLog>,
    /// Where the files lie.
    pub fs: Arc<dyn FileSystem>,
    /// Cancelled when the server begins to stop.
    pub drain: CancellationToken,
    /// Where calls of the disk run.
    pub host: Host,
}

/// Why a file was not compressed.
#[derive(Debug, Error)]
enum NotCompressed {
    #[error("the shard refuses: {0}")]
    Refused(#[from] Refused),
    #[error("its copy could not be made: {0}")]
    Copy(#[from] io::Error),
    #[error("{0} stands where the compressed file would")]
    NameTaken(String),
}

impl Keeper {
    /// Looks after files until the server begins to stop.
    pub async fn run(self) {
        let mut tried = Tried::default();
        while self.rest(self.config.keeper.interval).await {
            tried.forget_old(Instant::now());
            for name in self.tenants() {
                let tenant = self.admission.tenant(&name);
                if tenant.policies.look_after_files() {
                    self.look_after(&tenant, &mut tried).await;
                }
            }
        }
    }

    /// Everybody who can have files: names come from the configuration.
    fn tenants(&self) -> Vec<TenantName> {
        let names = self.config.tenants.keys().map(String::as_str).chain([DEFAULT_TENANT]);
        let mut names: Vec<_> = names.filter_map(|name| TenantName::parse(name).ok()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    async fn look_after(&self, tenant: &Arc<Tenant>, tried: &mut Tried) {
        for (shard, metrics) in self.shards.iter().zip(&self.metrics) {
            let mut look = match self.look(tenant, shard).await {
                Ok(look) => look,
                // It recovers by itself; the next look is soon enough.
                Err(refused) => {
                    tracing::debug!(shard = shard.number, %refused, "files could not be looked at");
                    continue;
                }
            };
            for file in look.take_unkept(SystemTime::now()) {
                let is_removed = self.remove(tenant, shard, &file, tried).await;
                metrics.removals.add(u64::from(is_removed));
            }
            for file in look.to_compress {
                if self.drain.is_cancelled() {
                    return;
                }
                let is_compressed = self.try_compress(tenant, shard, &file, tried).await;
                metrics.compressions.add(u64::from(is_compressed));
            }
        }
    }

    /// Goes through the files of a tenant in a shard.
    async fn look(&self, tenant: &Tenant, shard: &ShardHandle) -> Result<Look, Refused> {
        let mut look = Look::default();
        let mut from = String::new();
        loop {
            let began = Instant::now();
            let (tenant_name, prefix) = (tenant.name.clone(), String::new());
            let query = Query { tenant: tenant_name, prefix, delimiter: None, from, max: PAGE_FILES };
            let page = shard.list(query).await?;
            let is_last = page.len() < PAGE_FILES;
            from = page.last().map(listing::Entry::behind).unwrap_or_default();
            for entry in page {
                if let listing::Entry::File(file) = entry {
                    look.take(&tenant.policies, file);
                }
            }
            if is_last || !self.rest(began.elapsed() * (LOOK_SHARE - 1)).await {
                return Ok(look);
            }
        }
    }

    /// Removes a rotated file; tells whether it did.
    async fn remove(&self, tenant: &Arc<Tenant>, shard: &ShardHandle, file: &FileSummary, tried: &mut Tried) -> bool {
        let key = FileKey { tenant: tenant.name.clone(), path: file.path.clone() };
        if !tried.may_try(&key, file.generation, Instant::now()) {
            return false;
        }
        let generation = Some(file.generation);
        let done = shard.operate(Arc::clone(tenant), key.clone(), generation, None, Action::Delete).await;
        self.audit.note(Entry { method: "Retention", key: key.clone(), to: None }, &done).await;
        match &done {
            Ok(_) => tracing::info!(file = %key, size = file.size, "a rotated file that is not to be kept was removed"),
            Err(refused) if is_over(refused) => {}
            Err(refused) => {
                let again_in = tried.failed(&key, file.generation, Instant::now());
                tracing::warn!(file = %key, %refused, ?again_in, "a rotated file could not be removed");
            }
        }
        done.is_ok()
    }

    /// Compresses a file if it is time for that; tells whether it did.
    async fn try_compress(
        &self,
        tenant: &Arc<Tenant>,
        shard: &ShardHandle,
        file: &FileSummary,
        tried: &mut Tried,
    ) -> bool {
        let key = FileKey { tenant: tenant.name.clone(), path: file.path.clone() };
        if !tried.may_try(&key, file.generation, Instant::now()) || !self.has_room_for(file.size) {
            return false;
        }
        let done = self.compress(tenant, shard, &key, file).await;
        let is_compressed = matches!(done, Ok(Some(_)));
        match done {
            Ok(Some(stored)) => tracing::info!(file = %key, size = file.size, stored, "file compressed"),
            Ok(None) => {}
            Err(NotCompressed::Refused(refused)) if is_over(&refused) => {}
            Err(NotCompressed::Copy(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(why) => {
                let again_in = tried.failed(&key, file.generation, Instant::now());
                tracing::warn!(file = %key, %why, ?again_in, "a file could not be compressed; it stays as it is");
            }
        }
        is_compressed
    }

    /// Returns the bytes that the file takes from now on; `None` if it is not there any more.
    async fn compress(
        &self,
        tenant: &Arc<Tenant>,
        shard: &ShardHandle,
        key: &FileKey,
        file: &FileSummary,
    ) -> Result<Option<u64>, NotCompressed> {
        let Some(view) = shard.lookup(key).await?.filter(|view| view.generation == file.generation) else {
            return Ok(None);
        };
        let name = key.plain_path() + COMPRESSED_SUFFIX;
        if self.fs.metadata(&name).is_ok() {
            return Err(NotCompressed::NameTaken(name));
        }
        let id = shard.allot_id().await?;
        let path = staged_path(&key.tenant, shard.number, id);
        let made = match self.make_copy(Arc::clone(&view), path.clone(), id).await {
            // It was removed or replaced meanwhile.
            Err(_) if view.state().gone.is_some() => return Ok(None),
            made => made?,
        };
        let compressed = Some(made.stored);
        let prepared = Prepared { id, len: made.len, crc32c: made.crc32c, compressed, of: view.generation };
        let generation = Some(file.generation);
        let action = Action::Compress(prepared);
        let done = shard.operate(Arc::clone(tenant), key.clone(), generation, None, action).await;
        if done.as_ref().is_err_and(is_certain) {
            let fs = Arc::clone(&self.fs);
            // What stays is removed at the next start.
            let _ = self.host.blocking(move || fs.remove_file(&path)).await;
        }
        done?;
        Ok(Some(made.stored))
    }

    async fn make_copy(
        &self,
        view: Arc<FileView>,
        path: String,
        id: crate::shard::ids::FileId,
    ) -> io::Result<crate::apply::seekable::Compressed> {
        let cancel = Arc::new(AtomicBool::new(false));
        let (fs, pause, cancelled) = (Arc::clone(&self.fs), self.config.keeper.pause, Arc::clone(&cancel));
        let files = &self.config.files;
        let attributes = Attributes { mode: files.file_mode, uid: files.owner, gid: files.group };
        let making = self.host.blocking(move || {
            keep_staging_dir(fs.as_ref(), parent(&path))?;
            let target = Target { path: &path, attributes, id };
            let made = compress_file(fs.as_ref(), &view, target, &cancelled, pause)?;
            fs.sync_dir(parent(&path))?;
            Ok(made)
        });
        let mut making = pin!(making);
        let made = tokio::select! {
            made = &mut making => made,
            () = self.drain.cancelled() => {
                cancel.store(true, Ordering::Relaxed);
                making.await
            }
        };
        made.flatten()
    }

    /// Not while the disk is nearly full: the copy lies beside the file for a while.
    fn has_room_for(&self, size: u64) -> bool {
        self.fs.free_bytes().is_ok_and(|free| free > size.saturating_add(RESERVE_BYTES))
    }

    /// Waits; `false` once the server begins to stop.
    async fn rest(&self, how_long: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.drain.cancelled() => false,
            () = tokio::time::sleep(how_long) => true,
        }
    }
}

/// The file is not what it was when it was looked at, or its shard is not open: nothing is wrong with that.
fn is_over(refused: &Refused) -> bool {
    use ErrorReason as R;
    let passing =
        [R::GenerationChanged, R::FileNotFound, R::ShardClosed, R::OutcomeUnknown, R::Draining, R::BeingDecided];
    passing.contains(&refused.reason)
}

#[cfg(test)]
mod tests;
