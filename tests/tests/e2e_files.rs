//! Reading: ranges, ends, following, Stat and List, and the plain files beside them.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::{
    AppendRequest, ErrorReason as Reason, FileInfo, ListRequest, ReadRequest, ReadResponse, StatRequest,
};
use inkpot_tests::{
    Server, Setup,
    harness::{
        assert_ended, assert_refused,
        session::{FileClient, append, open_as, unary, within},
        wait,
    },
};
use std::{fs, time::Duration};
use tonic::{Code, Status, Streaming};

const BOUND: Duration = Duration::from_secs(30);

fn read(path: &str) -> ReadRequest {
    ReadRequest { path: path.to_owned(), ..ReadRequest::default() }
}

/// All pieces of a read.
async fn pieces(server: &Server, request: ReadRequest) -> Result<Vec<ReadResponse>, Status> {
    let mut stream = server.files().read(request).await?.into_inner();
    let mut pieces = Vec::new();
    while let Some(piece) = within(BOUND, "a piece", stream.message()).await? {
        pieces.push(piece);
    }
    Ok(pieces)
}

/// All bytes of a read, whose pieces must follow on each other.
async fn bytes(server: &Server, request: ReadRequest) -> Result<Vec<u8>, Status> {
    let pieces = pieces(server, request).await?;
    let mut next = pieces.first().map_or(0, |piece| piece.offset);
    let mut bytes = Vec::new();
    for piece in pieces {
        assert_eq!(piece.offset, next);
        assert!(piece.data.len() <= 256 << 10 && piece.end_offset >= next + piece.data.len() as u64);
        next += piece.data.len() as u64;
        bytes.extend_from_slice(&piece.data);
    }
    Ok(bytes)
}

async fn stat(server: &Server, path: &str) -> Result<FileInfo, Status> {
    let answer = server.files().stat(StatRequest { path: path.to_owned() }).await?;
    Ok(answer.into_inner().file.unwrap())
}

async fn write(server: &Server, path: &str, data: &str) {
    server.client().append(unary(path, data)).await.unwrap();
}

#[tokio::test]
async fn range_is_read_from_the_beginning_the_end_or_in_between() {
    let server = Server::start(Setup::default());
    write(&server, "f", "0123456789").await;
    let cases: [(i64, u64, &str); 10] = [
        (0, 0, "0123456789"),
        (3, 0, "3456789"),
        (3, 4, "3456"),
        (0, 1, "0"),
        (9, 5, "9"),
        (10, 0, ""),
        (-3, 0, "789"),
        (-3, 2, "78"),
        (-10, 0, "0123456789"),
        (i64::MIN, 0, "0123456789"),
    ];
    for applied in [false, true] {
        for (offset, limit, expected) in cases {
            let found = bytes(&server, ReadRequest { offset, limit, ..read("f") }).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&found), expected, "offset {offset}, limit {limit}, applied {applied}");
        }
        // The first round is read from memory, the second from the plain file.
        wait::until_async("the plain file has it", BOUND, async || {
            stat(&server, "f").await.unwrap().applied_size == 10
        })
        .await;
    }
    let empty = pieces(&server, ReadRequest { offset: 10, ..read("f") }).await.unwrap();
    assert!(matches!(&empty[..], [piece] if piece.offset == 10 && piece.end_offset == 10 && piece.data.is_empty()));
}

#[tokio::test]
async fn read_beyond_the_end_is_out_of_range_and_of_nothing_not_found() {
    let server = Server::start(Setup::default());
    write(&server, "f", "0123456789").await;
    for offset in [11, i64::MAX] {
        let status = pieces(&server, ReadRequest { offset, ..read("f") }).await.unwrap_err();
        assert_refused(&status, Code::OutOfRange, Reason::OutOfRange);
    }
    assert_refused(&pieces(&server, read("g")).await.unwrap_err(), Code::NotFound, Reason::FileNotFound);
    assert_refused(&stat(&server, "g").await.unwrap_err(), Code::NotFound, Reason::FileNotFound);
    let other = ReadRequest { if_generation: Some(4711), ..read("f") };
    let status = pieces(&server, other).await.unwrap_err();
    assert_refused(&status, Code::FailedPrecondition, Reason::GenerationChanged);
    let generation = stat(&server, "f").await.unwrap().generation;
    let same = ReadRequest { if_generation: Some(generation), ..read("f") };
    assert_eq!(bytes(&server, same).await.unwrap(), b"0123456789");
}

