//! Calls that fail: no room, failed syncs, and recovery in place from what the process still holds.

use super::{Owner, SEGMENT, SHARD, fs, machine, replayed};
use crate::{
    WalError,
    frame::{Frame, Header, Kind, size},
    fs::{
        FileSystem,
        faulty::{FaultKind, FaultyFs, Op, When},
        memory::{Loss, MemoryFs},
    },
    recovery::{Mark, Retained, Survey},
    reserve::Reserve,
    segment::wal_dir,
    writer::Writer,
};
use std::sync::Arc;

const ENOSPC: i32 = 28;
const EDQUOT: i32 = 122;
const EIO: i32 = 5;
/// Bytes of a segment that is larger than what a start on a full disk takes from the reserve.
const LARGE: u64 = 1 << 20;

struct Faulty {
    memory: MemoryFs,
    faulty: FaultyFs,
    owner: Owner,
    writer: Writer,
}

/// A log with one synced frame, whose calls can be made to fail.
fn faulty() -> Faulty {
    let (memory, mut owner) = (machine(), Owner::default());
    let faulty = FaultyFs::over_memory(&memory);
    let fs: Arc<dyn FileSystem> = Arc::new(faulty.clone());
    let survey = owner.survey(&memory, 0);
    let mut writer = owner.begin(&survey, &fs).unwrap();
    owner.append(&mut writer, 20).unwrap();
    owner.sync(&mut writer).unwrap();
    Faulty { memory, faulty, owner, writer }
}

fn require_closed(writer: &mut Writer) {
    assert!(matches!(writer.append(&[b"x"]), Err(WalError::Closed)));
    assert!(matches!(writer.sync(), Err(WalError::Closed)));
    assert!(matches!(writer.seal(), Err(WalError::Closed)));
    assert!(matches!(writer.reserve(1), Err(WalError::Closed)));
    assert!(matches!(writer.release(&Default::default()), Err(WalError::Closed)));
    assert_eq!(writer.mark(), None);
}

#[test]
fn no_room_in_the_middle_of_a_frame_cuts_back_to_the_last_whole_one() {
    for errno in [ENOSPC, EDQUOT] {
        for written in 0..=size(50) {
            let Faulty { memory, faulty, mut owner, mut writer } = faulty();
            faulty.fail(Op::Write, "wal", When::Nth(1), FaultKind::ShortWrite { written, errno });
            let refused = owner.append(&mut writer, 50);
            assert!(matches!(refused, Err(WalError::Full { .. })), "{refused:?}");
            for (loss, seed) in Loss::EVERY.into_iter().flat_map(|loss| (0..3).map(move |seed| (loss, seed))) {
                // What was refused is never found, not even after power loss.
                let survey = owner.survey(&memory.power_loss(loss, seed), owner.synced);
                assert_eq!(survey.last_sequence(), owner.in_kernel);
            }
            owner.append(&mut writer, 50).unwrap();
            owner.seal(&mut writer).unwrap();
            owner.survey(&memory.power_loss(Loss::Nothing, 0), owner.synced);
        }
    }
}

#[test]
fn no_room_for_the_next_segment_refuses_and_goes_on_when_there_is_room() {
    let (memory, mut owner) = (machine(), Owner::default());
    memory.set_capacity(2 * SEGMENT + SEGMENT / 2);
    let mut writer = owner.restart(&memory, 0);
    let refused = loop {
        if let Err(error) = owner.append(&mut writer, 100) {
            break error;
        }
    };
    assert!(matches!(refused, WalError::Full { .. }), "{refused:?}");
    assert!(matches!(writer.reserve(100), Err(WalError::Full { .. })));
    let free = memory.free_bytes().unwrap();
    for _ in 0..5 {
        assert!(matches!(owner.append(&mut writer, 100), Err(WalError::Full { .. })));
    }
    assert_eq!(memory.free_bytes().unwrap(), free, "attempts leave nothing behind");
    memory.set_capacity(100 * SEGMENT);
    owner.append(&mut writer, 100).unwrap();
    owner.sync(&mut writer).unwrap();
    drop(writer);
    owner.restart(&memory.power_loss(Loss::Nothing, 0), owner.synced);
}

