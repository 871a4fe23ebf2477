//! What clients are told when a call fails, what is on the disk then, and how it goes on.

use super::{
    machine::{Machine, Stop, config},
    model::Stream,
    script::{APP_P, APP_Q, open_all, prove, prove_running},
};
use inkpot_proto::v1::{
    Durability::{Synced, Written},
    ErrorReason::{self, DiskFull, EarlierSeqRefused, Internal, NotADirectory, OutcomeUnknown},
    Outcome,
};
use inkpot_wal::fs::{
    FileSystem,
    faulty::{FaultKind, Op, When},
    memory::Loss,
};
use rustix::io::Errno;
use std::{collections::BTreeMap, time::Duration};

const NOSPC: i32 = Errno::NOSPC.raw_os_error();

/// A machine with a channel for each producer of `app.log`, each with two synced appends.
fn started() -> (Machine, Vec<u32>) {
    let mut machine = Machine::running(config());
    let channels = open_all(&mut machine, &[(APP_P, 1), (APP_Q, 1)]).unwrap();
    for _ in 0..2 {
        channels.iter().for_each(|channel| _ = machine.send(*channel, Synced));
        machine.commit().unwrap();
    }
    (machine, channels)
}

/// The refusals that came since the last call, without those of channels.
fn refusals(machine: &mut Machine) -> Vec<(u64, ErrorReason, Outcome)> {
    machine.drain();
    let nacks = std::mem::take(&mut machine.nacks).into_iter().filter(|(_, seq, _)| *seq > 0);
    nacks.map(|(_, seq, refused)| (seq, refused.reason, refused.outcome)).collect()
}

/// All segments of the log, with how many of the calls `op` each has seen.
fn calls_on_segments(machine: &Machine, op: Op) -> BTreeMap<String, u64> {
    let mut calls = BTreeMap::new();
    for epoch in machine.memory.read_dir("shards/0000/wal").unwrap() {
        for segment in machine.memory.read_dir(&format!("shards/0000/wal/{}", epoch.name)).unwrap() {
            let path = format!("wal/{}/{}", epoch.name, segment.name);
            calls.insert(path.clone(), machine.faulty.count(op, &path));
        }
    }
    calls
}

fn stop(outcome: Result<(), Stop>) -> Stop {
    outcome.expect_err("the shard closes")
}

#[test]
fn failed_sync_of_the_log_makes_the_outcome_unknown_and_is_not_tried_again() {
    let (mut machine, channels) = started();
    for _ in 0..3 {
        machine.send(channels[0], Written);
        machine.commit().unwrap();
    }
    machine.faulty.fail(Op::SyncData, "wal/", When::Nth(1), FaultKind::LostSync);
    machine.send(channels[1], Synced);
    let failure = stop(machine.commit());
    let before = calls_on_segments(&machine, Op::SyncData);
    // What waits in a queue was never taken.
    machine.send(channels[0], Synced);
    machine.fail_over(&failure).unwrap();
    assert_eq!(
        refusals(&mut machine),
        [(3, OutcomeUnknown, Outcome::Unknown), (6, ErrorReason::ShardClosed, Outcome::NotApplied)]
    );
    let after = calls_on_segments(&machine, Op::SyncData);
    for (path, calls) in &before {
        assert_eq!(after.get(path).unwrap_or(calls), calls, "{path} was synced again after its sync had failed");
    }
    // The page cache still shows the frames whose sync failed; the disk does not hold them any more.
    prove(&mut machine.on(machine.memory.power_loss(Loss::Nothing, 1)), Written).unwrap();
    prove_running(&mut machine, Written).unwrap();
}

#[test]
fn failed_write_of_the_log_makes_the_outcome_unknown() {
    let (mut machine, channels) = started();
    machine.send(channels[0], Written);
    machine.commit().unwrap();
    machine.faulty.fail(Op::Write, "wal/", When::Nth(1), FaultKind::Errno(Errno::IO.raw_os_error()));
    machine.send(channels[1], Written);
    let failure = stop(machine.commit());
    machine.fail_over(&failure).unwrap();
    assert_eq!(refusals(&mut machine), [(3, OutcomeUnknown, Outcome::Unknown)]);
    prove_running(&mut machine, Written).unwrap();
}

#[test]
fn full_disk_in_a_frame_is_not_applied_and_the_shard_goes_on() {
    for written in [0, 30, usize::MAX] {
        let (mut machine, channels) = started();
        machine.send(channels[0], Written);
        machine.commit().unwrap();
        machine.faulty.fail(Op::Write, "wal/", When::Nth(1), FaultKind::ShortWrite { written, errno: NOSPC });
        machine.send(channels[0], Synced);
        machine.send(channels[1], Synced);
        let failure = stop(machine.commit());
        assert_eq!(refusals(&mut machine), [(4, DiskFull, Outcome::NotApplied), (3, DiskFull, Outcome::NotApplied)]);
        machine.fail_over(&failure).unwrap();
        prove_running(&mut machine, Written).unwrap();
    }
}

