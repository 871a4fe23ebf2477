//! A file as `AsyncWrite` and as `Sink`.

use super::{batched, held, in_time, once, record, records, session, session_with, singly};
use crate::{
    Code, Cut, Error, ErrorKind, ErrorReason, Outcome, Writer,
    fake::{Act, Fake},
};
use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt, stream};
use inkpot_proto::v1::{self, FinishAction};
use std::{io, sync::atomic::Ordering, time::Duration};
use tokio::io::AsyncWriteExt;

fn inner(error: &io::Error) -> &Error {
    error.get_ref().unwrap().downcast_ref().unwrap()
}

/// Lengths of the appends that came, each of one record.
fn lengths(fake: &Fake) -> Vec<u32> {
    fake.world(|world| world.appends.iter().flat_map(|append| append.3.clone()).collect())
}

fn finishes(fake: &Fake) -> Vec<FinishAction> {
    fake.world(|world| world.finishes.iter().map(v1::Finish::action).collect())
}

async fn opened(fake: &Fake, appends: u32) -> Writer {
    session_with(fake, |builder| builder.in_flight(appends, 1 << 20)).await.open("f", singly()).await.unwrap()
}

#[tokio::test]
async fn bytes_become_records_by_line_wherever_the_writes_end() {
    let fake = Fake::good().await;
    let mut file = session(&fake).await.open("f", singly()).await.unwrap().into_async_write(Cut::Lines);
    let text = b"one\n\nthree and more\nfour";
    for piece in text.chunks(5) {
        in_time(file.write_all(piece)).await.unwrap();
    }
    in_time(file.shutdown()).await.unwrap();
    assert_eq!(fake.world(|world| world.bytes("f")), text);
    assert_eq!((lengths(&fake), finishes(&fake)), (vec![4, 1, 15, 4], vec![FinishAction::Commit]));
    let error = in_time(file.write_all(b"late\n")).await.unwrap_err();
    assert_eq!((error.kind(), inner(&error).outcome()), (io::ErrorKind::BrokenPipe, Outcome::NotApplied));
}

#[tokio::test]
async fn bytes_become_chunks_within_the_limit_of_the_server() {
    for (asked, expected) in [(4, vec![4, 4, 2]), (0, vec![1; 10]), (100, vec![6, 4])] {
        let fake = Fake::good().await;
        fake.world(|world| world.limits.max_record_bytes = 6);
        let writer = session(&fake).await.open("f", singly()).await.unwrap();
        let mut file = writer.into_async_write(Cut::Chunks(asked));
        in_time(file.write_all(b"0123456789")).await.unwrap();
        in_time(file.flush()).await.unwrap();
        assert_eq!((fake.world(|world| world.bytes("f")), lengths(&fake)), (b"0123456789".to_vec(), expected));
    }
}

#[tokio::test]
async fn flush_means_acked_and_ends_an_unfinished_record() {
    let (fake, released) = held().await;
    let writer = session(&fake).await.open("f", batched(100, Duration::from_secs(3600))).await.unwrap();
    let mut file = writer.into_async_write(Cut::Lines);
    in_time(file.write_all(b"whole\nhalf ")).await.unwrap();
    assert!(file.flush().now_or_never().is_none(), "nothing is acked");
    released.store(true, Ordering::SeqCst);
    in_time(file.flush()).await.unwrap();
    assert_eq!((file.get_ref().progress().acked_bytes, lengths(&fake).last()), (11, Some(&5)));
    in_time(file.write_all(b"a line\n")).await.unwrap();
    in_time(file.flush()).await.unwrap();
    assert_eq!(fake.world(|world| world.bytes("f")), b"whole\nhalf a line\n");
}

#[tokio::test]
async fn full_window_stops_the_bytes_and_acks_let_them_go_on() {
    let (fake, released) = held().await;
    let mut file = opened(&fake, 3).await.into_async_write(Cut::Lines);
    let mut taken = 0;
    while let Some(written) = file.write(&record(taken)).now_or_never() {
        assert_eq!(written.unwrap(), record(taken).len());
        taken += 1;
    }
    assert_eq!(taken, 4, "three in the window and one that waits");
    assert!(file.write_all(&record(99)).now_or_never().is_none(), "cancelled: takes nothing");
    assert!(file.flush().now_or_never().is_none());
    released.store(true, Ordering::SeqCst);
    for number in taken..50 {
        in_time(file.write_all(&record(number))).await.unwrap();
        let _ = file.flush().now_or_never(); // a flush that is cancelled changes nothing
    }
    assert!(file.shutdown().now_or_never().is_none());
    in_time(file.shutdown()).await.unwrap();
    assert_eq!(fake.world(|world| world.bytes("f")), records(0..50));
}

#[tokio::test]
async fn bytes_and_records_are_there_once_over_a_lost_connection() {
    for applied in [false, true] {
        let fake = Fake::start(once(20, Act::Cut { applied })).await;
        let session = session(&fake).await;
        let mut bytes = session.open("bytes", singly()).await.unwrap().into_async_write(Cut::Lines);
        let mut sink = session.open("records", singly()).await.unwrap().into_sink();
        for number in 0..60 {
            in_time(bytes.write_all(&record(number))).await.unwrap();
            in_time(sink.feed(record(number))).await.unwrap();
        }
        in_time(bytes.shutdown()).await.unwrap();
        in_time(sink.close()).await.unwrap();
        assert_eq!(session.stats().reconnects, 1);
        for file in ["bytes", "records"] {
            assert_eq!(fake.world(|world| world.bytes(file)), records(0..60), "{file}, {applied}");
        }
    }
}

