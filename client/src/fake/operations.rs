//! Files of the fake server: read, looked at, changed as a whole; with calls that fail where a test wants it.

use super::{File, World};
use futures_util::{StreamExt, stream, stream::BoxStream};
use inkpot_proto::{
    error::Refused,
    v1::{self, ErrorReason, file_service_server::FileService},
};
use std::sync::{Arc, Mutex, MutexGuard};
use tonic::{Request, Response, Status};

/// Largest piece of a read, in bytes: small, so that reads end in the middle.
const PIECE_BYTES: usize = 1000;

/// What the next call gets beside what it should.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// A refusal instead.
    Refuse(ErrorReason),
    /// It is carried out, and the answer is lost with the connection.
    LoseAnswer,
    /// The connection is lost after so many pieces of a read.
    End(usize),
}

pub(super) struct Operations(pub(super) Arc<Mutex<World>>);

fn lost() -> Status {
    Status::unavailable("connection reset")
}

fn refused(reason: ErrorReason) -> Status {
    Refused::new(reason, "so the script says").to_status()
}

impl Operations {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    /// Carries out a call on the world, with its trouble.
    fn call<T>(
        &self,
        name: &str,
        work: impl FnOnce(&mut World) -> Result<T, ErrorReason>,
    ) -> Result<Response<T>, Status> {
        let world = &mut *self.world();
        world.calls.push(name.to_owned());
        let trouble = world.troubles.pop_front();
        if let Some(Trouble::Refuse(reason)) = trouble {
            return Err(refused(reason));
        }
        let done = work(world).map_err(refused)?;
        if let Some(Trouble::LoseAnswer) = trouble { Err(lost()) } else { Ok(Response::new(done)) }
    }
}

impl World {
    /// The file, if its generation is the one asked for.
    fn file(&mut self, path: &str, if_generation: Option<u64>) -> Result<&mut File, ErrorReason> {
        let file = self.files.get_mut(path).ok_or(ErrorReason::FileNotFound)?;
        if if_generation.is_some_and(|asked| asked != file.generation()) {
            return Err(ErrorReason::GenerationChanged);
        }
        Ok(file)
    }

    /// Whether the operation was carried out before.
    fn duplicate(&mut self, path: &str, operator: Option<&v1::Operator>) -> bool {
        operator.is_some_and(|operator| {
            !self.operations.insert((path.to_owned(), operator.producer_id.clone(), operator.seq))
        })
    }
}

fn info(path: &str, file: &File) -> v1::FileInfo {
    v1::FileInfo {
        path: path.to_owned(),
        size: file.bytes.len() as u64,
        generation: file.generation(),
        sealed: file.sealed,
        crc32c: Some(file.crc32c.unwrap_or_else(|| crc32c::crc32c(&file.bytes))),
        ..v1::FileInfo::default()
    }
}

#[tonic::async_trait]
impl FileService for Operations {
    type ReadStream = BoxStream<'static, Result<v1::ReadResponse, Status>>;

    async fn read(&self, request: Request<v1::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let request = request.into_inner();
        let world = &mut *self.world();
        world.calls.push(format!("read {}", request.offset));
        let end = match world.troubles.pop_front() {
            Some(Trouble::Refuse(reason)) => return Err(refused(reason)),
            Some(Trouble::End(pieces)) => Some(pieces),
            Some(Trouble::LoseAnswer) => return Err(lost()),
            None => None,
        };
        let file = world.file(&request.path, request.if_generation).map_err(refused)?;
        let generation = file.generation();
        let begin = request.offset as usize;
        let limit = if request.limit == 0 { file.bytes.len() } else { request.limit as usize };
        let bytes = file.bytes[begin..file.bytes.len().min(begin + limit)].to_vec();
        let piece = |(number, data): (usize, &[u8])| v1::ReadResponse {
            offset: (begin + number * PIECE_BYTES) as u64,
            data: data.to_vec().into(),
            generation,
            ..v1::ReadResponse::default()
        };
        let pieces = bytes.chunks(PIECE_BYTES).enumerate().map(piece).map(Ok);
        let mut pieces: Vec<_> = pieces.take(end.unwrap_or(usize::MAX)).collect();
        pieces.extend(end.map(|_| Err(lost())));
        Ok(Response::new(stream::iter(pieces).boxed()))
    }

