//! Exactly once, in order, over lost connections and nacks.

use super::{batched, in_time, once, record, records, session, singly, without_producer};
use crate::{
    BatchPolicy, Durability, ErrorKind, ErrorReason, OpenOptions, Outcome, Producer, Session,
    fake::{Act, Fake, Seen},
};
use bytes::Bytes;
use inkpot_proto::v1::{self, write_request::Frame, write_response::Frame as Answer};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::time::Duration;

const FILES: usize = 3;
const RECORDS: usize = 120;

/// Misbehaves at random, all of it within the protocol.
fn fault(rng: &mut StdRng, seen: &Seen<'_>) -> Act {
    let transient = [ErrorReason::DiskFull, ErrorReason::ShardClosed, ErrorReason::OutcomeUnknown];
    let reason = transient[rng.random_range(0..3)];
    match (seen.frame, rng.random_range(0..100)) {
        (Frame::Append(_), 0..2) => Act::Cut { applied: false },
        (Frame::Append(_), 2..4) => Act::Cut { applied: true },
        (Frame::Append(_), 4..8) => {
            Act::Nack { reason, applied: reason == ErrorReason::OutcomeUnknown && rng.random_bool(0.5) }
        }
        (Frame::Open(_), 0..3) => Act::Cut { applied: true },
        (Frame::Open(_), 3..10) => Act::Nack { reason: ErrorReason::TooManyChannels, applied: false },
        (Frame::Finish(_), 0..10) => Act::Cut { applied: true },
        _ => Act::Serve,
    }
}

/// Writes to one file with whatever the seed brings, and checks offset and order of each append.
async fn write_file(session: Session, path: String, seed: u64) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(seed);
    let batch = BatchPolicy {
        max_records: rng.random_range(1..8),
        max_bytes: rng.random_range(1..200),
        linger: Duration::from_millis(rng.random_range(0..3)),
    };
    let writer = session.open(&path, OpenOptions { batch, ..OpenOptions::default() }).await.unwrap();
    let (mut sent, mut receipts) = (Vec::new(), Vec::new());
    for number in 0..RECORDS {
        let record = Bytes::from(format!("{path} {number}\n"));
        if rng.random_bool(0.3) {
            let start = sent.len() as u64;
            sent.extend_from_slice(&record);
            sent.extend_from_slice(&record);
            receipts.push((start, sent.len() as u64, writer.append(vec![record.clone(), record]).await.unwrap()));
        } else {
            sent.extend_from_slice(&record);
            writer.write(record).await.unwrap();
        }
    }
    for (first, end, receipt) in receipts {
        let ack = receipt.await.unwrap();
        assert_eq!((ack.first_offset, ack.end_offset), (Some(first), Some(end)), "seed {seed}, {ack:?}");
    }
    let progress = writer.finish().await.unwrap();
    assert_eq!(progress.acked_records, progress.sent_records, "seed {seed}");
    assert_eq!(progress.acked_bytes, sent.len() as u64, "seed {seed}");
    assert_eq!((progress.first_offset, progress.end_offset), (Some(0), Some(sent.len() as u64)), "seed {seed}");
    sent
}

