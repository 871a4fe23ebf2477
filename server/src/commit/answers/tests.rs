#![allow(clippy::unwrap_used)]

use super::*;
use crate::shard::{
    outbox::OpenState,
    testing::{session, tenant, told},
};
use proptest::prelude::*;

const GENERATION: u64 = 6;

fn taken(seq: u64, first: u64, end: u64) -> Taken {
    Taken {
        seq,
        range: Some((first, end)),
        duplicate: false,
        generation: GENERATION,
        synced_seq: 0,
        records: 1,
        since: Instant::now(),
    }
}

fn duplicate(seq: u64, range: Option<(u64, u64)>) -> Taken {
    Taken { range, duplicate: true, ..taken(seq, 0, 0) }
}

fn link() -> Arc<SessionLink> {
    session(&tenant(), 1)
}

/// The acks that a session is told for these appends of channel 1.
fn acks(level: Durability, appends: &[Taken]) -> Vec<Ack> {
    let session = link();
    let mut answers = Answers::default();
    appends.iter().for_each(|taken| answers.ack(&session, 1, *taken));
    answers.release(level, &ShardMetrics::off());
    told(&session).into_iter().map(ack_of).collect()
}

fn ack_of(event: Event) -> Ack {
    match event {
        Event::Ack { channel: 1, ack } => ack,
        other => panic!("not an ack of channel 1: {other:?}"),
    }
}

/// Through which seq, over which range, how many appends, how many of them duplicates.
fn shape(ack: &Ack) -> (u64, Option<u64>, Option<u64>, u32, u32) {
    (ack.through_seq, ack.first_offset, ack.end_offset, ack.appends, ack.duplicates)
}

/// Through which seq, from where, to where, how many duplicates, how many appends.
type Shape = (u64, Option<u64>, Option<u64>, u32, u32);

fn shapes(appends: &[Taken]) -> Vec<Shape> {
    acks(Durability::Synced, appends).iter().map(shape).collect()
}

fn refused() -> Refused {
    Refused::new(ErrorReason::OutcomeUnknown, "the commit failed")
}

/// Channel, seq, reason and whether it answers an append.
fn nacks(session: &SessionLink) -> Vec<(u32, u64, ErrorReason, bool)> {
    let nack = |event| match event {
        Event::Nack { channel, seq, refused, answers_append } => (channel, seq, refused.reason, answers_append),
        other => panic!("not a nack: {other:?}"),
    };
    told(session).into_iter().map(nack).collect()
}

#[test]
fn appends_that_follow_each_other_share_an_ack() {
    let ack = acks(Durability::Synced, &[taken(3, 10, 15), taken(4, 15, 16), taken(5, 16, 30)]);
    let expected = Ack {
        through_seq: 5,
        first_offset: Some(10),
        end_offset: Some(30),
        level: Durability::Synced,
        synced_seq: 5,
        generation: GENERATION,
        duplicates: 0,
        appends: 3,
    };
    assert_eq!(ack, [expected]);
}

#[test]
fn appends_with_others_in_between_have_acks_of_their_own() {
    let in_file = shapes(&[taken(3, 10, 15), taken(4, 20, 22)]);
    assert_eq!(in_file, [(3, Some(10), Some(15), 1, 0), (4, Some(20), Some(22), 1, 0)]);
    let in_seq = shapes(&[taken(3, 10, 15), taken(5, 15, 22)]);
    assert_eq!(in_seq, [(3, Some(10), Some(15), 1, 0), (5, Some(15), Some(22), 1, 0)]);
}

#[test]
fn no_ack_spans_two_generations() {
    let other = Taken { generation: GENERATION + 1, ..taken(4, 15, 20) };
    let acks = acks(Durability::Synced, &[taken(3, 10, 15), other]);
    assert_eq!(acks.iter().map(|ack| ack.generation).collect::<Vec<_>>(), [GENERATION, GENERATION + 1]);
}

#[test]
fn duplicates_have_acks_of_their_own() {
    let appends =
        [duplicate(3, Some((10, 15))), duplicate(4, Some((15, 20))), taken(5, 20, 25), duplicate(5, Some((20, 25)))];
    let expected = [(4, Some(10), Some(20), 2, 2), (5, Some(20), Some(25), 1, 0), (5, Some(20), Some(25), 1, 1)];
    assert_eq!(shapes(&appends), expected);
}

#[test]
fn duplicates_that_are_not_remembered_share_an_ack_without_a_range() {
    let appends = [duplicate(1, None), duplicate(2, None), duplicate(3, Some((10, 15))), duplicate(4, None)];
    let expected = [(2, None, None, 2, 2), (3, Some(10), Some(15), 1, 1), (4, None, None, 1, 1)];
    assert_eq!(shapes(&appends), expected);
}

