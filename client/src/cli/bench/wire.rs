//! The reference of the bench: a WriteService that takes every append and acknowledges it without doing anything with
//! it. The same messages, the same HTTP/2 settings and the same client as the real thing, so the ratio of the two is
//! the cost of the real thing. Stores nothing and promises nothing.

use super::super::{
    failure::{Exit, Failure},
    output,
};
use inkpot_proto::{
    limits,
    v1::{
        self, AppendRequest, AppendResponse, Durability, GetWriteStateRequest, GetWriteStateResponse, WriteRequest,
        WriteResponse, write_request, write_response,
        write_service_server::{WriteService, WriteServiceServer},
    },
};
use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{io::AsyncReadExt, net::TcpListener};
use tokio_stream::Stream;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Server, server::TcpIncoming},
};

/// Frames taken before acks go out although more input is ready.
const FRAMES_PER_POLL: usize = 1024;

/// Acknowledge appends without storing them: the reference of `bench --against wire`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to listen
    #[arg(long, default_value = super::super::child::ANY_PORT, value_name = "ADDRESS")]
    listen: SocketAddr,
}

/// Serves until stdin ends, so that it never outlives the bench that started it.
pub(crate) async fn run(args: Args) -> Result<Exit, Failure> {
    let failed = |error: std::io::Error| Failure::error(format_args!("cannot listen on {}", args.listen), error);
    let listener = TcpListener::bind(args.listen).await.map_err(failed)?;
    output::emit_line(format_args!("listening on {}", listener.local_addr().map_err(failed)?))?;
    tokio::select! {
        served = serve(listener) => served.map_err(|error| Failure::error("wire server", error))?,
        () = end_of_stdin() => {}
    }
    Ok(Exit::Done)
}

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener) -> Result<(), tonic::transport::Error> {
    let service = WriteServiceServer::new(Wire).max_decoding_message_size(limits::MAX_MESSAGE_BYTES);
    Server::builder()
        .max_frame_size(limits::HTTP2_FRAME_BYTES)
        .initial_stream_window_size(limits::HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::HTTP2_CONNECTION_WINDOW_BYTES)
        .serve_with_incoming(service, TcpIncoming::from(listener).with_nodelay(Some(true)))
        .await
}

async fn end_of_stdin() {
    let mut byte = [0];
    // An error is the end as well.
    while matches!(tokio::io::stdin().read(&mut byte).await, Ok(1..)) {}
}

#[derive(Debug)]
struct Wire;

#[tonic::async_trait]
impl WriteService for Wire {
    type WriteStream = Acks<Streaming<WriteRequest>>;

    async fn write(&self, request: Request<Streaming<WriteRequest>>) -> Result<Response<Self::WriteStream>, Status> {
        Ok(Response::new(Acks::new(request.into_inner())))
    }

    async fn append(&self, _: Request<AppendRequest>) -> Result<Response<AppendResponse>, Status> {
        Err(Status::unimplemented("the reference serves Write only"))
    }

    async fn get_write_state(
        &self,
        _: Request<GetWriteStateRequest>,
    ) -> Result<Response<GetWriteStateResponse>, Status> {
        Err(Status::unimplemented("the reference serves Write only"))
    }
}

/// What an open channel has been sent.
#[derive(Debug)]
struct Channel {
    level: Durability,
    seq: u64,
    end: u64,
    /// Where the first append begins that no ack has covered yet; nothing if all are covered.
    unacked_from: Option<u64>,
}

/// The answers to a stream of frames: one cumulative ack for each channel that a poll of the ready input touched.
struct Acks<S> {
    input: S,
    ended: bool,
    channels: HashMap<u32, Channel>,
    touched: Vec<u32>,
    out: VecDeque<WriteResponse>,
}

impl<S> Acks<S> {
    fn new(input: S) -> Self {
        Self { input, ended: false, channels: HashMap::new(), touched: Vec::new(), out: VecDeque::new() }
    }

    fn answer(&mut self, frame: write_response::Frame) {
        self.out.push_back(WriteResponse { frame: Some(frame) });
    }

