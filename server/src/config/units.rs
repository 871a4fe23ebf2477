//! Sizes, durations and permission bits as people write them. Pure; every `show` is read back as the same value.

use std::time::Duration;

/// Units of sizes, the largest first, so that the first that divides a size is the one to show it in.
const UNITS: [(&str, u64); 8] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
];

/// Reads a size in bytes: a whole number, alone or with a unit of any case.
///
/// # Errors
/// What is wrong with it, and how to write it.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let trimmed = text.trim();
    let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = trimmed.split_at(digits);
    let factor = factor(unit.trim_start());
    match (number.parse::<u64>(), factor) {
        (Ok(number), Some(factor)) => {
            number.checked_mul(factor).ok_or_else(|| format!("{text:?} does not fit 64 bits"))
        }
        (Err(_), _) if !number.is_empty() => Err(format!("{text:?} does not fit 64 bits")),
        _ => Err(format!(
            "{text:?} is not a size; write a whole number with one of the units B, KiB, MiB, GiB, TiB, KB, MB, GB, TB, \
             as in \"64MiB\""
        )),
    }
}

fn factor(unit: &str) -> Option<u64> {
    if unit.is_empty() || unit.eq_ignore_ascii_case("B") {
        return Some(1);
    }
    UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, factor)| *factor)
}

/// A size in the largest binary unit that divides it.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    let unit = UNITS.iter().take(4).find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor));
    unit.map_or_else(|| format!("{bytes}B"), |(name, factor)| format!("{}{name}", bytes / factor))
}

/// Reads a duration: whole numbers with units, as in `"100ms"` or `"1m 30s"`; `"0"` needs none.
///
/// # Errors
/// What is wrong with it, and how to write it.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    if text.trim() == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text.trim()).map_err(|_| {
        format!("{text:?} is not a duration; write numbers with units (ms, s, m, h, d), as in \"100ms\" or \"1m 30s\"")
    })
}

/// A duration in the units that it divides into.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// Reads permission bits: three or four octal digits.
///
/// # Errors
/// What is wrong with it, and how to write it.
pub fn parse_mode(text: &str) -> Result<u32, String> {
    let octal = (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    octal
        .then(|| u32::from_str_radix(text, 8).ok())
        .flatten()
        .ok_or_else(|| format!("{text:?} is not a file mode; write its octal digits in a string, as in \"0640\""))
}

/// Permission bits in octal.
#[must_use]
pub fn show_mode(mode: u32) -> String {
    format!("{mode:04o}")
}
