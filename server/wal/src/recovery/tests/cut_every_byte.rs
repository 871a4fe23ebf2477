//! Segments cut at every byte. A segment is filled and its size durable before use: no crash makes it shorter, so every
//! cut is damage, whether it took a frame or not.

use super::{SEGMENT, SHARD, is_damaged, live, long_log};
use crate::{
    fs::{FileSystem, memory::Loss},
    segment::SegmentId,
};

#[test]
fn any_cut_of_any_live_segment_is_damage() {
    for sealed in [true, false] {
        let (memory, owner) = long_log(sealed);
        for (id, _) in live(&memory, owner.mark) {
            let path = id.path(SHARD);
            for len in 0..memory.metadata(&path).unwrap().len {
                let copy = memory.power_loss(Loss::All, 0);
                copy.cut(&path, len).unwrap();
                assert!(is_damaged(&copy, owner.mark), "{path} cut to {len} bytes");
            }
        }
    }
}

#[test]
fn cut_of_a_segment_below_the_mark_does_no_harm() {
    let (memory, owner) = long_log(true);
    let below: Vec<_> = (0..owner.mark.segment).map(|number| SegmentId { epoch: 2, number }).collect();
    for id in below.iter().filter(|id| memory.metadata(&id.path(SHARD)).is_ok()) {
        let copy = memory.power_loss(Loss::All, 0);
        copy.cut(&id.path(SHARD), 100).unwrap();
        owner.survey(&copy, owner.synced);
    }
}

#[test]
fn zeros_instead_of_proven_frames_are_damage_while_a_later_segment_proves_them() {
    let (memory, owner) = long_log(true);
    let survey = owner.survey(&memory, owner.synced);
    let last = survey.durable.last().unwrap().segment;
    for found in survey.durable.iter().filter(|found| found.segment != last) {
        let copy = memory.power_loss(Loss::All, 0);
        let zeros = vec![0; usize::try_from(SEGMENT - found.offset).unwrap()];
        copy.foreign_write(&found.segment.path(SHARD), found.offset, &zeros).unwrap();
        assert!(is_damaged(&copy, owner.mark), "from frame {} on", found.header.sequence);
    }
}
