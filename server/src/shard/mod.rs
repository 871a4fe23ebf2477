//! A shard: the single writer of the files that [`crate::route`] gives it. This module holds what the rest of the
//! server sees of it, a cheap handle with a bounded mailbox, and the pure rules: [`state`], [`decide`], [`turns`].
//! The loop that drives them stands in [`crate::commit`].

pub mod codec;
pub mod decide;
pub mod ids;
pub mod listing;
pub mod operation;
pub mod outbox;
pub mod record;
pub mod state;
#[cfg(test)]
pub(crate) mod testing;
pub mod turns;

use crate::{
    admission::{Permit, Tenant},
    apply::{
        registry::{Found, Registry},
        view::FileView,
    },
    catalog::CatalogSlot,
    host::Host,
    sets::Step,
    telemetry::trace::AppendTrace,
};
use bytes::Bytes;
use ids::{FileId, FileKey, ProducerId};
use inkpot_proto::{
    error::Refused,
    path::FilePath,
    v1::{Durability, ErrorReason},
};
use operation::{Action, Done, Operation, Operator};
use outbox::{Event, Outbox};
use std::{
    io,
    sync::Arc,
    time::{Instant, SystemTime},
};
use tokio::sync::{mpsc, oneshot};
use turns::Item;

/// Commands that may wait in a shard's mailbox; senders wait beyond it.
pub const MAILBOX_COMMANDS: usize = 1024;

/// A session as a shard sees it.
#[derive(Debug)]
pub struct SessionLink {
    /// Number of the session, never used again in this process.
    pub id: u64,
    /// Whose session it is.
    pub tenant: Arc<Tenant>,
    /// Where answers go.
    pub outbox: Arc<Outbox>,
    /// A call of one append: its refusal is counted where the call is answered, whatever refused it.
    pub unary: bool,
}

impl SessionLink {
    /// Refuses an append that the session counts as outstanding.
    pub fn refuse_append(&self, channel: u32, seq: u64, refused: Box<Refused>) {
        self.count_refusal(refused.reason);
        self.outbox.push(Event::Nack { channel, seq, refused, answers_append: true });
    }

    /// Counts a refused append.
    pub fn count_refusal(&self, reason: ErrorReason) {
        if !self.unary {
            self.tenant.tally.refused(reason);
        }
    }

    /// Refuses a channel: its open, its end, or its going on.
    pub fn refuse_channel(&self, channel: u32, refused: Box<Refused>) {
        self.outbox.push(Event::Nack { channel, seq: 0, refused, answers_append: false });
    }
}

/// How a channel treats the file that it opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Continues the file, or begins it.
    #[default]
    Append,
    /// An upload to a path that has no file.
    Create,
    /// An upload that takes the place of what is at the path.
    Replace,
}

/// How a channel ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// An upload is published, if it has this size and checksum. Other channels just end.
    Commit {
        /// Its size in bytes.
        size: Option<u64>,
        /// Its crc32c.
        crc32c: Option<u32>,
    },
    /// An upload is discarded.
    Abort,
    /// An upload is left for later.
    #[default]
    LeaveOpen,
}

/// Opens a file on a channel.
#[derive(Debug)]
pub struct Open {
    /// The session.
    pub session: Arc<SessionLink>,
    /// Number of the channel on that session; not in use.
    pub channel: u32,
    /// The file.
    pub key: FileKey,
    /// How it is treated.
    pub mode: Mode,
    /// Who writes, and its epoch; epoch 0 asks for the next one.
    pub producer: Option<(ProducerId, u64)>,
    /// The generation that the file must have; 0: there must be none.
    pub if_generation: Option<u64>,
}

/// One append of a channel, or the place of one that was refused on its way.
#[derive(Debug)]
pub struct Write {
    /// The channel.
    pub channel: u32,
    /// Its number; 0 counts on.
    pub seq: u64,
    /// What it carries, or why it may not: the refusal is answered in its turn.
    pub body: Result<WriteBody, Box<Refused>>,
}

/// What an append carries.
#[derive(Debug)]
pub struct WriteBody {
    /// The bytes as they are stored; never empty.
    pub data: Bytes,
    /// How many records they are; counts for the flush policy.
    pub records: u32,
    /// crc32c of the bytes as they were sent: by that a duplicate is known.
    pub crc32c: u32,
    /// Where it must begin, in bytes.
    pub expected_offset: Option<u64>,
    /// The level that its ack needs: `Written` or `Synced`.
    pub durability: Durability,
    /// Its room.
    pub permit: Permit,
    /// Its spans, if it is traced.
    pub trace: Option<Box<AppendTrace>>,
}

