//! A session: many files on one stream that heals itself.
//!
//! Writers put appends into the state ([`state`]) under one short lock; the outbound stream ([`outbound`]) takes many
//! at a time from there; the driver ([`driver`]) hands the answers in. What is not acked stays in the state and goes
//! out again after a nack that passes or a lost connection, so nothing is queued twice and the window bounds it all.

mod bounds;
mod byte_writer;
mod channel;
mod driver;
mod framed;
mod lane;
mod outbound;
mod polled;
mod record_sink;
mod stall;
mod state;
mod types;
mod window;
mod writer;

pub use byte_writer::{ByteWriter, Cut};
pub use record_sink::RecordSink;
pub use types::{Ack, OpenOptions, Opened, Progress, Unsent};
pub use writer::{Receipt, Writer};

use crate::{Error, Result, batch::Sealed, config::Settings, error::check_path, telemetry};
use channel::{Effects, Reply};
use driver::Driver;
use inkpot_proto::v1::{Mode, Outcome, WriteResponse};
use lane::Lane;
use state::State;
use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};
use tokio::{sync::Notify, time::Instant};
use tracing::Instrument;
use window::{Taken, Window};

/// Many files on one stream of its own connection. Connects when the first file is opened; connects again whenever the
/// connection is lost, and sends again what is not acknowledged. Cheap to clone. Ends when all clones and all
/// [`Writer`]s are gone; what is not acknowledged by then has an unknown outcome.
#[derive(Clone)]
pub struct Session(Handle);

/// What a session is doing.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SessionStats {
    /// Whether there is a connection on which the server answered.
    pub connected: bool,
    /// Connections after the first one.
    pub reconnects: u64,
    /// The limit that the server waits for before it reads on; `None` once an ack came after that.
    pub throttled: Option<Throttle>,
    /// How many times the server said that it waits for a limit.
    pub throttles: u64,
    /// Nacks that passed by themselves, so that the append or Open was or will be sent again.
    pub retries: u64,
    /// Appends that were sent again, after a nack or a lost connection.
    pub resent_appends: u64,
    /// Appends that are not acknowledged.
    pub unacked_appends: u64,
    /// Bytes of payload that are not acknowledged.
    pub unacked_bytes: u64,
    /// What last went wrong, on whichever channel; the session may have got over it since.
    pub last_error: Option<Error>,
}

/// The server has stopped reading the session until a limit has room.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Throttle {
    /// Name of the limit, as in the configuration of the server.
    pub limit: String,
    /// Since when, by the clock of the server.
    pub since: Option<SystemTime>,
}

/// What all handles of a session and its driver share.
pub(crate) struct Shared {
    state: Mutex<State>,
    window: Window,
    settings: Arc<Settings>,
    /// The driver has something new to look at.
    driver: Notify,
    /// There is a channel that needs a connection.
    work: Notify,
    /// The driver has ended.
    ended: Notify,
    handles: AtomicUsize,
}

/// Keeps the driver running.
pub(crate) struct Handle(Arc<Shared>);

impl Session {
    /// Must be called inside a tokio runtime.
    pub(crate) fn start(settings: Arc<Settings>) -> Self {
        let in_flight = settings.in_flight;
        Self::with_window(settings, in_flight)
    }

    /// One whose window holds so many appends and bytes. Must be called inside a tokio runtime.
    pub(crate) fn with_window(settings: Arc<Settings>, (appends, bytes): (u32, u64)) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(settings.give_up_after)),
            window: Window::new(appends, bytes),
            settings,
            driver: Notify::new(),
            work: Notify::new(),
            ended: Notify::new(),
            handles: AtomicUsize::new(1),
        });
        // Not joined: it ends with the last handle, and tells those who wait for that through `ended`.
        tokio::spawn(Driver::new(Arc::clone(&shared)).run());
        Self(Handle(shared))
    }

    /// Opens a file for appending. It is created with the first append, if there is none.
    ///
    /// # Errors
    /// The server refused for good (with its reason), the path or producer is not valid, or nothing was heard of the
    /// server for as long as [`give_up_after`](crate::ClientBuilder::give_up_after) says.
    pub async fn open(&self, path: &str, options: OpenOptions) -> Result<Writer> {
        self.open_as(Mode::Append, path, options).await
    }

    pub(crate) async fn open_as(&self, mode: Mode, path: &str, options: OpenOptions) -> Result<Writer> {
        check_path(path)?;
        let identity = options.producer.identity().map_err(|error| error.on(path))?;
        let (now, policy) = (Instant::now(), options.batch);
        let lane = self.0.0.change(|state, _| state.add(path.to_owned(), mode, options, identity, now))?;
        self.0.0.work.notify_one();
        self.0.0.driver.notify_one();
        let span = telemetry::open_span(path);
        let opened = Writer::open(self.0.clone(), lane, policy).instrument(span.clone()).await;
        opened.inspect_err(|error| telemetry::failed(&span, error))
    }

    /// Waits until everything that was written on all files of the session is acknowledged, then ends it. Writers that
    /// are left get an error of kind [`Closed`](crate::ErrorKind::Closed) from then on.
    ///
    /// # Errors
    /// The first failure of a channel while closing, or of one whose writer was dropped before.
    pub async fn close(self) -> Result<()> {
        let shared = &self.0.0;
        let lanes = shared.state().open_batches();
        shared.seal(lanes);
        shared.state().closing = true;
        shared.driver.notify_one();
        loop {
            let ended = shared.ended.notified();
            if shared.state().ended {
                break;
            }
            ended.await;
        }
        shared.state().orphaned.take().map_or(Ok(()), Err)
    }

    /// What the session is doing now.
    #[must_use]
    pub fn stats(&self) -> SessionStats {
        self.0.0.state().stats()
    }
}

