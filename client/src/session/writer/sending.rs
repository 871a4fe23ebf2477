//! How a writer takes records: waiting for room in the window, with a bound, or not at all.

use super::{Receipt, Writer};
use crate::{
    Error, ErrorKind, Result, Unsent,
    batch::Sealed,
    session::{lane::Lane, window::Taken},
};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

impl Writer {
    /// Adds a record to the batch, which goes out when it is full or old enough. Waits only for room in the window of
    /// the session.
    ///
    /// Cancelled while it waits, it has taken nothing; the record is dropped with it.
    ///
    /// # Errors
    /// The record is empty or too large: nothing was taken, and the writer goes on. Or an earlier append of this
    /// writer failed for good, and the writer with it.
    pub async fn write(&self, record: Bytes) -> Result<()> {
        self.write_within(&record, None).await
    }

    /// As [`write`](Self::write), but never waits. Gives the record back if it was not taken.
    ///
    /// # Errors
    /// [`WindowFull`](crate::ErrorKind::WindowFull): there is no room now; an ack will make some. Else as `write`.
    pub fn try_write(&self, record: Bytes) -> Result<(), Unsent<Bytes>> {
        let taken = self.offer(&record).and_then(|taken| if taken { Ok(()) } else { Err(self.no_room()) });
        taken.map_err(|error| Unsent { error, value: record })
    }

    /// As [`write`](Self::write), but waits for room for at most this long. Gives the record back if it was not taken.
    ///
    /// Cancelled while it waits, it has taken nothing; the record is dropped with it.
    ///
    /// # Errors
    /// [`Timeout`](crate::ErrorKind::Timeout): there was no room in time. Else as `write`.
    pub async fn write_timeout(&self, record: Bytes, most: Duration) -> Result<(), Unsent<Bytes>> {
        let taken = self.write_within(&record, Some(most)).await;
        taken.map_err(|error| Unsent { error, value: record })
    }

    async fn write_within(&self, record: &Bytes, most: Option<Duration>) -> Result<()> {
        if self.offer(record)? {
            return Ok(());
        }
        let shared = &self.handle.0;
        let cost = shared.window.cost(record.len());
        let room = self.room(cost, most).await?;
        self.put(record, cost, Some(room))?;
        shared.relieve();
        Ok(())
    }

    /// Takes the record if there is room.
    pub(crate) fn offer(&self, record: &Bytes) -> Result<bool> {
        self.lane.check()?;
        self.bounds.check_record(record).map_err(|error| error.on(self.path()))?;
        let shared = &self.handle.0;
        let taken = self.put(record, shared.window.cost(record.len()), None)?;
        shared.relieve();
        Ok(taken)
    }

    /// Adds a record to the batch, or sends it at once. Gives whether there was room.
    fn put(&self, record: &Bytes, cost: u32, room: Option<Taken<'_>>) -> Result<bool> {
        let shared = &self.handle.0;
        let policy = &self.policy;
        let alone = policy.alone(record.len());
        let mut batch = self.lane.batch();
        if !batch.is_empty() && (alone || !batch.fits(record.len(), policy)) {
            shared.submit(&self.lane, batch.seal(), None)?;
        }
        let first = batch.is_empty();
        let Some(mut room) = room.or_else(|| shared.window.try_take(u32::from(first), cost)) else {
            return Ok(false);
        };
        if alone {
            return shared.submit(&self.lane, Sealed::single(record.clone(), room.keep()), None).map(|()| true);
        }
        if !first {
            room.return_append();
        }
        batch.push(record, room.keep());
        if batch.is_full(policy) {
            shared.submit(&self.lane, batch.seal(), None)?;
        } else if first && let Some(deadline) = Instant::now().checked_add(policy.linger) {
            batch.deadline = Some(deadline);
            shared.arm(self.lane.id, deadline);
        }
        Ok(true)
    }