#[test]
fn starts_on_a_full_disk_do_not_fill_it_further() {
    let (memory, mut owner) = (machine(), Owner::default());
    let mut writer = owner.restart(&memory, 0);
    for _ in 0..20 {
        owner.append(&mut writer, 300).unwrap();
    }
    drop(writer);
    let used = (1 << 40) - memory.free_bytes().unwrap();
    // Room for a part of what has to be carried over: never for a whole segment.
    memory.set_capacity(used + SEGMENT / 2);
    for _ in 0..5 {
        let survey = owner.survey(&memory, owner.in_kernel);
        let refused = survey.begin(&fs(&memory), SEGMENT);
        assert!(matches!(refused, Err(WalError::Full { .. })), "{refused:?}");
    }
    memory.set_capacity(used + 2 * SEGMENT);
    owner.restart(&memory, owner.in_kernel);
}

#[test]
fn log_opens_with_little_room_and_goes_on_when_there_is_more() {
    const LARGE: u64 = 64 << 10;
    let memory = machine();
    let read = |memory: &MemoryFs| Survey::read(memory, SHARD, Mark::default(), None).unwrap();
    let mut writer = read(&memory).begin(&fs(&memory), LARGE).unwrap();
    writer.append(&[&[1; 300]]).unwrap();
    drop(writer);
    let used = (1 << 40) - memory.free_bytes().unwrap();
    memory.set_capacity(used + LARGE / 4);
    let mut writer = read(&memory).begin(&fs(&memory), LARGE).unwrap();
    assert_eq!(replayed(&read(&memory), &memory).unwrap().len(), 1);
    writer.seal().unwrap();
    assert!(matches!(writer.append(&[&[2; 30_000]]), Err(WalError::Full { .. })), "the small segment holds no more");
    memory.set_capacity(used + 4 * LARGE);
    writer.append(&[&[3; 30_000]]).unwrap();
    writer.sync().unwrap();
    drop(writer);
    let survey = read(&memory.power_loss(Loss::Nothing, 0));
    assert_eq!(survey.begin(&fs(&memory), LARGE).unwrap().last_sequence(), survey.last_sequence() + 1);
    assert_eq!(replayed(&survey, &memory).unwrap().len(), 2);
}

/// A log with a reserve on a disk that is full since, and how many bytes that disk has.
fn full_disk_with_reserve() -> (MemoryFs, u64) {
    let memory = machine();
    let survey = Survey::read(&memory, SHARD, Mark::default(), None).unwrap();
    let mut writer = survey.begin(&fs(&memory), LARGE).unwrap();
    writer.maker().reserve().fill_up(0).unwrap();
    writer.append(&[&[1; 300]]).unwrap();
    let used = (1 << 40) - memory.free_bytes().unwrap();
    memory.set_capacity(used);
    (memory, used)
}

fn starts(memory: &MemoryFs) -> Result<Writer, WalError> {
    Survey::read(memory, SHARD, Mark::default(), None).unwrap().begin(&fs(memory), LARGE)
}

#[test]
fn starts_on_a_disk_without_a_byte_left_take_from_the_reserve_until_it_is_empty() {
    let (memory, used) = full_disk_with_reserve();
    let (mut begun, mut appended) = (0, 1);
    let end = loop {
        match starts(&memory) {
            Ok(mut writer) => appended += usize::from(writer.append(&[&[2; 30_000]]).is_ok()),
            Err(error) => break error,
        }
        begun += 1;
    };
    assert!(matches!(end, WalError::Full { .. }), "{end:?}");
    assert!(begun >= 5 && appended > 3, "{begun} starts, {appended} appends");
    let dirs = memory.read_dir(&wal_dir(SHARD)).unwrap().len();
    assert!(starts(&memory).is_err());
    assert_eq!(memory.read_dir(&wal_dir(SHARD)).unwrap().len(), dirs, "attempts leave no directories");
    memory.set_capacity(used + 10 * LARGE);
    starts(&memory).unwrap().maker().reserve().fill_up(0).unwrap();
    memory.set_capacity((used + 10 * LARGE) - memory.free_bytes().unwrap());
    starts(&memory).unwrap();
    assert_eq!(
        replayed(&Survey::read(&memory, SHARD, Mark::default(), None).unwrap(), &memory).unwrap().len(),
        appended
    );
}

