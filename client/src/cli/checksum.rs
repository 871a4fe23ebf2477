//! Checksums as arguments and in answers, in hexadecimal digits: eight of a crc32c.

use std::fmt::Write;

/// A checksum as it stands in answers.
pub(crate) fn hex(crc32c: u32) -> String {
    format!("{crc32c:08x}")
}

/// Bytes in hexadecimal digits.
pub(crate) fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        // A String takes all that is written to it.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Parses what [`hex`] writes, in either case, with or without `0x`.
pub(crate) fn parse(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let right = digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parsed = right.then(|| u32::from_str_radix(digits, 16).ok()).flatten();
    parsed.ok_or_else(|| format!("{text:?} is not a crc32c: eight hexadecimal digits such as e3069283"))
}

#[cfg(test)]
mod tests;
