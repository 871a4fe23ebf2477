//! Sizes, durations and modes as people write them.

use crate::memory::within;
use inkpot_server::config::units::{parse_duration, parse_mode, parse_size, show_duration, show_mode, show_size};

const BASE: usize = 64 << 10;
const OF_A_BYTE: usize = 64;

/// A text as each of them. What is read is shown in a way that reads as the same.
pub fn units(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    within(BASE + OF_A_BYTE * bytes.len(), || {
        if let Ok(size) = parse_size(text) {
            assert_eq!(parse_size(&show_size(size)), Ok(size));
        }
        if let Ok(duration) = parse_duration(text) {
            assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }
        if let Ok(mode) = parse_mode(text) {
            assert_eq!(parse_mode(&show_mode(mode)), Ok(mode));
        }
    });
}
