//! The write-ahead log of one shard, and the file system that it stands on. Synchronous; knows no network, no runtime,
//! and not what the decisions in its frames mean.
//!
//! On disk, a shard's log is a directory per epoch with segments of one size ([`segment`]) that hold frames
//! ([`frame`]) with dense sequences. A start is an attempt at a new epoch ([`recovery`]): frames that are valid but not
//! proven durable are carried over and synced, then one begin frame states where each older epoch ends. [`writer`]
//! appends; a checkpoint elsewhere tells from which [`recovery::Mark`] on the log is still needed. [`reserve`] keeps room
//! for a start on a full disk.

pub mod frame;
pub mod fs;
pub mod planted;
pub mod recovery;
pub mod reserve;
pub mod segment;
pub mod writer;

use std::io;
use thiserror::Error;

/// Why the log could not do what it was asked.
#[derive(Debug, Error)]
pub enum WalError {
    /// The disk is full; the frame was not written and the log can go on.
    #[error("no space left for {path}")]
    Full {
        /// File that had no room.
        path: String,
        /// The error of the file system.
        source: io::Error,
    },
    /// A file could not be read, written or synced; this epoch is over.
    #[error("{path} failed")]
    Io {
        /// File or directory.
        path: String,
        /// The error of the file system.
        source: io::Error,
    },
    /// An earlier error ended this epoch.
    #[error("the log was closed by an earlier failure")]
    Closed,
    /// The payload does not fit into a segment.
    #[error("a frame of {payload} bytes does not fit: the largest is {max} bytes")]
    FrameTooLarge {
        /// Bytes asked for.
        payload: usize,
        /// Bytes that fit.
        max: usize,
    },
    /// Frames that were durable are missing or broken. Nothing was cut.
    #[error("{path} is damaged at byte {offset}: frame {sequence} was durable and is not readable ({detail})")]
    Damaged {
        /// Segment.
        path: String,
        /// Where the frame should begin, in bytes.
        offset: u64,
        /// Sequence of the first frame that is missing.
        sequence: u64,
        /// What proves that it was durable.
        detail: String,
    },
}

impl WalError {
    pub(crate) fn io(path: &str, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}