    /// Sends the batch, and then these records as one append: all of them, contiguous, or none. Waits for room in the
    /// window; the receipt waits for the acknowledgement.
    ///
    /// Cancelled while it waits, it has taken nothing, but the batch before it is on its way.
    ///
    /// # Errors
    /// There is no record, an empty one, or more than the server takes: nothing was sent, and the writer goes on. Or an
    /// earlier append of this writer failed for good, and the writer with it.
    pub async fn append(&self, records: Vec<Bytes>) -> Result<Receipt> {
        self.append_within(&records, None).await
    }

    /// As [`append`](Self::append), but never waits. Gives the records back if they were not taken; the batch before
    /// them is on its way even then.
    ///
    /// # Errors
    /// [`WindowFull`](crate::ErrorKind::WindowFull): there is no room now; an ack will make some. Else as `append`.
    pub fn try_append(&self, records: Vec<Bytes>) -> Result<Receipt, Unsent<Vec<Bytes>>> {
        let sent = self.prepare(&records).and_then(|cost| {
            let room = self.handle.0.window.try_take(1, cost).ok_or_else(|| self.no_room())?;
            self.send(&records, room)
        });
        sent.map_err(|error| Unsent { error, value: records })
    }

    /// As [`append`](Self::append), but waits for room for at most this long. Gives the records back if they were not
    /// taken; the batch before them is on its way even then.
    ///
    /// Cancelled while it waits, it has taken nothing; the records are dropped with it.
    ///
    /// # Errors
    /// [`Timeout`](crate::ErrorKind::Timeout): there was no room in time. Else as `append`.
    pub async fn append_timeout(&self, records: Vec<Bytes>, most: Duration) -> Result<Receipt, Unsent<Vec<Bytes>>> {
        let sent = self.append_within(&records, Some(most)).await;
        sent.map_err(|error| Unsent { error, value: records })
    }

    async fn append_within(&self, records: &[Bytes], most: Option<Duration>) -> Result<Receipt> {
        let cost = self.prepare(records)?;
        let room = match self.handle.0.window.try_take(1, cost) {
            Some(room) => room,
            None => self.room(cost, most).await?,
        };
        self.send(records, room)
    }

    /// Checks the records, sends the batch before them, and gives the bytes of the window that they take as an append.
    fn prepare(&self, records: &[Bytes]) -> Result<u32> {
        self.lane.check()?;
        let bytes = self.bounds.check_append(records).map_err(|error| error.on(self.path()))?;
        self.seal()?;
        Ok(self.handle.0.window.cost(bytes))
    }

    fn send(&self, records: &[Bytes], room: Taken<'_>) -> Result<Receipt> {
        let shared = &self.handle.0;
        let append = Sealed::of(records, 0);
        let (reply, receipt) = oneshot::channel();
        let mut batch = self.lane.batch();
        if let Some(earlier) = Lane::take(&mut batch) {
            shared.submit(&self.lane, earlier, None)?; // another task wrote in the meantime
        }
        shared.submit(&self.lane, Sealed { window_bytes: room.keep(), ..append }, Some(reply))?;
        Ok(Receipt { reply: receipt, lane: Arc::clone(&self.lane) })
    }

    /// Waits for room.
    async fn room(&self, cost: u32, most: Option<Duration>) -> Result<Taken<'_>> {
        let shared = &self.handle.0;
        let room = shared.room(&self.lane, 1, cost);
        match most {
            None => room.await,
            Some(most) => timeout(most, room)
                .await
                .unwrap_or_else(|_| Err(Error::no_room(ErrorKind::Timeout, shared.state().throttle()).on(self.path()))),
        }
    }

    /// There is no room, and the caller does not wait. What lingers and holds the room is sent, so that a later try
    /// can succeed.
    fn no_room(&self) -> Error {
        let shared = &self.handle.0;
        let _waiting = shared.window.wait();
        shared.relieve();
        Error::no_room(ErrorKind::WindowFull, shared.state().throttle()).on(self.path())
    }
}
