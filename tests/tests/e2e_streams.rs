//! How sessions end: by the client half-closing, vanishing or never speaking, and by deadlines.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::{Admission, ErrorReason as Reason, GetWriteStateRequest, Open, write_response::Frame as Say};
use inkpot_tests::{
    RawSession, Server, Setup,
    harness::{
        assert_refused,
        session::{append, open, open_as, unary},
        wait,
    },
};
use std::{fs, time::Duration};
use tonic::{Code, Request};

const BOUND: Duration = Duration::from_secs(30);

fn lines(range: std::ops::RangeInclusive<u64>) -> String {
    range.map(|seq| format!("line {seq}\n")).collect()
}

async fn last_seq(server: &Server, path: &str, producer: &str) -> u64 {
    let request = GetWriteStateRequest { path: path.into(), producer_id: producer.into() };
    server.client().get_write_state(request).await.unwrap().into_inner().last_seq
}

#[tokio::test]
async fn half_closed_stream_gets_all_its_acks_and_ends_ok() {
    let server = Server::start(Setup::default());
    let mut session = server.session().await;
    session.opened(open_as(1, "f", "p", 1)).await;
    for seq in 1..=1000 {
        session.append(append(1, seq, format!("line {seq}\n"))).await;
    }
    session.half_close();
    let (frames, end) = session.drain().await;
    assert!(end.is_ok(), "{end:?}");
    let Some(Say::Ack(last)) = frames.last() else { panic!("{frames:?}") };
    assert_eq!((last.through_seq, last.end_offset), (1000, Some(lines(1..=1000).len() as u64)));
    let plain = server.plain("f");
    wait::until("the plain file", BOUND, || fs::read(&plain).is_ok_and(|b| b == lines(1..=1000).as_bytes())).await;
}

#[tokio::test]
async fn half_closed_at_once_gets_the_answer_to_its_open() {
    let server = Server::start(Setup::default());
    let mut session = server.session().await;
    session.frame(inkpot_proto::v1::write_request::Frame::Open(open_as(1, "f", "p", 0))).await;
    session.append(append(1, 1, "x\n")).await;
    session.half_close();
    let (frames, end) = session.drain().await;
    assert!(end.is_ok(), "{end:?}");
    assert!(matches!(&frames[..], [Say::Opened(_), Say::Ack(ack)] if ack.through_seq == 1), "{frames:?}");
}

#[tokio::test]
async fn empty_stream_ends_ok_and_without_a_word() {
    let server = Server::start(Setup::default());
    let mut session = server.session().await;
    session.half_close();
    let (frames, end) = session.drain().await;
    assert!(end.is_ok() && frames.is_empty(), "{frames:?} {end:?}");
}

#[tokio::test]
async fn abandoned_stream_leaves_what_was_taken_and_gives_its_permits_back() {
    let small = "[tenant_defaults]\nwrites_in_flight = 100\nflush = { records = 100000, delay = \"300ms\" }";
    let server = Server::start(Setup::default().config(small));
    for round in 0..5_u64 {
        let mut session = server.session().await;
        session.opened(open_as(1, "f", "p", 1)).await;
        for n in 1..=20 {
            session.append(append(1, round * 20 + n, format!("line {}\n", round * 20 + n))).await;
        }
        // Read, and not yet committed: the policy lets them gather.
        session.ping(round).await;
        drop(session);
        wait::until_async("what was taken is committed", BOUND, async || {
            last_seq(&server, "f", "p").await == round * 20 + 20
        })
        .await;
    }
    let plain = server.plain("f");
    wait::until("the plain file", BOUND, || fs::read(&plain).is_ok_and(|b| b == lines(1..=100).as_bytes())).await;
    // All permits are there: as many as there are are admitted at once.
    let mut session = server.session().await;
    session.opened(Open { admission: Admission::Reject.into(), ..open(1, "g") }).await;
    for seq in 1..=100 {
        session.append(append(1, seq, "x")).await;
    }
    session.acked(1, 100).await.unwrap();
}

