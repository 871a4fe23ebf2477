//! Whose turn it is: the tenants of a shard are served by deficit round robin on bytes (Shreedhar and Varghese, 1995),
//! each tenant's items in the order they came.

use super::{
    Batch, Ending, Open, ProducerId, SessionLink, Write, WriteState,
    ids::FileKey,
    operation::{Done, Operation},
};
use crate::{
    admission::{MIN_CHARGE_BYTES, Tenant},
    commit::stager::Chunk,
    sets::Step,
};
use inkpot_proto::{error::Refused, path::TenantName};
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// What a tenant of weight 1 may take per round, in bytes.
const QUANTUM_BYTES: u64 = 64 << 10;

/// Something that waits for its turn.
#[derive(Debug)]
pub enum Item {
    /// An open.
    Open(Open),
    /// An append, and when its batch was read.
    Write(Arc<SessionLink>, Write, Instant),
    /// The end of a channel.
    Finish {
        /// The session.
        session: Arc<SessionLink>,
        /// The channel.
        channel: u32,
        /// What becomes of an upload.
        ending: Ending,
    },
    /// The end of a session.
    SessionEnded(Arc<SessionLink>),
    /// An append of an upload whose bytes are staged, unless it is refused.
    Staged {
        /// The session.
        session: Arc<SessionLink>,
        /// The append.
        write: Write,
        /// When its batch was read.
        since: Instant,
        /// Where its bytes are; `None` if they did not fit in.
        chunk: Option<Chunk>,
        /// Whether they were sent to be staged: what was sent behind them lies where they were expected to end.
        was_sent: bool,
    },
    /// The end of an upload's channel, after all that was sent on it.
    StagedFinish {
        /// The session.
        session: Arc<SessionLink>,
        /// The channel.
        channel: u32,
        /// What becomes of the upload.
        ending: Ending,
        /// Why it cannot end so.
        refused: Option<Refused>,
    },
    /// Something that had to wait for what was sent before it.
    Passed(Box<Item>),
    /// Something that is done to a file as a whole.
    Operation(Box<Operation>),
    /// A step of a set.
    Step(Box<Step>),
    /// All uploads of a tenant are discarded.
    DiscardUploads {
        /// Whose.
        tenant: TenantName,
        /// The answer: their bytes as the size.
        reply: oneshot::Sender<Result<Done, Refused>>,
    },
    /// A question about a producer.
    WriteState {
        /// The file.
        key: FileKey,
        /// The producer.
        producer: Option<ProducerId>,
        /// The answer.
        reply: oneshot::Sender<Result<WriteState, Refused>>,
    },
}

#[derive(Debug)]
enum Queued {
    Item(Item),
    Batch(Arc<SessionLink>, std::vec::IntoIter<Write>, Instant),
}

impl Item {
    /// Whose item it is, where it tells.
    #[must_use]
    pub fn tenant(&self) -> Option<Arc<Tenant>> {
        match self {
            Self::Open(open) => Some(Arc::clone(&open.session.tenant)),
            Self::Write(session, ..)
            | Self::Finish { session, .. }
            | Self::SessionEnded(session)
            | Self::Staged { session, .. }
            | Self::StagedFinish { session, .. } => Some(Arc::clone(&session.tenant)),
            Self::Passed(item) => item.tenant(),
            Self::WriteState { .. } | Self::Operation(_) | Self::Step(_) | Self::DiscardUploads { .. } => None,
        }
    }
}

/// The queue of one tenant.
#[derive(Debug)]
struct Queue {
    tenant: Arc<Tenant>,
    items: VecDeque<Queued>,
    deficit: u64,
    appends: u64,
    records: u64,
    bytes: u64,
    since: Option<Instant>,
    /// Something waits that is not to gather.
    urgent: bool,
}

/// The queues of all tenants that have something waiting.
#[derive(Debug, Default)]
pub struct Turns {
    /// The front has the turn.
    queues: VecDeque<Queue>,
}

impl Turns {
    /// Queues an item; it is served without gathering.
    pub fn push(&mut self, tenant: &Arc<Tenant>, item: Item) {
        let queue = self.queue(tenant);
        queue.items.push_back(Queued::Item(item));
        queue.urgent = true;
    }

