//! Connections that say nothing, too little, or one byte after the other: each has a time, and is closed after it.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::{ReadRequest, WriteRequest, write_request::Frame as Ask};
use inkpot_tests::{
    RawSession, Server,
    harness::{
        PATIENCE,
        honest::{self, HOSTILE_TOKEN, Honest},
        http2::{self, Raw, code, flag, frame, kind},
        session::{open, unary},
        wait,
    },
};
use std::time::{Duration, Instant};

const WRITE: &str = "/inkpot.v1.WriteService/Write";
/// Time that the servers here give: enough for an honest client on a machine that is busy with other tests.
const TIME: &str = "2s";
/// Between two bytes of a slow writer, who needs much longer than that for what it writes.
const PAUSE: Duration = Duration::from_millis(200);

/// A server that gives this [`TIME`].
fn server(limit: &str) -> Server {
    Server::start(honest::setup().config(&format!("[limits]\n{limit} = {TIME:?}")))
}

/// Sends one byte after the other, and panics if the server takes them all.
async fn dribble(raw: Raw, bytes: &[u8]) -> http2::End {
    raw.send_slowly(PAUSE, bytes.iter().map(|byte| vec![*byte])).await
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_that_never_speaks_is_closed_at_the_handshake_deadline() {
    let server = server("handshake");
    let honest = Honest::start(&server).await;
    let mut silent = Raw::connect(&server).await;
    let mut half = Raw::connect(&server).await;
    half.send(&http2::PREFACE[..10]).await.unwrap();
    let mut preface_only = Raw::connect(&server).await;
    preface_only.send(http2::PREFACE).await.unwrap();
    for raw in [&mut silent, &mut half, &mut preface_only] {
        assert_eq!(raw.end().await.go_away, None, "who has not spoken is told nothing");
    }
    honest.goes_on().await;
    honest.finish(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn preface_byte_after_byte_is_closed_at_the_handshake_deadline() {
    let server = server("handshake");
    let honest = Honest::start(&server).await;
    let slow = [http2::PREFACE, &http2::settings_frame(&[(http2::INITIAL_WINDOW_SIZE, 65_535)])].concat();
    let end = dribble(Raw::connect(&server).await, &slow).await;
    assert_eq!(end.go_away, None, "who has not spoken is told nothing");
    honest.finish(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frame_byte_after_byte_is_told_to_calm_down_at_the_frame_deadline() {
    let server = server("frame");
    let honest = Honest::start(&server).await;
    let raw = Raw::start(&server, &[]).await;
    let slow = http2::call(1, WRITE, HOSTILE_TOKEN);
    let end = dribble(raw, &slow).await;
    assert_eq!(end.go_away, Some((code::ENHANCE_YOUR_CALM, "limits.frame".to_owned())));
    honest.goes_on().await;
    honest.finish(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn header_block_that_is_never_complete_is_told_to_calm_down() {
    let server = server("frame");
    let mut raw = Raw::start(&server, &[]).await;
    raw.send(&frame(kind::HEADERS, 0, 1, &http2::block(&[(":method", "POST")]))).await.unwrap();
    assert_eq!(raw.end().await.go_away, Some((code::ENHANCE_YOUR_CALM, "limits.frame".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_without_a_call_is_closed_and_one_with_a_session_stays() {
    let server = server("connection_idle");
    let mut session = server.session().await;
    session.opened(open(1, "f")).await;
    let mut idle = Raw::start(&server, &[]).await;
    assert_eq!(idle.end().await.go_away, Some((code::NO_ERROR, "limits.connection_idle".to_owned())));
    session.write(1, 1, "after more than the idle time\n").await.unwrap();
    // A client whose connection was closed for that connects anew, without an error.
    let mut client = server.client();
    let mut another = RawSession::start(client.clone()).await.unwrap();
    another.ping(1).await;
    drop(another);
    for _ in 0..2 {
        Raw::start(&server, &[]).await.end().await;
    }
    client.append(unary("g", "x")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_message_ends_at_the_first_message_deadline() {
    let server = server("first_message");
    let honest = Honest::start(&server).await;
    let mut raw = Raw::start(&server, &[]).await;
    raw.send(&http2::call(1, WRITE, HOSTILE_TOKEN)).await.unwrap();
    let message = WriteRequest { frame: Some(Ask::Open(open(1, "f"))) };
    let whole = http2::message_bytes(&message);
    raw.send(&frame(kind::DATA, 0, 1, &whole[..whole.len() / 2])).await.unwrap();
    raw.until("the end of the call", |frame| {
        frame.kind == kind::HEADERS && frame.flags & flag::END_STREAM != 0 && frame.stream == 1
    })
    .await;
    honest.goes_on().await;
    honest.finish(&server).await;
    assert!(!server.plain_of("hostile", "f").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn peer_that_answers_no_ping_is_closed_with_its_session() {
    let server = Server::start(honest::setup());
    let mut raw = Raw::start(&server, &[]).await;
    raw.send(&http2::call(1, WRITE, HOSTILE_TOKEN)).await.unwrap();
    raw.send(&http2::data(1, &WriteRequest { frame: Some(Ask::Open(open(1, "f"))) }, 0)).await.unwrap();
    raw.until("the answer to the open", |frame| frame.kind == kind::DATA).await;
    // Asked after 30 s, and given 10 s to answer.
    raw.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peer_whose_socket_takes_nothing_is_closed_at_the_frame_deadline() {
    let server = Server::start(honest::setup().config(&format!("[limits]\nframe = {TIME:?}\nreads = 1")));
    let mut hostile = RawSession::start(server.client_as(Some(HOSTILE_TOKEN))).await.unwrap();
    hostile.opened(open(1, "large")).await;
    for seq in 1..=16 {
        hostile.write(1, seq, "x".repeat(1 << 20)).await.unwrap();
    }
    let honest = Honest::start(&server).await;
    // Windows of HTTP/2 for everything, and none of TCP.
    let window = i32::MAX as u32;
    let mut deaf = Raw::start_deaf(&server, &[(http2::INITIAL_WINDOW_SIZE, window)]).await;
    deaf.send(&frame(kind::WINDOW_UPDATE, 0, 0, &(window - 65_535).to_be_bytes())).await.unwrap();
    let request = ReadRequest { path: "large".into(), ..ReadRequest::default() };
    deaf.send(&http2::call(1, "/inkpot.v1.FileService/Read", HOSTILE_TOKEN)).await.unwrap();
    deaf.send(&http2::data(1, &request, flag::END_STREAM)).await.unwrap();
    let head = deaf.until("the head of the answer", |frame| frame.kind == kind::HEADERS).await;
    assert_eq!(head.flags & flag::END_STREAM, 0, "it has the only place of a reader");
    let begun = Instant::now();
    let read = async || {
        let request = ReadRequest { path: "honest.log".into(), ..ReadRequest::default() };
        server.files().read(request).await.is_ok()
    };
    assert!(!read().await, "no other place is there");
    wait::until_async("the place comes back", PATIENCE, read).await;
    // Not for a ping without an answer, which takes 40 s.
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    honest.goes_on().await;
    honest.finish(&server).await;
    drop(deaf);
}
