//! Connections that send without end what is no call, or calls that they take back: each is told to calm down and closed,
//! memory stays bounded, and a tenant on another connection goes on.
#![allow(clippy::unwrap_used)]

use inkpot_tests::{
    Server,
    harness::{
        honest::{self, HOSTILE_TOKEN, Honest},
        http2::{self, Raw, code, flag, frame, kind},
        memory::{self, MIB},
    },
};

const WRITE: &str = "/inkpot.v1.WriteService/Write";
/// What a flood may cost while it lasts: the buffers of one connection, and streams that end.
const BOUND: usize = 64 * MIB;
/// Frames of a piece that is sent at once.
const PIECE: usize = 100;

/// Floods a server with pieces; the number of each is given, the first is 0. Returns the words of the GOAWAY.
async fn flood(first: &[u8], mut piece: impl FnMut(u32) -> Vec<u8>) -> String {
    let server = Server::start(honest::setup());
    let honest = Honest::start(&server).await;
    let before = memory::begin(server.pid());
    let mut raw = Raw::start(&server, &[]).await;
    raw.send(first).await.unwrap();
    let (mut pieces, mut bytes) = (0, 0);
    let end = raw
        .flood(|| {
            let piece = piece(pieces);
            pieces += 1;
            bytes += piece.len();
            piece
        })
        .await;
    honest.goes_on().await;
    let grown = memory::peak(server.pid()).saturating_sub(before);
    println!("{pieces} pieces, {bytes} bytes, {} KiB more memory at the peak: {:?}", grown >> 10, end.go_away);
    assert!(grown < BOUND, "{} MiB more memory, {} MiB is the bound", grown / MIB, BOUND / MIB);
    honest.finish(&server).await;
    let Some((code, words)) = end.go_away else { panic!("the server closed and did not say why: {}", server.stderr()) };
    assert_eq!(code, code::ENHANCE_YOUR_CALM, "{words}");
    words
}

/// A flood of the same frame.
async fn flood_of(what: Vec<u8>) -> String {
    let piece = what.repeat(PIECE);
    flood(&[], move |_| piece.clone()).await
}

/// The stream with this number of a client.
fn stream(number: u32) -> u32 {
    2 * number + 1
}

const OF_CONTROL_FRAMES: &str = "limits.control_frames_per_second";

#[tokio::test(flavor = "multi_thread")]
async fn ping_flood_is_told_to_calm_down() {
    assert_eq!(flood_of(frame(kind::PING, 0, 0, &[7; 8])).await, OF_CONTROL_FRAMES);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_flood_is_told_to_calm_down() {
    assert_eq!(flood_of(http2::settings_frame(&[(http2::INITIAL_WINDOW_SIZE, 65_535)])).await, OF_CONTROL_FRAMES);
}

#[tokio::test(flavor = "multi_thread")]
async fn priority_flood_is_told_to_calm_down() {
    assert_eq!(flood_of(frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 16])).await, OF_CONTROL_FRAMES);
}

#[tokio::test(flavor = "multi_thread")]
async fn window_update_flood_is_told_to_calm_down() {
    assert_eq!(flood_of(frame(kind::WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())).await, OF_CONTROL_FRAMES);
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_of_frames_of_an_unknown_type_is_told_to_calm_down() {
    assert_eq!(flood_of(frame(200, 0, 0, &[1; 16])).await, OF_CONTROL_FRAMES);
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_data_flood_is_told_to_calm_down() {
    let begin = http2::call(stream(0), WRITE, HOSTILE_TOKEN);
    let piece = frame(kind::DATA, 0, stream(0), &[]).repeat(PIECE);
    flood(&begin, move |_| piece.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_resets_are_told_to_calm_down() {
    // CVE-2023-44487: streams that are taken back at once do not count as concurrent.
    flood(&[], |number| {
        let number = stream(number);
        [http2::call(number, WRITE, HOSTILE_TOKEN), http2::reset(number)].concat()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resets_that_the_server_is_made_to_send_are_told_to_calm_down() {
    // CVE-2025-8671: a window that grows beyond its bound is an error of the stream, for which the server resets it.
    flood(&[], |number| {
        let number = stream(number);
        let too_much = frame(kind::WINDOW_UPDATE, 0, number, &(u32::MAX >> 1).to_be_bytes());
        [http2::call(number, WRITE, HOSTILE_TOKEN), too_much].concat()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn continuation_flood_is_told_to_calm_down() {
    let begin = frame(kind::HEADERS, flag::END_STREAM, stream(0), &http2::block(&[(":method", "POST")]));
    let more = frame(kind::CONTINUATION, 0, stream(0), &http2::block(&[("x-more", &"y".repeat(1000))]));
    flood(&begin, move |_| more.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_of_calls_without_a_token_is_refused_and_costs_no_memory() {
    let server = Server::start(honest::setup());
    let honest = Honest::start(&server).await;
    let before = memory::begin(server.pid());
    let mut raw = Raw::start(&server, &[]).await;
    const CALLS: u32 = 20_000;
    for number in (0..CALLS).step_by(PIECE) {
        let streams = (number..number + PIECE as u32).map(stream);
        let calls: Vec<u8> = streams.flat_map(|stream| http2::call(stream, WRITE, "nobody")).collect();
        raw.send(&calls).await.unwrap();
        // Each is answered at its head, or refused because too many are open: those of this round before the next.
        let mut ended = 0;
        while ended < PIECE {
            let frame = raw.next().await.expect("calls that are refused are no reason to close");
            ended += usize::from(is_end_of_stream(&frame));
        }
    }
    honest.goes_on().await;
    let grown = memory::peak(server.pid()).saturating_sub(before);
    println!("{CALLS} calls, {} KiB more memory at the peak", grown >> 10);
    assert!(grown < BOUND, "{} MiB more memory, {} MiB is the bound", grown / MIB, BOUND / MIB);
    honest.finish(&server).await;
}

fn is_end_of_stream(frame: &http2::Frame) -> bool {
    // An answer in a head of its own is followed by a reset that says that nothing was wrong: that is not another end.
    frame.kind == kind::HEADERS && frame.flags & flag::END_STREAM != 0
        || frame.kind == kind::RST_STREAM && frame.payload != code::NO_ERROR.to_be_bytes()
}
