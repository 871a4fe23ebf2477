//! What a file must hold, told from the acks alone: every append lies at the offset that its ack gave, and together
//! they tile the file, with no hole, no overlap, and each producer's appends in the order in which it sent them.

use super::super::checksum::hex_of;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    path::Path,
};
use thiserror::Error;

/// An acknowledged append.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) producer: usize,
    /// Counts the appends of this producer to this file, from 0.
    pub(super) order: u64,
    pub(super) records: Vec<Bytes>,
    /// Offsets in bytes, as acked; none if the server no longer remembered them.
    pub(super) first_offset: Option<u64>,
    pub(super) end_offset: Option<u64>,
}

impl Placed {
    fn bytes(&self) -> u64 {
        self.records.iter().map(|record| record.len() as u64).sum()
    }
}

/// What is wrong with a history.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum Fault {
    #[error("an append of producer {producer} was acked without its offset")]
    NoOffset { producer: usize },
    #[error("an append of {bytes} bytes was acked at [{first}, {end})")]
    WrongLength { bytes: u64, first: u64, end: u64 },
    #[error("bytes [{from}, {to}) belong to no append")]
    Hole { from: u64, to: u64 },
    #[error("two appends were acked for byte {at}")]
    Overlap { at: u64 },
    #[error("producer {producer}: append {later} comes before append {earlier}")]
    OutOfOrder { producer: usize, earlier: u64, later: u64 },
    #[error("producer {producer}: append {missing} is missing")]
    Missing { producer: usize, missing: u64 },
}

/// The content that acks describe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tiled {
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// Lays the appends of one file where their acks say.
pub(super) fn tile(mut appends: Vec<Placed>) -> Result<Tiled, Fault> {
    appends.sort_by_key(|append| append.first_offset);
    let mut digest = Sha256::new();
    let mut end = 0;
    let mut next_of: HashMap<usize, u64> = HashMap::new();
    for append in &appends {
        end = lay(append, end)?;
        let next = next_of.entry(append.producer).or_default();
        in_order(append, *next)?;
        *next += 1;
        append.records.iter().for_each(|record| digest.update(record));
    }
    Ok(Tiled { bytes: end, sha256: hex_of(&digest.finalize()) })
}

/// Checks that an append begins at `at`; gives its end.
fn lay(append: &Placed, at: u64) -> Result<u64, Fault> {
    let (Some(first), Some(end)) = (append.first_offset, append.end_offset) else {
        return Err(Fault::NoOffset { producer: append.producer });
    };
    if end.checked_sub(first) != Some(append.bytes()) {
        return Err(Fault::WrongLength { bytes: append.bytes(), first, end });
    }
    match first.cmp(&at) {
        std::cmp::Ordering::Greater => Err(Fault::Hole { from: at, to: first }),
        std::cmp::Ordering::Less => Err(Fault::Overlap { at: first }),
        std::cmp::Ordering::Equal => Ok(end),
    }
}

fn in_order(append: &Placed, next: u64) -> Result<(), Fault> {
    let Placed { producer, order, .. } = *append;
    match order.cmp(&next) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Less => Err(Fault::OutOfOrder { producer, earlier: order, later: next - 1 }),
        std::cmp::Ordering::Greater => Err(Fault::Missing { producer, missing: next }),
    }
}

/// The digest of bytes that come piece by piece, and how many they are.
#[derive(Debug, Default)]
pub(super) struct Content {
    digest: Sha256,
    bytes: u64,
}

impl Content {
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.digest.update(piece);
        self.bytes += piece.len() as u64;
    }

    /// Length in bytes and SHA-256 in hexadecimal.
    pub(super) fn finish(self) -> (u64, String) {
        (self.bytes, hex_of(&self.digest.finalize()))
    }

    /// Reads a plain file.
    pub(super) fn of_file(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut content = Self::default();
        let mut buffer = vec![0; 256 << 10];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(content),
                n => content.push(&buffer[..n]),
            }
        }
    }
}

#[cfg(test)]
mod tests;
