//! A range of bytes as an argument, written as in HTTP: both ends are part of it.

use std::str::FromStr;

/// Which bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Range {
    /// From the first byte up to and with the last one; without one: to the end.
    From { first: u64, last: Option<u64> },
    /// So many bytes before the end, or all if there are fewer.
    Last(u64),
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad =
            || format!("{text:?} is not a range: 0-99 (the first 100 bytes), 100- (to the end), -100 (the last 100)");
        let number = |text: &str| if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None };
        let (first, last) = text.split_once('-').ok_or_else(bad)?;
        let range = match (first, last) {
            ("", last) => Self::Last(number(last).filter(|bytes| *bytes > 0).ok_or_else(bad)?),
            (first, "") => Self::From { first: number(first).ok_or_else(bad)?, last: None },
            (first, last) => {
                let (first, last) = (number(first).ok_or_else(bad)?, number(last).ok_or_else(bad)?);
                if last < first {
                    return Err(bad());
                }
                Self::From { first, last: Some(last) }
            }
        };
        Ok(range)
    }
}

impl Range {
    /// First byte and the one after the last, in a file of `size` bytes. Nothing if the range begins behind its end.
    pub(crate) fn within(self, size: u64) -> Option<(u64, u64)> {
        match self {
            Self::Last(bytes) => Some((size.saturating_sub(bytes), size)),
            Self::From { first, .. } if first > size => None,
            Self::From { first, last } => Some((first, last.map_or(size, |last| size.min(last.saturating_add(1))))),
        }
    }
}

#[cfg(test)]
mod tests;
