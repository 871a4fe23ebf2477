//! A tail gives each byte once, whatever the server does.

use super::in_time;
use crate::{
    Client, Code, Error, ErrorKind, ErrorReason, Lines, Tail, TailOptions, Transition,
    fake::{Fault, Feed},
};
use futures_util::{FutureExt, StreamExt};
use inkpot_proto::{error::Refused, v1::ReadResponse};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tonic::Status;

const PATIENCE: Duration = Duration::from_millis(200);
const TEXT: &[u8] = b"one\ntwo and more\n\nfour\n";

async fn tail(feed: &Feed, offset: i64) -> Tail {
    let client = Client::builder(&feed.endpoint).give_up_after(PATIENCE).connect().await.unwrap();
    client.files().tail("f", TailOptions { offset, ..TailOptions::default() })
}

/// The next bytes, whole pieces of them, each of which must begin where the last one ended.
async fn bytes(tail: &mut Tail, from: u64, count: usize) -> Vec<u8> {
    let mut found = Vec::new();
    while found.len() < count {
        let piece = in_time(tail.next()).await.unwrap().unwrap();
        assert_eq!((piece.offset, piece.data.is_empty()), (from + found.len() as u64, false));
        found.extend_from_slice(&piece.data);
    }
    found
}

async fn last(tail: &mut Tail) -> Error {
    let error = loop {
        if let Err(error) = in_time(tail.next()).await.unwrap() {
            break error;
        }
    };
    assert!(in_time(tail.next()).await.is_none(), "an error is the last item");
    assert_eq!(error.file(), Some("f"));
    error
}

fn refuse(reason: ErrorReason) -> Status {
    Refused::new(reason, "so the script says").to_status()
}

fn offsets(feed: &Feed) -> Vec<i64> {
    feed.content(|content| content.requests.iter().map(|request| request.offset).collect())
}

#[tokio::test]
async fn pieces_come_as_the_file_grows() {
    let feed = Feed::start([]);
    let mut tail = tail(&feed, 0).await;
    assert!(tail.next().now_or_never().is_none());
    for round in 0..3 {
        feed.append(TEXT);
        let from = round * TEXT.len() as u64;
        assert_eq!(bytes(&mut tail, from, TEXT.len()).await, TEXT);
    }
    assert_eq!(offsets(&feed), [0]);
}

#[tokio::test]
async fn server_that_dies_and_returns_is_resumed_behind_the_last_byte() {
    let mut feed = Feed::start([]);
    let retries = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&retries);
    let client = Client::builder(&feed.endpoint).connect().await.unwrap();
    let tail = client.files().tail("f", TailOptions::default());
    let mut tail = tail.on_retry(move |error, next| seen.lock().unwrap().push((error.kind(), next)));
    for round in 0..3 {
        feed.append(TEXT);
        let from = round * TEXT.len() as u64;
        assert_eq!(bytes(&mut tail, from, TEXT.len()).await, TEXT);
        feed.die();
        assert!(tail.next().now_or_never().is_none(), "goes on trying");
        feed.rise();
    }
    let retries = retries.lock().unwrap();
    assert!(retries.len() >= 2);
    assert!(retries.iter().all(|(kind, next)| *kind == ErrorKind::Transport && next.is_some()), "{retries:?}");
    let resumed = feed.content(|content| content.requests.last().cloned()).unwrap();
    assert_eq!((resumed.offset, resumed.if_generation), (2 * TEXT.len() as i64, Some(7)));
}

