//! What an answer of the server changes.

use super::State;
use crate::{
    Error, Result, Throttle,
    session::channel::{Channel, Effects, Phase, Then},
};
use inkpot_proto::{
    error::RETRY_AFTER,
    v1::{self, WriteResponse, write_response::Frame as Answer},
};
use std::{
    cmp::Reverse,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

/// Bounds of what a server may ask a channel to wait before the next try.
const SHORTEST_RETRY: Duration = Duration::from_millis(10);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// Time for the last acks if the server names none.
const CUT_AFTER: Duration = Duration::from_secs(5);

impl State {
    /// An answer came. An error: the connection is of no use any more.
    pub(crate) fn answer(&mut self, answer: WriteResponse, now: Instant, effects: &mut Effects) -> Result<()> {
        match answer.frame {
            Some(Answer::Ack(ack)) => self.ack(&ack, now, effects),
            Some(Answer::Opened(opened)) => {
                self.on_channel(opened.channel, effects, |channel, _| channel.opened(&opened, now).map(|()| Then::Go))
            }
            Some(Answer::Nack(nack)) => self.nack(&nack, now, effects),
            Some(Answer::Finished(finished)) => {
                self.on_channel(finished.channel, effects, |channel, _| channel.finished(&finished).map(|()| Then::Go))
            }
            Some(Answer::Redirect(redirect)) => self.on_channel(redirect.channel, effects, |_, _| {
                let endpoint = &redirect.endpoint;
                Err(Error::protocol(format_args!("redirect to {endpoint}, which this version does not follow")))
            }),
            Some(Answer::Throttled(throttled)) => {
                self.throttled(throttled);
                Ok(())
            }
            Some(Answer::GoAway(go_away)) => {
                self.go_away(go_away, now);
                Ok(())
            }
            // A Pong that nobody asked for, or a frame of a later version: nothing to do.
            Some(Answer::Pong(_)) | None => Ok(()),
        }
    }

    /// Lets a channel take an answer, and fails it if it cannot.
    fn on_channel(
        &mut self,
        id: u32,
        effects: &mut Effects,
        take: impl FnOnce(&mut Channel, &mut Effects) -> Result<Then>,
    ) -> Result<()> {
        let Some(channel) = self.channels.get_mut(&id) else {
            let known = id != 0 && id < self.next_id;
            return if known { Ok(()) } else { Err(Error::protocol(format_args!("answer for channel {id}"))) };
        };
        if channel.phase == Phase::Ended {
            return Ok(());
        }
        let before = channel.unacked();
        let taken = take(channel, effects);
        self.unacked -= before - channel.unacked();
        match taken {
            Ok(Then::Go) => {
                effects.changed.push(Arc::clone(&channel.lane));
                self.advance(id);
            }
            Ok(Then::Retry) => self.retry_later(id),
            Err(error) => self.fail(id, error, effects),
        }
        self.forget_ended(id);
        Ok(())
    }

    fn ack(&mut self, ack: &v1::Ack, now: Instant, effects: &mut Effects) -> Result<()> {
        let mut place = None;
        self.on_channel(ack.channel, effects, |channel, effects| {
            place = channel.ack(ack, now, effects)?;
            Ok(Then::Go)
        })?;
        if let Some(place) = place {
            self.trail.note(now, place);
            self.acked_on_link = true;
            self.stats.throttled = None;
        }
        Ok(())
    }

    fn nack(&mut self, nack: &v1::Nack, now: Instant, effects: &mut Effects) -> Result<()> {
        effects.tally.refused(nack.reason());
        self.on_channel(nack.channel, effects, |channel, effects| {
            let then = channel.nack(nack, effects)?;
            if then == Then::Retry {
                channel.retry_at = Some(now + jittered(channel.retry_delay(RETRY_AFTER)));
            }
            Ok(then)
        })
    }

    /// A channel waits until its `retry_at`.
    fn retry_later(&mut self, id: u32) {
        let Some(channel) = self.channels.get(&id) else { return };
        self.stats.retries += 1;
        self.stats.last_error = channel.refusal.clone();
        if let Some(at) = channel.retry_at {
            self.timers.push(Reverse((at, id)));
        }
    }

    fn throttled(&mut self, throttled: v1::Throttled) {
        let since = throttled.since.and_then(|since| SystemTime::try_from(since).ok());
        self.stats.throttles += 1;
        self.stats.throttled = Some(Throttle { limit: throttled.limit, since });
    }

    /// Says nothing to `tracing`: a subscriber may well write to this session, which is locked.
    fn go_away(&mut self, go_away: v1::GoAway, now: Instant) {
        let deadline = go_away.deadline.and_then(|deadline| Duration::try_from(deadline).ok());
        self.cut_reason = go_away.reason;
        self.stop_sending();
        self.cut_at = now.checked_add(deadline.unwrap_or(CUT_AFTER));
    }
}

/// Somewhat longer than asked for, so that those who were refused together do not come back together.
fn jittered(delay: Duration) -> Duration {
    delay.clamp(SHORTEST_RETRY, LONGEST_RETRY).mul_f64(rand::random_range(1.0..1.5))
}
