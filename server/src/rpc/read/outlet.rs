//! The way from a reader to its client. The HTTP/2 library asks for a piece only when there is room for one, and nothing
//! else makes it let go of an answer; so what waits here has a time, and is taken back when that is over.

use inkpot_proto::{limits::READ_CHUNK_BYTES, v1};
use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::{Instant, timeout},
};
use tokio_stream::Stream;
use tonic::Status;

pub(super) type Answer = Result<v1::ReadResponse, Status>;

/// What the first piece has, and each one behind one that was taken slowly.
const SMALL_BYTES: usize = 16 << 10;
/// What is slow.
const SLOW: Duration = Duration::from_secs(1);

/// The pieces of an answer. It has its places among the readers until the HTTP/2 library lets go of it.
#[derive(Debug)]
pub struct Pieces {
    waiting: Arc<Mutex<Waiting>>,
    _places: [OwnedSemaphorePermit; 2],
}

#[derive(Debug)]
enum Waiting {
    Open(mpsc::Receiver<Answer>),
    /// Nothing of it was taken for too long; the client may still come to know.
    Ended(Option<Status>),
}

impl Stream for Pieces {
    type Item = Answer;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Answer>> {
        match &mut *lock(&self.waiting) {
            Waiting::Open(pieces) => pieces.poll_recv(cx),
            Waiting::Ended(status) => Poll::Ready(status.take().map(Err)),
        }
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The client took nothing of what was sent for so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stalled;

/// Where a reader puts its pieces.
#[derive(Debug)]
pub(super) struct Outlet {
    sender: mpsc::Sender<Answer>,
    waiting: Weak<Mutex<Waiting>>,
    stall: Duration,
}

impl Outlet {
    /// An outlet whose pieces may wait for `stall`, and where they come out.
    pub(super) fn new(stall: Duration, places: [OwnedSemaphorePermit; 2]) -> (Self, Pieces) {
        let (sender, pieces) = mpsc::channel(1);
        let waiting = Arc::new(Mutex::new(Waiting::Open(pieces)));
        let outlet = Self { sender, waiting: Arc::downgrade(&waiting), stall };
        (outlet, Pieces { waiting, _places: places })
    }

    /// Sends, and tells how long that took. Whoever waits for [`Outlet::closed`] sees that the client is gone.
    pub(super) async fn send(&self, answer: Answer) -> Result<Duration, Stalled> {
        let begun = Instant::now();
        let _ = timeout(self.stall, self.sender.send(answer)).await.map_err(|_| Stalled)?;
        Ok(begun.elapsed())
    }

    /// Waits until what was sent is taken.
    pub(super) async fn taken(&self) -> Result<(), Stalled> {
        timeout(self.stall, self.sender.reserve()).await.map(drop).map_err(|_| Stalled)
    }

    /// Waits until the client is gone.
    pub(super) async fn closed(&self) {
        self.sender.closed().await;
    }

    /// Takes back what waits, and leaves the reason.
    pub(super) fn end(&self, status: Status) {
        if let Some(waiting) = self.waiting.upgrade() {
            *lock(&waiting) = Waiting::Ended(Some(status));
        }
    }
}

/// How large pieces are: as they are taken, so that little is in memory for whoever takes little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace(usize);

impl Pace {
    pub(super) fn new() -> Self {
        Self(SMALL_BYTES)
    }

    /// Most bytes of the next piece.
    pub(super) fn bytes(self) -> usize {
        self.0
    }

    /// A piece was sent, and waited so long for the one before it.
    pub(super) fn sent(&mut self, after: Duration) {
        self.0 = if after > SLOW { SMALL_BYTES } else { (2 * self.0).min(READ_CHUNK_BYTES) };
    }
}

#[cfg(test)]
mod tests;
