//! DeletePrefix: pages of files below a prefix, each removed by its shard in the generation that was listed, so that what
//! is made anew meanwhile stays.

use super::{Services, convert::file as checks};
use crate::{
    audit::Entry as AuditEntry,
    shard::{
        FileSummary, ShardHandle,
        ids::FileKey,
        listing::{Entry, Query},
        operation::Action,
    },
};
use futures_util::{StreamExt, future::try_join_all, stream};
use inkpot_proto::{
    error::Refused,
    path::TenantName,
    v1::{self, ErrorReason},
};
use std::sync::Arc;

/// Files that are on their way to be removed at once, for one call.
const IN_FLIGHT: usize = 64;

impl Services {
    /// Removes a page of files; with an empty prefix, behind the last one, uploads too.
    pub(super) async fn delete_prefix(
        self: &Arc<Self>,
        tenant: TenantName,
        request: v1::DeletePrefixRequest,
    ) -> Result<v1::DeletePrefixResponse, Refused> {
        self.refuse_if_draining()?;
        let checks::Batch { prefix, max, from } = checks::delete_prefix(request)?;
        let is_all = prefix.is_empty();
        let (found, is_more) = self.files_below(&tenant, prefix, from, max).await?;
        let next = found.last().filter(|_| is_more).map(|(entry, _)| checks::to_token(entry));
        // By itself: what is done is noted, although the caller may have gone.
        let (services, of) = (Arc::clone(self), tenant.clone());
        let removing = self.tasks.spawn(async move { services.remove_all(&of, found).await });
        let removed = removing.await.unwrap_or_else(|error| {
            let text = format!("the removal was cut off ({error}); call again");
            Err(Refused::new(ErrorReason::OutcomeUnknown, text))
        });
        let mut response = removed?;
        if is_all && next.is_none() {
            let tenant = self.admission.tenant(&tenant);
            let discarding = self.shards.iter().map(|shard| shard.discard_uploads(Arc::clone(&tenant)));
            try_join_all(discarding).await?;
        }
        response.next_page_token = next.unwrap_or_default();
        Ok(response)
    }

    /// A page of files and their shards, and whether there are more.
    pub(super) async fn files_below(
        &self,
        tenant: &TenantName,
        prefix: String,
        from: String,
        max: usize,
    ) -> Result<(Vec<(Entry, usize)>, bool), Refused> {
        // One more than fits tells whether there is another page.
        let query = Query { tenant: tenant.clone(), prefix, delimiter: None, from, max: max + 1 };
        let pages = self.shards.iter().enumerate().map(|(shard, handle)| {
            let query = query.clone();
            async move { Ok::<_, Refused>(handle.list(query).await?.into_iter().map(move |entry| (entry, shard))) }
        });
        let mut found: Vec<_> = try_join_all(pages).await?.into_iter().flatten().collect();
        found.sort_unstable_by(|(one, _), (other, _)| one.text().cmp(other.text()));
        let is_more = found.len() > max;
        found.truncate(max);
        Ok((found, is_more))
    }

    async fn remove_all(
        &self,
        tenant: &TenantName,
        found: Vec<(Entry, usize)>,
    ) -> Result<v1::DeletePrefixResponse, Refused> {
        let removals = found.into_iter().filter_map(|(entry, shard)| match entry {
            Entry::File(file) => Some(self.remove(tenant, file, self.shards.get(shard)?)),
            Entry::Prefix(_) => None,
        });
        let mut outcomes = stream::iter(removals).buffer_unordered(IN_FLIGHT);
        let mut response = v1::DeletePrefixResponse::default();
        let mut first = None;
        while let Some(outcome) = outcomes.next().await {
            match outcome {
                Ok(Some(bytes)) => {
                    response.deleted += 1;
                    response.deleted_bytes += bytes;
                }
                Ok(None) => {}
                Err(refused) => first = first.or(Some(refused)),
            }
        }
        let Some(mut refused) = first else { return Ok(response) };
        refused.message = format!(
            "{}; {} files of {} bytes were removed: call again with the same token for the rest",
            refused.message, response.deleted, response.deleted_bytes
        );
        Err(refused)
    }

    /// Removes a file as it was listed; returns its bytes, `None` if there is another one by now, or none.
    async fn remove(
        &self,
        tenant: &TenantName,
        file: FileSummary,
        shard: &ShardHandle,
    ) -> Result<Option<u64>, Refused> {
        let key = FileKey { tenant: tenant.clone(), path: file.path };
        let owner = self.admission.tenant(tenant);
        let done = shard.operate(owner, key.clone(), Some(file.generation), None, Action::Delete).await;
        self.audit.note(AuditEntry { method: "DeletePrefix", key, to: None }, &done).await;
        match done {
            Ok(done) => Ok(Some(done.size)),
            Err(refused) if matches!(refused.reason, ErrorReason::GenerationChanged | ErrorReason::FileNotFound) => {
                Ok(None)
            }
            Err(refused) => Err(refused),
        }
    }
}
