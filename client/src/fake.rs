//! A server in memory for tests: applies, recognises duplicates and fences as the protocol says, and misbehaves where
//! a script tells it to.
#![allow(clippy::unwrap_used)]

mod both;
mod feed;
mod files;
mod operations;
mod session;
mod uploads;

pub(crate) use feed::{Fault, Feed};
pub(crate) use files::files;
pub(crate) use operations::Trouble;

use futures_util::{Stream, StreamExt};
use inkpot_proto::{
    error::Refused,
    limits::{HTTP2_CONNECTION_WINDOW_BYTES, HTTP2_FRAME_BYTES, HTTP2_STREAM_WINDOW_BYTES},
    v1::{
        self, AppendRequest, AppendResponse, Durability, ErrorReason, GetWriteStateRequest, GetWriteStateResponse,
        WriteRequest, WriteResponse, write_request::Frame, write_response::Frame as Answer,
        write_service_server::WriteService,
    },
};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    convert::Infallible,
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    codegen::http,
    transport::{Server, ServerTlsConfig},
};

/// What the server does with a frame.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// What it should.
    Serve,
    /// Neither carries it out nor answers.
    Ignore,
    /// Ends the stream like a lost connection, before or after carrying it out.
    Cut { applied: bool },
    /// Refuses it; carried out all the same if told so.
    Nack { reason: ErrorReason, applied: bool },
    /// Says this first, then does what it should.
    Say(Answer),
    /// Serves it after a while, and nothing else meanwhile.
    Delay(Duration),
    /// Says this instead.
    Instead(Answer),
}

/// A frame as the script sees it.
pub(crate) struct Seen<'a> {
    pub(crate) frame: &'a Frame,
}

type Script = Box<dyn FnMut(&Seen<'_>) -> Act + Send>;

/// A file, and who wrote it.
#[derive(Default)]
pub(crate) struct File {
    pub(crate) bytes: Vec<u8>,
    pub(crate) producers: HashMap<String, Known>,
    /// How often another content came in its place.
    pub(crate) renewals: u64,
    pub(crate) sealed: bool,
    /// Told in place of the true one.
    pub(crate) crc32c: Option<u32>,
    /// For an upload: what it has become.
    pub(crate) published: Option<v1::Finished>,
}

impl File {
    pub(crate) fn generation(&self) -> u64 {
        self.renewals + 1
    }
}

#[derive(Clone, Default)]
pub(crate) struct Known {
    pub(crate) epoch: u64,
    /// Ranges of the appends of the epoch, by seq - 1.
    pub(crate) appends: Vec<(u64, u64)>,
    /// Session that opened it last.
    holder: u64,
}

pub(crate) struct World {
    script: Script,
    pub(crate) files: HashMap<String, File>,
    /// By path and producer.
    pub(crate) uploads: HashMap<(String, String), File>,
    /// Appends without a session, as they came.
    pub(crate) singles: Vec<AppendRequest>,
    /// Calls of the file service, as they came.
    pub(crate) calls: Vec<String>,
    /// What these get, one after the other.
    pub(crate) troubles: VecDeque<Trouble>,
    /// Operations that were carried out: path, producer, seq.
    operations: HashSet<(String, String, u64)>,
    /// Appends as they came: session, channel, seq, bytes.
    pub(crate) appends: Vec<(u64, u32, u64, Vec<u32>)>,
    pub(crate) opens: Vec<v1::Open>,
    pub(crate) finishes: Vec<v1::Finish>,
    pub(crate) tokens: Vec<Option<String>>,
    /// `traceparent` and `tracestate` of each call, as they came.
    pub(crate) contexts: Vec<[Option<String>; 2]>,
    /// `traceparent` of each append, as they came.
    pub(crate) traces: Vec<String>,
    pub(crate) sessions: u64,
    /// Acks are sent only when nothing more is there to be read.
    pub(crate) thin_acks: bool,
    pub(crate) remembers_offsets: bool,
    pub(crate) limits: v1::Limits,
    /// What each stream is answered with.
    pub(crate) refuse: Option<Status>,
    pub(crate) level: Durability,
}

impl World {
    fn new(script: Script) -> Self {
        Self {
            script,
            files: HashMap::new(),
            uploads: HashMap::new(),
            singles: Vec::new(),
            calls: Vec::new(),
            troubles: VecDeque::new(),
            operations: HashSet::new(),
            appends: Vec::new(),
            opens: Vec::new(),
            finishes: Vec::new(),
            tokens: Vec::new(),
            contexts: Vec::new(),
            traces: Vec::new(),
            sessions: 0,
            thin_acks: true,
            remembers_offsets: true,
            limits: v1::Limits::default(),
            refuse: None,
            level: Durability::Synced,
        }
    }

    pub(crate) fn bytes(&self, path: &str) -> Vec<u8> {
        self.files.get(path).map(|file| file.bytes.clone()).unwrap_or_default()
    }
}

/// A running server.
pub(crate) struct Serving {
    pub(crate) endpoint: String,
    task: JoinHandle<()>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve<S>(service: S, tls: Option<ServerTlsConfig>) -> Serving
where
    S: tonic::codegen::Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let endpoint = format!("{scheme}://{}", listener.local_addr().unwrap());
    let mut server = Server::builder();
    if let Some(tls) = tls {
        server = server.tls_config(tls).unwrap();
    }
    let serving = server
        .max_frame_size(HTTP2_FRAME_BYTES)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
        .serve_with_incoming(service, TcpListenerStream::new(listener).map(without_delay));
    Serving { endpoint, task: tokio::spawn(async move { serving.await.unwrap() }) }
}

fn without_delay(stream: io::Result<TcpStream>) -> io::Result<TcpStream> {
    stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream))
}

