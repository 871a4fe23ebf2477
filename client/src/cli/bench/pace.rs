//! When the appends of an open loop are due: at a fixed rate, whatever became of those before. By a timer of the kernel,
//! because the runtime's own tell milliseconds apart, which is longer than an ack takes.

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::{
    io,
    time::{Duration, Instant},
};
use tokio::net::unix::pipe::Receiver;

/// The times at which the appends of one producer are due.
#[derive(Debug)]
pub(super) struct Pace {
    timer: Receiver,
    interval: Duration,
    next: Instant,
}

impl Pace {
    /// The first is due at `first`, each further one `interval` later.
    pub(super) fn new(first: Instant, interval: Duration) -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        // It is read and polled as a pipe is.
        let timer = Receiver::from_owned_fd_unchecked(timer)?;
        Ok(Self { timer, interval, next: first })
    }

    /// When the next one is due, or was.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// The next one is done: it is the turn of the one after it.
    pub(super) fn advance(&mut self) {
        self.next += self.interval;
    }

    /// Returns once the next one is due. May be dropped and asked again.
    pub(super) async fn due(&self) -> io::Result<()> {
        loop {
            let left = self.next.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let once = Itimerspec {
                it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
                it_value: Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() },
            };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
            self.timer.readable().await?;
            // Whether it was this time or an earlier one that ran out is told by the clock.
            let _ = self.timer.try_read(&mut [0; 8]);
        }
    }
}

#[cfg(test)]
mod tests;
