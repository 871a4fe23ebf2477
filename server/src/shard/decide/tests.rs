#![allow(clippy::unwrap_used)]

use super::*;
use crate::shard::{
    record::Record,
    state::{Files, Remembered},
    testing::{file, key},
};
use inkpot_proto::v1::Outcome;
use proptest::prelude::*;
use std::collections::VecDeque;

const OPEN: u64 = 5;
const MAX_END: u64 = i64::MAX as u64;

fn file_of(end: u64) -> File {
    File { end, ..file("f", 1) }
}

fn channel(producer: Option<&str>) -> Channel {
    Channel {
        file: FileId::new(0, 1, 1),
        key: key("f"),
        stale: false,
        staging: None,
        published: false,
        producer: producer.map(Into::into),
        open: OPEN,
        arrived: 0,
        taken: 0,
        refused: false,
        last: (0, 0),
        synced_seq: 0,
    }
}

/// A producer that holds its channel, and whose last appends were `remembered`.
fn producer(last_seq: u64, remembered: &[(u64, u32, u32)]) -> Producer {
    let remembered = remembered.iter().map(|&(offset, len, crc32c)| Remembered { generation: 1, offset, len, crc32c });
    Producer { epoch: 3, last_seq, remembered: remembered.collect(), open: OPEN, ..Producer::default() }
}

fn wish(seq: u64) -> Wish {
    Wish { seq, len: 10, crc32c: 0xabc, expected_offset: None }
}

fn refused(decision: Decision, reason: ErrorReason) -> Refused {
    match decision {
        Decision::Refuse(refused) if refused.reason == reason => {
            assert_eq!(refused.outcome, Outcome::NotApplied);
            assert!(refused.message.contains("\"f\" of tenant t"), "the file is named: {refused}");
            *refused
        }
        other => panic!("not refused for {reason:?}: {other:?}"),
    }
}

/// What a refusal tells beside its reason: expected seq, expected offset, current epoch.
fn hints(refused: &Refused) -> (Option<u64>, Option<u64>, Option<u64>) {
    (refused.expected_seq, refused.expected_offset, refused.current_epoch)
}

#[test]
fn seqs_without_a_producer_count_from_1_per_channel() {
    let file = file_of(70);
    let mut channel = channel(None);
    assert_eq!(decide(&file, None, &channel, &wish(1)), Decision::Append(70));
    channel.taken = 4;
    assert_eq!(next_seq(&channel, None), 5);
    assert_eq!(decide(&file, None, &channel, &wish(5)), Decision::Append(70));
    for seq in [0, 1, 4, 6, u64::MAX] {
        let refused = refused(decide(&file, None, &channel, &wish(seq)), ErrorReason::SequenceGap);
        assert_eq!(hints(&refused), (Some(5), None, None), "seq {seq}");
    }
}

#[test]
fn seqs_of_a_producer_go_on_where_it_is_in_the_file_whatever_the_channel_took() {
    let (file, mut channel) = (file_of(70), channel(Some("p")));
    channel.taken = 99;
    let known = producer(7, &[]);
    assert_eq!(next_seq(&channel, Some(&known)), 8);
    assert_eq!(decide(&file, Some(&known), &channel, &wish(8)), Decision::Append(70));
    for seq in [9, 100, u64::MAX] {
        let refused = refused(decide(&file, Some(&known), &channel, &wish(seq)), ErrorReason::SequenceGap);
        assert_eq!(hints(&refused), (Some(8), None, None), "seq {seq}");
    }
}

#[test]
fn remembered_duplicate_is_told_where_it_lies() {
    let (file, channel) = (file_of(70), channel(Some("p")));
    let known = producer(7, &[(20, 10, 0xabc), (50, 10, 0xabc)]);
    assert_eq!(
        decide(&file, Some(&known), &channel, &wish(7)),
        Decision::Duplicate(Some(Found { generation: 1, range: (50, 60) }))
    );
    assert_eq!(
        decide(&file, Some(&known), &channel, &wish(6)),
        Decision::Duplicate(Some(Found { generation: 1, range: (20, 30) }))
    );
}

#[test]
fn duplicate_that_is_not_remembered_is_one_all_the_same() {
    let (file, channel) = (file_of(70), channel(Some("p")));
    let known = producer(7, &[(20, 10, 0xabc), (50, 10, 0xabc)]);
    for seq in [0, 1, 5] {
        assert_eq!(decide(&file, Some(&known), &channel, &wish(seq)), Decision::Duplicate(None), "seq {seq}");
    }
}

#[test]
fn remembered_seq_with_other_bytes_is_refused() {
    let (file, channel) = (file_of(70), channel(Some("p")));
    let known = producer(7, &[(50, 10, 0xabc)]);
    for other in [Wish { len: 11, ..wish(7) }, Wish { crc32c: 0xabd, ..wish(7) }] {
        let refused = refused(decide(&file, Some(&known), &channel, &other), ErrorReason::SequenceReused);
        assert_eq!(hints(&refused), (None, None, None));
    }
}

