//! The response stream of a session: takes events from the outbox, as fast as the client takes responses, and makes
//! messages of them. It decides nothing.

use super::channels::Board;
use crate::shard::{
    SessionLink,
    outbox::{Ack, Event, OpenState},
};
use inkpot_proto::{
    error::Refused,
    v1::{self, ErrorReason, write_response::Frame},
};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// What the client of a session reads. Dropping it closes the outbox, and ends the session.
#[derive(Debug)]
pub struct Answers {
    link: Arc<SessionLink>,
    board: Arc<Board>,
    limits: v1::Limits,
    gone: CancellationToken,
    failed: bool,
}

impl Answers {
    /// The answers of this session; `gone` is cancelled when nobody reads them any more.
    #[must_use]
    pub fn new(link: Arc<SessionLink>, board: Arc<Board>, limits: v1::Limits, gone: CancellationToken) -> Self {
        Self { link, board, limits, gone, failed: false }
    }
}

impl Stream for Answers {
    type Item = Result<v1::WriteResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.failed {
            return Poll::Ready(None);
        }
        this.link.outbox.poll_next(cx).map(|event| {
            let event = event?;
            if this.board.told(&event) {
                this.link.outbox.drained.notify_waiters();
            }
            let frame = frame(event, &this.limits);
            this.failed = frame.is_err();
            Some(frame.map(|frame| v1::WriteResponse { frame: Some(frame) }))
        })
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.link.outbox.close();
        self.gone.cancel();
    }
}

fn frame(event: Event, limits: &v1::Limits) -> Result<Frame, Status> {
    Ok(match event {
        Event::Opened { channel, state } => Frame::Opened(opened(channel, &state, *limits)),
        Event::Ack { channel, ack } => Frame::Ack(acked(channel, &ack)),
        Event::Nack { channel, seq, refused, .. } | Event::Refuse { channel, seq, refused } => {
            Frame::Nack(nack(channel, seq, &refused))
        }
        Event::Finished { channel, generation, size, crc32c } => {
            Frame::Finished(v1::Finished { channel, generation, size, crc32c })
        }
        Event::Pong { token } => Frame::Pong(v1::Pong { token }),
        Event::Throttled { limit, since } => {
            Frame::Throttled(v1::Throttled { limit: limit.to_owned(), since: Some(since.into()) })
        }
        Event::GoAway { deadline, reason } => {
            Frame::GoAway(v1::GoAway { deadline: deadline.try_into().ok(), reason: reason.to_owned() })
        }
        Event::Fail(refused) => return Err(refused.to_status()),
    })
}

fn opened(channel: u32, state: &OpenState, limits: v1::Limits) -> v1::Opened {
    v1::Opened {
        channel,
        generation: state.generation,
        epoch: state.epoch,
        last_seq: state.last_seq,
        next_offset: state.next_offset,
        limits: Some(limits),
        previous_epoch: state.previous_epoch,
        previous_last_seq: state.previous_last_seq,
        upload: state.upload,
        published: state.published,
    }
}

fn acked(channel: u32, ack: &Ack) -> v1::Ack {
    v1::Ack {
        channel,
        through_seq: ack.through_seq,
        first_offset: ack.first_offset,
        end_offset: ack.end_offset,
        level: ack.level.into(),
        synced_seq: ack.synced_seq,
        generation: ack.generation,
        duplicates: ack.duplicates,
    }
}

fn nack(channel: u32, seq: u64, refused: &Refused) -> v1::Nack {
    v1::Nack {
        channel,
        seq,
        status: Some(refused.to_rpc_status()),
        outcome: refused.outcome.into(),
        reason: refused.reason.into(),
        expected_seq: refused.expected_seq,
        expected_offset: refused.expected_offset,
        current_epoch: refused.current_epoch,
    }
}

/// What a unary append tells of the event that answers it; `None` if the event answers something else.
#[must_use]
pub fn of_unary(event: Event) -> Option<Result<v1::AppendResponse, Refused>> {
    match event {
        Event::Ack { ack, .. } => Some(Ok(v1::AppendResponse {
            first_offset: ack.first_offset,
            end_offset: ack.end_offset,
            level: ack.level.into(),
            generation: ack.generation,
            duplicate: ack.duplicates > 0,
        })),
        Event::Nack { refused, .. } | Event::Refuse { refused, .. } | Event::Fail(refused) => Some(Err(*refused)),
        _ => None,
    }
}

/// The refusal of a frame for a channel that is not open.
#[must_use]
pub fn unknown_channel(channel: u32) -> Box<Refused> {
    let message = format!("channel {channel} is not open on this session; open it first");
    Box::new(Refused::new(ErrorReason::UnknownChannel, message))
}
