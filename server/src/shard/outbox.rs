//! What a shard tells a session. A shard pushes and never waits; the session's response stream takes. Bounded by what
//! the session lets be outstanding: it stops reading when too many of its appends are unanswered.

use inkpot_proto::{error::Refused, v1::Durability};
use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime},
};
use tokio::sync::Notify;

/// Something that a session has to tell its client.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A channel is open.
    Opened {
        /// The channel.
        channel: u32,
        /// What the client learns of file and producer.
        state: OpenState,
    },
    /// Appends reached their level.
    Ack {
        /// The channel.
        channel: u32,
        /// What is acknowledged.
        ack: Ack,
    },
    /// An append (`seq` above 0) or the channel itself (`seq` 0) was refused.
    Nack {
        /// The channel.
        channel: u32,
        /// The append.
        seq: u64,
        /// Why.
        refused: Box<Refused>,
        /// Whether this answers an append that the session counted as outstanding.
        answers_append: bool,
    },
    /// A channel has ended after all its appends were answered.
    Finished {
        /// The channel.
        channel: u32,
        /// Generation of the file; 0 if there is none.
        generation: u64,
        /// Committed size of the file in bytes.
        size: u64,
        /// crc32c of those bytes.
        crc32c: u32,
    },
    /// From the session: an append or a channel that no shard hears of was refused.
    Refuse {
        /// The channel.
        channel: u32,
        /// The append; 0 for the channel itself.
        seq: u64,
        /// Why.
        refused: Box<Refused>,
    },
    /// From the session: what came before the ping is answered or queued.
    Pong {
        /// The number of the ping.
        token: u64,
    },
    /// From the session: it waits for a limit.
    Throttled {
        /// Name of the limit, as in the configuration.
        limit: &'static str,
        /// Since when.
        since: SystemTime,
    },
    /// From the session: it takes no more.
    GoAway {
        /// When the stream is cut.
        deadline: Duration,
        /// Why.
        reason: &'static str,
    },
    /// From the session: the stream ends with this.
    Fail(Box<Refused>),
}

/// Appends that reached their level: back to back in `[first_offset, end_offset)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Highest seq that is covered.
    pub through_seq: u64,
    /// Offset of the first byte of the first append of this ack, unless it is a duplicate that is no longer remembered.
    pub first_offset: Option<u64>,
    /// Offset after the last byte, likewise.
    pub end_offset: Option<u64>,
    /// The lowest level that they reached.
    pub level: Durability,
    /// Highest seq of the channel that is synced.
    pub synced_seq: u64,
    /// Generation of the file.
    pub generation: u64,
    /// How many were there before.
    pub duplicates: u32,
    /// How many appends this ack answers.
    pub appends: u32,
}

/// Answer to an open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenState {
    /// Generation of the file; 0 while there is none.
    pub generation: u64,
    /// Epoch that the producer now has; 0 without one.
    pub epoch: u64,
    /// Last seq of that epoch that is committed.
    pub last_seq: u64,
    /// Where the next append would begin, in bytes.
    pub next_offset: u64,
    /// The epoch before, if this open raised it.
    pub previous_epoch: u64,
    /// Last seq of the epoch before.
    pub previous_last_seq: u64,
    /// The channel is an upload.
    pub upload: bool,
    /// The upload was published before.
    pub published: bool,
}

/// The queue of one session.
#[derive(Debug, Default)]
pub struct Outbox {
    state: Mutex<State>,
    /// Appends that were handed on, and answers of the session itself, less what the client's side has taken.
    outstanding: AtomicU64,
    /// Told when `outstanding` falls, or the outbox closes.
    pub drained: Notify,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Event>,
    /// How many events were taken.
    taken: u64,
    waker: Option<Waker>,
    /// No more comes; the stream ends when `events` is empty.
    ended: bool,
    /// Nobody takes any more.
    closed: bool,
}

impl Outbox {
    /// Queues an event; drops it if the session is gone.
    pub fn push(&self, event: Event) {
        let waker = {
            let mut state = self.lock();
            if state.closed {
                self.answered(&event);
                return;
            }
            state.events.push_back(event);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Queues an event of the session itself. Counts as outstanding too, so that a client that asks and never reads is
    /// bounded like one that appends.
    pub fn tell(&self, event: Event) {
        self.expect_answers(1);
        self.push(event);
    }

    /// Counts appends that are about to be handed on and will each be answered.
    pub fn expect_answers(&self, appends: u64) {
        self.outstanding.fetch_add(appends, Ordering::Relaxed);
    }

    /// Appends whose answer was not taken yet, and what the session itself has queued.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        self.outstanding.load(Ordering::Relaxed)
    }

    /// The next event for the client; `None` when no more comes.
    pub fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let mut state = self.lock();
        if let Some(event) = state.events.pop_front() {
            state.taken += 1;
            drop(state);
            self.answered(&event);
            return Poll::Ready(Some(event));
        }
        if state.ended || state.closed {
            return Poll::Ready(None);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Lets the stream end once everything queued is taken.
    pub fn end(&self) {
        self.finish(|state| state.ended = true);
    }

    /// The client is gone: forgets what is queued and takes nothing more.
    pub fn close(&self) {
        self.close_with(None);
    }

    /// The client does not take what is queued: forgets it, takes nothing more, and ends the stream with `refused`.
    pub fn cut(&self, refused: Box<Refused>) {
        self.close_with(Some(Event::Fail(refused)));
    }

    /// How many events wait to be taken, and how many were taken so far.
    #[must_use]
    pub fn progress(&self) -> (usize, u64) {
        let state = self.lock();
        (state.events.len(), state.taken)
    }

    fn close_with(&self, last: Option<Event>) {
        self.finish(|state| {
            state.closed = true;
            state.events.clear();
            state.events.extend(last);
        });
        self.outstanding.store(0, Ordering::Relaxed);
        self.drained.notify_waiters();
    }

    /// Whether the client is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn finish(&self, change: impl FnOnce(&mut State)) {
        let waker = {
            let mut state = self.lock();
            change(&mut state);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn answered(&self, event: &Event) {
        let appends = match event {
            Event::Ack { ack, .. } => u64::from(ack.appends),
            Event::Nack { answers_append, .. } => u64::from(*answers_append),
            Event::Refuse { .. } | Event::Pong { .. } | Event::Throttled { .. } => 1,
            Event::Opened { .. } | Event::Finished { .. } | Event::GoAway { .. } | Event::Fail(_) => 0,
        };
        if appends > 0 {
            // Closing sets the count to zero while answers are still on their way.
            let down = |n: u64| Some(n.saturating_sub(appends));
            let _ = self.outstanding.fetch_update(Ordering::Relaxed, Ordering::Relaxed, down);
            self.drained.notify_waiters();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
