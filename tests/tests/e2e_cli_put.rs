//! `inkpot put`, the real binary against a real server: whole or not at all, and resumed wherever it was stopped.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::GetWriteStateRequest;
use inkpot_tests::{
    Server, Setup,
    harness::{
        gate::Gate,
        tool::{Ended, Running, Tool},
        wait,
    },
};
use rustix::process::Signal;
use serde_json::Value;
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;

const BOUND: Duration = Duration::from_secs(60);
const MIB: usize = 1 << 20;
/// What a gate lets through of an upload: some of its chunks.
const SOME: u64 = 5 * MIB as u64;

/// Bytes without a pattern that a wrong offset could repeat.
fn bytes(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes: Vec<u8> = (0..count.div_ceil(8)).flat_map(|_| next().to_le_bytes()).collect();
    bytes.truncate(count);
    bytes
}

/// A folder with a file of so many bytes.
fn local(count: usize) -> (TempDir, PathBuf, Vec<u8>) {
    let (folder, content) = (tempfile::tempdir().unwrap(), bytes(count));
    let path = folder.path().join("local.bin");
    fs::write(&path, &content).unwrap();
    (folder, path, content)
}

/// A server that tidies up more often than one in use.
fn tidy() -> Server {
    Server::start(Setup::default().config("[checkpoint]\ninterval = \"200ms\""))
}

fn hex(bytes: &[u8]) -> String {
    format!("{:08x}", crc32c::crc32c(bytes))
}

fn put(server: &Server, local: &Path, args: &[&str]) -> Tool {
    Tool::at(server, ["--output", "json", "put", local.to_str().unwrap()].iter().chain(args))
}

fn run<'a>(server: &Server, args: impl IntoIterator<Item = &'a str>) -> Ended {
    Tool::at(server, args).run("")
}

#[track_caller]
fn assert_content(server: &Server, path: &str, content: &[u8]) {
    let found = run(server, ["cat", path]).exit(0).stdout;
    assert!(found == content, "{path} has {} bytes, {} are expected", found.len(), content.len());
}

#[track_caller]
fn assert_absent(server: &Server, path: &str) {
    let _ = run(server, ["stat", path]).exit(4);
    assert_eq!(run(server, ["ls", path]).exit(0).text(), "");
}

/// How much the server keeps of an upload; nothing if there is none.
fn kept(server: &Server, path: &str, producer: &str) -> Option<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let request = GetWriteStateRequest { path: path.to_owned(), producer_id: producer.to_owned() };
        let state = server.client().get_write_state(request).await.unwrap().into_inner();
        state.upload.then_some(state.next_offset)
    })
}

/// Starts a put of 16 MiB to `f` that stops in the middle, and waits until the server keeps some of it.
fn stopped_in_the_middle(server: &Server, gate: &Gate, local: &Path, args: &[&str]) -> Running {
    let args = ["f", "--producer", "p"].iter().chain(args).copied().collect::<Vec<_>>();
    let running = put(server, local, &args).env("INKPOT_ENDPOINT", &gate.endpoint()).start();
    wait::until_blocking("some of it is kept", BOUND, || kept(server, "f", "p").is_some_and(|bytes| bytes > 0));
    running
}

/// Everything below the folders of uploads, except folders.
fn staged(server: &Server) -> Vec<PathBuf> {
    fn below(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                below(&entry.path(), found);
            } else {
                found.push(entry.path());
            }
        }
    }
    let mut found = Vec::new();
    below(&server.data_dir().join("staging"), &mut found);
    found
}

fn wait_for_nothing_staged(server: &Server) {
    wait::until_blocking("nothing is left of uploads", BOUND, || staged(server).is_empty());
}

#[test]
fn put_and_get_give_the_same_bytes_whatever_the_size() {
    let server = tidy();
    for count in [0, 1, MIB, 5 * MIB + 3] {
        let (folder, path, content) = local(count);
        let to = format!("dir/{count}");
        let put = put(&server, &path, &[&to]).run("").exit(0).json();
        let known = run(&server, ["stat", &to, "--output", "json"]).exit(0).json();
        assert_eq!(
            (&put["path"], &put["size"], &put["crc32c"]),
            (&to.as_str().into(), &count.into(), &hex(&content).into())
        );
        assert_eq!((&put["generation"], &put["resumed_at"]), (&known["generation"], &0.into()));
        assert!(put["seconds"].as_f64().unwrap() > 0.0);
        let back = folder.path().join("back");
        let got = run(&server, ["--output", "json", "get", &to, back.to_str().unwrap()]).exit(0).json();
        assert_eq!((&got["verified"], &got["crc32c"], &got["size"]), (&true.into(), &put["crc32c"], &count.into()));
        assert!(fs::read(&back).unwrap() == content, "{count}");
        assert_content(&server, &to, &content);
    }
    wait_for_nothing_staged(&server);
}

