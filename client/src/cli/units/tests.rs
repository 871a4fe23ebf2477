#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn size_takes_binary_and_decimal_units() {
    assert_eq!(size("100"), Ok(100));
    assert_eq!(size("64KiB"), Ok(65_536));
    assert_eq!(size("1.5 MiB"), Ok(1_572_864));
    assert_eq!(size("2kB"), Ok(2_000));
}

#[test]
fn size_refuses_other_words() {
    for text in ["", "KiB", "-1", "1KB!", "1 parsec", "1.2.3", "99999999999999999999", "99999999999GiB"] {
        assert!(size(text).is_err(), "{text:?}");
    }
    assert!(some_bytes("0").is_err());
}

#[test]
fn duration_needs_its_unit() {
    assert_eq!(duration("60s"), Ok(Duration::from_secs(60)));
    assert_eq!(duration("1.5ms"), Ok(Duration::from_micros(1_500)));
    assert_eq!(duration("2h"), Ok(Duration::from_secs(7_200)));
    assert!(duration("60").is_err());
    assert!(duration("s").is_err());
    assert_eq!(duration("0s"), Ok(Duration::ZERO));
    assert!(some_time("0s").is_err());
}

#[test]
fn sizes_for_people_are_short_never_too_small_and_can_be_read_back() {
    let table = [
        (0, "0B"),
        (1_023, "1023B"),
        (1_024, "1.0KiB"),
        (1_025, "1.1KiB"),
        (10 << 10, "10KiB"),
        ((10 << 10) + 1, "11KiB"),
        (3 << 19, "1.5MiB"),
        (4 << 30, "4.0GiB"),
        (5_000 << 30, "5000GiB"),
    ];
    for (bytes, text) in table {
        assert_eq!(human(bytes), text);
        assert!(size(text).is_ok_and(|read| read >= bytes), "{text}");
    }
    assert!(human(u64::MAX).ends_with("GiB"));
}
