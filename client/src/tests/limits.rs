//! Window, batches, patience: what is bounded, and by what.

use super::{batched, in_time, record, session, session_with, singly, until};
use crate::{
    BatchPolicy, Client, ErrorKind, ErrorReason, OpenOptions, Outcome,
    fake::{Act, Fake},
};
use bytes::Bytes;
use futures_util::FutureExt;
use inkpot_proto::v1::{self, write_request::Frame, write_response::Frame as Answer};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_millis(200);

async fn silent() -> Fake {
    Fake::start(|seen| if matches!(seen.frame, Frame::Append(_)) { Act::Ignore } else { Act::Serve }).await
}

#[tokio::test]
async fn window_bounds_appends_and_bytes_and_opens_with_acks() {
    for (appends, bytes, fit) in [(5, 1 << 20, 5), (1000, 95, 9)] {
        let fake = silent().await;
        let session = session_with(&fake, |builder| builder.in_flight(appends, bytes)).await;
        let writer = session.open("f", singly()).await.unwrap();
        let mut taken = 0;
        while writer.write(Bytes::from_static(b"0123456789")).now_or_never().is_some() {
            taken += 1;
        }
        assert_eq!(taken, fit);
        let stats = session.stats();
        assert_eq!((stats.unacked_appends, stats.unacked_bytes), (fit, fit * 10));
    }
}

#[tokio::test]
async fn append_larger_than_the_window_passes_alone() {
    let fake = Fake::good().await;
    let session = session_with(&fake, |builder| builder.in_flight(2, 10)).await;
    let writer = session.open("f", singly()).await.unwrap();
    for _ in 0..3 {
        in_time(writer.write(Bytes::from(vec![b'x'; 100]))).await.unwrap();
    }
    assert_eq!(in_time(writer.finish()).await.unwrap().acked_bytes, 300);
}

#[tokio::test]
async fn batches_that_hold_the_window_are_sent_when_somebody_waits_for_it() {
    let fake = Fake::good().await;
    let session = session_with(&fake, |builder| builder.in_flight(1, 1 << 20)).await;
    let hour = Duration::from_secs(3600);
    let holder = session.open("holder", batched(100, hour)).await.unwrap();
    let other = session.open("other", batched(100, hour)).await.unwrap();
    holder.write(record(1)).await.unwrap();
    in_time(other.write(record(2))).await.unwrap();
    in_time(holder.write(record(3))).await.unwrap();
    in_time(other.flush()).await.unwrap();
    assert_eq!(in_time(holder.flush()).await.unwrap().acked_appends, 2);
}

#[tokio::test]
async fn window_is_whole_again_after_cancelled_and_failed_writes() {
    let fake = silent().await;
    let session = session_with(&fake, |builder| builder.in_flight(4, 100).give_up_after(PATIENCE)).await;
    let writer = session.open("f", batched(3, Duration::from_secs(3600))).await.unwrap();
    while writer.write(record(1)).now_or_never().is_some() {}
    for _ in 0..10 {
        assert!(writer.write(record(1)).now_or_never().is_none(), "cancelled while it waits");
    }
    assert_eq!(in_time(writer.flush()).await.unwrap_err().kind(), ErrorKind::GaveUp);
    drop(writer);
    assert_eq!(session.free(), (4, 100));
}

#[tokio::test]
async fn batch_goes_when_it_is_full_by_records_or_bytes() {
    let fake = Fake::good().await;
    let hour = Duration::from_secs(3600);
    let session = session(&fake).await;
    let by_records = session.open("r", batched(3, hour)).await.unwrap();
    for number in 0..7 {
        by_records.write(record(number)).await.unwrap();
    }
    until(|| by_records.progress().acked_records == 6).await;
    assert_eq!(in_time(by_records.finish()).await.unwrap().acked_records, 7);
    assert_eq!(fake.world(|world| world.appends.iter().map(|append| append.3.len()).collect::<Vec<_>>()), [3, 3, 1]);

    fake.world(|world| world.appends.clear());
    let batch = BatchPolicy { max_records: 100, max_bytes: 25, linger: hour };
    let by_bytes = session.open("b", OpenOptions { batch, ..OpenOptions::default() }).await.unwrap();
    for len in [10, 10, 10, 30, 10, 15, 1] {
        by_bytes.write(Bytes::from(vec![b'x'; len])).await.unwrap();
    }
    in_time(by_bytes.finish()).await.unwrap();
    let lengths: Vec<_> = fake.world(|world| world.appends.iter().map(|append| append.3.clone()).collect());
    assert_eq!(lengths, [vec![10, 10], vec![10], vec![30], vec![10, 15], vec![1]]);
}

