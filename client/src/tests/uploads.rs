//! An upload appears whole or not at all, over lost connections, in bounded memory.

use super::{in_time, until};
use crate::{
    Client, Code, Error, ErrorKind, ErrorReason, Expected, Framing, OpenOptions, Outcome, Producer, Upload, UploadMode,
    UploadOptions,
    fake::{Act, Fake, Seen},
};
use bytes::Bytes;
use inkpot_proto::v1::{self, FinishAction, Mode, write_request::Frame};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::io::AsyncWriteExt;

fn content(length: usize) -> Vec<u8> {
    StdRng::seed_from_u64(length as u64).random_iter().take(length).collect()
}

fn named() -> Producer {
    Producer::Named { id: "p".into(), epoch: Some(1) }
}

/// Chunks of 10 bytes, at most 100 in memory.
fn small() -> UploadOptions {
    UploadOptions { chunk_bytes: 10, window_bytes: 100, producer: named(), ..UploadOptions::default() }
}

async fn client(fake: &Fake) -> Client {
    Client::builder(&fake.endpoint).connect().await.unwrap()
}

async fn upload(fake: &Fake, options: UploadOptions) -> Upload {
    in_time(client(fake).await.upload("f", options)).await.unwrap()
}

/// Does `act` with each `Finish` of this kind, once.
fn at_finish(action: FinishAction, act: Act) -> impl FnMut(&Seen<'_>) -> Act {
    let mut act = Some(act);
    move |seen| match seen.frame {
        Frame::Finish(finish) if finish.action() == action => act.take().unwrap_or(Act::Serve),
        _ => Act::Serve,
    }
}

fn finishes(fake: &Fake) -> Vec<FinishAction> {
    fake.world(|world| world.finishes.iter().map(v1::Finish::action).collect())
}

fn is_visible(fake: &Fake) -> bool {
    fake.world(|world| world.files.contains_key("f"))
}

#[tokio::test]
async fn upload_is_seen_whole_and_only_when_it_is_committed() {
    let fake = Fake::good().await;
    let mut upload = upload(&fake, small()).await;
    assert_eq!((upload.resumed_at(), upload.is_published(), upload.chunk_bytes()), (0, false, 10));
    let bytes = content(95);
    for part in [&bytes[..3], &bytes[3..4], &bytes[4..60], &bytes[60..]] {
        in_time(upload.write(Bytes::copy_from_slice(part))).await.unwrap();
    }
    assert_eq!(upload.offset(), 95);
    in_time(upload.flush()).await.unwrap();
    assert_eq!(upload.acked_offset(), 95);
    assert!(!is_visible(&fake));
    let published = in_time(upload.commit(Expected::default())).await.unwrap();
    assert_eq!((published.generation, published.size, published.crc32c), (1, 95, crc32c::crc32c(&bytes)));
    fake.world(|world| {
        assert_eq!(world.bytes("f"), bytes);
        let sent = world.finishes[0];
        assert_eq!((sent.size, sent.crc32c), (Some(95), Some(crc32c::crc32c(&bytes))), "what is known is checked");
        let open = &world.opens[0];
        assert_eq!((open.mode(), open.producer_epoch), (Mode::Replace, 1));
        assert!(world.appends.iter().all(|append| append.3.iter().sum::<u32>() <= 10));
    });
}

#[tokio::test]
async fn empty_upload_makes_an_empty_file() {
    let fake = Fake::good().await;
    let published = in_time(upload(&fake, UploadOptions::default()).await.commit(Expected::default())).await.unwrap();
    assert_eq!((published.generation, published.size, published.crc32c), (1, 0, 0));
    assert!(is_visible(&fake));
}

