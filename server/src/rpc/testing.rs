//! A server whose shards are the test itself: it takes their commands and says what they answer.
#![allow(clippy::unwrap_used)]

use super::{Files, Services, Writes, layers::Identity};
use crate::{
    admission::Admission,
    catalog::Catalog,
    config::Config,
    host::Host,
    shard::{
        Batch, Command, SessionLink, ShardHandle, Write,
        ids::FileKey,
        outbox::{Ack, Event, OpenState},
    },
    telemetry::{Doors, Telemetry},
};
use http::{Request, Response};
use inkpot_proto::{
    error::{Detail, Refused},
    path::{FilePath, TenantName},
    v1::{
        self, Durability, ErrorReason, WriteRequest, WriteResponse, file_service_client::FileServiceClient,
        file_service_server::FileServiceServer, write_request::Frame as Ask, write_response::Frame as Say,
        write_service_client::WriteServiceClient, write_service_server::WriteServiceServer,
    },
};
use inkpot_wal::fs::{Attributes, FileSystem, memory::MemoryFs};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{
    Code, Status, Streaming,
    body::Body,
    transport::{Channel, Endpoint},
};
use tower::{Service, ServiceExt, util::BoxCloneSyncService};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for what must come.
pub async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it did not come in time")
}

/// Services in front of shards that the test plays.
pub struct Fake {
    pub services: Arc<Services>,
    pub mailboxes: Vec<mpsc::Receiver<Command>>,
    pub fs: Arc<MemoryFs>,
}

/// One shard and otherwise the defaults.
pub fn one_shard() -> Config {
    Config { shards: 1, ..Config::default() }
}

pub fn tenant() -> TenantName {
    TenantName::parse("default").unwrap()
}

pub fn key(path: &str) -> FileKey {
    FileKey { tenant: tenant(), path: FilePath::parse(path).unwrap() }
}

impl Fake {
    pub fn new(config: Config) -> Self {
        let config = Arc::new(config);
        let make = |number| {
            let (sender, mailbox) = mpsc::channel(64);
            (ShardHandle::new(number, Host::Threads, Arc::default(), Arc::default(), sender), mailbox)
        };
        let (shards, mailboxes): (Vec<_>, Vec<_>) = (0..config.shards).map(make).unzip();
        let fs = Arc::new(MemoryFs::new());
        let services = Arc::new(Services::new(
            shards.into(),
            Arc::new(Admission::new(Arc::clone(&config))),
            config,
            Arc::clone(&fs) as _,
            CancellationToken::new(),
            TaskTracker::new(),
            &Telemetry::off(),
        ));
        Self { services, mailboxes, fs }
    }

    /// Starts the server on a port of its own, with all its layers.
    pub async fn listen(&self) -> Channel {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let health = tonic_health::server::health_reporter().1;
        let services = Arc::clone(&self.services);
        tokio::spawn(async move {
            let incoming = super::tcp(listener, &services.config.limits, Doors::default());
            super::serve_on(incoming, services, health, std::future::pending()).await.unwrap()
        });
        Endpoint::from_shared(address).unwrap().connect().await.unwrap()
    }

    /// A session through a real connection.
    pub async fn session(&self) -> Client {
        Client::open(&mut WriteServiceClient::new(self.listen().await)).await
    }

    /// A client of FileService through a real connection.
    pub async fn files(&self) -> FileServiceClient<Channel> {
        FileServiceClient::new(self.listen().await)
    }

    /// A session whose whole request is these bytes, which are all there at once.
    pub async fn raw_session(&self, request: Vec<u8>) -> Streaming<WriteResponse> {
        let service = WriteServiceServer::new(Writes::new(Arc::clone(&self.services)));
        let mut client = WriteServiceClient::new(with_body(service, request));
        within(client.write(tokio_stream::empty())).await.unwrap().into_inner()
    }

