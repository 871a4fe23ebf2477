//! Sending without waiting, and with a bound.

use super::{batched, held, in_time, record, records, session, session_with, singly};
use crate::{
    Code, Error, ErrorKind, ErrorReason, Outcome, Session, Writer,
    fake::{Act, Fake},
};
use inkpot_proto::v1::{self, write_request::Frame, write_response::Frame as Answer};
use std::{sync::atomic::Ordering, time::Duration};
use tokio::time::Instant;

const SHORT: Duration = Duration::from_millis(30);
const HOUR: Duration = Duration::from_secs(3600);

/// A session with room for two appends, all of it taken.
async fn full(fake: &Fake) -> (Session, Writer) {
    let session = session_with(fake, |builder| builder.in_flight(2, 1 << 20)).await;
    let writer = session.open("f", singly()).await.unwrap();
    for number in 0..2 {
        writer.try_write(record(number)).unwrap();
    }
    (session, writer)
}

fn nothing_was_taken(error: &Error, kind: ErrorKind, code: Code) {
    assert_eq!((error.kind(), error.code(), error.outcome()), (kind, code, Outcome::NotApplied));
    assert_eq!((error.file(), error.retryable()), (Some("f"), true));
}

#[tokio::test]
async fn full_window_gives_back_what_was_tried() {
    let (fake, released) = held().await;
    let (session, writer) = full(&fake).await;
    let unsent = writer.try_write(record(7)).unwrap_err();
    nothing_was_taken(&unsent.error, ErrorKind::WindowFull, Code::ResourceExhausted);
    assert_eq!(unsent.value, record(7));
    let unsent = writer.try_append(vec![record(8), record(9)]).unwrap_err();
    nothing_was_taken(&unsent.error, ErrorKind::WindowFull, Code::ResourceExhausted);
    assert_eq!(unsent.value, [record(8), record(9)]);
    released.store(true, Ordering::SeqCst);
    in_time(writer.flush()).await.unwrap();
    let receipt = writer.try_append(unsent.value).unwrap();
    assert_eq!(in_time(receipt).await.unwrap().seq, 3);
    assert_eq!(fake.world(|world| world.bytes("f")), records([0, 1, 8, 9]));
    assert_eq!(session.free(), (2, 1 << 20));
}

#[tokio::test]
async fn bounded_wait_ends_in_time_and_has_taken_nothing() {
    let (fake, released) = held().await;
    let (session, writer) = full(&fake).await;
    let begun = Instant::now();
    let unsent = in_time(writer.write_timeout(record(7), SHORT)).await.unwrap_err();
    nothing_was_taken(&unsent.error, ErrorKind::Timeout, Code::DeadlineExceeded);
    assert_eq!(unsent.value, record(7));
    let unsent = in_time(writer.append_timeout(vec![record(8)], SHORT)).await.unwrap_err();
    nothing_was_taken(&unsent.error, ErrorKind::Timeout, Code::DeadlineExceeded);
    assert!(begun.elapsed() >= 2 * SHORT);
    released.store(true, Ordering::SeqCst);
    in_time(writer.write_timeout(record(2), HOUR)).await.unwrap();
    in_time(in_time(writer.append_timeout(unsent.value, HOUR)).await.unwrap()).await.unwrap();
    assert_eq!(fake.world(|world| world.bytes("f")), records([0, 1, 2, 8]));
    assert_eq!(session.free(), (2, 1 << 20));
}

#[tokio::test]
async fn limit_that_keeps_the_window_full_is_named() {
    let mut throttled = Some(v1::Throttled { limit: "tenant.in_flight_bytes".into(), since: None });
    let fake = Fake::start(move |seen| match seen.frame {
        Frame::Append(_) => throttled.take().map_or(Act::Ignore, |say| Act::Instead(Answer::Throttled(say))),
        _ => Act::Serve,
    })
    .await;
    let (session, writer) = full(&fake).await;
    super::until(|| session.stats().throttled.is_some()).await;
    let error = Error::from(writer.try_write(record(7)).unwrap_err());
    assert_eq!(error.limit(), Some("tenant.in_flight_bytes"));
    let error = in_time(writer.write_timeout(record(7), SHORT)).await.unwrap_err().error;
    assert_eq!(error.limit(), Some("tenant.in_flight_bytes"));
    assert!(error.to_string().contains("tenant.in_flight_bytes"), "{error}");
}

#[tokio::test]
async fn try_that_finds_the_window_full_of_lingering_records_sends_them() {
    let fake = Fake::good().await;
    let session = session_with(&fake, |builder| builder.in_flight(1, 1 << 20)).await;
    let holder = session.open("holder", batched(100, HOUR)).await.unwrap();
    let other = session.open("f", singly()).await.unwrap();
    holder.try_write(record(1)).unwrap();
    assert_eq!(other.try_write(record(2)).unwrap_err().error.kind(), ErrorKind::WindowFull);
    super::until(|| other.try_write(record(2)).is_ok()).await;
    assert_eq!(fake.world(|world| world.bytes("holder")), records([1]));
}

#[tokio::test]
async fn what_cannot_be_sent_at_all_comes_back_with_the_reason() {
    let fake = Fake::good().await;
    let writer = session(&fake).await.open("f", singly()).await.unwrap();
    let reason = |error: &Error| error.reason();
    assert_eq!(reason(&writer.try_write("".into()).unwrap_err().error), Some(ErrorReason::EmptyAppend));
    assert_eq!(reason(&writer.try_append(Vec::new()).unwrap_err().error), Some(ErrorReason::EmptyAppend));
    let large = vec![b'x'; 5 << 20];
    let unsent = in_time(writer.write_timeout(large.clone().into(), HOUR)).await.unwrap_err();
    assert_eq!((reason(&unsent.error), unsent.value.len()), (Some(ErrorReason::RecordTooLarge), large.len()));
    assert!(!format!("{unsent:?}").contains("xxx"));
}
