#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

fn reader(bytes: &[u8]) -> Reader {
    Reader::new(Bytes::copy_from_slice(bytes))
}

#[test]
fn numbers_take_the_bytes_that_protobuf_gives_them() {
    let cases: [(u64, &[u8]); 6] = [
        (0, &[0]),
        (127, &[0x7f]),
        (128, &[0x80, 1]),
        (300, &[0xac, 2]),
        (1 << 63, &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1]),
        (u64::MAX, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
    ];
    for (number, bytes) in cases {
        let mut out = Vec::new();
        put_number(&mut out, number);
        assert_eq!(out, bytes);
        assert_eq!(reader(bytes).number(), Ok(number));
    }
}

#[test]
fn number_of_more_than_64_bits_is_undecodable() {
    for last in [2, 0x7f, 0x80, 0x81] {
        let bytes = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, last, 0];
        assert_eq!(reader(&bytes).number(), Err(Undecodable(10)), "tenth byte {last:#x}");
    }
}

#[test]
fn option_is_there_or_not_and_nothing_else() {
    assert_eq!(reader(&[0]).option(), Ok(None));
    assert_eq!(reader(&[1, 5]).option(), Ok(Some(5)));
    assert_eq!(reader(&[2, 5]).option(), Err(Undecodable(1)));
    assert_eq!(reader(&[1]).option(), Err(Undecodable(1)));
}

#[test]
fn lengths_beyond_the_end_are_undecodable_and_take_nothing() {
    let mut reader = reader(b"abc");
    for len in [4, u64::MAX, u64::MAX - 1] {
        assert_eq!(reader.bytes(len), Err(Undecodable(0)));
    }
    assert_eq!(reader.array::<4>(), Err(Undecodable(0)));
    assert_eq!(reader.bytes(3).unwrap(), "abc");
    assert_eq!((reader.is_at_end(), reader.byte()), (true, Err(Undecodable(3))));
}

#[test]
fn bytes_are_not_copied() {
    let bytes = Bytes::from_static(b"0123456789");
    let mut reader = Reader::new(bytes.clone());
    reader.byte().unwrap();
    assert_eq!(reader.bytes(4).unwrap().as_ptr(), bytes[1..].as_ptr());
}

#[test]
fn text_that_is_no_utf8_is_undecodable_where_it_begins() {
    assert_eq!(reader(&[9, 2, 0xc3, 0x28]).byte(), Ok(9));
    assert_eq!(reader(&[2, 0xc3, 0x28]).text(), Err(Undecodable(1)));
    assert_eq!(reader(&[3, 0xc3, 0x28]).text(), Err(Undecodable(1)));
}

#[test]
fn split_reader_ends_where_it_was_told_and_counts_from_the_beginning() {
    let mut rest = reader(b"0123456789");
    rest.byte().unwrap();
    let mut first = rest.split(3).unwrap();
    assert_eq!(first.bytes(3).unwrap(), "123");
    assert_eq!((first.is_at_end(), first.byte()), (true, Err(Undecodable(4))));
    assert_eq!(rest.bytes(6).unwrap(), "456789");
    assert_eq!(rest.split(1).unwrap_err(), Undecodable(10));
}

#[derive(Clone, Debug)]
enum Part {
    Number(u64),
    Option(Option<u64>),
    Text(String),
}

fn part() -> impl Strategy<Value = Part> {
    let number = || (any::<u64>(), 0..64u32).prop_map(|(number, shift)| number >> shift);
    prop_oneof![
        number().prop_map(Part::Number),
        prop::option::of(number()).prop_map(Part::Option),
        any::<String>().prop_map(Part::Text),
    ]
}

proptest! {
    #[test]
    fn what_is_put_is_read(parts in prop::collection::vec(part(), 0..20)) {
        let mut out = Vec::new();
        for part in &parts {
            match part {
                Part::Number(number) => put_number(&mut out, *number),
                Part::Option(option) => put_option(&mut out, *option),
                Part::Text(text) => put_text(&mut out, text),
            }
        }
        let mut reader = Reader::new(out.into());
        for part in parts {
            match part {
                Part::Number(number) => prop_assert_eq!(reader.number(), Ok(number)),
                Part::Option(option) => prop_assert_eq!(reader.option(), Ok(option)),
                Part::Text(text) => prop_assert_eq!(reader.text(), Ok(text)),
            }
        }
        prop_assert!(reader.is_at_end());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..40), calls in prop::collection::vec(0..6, 1..10)) {
        let len = bytes.len();
        let mut reader = Reader::new(bytes.into());
        for call in calls {
            let failed = match call {
                0 => reader.byte().err(),
                1 => reader.number().err(),
                2 => reader.option().err(),
                3 => reader.text().err(),
                4 => reader.array::<16>().err(),
                _ => reader.bytes(7).err(),
            };
            prop_assert!(failed.is_none_or(|Undecodable(at)| at <= len));
        }
    }
}
