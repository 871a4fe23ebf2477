//! Bad input in calls of one message: refused with the same reasons as on a session, and nothing is changed.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::{AppendRequest, Durability, ErrorReason as Reason, Payload};
use inkpot_tests::{
    Server, Setup,
    harness::{
        assert_refused,
        files::assert_content,
        raw,
        session::{payload, unary},
    },
};
use tonic::Code;

const MIB: usize = 1 << 20;

const INVALID: Code = Code::InvalidArgument;
const PRECONDITION: Code = Code::FailedPrecondition;

fn records(data: &[u8], lengths: &[u32]) -> Option<Payload> {
    Some(Payload { data: data.to_vec().into(), record_lengths: lengths.to_vec() })
}

#[tokio::test]
async fn method_and_service_that_are_not_there_are_unimplemented() {
    let server = Server::start(Setup::default());
    for method in ["/inkpot.v1.WriteService/Nothing", "/inkpot.v1.NoService/Append", "/nothing"] {
        let status = raw::unary(&server, method, Vec::new()).await.expect_err(method);
        assert_refused(&status, Code::Unimplemented, Reason::Unimplemented);
    }
}

#[tokio::test]
async fn bad_call_is_refused_with_the_same_reasons_and_changes_nothing() {
    let server = Server::start(Setup::default());
    let mut client = server.client();
    let right = || AppendRequest { producer_id: "p".into(), producer_epoch: 1, seq: 1, ..unary("f", "one\n") };
    client.append(right()).await.unwrap();
    let next = || AppendRequest { seq: 2, ..right() };
    let cases: Vec<(&str, AppendRequest, Code, Reason)> = vec![
        ("no-payload", AppendRequest { payload: None, ..next() }, INVALID, Reason::EmptyAppend),
        (
            "large",
            AppendRequest { payload: Some(payload(vec![1; MIB + 1])), ..next() },
            INVALID,
            Reason::RecordTooLarge,
        ),
        ("lengths", AppendRequest { payload: records(b"abc", &[1]), ..next() }, INVALID, Reason::LengthMismatch),
        ("crc32c", AppendRequest { crc32c: Some(1), ..next() }, INVALID, Reason::ChecksumMismatch),
        ("seq-0", AppendRequest { seq: 0, ..next() }, INVALID, Reason::InvalidField),
        ("epoch-0", AppendRequest { producer_epoch: 0, ..next() }, INVALID, Reason::InvalidField),
        ("seq-alone", AppendRequest { producer_id: String::new(), ..next() }, INVALID, Reason::InvalidField),
        ("durability", AppendRequest { durability: 9, ..next() }, INVALID, Reason::UnknownEnumValue),
        ("admission", AppendRequest { admission: 9, ..next() }, INVALID, Reason::UnknownEnumValue),
        (
            "replicated",
            AppendRequest { durability: Durability::Replicated.into(), ..next() },
            PRECONDITION,
            Reason::DurabilityUnavailable,
        ),
        ("gap", AppendRequest { seq: 3, ..next() }, PRECONDITION, Reason::SequenceGap),
        (
            "reused",
            AppendRequest { seq: 1, payload: Some(payload("uno\n")), ..next() },
            PRECONDITION,
            Reason::SequenceReused,
        ),
        ("offset", AppendRequest { expected_offset: Some(9), ..next() }, Code::Aborted, Reason::OffsetMismatch),
        (
            "offset-max",
            AppendRequest { expected_offset: Some(u64::MAX), ..next() },
            Code::OutOfRange,
            Reason::OutOfRange,
        ),
        ("seq-max", AppendRequest { seq: u64::MAX, ..next() }, Code::OutOfRange, Reason::OutOfRange),
        ("generation", AppendRequest { if_generation: Some(1), ..next() }, PRECONDITION, Reason::GenerationChanged),
    ];
    for (name, request, code, reason) in cases {
        println!("{name}");
        let status = client.append(request).await.expect_err(name);
        assert_refused(&status, code, reason);
    }
    let again = client.append(right()).await.unwrap().into_inner();
    assert_eq!((again.duplicate, again.first_offset, again.end_offset), (true, Some(0), Some(4)));
    client.append(next()).await.unwrap();
    assert_content(&server, "f", b"one\none\n").await;
}
