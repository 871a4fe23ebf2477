//! Appends and opens that break a rule: each gets its code, reason and outcome on its channel; what comes behind it
//! waits for the right one; the other channel of the session goes on; and the file holds what was acked, and no more.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::{
    Append, AppendRequest, Durability, ErrorReason as Reason, Finish, FinishAction, Framing, Nack, Open, Outcome,
    Payload, WriteRequest, write_request::Frame as Ask, write_response::Frame as Say,
};
use inkpot_tests::{
    RawSession, Server, Setup,
    harness::{
        assert_nack, assert_refused,
        raw::{self, field},
        session::{append, open, open_as, payload, unary},
        wait,
    },
};
use std::{fs, time::Duration};
use tonic::Code;

const BOUND: Duration = Duration::from_secs(30);
const MIB: usize = 1 << 20;

const INVALID: Code = Code::InvalidArgument;
const PRECONDITION: Code = Code::FailedPrecondition;

async fn plain_is(server: &Server, path: &str, expected: &[u8]) {
    let plain = server.plain(path);
    wait::until(&format!("{path} holds what was acked"), BOUND, || fs::read(&plain).is_ok_and(|b| b == expected)).await;
}

/// A session with a channel that is wronged (1) and one beside it (2), each with its first append acked.
async fn pair(server: &Server, name: &str, change: impl FnOnce(Open) -> Open) -> RawSession {
    let mut session = server.session().await;
    session.opened(change(open_as(1, &format!("{name}/victim"), "p", 1))).await;
    session.opened(open_as(2, &format!("{name}/bystander"), "p", 1)).await;
    session.write(1, 1, "one\n").await.unwrap();
    session.write(2, 1, "one\n").await.unwrap();
    session
}

/// The channel beside it goes on; the wronged one takes the right appends; both files hold what was acked.
async fn goes_on(server: &Server, mut session: RawSession, name: &str) {
    session.write(2, 2, "two\n").await.unwrap();
    session.append(append(1, 2, "two\n")).await;
    session.append(append(1, 3, "three\n")).await;
    let ack = session.acked(1, 3).await.unwrap();
    assert_eq!((ack.end_offset, ack.duplicates), (Some(14), 0), "{name}");
    session.half_close();
    let (frames, end) = session.drain().await;
    assert!(end.is_ok(), "{name}: {end:?}");
    assert!(!frames.iter().any(|frame| matches!(frame, Say::Nack(_))), "{name}: {frames:?}");
    plain_is(server, &format!("{name}/victim"), b"one\ntwo\nthree\n").await;
    plain_is(server, &format!("{name}/bystander"), b"one\ntwo\n").await;
}

struct Case {
    name: &'static str,
    code: Code,
    reason: Reason,
    bad: Append,
}

fn case(name: &'static str, code: Code, reason: Reason, change: impl FnOnce(&mut Append)) -> Case {
    let mut bad = append(1, 2, "bad\n");
    change(&mut bad);
    Case { name, code, reason, bad }
}

fn records(data: &[u8], lengths: &[u32]) -> Option<Payload> {
    Some(Payload { data: data.to_vec().into(), record_lengths: lengths.to_vec() })
}