#[test]
fn resent_duplicate_is_answered_each_time() {
    let again = duplicate(3, None);
    assert_eq!(shapes(&[again, again]), [(3, None, None, 1, 1), (3, None, None, 1, 1)]);
}

#[test]
fn channels_and_sessions_do_not_share_acks() {
    let (one, two) = (link(), session(&tenant(), 2));
    let mut answers = Answers::default();
    answers.ack(&one, 1, taken(1, 0, 5));
    answers.ack(&one, 2, taken(2, 5, 6));
    answers.ack(&two, 2, taken(3, 6, 7));
    answers.ack(&one, 2, taken(3, 6, 7));
    answers.release(Durability::Synced, &ShardMetrics::off());
    let of = |session| {
        told(session)
            .into_iter()
            .map(|event| match event {
                Event::Ack { channel, ack } => (channel, ack.through_seq, ack.appends),
                other => panic!("not an ack: {other:?}"),
            })
            .collect::<Vec<_>>()
    };
    assert_eq!((of(&one), of(&two)), (vec![(1, 1, 1), (2, 2, 1), (2, 3, 1)], vec![(2, 3, 1)]));
}

#[test]
fn answers_keep_their_order_and_nothing_is_told_before_its_time() {
    let session = link();
    let mut answers = Answers::default();
    let opened = Event::Opened { channel: 1, state: OpenState::default() };
    let finished = Event::Finished { channel: 1, generation: GENERATION, size: 9, crc32c: 0 };
    answers.event(&session, opened.clone());
    answers.ack(&session, 1, taken(1, 0, 5));
    answers.nack(&session, 1, 2, Box::new(refused()));
    answers.ack(&session, 1, taken(2, 5, 9));
    answers.nack_channel(&session, 7, refused());
    answers.event(&session, finished.clone());
    assert_eq!(told(&session), []);
    answers.release(Durability::Synced, &ShardMetrics::off());
    let events = told(&session);
    assert_eq!((&events[0], &events[5]), (&opened, &finished));
    let nack =
        |channel, seq, answers_append| Event::Nack { channel, seq, refused: Box::new(refused()), answers_append };
    assert_eq!((&events[2], &events[4]), (&nack(1, 2, true), &nack(7, 0, false)));
    assert_eq!((ack_of(events[1].clone()).through_seq, ack_of(events[3].clone()).through_seq), (1, 2));
    assert_eq!(events.len(), 6);
    answers.release(Durability::Synced, &ShardMetrics::off());
    assert_eq!(told(&session), [], "everything is told once");
}

#[test]
fn ack_tells_the_level_that_was_reached() {
    let before = Taken { synced_seq: 2, ..taken(5, 0, 5) };
    let written = acks(Durability::Written, &[before]);
    assert_eq!((written[0].level, written[0].synced_seq), (Durability::Written, 2));
    let synced = acks(Durability::Synced, &[before]);
    assert_eq!((synced[0].level, synced[0].synced_seq), (Durability::Synced, 5));
}

#[test]
fn ack_of_an_old_duplicate_takes_nothing_back_that_was_synced() {
    let old = Taken { synced_seq: 40, ..duplicate(30, None) };
    assert_eq!(acks(Durability::Synced, &[old])[0].synced_seq, 40);
    assert_eq!(acks(Durability::Written, &[old])[0].synced_seq, 40);
}

#[test]
fn question_is_answered_when_the_commit_is_through() {
    let (reply, mut answer) = oneshot::channel();
    let state = WriteState { generation: GENERATION, next_offset: 5, producer: None, upload: false };
    let mut answers = Answers::default();
    answers.state(reply, state);
    assert!(answer.try_recv().is_err());
    answers.release(Durability::Synced, &ShardMetrics::off());
    assert_eq!(answer.try_recv().unwrap().unwrap(), state);
    let (gone, _) = oneshot::channel();
    answers.state(gone, state);
    answers.release(Durability::Synced, &ShardMetrics::off());
}

#[test]
fn failed_commit_answers_every_append_once() {
    let session = link();
    let mut answers = Answers::default();
    for append in
        [taken(3, 0, 5), taken(4, 5, 6), taken(5, 6, 9), duplicate(1, None), duplicate(2, None), taken(6, 20, 21)]
    {
        answers.ack(&session, 1, append);
    }
    answers.nack(&session, 1, 9, Box::new(refused()));
    answers.fail(&refused());
    let unknown = |seq| (1, seq, ErrorReason::OutcomeUnknown, true);
    let closed = (1, 9, ErrorReason::ShardClosed, true);
    assert_eq!(nacks(&session), [unknown(3), unknown(4), unknown(5), unknown(1), unknown(2), unknown(6), closed]);
    answers.release(Durability::Synced, &ShardMetrics::off());
    answers.fail(&refused());
    assert_eq!(told(&session), []);
}

