//! The ways in which a session ends, and what is still owed to the client in each.

use super::Session;
use crate::{
    rpc::draining,
    shard::{
        Command,
        outbox::{Event, Outbox},
    },
};
use inkpot_proto::{
    error::{Detail, Refused},
    v1::{ErrorReason, Outcome},
};
use std::{pin::pin, sync::Arc, time::Duration};
use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// How long a session that ends with an error waits for what is unanswered.
const ERROR_PATIENCE: Duration = Duration::from_secs(5);
/// How long a session waits for answers to opens and finishes once all appends are answered.
const CHANNEL_PATIENCE: Duration = Duration::from_secs(30);
/// How long a client may take none of the answers that wait for it.
const READER_PATIENCE: Duration = Duration::from_secs(30);
/// How often that is looked at, as a part of the patience.
const LOOKS: u32 = 6;

/// Why a session ends.
#[derive(Debug)]
pub(super) enum End {
    /// The client has sent everything.
    HalfClosed,
    /// The client has gone, or takes no answers any more.
    Vanished,
    /// The client takes no answers, or its time is over.
    Cut(Refused),
    /// A message is none.
    Broken(Status),
    /// A rule of the session was broken.
    Failed(Refused),
    /// The server is stopping.
    Draining,
}

impl Session {
    /// Waits for what is unanswered, as long as this end allows.
    pub(super) async fn settle(&self, end: &End) {
        match end {
            End::HalfClosed => self.answered().await,
            End::Broken(_) | End::Failed(_) => {
                let _ = time::timeout(ERROR_PATIENCE, self.answered()).await;
            }
            End::Draining => {
                let deadline = self.services.config.shutdown.drain;
                self.link.outbox.push(Event::GoAway { deadline, reason: "the server is stopping" });
                let _ = time::timeout(deadline, self.answered()).await;
            }
            End::Vanished | End::Cut(_) => {}
        }
    }

    /// Tells the shards, and ends the response stream.
    pub(super) async fn leave(&mut self, end: End) {
        let outbox = &self.link.outbox;
        let (session, unanswered) = (self.link.id, outbox.outstanding());
        self.span.in_scope(|| tracing::debug!(session, ?end, unanswered, "session ends"));
        match end {
            End::HalfClosed => {}
            End::Vanished => outbox.close(),
            End::Cut(refused) => outbox.cut(Box::new(refused)),
            End::Broken(status) => self.fail(of_status(&status)),
            End::Failed(refused) => self.fail(refused),
            // UNAVAILABLE says that nothing was applied, so it is no answer while something is open.
            End::Draining if outbox.outstanding() > 0 => self.fail(lost("the server is stopping")),
            End::Draining => self.fail(draining()),
        }
        outbox.end();
        for (shard, used) in self.services.shards.iter().zip(&self.used) {
            // A shard that has stopped knows no sessions.
            if *used {
                let _ = shard.send(Command::SessionEnded { session: Arc::clone(&self.link) }).await;
            }
        }
    }

    /// What was not answered in time may still be applied.
    fn fail(&self, refused: Refused) {
        let unanswered = self.link.outbox.outstanding();
        let refused = if unanswered == 0 {
            refused
        } else {
            let message =
                format!("{refused}; {unanswered} answers were not taken, send those appends again to learn more");
            Refused { outcome: Outcome::Unknown, message, ..refused }
        };
        self.link.outbox.push(Event::Fail(Box::new(refused)));
    }

    /// Waits until every append is answered, and a bounded time for the answers to opens and finishes.
    async fn answered(&self) {
        let outbox = &self.link.outbox;
        until(outbox, || outbox.outstanding() == 0).await;
        let settled = until(outbox, || outbox.outstanding() == 0 && self.board.asked() == 0);
        let _ = time::timeout(CHANNEL_PATIENCE, settled).await;
    }
}

async fn until(outbox: &Outbox, holds: impl Fn() -> bool) {
    loop {
        let mut drained = pin!(outbox.drained.notified());
        drained.as_mut().enable();
        if holds() {
            return;
        }
        drained.await;
    }
}

/// Waits for an end that does not come in the stream: nobody reads the answers, or the time of the call is over.
pub(super) async fn from_outside(outbox: &Outbox, gone: &CancellationToken, deadline: Option<Instant>) -> End {
    let passed = async {
        match deadline {
            Some(at) => time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = gone.cancelled() => End::Vanished,
        () = passed => End::Cut(lost_to(ErrorReason::Deadline, "the deadline of the call has passed")),
        () = not_read(outbox, READER_PATIENCE) => End::Cut(lost("the client has not read its answers for 30 s")),
    }
}

/// Waits until answers were there and none was taken for this long.
pub(super) async fn not_read(outbox: &Outbox, patience: Duration) {
    let mut last = outbox.progress().1;
    let mut since = Instant::now();
    loop {
        time::sleep(patience / LOOKS).await;
        let (waiting, taken) = outbox.progress();
        if waiting == 0 || taken != last {
            last = taken;
            since = Instant::now();
        } else if since.elapsed() >= patience {
            return;
        }
    }
}

/// The end of a session that leaves the client without some of its answers.
pub(super) fn lost(why: &str) -> Refused {
    lost_to(ErrorReason::OutcomeUnknown, why)
}

fn lost_to(reason: ErrorReason, why: &str) -> Refused {
    let message = format!("{why}; what is unanswered may be applied or not, send it again to learn more");
    Refused { outcome: Outcome::Unknown, ..Refused::new(reason, message) }
}

pub(super) fn no_first_message(waited: Duration) -> Refused {
    let message = format!("no message came within limits.first_message = {waited:?} of the beginning of the session");
    Refused::new(ErrorReason::Deadline, message).with_limit("limits.first_message")
}

/// A status of tonic that has our terms by now; anything else is a fault of ours.
fn of_status(status: &Status) -> Refused {
    let reason = Detail::of(status).map_or(ErrorReason::Internal, |detail| detail.reason);
    let refused = Refused::new(reason, status.message());
    if reason == ErrorReason::MessageTooLarge { refused.with_limit("max_message_bytes") } else { refused }
}
