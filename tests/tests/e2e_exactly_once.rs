//! Producers, epochs and sequence numbers: what is sent again is there once, over reconnects and restarts.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::{
    Ack, Append, AppendRequest, Durability, ErrorReason as Reason, GetWriteStateRequest, GetWriteStateResponse, Open,
    write_response::Frame as Say,
};
use inkpot_tests::{
    Server, Setup,
    harness::{
        assert_nack, assert_refused,
        session::{append, open, open_as, unary},
        wait,
    },
};
use std::{fs, time::Duration};
use tonic::Code;

const BOUND: Duration = Duration::from_secs(30);
const PRECONDITION: Code = Code::FailedPrecondition;

async fn plain_is(server: &Server, path: &str, expected: &str) {
    let plain = server.plain(path);
    wait::until(&format!("{path} holds what was acked"), BOUND, || {
        fs::read(&plain).is_ok_and(|bytes| bytes == expected.as_bytes())
    })
    .await;
}

async fn state(server: &Server, path: &str, producer: &str) -> GetWriteStateResponse {
    let request = GetWriteStateRequest { path: path.into(), producer_id: producer.into() };
    server.client().get_write_state(request).await.unwrap().into_inner()
}

fn range(ack: &Ack) -> (Option<u64>, Option<u64>) {
    (ack.first_offset, ack.end_offset)
}

#[tokio::test]
async fn append_sent_again_is_a_duplicate_with_its_offset() {
    let server = Server::start(Setup::default());
    let mut session = server.session().await;
    session.opened(open_as(1, "f", "p", 1)).await;
    for seq in 1..=3 {
        let ack = session.write(1, seq, format!("line {seq}\n")).await.unwrap();
        assert_eq!((ack.through_seq, ack.duplicates, range(&ack)), (seq, 0, (Some(7 * (seq - 1)), Some(7 * seq))));
    }
    for seq in [2, 1, 3] {
        session.append(append(1, seq, format!("line {seq}\n"))).await;
        let Say::Ack(ack) = session.recv().await else { panic!("no ack") };
        assert_eq!((ack.duplicates, range(&ack)), (1, (Some(7 * (seq - 1)), Some(7 * seq))), "seq {seq}");
    }
    let call = AppendRequest { producer_id: "p".into(), producer_epoch: 1, seq: 2, ..unary("f", "line 2\n") };
    let again = server.client().append(call).await.unwrap().into_inner();
    assert_eq!((again.duplicate, again.first_offset, again.end_offset), (true, Some(7), Some(14)));
    plain_is(&server, "f", "line 1\nline 2\nline 3\n").await;
}

#[tokio::test]
async fn duplicate_whose_offset_is_forgotten_is_success_without_one() {
    let server = Server::start(Setup::default().config("[producers]\nremembered = 2"));
    let mut session = server.session().await;
    assert_eq!(session.opened(open_as(1, "f", "p", 1)).await.limits.unwrap().remembered_appends, 2);
    for seq in 1..=5 {
        session.write(1, seq, "x\n").await.unwrap();
    }
    for (seq, expected) in [(1, (None, None)), (3, (None, None)), (4, (Some(6), Some(8))), (5, (Some(8), Some(10)))] {
        session.append(append(1, seq, "x\n")).await;
        let Say::Ack(ack) = session.recv().await else { panic!("no ack") };
        assert_eq!((ack.duplicates, range(&ack)), (1, expected), "seq {seq}");
    }
    plain_is(&server, "f", "x\nx\nx\nx\nx\n").await;
}

/// How the server goes down between two sessions.
#[derive(Clone, Copy, Debug)]
enum Between {
    Nothing,
    Kill,
    Terminate,
}

