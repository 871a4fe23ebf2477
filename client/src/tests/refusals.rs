//! What the server refuses, and a server that breaks the protocol.

use super::{in_time, once, record, records, session, session_with, singly};
use crate::{
    Code, Error, ErrorKind, ErrorReason, OpenOptions, Outcome, Producer,
    fake::{Act, Fake},
};
use inkpot_proto::v1::{self, write_request::Frame, write_response::Frame as Answer};
use std::time::Duration;

fn refuse(reason: ErrorReason) -> Act {
    Act::Nack { reason, applied: false }
}

#[tokio::test]
async fn fenced_producer_ends_its_channel_and_no_other() {
    let fake = Fake::good().await;
    let named = || OpenOptions { producer: Producer::Named { id: "p".into(), epoch: None }, ..singly() };
    let (old, new) = (session(&fake).await, session(&fake).await);
    let fenced = old.open("f", named()).await.unwrap();
    let other = old.open("g", singly()).await.unwrap();
    in_time(fenced.append(vec![record(1)]).await.unwrap()).await.unwrap();
    let holder = new.open("f", named()).await.unwrap();
    assert_eq!((holder.opened().epoch, holder.opened().previous_last_seq), (2, 1));
    fenced.write(record(2)).await.unwrap();
    let error = in_time(fenced.flush()).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::ProducerFenced));
    assert_eq!(
        (error.outcome(), error.code(), error.file()),
        (Outcome::NotApplied, Code::FailedPrecondition, Some("f"))
    );
    assert!(!error.retryable());
    assert_eq!(error.progress().unwrap().acked_records, 1);
    assert_eq!(fenced.write(record(3)).await.unwrap_err().reason(), Some(ErrorReason::ProducerFenced));
    in_time(other.append(vec![record(1)]).await.unwrap()).await.unwrap();
    in_time(holder.append(vec![record(2)]).await.unwrap()).await.unwrap();
    assert_eq!(fake.world(|world| world.bytes("f")), records(1..3));
    assert_eq!(old.stats().reconnects, 0);
}

#[tokio::test]
async fn final_refusal_fails_the_append_and_those_behind_it_as_not_applied() {
    let fake = Fake::start(once(2, refuse(ErrorReason::ForeignChange))).await;
    let session = session(&fake).await;
    let writer = session.open("f", singly()).await.unwrap();
    let mut receipts = Vec::new();
    for number in 1..6 {
        receipts.push(writer.append(vec![record(number)]).await);
    }
    let mut receipts = receipts.into_iter().flatten();
    assert_eq!(in_time(receipts.next().unwrap()).await.unwrap().seq, 1);
    for receipt in receipts {
        let error = in_time(receipt).await.unwrap_err();
        assert_eq!((error.reason(), error.outcome()), (Some(ErrorReason::ForeignChange), Outcome::NotApplied));
        assert!(error.to_string().contains('f'), "{error}");
    }
    assert!(in_time(writer.finish()).await.is_err());
    in_time(session.close()).await.unwrap();
    let finishes = fake.world(|world| world.finishes.clone());
    assert_eq!(finishes.iter().map(|finish| finish.action()).collect::<Vec<_>>(), [v1::FinishAction::Abort]);
}

#[tokio::test]
async fn refused_open_is_an_error_unless_it_passes_by_itself() {
    let mut answers = vec![refuse(ErrorReason::TooManyProducers), refuse(ErrorReason::NotADirectory)];
    let fake = Fake::start(move |seen| match seen.frame {
        Frame::Open(open) if open.path == "bad" => answers.pop().unwrap_or(Act::Serve),
        _ => Act::Serve,
    })
    .await;
    let session = session(&fake).await;
    let error = in_time(session.open("bad", singly())).await.unwrap_err();
    assert_eq!((error.reason(), error.kind()), (Some(ErrorReason::NotADirectory), ErrorKind::Refused));
    let writer = in_time(session.open("bad", singly())).await.unwrap();
    in_time(writer.append(vec![record(1)]).await.unwrap()).await.unwrap();
    assert_eq!(session.stats().retries, 1);
}