#[tokio::test]
async fn ends_and_passing_refusals_anywhere_lose_and_repeat_nothing() {
    let gone = Status::unavailable("connection reset");
    for pieces in 0..4 {
        let feed = Feed::start([
            Fault::Refuse(gone.clone()),
            Fault::End(pieces, Some(gone.clone())),
            Fault::End(pieces, None),
            Fault::Refuse(refuse(ErrorReason::Draining)),
            Fault::End(pieces, Some(refuse(ErrorReason::ShardClosed))),
        ]);
        feed.append(TEXT);
        let client = Client::builder(&feed.endpoint).connect().await.unwrap();
        let mut tail = client.files().tail("f", TailOptions::default());
        assert_eq!(bytes(&mut tail, 0, TEXT.len()).await, TEXT, "{pieces}");
        let expected = [0, 0, 1, 2, 2, 3].map(|ends| (ends * pieces * 5).min(TEXT.len()) as i64);
        assert!(offsets(&feed).iter().zip(expected).all(|(asked, expected)| *asked == expected), "{pieces}");
    }
}

#[tokio::test]
async fn offset_from_the_end_is_kept_as_a_place_once_it_is_known() {
    let feed = Feed::start([Fault::Refuse(Status::unavailable("")), Fault::End(1, None)]);
    feed.append(TEXT);
    let mut tail = tail(&feed, -7).await;
    let from = TEXT.len() as u64 - 7;
    assert_eq!(bytes(&mut tail, from, 5).await, &TEXT[16..21]);
    feed.append("more\n");
    assert_eq!(bytes(&mut tail, from + 5, 7).await, b"r\nmore\n");
    assert_eq!(offsets(&feed), [-7, -7, 21]);
}

#[tokio::test]
async fn empty_file_gives_no_empty_piece_but_a_place() {
    let feed = Feed::start([Fault::End(1, None)]);
    let mut tail = tail(&feed, -10).await;
    assert!(tail.next().now_or_never().is_none());
    super::until(|| {
        assert!(tail.next().now_or_never().is_none());
        offsets(&feed).len() == 2
    })
    .await;
    feed.append("x");
    assert_eq!(bytes(&mut tail, 0, 1).await, b"x");
    assert_eq!(offsets(&feed), [-10, 0]);
}

/// What became of the file, and the generation after that.
async fn turn(tail: &mut Tail) -> (Transition, u64) {
    let piece = in_time(tail.next()).await.unwrap().unwrap();
    assert!(piece.data.is_empty());
    (piece.transition(), piece.generation)
}

#[tokio::test]
async fn generation_that_is_not_there_from_the_beginning_is_an_error() {
    let changed = || Fault::Refuse(refuse(ErrorReason::GenerationChanged));
    let late = Fault::End(0, Some(refuse(ErrorReason::GenerationChanged)));
    let feed = Feed::start([changed(), late]);
    let client = Client::builder(&feed.endpoint).connect().await.unwrap();
    for _ in 0..2 {
        let options = TailOptions { offset: 0, if_generation: Some(6) };
        let error = last(&mut client.files().tail("f", options)).await;
        assert_eq!((error.reason(), error.code()), (Some(ErrorReason::GenerationChanged), Code::FailedPrecondition));
        assert!(!error.retryable());
    }
}

#[tokio::test]
async fn rotation_replacement_and_deletion_are_told_and_gone_over() {
    let feed = Feed::start([]);
    feed.append("old");
    let mut tail = tail(&feed, 0).await;
    assert_eq!(bytes(&mut tail, 0, 3).await, b"old");
    feed.turn(Transition::Rotated, 8, "new");
    assert_eq!(turn(&mut tail).await, (Transition::Rotated, 8));
    assert_eq!(bytes(&mut tail, 0, 3).await, b"new");
    feed.turn(Transition::Replaced, 9, "other");
    assert_eq!(turn(&mut tail).await, (Transition::Replaced, 9));
    assert_eq!(bytes(&mut tail, 0, 5).await, b"other");
    feed.turn(Transition::Deleted, 0, "");
    assert_eq!(turn(&mut tail).await, (Transition::Deleted, 0));
    feed.turn(Transition::Created, 11, "again");
    assert_eq!(turn(&mut tail).await, (Transition::Created, 11));
    assert_eq!(bytes(&mut tail, 0, 5).await, b"again");
    assert_eq!(offsets(&feed), [0], "one read saw all of it");
}

