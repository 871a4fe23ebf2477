#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;
use std::time::{Duration, UNIX_EPOCH};

const RULES: [Rule; 5] = [Rule::None, Rule::Lines, Rule::Newline, Rule::NewlineKeep, Rule::LengthDelimited];

fn payload(data: &[u8], record_lengths: &[u32]) -> v1::Payload {
    v1::Payload { data: Bytes::copy_from_slice(data), record_lengths: record_lengths.to_vec() }
}

/// 2026-11-23T10:15:00.123Z, and some nanoseconds that are not told.
fn noon() -> SystemTime {
    UNIX_EPOCH + Duration::new(1_795_428_900, 123_999_999)
}

fn no_clock() -> SystemTime {
    panic!("the clock was read without need")
}

fn stored(rule: Rule, data: &[u8], lengths: &[u32]) -> Result<Bytes, ErrorReason> {
    Framing { rule, timestamps: false }.store(payload(data, lengths), no_clock).map_err(|refused| refused.reason)
}

fn stamped(rule: Rule, data: &[u8], lengths: &[u32]) -> Bytes {
    Framing { rule, timestamps: true }.store(payload(data, lengths), noon).unwrap()
}

fn violated(rule: Rule, data: &[u8], lengths: &[u32]) {
    assert_eq!(stored(rule, data, lengths), Err(ErrorReason::FramingViolated), "{rule:?} {data:?} {lengths:?}");
}

#[test]
fn every_rule_of_the_wire_is_known_and_unspecified_is_none() {
    assert_eq!(Framing::parse(0, false).unwrap(), Framing::NONE);
    for rule in RULES {
        assert_eq!(Framing::parse(rule as i32, true).unwrap(), Framing { rule, timestamps: true });
    }
    assert_eq!(Framing::parse(6, false).unwrap_err().reason, ErrorReason::UnknownEnumValue);
}

#[test]
fn what_needs_nothing_added_is_not_copied() {
    for rule in [Rule::None, Rule::Lines, Rule::Newline, Rule::NewlineKeep] {
        let sent = payload(b"a\nbc\n\n", &[2, 3, 1]);
        let at = sent.data.as_ptr();
        let kept = Framing { rule, timestamps: false }.store(sent, no_clock).unwrap();
        assert_eq!((&kept[..], kept.as_ptr()), (&b"a\nbc\n\n"[..], at), "{rule:?}");
    }
}

#[test]
fn none_stores_any_bytes_as_sent() {
    assert_eq!(stored(Rule::None, b"\xff\0\n\xc3", &[1, 2, 1]).unwrap(), &b"\xff\0\n\xc3"[..]);
    assert_eq!(stored(Rule::None, b"\xff\0\n\xc3", &[]).unwrap(), &b"\xff\0\n\xc3"[..]);
}

#[test]
fn lines_end_with_their_only_newline_and_are_stored_as_sent() {
    assert_eq!(stored(Rule::Lines, b"\xff\n\n", &[2, 1]).unwrap(), &b"\xff\n\n"[..]);
    violated(Rule::Lines, b"a", &[]);
    violated(Rule::Lines, b"a\nb\n", &[]);
    violated(Rule::Lines, b"a\nb", &[2, 1]);
    violated(Rule::Lines, b"ab\n", &[1, 2]);
}

#[test]
fn newline_is_added_where_a_record_lacks_it_and_refused_within() {
    assert_eq!(stored(Rule::Newline, b"a", &[]).unwrap(), &b"a\n"[..]);
    assert_eq!(stored(Rule::Newline, b"a\nbc\xff\n", &[2, 2, 2]).unwrap(), &b"a\nbc\n\xff\n"[..]);
    assert_eq!(stored(Rule::Newline, b"\n", &[]).unwrap(), &b"\n"[..]);
    violated(Rule::Newline, b"a\nb", &[]);
    violated(Rule::Newline, b"\n\n", &[]);
    violated(Rule::Newline, b"xa\nb", &[1, 3]);
}

