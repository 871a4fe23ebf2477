//! An upload as a stream of bytes.

use super::{Published, Upload};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::AsyncWrite;

/// An upload as [`AsyncWrite`]. Made by [`Upload::into_async_write`].
///
/// - Write: gathers a chunk, and waits for room in the window when that is full.
/// - Flush: waits until everything that was written is acknowledged; nobody sees it yet.
/// - Shutdown: **publishes**. Nothing can be written after that; [`published`](Self::published) tells what came of it.
///
/// Dropped without a shutdown, it publishes nothing; the upload stays on the server as that of a dropped [`Upload`] does.
/// The [`io::Error`] holds an [`Error`](crate::Error).
#[derive(Debug)]
pub struct UploadWriter {
    upload: Upload,
}

impl UploadWriter {
    pub(super) fn new(upload: Upload) -> Self {
        Self { upload }
    }

    /// What was published, once the shutdown has succeeded.
    #[must_use]
    pub fn published(&self) -> Option<Published> {
        None
    }
}

impl AsyncWrite for UploadWriter {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(super::not_yet(self.upload.path()).into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(super::not_yet(self.upload.path()).into()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(super::not_yet(self.upload.path()).into()))
    }
}
