//! Short histories of one thing each. The machine stops after every operation on its disk, with each kind of loss, and
//! each call on the disk fails once.

use super::{History, Mode, ask::Deed};
use crate::{
    recovery::tests::{machine::Stop, script::chain},
    shard::Ending,
};
use inkpot_proto::v1::Durability::{Synced, Written};
use inkpot_wal::fs::{
    faulty::{FaultKind, Op, When},
    memory::{Loss, MemoryFs},
};
use rustix::io::Errno;

type Script = fn(&mut History) -> Result<(), Stop>;

const P: Option<(&str, u64)> = Some(("p", 1));
const WHOLE: Ending = Ending::Commit { size: None, crc32c: None };

/// A file with two appends of `p`, whose channel stays open.
fn write_file(history: &mut History, path: &'static str) -> Result<u32, Stop> {
    let channel = history.open(path, Mode::Append, P);
    history.send(channel, 1, format!("{path} has this, "), Synced);
    history.send(channel, 2, "and that", Written);
    history.commit()?;
    Ok(channel)
}

fn upload(history: &mut History, path: &'static str, mode: Mode, ending: Ending) -> Result<(), Stop> {
    let channel = history.open(path, mode, Some(("q", 1)));
    history.commit()?;
    history.send(channel, 1, "one part, ", Synced);
    history.send(channel, 2, "two parts, ", Synced);
    history.settle()?;
    history.send(channel, 3, "three", Synced);
    history.finish(channel, ending);
    history.settle()
}

fn upload_to_a_new_path(history: &mut History) -> Result<(), Stop> {
    upload(history, "d/e/f", Mode::Create, WHOLE)?;
    history.round()?;
    write_file(history, "d/g")?;
    history.checkpoint()
}

fn upload_over_a_file(history: &mut History) -> Result<(), Stop> {
    let channel = write_file(history, "d/g")?;
    history.checkpoint()?;
    upload(history, "d/g", Mode::Replace, WHOLE)?;
    history.send(channel, 3, "too late", Synced);
    history.settle()?;
    history.checkpoint()
}

fn upload_that_is_left_and_taken_up(history: &mut History) -> Result<(), Stop> {
    upload(history, "d/e/f", Mode::Create, Ending::LeaveOpen)?;
    history.checkpoint()?;
    let channel = history.open("d/e/f", Mode::Create, Some(("q", 1)));
    history.send(channel, 3, "three", Synced);
    history.send(channel, 4, ", and four", Synced);
    history.settle()?;
    history.fail_over(&"a failure without consequences".into())?;
    let channel = history.open("d/e/f", Mode::Create, Some(("q", 2)));
    history.send(channel, 1, ", and five", Synced);
    history.finish(channel, WHOLE);
    history.settle()
}

fn upload_that_is_aborted(history: &mut History) -> Result<(), Stop> {
    upload(history, "log", Mode::Create, Ending::Abort)?;
    history.checkpoint()?;
    upload(history, "log", Mode::Create, Ending::Commit { size: Some(1), crc32c: None })
}

/// The end waits for the cut, and its chunk does not.
fn upload_that_is_aborted_beside_a_cut(history: &mut History) -> Result<(), Stop> {
    write_file(history, "a/b")?;
    let channel = history.open("a/b", Mode::Replace, Some(("q", 1)));
    history.commit()?;
    history.send(channel, 1, "one part", Synced);
    history.finish(channel, Ending::Abort);
    history.commit()?;
    history.operate("a/b", Deed::Truncate { len: 3 }, None, None)?;
    history.stage(2)?;
    history.settle()
}

fn rename_over_a_file(history: &mut History) -> Result<(), Stop> {
    write_file(history, "d/e/f")?;
    history.checkpoint()?;
    let channel = write_file(history, "log")?;
    history.operate("d/e/f", Deed::Rename { to: "log", replace: true }, Some(("p", 1, 3)), None)?;
    history.send(channel, 3, "too late", Synced);
    history.settle()?;
    history.operate("log", Deed::Rename { to: "a/b", replace: false }, None, None)?;
    history.settle()?;
    history.checkpoint()
}

