//! The reading side of a session: takes what is there, checks it, finds room for it, and hands it to the shards in
//! rounds, one batch per shard. It knows channels and nothing of files: what it may not pass on goes to the shard as a
//! refusal, so that it is answered in its turn and holds up what depends on it.
//!
//! A session never decides what became of an append that a shard has.

mod ending;
mod frames;
mod gather;

use super::{
    Services,
    answer::unknown_channel,
    channels::Board,
    convert::{OpenRequest, Terms},
};
use crate::{
    admission::{Entered, Limit},
    shard::{
        Batch, Command, SessionLink, Write,
        ids::{FastMap, FileKey},
        outbox::Event,
    },
    telemetry::trace::{AppendTrace, SessionTrace},
};
use ending::End;
pub(super) use frames::{never_fits, no_room};
use gather::gather;
use inkpot_proto::{
    error::Refused,
    path::FilePath,
    v1::{ErrorReason, WriteRequest},
};
use opentelemetry::trace::SpanContext;
use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::{sync::OwnedSemaphorePermit, time};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tracing::Span;

/// How long an append may wait for room before the client is told why nothing moves.
const QUIET_WAIT: Duration = Duration::from_millis(100);

/// A channel as the session sees it.
#[derive(Debug)]
struct Channel {
    shard: usize,
    path: FilePath,
    terms: Terms,
}

/// The server has begun to stop: nothing more is taken.
struct Draining;

/// An append that found no room, and waits for it.
struct Waiting {
    shard: usize,
    channel: u32,
    seq: u64,
    append: super::convert::Checked,
    limit: Limit,
    trace: Option<Box<AppendTrace>>,
    /// When it was read.
    since: Instant,
}

/// A session; runs as a task of its own.
#[derive(Debug)]
pub struct Session {
    services: Arc<Services>,
    link: Arc<SessionLink>,
    board: Arc<Board>,
    channels: FastMap<u32, Channel>,
    /// Appends by shard that were taken and not handed on yet.
    groups: Vec<Group>,
    /// Shards that know of the session.
    used: Vec<bool>,
    /// Channel and seq of each append of the batch that is being handed on.
    in_hand: Vec<(u32, u64)>,
    /// The place among the sessions of the node.
    _place: OwnedSemaphorePermit,
    /// The place among those of the tenant.
    _entered: Entered,
    /// The span of the call. Not entered for each step of the session, which says one thing, at its end.
    span: Span,
    /// The trace of the call, if it is sampled, and what it gives to the next append.
    trace: Option<SessionTrace>,
    inherited: Option<SpanContext>,
}

/// Appends for one shard, and when the first of them was read.
#[derive(Debug, Default)]
struct Group {
    writes: Vec<Write>,
    since: Option<Instant>,
}

impl Group {
    fn push(&mut self, write: Write, read: impl FnOnce() -> Instant) {
        self.since.get_or_insert_with(read);
        self.writes.push(write);
    }
}

impl Session {
    /// A session without channels. Belongs to the trace of the present call.
    #[must_use]
    pub fn new(
        services: Arc<Services>,
        link: Arc<SessionLink>,
        board: Arc<Board>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let shards = services.shards.len();
        let entered = link.tenant.enter();
        Self {
            services,
            link,
            board,
            channels: FastMap::default(),
            groups: (0..shards).map(|_| Group::default()).collect(),
            used: vec![false; shards],
            in_hand: Vec::new(),
            _place: place,
            _entered: entered,
            span: Span::current(),
            trace: SessionTrace::of_call(),
            inherited: None,
        }
    }

    /// Serves the client until one of the two sides ends it. `gone` tells that nobody reads the answers any more;
    /// `deadline` is that of the call.
    pub async fn run(
        mut self,
        mut stream: Streaming<WriteRequest>,
        gone: CancellationToken,
        deadline: Option<time::Instant>,
    ) {
        let link = Arc::clone(&self.link);
        let end = tokio::select! {
            biased;
            end = self.serve(&mut stream) => end,
            end = ending::from_outside(&link.outbox, &gone, deadline) => end,
        };
        self.leave(end).await;
    }

    /// Reads to the end of the stream, then waits for what is unanswered.
    async fn serve(&mut self, stream: &mut Streaming<WriteRequest>) -> End {
        let end = self.read(stream).await;
        self.settle(&end).await;
        end
    }

