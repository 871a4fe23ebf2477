//! What the part of a file before a cut is called. Every such name routes to the shard of its file: it has the suffix that
//! routing leaves out, and nothing else is different.

use crate::{route, utc};
use inkpot_proto::path::{FilePath, InvalidName};
use std::{
    fmt, iter,
    time::{Duration, SystemTime},
};
use thiserror::Error;

const DEFAULT: &str = "{stem}@{time}{ext}";
const HEAD: &str = "{stem}@";
const TAIL: &str = "{ext}";
/// Longest template, in bytes: what it makes has to fit into a component together with the name of the file.
const MAX_TEMPLATE_BYTES: usize = 128;
/// Milliseconds after the cut whose default names are tried.
const TRIES: u64 = 1_000;
/// How a piece looks; each 0 stands for a digit.
const TIME_FORM: &str = "00000000T000000000Z";
const DATE_FORM: &str = "0000-00-00";
/// Digits of a generation.
const GENERATION_DIGITS: usize = 16;

/// How rotated files are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameTemplate {
    text: String,
    /// What stands between the `@` and the ending.
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Time,
    Date,
    Generation,
}

/// Why there is no name for a rotated file.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum NoName {
    #[error("the name of the rotated file would not be valid: {0}; give the file a shorter path")]
    Invalid(InvalidName),
    #[error("every name for the rotated file is taken, those of the next second too")]
    Taken,
}

impl NameTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// Which rule it breaks, and how to keep to it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let problem = |problem: &str| Err(format!("name {text:?} {problem}, as in {DEFAULT:?}"));
        if text.len() > MAX_TEMPLATE_BYTES {
            return problem(&format!("is longer than {MAX_TEMPLATE_BYTES} bytes; shorten it"));
        }
        let Some(suffix) = text.strip_prefix(HEAD).and_then(|rest| rest.strip_suffix(TAIL)) else {
            return problem(
                "does not begin with \"{stem}@\" and end with \"{ext}\"; both are needed to keep rotated files with \
                 their file",
            );
        };
        let Some(pieces) = pieces(suffix) else {
            return problem(
                "has something other than letters, digits, \"-_+=,@\", {time}, {date} and {generation} between \
                 \"{stem}@\" and \"{ext}\"; leave it out",
            );
        };
        if !pieces.iter().any(|piece| matches!(piece, Piece::Time | Piece::Generation)) {
            return problem("would be the same for every rotated file; put {time} or {generation} into it");
        }
        Ok(Self { text: text.to_owned(), pieces })
    }

    fn path(&self, file: &FilePath, now: SystemTime, generation: u64) -> Result<FilePath, InvalidName> {
        let (stem, ext) = stem_and_ext(file);
        let suffix: String = self.pieces.iter().map(|piece| piece.show(now, generation)).collect();
        FilePath::parse(&format!("{stem}@{suffix}{ext}"))
    }

    /// Whether `candidate` is a path that this gives to a rotated file of `file`.
    pub(super) fn gives(&self, file: &FilePath, candidate: &FilePath) -> bool {
        let (stem, ext) = stem_and_ext(file);
        let suffix = || candidate.as_str().strip_prefix(stem)?.strip_prefix('@')?.strip_suffix(ext);
        suffix().and_then(|suffix| self.pieces.iter().try_fold(suffix, |rest, piece| piece.take(rest))) == Some("")
    }
}

impl Default for NameTemplate {
    fn default() -> Self {
        Self { text: DEFAULT.to_owned(), pieces: vec![Piece::Time] }
    }
}

impl fmt::Display for NameTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Piece {
    fn show(&self, now: SystemTime, generation: u64) -> String {
        let time = || utc::rfc3339_millis(now);
        match self {
            Self::Text(text) => text.clone(),
            Self::Time => time().replace(['-', ':', '.'], ""),
            Self::Date => time().split('T').next().unwrap_or_default().to_owned(),
            Self::Generation => format!("{generation:0GENERATION_DIGITS$x}"),
        }
    }

