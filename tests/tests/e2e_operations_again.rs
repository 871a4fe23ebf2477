//! Operations with an operator: asked for again they are done once, over restarts; out of turn they are refused.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::{
    AppendRequest, DeleteRequest, ErrorReason as Reason, Operator, RenameRequest, SealRequest, TruncateRequest,
};
use inkpot_tests::{
    Server, Setup,
    harness::{
        assert_nack, assert_refused,
        files::{assert_absent, assert_content, write_state},
        operate::{Operation, delete, operator, rename, seal, truncate},
        session::{append, open_as, unary},
    },
};
use tonic::Code;

const PRECONDITION: Code = Code::FailedPrecondition;

fn deleting(path: &str, operator: Option<Operator>) -> DeleteRequest {
    DeleteRequest { operator, ..delete(path) }
}

fn renaming(from: &str, to: &str, operator: Option<Operator>) -> RenameRequest {
    RenameRequest { operator, ..rename(from, to) }
}

fn cutting(path: &str, size: u64, operator: Option<Operator>) -> TruncateRequest {
    TruncateRequest { operator, ..truncate(path, size) }
}

fn sealing(path: &str, operator: Option<Operator>) -> SealRequest {
    SealRequest { operator, ..seal(path) }
}

fn appending(path: &str, seq: u64, data: &str) -> AppendRequest {
    AppendRequest { producer_id: "p".into(), producer_epoch: 1, seq, ..unary(path, data) }
}

fn one_shard_and_many() -> [Setup; 2] {
    ["1", "4"].map(|shards| Setup::default().arg("--shards").arg(shards))
}

#[tokio::test]
async fn truncate_asked_again_is_done_once() {
    let mut server = Server::start(Setup::default());
    server.client().append(appending("f", 1, "0123456789")).await.unwrap();
    let first = cutting("f", 4, operator("p", 1, 2)).on(&server).await.unwrap();
    assert!(!first.duplicate);
    server.client().append(appending("f", 3, "abcdef")).await.unwrap();
    for restarted in [false, true] {
        println!("restarted: {restarted}");
        let again = cutting("f", 4, operator("p", 1, 2)).on(&server).await.unwrap();
        assert_eq!((again.duplicate, again.generation), (true, first.generation));
        assert_content(&server, "f", b"0123abcdef").await;
        for (wrong, expected) in [
            (cutting("f", 5, operator("p", 1, 2)), Reason::SequenceReused),
            (cutting("f", 4, operator("p", 1, 3)), Reason::SequenceReused),
            (cutting("f", 4, operator("p", 1, 1)), Reason::SequenceReused),
            (cutting("f", 4, operator("p", 1, 5)), Reason::SequenceGap),
            (cutting("f", 4, operator("q", 1, 2)), Reason::UnknownProducer),
        ] {
            println!("{wrong:?}");
            assert_refused(&wrong.on(&server).await.unwrap_err(), PRECONDITION, expected);
        }
        let reused = sealing("f", operator("p", 1, 2)).on(&server).await.unwrap_err();
        assert_refused(&reused, PRECONDITION, Reason::SequenceReused);
        let reused = server.client().append(appending("f", 2, "0123")).await.unwrap_err();
        assert_refused(&reused, PRECONDITION, Reason::SequenceReused);
        server.kill9();
        server.restart();
    }
    assert_content(&server, "f", b"0123abcdef").await;
}

#[tokio::test]
async fn truncate_asked_again_when_the_file_is_shorter_by_now_is_still_a_duplicate() {
    let server = Server::start(Setup::default());
    server.client().append(appending("f", 1, "0123456789")).await.unwrap();
    cutting("f", 8, operator("p", 1, 2)).on(&server).await.unwrap();
    let shorter = cutting("f", 2, operator("p", 1, 3)).on(&server).await.unwrap();
    assert!(cutting("f", 8, operator("p", 1, 2)).on(&server).await.unwrap().duplicate);
    let again = cutting("f", 2, operator("p", 1, 3)).on(&server).await.unwrap();
    assert_eq!((again.duplicate, again.generation), (true, shorter.generation));
    assert_content(&server, "f", b"01").await;
}