    /// A call of FileService whose request is these bytes.
    pub async fn raw_stat(&self, request: Vec<u8>) -> Result<v1::StatResponse, Status> {
        let service = FileServiceServer::new(Files::new(Arc::clone(&self.services)));
        let mut client = FileServiceClient::new(with_body(service, request));
        within(client.stat(v1::StatRequest::default())).await.map(tonic::Response::into_inner)
    }

    /// Lets every shard answer what is asked about files, from its registry; its catalog is empty.
    pub fn answer_about_files(&mut self) {
        self.fs.create_dir("shards", Attributes::PRIVATE_DIR).unwrap();
        for (shard, mut mailbox) in self.services.shards.iter().zip(self.mailboxes.drain(..)) {
            self.fs.create_dir(&format!("shards/{:04}", shard.number), Attributes::PRIVATE_DIR).unwrap();
            Catalog::create(&*self.fs, shard.number).unwrap();
            shard.catalog.open(Arc::new(Catalog::open(&*self.fs, shard.number).unwrap()));
            let registry = Arc::clone(&shard.registry);
            tokio::spawn(async move {
                while let Some(command) = mailbox.recv().await {
                    match command {
                        Command::Lookup { key, reply } => drop(reply.send(Ok(registry.get(&key)))),
                        other => panic!("not about files: {other:?}"),
                    }
                }
            });
        }
    }

    /// The next command that a shard gets.
    pub async fn command(&mut self, shard: usize) -> Command {
        within(self.mailboxes[shard].recv()).await.expect("the services are gone")
    }

    /// The next command, which is an open; answers it.
    pub async fn accept_open(&mut self, shard: usize) -> Arc<SessionLink> {
        match self.command(shard).await {
            Command::Open(open) => {
                let state = OpenState { generation: 9, epoch: 3, last_seq: 0, ..OpenState::default() };
                open.session.outbox.push(Event::Opened { channel: open.channel, state });
                open.session
            }
            other => panic!("not an open: {other:?}"),
        }
    }

    /// The next command, which is a batch.
    pub async fn batch(&mut self, shard: usize) -> Batch {
        match self.command(shard).await {
            Command::Writes(batch) => batch,
            other => panic!("not a batch: {other:?}"),
        }
    }

    /// So many appends, from as many batches as they come in.
    pub async fn writes(&mut self, shard: usize, count: usize) -> Vec<Write> {
        let mut writes = Vec::new();
        while writes.len() < count {
            writes.extend(self.batch(shard).await.writes);
        }
        assert_eq!(writes.len(), count);
        writes
    }

    /// Waits until a shard hears of the end of a session; nothing else may come.
    pub async fn session_ended(&mut self, shard: usize) {
        let command = self.command(shard).await;
        assert!(matches!(command, Command::SessionEnded { .. }), "{command:?}");
    }

    pub fn at_rest(&self) -> bool {
        self.services.admission.is_at_rest()
    }
}

type InProcess = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// The service, with this identity and body in every request. The bytes are ASCII, because a text is the only body that
/// needs no crate of its own.
fn with_body<S>(service: S, body: Vec<u8>) -> InProcess
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    let body = String::from_utf8(body).unwrap();
    BoxCloneSyncService::new(service.map_request(move |request: Request<Body>| {
        let (mut parts, _) = request.into_parts();
        parts.extensions.insert(Identity { tenant: tenant() });
        Request::from_parts(parts, Body::new(body.clone()))
    }))
}

/// A client of WriteService.
pub fn writer(channel: Channel) -> WriteServiceClient<Channel> {
    WriteServiceClient::new(channel)
}

/// A message as it stands in a gRPC body.
pub fn framed(request: &WriteRequest) -> Vec<u8> {
    let message = prost::Message::encode_to_vec(request);
    let mut bytes = vec![0, 0, 0, 0, u8::try_from(message.len()).unwrap()];
    bytes.extend(message);
    bytes
}

/// The client's side of a session.
pub struct Client {
    requests: Option<mpsc::Sender<WriteRequest>>,
    answers: Streaming<WriteResponse>,
}

