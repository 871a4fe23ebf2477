//! Files that can only be read, without a script.

use super::{Serving, serve};
use futures_util::Stream;
use inkpot_proto::{
    error::Refused,
    v1::{
        self, ErrorReason,
        file_service_server::{FileService, FileServiceServer},
    },
};
use std::pin::Pin;
use tonic::{Request, Response, Status};

/// A server of files that can only be read; the content is made from the name.
pub(crate) async fn files(names: impl IntoIterator<Item = &'static str>) -> Serving {
    serve(FileServiceServer::new(Files(names.into_iter().collect())), None).await
}

struct Files(Vec<&'static str>);

impl Files {
    fn check(&self, path: &str) -> Result<(), Status> {
        match self.0.contains(&path) {
            true => Ok(()),
            false => Err(Refused::new(ErrorReason::FileNotFound, "there is no such file").to_status()),
        }
    }
}

fn info(path: &str) -> v1::FileInfo {
    v1::FileInfo { path: path.to_owned(), ..v1::FileInfo::default() }
}

#[tonic::async_trait]
impl FileService for Files {
    type ReadStream = Pin<Box<dyn Stream<Item = Result<v1::ReadResponse, Status>> + Send>>;

    async fn read(&self, request: Request<v1::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let path = request.into_inner().path;
        self.check(&path)?;
        let pieces = ["content of ".to_owned(), path]
            .map(|text| Ok(v1::ReadResponse { data: text.into(), ..v1::ReadResponse::default() }));
        Ok(Response::new(Box::pin(tokio_stream::iter(pieces))))
    }

    async fn stat(&self, request: Request<v1::StatRequest>) -> Result<Response<v1::StatResponse>, Status> {
        let path = request.into_inner().path;
        self.check(&path)?;
        Ok(Response::new(v1::StatResponse { file: Some(info(&path)) }))
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<v1::ListResponse>, Status> {
        let request = request.into_inner();
        let found: Vec<_> = self.0.iter().filter(|path| path.starts_with(&request.prefix)).collect();
        let start: usize = request.page_token.parse().unwrap_or(0);
        let end = (start + request.page_size as usize).min(found.len());
        let next_page_token = if end < found.len() { end.to_string() } else { String::new() };
        let files = found[start..end].iter().map(|path| info(path)).collect();
        Ok(Response::new(v1::ListResponse { files, next_page_token, ..v1::ListResponse::default() }))
    }

    async fn delete(&self, _: Request<v1::DeleteRequest>) -> Result<Response<v1::DeleteResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn rename(&self, _: Request<v1::RenameRequest>) -> Result<Response<v1::RenameResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn truncate(&self, _: Request<v1::TruncateRequest>) -> Result<Response<v1::TruncateResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn seal(&self, _: Request<v1::SealRequest>) -> Result<Response<v1::SealResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn commit_files(
        &self,
        _: Request<v1::CommitFilesRequest>,
    ) -> Result<Response<v1::CommitFilesResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn delete_prefix(
        &self,
        _: Request<v1::DeletePrefixRequest>,
    ) -> Result<Response<v1::DeletePrefixResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn adopt(&self, _: Request<v1::AdoptRequest>) -> Result<Response<v1::AdoptResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}