fn cut_and_seal(history: &mut History) -> Result<(), Stop> {
    write_file(history, "a/b")?;
    history.round()?;
    history.operate("a/b", Deed::Truncate { len: 9 }, Some(("p", 1, 3)), None)?;
    history.settle()?;
    history.operate("a/b", Deed::Truncate { len: 0 }, None, None)?;
    history.operate("a/b", Deed::Seal, Some(("r", 1, 1)), None)?;
    history.settle()?;
    history.checkpoint()
}

/// What was a directory is a file then, and the other way round.
fn delete_and_begin_anew(history: &mut History) -> Result<(), Stop> {
    write_file(history, "a/b")?;
    history.checkpoint()?;
    history.operate("a/b", Deed::Delete, Some(("p", 1, 3)), None)?;
    history.settle()?;
    write_file(history, "a")?;
    history.operate("a", Deed::Delete, None, None)?;
    write_file(history, "a/c")?;
    history.checkpoint()
}

/// The file is cut twice, the second time within the appends of one commit.
fn rotate(history: &mut History) -> Result<(), Stop> {
    let channel = write_file(history, "log")?;
    history.send(channel, 3, vec![b'x'; 490], Written);
    history.settle()?;
    history.checkpoint()?;
    history.send(channel, 4, "fits", Synced);
    history.send(channel, 5, vec![b'y'; 200], Written);
    history.send(channel, 6, "and more", Synced);
    history.settle()?;
    history.round()?;
    history.operate("log", Deed::Delete, Some(("p", 1, 7)), None)?;
    history.settle()?;
    history.checkpoint()
}

const SCRIPTS: [(&str, Script); 9] = [
    ("upload to a new path", upload_to_a_new_path),
    ("upload over a file", upload_over_a_file),
    ("upload that is left and taken up", upload_that_is_left_and_taken_up),
    ("upload that is aborted", upload_that_is_aborted),
    ("upload that is aborted beside a cut", upload_that_is_aborted_beside_a_cut),
    ("rename over a file", rename_over_a_file),
    ("cut and seal", cut_and_seal),
    ("delete and begin anew", delete_and_begin_anew),
    ("rotate", rotate),
];

pub fn started(what: String) -> History {
    let mut history = History::new(MemoryFs::new());
    history.note(|| what);
    history.machine.boot().unwrap();
    history
}

fn prove(history: History) {
    history.prove().unwrap_or_else(|error| panic!("{}", chain(error.as_ref())));
}

/// Stops the machine after every operation of a script; returns how many there were.
fn stop_everywhere(name: &str, script: Script) -> u64 {
    for cut in 0.. {
        let mut done = false;
        for loss in Loss::EVERY {
            let mut history = started(format!("{name}, stopped after {cut} operations, {loss:?}"));
            history.stop_at(history.machine.memory.operations() + cut);
            done = script(&mut history).is_ok();
            prove(history.lose(loss, cut));
        }
        if done {
            return cut;
        }
    }
    unreachable!()
}

/// Lets each of the calls `op` on paths with `path` fail in a run of its own; returns how many there were.
fn fail_each(name: &str, script: Script, op: Op, path: &str, kind: &FaultKind) -> u64 {
    for nth in 1.. {
        let mut history = started(format!("{name}, {op:?} number {nth} on {path:?}: {kind:?}"));
        let before = history.machine.faulty.count(op, path);
        history.machine.faulty.fail(op, path, When::Nth(nth), kind.clone());
        history.book.faulty = true;
        let mut outcome = script(&mut history);
        let met = history.machine.faulty.count(op, path) - before >= nth;
        for _ in 0..3 {
            if let Err(error) = &outcome {
                outcome = history.fail_over(error);
            }
        }
        outcome.unwrap_or_else(|error| panic!("the shard stays closed: {}", chain(error.as_ref())));
        history.machine.faulty.clear();
        history.book.faulty = false;
        prove(history);
        if !met {
            return nth - 1;
        }
    }
    unreachable!()
}

