//! What an epoch is: begun or never been, and told by its newest begin frame alone.

use super::{Owner, SEGMENT, SHARD, fs, is_damaged, live, long_log, machine};
use crate::{
    WalError,
    frame::Kind,
    fs::{Attributes, FileSystem, memory::Loss, read_all, real::RealFs},
    recovery::{Begin, Mark, Survey},
    segment::{HEADER_BYTES, SegmentId, epoch_dir, list, wal_dir},
};
use std::sync::Arc;

#[test]
fn a_new_log_is_empty_and_begins_with_epoch_one() {
    let (memory, mut owner) = (machine(), Owner::default());
    let survey = owner.survey(&memory, 0);
    assert!(survey.is_empty() && survey.torn().is_none());
    let writer = owner.begin(&survey, &fs(&memory)).unwrap();
    assert_eq!((writer.epoch(), writer.last_sequence()), (1, 1));
}

#[test]
fn begin_frame_survives_its_encoding_and_no_other_bytes_pass() {
    let begin = Begin { epoch: 9, sealed: vec![(7, 100), (8, 120)] };
    assert_eq!(Begin::decode(&begin.encode()), Some(begin.clone()));
    assert_eq!(Begin::decode(&[]), None);
    assert_eq!(Begin::decode(&begin.encode()[..16]), None, "half a pair");
    assert_eq!(Begin::decode(&begin.encode()[..23]), None);
}

#[test]
fn sequences_are_dense_over_all_epochs() {
    let (memory, owner) = long_log(true);
    let survey = owner.survey(&memory, owner.synced);
    let sequences: Vec<u64> = survey.durable.iter().map(|found| found.header.sequence).collect();
    let dense: Vec<u64> = (owner.mark.sequence + 1..=owner.in_kernel - 1).collect();
    assert_eq!(sequences, dense);
}

#[test]
fn epoch_without_a_begin_frame_never_was_and_its_number_is_not_used_again() {
    let (memory, mut owner) = (machine(), Owner::default());
    let mut writer = owner.restart(&memory, 0);
    for _ in 0..3 {
        owner.append(&mut writer, 100).unwrap();
    }
    drop(writer);
    let survey = owner.survey(&memory, owner.in_kernel);
    // The last operations of an attempt: the begin frame, its sync, a try to clear away the epoch before.
    let whole = memory.power_loss(Loss::All, 0);
    survey.begin(&fs(&whole), SEGMENT).unwrap();
    let cut_short = memory.power_loss(Loss::All, 0);
    cut_short.fail_from(whole.operations() - 2);
    assert!(survey.begin(&fs(&cut_short), SEGMENT).is_err());
    let found = cut_short.power_loss(Loss::Nothing, 0);
    assert_eq!(list(&found, SHARD, 2).unwrap().segments.len(), 1, "the attempt left a segment");

    let survey = owner.survey(&found, owner.synced);
    assert_eq!(survey.last_sequence(), 1, "what was only written is lost");
    let writer = owner.begin(&survey, &fs(&found)).unwrap();
    assert_eq!(writer.epoch(), 3);
    assert!(found.metadata(&epoch_dir(SHARD, 2)).is_err(), "what never was is cleared away");
    drop(writer);
    assert_eq!(owner.restart(&found, owner.synced).epoch(), 4);
}

#[test]
fn broken_begin_frame_with_a_frame_of_its_epoch_behind_it_is_damage() {
    let (memory, mut owner) = (machine(), Owner::default());
    let mut writer = owner.restart(&memory, 0);
    owner.append(&mut writer, 10).unwrap();
    owner.sync(&mut writer).unwrap();
    drop(writer);
    let mut writer = owner.restart(&memory, owner.synced);
    owner.seal(&mut writer).unwrap();
    let live = live(&memory, owner.mark);
    let (id, frames) = live.last().unwrap();
    let begin = frames.iter().find(|found| found.header.kind == Kind::Begin && !found.header.rewritten).unwrap();
    memory.flip_bit(&id.path(SHARD), begin.offset + 50, 1).unwrap();
    assert!(is_damaged(&memory, owner.mark));
}

#[test]
fn broken_header_of_the_only_segment_of_the_newest_epoch_is_damage() {
    let (memory, mut owner) = (machine(), Owner::default());
    drop(owner.restart(&memory, 0));
    let mut writer = owner.restart(&memory, owner.synced);
    owner.append(&mut writer, 10).unwrap();
    owner.sync(&mut writer).unwrap();
    // Nothing in it can be read, so nothing tells whether the epoch had begun.
    for byte in 0..HEADER_BYTES as u64 {
        let copy = memory.power_loss(Loss::All, 0);
        copy.flip_bit(&SegmentId { epoch: 2, number: 0 }.path(SHARD), byte, 7).unwrap();
        assert!(is_damaged(&copy, owner.mark), "byte {byte}");
    }
}

