//! One open file: records in, acknowledgements out.

use super::{
    Handle,
    bounds::Bounds,
    channel::{Channel, Phase},
    lane::Lane,
    window::Taken,
};
use crate::{BatchPolicy, Error, Producer, Result, batch::Sealed};
use bytes::Bytes;
use inkpot_proto::v1::{self, Admission, Durability, Framing, Limits};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::{sync::oneshot, time::Instant};

/// How a file is opened for appending. The default: SYNCED, waiting at limits, no framing, a producer of its own,
/// batches of at most 100 records, 256 KiB or 5 ms.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// What an append must survive before it is acknowledged.
    pub durability: Durability,
    /// What happens at a limit of the tenant: the session waits, or the append is refused and sent again later.
    pub admission: Admission,
    /// What the server checks of each record.
    pub framing: Framing,
    /// Who writes.
    pub producer: Producer,
    /// How records are gathered into appends.
    pub batch: BatchPolicy,
    /// If set: the generation that the file must have; 0: there must be no file.
    pub if_generation: Option<u64>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Synced,
            admission: Admission::Wait,
            framing: Framing::None,
            producer: Producer::default(),
            batch: BatchPolicy::default(),
            if_generation: None,
        }
    }
}

/// What the server said when the file was opened for the first time.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Opened {
    /// Generation of the file; 0 while there is none.
    pub generation: u64,
    /// The producer id that is used; empty without a producer.
    pub producer_id: String,
    /// Epoch of the producer; 0 without one.
    pub epoch: u64,
    /// Last seq of this epoch that was there before: where a producer that resumes goes on.
    pub last_seq: u64,
    /// Where the next append would have begun, in bytes.
    pub next_offset: u64,
    /// The epoch before, if this Open raised it; 0 otherwise.
    pub previous_epoch: u64,
    /// Last seq of the epoch before; 0 if there was none.
    pub previous_last_seq: u64,
    /// Bounds that the server announced.
    pub limits: Limits,
}

impl Opened {
    pub(crate) fn new(frame: &v1::Opened, producer_id: &str) -> Self {
        Self {
            generation: frame.generation,
            producer_id: producer_id.to_owned(),
            epoch: frame.epoch,
            last_seq: frame.last_seq,
            next_offset: frame.next_offset,
            previous_epoch: frame.previous_epoch,
            previous_last_seq: frame.previous_last_seq,
            limits: frame.limits.unwrap_or_default(),
        }
    }
}

/// The acknowledgement of one append.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ack {
    /// Its number.
    pub seq: u64,
    /// Offset of its first byte; `None` for a duplicate whose offset the server no longer remembers.
    pub first_offset: Option<u64>,
    /// Offset after its last byte; `None` like `first_offset`.
    pub end_offset: Option<u64>,
    /// The level that it reached, or a lower one that was reached by what was acknowledged with it.
    pub level: Durability,
    /// Generation of the file.
    pub generation: u64,
    /// It was there before, from an earlier try: success, not written again.
    pub duplicate: bool,
}

/// What a writer has sent and got acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Records that the writer took, whether sent by now or not.
    pub sent_records: u64,
    /// Records that are acknowledged.
    pub acked_records: u64,
    /// Bytes that are acknowledged.
    pub acked_bytes: u64,
    /// Appends that are acknowledged.
    pub acked_appends: u64,
    /// Offset of the first byte of the first append whose offset is known.
    pub first_offset: Option<u64>,
    /// Offset after the last byte of the last append whose offset is known. Between the two there may be bytes of
    /// other producers.
    pub end_offset: Option<u64>,
    /// The lowest level of any acknowledgement.
    pub level: Option<Durability>,
    /// Appends that were there before, from an earlier try; they count as acknowledged.
    pub duplicates: u64,
    /// Seq of the last acknowledged append; 0: none.
    pub last_seq: u64,
    /// Highest seq that is known to survive power loss; 0: none.
    pub synced_seq: u64,
}

impl Progress {
    pub(crate) fn add(&mut self, append: &Sealed, duplicate: bool) {
        self.acked_records += u64::from(append.records);
        self.acked_bytes += append.data.len() as u64;
        self.acked_appends += 1;
        self.duplicates += u64::from(duplicate);
    }

