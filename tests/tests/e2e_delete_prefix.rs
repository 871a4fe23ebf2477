//! Files and uploads that are removed by the prefix of their paths, and what the audit log tells of that.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::{
    DeletePrefixRequest, DeletePrefixResponse, DeleteRequest, ErrorReason as Reason, Finish, FinishAction, ListRequest,
    Mode, Open, RenameRequest, SealRequest, StatRequest, TruncateRequest, write_request,
};
use inkpot_tests::{
    Server, Setup,
    harness::{
        assert_refused,
        session::{open_as, unary},
        wait,
    },
};
use std::{fs, time::Duration};
use tonic::{Code, Status};

const BOUND: Duration = Duration::from_secs(30);

fn below(prefix: &str, max_files: u32, page_token: &str) -> DeletePrefixRequest {
    DeletePrefixRequest { prefix: prefix.to_owned(), max_files, page_token: page_token.to_owned() }
}

async fn delete(server: &Server, request: DeletePrefixRequest) -> Result<DeletePrefixResponse, Status> {
    Ok(server.files().delete_prefix(request).await?.into_inner())
}

async fn write(server: &Server, path: &str, data: &str) {
    server.client().append(unary(path, data)).await.unwrap();
}

async fn paths(server: &Server) -> Vec<String> {
    let files = server.files().list(ListRequest::default()).await.unwrap().into_inner().files;
    files.into_iter().map(|file| file.path).collect()
}

fn upload(channel: u32, path: &str) -> Open {
    Open { mode: Mode::Create.into(), ..open_as(channel, path, "p", 1) }
}

/// The audit log, line by line, without the times.
fn audit(server: &Server) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(server.data_dir().join("audit.log")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let without_time = |mut line: serde_json::Value| {
        let time = line.as_object_mut().unwrap().remove("time").unwrap();
        assert!(time.as_str().is_some_and(|time| time.len() == 24 && time.ends_with('Z')), "{time}");
        line
    };
    lines.map(without_time).collect()
}

