//! Uploads: invisible until they are finished, whole from then on, and told apart from each other and from appends.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::{
    Append, Durability, ErrorReason as Reason, Finish, FinishAction, Mode, Open, write_response::Frame as Say,
};
use inkpot_tests::{
    RawSession, Server, Setup,
    harness::{
        PATIENCE, assert_nack,
        files::{assert_absent, assert_content, content, plain_files, staged_files},
        session::{append, finish, open, open_as, unary},
        upload::{bytes, create, create_as, replace, replace_as, send_chunks},
        wait,
    },
};
use std::path::PathBuf;
use tonic::Code;

const MIB: usize = 1 << 20;

/// What a Finish(COMMIT) says of the content that it is about.
fn commit(channel: u32, content: &[u8]) -> Finish {
    Finish {
        size: Some(content.len() as u64),
        crc32c: Some(crc32c::crc32c(content)),
        ..finish(channel, FinishAction::Commit)
    }
}

/// A server that does not leave what is done with lying in staging for long.
fn quick() -> Setup {
    Setup::default().config("[checkpoint]\ninterval = \"50ms\"")
}

async fn nothing_is_staged(server: &Server) {
    wait::until("staging is empty", PATIENCE, || staged_files(server).is_empty()).await;
}

#[tokio::test]
async fn created_file_is_invisible_before_finish_and_whole_after_it() {
    let server = Server::start(quick());
    let mut session = server.session().await;
    for (name, producer) in [("nameless", ""), ("named", "p")] {
        let path = format!("exports/{name}/table.csv");
        let opened = session.opened(create_as(1, &path, producer, 0)).await;
        assert!(opened.upload && !opened.published, "{opened:?}");
        assert_eq!((opened.last_seq, opened.next_offset), (0, 0), "{opened:?}");
        assert_eq!(opened.limits.unwrap().upload_expiry_seconds, 24 * 60 * 60);
        let mut sent = Vec::new();
        for (seq, len) in [(1, 1), (2, 70_000), (3, 13)] {
            let chunk = bytes(seq, len);
            let ack = session.write(1, seq, chunk.clone()).await.unwrap();
            let begin = sent.len() as u64;
            sent.extend(chunk);
            assert_eq!((ack.first_offset, ack.end_offset), (Some(begin), Some(sent.len() as u64)), "{ack:?}");
            assert_eq!((ack.through_seq, ack.level(), ack.synced_seq), (seq, Durability::Synced, seq), "{ack:?}");
            assert_absent(&server, &path).await;
        }
        assert!(
            !plain_files(&server)
                .iter()
                .any(|file| file.ends_with("table.csv") && file.to_str().unwrap().contains(name))
        );
        let finished = session.end(commit(1, &sent)).await.unwrap();
        assert_eq!((finished.size, finished.crc32c), (sent.len() as u64, crc32c::crc32c(&sent)));
        assert!(finished.generation > 0);
        let info = assert_content(&server, &path, &sent).await;
        assert_eq!((info.generation, info.size), (finished.generation, finished.size));
        assert!(!info.sealed && info.modified.is_some(), "{info:?}");
        // The number is free, and the file goes on like any other.
        session.opened(open_as(1, &path, "later", 1)).await;
        let ack = session.write(1, 1, "tail").await.unwrap();
        assert_eq!((ack.first_offset, ack.generation), (Some(sent.len() as u64), finished.generation));
        session.finish(1).await.unwrap();
        sent.extend(b"tail");
        assert_content(&server, &path, &sent).await;
    }
    nothing_is_staged(&server).await;
}

