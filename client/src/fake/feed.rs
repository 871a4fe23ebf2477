//! A server of one file that grows, is replaced, and dies when told to.

use futures_util::stream::{self, BoxStream, StreamExt};
use inkpot_proto::v1::{self, ReadRequest, ReadResponse, Transition, file_service_server as server};
use std::{
    collections::VecDeque,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    thread,
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::watch,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

/// Most bytes of a piece: few, so that lines and reads end in the middle of one.
const PIECE_BYTES: usize = 5;

/// What the next read gets beside what it should.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// This instead.
    Refuse(Status),
    /// So many pieces, then the end, as an error or not.
    End(usize, Option<Status>),
    /// This piece first.
    Wrong(ReadResponse),
}

/// The file, and what was asked.
#[derive(Clone, Default)]
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    pub(crate) generation: u64,
    pub(crate) requests: Vec<ReadRequest>,
    pub(crate) faults: VecDeque<Fault>,
    /// What became of the file, and the generation after each.
    turns: Vec<(Transition, u64)>,
}

/// A running server.
pub(crate) struct Feed {
    pub(crate) endpoint: String,
    address: SocketAddr,
    content: Arc<Mutex<Content>>,
    changed: watch::Sender<()>,
    /// Of its own, so that its connections die with it.
    runtime: Option<Runtime>,
}

impl Feed {
    pub(crate) fn start(faults: impl IntoIterator<Item = Fault>) -> Self {
        let content = Content { generation: 7, faults: faults.into_iter().collect(), ..Content::default() };
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut feed = Self {
            endpoint: String::new(),
            address,
            content: Arc::new(Mutex::new(content)),
            changed: watch::Sender::new(()),
            runtime: None,
        };
        feed.rise();
        feed.endpoint = format!("http://{}", feed.address);
        feed
    }

    /// Serves, after its death at the same address.
    pub(crate) fn rise(&mut self) {
        let listener = TcpListener::bind(self.address).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.address = listener.local_addr().unwrap();
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let service = Service { content: Arc::clone(&self.content), changed: self.changed.subscribe() };
        runtime.spawn(async move {
            let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).unwrap());
            Server::builder().serve_with_incoming(server::FileServiceServer::new(service), incoming).await.unwrap();
        });
        self.runtime = Some(runtime);
    }

    /// Is gone, with all its connections.
    pub(crate) fn die(&mut self) {
        let runtime = self.runtime.take();
        thread::spawn(move || drop(runtime)).join().unwrap(); // must not block a thread of another runtime
    }

    pub(crate) fn append(&self, bytes: impl AsRef<[u8]>) {
        self.content(|content| content.bytes.extend_from_slice(bytes.as_ref()));
    }

    /// Another content takes the place of this one, or none.
    pub(crate) fn turn(&self, transition: Transition, generation: u64, bytes: impl AsRef<[u8]>) {
        self.content(|content| {
            content.turns.push((transition, generation));
            (content.generation, content.bytes) = (generation, bytes.as_ref().to_vec());
        });
    }

    /// Looks at the content, or changes it.
    pub(crate) fn content<T>(&self, look: impl FnOnce(&mut Content) -> T) -> T {
        let seen = look(&mut self.content.lock().unwrap());
        self.changed.send_replace(());
        seen
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.die();
    }
}

#[derive(Clone)]
struct Service {
    content: Arc<Mutex<Content>>,
    changed: watch::Receiver<()>,
}

/// How far a read is.
struct Reader {
    service: Service,
    offset: usize,
    pieces: usize,
    /// How many turns it knows.
    turns: usize,
    end: Option<(usize, Option<Status>)>,
}

