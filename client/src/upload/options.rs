//! What goes in when an upload is begun or gone on with, and what comes back.

use crate::{Error, Producer, Result};
use inkpot_proto::{
    error::Refused,
    v1::{Admission, Durability, ErrorReason, Framing, Mode},
};

const CHUNK_BYTES: u64 = 1 << 20;
const WINDOW_BYTES: u64 = 8 << 20;

/// What an upload does with a file that is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UploadMode {
    /// There must be none, now and when the upload is published.
    Create,
    /// The upload takes its place when it is published.
    #[default]
    Replace,
}

impl UploadMode {
    pub(crate) fn wire(self) -> Mode {
        match self {
            Self::Create => Mode::Create,
            Self::Replace => Mode::Replace,
        }
    }
}

/// How an upload is begun, or gone on with. The default: replaces, SYNCED, waiting at limits, no framing, a producer of its
/// own, chunks of 1 MiB, at most 8 MiB in memory.
#[derive(Clone, Debug)]
pub struct UploadOptions {
    /// Whether there may be a file already.
    pub mode: UploadMode,
    /// Who uploads. A later upload to the same path with the same [`Producer::Named`] goes on where this one stopped. One
    /// that is published is known again only if the epoch is given, and the same. [`Producer::None`] is refused: nobody
    /// could find the upload again.
    pub producer: Producer,
    /// What a chunk must survive before it is acknowledged.
    pub durability: Durability,
    /// What happens at a limit of the tenant: the session waits, or the chunk is refused and sent again later.
    pub admission: Admission,
    /// With anything but `None`: each [`Upload::write`](crate::Upload::write) is one record, and the server puts it into
    /// the file as the framing says.
    pub framing: Framing,
    /// If set: the generation that the file must have, now and when the upload is published; 0: there must be no file.
    pub if_generation: Option<u64>,
    /// Size of a chunk in bytes: what is acknowledged, or sent again, at a time. Lowered to what the server takes, and to
    /// half of `window_bytes`. At least 1. Default: 1 MiB.
    pub chunk_bytes: u64,
    /// Most bytes that are in memory, gathered or not acknowledged yet. At least 2. Default: 8 MiB.
    pub window_bytes: u64,
}

impl Default for UploadOptions {
    fn default() -> Self {
        Self {
            mode: UploadMode::default(),
            producer: Producer::default(),
            durability: Durability::Synced,
            admission: Admission::Wait,
            framing: Framing::None,
            if_generation: None,
            chunk_bytes: CHUNK_BYTES,
            window_bytes: WINDOW_BYTES,
        }
    }
}

impl UploadOptions {
    /// Checks the options. Gives the size of a chunk.
    pub(super) fn check(&self) -> Result<u64> {
        let invalid = |message: &str| Err(Error::refused(Refused::new(ErrorReason::InvalidField, message)));
        if self.producer == Producer::None {
            return invalid("an upload needs a producer, or it could not be found again");
        }
        if self.chunk_bytes == 0 || self.window_bytes < 2 {
            return invalid("an upload needs chunks of at least 1 byte and a window of at least 2");
        }
        Ok(self.chunk_bytes.min(self.window_bytes / 2))
    }

    pub(super) fn is_framed(&self) -> bool {
        !matches!(self.framing, Framing::Unspecified | Framing::None)
    }
}

/// What the caller knows of the whole upload, for the server to check before it publishes. What is `None` here is filled in
/// by [`Upload::commit`](crate::Upload::commit), if it is known there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Size in bytes.
    pub size: Option<u64>,
    /// crc32c (Castagnoli).
    pub crc32c: Option<u32>,
}

/// An upload that is a file now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// Generation of the file.
    pub generation: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Its crc32c.
    pub crc32c: u32,
}

/// How far the transfer of a file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transferred {
    /// Bytes that are acknowledged (upload) or written (download), what was there before included.
    pub done: u64,
    /// Bytes that there are in all.
    pub total: u64,
}

/// How a local file is uploaded.
#[derive(Clone, Debug)]
pub struct UploadFileOptions {
    /// The upload itself.
    pub upload: UploadOptions,
    /// Whether the server checks the whole file against the local one before it publishes. For that, an upload that is
    /// resumed reads what was sent before from the local file once more. Default: true.
    pub checksum: bool,
}

impl Default for UploadFileOptions {
    fn default() -> Self {
        Self { upload: UploadOptions::default(), checksum: true }
    }
}