#[test]
fn volume_without_room_refuses_before_it_writes_and_resumes_by_itself() {
    let (mut machine, channels) = started();
    let room = machine.memory.free_bytes().unwrap();
    machine.memory.set_capacity((1 << 40) - room);
    machine.now += Duration::from_secs(1);
    machine.send(channels[0], Synced);
    machine.commit().unwrap();
    // What was made ahead of need has been given back by now.
    let operations = machine.memory.operations();
    machine.send(channels[0], Synced);
    machine.commit().unwrap();
    let refused = [(3, DiskFull, Outcome::NotApplied), (4, EarlierSeqRefused, Outcome::NotApplied)];
    assert_eq!(refusals(&mut machine), refused);
    assert_eq!(machine.memory.operations(), operations, "a refused append changes nothing on the disk");
    let bytes = machine.read("app.log");
    machine.model.check("app.log", &bytes, Synced);
    machine.memory.set_capacity(1 << 40);
    machine.now += Duration::from_secs(1);
    machine.resend(channels[0], 3);
    machine.resend(channels[0], 4);
    machine.commit().unwrap();
    assert_eq!(refusals(&mut machine), []);
    prove_running(&mut machine, Written).unwrap();
}

#[test]
fn no_room_for_the_next_segment_refuses_and_resumes_by_itself() {
    let (mut machine, channels) = started();
    machine.faulty.fail(Op::Create, "wal/", When::Always, FaultKind::Errno(NOSPC));
    let mut taken = 0;
    while refusals(&mut machine).is_empty() {
        machine.send(channels[0], Synced);
        machine.commit().unwrap();
        taken += 1;
        assert!(taken < 100, "the log never needs a segment");
    }
    machine.faulty.clear();
    machine.now += Duration::from_secs(1);
    machine.resend(channels[0], taken + 2);
    machine.commit().unwrap();
    assert_eq!(refusals(&mut machine), []);
    prove_running(&mut machine, Written).unwrap();
}

#[test]
fn no_room_in_a_plain_file_keeps_the_log_and_resumes_by_itself() {
    let (mut machine, channels) = started();
    machine.checkpoint().unwrap();
    for _ in 0..40 {
        machine.send(channels[0], Synced);
        machine.commit().unwrap();
    }
    let (live, plain) = (machine.writer().log().live_bytes(), machine.plain("app.log"));
    machine.faulty.fail(Op::Write, "default/", When::Always, FaultKind::ShortWrite { written: 7, errno: NOSPC });
    let snapshot = machine.snapshot().unwrap();
    let unfinished = machine.try_checkpoint(snapshot).unwrap().expect("there is no room");
    assert_eq!(machine.plain("app.log"), plain, "a part of an append stays in the plain file");
    assert!(machine.writer().log().live_bytes() >= live, "the log was given up");
    machine.send(channels[1], Synced);
    machine.commit().unwrap();
    assert_eq!(refusals(&mut machine), [(3, DiskFull, Outcome::NotApplied)]);
    let bytes = machine.read("app.log");
    machine.model.check("app.log", &bytes, Synced);
    machine.faulty.clear();
    assert!(machine.try_checkpoint(unfinished).unwrap().is_none());
    assert!(machine.writer().log().live_bytes() < live, "the log was not given up");
    assert_eq!(machine.plain("app.log"), bytes);
    machine.resend(channels[1], 3);
    machine.commit().unwrap();
    assert_eq!(refusals(&mut machine), []);
    prove_running(&mut machine, Written).unwrap();
}

#[test]
fn start_on_a_full_disk_serves_what_is_acknowledged_and_applies_it_later() {
    for loss in Loss::EVERY {
        let (machine, _) = started();
        let mut next = machine.on(machine.memory.power_loss(loss, 3));
        next.faulty.fail(Op::Write, "default/", When::Always, FaultKind::ShortWrite { written: 7, errno: NOSPC });
        next.boot().unwrap();
        let bytes = next.read("app.log");
        next.model.check("app.log", &bytes, Synced);
        let channels = open_all(&mut next, &[(APP_P, 1)]).unwrap();
        next.round().unwrap();
        next.send(channels[0], Synced);
        next.commit().unwrap();
        assert_eq!(refusals(&mut next), [(3, DiskFull, Outcome::NotApplied)]);
        next.faulty.clear();
        next.round().unwrap();
        assert_eq!(next.plain("app.log"), bytes);
        prove_running(&mut next, Synced).unwrap();
    }
}

