#![allow(clippy::unwrap_used)]

use super::*;
use crate::shard::testing::key;
use proptest::prelude::*;

fn id(counter: u64) -> FileId {
    FileId::new(0, 1, counter)
}

fn append(file: u64, offset: u64, producer: Option<(&str, u64)>, data: &'static [u8]) -> Record {
    let producer = producer.map(|(id, seq)| (id.into(), seq));
    Record::Append { id: id(file), offset, producer, crc32c: crc32c::crc32c(data), data: Bytes::from_static(data) }
}

fn chunk(file: u64, offset: u64, producer: Option<(&str, u64)>) -> Record {
    let producer = producer.map(|(id, seq)| (id.into(), seq));
    Record::Chunk { id: id(file), offset, len: 5, stored_crc32c: 6, producer, crc32c: 7 }
}

fn swap(compressed: Option<u64>) -> Record {
    Record::Swap { id: id(1), next: id(2), generation: 3, len: u64::MAX, crc32c: u32::MAX, compressed }
}

fn encode(records: &[Record]) -> (Bytes, usize) {
    let mut encoder = Encoder::default();
    for record in records {
        encoder.push(record);
    }
    encoder.finish()
}

fn decoded(payload: &Bytes) -> Result<Vec<Record>, Undecodable> {
    let mut records = Vec::new();
    decode(payload, |record| {
        records.push(record);
        Ok(())
    })
    .map(|()| records)
}

/// The records of a payload, encoded.
fn first_part(payload: &Bytes) -> &[u8] {
    let len = u32::from_le_bytes(payload[..4].try_into().unwrap()) as usize;
    &payload[4..4 + len]
}

#[test]
fn every_kind_of_record_is_read_as_it_was_written() {
    let records = [
        Record::Name { key: key("a/ä"), id: id(1), generation: u64::MAX },
        Record::Create { id: id(1), at: 7 },
        Record::Epoch { id: id(1), producer: "p".into(), epoch: u64::MAX },
        append(1, 0, Some(("p", 1)), b"one"),
        append(1, 3, None, b"two"),
        Record::Forget { id: id(2), producer: "".into() },
        append(2, u64::MAX, Some(("q", u64::MAX)), b""),
        append(1, 6, Some(("p", 2)), b"three"),
        Record::Upload { key: key("u"), id: id(3), generation: 4, replace: true, if_generation: Some(0) },
        chunk(3, 7, Some(("p", 1))),
        chunk(3, 9, None),
        Record::Publish { id: id(3) },
        Record::Remove { id: id(3), heir: None },
        Record::Remove { id: id(3), heir: Some((id(4), u64::MAX)) },
        Record::Rename { id: id(1), to: key("b/c") },
        Record::Rotate { id: id(1), to: key("a@1"), next: id(5), generation: 6, at: u64::MAX },
        swap(Some(3)),
        swap(None),
        Record::Adopt { key: key("f"), id: id(6), generation: 7, len: 8, crc32c: u32::MAX, at: 9 },
        Record::Seal { id: id(1) },
        Record::Operation { id: id(1), producer: "p".into(), seq: u64::MAX, crc32c: 7 },
        Record::Prepare { id: id(7), coordinator: 3, part: Part::Publish { upload: id(3) } },
        Record::Prepare { id: id(7), coordinator: 3, part: Part::Leave { file: id(1) } },
        Record::Decide { id: id(7), participants: vec![] },
        Record::Decide { id: id(7), participants: vec![0, 1, u32::MAX] },
        Record::Settle { id: id(7), commit: true },
        Record::Settle { id: id(7), commit: false },
        Record::Close { id: id(7) },
    ];
    assert_eq!(decoded(&encode(&records).0).unwrap(), records);
}

#[test]
fn data_of_appends_lies_together_behind_the_records_and_is_not_copied() {
    let mut encoder = Encoder::default();
    let records = [append(1, 0, None, b"ab"), Record::Create { id: id(1), at: 7 }, append(2, 9, None, b"cde")];
    let starts: Vec<usize> = records.iter().map(|record| encoder.push(record)).collect();
    assert_eq!(starts, [0, 2, 2]);
    let len = encoder.len();
    let (payload, data) = encoder.finish();
    assert_eq!((payload.len(), &payload[data..]), (len, &b"abcde"[..]));
    let found = decoded(&payload).unwrap();
    let Record::Append { data: found, .. } = &found[2] else { panic!("not an append: {found:?}") };
    assert_eq!(found.as_ptr(), payload[data + 2..].as_ptr());
}

