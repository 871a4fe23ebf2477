//! What happens when its time has come: old batches, retries, giving up.

use super::State;
use crate::{
    Error,
    session::{
        channel::{Channel, Effects, Phase},
        lane::Lane,
    },
};
use std::{cmp::Reverse, sync::Arc, time::Duration};
use tokio::time::Instant;

/// How many times in the time to give up channels are looked at.
const STALL_CHECKS: u32 = 8;
const LONGEST_STALL_CHECK: Duration = Duration::from_secs(1);

impl State {
    /// Has a timer for the batch of a channel. Gives whether the driver must be woken for it.
    pub(crate) fn arm(&mut self, id: u32, at: Instant) -> bool {
        let Some(channel) = self.channels.get_mut(&id) else { return false };
        if channel.timer.is_some_and(|timer| timer <= at) {
            return false;
        }
        channel.timer = Some(at);
        self.timers.push(Reverse((at, id)));
        self.armed.is_none_or(|armed| at < armed)
    }

    /// Lets everything happen whose time has come. Gives the lanes whose batch may have to go, and when to look again.
    pub(crate) fn tick(&mut self, now: Instant, effects: &mut Effects) -> (Vec<Arc<Lane>>, Option<Instant>) {
        let mut due = Vec::new();
        while let Some(Reverse((_, id))) = self.timers.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            self.timers.pop();
            due.extend(self.fire(id, now));
        }
        self.check_stalls(now, effects);
        let timer = self.timers.peek().map(|Reverse((at, _))| *at);
        self.armed = timer.into_iter().chain(self.next_stall_check).min();
        (due, self.armed)
    }

    fn fire(&mut self, id: u32, now: Instant) -> Option<Arc<Lane>> {
        let channel = self.channels.get_mut(&id)?;
        if channel.retry_at.is_some_and(|at| at <= now) {
            channel.retry_at = None;
            if channel.phase == Phase::Finishing {
                self.control.extend(channel.finish());
            } else {
                self.advance(id);
            }
        }
        let channel = self.channels.get_mut(&id)?;
        channel.timer.take_if(|at| *at <= now).map(|_| Arc::clone(&channel.lane))
    }

    fn check_stalls(&mut self, now: Instant, effects: &mut Effects) {
        if self.channels.is_empty() {
            self.next_stall_check = None;
            return;
        }
        if self.next_stall_check.is_some_and(|at| now < at) {
            return;
        }
        self.next_stall_check = Some(now + (self.give_up_after / STALL_CHECKS).min(LONGEST_STALL_CHECK));
        let stalled = self.channels.iter().filter(|(_, channel)| self.is_stalled(channel, now)).map(|(id, _)| *id);
        for id in stalled.collect::<Vec<_>>() {
            let Some(channel) = self.channels.get(&id) else { continue };
            let last = channel.refusal.clone().or_else(|| self.hindrance());
            let done = format!("{} records acknowledged before", channel.progress.acked_records);
            let error = Error::gave_up(self.give_up_after, &done, last.as_ref());
            self.fail(id, error, effects);
        }
    }

    fn is_stalled(&self, channel: &Channel, now: Instant) -> bool {
        channel.waits()
            && channel.clock.stalled(now, self.give_up_after)
            && !channel.place().is_some_and(|place| self.trail.moved_before(place, now, self.give_up_after))
    }

    /// What keeps the whole session from getting on.
    fn hindrance(&self) -> Option<Error> {
        match &self.stats.throttled {
            Some(throttle) => Some(Error::throttled(&throttle.limit)),
            None => self.stats.last_error.clone().filter(|_| !self.stats.connected),
        }
    }
}