#[tokio::test]
async fn seal_asked_again_is_done_once() {
    let mut server = Server::start(Setup::default());
    server.client().append(unary("f", "content")).await.unwrap();
    let first = sealing("f", operator("p", 1, 1)).on(&server).await.unwrap();
    assert!(!first.duplicate);
    for restarted in [false, true] {
        println!("restarted: {restarted}");
        let again = sealing("f", operator("p", 1, 1)).on(&server).await.unwrap();
        assert!(again.duplicate);
        assert_eq!((again.size, again.generation, again.crc32c), (first.size, first.generation, first.crc32c));
        let reused = deleting("f", operator("p", 1, 1)).on(&server).await.unwrap_err();
        assert_refused(&reused, PRECONDITION, Reason::SequenceReused);
        server.kill9();
        server.restart();
    }
}

/// Found by the simulation (seed 51659): the answer had the generation that was sealed, and the size of what is there now.
#[tokio::test]
async fn seal_asked_again_when_the_file_has_given_way_tells_what_was_sealed() {
    let mut server = Server::start(Setup::default());
    server.client().append(appending("f", 1, "0123456789")).await.unwrap();
    let first = sealing("f", operator("p", 1, 2)).on(&server).await.unwrap();
    assert_eq!((first.size, first.crc32c, first.duplicate), (10, crc32c::crc32c(b"0123456789"), false));
    delete("f").on(&server).await.unwrap();
    for change in ["deleted", "made anew", "restarted"] {
        match change {
            "made anew" => _ = server.client().append(unary("f", "another")).await.unwrap(),
            "restarted" => {
                server.kill9();
                server.restart();
            }
            _ => {}
        }
        println!("{change}");
        let again = sealing("f", operator("p", 1, 2)).on(&server).await.unwrap();
        assert_eq!((again.generation, again.size, again.crc32c), (first.generation, 10, 0), "{again:?}");
        assert!(again.duplicate);
    }
    // Nobody sealed the other one.
    server.client().append(unary("f", "!")).await.unwrap();
    assert_content(&server, "f", b"another!").await;
}

#[tokio::test]
async fn delete_asked_again_is_done_once_and_spares_what_came_after_it() {
    let mut server = Server::start(Setup::default());
    server.client().append(appending("f", 1, "first\n")).await.unwrap();
    let request = || deleting("f", operator("p", 1, 2));
    assert!(!request().on(&server).await.unwrap().duplicate);
    for restarted in [false, true] {
        println!("restarted: {restarted}");
        assert!(request().on(&server).await.unwrap().duplicate);
        assert_absent(&server, "f").await;
        server.kill9();
        server.restart();
    }
    server.client().append(unary("f", "somebody else's\n")).await.unwrap();
    for restarted in [false, true] {
        println!("restarted: {restarted}");
        assert!(request().on(&server).await.unwrap().duplicate);
        assert_content(&server, "f", b"somebody else's\n").await;
        server.kill9();
        server.restart();
    }
    // The next number is the next deletion.
    assert!(!deleting("f", operator("p", 1, 3)).on(&server).await.unwrap().duplicate);
    assert_absent(&server, "f").await;
}

