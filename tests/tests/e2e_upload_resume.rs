//! Uploads that are left and taken up again: by a later session, after a kill, by a newer one while the older still
//! writes; and what has expired.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::{CommitFilesRequest, ErrorReason as Reason, Finish, FinishAction, Open, Opened, UploadPart};
use inkpot_tests::{
    Server, Setup,
    harness::{
        PATIENCE, assert_nack, assert_refused,
        files::{assert_absent, assert_content, staged_files, stat, write_state},
        operate::{Operation, seal, truncate},
        session::{append, finish, open_as, unary},
        upload::{bytes, create, create_as, replace_as, send_chunks},
        wait,
    },
};
use std::time::Duration;
use tonic::Code;

const PRECONDITION: Code = Code::FailedPrecondition;

fn resumes_at(opened: &Opened, last_seq: u64, next_offset: u64) {
    assert!(opened.upload && !opened.published, "{opened:?}");
    assert_eq!((opened.last_seq, opened.next_offset), (last_seq, next_offset), "{opened:?}");
}

/// How an upload is left.
#[derive(Clone, Copy, Debug)]
enum Left {
    Open,
    Vanished,
    Killed,
    Stopped,
}

#[tokio::test(flavor = "multi_thread")]
async fn upload_resumes_where_it_was_however_it_was_left() {
    for replaces in [false, true] {
        let mut server = Server::start(Setup::default().config("[checkpoint]\ninterval = \"300ms\""));
        server.client().append(unary("old", "old\n")).await.unwrap();
        let path = if replaces { "old" } else { "new" };
        let open = || if replaces { replace_as(1, path, "p", 1) } else { create_as(1, path, "p", 1) };
        let mut sent = Vec::new();
        let mut seq = 0;
        for left in [Left::Open, Left::Vanished, Left::Killed, Left::Open, Left::Stopped, Left::Killed] {
            println!("{left:?}, replaces: {replaces}");
            let mut session = server.session().await;
            let opened = session.opened(open()).await;
            resumes_at(&opened, seq, sent.len() as u64);
            assert_eq!(opened.epoch, 1);
            for _ in 0..3 {
                seq += 1;
                let chunk = bytes(seq, 10_000);
                session.write(1, seq, chunk.clone()).await.unwrap();
                sent.extend(chunk);
            }
            match left {
                Left::Open => {
                    let finished = session.end(finish(1, FinishAction::LeaveOpen)).await.unwrap();
                    assert_eq!((finished.size, finished.crc32c), (sent.len() as u64, crc32c::crc32c(&sent)));
                }
                Left::Vanished => drop(session),
                Left::Killed => {
                    server.kill9();
                    server.restart();
                }
                Left::Stopped => {
                    drop(session);
                    assert!(server.terminate().success());
                    server.restart();
                }
            }
            let state = write_state(&server, path, "p").await;
            assert!(state.upload && state.known, "{state:?}");
            assert_eq!((state.epoch, state.last_seq, state.next_offset), (1, seq, sent.len() as u64), "{state:?}");
            assert_eq!(state.generation, 0, "{state:?}");
            assert_eq!(
                (state.last_first_offset, state.last_end_offset),
                (Some(sent.len() as u64 - 10_000), Some(sent.len() as u64))
            );
            if replaces {
                assert_content(&server, path, b"old\n").await;
            } else {
                assert_absent(&server, path).await;
            }
        }
        let mut session = server.session().await;
        session.opened(open()).await;
        // What was sent before is known.
        let again = session.write(1, seq, bytes(seq, 10_000)).await.unwrap();
        assert_eq!((again.duplicates, again.end_offset), (1, Some(sent.len() as u64)), "{again:?}");
        session.append(append(1, seq, "other")).await;
        assert_nack(&session.nack(1).await, 1, seq, PRECONDITION, Reason::SequenceReused);
        session.append(append(1, seq + 2, "gap")).await;
        session.nack(1).await;
        session.write(1, seq + 1, "end").await.unwrap();
        sent.extend(b"end");
        let crc32c = Some(crc32c::crc32c(&sent));
        session.end(Finish { size: Some(sent.len() as u64), crc32c, ..finish(1, FinishAction::Commit) }).await.unwrap();
        assert_content(&server, path, &sent).await;
        let state = write_state(&server, path, "p").await;
        assert!(!state.upload && state.known && state.generation > 0, "{state:?}");
        server.kill9();
        server.restart();
        assert_content(&server, path, &sent).await;
        wait::until("staging is empty", PATIENCE, || staged_files(&server).is_empty()).await;
    }
}