#[tokio::test]
async fn replaced_file_has_its_old_content_until_finish_and_a_new_generation_after_it() {
    let server = Server::start(quick());
    let mut session = server.session().await;
    // Where nothing is, REPLACE makes a file.
    session.opened(replace(1, "f")).await;
    session.write(1, 1, "first\n").await.unwrap();
    assert_absent(&server, "f").await;
    let mut before = session.finish(1).await.unwrap().generation;
    assert_content(&server, "f", b"first\n").await;
    for (round, new) in [&b"second, and longer\n"[..], b"3\n", b"fourth\n"].into_iter().enumerate() {
        let old = content(&server, "f").await.unwrap();
        session.opened(replace_as(1, "f", &format!("p{round}"), 1)).await;
        send_chunks(&mut session, 1, 1, new.chunks(2)).await.unwrap();
        let info = assert_content(&server, "f", &old).await;
        assert_eq!(info.generation, before);
        let finished = session.end(commit(1, new)).await.unwrap();
        let info = assert_content(&server, "f", new).await;
        assert_eq!(info.generation, finished.generation);
        assert_ne!(finished.generation, before);
        before = finished.generation;
    }
    assert_eq!(plain_files(&server), [server.plain("f")]);
    nothing_is_staged(&server).await;
}

#[tokio::test]
async fn upload_without_a_chunk_is_an_empty_file() {
    let server = Server::start(Setup::default());
    let mut session = server.session().await;
    session.opened(create(1, "empty")).await;
    let finished = session.end(commit(1, b"")).await.unwrap();
    assert_eq!((finished.size, finished.crc32c), (0, 0));
    assert_content(&server, "empty", b"").await;
    server.client().append(unary("full", "x")).await.unwrap();
    session.opened(replace(1, "full")).await;
    session.end(commit(1, b"")).await.unwrap();
    assert_content(&server, "full", b"").await;
}

#[tokio::test]
async fn chunks_of_every_size_make_up_the_file() {
    let server = Server::start(Setup::default());
    let mut session = server.session().await;
    for (name, count, len) in [("3-mib", 3, 3 * MIB), ("1-mib", 5, MIB), ("1-b", 2_000, 1), ("odd", 50, 4_097)] {
        println!("{name}");
        let sent = bytes(len as u64, count * len);
        session.opened(Open { mode: Mode::Create.into(), ..open_as(1, name, "p", 1) }).await;
        let ack = send_chunks(&mut session, 1, 1, sent.chunks(len)).await.unwrap();
        assert_eq!(ack.end_offset, Some(sent.len() as u64));
        session.end(commit(1, &sent)).await.unwrap();
        assert_content(&server, name, &sent).await;
    }
}

#[tokio::test]
async fn finish_right_behind_the_chunks_publishes_all_of_them() {
    let server = Server::start(Setup::default());
    let mut session = server.session().await;
    let sent = bytes(5, 100_000);
    session.opened(create(1, "f")).await;
    for (seq, chunk) in (1..).zip(sent.chunks(1_000)) {
        session.append(append(1, seq, chunk)).await;
    }
    // The acks are not waited for.
    let finished = session.end(commit(1, &sent)).await.unwrap();
    assert_eq!(finished.size, 100_000);
    let ack = session.acked(1, 100).await.unwrap();
    assert_eq!((ack.end_offset, ack.level()), (Some(100_000), Durability::Synced));
    assert_content(&server, "f", &sent).await;
}

#[tokio::test]
async fn abort_and_a_vanished_nameless_client_leave_nothing() {
    let mut server = Server::start(quick());
    let mut session = server.session().await;
    server.client().append(unary("old", "old\n")).await.unwrap();
    for open in [create(1, "new"), create_as(1, "new", "p", 1), replace(1, "old"), replace_as(1, "old", "p", 1)] {
        session.opened(open).await;
        session.write(1, 1, "chunk").await.unwrap();
        let finished = session.end(finish(1, FinishAction::Abort)).await.unwrap();
        assert_eq!(finished.generation, 0, "it was not published: {finished:?}");
    }
    let mut vanishing = server.session().await;
    vanishing.opened(create(1, "vanished")).await;
    vanishing.write(1, 1, "chunk").await.unwrap();
    drop(vanishing);
    nothing_is_staged(&server).await;
    for restarted in [false, true] {
        assert_absent(&server, "new").await;
        assert_absent(&server, "vanished").await;
        assert_content(&server, "old", b"old\n").await;
        if !restarted {
            // The producer of what was aborted is not known any more.
            let mut session = server.session().await;
            let opened = session.opened(create_as(1, "new", "p", 1)).await;
            assert_eq!((opened.last_seq, opened.next_offset), (0, 0), "{opened:?}");
            session.end(finish(1, FinishAction::Abort)).await.unwrap();
            server.kill9();
            server.restart();
        }
    }
    assert_eq!(staged_files(&server), [] as [PathBuf; 0]);
}