#[tokio::test]
async fn files_below_a_prefix_go_page_by_page_and_others_stay() {
    let server = Server::start(Setup::default());
    for number in 0..25 {
        write(&server, &format!("logs/{number:02}/app.log"), "12345").await;
    }
    write(&server, "logs-of-others/app.log", "1").await;
    write(&server, "other", "1").await;
    let (mut deleted, mut bytes, mut calls, mut token) = (0, 0, 0, String::new());
    loop {
        let page = delete(&server, below("logs/", 10, &token)).await.unwrap();
        assert!(page.deleted <= 10);
        deleted += page.deleted;
        bytes += page.deleted_bytes;
        calls += 1;
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!((deleted, bytes, calls), (25, 125, 3));
    assert_eq!(paths(&server).await, ["logs-of-others/app.log", "other"]);
    let nothing = delete(&server, below("logs/", 0, "")).await.unwrap();
    assert_eq!(nothing, DeletePrefixResponse::default());
    assert!(!server.plain("logs").exists(), "directories that are empty go too");
    let lines = audit(&server);
    assert_eq!(lines.len(), 25);
    assert!(lines.iter().all(|line| line["method"] == "DeletePrefix" && line["outcome"] == "OK" && line["size"] == 5));
}

#[tokio::test]
async fn what_another_program_changed_is_not_deleted_and_ends_the_call_after_the_rest() {
    let server = Server::start(Setup::default());
    for path in ["a/1", "a/2", "a/3"] {
        write(&server, path, "12345").await;
    }
    let plain = server.plain("a/2");
    wait::until("the plain file has it", BOUND, || fs::read(&plain).is_ok_and(|found| found == b"12345")).await;
    fs::write(&plain, "theirs").unwrap();
    let refused = delete(&server, below("a/", 0, "")).await.unwrap_err();
    assert_refused(&refused, Code::FailedPrecondition, Reason::ForeignChange);
    assert!(refused.message().contains("2 files of 10 bytes were removed"), "{refused}");
    assert_eq!(paths(&server).await, ["a/2"]);
    assert_eq!(fs::read_to_string(plain).unwrap(), "theirs");
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_prefix_removes_everything_of_the_tenant_and_its_uploads_for_good() {
    let setup = Setup::default().token("one", "first-token-of-the-test").token("two", "second-token-of-the-test");
    let mut server = Server::start(setup);
    for path in ["a", "b/c"] {
        write(&server, path, "12345").await;
    }
    let mut theirs = server.client_as(Some("second-token-of-the-test"));
    theirs.append(unary("a", "of two")).await.unwrap();
    let mut session = server.session().await;
    session.opened(upload(1, "new/open")).await;
    session.write(1, 1, "an open upload").await.unwrap();
    session.opened(upload(2, "new/left")).await;
    session.write(2, 1, "a left one").await.unwrap();
    let action = FinishAction::LeaveOpen.into();
    session.frame(write_request::Frame::Finish(Finish { channel: 2, action, ..Finish::default() })).await;
    session.ping(1).await;
    let done = delete(&server, below("", 0, "")).await.unwrap();
    assert_eq!((done.deleted, done.deleted_bytes, done.next_page_token.as_str()), (2, 10, ""));
    let nack = session.write(1, 2, "more").await.unwrap_err();
    assert_eq!(nack.reason(), Reason::UploadNotFound);
    for restarted in [false, true] {
        if restarted {
            drop(session);
            assert!(server.terminate().success());
            server.restart();
            session = server.session().await;
        } else {
            session = server.session().await;
        }
        assert_eq!(paths(&server).await, [""; 0]);
        let opened = session.opened(upload(3, "new/left")).await;
        assert_eq!((opened.upload, opened.next_offset), (true, 0), "nothing of it is left");
        session
            .frame(write_request::Frame::Finish(Finish {
                channel: 3,
                action: FinishAction::Abort.into(),
                ..Finish::default()
            }))
            .await;
        session.ping(2).await;
    }
    let mut files = server.files_as(Some("second-token-of-the-test"));
    let info = files.stat(StatRequest { path: "a".to_owned() }).await.unwrap().into_inner().file.unwrap();
    assert_eq!(info.size, 6, "what other tenants have stays");
}

#[tokio::test]
async fn requests_that_break_the_rules_are_refused() {
    let server = Server::start(Setup::default());
    for request in
        [below("a\n", 0, ""), below("a", 10_001, ""), below("a", 0, "no token"), below(&"a".repeat(1025), 0, "")]
    {
        let refused = delete(&server, request).await.unwrap_err();
        assert_refused(&refused, Code::InvalidArgument, Reason::InvalidField);
    }
}

#[tokio::test]
async fn audit_log_has_a_line_for_each_call_that_took_content_away() {
    let server = Server::start(Setup::default());
    for path in ["a", "b", "c"] {
        write(&server, path, "12345").await;
    }
    let mut files = server.files();
    let generation = |path: &str| StatRequest { path: path.to_owned() };
    let of = files.stat(generation("a")).await.unwrap().into_inner().file.unwrap().generation;
    files.delete(DeleteRequest { path: "a".to_owned(), ..DeleteRequest::default() }).await.unwrap();
    files.delete(DeleteRequest { path: "a".to_owned(), ..DeleteRequest::default() }).await.unwrap_err();
    files.truncate(TruncateRequest { path: "b".to_owned(), size: 2, ..TruncateRequest::default() }).await.unwrap();
    files.seal(SealRequest { path: "b".to_owned(), ..SealRequest::default() }).await.unwrap();
    let lines = audit(&server);
    let seen = |line: &serde_json::Value| {
        ["tenant", "method", "path", "outcome"].map(|name| line[name].as_str().unwrap().to_owned()).join(" ")
    };
    let expected = ["default Delete a OK", "default Delete a FILE_NOT_FOUND", "default Truncate b OK"];
    assert_eq!(lines.iter().map(seen).collect::<Vec<_>>(), expected);
    assert_eq!((lines[0]["generation"].as_u64(), lines[0]["size"].as_u64()), (Some(of), Some(5)));
    assert_eq!((lines[2]["size"].as_u64(), lines[1].get("size")), (Some(2), None));
    let (from, to) = ("b".to_owned(), "c".to_owned());
    if files.rename(RenameRequest { from, to, replace: true, ..RenameRequest::default() }).await.is_ok() {
        assert_eq!(seen(audit(&server).last().unwrap()), "default Rename b OK");
    }
}
