//! Bytes that are valid somewhere else, segments that are gone, copies that are too old.

use super::{Owner, SEGMENT, SHARD, is_damaged, live, long_log, machine};
use crate::{
    WalError,
    frame::{self, Place},
    fs::{Attributes, FileSystem, memory::Loss, read_all},
    recovery::{Mark, Survey},
    segment::{HEADER_BYTES, Loaded, SegmentId, wal_dir},
};

#[test]
fn frame_in_another_place_of_its_segment_never_validates() {
    let (memory, owner) = long_log(true);
    for (id, frames) in live(&memory, owner.mark) {
        let path = id.path(SHARD);
        let bytes = read_all(&memory, &path).unwrap();
        for found in &frames {
            let copy = memory.power_loss(Loss::All, 0);
            let (start, end) = (found.offset as usize, found.end() as usize);
            let to = if start + 8 + (end - start) <= bytes.len() { start + 8 } else { start - 8 };
            copy.foreign_write(&path, to as u64, &bytes[start..end]).unwrap();
            let loaded = Loaded::read(&copy, SHARD, id).unwrap().unwrap();
            assert!(loaded.frames(0).iter().all(|other| other.offset != to as u64), "{path} {start} -> {to}");
        }
    }
}

#[test]
fn frames_in_another_segment_or_shard_never_validate() {
    let (memory, owner) = long_log(true);
    let live = live(&memory, owner.mark);
    let (from, _) = &live[1];
    let bytes = read_all(&memory, &from.path(SHARD)).unwrap();
    for (to, _) in live.iter().filter(|(to, _)| to != from) {
        let copy = memory.power_loss(Loss::All, 0);
        copy.foreign_write(&to.path(SHARD), HEADER_BYTES as u64, &bytes[HEADER_BYTES..]).unwrap();
        assert!(Loaded::read(&copy, SHARD, *to).unwrap().unwrap().frames(0).is_empty());
        copy.foreign_write(&to.path(SHARD), 0, &bytes).unwrap();
        assert!(Loaded::read(&copy, SHARD, *to).unwrap().is_none(), "a header of another segment");
        assert!(is_damaged(&copy, owner.mark));
    }
    let other = SHARD + 1;
    for dir in ["shards/0003", &wal_dir(other), &crate::segment::epoch_dir(other, from.epoch)] {
        memory.create_dir(dir, Attributes::PRIVATE_DIR).unwrap();
    }
    memory.foreign_put(&from.path(other), &bytes).unwrap();
    assert!(Loaded::read(&memory, other, *from).unwrap().is_none());
    let survey = Survey::read(&memory, other, Mark::default(), None);
    assert!(matches!(survey, Err(WalError::Damaged { .. })));
}

#[test]
fn frame_of_an_earlier_use_of_the_segment_never_validates() {
    let (memory, owner) = long_log(true);
    for (id, frames) in live(&memory, owner.mark) {
        let path = id.path(SHARD);
        let bytes = read_all(&memory, &path).unwrap();
        let nonce = u64::from_le_bytes(bytes[32..40].try_into().unwrap());
        for found in frames {
            let at = usize::try_from(found.offset).unwrap();
            let place = Place { shard: SHARD, epoch: id.epoch, nonce, offset: found.offset };
            assert!(frame::decode(&bytes[at..], place).is_some());
            assert!(frame::decode(&bytes[at..], Place { nonce: nonce + 1, ..place }).is_none());
        }
    }
}

#[test]
fn missing_segment_is_damage_unless_nothing_proven_was_in_it() {
    for sealed in [true, false] {
        let (memory, owner) = long_log(sealed);
        let survey = owner.survey(&memory, owner.synced);
        let with_proven: Vec<SegmentId> = survey.durable.iter().map(|found| found.segment).collect();
        let last = with_proven.last().copied();
        for (id, _) in live(&memory, owner.mark).into_iter().filter(|(id, _)| Some(*id) != last) {
            let copy = memory.power_loss(Loss::All, 0);
            copy.foreign_remove(&id.path(SHARD)).unwrap();
            if with_proven.contains(&id) {
                assert!(is_damaged(&copy, owner.mark), "{}", id.path(SHARD));
            } else {
                owner.survey(&copy, survey.proven);
            }
        }
    }
}