#[tokio::test]
async fn leave_open_without_a_producer_is_refused() {
    let server = Server::start(Setup::default());
    let mut session = server.session().await;
    session.opened(create(1, "f")).await;
    session.write(1, 1, "chunk").await.unwrap();
    let nack = session.end(finish(1, FinishAction::LeaveOpen)).await.unwrap_err();
    assert_nack(&nack, 1, 0, Code::InvalidArgument, Reason::InvalidField);
    // The channel is still there.
    session.write(1, 2, " and more").await.unwrap();
    session.finish(1).await.unwrap();
    assert_content(&server, "f", b"chunk and more").await;
}

#[tokio::test]
async fn finish_again_tells_the_same_also_after_a_kill() {
    for replaces in [false, true] {
        let mut server = Server::start(Setup::default());
        if replaces {
            server.client().append(unary("f", "old\n")).await.unwrap();
        }
        let open = |epoch| if replaces { replace_as(1, "f", "p", epoch) } else { create_as(1, "f", "p", epoch) };
        let mut session = server.session().await;
        session.opened(open(3)).await;
        send_chunks(&mut session, 1, 1, [&b"one "[..], b"two"]).await.unwrap();
        let first = session.finish(1).await.unwrap();
        for between in ["nothing", "kill", "another session"] {
            println!("{between}, replaces: {replaces}");
            if between == "kill" {
                server.kill9();
                server.restart();
            }
            session = server.session().await;
            let opened = session.opened(open(3)).await;
            assert!(opened.upload && opened.published, "{opened:?}");
            assert_eq!(
                (opened.generation, opened.last_seq, opened.next_offset),
                (first.generation, 2, 7),
                "{opened:?}"
            );
            // Chunks of it are duplicates, others are refused.
            let again = session.write(1, 2, "two").await.unwrap();
            assert_eq!((again.duplicates, again.first_offset, again.end_offset), (1, Some(4), Some(7)), "{again:?}");
            session.append(append(1, 3, "three")).await;
            assert_nack(&session.nack(1).await, 1, 3, PRECONDITION, Reason::UploadFinished);
            let opened = session.open(open(3)).await;
            assert_nack(&opened.unwrap_err(), 1, 0, Code::InvalidArgument, Reason::ChannelInUse);
            session.end(finish(1, FinishAction::LeaveOpen)).await.unwrap();
            session.opened(open(3)).await;
            let crc32c = Some(crc32c::crc32c(b"one two"));
            let again = session.end(Finish { size: Some(7), crc32c, ..finish(1, FinishAction::Commit) }).await.unwrap();
            assert_eq!(again, first);
        }
        assert_content(&server, "f", b"one two").await;
        // Another epoch is another upload.
        let outcome = session.open(open(4)).await;
        if replaces {
            let opened = outcome.unwrap();
            assert!(opened.upload && !opened.published, "{opened:?}");
            session.write(1, 1, "new").await.unwrap();
            session.finish(1).await.unwrap();
            assert_content(&server, "f", b"new").await;
        } else {
            assert_nack(&outcome.unwrap_err(), 1, 0, Code::AlreadyExists, Reason::FileExists);
        }
    }
}

