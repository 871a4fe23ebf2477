//! The single writer of a shard's files. [`ShardWriter::commit`] is one group commit: items in turn are decided on, what
//! was decided goes into one frame, the frame is written, and synced if anyone waits for that; then it is published to
//! readers and the applier, and only then answered. One thread does all of it, so no queue lies between deciding and
//! committing, and what arrives during a sync is the next batch. Synchronous: [`driver`] is the loop around it.

mod answers;
mod append;
mod checkpoint;
pub mod driver;
mod effects;
mod frame;
mod helpers;
mod open;
mod operations;
mod quota;
mod rotation;
mod sets;
pub mod stager;
mod uploads;

pub(crate) use open::from_catalog;

use crate::{
    admission::Permit,
    apply::{backlog::Backlog, plain::PlainFiles, registry::Registry, view::FileView},
    catalog::{Catalog, CatalogError},
    config::Config,
    recovery::Recovered,
    sets::Step,
    shard::{
        Batch, SessionLink,
        decide::Channel,
        ids::{FastHash, FastMap, FileId, FileKey},
        operation::Action,
        record::{Encoder, SetId},
        state::Files,
        turns::{Item, Turns},
    },
    telemetry::{
        ShardMetrics,
        trace::{AppendTrace, CommitTrace},
    },
};
use answers::{Answers, closed};
use driver::Spec;
use effects::{Effect, TouchedPaths};
use inkpot_proto::{error::Refused, v1::ErrorReason};
use inkpot_wal::{WalError, frame::Frame, fs::FileSystem, recovery::Retained, writer::Writer};
use quota::Account;
use stager::Job;
use std::{
    collections::{HashSet, VecDeque},
    io,
    sync::Arc,
    time::{Duration, Instant},
};
use thiserror::Error;

/// A commit takes no more once its frame has this many bytes: a sync of 2 MiB costs little but what it transfers, and a
/// segment of 8 MiB is filled to three quarters at least. (2 MiB against 1 MiB: x1.05 at 64 KiB into one file, x1.08 at
/// 1 KiB x 100 into 10 000; with 4 MiB, segments that are half empty take that back.)
const FRAME_BYTES: usize = 2 << 20;
/// Room in a frame for what one item adds beside its bytes: names and numbers, in bytes.
const NAMES_BYTES: usize = 2 << 10;
/// What is only written is synced after this long.
const SYNC_WRITTEN_AFTER: Duration = Duration::from_millis(100);
/// ... or when this much is not synced, in bytes: it is kept in memory until then.
const SYNC_WRITTEN_BYTES: usize = 8 << 20;
/// An idle log is sealed after this long.
const SEAL_AFTER: Duration = Duration::from_millis(50);
/// How often the room on the disk is looked at.
const ROOM_CHECK: Duration = Duration::from_millis(100);
/// Room on the disk that is left for what is committed and not applied, beside that itself, in bytes.
const ROOM_RESERVE_BYTES: u64 = 16 << 20;
/// Room that is kept in the log on a full disk, in bytes: some hundred deletes.
const DELETES_BYTES: usize = 16 << 10;

/// Why a shard has to close.
#[derive(Debug, Error)]
pub enum ShardError {
    /// The log.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A name in the directory tree.
    #[error("{path} could not be moved")]
    Names {
        /// Which.
        path: String,
        /// The error of the file system.
        source: io::Error,
    },
}

/// Channels, by session and number.
pub type Slots = HashSet<(u64, u32), FastHash>;

/// Bytes of the frame that is being built.
#[derive(Debug)]
struct Draft {
    view: Arc<FileView>,
    offset: u64,
    start: usize,
    len: usize,
    /// crc32c of the file with them, if it is known.
    crc32c: Option<u32>,
}

