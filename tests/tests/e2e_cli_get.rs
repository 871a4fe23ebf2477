//! `inkpot get`, the real binary against a real server: complete and verified, or not there.
#![allow(clippy::unwrap_used)]

use inkpot_tests::{
    Server, Setup,
    harness::{
        gate::Gate,
        tool::{Ended, Tool},
        wait,
    },
};
use rustix::process::Signal;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

const BOUND: Duration = Duration::from_secs(60);
const MIB: usize = 1 << 20;

fn content(count: usize) -> Vec<u8> {
    (0..count).map(|n| (n * n / 1_000 % 253) as u8).collect()
}

/// A server that has `f`.
fn with_file(content: &[u8]) -> Server {
    let server = Server::start(Setup::default());
    let _ = Tool::at(&server, ["put", "-", "f"]).run(content).exit(0);
    server
}

fn get(server: &Server, local: &Path, args: &[&str]) -> Ended {
    Tool::at(server, ["--output", "json", "get", "f", local.to_str().unwrap()].iter().chain(args)).run("")
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The incomplete file in a folder, if there is one.
fn part(folder: &Path) -> Option<PathBuf> {
    names(folder).into_iter().find(|name| name.ends_with(".inkpot-part")).map(|name| folder.join(name))
}

#[test]
fn get_refuses_to_overwrite_unless_it_is_forced() {
    let server = with_file(b"new");
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path().join("local");
    fs::write(&local, b"old").unwrap();
    let refused = get(&server, &local, &[]).exit(5).says("--force").says(local.to_str().unwrap());
    assert_eq!(refused.text(), "");
    assert_eq!(fs::read(&local).unwrap(), b"old");
    let _ = get(&server, &local, &["--force"]).exit(0);
    assert_eq!(fs::read(&local).unwrap(), b"new");
    assert_eq!(names(folder.path()), ["local"], "nothing is left beside it");
    // A directory is a place for it, and never replaced.
    fs::create_dir(folder.path().join("dir")).unwrap();
    let _ = get(&server, &folder.path().join("dir"), &[]).exit(0);
    assert_eq!(fs::read(folder.path().join("dir/f")).unwrap(), b"new");
}

#[test]
fn ranges_have_both_their_ends() {
    let content = content(MIB);
    let server = with_file(&content);
    let folder = tempfile::tempdir().unwrap();
    let table = [
        ("0-99", &content[..100]),
        ("500000-", &content[500_000..]),
        ("-7", &content[MIB - 7..]),
        ("3-3", &content[3..4]),
    ];
    for (number, (range, expected)) in table.into_iter().enumerate() {
        let local = folder.path().join(number.to_string());
        let ended = get(&server, &local, &["--range", range]).exit(0).json();
        assert!(fs::read(&local).unwrap() == expected, "{range}");
        assert_eq!((&ended["size"], &ended["verified"]), (&expected.len().into(), &false.into()), "{range}");
    }
    let behind = get(&server, &folder.path().join("none"), &["--range", "1048577-"]).exit(1);
    assert!(behind.stderr.contains("1048576"), "{}", behind.stderr);
    let _ = get(&server, &folder.path().join("none"), &["--range", "2-1"]).exit(2);
    assert_eq!(names(folder.path()), ["0", "1", "2", "3"]);
}

#[test]
fn stdout_has_the_bytes_alone() {
    let content = content(2 * MIB + 1);
    let server = with_file(&content);
    let ended = get(&server, Path::new("-"), &[]).exit(0);
    assert!(ended.stdout == content && ended.stderr.is_empty(), "{} bytes; {}", ended.stdout.len(), ended.stderr);
    let last = get(&server, Path::new("-"), &["--range", "-5"]).exit(0);
    assert!(last.stdout == content[content.len() - 5..]);
}

#[test]
fn get_goes_on_after_an_interrupt_or_a_kill_and_verifies_the_whole() {
    let content = content(8 * MIB);
    let server = with_file(&content);
    for signal in [Signal::INT, Signal::KILL] {
        let folder = tempfile::tempdir().unwrap();
        let local = folder.path().join("local");
        let gate = Gate::before(server.address(), u64::MAX, 3 * MIB as u64);
        let running =
            Tool::at(&server, ["get", "f", local.to_str().unwrap()]).env("INKPOT_ENDPOINT", &gate.endpoint()).start();
        let some = || part(folder.path()).is_some_and(|part| fs::metadata(part).is_ok_and(|part| part.len() > 0));
        wait::until_blocking("some of it is there", BOUND, some);
        running.signal(signal);
        if signal == Signal::INT {
            let _ = running.wait(BOUND).exit(130).says("are kept in").says("--resume");
        } else {
            drop(running);
        }
        assert!(!local.exists(), "a part is no file");
        let kept = fs::metadata(part(folder.path()).unwrap()).unwrap().len();
        let ended = get(&server, &local, &["--resume"]).exit(0).json();
        assert_eq!((ended["resumed_at"].as_u64().unwrap(), &ended["verified"]), (kept, &true.into()));
        assert!(kept > 0 && fs::read(&local).unwrap() == content, "{kept}");
        assert_eq!(names(folder.path()), ["local"]);
    }
}

#[test]
fn damaged_part_is_found_by_the_checksum_and_goes() {
    let content = content(MIB);
    let server = with_file(&content);
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path().join("local");
    let generation = Tool::at(&server, ["stat", "f", "--output", "json"]).run("").exit(0).json()["generation"].clone();
    fs::write(folder.path().join(format!(".local.{generation}.inkpot-part")), b"not what the file has").unwrap();
    let _ = get(&server, &local, &["--resume"]).exit(1).says("crc32c");
    assert_eq!(names(folder.path()), [""; 0]);
    let _ = get(&server, &local, &["--resume"]).exit(0);
    assert!(fs::read(&local).unwrap() == content);
}

#[test]
fn part_of_another_generation_is_not_gone_on_with() {
    let server = with_file(b"content");
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path().join("local");
    fs::write(folder.path().join(".local.999999.inkpot-part"), b"other").unwrap();
    let ended = get(&server, &local, &["--resume"]).exit(0).json();
    assert_eq!(ended["resumed_at"], 0);
    assert_eq!(fs::read(&local).unwrap(), b"content");
}

#[test]
fn what_is_not_there_leaves_nothing_here() {
    let server = Server::start(Setup::default());
    let folder = tempfile::tempdir().unwrap();
    let _ = get(&server, &folder.path().join("local"), &[]).exit(4).says("there is no file \"f\"");
    assert_eq!(names(folder.path()), [""; 0]);
    let _ = get(&server, &folder.path().join("no/such/folder"), &[]).exit(4);
    let server = with_file(b"content");
    let _ = get(&server, &folder.path().join("no/such/folder"), &[]).exit(1).says("cannot write");
}
