//! Clients that ask for a lot and take nothing: the answers wait, within a bound, and hold up nobody else.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::{ErrorReason as Reason, ReadRequest, StatRequest, WriteRequest, write_request::Frame as Ask};
use inkpot_tests::{
    RawSession, Server,
    harness::{
        PATIENCE, assert_refused,
        honest::{self, HOSTILE_TOKEN, Honest},
        http2::{self, INITIAL_WINDOW_SIZE, Raw, flag, kind},
        memory::{self, MIB},
        session::{append, open_as, within},
        wait,
    },
};
use std::time::{Duration, Instant};
use tonic::Code;

const WRITE: &str = "/inkpot.v1.WriteService/Write";
const READ: &str = "/inkpot.v1.FileService/Read";
const STREAMS: u32 = 64;
/// Longer than the server waits for a client that reads none of its answers.
const PATIENCE_OF_SERVER: Duration = Duration::from_secs(120);

/// Gives the hostile tenant a file.
async fn make_file(server: &Server, bytes: usize) {
    let mut session = RawSession::start(server.client_as(Some(HOSTILE_TOKEN))).await.unwrap();
    session.opened(open_as(1, "large", "p", 1)).await;
    let pieces = bytes / MIB;
    for seq in 1..=pieces as u64 {
        session.append(append(1, seq, vec![b'x'; MIB])).await;
    }
    session.acked(1, pieces as u64).await.unwrap();
    let plain = server.plain_of("hostile", "large");
    wait::until("the plain file", PATIENCE, || plain.metadata().is_ok_and(|file| file.len() == bytes as u64)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_with_a_zero_window_hold_a_bounded_piece_each() {
    const CONNECTIONS: usize = 4;
    const FILE_BYTES: usize = 64 * MIB;
    /// A few small pieces: on their way to HTTP/2, behind that, and in hand. They grow only as they are taken.
    const OF_A_READER: usize = MIB / 2;
    let server = Server::start(honest::setup());
    make_file(&server, FILE_BYTES).await;
    let honest = Honest::start(&server).await;
    let before = memory::begin(server.pid());
    let request = ReadRequest { path: "large".into(), ..ReadRequest::default() };
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut raw = Raw::start(&server, &[(INITIAL_WINDOW_SIZE, 0)]).await;
        for stream in (0..STREAMS).map(|number| 2 * number + 1) {
            let call =
                [http2::call(stream, READ, HOSTILE_TOKEN), http2::data(stream, &request, flag::END_STREAM)].concat();
            raw.send(&call).await.unwrap();
        }
        for _ in 0..STREAMS {
            raw.until("the head of an answer", |frame| frame.kind == kind::HEADERS).await;
        }
        connections.push(raw);
    }
    honest.goes_on().await;
    let readers = CONNECTIONS * STREAMS as usize;
    let grown = memory::peak(server.pid()).saturating_sub(before);
    println!("{readers} readers of {FILE_BYTES} bytes: {} KiB, {} each", grown >> 10, grown / readers);
    let bound = 16 * MIB + readers * OF_A_READER;
    assert!(grown < bound, "{} MiB more memory, {} MiB is the bound", grown / MIB, bound / MIB);
    // One that opens its window gets what it asked for.
    let raw = &mut connections[0];
    raw.send(&http2::frame(kind::WINDOW_UPDATE, 0, 1, &1000_u32.to_be_bytes())).await.unwrap();
    let piece = raw.until("content", |frame| frame.kind == kind::DATA).await;
    assert_eq!((piece.stream, piece.payload.len()), (1, 1000));
    drop(connections);
    honest.finish(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn session_whose_answers_are_never_taken_is_ended_and_gives_its_place_back() {
    let limits = "[limits]\nsessions = 2\nsession_appends_in_flight = 1000";
    let server = Server::start(honest::setup().config(limits));
    let honest = Honest::start(&server).await;
    let before = memory::begin(server.pid());
    let mut raw = Raw::start_and_settle(&server, &[(INITIAL_WINDOW_SIZE, 0)]).await;
    let ask = |frame| http2::data(1, &WriteRequest { frame: Some(frame) }, 0);
    raw.send(&http2::call(1, WRITE, HOSTILE_TOKEN)).await.unwrap();
    raw.send(&ask(Ask::Open(open_as(1, "f", "p", 1)))).await.unwrap();
    // More than may be unanswered, and less than the window: the server stops reading in the middle.
    for seq in 1..=20_000 {
        raw.send(&ask(Ask::Append(append(1, seq, "x\n")))).await.unwrap();
    }
    let full = RawSession::start(server.client()).await.expect_err("no place is left");
    assert_eq!(full.code(), Code::ResourceExhausted, "{full:?}");
    let place = wait::until_async("the place of the session comes back", PATIENCE_OF_SERVER, async || {
        RawSession::start(server.client()).await.is_ok()
    });
    tokio::select! {
        () = place => {}
        () = raw.stay() => {}
    }
    honest.goes_on().await;
    let grown = memory::peak(server.pid()).saturating_sub(before);
    println!("{} KiB more memory at the peak", grown >> 10);
    assert!(grown < 32 * MIB, "{} MiB more memory", grown / MIB);
    honest.finish(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reader_that_takes_nothing_is_ended_and_can_read_on_and_followers_without_news_stay() {
    let server = Server::start(honest::setup().config("[limits]\nread_stall = '2s'"));
    make_file(&server, 16 * MIB).await;
    let honest = Honest::start(&server).await;
    let follow = ReadRequest { path: "large".into(), follow: true, offset: -1, ..ReadRequest::default() };
    let mut files = server.files_as(Some(HOSTILE_TOKEN));
    let mut quiet = files.read(follow).await.unwrap().into_inner();
    assert_eq!(within(PATIENCE, "the last byte", quiet.message()).await.unwrap().unwrap().data.len(), 1);
    let before = Instant::now();
    let request = ReadRequest { path: "large".into(), ..ReadRequest::default() };
    let mut stuck = files.read(request).await.unwrap().into_inner();
    let first = within(PATIENCE, "a piece", stuck.message()).await.unwrap().unwrap();
    // Nothing tells that its time is over before it is read on: ten times as long will do.
    tokio::time::sleep(Duration::from_secs(20)).await;
    let mut came = first.data.len();
    let ended = loop {
        match within(PATIENCE, "a piece, or the end", stuck.message()).await {
            Ok(piece) => came += piece.expect("the file is longer than what goes out ahead").data.len(),
            Err(ended) => break ended,
        }
    };
    let detail = assert_refused(&ended, Code::ResourceExhausted, Reason::QuotaExceeded);
    assert_eq!(detail.limit.as_deref(), Some("limits.read_stall"));
    assert!(ended.message().contains("large") && ended.message().contains("hostile"), "{ended}");
    assert!(came < 16 * MIB && before.elapsed() > Duration::from_secs(2), "{came}");
    let on = ReadRequest { path: "large".into(), offset: came as i64, limit: 1, ..ReadRequest::default() };
    let mut on = files.read(on).await.unwrap().into_inner();
    assert_eq!(within(PATIENCE, "a byte", on.message()).await.unwrap().unwrap().offset, came as u64);
    let mut session = RawSession::start(server.client_as(Some(HOSTILE_TOKEN))).await.unwrap();
    session.opened(open_as(1, "large", "p", 2)).await;
    session.write(1, 1, "news").await.unwrap();
    let news = within(PATIENCE, "news", quiet.message()).await.unwrap().unwrap();
    assert_eq!(&news.data[..], b"news", "who has nothing to be told is no stalled reader");
    honest.finish(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_a_tenant_beyond_its_limit_are_refused_and_another_tenant_reads() {
    let server = Server::start(honest::setup().config("[tenants.hostile.limits]\nreads = 2"));
    make_file(&server, MIB).await;
    let honest = Honest::start(&server).await;
    let follow = |path: &str| ReadRequest { path: path.to_owned(), follow: true, ..ReadRequest::default() };
    let mut files = server.files_as(Some(HOSTILE_TOKEN));
    let mut readers = Vec::new();
    for _ in 0..2 {
        readers.push(files.read(follow("large")).await.unwrap());
    }
    let status = within(PATIENCE, "an answer", files.read(follow("large"))).await.expect_err("no place is left");
    let detail = assert_refused(&status, Code::ResourceExhausted, Reason::QuotaExceeded);
    assert_eq!(detail.limit.as_deref(), Some("reads"));
    for word in ["tenant hostile", "reads = 2", "raise the limit"] {
        assert!(status.message().contains(word), "{status}");
    }
    assert!(server.files().read(follow("honest.log")).await.is_ok());
    readers.pop();
    wait::until_async("the place comes back", PATIENCE, async || files.clone().read(follow("large")).await.is_ok())
        .await;
    honest.finish(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn client_that_fills_its_window_with_records_of_a_byte_is_not_cut() {
    let server = Server::start(honest::setup().config("[limits]\nsession_appends_in_flight = 1000"));
    let honest = Honest::start(&server).await;
    let mut raw = Raw::start(&server, &[(INITIAL_WINDOW_SIZE, 0)]).await;
    let settings = raw.until("settings", |frame| frame.kind == kind::SETTINGS && frame.flags & flag::ACK == 0).await;
    let (settings, _) = settings.payload.as_chunks::<6>();
    let window = settings.iter().find(|setting| setting[..2] == INITIAL_WINDOW_SIZE.to_be_bytes()).unwrap();
    let mut window = u32::from_be_bytes(window[2..].try_into().unwrap()) as usize;
    raw.until("the window of the connection", |frame| frame.kind == kind::WINDOW_UPDATE && frame.stream == 0).await;
    let ask = |frame| http2::data(1, &WriteRequest { frame: Some(frame) }, 0);
    let mut batch = http2::frame(kind::SETTINGS, flag::ACK, 0, &[]);
    batch.extend(http2::call(1, WRITE, HOSTILE_TOKEN));
    let begin = ask(Ask::Open(open_as(1, "f", "p", 1)));
    window -= begin.len() - http2::HEAD_BYTES;
    batch.extend(begin);
    // It keeps to its window, and takes no answers meanwhile: so the server stops reading after the first thousands.
    let mut seq = 0;
    loop {
        let append = ask(Ask::Append(append(1, seq + 1, "x")));
        let Some(left) = window.checked_sub(append.len() - http2::HEAD_BYTES) else { break };
        (window, seq) = (left, seq + 1);
        batch.extend(append);
        if batch.len() > MIB / 8 {
            raw.send(&std::mem::take(&mut batch)).await.unwrap();
        }
    }
    batch.extend(http2::frame(kind::DATA, flag::END_STREAM, 1, &[]));
    raw.send(&batch).await.unwrap();
    honest.goes_on().await;
    let more = (1_u32 << 30).to_be_bytes();
    raw.send(&http2::frame(kind::WINDOW_UPDATE, 0, 0, &more)).await.unwrap();
    raw.send(&http2::frame(kind::WINDOW_UPDATE, 0, 1, &more)).await.unwrap();
    let end = loop {
        let came = raw.next().await.unwrap_or_else(|| panic!("the server closed: {}", server.stderr()));
        assert_ne!(
            came.kind,
            kind::GOAWAY,
            "the server ends the connection: {:?}",
            String::from_utf8_lossy(&came.payload)
        );
        if came.kind == kind::HEADERS && came.flags & flag::END_STREAM != 0 {
            break came;
        }
    };
    assert_eq!(end.stream, 1);
    let request = StatRequest { path: "f".into() };
    let file = server.files_as(Some(HOSTILE_TOKEN)).stat(request).await.unwrap().into_inner().file.unwrap();
    assert_eq!(file.size, seq, "each of them was taken, once");
    println!("{seq} records of a byte, each in a frame of its own");
    honest.finish(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_beyond_the_limit_are_refused_and_their_places_come_back() {
    let server = Server::start(honest::setup().config("[limits]\nreads = 1"));
    let honest = Honest::start(&server).await;
    let follow = || ReadRequest { path: "honest.log".into(), follow: true, ..ReadRequest::default() };
    let first = server.files().read(follow()).await.unwrap();
    let status = within(PATIENCE, "an answer", server.files().read(follow())).await.expect_err("no place is left");
    let detail = assert_refused(&status, Code::ResourceExhausted, Reason::QuotaExceeded);
    assert_eq!(detail.limit.as_deref(), Some("limits.reads"));
    drop(first);
    wait::until_async("the place comes back", PATIENCE, async || server.files().read(follow()).await.is_ok()).await;
    honest.stop().await;
}