#[tokio::test]
async fn batch_goes_when_it_is_old_enough_and_not_before() {
    let fake = Fake::good().await;
    let linger = Duration::from_millis(60);
    let writer = session(&fake).await.open("f", batched(100, linger)).await.unwrap();
    for round in 1..4 {
        let begun = Instant::now();
        writer.write(record(1)).await.unwrap();
        writer.write(record(2)).await.unwrap();
        until(|| writer.progress().acked_records == 2 * round).await;
        assert!(begun.elapsed() >= linger);
    }
    assert_eq!(writer.progress().acked_appends, 3);
}

#[tokio::test]
async fn append_sends_the_batch_before_itself() {
    let fake = Fake::good().await;
    let writer = session(&fake).await.open("f", batched(100, Duration::from_secs(3600))).await.unwrap();
    writer.write(record(1)).await.unwrap();
    let ack = in_time(writer.append(vec![record(2), record(3)]).await.unwrap()).await.unwrap();
    assert_eq!((ack.seq, ack.first_offset), (2, Some(record(1).len() as u64)));
    assert_eq!(writer.progress().sent_records, 3);
}

#[tokio::test]
async fn silence_is_given_up_with_what_was_acked() {
    let mut served = 0;
    let fake = Fake::start(move |seen| match seen.frame {
        Frame::Append(_) if served == 3 => Act::Ignore,
        Frame::Append(_) => {
            served += 1;
            Act::Serve
        }
        _ => Act::Serve,
    })
    .await;
    let session = session_with(&fake, |builder| builder.give_up_after(PATIENCE)).await;
    let writer = session.open("f", singly()).await.unwrap();
    for number in 0..3 {
        in_time(writer.append(vec![record(number)]).await.unwrap()).await.unwrap();
    }
    let begun = Instant::now();
    let receipt = writer.append(vec![record(3)]).await.unwrap();
    let error = in_time(writer.flush()).await.unwrap_err();
    assert!(begun.elapsed() >= PATIENCE);
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::GaveUp, Outcome::Unknown));
    assert_eq!(error.progress().unwrap().acked_records, 3);
    assert_eq!(in_time(receipt).await.unwrap_err().kind(), ErrorKind::GaveUp);
    assert!(error.retryable());
}

#[tokio::test]
async fn waiters_for_the_window_are_given_up_on_too() {
    let fake = silent().await;
    let session = session_with(&fake, |builder| builder.give_up_after(PATIENCE).in_flight(1, 100)).await;
    let writer = session.open("f", singly()).await.unwrap();
    writer.write(record(1)).await.unwrap();
    assert_eq!(in_time(writer.write(record(2))).await.unwrap_err().kind(), ErrorKind::GaveUp);
}

#[tokio::test]
async fn unreachable_server_is_given_up_with_the_reason() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    drop(listener);
    let client = Client::builder(&endpoint).give_up_after(PATIENCE).connect().await.unwrap();
    let error = in_time(client.session().await.open("f", singly())).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::GaveUp, Outcome::NotApplied));
    assert!(error.to_string().contains(&endpoint), "{error}");
}

#[tokio::test]
async fn server_that_accepts_and_says_nothing_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::builder(listener.local_addr().unwrap().to_string())
        .connect_timeout(PATIENCE / 4)
        .give_up_after(PATIENCE)
        .connect()
        .await
        .unwrap();
    let error = in_time(client.session().await.open("f", singly())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::GaveUp);
    assert!(error.message().contains("no answer in time"), "{error}");
}