#[test]
fn file_and_producer_are_named_once_until_another_is() {
    let one = encode(&[append(1, 0, Some(("producer", 1)), b"")]).0;
    let two = encode(&[append(1, 0, Some(("producer", 1)), b""), append(1, 0, Some(("producer", 2)), b"")]).0;
    // kind, offset, seq, length, checksum
    assert_eq!(first_part(&two).len() - first_part(&one).len(), 1 + 1 + 1 + 1 + 4);
    let other_file = [append(1, 0, Some(("p", 1)), b""), append(2, 0, Some(("p", 1)), b""), append(2, 0, None, b"")];
    let payload = encode(&other_file).0;
    assert_eq!(first_part(&payload).iter().filter(|byte| **byte == b'p').count(), 1);
    assert_eq!(decoded(&payload).unwrap(), other_file);
}

#[test]
fn finishing_leaves_an_empty_encoder_that_remembers_no_name() {
    let mut encoder = Encoder::default();
    assert!(encoder.is_empty());
    assert_eq!(encoder.len(), 4);
    encoder.push(&append(1, 0, Some(("p", 1)), b"x"));
    assert!(!encoder.is_empty());
    let first = encoder.finish().0;
    assert!(encoder.is_empty());
    encoder.push(&append(1, 0, Some(("p", 1)), b"x"));
    assert_eq!(encoder.finish().0, first);
}

#[test]
fn empty_payload_has_no_records() {
    let (payload, data) = Encoder::default().finish();
    assert_eq!((&payload[..], data), (&[0; 4][..], 4));
    assert_eq!(decoded(&payload).unwrap(), []);
}

#[test]
fn unknown_kind_and_record_without_a_file_are_undecodable_and_say_where() {
    let payload = |records: &[u8]| {
        let mut payload = u32::try_from(records.len()).unwrap().to_le_bytes().to_vec();
        payload.extend_from_slice(records);
        decoded(&payload.into())
    };
    let file: Vec<u8> = [vec![FILE], id(1).to_bytes().to_vec()].concat();
    assert_eq!(payload(&file), Ok(vec![]));
    assert_eq!(payload(&[CREATE]), Err(Undecodable(5)));
    for kind in [0, 9, 0xff] {
        assert_eq!(payload(&[&file[..], &[kind]].concat()), Err(Undecodable(22)));
    }
}

#[test]
fn names_that_break_the_grammar_are_undecodable() {
    for (tenant, path) in [("t", "../x"), ("t", "/x"), ("..", "x"), ("t", "")] {
        let mut encoder = Encoder::default();
        encoder.records.push(NAME);
        encoder.records.extend_from_slice(&id(1).to_bytes());
        put_number(&mut encoder.records, 1);
        put_text(&mut encoder.records, tenant);
        put_text(&mut encoder.records, path);
        assert!(decoded(&encoder.finish().0).is_err(), "{tenant} {path}");
    }
}

#[test]
fn bytes_that_no_record_claims_are_undecodable() {
    let (payload, _) = encode(&[append(1, 0, None, b"abc")]);
    let longer = [&payload[..], b"d"].concat();
    assert_eq!(decoded(&longer.into()), Err(Undecodable(payload.len())));
}

#[test]
fn visitor_that_fails_ends_the_walk() {
    let (payload, _) = encode(&[Record::Create { id: id(1), at: 7 }, Record::Create { id: id(2), at: 7 }]);
    let mut visited = 0;
    let stopped = decode(&payload, |_| {
        visited += 1;
        Err(Undecodable(77))
    });
    assert_eq!((stopped, visited), (Err(Undecodable(77)), 1));
}

fn number() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64u32).prop_map(|(number, shift)| number >> shift)
}

