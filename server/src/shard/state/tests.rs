#![allow(clippy::unwrap_used)]

mod names;

use super::*;
use crate::shard::record::Record;
use crate::shard::testing::{file, key};
use bytes::Bytes;
use proptest::prelude::*;

fn id(counter: u64) -> FileId {
    FileId::new(0, 1, counter)
}

fn append(offset: u64, by: Option<(&str, u64)>, len: usize) -> Record {
    let producer = by.map(|(name, seq)| (name.into(), seq));
    Record::Append { id: id(1), offset, producer, crc32c: 7, data: Bytes::from(vec![0; len]) }
}

fn epoch(producer: &str, epoch: u64) -> Record {
    Record::Epoch { id: id(1), producer: producer.into(), epoch }
}

/// One file, to which these records were applied, each in a frame of its own.
fn after(remember: u32, records: &[Record]) -> Files {
    let mut files = Files::new(remember);
    files.insert(file("f", 1));
    for (sequence, record) in (1..).zip(records) {
        files.apply(record, sequence, 100 + sequence);
    }
    files
}

fn producer<'a>(files: &'a Files, name: &str) -> &'a Producer {
    &files.get(id(1)).unwrap().producers[name]
}

#[test]
fn file_is_found_by_id_and_path_until_it_is_removed() {
    let mut files = Files::new(1);
    files.insert(file("a", 1));
    files.insert(file("b", 2));
    assert_eq!(
        (files.id_of(&key("a")), files.id_of(&key("b")), files.id_of(&key("c"))),
        (Some(id(1)), Some(id(2)), None)
    );
    assert_eq!(files.iter().count(), 2);
    files.remove(id(1));
    assert!(files.get(id(1)).is_none() && files.get_mut(id(1)).is_none());
    assert_eq!((files.id_of(&key("a")), files.id_of(&key("b"))), (None, Some(id(2))));
    files.remove(id(1));
    assert_eq!(files.iter().count(), 1);
}

#[test]
fn name_and_create_are_noted() {
    let files = after(1, &[Record::Name { key: key("f"), id: id(1), generation: 1 }]);
    let file = files.get(id(1)).unwrap();
    assert_eq!((file.named, file.created, file.sequence), (true, false, 1));
    let files = after(1, &[Record::Create { id: id(1), at: 0 }]);
    let file = files.get(id(1)).unwrap();
    assert_eq!((file.named, file.created, file.end), (false, true, 0));
}

#[test]
fn append_moves_the_end_and_the_producer() {
    let files = after(4, &[epoch("p", 2), append(0, Some(("p", 1)), 5), append(5, Some(("p", 2)), 6)]);
    assert_eq!(files.get(id(1)).unwrap().end, 11);
    let known = producer(&files, "p");
    assert_eq!((known.epoch, known.last_seq, known.active_at, known.previous), (2, 2, 103, (0, 0)));
    assert_eq!(known.remembered(2), Some(&Remembered { generation: 1, offset: 5, len: 6, crc32c: 7 }));
    assert_eq!(known.remembered(1), Some(&Remembered { generation: 1, offset: 0, len: 5, crc32c: 7 }));
}

#[test]
fn append_without_a_producer_moves_only_the_end() {
    let files = after(4, &[epoch("p", 1), append(0, None, 5)]);
    assert_eq!(files.get(id(1)).unwrap().end, 5);
    let known = producer(&files, "p");
    assert_eq!((known.last_seq, known.active_at, known.remembered.len()), (0, 101, 0));
}

#[test]
fn as_many_appends_are_remembered_as_configured_and_the_last_one_always() {
    for (remember, kept) in [(0, 1), (1, 1), (3, 3), (64, 5)] {
        let appends = (1..=5).map(|seq| append(seq, Some(("p", seq)), 1));
        let records: Vec<Record> = std::iter::once(epoch("p", 1)).chain(appends).collect();
        let files = after(remember, &records);
        let known = producer(&files, "p");
        let found: Vec<u64> = (0..=9).filter(|seq| known.remembered(*seq).is_some()).collect();
        assert_eq!(found, (6 - kept..=5).collect::<Vec<u64>>(), "remember {remember}");
        assert!(found.iter().all(|seq| known.remembered(*seq).unwrap().offset == *seq));
    }
}

#[test]
fn nothing_is_remembered_beyond_the_last_seq_or_before_the_first() {
    let mut known = Producer::default();
    assert_eq!((known.remembered(0), known.remembered(1), known.remembered(u64::MAX)), (None, None, None));
    known.last_seq = u64::MAX;
    known.remembered.push_back(Remembered { generation: 1, offset: 3, len: 1, crc32c: 0 });
    assert_eq!(known.remembered(u64::MAX).unwrap().offset, 3);
    assert_eq!((known.remembered(u64::MAX - 1), known.remembered(0)), (None, None));
}

