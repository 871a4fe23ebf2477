//! Checks of what is asked about files, and the tokens that lead from one page of a list to the next.

use super::{invalid, path};
use crate::shard::{
    FileSummary,
    listing::{Entry, behind_path, behind_prefix},
    operation::Operator,
};
use inkpot_proto::{
    error::Refused,
    limits::{DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, MAX_PATH_BYTES},
    path::FilePath,
    v1::{self, ErrorReason},
};
use std::fmt::Write;

/// What a token begins with whose page ended with a file, or with a common prefix.
const FILE: char = 'f';
const PREFIX: char = 'p';

/// A `Read` that keeps to the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// The file.
    pub path: FilePath,
    /// First byte; negative: that many bytes before the end.
    pub offset: i64,
    /// Most bytes to send.
    pub limit: u64,
    /// Whether to stay for what comes later.
    pub follow: bool,
    /// The generation that the file must have.
    pub if_generation: Option<u64>,
}

/// A `List` that keeps to the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListRequest {
    /// What the paths begin with.
    pub prefix: String,
    /// What paths are put together by.
    pub delimiter: Option<char>,
    /// Most entries in the page, 1 to [`MAX_PAGE_SIZE`].
    pub page_size: usize,
    /// The first text that was not in the page before.
    pub from: String,
}

/// Checks a `Read`.
///
/// # Errors
/// INVALID_PATH.
pub fn read(request: &v1::ReadRequest) -> Result<ReadRequest, Refused> {
    Ok(ReadRequest {
        path: path(&request.path)?,
        offset: request.offset,
        limit: if request.limit == 0 { u64::MAX } else { request.limit },
        follow: request.follow,
        if_generation: request.if_generation,
    })
}

/// The first byte to read of a file that has `end` bytes.
///
/// # Errors
/// OUT_OF_RANGE if it lies beyond the end.
pub fn first_byte(offset: i64, end: u64) -> Result<u64, Refused> {
    let Ok(first) = u64::try_from(offset) else {
        return Ok(end.saturating_sub(offset.unsigned_abs()));
    };
    if first > end {
        let message = format!("offset {first} lies beyond the end of the file, which has {end} bytes");
        return Err(Refused { expected_offset: Some(end), ..Refused::new(ErrorReason::OutOfRange, message) });
    }
    Ok(first)
}

/// Checks a `List`.
///
/// # Errors
/// INVALID_FIELD.
pub fn list(request: v1::ListRequest) -> Result<ListRequest, Refused> {
    let v1::ListRequest { prefix, page_size, page_token, delimiter } = request;
    if prefix.len() > MAX_PATH_BYTES {
        return Err(invalid(format!("prefix is longer than {MAX_PATH_BYTES} bytes")));
    }
    if prefix.chars().any(char::is_control) {
        return Err(invalid("prefix has a control character"));
    }
    if page_size > MAX_PAGE_SIZE {
        return Err(invalid(format!("page_size is {page_size}; the largest is {MAX_PAGE_SIZE}")));
    }
    let page_size = if page_size == 0 { DEFAULT_PAGE_SIZE } else { page_size };
    let delimiter = delimiter_of(&delimiter)?;
    Ok(ListRequest { prefix, delimiter, page_size: page_size as usize, from: from_token(&page_token)? })
}

/// Checks who does something to a file; without a producer it is nobody.
///
/// # Errors
/// INVALID_FIELD, OUT_OF_RANGE.
pub fn operator(operator: Option<v1::Operator>) -> Result<Option<Operator>, Refused> {
    let Some(v1::Operator { producer_id, producer_epoch: epoch, seq }) = operator else { return Ok(None) };
    let Some(producer) = super::producer_id(&producer_id)? else {
        return Err(invalid("operator.producer_id is empty; leave operator out if nobody is to be told apart"));
    };
    if epoch == 0 || seq == 0 {
        return Err(invalid("operator.producer_epoch and operator.seq are counted from 1"));
    }
    super::fits("operator.producer_epoch", epoch)?;
    super::fits("operator.seq", seq)?;
    Ok(Some(Operator { producer, epoch, seq }))
}

fn delimiter_of(text: &str) -> Result<Option<char>, Refused> {
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (None, _) => Ok(None),
        // No text would come behind all that begin with the last of all characters.
        (Some(delimiter), None) if !delimiter.is_control() && delimiter != char::MAX => Ok(Some(delimiter)),
        _ => Err(invalid("delimiter is not one character that a path can have; as a rule it is \"/\"")),
    }
}

/// The token of the page after the one that ends with `last`. It holds what was last, not where to go on: that stays
/// right whatever comes or goes meanwhile.
#[must_use]
pub fn to_token(last: &Entry) -> String {
    let kind = match last {
        Entry::File(_) => FILE,
        Entry::Prefix(_) => PREFIX,
    };
    let text = last.text();
    text.bytes().fold(format!("{kind}"), |mut token, byte| {
        // Writing to a string cannot fail.
        let _ = write!(token, "{byte:02x}");
        token
    })
}

fn from_token(token: &str) -> Result<String, Refused> {
    if token.is_empty() {
        return Ok(String::new());
    }
    let of_file = |text: &str| FilePath::parse(text).ok().map(|path| behind_path(path.as_str()));
    let of_prefix = |text: &str| {
        let ours = text.len() <= MAX_PATH_BYTES && text.chars().last().is_some_and(|last| last != char::MAX);
        ours.then(|| behind_prefix(text))
    };
    let text = |digits| decode_hex(digits).and_then(|bytes| String::from_utf8(bytes).ok());
    let file = token.strip_prefix(FILE).and_then(text).and_then(|text| of_file(&text));
    let prefix = || token.strip_prefix(PREFIX).and_then(text).and_then(|text| of_prefix(&text));
    file.or_else(prefix).ok_or_else(|| invalid("page_token is not one that this server made; begin with an empty one"))
}

fn decode_hex(token: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = token.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    pairs.collect()
}

/// A file of the shard with this number, as Stat and List tell of it.
#[must_use]
pub fn info(file: FileSummary, shard: u32) -> v1::FileInfo {
    v1::FileInfo {
        path: file.path.as_str().to_owned(),
        size: file.size,
        applied_size: file.applied_size,
        synced_size: file.synced_size,
        generation: file.generation,
        sealed: file.sealed,
        producers: file.producers,
        modified: file.modified.map(Into::into),
        shard,
        foreign_change: file.foreign_change,
        crc32c: file.crc32c,
        stored_size: file.stored_size,
        compressed: file.compressed,
    }
}
