//! What clients ask of a shard, and what they are told.

use crate::shard::{Ending, Mode, operation::Prepared, outbox::OpenState};
use bytes::Bytes;
use inkpot_proto::{error::Refused, v1::Durability};

/// Something that a client asks for.
#[derive(Clone, Debug)]
pub enum Ask {
    Open(Open),
    Write { channel: u32, seq: u64, data: Bytes, durability: Durability },
    Finish { channel: u32, ending: Ending },
    Operate(Operate),
}

#[derive(Clone, Debug)]
pub struct Open {
    pub channel: u32,
    pub path: &'static str,
    pub mode: Mode,
    pub producer: Option<(&'static str, u64)>,
    pub if_generation: Option<u64>,
}

#[derive(Clone, Debug)]
pub struct Operate {
    pub path: &'static str,
    pub if_generation: Option<u64>,
    /// Producer, epoch, seq.
    pub operator: Option<(&'static str, u64, u64)>,
    pub deed: Deed,
    /// Of a truncation.
    pub prepared: Option<Prepared>,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    Delete,
    Seal,
    Rename { to: &'static str, replace: bool },
    Truncate { len: usize },
}

impl Ask {
    /// The channel that it is about; an operation has none.
    pub fn channel(&self) -> Option<u32> {
        match self {
            Self::Open(open) => Some(open.channel),
            Self::Write { channel, .. } | Self::Finish { channel, .. } => Some(*channel),
            Self::Operate(_) => None,
        }
    }
}

/// What a client is told.
#[derive(Clone, Debug)]
pub enum Answer {
    Opened(OpenState),
    Acked { offset: Option<u64>, generation: u64, level: Durability, duplicate: bool },
    Finished { generation: u64, size: u64, crc32c: u32 },
    Done { generation: u64, size: u64, crc32c: Option<u32>, duplicate: bool },
    Refused(Refused),
}
