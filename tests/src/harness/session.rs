//! A session on the generated client: what the test sends goes out as it is, and what comes is handed over as it is.

use super::PATIENCE;
use inkpot_proto::v1::{
    self, Ack, Append, Finish, FinishAction, Finished, Nack, Open, Opened, Payload, Ping, WriteRequest, WriteResponse,
    file_service_client::FileServiceClient, write_request, write_response::Frame,
    write_service_client::WriteServiceClient,
};
use std::{collections::VecDeque, fmt::Debug, time::Duration};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Status, Streaming,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

/// WriteService with the token of a tenant.
pub type Client = WriteServiceClient<InterceptedService<Channel, Token>>;
/// FileService with the token of a tenant.
pub type FileClient = FileServiceClient<InterceptedService<Channel, Token>>;

/// Shows a token with every call.
#[derive(Clone, Debug)]
pub struct Token(Option<MetadataValue<Ascii>>);

impl Token {
    /// The token, or none.
    ///
    /// # Panics
    /// If it cannot stand in a header.
    #[must_use]
    pub fn new(token: Option<&str>) -> Self {
        Self(token.map(|token| format!("Bearer {token}").parse().expect("a token that a header can carry")))
    }
}

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// An `Open` of a file as a channel, with defaults for the rest.
#[must_use]
pub fn open(channel: u32, path: &str) -> Open {
    Open { channel, path: path.to_owned(), ..Open::default() }
}

/// An `Open` with a producer; epoch 0 asks for the next one.
#[must_use]
pub fn open_as(channel: u32, path: &str, producer: &str, epoch: u64) -> Open {
    Open { producer_id: producer.to_owned(), producer_epoch: epoch, ..open(channel, path) }
}

/// An append of one record.
#[must_use]
pub fn append(channel: u32, seq: u64, data: impl Into<Vec<u8>>) -> Append {
    Append { channel, seq, payload: Some(payload(data)), ..Append::default() }
}

/// A payload of one record.
#[must_use]
pub fn payload(data: impl Into<Vec<u8>>) -> Payload {
    Payload { data: data.into().into(), record_lengths: Vec::new() }
}

/// The end of a channel.
#[must_use]
pub fn finish(channel: u32, action: FinishAction) -> Finish {
    Finish { channel, action: action.into(), ..Finish::default() }
}

/// A session. Dropping it resets the stream.
#[derive(Debug)]
pub struct RawSession {
    sender: Option<mpsc::Sender<WriteRequest>>,
    stream: Streaming<WriteResponse>,
    /// What came while the test waited for something else, in order.
    kept: VecDeque<Frame>,
}

impl RawSession {
    /// Starts a session.
    ///
    /// # Errors
    /// What the server says instead.
    pub async fn start(mut client: Client) -> Result<Self, Status> {
        let (sender, receiver) = mpsc::channel(64);
        let answer =
            within(PATIENCE, "the answer to a new session", client.write(ReceiverStream::new(receiver))).await?;
        Ok(Self { sender: Some(sender), stream: answer.into_inner(), kept: VecDeque::new() })
    }

    /// Sends one message as it is.
    ///
    /// # Panics
    /// If the session has ended, or takes nothing for a long time.
    pub async fn send(&mut self, request: WriteRequest) {
        self.try_send(request, PATIENCE).await.expect("the session takes messages");
    }

    /// Sends one message as it is, if the session takes it within `bound`.
    ///
    /// # Errors
    /// If it does not, or has ended.
    pub async fn try_send(&mut self, request: WriteRequest, bound: Duration) -> Result<(), String> {
        let sender = self.sender.as_ref().ok_or("the session is half-closed")?;
        match timeout(bound, sender.send(request)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err("the session has ended".to_owned()),
            Err(_) => Err(format!("the session took nothing for {bound:?}")),
        }
    }

    /// Sends one frame.
    pub async fn frame(&mut self, frame: write_request::Frame) {
        self.send(WriteRequest { frame: Some(frame) }).await;
    }

    /// Sends an append.
    pub async fn append(&mut self, append: Append) {
        self.frame(write_request::Frame::Append(append)).await;
    }

    /// Sends an `Open`, and waits for its answer. What else comes is kept for later.
    ///
    /// # Errors
    /// The nack.
    pub async fn open(&mut self, open: Open) -> Result<Opened, Nack> {
        let channel = open.channel;
        self.frame(write_request::Frame::Open(open)).await;
        self.take("an answer to an Open", |frame| match frame {
            Frame::Opened(opened) if opened.channel == channel => Picked::It(Ok(opened)),
            Frame::Nack(nack) if nack.channel == channel && nack.seq == 0 => Picked::It(Err(nack)),
            other => Picked::Other(other),
        })
        .await
    }

    /// As [`RawSession::open`], where nothing else than success is right.
    ///
    /// # Panics
    /// If the open is refused.
    pub async fn opened(&mut self, open: Open) -> Opened {
        self.open(open).await.unwrap_or_else(|nack| panic!("the open was refused: {nack:?}"))
    }

    /// Waits for the acks of a channel through `seq`, and returns the last; `Err` is a nack of the channel.
    ///
    /// # Errors
    /// The nack.
    pub async fn acked(&mut self, channel: u32, seq: u64) -> Result<Ack, Nack> {
        self.take(&format!("the ack of append {seq} on channel {channel}"), |frame| match frame {
            Frame::Ack(ack) if ack.channel == channel && ack.through_seq >= seq => Picked::It(Ok(ack)),
            Frame::Ack(ack) if ack.channel == channel => Picked::OnTheWay,
            Frame::Nack(nack) if nack.channel == channel => Picked::It(Err(nack)),
            other => Picked::Other(other),
        })
        .await
    }