fn bad_appends() -> Vec<Case> {
    vec![
        case("no-payload", INVALID, Reason::EmptyAppend, |a| a.payload = None),
        case("empty", INVALID, Reason::EmptyAppend, |a| a.payload = Some(payload(""))),
        case("empty-with-lengths", INVALID, Reason::EmptyAppend, |a| a.payload = records(b"", &[0])),
        case("large-record", INVALID, Reason::RecordTooLarge, |a| a.payload = Some(payload(vec![b'x'; MIB + 1]))),
        case("large-append", INVALID, Reason::RecordTooLarge, |a| {
            a.payload = records(&vec![b'x'; 3 * MIB + 1], &[MIB as u32, MIB as u32, MIB as u32, 1]);
        }),
        case("many-records", INVALID, Reason::RecordTooLarge, |a| a.payload = records(&[b'x'; 16_385], &[1; 16_385])),
        case("lengths-short", INVALID, Reason::LengthMismatch, |a| a.payload = records(b"abcd", &[1, 2])),
        case("lengths-long", INVALID, Reason::LengthMismatch, |a| a.payload = records(b"abcd", &[3, 2])),
        case("lengths-wrap", INVALID, Reason::LengthMismatch, |a| a.payload = records(b"abcd", &[u32::MAX, 5])),
        case("record-of-nothing", INVALID, Reason::InvalidField, |a| a.payload = records(b"abcd", &[2, 0, 2])),
        case("crc32c", INVALID, Reason::ChecksumMismatch, |a| a.crc32c = Some(crc32c::crc32c(b"bad\n") ^ 1)),
        case("offset-behind", Code::Aborted, Reason::OffsetMismatch, |a| a.expected_offset = Some(0)),
        case("offset-ahead", Code::Aborted, Reason::OffsetMismatch, |a| a.expected_offset = Some(5)),
        case("offset-max", Code::OutOfRange, Reason::OutOfRange, |a| a.expected_offset = Some(u64::MAX)),
        case("offset-overflows", Code::OutOfRange, Reason::OutOfRange, |a| a.expected_offset = Some(u64::MAX - 3)),
        case("offset-beyond-i64", Code::OutOfRange, Reason::OutOfRange, |a| a.expected_offset = Some(i64::MAX as u64)),
        case("durability-unknown", INVALID, Reason::UnknownEnumValue, |a| a.durability = 9),
        case("durability-negative", INVALID, Reason::UnknownEnumValue, |a| a.durability = -1),
        case("replicated", PRECONDITION, Reason::DurabilityUnavailable, |a| {
            a.durability = Durability::Replicated.into();
        }),
        case("traceparent-long", INVALID, Reason::InvalidField, |a| a.traceparent = "x".repeat(65)),
    ]
}

#[tokio::test]
async fn bad_append_is_refused_and_what_follows_waits_for_the_right_one() {
    let server = Server::start(Setup::default());
    for Case { name, code, reason, bad } in bad_appends() {
        println!("{name}");
        let mut session = pair(&server, name, |open| open).await;
        session.append(bad).await;
        session.append(append(1, 3, "three\n")).await;
        session.append(append(1, 4, "")).await;
        let nack = session.nack(1).await;
        assert_nack(&nack, 1, 2, code, reason);
        if reason == Reason::OffsetMismatch {
            assert_eq!(nack.expected_offset, Some(4), "{name}");
        }
        for seq in [3, 4] {
            let behind = session.nack(1).await;
            assert_nack(&behind, 1, seq, Code::Aborted, Reason::EarlierSeqRefused);
        }
        goes_on(&server, session, name).await;
    }
}

#[tokio::test]
async fn right_checksum_and_right_expected_offset_are_taken() {
    let server = Server::start(Setup::default());
    let mut session = pair(&server, "right", |open| open).await;
    let right = Append { crc32c: Some(crc32c::crc32c(b"two\n")), expected_offset: Some(4), ..append(1, 2, "two\n") };
    session.append(right).await;
    assert_eq!(session.acked(1, 2).await.unwrap().end_offset, Some(8));
    // A level below that of the channel has no effect.
    let lower = Append { durability: Durability::Written.into(), ..append(1, 3, "three\n") };
    session.append(lower).await;
    assert_eq!(session.acked(1, 3).await.unwrap().level(), Durability::Synced);
}

