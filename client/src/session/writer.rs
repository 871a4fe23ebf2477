//! One open file: records in, acknowledgements out.

mod sending;

use super::{
    Handle,
    bounds::Bounds,
    channel::{Channel, Phase},
    lane::Lane,
};
use crate::{Ack, BatchPolicy, Error, Opened, Progress, Result};
use inkpot_proto::v1::{self, FinishAction, Limits};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::sync::oneshot;

/// A file that is open for appending: one channel of a [`Session`](crate::Session). Records of one task keep their
/// order. When it is dropped, what was taken is still sent, and the channel finished, for as long as the session lives;
/// only [`finish`](Self::finish) tells whether that worked.
///
/// A logger that never blocks its caller: what finds no room is counted instead of waited for.
///
/// ```no_run
/// use inkpot_client::{Client, Error, ErrorKind, OpenOptions, Writer};
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// struct Log {
///     file: Writer,
///     lost: AtomicU64,
/// }
///
/// impl Log {
///     async fn open(client: &Client, path: &str) -> Result<Self, Error> {
///         let file = client.session().await.open(path, OpenOptions::default()).await?;
///         Ok(Self { file, lost: AtomicU64::new(0) })
///     }
///
///     /// Takes a line, from any thread of the runtime. Gives an error only when the log is closed for good.
///     fn line(&self, line: String) -> Result<(), Error> {
///         match self.file.try_write((line + "\n").into()) {
///             Err(unsent) if unsent.error.kind() == ErrorKind::WindowFull => {
///                 self.lost.fetch_add(1, Ordering::Relaxed);
///                 Ok(())
///             }
///             taken => Ok(taken?),
///         }
///     }
///
///     /// Waits until every line that was taken is acknowledged.
///     async fn close(self) -> Result<(), Error> {
///         let progress = self.file.finish().await?;
///         let lost = self.lost.into_inner();
///         println!("{} lines are safe ({:?}), {lost} found no room", progress.acked_records, progress.level);
///         Ok(())
///     }
/// }
/// ```
pub struct Writer {
    handle: Handle,
    lane: Arc<Lane>,
    opened: Opened,
    bounds: Bounds,
    policy: BatchPolicy,
}

/// Waits for the acknowledgement of one append. The append is on its way whether this is awaited or not.
#[derive(Debug)]
#[must_use = "only the receipt tells whether the append succeeded"]
pub struct Receipt {
    reply: oneshot::Receiver<Result<Ack>>,
    lane: Arc<Lane>,
}

impl Writer {
    /// Waits for the server. Abandons the channel if this is cancelled or fails.
    pub(crate) async fn open(handle: Handle, lane: Arc<Lane>, policy: BatchPolicy) -> Result<Self> {
        let (opened, bounds) = (Opened::new(&v1::Opened::default(), ""), Bounds::new(&Limits::default()));
        let mut writer = Self { handle, lane, opened, bounds, policy };
        let check = || match writer.lane.error() {
            Some(error) => Some(Err(error)),
            None => writer.lane.opened().cloned().map(Ok),
        };
        writer.opened = writer.lane.wait(check).await?;
        writer.bounds = Bounds::new(&writer.opened.limits);
        writer.policy = writer.bounds.policy(&policy);
        Ok(writer)
    }

    /// Path of the file.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.lane.path
    }

    /// What the server said when the file was opened for the first time.
    #[must_use]
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// What was sent and acknowledged so far. Does not wait.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress_with(self.lane.batch().records())
    }

    /// Largest record that is taken, in bytes.
    pub(crate) fn record_limit(&self) -> usize {
        self.bounds.record_limit()
    }

    fn progress_with(&self, batched: usize) -> Progress {
        let found = self.handle.0.state().channel(self.lane.id).map(|channel| channel.progress.clone());
        let mut progress = found.unwrap_or_default();
        progress.sent_records += batched as u64;
        progress
    }

    /// Hands the batch over for sending.
    fn seal(&self) -> Result<()> {
        let mut batch = self.lane.batch();
        Lane::take(&mut batch).map_or(Ok(()), |append| self.handle.0.submit(&self.lane, append, None))
    }

    /// Sends the batch, and waits until everything that was written before is acknowledged.
    ///
    /// # Errors
    /// An append of this writer failed for good, and the writer with it; [`Error::progress`] tells what was
    /// acknowledged.
    pub async fn flush(&self) -> Result<Progress> {
        self.lane.check()?;
        self.seal()?;
        let shared = &self.handle.0;
        let sent = shared.change(|state, _| {
            state.want_flush();
            state.channel(self.lane.id).map_or(0, |channel| channel.progress.sent_records)
        });
        self.wait_channel(|channel| channel.progress.acked_records >= sent).await?;
        Ok(self.progress())
    }

    /// Waits until the channel is as wanted, or has failed.
    async fn wait_channel(&self, reached: impl Fn(&Channel) -> bool) -> Result<()> {
        let check = || match self.lane.error() {
            Some(error) => Some(Err(error)),
            None => self.handle.0.state().channel(self.lane.id).is_none_or(&reached).then_some(Ok(())),
        };
        self.lane.wait(check).await
    }

    /// As [`flush`](Self::flush), then ends the channel.
    ///
    /// # Errors
    /// As `flush`; or the server refused to finish, with everything acknowledged.
    pub async fn finish(self) -> Result<Progress> {
        self.end().await
    }

    pub(crate) async fn end(&self) -> Result<Progress> {
        self.flush().await?;
        self.handle.0.change(|state, _| state.want_finish(self.lane.id));
        self.wait_channel(|channel| channel.phase == Phase::Ended).await?;
        Ok(self.progress())
    }

    /// Ends an upload like this: waits until everything is acknowledged, unless it is to be discarded, and for the answer.
    pub(crate) async fn end_upload(&self, end: v1::Finish) -> Result<v1::Finished> {
        if end.action() != FinishAction::Abort {
            self.flush().await?;
        }
        self.lane.check()?;
        self.handle.0.change(|state, effects| state.want_end(self.lane.id, end, effects));
        self.wait_channel(|channel| channel.phase == Phase::Ended).await?;
        let finished = self.handle.0.state().channel(self.lane.id).and_then(|channel| channel.finished);
        finished.ok_or_else(|| Error::closed(self.path()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.seal(); // fails only if the channel has, and then there is nobody to tell
        self.handle.0.change(|state, _| state.abandon(self.lane.id));
    }
}

impl Future for Receipt {
    type Output = Result<Ack>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(Pin::new(&mut self.reply).poll(cx)) {
            Ok(result) => result,
            Err(_) => Err(self.lane.error().unwrap_or_else(|| Error::closed(&self.lane.path))),
        })
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("path", &self.lane.path)
            .field("progress", &self.progress())
            .finish_non_exhaustive()
    }
}
