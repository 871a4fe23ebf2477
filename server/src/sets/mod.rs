//! Sets: what happens in several shards at once, all of it or nothing: uploads that are published together, and a file
//! that gets a path of another shard. [`carry_out`] leads one through; [`resolver`] brings to an end what a crash left.
//! The states stand in ARCHITECTURE.md.

mod carry_out;
pub mod resolver;

pub use carry_out::{Sets, UploadWish};

use crate::{
    catalog::Stored,
    shard::{
        ids::FileKey,
        operation::{Action, Done, Operator},
        record::SetId,
    },
};
use inkpot_proto::error::Refused;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::sync::oneshot;

/// Whether a set has happened, for everybody at the same moment. Never taken back.
#[derive(Debug, Default)]
pub struct Outcome(AtomicBool);

impl Outcome {
    /// Whether it has happened.
    #[must_use]
    pub fn has_happened(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// It happens now. Only after that is durable.
    pub fn happen(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A part that a shard is asked to hold ready.
#[derive(Clone, Debug)]
pub enum Wish {
    /// An upload takes its path.
    Publish(UploadWish),
    /// A file leaves the shard; it is frozen for the set, and all of its bytes are in its synced plain file.
    Leave(FileKey),
    /// A file comes from another shard.
    Arrive {
        /// The file with its new path.
        file: Box<Stored>,
        /// The path that it has had.
        from: FileKey,
        /// Whether it may take the place of a file.
        replace: bool,
    },
}

/// What a shard says to a part that it holds ready, in the order of the wishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// It will have this generation.
    Held(u64),
    /// It is published already, with this generation: by the same producer, as the same upload.
    Published(u64),
}

/// What a shard is asked to do about a set.
#[derive(Debug)]
pub enum Step {
    /// Let nothing more be appended to a file, because it is to leave.
    Freeze {
        /// The set.
        id: SetId,
        /// The file.
        key: FileKey,
        /// The generation that it must have.
        if_generation: Option<u64>,
        /// Who wants it to have another path.
        operator: Option<Operator>,
        /// The path.
        to: FileKey,
        /// Whether a file there may be replaced; only to tell one operation from another.
        replace: bool,
        /// The answer.
        reply: oneshot::Sender<Result<Box<Stored>, Refused>>,
    },
    /// Hold parts ready.
    Prepare {
        /// The set.
        id: SetId,
        /// The shard that decides.
        coordinator: u32,
        /// The parts.
        wishes: Vec<Wish>,
        /// What tells readers whether it has happened.
        outcome: Arc<Outcome>,
        /// The answer.
        reply: oneshot::Sender<Result<Vec<Ready>, Refused>>,
    },
    /// Decide that the set happens.
    Decide {
        /// The set.
        id: SetId,
        /// The shards that hold parts.
        participants: Vec<u32>,
        /// The answer.
        reply: oneshot::Sender<Result<(), Refused>>,
    },
    /// Carry the parts out, or let them go.
    Settle {
        /// The set.
        id: SetId,
        /// Whether they happen.
        commit: bool,
        /// The answer.
        reply: oneshot::Sender<Result<(), Refused>>,
    },
    /// All shards know: the decision may be forgotten.
    Close {
        /// The set.
        id: SetId,
        /// The answer.
        reply: oneshot::Sender<Result<(), Refused>>,
    },
    /// Tell whether the set happens, for a shard that holds parts of it; what is not decided by now never is.
    Ask {
        /// The set.
        id: SetId,
        /// The shard that asks.
        asker: u32,
        /// The answer.
        reply: oneshot::Sender<Result<bool, Refused>>,
    },
    /// Tell what an operation came to, if it was done before.
    FindDone {
        /// The file.
        key: FileKey,
        /// Who did it.
        operator: Operator,
        /// What.
        action: Action,
        /// The answer.
        reply: oneshot::Sender<Result<Option<Done>, Refused>>,
    },
    /// Tell which sets are under way.
    List {
        /// The answer.
        reply: oneshot::Sender<Result<UnderWay, Refused>>,
    },
}

/// Sets that are under way in a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnderWay {
    /// Those of which it holds parts ready, and who decides.
    pub held: Vec<(SetId, u32)>,
    /// Those that it decided to happen, and who holds parts.
    pub decided: Vec<(SetId, Vec<u32>)>,
}

impl Step {
    /// Refuses the step.
    pub fn refuse(self, refused: Refused) {
        match self {
            Self::Freeze { reply, .. } => _ = reply.send(Err(refused)),
            Self::Prepare { reply, .. } => _ = reply.send(Err(refused)),
            Self::Decide { reply, .. } | Self::Settle { reply, .. } | Self::Close { reply, .. } => {
                let _ = reply.send(Err(refused));
            }
            Self::Ask { reply, .. } => _ = reply.send(Err(refused)),
            Self::FindDone { reply, .. } => _ = reply.send(Err(refused)),
            Self::List { reply } => _ = reply.send(Err(refused)),
        }
    }
}

#[cfg(test)]
mod tests;
