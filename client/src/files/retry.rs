//! Asking again, where that is safe.

use super::Files;
use crate::{
    Error, Outcome, Result,
    backoff::{LONGEST_BACKOFF, backoff},
};
use std::{future::Future, time::Duration};
use tokio::time::{Instant, sleep, timeout_at};

/// Whether a call may be made again although nobody knows what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// It says the same again, or does nothing the second time.
    Safe,
    /// Only if nothing was applied.
    IfNotApplied,
}

impl Again {
    /// With an operator the server knows the call again.
    pub(super) fn with(operator: Option<&inkpot_proto::v1::Operator>) -> Self {
        if operator.is_some() { Self::Safe } else { Self::IfNotApplied }
    }
}

impl Files {
    /// Makes a call until it succeeds, is refused for good, may not be made again, or the time is up.
    pub(super) async fn settle<T, F>(&self, again: Again, call: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let patience = self.give_up_after();
        let deadline = Instant::now().checked_add(patience);
        let (mut failures, mut outcome, mut last) = (0, Outcome::NotApplied, None);
        loop {
            let answer = match deadline {
                Some(deadline) => timeout_at(deadline, call()).await,
                None => Ok(call().await),
            };
            let Ok(answer) = answer else {
                return Err(Error::gave_up(patience, "the call is not answered", last.as_ref()));
            };
            let error = match answer {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let settled = again == Again::Safe || error.outcome() == Outcome::NotApplied;
            if !error.retryable() || !settled {
                // What this try was refused says nothing about the ones before.
                return Err(if outcome == Outcome::Unknown { error.with_outcome(outcome) } else { error });
            }
            if error.outcome() != Outcome::NotApplied {
                outcome = Outcome::Unknown;
            }
            let asked = error.retry_after().unwrap_or(Duration::ZERO).min(LONGEST_BACKOFF);
            let pause = backoff(failures).max(asked);
            if deadline.is_some_and(|deadline| Instant::now() + pause >= deadline) {
                return Err(Error::gave_up(patience, "the call did not succeed", Some(&error)).with_outcome(outcome));
            }
            last = Some(error);
            failures = failures.saturating_add(1);
            sleep(pause).await;
        }
    }
}