/// See the module.
#[derive(Debug)]
pub struct ShardWriter {
    number: u32,
    fs: Arc<dyn FileSystem>,
    config: Arc<Config>,
    catalog: Arc<Catalog>,
    registry: Arc<Registry>,
    backlog: Arc<Backlog>,
    log: Writer,
    files: Files,
    plain: PlainFiles,
    turns: Turns,
    channels: FastMap<(u64, u32), Channel>,
    /// The channels of each session.
    sessions: FastMap<u64, HashSet<u32>>,
    /// Channels that an earlier failure took away: what still comes for them is told so.
    lost: Slots,
    /// The append that is being decided on; answered even if that panics.
    in_hand: Option<(Arc<SessionLink>, u32, u64)>,
    /// Who holds a producer, by the number of its open.
    holders: FastMap<u64, (Arc<SessionLink>, u32)>,
    opens: u64,
    ids: u64,
    /// Paths that were taken from files since the last checkpoint but one.
    unbound: Vec<FileKey>,
    encoder: Encoder,
    drafts: Vec<Draft>,
    answers: Answers,
    permits: Vec<Permit>,
    sync_wanted: bool,
    /// What this commit does to the directory tree once it is durable, and where.
    effects: Vec<Effect>,
    touched_paths: TouchedPaths,
    /// The next item: it has to wait for the effects of the commit before.
    held_back: Option<Item>,
    /// What the stager is to do, and how much it has not given back.
    jobs: Vec<Job>,
    staging: usize,
    /// Uploads may have expired.
    expiry_due: bool,
    /// Files that are frozen for a set that has no parts here yet.
    frozen: FastMap<SetId, FileId>,
    /// Steps of sets that wait.
    steps: VecDeque<Step>,
    /// Sets that this shard may not decide to happen any more: somebody was told that they do not.
    refused_sets: HashSet<SetId>,
    /// Sets that were under way when the shard opened.
    recovered_sets: HashSet<SetId>,
    /// Makes generations of this folder other ones than those of any other.
    salt: u64,
    /// What tenants are charged for.
    account: Account,
    /// Frames since the last sync.
    retained: Vec<Frame>,
    retained_bytes: usize,
    unsynced_since: Option<Instant>,
    last_write: Instant,
    room_checked: Option<Instant>,
    disk_full: bool,
    /// On a full disk something went, the room of which comes back with the next checkpoint.
    room_due: bool,
    /// Running time at the start, and when that was.
    running: (u64, Instant),
    metrics: Arc<ShardMetrics>,
    /// When the oldest append of this commit was read.
    oldest: Option<Instant>,
    /// Spans of the appends of this commit that are traced.
    traces: Vec<AppendTrace>,
    /// The span of this commit.
    trace: Option<CommitTrace>,
}

impl ShardWriter {
    /// Goes on from what recovery found.
    #[must_use]
    pub fn new(
        spec: &Spec,
        registry: Arc<Registry>,
        backlog: Arc<Backlog>,
        recovered: Recovered,
        now: Instant,
    ) -> Self {
        let Spec { number, fs, config, admission, metrics, salt, host: _ } = spec.clone();
        let Recovered { catalog, mut files, plain, log, running, aside } = recovered;
        let account = Account::new(admission, number, &mut files);
        backlog.set_synced(log.synced_sequence());
        for (view, piece) in aside {
            let crc32c = view.state().crc32c;
            backlog.push(&view, piece, crc32c);
        }
        let recovered_sets = files.sets().ids();
        Self {
            number,
            fs,
            config,
            catalog,
            registry,
            backlog,
            log,
            files,
            plain,
            turns: Turns::default(),
            channels: FastMap::default(),
            sessions: FastMap::default(),
            lost: Slots::default(),
            in_hand: None,
            holders: FastMap::default(),
            opens: 0,
            ids: 0,
            unbound: Vec::new(),
            encoder: Encoder::default(),
            drafts: Vec::new(),
            answers: Answers::default(),
            permits: Vec::new(),
            sync_wanted: false,
            effects: Vec::new(),
            touched_paths: TouchedPaths::default(),
            held_back: None,
            jobs: Vec::new(),
            staging: 0,
            expiry_due: false,
            frozen: FastMap::default(),
            refused_sets: HashSet::new(),
            recovered_sets,
            steps: VecDeque::new(),
            salt,
            account,
            retained: Vec::new(),
            retained_bytes: 0,
            unsynced_since: None,
            last_write: now,
            room_checked: None,
            disk_full: false,
            room_due: false,
            running: (running, now),
            metrics,
            oldest: None,
            traces: Vec::new(),
            trace: None,
        }
    }

    /// Tells which channels a failure took away.
    pub fn set_lost(&mut self, lost: Slots) {
        self.lost = lost;
    }

    /// Queues appends.
    pub fn push_batch(&mut self, batch: Batch, now: Instant) {
        self.turns.push_batch(batch, now);
    }

    /// The queues of the tenants.
    pub fn turns(&mut self) -> &mut Turns {
        &mut self.turns
    }

