//! What is asked to be done to a file as a whole: checks, what has to be prepared before the shard decides, and the answer.

use super::{
    Services,
    convert::{self, file as checks},
};
use crate::{
    apply::{
        compress::{Target, copy_file},
        plain::keep_staging_dir,
        view::{FileView, staged_path},
    },
    audit::Entry,
    shard::{
        ids::FileKey,
        operation::{Action, Done, Operator, Prepared, is_certain},
    },
};
use inkpot_proto::{
    error::Refused,
    path::TenantName,
    v1::{self, ErrorReason},
};
use inkpot_wal::{
    fs::{Access, Attributes, parent},
    writer::is_full,
};
use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

/// How often it is looked whether the plain file of a sealed file has everything.
const LOOK: Duration = Duration::from_millis(10);
/// How often a file is cut anew that becomes another one meanwhile.
const TRIES: usize = 16;

impl Services {
    /// Removes a file.
    pub(super) async fn delete(
        &self,
        tenant: TenantName,
        request: v1::DeleteRequest,
    ) -> Result<v1::DeleteResponse, Refused> {
        let key = FileKey { tenant, path: convert::path(&request.path)? };
        let operator = checks::operator(request.operator)?;
        let done = self.operate(key, request.if_generation, operator, Action::Delete).await?;
        Ok(v1::DeleteResponse { duplicate: done.duplicate })
    }

    /// Lets a file take no more appends; its plain file is complete and synced when this returns.
    pub(super) async fn seal(&self, tenant: TenantName, request: v1::SealRequest) -> Result<v1::SealResponse, Refused> {
        let key = FileKey { tenant, path: convert::path(&request.path)? };
        let operator = checks::operator(request.operator)?;
        let done = self.operate(key.clone(), request.if_generation, operator, Action::Seal).await?;
        self.sync_plain(&key, done.generation).await?;
        let Done { generation, size, crc32c, duplicate } = done;
        Ok(v1::SealResponse { size, generation, crc32c: crc32c.unwrap_or(0), duplicate })
    }

    /// Gives a file another path.
    pub(super) async fn rename(
        &self,
        tenant: TenantName,
        request: v1::RenameRequest,
    ) -> Result<v1::RenameResponse, Refused> {
        let from = FileKey { tenant: tenant.clone(), path: convert::path(&request.from)? };
        let to = FileKey { tenant, path: convert::path(&request.to)? };
        let operator = checks::operator(request.operator)?;
        if self.shard(&from).number != self.shard(&to).number {
            return self.move_to_shard(from, to, request.replace, request.if_generation, operator).await;
        }
        let action = Action::Rename { to, replace: request.replace };
        let done = self.operate(from, request.if_generation, operator, action).await?;
        Ok(v1::RenameResponse { generation: done.generation, duplicate: done.duplicate })
    }

    /// Gives a file a path of another shard; goes on to its end if the caller hangs up.
    async fn move_to_shard(
        &self,
        from: FileKey,
        to: FileKey,
        replace: bool,
        if_generation: Option<u64>,
        operator: Option<Operator>,
    ) -> Result<v1::RenameResponse, Refused> {
        self.refuse_if_draining()?;
        let sets = Arc::clone(&self.sets);
        let entry = replace.then(|| Entry { method: "Rename", key: from.clone(), to: Some(to.clone()) });
        let audit = Arc::clone(&self.audit);
        let moving = self.tasks.spawn(async move {
            let done = sets.rename(from, to, replace, if_generation, operator).await;
            if let Some(entry) = entry {
                audit.note(entry, &done).await;
            }
            done
        });
        let done = moving.await.unwrap_or_else(|_| Err(failed_meanwhile()))?;
        Ok(v1::RenameResponse { generation: done.generation, duplicate: done.duplicate })
    }

    /// Publishes a set of uploads; goes on to its end if the caller hangs up.
    pub(super) async fn commit_files(
        &self,
        tenant: TenantName,
        request: v1::CommitFilesRequest,
    ) -> Result<v1::CommitFilesResponse, Refused> {
        let uploads = checks::set(tenant, request)?;
        self.refuse_if_draining()?;
        let sets = Arc::clone(&self.sets);
        let publishing = self.tasks.spawn(async move { sets.publish(uploads).await });
        let generations = publishing.await.unwrap_or_else(|_| Err(failed_meanwhile()))?;
        Ok(v1::CommitFilesResponse { generations })
    }

    /// Cuts a file: its beginning is copied aside first, which changes nothing, and takes its place then.
    pub(super) async fn truncate(
        &self,
        tenant: TenantName,
        request: v1::TruncateRequest,
    ) -> Result<v1::TruncateResponse, Refused> {
        let key = FileKey { tenant, path: convert::path(&request.path)? };
        let operator = checks::operator(request.operator)?;
        let cut = async || self.cut(&key, request.size, request.if_generation, operator.clone()).await;
        let mut done = cut().await;
        for _ in 1..TRIES {
            // It became another content while it was copied, and is one that the caller wants: that is cut.
            match &done {
                Err(refused) if refused.reason == ErrorReason::GenerationChanged => {}
                _ => break,
            }
            if !self.has_generation(&key, request.if_generation).await? {
                break;
            }
            done = cut().await;
        }
        done.map(|done| v1::TruncateResponse { generation: done.generation, duplicate: done.duplicate })
    }