#[tokio::test]
async fn rename_asked_again_is_done_once_and_spares_what_came_after_it() {
    for setup in one_shard_and_many() {
        let mut server = Server::start(setup);
        for to in ["g", "dir/h"] {
            println!("{to}");
            server.client().append(appending("f", 1, "content\n")).await.unwrap();
            let request = || renaming("f", to, operator("p", 1, 2));
            let first = request().on(&server).await.unwrap();
            assert!(!first.duplicate);
            for later in ["", "new at the old path\n"] {
                if !later.is_empty() {
                    server.client().append(unary("f", later)).await.unwrap();
                }
                for restarted in [false, true] {
                    println!("later: {later:?}, restarted: {restarted}");
                    let again = request().on(&server).await.unwrap();
                    assert_eq!((again.duplicate, again.generation), (true, first.generation));
                    assert_content(&server, to, b"content\n").await;
                    server.kill9();
                    server.restart();
                }
            }
            let other = renaming("f", "elsewhere", operator("p", 1, 2)).on(&server).await;
            // The producer is not known in what is at the old path now.
            assert_refused(&other.unwrap_err(), PRECONDITION, Reason::UnknownProducer);
            assert_content(&server, "f", b"new at the old path\n").await;
            delete("f").on(&server).await.unwrap();
        }
    }
}

#[tokio::test]
async fn older_epoch_of_the_operator_is_fenced_and_a_higher_one_takes_over() {
    let server = Server::start(Setup::default());
    let mut session = server.session().await;
    session.opened(open_as(1, "f", "p", 5)).await;
    session.write(1, 1, "0123456789").await.unwrap();
    for request in [cutting("f", 1, operator("p", 4, 1)), cutting("f", 1, operator("p", 4, 2))] {
        let status = request.on(&server).await.unwrap_err();
        assert_refused(&status, PRECONDITION, Reason::ProducerFenced);
    }
    let status = deleting("f", operator("p", 1, 1)).on(&server).await.unwrap_err();
    assert_refused(&status, PRECONDITION, Reason::ProducerFenced);
    assert_content(&server, "f", b"0123456789").await;
    assert!(!sealing("f", operator("p", 6, 1)).on(&server).await.unwrap().duplicate);
    // The session of the older epoch holds the producer no longer.
    session.append(append(1, 2, "too late")).await;
    assert_nack(&session.nack(1).await, 1, 2, PRECONDITION, Reason::ProducerFenced);
    let state = write_state(&server, "f", "p").await;
    assert_eq!((state.epoch, state.last_seq), (6, 1), "{state:?}");
}

#[tokio::test]
async fn refused_operation_does_not_count() {
    let server = Server::start(Setup::default());
    server.client().append(appending("f", 1, "0123456789")).await.unwrap();
    server.client().append(unary("there", "x")).await.unwrap();
    let status = renaming("f", "there", operator("p", 1, 2)).on(&server).await.unwrap_err();
    assert_refused(&status, Code::AlreadyExists, Reason::FileExists);
    let status = cutting("f", 11, operator("p", 1, 2)).on(&server).await.unwrap_err();
    assert_refused(&status, Code::OutOfRange, Reason::OutOfRange);
    let conditional = DeleteRequest { if_generation: Some(1), ..deleting("f", operator("p", 1, 2)) };
    assert_refused(&conditional.on(&server).await.unwrap_err(), PRECONDITION, Reason::GenerationChanged);
    let state = write_state(&server, "f", "p").await;
    assert_eq!((state.epoch, state.last_seq), (1, 1), "{state:?}");
    cutting("f", 3, operator("p", 1, 2)).on(&server).await.unwrap();
    assert_content(&server, "f", b"012").await;
}

#[tokio::test]
async fn missing_file_is_missing_for_an_operator_that_it_never_knew() {
    let server = Server::start(Setup::default());
    let who = || operator("p", 1, 1);
    for status in [
        deleting("f", who()).on(&server).await.unwrap_err(),
        sealing("f", who()).on(&server).await.unwrap_err(),
        cutting("f", 0, who()).on(&server).await.unwrap_err(),
        renaming("f", "g", who()).on(&server).await.unwrap_err(),
    ] {
        assert_refused(&status, Code::NotFound, Reason::FileNotFound);
    }
    assert!(!write_state(&server, "f", "p").await.known);
}