#[tokio::test]
async fn open_nameless_upload_is_gone_after_a_kill() {
    let mut server = Server::start(Setup::default());
    let mut session = server.session().await;
    session.opened(create(1, "f")).await;
    session.write(1, 1, "chunk").await.unwrap();
    assert_eq!(staged_files(&server).len(), 1);
    server.kill9();
    server.restart();
    assert_absent(&server, "f").await;
    nothing_is_staged(&server).await;
    let mut session = server.session().await;
    session.opened(create(1, "f")).await;
    session.write(1, 1, "other").await.unwrap();
    session.finish(1).await.unwrap();
    assert_content(&server, "f", b"other").await;
}

#[tokio::test]
async fn wrong_size_or_checksum_is_refused_and_the_upload_stays() {
    let server = Server::start(Setup::default());
    let mut session = server.session().await;
    let sent = b"all of it";
    let right = commit(1, sent);
    session.opened(create_as(1, "f", "p", 1)).await;
    session.write(1, 1, *sent).await.unwrap();
    for (wrong, reason) in [
        (Finish { size: Some(8), ..right }, Reason::SizeMismatch),
        (Finish { size: Some(10), ..right }, Reason::SizeMismatch),
        (Finish { size: Some(u64::MAX >> 1), crc32c: None, ..right }, Reason::SizeMismatch),
        (Finish { crc32c: Some(right.crc32c.unwrap() ^ 1), ..right }, Reason::ChecksumMismatch),
        (Finish { crc32c: Some(0), size: None, ..right }, Reason::ChecksumMismatch),
    ] {
        let nack = session.end(wrong).await.unwrap_err();
        assert_nack(&nack, 1, 0, Code::InvalidArgument, reason);
        assert_absent(&server, "f").await;
        let opened = session.opened(create_as(1, "f", "p", 1)).await;
        assert_eq!((opened.upload, opened.last_seq, opened.next_offset), (true, 1, 9), "{opened:?}");
    }
    session.end(right).await.unwrap();
    assert_content(&server, "f", sent).await;
}

#[tokio::test]
async fn upload_with_a_refused_chunk_cannot_be_finished_before_it_came_again() {
    let server = Server::start(Setup::default());
    let mut session = server.session().await;
    session.opened(create_as(1, "f", "p", 1)).await;
    session.write(1, 1, "one ").await.unwrap();
    session.append(Append { crc32c: Some(1), ..append(1, 2, "two ") }).await;
    session.append(append(1, 3, "three")).await;
    let nack = session.end(finish(1, FinishAction::Commit)).await;
    assert_nack(&session.nack(1).await, 1, 2, Code::InvalidArgument, Reason::ChecksumMismatch);
    assert_nack(&session.nack(1).await, 1, 3, Code::Aborted, Reason::EarlierSeqRefused);
    assert_nack(&nack.unwrap_err(), 1, 0, Code::Aborted, Reason::EarlierSeqRefused);
    assert_absent(&server, "f").await;
    let opened = session.opened(create_as(1, "f", "p", 1)).await;
    assert_eq!((opened.last_seq, opened.next_offset), (1, 4));
    send_chunks(&mut session, 1, 2, [&b"two "[..], b"three"]).await.unwrap();
    session.end(commit(1, b"one two three")).await.unwrap();
    assert_content(&server, "f", b"one two three").await;
}