    /// Whether a caller who wants that generation means what is at a path.
    async fn has_generation(&self, key: &FileKey, wanted: Option<u64>) -> Result<bool, Refused> {
        let Some(wanted) = wanted else { return Ok(true) };
        let view = self.shard(key).lookup(key).await?;
        Ok(view.is_some_and(|view| view.generation == wanted))
    }

    async fn cut(
        &self,
        key: &FileKey,
        size: u64,
        if_generation: Option<u64>,
        operator: Option<Operator>,
    ) -> Result<Done, Refused> {
        let view = self.shard(key).lookup(key).await?;
        let is_wanted = |view: &Arc<FileView>| {
            size <= view.state().committed && if_generation.is_none_or(|wanted| wanted == view.generation)
        };
        let Some(view) = view.filter(is_wanted) else {
            // The shard tells a repeated operation from one that cannot be done.
            let id = self.shard(key).allot_id().await?;
            let prepared = Prepared { id, len: size, crc32c: 0, compressed: None, of: 0 };
            return self.operate(key.clone(), if_generation, operator, Action::Truncate(prepared)).await;
        };
        let prepared = self.copy_aside(key, view, size).await?;
        let done = self.operate(key.clone(), if_generation, operator, Action::Truncate(prepared)).await;
        let is_refused = done.as_ref().is_err_and(is_certain);
        if is_refused || done.as_ref().is_ok_and(|done| done.duplicate) {
            self.forget_prepared(key, prepared).await;
        }
        done
    }

    /// Lets the shard of a file do something to it.
    pub(super) async fn operate(
        &self,
        key: FileKey,
        if_generation: Option<u64>,
        operator: Option<Operator>,
        action: Action,
    ) -> Result<Done, Refused> {
        self.refuse_if_draining()?;
        let (shard, tenant) = (self.shard(&key).clone(), self.admission.tenant(&key.tenant));
        let Some(entry) = Entry::of(&key, &action) else {
            return shard.operate(tenant, key, if_generation, operator, action).await;
        };
        let audit = Arc::clone(&self.audit);
        // By itself: what is done is noted, although the caller may have gone.
        let task = self.tasks.spawn(async move {
            let done = shard.operate(tenant, key, if_generation, operator, action).await;
            audit.note(entry, &done).await;
            done
        });
        task.await.unwrap_or_else(|_| Err(failed_meanwhile()))
    }

    async fn copy_aside(&self, key: &FileKey, view: Arc<FileView>, len: u64) -> Result<Prepared, Refused> {
        let shard = self.shard(key).clone();
        let id = shard.allot_id().await?;
        let of = view.generation;
        let path = staged_path(&key.tenant, shard.number, id);
        let (fs, attributes) = (Arc::clone(&self.fs), self.file_attributes());
        let copying = self.host.blocking(move || {
            keep_staging_dir(fs.as_ref(), parent(&path))?;
            let target = Target { path: &path, attributes, id };
            let crc32c = copy_file(fs.as_ref(), &view, len, target, &AtomicBool::new(false))?;
            fs.sync_dir(parent(&path))?;
            Ok(crc32c)
        });
        let copied: io::Result<u32> = copying.await.flatten();
        let crc32c = copied.map_err(|error| refuse_preparing(key, &error))?;
        Ok(Prepared { id, len, crc32c, compressed: None, of })
    }

    async fn forget_prepared(&self, key: &FileKey, prepared: Prepared) {
        let path = staged_path(&key.tenant, self.shard(key).number, prepared.id);
        let fs = Arc::clone(&self.fs);
        // What stays is removed at the next start.
        let _ = self.host.blocking(move || fs.remove_file(&path)).await;
    }

    /// Waits until the plain file has everything, and syncs it.
    async fn sync_plain(&self, key: &FileKey, generation: u64) -> Result<(), Refused> {
        let found = self.shard(key).lookup(key).await?;
        // Asked again, the file may have given way to another since.
        let Some(view) = found.filter(|view| view.generation == generation) else { return Ok(()) };
        loop {
            let is_over = {
                let state = view.state();
                state.pending.is_empty() || state.foreign.is_some() || state.gone.is_some()
            };
            if is_over {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        let fs = Arc::clone(&self.fs);
        let syncing = self.host.blocking(move || fs.open(&view.path(), Access::ReadWrite)?.sync_all());
        let synced = syncing.await.flatten();
        synced.map_err(|error| {
            let text = format!("file {key} is sealed, but its plain file could not be synced: {error}; the log has it");
            Refused::new(ErrorReason::Internal, text)
        })
    }

    /// What plain files get.
    fn file_attributes(&self) -> Attributes {
        let files = &self.config.files;
        Attributes { mode: files.file_mode, uid: files.owner, gid: files.group }
    }
}

fn failed_meanwhile() -> Refused {
    Refused::new(ErrorReason::OutcomeUnknown, "the server has failed; whether it happened is not known, ask again")
}

fn refuse_preparing(key: &FileKey, error: &io::Error) -> Refused {
    if is_full(error) {
        return crate::apply::plain::disk_full(&format!("a copy of file {key}"));
    }
    Refused::new(ErrorReason::Internal, format!("file {key} could not be copied: {error}; it stays as it is"))
}