#[test]
fn newline_keep_adds_the_last_newline_and_keeps_the_others() {
    assert_eq!(stored(Rule::NewlineKeep, b"a\nb", &[]).unwrap(), &b"a\nb\n"[..]);
    assert_eq!(stored(Rule::NewlineKeep, b"a\n\nb\nc", &[3, 3]).unwrap(), &b"a\n\nb\nc\n"[..]);
}

#[test]
fn length_delimited_has_a_varint_before_each_record() {
    assert_eq!(stored(Rule::LengthDelimited, b"abc", &[]).unwrap(), &b"\x03abc"[..]);
    assert_eq!(stored(Rule::LengthDelimited, b"a\nb", &[1, 2]).unwrap(), &b"\x01a\x02\nb"[..]);
    let long = [7; 300];
    let expected = [&[0xac, 0x02][..], &long].concat();
    assert_eq!(stored(Rule::LengthDelimited, &long, &[]).unwrap(), expected);
    let edge = [&[0x7f][..], &[7; 127], &[0x80, 0x01], &[7; 128]].concat();
    assert_eq!(stored(Rule::LengthDelimited, &[7; 255], &[127, 128]).unwrap(), edge);
}

#[test]
fn timestamp_stands_before_each_record_and_before_what_framing_adds() {
    let time = "2026-11-23T10:15:00.123Z ";
    assert_eq!(stamped(Rule::None, b"ab", &[1, 1]), format!("{time}a{time}b"));
    assert_eq!(stamped(Rule::Lines, b"a\nb\n", &[2, 2]), format!("{time}a\n{time}b\n"));
    assert_eq!(stamped(Rule::Newline, b"ab\n", &[1, 2]), format!("{time}a\n{time}b\n"));
    assert_eq!(stamped(Rule::NewlineKeep, b"a\nb", &[]), format!("{time}a\nb\n"));
    assert_eq!(stamped(Rule::LengthDelimited, b"abc", &[1, 2]), format!("\x1a{time}a\x1b{time}bc"));
}

#[test]
fn clock_is_read_once_for_all_records() {
    let mut readings = 0;
    let framing = Framing { rule: Rule::None, timestamps: true };
    let clock = || {
        readings += 1;
        noon()
    };
    assert_eq!(framing.store(payload(b"abc", &[1, 1, 1]), clock).unwrap().len(), 3 * (TIMESTAMP_BYTES + 1));
    assert_eq!(readings, 1);
}

#[test]
fn violations_name_the_rule() {
    for (rule, name) in [(Rule::Lines, "FRAMING_LINES"), (Rule::Newline, "FRAMING_NEWLINE refuses")] {
        let refused = Framing { rule, timestamps: false }.store(payload(b"a\nb", &[]), no_clock).unwrap_err();
        assert!(refused.message.contains(name), "{}", refused.message);
    }
}

/// Takes records apart again as a reader of protobuf's delimited streams does.
fn take_apart(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let len = prost::decode_length_delimiter(&mut bytes).unwrap();
        let (record, rest) = bytes.split_at(len);
        records.push(record.to_vec());
        bytes = rest;
    }
    records
}

proptest! {
    #[test]
    fn length_delimited_records_come_apart_as_they_were(
        records in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 1..20)
    ) {
        let lengths: Vec<_> = records.iter().map(|record| u32::try_from(record.len()).unwrap()).collect();
        let bytes = stored(Rule::LengthDelimited, &records.concat(), &lengths).unwrap();
        prop_assert_eq!(take_apart(&bytes), records);
    }

    #[test]
    fn stored_length_is_known_beforehand(
        records in prop::collection::vec(prop::collection::vec(prop::sample::select(&b"ab\n"[..]), 1..6), 1..20),
        rule in prop::sample::select(&RULES[..]),
        timestamps: bool,
    ) {
        let framing = Framing { rule, timestamps };
        let lengths: Vec<_> = records.iter().map(|record| u32::try_from(record.len()).unwrap()).collect();
        let expected: usize = records.iter().map(|record| framing.stored_len(record)).sum();
        if let Ok(bytes) = framing.store(payload(&records.concat(), &lengths), noon) {
            prop_assert_eq!(bytes.len(), expected);
        }
    }
}