#[tokio::test]
async fn open_alone_makes_no_file() {
    let server = Server::start(Setup::default());
    let mut session = server.session().await;
    session.opened(open_as(1, "f", "p", 0)).await;
    assert_refused(&stat(&server, "f").await.unwrap_err(), Code::NotFound, Reason::FileNotFound);
    assert!(server.files().list(ListRequest::default()).await.unwrap().into_inner().files.is_empty());
    assert!(!server.plain("f").exists());
    let finished = session.finish(1).await.unwrap();
    assert_eq!((finished.generation, finished.size), (0, 0));
}

#[tokio::test]
async fn acked_bytes_are_read_at_once() {
    let server = Server::start(Setup::default().config("[apply]\ndelay = \"2s\""));
    let mut session = server.session().await;
    session.opened(open_as(1, "f", "p", 1)).await;
    let mut expected = Vec::new();
    for seq in 1..=50 {
        let line = format!("line {seq}\n");
        session.write(1, seq, line.clone()).await.unwrap();
        expected.extend_from_slice(line.as_bytes());
        assert_eq!(bytes(&server, read("f")).await.unwrap(), expected, "after ack {seq}");
        assert_eq!(stat(&server, "f").await.unwrap().size, expected.len() as u64);
    }
}

#[tokio::test]
async fn large_file_is_read_in_pieces_and_equals_the_plain_file() {
    let server = Server::start(Setup::default());
    let mut session = server.session().await;
    session.opened(open_as(1, "f", "p", 1)).await;
    let mut expected = Vec::new();
    for seq in 1..=24 {
        let record: Vec<u8> = (0..300_000_u32).map(|n| (n * 31 + seq as u32 * 7) as u8).collect();
        expected.extend_from_slice(&record);
        session.append(append(1, seq, record)).await;
    }
    session.acked(1, 24).await.unwrap();
    assert!(bytes(&server, read("f")).await.unwrap() == expected);
    let plain = server.plain("f");
    wait::until("the plain file is whole", BOUND, || {
        fs::metadata(&plain).is_ok_and(|m| m.len() == expected.len() as u64)
    })
    .await;
    assert!(fs::read(&plain).unwrap() == expected);
    assert!(bytes(&server, read("f")).await.unwrap() == expected);
    let middle = ReadRequest { offset: 5_000_001, limit: 700_000, ..read("f") };
    assert!(bytes(&server, middle).await.unwrap() == expected[5_000_001..5_700_001]);
}

async fn next(stream: &mut Streaming<ReadResponse>) -> ReadResponse {
    within(BOUND, "a piece", stream.message()).await.unwrap().expect("the read goes on")
}

/// Reads on until this many bytes have come.
async fn take(stream: &mut Streaming<ReadResponse>, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < len {
        bytes.extend_from_slice(&next(stream).await.data);
    }
    bytes
}

async fn follow(mut files: FileClient, request: ReadRequest) -> Streaming<ReadResponse> {
    files.read(ReadRequest { follow: true, ..request }).await.unwrap().into_inner()
}

#[tokio::test]
async fn follower_sees_what_is_committed_later() {
    let server = Server::start(Setup::default());
    write(&server, "f", "first\n").await;
    let mut whole = follow(server.files(), read("f")).await;
    let mut tail = follow(server.files(), ReadRequest { offset: -3, limit: 10, ..read("f") }).await;
    assert_eq!(take(&mut whole, 6).await, b"first\n");
    assert_eq!(take(&mut tail, 3).await, b"st\n");
    for line in ["second\n", "third\n"] {
        write(&server, "f", line).await;
        assert_eq!(take(&mut whole, line.len()).await, line.as_bytes());
    }
    // A limit ends following too.
    assert_eq!(take(&mut tail, 7).await, b"second\n");
    assert!(within(BOUND, "the end", tail.message()).await.unwrap().is_none());
}