#[test]
fn duplicate_is_told_whatever_it_expects_and_whatever_was_refused_before() {
    let (file, mut channel) = (file_of(MAX_END), channel(Some("p")));
    channel.refused = true;
    let known = producer(7, &[(50, 10, 0xabc)]);
    let resent = Wish { expected_offset: Some(1), ..wish(7) };
    assert_eq!(
        decide(&file, Some(&known), &channel, &resent),
        Decision::Duplicate(Some(Found { generation: 1, range: (50, 60) }))
    );
}

#[test]
fn producer_that_is_not_known_begins_anew() {
    let (file, channel) = (file_of(70), channel(Some("p")));
    for seq in [1, 2, 9] {
        let refused = refused(decide(&file, None, &channel, &wish(seq)), ErrorReason::UnknownProducer);
        assert_eq!(hints(&refused), (Some(1), None, None), "seq {seq}");
    }
}

#[test]
fn fresh_producer_that_does_not_begin_with_1_was_forgotten() {
    let (file, channel) = (file_of(70), channel(Some("p")));
    let fresh = producer(0, &[]);
    assert_eq!(decide(&file, Some(&fresh), &channel, &wish(1)), Decision::Append(70));
    let unknown = refused(decide(&file, Some(&fresh), &channel, &wish(2)), ErrorReason::UnknownProducer);
    assert_eq!(hints(&unknown), (Some(1), None, None));
    // An epoch before says that it is known, also if nothing was written in that.
    for previous in [(2, 9), (2, 0)] {
        let known = Producer { previous, ..producer(0, &[]) };
        let gap = refused(decide(&file, Some(&known), &channel, &wish(2)), ErrorReason::SequenceGap);
        assert_eq!(hints(&gap), (Some(1), None, None));
    }
}

#[test]
fn channel_of_an_older_open_is_fenced_before_anything_else_is_looked_at() {
    let file = file_of(MAX_END);
    let known = producer(7, &[(50, 10, 0xabc)]);
    for open in [0, OPEN - 1, OPEN + 1] {
        let mut older = channel(Some("p"));
        (older.open, older.refused) = (open, true);
        // A duplicate, one with other bytes, the next one, one out of turn.
        for wish in [wish(7), Wish { crc32c: 1, ..wish(7) }, wish(8), Wish { expected_offset: Some(0), ..wish(99) }] {
            let refused = refused(decide(&file, Some(&known), &older, &wish), ErrorReason::ProducerFenced);
            assert_eq!(hints(&refused), (None, None, Some(3)));
        }
    }
}

#[test]
fn what_comes_behind_a_refused_append_is_refused_for_that() {
    let file = file_of(70);
    let fresh = producer(0, &[]);
    for (producer, next) in [(None, 1), (Some(&fresh), 1), (Some(&producer(7, &[])), 8)] {
        let mut channel = channel(producer.map(|_| "p"));
        channel.refused = true;
        for seq in [next + 1, next + 2, u64::MAX] {
            let wish = Wish { expected_offset: Some(1), ..wish(seq) };
            let refused = refused(decide(&file, producer, &channel, &wish), ErrorReason::EarlierSeqRefused);
            assert_eq!(hints(&refused), (Some(next), None, None));
        }
        assert_eq!(decide(&file, producer, &channel, &wish(next)), Decision::Append(70), "the refused one comes again");
    }
}

#[test]
fn earlier_seq_of_a_channel_without_producer_is_out_of_turn_also_behind_a_refused_one() {
    let mut channel = channel(None);
    (channel.taken, channel.refused) = (4, true);
    let refused = refused(decide(&file_of(70), None, &channel, &wish(4)), ErrorReason::SequenceGap);
    assert_eq!(hints(&refused), (Some(5), None, None));
}

#[test]
fn expected_offset_is_the_end_of_the_file_or_the_append_is_refused() {
    let channel = channel(None);
    let expecting = |offset| Wish { expected_offset: Some(offset), ..wish(1) };
    for end in [0, 70] {
        assert_eq!(decide(&file_of(end), None, &channel, &expecting(end)), Decision::Append(end));
        for offset in [end + 1, u64::MAX] {
            let decision = decide(&file_of(end), None, &channel, &expecting(offset));
            assert_eq!(hints(&refused(decision, ErrorReason::OffsetMismatch)), (None, Some(end), None));
        }
    }
    let decision = decide(&file_of(70), None, &channel, &expecting(0));
    assert_eq!(hints(&refused(decision, ErrorReason::OffsetMismatch)), (None, Some(70), None));
}

#[test]
fn gap_is_told_before_a_wrong_offset_and_that_before_the_end_of_all_offsets() {
    let (file, channel) = (file_of(MAX_END), channel(None));
    let wish = |seq, expected_offset| Wish { expected_offset, ..wish(seq) };
    refused(decide(&file, None, &channel, &wish(2, Some(1))), ErrorReason::SequenceGap);
    refused(decide(&file, None, &channel, &wish(1, Some(1))), ErrorReason::OffsetMismatch);
    refused(decide(&file, None, &channel, &wish(1, Some(MAX_END))), ErrorReason::OutOfRange);
}