    /// What stands behind this piece, if it stands first.
    fn take<'a>(&self, text: &'a str) -> Option<&'a str> {
        match self {
            Self::Text(own) => text.strip_prefix(own.as_str()),
            Self::Time => take_form(text, TIME_FORM),
            Self::Date => take_form(text, DATE_FORM),
            Self::Generation => {
                let (digits, rest) = text.split_at_checked(GENERATION_DIGITS)?;
                digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')).then_some(rest)
            }
        }
    }
}

fn take_form<'a>(text: &'a str, form: &str) -> Option<&'a str> {
    let (taken, rest) = text.split_at_checked(form.len())?;
    let fits = |(byte, form): (u8, u8)| if form == b'0' { byte.is_ascii_digit() } else { byte == form };
    taken.bytes().zip(form.bytes()).all(fits).then_some(rest)
}

fn pieces(mut suffix: &str) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    while !suffix.is_empty() {
        let (piece, rest) = match suffix.strip_prefix('{') {
            Some(rest) => {
                let (name, rest) = rest.split_once('}')?;
                (placeholder(name)?, rest)
            }
            None => {
                let (text, rest) = suffix.split_at(suffix.find('{').unwrap_or(suffix.len()));
                (Piece::Text(text.to_owned()), rest)
            }
        };
        if matches!(&piece, Piece::Text(text) if !text.bytes().all(may_stand_in_suffix)) {
            return None;
        }
        pieces.push(piece);
        suffix = rest;
    }
    Some(pieces)
}

fn placeholder(name: &str) -> Option<Piece> {
    match name {
        "time" => Some(Piece::Time),
        "date" => Some(Piece::Date),
        "generation" => Some(Piece::Generation),
        _ => None,
    }
}

/// No dot, which would end the suffix for routing; no slash, and nothing that a shell or a normal form would change.
fn may_stand_in_suffix(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_+=,@".contains(&byte)
}

/// A path, cut where the suffix goes: before the last dot of the name, or where routing ends the suffix that it has, so
/// that the longer suffix is left out as a whole.
fn stem_and_ext(path: &FilePath) -> (&str, &str) {
    let route::Parts { suffix, after, .. } = route::parts(path);
    let path = path.as_str();
    if !suffix.is_empty() {
        return path.split_at(path.len() - after.len());
    }
    let name = path.rfind('/').map_or(0, |slash| slash + 1);
    let dot = path[name..].rfind('.').filter(|dot| *dot > 0);
    path.split_at(dot.map_or(path.len(), |dot| name + dot))
}

/// What the path of every rotated file of a file begins with.
pub(super) fn prefix(path: &FilePath) -> String {
    format!("{}@", stem_and_ext(path).0)
}

/// The paths that a path may be a rotated one of, the longest first.
pub(super) fn bases(path: &FilePath) -> impl Iterator<Item = FilePath> {
    let route::Parts { before, suffix, after } = route::parts(path);
    let cuts = suffix.rmatch_indices('@').map(|(at, _)| at);
    cuts.filter_map(move |at| FilePath::parse(&format!("{before}{}{after}", &suffix[..at])).ok())
}

/// The first name that is valid and free.
pub(super) fn free_name(
    own: &NameTemplate,
    path: &FilePath,
    now: SystemTime,
    generation: u64,
    is_taken: impl Fn(&FilePath) -> bool,
) -> Result<FilePath, NoName> {
    let default = NameTemplate::default();
    let later = |millis| now.checked_add(Duration::from_millis(millis)).unwrap_or(now);
    let defaults = (0..TRIES).map(|millis| default.path(path, later(millis), generation));
    let mut last = NoName::Taken;
    for name in iter::once(own.path(path, now, generation)).chain(defaults) {
        match name {
            Ok(name) if !is_taken(&name) => return Ok(name),
            Ok(_) => last = NoName::Taken,
            Err(invalid) => last = NoName::Invalid(invalid),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests;