#[test]
fn put_goes_on_after_a_kill_of_the_tool() {
    let server = tidy();
    let (_folder, path, content) = local(16 * MIB);
    let gate = Gate::before(server.address(), SOME, u64::MAX);
    let running = stopped_in_the_middle(&server, &gate, &path, &[]);
    running.signal(Signal::KILL);
    drop(running);
    assert_absent(&server, "f");
    let kept = kept(&server, "f", "p").unwrap();
    let ended = put(&server, &path, &["f", "--producer", "p"]).run("").exit(0).says("going on at byte");
    let (resumed_at, size) = (ended.json()["resumed_at"].as_u64().unwrap(), ended.json()["size"].as_u64().unwrap());
    assert!(resumed_at >= kept && resumed_at < size, "{resumed_at}, {kept} of {size} were kept");
    assert_eq!(ended.json()["crc32c"], hex(&content));
    assert_content(&server, "f", &content);
    wait_for_nothing_staged(&server);
}

#[test]
fn the_same_command_finds_its_upload_again_by_the_local_file() {
    let server = tidy();
    let (_folder, path, content) = local(16 * MIB);
    let gate = Gate::before(server.address(), SOME, u64::MAX);
    // Nobody tells a name: the wait is for what is staged.
    let command = || put(&server, &path, &["f"]).env("INKPOT_ENDPOINT", &gate.endpoint());
    let running = command().start();
    let some = |file: &PathBuf| fs::metadata(file).is_ok_and(|file| file.len() > 0);
    wait::until_blocking("some of it is staged", BOUND, || staged(&server).iter().any(some));
    running.signal(Signal::TERM);
    let ended = running.wait(BOUND).exit(130).says("the same command goes on");
    assert_eq!(ended.text(), "");
    gate.open();
    let ended = command().run("").exit(0).json();
    assert!(ended["resumed_at"].as_u64().unwrap() > 0, "{ended}");
    assert_content(&server, "f", &content);
    wait_for_nothing_staged(&server);
}

#[test]
fn put_goes_on_over_a_kill_of_the_server() {
    let mut server = tidy();
    let (_folder, path, content) = local(16 * MIB);
    let gate = Gate::before(server.address(), SOME, u64::MAX);
    let running = stopped_in_the_middle(&server, &gate, &path, &[]);
    server.kill9();
    server.restart();
    assert!(kept(&server, "f", "p").unwrap() > 0, "what was acknowledged is there");
    gate.open();
    let ended = running.wait(BOUND).exit(0).json();
    assert_eq!((&ended["resumed_at"], &ended["crc32c"]), (&0.into(), &hex(&content).into()));
    assert_content(&server, "f", &content);
    server.kill9();
    server.restart();
    assert_content(&server, "f", &content);
    wait_for_nothing_staged(&server);
}

#[test]
fn interrupt_keeps_what_was_sent_and_abort_discards_it() {
    let server = tidy();
    let (_folder, path, _) = local(16 * MIB);
    let gate = Gate::before(server.address(), SOME, u64::MAX);
    let running = stopped_in_the_middle(&server, &gate, &path, &[]);
    running.signal(Signal::INT);
    let ended = running.wait(BOUND).exit(130).says("nothing was published").says("the same command goes on");
    assert!(ended.text().is_empty() && ended.stderr.contains("--abort"), "{ended:?}");
    assert_absent(&server, "f");
    let abort = || put(&server, &path, &["f", "--producer", "p", "--abort"]).run("");
    let _ = abort().exit(0).says("bytes discarded");
    assert_eq!(kept(&server, "f", "p"), None);
    let _ = abort().exit(4).says("there is no upload");
    assert_absent(&server, "f");
    wait_for_nothing_staged(&server);
}

#[test]
fn restart_begins_anew() {
    let server = tidy();
    let (_folder, path, content) = local(16 * MIB);
    let gate = Gate::before(server.address(), SOME, u64::MAX);
    stopped_in_the_middle(&server, &gate, &path, &[]).signal(Signal::KILL);
    let ended = put(&server, &path, &["f", "--producer", "p", "--restart"]).run("").exit(0).json();
    assert_eq!(ended["resumed_at"], 0);
    assert_content(&server, "f", &content);
    wait_for_nothing_staged(&server);
}

#[test]
fn conditions_that_do_not_hold_are_status_5_and_change_nothing() {
    let server = Server::start(Setup::default());
    let (_folder, path, content) = local(1_000);
    let (_other, other, _) = local(2_000);
    let first = put(&server, &path, &["f", "--if-absent"]).run("").exit(0).json();
    let conflict = put(&server, &other, &["f", "--if-absent"]).run("").exit(5);
    assert!(conflict.stderr.contains("\"f\"") && conflict.text().is_empty(), "{conflict:?}");
    let generation = first["generation"].as_u64().unwrap();
    let wrong = (generation + 1).to_string();
    let conflict = put(&server, &other, &["f", "--if-generation", &wrong]).run("").exit(5);
    assert!(conflict.stderr.contains("generation"), "{conflict:?}");
    assert_content(&server, "f", &content);
    let _ = put(&server, &other, &["f", "--if-generation", &generation.to_string()]).run("").exit(0);
    assert_content(&server, "f", &bytes(2_000));
}