#[tokio::test]
async fn line_that_no_append_can_carry_ends_the_stream_before_it() {
    let fake = Fake::good().await;
    fake.world(|world| world.limits.max_record_bytes = 8);
    let mut file = session(&fake).await.open("f", singly()).await.unwrap().into_async_write(Cut::Lines);
    in_time(file.write_all(b"short\n")).await.unwrap();
    let error = in_time(file.write_all(b"longer than that")).await.unwrap_err();
    assert_eq!(
        (error.kind(), inner(&error).reason()),
        (io::ErrorKind::InvalidInput, Some(ErrorReason::RecordTooLarge))
    );
    for error in [in_time(file.write_all(b"x\n")).await, in_time(file.flush()).await, in_time(file.shutdown()).await] {
        assert_eq!(inner(&error.unwrap_err()).reason(), Some(ErrorReason::RecordTooLarge), "stays");
    }
    in_time(file.get_ref().flush()).await.unwrap();
    assert_eq!(fake.world(|world| world.bytes("f")), b"short\n");
}

#[tokio::test]
async fn failed_channel_is_an_io_error_that_holds_ours() {
    let kinds = [
        (ErrorReason::ProducerFenced, io::ErrorKind::Other),
        (ErrorReason::Symlink, io::ErrorKind::PermissionDenied),
        (ErrorReason::Damaged, io::ErrorKind::InvalidData),
    ];
    for (reason, kind) in kinds {
        let fake = Fake::start(once(1, Act::Nack { reason, applied: false })).await;
        let mut file = session(&fake).await.open("f", singly()).await.unwrap().into_async_write(Cut::Lines);
        in_time(file.write_all(b"line\n")).await.unwrap();
        let error = in_time(file.flush()).await.unwrap_err();
        assert_eq!((error.kind(), inner(&error).reason()), (kind, Some(reason)));
        assert_eq!((inner(&error).outcome(), inner(&error).file()), (Outcome::NotApplied, Some("f")));
        assert!(in_time(file.shutdown()).await.is_err());
    }
}

#[test]
fn kinds_of_io_never_ask_for_the_same_write_again() {
    let full = io::Error::from(Error::no_room(ErrorKind::WindowFull, None));
    assert_eq!(full.kind(), io::ErrorKind::QuotaExceeded);
    let late = io::Error::from(Error::no_room(ErrorKind::Timeout, None));
    assert_eq!(late.kind(), io::ErrorKind::TimedOut);
    assert_eq!(io::Error::from(Error::transport("gone")).kind(), io::ErrorKind::NotConnected);
    for code in (0..17).map(Code::from_i32) {
        let error = io::Error::from(Error::from_status(&tonic::Status::new(code, "words")));
        assert!(!matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock), "{code:?}");
        assert_eq!(inner(&error).code(), code);
    }
}

#[tokio::test]
async fn sink_holds_back_while_the_window_is_full() {
    let (fake, released) = held().await;
    let mut sink = opened(&fake, 3).await.into_sink();
    let mut fed = 0;
    while let Some(ready) = sink.feed(record(fed)).now_or_never() {
        ready.unwrap();
        fed += 1;
    }
    assert_eq!(fed, 4, "three in the window and one that waits");
    assert!(sink.flush().now_or_never().is_none());
    released.store(true, Ordering::SeqCst);
    for number in fed..50 {
        in_time(sink.feed(record(number))).await.unwrap();
    }
    in_time(sink.flush()).await.unwrap();
    assert_eq!(sink.get_ref().progress().acked_records, 50);
    in_time(sink.close()).await.unwrap();
    assert_eq!(fake.world(|world| world.bytes("f")), records(0..50), "a cancelled feed took nothing");
    assert_eq!(finishes(&fake), [FinishAction::Commit]);
    assert_eq!(in_time(sink.feed(record(1))).await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn stream_that_is_sent_into_a_sink_is_acked_and_batched() {
    let fake = Fake::good().await;
    let writer = session(&fake).await.open("f", batched(10, Duration::from_secs(3600))).await.unwrap();
    let mut sink = writer.into_sink();
    in_time(sink.send_all(&mut stream::iter(0..25).map(|number| Ok(record(number))))).await.unwrap();
    let progress = sink.get_ref().progress();
    assert_eq!((progress.acked_records, progress.acked_appends), (25, 3));
    assert_eq!(fake.world(|world| world.bytes("f")), records(0..25));
}

#[tokio::test]
async fn bad_record_is_refused_and_the_sink_goes_on() {
    let fake = Fake::good().await;
    let mut sink = session(&fake).await.open("f", singly()).await.unwrap().into_sink();
    let error = in_time(sink.send(Bytes::new())).await.unwrap_err();
    assert_eq!((error.reason(), error.outcome()), (Some(ErrorReason::EmptyAppend), Outcome::NotApplied));
    in_time(sink.send(record(1))).await.unwrap();
    assert_eq!(fake.world(|world| world.bytes("f")), records([1]));
}

#[tokio::test]
async fn dropped_adapters_send_what_had_room() {
    let fake = Fake::good().await;
    let session = session(&fake).await;
    let hour = Duration::from_secs(3600);
    let mut sink = session.open("records", batched(100, hour)).await.unwrap().into_sink();
    in_time(sink.feed(record(1))).await.unwrap();
    let mut bytes = session.open("bytes", batched(100, hour)).await.unwrap().into_async_write(Cut::Lines);
    in_time(bytes.write_all(b"line\nunfinished")).await.unwrap();
    drop((sink, bytes));
    in_time(session.close()).await.unwrap();
    assert_eq!(fake.world(|world| (world.bytes("records"), world.bytes("bytes"))), (records([1]), b"line\n".to_vec()));
}
