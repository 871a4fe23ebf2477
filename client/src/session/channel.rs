//! One channel as a state machine over frames: what is not acked yet, what may be sent, what an answer changes.
//! Pure: no clock, no I/O, no lock.

mod answers;
mod ending;

use super::{framed, lane::Lane, stall::Clock};
use crate::{
    Ack, Error, OpenOptions, Progress, Result,
    batch::Sealed,
    producer::Identity,
    telemetry::{Moment, Tally, Trace},
};
use inkpot_proto::v1::{self, Mode, Outcome, Payload, write_request::Frame};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::{sync::oneshot, time::Instant};

/// Who waits for one append.
pub(crate) type Reply = oneshot::Sender<Result<Ack>>;

/// An append that is not acked yet. Stays here, whole, until it is.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) append: Sealed,
    reply: Option<Reply>,
    /// Bytes that it takes in the file.
    stored_bytes: u64,
    /// Place in the order in which the session sent its appends; 0: not sent yet.
    place: u64,
    /// When it was sent for the first time.
    sent: Moment,
}

/// What the channel is to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing yet, or no more: to be opened when there is a connection, and any time to wait has passed.
    Away,
    /// `Open` is on its way.
    Opening,
    /// `Opened` came.
    Open,
    /// `Finish` is on its way; everything is acked, or of no interest any more.
    Finishing,
    /// For good.
    Ended,
}

/// What is to be done outside the lock, because it wakes, frees or takes other locks.
#[derive(Default)]
pub(crate) struct Effects {
    pub(crate) replies: Vec<(Reply, Result<Ack>)>,
    /// Appends that are done with; their room goes back to the window.
    pub(crate) done: Vec<Sealed>,
    /// Whose waiters have something to look at.
    pub(crate) changed: Vec<Arc<Lane>>,
    /// Whose batch is not going anywhere.
    pub(crate) failed: Vec<Arc<Lane>>,
    pub(crate) tally: Tally,
}

/// What a nack asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing.
    Go,
    /// Try again after a while.
    Retry,
}

#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) lane: Arc<Lane>,
    pub(crate) phase: Phase,
    /// Nothing is sent on this channel until then.
    pub(crate) retry_at: Option<Instant>,
    /// A timer for the batch of the lane runs until then.
    pub(crate) timer: Option<Instant>,
    pub(crate) in_ready: bool,
    /// Whether there is still a writer.
    pub(crate) owned: bool,
    pub(crate) progress: Progress,
    pub(crate) clock: Clock,
    /// The last answer that asked to wait.
    pub(crate) refusal: Option<Error>,
    mode: Mode,
    options: OpenOptions,
    identity: Identity,
    unacked: VecDeque<Pending>,
    /// Seq of the first of `unacked`.
    front_seq: u64,
    /// How many of `unacked` were sent, in this try.
    cursor: usize,
    /// Highest seq that went out on this connection.
    sent_seq: u64,
    /// Highest seq that the server may have applied without having said so.
    doubtful_seq: u64,
    /// Highest seq that the server had by its own word when it opened the file: no refusal of another try undoes it.
    told_seq: u64,
    /// Generation that was last heard of.
    generation: u64,
    finish: bool,
    /// How it ends; without a channel number.
    end: v1::Finish,
    /// The server may have published the upload without having said so.
    finish_in_doubt: bool,
    /// How it has ended.
    pub(crate) finished: Option<v1::Finished>,
}

impl Channel {
    pub(crate) fn new(lane: Arc<Lane>, mode: Mode, options: OpenOptions, identity: Identity, now: Instant) -> Self {
        Self {
            lane,
            phase: Phase::Away,
            retry_at: None,
            timer: None,
            in_ready: false,
            owned: true,
            progress: Progress::default(),
            clock: Clock::start(now),
            refusal: None,
            mode,
            options,
            identity,
            unacked: VecDeque::new(),
            front_seq: 1,
            cursor: 0,
            sent_seq: 0,
            doubtful_seq: 0,
            told_seq: 0,
            generation: 0,
            finish: false,
            end: ending::without_a_word(mode),
            finish_in_doubt: false,
            finished: None,
        }
    }

    /// Takes an append for sending.
    pub(crate) fn push(&mut self, append: Sealed, reply: Option<Reply>, now: Option<Instant>) {
        if let Some(now) = now {
            self.clock.acked(now);
        }
        self.progress.sent_records += u64::from(append.records);
        let stored_bytes = framed::stored_bytes(&append, self.options.framing, self.options.timestamps);
        self.unacked.push_back(Pending { append, reply, stored_bytes, place: 0, sent: Moment::default() });
    }

    /// Whether anybody waits for an answer of the server.
    pub(crate) fn waits(&self) -> bool {
        self.phase != Phase::Ended && (!self.unacked.is_empty() || self.lane.opened().is_none() || self.finish)
    }

