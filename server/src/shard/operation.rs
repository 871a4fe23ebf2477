//! What is done to a file as a whole.

use super::ids::{FileId, FileKey, ProducerId};
use inkpot_proto::{
    error::Refused,
    v1::{ErrorReason, Outcome},
};
use tokio::sync::oneshot;

/// Who does it, so that it is safe to ask again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The producer.
    pub producer: ProducerId,
    /// Its epoch, at least 1.
    pub epoch: u64,
    /// Number of the operation, counted together with the producer's appends to the file, from 1.
    pub seq: u64,
}

/// Content that lies in staging, synced, and is to take the place of a file's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// The id that it carries.
    pub id: FileId,
    /// Its size in bytes, uncompressed.
    pub len: u64,
    /// crc32c of it, uncompressed.
    pub crc32c: u32,
    /// Bytes that it takes compressed; `None` if it is not.
    pub compressed: Option<u64>,
    /// Generation of the content that it was made from; 0 if it was made from none.
    pub of: u64,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The file is removed.
    Delete,
    /// The file takes no more appends.
    Seal,
    /// The file gets another path in the same shard.
    Rename {
        /// The path.
        to: FileKey,
        /// Whether it may take the place of a file.
        replace: bool,
    },
    /// The file is cut: what is prepared is its beginning, and becomes the next generation.
    Truncate(Prepared),
    /// The file is stored compressed: what is prepared is the same content.
    Compress(Prepared),
    /// What lies at the path is taken as it is: the inode carries the prepared id by now.
    Adopt(Prepared),
}

impl Action {
    /// What tells one operation of a producer from another with the same seq.
    #[must_use]
    pub fn fingerprint(&self) -> u32 {
        let text = match self {
            Self::Delete => "delete".to_owned(),
            Self::Seal => "seal".to_owned(),
            Self::Rename { to, replace } => format!("rename {replace} {}", to.path),
            Self::Truncate(prepared) => format!("truncate {}", prepared.len),
            Self::Compress(_) => "compress".to_owned(),
            Self::Adopt(_) => "adopt".to_owned(),
        };
        crc32c::crc32c(text.as_bytes())
    }
}

/// An operation that waits for its turn.
#[derive(Debug)]
pub struct Operation {
    /// The file.
    pub key: FileKey,
    /// The generation that it must have; 0: there must be none.
    pub if_generation: Option<u64>,
    /// Who does it.
    pub operator: Option<Operator>,
    /// What.
    pub action: Action,
    /// The answer.
    pub reply: oneshot::Sender<Result<Done, Refused>>,
}

/// Whether what was prepared for a refused operation may be removed: it surely did not happen, and no recovery is about to
/// look at it.
#[must_use]
pub fn is_certain(refused: &Refused) -> bool {
    refused.outcome == Outcome::NotApplied && refused.reason != ErrorReason::ShardClosed
}

/// What an operation came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// The generation that the operation left, or took away.
    pub generation: u64,
    /// Size of the content in bytes.
    pub size: u64,
    /// crc32c of it, if it is known.
    pub crc32c: Option<u32>,
    /// It was done before.
    pub duplicate: bool,
}