fn record() -> impl Strategy<Value = Record> {
    let file = || (1..4u64).prop_map(id);
    let producer = || "[a-cä]{0,3}".prop_map(ProducerId::from);
    let data = prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from);
    let by = || prop::option::of((producer(), number()));
    let path = || "[a-z]{1,5}(/[a-z]{1,5}){0,2}".prop_map(|path| key(&path));
    prop_oneof![
        1 => (file(), path(), number()).prop_map(|(id, key, generation)| Record::Name { key, id, generation }),
        1 => file().prop_map(|id| Record::Create { id, at: 7 }),
        1 => (file(), producer(), number()).prop_map(|(id, producer, epoch)| Record::Epoch { id, producer, epoch }),
        1 => (file(), producer()).prop_map(|(id, producer)| Record::Forget { id, producer }),
        4 => (file(), number(), by(), any::<u32>(), data)
            .prop_map(|(id, offset, producer, crc32c, data)| Record::Append { id, offset, producer, crc32c, data }),
        1 => (file(), path(), number(), any::<bool>(), prop::option::of(number())).prop_map(
            |(id, key, generation, replace, if_generation)| Record::Upload { key, id, generation, replace, if_generation }
        ),
        2 => (file(), number(), number(), any::<u32>(), by()).prop_map(|(id, offset, len, crc32c, producer)| {
            Record::Chunk { id, offset, len, stored_crc32c: !crc32c, producer, crc32c }
        }),
        1 => (file(), prop::option::of((file(), number()))).prop_map(|(id, heir)| Record::Remove { id, heir }),
        1 => prop_oneof![file().prop_map(|id| Record::Publish { id }), file().prop_map(|id| Record::Seal { id })],
        1 => (file(), path()).prop_map(|(id, to)| Record::Rename { id, to }),
        1 => (file(), path(), file(), number(), number())
            .prop_map(|(id, to, next, generation, at)| Record::Rotate { id, to, next, generation, at }),
        1 => (file(), file(), number(), number(), any::<u32>(), prop::option::of(number())).prop_map(
            |(id, next, generation, len, crc32c, compressed)| Record::Swap { id, next, generation, len, crc32c, compressed }
        ),
        1 => (path(), file(), number(), number(), any::<u32>(), number()).prop_map(
            |(key, id, generation, len, crc32c, at)| Record::Adopt { key, id, generation, len, crc32c, at }
        ),
        1 => (file(), producer(), number(), any::<u32>())
            .prop_map(|(id, producer, seq, crc32c)| Record::Operation { id, producer, seq, crc32c }),
        1 => (file(), any::<u32>(), file(), any::<bool>()).prop_map(|(id, coordinator, file, leaves)| {
            let part = if leaves { Part::Leave { file } } else { Part::Publish { upload: file } };
            Record::Prepare { id, coordinator, part }
        }),
        1 => (file(), prop::collection::vec(any::<u32>(), 0..4))
            .prop_map(|(id, participants)| Record::Decide { id, participants }),
        1 => (file(), any::<bool>()).prop_map(|(id, commit)| Record::Settle { id, commit }),
        1 => file().prop_map(|id| Record::Close { id }),
    ]
}

proptest! {
    #[test]
    fn any_records_are_read_as_they_were_written(records in prop::collection::vec(record(), 0..20)) {
        let mut encoder = Encoder::default();
        let starts: Vec<usize> = records.iter().map(|record| encoder.push(record)).collect();
        let len = encoder.len();
        let (payload, data) = encoder.finish();
        prop_assert_eq!(payload.len(), len);
        for (record, start) in records.iter().zip(starts) {
            if let Record::Append { data: bytes, .. } = record {
                prop_assert_eq!(&payload[data + start..][..bytes.len()], &bytes[..]);
            }
        }
        prop_assert_eq!(decoded(&payload), Ok(records));
    }

    #[test]
    fn payload_cut_anywhere_is_undecodable(records in prop::collection::vec(record(), 0..8)) {
        let (payload, _) = encode(&records);
        for len in 0..payload.len() {
            prop_assert!(decoded(&payload.slice(..len)).is_err(), "cut to {} of {}", len, payload.len());
        }
    }

    #[test]
    fn changed_byte_is_read_as_something_or_refused(records in prop::collection::vec(record(), 1..5), by in 1..=255u8) {
        let (payload, _) = encode(&records);
        for at in 0..payload.len() {
            let mut changed = payload.to_vec();
            changed[at] ^= by;
            if let Err(Undecodable(found)) = decoded(&changed.into()) {
                prop_assert!(found <= payload.len());
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), records in 0..60u32) {
        let payload = [&records.to_le_bytes()[..], &bytes].concat();
        let len = payload.len();
        if let Err(Undecodable(at)) = decoded(&payload.into()) {
            prop_assert!(at <= len);
        }
    }
}
