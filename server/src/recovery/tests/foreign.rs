//! Other programs meddle with the plain files: it is noticed, nothing of theirs is overwritten, and what was acknowledged
//! and not applied stays readable without holding up the log.

use super::{
    machine::{Machine, config},
    model::Stream,
    script::{APP_P, DEEP, open_all, prove_running},
};
use inkpot_proto::v1::{
    Durability::{Synced, Written},
    ErrorReason::{self, ForeignChange, IsADirectory, NotAPlainFile},
    Outcome,
};
use inkpot_wal::fs::{
    Access, Attributes, Existing, FileSystem, Kind,
    faulty::{FaultKind, Op, When},
    memory::{Loss, MemoryFs},
    read_all,
};
use rustix::io::Errno;

const PATH: &str = "files/default/app.log";

/// What somebody does to a plain file.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Meddling {
    Delete,
    Append,
    Overwrite,
    Replace,
    Truncate,
    HardLink,
    Symlink,
    Directory,
    Fifo,
    MoveAway,
}

use Meddling::*;

const EVERY: [Meddling; 10] =
    [Delete, Append, Overwrite, Replace, Truncate, HardLink, Symlink, Directory, Fifo, MoveAway];

impl Meddling {
    fn carry_out(self, memory: &MemoryFs, path: &str) {
        let bytes = read_all(memory, path).unwrap();
        let other = "files/default/other";
        match self {
            Append => memory.foreign_write(path, bytes.len() as u64, &[b'x'; 50_000]),
            Overwrite => memory.foreign_write(path, 0, b"X"),
            Replace => memory.foreign_put(path, &bytes),
            Truncate => memory.cut(path, bytes.len() as u64 - 1),
            HardLink => memory.hard_link(path, other),
            MoveAway => memory.rename(path, other, Existing::Keep),
            Delete | Symlink | Directory | Fifo => memory.foreign_remove(path),
        }
        .unwrap();
        match self {
            Symlink => memory.symlink(path),
            Directory => memory.create_dir(path, Attributes::PRIVATE_DIR),
            Fifo => memory.fifo(path),
            _ => Ok(()),
        }
        .unwrap();
    }
}

/// What stands at a path.
fn found(memory: &MemoryFs, path: &str) -> Option<(Kind, u64, Vec<u8>)> {
    let metadata = memory.metadata(path).ok()?;
    Some((metadata.kind, metadata.inode, read_all(memory, path).unwrap_or_default()))
}

/// A machine with appends that are in the plain file and durable there, and `more` behind them that are only in the log.
fn started(more: usize) -> (Machine, u32) {
    let mut machine = Machine::running(config());
    let channel = open_all(&mut machine, &[(APP_P, 1)]).unwrap()[0];
    send(&mut machine, channel, 5);
    machine.checkpoint().unwrap();
    send(&mut machine, channel, more);
    (machine, channel)
}

fn send(machine: &mut Machine, channel: u32, times: usize) {
    for _ in 0..times {
        machine.send(channel, Synced);
        machine.commit().unwrap();
    }
}

/// The reasons of the refusals that came, none of which may have applied anything.
fn reasons(machine: &mut Machine) -> Vec<ErrorReason> {
    machine.drain();
    assert!(machine.nacks.iter().all(|(_, _, refused)| refused.outcome == Outcome::NotApplied));
    std::mem::take(&mut machine.nacks).into_iter().map(|(_, _, refused)| refused.reason).collect()
}

fn refusal_of_open(machine: &mut Machine, stream: Stream) -> Vec<ErrorReason> {
    machine.open(stream, 1);
    machine.commit().unwrap();
    reasons(machine)
}

/// Everything that was sent, as it was acknowledged.
fn sent(machine: &mut Machine) -> Vec<u8> {
    machine
        .model
        .life(APP_P, 1)
        .iter()
        .filter(|sent| sent.level.is_some())
        .flat_map(|sent| sent.data.to_vec())
        .collect()
}