    fn take(&mut self, frame: write_request::Frame) {
        match frame {
            write_request::Frame::Open(open) => self.open(&open),
            write_request::Frame::Append(append) => self.append(&append),
            write_request::Frame::Finish(finish) => self.finish(finish.channel),
            write_request::Frame::Ping(ping) => {
                self.ack_touched();
                self.answer(write_response::Frame::Pong(v1::Pong { token: ping.token }));
            }
            write_request::Frame::Flush(v1::Flush {}) => {}
        }
    }

    fn open(&mut self, open: &v1::Open) {
        let level = match open.durability() {
            Durability::Unspecified => Durability::Synced,
            level => level,
        };
        self.channels.insert(open.channel, Channel { level, seq: 0, end: 0, unacked_from: None });
        self.answer(write_response::Frame::Opened(v1::Opened {
            channel: open.channel,
            generation: 1,
            epoch: open.producer_epoch.max(1),
            upload: matches!(open.mode(), v1::Mode::Create | v1::Mode::Replace),
            limits: Some(announced()),
            ..v1::Opened::default()
        }));
    }

    fn append(&mut self, append: &v1::Append) {
        let Some(channel) = self.channels.get_mut(&append.channel) else { return };
        if channel.unacked_from.is_none() {
            channel.unacked_from = Some(channel.end);
            self.touched.push(append.channel);
        }
        channel.seq = if append.seq == 0 { channel.seq + 1 } else { append.seq };
        channel.end += append.payload.as_ref().map_or(0, |payload| payload.data.len() as u64);
    }

    fn finish(&mut self, number: u32) {
        self.ack_touched();
        if let Some(channel) = self.channels.remove(&number) {
            let finished = v1::Finished { channel: number, generation: 1, size: channel.end, crc32c: 0 };
            self.answer(write_response::Frame::Finished(finished));
        }
    }

    fn ack_touched(&mut self) {
        for number in std::mem::take(&mut self.touched) {
            let Some(channel) = self.channels.get_mut(&number) else { continue };
            let ack = v1::Ack {
                channel: number,
                through_seq: channel.seq,
                first_offset: channel.unacked_from.take(),
                end_offset: Some(channel.end),
                level: channel.level.into(),
                synced_seq: if channel.level == Durability::Synced { channel.seq } else { 0 },
                generation: 1,
                duplicates: 0,
            };
            self.answer(write_response::Frame::Ack(ack));
        }
    }
}

impl<S> Stream for Acks<S>
where
    S: Stream<Item = Result<WriteRequest, Status>> + Unpin,
{
    type Item = Result<WriteResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.out.is_empty() && !self.ended {
            ready!(self.poll_input(cx))?;
        }
        match self.out.pop_front() {
            Some(response) => Poll::Ready(Some(Ok(response))),
            None => Poll::Ready(None),
        }
    }
}

impl<S> Acks<S>
where
    S: Stream<Item = Result<WriteRequest, Status>> + Unpin,
{
    /// Takes what is ready. Ready itself when there is something to answer, or the input has ended.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        let mut taken = 0;
        let pending = loop {
            match Pin::new(&mut self.input).poll_next(cx) {
                Poll::Ready(Some(request)) => request?.frame.into_iter().for_each(|frame| self.take(frame)),
                Poll::Ready(None) => self.ended = true,
                Poll::Pending => break true,
            }
            taken += 1;
            if self.ended || taken >= FRAMES_PER_POLL && !(self.touched.is_empty() && self.out.is_empty()) {
                break false;
            }
        };
        self.ack_touched();
        if pending && self.out.is_empty() { Poll::Pending } else { Poll::Ready(Ok(())) }
    }
}

/// The bounds of a server with its defaults; no channel is one too many here.
fn announced() -> v1::Limits {
    let append = (limits::MAX_MESSAGE_BYTES - limits::MESSAGE_OVERHEAD_BYTES) as u64;
    v1::Limits {
        max_record_bytes: append,
        max_append_bytes: append,
        max_records_per_append: u32::try_from(limits::MAX_RECORDS_PER_APPEND).unwrap_or(u32::MAX),
        max_message_bytes: limits::MAX_MESSAGE_BYTES as u64,
        max_appends_in_flight: 65_536,
        max_channels: 65_536,
        producer_retention_seconds: 3_600,
        upload_expiry_seconds: 0,
        remembered_appends: 64,
    }
}

#[cfg(test)]
mod tests;
