//! Every bit of every live segment flipped.

use super::{Owner, SHARD, live, long_log};
use crate::{WalError, frame::Kind, fs::FileSystem, recovery::Survey, segment::HEADER_BYTES};

/// What a flipped bit led to.
#[derive(PartialEq, Eq)]
enum Fate {
    Damaged,
    Harmless,
}

fn fate(fs: &dyn FileSystem, owner: &Owner, floor: u64) -> Fate {
    match Survey::read(fs, SHARD, owner.mark, None) {
        Err(WalError::Damaged { .. }) => Fate::Damaged,
        Err(error) => panic!("{error:?}"),
        Ok(survey) => {
            owner.check(&survey, fs, floor);
            Fate::Harmless
        }
    }
}

#[test]
fn with_a_seal_behind_it_no_flip_in_a_frame_goes_unnoticed() {
    let (memory, owner) = long_log(true);
    let live = live(&memory, owner.mark);
    let survey = owner.survey(&memory, owner.synced);
    let in_log: Vec<_> = survey.durable.iter().map(|found| (found.segment, found.offset, found.end())).collect();
    let last_data = owner.written.last().unwrap().0;
    for (id, _) in &live {
        let path = id.path(SHARD);
        for byte in 0..memory.metadata(&path).unwrap().len {
            let must_be_noticed = byte < HEADER_BYTES as u64
                || in_log.iter().any(|(segment, start, end)| segment == id && (*start..*end).contains(&byte));
            for bit in 0..8 {
                memory.flip_bit(&path, byte, bit).unwrap();
                let fate = fate(&memory, &owner, last_data);
                assert!(!must_be_noticed || fate == Fate::Damaged, "bit {bit} of byte {byte} of {path}");
                memory.flip_bit(&path, byte, bit).unwrap();
            }
        }
    }
    assert_eq!(survey.durable.last().unwrap().header.sequence, last_data, "all but the seal is proven");
}

#[test]
fn without_a_seal_no_proven_frame_is_lost_unnoticed() {
    let (memory, owner) = long_log(false);
    let live = live(&memory, owner.mark);
    let proven = live.iter().flat_map(|(_, frames)| frames).map(|found| found.header.durable_through).max().unwrap();
    assert!(proven < owner.in_kernel);
    for (id, _) in &live {
        let path = id.path(SHARD);
        for byte in 0..memory.metadata(&path).unwrap().len {
            let bit = u8::try_from(byte % 8).unwrap();
            memory.flip_bit(&path, byte, bit).unwrap();
            fate(&memory, &owner, proven);
            memory.flip_bit(&path, byte, bit).unwrap();
        }
    }
}

#[test]
fn damage_names_the_segment_the_place_and_the_frame() {
    let (memory, owner) = long_log(true);
    let survey = owner.survey(&memory, owner.synced);
    let inner = survey.durable.windows(2).filter(|pair| pair[0].segment == pair[1].segment).map(|pair| pair[1]);
    for found in inner.filter(|found| found.header.kind == Kind::Decisions) {
        let path = found.segment.path(SHARD);
        memory.flip_bit(&path, found.offset + 45, 3).unwrap();
        match Survey::read(&memory, SHARD, owner.mark, None) {
            Err(WalError::Damaged { path: named, offset, sequence, .. }) => {
                assert_eq!((named, offset, sequence), (path.clone(), found.offset, found.header.sequence));
            }
            other => panic!("{other:?}"),
        }
        memory.flip_bit(&path, found.offset + 45, 3).unwrap();
    }
}
