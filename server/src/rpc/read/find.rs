//! Where a reader begins, and where it goes on.

use super::{Reader, fate::Fate, not_found};
use crate::{
    apply::view::FileView,
    policy::Policy,
    rpc::draining,
    shard::{
        ids::FileKey,
        listing::{Entry, Query},
    },
};
use inkpot_proto::{error::Refused, v1::ErrorReason};
use std::{sync::Arc, time::Duration};
use tokio::time;

/// How often a file that does not exist is looked for, at first.
const FIRST_LOOK: Duration = Duration::from_millis(20);
/// And at last.
const LAST_LOOK: Duration = Duration::from_secs(1);
/// Rotated files that are listed at once.
const ROTATED_PAGE: usize = 1000;

impl Reader {
    /// The content to begin with; waits for a file that does not exist if the reader stays.
    pub(super) async fn first(&self) -> Result<Arc<FileView>, Refused> {
        let mut pause = FIRST_LOOK;
        loop {
            let present = self.lookup(&self.key).await?;
            let found = match (present, self.request.if_generation) {
                (present, None) => present,
                (Some(view), Some(asked)) if view.generation == asked => Some(view),
                (present, Some(asked)) => self.other_generation(present, asked).await?,
            };
            if let Some(view) = found {
                return Ok(view);
            }
            if !self.request.follow {
                return Err(not_found(&self.key));
            }
            self.wait(&mut pause).await?;
        }
    }

    /// Waits until the path leads to a file again.
    pub(super) async fn again(&self) -> Result<Arc<FileView>, Refused> {
        let mut pause = FIRST_LOOK;
        loop {
            if let Some(view) = self.present().await? {
                return Ok(view);
            }
            self.wait(&mut pause).await?;
        }
    }

    /// The content that the path leads to. One that is gone, and that the registry has not given up yet, is none.
    async fn present(&self) -> Result<Option<Arc<FileView>>, Refused> {
        let found = self.lookup(&self.key).await?;
        Ok(found.filter(|view| matches!(Fate::of(view, &self.key, false), Fate::Present)))
    }

    /// The content with the generation asked for, although the path does not lead to it: it was rotated away.
    async fn other_generation(
        &self,
        present: Option<Arc<FileView>>,
        asked: u64,
    ) -> Result<Option<Arc<FileView>>, Refused> {
        let rotated = if self.request.follow { self.rotated(asked).await? } else { None };
        match (rotated, present) {
            (Some(view), _) => Ok(Some(view)),
            (None, None) => Ok(None),
            (None, Some(view)) => {
                let message = format!("{} has generation {}, not {asked}", self.key, view.generation);
                Err(Refused::new(ErrorReason::GenerationChanged, message))
            }
        }
    }

    /// What came after content that is no longer at the path, if memory does not say: the generation that the content
    /// was rotated for or, if that is not kept, what the path leads to.
    pub(super) async fn after(&self, view: &FileView) -> Result<Option<Arc<FileView>>, Refused> {
        let present = self.present().await?;
        let next = view.state().rotated_to;
        let Some(next) = next.filter(|next| present.as_ref().is_none_or(|present| present.generation != *next)) else {
            return Ok(present);
        };
        Ok(self.rotated(next).await?.or(present))
    }

    /// The file with this generation among those that were rotated away from the path.
    async fn rotated(&self, generation: u64) -> Result<Option<Arc<FileView>>, Refused> {
        let prefix = Policy::rotated_prefix(&self.key.path);
        let tenant = self.key.tenant.clone();
        let mut query = Query { tenant, prefix, delimiter: Some('/'), from: String::new(), max: ROTATED_PAGE };
        loop {
            let page = self.services.shard(&self.key).list(query.clone()).await?;
            let path = page.iter().find_map(|entry| match entry {
                Entry::File(file) if file.generation == generation => Some(file.path.clone()),
                _ => None,
            });
            if let Some(path) = path {
                let key = FileKey { tenant: self.key.tenant.clone(), path };
                let is_it = |view: &Arc<FileView>| view.generation == generation && view.state().rotated_to.is_some();
                return Ok(self.lookup(&key).await?.filter(is_it));
            }
            let Some(last) = page.last() else { return Ok(None) };
            query.from = last.behind();
        }
    }

    /// Rotation keeps files in their shard.
    async fn lookup(&self, key: &FileKey) -> Result<Option<Arc<FileView>>, Refused> {
        self.services.shard(&self.key).lookup(key).await
    }

    async fn wait(&self, pause: &mut Duration) -> Result<(), Refused> {
        tokio::select! {
            () = time::sleep(*pause) => {
                *pause = LAST_LOOK.min(*pause * 2);
                Ok(())
            }
            () = self.services.drain.cancelled() => Err(draining()),
        }
    }
}