async fn all_in_once(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let thin = rng.random_bool(0.5);
    let fake = Fake::start(move |seen| fault(&mut rng, seen)).await;
    fake.world(|world| world.thin_acks = thin);
    let session = session(&fake).await;
    let writing = (0..FILES).map(|number| {
        let path = format!("f{number}");
        tokio::spawn(write_file(session.clone(), path, seed * 1000 + number as u64))
    });
    for (number, task) in writing.collect::<Vec<_>>().into_iter().enumerate() {
        let sent = task.await.unwrap();
        let found = fake.world(|world| world.bytes(&format!("f{number}")));
        assert!(sent == found, "seed {seed}, file {number}: sent {}, found {}", sent.len(), found.len());
    }
    let stats = session.stats();
    assert_eq!((stats.unacked_appends, stats.unacked_bytes), (0, 0));
    session.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_faults_leave_each_record_in_the_file_once_and_in_order() {
    let seeds: Vec<_> = (0..24).map(|seed| tokio::spawn(in_time(all_in_once(seed)))).collect();
    for seed in seeds {
        seed.await.unwrap();
    }
}

#[tokio::test]
async fn append_whose_ack_was_lost_with_its_connection_is_a_duplicate_with_its_offset() {
    let fake = Fake::start(once(2, Act::Cut { applied: true })).await;
    let session = session(&fake).await;
    let writer = session.open("f", singly()).await.unwrap();
    let first = in_time(writer.append(vec![record(1)]).await.unwrap()).await.unwrap();
    let second = in_time(writer.append(vec![record(2)]).await.unwrap()).await.unwrap();
    assert!(!first.duplicate && second.duplicate);
    assert_eq!(second.first_offset, first.end_offset);
    assert_eq!(second.seq, 2);
    assert_eq!(fake.world(|world| world.bytes("f")), records(1..3));
    assert_eq!(session.stats().reconnects, 1);
    let opens = fake.world(|world| world.opens.clone());
    assert_eq!((opens[0].producer_epoch, opens[1].producer_epoch), (0, 1), "opened again with the allotted epoch");
    assert_eq!(opens[0].producer_id, opens[1].producer_id);
    assert_eq!(writer.progress().duplicates, 1);
}

#[tokio::test]
async fn duplicate_without_remembered_offset_has_none() {
    let fake = Fake::start(once(1, Act::Cut { applied: true })).await;
    fake.world(|world| world.remembers_offsets = false);
    let writer = session(&fake).await.open("f", singly()).await.unwrap();
    let ack = in_time(writer.append(vec![record(1)]).await.unwrap()).await.unwrap();
    assert_eq!((ack.duplicate, ack.first_offset, ack.end_offset), (true, None, None));
    let next = in_time(writer.append(vec![record(2)]).await.unwrap()).await.unwrap();
    assert_eq!((next.duplicate, next.first_offset), (false, Some(record(1).len() as u64)));
}

#[tokio::test]
async fn cumulative_ack_gives_each_append_its_own_offset() {
    let fake = Fake::start(once(1, Act::Delay(Duration::from_millis(50)))).await;
    let writer = session(&fake).await.open("f", singly()).await.unwrap();
    let mut receipts = Vec::new();
    for number in 0..10 {
        receipts.push(writer.append(vec![record(number), record(number)]).await.unwrap());
    }
    for (number, receipt) in receipts.into_iter().enumerate() {
        let ack = in_time(receipt).await.unwrap();
        let len = 2 * record(0).len() as u64;
        assert_eq!(ack.first_offset, Some(number as u64 * len));
        assert_eq!(ack.end_offset, Some((number as u64 + 1) * len));
        assert_eq!((ack.seq, ack.level), (number as u64 + 1, Durability::Synced));
    }
}

#[tokio::test]
async fn refused_append_is_sent_again_and_those_behind_it_stay_behind() {
    for reason in [ErrorReason::DiskFull, ErrorReason::ShardClosed, ErrorReason::OutcomeUnknown] {
        let fake = Fake::start(once(2, Act::Nack { reason, applied: false })).await;
        let session = session(&fake).await;
        let writer = session.open("f", singly()).await.unwrap();
        for number in 0..20 {
            writer.write(record(number)).await.unwrap();
        }
        let progress = in_time(writer.finish()).await.unwrap();
        assert_eq!(fake.world(|world| world.bytes("f")), records(0..20));
        assert_eq!((progress.acked_appends, progress.last_seq, progress.synced_seq), (20, 20, 20));
        let stats = session.stats();
        assert_eq!((stats.retries, stats.reconnects), (1, 0), "{reason:?}");
        assert!(stats.resent_appends >= 1);
    }
}

#[tokio::test]
async fn named_producer_resumes_after_its_last_seq() {
    let fake = Fake::good().await;
    let options = |epoch| OpenOptions { producer: Producer::Named { id: "p".into(), epoch }, ..singly() };
    for (start, end) in [(0, 5), (5, 8)] {
        let writer = session(&fake).await.open("f", options(Some(3))).await.unwrap();
        assert_eq!((writer.opened().epoch, writer.opened().last_seq), (3, start as u64));
        for number in start..end {
            writer.write(record(number)).await.unwrap();
        }
        assert_eq!(in_time(writer.finish()).await.unwrap().last_seq, end as u64);
    }
    assert_eq!(fake.world(|world| world.bytes("f")), records(0..8));
    let writer = session(&fake).await.open("f", options(None)).await.unwrap();
    let opened = writer.opened();
    assert_eq!((opened.epoch, opened.last_seq), (4, 0));
    assert_eq!((opened.previous_epoch, opened.previous_last_seq), (3, 8));
    let ack = in_time(writer.append(vec![record(8)]).await.unwrap()).await.unwrap();
    assert_eq!(ack.seq, 1);
}

#[tokio::test]
async fn go_away_moves_the_session_to_a_new_connection_without_loss() {
    let away = Answer::GoAway(v1::GoAway { deadline: None, reason: "rollout".into() });
    let fake = Fake::start(once(3, Act::Say(away))).await;
    let session = session(&fake).await;
    let writer = session.open("f", singly()).await.unwrap();
    for number in 0..50 {
        writer.write(record(number)).await.unwrap();
    }
    in_time(writer.finish()).await.unwrap();
    assert_eq!(fake.world(|world| (world.bytes("f"), world.sessions)), (records(0..50), 2));
    assert_eq!(session.stats().reconnects, 1);
}

#[tokio::test]
async fn without_a_producer_a_lost_connection_leaves_the_outcome_unknown_and_nothing_is_sent_again() {
    let fake = Fake::start(once(2, Act::Cut { applied: true })).await;
    let session = session(&fake).await;
    let writer = session.open("f", without_producer()).await.unwrap();
    in_time(writer.append(vec![record(1)]).await.unwrap()).await.unwrap();
    let error = in_time(writer.append(vec![record(2)]).await.unwrap()).await.unwrap_err();
    assert_eq!((error.outcome(), error.reason()), (Outcome::Unknown, Some(ErrorReason::OutcomeUnknown)));
    assert_eq!(error.kind(), ErrorKind::Transport);
    assert_eq!(error.progress().unwrap().acked_records, 1);
    assert!(writer.write(record(3)).await.is_err(), "the writer has ended");
    assert!(in_time(writer.flush()).await.is_err());
    let fresh = in_time(session.open("g", without_producer())).await.unwrap();
    in_time(fresh.append(vec![record(4)]).await.unwrap()).await.unwrap();
    let seen = fake.world(|world| world.appends.len());
    assert_eq!((fake.world(|world| world.bytes("f")), seen), (records(1..3), 3));
}

#[tokio::test]
async fn without_a_producer_an_idle_writer_survives_a_lost_connection() {
    let mut lost = false;
    let fake = Fake::start(move |seen| match seen.frame {
        Frame::Append(append) if append.channel == 2 && !lost => {
            lost = true;
            Act::Cut { applied: false }
        }
        _ => Act::Serve,
    })
    .await;
    let session = session(&fake).await;
    let idle = session.open("idle", without_producer()).await.unwrap();
    in_time(idle.append(vec![record(1)]).await.unwrap()).await.unwrap();
    let other = session.open("other", singly()).await.unwrap();
    in_time(other.append(vec![record(1)]).await.unwrap()).await.unwrap();
    in_time(idle.append(vec![record(2)]).await.unwrap()).await.unwrap();
    assert_eq!(fake.world(|world| world.bytes("idle")), records(1..3));
}

#[tokio::test]
async fn records_of_a_dropped_writer_are_still_sent_and_its_channel_finished() {
    let fake = Fake::good().await;
    let session = session(&fake).await;
    let writer = session.open("f", batched(100, Duration::from_secs(3600))).await.unwrap();
    writer.write(record(1)).await.unwrap();
    drop(writer);
    in_time(session.close()).await.unwrap();
    assert_eq!(fake.world(|world| (world.bytes("f"), world.finishes.len())), (records(1..2), 1));
}

#[tokio::test]
async fn close_sends_what_is_batched_and_ends_the_writers() {
    let fake = Fake::good().await;
    let session = session(&fake).await;
    let writer = session.open("f", batched(100, Duration::from_secs(3600))).await.unwrap();
    writer.write(record(1)).await.unwrap();
    in_time(session.clone().close()).await.unwrap();
    assert_eq!(fake.world(|world| world.bytes("f")), records(1..2));
    let error = writer.write(record(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(session.open("g", singly()).await.unwrap_err().kind(), ErrorKind::Closed);
}