/// Found by the simulation (seeds 51483 and 53402): whoever had lost the answer was told that his upload had the size that
/// the file has by now.
#[tokio::test]
async fn finish_again_tells_what_was_published_whatever_became_of_the_file_since() {
    let mut server = Server::start(Setup::default());
    let content = b"0123456789";
    let commit = Finish {
        size: Some(content.len() as u64),
        crc32c: Some(crc32c::crc32c(content)),
        ..finish(1, FinishAction::Commit)
    };
    let set = vec![UploadPart {
        path: "f".to_owned(),
        producer_id: "p".to_owned(),
        producer_epoch: 1,
        size: commit.size,
        crc32c: commit.crc32c,
    }];
    let mut session = server.session().await;
    session.opened(create_as(1, "f", "p", 1)).await;
    send_chunks(&mut session, 1, 1, [&content[..4], &content[4..]]).await.unwrap();
    let first = session.end(commit).await.unwrap();
    for change in ["grown", "cut", "sealed", "restarted"] {
        match change {
            "grown" => _ = server.client().append(unary("f", "more")).await.unwrap(),
            "cut" => _ = truncate("f", 3).on(&server).await.unwrap(),
            "sealed" => _ = seal("f").on(&server).await.unwrap(),
            _ => {
                server.kill9();
                server.restart();
                session = server.session().await;
            }
        }
        println!("{change}");
        let opened = session.opened(create_as(1, "f", "p", 1)).await;
        assert!(opened.published, "{opened:?}");
        assert_eq!((opened.last_seq, opened.next_offset), (2, 10), "{opened:?}");
        let wrong = session.end(Finish { size: Some(11), ..commit }).await.unwrap_err();
        assert_nack(&wrong, 1, 0, Code::InvalidArgument, Reason::SizeMismatch);
        session.opened(create_as(1, "f", "p", 1)).await;
        let again = session.end(commit).await.unwrap();
        // What it was made of is no longer all that the file has: its checksum is not known any more.
        assert_eq!((again.generation, again.size, again.crc32c), (first.generation, 10, 0), "{again:?}");
        let answer = server.files().commit_files(CommitFilesRequest { uploads: set.clone() }).await.unwrap();
        assert_eq!(answer.into_inner().generations, [first.generation]);
    }
}

#[tokio::test]
async fn newer_open_of_the_producer_takes_the_upload_from_the_older_session() {
    let server = Server::start(Setup::default());
    for (path, epoch, holds) in [("same", 1, 1), ("higher", 5, 5), ("allotted", 0, 2)] {
        println!("{path}");
        let mut older = server.session().await;
        older.opened(create_as(1, path, "p", 1)).await;
        older.write(1, 1, "older ").await.unwrap();
        let mut newer = server.session().await;
        let opened = newer.opened(create_as(1, path, "p", epoch)).await;
        assert_eq!((opened.epoch, opened.next_offset, opened.upload), (holds, 6, true), "{opened:?}");
        if epoch != 1 {
            assert_eq!((opened.last_seq, opened.previous_epoch, opened.previous_last_seq), (0, 1, 1), "{opened:?}");
        }
        let nack = older.nack(1).await;
        assert_nack(&nack, 1, 0, PRECONDITION, Reason::ProducerFenced);
        assert_eq!(nack.current_epoch, Some(holds));
        older.append(append(1, 2, "too late")).await;
        assert_nack(&older.nack(1).await, 1, 2, PRECONDITION, Reason::ProducerFenced);
        for action in [FinishAction::Commit, FinishAction::Abort] {
            let nack = older.end(finish(1, action)).await.unwrap_err();
            assert!(matches!(nack.reason(), Reason::ProducerFenced | Reason::UnknownChannel), "{nack:?}");
        }
        assert_absent(&server, path).await;
        newer.write(1, opened.last_seq + 1, "newer").await.unwrap();
        newer.finish(1).await.unwrap();
        assert_content(&server, path, b"older newer").await;
    }
    // A lower epoch has no say.
    let mut session = server.session().await;
    session.opened(replace_as(1, "fenced", "p", 4)).await;
    let nack = session.open(replace_as(2, "fenced", "p", 3)).await.unwrap_err();
    assert_nack(&nack, 2, 0, PRECONDITION, Reason::ProducerFenced);
    assert_eq!(nack.current_epoch, Some(4));
}