#[test]
fn failed_commit_reveals_nothing_that_did_not_become_durable() {
    let session = link();
    let mut answers = Answers::default();
    let mut mismatch = Refused::new(ErrorReason::OffsetMismatch, "it ends at byte 5");
    mismatch.expected_offset = Some(5);
    let mut fenced = Refused::new(ErrorReason::ProducerFenced, "epoch 2 holds");
    fenced.current_epoch = Some(2);
    answers.event(&session, Event::Opened { channel: 1, state: OpenState { next_offset: 5, ..OpenState::default() } });
    answers.nack(&session, 1, 7, Box::new(mismatch));
    answers.nack_channel(&session, 2, fenced);
    answers.event(&session, Event::Finished { channel: 3, generation: GENERATION, size: 5, crc32c: 0 });
    let (reply, mut answer) = oneshot::channel();
    answers.state(reply, WriteState { next_offset: 5, ..WriteState::default() });
    answers.fail(&refused());
    let events = told(&session);
    let mut found = Vec::new();
    for event in events {
        let Event::Nack { channel, seq, refused, answers_append } = event else { panic!("not a nack: {event:?}") };
        assert_eq!(
            (refused.expected_offset, refused.current_epoch, refused.reason),
            (None, None, ErrorReason::ShardClosed)
        );
        assert_eq!(refused.outcome, inkpot_proto::v1::Outcome::NotApplied);
        found.push((channel, seq, answers_append));
    }
    assert_eq!(found, [(1, 0, false), (1, 7, true), (2, 0, false), (3, 0, false)]);
    assert_eq!(answer.try_recv().unwrap().unwrap_err().reason, ErrorReason::ShardClosed);
}

#[derive(Clone, Debug)]
struct Append {
    session: usize,
    channel: u32,
    taken: Taken,
}

fn append() -> impl Strategy<Value = Append> {
    let range = prop::option::of((0..4u64, 1..3u64).prop_map(|(first, len)| (first, first + len)));
    let seq = 1..6u64;
    (0..2usize, 1..3u32, seq, range, any::<bool>(), 1..3u64).prop_map(
        |(session, channel, seq, range, duplicate, generation)| {
            let duplicate = duplicate || range.is_none();
            Append {
                session,
                channel,
                taken: Taken { seq, range, duplicate, generation, synced_seq: 0, records: 1, since: Instant::now() },
            }
        },
    )
}

proptest! {
    #[test]
    fn each_append_is_answered_once_in_order_whether_the_commit_succeeds_or_fails(
        appends in prop::collection::vec(append(), 0..30), succeeds: bool,
    ) {
        let sessions = [link(), session(&tenant(), 2)];
        let mut answers = Answers::default();
        for Append { session, channel, taken } in &appends {
            sessions[*session].outbox.expect_answers(1);
            answers.ack(&sessions[*session], *channel, *taken);
        }
        if succeeds { answers.release(Durability::Synced, &ShardMetrics::off()) } else { answers.fail(&refused()) }
        for (at, session) in sessions.iter().enumerate() {
            let mut mine = appends.iter().filter(|append| append.session == at);
            for event in told(session) {
                match event {
                    Event::Ack { channel, ack } => {
                        let covered: Vec<_> = mine.by_ref().take(ack.appends as usize).collect();
                        prop_assert_eq!(covered.len(), ack.appends as usize);
                        let first = ack.through_seq + 1 - u64::from(ack.appends);
                        prop_assert!(covered.iter().map(|append| append.taken.seq).eq(first..=ack.through_seq));
                        let duplicates = covered.iter().filter(|append| append.taken.duplicate).count();
                        prop_assert_eq!(duplicates, ack.duplicates as usize);
                        prop_assert!(duplicates == 0 || duplicates == covered.len());
                        prop_assert!(covered.iter().all(|append| (append.channel, append.taken.generation) == (channel, ack.generation)));
                        let ranges: Vec<_> = covered.iter().map(|append| append.taken.range).collect();
                        prop_assert_eq!(ranges[0].map(|(first, _)| first), ack.first_offset);
                        prop_assert_eq!(ranges[ranges.len() - 1].map(|(_, end)| end), ack.end_offset);
                        let contiguous = |pair: &[Option<(u64, u64)>]| pair[0].map(|(_, end)| end) == pair[1].map(|(first, _)| first);
                        prop_assert!(ranges.windows(2).all(contiguous));
                    }
                    Event::Nack { channel, seq, answers_append: true, .. } => {
                        let append = mine.next().unwrap();
                        prop_assert_eq!((append.channel, append.taken.seq, succeeds), (channel, seq, false));
                    }
                    other => prop_assert!(false, "{:?}", other),
                }
            }
            prop_assert!(mine.next().is_none());
            prop_assert_eq!(session.outbox.outstanding(), 0);
        }
    }
}
