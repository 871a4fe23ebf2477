//! The session as a state machine: its channels, what goes out next, what an answer changes. Pure: the caller holds
//! the lock, tells the time and carries out the effects.

mod answers;
mod timers;

use super::{
    channel::{Channel, Effects, Phase, Reply},
    lane::Lane,
    stall::Trail,
};
use crate::{Error, OpenOptions, Result, SessionStats, batch::Sealed, producer::Identity, telemetry::Moment};
use inkpot_proto::v1::{self, Mode, WriteRequest, write_request::Frame};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    sync::Arc,
    task::Waker,
    time::Duration,
};
use tokio::time::Instant;

/// Most that is handed to the transport at a time: little, so that what must go first need not wait for it.
const PULL_FRAMES: usize = 128;
const PULL_BYTES: usize = 256 << 10;

pub(crate) struct State {
    channels: HashMap<u32, Channel>,
    next_id: u32,
    /// Goes out before any append.
    control: VecDeque<Frame>,
    /// Channels with something to send, each once.
    ready: VecDeque<u32>,
    /// A `Flush` goes out behind what is ready.
    flush: bool,
    /// The outbound stream, if it has nothing to do.
    waker: Option<Waker>,
    /// Number of the present connection; 0: none.
    link: u64,
    links: u64,
    /// Connections on which the server answered.
    answered: u64,
    /// Whether the present connection takes frames.
    sending: bool,
    /// When the server cuts the present connection.
    pub(crate) cut_at: Option<Instant>,
    /// Why it does, in its words.
    pub(crate) cut_reason: String,
    /// Whether the present connection brought an ack.
    acked_on_link: bool,
    place: u64,
    trail: Trail,
    give_up_after: Duration,
    next_stall_check: Option<Instant>,
    timers: BinaryHeap<Reverse<(Instant, u32)>>,
    /// When the driver looks at the timers next.
    pub(crate) armed: Option<Instant>,
    /// Appends of all channels that are not acked.
    unacked: usize,
    stats: SessionStats,
    /// `Session::close` was called.
    pub(crate) closing: bool,
    /// The driver has ended.
    pub(crate) ended: bool,
    /// The first failure that no writer can be told of.
    pub(crate) orphaned: Option<Error>,
}

/// What the outbound stream gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pulled {
    Frames,
    Nothing,
    End,
}

impl State {
    pub(crate) fn new(give_up_after: Duration) -> Self {
        Self {
            channels: HashMap::new(),
            next_id: 1,
            control: VecDeque::new(),
            ready: VecDeque::new(),
            flush: false,
            waker: None,
            link: 0,
            links: 0,
            answered: 0,
            sending: false,
            cut_at: None,
            cut_reason: String::new(),
            acked_on_link: false,
            place: 0,
            trail: Trail::new(give_up_after),
            give_up_after,
            next_stall_check: None,
            timers: BinaryHeap::new(),
            armed: None,
            unacked: 0,
            stats: SessionStats::default(),
            closing: false,
            ended: false,
            orphaned: None,
        }
    }

    /// Adds a channel; it is opened now, or with the next connection.
    pub(crate) fn add(
        &mut self,
        path: String,
        mode: Mode,
        options: OpenOptions,
        identity: Identity,
        now: Instant,
    ) -> Result<Arc<Lane>> {
        if self.ended || self.closing {
            return Err(Error::closed(&path));
        }
        let id = self.free_id();
        let lane = Arc::new(Lane::new(id, path));
        let mut channel = Channel::new(Arc::clone(&lane), mode, options, identity, now);
        if self.sending {
            self.control.push_back(channel.open());
        }
        self.channels.insert(id, channel);
        Ok(lane)
    }

    /// Numbers are not used again soon, so that a late answer to an old channel meets no new one.
    fn free_id(&mut self) -> u32 {
        while self.next_id == 0 || self.channels.contains_key(&self.next_id) {
            self.next_id = self.next_id.wrapping_add(1);
        }
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        id
    }

    /// Takes an append of a channel, unless that has ended. Gives whether it was taken.
    pub(crate) fn push(&mut self, id: u32, append: Sealed, reply: Option<Reply>) -> bool {
        let open = !self.closing && !self.ended;
        let Some(channel) = self.channels.get_mut(&id).filter(|channel| open && channel.phase != Phase::Ended) else {
            return false;
        };
        let begins = !channel.waits();
        channel.push(append, reply, begins.then(Instant::now));
        self.unacked += 1;
        self.make_ready(id);
        true
    }