#[test]
fn begin_frame_lists_the_sealed_end_of_every_older_epoch_never_above_what_is_proven() {
    let (memory, mut owner) = (machine(), Owner::default());
    let mut writer = owner.restart(&memory, 0);
    owner.append(&mut writer, 10).unwrap();
    owner.sync(&mut writer).unwrap();
    owner.append(&mut writer, 10).unwrap();
    owner.append(&mut writer, 10).unwrap();
    drop(writer);
    let survey = owner.survey(&memory, owner.in_kernel);
    assert_eq!((survey.proven, survey.last_sequence()), (2, 4), "frame 3 says that 2 was durable");
    let writer = owner.begin(&survey, &fs(&memory)).unwrap();
    drop(writer);
    let survey = owner.survey(&memory, owner.in_kernel);
    assert_eq!(survey.sealed, [(1, 2), (2, 4)]);
}

#[test]
fn frames_above_a_sealed_end_are_ignored_for_ever() {
    let (memory, mut owner) = (machine(), Owner::default());
    let mut writer = owner.restart(&memory, 0);
    owner.append(&mut writer, 10).unwrap();
    owner.append(&mut writer, 10).unwrap();
    drop(writer);
    let path = SegmentId { epoch: 1, number: 0 }.path(SHARD);
    let whole = read_all(&memory, &path).unwrap();
    let mut lost = memory.power_loss(Loss::Nothing, 0);
    owner.restart(&lost, owner.synced);
    for _ in 0..3 {
        // The disk brings the lost frames back: a later epoch has long gone on without them.
        lost.foreign_write(&path, 0, &whole).unwrap();
        owner.restart(&lost, owner.synced);
        lost = lost.power_loss(Loss::Nothing, 1);
    }
}

