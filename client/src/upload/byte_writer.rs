//! An upload as a stream of bytes.

use super::{Expected, Published, Upload};
use crate::{Error, Result};
use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::AsyncWrite;

/// An upload as [`AsyncWrite`]. Made by [`Upload::into_async_write`].
///
/// - Write: gathers a chunk, and waits for room in the window when that is full. With a framing: what one write takes is one
///   record.
/// - Flush: waits until everything that was written is acknowledged; nobody sees it yet.
/// - Shutdown: **publishes**. Nothing can be written after that; [`published`](Self::published) tells what came of it.
///
/// Dropped without a shutdown, it publishes nothing; the upload stays on the server as that of a dropped [`Upload`] does.
/// After an error nothing more is taken; the [`io::Error`] holds an [`Error`](crate::Error).
///
/// ```no_run
/// use tokio::io::AsyncWriteExt;
/// # async fn example(upload: inkpot_client::Upload) -> std::io::Result<()> {
/// let mut file = upload.into_async_write();
/// tokio::io::copy(&mut tokio::io::stdin(), &mut file).await?;
/// file.shutdown().await?; // everybody sees it now
/// println!("{:?}", file.published());
/// # Ok(())
/// # }
/// ```
pub struct UploadWriter {
    path: String,
    doing: Doing,
}

type Work = Pin<Box<dyn Future<Output = (Box<Upload>, Result<()>)> + Send>>;
type Ending = Pin<Box<dyn Future<Output = Result<Published>> + Send>>;

enum Doing {
    Nothing(Box<Upload>),
    /// Waits for room, or for acks.
    Working(Work),
    Publishing(Ending),
    Published(Published),
    Failed(Error),
}

impl UploadWriter {
    pub(super) fn new(upload: Upload) -> Self {
        Self { path: upload.path().to_owned(), doing: Doing::Nothing(Box::new(upload)) }
    }

    /// What was published, once the shutdown has succeeded.
    #[must_use]
    pub fn published(&self) -> Option<Published> {
        match self.doing {
            Doing::Published(published) => Some(published),
            _ => None,
        }
    }

    /// Takes the upload, which is there only while nothing is being done.
    fn take(&mut self) -> Result<Box<Upload>> {
        let closed = Doing::Failed(Error::finished(&self.path));
        match std::mem::replace(&mut self.doing, closed) {
            Doing::Nothing(upload) => Ok(upload),
            other => {
                self.doing = other;
                Err(Error::finished(&self.path))
            }
        }
    }

    /// Waits until nothing is being done.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let (upload, worked) = match &mut self.doing {
            Doing::Nothing(_) => return Poll::Ready(Ok(())),
            Doing::Working(work) => ready!(work.as_mut().poll(cx)),
            Doing::Publishing(_) | Doing::Published(_) => return Poll::Ready(Err(Error::finished(&self.path))),
            Doing::Failed(error) => return Poll::Ready(Err(error.clone())),
        };
        self.doing = match &worked {
            Ok(()) => Doing::Nothing(upload),
            Err(error) => Doing::Failed(error.clone()),
        };
        Poll::Ready(worked)
    }

    fn poll_take(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        loop {
            ready!(self.poll_idle(cx))?;
            let mut upload = self.take()?;
            match upload.gather(bytes) {
                Ok(0) if !bytes.is_empty() => {
                    self.doing = Doing::Working(Box::pin(async move {
                        let sent = upload.send_gathered().await;
                        (upload, sent)
                    }));
                }
                taken => {
                    self.doing = Doing::Nothing(upload);
                    return Poll::Ready(taken);
                }
            }
        }
    }

    fn poll_acked(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_idle(cx))?;
        let mut upload = self.take()?;
        self.doing = Doing::Working(Box::pin(async move {
            let flushed = upload.flush().await;
            (upload, flushed)
        }));
        self.poll_idle(cx)
    }

    fn poll_publish(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            match &mut self.doing {
                Doing::Published(_) => return Poll::Ready(Ok(())),
                Doing::Failed(error) => return Poll::Ready(Err(error.clone())),
                Doing::Working(_) => ready!(self.poll_idle(cx))?,
                Doing::Nothing(_) => {
                    let upload = self.take()?;
                    self.doing = Doing::Publishing(Box::pin(upload.commit(Expected::default())));
                }
                Doing::Publishing(ending) => {
                    self.doing = match ready!(ending.as_mut().poll(cx)) {
                        Ok(published) => Doing::Published(published),
                        Err(error) => Doing::Failed(error),
                    };
                }
            }
        }
    }
}

impl AsyncWrite for UploadWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_take(cx, bytes).map_err(io::Error::from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.doing, Doing::Published(_)) {
            return Poll::Ready(Ok(()));
        }
        self.poll_acked(cx).map_err(io::Error::from)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_publish(cx).map_err(io::Error::from)
    }
}

impl fmt::Debug for UploadWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadWriter")
            .field("path", &self.path)
            .field("published", &self.published())
            .finish_non_exhaustive()
    }
}
