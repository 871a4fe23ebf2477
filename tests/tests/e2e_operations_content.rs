//! Truncate and Seal: content, generations and producers afterwards, over restarts; and what is refused.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::{AppendRequest, ErrorReason as Reason, Mode, Open, SealRequest, TruncateRequest};
use inkpot_tests::{
    Server, Setup,
    harness::{
        PATIENCE, assert_nack, assert_refused,
        files::{assert_absent, assert_content, content, staged_files, stat},
        operate::{Operation, delete, operator, rename, seal, truncate},
        session::{append, open, open_as, unary},
        upload::{bytes, create, replace, send_chunks},
        wait,
    },
};
use std::fs;
use tonic::Code;

const PRECONDITION: Code = Code::FailedPrecondition;

async fn write(server: &Server, path: &str, data: &[u8]) -> u64 {
    server.client().append(unary(path, data)).await.unwrap().into_inner().generation
}

#[tokio::test]
async fn truncated_file_is_its_beginning_and_goes_on_from_there() {
    let mut server = Server::start(Setup::default().config("[checkpoint]\ninterval = \"300ms\""));
    let whole = bytes(3, 300_000);
    let mut before = write(&server, "f", &whole).await;
    // To the same size, to less, to nothing, and what is empty to nothing again.
    for size in [300_000, 299_999, 70_000, 1, 0, 0] {
        println!("{size}");
        let truncated = truncate("f", size as u64).on(&server).await.unwrap();
        assert!(!truncated.duplicate);
        assert_ne!(truncated.generation, before);
        before = truncated.generation;
        for restarted in [false, true] {
            let info = assert_content(&server, "f", &whole[..size]).await;
            assert_eq!(info.generation, before, "restarted: {restarted}");
            if !restarted {
                server.kill9();
                server.restart();
            }
        }
    }
    let ack = server.client().append(unary("f", "anew")).await.unwrap().into_inner();
    assert_eq!((ack.first_offset, ack.generation), (Some(0), before));
    assert_content(&server, "f", b"anew").await;
    wait::until("staging is empty", PATIENCE, || staged_files(&server).is_empty()).await;
}

#[tokio::test]
async fn truncate_beyond_the_end_or_of_nothing_is_refused() {
    let server = Server::start(Setup::default());
    write(&server, "dir/f", b"four").await;
    for size in [5, u64::MAX >> 1, u64::MAX] {
        let status = truncate("dir/f", size).on(&server).await.unwrap_err();
        assert_refused(&status, Code::OutOfRange, Reason::OutOfRange);
    }
    for path in ["nothing", "dir/f/below"] {
        let status = truncate(path, 0).on(&server).await.unwrap_err();
        assert_refused(&status, Code::NotFound, Reason::FileNotFound);
    }
    let status = truncate("dir", 0).on(&server).await.unwrap_err();
    assert_refused(&status, PRECONDITION, Reason::IsADirectory);
    let generation = stat(&server, "dir/f").await.unwrap().generation;
    for wrong in [0, generation ^ 1] {
        let request = TruncateRequest { if_generation: Some(wrong), ..truncate("dir/f", 1) };
        assert_refused(&request.on(&server).await.unwrap_err(), PRECONDITION, Reason::GenerationChanged);
    }
    assert_content(&server, "dir/f", b"four").await;
    wait::until("staging is empty", PATIENCE, || staged_files(&server).is_empty()).await;
    let request = TruncateRequest { if_generation: Some(generation), ..truncate("dir/f", 1) };
    request.on(&server).await.unwrap();
    assert_content(&server, "dir/f", b"f").await;
}

#[tokio::test]
async fn producer_goes_on_after_a_truncation_with_what_it_had_counted() {
    let server = Server::start(Setup::default());
    let mut session = server.session().await;
    session.opened(open_as(1, "f", "p", 3)).await;
    for seq in 1..=3 {
        session.write(1, seq, "line\n").await.unwrap();
    }
    let generation = truncate("f", 7).on(&server).await.unwrap().generation;
    session.append(append(1, 4, "more\n")).await;
    assert_nack(&session.nack(1).await, 1, 4, PRECONDITION, Reason::GenerationChanged);
    session.finish(1).await.unwrap();
    let opened = session.opened(open_as(1, "f", "p", 3)).await;
    assert_eq!((opened.generation, opened.last_seq, opened.next_offset), (generation, 3, 7), "{opened:?}");
    let again = session.write(1, 3, "line\n").await.unwrap();
    assert_eq!(again.duplicates, 1);
    let ack = session.write(1, 4, "more\n").await.unwrap();
    assert_eq!((ack.first_offset, ack.generation), (Some(7), generation));
    assert_content(&server, "f", b"line\nlimore\n").await;
}

#[tokio::test]
async fn truncations_beside_appends_cut_between_them() {
    let server = Server::start(Setup::default());
    write(&server, "f", b"keep").await;
    let mut client = server.client();
    let appending = tokio::spawn(async move {
        for _ in 0..300 {
            client.append(unary("f", "0123456789")).await.unwrap();
        }
    });
    let mut cut = 0;
    while !appending.is_finished() {
        match truncate("f", 4).on(&server).await {
            Ok(_) => cut += 1,
            // Another truncation cannot have been quicker, but an append never stands in the way.
            Err(status) => panic!("{status:?}"),
        }
    }
    appending.await.unwrap();
    assert!(cut > 0);
    let found = content(&server, "f").await.unwrap();
    assert!(found.starts_with(b"keep") && (found.len() - 4).is_multiple_of(10), "{} bytes", found.len());
    assert_content(&server, "f", &found).await;
}

