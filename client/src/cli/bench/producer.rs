//! One producer at work: it keeps a window of appends in flight, or makes one upload after the other.
//!
//! An append is timed from just before it is handed to the library, or in an open loop from when it was due, until its
//! producer sees the ack. There is no task per append: each producer keeps its receipts in a ring and takes them in the
//! order in which they were sent. Where acks overtake each other (several files) a later one is seen no sooner than the one
//! before it, so times are never told shorter than they were. In an open loop nothing is left out: what was due and could
//! not be sent counts with the time that it had waited at the end.

use super::{
    super::failure::Failure,
    choice::Choice,
    load::{Load, Mode, failed},
    pace::Pace,
};
use bytes::Bytes;
use futures_util::FutureExt;
use hdrhistogram::Histogram;
use inkpot_client::{Ack, Error, Expected, OpenOptions, Receipt, Session, Upload, UploadOptions, Writer};
use inkpot_proto::v1::Durability;
use std::{
    collections::VecDeque,
    io,
    pin::pin,
    time::{Duration, Instant},
};
use tokio::{sync::watch, time::timeout_at};

/// Longest ack time that is told apart, in microseconds.
const LONGEST_MICROS: u64 = 600_000_000;
/// How long the acks of the last window are waited for. They are not counted, but their times are.
const LAST_ACKS: Duration = Duration::from_secs(30);

/// 1 us up to ten minutes, to three digits.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_MICROS, 3).expect("the bounds are valid")
}

/// Acks from `from` to `until` count, and times of what was sent then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Phases {
    pub(super) from: Instant,
    pub(super) until: Instant,
}

/// What one producer saw.
#[derive(Debug)]
pub(super) struct Tally {
    /// Bytes that were acknowledged in the measured time.
    pub(super) acked_bytes: u64,
    /// ... and from the beginning to the last ack.
    pub(super) acked_bytes_in_all: u64,
    /// Times of what was sent in the measured time.
    pub(super) ack_micros: Histogram<u64>,
    /// The lowest level of any ack.
    pub(super) level: Option<Durability>,
}

impl Tally {
    fn acked(&mut self, bytes: u64, now: Instant, phases: Phases) {
        self.acked_bytes_in_all += bytes;
        if now >= phases.from && now < phases.until {
            self.acked_bytes += bytes;
        }
    }

    fn took(&mut self, since: Instant, now: Instant, phases: Phases) {
        if since >= phases.from && since < phases.until {
            let micros = u64::try_from(now.duration_since(since).as_micros()).unwrap_or(u64::MAX);
            self.ack_micros.saturating_record(micros);
        }
    }

    fn reached(&mut self, level: Durability) {
        self.level = Some(self.level.map_or(level, |lowest| lowest.min(level)));
    }
}

/// What is under way, and what came back.
#[derive(Debug)]
struct Flight {
    in_flight: VecDeque<(Instant, Receipt)>,
    append_bytes: u64,
    tally: Tally,
}

impl Flight {
    fn new(load: &Load) -> Self {
        let tally = Tally { acked_bytes: 0, acked_bytes_in_all: 0, ack_micros: histogram(), level: None };
        let in_flight = VecDeque::with_capacity(load.window);
        Self { in_flight, append_bytes: load.append_bytes() as u64, tally }
    }

    /// Sees the acks that come until something is done.
    async fn until<T>(&mut self, done: impl Future<Output = T>, phases: Phases) -> Result<T, Error> {
        let mut done = pin!(done);
        loop {
            tokio::select! {
                biased;
                done = &mut done => return Ok(done),
                ack = self.front() => self.take(ack?, phases),
            }
        }
    }

    /// Sees the acks that are there, and waits for more while as many appends are in flight as there may be.
    async fn make_room(&mut self, window: usize, phases: Phases) -> Result<(), Error> {
        while self.in_flight.len() >= window {
            let ack = self.front().await?;
            self.take(ack, phases);
        }
        while let Some(ack) = self.front().now_or_never() {
            self.take(ack?, phases);
        }
        Ok(())
    }

    /// Leaves nothing behind that would be a load on the next run. What fails here fails after the end.
    async fn end(&mut self, phases: Phases) {
        let end = (phases.until + LAST_ACKS).into();
        while !self.in_flight.is_empty() {
            let Ok(Ok(ack)) = timeout_at(end, self.front()).await else { return };
            self.take(ack, phases);
        }
    }

    /// The ack of the oldest append in flight, and since when that is timed; waits for ever if there is none.
    async fn front(&mut self) -> Result<(Instant, Ack), Error> {
        let Some((since, receipt)) = self.in_flight.front_mut() else { return std::future::pending().await };
        let (since, ack) = (*since, receipt.await);
        self.in_flight.pop_front();
        Ok((since, ack?))
    }

    fn take(&mut self, (since, ack): (Instant, Ack), phases: Phases) {
        let now = Instant::now();
        self.tally.acked(self.append_bytes, now, phases);
        self.tally.took(since, now, phases);
        self.tally.reached(ack.level);
    }
}

