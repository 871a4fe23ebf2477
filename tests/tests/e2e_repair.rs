//! `inkpotd --repair`: a shard whose log is damaged is opened again, giving up what was named, and nothing before it was.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::{CommitFilesRequest, ErrorReason as Reason, FinishAction, StatRequest, UploadPart};
use inkpot_tests::{
    Server, Setup,
    harness::{
        assert_refused,
        files::{content, folder_content, stat},
        operate::{Operation, delete},
        session::{finish, unary},
        tool::Tool,
        upload::{create_as, send_chunks},
        wait,
    },
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};
use tonic::Code;

const BOUND: Duration = Duration::from_secs(60);

/// One shard that makes no checkpoint while a test runs.
fn setup() -> Setup {
    shards("1")
}

fn shards(shards: &str) -> Setup {
    Setup::default().arg("--shards").arg(shards).config("[checkpoint]\ninterval = '1h'\nwal_bytes = '64MiB'")
}

async fn write(server: &Server, path: &str, data: &str) {
    server.client().append(unary(path, data)).await.unwrap();
    let plain = server.plain(path);
    wait::until("the plain file has it", BOUND, || {
        fs::read(&plain).is_ok_and(|found| found.ends_with(data.as_bytes()))
    })
    .await;
}

async fn read(server: &Server, path: &str) -> String {
    String::from_utf8(content(server, path).await.unwrap()).unwrap()
}

/// The segments of the log.
fn segments(data: &Path, shard: usize) -> Vec<PathBuf> {
    let mut found: Vec<_> = folder_content(&data.join(format!("shards/{shard:04}/wal"))).into_iter().collect();
    found.retain(|(_, bytes)| bytes.is_some());
    found.into_iter().map(|(path, _)| path).collect()
}

/// Flips a bit of these bytes, wherever they stand in the log; gives the segment.
fn flip(data: &Path, needle: &str) -> PathBuf {
    flip_in(data, 0, needle)
}

fn flip_in(data: &Path, shard: usize, needle: &str) -> PathBuf {
    for path in segments(data, shard) {
        let mut bytes = fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(needle.len()).position(|window| window == needle.as_bytes()) {
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            return path;
        }
    }
    panic!("{needle} is not in the log");
}

fn repair(data: &Path, yes: bool) -> (Output, String) {
    let setup = Setup::default().data_dir(data).arg("--repair");
    let ended = if yes { setup.arg("--yes") } else { setup }.run_to_end();
    let said = String::from_utf8(ended.stdout.clone()).unwrap();
    (ended, said)
}

