//! When a channel has waited for too long. Pure: the caller tells the time.

use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;

/// How much longer a channel may go without an ack if only connections come and go.
const WITHOUT_ACK_FACTOR: u32 = 3;
const BUCKETS: u32 = 16;

/// When a channel last got on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    acked: Instant,
    moved: Instant,
}

impl Clock {
    /// Begins to run.
    pub(crate) fn start(now: Instant) -> Self {
        Self { acked: now, moved: now }
    }

    /// An ack came, or there was nothing to wait for until now.
    pub(crate) fn acked(&mut self, now: Instant) {
        *self = Self::start(now);
    }

    /// The file was opened on a connection.
    pub(crate) fn opened(&mut self, now: Instant) {
        self.moved = now;
    }

    pub(crate) fn stalled(&self, now: Instant, give_up_after: Duration) -> bool {
        now.duration_since(self.moved) > give_up_after
            || now.duration_since(self.acked) > give_up_after.saturating_mul(WITHOUT_ACK_FACTOR)
    }
}

/// Which appends of the whole session were acked lately. The server reads a session in order, so an ack for an append
/// that was sent before mine is progress for mine: a channel must not give up only because a slow limit lets the
/// others in front of it pass one by one.
#[derive(Debug)]
pub(crate) struct Trail {
    width: Duration,
    /// Beginning of a stretch of time, and the lowest place in the order of sending that was acked in it.
    buckets: VecDeque<(Instant, u64)>,
}

impl Trail {
    pub(crate) fn new(give_up_after: Duration) -> Self {
        Self { width: give_up_after / BUCKETS, buckets: VecDeque::with_capacity(BUCKETS as usize + 2) }
    }

    /// An append that was sent in this place was acked.
    pub(crate) fn note(&mut self, now: Instant, place: u64) {
        match self.buckets.back_mut() {
            Some((begin, lowest)) if now.duration_since(*begin) <= self.width => *lowest = place.min(*lowest),
            _ => self.buckets.push_back((now, place)),
        }
        if self.buckets.len() > BUCKETS as usize + 2 {
            self.buckets.pop_front();
        }
    }

    /// Whether something that was sent before `place` was acked lately.
    pub(crate) fn moved_before(&self, place: u64, now: Instant, give_up_after: Duration) -> bool {
        self.buckets.iter().any(|(begin, lowest)| *lowest < place && now.duration_since(*begin) <= give_up_after)
    }
}

#[cfg(test)]
mod tests;
