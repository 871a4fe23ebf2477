//! How the records of an append lie in the file: the rules that a channel asked for, and the bytes that come of them.
//! Pure.

use super::{NEWLINE, unknown_value};
use crate::utc;
use bytes::Bytes;
use inkpot_proto::{
    error::Refused,
    v1::{self, ErrorReason, Framing as Rule},
};
use std::time::SystemTime;

/// Length of a timestamp with the space behind it, in bytes: the same for each, so that an append that is sent again comes
/// to the same length.
const TIMESTAMP_BYTES: usize = "2026-11-23T10:15:00.123Z ".len();

/// What a channel asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    rule: Rule,
    timestamps: bool,
}

impl Framing {
    /// One record after the other, as sent.
    pub const NONE: Self = Self { rule: Rule::None, timestamps: false };

    /// From the fields of the wire.
    ///
    /// # Errors
    /// UNKNOWN_ENUM_VALUE.
    pub fn parse(framing: i32, timestamps: bool) -> Result<Self, Refused> {
        match Rule::try_from(framing) {
            Ok(Rule::Unspecified) => Ok(Self { rule: Rule::None, timestamps }),
            Ok(rule) => Ok(Self { rule, timestamps }),
            Err(_) => Err(unknown_value("framing", framing)),
        }
    }

    /// The bytes of a payload as they are stored: the same bytes, not copied, if nothing is to be added. The lengths of
    /// its records must add up to its data. Every append stores one time for all its records; the clock is read only if
    /// they have one.
    ///
    /// # Errors
    /// FRAMING_VIOLATED.
    pub(super) fn store(self, payload: v1::Payload, clock: impl FnOnce() -> SystemTime) -> Result<Bytes, Refused> {
        let v1::Payload { data, record_lengths } = payload;
        if self == Self::NONE {
            return Ok(data);
        }
        let mut stored = 0;
        for record in records(&data, &record_lengths) {
            self.check(record)?;
            stored += self.stored_len(record);
        }
        if stored == data.len() {
            return Ok(data);
        }
        let timestamp = if self.timestamps { utc::rfc3339_millis(clock()) + " " } else { String::new() };
        let mut out = Vec::with_capacity(stored);
        records(&data, &record_lengths).for_each(|record| self.put(record, timestamp.as_bytes(), &mut out));
        Ok(out.into())
    }

    fn check(self, record: &[u8]) -> Result<(), Refused> {
        let (message, holds) = match self.rule {
            Rule::Lines => (
                "a record does not end with its only newline, as FRAMING_LINES asks for; send one line a record, or \
                 use FRAMING_NEWLINE",
                record.ends_with(&[NEWLINE]) && is_one_line(record),
            ),
            Rule::Newline => (
                "a record has a newline before its end, which FRAMING_NEWLINE refuses; send one line a record, or use \
                 FRAMING_NEWLINE_KEEP",
                is_one_line(record),
            ),
            Rule::Unspecified | Rule::None | Rule::NewlineKeep | Rule::LengthDelimited => return Ok(()),
        };
        if holds { Ok(()) } else { Err(Refused::new(ErrorReason::FramingViolated, message)) }
    }

    /// Length of a record and what stands before it, but for the length itself.
    fn inner_len(self, record: &[u8]) -> usize {
        record.len() + if self.timestamps { TIMESTAMP_BYTES } else { 0 }
    }

    fn stored_len(self, record: &[u8]) -> usize {
        let inner = self.inner_len(record);
        match self.rule {
            Rule::LengthDelimited => prost::length_delimiter_len(inner) + inner,
            _ => inner + usize::from(self.lacks_newline(record)),
        }
    }

    fn lacks_newline(self, record: &[u8]) -> bool {
        matches!(self.rule, Rule::Newline | Rule::NewlineKeep) && !record.ends_with(&[NEWLINE])
    }

    fn put(self, record: &[u8], timestamp: &[u8], out: &mut Vec<u8>) {
        if self.rule == Rule::LengthDelimited {
            prost::encode_length_delimiter(self.inner_len(record), out).expect("a vector has room for any length");
        }
        out.extend_from_slice(timestamp);
        out.extend_from_slice(record);
        if self.lacks_newline(record) {
            out.push(NEWLINE);
        }
    }
}

/// The records of a payload; without lengths all of it is one.
fn records<'a>(data: &'a [u8], lengths: &'a [u32]) -> impl Iterator<Item = &'a [u8]> {
    let whole = lengths.is_empty().then_some(data);
    let mut rest = data;
    let parts = lengths.iter().map(move |length| {
        // The sum is the length of the data, so each part of it is there.
        let (record, after) = rest.split_at(*length as usize);
        rest = after;
        record
    });
    whole.into_iter().chain(parts)
}

fn is_one_line(record: &[u8]) -> bool {
    record.split_last().is_none_or(|(_, before)| !before.contains(&NEWLINE))
}

#[cfg(test)]
mod tests;