/// What a reader gets from `offset` on.
fn read_from(machine: &mut Machine, offset: usize) -> Vec<u8> {
    let view = machine.view("app.log").expect("the file is known");
    let mut bytes = Vec::new();
    loop {
        let chunk = view.read(machine.fs.as_ref(), (offset + bytes.len()) as u64, 100).unwrap();
        if chunk.data.is_empty() {
            assert_eq!(chunk.end, (offset + bytes.len()) as u64, "it cannot be read to its end");
            return bytes;
        }
        bytes.extend_from_slice(&chunk.data);
    }
}

#[test]
fn meddling_with_a_file_in_use_refuses_appends_and_parks_what_is_not_applied() {
    for meddling in EVERY.into_iter().filter(|meddling| *meddling != MoveAway) {
        let (mut machine, channel) = started(60);
        let (all, applied) = (sent(&mut machine), machine.plain("app.log").len());
        meddling.carry_out(&machine.memory, PATH);
        let theirs = found(&machine.memory, PATH);
        machine.round().unwrap();
        machine.send(channel, Synced);
        machine.commit().unwrap();
        assert_eq!(reasons(&mut machine), [ForeignChange], "{meddling:?}");
        assert_eq!(read_from(&mut machine, applied), all[applied..], "{meddling:?}");
        let live = machine.writer().log().live_bytes();
        machine.checkpoint().unwrap();
        assert!(machine.writer().log().live_bytes() < live, "{meddling:?} pins the log");
        assert_eq!(machine.live().backlog.bytes(), 0, "{meddling:?}");
        assert_eq!(read_from(&mut machine, applied), all[applied..], "{meddling:?}, parked");
        for loss in Loss::EVERY {
            let mut next = machine.on(machine.memory.power_loss(loss, 5));
            next.boot().unwrap();
            for _ in 0..2 {
                assert_eq!(read_from(&mut next, applied), all[applied..], "{meddling:?}, {loss:?}");
                assert_eq!(refusal_of_open(&mut next, APP_P), [ForeignChange], "{meddling:?}, {loss:?}");
                next.checkpoint().unwrap();
            }
        }
        assert_eq!(found(&machine.memory, PATH), theirs, "{meddling:?} was overwritten");
    }
}

#[test]
fn meddling_with_a_file_at_rest_is_noticed_at_its_open() {
    for meddling in EVERY {
        for restart in [false, true] {
            let (mut machine, _) = started(0);
            meddling.carry_out(&machine.memory, PATH);
            let theirs = found(&machine.memory, PATH);
            if restart {
                machine.kill_and_restart().unwrap();
            }
            assert_eq!(refusal_of_open(&mut machine, APP_P), [ForeignChange], "{meddling:?}, {restart}");
            assert!(machine.view("app.log").unwrap().summary().foreign_change);
            machine.checkpoint().unwrap();
            assert_eq!(found(&machine.memory, PATH), theirs, "{meddling:?} was overwritten");
        }
    }
}

/// Only what our own apply cannot have done is somebody else's: another id, or a size that it does not lead to.
#[test]
fn meddling_across_a_crash_is_noticed_by_recovery() {
    for meddling in EVERY.into_iter().filter(|meddling| *meddling != Overwrite) {
        for loss in Loss::EVERY {
            let (mut machine, _) = started(20);
            let (all, applied) = (sent(&mut machine), machine.plain("app.log").len());
            machine.live = None;
            let mut next = machine.on(machine.memory.power_loss(loss, 5));
            meddling.carry_out(&next.memory, PATH);
            let theirs = found(&next.memory, PATH);
            next.boot().unwrap();
            assert_eq!(read_from(&mut next, applied), all[applied..], "{meddling:?}, {loss:?}");
            assert_eq!(refusal_of_open(&mut next, APP_P), [ForeignChange], "{meddling:?}, {loss:?}");
            next.checkpoint().unwrap();
            next.kill_and_restart().unwrap();
            assert_eq!(read_from(&mut next, applied), all[applied..], "{meddling:?}, {loss:?}, parked");
            assert_eq!(found(&next.memory, PATH), theirs, "{meddling:?} was overwritten, {loss:?}");
        }
    }
}