#[tokio::test]
async fn stream_abandoned_while_it_waits_for_room_leaves_a_prefix_and_no_permit() {
    let small = "[tenant_defaults]\nwrites_in_flight = 4";
    let server = Server::start(Setup::default().config(small));
    for round in 0..20 {
        let path = format!("f{round}");
        let mut session = server.session().await;
        session.opened(open_as(1, &path, "p", 1)).await;
        for seq in 1..=64 {
            session.append(append(1, seq, format!("line {seq}\n"))).await;
        }
        drop(session);
    }
    let mut session = server.session().await;
    session.opened(Open { admission: Admission::Reject.into(), ..open(1, "last") }).await;
    wait::until_async("all permits are back", BOUND, async || {
        // Four at once are admitted only if no other append is in flight.
        let mut probe = server.session().await;
        probe.opened(Open { admission: Admission::Reject.into(), ..open(1, "probe") }).await;
        for seq in 1..=4 {
            probe.append(append(1, seq, "x")).await;
        }
        probe.acked(1, 4).await.is_ok()
    })
    .await;
    for round in 0..20 {
        let taken = last_seq(&server, &format!("f{round}"), "p").await;
        let plain = server.plain(&format!("f{round}"));
        wait::until("the plain file is a prefix of whole appends", BOUND, || {
            fs::read(&plain).unwrap_or_default() == lines(1..=taken).as_bytes()
        })
        .await;
    }
}

#[tokio::test]
async fn session_that_says_nothing_ends_at_the_first_message_deadline() {
    let server = Server::start(Setup::default().config("[limits]\nfirst_message = \"1s\""));
    let mut spoke = server.session().await;
    spoke.ping(1).await;
    let mut silent = server.session().await;
    let (frames, end) = silent.drain().await;
    assert!(frames.is_empty(), "{frames:?}");
    let detail = assert_refused(&end.unwrap_err(), Code::DeadlineExceeded, Reason::Deadline);
    assert_eq!(detail.limit.as_deref(), Some("limits.first_message"));
    // One that has spoken may be silent for longer.
    spoke.opened(open(1, "f")).await;
    spoke.write(1, 1, "x").await.unwrap();
}

#[tokio::test]
async fn sessions_beyond_the_cap_are_refused_and_their_places_come_back() {
    let server = Server::start(Setup::default().config("[limits]\nsessions = 2"));
    let mut first = server.session().await;
    first.ping(1).await;
    let second = server.session().await;
    let status = RawSession::start(server.client()).await.expect_err("no place");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    drop(second);
    wait::until_async("the place is free again", BOUND, async || match RawSession::start(server.client()).await {
        Ok(mut session) => {
            session.ping(1).await;
            true
        }
        Err(status) => {
            assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
            false
        }
    })
    .await;
    first.ping(2).await;
}

#[tokio::test]
async fn nonsense_deadline_is_invalid_and_a_passed_one_applies_nothing() {
    let server = Server::start(Setup::default());
    for nonsense in ["soon", "123456789S", "1", "-1S", "S"] {
        let mut request = Request::new(unary("f", "x"));
        request.metadata_mut().insert("grpc-timeout", nonsense.parse().unwrap());
        let status = server.client().append(request).await.expect_err(nonsense);
        assert_refused(&status, Code::InvalidArgument, Reason::InvalidField);
    }
    assert!(!server.plain("f").exists());
}

#[tokio::test]
async fn many_sessions_on_one_connection_are_each_their_own() {
    let server = Server::start(Setup::default());
    let client = server.client();
    let mut sessions = Vec::new();
    for number in 0..50 {
        let mut session = RawSession::start(client.clone()).await.unwrap();
        session.opened(open(1, &format!("f{number}"))).await;
        sessions.push(session);
    }
    for (number, session) in sessions.iter_mut().enumerate() {
        session.write(1, 1, format!("{number}\n")).await.unwrap();
    }
    // Half of them vanish, the others do not notice.
    sessions.truncate(25);
    for (number, session) in sessions.iter_mut().enumerate() {
        let ack = session.write(1, 2, format!("{number}\n")).await.unwrap();
        assert_eq!(ack.end_offset, Some(2 * (format!("{number}\n").len() as u64)));
    }
}
