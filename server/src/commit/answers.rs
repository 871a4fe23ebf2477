//! What a commit has to tell once it is through: acks, refusals that reveal what it made durable, opens. Collected in
//! order while the frame is built, released in order after its sync.

use crate::{
    admission::Tenant,
    shard::{
        SessionLink, WriteState,
        outbox::{Ack, Event},
    },
    telemetry::{Acked, ShardMetrics},
};
use inkpot_proto::{
    error::Refused,
    v1::{Durability, ErrorReason},
};
use std::{sync::Arc, time::Instant};
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
    /// How many records it has.
    pub records: u32,
    /// When it was read.
    pub since: Instant,
}

#[derive(Debug)]
enum Draft {
    Ack { session: Arc<SessionLink>, channel: u32, ack: Ack, records: u64, since: Instant },
    Event(Arc<SessionLink>, Event),
    Ended(Arc<SessionLink>, Event),
    State(oneshot::Sender<Result<WriteState, Refused>>, WriteState),
    Later(Later),
}

/// Tells an answer, or why it is none.
type Tell = dyn FnOnce(Option<&Refused>) + Send;

/// Something that is told when the commit is through, or that it failed.
struct Later(Box<Tell>);

impl std::fmt::Debug for Later {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Later")
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Answers(Vec<Draft>);

impl Answers {
    /// Acknowledges an append when the commit is through. Appends of a channel that follow each other, in seq and in the
    /// file, share an ack.
    pub fn ack(&mut self, session: &Arc<SessionLink>, channel: u32, taken: Taken) {
        if let Some(Draft::Ack { session: last, channel: same, ack, records, .. }) = self.0.last_mut()
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
            *records += u64::from(taken.records);
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
        let (records, since) = (u64::from(taken.records), taken.since);
        self.0.push(Draft::Ack { session: Arc::clone(session), channel, ack, records, since });
    }

    /// Refuses an append.
    pub fn nack(&mut self, session: &Arc<SessionLink>, channel: u32, seq: u64, refused: Box<Refused>) {
        session.count_refusal(refused.reason);
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

    /// Tells the end of an upload's channel in its turn: what it came to is not known if the commit fails.
    pub fn ended(&mut self, session: &Arc<SessionLink>, event: Event) {
        self.0.push(Draft::Ended(Arc::clone(session), event));
    }

    /// Answers a question in its turn.
    pub fn state(&mut self, reply: oneshot::Sender<Result<WriteState, Refused>>, state: WriteState) {
        self.0.push(Draft::State(reply, state));
    }

    /// Answers a request in its turn: if the commit fails, that it is not known what became of it, or, if it was refused
    /// anyway, that the shard is closed.
    pub fn later<T: Send + 'static>(&mut self, reply: oneshot::Sender<Result<T, Refused>>, answer: Result<T, Refused>) {
        self.0.push(Draft::Later(Later(Box::new(move |failed| {
            let _ = reply.send(match (failed, answer) {
                (None, answer) => answer,
                (Some(refused), Ok(_)) => Err(refused.clone()),
                (Some(_), Err(_)) => Err(closed("the request was not carried out")),
            });
        }))));
    }

    /// How many appends wait to be acknowledged.
    #[must_use]
    pub fn appends(&self) -> u64 {
        let appends = |draft: &Draft| if let Draft::Ack { ack, .. } = draft { u64::from(ack.appends) } else { 0 };
        self.0.iter().map(appends).sum()
    }

    /// Tells everything: the commit reached `level`.
    pub fn release(&mut self, level: Durability, metrics: &ShardMetrics) {
        // First: who is told must find it counted.
        self.count(level, metrics);
        for draft in self.0.drain(..) {
            match draft {
                Draft::Event(session, event) | Draft::Ended(session, event) => session.outbox.push(event),
                Draft::State(reply, state) => _ = reply.send(Ok(state)),
                Draft::Later(Later(tell)) => tell(None),
                Draft::Ack { session, channel, mut ack, .. } => {
                    ack.level = level;
                    if level == Durability::Synced {
                        ack.synced_seq = ack.synced_seq.max(ack.through_seq);
                    }
                    session.outbox.push(Event::Ack { channel, ack });
                }
            }
        }
    }

    fn count(&self, level: Durability, metrics: &ShardMetrics) {
        let now = Instant::now();
        let mut tally = CommitTally { level, tenant: None, acked: Acked::default() };
        let mut last = None;
        for draft in &self.0 {
            if let Draft::Ack { session, ack, records, since, .. } = draft {
                tally.add(&session.tenant, ack, *records);
                // What a session reads at once has one time, and may be thousands of acks.
                if last.replace(*since) != Some(*since) {
                    metrics.write_duration(level).duration(now.saturating_duration_since(*since));
                }
            }
        }
    }

    /// The commit failed: appends that were taken get `refused`. Everything else may rest on what is not durable now, so
    /// it gets, instead of its answer, that nothing was applied.
    pub fn fail(&mut self, refused: &Refused) {
        for draft in self.0.drain(..) {
            match draft {
                Draft::Ack { session, channel, ack, .. } => {
                    let first = ack.through_seq + 1 - u64::from(ack.appends);
                    for seq in first..=ack.through_seq {
                        session.refuse_append(channel, seq, Box::new(refused.clone()));
                    }
                }
                Draft::Ended(session, Event::Finished { channel, .. }) => {
                    session.refuse_channel(channel, Box::new(refused.clone()));
                }
                Draft::Event(session, event) | Draft::Ended(session, event) => {
                    session.outbox.push(unrevealing(event));
                }
                Draft::State(reply, _) => _ = reply.send(Err(closed("the question was not answered"))),
                Draft::Later(Later(tell)) => tell(Some(refused)),
            }
        }
    }
}

/// Counts what a commit acknowledged, tenant by tenant: their counters are shared between shards, so that touching them
/// for each ack would cost.
struct CommitTally<'a> {
    level: Durability,
    tenant: Option<&'a Arc<Tenant>>,
    acked: Acked,
}

impl<'a> CommitTally<'a> {
    fn add(&mut self, tenant: &'a Arc<Tenant>, ack: &Ack, records: u64) {
        if self.tenant.is_none_or(|last| !Arc::ptr_eq(last, tenant)) {
            self.put_down();
            self.tenant = Some(tenant);
        }
        let duplicates = u64::from(ack.duplicates);
        self.acked.add(if duplicates > 0 {
            Acked { duplicates, ..Acked::default() }
        } else {
            let bytes = ack.end_offset.unwrap_or(0).saturating_sub(ack.first_offset.unwrap_or(0));
            Acked { appends: u64::from(ack.appends), records, bytes, duplicates }
        });
    }

    fn put_down(&mut self) {
        if let Some(tenant) = self.tenant.take() {
            tenant.tally.acked(self.level, std::mem::take(&mut self.acked));
        }
    }
}

impl Drop for CommitTally<'_> {
    fn drop(&mut self) {
        self.put_down();
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