/// An open file does not tell that it has another name now: that is noticed by the next checkpoint, and what went to the
/// file meanwhile is durable there.
#[test]
fn file_that_is_moved_away_and_put_back_is_taken_again() {
    let (mut machine, _) = started(3);
    let all = sent(&mut machine);
    MoveAway.carry_out(&machine.memory, PATH);
    machine.memory.sync_dir("files/default").unwrap();
    machine.checkpoint().unwrap();
    assert_eq!(refusal_of_open(&mut machine, APP_P), [ForeignChange]);
    let mut next = machine.on(machine.memory.power_loss(Loss::Nothing, 1));
    next.boot().unwrap();
    assert_eq!(refusal_of_open(&mut next, APP_P), [ForeignChange]);
    for mut machine in [machine, next] {
        machine.memory.rename("files/default/other", PATH, Existing::Keep).unwrap();
        let channel = open_all(&mut machine, &[(APP_P, 1)]).unwrap()[0];
        assert_eq!(machine.read("app.log"), all);
        send(&mut machine, channel, 1);
        prove_running(&mut machine, Written).unwrap();
    }
}

#[test]
fn directory_that_is_replaced_does_not_stop_checkpoints() {
    for meddling in [Delete, Replace, Symlink] {
        let (mut machine, _) = started(0);
        let channel = open_all(&mut machine, &[(DEEP, 1)]).unwrap()[0];
        send(&mut machine, channel, 3);
        let bytes = machine.read(DEEP.file);
        machine.memory.rename("files/default/deep", "files/default/away", Existing::Keep).unwrap();
        match meddling {
            Replace => machine.memory.foreign_put("files/default/deep", b"theirs").unwrap(),
            Symlink => machine.memory.symlink("files/default/deep").unwrap(),
            _ => {}
        }
        machine.checkpoint().unwrap();
        assert_eq!(refusal_of_open(&mut machine, DEEP), [ForeignChange], "{meddling:?}");
        assert_eq!(read_all(&machine.memory, "files/default/away/er/one.log").unwrap(), bytes);
        machine.fail_over(&"a failure without consequences".into()).unwrap();
        machine.checkpoint().unwrap();
        let channel = open_all(&mut machine, &[(APP_P, 1)]).unwrap()[0];
        send(&mut machine, channel, 1);
    }
}

#[test]
fn full_disk_under_parked_bytes_keeps_the_log_and_is_tried_again() {
    let (mut machine, _) = started(30);
    let (all, applied) = (sent(&mut machine), machine.plain("app.log").len());
    Append.carry_out(&machine.memory, PATH);
    let full = FaultKind::ShortWrite { written: 10, errno: Errno::NOSPC.raw_os_error() };
    machine.faulty.fail(Op::Write, "parked/", When::Nth(1), full);
    let snapshot = machine.snapshot().unwrap();
    let unfinished = machine.try_checkpoint(snapshot).unwrap().expect("there is no room");
    assert_eq!(read_from(&mut machine, applied), all[applied..]);
    assert!(machine.try_checkpoint(unfinished).unwrap().is_none());
    assert_eq!(read_from(&mut machine, applied), all[applied..]);
}

#[test]
fn bytes_that_were_applied_before_somebody_appended_are_synced_all_the_same() {
    let (mut machine, _) = started(10);
    let all = sent(&mut machine);
    machine.round().unwrap();
    assert_eq!(machine.plain("app.log"), all);
    machine.memory.foreign_write(PATH, all.len() as u64, b"theirs").unwrap();
    machine.checkpoint().unwrap();
    let lost = machine.memory.power_loss(Loss::Nothing, 1);
    assert_eq!(read_all(&lost, PATH).unwrap()[..all.len()], all, "acknowledged bytes were neither parked nor synced");
}

#[test]
fn bytes_that_were_parked_by_a_checkpoint_that_failed_are_parked_once() {
    let (mut machine, _) = started(10);
    let (all, applied) = (sent(&mut machine), machine.plain("app.log").len());
    Append.carry_out(&machine.memory, PATH);
    machine.faulty.fail(Op::SyncData, "catalog", When::Nth(1), FaultKind::LostSync);
    let failure = machine.checkpoint().unwrap_err();
    for loss in Loss::EVERY {
        let mut next = machine.on(machine.memory.power_loss(loss, 2));
        next.boot().unwrap();
        next.checkpoint().unwrap();
        assert_eq!(read_from(&mut next, applied), all[applied..], "{loss:?}");
    }
    machine.fail_over(&failure).unwrap();
    assert_eq!(read_from(&mut machine, applied), all[applied..]);
    machine.checkpoint().unwrap();
    assert_eq!(read_from(&mut machine, applied), all[applied..]);
    let mut next = machine.on(machine.memory.power_loss(Loss::Nothing, 2));
    next.boot().unwrap();
    assert_eq!(read_from(&mut next, applied), all[applied..]);
}