#[tokio::test]
async fn abort_by_a_newer_session_leaves_the_older_without_its_upload() {
    let server = Server::start(Setup::default());
    let mut older = server.session().await;
    older.opened(create_as(1, "f", "p", 1)).await;
    older.write(1, 1, "older").await.unwrap();
    let mut newer = server.session().await;
    newer.opened(create_as(1, "f", "p", 1)).await;
    newer.end(finish(1, FinishAction::Abort)).await.unwrap();
    assert_nack(&older.nack(1).await, 1, 0, PRECONDITION, Reason::ProducerFenced);
    older.append(append(1, 2, "more")).await;
    assert_nack(&older.nack(1).await, 1, 2, Code::NotFound, Reason::UploadNotFound);
    let nack = older.end(finish(1, FinishAction::Commit)).await.unwrap_err();
    assert_nack(&nack, 1, 0, Code::NotFound, Reason::UploadNotFound);
    // Open begins anew.
    resumes_at(&newer.opened(create_as(1, "f", "p", 1)).await, 0, 0);
}

#[tokio::test]
async fn upload_goes_on_only_on_the_terms_it_was_begun_with() {
    let server = Server::start(Setup::default());
    server.client().append(unary("f", "x")).await.unwrap();
    let generation = stat(&server, "f").await.unwrap().generation;
    let mut session = server.session().await;
    session.opened(replace_as(1, "f", "p", 1)).await;
    session.write(1, 1, "chunk").await.unwrap();
    for other in [
        create_as(2, "f", "p", 1),
        Open { if_generation: Some(generation), ..replace_as(2, "f", "p", 1) },
        Open { if_generation: Some(0), ..replace_as(2, "f", "p", 1) },
    ] {
        let nack = session.open(other).await.unwrap_err();
        assert_nack(&nack, 2, 0, PRECONDITION, Reason::UploadOpen);
    }
    session.write(1, 2, " goes on").await.unwrap();
    session.finish(1).await.unwrap();
    assert_content(&server, "f", b"chunk goes on").await;
}

#[tokio::test]
async fn append_channel_of_the_producer_is_apart_from_its_upload() {
    let server = Server::start(Setup::default());
    let mut session = server.session().await;
    session.opened(open_as(1, "f", "p", 1)).await;
    session.write(1, 1, "append 1\n").await.unwrap();
    let opened = session.opened(replace_as(2, "f", "p", 2)).await;
    resumes_at(&opened, 0, 0);
    session.write(2, 1, "upload\n").await.unwrap();
    session.write(1, 2, "append 2\n").await.unwrap();
    assert_content(&server, "f", b"append 1\nappend 2\n").await;
    session.finish(2).await.unwrap();
    assert_content(&server, "f", b"upload\n").await;
}

#[tokio::test]
async fn upload_never_leads_behind_the_epoch_that_its_producer_has_at_the_path() {
    let server = Server::start(Setup::default());
    let mut session = server.session().await;
    session.opened(open_as(1, "f", "p", 4)).await;
    session.write(1, 1, "append\n").await.unwrap();
    let nack = session.open(replace_as(2, "f", "p", 3)).await.unwrap_err();
    assert_nack(&nack, 2, 0, PRECONDITION, Reason::ProducerFenced);
    assert_eq!(nack.current_epoch, Some(4));
    // One that the server allots is new: what was published before cannot be taken for this upload.
    for (epoch, content) in [(5, "first\n"), (6, "second\n")] {
        let opened = session.opened(replace_as(2, "f", "p", 0)).await;
        assert_eq!((opened.epoch, opened.last_seq, opened.published), (epoch, 0, false), "{opened:?}");
        session.write(2, 1, content).await.unwrap();
        session.finish(2).await.unwrap();
        assert_content(&server, "f", content.as_bytes()).await;
    }
    let opened = session.opened(replace_as(2, "f", "p", 0)).await;
    assert_eq!(opened.epoch, 7);
    session.end(finish(2, FinishAction::Abort)).await.unwrap();
    resumes_at(&session.opened(replace_as(2, "f", "p", 7)).await, 0, 0);
    // Appends of a higher epoch, meanwhile, keep it when the upload is published.
    session.write(2, 1, "third\n").await.unwrap();
    session.opened(open_as(3, "f", "p", 9)).await;
    session.write(3, 1, "append\n").await.unwrap();
    session.finish(2).await.unwrap();
    assert_content(&server, "f", b"third\n").await;
    let state = write_state(&server, "f", "p").await;
    assert_eq!((state.epoch, state.last_seq), (9, 1), "{state:?}");
    let nack = session.open(open_as(2, "f", "p", 8)).await.unwrap_err();
    assert_nack(&nack, 2, 0, PRECONDITION, Reason::ProducerFenced);
}