#[cfg(test)]
impl Session {
    pub(crate) fn free(&self) -> (usize, usize) {
        self.0.0.window.free()
    }

    pub(crate) fn watch(&self) -> std::sync::Weak<Shared> {
        Arc::downgrade(&self.0.0)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, then does what follows from it. Must not be called with the batch of a lane locked.
    fn change<T>(&self, change: impl FnOnce(&mut State, &mut Effects) -> T) -> T {
        let mut effects = Effects::default();
        let (output, waker, unacked) = {
            let mut state = self.state();
            let output = change(&mut state, &mut effects);
            (output, state.take_waker(), state.unacked())
        };
        waker.into_iter().for_each(std::task::Waker::wake);
        self.settle(effects, unacked);
        output
    }

    fn settle(&self, effects: Effects, unacked: usize) {
        let Effects { replies, done, changed, failed, tally } = effects;
        let bytes = done.iter().map(|append| append.window_bytes as usize).sum();
        self.window.give(done.len(), bytes);
        let telemetry = &self.settings.telemetry;
        if !done.is_empty() {
            telemetry.done(done.len(), done.iter().map(|append| append.data.len()).sum());
        }
        telemetry.answered(&tally);
        for (reply, result) in replies {
            let _ = reply.send(result); // nobody waits for this one any more
        }
        changed.iter().for_each(|lane| lane.notify());
        self.seal(failed);
        if unacked == 0 {
            self.relieve();
        }
    }

    fn answers(&self, answers: impl Iterator<Item = WriteResponse>) -> Result<()> {
        let now = Instant::now();
        self.change(|state, effects| answers.into_iter().try_for_each(|answer| state.answer(answer, now, effects)))
    }

    /// Does what is due. Gives when to look again.
    fn tick(&self) -> Option<Instant> {
        let now = Instant::now();
        let (due, next) = self.change(|state, effects| state.tick(now, effects));
        for lane in due {
            self.linger_over(&lane, now);
        }
        next
    }

    /// Sends the batch of a lane if its time has come, or waits on.
    fn linger_over(&self, lane: &Lane, now: Instant) {
        let mut batch = lane.batch();
        match batch.deadline {
            Some(deadline) if deadline > now && !batch.is_empty() => self.arm(lane.id, deadline),
            _ => drop(Lane::take(&mut batch).map(|append| self.submit(lane, append, None))),
        }
    }

    fn arm(&self, id: u32, deadline: Instant) {
        if self.state().arm(id, deadline) {
            self.driver.notify_one();
        }
    }

    /// Sends the batches of these lanes; those of ended channels are dropped, and give back their room.
    fn seal(&self, lanes: Vec<Arc<Lane>>) {
        for lane in lanes {
            let mut batch = lane.batch();
            drop(Lane::take(&mut batch).map(|append| self.submit(&lane, append, None)));
        }
    }

    /// Hands an append over for sending. Does not wait: its room was taken before.
    fn submit(&self, lane: &Lane, append: Sealed, reply: Option<Reply>) -> Result<()> {
        let (bytes, window_bytes) = (append.data.len(), append.window_bytes as usize);
        self.settings.telemetry.sent(bytes);
        let (taken, waker) = {
            let mut state = self.state();
            let taken = state.push(lane.id, append, reply);
            (taken, state.take_waker())
        };
        waker.into_iter().for_each(std::task::Waker::wake);
        if taken {
            return Ok(());
        }
        self.window.give(1, window_bytes);
        self.settings.telemetry.done(1, bytes);
        Err(lane.error().unwrap_or_else(|| Error::closed(&lane.path).with_outcome(Outcome::NotApplied)))
    }

    /// If somebody waits for room, and no ack will make any, the room is in batches that wait for more records.
    fn relieve(&self) {
        if !self.window.has_waiters() {
            return;
        }
        let lanes = {
            let state = self.state();
            if state.unacked() == 0 { state.open_batches() } else { Vec::new() }
        };
        self.seal(lanes);
    }

    /// Waits for room, or for the channel to fail.
    async fn room(&self, lane: &Lane, appends: u32, bytes: u32) -> Result<Taken<'_>> {
        let _waiting = self.window.wait();
        self.settings.telemetry.waits();
        self.relieve();
        tokio::select! {
            biased;
            error = lane.wait(|| lane.error()) => Err(error),
            taken = self.window.take(appends, bytes) => Ok(taken),
        }
    }

    fn is_unused(&self) -> bool {
        if self.handles.load(Ordering::Acquire) == 0 {
            return true;
        }
        let state = self.state();
        state.closing && !state.is_busy()
    }

    /// The driver has ended: all who wait get an error.
    fn end(&self) {
        self.change(|state, effects| {
            state.ended = true;
            state.offline(None, effects);
            state.fail_all(Error::closed, effects);
        });
        self.ended.notify_waiters();
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        self.0.handles.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.0.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.driver.notify_one();
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
