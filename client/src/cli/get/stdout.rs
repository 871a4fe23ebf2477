//! Stdout as something that a download writes to, which keeps the error: the library's own tells it only in words.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::AsyncWrite;

/// Stdout of this process. It is another thread that is stuck with a reader who takes nothing.
#[derive(Debug)]
pub(super) struct Stdout {
    inner: tokio::io::Stdout,
    failed: Option<io::ErrorKind>,
}

impl Stdout {
    pub(super) fn new() -> Self {
        Self { inner: tokio::io::stdout(), failed: None }
    }

    /// Why it takes no more.
    pub(super) fn failed(&self) -> Option<io::Error> {
        self.failed.map(io::Error::from)
    }

    fn keep<T>(&mut self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &polled {
            self.failed = Some(error.kind());
        }
        polled
    }
}

impl AsyncWrite for Stdout {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.keep(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(cx);
        self.keep(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.keep(polled)
    }
}