    /// Until when the next commit may wait; `None` if there is nothing to commit or it has to wait for the applier.
    #[must_use]
    pub fn due(&self, now: Instant) -> Option<Instant> {
        let waits_no_longer = (self.held_back.is_some() || self.expiry_due || !self.steps.is_empty()).then_some(now);
        waits_no_longer.or_else(|| self.turns.due(now)).filter(|_| !self.is_held())
    }

    /// When [`ShardWriter::tick`] has something to do.
    #[must_use]
    pub fn tick_at(&self) -> Option<Instant> {
        let sync = self.unsynced_since.map(|since| since + SYNC_WRITTEN_AFTER);
        let seal = (!self.log.is_sealed()).then(|| self.last_write + SEAL_AFTER);
        sync.into_iter().chain(seal).min()
    }

    /// One group commit of what is in turn.
    ///
    /// # Errors
    /// The shard has to close: everything it had taken is answered, and its memory is not to be trusted.
    pub fn commit(&mut self, now: Instant) -> Result<(), ShardError> {
        let begin = Instant::now();
        self.note_queue();
        self.look_for_room(now)?;
        // One more append of the largest size still has to fit into a segment.
        let append = usize::try_from(self.config.limits.append_bytes).unwrap_or(usize::MAX / 2);
        let enough = FRAME_BYTES.min(self.log.max_payload().saturating_sub(append + NAMES_BYTES));
        if std::mem::take(&mut self.expiry_due) {
            self.expire_uploads(now);
        }
        while self.encoder.is_empty() || self.encoder.len() < enough {
            let Some(item) = self.next_item() else { break };
            if self.has_to_wait(&item) {
                self.held_back = Some(item);
                break;
            }
            if self.rotate_before(&item, now) {
                self.held_back = Some(item);
                break;
            }
            self.take(item, now)?;
        }
        if let Some(oldest) = self.oldest.take() {
            self.metrics.queue_duration.duration(begin.saturating_duration_since(oldest));
        }
        let last = self.log.last_sequence();
        self.finish(now)?;
        if self.log.last_sequence() > last {
            self.metrics.commit_duration.since(begin);
        }
        self.note_state();
        Ok(())
    }

    /// Syncs what is only written, and seals the log when it is idle.
    ///
    /// # Errors
    /// As for [`ShardWriter::commit`].
    pub fn tick(&mut self, now: Instant) -> Result<(), ShardError> {
        if self.unsynced_since.is_some_and(|since| now >= since + SYNC_WRITTEN_AFTER) {
            self.sync()?;
        }
        if !self.log.is_sealed() && now >= self.last_write + SEAL_AFTER {
            match self.log.seal() {
                // No room for a seal: nothing is lost by going without.
                Err(WalError::Full { .. }) => self.last_write = now,
                sealed => sealed?,
            }
            self.synced();
        }
        Ok(())
    }

    /// What the shard knows.
    #[cfg(test)]
    pub(crate) fn files(&self) -> &Files {
        &self.files
    }

    /// The log, to prepare its next segment elsewhere.
    #[must_use]
    pub fn log(&self) -> &Writer {
        &self.log
    }

    /// The shard closes: everything that waits is refused, and what recovery needs of memory is handed out, with the
    /// channels that are lost.
    #[must_use]
    pub fn close(mut self, refused: &Refused) -> (Retained, Slots) {
        self.answers.fail(refused);
        for cell in [&self.metrics.queue_appends, &self.metrics.queue_size, &self.metrics.channels] {
            cell.set(0);
        }
        let mut lost = std::mem::take(&mut self.lost);
        if let Some((session, number, seq)) = self.in_hand.take() {
            session.refuse_append(number, seq, Box::new(refused.clone()));
            session.refuse_channel(number, Box::new(refused.clone()));
            lost.insert((session.id, number));
        }
        let closed = closed("the append was not taken");
        let unstaged = std::mem::take(&mut self.jobs).into_iter().map(Job::into_item);
        let waiting = self.held_back.take().into_iter().chain(unstaged).collect::<Vec<_>>();
        waiting.into_iter().for_each(|item| refuse_item(item, &closed));
        while let Some(item) = self.next_item() {
            refuse_item(item, &closed);
        }
        for ((session, number), channel) in self.channels.drain() {
            lost.insert((session, number));
            let holder = self.holders.remove(&channel.open);
            if let Some((session, _)) = holder {
                let refused = Box::new(answers::closed("the channel is lost; open it again"));
                session.refuse_channel(number, refused);
            }
        }
        let last_sequence = self.retained.last().map_or(self.log.synced_sequence(), |frame| frame.header.sequence);
        (Retained { frames: self.retained, last_sequence }, lost)
    }