#[test]
fn higher_epoch_begins_anew_and_remembers_the_one_before() {
    let mut files = after(4, &[epoch("p", 2), append(0, Some(("p", 1)), 5)]);
    files.get_mut(id(1)).unwrap().producers.get_mut("p").unwrap().open = 9;
    files.apply(&epoch("p", 7), 3, 500);
    let expected = Producer { epoch: 7, previous: (2, 1), active_at: 500, open: 9, ..Producer::default() };
    assert_eq!(producer(&files, "p"), &expected);
    files.apply(&epoch("p", 8), 4, 501);
    assert_eq!(producer(&files, "p").previous, (7, 0));
}

#[test]
fn forgotten_producer_is_gone_and_the_others_stay() {
    let forget = Record::Forget { id: id(1), producer: "p".into() };
    let files = after(4, &[epoch("p", 1), epoch("q", 1), forget, append(0, Some(("p", 1)), 3)]);
    let file = files.get(id(1)).unwrap();
    assert_eq!(file.producers.keys().map(AsRef::as_ref).collect::<Vec<_>>(), ["q"]);
    assert_eq!(file.end, 3);
}

#[test]
fn frame_from_before_the_last_change_changes_nothing() {
    let mut files = after(4, &[epoch("p", 1), append(0, Some(("p", 1)), 5)]);
    files.take_changed();
    for record in [append(0, Some(("p", 1)), 5), epoch("p", 1), Record::Create { id: id(1), at: 0 }] {
        files.apply(&record, 1, 999);
    }
    let file = files.get(id(1)).unwrap();
    assert_eq!((file.end, file.sequence, file.created), (5, 2, false));
    assert_eq!((producer(&files, "p").last_seq, producer(&files, "p").active_at), (1, 102));
    assert!(files.is_unchanged());
}

#[test]
fn records_of_one_frame_all_count() {
    let mut files = after(4, &[]);
    for record in [Record::Create { id: id(1), at: 0 }, epoch("p", 1), append(0, Some(("p", 1)), 5)] {
        files.apply(&record, 1, 0);
    }
    let file = files.get(id(1)).unwrap();
    assert_eq!((file.created, file.end, producer(&files, "p").last_seq), (true, 5, 1));
}

#[test]
fn record_of_a_file_that_is_not_in_memory_changes_nothing() {
    let mut files = Files::new(1);
    files.apply(&append(0, None, 5), 1, 0);
    assert!(files.is_unchanged() && files.iter().count() == 0);
}

#[test]
fn changed_files_are_told_once() {
    let mut files = after(1, &[]);
    files.insert(file("g", 2));
    assert!(files.is_unchanged());
    files.apply(&append(0, None, 5), 1, 0);
    files.apply(&append(5, None, 5), 1, 0);
    assert!(files.is_changed(id(1)) && !files.is_changed(id(2)) && !files.is_unchanged());
    assert_eq!(files.take_changed(), [id(1)]);
    assert!(files.is_unchanged() && !files.is_changed(id(1)) && files.take_changed().is_empty());
    files.apply(&append(10, None, 5), 2, 0);
    assert!(files.is_changed(id(1)));
}

/// What a checkpoint keeps of a file.
fn stored(files: &Files) -> File {
    let File { view, named, created, end, sequence, producers, .. } = files.get(id(1)).unwrap();
    let (view, producers) = (Arc::clone(view), producers.clone());
    File { view, named: *named, created: *created, end: *end, sequence: *sequence, producers, ..file("f", 1) }
}

fn record() -> impl Strategy<Value = Record> {
    let name = || prop_oneof![Just("p"), Just("q")];
    prop_oneof![
        1 => Just(Record::Create { id: id(1), at: 0 }),
        2 => (name(), 1..9u64).prop_map(|(name, number)| epoch(name, number)),
        1 => name().prop_map(|name| Record::Forget { id: id(1), producer: name.into() }),
        6 => (0..99u64, prop::option::of((name(), 1..9u64)), 0..5usize).prop_map(|(offset, by, len)| append(offset, by, len)),
    ]
}

proptest! {
    #[test]
    fn replay_behind_any_checkpoint_comes_to_the_live_state(
        frames in prop::collection::vec(prop::collection::vec(record(), 1..4), 1..12), cut in 0..12usize, early in 0..3usize,
    ) {
        let frames: Vec<(u64, Vec<Record>)> = (1..).zip(frames).collect();
        let run = |files: &mut Files, frames: &[(u64, Vec<Record>)]| {
            for (sequence, records) in frames {
                records.iter().for_each(|record| files.apply(record, *sequence, 50));
            }
        };
        let cut = cut.min(frames.len());
        let mut live = after(2, &[]);
        run(&mut live, &frames[..cut]);
        let mut recovered = Files::new(2);
        recovered.insert(stored(&live));
        // Frames from before the checkpoint's last one do no harm.
        run(&mut recovered, &frames[..cut.saturating_sub(1 + early)]);
        run(&mut live, &frames[cut..]);
        run(&mut recovered, &frames[cut..]);
        let (live, recovered) = (stored(&live), stored(&recovered));
        prop_assert_eq!((live.named, live.created, live.end), (recovered.named, recovered.created, recovered.end));
        prop_assert_eq!((live.sequence, &live.producers), (recovered.sequence, &recovered.producers));
        prop_assert!(live.producers.values().all(|producer| producer.remembered.len() <= 2));
    }
}
