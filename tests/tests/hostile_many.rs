//! As many streams and connections as fit, and more.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::{Ping, WriteRequest, write_request::Frame as Ask};
use inkpot_tests::{
    RawSession, Server,
    harness::{
        PATIENCE,
        honest::{self, HOSTILE_TOKEN, Honest},
        http2::{self, Raw, code, kind},
        memory::{self, MIB},
        wait,
    },
};
use rustix::process::{Resource, getrlimit, setrlimit};

const WRITE: &str = "/inkpot.v1.WriteService/Write";
/// Streams of a connection, as the server has it by default.
const STREAMS: u32 = 64;

/// Lets this process have as many connections as it may.
fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_idle_connections_cost_little_and_the_others_go_on() {
    const CONNECTIONS: usize = 3000;
    /// Of one that has said nothing but its settings.
    const OF_A_CONNECTION: usize = 64 << 10;
    raise_descriptors();
    let server = Server::start(honest::setup());
    let honest = Honest::start(&server).await;
    let before = memory::begin(server.pid());
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut raw = Raw::start(&server, &[]).await;
        // It is served once its settings were taken.
        raw.until("its settings", |frame| frame.kind == kind::SETTINGS && frame.flags & http2::flag::ACK != 0).await;
        idle.push(raw);
    }
    honest.goes_on().await;
    let grown = memory::peak(server.pid()).saturating_sub(before);
    println!("{CONNECTIONS} connections: {} KiB, {} bytes each", grown >> 10, grown / CONNECTIONS);
    let bound = 16 * MIB + CONNECTIONS * OF_A_CONNECTION;
    assert!(grown < bound, "{} MiB more memory, {} MiB is the bound", grown / MIB, bound / MIB);
    drop(idle);
    honest.finish(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_idle_sessions_cost_little_and_the_others_go_on() {
    const CONNECTIONS: usize = 60;
    /// Of a session that has said one thing.
    const OF_A_SESSION: usize = 48 << 10;
    let server = Server::start(honest::setup());
    let honest = Honest::start(&server).await;
    let before = memory::begin(server.pid());
    let ping = WriteRequest { frame: Some(Ask::Ping(Ping { token: 1 })) };
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut raw = Raw::start(&server, &[]).await;
        let streams = (0..STREAMS).map(|number| 2 * number + 1);
        let begin = streams
            .flat_map(|stream| [http2::call(stream, WRITE, HOSTILE_TOKEN), http2::data(stream, &ping, 0)].concat());
        raw.send(&begin.collect::<Vec<u8>>()).await.unwrap();
        for _ in 0..STREAMS {
            raw.until("a Pong", |frame| frame.kind == kind::DATA && !frame.payload.is_empty()).await;
        }
        connections.push(raw);
    }
    honest.goes_on().await;
    let sessions = CONNECTIONS * STREAMS as usize;
    let grown = memory::peak(server.pid()).saturating_sub(before);
    println!("{sessions} sessions: {} KiB, {} bytes each", grown >> 10, grown / sessions);
    let bound = 16 * MIB + sessions * OF_A_SESSION;
    assert!(grown < bound, "{} MiB more memory, {} MiB is the bound", grown / MIB, bound / MIB);
    // One stream more is refused, and the others stay.
    let beyond = 2 * STREAMS + 1;
    let raw = &mut connections[0];
    raw.send(&http2::call(beyond, WRITE, HOSTILE_TOKEN)).await.unwrap();
    let reset = raw.until("a refusal", |frame| frame.kind == kind::RST_STREAM).await;
    assert_eq!((reset.stream, &reset.payload[..]), (beyond, &code::REFUSED_STREAM.to_be_bytes()[..]));
    raw.send(&http2::data(1, &ping, 0)).await.unwrap();
    raw.until("a Pong", |frame| frame.kind == kind::DATA && frame.stream == 1).await;
    drop(connections);
    honest.finish(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_are_closed_and_their_places_come_back() {
    for limit in ["connections", "connections_per_address"] {
        let server = Server::start(honest::setup().config(&format!("[limits]\n{limit} = 3")));
        let honest = Honest::start(&server).await;
        let settings = |frame: &http2::Frame| frame.kind == kind::SETTINGS;
        let mut first = Raw::start(&server, &[]).await;
        first.until("settings", settings).await;
        let mut second = Raw::start(&server, &[]).await;
        second.until("settings", settings).await;
        let mut beyond = Raw::connect(&server).await;
        assert_eq!(beyond.next().await, None, "{limit}: nothing is said to a connection beyond");
        wait::until("it stands in the log", PATIENCE, || server.stderr().contains(&format!("limits.{limit} = 3")))
            .await;
        honest.goes_on().await;
        drop(first);
        wait::until_async("the place is free again", PATIENCE, async || {
            RawSession::start(server.client()).await.is_ok()
        })
        .await;
        honest.stop().await;
    }
}