/// A producer that is ready.
pub(super) struct Run {
    session: Session,
    paths: Vec<String>,
    /// To append to; none for uploads.
    writers: Vec<Writer>,
    load: Load,
    number: usize,
    choice: Choice,
    records: Vec<Bytes>,
    flight: Flight,
}

impl Run {
    /// Opens the files and gives each its first append, so that creating them is not measured.
    pub(super) async fn open(
        session: Session,
        paths: Vec<String>,
        load: &Load,
        number: usize,
    ) -> Result<Self, Failure> {
        let mut run = Self {
            writers: Vec::new(),
            choice: Choice::new(paths.len(), load.skew, number),
            records: load.records(),
            flight: Flight::new(load),
            load: load.clone(),
            session,
            paths,
            number,
        };
        if load.mode == Mode::Append {
            run.open_writers().await.map_err(|error| failed(&error))?;
        }
        Ok(run)
    }

    async fn open_writers(&mut self) -> Result<(), Error> {
        let mut receipts = Vec::with_capacity(self.paths.len());
        for path in &self.paths {
            let options = OpenOptions { durability: self.load.durability, ..OpenOptions::default() };
            let writer = self.session.open(path, options).await?;
            receipts.push(writer.append(self.records.clone()).await?);
            self.writers.push(writer);
        }
        for receipt in receipts {
            receipt.await?;
            self.flight.tally.acked_bytes_in_all += self.load.append_bytes() as u64;
        }
        Ok(())
    }

    /// Works until the end of the measured time.
    pub(super) async fn run(mut self, mut phases: watch::Receiver<Option<Phases>>) -> Result<Tally, Failure> {
        let told = phases.wait_for(Option::is_some).await.ok().and_then(|phases| *phases);
        // Without phases the run was given up.
        let Some(phases) = told else { return Ok(self.flight.tally) };
        let mut pace = self.pace()?;
        while let Some(since) = self.turn(pace.as_mut(), phases).await? {
            let file = self.choice.next();
            let sent = match self.load.mode {
                Mode::Append => self.append(file, since, phases).await,
                Mode::Upload => self.upload(file, since, phases).await,
            };
            sent.map_err(|error| failed(&error))?;
        }
        self.flight.end(phases).await;
        let mut tally = self.flight.tally;
        if let Some(mut pace) = pace {
            while pace.next() < phases.until {
                tally.took(pace.next(), phases.until, phases);
                pace.advance();
            }
        }
        Ok(tally)
    }

    /// The producers begin one after the other, so that what is due is spread over time.
    fn pace(&self) -> Result<Option<Pace>, Failure> {
        let Some(interval) = self.load.interval() else { return Ok(None) };
        let first = Instant::now() + interval.mul_f64(self.number as f64 / self.load.producers as f64);
        Pace::new(first, interval).map(Some).map_err(no_timer)
    }

    /// From when the next append or upload is timed; nothing at the end.
    async fn turn(&mut self, pace: Option<&mut Pace>, phases: Phases) -> Result<Option<Instant>, Failure> {
        let Some(pace) = pace else { return Ok(Some(Instant::now()).filter(|now| *now < phases.until)) };
        let due = pace.next();
        if due >= phases.until {
            return Ok(None);
        }
        let told = self.flight.until(pace.due(), phases).await.map_err(|error| failed(&error))?;
        told.map_err(no_timer)?;
        if Instant::now() >= phases.until {
            return Ok(None);
        }
        pace.advance();
        Ok(Some(due))
    }

    async fn append(&mut self, file: usize, since: Instant, phases: Phases) -> Result<(), Error> {
        self.flight.make_room(self.load.window, phases).await?;
        let sending = self.writers[file].append(self.records.clone());
        let receipt = self.flight.until(sending, phases).await??;
        self.flight.in_flight.push_back((since, receipt));
        Ok(())
    }

    /// An upload that is under way at the end of the measured time is given up.
    async fn upload(&mut self, file: usize, since: Instant, phases: Phases) -> Result<(), Error> {
        let append = Bytes::from(self.records.concat());
        let chunk_bytes = append.len() as u64;
        let options = UploadOptions { durability: self.load.durability, chunk_bytes, ..UploadOptions::default() };
        let mut upload = self.session.upload(&self.paths[file], options).await?;
        let mut seen = 0;
        for _ in 0..self.load.upload_appends() {
            upload.write(append.clone()).await?;
            self.uploaded(&upload, &mut seen, phases);
            if Instant::now() >= phases.until {
                return upload.abort().await;
            }
        }
        upload.flush().await?;
        self.uploaded(&upload, &mut seen, phases);
        let level = upload.progress().level;
        upload.commit(Expected::default()).await?;
        self.flight.tally.took(since, Instant::now(), phases);
        level.into_iter().for_each(|level| self.flight.tally.reached(level));
        Ok(())
    }

    fn uploaded(&mut self, upload: &Upload, seen: &mut u64, phases: Phases) {
        let acked = upload.acked_offset();
        self.flight.tally.acked(acked - *seen, Instant::now(), phases);
        *seen = acked;
    }
}

fn no_timer(error: io::Error) -> Failure {
    Failure::error("cannot set a timer", error)
}

#[cfg(test)]
mod tests;