#[test]
fn put_replaces_what_is_there_with_a_new_generation() {
    let server = Server::start(Setup::default());
    let _ = Tool::at(&server, ["append", "f"]).run("lines\n").exit(0);
    let generation = |file: Value| file["generation"].as_u64().unwrap();
    let before = generation(run(&server, ["stat", "f", "--output", "json"]).exit(0).json());
    let (_folder, path, content) = local(3 * MIB);
    let after = generation(put(&server, &path, &["f"]).run("").exit(0).json());
    assert_ne!(after, before);
    assert_content(&server, "f", &content);
    // The same again is a new upload, also where another content came between.
    let (_other, other, _) = local(10);
    let _ = put(&server, &other, &["f"]).run("").exit(0);
    let again = generation(put(&server, &path, &["f"]).run("").exit(0).json());
    assert_ne!(again, after);
    assert_content(&server, "f", &content);
}

#[test]
fn wrong_checksum_is_refused_and_the_right_one_needs_no_byte_more() {
    let server = Server::start(Setup::default());
    let (_folder, path, content) = local(3 * MIB);
    let ended = put(&server, &path, &["f", "--checksum", "00000001"]).run("").exit(1).says("nothing was published");
    assert!(ended.stderr.contains("crc32c") && ended.text().is_empty(), "{ended:?}");
    assert_absent(&server, "f");
    let right = hex(&content);
    let ended = put(&server, &path, &["f", "--checksum", &right]).run("").exit(0).json();
    assert_eq!((&ended["resumed_at"], &ended["crc32c"]), (&content.len().into(), &right.into()));
    assert_content(&server, "f", &content);
}

#[test]
fn stdin_appears_at_its_end_and_an_interrupt_leaves_nothing() {
    let server = tidy();
    let content = bytes(3 * MIB);
    let start = |path: &str| Tool::at(&server, ["--output", "json", "put", "-", path]).start();
    let mut running = start("whole");
    running.feed(&content[..2 * MIB]);
    let some = |file: &PathBuf| fs::metadata(file).is_ok_and(|file| file.len() > 0);
    wait::until_blocking("some of it is staged", BOUND, || staged(&server).iter().any(some));
    assert_absent(&server, "whole");
    running.feed(&content[2 * MIB..]);
    running.end_input();
    let ended = running.wait(BOUND).exit(0).json();
    assert_eq!((&ended["size"], &ended["crc32c"]), (&content.len().into(), &hex(&content).into()));
    assert_content(&server, "whole", &content);
    wait_for_nothing_staged(&server);
    let mut running = start("part");
    running.feed(&content[..2 * MIB]);
    wait::until_blocking("some of it is staged", BOUND, || staged(&server).iter().any(some));
    running.signal(Signal::INT);
    let _ = running.wait(BOUND).exit(130).says("nothing was published");
    assert_absent(&server, "part");
    wait_for_nothing_staged(&server);
}

#[test]
fn file_that_changes_while_it_is_sent_is_not_published() {
    let server = Server::start(Setup::default());
    let (_folder, path, _) = local(16 * MIB);
    let gate = Gate::before(server.address(), SOME, u64::MAX);
    let running = stopped_in_the_middle(&server, &gate, &path, &[]);
    File::options().append(true).open(&path).unwrap().write_all(b"more").unwrap();
    gate.open();
    let _ = running.wait(BOUND).exit(1).says("was changed while it was sent");
    assert_absent(&server, "f");
    // Its name is that of another upload now: what was sent of the old content is not mixed into the new one.
    let ended = put(&server, &path, &["f"]).run("").exit(0).json();
    assert_eq!(ended["resumed_at"], 0);
    assert_content(&server, "f", &fs::read(&path).unwrap());
}

#[test]
fn what_is_left_open_is_seen_by_nobody_until_it_is_published() {
    let server = Server::start(Setup::default());
    let (_folder, path, content) = local(3 * MIB);
    let left = put(&server, &path, &["f", "--leave-open"]).run("").exit(0).json();
    assert_eq!((&left["crc32c"], &left["size"]), (&hex(&content).into(), &content.len().into()));
    assert!(left["producer_epoch"].as_u64().unwrap() > 0 && left["generation"].is_null(), "{left}");
    assert_absent(&server, "f");
    let producer = left["producer_id"].as_str().unwrap();
    assert_eq!(kept(&server, "f", producer), Some(content.len() as u64));
    let ended = put(&server, &path, &["f"]).run("").exit(0).json();
    assert_eq!(ended["resumed_at"], content.len());
    assert_content(&server, "f", &content);
    let _ = Tool::at(&server, ["put", "-", "f", "--leave-open"]).run("x").exit(2).says("--producer");
}

#[test]
fn local_files_that_cannot_be_sent_are_named() {
    let server = Server::start(Setup::default());
    let (folder, path, _) = local(10);
    let _ = put(&server, &folder.path().join("none"), &["f"]).run("").exit(4).says("no such local file");
    let _ = put(&server, folder.path(), &["f"]).run("").exit(2).says("inkpot publish");
    let _ = put(&server, &path, &["../f"]).run("").exit(1).says("path \"../f\" is not valid");
    let _ = put(&server, &path, &["dir/"]).run("").exit(0);
    assert_content(&server, "dir/local.bin", &bytes(10));
}