    /// Appends one record, and waits for its ack.
    ///
    /// # Errors
    /// The nack.
    pub async fn write(&mut self, channel: u32, seq: u64, data: impl Into<Vec<u8>>) -> Result<Ack, Nack> {
        self.append(append(channel, seq, data)).await;
        self.acked(channel, seq).await
    }

    /// Waits for the next nack of a channel.
    ///
    /// # Panics
    /// If an ack of the channel comes, or nothing.
    pub async fn nack(&mut self, channel: u32) -> Nack {
        self.take(&format!("a nack on channel {channel}"), |frame| match frame {
            Frame::Nack(nack) if nack.channel == channel => Picked::It(nack),
            Frame::Ack(ack) if ack.channel == channel => panic!("an ack came where a nack must: {ack:?}"),
            other => Picked::Other(other),
        })
        .await
    }

    /// Finishes a channel in order, and waits for the answer.
    ///
    /// # Errors
    /// The nack.
    pub async fn finish(&mut self, channel: u32) -> Result<Finished, Nack> {
        self.end(finish(channel, FinishAction::Commit)).await
    }

    /// Sends a `Finish`, and waits for its answer. What else comes is kept for later.
    ///
    /// # Errors
    /// The nack.
    pub async fn end(&mut self, finish: Finish) -> Result<Finished, Nack> {
        let channel = finish.channel;
        self.frame(write_request::Frame::Finish(finish)).await;
        self.take("the answer to a Finish", |frame| match frame {
            Frame::Finished(finished) if finished.channel == channel => Picked::It(Ok(finished)),
            Frame::Nack(nack) if nack.channel == channel && nack.seq == 0 => Picked::It(Err(nack)),
            other => Picked::Other(other),
        })
        .await
    }

    /// Asks for a `Pong`, and waits for it: everything sent before has been read by then.
    pub async fn ping(&mut self, token: u64) {
        self.frame(write_request::Frame::Ping(Ping { token })).await;
        self.take("a Pong", |frame| match frame {
            Frame::Pong(pong) if pong.token == token => Picked::It(()),
            other => Picked::Other(other),
        })
        .await;
    }

    /// Sends no more; answers still come.
    pub fn half_close(&mut self) {
        self.sender = None;
    }

    /// The next frame; `None` at the end of the session.
    ///
    /// # Errors
    /// What the server ended the session with.
    ///
    /// # Panics
    /// If nothing comes for a long time.
    pub async fn next(&mut self) -> Result<Option<Frame>, Status> {
        self.next_within(PATIENCE).await.unwrap_or_else(|| panic!("nothing came for {PATIENCE:?}"))
    }

    /// As [`RawSession::next`], with a bound of its own; `None` if nothing came within it.
    pub async fn next_within(&mut self, bound: Duration) -> Option<Result<Option<Frame>, Status>> {
        if let Some(frame) = self.kept.pop_front() {
            return Some(Ok(Some(frame)));
        }
        let answer = timeout(bound, self.stream.message()).await.ok()?;
        Some(answer.map(|message| message.map(|message| message.frame.expect("every response has a frame"))))
    }

    /// The next frame.
    ///
    /// # Panics
    /// If the session ends, or nothing comes for a long time.
    pub async fn recv(&mut self) -> Frame {
        self.next().await.expect("the session goes on").expect("the session goes on")
    }

    /// Takes everything until the session ends: the frames, and what it ended with.
    pub async fn drain(&mut self) -> (Vec<Frame>, Result<(), Status>) {
        let mut frames = Vec::new();
        loop {
            match self.next().await {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => return (frames, Ok(())),
                Err(status) => return (frames, Err(status)),
            }
        }
    }

    /// Waits for the frame that the test is about; keeps the others for later.
    async fn take<T>(&mut self, what: &str, mut pick: impl FnMut(Frame) -> Picked<T>) -> T {
        let mut passed = VecDeque::new();
        let done = loop {
            let frame = match self.next().await {
                Ok(Some(frame)) => frame,
                ended => panic!("the session ended before {what}: {ended:?}; before that: {passed:?}"),
            };
            match pick(frame) {
                Picked::It(done) => break done,
                Picked::OnTheWay => {}
                Picked::Other(other) => passed.push_back(other),
            }
        };
        passed.append(&mut self.kept);
        self.kept = passed;
        done
    }
}

/// What a frame is to a test that waits for one.
enum Picked<T> {
    /// It.
    It(T),
    /// One that comes before it, and is done with.
    OnTheWay,
    /// Something else, to be kept.
    Other(Frame),
}

/// Awaits with a bound.
///
/// # Panics
/// If it is not done within it.
pub async fn within<T: Debug>(bound: Duration, what: &str, future: impl Future<Output = T>) -> T {
    timeout(bound, future).await.unwrap_or_else(|_| panic!("not within {bound:?}: {what}"))
}

/// A unary append of one record, with defaults for the rest.
#[must_use]
pub fn unary(path: &str, data: impl Into<Vec<u8>>) -> v1::AppendRequest {
    v1::AppendRequest { path: path.to_owned(), payload: Some(payload(data)), ..v1::AppendRequest::default() }
}