#[tokio::test]
async fn seq_out_of_turn_is_refused_with_the_one_that_would_be_taken() {
    let server = Server::start(Setup::default());
    let cases = [
        ("gap", 5, PRECONDITION, Reason::SequenceGap),
        ("gap-of-one", 3, PRECONDITION, Reason::SequenceGap),
        ("largest", i64::MAX as u64, PRECONDITION, Reason::SequenceGap),
        ("beyond-i64", i64::MAX as u64 + 1, Code::OutOfRange, Reason::OutOfRange),
        ("max", u64::MAX, Code::OutOfRange, Reason::OutOfRange),
    ];
    for (name, seq, code, reason) in cases {
        println!("{name}");
        let mut session = pair(&server, name, |open| open).await;
        session.append(append(1, seq, "bad\n")).await;
        let nack = session.nack(1).await;
        assert_nack(&nack, 1, seq, code, reason);
        if reason == Reason::SequenceGap {
            assert_eq!(nack.expected_seq, Some(2), "{name}");
        }
        session.append(append(1, 3, "three\n")).await;
        assert_nack(&session.nack(1).await, 1, 3, Code::Aborted, Reason::EarlierSeqRefused);
        goes_on(&server, session, name).await;
    }
}

#[tokio::test]
async fn seq_zero_with_a_producer_is_invalid_field() {
    let server = Server::start(Setup::default());
    let mut session = pair(&server, "zero", |open| open).await;
    session.append(append(1, 0, "bad\n")).await;
    let nack = session.nack(1).await;
    assert_eq!((nack.channel, nack.reason(), nack.outcome()), (1, Reason::InvalidField, Outcome::NotApplied));
    assert_eq!(nack.status.as_ref().unwrap().code, INVALID as i32);
    goes_on(&server, session, "zero").await;
}

#[tokio::test]
async fn seq_used_again_with_other_bytes_is_sequence_reused_and_with_the_same_a_duplicate() {
    let server = Server::start(Setup::default());
    let mut session = pair(&server, "reused", |open| open).await;
    for other in ["uno\n", "longer\n"] {
        session.append(append(1, 1, other)).await;
        assert_nack(&session.nack(1).await, 1, 1, PRECONDITION, Reason::SequenceReused);
    }
    let ack = session.write(1, 1, "one\n").await.unwrap();
    assert_eq!((ack.through_seq, ack.duplicates, ack.first_offset, ack.end_offset), (1, 1, Some(0), Some(4)));
    goes_on(&server, session, "reused").await;
}

#[tokio::test]
async fn record_that_is_no_line_violates_the_framing() {
    let server = Server::start(Setup::default());
    let cases = [
        ("no-newline", payload("two")),
        ("two-newlines", payload("two\nlines\n")),
        ("split-inside", records(b"two\nthree\n", &[3, 7]).unwrap()),
        ("only-last-is-a-line", records(b"twothree\n", &[3, 6]).unwrap()),
    ];
    for (name, bad) in cases {
        println!("{name}");
        let mut session = pair(&server, name, |open| Open { framing: Framing::Lines.into(), ..open }).await;
        session.append(Append { payload: Some(bad), ..append(1, 2, "") }).await;
        assert_nack(&session.nack(1).await, 1, 2, INVALID, Reason::FramingViolated);
        goes_on(&server, session, name).await;
    }
}

#[tokio::test]
async fn channel_that_is_not_open_is_unknown_and_the_session_goes_on() {
    let server = Server::start(Setup::default());
    let mut session = pair(&server, "unknown", |open| open).await;
    session.append(append(9, 7, "x")).await;
    assert_nack(&session.nack(9).await, 9, 7, INVALID, Reason::UnknownChannel);
    let nack = session.finish(9).await.unwrap_err();
    assert_nack(&nack, 9, 0, INVALID, Reason::UnknownChannel);
    // Finished, and so no longer open; its number may be used again.
    session.opened(open(5, "unknown/third")).await;
    session.finish(5).await.unwrap();
    session.append(append(5, 1, "x")).await;
    assert_nack(&session.nack(5).await, 5, 1, INVALID, Reason::UnknownChannel);
    session.opened(open(5, "unknown/third")).await;
    session.write(5, 1, "x").await.unwrap();
    goes_on(&server, session, "unknown").await;
}

#[tokio::test]
async fn channel_number_in_use_is_refused_and_the_first_stays_open() {
    let server = Server::start(Setup::default());
    let mut session = pair(&server, "in-use", |open| open).await;
    let nack = session.open(open(1, "in-use/other")).await.unwrap_err();
    assert_nack(&nack, 1, 0, INVALID, Reason::ChannelInUse);
    goes_on(&server, session, "in-use").await;
}