/// Misbehaves at random, all of it within the protocol.
fn fault(rng: &mut StdRng, seen: &Seen<'_>) -> Act {
    match (seen.frame, rng.random_range(0..100)) {
        (Frame::Append(_), 0..2) => Act::Cut { applied: false },
        (Frame::Append(_), 2..4) => Act::Cut { applied: true },
        (Frame::Append(_), 4..8) => Act::Nack { reason: ErrorReason::DiskFull, applied: false },
        (Frame::Open(_), 0..10) => Act::Cut { applied: true },
        (Frame::Finish(_), 0..40) => Act::Cut { applied: true },
        (Frame::Finish(_), 40..60) => Act::Cut { applied: false },
        (Frame::Finish(_), 60..70) => Act::Nack { reason: ErrorReason::BeingDecided, applied: false },
        (Frame::Finish(_), 70..80) => Act::Nack { reason: ErrorReason::OutcomeUnknown, applied: true },
        _ => Act::Serve,
    }
}

async fn whole_over_faults(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let fake = Fake::start(move |seen| fault(&mut rng, seen)).await;
    let producer = if seed.is_multiple_of(2) { named() } else { Producer::Auto };
    let mode = if seed.is_multiple_of(3) { UploadMode::Create } else { UploadMode::Replace };
    let mut upload = upload(&fake, UploadOptions { producer, mode, ..small() }).await;
    let bytes = content(777);
    for part in bytes.chunks(33) {
        in_time(upload.write(Bytes::copy_from_slice(part))).await.unwrap();
    }
    let published = in_time(upload.commit(Expected::default())).await.unwrap();
    assert_eq!((published.size, published.crc32c), (777, crc32c::crc32c(&bytes)), "seed {seed}");
    assert_eq!(fake.world(|world| world.bytes("f")), bytes, "seed {seed}");
}

#[tokio::test]
async fn connections_lost_in_the_middle_repeat_and_lose_nothing() {
    let uploads: Vec<_> = (0..10).map(|seed| tokio::spawn(whole_over_faults(seed))).collect();
    for upload in uploads {
        upload.await.unwrap();
    }
}

#[tokio::test]
async fn finish_whose_answer_is_lost_is_sent_again_and_publishes_once() {
    let fake = Fake::start(at_finish(FinishAction::Commit, Act::Cut { applied: true })).await;
    let options = UploadOptions { mode: UploadMode::Create, if_generation: Some(0), ..small() };
    let mut upload = upload(&fake, options).await;
    in_time(upload.write("content".into())).await.unwrap();
    let published = in_time(upload.commit(Expected::default())).await.unwrap();
    assert_eq!((published.generation, published.size), (1, 7));
    assert_eq!(finishes(&fake), [FinishAction::Commit; 2]);
    assert!(fake.world(|world| world.opens.iter().all(|open| open.if_generation == Some(0))));
}

#[tokio::test]
async fn window_bounds_what_is_in_memory() {
    let released = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&released);
    let fake = Fake::start(move |frame: &Seen<'_>| match frame.frame {
        Frame::Append(_) if !seen.load(Ordering::SeqCst) => Act::Cut { applied: false },
        _ => Act::Serve,
    })
    .await;
    let mut upload = upload(&fake, small()).await;
    let bytes = Bytes::from(content(1000));
    let mut writing = Box::pin(upload.write(bytes.clone()));
    assert!(tokio::time::timeout(std::time::Duration::from_millis(100), &mut writing).await.is_err(), "waits for room");
    drop(writing);
    // 90 bytes wait for their ack and a chunk of 10 for room: the window is full, and not a byte more was taken.
    assert_eq!((upload.offset(), upload.stats().unacked_bytes), (100, 90));
    released.store(true, Ordering::SeqCst);
    in_time(upload.write(bytes.slice(100..))).await.unwrap(); // a write that was cancelled is gone on with
    assert!(upload.stats().unacked_bytes <= 90);
    in_time(upload.commit(Expected::default())).await.unwrap();
    assert_eq!(fake.world(|world| world.bytes("f")), bytes);
}

