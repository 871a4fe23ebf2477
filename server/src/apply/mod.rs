//! From the log to the plain files: off the path of acks, never past what is synced, one write per file and round.
//! [`applier`] does it, [`driver`] decides when, [`backlog`] bounds what waits, [`view`] is what readers see meanwhile.
//! [`compress`] makes files anew from what is committed, in the format of [`seekable`] or as it is.

pub mod applier;
pub mod backlog;
pub mod compress;
pub mod descriptors;
pub mod driver;
pub mod names;
pub mod plain;
pub mod registry;
pub mod seekable;
pub mod trail;
pub mod verify;
pub mod view;

use applier::{ApplyError, Snapshot};
use inkpot_wal::recovery::Mark;
use tokio::sync::oneshot;

/// What the applier asks of its shard.
#[derive(Debug)]
pub enum Request {
    /// Sync the log, and say what a checkpoint has to make durable.
    Snapshot(oneshot::Sender<Snapshot>),
    /// A checkpoint is done: the log before the mark is no longer needed.
    Checkpointed(Mark),
    /// Plain files or catalog failed: the shard has to close and recover.
    Failed(ApplyError),
}