#[tokio::test(flavor = "multi_thread")]
async fn producer_resumes_where_it_was_after_reconnect_kill_and_stop() {
    for between in [Between::Nothing, Between::Kill, Between::Terminate] {
        println!("{between:?}");
        let mut server = Server::start(Setup::default());
        let mut session = server.session().await;
        let opened = session.opened(open_as(1, "f", "p", 3)).await;
        assert_eq!((opened.generation, opened.epoch, opened.last_seq, opened.next_offset), (0, 3, 0, 0));
        let mut generation = 0;
        for seq in 1..=70 {
            generation = session.write(1, seq, format!("line {seq:02}\n")).await.unwrap().generation;
        }
        drop(session);
        match between {
            Between::Nothing => {}
            Between::Kill => {
                server.kill9();
                server.restart();
            }
            Between::Terminate => {
                assert!(server.terminate().success());
                server.restart();
            }
        }
        let known = state(&server, "f", "p").await;
        assert_eq!((known.known, known.epoch, known.last_seq, known.next_offset), (true, 3, 70, 560));
        assert_eq!(
            (known.generation, known.last_first_offset, known.last_end_offset),
            (generation, Some(552), Some(560))
        );
        let mut session = server.session().await;
        let opened = session.opened(open_as(1, "f", "p", 3)).await;
        assert_eq!((opened.generation, opened.epoch, opened.last_seq, opened.next_offset), (generation, 3, 70, 560));
        // The last 64 are remembered with offset and bytes, over restarts too.
        for (seq, remembered) in [(7, true), (70, true), (6, false)] {
            session.append(append(1, seq, format!("line {seq:02}\n"))).await;
            let Say::Ack(ack) = session.recv().await else { panic!("no ack") };
            let expected = if remembered { (Some(8 * (seq - 1)), Some(8 * seq)) } else { (None, None) };
            assert_eq!((ack.duplicates, range(&ack)), (1, expected), "seq {seq}");
        }
        session.append(append(1, 70, "other 70\n")).await;
        assert_nack(&session.nack(1).await, 1, 70, PRECONDITION, Reason::SequenceReused);
        session.append(append(1, 72, "gap\n")).await;
        let nack = session.nack(1).await;
        assert_eq!((nack.seq, nack.expected_seq), (72, Some(71)));
        let ack = session.write(1, 71, "line 71\n").await.unwrap();
        assert_eq!((ack.duplicates, range(&ack)), (0, (Some(560), Some(568))));
        let expected: String = (1..=71).map(|seq| format!("line {seq:02}\n")).collect();
        plain_is(&server, "f", &expected).await;
    }
}

#[tokio::test]
async fn server_allots_the_next_epoch_and_tells_of_the_one_before() {
    let mut server = Server::start(Setup::default());
    let mut session = server.session().await;
    let first = session.opened(open_as(1, "f", "p", 0)).await;
    assert_eq!((first.epoch, first.last_seq, first.previous_epoch, first.previous_last_seq), (1, 0, 0, 0));
    session.write(1, 1, "a\n").await.unwrap();
    session.write(1, 2, "b\n").await.unwrap();
    let mut session = server.session().await;
    let second = session.opened(open_as(1, "f", "p", 0)).await;
    assert_eq!((second.epoch, second.last_seq, second.next_offset), (2, 0, 4));
    assert_eq!((second.previous_epoch, second.previous_last_seq), (1, 2));
    session.write(1, 1, "c\n").await.unwrap();
    server.kill9();
    server.restart();
    let mut session = server.session().await;
    let third = session.opened(open_as(1, "f", "p", 0)).await;
    assert_eq!((third.epoch, third.previous_epoch, third.previous_last_seq, third.next_offset), (3, 2, 1, 6));
    // Allotted, never written with: it holds all the same.
    server.kill9();
    server.restart();
    let mut session = server.session().await;
    let nack = session.open(open_as(1, "f", "p", 2)).await.unwrap_err();
    assert_nack(&nack, 1, 0, PRECONDITION, Reason::ProducerFenced);
    assert_eq!(nack.current_epoch, Some(3));
    assert_eq!(session.opened(open_as(1, "f", "p", 0)).await.epoch, 4);
    // A client may name a higher one itself.
    let named = session.opened(open_as(2, "f", "p", 9)).await;
    assert_eq!((named.epoch, named.last_seq), (9, 0));
    plain_is(&server, "f", "a\nb\nc\n").await;
}

#[tokio::test]
async fn newer_open_fences_the_older_session_at_once() {
    let server = Server::start(Setup::default());
    for (name, epoch) in [("same-epoch", 1), ("higher-epoch", 2), ("allotted", 0)] {
        println!("{name}");
        let mut older = server.session().await;
        older.opened(open_as(1, name, "p", 1)).await;
        older.opened(open_as(2, "beside", name, 1)).await;
        older.write(1, 1, "older\n").await.unwrap();
        let mut newer = server.session().await;
        let opened = newer.opened(open_as(1, name, "p", epoch)).await;
        let holds = if epoch == 0 { 2 } else { epoch };
        assert_eq!(opened.epoch, holds);
        // Unasked.
        let nack = older.nack(1).await;
        assert_nack(&nack, 1, 0, PRECONDITION, Reason::ProducerFenced);
        assert_eq!(nack.current_epoch, Some(holds));
        older.append(append(1, 2, "too late\n")).await;
        assert_nack(&older.nack(1).await, 1, 2, PRECONDITION, Reason::ProducerFenced);
        newer.write(1, opened.last_seq + 1, "newer\n").await.unwrap();
        older.write(2, 1, "x\n").await.unwrap();
        plain_is(&server, name, "older\nnewer\n").await;
    }
}