#[tokio::test]
async fn tail_asks_for_the_content_where_it_was_and_goes_over_if_that_is_gone() {
    let mut feed = Feed::start([]);
    feed.append("old");
    let client = Client::builder(&feed.endpoint).connect().await.unwrap();
    let mut tail = client.files().tail("f", TailOptions::default());
    assert_eq!(bytes(&mut tail, 0, 3).await, b"old");
    feed.die();
    feed.turn(Transition::Replaced, 9, "other");
    feed.content(|content| content.faults.push_back(Fault::Refuse(refuse(ErrorReason::GenerationChanged))));
    feed.rise();
    assert_eq!(turn(&mut tail).await, (Transition::Replaced, 0));
    assert_eq!(bytes(&mut tail, 0, 5).await, b"other");
    let asked: Vec<_> = feed
        .content(|content| content.requests.iter().map(|request| (request.offset, request.if_generation)).collect());
    assert_eq!(asked, [(0, None), (3, Some(7)), (0, None)]);
}

#[tokio::test]
async fn file_that_comes_again_while_there_is_no_connection_is_told_as_created() {
    let mut feed = Feed::start([]);
    feed.append("old");
    let client = Client::builder(&feed.endpoint).connect().await.unwrap();
    let mut tail = client.files().tail("f", TailOptions::default());
    assert_eq!(bytes(&mut tail, 0, 3).await, b"old");
    feed.turn(Transition::Deleted, 0, "");
    assert_eq!(turn(&mut tail).await, (Transition::Deleted, 0));
    feed.die();
    feed.turn(Transition::Created, 11, "again");
    feed.rise();
    assert_eq!(turn(&mut tail).await, (Transition::Created, 11));
    assert_eq!(bytes(&mut tail, 0, 5).await, b"again");
}

#[tokio::test]
async fn content_that_changes_without_a_word_is_not_believed() {
    let wrong = ReadResponse { offset: 5, data: "wrong".into(), generation: 8, ..ReadResponse::default() };
    let feed = Feed::start([Fault::End(1, None), Fault::Wrong(wrong)]);
    feed.append(TEXT);
    let error = last(&mut tail(&feed, 0).await).await;
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.message().contains("generation 8 in generation 7"), "{error}");
}

#[tokio::test]
async fn unfinished_line_is_given_when_its_content_ends() {
    let feed = Feed::start([]);
    feed.append("one\nunfinished");
    let mut lines = tail(&feed, 0).await.lines(100);
    let next = async |lines: &mut Lines| {
        let line = in_time(lines.next()).await.unwrap().unwrap();
        (line.offset, line.generation, String::from_utf8(line.data.to_vec()).unwrap())
    };
    assert_eq!(next(&mut lines).await, (0, 7, "one\n".to_owned()));
    super::until(|| {
        assert!(lines.next().now_or_never().is_none(), "an unfinished line waits");
        lines.unfinished() == "unfinished".len()
    })
    .await;
    feed.turn(Transition::Rotated, 8, "two\nthree\n");
    assert_eq!(next(&mut lines).await, (4, 7, "unfinished".to_owned()));
    assert_eq!(next(&mut lines).await, (0, 8, "two\n".to_owned()));
    assert_eq!(next(&mut lines).await, (4, 8, "three\n".to_owned()));
}

#[tokio::test]
async fn what_does_not_pass_is_said_at_once() {
    for reason in [ErrorReason::OutOfRange, ErrorReason::Unauthenticated, ErrorReason::Damaged] {
        let feed = Feed::start([Fault::End(1, None), Fault::Refuse(refuse(reason))]);
        feed.append(TEXT);
        let error = last(&mut tail(&feed, 0).await).await;
        assert_eq!((error.reason(), error.kind()), (Some(reason), ErrorKind::Refused));
        assert_eq!(offsets(&feed), [0, 5]);
    }
    let client = Client::builder("127.0.0.1:1").connect().await.unwrap();
    let error = in_time(client.files().tail("../up", TailOptions::default()).next()).await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::InvalidPath));
}