#[test]
fn mark_that_leads_nowhere_is_damage() {
    let (memory, owner) = long_log(true);
    let mark = owner.mark;
    for wrong in [
        Mark { segment: mark.segment + 100, ..mark },
        Mark { segment: mark.segment - 1, ..mark },
        Mark { segment: mark.segment + 1, ..mark },
        Mark { epoch: 1, ..mark },
        Mark { epoch: 3, ..mark },
        Mark { epoch: 99, ..mark },
        Mark { sequence: mark.sequence - 1, ..mark },
        Mark { sequence: mark.sequence + 1, ..mark },
        Mark { offset: mark.offset + 1, ..mark },
        Mark { offset: SEGMENT + 8, ..mark },
        Mark::default(),
    ] {
        assert!(is_damaged(&memory, wrong), "{wrong:?}");
    }
    assert!(!is_damaged(&memory, mark));
}

#[test]
fn log_rolled_back_to_before_the_mark_is_damage() {
    let (memory, mut owner) = (machine(), Owner::default());
    let mut writer = owner.restart(&memory, 0);
    owner.append(&mut writer, 100).unwrap();
    owner.sync(&mut writer).unwrap();
    let old_copy = memory.power_loss(Loss::All, 0);
    drop(writer);
    let mut writer = owner.restart(&memory, owner.synced);
    owner.append(&mut writer, 100).unwrap();
    owner.checkpoint(&mut writer).unwrap();
    assert!(is_damaged(&old_copy, owner.mark), "its newest epoch is not there");
}

#[test]
fn segment_rolled_back_to_an_older_copy_is_damage_where_later_frames_prove_it() {
    let (memory, mut owner) = (machine(), Owner::default());
    let mut writer = owner.restart(&memory, 0);
    owner.append(&mut writer, 100).unwrap();
    owner.sync(&mut writer).unwrap();
    let first = SegmentId { epoch: 1, number: 0 }.path(SHARD);
    let old = read_all(&memory, &first).unwrap();
    for _ in 0..20 {
        owner.append(&mut writer, 100).unwrap();
        owner.sync(&mut writer).unwrap();
    }
    drop(writer);
    memory.foreign_write(&first, 0, &old).unwrap();
    assert!(is_damaged(&memory, owner.mark));
}

#[test]
fn names_that_are_not_ours_are_left_alone() {
    let (memory, owner) = long_log(true);
    let dir = wal_dir(SHARD);
    for name in ["1", "+000000009", "lost+found", "00000000099"] {
        memory.create_dir(&format!("{dir}/{name}"), Attributes::PRIVATE_DIR).unwrap();
        memory.foreign_put(&format!("{dir}/0000000003/{name}"), b"not ours").unwrap();
    }
    let survey = owner.survey(&memory, owner.synced);
    survey.begin(&super::fs(&memory), SEGMENT).unwrap();
    assert!(memory.metadata(&format!("{dir}/0000000003/lost+found")).is_ok());
    owner.survey(&memory, owner.synced);
}

#[test]
fn payload_full_of_frames_is_only_a_payload() {
    let (memory, mut owner) = (machine(), Owner::default());
    let mut writer = owner.restart(&memory, 0);
    owner.append(&mut writer, 10).unwrap();
    let bytes = read_all(&memory, &SegmentId { epoch: 1, number: 0 }.path(SHARD)).unwrap();
    let sequence = writer.append(&[&bytes[HEADER_BYTES..400]]).unwrap();
    owner.written.push((sequence, bytes[HEADER_BYTES..400].to_vec()));
    let at = writer.mark().map_or(0, |mark| mark.offset);
    assert_eq!(at, 0, "not synced");
    // Its last byte is torn off: the frames within it may not stand up.
    drop(writer);
    let path = SegmentId { epoch: 1, number: 0 }.path(SHARD);
    let frames = live(&memory, Mark::default()).remove(0).1;
    memory.flip_bit(&path, frames.last().unwrap().offset + 1, 0).unwrap();
    let survey = owner.survey(&memory, 2);
    assert_eq!(survey.last_sequence(), 2);
}