#[tokio::test]
async fn appends_in_flight_at_a_takeover_are_before_it_or_refused() {
    let server = Server::start(Setup::default());
    let mut older = server.session().await;
    older.opened(open_as(1, "f", "p", 1)).await;
    for seq in 1..=500 {
        older.append(append(1, seq, "older\n")).await;
    }
    let mut newer = server.session().await;
    let opened = newer.opened(open_as(1, "f", "p", 1)).await;
    newer.write(1, opened.last_seq + 1, "newer\n").await.unwrap();
    older.half_close();
    let (frames, end) = older.drain().await;
    assert!(end.is_ok(), "{end:?}");
    let acked = frames.iter().filter_map(|frame| match frame {
        Say::Ack(ack) => Some(ack.through_seq),
        _ => None,
    });
    assert_eq!(acked.max().unwrap_or(0), opened.last_seq);
    let refused = frames.iter().filter(|frame| matches!(frame, Say::Nack(nack) if nack.seq > 0)).count();
    assert_eq!(refused as u64, 500 - opened.last_seq);
    plain_is(&server, "f", &("older\n".repeat(usize::try_from(opened.last_seq).unwrap()) + "newer\n")).await;
}

#[tokio::test]
async fn write_state_of_what_is_not_there_is_empty() {
    let server = Server::start(Setup::default());
    assert_eq!(state(&server, "nothing", "p").await, GetWriteStateResponse::default());
    server.client().append(unary("f", "x\n")).await.unwrap();
    let known = state(&server, "f", "p").await;
    assert_eq!((known.known, known.epoch, known.last_seq, known.next_offset), (false, 0, 0, 2));
    assert!(known.generation > 0);
    let file = state(&server, "f", "").await;
    assert_eq!((file.known, file.next_offset), (false, 2));
    let bad = GetWriteStateRequest { path: "f".into(), producer_id: "p\0".into() };
    let status = server.client().get_write_state(bad).await.unwrap_err();
    assert_refused(&status, Code::InvalidArgument, Reason::InvalidField);
}

#[tokio::test]
async fn expected_offset_lets_one_of_two_writers_through() {
    let server = Server::start(Setup::default());
    let mut one = server.session().await;
    let mut two = server.session().await;
    one.opened(open(1, "f")).await;
    two.opened(open(1, "f")).await;
    let at = |offset, data: &str| Append { expected_offset: Some(offset), ..append(1, 1, data) };
    one.append(at(0, "one\n")).await;
    one.acked(1, 1).await.unwrap();
    two.append(at(0, "two\n")).await;
    let nack = two.nack(1).await;
    assert_nack(&nack, 1, 1, Code::Aborted, Reason::OffsetMismatch);
    assert_eq!(nack.expected_offset, Some(4));
    two.append(at(4, "two\n")).await;
    assert_eq!(range(&two.acked(1, 1).await.unwrap()), (Some(4), Some(8)));
    // A duplicate is one even if the file has grown: it does lie where it was expected.
    let call = AppendRequest {
        producer_id: "p".into(),
        producer_epoch: 1,
        seq: 1,
        expected_offset: Some(8),
        ..unary("f", "x\n")
    };
    assert!(!server.client().append(call.clone()).await.unwrap().into_inner().duplicate);
    assert!(server.client().append(call).await.unwrap().into_inner().duplicate);
    plain_is(&server, "f", "one\ntwo\nx\n").await;
}

