//! A file as a sink of records.

use super::{Writer, polled::Polled};
use crate::{Error, Result};
use bytes::Bytes;
use futures_util::Sink;
use std::{
    pin::Pin,
    task::{Context, Poll},
};

/// A file as a [`Sink`]: an item is a record, gathered into appends like those of [`Writer::write`]. Made by
/// [`Writer::into_sink`].
///
/// - Ready: the record before has its room in the window of the session. At most one record, the last one, waits for
///   room inside the sink, and only while the sink is polled; so `feed` waits for as long as the window is full.
/// - Flush: everything that was fed is acknowledged.
/// - Close: the same, and the channel is finished. Nothing can be fed after that.
///
/// `feed` that is cancelled has taken nothing. A flush or close that is cancelled can be asked for again. Dropped without
/// a close, the sink sends what had room, and a record that still waits for it is lost.
///
/// ```no_run
/// use futures_util::{SinkExt, StreamExt, stream};
/// # async fn example(writer: inkpot_client::Writer) -> Result<(), inkpot_client::Error> {
/// let mut events = stream::iter(0..1000).map(|number| Ok(format!("event {number}\n").into()));
/// let mut file = writer.into_sink();
/// file.send_all(&mut events).await?; // everything is acknowledged now
/// println!("up to byte {:?}", file.get_ref().progress().end_offset);
/// file.close().await
/// # }
/// ```
#[derive(Debug)]
pub struct RecordSink(Polled);

impl Writer {
    /// The file as a [`Sink`] of records.
    #[must_use]
    pub fn into_sink(self) -> RecordSink {
        RecordSink(Polled::new(self))
    }
}

impl RecordSink {
    /// The writer below, for its progress. Records that are written there directly go out behind those fed before.
    #[must_use]
    pub fn get_ref(&self) -> &Writer {
        self.0.writer()
    }
}

impl Sink<Bytes> for RecordSink {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.0.poll_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, record: Bytes) -> Result<()> {
        self.0.put(record)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.0.poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.0.poll_finish(cx)
    }
}