    fn make_ready(&mut self, id: u32) {
        if let Some(channel) = self.channels.get_mut(&id).filter(|channel| !channel.in_ready && channel.sendable()) {
            channel.in_ready = true;
            self.ready.push_back(id);
        }
    }

    /// Asks the server not to wait for a larger batch.
    pub(crate) fn want_flush(&mut self) {
        self.flush = self.sending;
    }

    /// The writer of a channel wants it finished.
    pub(crate) fn want_finish(&mut self, id: u32) {
        if let Some(channel) = self.channels.get_mut(&id) {
            if !channel.waits() {
                channel.clock.acked(Instant::now());
            }
            channel.want_finish();
            self.advance(id);
        }
    }

    /// The writer of an upload wants it to end like this.
    pub(crate) fn want_end(&mut self, id: u32, end: v1::Finish, effects: &mut Effects) {
        if let Some(channel) = self.channels.get_mut(&id).filter(|channel| channel.phase != Phase::Ended) {
            self.unacked -= channel.unacked();
            channel.want_end(end, effects);
            self.unacked += channel.unacked();
        }
        self.want_finish(id);
    }

    /// The writer of a channel is gone: what was sent is seen through, then the channel is finished.
    pub(crate) fn abandon(&mut self, id: u32) {
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.owned = false;
        }
        self.want_finish(id);
        self.forget_ended(id);
    }

    fn forget_ended(&mut self, id: u32) {
        if self.channels.get(&id).is_some_and(|channel| !channel.owned && channel.phase == Phase::Ended) {
            self.channels.remove(&id);
        }
    }

    /// Queues what a channel can send now.
    fn advance(&mut self, id: u32) {
        let Some(channel) = self.channels.get_mut(&id).filter(|_| self.sending) else { return };
        if channel.phase == Phase::Away && channel.retry_at.is_none() {
            self.control.push_back(channel.open());
        } else if channel.phase != Phase::Finishing {
            self.control.extend(channel.finish());
        }
        self.make_ready(id);
    }

    /// A connection begins: all files are opened on it. Gives its number.
    pub(crate) fn begin(&mut self) -> u64 {
        self.links += 1;
        self.link = self.links;
        self.sending = true;
        self.cut_at = None;
        self.acked_on_link = false;
        self.flush = false;
        let live = self.channels.values_mut().filter(|channel| channel.phase != Phase::Ended);
        self.control = live.map(Channel::open).collect();
        self.link
    }

    /// The server answered on the connection.
    pub(crate) fn connected(&mut self) {
        self.stats.connected = true;
        self.answered += 1;
    }

    /// Connections after the first one.
    pub(crate) fn reconnects(&self) -> u64 {
        self.answered.saturating_sub(1)
    }

    /// The connection is gone. Gives whether it brought anything.
    pub(crate) fn offline(&mut self, cause: Option<&Error>, effects: &mut Effects) -> bool {
        self.link = 0;
        self.stop_sending();
        self.stats.connected = false;
        self.stats.throttled = None;
        let words = Error::transport("the server asked for a new connection");
        let error = cause.unwrap_or(&words);
        if cause.is_some() {
            self.stats.last_error = cause.cloned();
        }
        for id in self.ids() {
            let Some(channel) = self.channels.get_mut(&id) else { continue };
            match channel.offline(error) {
                Ok(()) => effects.changed.push(Arc::clone(&channel.lane)),
                Err(error) => self.fail(id, error, effects),
            }
            self.forget_ended(id);
        }
        self.acked_on_link
    }

    fn ids(&self) -> Vec<u32> {
        self.channels.keys().copied().collect()
    }

    /// No more frames on this connection.
    pub(crate) fn stop_sending(&mut self) {
        self.sending = false;
        self.control.clear();
        for id in self.ready.drain(..) {
            if let Some(channel) = self.channels.get_mut(&id) {
                channel.in_ready = false;
            }
        }
    }

    /// Wakes the outbound stream, if there is something for it to do.
    pub(crate) fn take_waker(&mut self) -> Option<Waker> {
        let idle = self.sending && self.control.is_empty() && self.ready.is_empty() && !self.flush;
        if idle { None } else { self.waker.take() }
    }

    /// What goes out next on connection `link`.
    pub(crate) fn pull(&mut self, link: u64, out: &mut VecDeque<WriteRequest>, waker: &Waker, now: Moment) -> Pulled {
        if self.link != link || !self.sending {
            return Pulled::End;
        }
        out.extend(self.control.drain(..).map(request));
        let mut bytes = 0;
        while out.len() < PULL_FRAMES && bytes < PULL_BYTES {
            let Some(id) = self.ready.pop_front() else { break };
            bytes += self.pull_channel(id, out, now);
        }
        if self.ready.is_empty() && std::mem::take(&mut self.flush) {
            out.push_back(request(Frame::Flush(v1::Flush {})));
        }
        if !out.is_empty() {
            return Pulled::Frames;
        }
        self.waker = Some(waker.clone());
        Pulled::Nothing
    }

    /// Takes the turn of one channel; it queues again if it has more.
    fn pull_channel(&mut self, id: u32, out: &mut VecDeque<WriteRequest>, now: Moment) -> usize {
        let Some(channel) = self.channels.get_mut(&id) else { return 0 };
        channel.in_ready = false;
        let mut sent = 0;
        while out.len() < PULL_FRAMES && sent < PULL_BYTES {
            self.place += 1;
            let Some((frame, bytes, again)) = channel.next(self.place, now) else { break };
            self.stats.resent_appends += u64::from(again);
            sent += bytes;
            out.push_back(request(frame));
        }
        self.make_ready(id);
        sent
    }

    /// Ends a channel with an error.
    fn fail(&mut self, id: u32, error: Error, effects: &mut Effects) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        if self.sending {
            self.control.extend(channel.give_up());
        }
        self.unacked -= channel.unacked();
        let waited = channel.waits();
        channel.fail(error, effects);
        self.stats.last_error = channel.lane.error();
        if waited && (!channel.owned || self.closing) {
            self.orphaned = self.orphaned.take().or_else(|| channel.lane.error());
        }
        self.forget_ended(id);
    }

    /// Ends all channels with an error.
    pub(crate) fn fail_all(&mut self, error: impl Fn(&str) -> Error, effects: &mut Effects) {
        for id in self.ids() {
            if let Some(channel) = self.channels.get(&id).filter(|channel| channel.phase != Phase::Ended) {
                let error = error(&channel.lane.path);
                self.fail(id, error, effects);
            }
        }
    }

    /// Whether there is a channel that needs a connection.
    pub(crate) fn has_work(&self) -> bool {
        self.channels.values().any(|channel| channel.phase != Phase::Ended)
    }

    /// Whether something was sent, or waits to be, that has no answer yet.
    pub(crate) fn is_busy(&self) -> bool {
        self.channels.values().any(Channel::waits)
    }

    pub(crate) fn unacked(&self) -> usize {
        self.unacked
    }

    /// Lanes that may have a batch.
    pub(crate) fn open_batches(&self) -> Vec<Arc<Lane>> {
        self.lanes(|channel| channel.phase != Phase::Ended)
    }

    /// Lanes of the channels that `wanted` picks.
    pub(crate) fn lanes(&self, wanted: impl Fn(&Channel) -> bool) -> Vec<Arc<Lane>> {
        self.channels.values().filter(|channel| wanted(channel)).map(|channel| Arc::clone(&channel.lane)).collect()
    }

    pub(crate) fn channel(&self, id: u32) -> Option<&Channel> {
        self.channels.get(&id)
    }

    /// The limit that the server waits for, if it said so.
    pub(crate) fn throttle(&self) -> Option<&str> {
        self.stats.throttled.as_ref().map(|throttle| throttle.limit.as_str())
    }

    pub(crate) fn stats(&self) -> SessionStats {
        let bytes = self.channels.values().map(Channel::unacked_bytes).sum();
        let reconnects = self.reconnects();
        SessionStats { reconnects, unacked_appends: self.unacked as u64, unacked_bytes: bytes, ..self.stats.clone() }
    }
}

fn request(frame: Frame) -> WriteRequest {
    WriteRequest { frame: Some(frame) }
}

#[cfg(test)]
mod tests;