#[tokio::test]
async fn follower_waits_for_a_file_that_does_not_exist() {
    let server = Server::start(Setup::default());
    let mut early = follow(server.files(), read("new/file")).await;
    // The server has the call: an answer to one that came after it.
    stat(&server, "new/file").await.unwrap_err();
    write(&server, "new/file", "hello\n").await;
    assert_eq!(take(&mut early, 6).await, b"hello\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn follower_ends_with_draining_when_the_server_stops() {
    let mut server = Server::start(Setup::default());
    write(&server, "f", "x\n").await;
    let mut stream = follow(server.files(), read("f")).await;
    assert_eq!(take(&mut stream, 2).await, b"x\n");
    let ended = tokio::spawn(async move { within(BOUND, "the end", stream.message()).await });
    assert!(server.terminate().success());
    let status = ended.await.unwrap().unwrap_err();
    assert_ended(&status, Code::Unavailable, Reason::Draining);
}

#[tokio::test]
async fn stat_tells_sizes_producers_and_generation() {
    let server = Server::start(Setup::default());
    let before = std::time::SystemTime::now() - Duration::from_secs(5);
    for (producer, data) in [("p", "12345"), ("q", "678")] {
        let call = AppendRequest { producer_id: producer.into(), producer_epoch: 1, seq: 1, ..unary("a/f", data) };
        server.client().append(call).await.unwrap();
    }
    wait::until_async("applied and synced", BOUND, async || {
        let info = stat(&server, "a/f").await.unwrap();
        (info.applied_size, info.synced_size) == (8, 8)
    })
    .await;
    let info = stat(&server, "a/f").await.unwrap();
    assert_eq!((info.path.as_str(), info.size, info.producers), ("a/f", 8, 2));
    assert!(info.generation > 0 && !info.sealed && !info.foreign_change);
    let modified = std::time::SystemTime::try_from(info.modified.unwrap()).unwrap();
    assert!(modified > before, "{modified:?}");
    write(&server, "other", "x").await;
    assert_ne!(stat(&server, "other").await.unwrap().generation, info.generation);
}

async fn pages(server: &Server, prefix: &str, page_size: u32) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListRequest { prefix: prefix.to_owned(), page_size, page_token, ..ListRequest::default() };
        let page = server.files().list(request).await.unwrap().into_inner();
        pages.push(page.files.into_iter().map(|file| file.path).collect());
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return pages;
        }
    }
}

#[tokio::test]
async fn list_gives_pages_in_byte_order_of_the_paths() {
    let mut server = Server::start(Setup::default());
    let mut expected: Vec<String> = (0..23).map(|n| format!("logs/{n}")).collect();
    expected.extend(["logs", "log", "Zebra", "ätsch", "a b", "logs-old/1", "logs/5/x"].map(str::to_owned));
    // A file and a directory of one name cannot both be.
    expected.retain(|path| !["logs", "logs/5/x"].contains(&path.as_str()));
    for path in &expected {
        write(&server, path, path).await;
    }
    expected.sort_unstable_by(|one, other| one.as_bytes().cmp(other.as_bytes()));
    for restarted in [false, true] {
        let found = pages(&server, "", 5).await;
        assert!(found.len() > 3 && found.iter().all(|page| page.len() <= 5), "restarted {restarted}: {found:?}");
        assert_eq!(found.concat(), expected);
        assert_eq!(pages(&server, "", 0).await.concat(), expected);
        for prefix in ["logs/", "logs/1", "log", "Z", "ä", "nothing", "logs/22"] {
            let below: Vec<_> = expected.iter().filter(|path| path.starts_with(prefix)).cloned().collect();
            assert_eq!(pages(&server, prefix, 2).await.concat(), below, "prefix {prefix:?}, restarted {restarted}");
        }
        server.kill9();
        server.restart();
    }
}

#[tokio::test]
async fn bad_list_is_invalid_field() {
    let server = Server::start(Setup::default());
    for request in [
        ListRequest { page_size: 10_001, ..ListRequest::default() },
        ListRequest { prefix: "x".repeat(1025), ..ListRequest::default() },
        ListRequest { prefix: "a\nb".into(), ..ListRequest::default() },
        ListRequest { page_token: "nonsense".into(), ..ListRequest::default() },
        ListRequest { page_token: "2e2e".into(), ..ListRequest::default() },
    ] {
        let status = server.files().list(request).await.unwrap_err();
        assert_refused(&status, Code::InvalidArgument, Reason::InvalidField);
    }
}
