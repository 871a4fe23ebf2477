//! A writer that is driven by polls: what [`ByteWriter`](super::ByteWriter) and [`RecordSink`](super::RecordSink) stand
//! on. A future is made only for a wait; a record that finds room costs none.

use super::Writer;
use crate::{Error, Result};
use bytes::Bytes;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

type Wait = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

pub(crate) struct Polled {
    writer: Arc<Writer>,
    doing: Doing,
}

enum Doing {
    /// The next record can be put.
    Nothing,
    /// A record waits for room.
    Putting(Wait),
    Flushing(Wait),
    Finishing(Wait),
    Finished,
}

impl Polled {
    pub(crate) fn new(writer: Writer) -> Self {
        Self { writer: Arc::new(writer), doing: Doing::Nothing }
    }

    pub(crate) fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Whether the next record can be put.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.doing, Doing::Nothing)
    }

    /// Waits until the next record can be put. Gives up a flush that nobody waits for any more: that takes nothing back.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.doing {
            Doing::Nothing => return Poll::Ready(Ok(())),
            Doing::Putting(wait) => {
                let put = ready!(wait.as_mut().poll(cx));
                self.doing = Doing::Nothing;
                return Poll::Ready(put);
            }
            Doing::Flushing(_) => self.doing = Doing::Nothing,
            Doing::Finishing(_) | Doing::Finished => return Poll::Ready(Err(Error::finished(self.writer.path()))),
        }
        Poll::Ready(Ok(()))
    }

    /// Takes a record, which then waits for room if there is none.
    ///
    /// # Panics
    /// If `poll_ready` did not say that it can be put.
    pub(crate) fn put(&mut self, record: Bytes) -> Result<()> {
        assert!(self.is_ready(), "poll_ready must have succeeded before a record is put");
        if !self.writer.offer(&record)? {
            let writer = Arc::clone(&self.writer);
            self.doing = Doing::Putting(Box::pin(async move { writer.write(record).await }));
        }
        Ok(())
    }

    /// Waits until everything that was put is acknowledged.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            match &mut self.doing {
                Doing::Nothing => {
                    let writer = Arc::clone(&self.writer);
                    self.doing = Doing::Flushing(Box::pin(async move { writer.flush().await.map(drop) }));
                }
                Doing::Putting(_) => ready!(self.poll_ready(cx))?,
                Doing::Flushing(wait) => {
                    let flushed = ready!(wait.as_mut().poll(cx));
                    self.doing = Doing::Nothing;
                    return Poll::Ready(flushed);
                }
                Doing::Finishing(_) => return self.poll_finish(cx),
                Doing::Finished => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Waits until everything is acknowledged and the channel finished. After an error it can be asked again, and says
    /// the same.
    pub(crate) fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            match &mut self.doing {
                Doing::Nothing | Doing::Flushing(_) => {
                    let writer = Arc::clone(&self.writer);
                    self.doing = Doing::Finishing(Box::pin(async move { writer.end().await.map(drop) }));
                }
                Doing::Putting(_) => ready!(self.poll_ready(cx))?,
                Doing::Finishing(wait) => {
                    let finished = ready!(wait.as_mut().poll(cx));
                    self.doing = if finished.is_ok() { Doing::Finished } else { Doing::Nothing };
                    return Poll::Ready(finished);
                }
                Doing::Finished => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl fmt::Debug for Polled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.writer.fmt(f)
    }
}