#[tokio::test]
async fn dropped_upload_is_resumed_by_the_same_producer() {
    let fake = Fake::good().await;
    let bytes = content(100);
    let mut first = upload(&fake, small()).await;
    in_time(first.write(Bytes::copy_from_slice(&bytes[..45]))).await.unwrap();
    until(|| first.acked_offset() == 40).await; // the rest is in an unfinished chunk, and lost with the upload
    drop(first);
    let mut second = upload(&fake, small()).await;
    assert_eq!((second.resumed_at(), second.opened().upload, second.opened().last_seq), (40, true, 4));
    in_time(second.write(Bytes::copy_from_slice(&bytes[40..]))).await.unwrap();
    let published = in_time(second.commit(Expected::default())).await.unwrap();
    assert_eq!(fake.world(|world| world.bytes("f")), bytes);
    let commit = fake.world(|world| world.finishes.last().copied()).unwrap();
    assert_eq!((commit.size, commit.crc32c), (Some(100), None), "nobody told the crc32c of what was there");

    let mut third = upload(&fake, small()).await;
    assert_eq!((third.is_published(), third.opened().upload, third.resumed_at()), (true, true, 100));
    let error = in_time(third.write("more".into())).await.unwrap_err();
    assert_eq!((error.reason(), error.outcome()), (Some(ErrorReason::UploadFinished), Outcome::NotApplied));
    assert_eq!(in_time(third.commit(Expected::default())).await.unwrap(), published, "says the same again");
}

#[tokio::test]
async fn crc32c_of_the_resumed_part_makes_that_of_the_whole_known() {
    let fake = Fake::good().await;
    let bytes = content(100);
    for (told, reason) in
        [(crc32c::crc32c(b"other"), Some(ErrorReason::ChecksumMismatch)), (crc32c::crc32c(&bytes[..50]), None)]
    {
        let mut first = upload(&fake, small()).await;
        if first.resumed_at() == 0 {
            in_time(first.write(Bytes::copy_from_slice(&bytes[..50]))).await.unwrap();
            in_time(first.flush()).await.unwrap();
        }
        drop(first);
        let mut second = upload(&fake, small()).await;
        second.set_resumed_crc32c(told);
        in_time(second.write(Bytes::copy_from_slice(&bytes[second.resumed_at() as usize..]))).await.unwrap();
        let published = in_time(second.commit(Expected::default())).await;
        assert_eq!(published.as_ref().err().and_then(Error::reason), reason);
        if let Ok(published) = published {
            assert_eq!(published.crc32c, crc32c::crc32c(&bytes));
        } else {
            assert!(!is_visible(&fake));
            // As it was before; here for the part that is still to be sent.
            fake.world(|world| world.uploads.clear());
        }
    }
}

#[tokio::test]
async fn wrong_size_publishes_nothing_and_leaves_the_upload() {
    let fake = Fake::good().await;
    let mut wrong = upload(&fake, small()).await;
    in_time(wrong.write("content".into())).await.unwrap();
    let error = in_time(wrong.commit(Expected { size: Some(6), crc32c: None })).await.unwrap_err();
    assert_eq!((error.reason(), error.outcome()), (Some(ErrorReason::SizeMismatch), Outcome::NotApplied));
    assert_eq!((error.kind(), error.file()), (ErrorKind::Refused, Some("f")));
    assert!(!is_visible(&fake));
    let again = upload(&fake, small()).await;
    assert_eq!(again.resumed_at(), 7);
    in_time(again.commit(Expected { size: Some(7), crc32c: None })).await.unwrap();
    assert!(is_visible(&fake));
}

#[tokio::test]
async fn create_is_refused_where_a_file_is_at_the_beginning_and_at_the_end() {
    let fake = Fake::good().await;
    let create = || UploadOptions { mode: UploadMode::Create, ..small() };
    let early = upload(&fake, create()).await;
    fake.world(|world| world.files.insert("f".to_owned(), Default::default()));
    let error = in_time(early.commit(Expected::default())).await.unwrap_err();
    assert_eq!((error.reason(), error.code()), (Some(ErrorReason::FileExists), Code::AlreadyExists));
    let error = in_time(client(&fake).await.upload("f", create())).await.unwrap_err();
    assert_eq!((error.reason(), error.outcome()), (Some(ErrorReason::FileExists), Outcome::NotApplied));
}

