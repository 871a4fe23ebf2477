//! What a session sends, as the stream that tonic wants. Takes many frames under one lock; never waits for anything
//! but a wake-up.

use super::{Shared, state::Pulled};
use crate::telemetry::Moment;
use futures_util::Stream;
use inkpot_proto::v1::WriteRequest;
use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// The frames of one connection.
pub(crate) struct Outbound {
    shared: Arc<Shared>,
    link: u64,
    frames: VecDeque<WriteRequest>,
}

impl Outbound {
    pub(crate) fn new(shared: Arc<Shared>, link: u64) -> Self {
        Self { shared, link, frames: VecDeque::new() }
    }
}

impl Stream for Outbound {
    type Item = WriteRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<WriteRequest>> {
        let this = &mut *self;
        if let Some(frame) = this.frames.pop_front() {
            return Poll::Ready(Some(frame));
        }
        let now = Moment::now();
        match this.shared.state().pull(this.link, &mut this.frames, cx.waker(), now) {
            Pulled::Frames => Poll::Ready(this.frames.pop_front()),
            Pulled::Nothing => Poll::Pending,
            Pulled::End => Poll::Ready(None),
        }
    }
}