    pub(crate) fn reached(&mut self, ack: &v1::Ack, level: Durability) {
        self.last_seq = ack.through_seq;
        self.level = Some(self.level.map_or(level, |lowest| lowest.min(level)));
        if let (Some(first), Some(end)) = (ack.first_offset, ack.end_offset) {
            self.first_offset.get_or_insert(first);
            self.end_offset = Some(end);
        }
    }
}

/// A file that is open for appending: one channel of a [`Session`](crate::Session). Records of one task keep their
/// order. When it is dropped, what was taken is still sent, and the channel finished, for as long as the session lives;
/// only [`finish`](Self::finish) tells whether that worked.
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

    fn progress_with(&self, batched: usize) -> Progress {
        let found = self.handle.0.state().channel(self.lane.id).map(|channel| channel.progress.clone());
        let mut progress = found.unwrap_or_default();
        progress.sent_records += batched as u64;
        progress
    }

    /// Adds a record to the batch, which goes out when it is full or old enough. Waits only for room in the window of
    /// the session. Cancelled while it waits, it has taken nothing.
    ///
    /// # Errors
    /// The record is empty or too large: nothing was taken, and the writer goes on. Or an earlier append of this
    /// writer failed for good, and the writer with it.
    pub async fn write(&self, record: Bytes) -> Result<()> {
        self.lane.check()?;
        self.bounds.check_record(&record).map_err(|error| error.on(self.path()))?;
        let shared = &self.handle.0;
        let cost = shared.window.cost(record.len());
        if let Some(record) = self.put(record, cost, None)? {
            let room = shared.room(&self.lane, 1, cost).await?;
            self.put(record, cost, Some(room))?;
        }
        shared.relieve();
        Ok(())
    }

    /// Adds a record to the batch, or sends it at once. Gives it back if there is no room.
    fn put(&self, record: Bytes, cost: u32, room: Option<Taken<'_>>) -> Result<Option<Bytes>> {
        let shared = &self.handle.0;
        let policy = &self.policy;
        let alone = policy.alone(record.len());
        let mut batch = self.lane.batch();
        if !batch.is_empty() && (alone || !batch.fits(record.len(), policy)) {
            shared.submit(&self.lane, batch.seal(), None)?;
        }
        let first = batch.is_empty();
        let Some(mut room) = room.or_else(|| shared.window.try_take(u32::from(first), cost)) else {
            return Ok(Some(record));
        };
        if alone {
            return shared.submit(&self.lane, Sealed::single(record, room.keep()), None).map(|()| None);
        }
        if !first {
            room.return_append();
        }
        batch.push(&record, room.keep());
        if batch.is_full(policy) {
            shared.submit(&self.lane, batch.seal(), None)?;
        } else if first && let Some(deadline) = Instant::now().checked_add(policy.linger) {
            batch.deadline = Some(deadline);
            shared.arm(self.lane.id, deadline);
        }
        Ok(None)
    }

    /// Sends the batch, and then these records as one append: all of them, contiguous, or none. Waits for room in the
    /// window; the receipt waits for the acknowledgement.
    ///
    /// # Errors
    /// There is no record, an empty one, or more than the server takes: nothing was sent, and the writer goes on. Or an
    /// earlier append of this writer failed for good, and the writer with it.
    pub async fn append(&self, records: Vec<Bytes>) -> Result<Receipt> {
        self.lane.check()?;
        let bytes = self.bounds.check_append(&records).map_err(|error| error.on(self.path()))?;
        let shared = &self.handle.0;
        self.seal()?;
        let cost = shared.window.cost(bytes);
        let room = match shared.window.try_take(1, cost) {
            Some(room) => room,
            None => shared.room(&self.lane, 1, cost).await?,
        };
        let append = Sealed::of(records, 0);
        let (reply, receipt) = oneshot::channel();
        let mut batch = self.lane.batch();
        if let Some(earlier) = Lane::take(&mut batch) {
            shared.submit(&self.lane, earlier, None)?; // another task wrote in the meantime
        }
        shared.submit(&self.lane, Sealed { window_bytes: room.keep(), ..append }, Some(reply))?;
        Ok(Receipt { reply: receipt, lane: Arc::clone(&self.lane) })
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
        self.flush().await?;
        self.handle.0.change(|state, _| state.want_finish(self.lane.id));
        self.wait_channel(|channel| channel.phase == Phase::Ended).await?;
        Ok(self.progress())
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