#[tokio::test]
async fn bad_open_is_refused_and_its_number_stays_free() {
    let server = Server::start(Setup::default());
    let mut session = pair(&server, "opens", |open| open).await;
    let new = || open_as(3, "opens/third", "p", 1);
    let cases: Vec<(&str, Open, Code, Reason)> = vec![
        ("mode", Open { mode: 9, ..new() }, INVALID, Reason::UnknownEnumValue),
        ("durability", Open { durability: 9, ..new() }, INVALID, Reason::UnknownEnumValue),
        ("admission", Open { admission: 9, ..new() }, INVALID, Reason::UnknownEnumValue),
        ("framing", Open { framing: 9, ..new() }, INVALID, Reason::UnknownEnumValue),
        (
            "replicated",
            Open { durability: Durability::Replicated.into(), ..new() },
            PRECONDITION,
            Reason::DurabilityUnavailable,
        ),
        ("producer-long", open_as(3, "opens/third", &"p".repeat(65), 1), INVALID, Reason::InvalidField),
        ("producer-control", open_as(3, "opens/third", "p\n", 1), INVALID, Reason::InvalidField),
        ("epoch-alone", open_as(3, "opens/third", "", 1), INVALID, Reason::InvalidField),
        ("epoch-max", open_as(3, "opens/third", "p", u64::MAX), Code::OutOfRange, Reason::OutOfRange),
        ("generation", Open { if_generation: Some(4711), ..new() }, PRECONDITION, Reason::GenerationChanged),
        (
            "must-not-exist",
            Open { if_generation: Some(0), ..open_as(3, "opens/bystander", "q", 1) },
            PRECONDITION,
            Reason::GenerationChanged,
        ),
    ];
    for (name, open, code, reason) in cases {
        println!("{name}");
        assert_nack(&session.open(open).await.expect_err(name), 3, 0, code, reason);
        session.append(append(3, 1, "x")).await;
        assert_nack(&session.nack(3).await, 3, 1, INVALID, Reason::UnknownChannel);
    }
    session.opened(Open { if_generation: Some(0), ..new() }).await;
    session.write(3, 1, "x").await.unwrap();
    goes_on(&server, session, "opens").await;
}

#[tokio::test]
async fn bad_finish_is_refused_and_the_channel_stays_open() {
    let server = Server::start(Setup::default());
    let mut session = pair(&server, "finish", |open| open).await;
    let commit = FinishAction::Commit.into();
    let cases = [
        ("unknown", Finish { channel: 1, action: 9, ..Finish::default() }, Reason::UnknownEnumValue),
        ("unset", Finish { channel: 1, ..Finish::default() }, Reason::InvalidField),
        ("size", Finish { channel: 1, action: commit, size: Some(4), crc32c: None }, Reason::InvalidField),
        ("crc32c", Finish { channel: 1, action: commit, size: None, crc32c: Some(4) }, Reason::InvalidField),
    ];
    for (name, finish, reason) in cases {
        println!("{name}");
        session.frame(Ask::Finish(finish)).await;
        assert_nack(&session.nack(1).await, 1, 0, INVALID, reason);
    }
    goes_on(&server, session, "finish").await;
}

#[tokio::test]
async fn request_without_a_frame_is_invalid_field() {
    let server = Server::start(Setup::default());
    let mut session = pair(&server, "frameless", |open| open).await;
    session.send(WriteRequest { frame: None }).await;
    assert_nack(&session.nack(0).await, 0, 0, INVALID, Reason::InvalidField);
    goes_on(&server, session, "frameless").await;
}