    pub(crate) fn unacked(&self) -> usize {
        self.unacked.len()
    }

    pub(crate) fn unacked_bytes(&self) -> u64 {
        self.unacked.iter().map(|pending| pending.append.data.len() as u64).sum()
    }

    /// Whether there is something that may be sent now.
    pub(crate) fn sendable(&self) -> bool {
        self.phase == Phase::Open && self.retry_at.is_none() && self.cursor < self.unacked.len()
    }

    /// Place of the oldest append in the order of sending, if it waits for nothing but the server.
    pub(crate) fn place(&self) -> Option<u64> {
        let front = self.unacked.front().filter(|_| self.phase == Phase::Open && self.retry_at.is_none())?;
        Some(if self.cursor == 0 { u64::MAX } else { front.place })
    }

    /// The frame that opens the file, here or again.
    pub(crate) fn open(&mut self) -> Frame {
        self.phase = Phase::Opening;
        self.cursor = 0;
        self.retry_at = None;
        Frame::Open(v1::Open {
            channel: self.lane.id,
            path: self.lane.path.clone(),
            mode: self.mode.into(),
            producer_id: self.identity.id.clone(),
            producer_epoch: self.identity.epoch,
            durability: self.options.durability.into(),
            admission: self.options.admission.into(),
            framing: self.options.framing.into(),
            if_generation: self.if_generation(),
            timestamps: self.options.timestamps,
        })
    }

    /// What the caller asked for holds for the first Open; later ones must find what the first one found or made. An upload
    /// makes nothing that could be found before it is published.
    fn if_generation(&self) -> Option<u64> {
        let asked = self.options.if_generation?;
        if self.is_upload() {
            return Some(asked);
        }
        match (self.generation, self.doubtful_seq) {
            (0, 0) => Some(asked),
            (0, _) => None,
            (generation, _) => Some(generation),
        }
    }

    /// The next append to send.
    pub(crate) fn next(&mut self, place: u64, now: Moment) -> Option<(Frame, usize, bool)> {
        if !self.sendable() {
            return None;
        }
        let seq = self.front_seq.checked_add(self.cursor as u64)?;
        let pending = self.unacked.get_mut(self.cursor)?;
        let again = std::mem::replace(&mut pending.place, place) != 0;
        if !again {
            pending.sent = now;
        }
        self.cursor += 1;
        self.sent_seq = self.sent_seq.max(seq);
        self.doubtful_seq = self.doubtful_seq.max(seq);
        let append = &pending.append;
        let payload = Payload { data: append.data.clone(), record_lengths: append.lengths.clone() };
        let frame = Frame::Append(v1::Append {
            channel: self.lane.id,
            seq,
            payload: Some(payload),
            crc32c: Some(append.crc32c),
            traceparent: append.trace.map(Trace::traceparent).unwrap_or_default(),
            ..v1::Append::default()
        });
        Some((frame, append.data.len(), again))
    }

    /// The connection is gone. An error: the channel cannot go on.
    pub(crate) fn offline(&mut self, cause: &Error) -> Result<()> {
        self.cursor = 0;
        self.sent_seq = 0;
        self.retry_at = None;
        self.in_ready = false;
        if self.phase == Phase::Finishing && !self.must_tell() {
            self.phase = Phase::Ended; // everything is acked, and there is nothing to publish
        }
        if self.phase == Phase::Ended {
            return Ok(());
        }
        self.phase = Phase::Away;
        if !self.identity.resends() && self.in_doubt() {
            return Err(Error::not_resent(cause));
        }
        Ok(())
    }

    fn in_doubt(&self) -> bool {
        self.finish_in_doubt || (!self.unacked.is_empty() && self.doubtful_seq >= self.front_seq)
    }

    /// How long to wait before the next try.
    pub(crate) fn retry_delay(&self, default: Duration) -> Duration {
        self.refusal.as_ref().and_then(Error::retry_after).unwrap_or(default)
    }

    /// Ends the channel with an error for all who wait. What may have been applied is said to be unknown.
    pub(crate) fn fail(&mut self, error: Error, effects: &mut Effects) {
        let outcome = if self.in_doubt() { Outcome::Unknown } else { Outcome::NotApplied };
        let error = error.on(&self.lane.path).after(self.progress.clone());
        self.phase = Phase::Ended;
        self.lane.set_error(error.clone().with_outcome(outcome));
        for (index, pending) in self.unacked.drain(..).enumerate() {
            let doubtful = self.front_seq.saturating_add(index as u64) <= self.doubtful_seq;
            let outcome = if doubtful { Outcome::Unknown } else { Outcome::NotApplied };
            if let Some(reply) = pending.reply {
                effects.replies.push((reply, Err(error.clone().with_outcome(outcome))));
            }
            effects.done.push(pending.append);
        }
        self.cursor = 0;
        effects.failed.push(Arc::clone(&self.lane));
        effects.changed.push(Arc::clone(&self.lane));
    }
}