#[test]
fn directory_of_an_epoch_without_room_takes_from_the_reserve() {
    let (memory, _) = full_disk_with_reserve();
    let faulty = FaultyFs::over_memory(&memory);
    faulty.fail(Op::CreateDir, "wal", When::Nth(1), FaultKind::Errno(ENOSPC));
    let survey = Survey::read(&memory, SHARD, Mark::default(), None).unwrap();
    let fs: Arc<dyn FileSystem> = Arc::new(faulty);
    survey.begin(&fs, LARGE).unwrap();
}

#[test]
fn reserve_takes_no_room_that_is_needed_and_checkpoints_leave_half_of_it() {
    let memory = machine();
    let reserve = Reserve::new(fs(&memory), SHARD, LARGE);
    memory.set_capacity(2 * LARGE - 1);
    reserve.fill_up(0).unwrap();
    assert!(!reserve.give_for_checkpoint(1));
    memory.set_capacity(3 * LARGE);
    reserve.fill_up(2 * LARGE + 1).unwrap();
    assert!(!reserve.give_for_checkpoint(1));
    memory.set_capacity(2 * LARGE);
    reserve.fill_up(0).unwrap();
    memory.set_capacity(LARGE);
    assert!(reserve.give_for_checkpoint(LARGE));
    assert_eq!(memory.free_bytes().unwrap(), LARGE / 2);
    assert!(!reserve.give_for_checkpoint(1));
    assert!(reserve.give_for_start(LARGE));
    assert!(!reserve.give_for_start(1));
}

#[test]
fn after_a_failed_sync_no_call_succeeds() {
    for kind in [FaultKind::Errno(EIO), FaultKind::Errno(ENOSPC), FaultKind::LostSync] {
        let Faulty { faulty, mut owner, mut writer, .. } = faulty();
        owner.append(&mut writer, 50).unwrap();
        faulty.fail(Op::SyncData, "wal", When::Nth(1), kind);
        assert!(matches!(owner.sync(&mut writer), Err(WalError::Io { .. })), "never Full: frames are at stake");
        require_closed(&mut writer);
    }
}

#[test]
fn failed_write_ends_the_epoch_also_when_all_before_it_is_synced() {
    let Faulty { faulty, mut owner, mut writer, .. } = faulty();
    faulty.fail(Op::Write, "wal", When::Nth(1), FaultKind::ShortWrite { written: 10, errno: EIO });
    assert!(matches!(owner.append(&mut writer, 50), Err(WalError::Io { .. })));
    require_closed(&mut writer);
}

#[test]
fn failed_sync_of_a_new_segment_ends_the_epoch_even_for_want_of_room() {
    for (op, errno) in [(Op::SyncAll, ENOSPC), (Op::SyncDir, ENOSPC), (Op::SyncAll, EIO), (Op::SyncDir, EIO)] {
        for ahead in [true, false] {
            let Faulty { memory, faulty, mut owner, mut writer } = faulty();
            faulty.fail(op, "wal", When::Nth(1), FaultKind::Errno(errno));
            if ahead {
                assert!(writer.maker().prepare(0).is_err());
                assert!(writer.maker().prepare(0).is_err(), "a failed sync is not tried again");
                assert!(!writer.maker().is_ready());
            }
            let end = loop {
                if let Err(error) = owner.append(&mut writer, 100) {
                    break error;
                }
            };
            assert!(matches!(end, WalError::Io { .. }), "{end:?}");
            require_closed(&mut writer);
            drop(writer);
            owner.restart(&memory, owner.synced);
        }
    }
}

#[test]
fn roll_whose_sync_fails_ends_the_epoch_and_the_frame_does_not_count() {
    let Faulty { faulty, mut owner, mut writer, .. } = faulty();
    faulty.fail(Op::SyncData, "wal", When::Nth(1), FaultKind::Errno(ENOSPC));
    let end = loop {
        if let Err(error) = owner.append(&mut writer, 100) {
            break error;
        }
    };
    assert!(matches!(end, WalError::Io { .. }), "{end:?}");
    require_closed(&mut writer);
}

fn frame(sequence: u64, payload: &[u8]) -> Frame {
    let header = Header { kind: Kind::Decisions, rewritten: false, sequence, durable_through: 0 };
    Frame { header, payload: payload.to_vec().into() }
}

