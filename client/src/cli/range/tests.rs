use super::*;

#[test]
fn both_ends_are_part_of_a_range() {
    let table = [
        ("0-99", 1_000, Some((0, 100))),
        ("5-5", 1_000, Some((5, 6))),
        ("900-5000", 1_000, Some((900, 1_000))),
        ("100-", 1_000, Some((100, 1_000))),
        ("1000-", 1_000, Some((1_000, 1_000))),
        ("1001-", 1_000, None),
        ("-10", 1_000, Some((990, 1_000))),
        ("-10", 5, Some((0, 5))),
        ("0-18446744073709551615", 5, Some((0, 5))),
    ];
    for (text, size, expected) in table {
        assert_eq!(text.parse::<Range>().map(|range| range.within(size)), Ok(expected), "{text}");
    }
}

#[test]
fn other_words_are_refused() {
    for text in ["", "-", "5", "9-5", "-0", "a-b", "+1-2", "1-2-3", "1-99999999999999999999", "- 5"] {
        assert!(text.parse::<Range>().is_err(), "{text:?}");
    }
}