/// Appends of one session, in the order sent.
#[derive(Debug)]
pub struct Batch {
    /// The session.
    pub session: Arc<SessionLink>,
    /// The appends.
    pub writes: Vec<Write>,
    /// When the first of them was read.
    pub since: Instant,
}

/// What a producer has committed in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteState {
    /// Generation of the file; 0 if there is none.
    pub generation: u64,
    /// Where the next append would begin, in bytes.
    pub next_offset: u64,
    /// The producer, if it is known in the file.
    pub producer: Option<ProducerState>,
    /// It is about an upload of the producer.
    pub upload: bool,
}

/// The producer's part of a [`WriteState`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProducerState {
    /// Its epoch.
    pub epoch: u64,
    /// Its last seq in that epoch.
    pub last_seq: u64,
    /// `[first, end)` of append `last_seq`, in bytes.
    pub last_range: Option<(u64, u64)>,
}

/// What Stat and List tell of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSummary {
    /// Its path.
    pub path: FilePath,
    /// Committed bytes.
    pub size: u64,
    /// Bytes in the plain file.
    pub applied_size: u64,
    /// Committed bytes that are synced.
    pub synced_size: u64,
    /// Its generation.
    pub generation: u64,
    /// Whether it takes no more appends.
    pub sealed: bool,
    /// Producers that are known in it.
    pub producers: u32,
    /// Modification time of the plain file, once it is known.
    pub modified: Option<SystemTime>,
    /// Whether another program meddled with the plain file.
    pub foreign_change: bool,
    /// crc32c of the committed bytes, unless it is not known.
    pub crc32c: Option<u32>,
    /// Bytes that the plain file takes.
    pub stored_size: u64,
    /// Whether the plain file is compressed.
    pub compressed: bool,
    /// When it was rotated away, in milliseconds since 1970; `None` if it was not.
    pub rotated: Option<u64>,
}

/// What one can ask of a shard.
#[derive(Debug)]
pub enum Command {
    /// Opens a channel; answered by `Opened` or a nack with seq 0.
    Open(Open),
    /// Appends; each is answered by an ack or a nack.
    Writes(Batch),
    /// What was sent before is committed without waiting for more.
    Flush,
    /// Ends a channel; answered by `Finished` after its appends are answered, if `answer` is set.
    Finish {
        /// The session.
        session: Arc<SessionLink>,
        /// The channel.
        channel: u32,
        /// What becomes of an upload.
        ending: Ending,
    },
    /// The session is gone; its channels are forgotten, what it had enqueued goes on.
    SessionEnded {
        /// The session.
        session: Arc<SessionLink>,
    },
    /// What a producer has committed; waits until that is durable.
    WriteState {
        /// Who asks: it takes its turn behind what the tenant has sent.
        tenant: Arc<Tenant>,
        /// The file.
        key: FileKey,
        /// The producer.
        producer: Option<ProducerId>,
        /// The answer.
        reply: oneshot::Sender<Result<WriteState, Refused>>,
    },
    /// Finds a file that is not in the registry, and puts it there.
    Lookup {
        /// The file.
        key: FileKey,
        /// The answer; `None`: there is no such file.
        reply: oneshot::Sender<Result<Option<Arc<FileView>>, Refused>>,
    },
    /// Something is done to a file as a whole.
    Operation {
        /// Who asks: it takes its turn behind what the tenant has sent.
        tenant: Arc<Tenant>,
        /// What.
        operation: Box<Operation>,
    },
    /// A step of a set.
    Step(Box<Step>),
    /// All uploads of a tenant are discarded, those that are open too.
    DiscardUploads {
        /// Whose: it takes its turn behind what the tenant has sent.
        tenant: Arc<Tenant>,
        /// The answer: their bytes as the size.
        reply: oneshot::Sender<Result<Done, Refused>>,
    },
    /// An id is allotted for content that is to be prepared in staging; it holds until the shard is recovered anew.
    AllotId {
        /// The answer.
        reply: oneshot::Sender<Result<FileId, Refused>>,
    },
    /// From the stager: see [`crate::commit::stager`].
    Staged {
        /// What it did, in the order in which it was asked.
        items: Vec<Item>,
        /// Whether all of it is synced.
        outcome: io::Result<()>,
    },
    /// From the applier: see [`crate::apply`].
    Apply(crate::apply::Request),
    /// Commit what is queued, checkpoint, and end.
    Stop,
}