#[test]
fn uploads_survive_a_stop_at_every_operation() {
    for (name, script) in &SCRIPTS[..5] {
        let operations = stop_everywhere(name, *script);
        assert!(operations > 20, "{name} has {operations} operations");
    }
}

#[test]
fn operations_survive_a_stop_at_every_operation_of_the_disk() {
    for (name, script) in &SCRIPTS[5..] {
        let operations = stop_everywhere(name, *script);
        assert!(operations > 20, "{name} has {operations} operations");
    }
}

fn fail_everywhere(calls: &[(Op, &str, FaultKind)]) {
    fail_in(&SCRIPTS, calls);
}

fn fail_in(scripts: &[(&str, Script)], calls: &[(Op, &str, FaultKind)]) {
    for (op, path, kind) in calls {
        let met: u64 = scripts.iter().map(|(name, script)| fail_each(name, *script, *op, path, kind)).sum();
        assert!(met > 3, "{op:?} on {path:?} was met {met} times");
    }
}

fn errno(errno: Errno) -> FaultKind {
    FaultKind::Errno(errno.raw_os_error())
}

#[test]
fn failures_in_staging_and_of_names_lose_nothing() {
    fail_everywhere(&[
        (Op::Rename, "files/", errno(Errno::IO)),
        (Op::Rename, "staging/", errno(Errno::IO)),
        (Op::Create, "staging/", errno(Errno::IO)),
        (Op::Write, "staging/", errno(Errno::IO)),
        (Op::SyncData, "staging/", FaultKind::LostSync),
        (Op::SyncAll, "staging/", FaultKind::LostSync),
        (Op::SyncDir, "", errno(Errno::IO)),
        (Op::FileId, "", errno(Errno::IO)),
        // Not of directories: one that cannot be removed is in the way of what comes, and that is told.
        (Op::Remove, "staging/", errno(Errno::IO)),
    ]);
    // A rotated file gets another name then than the model says.
    fail_in(&SCRIPTS[..8], &[(Op::Metadata, "default/", errno(Errno::IO))]);
}

#[test]
fn failures_of_log_and_catalog_lose_nothing() {
    fail_everywhere(&[
        (Op::SyncData, "wal/", FaultKind::LostSync),
        (Op::Write, "wal/", errno(Errno::IO)),
        (Op::SyncData, "catalog", FaultKind::LostSync),
        (Op::Write, "catalog", errno(Errno::IO)),
    ]);
}

#[test]
fn full_disk_loses_nothing() {
    let short = |written| FaultKind::ShortWrite { written, errno: Errno::NOSPC.raw_os_error() };
    fail_everywhere(&[
        (Op::Write, "staging/", short(3)),
        (Op::Write, "wal/", short(20)),
        (Op::Write, "catalog", short(20)),
        (Op::Create, "staging/", errno(Errno::NOSPC)),
        (Op::CreateDir, "", errno(Errno::NOSPC)),
        (Op::Rename, "files/", errno(Errno::NOSPC)),
    ]);
}

/// The copy for a cut is made before the shard decides on it, and of what is there then.
#[test]
fn cut_of_what_comes_to_a_path_is_not_made_from_what_was_there() {
    let mut history = started("a cut of what another one puts there".to_owned());
    write_file(&mut history, "d/e/f").unwrap();
    write_file(&mut history, "a/b").unwrap();
    let wanted = history.book.tree().generation_at("d/e/f");
    history.operate("d/e/f", Deed::Rename { to: "a/b", replace: true }, None, None).unwrap();
    history.operate("a/b", Deed::Truncate { len: 4 }, None, wanted).unwrap();
    history.operate("a/b", Deed::Truncate { len: 4 }, None, None).unwrap();
    history.settle().unwrap();
    prove(history);
}
