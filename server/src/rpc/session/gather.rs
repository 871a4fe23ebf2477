//! Takes from a request stream whatever is there, in one go.

use super::End;
use crate::rpc::layers::in_our_terms;
use inkpot_proto::v1::{WriteRequest, write_request::Frame};
use std::{
    error::Error,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};
use tokio_stream::Stream;
use tonic::{Status, Streaming};

/// Frames of a round at most: enough to spread the cost of a round over, few enough that acks flow meanwhile.
const ROUND_FRAMES: usize = 512;
/// Payload of a round after which no more is taken, in bytes.
const ROUND_BYTES: usize = 512 << 10;

/// Waits for a frame, and takes up to `room` without waiting again. Returns the end of the stream if it came; what
/// came before it is in `frames`. Nothing is lost if it is dropped.
pub(super) async fn gather(
    stream: &mut Streaming<WriteRequest>,
    frames: &mut Vec<WriteRequest>,
    room: usize,
) -> Option<End> {
    poll_fn(|cx| take_ready(stream, frames, room.min(ROUND_FRAMES), cx)).await
}

fn take_ready(
    stream: &mut Streaming<WriteRequest>,
    frames: &mut Vec<WriteRequest>,
    most: usize,
    cx: &mut Context<'_>,
) -> Poll<Option<End>> {
    let mut bytes = 0;
    while frames.len() < most && bytes < ROUND_BYTES {
        match Pin::new(&mut *stream).poll_next(cx) {
            Poll::Ready(Some(Ok(request))) => {
                bytes += payload_bytes(&request);
                frames.push(request);
            }
            Poll::Ready(Some(Err(status))) => return Poll::Ready(Some(end_of(status))),
            Poll::Ready(None) => return Poll::Ready(Some(End::HalfClosed)),
            Poll::Pending if frames.is_empty() => return Poll::Pending,
            Poll::Pending => break,
        }
    }
    Poll::Ready(None)
}

fn payload_bytes(request: &WriteRequest) -> usize {
    match &request.frame {
        Some(Frame::Append(append)) => append.payload.as_ref().map_or(0, |payload| payload.data.len()),
        _ => 0,
    }
}

/// tonic tells with a source what the transport reports, and without one what it thinks of a message.
fn end_of(status: Status) -> End {
    if status.source().is_some() { End::Vanished } else { End::Broken(in_our_terms(status)) }
}