    /// Whether commits have to wait: for the applier, or for a checkpoint to release log. On a full disk they do not:
    /// then they are refused.
    fn is_held(&self) -> bool {
        !self.backlog.is_disk_full()
            && (self.backlog.is_over_budget() || self.log.live_bytes() >= self.config.wal.max_bytes)
    }

    fn look_for_room(&mut self, now: Instant) -> Result<(), ShardError> {
        let is_checked = self.room_checked.is_some_and(|at| now < at + ROOM_CHECK);
        if is_checked && self.disk_full {
            // Not at every commit: making a segment on a full disk costs much, to no avail.
            return Ok(());
        }
        let frame = FRAME_BYTES + usize::try_from(self.config.limits.append_bytes).unwrap_or(usize::MAX / 2);
        let (frame, least) = (frame.min(self.log.max_payload()), DELETES_BYTES.min(self.log.max_payload()));
        if !is_checked {
            self.room_checked = Some(now);
            self.disk_full = self.is_disk_full(frame);
            if self.disk_full {
                // Segments that are kept for later must not be what the disk is full of.
                self.log.give_back(least)?;
                self.disk_full = self.is_disk_full(frame);
            }
        }
        match self.log.reserve(if self.disk_full { least } else { frame }) {
            Err(WalError::Full { .. }) => self.disk_full = true,
            reserved => reserved?,
        }
        Ok(())
    }

    /// Whether there is too little room for what waits to be applied, and for a frame in the log.
    fn is_disk_full(&self, frame: usize) -> bool {
        let wanted = self.backlog.bytes() + ROOM_RESERVE_BYTES + self.log.room_to_reserve(frame);
        self.fs.free_bytes().is_ok_and(|free| free < wanted)
    }

    /// What is to be taken next.
    fn next_item(&mut self) -> Option<Item> {
        let step = |step| Item::Step(Box::new(step));
        let first = self.held_back.take().or_else(|| self.steps.pop_front().map(step));
        first.or_else(|| self.turns.take())
    }

    /// Whether an item looks at a part of the directory tree that this commit changes.
    fn has_to_wait(&self, item: &Item) -> bool {
        let of_channel = |session: &SessionLink, number: u32| {
            let channel = self.channels.get(&(session.id, number));
            channel.is_some_and(|channel| {
                let is_made = self.files.get(channel.file).is_some_and(|file| file.created && file.upload.is_none());
                !is_made && self.touched_paths.relate_to(&channel.key)
            })
        };
        match item {
            // What is held ready may need a whole frame.
            Item::Step(_) if !self.encoder.is_empty() => true,
            _ if self.effects.is_empty() => false,
            Item::Open(open) => self.touched_paths.relate_to(&open.key),
            Item::Write(session, write, _) => of_channel(session, write.channel),
            Item::StagedFinish { session, channel, .. } => of_channel(session, *channel),
            Item::Operation(operation) => {
                let to = if let Action::Rename { to, .. } = &operation.action { Some(to) } else { None };
                [Some(&operation.key), to].into_iter().flatten().any(|key| self.touched_paths.relate_to(key))
            }
            Item::Passed(item) => self.has_to_wait(item),
            Item::Step(_) => true,
            Item::Staged { .. }
            | Item::Finish { .. }
            | Item::SessionEnded(_)
            | Item::WriteState { .. }
            | Item::DiscardUploads { .. } => false,
        }
    }

