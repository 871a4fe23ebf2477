//! FileService: what is in a file, and which files there are.

use super::{
    Services,
    convert::{self, file as checks},
    layers::Deadline,
    read::{self, Pieces, Reader},
    tenant_of,
};
use crate::shard::{
    ids::FileKey,
    listing::{Entry, Query},
};
use futures_util::future::try_join_all;
use inkpot_proto::{
    error::Refused,
    limits::MAX_MESSAGE_BYTES,
    path::TenantName,
    v1::{self, file_service_server::FileService},
};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Paths of a page after which it ends early, in bytes: so that the largest page still fits into a message.
const PAGE_BYTES: usize = MAX_MESSAGE_BYTES / 2;
/// What a file takes in a page beside its path, in bytes.
const INFO_BYTES: usize = 96;

/// The service.
#[derive(Clone, Debug)]
pub struct Files(Arc<Services>);

impl Files {
    /// In front of these.
    #[must_use]
    pub fn new(services: Arc<Services>) -> Self {
        Self(services)
    }

    async fn stat_file(&self, key: &FileKey) -> Result<v1::FileInfo, Refused> {
        let shard = self.0.shard(key);
        let file = shard.stat(key).await?.ok_or_else(|| read::not_found(key))?;
        Ok(checks::info(file, shard.number))
    }

    async fn list_files(
        &self,
        tenant: &TenantName,
        request: &checks::ListRequest,
    ) -> Result<v1::ListResponse, Refused> {
        // One more than fits tells whether there is another page.
        let query = Query {
            tenant: tenant.clone(),
            prefix: request.prefix.clone(),
            delimiter: request.delimiter,
            from: request.from.clone(),
            max: request.page_size + 1,
        };
        let pages = self.0.shards.iter().map(|shard| async {
            let entries = shard.list(query.clone()).await?;
            Ok::<_, Refused>(entries.into_iter().map(|entry| (entry, shard.number)))
        });
        // A set that happens meanwhile is in all of these pages, or in none.
        let _moment = self.0.sets.visibility.read().await;
        let mut found: Vec<_> = try_join_all(pages).await?.into_iter().flatten().collect();
        found.sort_by(|(one, _), (other, _)| one.text().cmp(other.text()));
        // More than one shard may have files below a prefix.
        found.dedup_by(|(one, _), (other, _)| matches!(one, Entry::Prefix(_)) && one == other);
        let sizes = found.iter().scan(0, |bytes, (entry, _)| {
            *bytes += entry.text().len() + INFO_BYTES;
            Some(*bytes)
        });
        let count = sizes.take_while(|bytes| *bytes <= PAGE_BYTES).take(request.page_size).count();
        let more = found.len() > count;
        found.truncate(count);
        let last = found.last().filter(|_| more);
        let next_page_token = last.map_or_else(String::new, |(entry, _)| checks::to_token(entry));
        let mut page = v1::ListResponse { next_page_token, ..v1::ListResponse::default() };
        for (entry, shard) in found {
            match entry {
                Entry::File(file) => page.files.push(checks::info(file, shard)),
                Entry::Prefix(prefix) => page.prefixes.push(prefix),
            }
        }
        Ok(page)
    }
}

#[tonic::async_trait]
impl FileService for Files {
    type ReadStream = Pieces;

    async fn read(&self, request: Request<v1::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let tenant = tenant_of(&request)?;
        let deadline = request.extensions().get::<Deadline>().map(|deadline| deadline.0);
        let request = checks::read(request.get_ref())?;
        let (reader, pieces) = Reader::new(Arc::clone(&self.0), tenant, request)?;
        self.0.tasks.spawn(reader.run(deadline));
        Ok(Response::new(pieces))
    }

    async fn stat(&self, request: Request<v1::StatRequest>) -> Result<Response<v1::StatResponse>, Status> {
        let tenant = tenant_of(&request)?;
        let key = FileKey { tenant, path: convert::path(&request.get_ref().path)? };
        Ok(Response::new(v1::StatResponse { file: Some(self.stat_file(&key).await?) }))
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<v1::ListResponse>, Status> {
        let tenant = tenant_of(&request)?;
        let request = checks::list(request.into_inner())?;
        Ok(Response::new(self.list_files(&tenant, &request).await?))
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Result<Response<v1::DeleteResponse>, Status> {
        let tenant = tenant_of(&request)?;
        Ok(Response::new(self.0.delete(tenant, request.into_inner()).await?))
    }

    async fn rename(&self, request: Request<v1::RenameRequest>) -> Result<Response<v1::RenameResponse>, Status> {
        let tenant = tenant_of(&request)?;
        Ok(Response::new(self.0.rename(tenant, request.into_inner()).await?))
    }

    async fn truncate(&self, request: Request<v1::TruncateRequest>) -> Result<Response<v1::TruncateResponse>, Status> {
        let tenant = tenant_of(&request)?;
        Ok(Response::new(self.0.truncate(tenant, request.into_inner()).await?))
    }

    async fn seal(&self, request: Request<v1::SealRequest>) -> Result<Response<v1::SealResponse>, Status> {
        let tenant = tenant_of(&request)?;
        Ok(Response::new(self.0.seal(tenant, request.into_inner()).await?))
    }

    async fn delete_prefix(
        &self,
        request: Request<v1::DeletePrefixRequest>,
    ) -> Result<Response<v1::DeletePrefixResponse>, Status> {
        let tenant = tenant_of(&request)?;
        Ok(Response::new(self.0.delete_prefix(tenant, request.into_inner()).await?))
    }

    async fn adopt(&self, request: Request<v1::AdoptRequest>) -> Result<Response<v1::AdoptResponse>, Status> {
        let tenant = tenant_of(&request)?;
        Ok(Response::new(self.0.adopt(tenant, request.into_inner()).await?))
    }

    async fn commit_files(
        &self,
        request: Request<v1::CommitFilesRequest>,
    ) -> Result<Response<v1::CommitFilesResponse>, Status> {
        let tenant = tenant_of(&request)?;
        Ok(Response::new(self.0.commit_files(tenant, request.into_inner()).await?))
    }
}

#[cfg(test)]
mod tests;