#[test]
fn file_never_grows_beyond_the_largest_offset() {
    let channel = channel(None);
    let append = |end, len| decide(&file_of(end), None, &channel, &Wish { len, ..wish(1) });
    assert_eq!(append(MAX_END - 10, 10), Decision::Append(MAX_END - 10));
    for (end, len) in [(MAX_END - 10, 11), (MAX_END, 1), (0, u64::MAX), (u64::MAX, 1), (u64::MAX, u64::MAX)] {
        assert_eq!(hints(&refused(append(end, len), ErrorReason::OutOfRange)), (None, None, None), "{end} + {len}");
    }
}

#[test]
fn last_of_all_seqs_is_a_duplicate_and_overflows_nothing() {
    let (file, channel) = (file_of(70), channel(Some("p")));
    let known = producer(u64::MAX, &[(50, 10, 0xabc)]);
    assert_eq!(next_seq(&channel, Some(&known)), u64::MAX);
    assert_eq!(
        decide(&file, Some(&known), &channel, &wish(u64::MAX)),
        Decision::Duplicate(Some(Found { generation: 1, range: (50, 60) }))
    );
    assert_eq!(decide(&file, Some(&known), &channel, &wish(0)), Decision::Duplicate(None));
}

#[derive(Clone, Debug)]
struct Try {
    by: usize,
    seq: u64,
    len: u64,
    expected_offset: Option<u64>,
}

fn attempt() -> impl Strategy<Value = Try> {
    let expected = prop_oneof![3 => Just(None), 1 => (0..40u64).prop_map(Some)];
    (0..3usize, 1..12u64, 1..4u64, expected).prop_map(|(by, seq, len, expected_offset)| Try {
        by,
        seq,
        len,
        expected_offset,
    })
}

proptest! {
    /// Two producers and a channel without one write into one file, in any order, with gaps and resends: what is taken
    /// tiles the file, and each producer has each seq once.
    #[test]
    fn whatever_is_tried_the_file_is_tiled_and_no_seq_is_taken_twice(tries in prop::collection::vec(attempt(), 1..80)) {
        const REMEMBER: usize = 3;
        let names = ["p", "q"];
        let mut files = Files::new(REMEMBER as u32);
        let file = file_of(0);
        let id = file.view.id;
        files.insert(file);
        let mut channels = [channel(Some("p")), channel(Some("q")), channel(None)];
        for name in names {
            files.apply(&Record::Epoch { id, producer: name.into(), epoch: 1 }, 1, 0);
            files.get_mut(id).unwrap().producers.get_mut(name).unwrap().open = OPEN;
        }
        let mut taken: [VecDeque<(u64, u64)>; 3] = Default::default();
        let mut end = 0;
        for (sequence, Try { by, seq, len, expected_offset }) in (2..).zip(tries) {
            let file = files.get(id).unwrap();
            let producer = names.get(by).and_then(|name| file.producers.get(*name));
            let wish = Wish { seq, len, crc32c: u32::try_from(len).unwrap(), expected_offset };
            let decision = decide(file, producer, &channels[by], &wish);
            let last = taken[by].len() as u64;
            let known = taken[by].get(usize::try_from(seq - 1).unwrap()).copied();
            let is_remembered = seq + REMEMBER as u64 > last;
            match decision {
                Decision::Append(offset) => {
                    prop_assert_eq!((offset, seq), (end, last + 1));
                    prop_assert!(expected_offset.is_none_or(|expected| expected == end));
                    let producer = names.get(by).map(|name| ((*name).into(), seq));
                    let data = vec![0; usize::try_from(len).unwrap()].into();
                    let record = Record::Append { id, offset, producer, crc32c: wish.crc32c, data };
                    files.apply(&record, sequence, 0);
                    taken[by].push_back((offset, offset + len));
                    channels[by].taken = seq;
                    end += len;
                }
                Decision::Duplicate(found) => {
                    prop_assert!(by < 2 && seq <= last);
                    prop_assert_eq!(found.map(|found| found.range), known.filter(|_| is_remembered));
                }
                Decision::Refuse(refused) => match refused.reason {
                    ErrorReason::SequenceReused => {
                        prop_assert!(by < 2 && is_remembered && known.is_some_and(|(first, end)| end - first != len));
                    }
                    ErrorReason::SequenceGap => {
                        prop_assert_eq!(refused.expected_seq, Some(last + 1));
                        prop_assert!(seq > last + 1 || by == 2 && seq <= last);
                    }
                    ErrorReason::UnknownProducer => prop_assert!(by < 2 && last == 0 && seq > 1),
                    ErrorReason::OffsetMismatch => {
                        prop_assert_eq!((seq, refused.expected_offset), (last + 1, Some(end)));
                        prop_assert!(expected_offset.is_some_and(|expected| expected != end));
                    }
                    other => prop_assert!(false, "{:?}", other),
                },
            }
            prop_assert_eq!(files.get(id).unwrap().end, end);
        }
    }
}
