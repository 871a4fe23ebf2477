//! Sizes and durations as people write them. A number without a unit is bytes; a duration must have its unit.

use std::time::Duration;

const SIZE_UNITS: [(&str, u64); 8] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
    ("", 1),
];
const DURATION_UNITS: [(&str, u64); 5] =
    [("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000)];

/// Parses a size in bytes: `100`, `64KiB`, `1MB`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    scaled(text, &SIZE_UNITS).ok_or_else(|| format!("{text:?} is not a size such as 100, 64KiB or 1MiB"))
}

/// Parses a size of at least one byte that fits the memory of this machine.
pub(crate) fn some_bytes(text: &str) -> Result<usize, String> {
    match size(text)? {
        0 => Err("it must be at least 1 byte".to_owned()),
        bytes => usize::try_from(bytes).map_err(|_| format!("{text:?} is too large")),
    }
}

/// A size for people, with a unit that [`size`] knows: `0B`, `999B`, `1.5KiB`, `20MiB`, `4.0GiB`.
pub(crate) fn human(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let Some((unit, shift)) = units.into_iter().find(|(_, shift)| bytes >> shift > 0) else {
        return format!("{bytes}B");
    };
    // Rounded up, as du does: what is there is never shown as less.
    let tenths = (u128::from(bytes) * 10).div_ceil(1 << shift);
    if tenths < 100 {
        format!("{}.{}{unit}", tenths / 10, tenths % 10)
    } else {
        format!("{}{unit}", tenths.div_ceil(10))
    }
}

/// Parses a duration: `500us`, `5ms`, `60s`, `1.5m`, `2h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let micros = scaled(text, &DURATION_UNITS);
    micros.map(Duration::from_micros).ok_or_else(|| format!("{text:?} is not a duration such as 500us, 5ms or 60s"))
}

/// Parses a duration that is longer than nothing.
pub(crate) fn some_time(text: &str) -> Result<Duration, String> {
    duration(text)
        .and_then(|time| if time.is_zero() { Err("it must be longer than zero".to_owned()) } else { Ok(time) })
}

/// A whole or decimal number, times its unit; nothing if it does not fit or the unit is not in the table.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(*factor);
    }
    let product = number.parse::<f64>().ok()? * *factor as f64;
    (product < u64::MAX as f64).then_some(product as u64)
}

#[cfg(test)]
mod tests;
