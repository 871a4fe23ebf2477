//! Plain files that another program put there or changed, and that are taken as they are.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::{AdoptRequest, AdoptResponse, ErrorReason as Reason, FileInfo, SealRequest, StatRequest};
use inkpot_tests::{
    Server, Setup,
    harness::{
        assert_refused,
        files::content,
        session::{open_as, unary},
        wait,
    },
};
use std::{
    fs,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
    process::Command,
    time::Duration,
};
use tonic::{Code, Status};

const BOUND: Duration = Duration::from_secs(30);

fn one(path: &str) -> AdoptRequest {
    AdoptRequest { path: path.to_owned(), ..AdoptRequest::default() }
}

fn tree(path: &str) -> AdoptRequest {
    AdoptRequest { recursive: true, ..one(path) }
}

async fn adopt(server: &Server, request: AdoptRequest) -> Result<AdoptResponse, Status> {
    Ok(server.files().adopt(request).await?.into_inner())
}

async fn stat(server: &Server, path: &str) -> Result<FileInfo, Status> {
    let answer = server.files().stat(StatRequest { path: path.to_owned() }).await?;
    Ok(answer.into_inner().file.unwrap())
}

async fn read(server: &Server, path: &str) -> String {
    String::from_utf8(content(server, path).await.unwrap()).unwrap()
}

async fn write(server: &Server, path: &str, data: &str) -> Result<(), Status> {
    server.client().append(unary(path, data)).await.map(|_| ())
}

/// Puts a file below the root of the tenant, as another program would.
fn put(server: &Server, path: &str, data: &str) {
    let plain = server.plain(path);
    fs::create_dir_all(plain.parent().unwrap()).unwrap();
    fs::write(plain, data).unwrap();
}

async fn applied(server: &Server, path: &str, data: &str) {
    let plain = server.plain(path);
    let is_there = || fs::read_to_string(&plain).is_ok_and(|found| found == data);
    wait::until("the plain file has it", BOUND, is_there).await;
}

fn add(file: &Path, data: &str) {
    fs::OpenOptions::new().append(true).open(file).unwrap().write_all(data.as_bytes()).unwrap();
}

#[tokio::test]
async fn file_that_was_put_there_is_taken_as_it_is_and_goes_on() {
    let mut server = Server::start(Setup::default());
    put(&server, "in/app.log", "theirs\n");
    let plain = server.plain("in/app.log");
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o604)).unwrap();
    let inode = fs::metadata(&plain).unwrap().ino();
    let refused = write(&server, "in/app.log", "ours\n").await.unwrap_err();
    assert_refused(&refused, Code::FailedPrecondition, Reason::ForeignChange);
    let done = adopt(&server, one("in/app.log")).await.unwrap();
    assert_eq!((done.adopted, done.adopted_bytes, done.not_adopted.len()), (1, 7, 0));
    let info = stat(&server, "in/app.log").await.unwrap();
    assert_eq!((info.size, info.applied_size, info.crc32c), (7, 7, Some(crc32c::crc32c(b"theirs\n"))));
    assert!(info.generation > 0 && !info.foreign_change);
    write(&server, "in/app.log", "ours\n").await.unwrap();
    applied(&server, "in/app.log", "theirs\nours\n").await;
    let found = fs::metadata(&plain).unwrap();
    assert_eq!((found.ino(), found.mode() & 0o777), (inode, 0o604), "it is the same file, with its own mode");
    server.restart();
    assert_eq!(read(&server, "in/app.log").await, "theirs\nours\n");
    assert_eq!(stat(&server, "in/app.log").await.unwrap().generation, info.generation);
}

