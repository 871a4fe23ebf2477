//! Plain files that another program deletes, changes or replaces: the server notices, refuses to append, and overwrites
//! nothing.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::{AppendRequest, ErrorReason as Reason, StatRequest};
use inkpot_tests::{
    Server, Setup,
    harness::{
        assert_nack, assert_refused,
        session::{append, open_as, unary},
        wait,
    },
};
use std::{
    fs,
    io::Write as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};
use tonic::Code;

const BOUND: Duration = Duration::from_secs(30);
const OURS: &str = "line 1\nline 2\n";

/// What the other program does to a file that holds [`OURS`].
struct Change {
    name: &'static str,
    reason: Reason,
    make: fn(&Path, &Path),
}

const CHANGES: [Change; 9] = [
    Change { name: "deleted", reason: Reason::ForeignChange, make: |file, _| fs::remove_file(file).unwrap() },
    Change { name: "emptied", reason: Reason::ForeignChange, make: |file, _| cut(file, 0) },
    Change { name: "cut", reason: Reason::ForeignChange, make: |file, _| cut(file, 7) },
    Change { name: "longer", reason: Reason::ForeignChange, make: |file, _| add(file, "theirs\n") },
    Change { name: "overwritten", reason: Reason::ForeignChange, make: |file, _| overwrite(file) },
    Change {
        name: "replaced",
        reason: Reason::ForeignChange,
        make: |file, beside| {
            fs::write(beside, OURS).unwrap();
            fs::rename(beside, file).unwrap();
        },
    },
    Change {
        name: "hard-linked",
        reason: Reason::NotAPlainFile,
        make: |file, beside| fs::hard_link(file, beside).unwrap(),
    },
    Change {
        name: "symlink",
        reason: Reason::Symlink,
        make: |file, beside| {
            fs::rename(file, beside).unwrap();
            symlink(beside, file).unwrap();
        },
    },
    Change {
        name: "directory",
        reason: Reason::IsADirectory,
        make: |file, _| {
            fs::remove_file(file).unwrap();
            fs::create_dir(file).unwrap();
        },
    },
];

fn cut(file: &Path, len: u64) {
    fs::OpenOptions::new().write(true).open(file).unwrap().set_len(len).unwrap();
}

fn add(file: &Path, bytes: &str) {
    fs::OpenOptions::new().append(true).open(file).unwrap().write_all(bytes.as_bytes()).unwrap();
}

fn overwrite(file: &Path) {
    fs::OpenOptions::new().write(true).open(file).unwrap().write_all(b"LINE").unwrap();
}

/// What is at the place now.
#[derive(Debug, PartialEq)]
enum Seen {
    Nothing,
    Directory,
    Link(PathBuf),
    File(String),
}

fn seen(file: &Path) -> Seen {
    let Ok(metadata) = fs::symlink_metadata(file) else { return Seen::Nothing };
    if metadata.is_symlink() {
        Seen::Link(fs::read_link(file).unwrap())
    } else if metadata.is_dir() {
        Seen::Directory
    } else {
        Seen::File(fs::read_to_string(file).unwrap())
    }
}

async fn applied(server: &Server, path: &str, expected: &str) -> PathBuf {
    let plain = server.plain(path);
    wait::until_async("the plain file is as it was left", BOUND, async || {
        let info = server.files().stat(StatRequest { path: path.to_owned() }).await.unwrap().into_inner().file.unwrap();
        info.applied_size == expected.len() as u64 && fs::read(&plain).is_ok_and(|b| b == expected.as_bytes())
    })
    .await;
    plain
}