#[tokio::test]
async fn set_names_uploads_that_are_gone_or_still_open() {
    let server = Server::start(expiring());
    let mut session = server.session().await;
    session.opened(create_as(1, "held", "p", 1)).await;
    session.opened(create_as(2, "left", "p", 1)).await;
    session.end(finish(2, FinishAction::LeaveOpen)).await.unwrap();
    let publish = async |path: &str| {
        let part = UploadPart { path: path.into(), producer_id: "p".into(), ..UploadPart::default() };
        server.files().commit_files(CommitFilesRequest { uploads: vec![part] }).await.map(|_| ())
    };
    assert_refused(&publish("held").await.unwrap_err(), PRECONDITION, Reason::UploadOpen);
    assert_refused(&publish("never").await.unwrap_err(), Code::NotFound, Reason::UploadNotFound);
    wait::until_async("the upload that was left has expired", PATIENCE, async || {
        !write_state(&server, "left", "p").await.upload
    })
    .await;
    assert_refused(&publish("left").await.unwrap_err(), Code::NotFound, Reason::UploadNotFound);
    session.end(finish(1, FinishAction::LeaveOpen)).await.unwrap();
    publish("held").await.unwrap();
    assert_content(&server, "held", b"").await;
}

fn expiring() -> Setup {
    Setup::default().config("[uploads]\nexpiry = \"1s\"\n[checkpoint]\ninterval = \"100ms\"")
}

#[tokio::test]
async fn upload_that_nobody_writes_to_expires_and_open_begins_anew() {
    for restarted in [false, true] {
        println!("restarted: {restarted}");
        let mut server = Server::start(expiring());
        let mut session = server.session().await;
        assert_eq!(session.opened(create_as(1, "f", "p", 1)).await.limits.unwrap().upload_expiry_seconds, 1);
        session.write(1, 1, "chunk").await.unwrap();
        session.end(finish(1, FinishAction::LeaveOpen)).await.unwrap();
        assert_eq!(staged_files(&server).len(), 1);
        if restarted {
            server.kill9();
            server.restart();
        }
        wait::until("the upload has expired", PATIENCE, || staged_files(&server).is_empty()).await;
        assert_absent(&server, "f").await;
        let state = write_state(&server, "f", "p").await;
        assert!(!state.upload && !state.known, "{state:?}");
        let mut session = server.session().await;
        resumes_at(&session.opened(create_as(1, "f", "p", 1)).await, 0, 0);
        session.write(1, 1, "anew").await.unwrap();
        session.finish(1).await.unwrap();
        assert_content(&server, "f", b"anew").await;
    }
}

#[tokio::test]
async fn upload_of_an_open_session_does_not_expire() {
    let server = Server::start(expiring());
    let mut session = server.session().await;
    session.opened(create_as(1, "held", "p", 1)).await;
    session.write(1, 1, "chunk").await.unwrap();
    let mut other = server.session().await;
    other.opened(create_as(1, "left", "p", 1)).await;
    other.write(1, 1, "chunk").await.unwrap();
    drop(other);
    // The other one, which was left later, tells that the time has passed.
    wait::until("the upload that was left has expired", Duration::from_secs(60), || staged_files(&server).len() == 1)
        .await;
    session.write(1, 2, " goes on").await.unwrap();
    session.finish(1).await.unwrap();
    assert_content(&server, "held", b"chunk goes on").await;
    assert_absent(&server, "left").await;
}