#[tokio::test]
async fn changed_file_is_taken_as_a_new_generation_and_open_channels_are_told() {
    let server = Server::start(Setup::default());
    let mut session = server.session().await;
    session.opened(open_as(1, "app.log", "p", 1)).await;
    let before = session.write(1, 1, "ours\n").await.unwrap().generation;
    applied(&server, "app.log", "ours\n").await;
    add(&server.plain("app.log"), "theirs\n");
    let done = adopt(&server, one("app.log")).await.unwrap();
    assert_eq!((done.adopted, done.adopted_bytes), (1, 12), "{done:?}");
    let nack = session.write(1, 2, "more\n").await.unwrap_err();
    assert_eq!(nack.reason(), Reason::GenerationChanged);
    let opened = session.opened(open_as(2, "app.log", "p", 1)).await;
    assert_eq!((opened.last_seq, opened.next_offset), (1, 12), "its producers are still known");
    assert_ne!(opened.generation, before);
    session.write(2, 2, "more\n").await.unwrap();
    applied(&server, "app.log", "ours\ntheirs\nmore\n").await;
    assert_eq!(adopt(&server, one("app.log")).await.unwrap(), AdoptResponse::default(), "it is ours again");
}

#[tokio::test]
async fn acknowledged_bytes_that_were_put_aside_are_given_up() {
    let server = Server::start(Setup::default().config("[checkpoint]\ninterval = '50ms'"));
    let mut session = server.session().await;
    session.opened(open_as(1, "app.log", "p", 1)).await;
    session.write(1, 1, "ours\n").await.unwrap();
    applied(&server, "app.log", "ours\n").await;
    fs::remove_file(server.plain("app.log")).unwrap();
    put(&server, "app.log", "theirs\n");
    // Acknowledged before the change is noticed, or refused.
    let _ = session.write(1, 2, "more\n").await;
    let done = adopt(&server, one("app.log")).await.unwrap();
    assert_eq!((done.adopted, done.adopted_bytes), (1, 7));
    assert_eq!(read(&server, "app.log").await, "theirs\n");
    write(&server, "app.log", "after\n").await.unwrap();
    applied(&server, "app.log", "theirs\nafter\n").await;
    let shards = server.data_dir().join("shards");
    let parked = |shard: fs::DirEntry| fs::read_dir(shard.path().join("parked")).unwrap().count();
    let count = || fs::read_dir(&shards).unwrap().map(|shard| parked(shard.unwrap())).sum::<usize>();
    wait::until("nothing is put aside any more", BOUND, || count() == 0).await;
}