/// The refusal may be more exact than "another program changed it", and never less.
fn is_refusal(found: Reason, exact: Reason) -> bool {
    found == Reason::ForeignChange || found == exact
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_plain_file_is_not_opened_for_writing_and_is_left_as_it_is() {
    for stopped in [false, true] {
        let mut server = Server::start(Setup::default());
        for change in &CHANGES {
            let mut session = server.session().await;
            session.opened(open_as(1, change.name, "p", 1)).await;
            session.write(1, 1, "line 1\n").await.unwrap();
            session.write(1, 2, "line 2\n").await.unwrap();
            session.finish(1).await.unwrap();
            applied(&server, change.name, OURS).await;
        }
        if stopped {
            assert!(server.terminate().success());
        }
        let outside = tempfile::tempdir_in(server.data_dir().parent().unwrap()).unwrap();
        for change in &CHANGES {
            (change.make)(&server.plain(change.name), &outside.path().join(change.name));
        }
        if stopped {
            server.restart();
        }
        let mut session = server.session().await;
        for (channel, change) in (1..).zip(&CHANGES) {
            println!("{}, while stopped: {stopped}", change.name);
            let before = seen(&server.plain(change.name));
            let nack = session.open(open_as(channel, change.name, "p", 1)).await.expect_err(change.name);
            assert!(is_refusal(nack.reason(), change.reason), "{nack:?}");
            assert_nack(&nack, channel, 0, inkpot_proto::error::code(nack.reason()), nack.reason());
            let call =
                AppendRequest { producer_id: "p".into(), producer_epoch: 1, seq: 3, ..unary(change.name, "line 3\n") };
            let status = server.client().append(call).await.expect_err(change.name);
            assert_refused(&status, inkpot_proto::error::code(nack.reason()), nack.reason());
            assert_eq!(seen(&server.plain(change.name)), before);
        }
        session.opened(open_as(77, "untouched", "p", 1)).await;
        session.write(77, 1, "goes on\n").await.unwrap();
        applied(&server, "untouched", "goes on\n").await;
    }
}

#[tokio::test]
async fn open_channel_notices_the_change_and_overwrites_nothing() {
    // A file that was only moved is noticed when the server looks for it by name: at a checkpoint.
    let server = Server::start(Setup::default().config("[checkpoint]\ninterval = \"200ms\""));
    let outside = tempfile::tempdir_in(server.data_dir().parent().unwrap()).unwrap();
    for change in &CHANGES {
        println!("{}", change.name);
        let mut session = server.session().await;
        session.opened(open_as(1, change.name, "p", 1)).await;
        session.opened(open_as(2, &format!("beside-{}", change.name), "p", 1)).await;
        session.write(1, 1, "line 1\n").await.unwrap();
        session.write(1, 2, "line 2\n").await.unwrap();
        let plain = applied(&server, change.name, OURS).await;
        (change.make)(&plain, &outside.path().join(change.name));
        let before = seen(&plain);
        // What is acked in between is kept aside; nobody could know yet.
        let mut seq = 3;
        let mut nack = None;
        wait::until_async("the change is noticed", BOUND, async || {
            session.append(append(1, seq, "line\n")).await;
            match session.acked(1, seq).await {
                Ok(_) => seq += 1,
                Err(refused) => nack = Some(refused),
            }
            nack.is_some()
        })
        .await;
        let nack = nack.unwrap();
        assert_nack(&nack, 1, seq, Code::FailedPrecondition, Reason::ForeignChange);
        assert_eq!(seen(&plain), before, "{}", change.name);
        let info =
            server.files().stat(StatRequest { path: change.name.into() }).await.unwrap().into_inner().file.unwrap();
        assert!(info.foreign_change, "{info:?}");
        session.write(2, 1, "goes on\n").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn change_that_is_noticed_outlasts_a_stop_and_a_kill() {
    let mut server = Server::start(Setup::default());
    let call = |seq| AppendRequest { producer_id: "p".into(), producer_epoch: 1, seq, ..unary("f", "line\n") };
    server.client().append(call(1)).await.unwrap();
    let plain = applied(&server, "f", "line\n").await;
    add(&plain, "theirs\n");
    for stop in [true, false] {
        let status = server.client().append(call(2)).await.unwrap_err();
        assert_refused(&status, Code::FailedPrecondition, Reason::ForeignChange);
        if stop {
            assert!(server.terminate().success());
        }
        server.restart();
        assert_eq!(fs::read(&plain).unwrap(), b"line\ntheirs\n");
    }
    // As it was: it may be written again.
    cut(&plain, 5);
    let status = server.client().append(call(2)).await;
    if let Err(status) = status {
        assert_refused(&status, Code::FailedPrecondition, Reason::ForeignChange);
        assert_eq!(fs::read(&plain).unwrap(), b"line\n");
    }
}

#[tokio::test]
async fn folder_of_the_tenant_deleted_below_the_server_loses_no_other_file_and_no_server() {
    let server = Server::start(Setup::default());
    server.client().append(unary("dir/f", "line\n")).await.unwrap();
    applied(&server, "dir/f", "line\n").await;
    fs::remove_dir_all(server.plain("dir")).unwrap();
    let status = server.client().append(unary("dir/f", "line\n")).await.unwrap_err();
    assert_refused(&status, Code::FailedPrecondition, Reason::ForeignChange);
    assert!(!server.plain("dir/f").exists());
    server.client().append(unary("dir/new", "new\n")).await.unwrap();
    applied(&server, "dir/new", "new\n").await;
    server.client().append(unary("other", "x\n")).await.unwrap();
}