#[tokio::test]
async fn sealed_file_takes_no_more_appends_and_is_in_its_plain_file() {
    let mut server = Server::start(Setup::default());
    let mut session = server.session().await;
    session.opened(open_as(1, "f", "p", 1)).await;
    session.opened(open(2, "f")).await;
    session.write(1, 1, "one\n").await.unwrap();
    let generation = session.write(2, 1, "two\n").await.unwrap().generation;
    let sealed = seal("f").on(&server).await.unwrap();
    assert_eq!((sealed.size, sealed.generation, sealed.duplicate), (8, generation, false));
    assert_eq!(sealed.crc32c, crc32c::crc32c(b"one\ntwo\n"));
    assert_eq!(fs::read(server.plain("f")).unwrap(), b"one\ntwo\n", "it is there when the answer comes");
    for restarted in [false, true] {
        println!("restarted: {restarted}");
        assert!(assert_content(&server, "f", b"one\ntwo\n").await.sealed);
        let again = session.write(1, 1, "one\n").await.unwrap();
        assert_eq!((again.duplicates, again.first_offset), (1, Some(0)), "what was acked is acked again");
        session.append(append(1, 2, "three\n")).await;
        assert_nack(&session.nack(1).await, 1, 2, PRECONDITION, Reason::Sealed);
        session.append(append(2, if restarted { 1 } else { 2 }, "three\n")).await;
        assert_eq!(session.nack(2).await.reason(), Reason::Sealed);
        let status = server.client().append(unary("f", "three\n")).await.unwrap_err();
        assert_refused(&status, PRECONDITION, Reason::Sealed);
        let call = AppendRequest { producer_id: "p".into(), producer_epoch: 1, seq: 1, ..unary("f", "one\n") };
        assert!(server.client().append(call).await.unwrap().into_inner().duplicate);
        assert_eq!(seal("f").on(&server).await.unwrap().size, 8, "sealing again changes nothing");
        if !restarted {
            server.kill9();
            server.restart();
            session = server.session().await;
            session.opened(open_as(1, "f", "p", 1)).await;
            session.opened(open(2, "f")).await;
        }
    }
}

#[tokio::test]
async fn sealed_file_may_be_renamed_replaced_and_deleted() {
    let server = Server::start(Setup::default());
    write(&server, "f", b"sealed\n").await;
    seal("f").on(&server).await.unwrap();
    rename("f", "g").on(&server).await.unwrap();
    assert!(assert_content(&server, "g", b"sealed\n").await.sealed);
    let mut session = server.session().await;
    session.opened(replace(1, "g")).await;
    session.write(1, 1, "new\n").await.unwrap();
    session.finish(1).await.unwrap();
    assert!(!assert_content(&server, "g", b"new\n").await.sealed, "the new content is not sealed");
    seal("g").on(&server).await.unwrap();
    delete("g").on(&server).await.unwrap();
    assert_absent(&server, "g").await;
    write(&server, "g", b"anew\n").await;
    assert!(!assert_content(&server, "g", b"anew\n").await.sealed);
}

#[tokio::test]
async fn seal_of_nothing_or_of_another_generation_is_refused() {
    let server = Server::start(Setup::default());
    let generation = write(&server, "dir/f", b"x\n").await;
    assert_refused(&seal("nothing").on(&server).await.unwrap_err(), Code::NotFound, Reason::FileNotFound);
    assert_refused(&seal("dir").on(&server).await.unwrap_err(), PRECONDITION, Reason::IsADirectory);
    let request = SealRequest { if_generation: Some(generation ^ 1), ..seal("dir/f") };
    assert_refused(&request.on(&server).await.unwrap_err(), PRECONDITION, Reason::GenerationChanged);
    assert!(!stat(&server, "dir/f").await.unwrap().sealed);
    SealRequest { if_generation: Some(generation), ..seal("dir/f") }.on(&server).await.unwrap();
    assert!(stat(&server, "dir/f").await.unwrap().sealed);
}

#[tokio::test]
async fn seal_and_truncate_of_what_was_uploaded() {
    let mut server = Server::start(Setup::default());
    let sent = bytes(9, 3 << 20);
    let mut session = server.session().await;
    session.opened(create(1, "f")).await;
    send_chunks(&mut session, 1, 1, sent.chunks(1 << 20)).await.unwrap();
    session.finish(1).await.unwrap();
    truncate("f", 2_000_001).on(&server).await.unwrap();
    let sealed = seal("f").on(&server).await.unwrap();
    assert_eq!((sealed.size, sealed.crc32c), (2_000_001, crc32c::crc32c(&sent[..2_000_001])));
    server.kill9();
    server.restart();
    assert!(assert_content(&server, "f", &sent[..2_000_001]).await.sealed);
}

#[tokio::test]
async fn operator_must_be_named_and_counted_from_one() {
    let server = Server::start(Setup::default());
    write(&server, "f", b"x\n").await;
    for bad in [operator("", 1, 1), operator("p", 0, 1), operator("p", 1, 0), operator("p\n", 1, 1)] {
        let status = SealRequest { operator: bad.clone(), ..seal("f") }.on(&server).await.unwrap_err();
        assert_refused(&status, Code::InvalidArgument, Reason::InvalidField);
        let status = TruncateRequest { operator: bad, ..truncate("f", 0) }.on(&server).await.unwrap_err();
        assert_refused(&status, Code::InvalidArgument, Reason::InvalidField);
    }
    let status = SealRequest { operator: operator("p", u64::MAX, 1), ..seal("f") }.on(&server).await.unwrap_err();
    assert_refused(&status, Code::OutOfRange, Reason::OutOfRange);
    // None of it left a trace.
    let mut session = server.session().await;
    let opened = session.opened(Open { mode: Mode::Append.into(), ..open_as(1, "f", "p", 0) }).await;
    assert_eq!((opened.epoch, opened.last_seq), (1, 0));
}