    async fn stat(&self, request: Request<v1::StatRequest>) -> Result<Response<v1::StatResponse>, Status> {
        let path = request.into_inner().path;
        self.call("stat", |world| {
            let file = world.file(&path, None)?;
            Ok(v1::StatResponse { file: Some(info(&path, file)) })
        })
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<v1::ListResponse>, Status> {
        let v1::ListRequest { prefix, page_size, page_token, delimiter } = request.into_inner();
        self.call("list", |world| {
            let mut found: Vec<(String, bool)> = Vec::new();
            for path in world.files.keys().filter(|path| path.starts_with(&prefix)) {
                let cut = path[prefix.len()..].find(&delimiter).filter(|_| !delimiter.is_empty());
                found.push(match cut {
                    Some(at) => (path[..prefix.len() + at + delimiter.len()].to_owned(), true),
                    None => (path.clone(), false),
                });
            }
            found.sort();
            found.dedup();
            found.retain(|(path, _)| *path > page_token);
            let more = found.len() > page_size as usize;
            found.truncate(page_size as usize);
            let next_page_token = found.last().filter(|_| more).map(|(path, _)| path.clone()).unwrap_or_default();
            let mut page = v1::ListResponse { next_page_token, ..v1::ListResponse::default() };
            for (path, common) in found {
                if common {
                    page.prefixes.push(path);
                } else {
                    page.files.push(info(&path, &world.files[&path]));
                }
            }
            Ok(page)
        })
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Result<Response<v1::DeleteResponse>, Status> {
        let request = request.into_inner();
        self.call("delete", |world| {
            if world.duplicate(&request.path, request.operator.as_ref()) {
                return Ok(v1::DeleteResponse { duplicate: true });
            }
            world.file(&request.path, request.if_generation)?;
            world.files.remove(&request.path);
            Ok(v1::DeleteResponse { duplicate: false })
        })
    }

    async fn delete_prefix(
        &self,
        request: Request<v1::DeletePrefixRequest>,
    ) -> Result<Response<v1::DeletePrefixResponse>, Status> {
        let request = request.into_inner();
        self.call("delete_prefix", |world| {
            let mut paths: Vec<_> =
                world.files.keys().filter(|path| path.starts_with(&request.prefix)).cloned().collect();
            paths.sort();
            let more = paths.len() > request.max_files as usize;
            paths.truncate(request.max_files as usize);
            let mut page = v1::DeletePrefixResponse::default();
            for path in &paths {
                page.deleted += 1;
                page.deleted_bytes += world.files.remove(path).unwrap().bytes.len() as u64;
            }
            page.next_page_token = paths.pop().filter(|_| more).unwrap_or_default();
            Ok(page)
        })
    }

    async fn rename(&self, request: Request<v1::RenameRequest>) -> Result<Response<v1::RenameResponse>, Status> {
        let request = request.into_inner();
        self.call("rename", |world| {
            if world.duplicate(&request.from, request.operator.as_ref()) {
                return Ok(v1::RenameResponse { generation: world.files[&request.to].generation(), duplicate: true });
            }
            world.file(&request.from, request.if_generation)?;
            if world.files.contains_key(&request.to) && !request.replace {
                return Err(ErrorReason::FileExists);
            }
            let file = world.files.remove(&request.from).unwrap();
            let generation = file.generation();
            world.files.insert(request.to, file);
            Ok(v1::RenameResponse { generation, duplicate: false })
        })
    }

    async fn truncate(&self, request: Request<v1::TruncateRequest>) -> Result<Response<v1::TruncateResponse>, Status> {
        let request = request.into_inner();
        self.call("truncate", |world| {
            let duplicate = world.duplicate(&request.path, request.operator.as_ref());
            let if_generation = request.if_generation.filter(|_| !duplicate);
            let file = world.file(&request.path, if_generation)?;
            if !duplicate {
                file.bytes.truncate(request.size as usize);
                file.renewals += 1;
            }
            Ok(v1::TruncateResponse { generation: file.generation(), duplicate })
        })
    }

    async fn seal(&self, request: Request<v1::SealRequest>) -> Result<Response<v1::SealResponse>, Status> {
        let request = request.into_inner();
        self.call("seal", |world| {
            let file = world.file(&request.path, request.if_generation)?;
            let duplicate = std::mem::replace(&mut file.sealed, true);
            let (size, crc32c) = (file.bytes.len() as u64, crc32c::crc32c(&file.bytes));
            Ok(v1::SealResponse { size, generation: file.generation(), crc32c, duplicate })
        })
    }

    async fn commit_files(
        &self,
        request: Request<v1::CommitFilesRequest>,
    ) -> Result<Response<v1::CommitFilesResponse>, Status> {
        let parts = request.into_inner().uploads;
        self.call("commit_files", |world| {
            let keys: Vec<_> = parts.iter().map(|part| (part.path.clone(), part.producer_id.clone())).collect();
            for (part, key) in parts.iter().zip(&keys) {
                let upload = world.uploads.get(key).ok_or(ErrorReason::UploadNotFound)?;
                if part.crc32c.is_some_and(|expected| expected != crc32c::crc32c(&upload.bytes)) {
                    return Err(ErrorReason::ChecksumMismatch);
                }
            }
            let mut generations = Vec::new();
            for key in keys {
                let published = world.uploads[&key].published;
                generations.push(published.unwrap_or_else(|| world.publish(&key)).generation);
            }
            Ok(v1::CommitFilesResponse { generations })
        })
    }

    async fn adopt(&self, request: Request<v1::AdoptRequest>) -> Result<Response<v1::AdoptResponse>, Status> {
        let request = request.into_inner();
        self.call("adopt", |_| {
            let first = request.page_token.is_empty();
            let not_adopted = vec![v1::NotAdopted { path: "fifo".to_owned(), why: "not a plain file".to_owned() }];
            Ok(v1::AdoptResponse {
                adopted: request.max_files,
                adopted_bytes: 10,
                not_adopted: if first { Vec::new() } else { not_adopted },
                next_page_token: if first && request.recursive { "second".to_owned() } else { String::new() },
            })
        })
    }
}