#[tokio::test]
async fn whole_tree_is_taken_in_pages_and_what_cannot_be_is_named() {
    let server = Server::start(Setup::default());
    write(&server, "ours/app.log", "ours\n").await.unwrap();
    applied(&server, "ours/app.log", "ours\n").await;
    for number in 0..7 {
        put(&server, &format!("tree/{number}/file"), "12345");
    }
    put(&server, "tree/linked", "twice");
    fs::hard_link(server.plain("tree/linked"), server.plain("tree/linked-too")).unwrap();
    symlink("linked", server.plain("tree/symlink")).unwrap();
    put(&server, "tree/.inkpot-name", "not a valid name");
    let fifo = Command::new("mkfifo").arg(server.plain("tree/fifo")).status().unwrap();
    assert!(fifo.success());
    let (mut adopted, mut bytes, mut not_adopted, mut calls, mut token) = (0, 0, Vec::new(), 0, String::new());
    loop {
        let page = AdoptRequest { max_files: 5, page_token: token.clone(), ..tree("") };
        let page = adopt(&server, page).await.unwrap();
        adopted += page.adopted;
        bytes += page.adopted_bytes;
        not_adopted.extend(page.not_adopted);
        calls += 1;
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!((adopted, bytes, calls), (7, 35, 3), "13 things to look at");
    let why: Vec<_> = not_adopted.iter().map(|not| (not.path.as_str(), not.why.as_str())).collect();
    let paths: Vec<_> = why.iter().map(|(path, _)| *path).collect();
    assert_eq!(paths, ["tree/.inkpot-name", "tree/fifo", "tree/linked", "tree/linked-too", "tree/symlink"]);
    let words = ["not valid", "no regular file", "hard link", "hard link", "symbolic link"];
    assert!(why.iter().zip(words).all(|((_, why), word)| why.contains(word)), "{why:?}");
    assert_eq!(read(&server, "tree/3/file").await, "12345");
    let again = adopt(&server, tree("tree/3")).await.unwrap();
    assert_eq!(again, AdoptResponse::default(), "what is ours is not counted");
}

#[tokio::test]
async fn compressed_file_of_ours_is_left_alone() {
    let policy = "[keeper]\ninterval = '20ms'\n[[tenant_defaults.policies]]\npattern = '**'\ncompress = true";
    let mut server = Server::start(Setup::default().config(policy));
    let data = "a line that is written often\n".repeat(100);
    write(&server, "app.log", &data).await.unwrap();
    server.files().seal(SealRequest { path: "app.log".to_owned(), ..SealRequest::default() }).await.unwrap();
    let is_done = async || stat(&server, "app.log").await.unwrap().compressed;
    wait::until_async("it is compressed", BOUND, is_done).await;
    for restarted in [false, true] {
        if restarted {
            assert!(server.terminate().success());
            server.restart();
        }
        assert_eq!(adopt(&server, tree("")).await.unwrap(), AdoptResponse::default());
        assert_eq!(adopt(&server, one("app.log.zst")).await.unwrap(), AdoptResponse::default());
        assert_eq!(read(&server, "app.log").await, data);
    }
    let plain = server.plain("app.log.zst");
    add(&plain, "rubbish");
    let changed = adopt(&server, tree("")).await.unwrap();
    assert_eq!(changed.not_adopted.len(), 1, "{changed:?}");
    assert!(changed.not_adopted[0].why.contains("compressed"), "{changed:?}");
}

#[tokio::test]
async fn file_that_was_moved_by_hand_is_taken_where_it_is() {
    for restarted in [false, true] {
        let mut server = Server::start(Setup::default());
        write(&server, "old", "ours\n").await.unwrap();
        applied(&server, "old", "ours\n").await;
        if restarted {
            assert!(server.terminate().success());
            server.restart();
        }
        fs::rename(server.plain("old"), server.plain("new")).unwrap();
        let done = adopt(&server, one("new")).await.unwrap();
        assert_eq!((done.adopted, done.adopted_bytes), (1, 5), "{done:?}");
        write(&server, "new", "more\n").await.unwrap();
        applied(&server, "new", "ours\nmore\n").await;
        let refused = write(&server, "old", "lost\n").await.unwrap_err();
        assert_refused(&refused, Code::FailedPrecondition, Reason::ForeignChange);
        assert_eq!(read(&server, "new").await, "ours\nmore\n");
    }
}

#[tokio::test]
async fn requests_that_lead_nowhere_are_refused() {
    let server = Server::start(Setup::default());
    put(&server, "dir/file", "12345");
    let cases = [
        (one(""), Code::InvalidArgument, Reason::InvalidField),
        (one("../x"), Code::InvalidArgument, Reason::InvalidPath),
        (one("nothing"), Code::NotFound, Reason::FileNotFound),
        (one("dir"), Code::FailedPrecondition, Reason::IsADirectory),
        (AdoptRequest { max_files: 10_001, ..tree("") }, Code::InvalidArgument, Reason::InvalidField),
        (AdoptRequest { page_token: "x".to_owned(), ..tree("") }, Code::InvalidArgument, Reason::InvalidField),
    ];
    for (request, code, reason) in cases {
        let refused = adopt(&server, request).await.unwrap_err();
        assert_refused(&refused, code, reason);
    }
    let audited = server.data_dir().join("audit.log");
    assert!(!audited.exists());
    adopt(&server, tree("dir")).await.unwrap();
    let line: serde_json::Value = serde_json::from_str(fs::read_to_string(audited).unwrap().trim()).unwrap();
    assert_eq!((line["method"].as_str(), line["path"].as_str()), (Some("Adopt"), Some("dir/file")));
}
