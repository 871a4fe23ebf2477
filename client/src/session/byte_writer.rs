//! A file as a stream of bytes that is cut into records.

use super::{Writer, polled::Polled};
use crate::{Error, ErrorKind, Result};
use bytes::{Bytes, BytesMut};
use inkpot_proto::{error::Refused, v1::ErrorReason};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::AsyncWrite;

/// Most bytes that one write takes: enough to cut many records of, little to hold beside the window.
const WRITE_BYTES: usize = 64 << 10;

/// Where a stream of bytes is cut into records. The bytes of the file are the same either way; a record is what is
/// written whole or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// After each newline. A line that is longer than the server's limit on records is an error.
    Lines,
    /// After this many bytes: at least 1, at most the server's limit on records, which holds if this is more.
    Chunks(usize),
}

/// A file as [`AsyncWrite`]. Made by [`Writer::into_async_write`].
///
/// - Write: the bytes are cut into records, which are gathered into appends like those of [`Writer::write`]. It waits
///   while a record waits for room in the window of the session. Beside the window this holds one unfinished record and
///   at most 64 KiB.
/// - Flush: waits until everything that was written is **acknowledged**. A record that was not finished ends there.
/// - Shutdown: the same, and the channel is finished. Nothing can be written after that.
///
/// A write that is cancelled has taken nothing; a flush or shutdown that is cancelled can be asked for again. Dropped
/// without a shutdown, it sends the records that had room; an unfinished record, and records that wait for room, are lost.
/// After an error nothing more is taken; the [`io::Error`] holds an [`Error`], see `impl From<Error> for io::Error`.
///
/// ```no_run
/// use inkpot_client::Cut;
/// use tokio::io::AsyncWriteExt;
/// # async fn example(writer: inkpot_client::Writer) -> std::io::Result<()> {
/// let mut log = writer.into_async_write(Cut::Lines);
/// log.write_all(b"a line, and the beginning").await?;
/// log.write_all(b" of another\n").await?;
/// log.flush().await?; // both are acknowledged now
/// log.shutdown().await
/// # }
/// ```
#[derive(Debug)]
pub struct ByteWriter {
    polled: Polled,
    cut: Cut,
    /// Largest record, in bytes.
    limit: usize,
    buffer: BytesMut,
    /// Bytes of `buffer` that are known to hold no newline.
    searched: usize,
    /// Why nothing more is taken.
    failed: Option<Error>,
}

impl Writer {
    /// The file as [`AsyncWrite`], its bytes cut into records.
    #[must_use]
    pub fn into_async_write(self, cut: Cut) -> ByteWriter {
        let limit = self.record_limit();
        let cut = match cut {
            Cut::Lines => Cut::Lines,
            Cut::Chunks(bytes) => Cut::Chunks(bytes.clamp(1, limit)),
        };
        let polled = Polled::new(self);
        ByteWriter { polled, cut, limit, buffer: BytesMut::new(), searched: 0, failed: None }
    }
}

impl ByteWriter {
    /// The writer below, for its progress. Records that are written there directly go out behind those written before.
    #[must_use]
    pub fn get_ref(&self) -> &Writer {
        self.polled.writer()
    }

    /// The next whole record of the buffer; with `all` its rest too.
    fn next_record(&mut self, all: bool) -> Result<Option<Bytes>> {
        let end = match self.cut {
            Cut::Lines => self.line_end(),
            Cut::Chunks(bytes) => Some(bytes).filter(|bytes| self.buffer.len() >= *bytes),
        };
        let end = end.or(Some(self.buffer.len()).filter(|len| all && *len > 0));
        if end.unwrap_or(self.buffer.len()) > self.limit {
            return Err(self.too_long());
        }
        Ok(end.map(|end| {
            self.searched = 0;
            self.buffer.split_to(end).freeze()
        }))
    }

    fn line_end(&mut self) -> Option<usize> {
        let found = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
        let end = found.map(|at| self.searched + at + 1);
        self.searched = self.buffer.len();
        end
    }

    fn too_long(&self) -> Error {
        let message = format!("a line is longer than the {} bytes that the server takes as a record", self.limit);
        Error::refused(Refused::new(ErrorReason::RecordTooLarge, message)).on(self.get_ref().path())
    }

    /// Puts the records that are whole, and with `all` the rest; waits for room.
    fn poll_cut(&mut self, cx: &mut Context<'_>, all: bool) -> Poll<Result<()>> {
        loop {
            ready!(self.polled.poll_ready(cx))?;
            let Some(record) = self.next_record(all)? else { return Poll::Ready(Ok(())) };
            self.polled.put(record)?;
        }
    }

    fn poll_take(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        ready!(self.poll_cut(cx, false))?;
        let taken = bytes.len().min(WRITE_BYTES);
        self.buffer.extend_from_slice(&bytes[..taken]);
        while self.polled.is_ready()
            && let Some(record) = self.next_record(false)?
        {
            self.polled.put(record)?;
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.buffer.is_empty() { Poll::Ready(Ok(())) } else { self.poll_cut(cx, true) }
    }

    /// Keeps an error: bytes behind those that failed must not be written. That the writer is being shut down is none:
    /// how the shutdown ends can still be asked.
    fn poll_once_failed<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Self, &mut Context<'_>) -> Poll<Result<T>>,
    ) -> Poll<io::Result<T>> {
        let result = match &self.failed {
            Some(error) => Err(error.clone()),
            None => ready!(poll(self, cx)),
        };
        if let Err(error) = &result
            && error.kind() != ErrorKind::Closed
        {
            self.failed.get_or_insert_with(|| error.clone());
        }
        Poll::Ready(result.map_err(io::Error::from))
    }
}

impl AsyncWrite for ByteWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_once_failed(cx, |this, cx| this.poll_take(cx, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_once_failed(cx, |this, cx| {
            ready!(this.poll_rest(cx))?;
            this.polled.poll_flush(cx)
        })
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_once_failed(cx, |this, cx| {
            ready!(this.poll_rest(cx))?;
            this.polled.poll_finish(cx)
        })
    }
}
