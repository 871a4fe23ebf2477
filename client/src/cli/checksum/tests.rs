use super::*;

#[test]
fn what_is_written_is_read_back() {
    for crc32c in [0, 1, 0xe306_9283, u32::MAX] {
        assert_eq!(parse(&hex(crc32c)), Ok(crc32c));
        assert_eq!(parse(&format!("0x{crc32c:08X}")), Ok(crc32c));
    }
}

#[test]
fn other_words_are_refused() {
    for text in ["", "e306928", "e30692833", "e306928g", "+3069283", "0x", "auto"] {
        assert!(parse(text).is_err(), "{text:?}");
    }
}