/// The server of writes, and what it has.
pub(crate) struct Fake {
    pub(crate) endpoint: String,
    world: Arc<Mutex<World>>,
    _serving: Serving,
}

impl Fake {
    pub(crate) async fn start(script: impl FnMut(&Seen<'_>) -> Act + Send + 'static) -> Self {
        Self::serve(script, None).await
    }

    /// One that speaks TLS, and behaves.
    pub(crate) async fn over_tls(tls: ServerTlsConfig) -> Self {
        Self::serve(|_: &Seen<'_>| Act::Serve, Some(tls)).await
    }

    async fn serve(script: impl FnMut(&Seen<'_>) -> Act + Send + 'static, tls: Option<ServerTlsConfig>) -> Self {
        let world = Arc::new(Mutex::new(World::new(Box::new(script))));
        let serving = serve(both::Both::new(&world), tls).await;
        Self { endpoint: serving.endpoint.clone(), world, _serving: serving }
    }

    /// A server that behaves.
    pub(crate) async fn good() -> Self {
        Self::start(|_| Act::Serve).await
    }

    pub(crate) fn world<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut self.world.lock().unwrap())
    }
}

struct Service(Arc<Mutex<World>>);

type Answers = Pin<Box<dyn Stream<Item = Result<WriteResponse, Status>> + Send>>;

#[tonic::async_trait]
impl WriteService for Service {
    type WriteStream = Answers;

    async fn write(&self, request: Request<Streaming<WriteRequest>>) -> Result<Response<Answers>, Status> {
        let (token, context) = (header(&request, "authorization"), context(&request));
        let (answers, stream) = mpsc::channel(1024);
        let number = {
            let mut world = self.0.lock().unwrap();
            world.sessions += 1;
            world.tokens.push(token);
            world.contexts.push(context);
            if let Some(status) = world.refuse.clone() {
                return Err(status);
            }
            world.sessions
        };
        let session = session::Session {
            world: Arc::clone(&self.0),
            number,
            channels: HashMap::new(),
            answers,
            acks: Vec::new(),
        };
        tokio::spawn(session.run(request.into_inner()));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn append(&self, request: Request<AppendRequest>) -> Result<Response<AppendResponse>, Status> {
        let context = context(&request);
        let request = request.into_inner();
        let mut world = self.0.lock().unwrap();
        world.contexts.push(context);
        world.singles.push(request.clone());
        let file = world.files.entry(request.path).or_default();
        let first = file.bytes.len() as u64;
        file.bytes.extend_from_slice(&request.payload.unwrap_or_default().data);
        Ok(Response::new(AppendResponse {
            first_offset: Some(first),
            end_offset: Some(file.bytes.len() as u64),
            level: Durability::Synced.into(),
            generation: 1,
            duplicate: false,
        }))
    }

    async fn get_write_state(
        &self,
        request: Request<GetWriteStateRequest>,
    ) -> Result<Response<GetWriteStateResponse>, Status> {
        let request = request.into_inner();
        let world = self.0.lock().unwrap();
        let file = world.files.get(&request.path).ok_or_else(|| Status::unknown("proxy in between"))?;
        let known = file.producers.get(&request.producer_id).cloned().unwrap_or_default();
        Ok(Response::new(GetWriteStateResponse {
            generation: 1,
            next_offset: file.bytes.len() as u64,
            known: known.epoch > 0,
            epoch: known.epoch,
            last_seq: known.appends.len() as u64,
            ..GetWriteStateResponse::default()
        }))
    }
}

fn header<T>(request: &Request<T>, name: &str) -> Option<String> {
    request.metadata().get(name).map(|value| value.to_str().unwrap().to_owned())
}

fn context<T>(request: &Request<T>) -> [Option<String>; 2] {
    ["traceparent", "tracestate"].map(|name| header(request, name))
}

/// A refusal as the real server words it, but with a shorter time to wait.
fn rpc_status(reason: ErrorReason) -> tonic_types::Status {
    /// google.rpc.RetryInfo with 10 ms.
    const RETRY_INFO: &[u8] = &[0x0a, 5, 0x10, 0x80, 0xad, 0xe2, 0x04];
    let mut status = Refused::new(reason, "so the script says").to_rpc_status();
    let retry = status.details.iter_mut().filter(|detail| detail.type_url.ends_with("RetryInfo"));
    retry.for_each(|detail| detail.value = RETRY_INFO.to_vec());
    status
}