    async fn read(&mut self, stream: &mut Streaming<WriteRequest>) -> End {
        let drain = self.services.drain.clone();
        let mut draining = pin!(drain.cancelled());
        let first = self.services.config.limits.first_message;
        let mut silence = pin!(time::sleep(first));
        let mut frames = Vec::new();
        let mut is_first = true;
        loop {
            let round = self.round(stream, &mut frames);
            let end = tokio::select! {
                biased;
                () = &mut draining => return End::Draining,
                end = round => end,
                () = &mut silence, if is_first => return End::Failed(ending::no_first_message(first)),
            };
            is_first = false;
            self.inherited = self.trace.as_mut().and_then(|trace| trace.due(Instant::now()));
            for WriteRequest { frame } in frames.drain(..) {
                if self.take(frame).await.is_err() {
                    return End::Draining;
                }
            }
            self.send_all().await;
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Waits for room and for frames; takes as many as there are. Returns the end of the stream if it came.
    async fn round(&self, stream: &mut Streaming<WriteRequest>, frames: &mut Vec<WriteRequest>) -> Option<End> {
        let room = self.room().await;
        gather(stream, frames, room).await
    }

    /// How many frames may be taken before too much is unanswered; waits while there is no room.
    async fn room(&self) -> usize {
        let outbox = &self.link.outbox;
        let limit = u64::from(self.services.config.limits.session_appends_in_flight);
        loop {
            let mut drained = pin!(outbox.drained.notified());
            drained.as_mut().enable();
            let room = limit.saturating_sub(outbox.outstanding() + self.board.asked());
            if room > 0 {
                return usize::try_from(room).unwrap_or(usize::MAX);
            }
            drained.await;
        }
    }

    /// Waits for the room that an append did not find. What was taken before it goes to the shards first, else the
    /// session might wait for itself.
    async fn wait_for_room(&mut self, waiting: Waiting) -> Result<(), Draining> {
        self.send_all().await;
        let since = SystemTime::now();
        let tenant = Arc::clone(&self.link.tenant);
        let mut acquire = pin!(tenant.acquire(waiting.append.data.len() as u64));
        let drain = self.services.drain.clone();
        let permit = tokio::select! {
            biased;
            permit = &mut acquire => permit,
            () = drain.cancelled() => return Err(Draining),
            () = time::sleep(QUIET_WAIT) => {
                self.link.outbox.tell(Event::Throttled { limit: waiting.limit.name(), since });
                tokio::select! {
                    biased;
                    permit = &mut acquire => permit,
                    () = drain.cancelled() => return Err(Draining),
                }
            }
        };
        let Waiting { shard, channel, seq, append, limit, trace, since } = waiting;
        self.services.waits.ended(&self.link.tenant.label, limit, since.elapsed());
        self.groups[shard].push(Write { channel, seq, body: Ok(append.into_body(permit, trace)) }, || since);
        Ok(())
    }

    /// Hands on everything that was taken.
    async fn send_all(&mut self) {
        for shard in 0..self.groups.len() {
            self.send_group(shard).await;
        }
    }

    /// Hands on what was taken for a shard, in one batch.
    async fn send_group(&mut self, shard: usize) {
        let group = &mut self.groups[shard];
        let Some(since) = group.since.take() else { return };
        let size = group.writes.len();
        let writes = std::mem::replace(&mut group.writes, Vec::with_capacity(size));
        self.in_hand.clear();
        self.in_hand.extend(writes.iter().map(|write| (write.channel, write.seq)));
        self.link.outbox.expect_answers(size as u64);
        let batch = Batch { session: Arc::clone(&self.link), writes, since };
        if let Err(refused) = self.services.shards[shard].send(Command::Writes(batch)).await {
            for (channel, seq) in self.in_hand.drain(..) {
                self.link.refuse_append(channel, seq, Box::new(refused.clone()));
            }
        }
    }

    /// Asks the shard of a file to open it as a channel.
    async fn send_open(&mut self, channel: u32, open: OpenRequest) {
        let tenant = self.link.tenant.name.clone();
        let shard = self.services.shard_of(&tenant, &open.path);
        self.send_group(shard).await;
        self.used[shard] = true;
        self.board.asked_to_open(channel);
        let known = Channel { shard, path: open.path.clone(), terms: open.terms };
        let command = Command::Open(crate::shard::Open {
            session: Arc::clone(&self.link),
            channel,
            key: FileKey { tenant, path: open.path },
            mode: open.mode,
            producer: open.producer,
            if_generation: open.if_generation,
        });
        match self.services.shards[shard].send(command).await {
            Ok(()) => {
                self.channels.insert(channel, known);
            }
            Err(refused) => {
                self.board.not_asked(channel);
                self.refuse(channel, Box::new(refused));
            }
        }
    }

    /// Refuses a channel as such, without asking a shard.
    fn refuse(&self, channel: u32, refused: Box<Refused>) {
        self.link.outbox.tell(Event::Refuse { channel, seq: 0, refused });
    }

    fn too_many_channels(&self) -> Box<Refused> {
        let limit = "limits.session_channels";
        let max = self.services.config.limits.session_channels;
        let message = format!("{limit} = {max} channels are open on this session; finish some, or use another session");
        Box::new(Refused::new(ErrorReason::TooManyChannels, message).with_limit(limit))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.link.outbox.cut(Box::new(ending::lost("the session has failed")));
        }
    }
}

#[cfg(test)]
mod tests;