#[tokio::test]
async fn refused_chunk_may_come_again_on_the_same_channel() {
    let server = Server::start(Setup::default());
    let mut session = server.session().await;
    session.opened(create(1, "f")).await;
    for round in 0..3 {
        let first = 3 * round + 1;
        session.append(append(1, first, "a")).await;
        session.append(Append { expected_offset: Some(77), ..append(1, first + 1, "bb") }).await;
        session.append(append(1, first + 2, "ccc")).await;
        session.acked(1, first).await.unwrap();
        assert_nack(&session.nack(1).await, 1, first + 1, Code::Aborted, Reason::OffsetMismatch);
        assert_nack(&session.nack(1).await, 1, first + 2, Code::Aborted, Reason::EarlierSeqRefused);
        send_chunks(&mut session, 1, first + 1, [&b"bb"[..], b"ccc"]).await.unwrap();
    }
    session.end(commit(1, b"abbcccabbcccabbccc")).await.unwrap();
    assert_content(&server, "f", b"abbcccabbcccabbccc").await;
}

/// Takes the acks of a session through the seq of each channel, in whatever order they come.
async fn all_acked(session: &mut RawSession, channels: u32, seq: u64) {
    let mut acked = vec![0; channels as usize];
    while acked.iter().any(|through| *through < seq) {
        match session.recv().await {
            Say::Ack(ack) => acked[ack.channel as usize] = ack.through_seq,
            other => panic!("{other:?} while acks were waited for"),
        }
    }
}

#[tokio::test]
async fn uploads_and_appends_go_side_by_side_on_one_session() {
    const CHANNELS: u32 = 12;
    const CHUNKS: u64 = 200;
    let server = Server::start(quick());
    let mut session = server.session().await;
    let path = |channel: u32| format!("side/{}/{channel}", channel % 4);
    for channel in 0..CHANNELS {
        // A third each: appends, creations, replacements.
        match channel % 3 {
            0 => session.opened(open_as(channel, &path(channel), "p", 1)).await,
            1 => session.opened(create_as(channel, &path(channel), "p", 1)).await,
            _ => session.opened(replace(channel, &path(channel))).await,
        };
    }
    let chunk = |channel: u32, seq: u64| bytes(u64::from(channel) << 32 | seq, 1 + (seq as usize * 37) % 300);
    for seq in 1..=CHUNKS {
        for channel in 0..CHANNELS {
            session.append(append(channel, seq, chunk(channel, seq))).await;
        }
    }
    all_acked(&mut session, CHANNELS, CHUNKS).await;
    for channel in 0..CHANNELS {
        let expected: Vec<u8> = (1..=CHUNKS).flat_map(|seq| chunk(channel, seq)).collect();
        if channel % 3 != 0 {
            assert_absent(&server, &path(channel)).await;
        }
        let end = if channel % 3 == 0 { finish(channel, FinishAction::Commit) } else { commit(channel, &expected) };
        let finished = session.end(end).await.unwrap();
        assert_eq!((finished.size, finished.crc32c), (expected.len() as u64, crc32c::crc32c(&expected)));
        assert_content(&server, &path(channel), &expected).await;
    }
    nothing_is_staged(&server).await;
}

#[tokio::test]
async fn file_made_by_an_append_meanwhile_keeps_its_path() {
    let server = Server::start(Setup::default());
    let mut session = server.session().await;
    session.opened(create_as(1, "f", "p", 1)).await;
    session.write(1, 1, "upload").await.unwrap();
    // An append to the path makes the file; the upload is another content.
    session.opened(open(2, "f")).await;
    session.write(2, 1, "append").await.unwrap();
    assert_content(&server, "f", b"append").await;
    let nack = session.end(finish(1, FinishAction::Commit)).await.unwrap_err();
    assert_nack(&nack, 1, 0, Code::AlreadyExists, Reason::FileExists);
    assert_content(&server, "f", b"append").await;
}