impl Reader {
    async fn piece(mut self) -> Option<(Result<ReadResponse, Status>, Self)> {
        loop {
            if let Some((_, end)) = self.end.take_if(|(pieces, _)| *pieces == self.pieces) {
                return end.map(|status| {
                    self.end = Some((self.pieces, None));
                    (Err(status), self)
                });
            }
            let content = self.service.content.lock().unwrap().clone();
            if let Some((transition, generation)) = content.turns.get(self.turns).copied() {
                self.turns += 1;
                self.pieces += 1;
                self.offset = 0;
                let turn = ReadResponse { transition: transition.into(), generation, ..ReadResponse::default() };
                return Some((Ok(turn), self));
            }
            let rest = content.bytes.get(self.offset..).unwrap_or_default();
            if !rest.is_empty() || self.pieces == 0 {
                let data = rest[..rest.len().min(PIECE_BYTES)].to_vec();
                let piece = piece(self.offset, &data, &content);
                self.offset += data.len();
                self.pieces += 1;
                return Some((Ok(piece), self));
            }
            self.service.changed.changed().await.ok()?;
        }
    }
}

fn piece(offset: usize, data: &[u8], content: &Content) -> ReadResponse {
    ReadResponse {
        offset: offset as u64,
        data: data.to_vec().into(),
        generation: content.generation,
        end_offset: content.bytes.len() as u64,
        transition: v1::Transition::Unspecified.into(),
    }
}

fn unimplemented<T>() -> Result<T, Status> {
    Err(Status::unimplemented("only Read"))
}

#[tonic::async_trait]
impl server::FileService for Service {
    type ReadStream = BoxStream<'static, Result<ReadResponse, Status>>;

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let request = request.into_inner();
        let mut content = self.content.lock().unwrap();
        content.requests.push(request.clone());
        assert!(request.follow);
        let begin = usize::try_from(request.offset);
        let back = || content.bytes.len().saturating_sub(request.offset.unsigned_abs() as usize);
        let offset = begin.unwrap_or_else(|_| back());
        let mut service = self.clone();
        service.changed.mark_unchanged();
        let mut reader = Reader { service, offset, pieces: 0, turns: content.turns.len(), end: None };
        let mut first = Vec::new();
        match content.faults.pop_front() {
            Some(Fault::Refuse(status)) => return Err(status),
            Some(Fault::End(pieces, status)) => reader.end = Some((pieces, status)),
            Some(Fault::Wrong(piece)) => first.push(Ok(piece)),
            None => {}
        }
        Ok(Response::new(stream::iter(first).chain(stream::unfold(reader, Reader::piece)).boxed()))
    }

    async fn stat(&self, _: Request<v1::StatRequest>) -> Result<Response<v1::StatResponse>, Status> {
        unimplemented()
    }

    async fn list(&self, _: Request<v1::ListRequest>) -> Result<Response<v1::ListResponse>, Status> {
        unimplemented()
    }

    async fn delete(&self, _: Request<v1::DeleteRequest>) -> Result<Response<v1::DeleteResponse>, Status> {
        unimplemented()
    }

    async fn rename(&self, _: Request<v1::RenameRequest>) -> Result<Response<v1::RenameResponse>, Status> {
        unimplemented()
    }

    async fn truncate(&self, _: Request<v1::TruncateRequest>) -> Result<Response<v1::TruncateResponse>, Status> {
        unimplemented()
    }

    async fn seal(&self, _: Request<v1::SealRequest>) -> Result<Response<v1::SealResponse>, Status> {
        unimplemented()
    }

    async fn commit_files(
        &self,
        _: Request<v1::CommitFilesRequest>,
    ) -> Result<Response<v1::CommitFilesResponse>, Status> {
        unimplemented()
    }

    async fn delete_prefix(
        &self,
        _: Request<v1::DeletePrefixRequest>,
    ) -> Result<Response<v1::DeletePrefixResponse>, Status> {
        unimplemented()
    }

    async fn adopt(&self, _: Request<v1::AdoptRequest>) -> Result<Response<v1::AdoptResponse>, Status> {
        unimplemented()
    }
}