#[test]
fn empty_file_that_a_failed_commit_left_is_removed_by_the_next_open() {
    let (mut machine, _) = started(0);
    let channel = open_all(&mut machine, &[(DEEP, 1)]).unwrap()[0];
    let full = FaultKind::ShortWrite { written: 0, errno: Errno::NOSPC.raw_os_error() };
    machine.faulty.fail(Op::Write, "wal/", When::Nth(1), full);
    machine.send(channel, Synced);
    let failure = machine.commit().unwrap_err();
    machine.fail_over(&failure).unwrap();
    let path = "files/default/deep/er/one.log";
    let left = found(&machine.memory, path).expect("the commit made the file");
    assert_eq!(left.2, b"");
    let channel = open_all(&mut machine, &[(DEEP, 1)]).unwrap()[0];
    assert_eq!(found(&machine.memory, path), None);
    machine.resend(channel, 1);
    machine.commit().unwrap();
    prove_running(&mut machine, Written).unwrap();
}

#[test]
fn what_stands_at_the_path_of_a_new_file_is_refused_and_left_alone() {
    const NEW: Stream = Stream { file: "new", producer: "p" };
    let path = "files/default/new";
    type Put = fn(&MemoryFs, &str);
    let cases: [(&str, Put, ErrorReason); 7] = [
        ("a file", |memory, path| memory.foreign_put(path, b"theirs").unwrap(), ForeignChange),
        ("an empty file", |memory, path| memory.foreign_put(path, b"").unwrap(), ForeignChange),
        ("a directory", |memory, path| memory.create_dir(path, Attributes::PRIVATE_DIR).unwrap(), IsADirectory),
        ("a link", |memory, path| memory.symlink(path).unwrap(), ErrorReason::Symlink),
        ("a FIFO", |memory, path| memory.fifo(path).unwrap(), NotAPlainFile),
        ("a hard link", |memory, path| memory.hard_link(PATH, path).unwrap(), NotAPlainFile),
        (
            "a file of ours with bytes",
            |memory, path| {
                let ours = memory.open(PATH, Access::Read).unwrap().file_id().unwrap().unwrap();
                memory.foreign_put(path, b"theirs").unwrap();
                memory.open(path, Access::ReadWrite).unwrap().set_file_id(&ours).unwrap();
            },
            ForeignChange,
        ),
    ];
    for (what, put, reason) in cases {
        let (mut machine, _) = started(0);
        put(&machine.memory, path);
        let theirs = found(&machine.memory, path);
        assert_eq!(refusal_of_open(&mut machine, NEW), [reason], "{what}");
        assert_eq!(found(&machine.memory, path), theirs, "{what}");
        let (mut machine, _) = started(0);
        let channel = open_all(&mut machine, &[(NEW, 1)]).unwrap()[0];
        put(&machine.memory, path);
        machine.send(channel, Synced);
        machine.commit().unwrap();
        assert_eq!(reasons(&mut machine), [reason], "{what}, after the open");
        assert!(found(&machine.memory, path).is_some(), "{what}");
    }
}

#[test]
fn reader_from_before_a_failure_sees_what_is_written_after_it() {
    let (mut machine, _) = started(0);
    let view = machine.view("app.log").unwrap();
    machine.fail_over(&"a failure without consequences".into()).unwrap();
    let channel = open_all(&mut machine, &[(APP_P, 1)]).unwrap()[0];
    machine.send(channel, Synced);
    machine.commit().unwrap();
    let end = sent(&mut machine).len() as u64;
    assert_eq!(view.read(machine.fs.as_ref(), end, 1).unwrap().end, end);
}
