//! A server in memory for tests: applies, recognises duplicates and fences as the protocol says, and misbehaves where
//! a script tells it to.
#![allow(clippy::unwrap_used)]

mod feed;
mod files;

pub(crate) use feed::{Fault, Feed};
pub(crate) use files::files;

use futures_util::{FutureExt, Stream, StreamExt};
use inkpot_proto::{
    error::Refused,
    limits::{HTTP2_CONNECTION_WINDOW_BYTES, HTTP2_FRAME_BYTES, HTTP2_STREAM_WINDOW_BYTES},
    v1::{
        self, AppendRequest, AppendResponse, Durability, ErrorReason, GetWriteStateRequest, GetWriteStateResponse,
        Outcome, WriteRequest, WriteResponse,
        write_request::Frame,
        write_response::Frame as Answer,
        write_service_server::{WriteService, WriteServiceServer},
    },
};
use std::{
    collections::HashMap,
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
        let serving = serve(WriteServiceServer::new(Service(Arc::clone(&world))), tls).await;
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
        let session =
            Session { world: Arc::clone(&self.0), number, channels: HashMap::new(), answers, acks: Vec::new() };
        tokio::spawn(session.run(request.into_inner()));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn append(&self, request: Request<AppendRequest>) -> Result<Response<AppendResponse>, Status> {
        let context = context(&request);
        let request = request.into_inner();
        let mut world = self.0.lock().unwrap();
        world.contexts.push(context);
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

struct Channel {
    path: String,
    producer: String,
    epoch: u64,
    /// The append that must come again first.
    refused: Option<u64>,
    /// Appends counted on this channel, for those without a producer.
    counted: u64,
}

struct Session {
    world: Arc<Mutex<World>>,
    number: u64,
    channels: HashMap<u32, Channel>,
    answers: mpsc::Sender<Result<WriteResponse, Status>>,
    /// Held back to be thinned.
    acks: Vec<v1::Ack>,
}

struct Cut;

impl Session {
    async fn run(mut self, mut frames: Streaming<WriteRequest>) {
        loop {
            let next = match frames.message().now_or_never() {
                Some(next) => next,
                None => {
                    if self.send_acks().await.is_err() {
                        return;
                    }
                    frames.message().await
                }
            };
            let Ok(Some(WriteRequest { frame: Some(frame) })) = next else { break };
            if self.take(frame).await.is_err() {
                let _ = self.answers.send(Err(Status::unknown("the connection is gone"))).await;
                return;
            }
        }
        let _ = self.send_acks().await;
    }

    async fn send(&mut self, answer: Answer) -> Result<(), Cut> {
        self.send_acks().await?;
        self.answers.send(Ok(WriteResponse { frame: Some(answer) })).await.map_err(|_| Cut)
    }

    async fn send_acks(&mut self) -> Result<(), Cut> {
        for ack in std::mem::take(&mut self.acks) {
            let answer = WriteResponse { frame: Some(Answer::Ack(ack)) };
            self.answers.send(Ok(answer)).await.map_err(|_| Cut)?;
        }
        Ok(())
    }

    async fn take(&mut self, frame: Frame) -> Result<(), Cut> {
        let act = {
            let world = &mut *self.world.lock().unwrap();
            match &frame {
                Frame::Append(append) => {
                    let payload = append.payload.as_ref().unwrap();
                    assert_eq!(append.crc32c, Some(crc32c::crc32c(&payload.data)));
                    let lengths = match payload.record_lengths.as_slice() {
                        [] => vec![payload.data.len() as u32],
                        lengths => lengths.to_vec(),
                    };
                    world.traces.push(append.traceparent.clone());
                    world.appends.push((self.number, append.channel, append.seq, lengths));
                }
                Frame::Open(open) => world.opens.push(open.clone()),
                Frame::Finish(finish) => world.finishes.push(*finish),
                _ => {}
            }
            (world.script)(&Seen { frame: &frame })
        };
        match act {
            Act::Serve => self.serve(frame, true).await,
            Act::Ignore => Ok(()),
            Act::Cut { applied } => {
                if applied {
                    self.serve(frame, false).await?; // the acks that are held back are lost too
                } else {
                    self.send_acks().await?;
                }
                Err(Cut)
            }
            Act::Nack { reason, applied } => self.script_nack(frame, reason, applied).await,
            Act::Say(answer) => {
                self.send(answer).await?;
                self.serve(frame, true).await
            }
            Act::Delay(time) => {
                tokio::time::sleep(time).await;
                self.serve(frame, true).await
            }
            Act::Instead(answer) => self.send(answer).await,
        }
    }

    async fn script_nack(&mut self, frame: Frame, reason: ErrorReason, applied: bool) -> Result<(), Cut> {
        let (channel, seq) = match &frame {
            Frame::Open(open) => (open.channel, 0),
            Frame::Append(append) => (append.channel, append.seq),
            Frame::Finish(finish) => (finish.channel, 0),
            _ => (0, 0),
        };
        let expected = self.channels.get(&channel).and_then(|channel| channel.refused).unwrap_or(seq);
        if seq > expected {
            return self.serve(frame, true).await; // the earlier refusal stands
        }
        if applied {
            self.serve(frame, false).await?;
        }
        if let Some(channel) = self.channels.get_mut(&channel) {
            channel.refused = (seq > 0).then_some(seq);
        }
        self.nack(channel, seq, reason).await
    }

    async fn nack(&mut self, channel: u32, seq: u64, reason: ErrorReason) -> Result<(), Cut> {
        let outcome = if reason == ErrorReason::OutcomeUnknown { Outcome::Unknown } else { Outcome::NotApplied };
        let status = rpc_status(reason);
        let nack = v1::Nack {
            channel,
            seq,
            status: Some(status),
            outcome: outcome.into(),
            reason: reason.into(),
            ..v1::Nack::default()
        };
        self.send(Answer::Nack(nack)).await
    }

    async fn serve(&mut self, frame: Frame, answer: bool) -> Result<(), Cut> {
        match frame {
            Frame::Open(open) => {
                let opened = self.open(open);
                if answer { self.send(Answer::Opened(opened)).await } else { Ok(()) }
            }
            Frame::Append(append) => self.append(append, answer).await,
            Frame::Finish(finish) => {
                self.channels.remove(&finish.channel);
                let finished = v1::Finished { channel: finish.channel, generation: 1, ..v1::Finished::default() };
                if answer { self.send(Answer::Finished(finished)).await } else { Ok(()) }
            }
            Frame::Ping(ping) => self.send(Answer::Pong(v1::Pong { token: ping.token })).await,
            Frame::Flush(_) => self.send_acks().await,
        }
    }

    fn open(&mut self, open: v1::Open) -> v1::Opened {
        let world = &mut *self.world.lock().unwrap();
        let file = world.files.entry(open.path.clone()).or_default();
        let next_offset = file.bytes.len() as u64;
        let mut opened = v1::Opened {
            channel: open.channel,
            generation: u64::from(next_offset > 0),
            next_offset,
            limits: Some(world.limits),
            ..v1::Opened::default()
        };
        if !open.producer_id.is_empty() {
            let known = file.producers.entry(open.producer_id.clone()).or_default();
            let epoch = if open.producer_epoch == 0 { known.epoch + 1 } else { open.producer_epoch };
            if epoch > known.epoch {
                opened.previous_epoch = known.epoch;
                opened.previous_last_seq = known.appends.len() as u64;
                *known = Known { epoch, ..Known::default() };
            }
            known.holder = self.number;
            opened.epoch = epoch;
            opened.last_seq = known.appends.len() as u64;
        }
        let channel =
            Channel { path: open.path, producer: open.producer_id, epoch: opened.epoch, refused: None, counted: 0 };
        self.channels.insert(open.channel, channel);
        opened
    }

    async fn append(&mut self, append: v1::Append, answer: bool) -> Result<(), Cut> {
        match self.apply(&append) {
            Ok(ack) if answer => self.ack(ack).await,
            Ok(_) => Ok(()),
            Err(reason) => self.nack(append.channel, append.seq, reason).await,
        }
    }

    fn apply(&mut self, append: &v1::Append) -> Result<v1::Ack, ErrorReason> {
        let channel = self.channels.get_mut(&append.channel).ok_or(ErrorReason::UnknownChannel)?;
        if channel.refused.is_some_and(|refused| append.seq > refused) {
            return Err(ErrorReason::EarlierSeqRefused);
        }
        let world = &mut *self.world.lock().unwrap();
        let file = world.files.get_mut(&channel.path).unwrap();
        let bytes = &append.payload.as_ref().unwrap().data;
        let range = (file.bytes.len() as u64, (file.bytes.len() + bytes.len()) as u64);
        let mut ack = v1::Ack {
            channel: append.channel,
            through_seq: append.seq,
            first_offset: Some(range.0),
            end_offset: Some(range.1),
            level: world.level.into(),
            synced_seq: append.seq,
            generation: 1,
            duplicates: 0,
        };
        let last = match file.producers.get_mut(&channel.producer) {
            None => {
                channel.counted += 1;
                assert_eq!(channel.counted, append.seq, "without a producer seqs are counted");
                None
            }
            Some(known) if known.epoch != channel.epoch || known.holder != self.number => {
                return Err(ErrorReason::ProducerFenced);
            }
            Some(known) => Some(known),
        };
        if let Some(known) = last {
            let index = usize::try_from(append.seq - 1).unwrap();
            if let Some((first, end)) = known.appends.get(index).copied() {
                assert_eq!(&file.bytes[first as usize..end as usize], bytes, "a resend has the same bytes");
                ack.duplicates = 1;
                ack.first_offset = world.remembers_offsets.then_some(first);
                ack.end_offset = world.remembers_offsets.then_some(end);
                channel.refused = None;
                return Ok(ack);
            }
            if index > known.appends.len() {
                return Err(ErrorReason::SequenceGap);
            }
            known.appends.push(range);
        }
        channel.refused = None;
        file.bytes.extend_from_slice(bytes);
        Ok(ack)
    }

    /// Adds an ack to the last one, if the appends lie one after the other.
    async fn ack(&mut self, ack: v1::Ack) -> Result<(), Cut> {
        let thin = self.world.lock().unwrap().thin_acks;
        match self.acks.last_mut() {
            Some(last) if last.channel == ack.channel && last.end_offset == ack.first_offset => {
                last.through_seq = ack.through_seq;
                last.synced_seq = ack.synced_seq;
                last.end_offset = ack.end_offset;
                last.duplicates += ack.duplicates;
            }
            _ => self.acks.push(ack),
        }
        if thin { Ok(()) } else { self.send_acks().await }
    }
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