    /// Queues appends; they may gather as the tenant's flush policy says.
    pub fn push_batch(&mut self, batch: Batch, now: Instant) {
        let queue = self.queue(&batch.session.tenant);
        for body in batch.writes.iter().filter_map(|write| write.body.as_ref().ok()) {
            queue.records += u64::from(body.records);
            queue.bytes += body.data.len() as u64;
        }
        queue.appends += batch.writes.len() as u64;
        queue.urgent |= batch.writes.iter().any(|write| write.body.is_err());
        queue.since.get_or_insert(now);
        queue.items.push_back(Queued::Batch(batch.session, batch.writes.into_iter(), batch.since));
    }

    /// Lets nothing gather any longer.
    pub fn flush(&mut self) {
        self.queues.iter_mut().for_each(|queue| queue.urgent = true);
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// How many appends wait, and their bytes.
    #[must_use]
    pub fn waiting(&self) -> (u64, u64) {
        self.queues.iter().fold((0, 0), |(appends, bytes), queue| (appends + queue.appends, bytes + queue.bytes))
    }

    /// Until when what waits may gather; `None` if nothing waits. Not later than `now`: it is due.
    #[must_use]
    pub fn due(&self, now: Instant) -> Option<Instant> {
        self.queues.iter().map(|queue| queue.due(now)).min()
    }

    /// The next item in turn.
    pub fn take(&mut self) -> Option<Item> {
        loop {
            let queue = self.queues.front_mut()?;
            let Some(cost) = queue.front_cost() else {
                self.queues.pop_front();
                continue;
            };
            if queue.deficit < cost {
                // Its turn is over; this is for the next one.
                queue.deficit += quantum(&queue.tenant);
                if self.queues.len() > 1 {
                    self.queues.rotate_left(1);
                }
                continue;
            }
            queue.deficit -= cost;
            let item = queue.pop();
            if queue.front_cost().is_none() {
                self.queues.pop_front();
            }
            return item;
        }
    }

    fn queue(&mut self, tenant: &Arc<Tenant>) -> &mut Queue {
        let found = self.queues.iter().position(|queue| Arc::ptr_eq(&queue.tenant, tenant));
        let at = found.unwrap_or_else(|| {
            self.queues.push_back(Queue::new(Arc::clone(tenant)));
            self.queues.len() - 1
        });
        &mut self.queues[at]
    }
}

impl Queue {
    fn new(tenant: Arc<Tenant>) -> Self {
        let deficit = quantum(&tenant);
        Self { tenant, items: VecDeque::new(), deficit, appends: 0, records: 0, bytes: 0, since: None, urgent: false }
    }

    fn due(&self, now: Instant) -> Instant {
        let policy = &self.tenant.flush;
        let full = self.records >= u64::from(policy.records) || self.bytes >= policy.bytes;
        if self.urgent || full || policy.delay == Duration::ZERO || self.tenant.is_waited_for() {
            return now;
        }
        self.since.unwrap_or(now) + policy.delay
    }

    /// What the front costs; `None` if the queue is empty.
    fn front_cost(&mut self) -> Option<u64> {
        loop {
            match self.items.front()? {
                Queued::Item(_) => return Some(MIN_CHARGE_BYTES),
                Queued::Batch(_, writes, _) => match writes.as_slice().first() {
                    Some(write) => return Some(cost(write)),
                    None => self.items.pop_front(),
                },
            };
        }
    }

    fn pop(&mut self) -> Option<Item> {
        if matches!(self.items.front()?, Queued::Item(_)) {
            return match self.items.pop_front()? {
                Queued::Item(item) => Some(item),
                Queued::Batch(..) => None,
            };
        }
        let Queued::Batch(session, writes, since) = self.items.front_mut()? else { return None };
        let write = writes.next()?;
        self.appends -= 1;
        if let Ok(body) = &write.body {
            self.records -= u64::from(body.records);
            self.bytes -= body.data.len() as u64;
        }
        Some(Item::Write(Arc::clone(session), write, *since))
    }
}

fn quantum(tenant: &Tenant) -> u64 {
    QUANTUM_BYTES * u64::from(tenant.weight)
}

fn cost(write: &Write) -> u64 {
    write.body.as_ref().map_or(0, |body| body.data.len() as u64).max(MIN_CHARGE_BYTES)
}

#[cfg(test)]
mod tests;