#[tokio::test]
async fn piece_that_is_not_the_next_one_is_not_believed() {
    for offset in [0, 4, 6] {
        let wrong =
            ReadResponse { offset, data: "wrong".into(), generation: 7, end_offset: 9, ..ReadResponse::default() };
        let feed = Feed::start([Fault::End(1, None), Fault::Wrong(wrong)]);
        feed.append(TEXT);
        let mut tail = tail(&feed, 0).await;
        assert_eq!(bytes(&mut tail, 0, 5).await, &TEXT[..5]);
        assert_eq!(last(&mut tail).await.kind(), ErrorKind::Protocol);
    }
}

#[tokio::test]
async fn dead_server_is_given_up_with_the_reason_and_the_place() {
    let mut feed = Feed::start([]);
    feed.append(TEXT);
    let mut tail = tail(&feed, 0).await;
    bytes(&mut tail, 0, TEXT.len()).await;
    feed.die();
    let error = last(&mut tail).await;
    assert_eq!((error.kind(), error.code()), (ErrorKind::GaveUp, Code::DeadlineExceeded));
    assert!(error.message().contains("byte 23") && error.message().contains(&feed.endpoint), "{error}");
}

#[tokio::test]
async fn endless_refusals_are_given_up_and_a_silent_file_is_not() {
    let feed = Feed::start(vec![Fault::Refuse(refuse(ErrorReason::ShardClosed)); 100]);
    let error = last(&mut tail(&feed, 0).await).await;
    assert_eq!(error.kind(), ErrorKind::GaveUp);
    assert!(error.message().contains("so the script says"), "{error}");

    // An empty piece each time is no progress either.
    let feed = Feed::start(vec![Fault::End(1, None); 100]);
    assert_eq!(last(&mut tail(&feed, 0).await).await.kind(), ErrorKind::GaveUp);

    let feed = Feed::start([]);
    let mut tail = tail(&feed, 0).await;
    assert!(tokio::time::timeout(2 * PATIENCE, tail.next()).await.is_err(), "waits on");
    feed.append("x");
    assert_eq!(bytes(&mut tail, 0, 1).await, b"x");
}

#[tokio::test]
async fn lines_are_whole_with_their_place_over_lost_connections() {
    let feed = Feed::start((0..4).map(|_| Fault::End(1, None)));
    feed.append(TEXT);
    feed.append("unfinished");
    let client = Client::builder(&feed.endpoint).connect().await.unwrap();
    let mut lines = client.files().tail("f", TailOptions::default()).lines(100);
    let mut at = 0;
    for expected in TEXT.split_inclusive(|byte| *byte == b'\n') {
        let line = in_time(lines.next()).await.unwrap().unwrap();
        assert_eq!((line.offset, &line.data[..], line.generation), (at, expected, 7));
        at = line.end_offset();
    }
    assert!(lines.next().now_or_never().is_none(), "an unfinished line waits");
    feed.append(" no more\n");
    let line = in_time(lines.next()).await.unwrap().unwrap();
    assert_eq!((line.offset, &line.data[..]), (at, &b"unfinished no more\n"[..]));
}

#[tokio::test]
async fn long_line_comes_in_parts() {
    let feed = Feed::start([]);
    feed.append("0123456789012\nx\n");
    let mut lines = tail(&feed, 0).await.lines(6);
    for (offset, expected) in [(0, "012345"), (6, "678901"), (12, "2\n"), (14, "x\n")] {
        let line = in_time(lines.next()).await.unwrap().unwrap();
        assert_eq!((line.offset, &line.data[..]), (offset, expected.as_bytes()));
    }
}