#[track_caller]
fn ends_with(ended: &Output, code: i32) {
    let said = [&ended.stdout, &ended.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert_eq!(ended.status.code(), Some(code), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_log_is_cut_before_the_damage_and_its_shard_serves_again() {
    let mut server = Server::start(setup());
    write(&server, "kept", "before the damage\n").await;
    write(&server, "hit", "first\n").await;
    write(&server, "hit", "this one is hit\n").await;
    write(&server, "behind", "behind the damage\n").await;
    let put = ["put", "-", "upload", "--leave-open", "--producer", "u"];
    let _ = Tool::at(&server, put).run("acknowledged, and not published\n").exit(0);
    server.client().append(unary("last", "proves that the others were durable\n")).await.unwrap();
    server.kill9();
    let data = server.data_dir().to_owned();
    let damaged = flip(&data, "this one is hit\n");
    let rotten = fs::read(&damaged).unwrap();
    server.restart();
    let stat = StatRequest { path: "kept".into() };
    let refused = wait_for_damage(&server, stat.clone()).await;
    assert_refused(&refused, Code::DataLoss, Reason::Damaged);
    let in_use = repair(&data, true).0;
    ends_with(&in_use, 1);
    assert!(String::from_utf8_lossy(&in_use.stderr).contains("another inkpotd uses it"));
    assert!(server.terminate().success());

    let before = folder_content(&data);
    let (told, words) = repair(&data, false);
    ends_with(&told, 1);
    assert!(folder_content(&data) == before, "it only tells");
    let segment = damaged.strip_prefix(&data).unwrap().to_str().unwrap();
    for part in
        [segment, "is damaged at byte", "given up:", "\"behind\"", "\"last\"", "18 bytes", "nothing was changed"]
    {
        assert!(words.contains(part), "{part} is not in {words}");
    }
    assert!(!words.contains("\"kept\""), "{words}");

    let (done, words) = repair(&data, true);
    ends_with(&done, 0);
    assert!(words.contains("shard 0: repaired; what was given up is kept in shards/0000/repaired/1"), "{words}");
    let aside = data.join("shards/0000/repaired/1");
    let copies = folder_content(&aside);
    let has_copy = copies.values().any(|bytes| bytes.as_ref() == Some(&rotten));
    let is_upload = |bytes: &Option<Vec<u8>>| bytes.as_deref() == Some(b"acknowledged, and not published\n");
    assert!(copies.values().any(is_upload), "what only frames given up name is kept too: {:?}", copies.keys());
    assert!(has_copy && aside.join("catalog").exists(), "{:?}", copies.keys());
    assert!(fs::read_to_string(aside.join("report.txt")).unwrap().contains("given up:"));
    ends_with(&repair(&data, true).0, 0);

    server.restart();
    assert_eq!(read(&server, "kept").await, "before the damage\n");
    server.client().append(unary("kept", "and goes on\n")).await.unwrap();
    assert_eq!(read(&server, "kept").await, "before the damage\nand goes on\n");
    // The log knows less than the plain files have: nothing is overwritten, and adopting brings all of it back.
    let at = |args: &[&str]| Tool::at(&server, args).run("");
    for path in ["hit", "behind"] {
        let refused = server.client().append(unary(path, "more\n")).await.unwrap_err();
        assert_refused(&refused, Code::FailedPrecondition, Reason::ForeignChange);
    }
    let named = at(&["verify"]).exit(1).text();
    assert!(named.contains("hit: changed") && !named.contains("kept: "), "{named}");
    assert!(named.contains("behind: unknown: the service has no such file"), "{named}");
    let _ = at(&["adopt", "-r"]).exit(0);
    assert_eq!(read(&server, "hit").await, "first\nthis one is hit\n");
    assert_eq!(read(&server, "behind").await, "behind the damage\n");
    let _ = at(&["verify"]).exit(0);
    server.client().append(unary("hit", "more\n")).await.unwrap();
    assert!(server.terminate().success());
    server.restart();
    assert_eq!(read(&server, "hit").await, "first\nthis one is hit\nmore\n");
    assert!(aside.join("report.txt").exists(), "a server leaves the copies alone");
}

async fn wait_for_damage(server: &Server, stat: StatRequest) -> tonic::Status {
    let mut found = None;
    wait::until_async("the shard says why it is closed", BOUND, async || {
        let refused = server.files().stat(stat.clone()).await.expect_err("the shard must not open");
        let is_damage = refused.code() == Code::DataLoss;
        found = Some(refused);
        is_damage
    })
    .await;
    found.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_log_is_lost_altogether_the_last_checkpoint_is_what_is_kept() {
    let mut server = Server::start(setup());
    write(&server, "old", "in the checkpoint\n").await;
    assert!(server.terminate().success());
    server.restart();
    write(&server, "new", "only in the log\n").await;
    server.kill9();
    let data = server.data_dir().to_owned();
    for path in segments(&data, 0) {
        let mut bytes = fs::read(&path).unwrap();
        bytes[..64].fill(0);
        fs::write(&path, bytes).unwrap();
    }
    let before = folder_content(&data);
    let (told, words) = repair(&data, false);
    ends_with(&told, 1);
    assert!(words.contains("nothing of the log"), "{words}");
    assert!(folder_content(&data) == before);
    let (done, _) = repair(&data, true);
    ends_with(&done, 0);
    for _ in 0..2 {
        server.restart();
        assert_eq!(read(&server, "old").await, "in the checkpoint\n");
    }
    assert_eq!(fs::read_to_string(server.plain("new")).unwrap(), "only in the log\n", "nothing is removed");
    let _ = Tool::at(&server, ["adopt", "new"]).run("").exit(0);
    assert_eq!(read(&server, "new").await, "only in the log\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_folder_is_left_alone_and_a_damaged_catalog_is_said_to_be_beyond_repair() {
    let mut server = Server::start(setup());
    write(&server, "f", "x\n").await;
    server.kill9();
    let data = server.data_dir().to_owned();
    let before = folder_content(&data);
    for yes in [false, true] {
        let (whole, words) = repair(&data, yes);
        ends_with(&whole, 0);
        assert!(words.contains("shard 0: its log and its catalog can be read"), "{words}");
        assert!(folder_content(&data) == before);
    }
    fs::write(data.join("shards/0000/catalog"), vec![7; 4096]).unwrap();
    let before = folder_content(&data);
    for yes in [false, true] {
        let (beyond, words) = repair(&data, yes);
        ends_with(&beyond, 1);
        assert!(words.contains("A catalog cannot be made again") && words.contains("inkpot adopt -r"), "{words}");
        assert!(folder_content(&data) == before);
    }
    let home = tempfile::tempdir().unwrap();
    let missing = home.path().join("no-such-folder");
    ends_with(&repair(&missing, true).0, 1);
    assert!(!missing.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn upload_whose_publishing_is_given_up_is_no_file_and_its_content_can_be_adopted() {
    const CONTENT: &str = "published behind the damage\n";
    let mut server = Server::start(setup());
    let uploads = vec![upload(&server, "upload", CONTENT).await];
    write(&server, "hit", "this one is hit\n").await;
    let set = || CommitFilesRequest { uploads: uploads.clone() };
    server.files().commit_files(set()).await.unwrap();
    assert_eq!(read(&server, "upload").await, CONTENT);
    server.client().append(unary("last", "proves that the others were durable\n")).await.unwrap();
    server.kill9();
    let data = server.data_dir().to_owned();
    flip(&data, "this one is hit\n");
    let (told, words) = repair(&data, false);
    ends_with(&told, 1);
    assert!(words.contains("\"last\"") && words.contains("given up:"), "{words}");
    ends_with(&repair(&data, true).0, 0);
    server.restart();
    let gone = server.files().stat(StatRequest { path: "upload".into() }).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound, "{gone}");
    // What was done to names behind the damage stays: nothing is overwritten, and what was published can be adopted.
    let refused = server.files().commit_files(set()).await.unwrap_err();
    assert_refused(&refused, Code::FailedPrecondition, Reason::ForeignChange);
    let named = Tool::at(&server, ["verify", "up"]).run("").exit(0).text();
    assert!(named.contains("upload: unknown"), "{named}");
    let _ = Tool::at(&server, ["adopt", "upload"]).run("").exit(0);
    assert_eq!(read(&server, "upload").await, CONTENT);
    let _ = Tool::at(&server, ["verify"]).run("").exit(0);
    let again = upload(&server, "next", CONTENT).await;
    server.files().commit_files(CommitFilesRequest { uploads: vec![again] }).await.unwrap();
    assert_eq!(read(&server, "next").await, CONTENT, "publishing goes on");
}

/// Sends an upload and leaves it.
async fn upload(server: &Server, path: &str, content: &str) -> UploadPart {
    let mut session = server.session().await;
    session.opened(create_as(1, path, "p", 1)).await;
    send_chunks(&mut session, 1, 1, [content.as_bytes()]).await.unwrap();
    session.end(finish(1, FinishAction::LeaveOpen)).await.unwrap();
    let (path, producer_id) = (path.to_owned(), "p".to_owned());
    UploadPart { path, producer_id, producer_epoch: 1, size: None, crc32c: None }
}

/// Paths that begin so and have no file, one in each of two shards; found by asking where files are.
async fn paths_by_shard(server: &Server, begin: &str) -> [String; 2] {
    let mut found = [None, None];
    for n in 0.. {
        let path = format!("{begin}{n}");
        server.client().append(unary(&path, "x")).await.unwrap();
        let shard = stat(server, &path).await.unwrap().shard;
        delete(&path).on(server).await.unwrap();
        found[shard as usize].get_or_insert(path);
        if let [Some(first), Some(second)] = &found {
            return [first.clone(), second.clone()];
        }
    }
    unreachable!("paths are spread over shards")
}

/// Publishes new files at these paths at once.
async fn publish(server: &Server, paths: &[String; 2], content: &str) {
    let mut uploads = Vec::new();
    for path in paths {
        uploads.push(upload(server, path, content).await);
    }
    server.files().commit_files(CommitFilesRequest { uploads }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn set_of_which_one_shard_is_cut_hangs_nowhere_and_the_other_shard_keeps_its_part() {
    const CONTENT: &str = "in a set\n";
    for hit in 0..2_usize {
        let mut server = Server::start(shards("2"));
        let (set, marks) = (paths_by_shard(&server, "set").await, paths_by_shard(&server, "mark").await);
        write(&server, &marks[hit], "this one is hit\n").await;
        publish(&server, &set, CONTENT).await;
        for mark in &marks {
            server.client().append(unary(mark, "proves that the others were durable\n")).await.unwrap();
        }
        server.kill9();
        let data = server.data_dir().to_owned();
        flip_in(&data, hit, "this one is hit\n");
        let (told, words) = repair(&data, false);
        ends_with(&told, 1);
        let whole = format!("shard {}: its log and its catalog can be read", 1 - hit);
        assert!(words.contains("steps of sets") && words.contains(&whole), "{words}");
        ends_with(&repair(&data, true).0, 0);
        server.restart();
        wait::until_async("nothing of the set is undecided", BOUND, async || {
            let [cut, other] = [hit, 1 - hit].map(|shard| StatRequest { path: set[shard].clone() });
            let (cut, other) = (server.files().stat(cut).await, server.files().stat(other).await);
            cut.is_err_and(|status| status.code() == Code::NotFound) && other.is_ok()
        })
        .await;
        assert_eq!(read(&server, &set[1 - hit]).await, CONTENT);
        let _ = Tool::at(&server, ["adopt", &set[hit]]).run("").exit(0);
        assert_eq!(read(&server, &set[hit]).await, CONTENT, "its plain file was left as it was");
        let next = paths_by_shard(&server, "next").await;
        publish(&server, &next, CONTENT).await;
        assert_eq!(read(&server, &next[hit]).await, CONTENT, "sets go on");
    }
}