#[tokio::test]
async fn replaced_file_has_the_next_generation() {
    let fake = Fake::good().await;
    for (epoch, generation) in [(1, 1), (2, 2), (3, 3)] {
        let producer = Producer::Named { id: "p".into(), epoch: Some(epoch) };
        let mut upload = upload(&fake, UploadOptions { producer, ..small() }).await;
        assert_eq!(upload.resumed_at(), 0, "a higher epoch is another upload");
        in_time(upload.write("content".into())).await.unwrap();
        assert_eq!(in_time(upload.commit(Expected::default())).await.unwrap().generation, generation);
    }
}

#[tokio::test]
async fn aborted_upload_leaves_nothing_whatever_is_in_flight() {
    // Neither appends that are refused for ever nor a lost connection keep it from being discarded.
    let mut cuts = 1;
    let fake = Fake::start(move |seen| match seen.frame {
        Frame::Append(append) if append.seq > 2 => Act::Nack { reason: ErrorReason::QuotaExceeded, applied: false },
        Frame::Finish(_) if cuts > 0 => {
            cuts -= 1;
            Act::Cut { applied: true }
        }
        _ => Act::Serve,
    })
    .await;
    let mut upload = upload(&fake, small()).await;
    in_time(upload.write(content(60).into())).await.unwrap();
    until(|| upload.acked_offset() == 20).await;
    in_time(upload.abort()).await.unwrap();
    assert_eq!(finishes(&fake), [FinishAction::Abort; 2]);
    assert!(fake.world(|world| world.uploads.is_empty()) && !is_visible(&fake));
}

#[tokio::test]
async fn aborted_upload_gives_its_room_back_to_the_session() {
    let fake = Fake::start(|seen| match seen.frame {
        Frame::Append(append) if append.channel == 1 => {
            Act::Nack { reason: ErrorReason::QuotaExceeded, applied: false }
        }
        _ => Act::Serve,
    })
    .await;
    let session = super::session_with(&fake, |builder| builder.in_flight(8, 80)).await;
    let mut upload = in_time(session.upload("f", small())).await.unwrap();
    in_time(upload.write(content(80).into())).await.unwrap();
    assert_eq!(session.free(), (0, 0));
    in_time(upload.abort()).await.unwrap();
    assert_eq!((session.free(), session.stats().unacked_appends), ((8, 80), 0));
    let mut other = in_time(session.upload("g", small())).await.unwrap();
    in_time(other.write(content(200).into())).await.unwrap();
    in_time(other.commit(Expected::default())).await.unwrap();
    assert_eq!(fake.world(|world| world.bytes("g")), content(200));
}

#[tokio::test]
async fn failed_upload_is_left_to_be_resumed() {
    let fake = Fake::start(|seen| match seen.frame {
        Frame::Append(append) if append.seq == 3 => Act::Nack { reason: ErrorReason::ForeignChange, applied: false },
        _ => Act::Serve,
    })
    .await;
    let session = super::session(&fake).await;
    let mut upload = in_time(session.upload("f", small())).await.unwrap();
    in_time(upload.write(content(50).into())).await.unwrap();
    let error = in_time(upload.flush()).await.unwrap_err();
    assert_eq!((error.reason(), error.outcome()), (Some(ErrorReason::ForeignChange), Outcome::NotApplied));
    until(|| finishes(&fake) == [FinishAction::LeaveOpen]).await;
    assert_eq!(fake.world(|world| world.uploads.values().map(|upload| upload.bytes.len()).sum::<usize>()), 20);
}

