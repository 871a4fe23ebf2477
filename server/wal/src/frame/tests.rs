#![allow(clippy::unwrap_used)]

use super::{ALIGN, Frame, HEADER_BYTES, Header, Kind, Place, decode, encode, looks_begun, size};
use bytes::Bytes;
use proptest::prelude::*;

const PLACE: Place = Place { shard: 3, epoch: 7, nonce: 0x1234_5678_9abc_def0, offset: 64 };
const HEADER: Header = Header { kind: Kind::Decisions, rewritten: false, sequence: 42, durable_through: 41 };

fn written(header: Header, payload: &[u8], place: Place) -> Vec<u8> {
    let mut bytes = encode(header, &[payload], place).to_vec();
    bytes.extend_from_slice(payload);
    bytes.resize(size(payload.len()), 0);
    bytes
}

fn read(bytes: &[u8], place: Place) -> Option<Frame> {
    let (header, length) = decode(bytes, place)?;
    Some(Frame { header, payload: Bytes::copy_from_slice(&bytes[HEADER_BYTES..HEADER_BYTES + length]) })
}

#[test]
fn every_kind_is_read_as_it_was_written() {
    for (kind, rewritten) in [(Kind::Decisions, false), (Kind::Seal, false), (Kind::Begin, true)] {
        let header = Header { kind, rewritten, sequence: u64::MAX, durable_through: u64::MAX - 1 };
        let frame = read(&written(header, b"payload", PLACE), PLACE).unwrap();
        assert_eq!(frame, Frame { header, payload: Bytes::from_static(b"payload") });
    }
}

#[test]
fn parts_count_as_one_payload() {
    assert_eq!(encode(HEADER, &[b"one", b"", b"two"], PLACE), encode(HEADER, &[b"onetwo"], PLACE));
}

#[test]
fn frame_elsewhere_is_none() {
    let bytes = written(HEADER, b"payload", PLACE);
    for other in [
        Place { shard: 4, ..PLACE },
        Place { epoch: 8, ..PLACE },
        Place { nonce: PLACE.nonce ^ 1 << 63, ..PLACE },
        Place { offset: 72, ..PLACE },
    ] {
        assert_eq!(read(&bytes, other), None, "{other:?}");
    }
}

#[test]
fn any_bit_flipped_is_noticed_also_in_the_padding() {
    for payload in [&b""[..], b"1", b"1234567", b"12345678", &[7; 100]] {
        let mut bytes = written(HEADER, payload, PLACE);
        for at in 0..bytes.len() * 8 {
            bytes[at / 8] ^= 1 << (at % 8);
            assert_eq!(read(&bytes, PLACE), None, "bit {at} of a payload of {}", payload.len());
            bytes[at / 8] ^= 1 << (at % 8);
        }
        assert!(read(&bytes, PLACE).is_some());
    }
}

#[test]
fn any_cut_is_noticed() {
    let bytes = written(HEADER, &[9; 51], PLACE);
    for len in 0..bytes.len() {
        assert_eq!(read(&bytes[..len], PLACE), None, "{len} bytes");
    }
}

#[test]
fn length_beyond_the_segment_is_none() {
    let mut bytes = encode(HEADER, &[&vec![0; 1 << 16]], PLACE).to_vec();
    bytes.resize(1 << 10, 0);
    assert_eq!(read(&bytes, PLACE), None);
}

#[test]
fn zeros_are_no_frame() {
    assert_eq!(read(&[0; 256], PLACE), None);
}

#[test]
fn begun_frame_is_guessed_from_its_header() {
    let bytes = written(HEADER, b"payload", PLACE);
    assert!(looks_begun(&bytes[..HEADER_BYTES], 42));
    assert!(!looks_begun(&bytes, 43));
    assert!(!looks_begun(&[0; HEADER_BYTES], 0));
}

proptest! {
    #[test]
    fn any_frame_is_read_as_it_was_written(
        payload in prop::collection::vec(any::<u8>(), 0..300),
        sequence: u64, durable_through: u64, shard: u32, epoch: u64, nonce: u64, offset: u64,
    ) {
        let place = Place { shard, epoch, nonce, offset };
        let header = Header { kind: Kind::Decisions, rewritten: false, sequence, durable_through };
        let bytes = written(header, &payload, place);
        prop_assert_eq!(bytes.len() % ALIGN, 0);
        prop_assert_eq!(read(&bytes, place), Some(Frame { header, payload: payload.into() }));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(decode(&bytes, PLACE), None);
    }
}