#[tokio::test]
async fn old_epoch_is_fenced_on_a_session_and_in_a_call() {
    let server = Server::start(Setup::default());
    let mut newer = server.session().await;
    newer.opened(open_as(1, "f", "p", 5)).await;
    newer.write(1, 1, "one\n").await.unwrap();
    let mut older = server.session().await;
    let nack = older.open(open_as(3, "f", "p", 4)).await.unwrap_err();
    assert_nack(&nack, 3, 0, PRECONDITION, Reason::ProducerFenced);
    assert_eq!(nack.current_epoch, Some(5));
    let call = AppendRequest { producer_id: "p".into(), producer_epoch: 4, seq: 2, ..unary("f", "old\n") };
    let status = server.client().append(call).await.unwrap_err();
    assert_refused(&status, PRECONDITION, Reason::ProducerFenced);
    newer.write(1, 2, "two\n").await.unwrap();
    plain_is(&server, "f", b"one\ntwo\n").await;
}

#[tokio::test]
async fn forgotten_producer_with_a_later_seq_is_unknown_producer_and_may_begin_anew() {
    let server = Server::start(Setup::default().config("[producers]\nretention = \"1s\""));
    let mut first = server.session().await;
    let opened = first.opened(open_as(1, "f", "p", 1)).await;
    assert_eq!(opened.limits.unwrap().producer_retention_seconds, 1);
    first.write(1, 1, "one\n").await.unwrap();
    first.write(1, 2, "two\n").await.unwrap();
    first.finish(1).await.unwrap();
    // Looking keeps it alive, so each look waits longer than the one before.
    let mut pause = Duration::from_secs(2);
    let mut session = server.session().await;
    let mut channel = 10;
    loop {
        tokio::time::sleep(pause).await;
        if session.opened(open_as(channel, "f", "p", 1)).await.last_seq == 0 {
            break;
        }
        session.finish(channel).await.unwrap();
        channel += 1;
        pause *= 2;
        assert!(pause < BOUND, "the producer is never forgotten");
    }
    session.append(append(channel, 3, "three\n")).await;
    let nack = session.nack(channel).await;
    assert_nack(&nack, channel, 3, PRECONDITION, Reason::UnknownProducer);
    assert_eq!(nack.expected_seq, Some(1));
    session.write(channel, 1, "anew\n").await.unwrap();
    plain_is(&server, "f", b"one\ntwo\nanew\n").await;
}

#[tokio::test]
async fn producer_that_was_never_there_with_a_later_seq_is_unknown_producer() {
    let server = Server::start(Setup::default());
    let mut session = server.session().await;
    session.opened(open_as(1, "f", "p", 1)).await;
    session.append(append(1, 7, "seven\n")).await;
    let nack = session.nack(1).await;
    assert_nack(&nack, 1, 7, PRECONDITION, Reason::UnknownProducer);
    assert_eq!(nack.expected_seq, Some(1));
    let call = AppendRequest { producer_id: "q".into(), producer_epoch: 1, seq: 7, ..unary("f", "seven\n") };
    assert_refused(&server.client().append(call).await.unwrap_err(), PRECONDITION, Reason::UnknownProducer);
    session.write(1, 1, "one\n").await.unwrap();
    plain_is(&server, "f", b"one\n").await;
}

#[tokio::test]
async fn producers_and_channels_beyond_their_cap_are_refused_and_live_ones_stay() {
    let server = Server::start(Setup::default().config("[producers]\nper_file = 2\n[limits]\nsession_channels = 3"));
    let mut session = server.session().await;
    for (channel, producer) in [(1, "a"), (2, "b")] {
        session.opened(open_as(channel, "f", producer, 1)).await;
        session.write(channel, 1, "x\n").await.unwrap();
    }
    let nack = session.open(open_as(3, "f", "c", 1)).await.unwrap_err();
    assert_nack(&nack, 3, 0, Code::ResourceExhausted, Reason::TooManyProducers);
    session.opened(open(3, "g")).await;
    let nack = session.open(open(4, "h")).await.unwrap_err();
    let detail = assert_nack(&nack, 4, 0, Code::ResourceExhausted, Reason::TooManyChannels);
    assert_eq!(detail.limit.as_deref(), Some("limits.session_channels"));
    session.finish(3).await.unwrap();
    session.opened(open(4, "h")).await;
    session.write(2, 2, "y\n").await.unwrap();
    plain_is(&server, "f", b"x\nx\ny\n").await;
}