/// The way to a shard. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ShardHandle {
    /// Its number.
    pub number: u32,
    /// Where calls of its disk run.
    pub host: Host,
    /// Files that were used lately, for readers.
    pub registry: Arc<Registry>,
    /// Its catalog, for readers.
    pub catalog: Arc<CatalogSlot>,
    mailbox: mpsc::Sender<Command>,
}

impl ShardHandle {
    /// A handle to a shard that takes from the other end of `mailbox`.
    #[must_use]
    pub fn new(
        number: u32,
        host: Host,
        registry: Arc<Registry>,
        catalog: Arc<CatalogSlot>,
        mailbox: mpsc::Sender<Command>,
    ) -> Self {
        Self { number, host, registry, catalog, mailbox }
    }

    /// Puts a command into the mailbox; waits while it is full.
    ///
    /// # Errors
    /// SHARD_CLOSED, NOT_APPLIED, if the shard has stopped for good. The command is gone with its permits.
    pub async fn send(&self, command: Command) -> Result<(), Refused> {
        self.mailbox.send(command).await.map_err(|_| stopped(self.number))
    }

    /// The file, from the registry or from the catalog; `None` if there is none.
    ///
    /// # Errors
    /// Those of [`ShardHandle::send`], DAMAGED or INTERNAL if the catalog cannot be read.
    pub async fn lookup(&self, key: &FileKey) -> Result<Option<Arc<FileView>>, Refused> {
        match self.registry.lookup(key) {
            Found::Present(view) => return Ok(Some(view)),
            Found::Absent => return Ok(None),
            Found::Undecided => return Err(being_decided(key)),
            Found::Unknown => {}
        }
        let (reply, answer) = oneshot::channel();
        self.send(Command::Lookup { key: key.clone(), reply }).await?;
        answer.await.unwrap_or_else(|_| Err(stopped(self.number)))
    }

    /// What a producer has committed in a file.
    ///
    /// # Errors
    /// As [`ShardHandle::lookup`].
    pub async fn write_state(
        &self,
        tenant: Arc<Tenant>,
        key: FileKey,
        producer: Option<ProducerId>,
    ) -> Result<WriteState, Refused> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::WriteState { tenant, key, producer, reply }).await?;
        answer.await.unwrap_or_else(|_| Err(stopped(self.number)))
    }
}

impl ShardHandle {
    /// Does something to a file as a whole.
    ///
    /// # Errors
    /// Those of [`ShardHandle::send`], what the shard says, OUTCOME_UNKNOWN if it failed meanwhile.
    pub async fn operate(
        &self,
        tenant: Arc<Tenant>,
        key: FileKey,
        if_generation: Option<u64>,
        operator: Option<Operator>,
        action: Action,
    ) -> Result<Done, Refused> {
        let (reply, answer) = oneshot::channel();
        let operation = Box::new(Operation { key, if_generation, operator, action, reply });
        self.send(Command::Operation { tenant, operation }).await?;
        answer.await.unwrap_or_else(|_| Err(stopped(self.number)))
    }

    /// Discards all uploads of a tenant. Returns the bytes that they had.
    ///
    /// # Errors
    /// As [`ShardHandle::operate`].
    pub async fn discard_uploads(&self, tenant: Arc<Tenant>) -> Result<u64, Refused> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::DiscardUploads { tenant, reply }).await?;
        answer.await.unwrap_or_else(|_| Err(stopped(self.number))).map(|done| done.size)
    }

    /// An id for content that is to be prepared in staging.
    ///
    /// # Errors
    /// As [`ShardHandle::lookup`].
    pub async fn allot_id(&self) -> Result<FileId, Refused> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::AllotId { reply }).await?;
        answer.await.unwrap_or_else(|_| Err(stopped(self.number)))
    }

    /// What is known of a file; `None` if there is none.
    ///
    /// # Errors
    /// As [`ShardHandle::lookup`].
    pub async fn stat(&self, key: &FileKey) -> Result<Option<FileSummary>, Refused> {
        Ok(self.lookup(key).await?.map(|view| view.summary()))
    }
}

/// The refusal of a request about a path that a set may be about to give to another file.
#[must_use]
pub fn being_decided(key: &FileKey) -> Refused {
    let text = format!("file {key} is part of a set or a rename that is being decided; try again");
    Refused::new(ErrorReason::BeingDecided, text)
}

fn stopped(shard: u32) -> Refused {
    Refused::new(ErrorReason::ShardClosed, format!("shard {shard} has stopped; nothing was applied, try again later"))
}