impl Client {
    pub async fn open(client: &mut WriteServiceClient<Channel>) -> Self {
        Self::try_open(client).await.unwrap()
    }

    pub async fn try_open(client: &mut WriteServiceClient<Channel>) -> Result<Self, Status> {
        let (requests, frames) = mpsc::channel(4096);
        let answers = within(client.write(ReceiverStream::new(frames))).await?.into_inner();
        Ok(Self { requests: Some(requests), answers })
    }

    pub async fn send(&self, frame: Ask) {
        let requests = self.requests.as_ref().expect("half-closed");
        within(requests.send(WriteRequest { frame: Some(frame) })).await.unwrap();
    }

    pub async fn send_nothing(&self) {
        within(self.requests.as_ref().unwrap().send(WriteRequest { frame: None })).await.unwrap();
    }

    /// Opens a channel, which the only shard accepts, and reads the answer.
    pub async fn opened(&mut self, fake: &mut Fake, open: v1::Open) -> Arc<SessionLink> {
        self.send(Ask::Open(open)).await;
        let link = fake.accept_open(0).await;
        assert!(matches!(self.say().await, Say::Opened(_)));
        link
    }

    pub fn half_close(&mut self) {
        self.requests = None;
    }

    pub async fn next(&mut self) -> Result<Option<Say>, Status> {
        Ok(within(self.answers.message()).await?.map(|answer| answer.frame.unwrap()))
    }

    pub async fn say(&mut self) -> Say {
        self.next().await.unwrap().expect("the stream has ended")
    }

    pub async fn nack(&mut self) -> v1::Nack {
        match self.say().await {
            Say::Nack(nack) => nack,
            other => panic!("not a nack: {other:?}"),
        }
    }

    /// The next answer is a nack of this append for this reason.
    pub async fn nacked(&mut self, channel: u32, seq: u64, reason: ErrorReason) -> v1::Nack {
        let nack = self.nack().await;
        assert_eq!((nack.channel, nack.seq, nack.reason()), (channel, seq, reason), "{nack:?}");
        nack
    }

    /// The stream ends well, with nothing more in it.
    pub async fn ends_well(&mut self) {
        assert_eq!(self.next().await.unwrap(), None);
    }

    /// The stream ends with this code and reason, with nothing before it.
    pub async fn ends_with(&mut self, code: Code, reason: ErrorReason) -> Detail {
        refused(&self.next().await.unwrap_err(), code, reason)
    }
}

/// Code and reason of a status of ours.
pub fn refused(status: &Status, code: Code, reason: ErrorReason) -> Detail {
    let detail = Detail::of(status).unwrap_or_else(|| panic!("no detail of ours: {status:?}"));
    assert_eq!((status.code(), detail.reason), (code, reason), "{status:?}");
    detail
}

pub fn open(channel: u32, path: &str) -> v1::Open {
    v1::Open { channel, path: path.to_owned(), ..v1::Open::default() }
}

pub fn append(channel: u32, seq: u64, data: &'static str) -> v1::Append {
    let payload = Some(v1::Payload { data: data.into(), record_lengths: vec![] });
    v1::Append { channel, seq, payload, ..v1::Append::default() }
}

/// What a shard says of appends that reached their level.
pub fn ack(channel: u32, through_seq: u64, appends: u32) -> Event {
    let ack = Ack {
        through_seq,
        first_offset: Some(0),
        end_offset: Some(10),
        level: Durability::Synced,
        synced_seq: through_seq,
        generation: 9,
        duplicates: 0,
        appends,
    };
    Event::Ack { channel, ack }
}

/// What a shard says of an append, or with seq 0 of a channel.
pub fn nack(channel: u32, seq: u64, reason: ErrorReason) -> Event {
    let refused = Box::new(Refused::new(reason, "no"));
    Event::Nack { channel, seq, refused, answers_append: seq > 0 }
}