#[tokio::test]
async fn commit_that_is_not_answered_has_an_unknown_outcome() {
    let fake = Fake::start(|seen| match seen.frame {
        Frame::Finish(_) => Act::Ignore,
        _ => Act::Serve,
    })
    .await;
    let patience = std::time::Duration::from_millis(200);
    let client = Client::builder(&fake.endpoint).give_up_after(patience).connect().await.unwrap();
    let upload = in_time(client.upload("f", small())).await.unwrap();
    let error = in_time(upload.commit(Expected::default())).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::GaveUp, Outcome::Unknown));
}

#[tokio::test]
async fn server_without_uploads_is_found_out() {
    let opened = v1::Opened { channel: 1, epoch: 1, ..v1::Opened::default() };
    let answer = Act::Instead(inkpot_proto::v1::write_response::Frame::Opened(opened));
    let fake = Fake::start(move |_| answer.clone()).await;
    let error = in_time(client(&fake).await.upload("f", small())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.message().contains("no uploads"), "{error}");
}

#[tokio::test]
async fn options_that_cannot_work_are_refused_at_once() {
    let fake = Fake::good().await;
    for options in [
        UploadOptions { producer: Producer::None, ..small() },
        UploadOptions { chunk_bytes: 0, ..small() },
        UploadOptions { window_bytes: 1, ..small() },
    ] {
        let error = in_time(client(&fake).await.upload("f", options)).await.unwrap_err();
        assert_eq!((error.reason(), error.outcome()), (Some(ErrorReason::InvalidField), Outcome::NotApplied));
    }
    assert!(fake.world(|world| world.opens.is_empty()));
}

#[tokio::test]
async fn chunks_keep_to_the_limits_of_the_server() {
    let fake = Fake::good().await;
    fake.world(|world| world.limits = v1::Limits { max_append_bytes: 7, ..world.limits });
    let mut upload = upload(&fake, small()).await;
    assert_eq!(upload.chunk_bytes(), 7);
    in_time(upload.write(content(30).into())).await.unwrap();
    in_time(upload.commit(Expected::default())).await.unwrap();
    assert_eq!(fake.world(|world| world.bytes("f")), content(30));
}

#[tokio::test]
async fn framed_upload_takes_records() {
    let fake = Fake::good().await;
    let mut upload = upload(&fake, UploadOptions { framing: Framing::Newline, ..small() }).await;
    for record in ["one", "two\n", "three"] {
        in_time(upload.write(record.into())).await.unwrap();
    }
    let error = in_time(upload.write("".into())).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::EmptyAppend));
    let published = in_time(upload.commit(Expected::default())).await.unwrap();
    assert_eq!((published.size, fake.world(|world| world.bytes("f"))), (14, b"one\ntwo\nthree\n".to_vec()));
    let commit = fake.world(|world| world.finishes.last().copied()).unwrap();
    assert_eq!((commit.size, commit.crc32c), (None, None), "the server adds bytes that are not known here");
}

#[tokio::test]
async fn framed_writer_takes_each_write_as_a_record() {
    let fake = Fake::good().await;
    let mut file = upload(&fake, UploadOptions { framing: Framing::Newline, ..small() }).await.into_async_write();
    assert_eq!(in_time(file.write(b"")).await.unwrap(), 0);
    for record in ["one", "two", "three"] {
        assert_eq!(in_time(file.write(record.as_bytes())).await.unwrap(), record.len());
    }
    in_time(file.shutdown()).await.unwrap();
    assert_eq!(fake.world(|world| world.bytes("f")), b"one\ntwo\nthree\n");
}