#[test]
fn segments_below_the_mark_are_used_again_and_what_lay_in_them_never_counts() {
    let (memory, mut owner) = (machine(), Owner::default());
    let mut writer = owner.restart(&memory, 0);
    for _ in 0..30 {
        owner.append(&mut writer, 100).unwrap();
        owner.checkpoint(&mut writer).unwrap();
    }
    assert_eq!(writer.live_bytes(), SEGMENT);
    assert!(list(&memory, SHARD, 1).unwrap().segments.len() <= 2, "segments go round");
    drop(writer);
    for (_, frames) in live(&memory, Mark { segment: 0, epoch: 1, ..Mark::default() }) {
        let sequences: Vec<u64> = frames.iter().map(|found| found.header.sequence).collect();
        assert!(sequences.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{sequences:?}");
    }
    let survey = owner.survey(&memory, owner.synced);
    assert!(survey.is_empty() && survey.torn().is_none(), "stale frames are no torn tail");
    let writer = owner.begin(&survey, &fs(&memory)).unwrap();
    assert_eq!(writer.live_bytes(), 2 * SEGMENT);
}

#[test]
fn checkpoint_in_a_new_epoch_releases_all_segments_of_the_older_ones() {
    let (memory, mut owner) = (machine(), Owner::default());
    let mut writer = owner.restart(&memory, 0);
    for _ in 0..20 {
        owner.append(&mut writer, 200).unwrap();
    }
    drop(writer);
    let mut writer = owner.restart(&memory, owner.in_kernel);
    assert!(writer.live_bytes() > 5 * SEGMENT);
    owner.checkpoint(&mut writer).unwrap();
    assert_eq!(writer.live_bytes(), SEGMENT);
}

#[test]
fn catalog_that_the_newest_epoch_does_not_know_is_damage() {
    let (memory, mut owner) = (machine(), Owner::default());
    let mut writer = owner.restart(&memory, 0);
    owner.checkpoint(&mut writer).unwrap();
    let old = owner.mark;
    drop(writer);
    let mut writer = owner.restart(&memory, owner.synced);
    owner.checkpoint(&mut writer).unwrap();
    drop(writer);
    owner.restart(&memory, owner.synced);
    memory.metadata(&SegmentId { epoch: old.epoch, number: old.segment }.path(SHARD)).unwrap_err();
    // The copy brings segment and catalog back: a log that no start has ever seen in this order.
    let (before, mut owner) = (machine(), Owner::default());
    let mut writer = owner.restart(&before, 0);
    owner.checkpoint(&mut writer).unwrap();
    let path = SegmentId { epoch: 1, number: 0 }.path(SHARD);
    memory.create_dir(&epoch_dir(SHARD, 1), Attributes::PRIVATE_DIR).unwrap();
    memory.foreign_put(&path, &read_all(&before, &path).unwrap()).unwrap();
    assert!(is_damaged(&memory, old));
}

#[test]
fn torn_tail_is_reported_where_it_begins_and_left_out() {
    let (memory, mut owner) = (machine(), Owner::default());
    let mut writer = owner.restart(&memory, 0);
    owner.append(&mut writer, 10).unwrap();
    owner.sync(&mut writer).unwrap();
    let offset = writer.mark().unwrap().offset;
    owner.append(&mut writer, 100).unwrap();
    drop(writer);
    let path = SegmentId { epoch: 1, number: 0 }.path(SHARD);
    memory.flip_bit(&path, offset + 90, 0).unwrap();
    let survey = owner.survey(&memory, owner.synced);
    let torn = survey.torn().unwrap();
    assert_eq!((torn.path.as_str(), torn.offset), (path.as_str(), offset));
    owner.begin(&survey, &fs(&memory)).unwrap();
    assert!(owner.survey(&memory, owner.synced).torn().is_none(), "it was sealed off");
}

#[test]
fn largest_payload_fits_and_one_byte_more_is_refused() {
    let (memory, mut owner) = (machine(), Owner::default());
    let mut writer = owner.restart(&memory, 0);
    let max = writer.max_payload();
    owner.append(&mut writer, max).unwrap();
    let refused = writer.append(&[&vec![0; max + 1]]);
    assert!(matches!(refused, Err(WalError::FrameTooLarge { payload, max: m }) if payload == max + 1 && m == max));
    owner.append(&mut writer, max).unwrap();
    owner.seal(&mut writer).unwrap();
    drop(writer);
    owner.survey(&memory.power_loss(Loss::Nothing, 0), owner.synced);
}

#[test]
fn survey_can_be_replayed_after_its_epoch_began() {
    let (memory, owner) = long_log(false);
    let survey = owner.survey(&memory, owner.synced);
    survey.begin(&fs(&memory), SEGMENT).unwrap();
    owner.check(&survey, &memory, owner.in_kernel);
}

#[test]
fn another_size_of_segments_is_no_damage() {
    let (memory, mut owner) = long_log(false);
    let survey = owner.survey(&memory, owner.in_kernel);
    let mut writer = survey.begin(&fs(&memory), 4 * SEGMENT).unwrap();
    owner.append(&mut writer, 3000).unwrap();
    owner.checkpoint(&mut writer).unwrap();
    owner.append(&mut writer, 3000).unwrap();
    owner.sync(&mut writer).unwrap();
    drop(writer);
    assert!(Survey::read(&memory, SHARD, owner.mark, None).is_ok());
    owner.survey(&memory, owner.synced);
}

#[test]
fn segments_made_ahead_by_another_thread_are_taken_in_order() {
    let (memory, mut owner) = (machine(), Owner::default());
    let mut writer = owner.restart(&memory, 0);
    let maker = writer.maker();
    std::thread::scope(|scope| {
        scope.spawn(move || (0..40).for_each(|_| maker.prepare(0).unwrap()));
        for _ in 0..100 {
            owner.append(&mut writer, 150).unwrap();
        }
        owner.seal(&mut writer).unwrap();
    });
    drop(writer);
    owner.survey(&memory.power_loss(Loss::Nothing, 0), owner.synced);
}

#[test]
fn a_real_disk_keeps_a_log_over_restarts_and_rounds() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join(wal_dir(SHARD))).unwrap();
    let fs: Arc<dyn FileSystem> = Arc::new(RealFs::open(dir.path()).unwrap());
    let mut owner = Owner::default();
    for _ in 0..4 {
        let survey = owner.survey(fs.as_ref(), owner.in_kernel);
        let mut writer = owner.begin(&survey, &fs).unwrap();
        for round in 0..20 {
            owner.append(&mut writer, 150).unwrap();
            if round % 6 == 3 {
                owner.checkpoint(&mut writer).unwrap();
            }
        }
        assert!(writer.live_bytes() <= 3 * SEGMENT);
    }
    owner.survey(fs.as_ref(), owner.in_kernel);
}