#[tokio::test]
async fn ack_tells_the_level_that_was_reached() {
    let server = Server::start(Setup::default());
    let mut session = server.session().await;
    session.opened(Open { durability: Durability::Written.into(), ..open_as(1, "f", "p", 1) }).await;
    let ack = session.write(1, 1, "written\n").await.unwrap();
    assert!(ack.level() >= Durability::Written);
    if ack.level() == Durability::Written {
        assert!(ack.synced_seq < 1, "a level of WRITTEN and a synced_seq that says more: {ack:?}");
    }
    let synced = Append { durability: Durability::Synced.into(), ..append(1, 2, "synced\n") };
    session.append(synced).await;
    let ack = session.acked(1, 2).await.unwrap();
    assert_eq!((ack.level(), ack.synced_seq), (Durability::Synced, 2));
    session.opened(open_as(2, "g", "p", 1)).await;
    let ack = session.write(2, 1, "default\n").await.unwrap();
    assert_eq!((ack.level(), ack.synced_seq), (Durability::Synced, 1));
    let call = AppendRequest { durability: Durability::Written.into(), ..unary("h", "x") };
    assert!(server.client().append(call).await.unwrap().get_ref().level() >= Durability::Written);
    assert_eq!(server.client().append(unary("h", "x")).await.unwrap().get_ref().level(), Durability::Synced);
}

#[tokio::test]
async fn appends_acked_as_written_survive_kill() {
    let mut server = Server::start(Setup::default());
    let mut session = server.session().await;
    session.opened(Open { durability: Durability::Written.into(), ..open_as(1, "f", "p", 1) }).await;
    for seq in 1..=200 {
        session.append(append(1, seq, format!("line {seq}\n"))).await;
    }
    session.acked(1, 200).await.unwrap();
    server.kill9();
    server.restart();
    let known = state(&server, "f", "p").await;
    assert_eq!(known.last_seq, 200);
    let expected: String = (1..=200).map(|seq| format!("line {seq}\n")).collect();
    plain_is(&server, "f", &expected).await;
}

#[tokio::test]
async fn acks_are_cumulative_and_tile_the_file() {
    let server = Server::start(Setup::default());
    let mut session = server.session().await;
    session.opened(open_as(1, "f", "p", 1)).await;
    for seq in 1..=2000 {
        session.append(append(1, seq, format!("line {seq:04}\n"))).await;
    }
    session.half_close();
    let (frames, end) = session.drain().await;
    assert!(end.is_ok(), "{end:?}");
    let (mut through, mut offset) = (0, 0);
    for frame in &frames {
        let Say::Ack(ack) = frame else { panic!("{frame:?}") };
        assert!(ack.through_seq > through && ack.synced_seq >= ack.through_seq, "{ack:?}");
        assert_eq!(range(ack), (Some(offset), Some(10 * ack.through_seq)), "{ack:?}");
        (through, offset) = (ack.through_seq, 10 * ack.through_seq);
    }
    assert_eq!(through, 2000);
    assert!(frames.len() < 2000, "no ack covered more than one append");
}

#[tokio::test]
async fn nack_comes_after_the_acks_of_what_was_before_it() {
    let server = Server::start(Setup::default());
    let mut session = server.session().await;
    session.opened(open_as(1, "f", "p", 1)).await;
    for seq in 1..=50 {
        session.append(append(1, seq, "x\n")).await;
    }
    session.append(append(1, 51, "")).await;
    for seq in 52..=60 {
        session.append(append(1, seq, "x\n")).await;
    }
    session.half_close();
    let (frames, end) = session.drain().await;
    assert!(end.is_ok(), "{end:?}");
    let first_nack = frames.iter().position(|frame| matches!(frame, Say::Nack(_))).unwrap();
    let (acks, nacks) = frames.split_at(first_nack);
    assert!(matches!(acks.last(), Some(Say::Ack(ack)) if ack.through_seq == 50), "{frames:?}");
    for (seq, frame) in (51..=60).zip(nacks) {
        let Say::Nack(nack) = frame else { panic!("{frames:?}") };
        let (code, reason) = match seq {
            51 => (Code::InvalidArgument, Reason::EmptyAppend),
            _ => (Code::Aborted, Reason::EarlierSeqRefused),
        };
        assert_nack(nack, 1, seq, code, reason);
    }
    assert_eq!(nacks.len(), 10);
}

#[tokio::test]
async fn same_appends_sent_twice_over_two_sessions_are_there_once() {
    let server = Server::start(Setup::default());
    for _ in 0..3 {
        let mut session = server.session().await;
        let opened = session.opened(open_as(1, "f", "p", 1)).await;
        for seq in 1..=(opened.last_seq + 40) {
            session.append(append(1, seq, format!("line {seq}\n"))).await;
        }
        let ack = session.acked(1, opened.last_seq + 40).await.unwrap();
        assert_eq!(ack.through_seq, opened.last_seq + 40);
    }
    let expected: String = (1..=120).map(|seq| format!("line {seq}\n")).collect();
    plain_is(&server, "f", &expected).await;
}