#[tokio::test]
async fn framed_appends_are_acked_with_the_offsets_that_they_have_in_the_file() {
    for (framing, timestamps, expected) in [
        (Framing::Newline, false, 10),
        (Framing::LengthDelimited, false, 10),
        (Framing::Newline, true, 60),
        (Framing::LengthDelimited, true, 60),
        (Framing::None, true, 58),
    ] {
        let fake = Fake::good().await;
        let session = super::session(&fake).await;
        let options = OpenOptions { framing, timestamps, ..OpenOptions::default() };
        let writer = session.open("f", options).await.unwrap();
        let records = || vec!["one".into(), "three".into()];
        let first = in_time(writer.append(records()).await.unwrap()).await.unwrap();
        let second = in_time(writer.append(records()).await.unwrap()).await.unwrap();
        assert_eq!((first.first_offset, first.end_offset), (Some(0), Some(expected)), "{framing:?}");
        assert_eq!((second.first_offset, second.end_offset), (Some(expected), Some(2 * expected)), "{framing:?}");
        let progress = in_time(writer.finish()).await.unwrap();
        assert_eq!((progress.acked_bytes, progress.end_offset, progress.generation), (16, Some(2 * expected), 1));
        assert!(fake.world(|world| world.opens[0].framing() == framing && world.opens[0].timestamps == timestamps));
    }
}

#[tokio::test]
async fn writer_publishes_on_shutdown_and_not_before() {
    let fake = Fake::start(at_finish(FinishAction::Commit, Act::Cut { applied: true })).await;
    let bytes = content(555);
    let mut file = upload(&fake, small()).await.into_async_write();
    assert_eq!(in_time(file.write(b"")).await.unwrap(), 0);
    in_time(file.write_all(&bytes)).await.unwrap();
    in_time(file.flush()).await.unwrap();
    assert!(!is_visible(&fake) && file.published().is_none());
    in_time(file.shutdown()).await.unwrap();
    assert_eq!(fake.world(|world| world.bytes("f")), bytes);
    assert_eq!(file.published().map(|published| published.size), Some(555));
    in_time(file.flush()).await.unwrap();
    in_time(file.shutdown()).await.unwrap();
    let error = in_time(file.write_all(b"more")).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn writer_that_is_dropped_publishes_nothing_and_one_that_failed_says_so_again() {
    let fake = Fake::good().await;
    let mut dropped = upload(&fake, small()).await.into_async_write();
    in_time(dropped.write_all(&content(50))).await.unwrap();
    in_time(dropped.flush()).await.unwrap();
    drop(dropped);
    let mut failed = upload(&fake, small()).await.into_async_write();
    fake.world(|world| world.uploads.clear());
    for _ in 0..2 {
        let error = in_time(failed.shutdown()).await.unwrap_err();
        let error = error.get_ref().unwrap().downcast_ref::<Error>().unwrap();
        assert_eq!(error.reason(), Some(ErrorReason::UploadNotFound));
    }
    assert!(!is_visible(&fake));
}

#[tokio::test]
async fn set_of_uploads_is_published_together_and_again_after_a_lost_answer() {
    let fake = Fake::start(at_finish(FinishAction::LeaveOpen, Act::Cut { applied: false })).await;
    let session = super::session(&fake).await;
    let mut parts = Vec::new();
    for path in ["a", "b", "c"] {
        let mut upload = in_time(session.upload(path, UploadOptions::default())).await.unwrap();
        in_time(upload.write(path.into())).await.unwrap();
        parts.push(in_time(upload.leave_open()).await.unwrap());
    }
    assert!(fake.world(|world| world.files.is_empty()));
    assert!(parts.iter().all(|part| part.size == Some(1) && part.crc32c == Some(crc32c::crc32c(part.path.as_bytes()))));
    assert!(parts.iter().all(|part| part.producer_id.starts_with("auto-") && part.producer_epoch > 0));
    fake.world(|world| world.troubles.push_back(crate::fake::Trouble::LoseAnswer));
    let files = client(&fake).await.files();
    assert_eq!(in_time(files.commit_files(parts)).await.unwrap(), [1, 1, 1]);
    assert_eq!(fake.world(|world| world.calls.clone()), ["commit_files"; 2]);
    assert_eq!(fake.world(|world| world.bytes("b")), b"b");
}