#[test]
fn failed_sync_of_a_plain_file_keeps_the_log() {
    let syncs = [(Op::SyncAll, "default/"), (Op::SyncDir, "files/"), (Op::SyncData, "catalog"), (Op::Write, "catalog")];
    for (op, path) in syncs {
        let (mut machine, channels) = started();
        for _ in 0..40 {
            machine.send(channels[0], Synced);
            machine.commit().unwrap();
        }
        let live = machine.writer().log().live_bytes();
        let fault = if op == Op::Write { FaultKind::Errno(Errno::IO.raw_os_error()) } else { FaultKind::LostSync };
        machine.faulty.fail(op, path, When::Nth(1), fault);
        let failure = stop(machine.checkpoint());
        assert!(machine.writer().log().live_bytes() >= live, "{op:?} on {path}: the log was given up");
        prove(&mut machine.on(machine.memory.power_loss(Loss::Nothing, 1)), Synced).unwrap();
        machine.fail_over(&failure).unwrap();
        prove_running(&mut machine, Written).unwrap();
    }
}

#[test]
fn failed_sync_of_the_volume_keeps_the_log() {
    const FILES: [&str; 40] = [
        "f00", "f01", "f02", "f03", "f04", "f05", "f06", "f07", "f08", "f09", "f10", "f11", "f12", "f13", "f14", "f15",
        "f16", "f17", "f18", "f19", "f20", "f21", "f22", "f23", "f24", "f25", "f26", "f27", "f28", "f29", "f30", "f31",
        "f32", "f33", "f34", "f35", "f36", "f37", "f38", "f39",
    ];
    let mut machine = Machine::running(config());
    for file in FILES {
        let channels = open_all(&mut machine, &[(Stream { file, producer: "p" }, 1)]).unwrap();
        machine.send(channels[0], Synced);
        machine.commit().unwrap();
    }
    let live = machine.writer().log().live_bytes();
    machine.faulty.fail(Op::SyncVolume, "", When::Nth(1), FaultKind::LostSync);
    let failure = stop(machine.checkpoint());
    assert!(machine.writer().log().live_bytes() >= live, "the log was given up");
    assert_eq!(machine.faulty.count(Op::SyncAll, "default/"), 0, "that many files are synced by one call");
    machine.fail_over(&failure).unwrap();
    prove(&mut machine.on(machine.memory.power_loss(Loss::Nothing, 1)), Synced).unwrap();
    prove_running(&mut machine, Written).unwrap();
}

#[test]
fn plain_file_that_cannot_be_made_is_refused_for_its_reason() {
    const NEW: Stream = Stream { file: "new/dir/file", producer: "p" };
    let cases = [
        (Op::CreateDir, "files/", Errno::NOSPC, DiskFull),
        (Op::CreateDir, "staging/", Errno::DQUOT, DiskFull),
        (Op::Create, "staging/", Errno::NOSPC, DiskFull),
        (Op::SetFileId, "staging/", Errno::NOSPC, DiskFull),
        (Op::Rename, "files/", Errno::NOSPC, DiskFull),
        (Op::CreateDir, "files/", Errno::IO, Internal),
        (Op::Create, "staging/", Errno::ROFS, Internal),
        (Op::CreateDir, "files/", Errno::NOTDIR, NotADirectory),
        (Op::CreateDir, "files/", Errno::LOOP, ErrorReason::Symlink),
        (Op::Create, "staging/", Errno::MFILE, ErrorReason::ShardClosed),
        (Op::Rename, "files/", Errno::EXIST, ErrorReason::ForeignChange),
    ];
    for (op, path, errno, reason) in cases {
        let mut machine = Machine::running(config());
        let channels = open_all(&mut machine, &[(NEW, 1)]).unwrap();
        machine.faulty.fail(op, path, When::Nth(1), FaultKind::Errno(errno.raw_os_error()));
        machine.send(channels[0], Synced);
        machine.commit().unwrap();
        assert_eq!(refusals(&mut machine), [(1, reason, Outcome::NotApplied)], "{op:?} {path} {errno:?}");
        assert!(machine.view(NEW.file).is_none());
        machine.resend(channels[0], 1);
        machine.commit().unwrap();
        assert_eq!(refusals(&mut machine), [], "{op:?} {path} {errno:?}");
        prove_running(&mut machine, Written).unwrap();
    }
}

#[test]
fn file_below_a_file_and_file_at_a_directory_are_refused_before_any_ack() {
    let (mut machine, _) = started();
    let below = Stream { file: "app.log/below", producer: "p" };
    let deep = Stream { file: "deep/file", producer: "p" };
    let channels = open_all(&mut machine, &[(deep, 1)]).unwrap();
    machine.send(channels[0], Synced);
    machine.commit().unwrap();
    for (stream, reason) in [(below, NotADirectory), (Stream { file: "deep", ..deep }, ErrorReason::IsADirectory)] {
        machine.open(stream, 1);
        machine.commit().unwrap();
        let (_, seq, refused) = machine.nacks.pop().unwrap();
        assert_eq!((seq, refused.reason, refused.outcome), (0, reason, Outcome::NotApplied));
    }
}
