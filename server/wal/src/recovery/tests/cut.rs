//! Cutting a damaged log before its damage.

use super::*;
use crate::{fs::Access, recovery::Cut};

/// Flips a bit in a segment.
fn flip(fs: &dyn FileSystem, path: &str, at: u64) {
    let file = fs.open(path, Access::ReadWrite).unwrap();
    let mut byte = [0];
    file.read_at(&mut byte, at).unwrap();
    file.write_at(&[&[byte[0] ^ 0x20]], at).unwrap();
    file.sync_all().unwrap();
}

/// Cuts, and goes on: what is kept is what was there before the damage, whole and in order, and the log takes more.
fn cut_and_go_on(memory: &MemoryFs, owner: &Owner) -> Cut {
    let fs = fs(memory);
    let cut = Cut::find(fs.as_ref(), SHARD, owner.mark).unwrap().expect("damage");
    let extent = cut.extent();
    let mut kept = Vec::new();
    cut.kept(fs.as_ref(), |frame| {
        kept.push((frame.header.sequence, frame.payload.to_vec()));
        Ok::<_, WalError>(())
    })
    .unwrap();
    let within = |sequence: u64| (owner.mark.sequence + 1..=extent.kept_through).contains(&sequence);
    let expected: Vec<_> = owner.written.iter().filter(|(sequence, _)| within(*sequence)).cloned().collect();
    assert_eq!(kept, expected);
    let mut given_up = Vec::new();
    cut.given_up(fs.as_ref(), |frame| {
        given_up.push((frame.header.sequence, frame.payload.to_vec()));
        Ok::<_, WalError>(())
    })
    .unwrap();
    assert!(given_up.iter().all(|frame| frame.0 > extent.kept_through && owner.written.contains(frame)));
    let mut after = owner.clone();
    after.written.retain(|(sequence, _)| *sequence <= extent.kept_through);
    {
        let mut writer = cut.begin(&fs, SEGMENT).unwrap();
        if cut.moves_mark() {
            after.mark = writer.mark().unwrap();
        }
        after.note(&writer);
        for _ in 0..5 {
            after.append(&mut writer, 40).unwrap();
        }
        after.sync(&mut writer).unwrap();
    }
    let lost = memory.power_loss(crate::fs::memory::Loss::All, 1);
    let mut writer = after.restart(&lost, after.synced);
    after.append(&mut writer, 30).unwrap();
    after.sync(&mut writer).unwrap();
    cut
}

#[test]
fn whole_log_is_not_cut() {
    for sealed in [true, false] {
        let (memory, owner) = long_log(sealed);
        assert!(Cut::find(&memory, SHARD, owner.mark).unwrap().is_none());
    }
}

#[test]
fn wherever_a_byte_is_flipped_the_log_is_cut_there_and_goes_on() {
    let (memory, owner) = long_log(true);
    let mut cuts = 0;
    for (id, frames) in live(&memory, owner.mark) {
        let path = id.path(SHARD);
        let places = frames.iter().flat_map(|found| [found.offset, found.offset + 9, found.end() - 1]);
        for at in [8].into_iter().chain(places) {
            let broken = memory.power_loss(crate::fs::memory::Loss::All, 0);
            flip(&broken, &path, at);
            if !is_damaged(&broken, owner.mark) {
                continue;
            }
            cuts += 1;
            let before = owner.written.iter().filter(|(sequence, _)| *sequence > owner.mark.sequence).count();
            let cut = cut_and_go_on(&broken, &owner);
            let extent = cut.extent();
            let is_newest_begin = id.epoch == 4
                && frames.iter().any(|found| {
                    found.header.kind == Kind::Begin
                        && !found.header.rewritten
                        && (found.offset..found.end()).contains(&at)
                });
            let gives_up = extent.unreadable > 0 || extent.readable > 0;
            assert!(gives_up != is_newest_begin, "{path} at {at}: {extent:?}");
            assert!(!cut.aside.is_empty() && before > 0);
        }
    }
    assert!(cuts > 40, "{cuts}");
}

#[test]
fn begin_frame_of_the_newest_epoch_is_made_again_and_nothing_is_given_up() {
    for sealed in [true, false] {
        let (memory, owner) = long_log(sealed);
        let frames = live(&memory, owner.mark).into_iter().flat_map(|(_, frames)| frames);
        let is_begin = |found: &Found| found.segment.epoch == 4 && found.header.kind == Kind::Begin;
        let begin = frames.clone().find(|found| is_begin(found) && !found.header.rewritten).unwrap();
        let last = frames.last().unwrap().header.sequence;
        flip(&memory, &begin.segment.path(SHARD), begin.offset + 9);
        assert!(is_damaged(&memory, owner.mark), "it is refused without being asked");
        let extent = cut_and_go_on(&memory, &owner).extent();
        assert_eq!((extent.kept_through, extent.readable, extent.unreadable), (last, 0, 0), "{extent:?}");
    }
}

#[test]
fn begin_frame_with_another_broken_one_beside_it_is_not_made_up() {
    let (memory, owner) = long_log(true);
    let frames: Vec<Found> = live(&memory, owner.mark).into_iter().flat_map(|(_, frames)| frames).collect();
    let is_begin = |found: &Found| found.segment.epoch == 4 && found.header.kind == Kind::Begin;
    let at = frames.iter().position(|found| is_begin(found) && !found.header.rewritten).unwrap();
    // The one before it may be there a second time: in the epoch that was carried over, and in the one that took it.
    for other in [at - 1, at + 1] {
        let broken = memory.power_loss(crate::fs::memory::Loss::All, 0);
        for found in [frames[at], frames[other]] {
            flip(&broken, &found.segment.path(SHARD), found.offset + 9);
        }
        let extent = cut_and_go_on(&broken, &owner).extent();
        assert!(other < at || extent.kept_through < frames[at].header.sequence, "{extent:?}");
    }
}

#[test]
fn segment_that_is_gone_or_shorter_is_cut_before() {
    let (memory, owner) = long_log(true);
    for (id, _) in live(&memory, owner.mark) {
        let path = id.path(SHARD);
        for remove in [true, false] {
            let broken = memory.power_loss(crate::fs::memory::Loss::All, 0);
            if remove {
                broken.remove_file(&path).unwrap();
                broken.sync_dir(crate::fs::parent(&path)).unwrap();
            } else {
                let file = broken.open(&path, Access::ReadWrite).unwrap();
                file.set_len(100).unwrap();
                file.sync_all().unwrap();
            }
            if is_damaged(&broken, owner.mark) {
                let _ = cut_and_go_on(&broken, &owner);
            }
        }
    }
}

#[test]
fn cut_that_was_stopped_after_its_epoch_began_is_done_again() {
    let (memory, owner) = long_log(true);
    let (id, frames) = live(&memory, owner.mark).into_iter().nth(2).unwrap();
    flip(&memory, &id.path(SHARD), frames[0].offset + 9);
    let first = Cut::find(&memory, SHARD, owner.mark).unwrap().unwrap();
    // As far as the begin frame: the segments that are given up still lie there.
    drop(first.survey_for_tests().begin(&fs(&memory), SEGMENT).unwrap());
    let (kept, mark) = (first.extent().kept_through, owner.mark);
    match Cut::find(&memory, SHARD, mark).unwrap() {
        Some(again) => assert_eq!(again.extent().kept_through, kept + 1, "and the begin frame"),
        None => assert_eq!(Survey::read(&memory, SHARD, mark, None).unwrap().last_sequence(), kept + 1),
    }
}
