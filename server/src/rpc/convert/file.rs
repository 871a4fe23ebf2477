//! Checks of what is asked about files, and the tokens that lead from one page of a list to the next.

use super::{invalid, path};
use crate::{
    sets::UploadWish,
    shard::{
        FileSummary,
        ids::FileKey,
        listing::{Entry, behind_path, behind_prefix},
        operation::Operator,
    },
};
use inkpot_proto::{
    error::Refused,
    limits::{DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, MAX_PATH_BYTES, MAX_SET_FILES},
    path::{FilePath, TenantName},
    v1::{self, ErrorReason},
};
use std::fmt::Write;

/// What a token begins with whose page ended with a file, or with a common prefix.
const FILE: char = 'f';
const PREFIX: char = 'p';
/// What a token begins with that holds any text.
const TEXT: char = 't';

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

/// A `DeletePrefix` that keeps to the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// What the paths begin with.
    pub prefix: String,
    /// Most files, 1 to [`MAX_PAGE_SIZE`].
    pub max: usize,
    /// The first text that was not looked at in the call before.
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
    check_prefix(&prefix)?;
    let page_size = page_size_of("page_size", page_size)?;
    let delimiter = delimiter_of(&delimiter)?;
    Ok(ListRequest { prefix, delimiter, page_size, from: from_token(&page_token)? })
}

/// Checks a `DeletePrefix`.
///
/// # Errors
/// INVALID_FIELD.
pub fn delete_prefix(request: v1::DeletePrefixRequest) -> Result<Batch, Refused> {
    let v1::DeletePrefixRequest { prefix, max_files, page_token } = request;
    check_prefix(&prefix)?;
    Ok(Batch { prefix, max: page_size_of("max_files", max_files)?, from: from_token(&page_token)? })
}

/// Checks what paths are to begin with.
///
/// # Errors
/// INVALID_FIELD.
pub fn check_prefix(prefix: &str) -> Result<(), Refused> {
    if prefix.len() > MAX_PATH_BYTES {
        return Err(invalid(format!("prefix is longer than {MAX_PATH_BYTES} bytes")));
    }
    if prefix.chars().any(char::is_control) {
        return Err(invalid("prefix has a control character"));
    }
    Ok(())
}

/// How many files a call is about.
///
/// # Errors
/// INVALID_FIELD, which names the field.
pub fn page_size_of(field: &str, wanted: u32) -> Result<usize, Refused> {
    if wanted > MAX_PAGE_SIZE {
        return Err(invalid(format!("{field} is {wanted}; the largest is {MAX_PAGE_SIZE}")));
    }
    Ok(if wanted == 0 { DEFAULT_PAGE_SIZE } else { wanted } as usize)
}

/// Checks the uploads of a set.
///
/// # Errors
/// INVALID_PATH, INVALID_FIELD, OUT_OF_RANGE.
pub fn set(tenant: TenantName, request: v1::CommitFilesRequest) -> Result<Vec<UploadWish>, Refused> {
    let count = request.uploads.len();
    if !(1..=MAX_SET_FILES).contains(&count) {
        return Err(invalid(format!("a set has 1 to {MAX_SET_FILES} uploads; this one has {count}")));
    }
    let wishes = request.uploads.into_iter().map(|upload| {
        let v1::UploadPart { path, producer_id, producer_epoch, size, crc32c } = upload;
        let key = FileKey { tenant: tenant.clone(), path: super::path(&path)? };
        let producer = super::producer_id(&producer_id)?
            .ok_or_else(|| invalid(format!("producer_id of the upload to {path:?} is empty; it tells which one")))?;
        super::fits("producer_epoch", producer_epoch)?;
        super::fits("size", size.unwrap_or(0))?;
        let epoch = Some(producer_epoch).filter(|epoch| *epoch != 0);
        Ok(UploadWish { key, producer, epoch, size, crc32c })
    });
    let wishes: Vec<UploadWish> = wishes.collect::<Result<_, Refused>>()?;
    let mut paths: Vec<&str> = wishes.iter().map(|wish| wish.key.path.as_str()).collect();
    paths.sort_unstable();
    for path in &paths {
        let below = format!("{path}/");
        let first = paths.partition_point(|other| *other < below.as_str());
        if let Some(other) = paths.get(first).filter(|other| other.starts_with(&below)) {
            return Err(invalid(format!("{other:?} cannot lie below {path:?}, which is to be a file of the same set")));
        }
    }
    match paths.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(invalid(format!("the path {:?} stands twice in the set", pair[0]))),
        None => Ok(wishes),
    }
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
    to_hex(kind, last.text())
}

/// The token of a call that goes on behind `last`, which need not be a path.
#[must_use]
pub fn token_of_text(last: &str) -> String {
    to_hex(TEXT, last)
}

/// What [`token_of_text`] was given; empty for the first call.
///
/// # Errors
/// INVALID_FIELD.
pub fn text_of_token(token: &str) -> Result<String, Refused> {
    if token.is_empty() {
        return Ok(String::new());
    }
    let bytes = token.strip_prefix(TEXT).and_then(decode_hex);
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(not_ours)
}

fn to_hex(kind: char, text: &str) -> String {
    text.bytes().fold(format!("{kind}"), |mut token, byte| {
        // Writing to a string cannot fail.
        let _ = write!(token, "{byte:02x}");
        token
    })
}

fn not_ours() -> Refused {
    invalid("page_token is not one that this server made; begin with an empty one")
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
    file.or_else(prefix).ok_or_else(not_ours)
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
