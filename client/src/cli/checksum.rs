//! crc32c as an argument and in answers: eight hexadecimal digits.

/// A checksum as it stands in answers.
pub(crate) fn hex(crc32c: u32) -> String {
    format!("{crc32c:08x}")
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