#[test]
fn frames_that_the_process_still_holds_win_over_the_disk() {
    let Faulty { memory, faulty, mut owner, mut writer } = faulty();
    owner.append(&mut writer, 50).unwrap();
    owner.append(&mut writer, 60).unwrap();
    faulty.fail(Op::SyncData, "wal", When::Nth(1), FaultKind::LostSync);
    owner.sync(&mut writer).unwrap_err();
    drop(writer);
    // The page cache is dropped: what the sync lost can no longer be read.
    let found = memory.power_loss(Loss::Nothing, 0);
    let held: Vec<Frame> = owner.written[1..].iter().map(|(sequence, payload)| frame(*sequence, payload)).collect();
    let retained = Retained { frames: held, last_sequence: owner.in_kernel };
    let survey = Survey::read(&found, SHARD, owner.mark, Some(retained)).unwrap();
    owner.check(&survey, &found, owner.in_kernel);
    owner.begin(&survey, &fs(&found)).unwrap();
    owner.survey(&found.power_loss(Loss::Nothing, 0), owner.synced);
}

#[test]
fn frame_whose_write_failed_is_not_taken_from_disk_by_the_process_that_nacked_it() {
    let Faulty { memory, faulty, mut owner, mut writer } = faulty();
    faulty.fail(Op::Write, "wal", When::Nth(1), FaultKind::ShortWrite { written: 1000, errno: EIO });
    owner.append(&mut writer, 50).unwrap_err();
    drop(writer);
    let in_kernel = owner.in_kernel;
    assert_eq!(owner.survey(&memory, in_kernel).last_sequence(), in_kernel + 1, "it is there");
    let retained = Retained { frames: Vec::new(), last_sequence: in_kernel };
    let survey = Survey::read(&memory, SHARD, owner.mark, Some(retained)).unwrap();
    assert_eq!(survey.last_sequence(), in_kernel);
    owner.begin(&survey, &fs(&memory)).unwrap();
    let survey = owner.survey(&memory.power_loss(Loss::Nothing, 0), owner.synced);
    assert_eq!(replayed(&survey, &memory).unwrap().len(), 1);
}

#[test]
fn synced_frame_that_is_neither_on_disk_nor_held_is_damage() {
    let Faulty { memory, mut owner, mut writer, .. } = faulty();
    owner.append(&mut writer, 50).unwrap();
    owner.sync(&mut writer).unwrap();
    let end = writer.mark().unwrap().offset;
    drop(writer);
    let path = crate::segment::SegmentId { epoch: 1, number: 0 }.path(SHARD);
    memory.flip_bit(&path, end - 8 - 1, 0).unwrap();
    let retained = Retained { frames: Vec::new(), last_sequence: owner.in_kernel };
    let survey = Survey::read(&memory, SHARD, owner.mark, Some(retained));
    assert!(matches!(survey, Err(WalError::Damaged { .. })), "{survey:?}");
}

#[test]
fn recovery_in_place_that_fails_can_be_tried_again_for_ever() {
    for failing in [Op::SyncData, Op::SyncAll, Op::SyncDir, Op::Write, Op::Create, Op::CreateDir, Op::Rename] {
        for nth in 1..4 {
            let Faulty { memory, faulty, mut owner, mut writer } = faulty();
            owner.append(&mut writer, 50).unwrap();
            faulty.fail(Op::SyncData, "wal", When::Nth(1), FaultKind::LostSync);
            owner.sync(&mut writer).unwrap_err();
            drop(writer);
            faulty.clear();
            let held = vec![frame(owner.written[1].0, &owner.written[1].1)];
            let retained = Retained { frames: held, last_sequence: owner.in_kernel };
            let fs: Arc<dyn FileSystem> = Arc::new(faulty.clone());
            faulty.fail(failing, "wal", When::Nth(nth), FaultKind::LostSync);
            for _ in 0..3 {
                let survey = Survey::read(fs.as_ref(), SHARD, owner.mark, Some(retained.clone())).unwrap();
                owner.check(&survey, fs.as_ref(), owner.in_kernel);
                if owner.begin(&survey, &fs).is_ok() {
                    break;
                }
                faulty.clear();
            }
            assert_eq!(owner.synced, owner.in_kernel, "it began in the end");
            owner.survey(&memory.power_loss(Loss::Nothing, 0), owner.synced);
        }
    }
}