#[tokio::test]
async fn connections_that_open_but_never_ack_are_given_up_in_the_end() {
    let fake = Fake::start(|seen| match seen.frame {
        Frame::Append(_) => Act::Cut { applied: false },
        _ => Act::Serve,
    })
    .await;
    let session = session_with(&fake, |builder| builder.give_up_after(PATIENCE)).await;
    let writer = session.open("f", singly()).await.unwrap();
    let error = in_time(writer.append(vec![record(1)]).await.unwrap()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::GaveUp, Outcome::Unknown));
    assert!(session.stats().reconnects > 1);
}

#[tokio::test]
async fn endless_refusals_are_given_up_as_not_applied_and_named() {
    let fake = Fake::start(|seen| match seen.frame {
        Frame::Append(_) => Act::Nack { reason: ErrorReason::DiskFull, applied: false },
        _ => Act::Serve,
    })
    .await;
    let session = session_with(&fake, |builder| builder.give_up_after(PATIENCE)).await;
    let writer = session.open("f", singly()).await.unwrap();
    let error = in_time(writer.append(vec![record(1)]).await.unwrap()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::GaveUp, Outcome::NotApplied));
    assert!(error.message().contains("so the script says"), "{error}");
}

#[tokio::test]
async fn channel_behind_a_slow_limit_does_not_give_up_while_others_move() {
    let pause = PATIENCE / 8;
    let fake = Fake::start(move |seen| match seen.frame {
        Frame::Append(append) if append.channel == 1 => Act::Delay(pause),
        _ => Act::Serve,
    })
    .await;
    fake.world(|world| world.thin_acks = false);
    let session = session_with(&fake, |builder| builder.give_up_after(PATIENCE)).await;
    let slow = session.open("slow", singly()).await.unwrap();
    let behind = session.open("behind", singly()).await.unwrap();
    for number in 0..20 {
        slow.write(record(number)).await.unwrap();
    }
    until(|| fake.world(|world| !world.appends.is_empty())).await;
    let receipt = behind.append(vec![record(0)]).await.unwrap();
    in_time(receipt).await.unwrap();
    assert_eq!(in_time(slow.finish()).await.unwrap().acked_records, 20);
}

#[tokio::test]
async fn throttled_session_says_by_what_until_an_ack_comes() {
    let throttled = v1::Throttled { limit: "tenant.in_flight_bytes".into(), since: Some(SystemTime::now().into()) };
    let mut acts = vec![Act::Say(Answer::Throttled(throttled.clone())), Act::Instead(Answer::Throttled(throttled))];
    let fake = Fake::start(move |seen| match seen.frame {
        Frame::Append(_) => acts.pop().unwrap_or(Act::Serve),
        _ => Act::Serve,
    })
    .await;
    let session = session_with(&fake, |builder| builder.give_up_after(PATIENCE)).await;
    let writer = session.open("f", singly()).await.unwrap();
    let receipt = writer.append(vec![record(1)]).await.unwrap();
    until(|| session.stats().throttles == 1).await;
    let throttle = session.stats().throttled.unwrap();
    assert_eq!(throttle.limit, "tenant.in_flight_bytes");
    assert!(throttle.since.is_some());
    let error = in_time(receipt).await.unwrap_err();
    assert_eq!((error.kind(), error.limit()), (ErrorKind::GaveUp, Some("tenant.in_flight_bytes")));
    let other = in_time(session.open("g", singly())).await.unwrap();
    in_time(other.append(vec![record(1)]).await.unwrap()).await.unwrap();
    let stats = session.stats();
    assert_eq!((stats.throttles, stats.throttled), (2, None));
}

#[tokio::test]
async fn driver_ends_with_the_last_handle() {
    let fake = Fake::good().await;
    let session = session(&fake).await;
    let shared = session.watch();
    let writer = session.open("f", singly()).await.unwrap();
    drop(session);
    in_time(writer.append(vec![record(1)]).await.unwrap()).await.unwrap();
    assert!(shared.upgrade().is_some());
    drop(writer);
    until(|| shared.upgrade().is_none()).await;
}