    fn take(&mut self, item: Item, now: Instant) -> Result<(), ShardError> {
        match item {
            // What was sent before it on a channel of that number may be with the stager.
            Item::Open(open) if self.is_uploading(open.session.id, open.channel) => self.pass(Item::Open(open)),
            Item::Open(open) => return self.open(open, now),
            Item::Write(session, write, since) => {
                self.oldest = Some(self.oldest.map_or(since, |oldest| oldest.min(since)));
                if self.is_uploading(session.id, write.channel) {
                    self.stage(session, write, since);
                } else {
                    self.write(&session, write, None, since, now);
                }
            }
            Item::Staged { session, write, since, chunk, was_sent } => {
                let slot = (session.id, write.channel);
                self.write(&session, write, chunk, since, now);
                if was_sent {
                    self.restage_refused(slot);
                }
            }
            Item::Finish { session, channel, ending } if self.is_uploading(session.id, channel) => {
                self.stage_finish(session, channel, ending);
            }
            Item::Finish { session, channel, ending } => self.finish_channel(&session, channel, ending, now),
            Item::StagedFinish { session, channel, ending, refused } => {
                // What is at its path may have left memory since it was opened.
                if let Some(key) = self.channels.get(&(session.id, channel)).map(|channel| channel.key.clone()) {
                    self.load(&key)?;
                }
                self.finish_upload(&session, channel, ending, refused, now);
            }
            Item::SessionEnded(session) if self.has_uploads(session.id) => self.pass(Item::SessionEnded(session)),
            Item::SessionEnded(session) => self.end_session(&session, now),
            Item::Passed(item) => match *item {
                Item::Open(open) => return self.open(open, now),
                Item::SessionEnded(session) => self.end_session(&session, now),
                item => return self.take(item, now),
            },
            Item::Operation(operation) => return self.operate(*operation, now),
            Item::Step(step) => return self.step(*step, now),
            Item::DiscardUploads { tenant, reply } => {
                let done = self.discard_uploads(&tenant, now);
                self.sync_wanted = true;
                self.answers.later(reply, Ok(done));
            }
            Item::WriteState { key, producer, reply } => match self.write_state(&key, producer.as_ref())? {
                Ok(state) => {
                    self.sync_wanted = true;
                    self.answers.state(reply, state);
                }
                Err(refused) => _ = reply.send(Err(refused)),
            },
        }
        Ok(())
    }

    /// Whether a checkpoint would make room that is wanted; asked once.
    pub fn take_room_due(&mut self) -> bool {
        std::mem::take(&mut self.room_due)
    }

    /// Puts down what waits to be decided on.
    pub fn note_queue(&self) {
        let (appends, bytes) = self.turns.waiting();
        self.metrics.queue_appends.set(appends);
        self.metrics.queue_size.set(bytes);
    }

    /// Puts down how the shard is, for whoever collects.
    pub fn note_state(&self) {
        self.note_queue();
        self.metrics.files.set(self.files.count() as u64);
        self.metrics.channels.set(self.channels.len() as u64);
        self.metrics.wal_usage.set(self.log.live_bytes());
        self.metrics.apply_backlog.set(self.backlog.bytes());
        self.metrics.disk_full.set(u64::from(self.disk_full || self.backlog.is_disk_full()));
    }

    fn running_seconds(&self, now: Instant) -> u64 {
        self.running.0 + now.saturating_duration_since(self.running.1).as_secs()
    }
}

/// The refusal of an append whose commit failed.
#[must_use]
pub fn unknown(error: &dyn std::error::Error) -> Refused {
    let text = format!("the commit failed ({error}); whether it took effect is not known: send the same seq again");
    Refused::new(ErrorReason::OutcomeUnknown, text)
}

/// Refuses an item of a shard that is closed.
pub fn refuse_item(item: Item, refused: &Refused) {
    match item {
        Item::Open(open) => {
            open.session.refuse_channel(open.channel, Box::new(refused.clone()));
        }
        Item::Write(session, write, _) => {
            session.refuse_append(write.channel, write.seq, Box::new(refused.clone()));
        }
        Item::Finish { session, channel, .. } => {
            session.refuse_channel(channel, Box::new(refused.clone()));
        }
        Item::SessionEnded(_) => {}
        Item::Staged { session, write, .. } => {
            session.refuse_append(write.channel, write.seq, Box::new(refused.clone()));
        }
        Item::StagedFinish { session, channel, .. } => session.refuse_channel(channel, Box::new(refused.clone())),
        Item::Passed(item) => refuse_item(*item, refused),
        Item::Operation(operation) => _ = operation.reply.send(Err(refused.clone())),
        Item::Step(step) => step.refuse(refused.clone()),
        Item::DiscardUploads { reply, .. } => _ = reply.send(Err(refused.clone())),
        Item::WriteState { reply, .. } => _ = reply.send(Err(refused.clone())),
    }
}

#[cfg(test)]
mod tests;
