//! What a commit has to tell once it is through: acks, refusals that reveal what it made durable, opens. Collected in
//! order while the frame is built, released in order after its sync.

use crate::shard::{
    SessionLink, WriteState,
    outbox::{Ack, Event},
};
use inkpot_proto::{
    error::Refused,
    v1::{Durability, ErrorReason},
};
use std::sync::Arc;
use tokio::sync::oneshot;

/// An append that waits for its commit.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// Its seq.
    pub seq: u64,
    /// `[first, end)` in the file; `None` for a duplicate that is no longer remembered.
    pub range: Option<(u64, u64)>,
    /// Whether it was there before.
    pub duplicate: bool,
    /// Generation of the file.
    pub generation: u64,
    /// Highest seq of the channel that is synced already.
    pub synced_seq: u64,
}

#[derive(Debug)]
enum Draft {
    Ack { session: Arc<SessionLink>, channel: u32, ack: Ack },
    Event(Arc<SessionLink>, Event),
    State(oneshot::Sender<Result<WriteState, Refused>>, WriteState),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Answers(Vec<Draft>);

impl Answers {
    /// Acknowledges an append when the commit is through. Appends of a channel that follow each other, in seq and in the
    /// file, share an ack.
    pub fn ack(&mut self, session: &Arc<SessionLink>, channel: u32, taken: Taken) {
        if let Some(Draft::Ack { session: last, channel: same, ack }) = self.0.last_mut()
            && (last.id, *same) == (session.id, channel)
            && ack.through_seq + 1 == taken.seq
            && ack.generation == taken.generation
            && (ack.duplicates > 0) == taken.duplicate
            && ack.end_offset == taken.range.map(|(first, _)| first)
        {
            ack.through_seq = taken.seq;
            ack.end_offset = taken.range.map(|(_, end)| end);
            ack.appends += 1;
            ack.duplicates += u32::from(taken.duplicate);
            return;
        }
        let ack = Ack {
            through_seq: taken.seq,
            first_offset: taken.range.map(|(first, _)| first),
            end_offset: taken.range.map(|(_, end)| end),
            level: Durability::Unspecified,
            synced_seq: taken.synced_seq,
            generation: taken.generation,
            duplicates: u32::from(taken.duplicate),
            appends: 1,
        };
        self.0.push(Draft::Ack { session: Arc::clone(session), channel, ack });
    }

    /// Refuses an append.
    pub fn nack(&mut self, session: &Arc<SessionLink>, channel: u32, seq: u64, refused: Box<Refused>) {
        self.event(session, Event::Nack { channel, seq, refused, answers_append: true });
    }

    /// Refuses an open, or tells that a channel is lost.
    pub fn nack_channel(&mut self, session: &Arc<SessionLink>, channel: u32, refused: Refused) {
        self.event(session, Event::Nack { channel, seq: 0, refused: Box::new(refused), answers_append: false });
    }

    /// Tells something in its turn.
    pub fn event(&mut self, session: &Arc<SessionLink>, event: Event) {
        self.0.push(Draft::Event(Arc::clone(session), event));
    }

    /// Answers a question in its turn.
    pub fn state(&mut self, reply: oneshot::Sender<Result<WriteState, Refused>>, state: WriteState) {
        self.0.push(Draft::State(reply, state));
    }

    /// Tells everything: the commit reached `level`.
    pub fn release(&mut self, level: Durability) {
        for draft in self.0.drain(..) {
            match draft {
                Draft::Event(session, event) => session.outbox.push(event),
                Draft::State(reply, state) => _ = reply.send(Ok(state)),
                Draft::Ack { session, channel, mut ack } => {
                    ack.level = level;
                    if level == Durability::Synced {
                        ack.synced_seq = ack.synced_seq.max(ack.through_seq);
                    }
                    session.outbox.push(Event::Ack { channel, ack });
                }
            }
        }
    }

    /// The commit failed: appends that were taken get `refused`. Everything else may rest on what is not durable now, so
    /// it gets, instead of its answer, that nothing was applied.
    pub fn fail(&mut self, refused: &Refused) {
        for draft in self.0.drain(..) {
            match draft {
                Draft::Ack { session, channel, ack } => {
                    let first = ack.through_seq + 1 - u64::from(ack.appends);
                    for seq in first..=ack.through_seq {
                        let refused = Box::new(refused.clone());
                        session.outbox.push(Event::Nack { channel, seq, refused, answers_append: true });
                    }
                }
                Draft::Event(session, event) => session.outbox.push(unrevealing(event)),
                Draft::State(reply, _) => _ = reply.send(Err(closed("the question was not answered"))),
            }
        }
    }
}

/// What is told instead of an event that may reveal what did not become durable.
fn unrevealing(event: Event) -> Event {
    let (channel, seq, answers_append, what) = match event {
        Event::Opened { channel, .. } => (channel, 0, false, "the open was not carried out"),
        Event::Finished { channel, .. } => (channel, 0, false, "the channel is lost"),
        Event::Nack { channel, seq, answers_append: true, .. } => (channel, seq, true, "the append was not taken"),
        Event::Nack { channel, seq, answers_append: false, .. } => (channel, seq, false, "the channel is lost"),
        event => return event,
    };
    Event::Nack { channel, seq, refused: Box::new(closed(what)), answers_append }
}

/// The refusal of a shard that is closed for now.
#[must_use]
pub fn closed(what: &str) -> Refused {
    let text = format!("{what}: the shard is closed after a failure and recovers by itself; try again");
    Refused::new(ErrorReason::ShardClosed, text)
}

#[cfg(test)]
mod tests;