#[tokio::test]
async fn message_beyond_the_limit_ends_the_stream_after_the_acks_before_it() {
    let server = Server::start(Setup::default());
    let mut session = pair(&server, "large-message", |open| open).await;
    session.append(append(1, 2, "two\n")).await;
    session.append(append(1, 3, vec![b'x'; 4 * MIB + 1])).await;
    let (frames, end) = session.drain().await;
    let status = end.expect_err("the stream ends with an error");
    assert_refused(&status, Code::ResourceExhausted, Reason::MessageTooLarge);
    assert!(matches!(&frames[..], [Say::Ack(ack)] if ack.through_seq == 2), "{frames:?}");
    plain_is(&server, "large-message/victim", b"one\ntwo\n").await;
    let status = server.client().append(unary("f", vec![b'x'; 4 * MIB + 1])).await.unwrap_err();
    assert_refused(&status, Code::ResourceExhausted, Reason::MessageTooLarge);
    // The server goes on, and the producer where it was.
    let mut again = server.session().await;
    assert_eq!(again.opened(open_as(1, "large-message/victim", "p", 1)).await.last_seq, 2);
}

#[tokio::test]
async fn bytes_that_are_no_message_end_the_stream_as_malformed() {
    let server = Server::start(Setup::default());
    // Groups of a field that nobody knows, each inside the one before.
    let nested = [vec![0x7b; 200], vec![0x7c; 200]].concat();
    let garbage: Vec<(&str, Vec<u8>)> = vec![
        ("garbage", vec![0xff; 16]),
        ("truncated", vec![0x12, 0x20, 1, 2, 3]),
        ("wrong wire type", vec![0x10, 0x05]),
        ("field 0", vec![0x02, 0x00]),
        ("endless varint", [vec![0x12], vec![0x80; 11]].concat()),
        ("deep nesting", nested),
    ];
    for (name, message) in garbage {
        println!("{name}");
        let before = field(1, &[[0x08, 0x01].as_slice(), &field(2, b"f")].concat());
        let mut stream =
            raw::stream(&server, None, "/inkpot.v1.WriteService/Write", vec![before, message.clone()]).await.unwrap();
        let status = loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("{name}: the stream ended without an error"),
                Err(status) => break status,
            }
        };
        assert_refused(&status, INVALID, Reason::MalformedMessage);
        let status = raw::unary(&server, "/inkpot.v1.WriteService/Append", message).await.expect_err(name);
        assert_refused(&status, INVALID, Reason::MalformedMessage);
    }
    // Unknown fields are ignored, of duplicate ones the last wins, and an empty message has no path.
    let unknown = [field(1, b"first"), field(1, b"f"), field(6, &field(1, b"x")), field(4711, b"?")].concat();
    raw::unary(&server, "/inkpot.v1.WriteService/Append", unknown).await.unwrap();
    plain_is(&server, "f", b"x").await;
    let status = raw::unary(&server, "/inkpot.v1.WriteService/Append", Vec::new()).await.unwrap_err();
    assert_refused(&status, INVALID, Reason::InvalidPath);
}

#[tokio::test]
async fn appends_without_a_producer_count_on_their_channel() {
    let server = Server::start(Setup::default());
    let mut session = server.session().await;
    session.opened(open(1, "f")).await;
    for _ in 0..3 {
        session.append(append(1, 0, "x\n")).await;
    }
    assert_eq!(session.acked(1, 3).await.unwrap().end_offset, Some(6));
    session.append(append(1, 0, "")).await;
    session.append(append(1, 0, "behind\n")).await;
    let refused: Nack = session.nack(1).await;
    assert_nack(&refused, 1, 4, INVALID, Reason::EmptyAppend);
    assert_nack(&session.nack(1).await, 1, 5, Code::Aborted, Reason::EarlierSeqRefused);
    session.write(1, 4, "four\n").await.unwrap();
    plain_is(&server, "f", b"x\nx\nx\nfour\n").await;
}
