//! The entry: what a client of one server and one tenant can do.

use crate::{
    Ack, ClientBuilder, Error, Files, Producer, Result, Session,
    config::Settings,
    error::check_path,
    telemetry::{Moment, Tally},
};
use bytes::Bytes;
use inkpot_proto::{
    error::Refused,
    v1::{
        Admission, AppendRequest, Durability, ErrorReason, Framing, GetWriteStateRequest, GetWriteStateResponse,
        Payload, write_service_client::WriteServiceClient,
    },
};
use std::{fmt, sync::Arc};
use tonic::transport::Channel;

/// A client of one server, as one tenant. Cheap to clone. Connects when something is asked of it.
#[derive(Clone)]
pub struct Client {
    settings: Arc<Settings>,
    /// For everything but sessions, which have a connection each.
    channel: Channel,
}

/// What goes with one append in one call. The default: SYNCED, waiting at limits, without a producer.
#[derive(Clone, Debug)]
pub struct AppendOnce {
    /// Who writes, and the number of the append: contiguous from 1 per file, producer and epoch. Only a named producer
    /// with an epoch is of use here.
    pub producer: Producer,
    /// Number of the append; 0 without a producer.
    pub seq: u64,
    /// If set: the offset in bytes at which the append must begin.
    pub expected_offset: Option<u64>,
    /// What the append must survive before it is acknowledged.
    pub durability: Durability,
    /// Whether the call waits at a limit or is refused.
    pub admission: Admission,
    /// If set: the generation that the file must have; 0: there must be no file.
    pub if_generation: Option<u64>,
    /// How the records lie in the file.
    pub framing: Framing,
    /// As [`OpenOptions::timestamps`](crate::OpenOptions::timestamps).
    pub timestamps: bool,
}

impl Default for AppendOnce {
    fn default() -> Self {
        Self {
            producer: Producer::None,
            seq: 0,
            expected_offset: None,
            durability: Durability::Synced,
            admission: Admission::Wait,
            if_generation: None,
            framing: Framing::None,
            timestamps: false,
        }
    }
}

impl Client {
    pub(crate) fn new(settings: Settings) -> Self {
        let channel = settings.connector.connect_lazy(&settings.endpoint);
        Self { settings: Arc::new(settings), channel }
    }

    /// Settings of a client of the server at `endpoint`: `http://host:port` or `https://host:port` (TLS), or `host` or
    /// `host:port`, where the port is 7411 unless given, and the scheme `http` unless there are settings for TLS.
    pub fn builder(endpoint: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(endpoint.into())
    }

    /// The files of the tenant, for reading.
    #[must_use]
    pub fn files(&self) -> Files {
        Files::new(Arc::clone(&self.settings), self.channel.clone())
    }

    /// A session for writing. It connects when the first file is opened. Independent flows use sessions of their own:
    /// each has its own connection and window.
    #[allow(clippy::unused_async)] // must run inside a tokio runtime, and the signature says so
    pub async fn session(&self) -> Session {
        Session::start(Arc::clone(&self.settings))
    }

    /// A session whose window holds so many bytes. Must be called inside a tokio runtime.
    pub(crate) fn session_with_window(&self, bytes: u64) -> Session {
        let (appends, _) = self.settings.in_flight;
        Session::with_window(Arc::clone(&self.settings), (appends, bytes))
    }

    /// The connection of everything but sessions, for other gRPC services of the same server, such as
    /// `grpc.health.v1.Health`: it has the times and the TLS of this client, and is made again whenever it is lost. What is
    /// called on it carries no token, no trace context, and no deadline.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    fn writes(&self) -> WriteServiceClient<Channel> {
        WriteServiceClient::new(self.channel.clone())
    }

    /// What a producer has committed in a file: where to resume. An empty id asks for the file alone.
    ///
    /// # Errors
    /// What the server or the connection says; one try.
    pub async fn write_state(&self, path: &str, producer_id: &str) -> Result<GetWriteStateResponse> {
        check_path(path)?;
        let message = GetWriteStateRequest { path: path.to_owned(), producer_id: producer_id.to_owned() };
        let answer = self.writes().get_write_state(self.settings.request(message)).await;
        self.settings.answer(answer).map_err(|error| error.on(path))
    }

    /// One append in one call, tried once. After an error with [`Outcome::Unknown`](crate::Outcome::Unknown) the same
    /// call with the same producer, epoch and seq settles it.
    ///
    /// # Errors
    /// What the server or the connection says.
    pub async fn append_once(&self, path: &str, records: Vec<Bytes>, options: AppendOnce) -> Result<Ack> {
        check_path(path)?;
        let seq = options.seq;
        let bytes = records.iter().map(|record| record.len() as u64).sum();
        let request = append_request(path, &records, options).map_err(|error| error.on(path))?;
        let (sent, mut tally) = (Moment::now(), Tally::default());
        let answer = self.writes().append(self.settings.request(request)).await;
        let answer = self.settings.answer(answer).inspect_err(|error| {
            error.reason().into_iter().for_each(|reason| tally.refused(reason));
            self.settings.telemetry.answered(&tally);
        });
        let answer = answer.map_err(|error| error.on(path))?;
        let level = answer.level();
        if level == Durability::Unspecified {
            return Err(Error::protocol(format_args!("append acknowledged with level {}", answer.level)).on(path));
        }
        tally.acked(1, records.len() as u64, bytes, level, sent);
        self.settings.telemetry.answered(&tally);
        Ok(Ack {
            seq,
            first_offset: answer.first_offset,
            end_offset: answer.end_offset,
            level,
            generation: answer.generation,
            duplicate: answer.duplicate,
        })
    }
}

fn append_request(path: &str, records: &[Bytes], options: AppendOnce) -> Result<AppendRequest> {
    let named = matches!(options.producer, Producer::Named { epoch: Some(_), .. });
    if !named && options.producer != Producer::None {
        let message = "a single append needs a named producer with an epoch, or none";
        return Err(Error::refused(Refused::new(ErrorReason::InvalidField, message)));
    }
    let identity = options.producer.identity()?;
    let data: Bytes = match records {
        [record] => record.clone(),
        records => records.concat().into(),
    };
    let too_large = || {
        let message = "a record does not fit 32 bits of length";
        Error::refused(Refused::new(ErrorReason::RecordTooLarge, message))
    };
    let lengths = records.iter().map(|record| u32::try_from(record.len()).map_err(|_| too_large()));
    let record_lengths = if records.len() == 1 { Vec::new() } else { lengths.collect::<Result<_>>()? };
    Ok(AppendRequest {
        path: path.to_owned(),
        producer_id: identity.id,
        producer_epoch: identity.epoch,
        seq: options.seq,
        expected_offset: options.expected_offset,
        crc32c: Some(crc32c::crc32c(&data)),
        payload: Some(Payload { data, record_lengths }),
        durability: options.durability.into(),
        admission: options.admission.into(),
        if_generation: options.if_generation,
        framing: options.framing.into(),
        timestamps: options.timestamps,
    })
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.settings.endpoint.uri()).finish_non_exhaustive()
    }
}
