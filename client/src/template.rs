//! Paths made from a pattern and values. What is rendered is a path of the grammar, or an error: no value can climb out of
//! the directory where the template puts it.

mod calendar;

use crate::{Error, Result, error::check_path};
use calendar::Moment;
use inkpot_proto::{error::Refused, v1::ErrorReason};
use std::{fmt, str::FromStr, time::SystemTime};

/// Variables that need no value of the caller's.
const BUILT_IN: [&str; 4] = ["date", "hour", "host", "pid"];

/// A pattern like `logs/{service}/{date}.log`.
///
/// A variable stands in braces: a name of ASCII letters, digits and `_`. `{{` and `}}` are braces. Known without a value of
/// the caller's: `{date}` (`YYYY-MM-DD`, UTC), `{hour}` (`00` to `23`, UTC), `{host}` (name of this machine) and `{pid}` (of
/// this process).
///
/// ```
/// use inkpot_client::PathTemplate;
/// use std::time::{Duration, UNIX_EPOCH};
///
/// let template = PathTemplate::parse("logs/{service}/{date}.log")?;
/// let now = UNIX_EPOCH + Duration::from_secs(1_795_420_800);
/// assert_eq!(template.render(&[("service", "billing")], now)?, "logs/billing/2026-11-23.log");
/// assert!(template.render(&[("service", "../secret")], now).is_err());
/// # Ok::<(), inkpot_client::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Variable(String),
}

impl PathTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// `InvalidPath`: a brace without its other one, or a variable without a proper name.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = |why: &str| refuse(format!("path template {text:?} is not valid: {why}"));
        let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let (brace, after) = rest[at..].split_at(1);
            if let Some(after) = after.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            if brace == "}" {
                return Err(invalid("a \"}\" without its \"{\"; write \"}}\" for a brace"));
            }
            let (name, after) = after.split_once('}').ok_or_else(|| invalid("a \"{\" without its \"}\""))?;
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                return Err(invalid("a variable is named by letters, digits and \"_\""));
            }
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Variable(name.to_owned()));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self { text: text.to_owned(), pieces })
    }

    /// The template as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Names of its variables, in order, each as often as it stands there.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Variable(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// The path, with these values, at this time. A value of the caller's goes before one that is known without.
    ///
    /// # Errors
    /// `InvalidPath`: a variable has no value (names those that are known); a value is empty, `.` or `..`, or has a `/`, a
    /// backslash or a control character in it; or the path breaks the grammar of names.
    pub fn render(&self, values: &[(&str, &str)], now: SystemTime) -> Result<String> {
        let mut path = String::with_capacity(self.text.len());
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => path.push_str(text),
                Piece::Variable(name) => path.push_str(&self.value(name, values, now)?),
            }
        }
        check_path(&path)?;
        Ok(path)
    }

    fn value(&self, name: &str, values: &[(&str, &str)], now: SystemTime) -> Result<String> {
        let given = values.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let Some(value) = given.or_else(|| built_in(name, now)) else {
            let mut known: Vec<_> = values.iter().map(|(known, _)| *known).chain(BUILT_IN).collect();
            known.sort_unstable();
            known.dedup();
            let text = &self.text;
            let known = known.join(", ");
            return Err(refuse(format!("path template {text:?}: {{{name}}} is not known; known are {known}")));
        };
        let bad = |letter: char| letter.is_control() || matches!(letter, '/' | '\\');
        if matches!(value.as_str(), "" | "." | "..") || value.contains(bad) {
            let shown: String = value.chars().take(80).collect();
            let message = format!(
                "path template {:?}: the value {shown:?} of {{{name}}} is not valid: it must not be empty, \".\" or \
                 \"..\", and have no \"/\", backslash or control character",
                self.text
            );
            return Err(refuse(message));
        }
        Ok(value)
    }
}

fn built_in(name: &str, now: SystemTime) -> Option<String> {
    match name {
        "date" => Some(Moment::of(now).date()),
        "hour" => Some(format!("{:02}", Moment::of(now).hour)),
        "host" => Some(rustix::system::uname().nodename().to_string_lossy().into_owned()),
        "pid" => Some(std::process::id().to_string()),
        _ => None,
    }
}

fn refuse(message: String) -> Error {
    Error::refused(Refused::new(ErrorReason::InvalidPath, message))
}

impl FromStr for PathTemplate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