#[tokio::test]
async fn bad_names_and_sizes_are_refused_before_anything_is_sent() {
    let fake = Fake::good().await;
    fake.world(|world| {
        world.limits =
            v1::Limits { max_record_bytes: 10, max_append_bytes: 15, max_records_per_append: 2, ..world.limits }
    });
    let session = session(&fake).await;
    let reason = |error: Error| (error.reason().unwrap(), error.outcome());
    let invalid = session.open("../up", singly()).await.unwrap_err();
    assert_eq!(reason(invalid), (ErrorReason::InvalidPath, Outcome::NotApplied));
    let producer = Producer::Named { id: "a\nb".into(), epoch: None };
    let invalid = session.open("f", OpenOptions { producer, ..singly() }).await.unwrap_err();
    assert_eq!(reason(invalid), (ErrorReason::InvalidField, Outcome::NotApplied));
    let writer = session.open("f", OpenOptions::default()).await.unwrap();
    let empty = writer.write("".into()).await.unwrap_err();
    assert_eq!(reason(empty), (ErrorReason::EmptyAppend, Outcome::NotApplied));
    let nothing = writer.append(Vec::new()).await.unwrap_err();
    assert_eq!(reason(nothing), (ErrorReason::EmptyAppend, Outcome::NotApplied));
    let large = writer.write("12345678901".into()).await.unwrap_err();
    assert_eq!(reason(large), (ErrorReason::RecordTooLarge, Outcome::NotApplied));
    let large = writer.append(vec!["12345678".into(), "12345678".into()]).await.unwrap_err();
    assert_eq!(reason(large), (ErrorReason::RecordTooLarge, Outcome::NotApplied));
    for _ in 0..5 {
        writer.write("12345678".into()).await.unwrap(); // batches keep within the limits of the server
    }
    in_time(writer.finish()).await.unwrap();
    assert_eq!(fake.world(|world| world.appends.iter().map(|append| append.3.len()).max()), Some(1));
}

#[tokio::test]
async fn wrong_acks_fail_their_channel_instead_of_being_believed() {
    let ack = |change: fn(&mut v1::Ack)| {
        let mut ack = v1::Ack { channel: 1, through_seq: 1, level: 2, generation: 1, ..v1::Ack::default() };
        change(&mut ack);
        Act::Instead(Answer::Ack(ack))
    };
    let wrong = [
        ("not sent", ack(|ack| ack.through_seq = 9)),
        ("below the level", ack(|ack| ack.level = 1)),
        ("unknown level", ack(|ack| ack.level = 77)),
        ("no level", ack(|ack| ack.level = 0)),
        ("wrong range", ack(|ack| (ack.first_offset, ack.end_offset) = (Some(0), Some(3)))),
        ("overflow", ack(|ack| (ack.first_offset, ack.end_offset) = (Some(u64::MAX), Some(3)))),
        ("opened twice", Act::Instead(Answer::Opened(v1::Opened { channel: 1, epoch: 1, ..v1::Opened::default() }))),
        ("finished early", Act::Instead(Answer::Finished(v1::Finished { channel: 1, ..v1::Finished::default() }))),
        ("redirect", Act::Instead(Answer::Redirect(v1::Redirect { channel: 1, endpoint: "x".into() }))),
        ("nack of more", Act::Instead(Answer::Nack(v1::Nack { channel: 1, seq: 7, ..v1::Nack::default() }))),
    ];
    for (name, act) in wrong {
        let fake = Fake::start(once(1, act)).await;
        let writer = session(&fake).await.open("f", singly()).await.unwrap();
        let error = in_time(writer.append(vec![record(1)]).await.unwrap()).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Protocol, Outcome::Unknown), "{name}: {error}");
    }
}

#[tokio::test]
async fn answer_for_a_channel_that_never_was_costs_the_connection_and_no_record() {
    let fake = Fake::start(once(1, Act::Say(Answer::Ack(v1::Ack { channel: 99, ..v1::Ack::default() })))).await;
    let session = session(&fake).await;
    let writer = session.open("f", singly()).await.unwrap();
    in_time(writer.append(vec![record(1)]).await.unwrap()).await.unwrap();
    assert_eq!(fake.world(|world| world.bytes("f")), records(1..2));
    assert_eq!(session.stats().reconnects, 1);
}

#[tokio::test]
async fn server_that_forgot_acked_appends_is_found_out() {
    let fake = Fake::start(once(3, Act::Cut { applied: false })).await;
    let writer = session(&fake).await.open("f", singly()).await.unwrap();
    for number in 1..3 {
        in_time(writer.append(vec![record(number)]).await.unwrap()).await.unwrap();
    }
    fake.world(|world| {
        let known = world.files.get_mut("f").unwrap().producers.values_mut().next().unwrap();
        known.appends.pop();
    });
    let error = in_time(writer.append(vec![record(3)]).await.unwrap()).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::AckedLost, Code::DataLoss));
}

#[tokio::test]
async fn token_goes_with_the_stream_and_into_no_text() {
    let fake = Fake::good().await;
    let session = session_with(&fake, |builder| {
        let builder = builder.token("s3cret");
        assert!(!format!("{builder:?}").contains("s3cret"));
        builder
    })
    .await;
    let writer = session.open("f", singly()).await.unwrap();
    assert_eq!(fake.world(|world| world.tokens.clone()), [Some("Bearer s3cret".to_owned())]);
    assert!(!format!("{session:?} {writer:?}").contains("s3cret"));
}

#[tokio::test]
async fn unauthenticated_stream_fails_its_channels_at_once() {
    let fake = Fake::good().await;
    fake.world(|world| world.refuse = Some(tonic::Status::unauthenticated("token expired")));
    let session = session_with(&fake, |builder| builder.token("old").give_up_after(Duration::from_secs(3600))).await;
    let error = in_time(session.open("f", singly())).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), (Code::Unauthenticated, ErrorKind::Refused));
    assert!(!error.to_string().contains("old"), "{error}");
}
