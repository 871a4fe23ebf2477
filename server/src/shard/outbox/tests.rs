#![allow(clippy::unwrap_used)]

use super::*;
use crate::shard::testing::{Alarm, poll};
use inkpot_proto::v1::ErrorReason;
use proptest::prelude::*;
use std::{pin::pin, sync::Arc};

fn ack(appends: u32) -> Event {
    let level = Durability::Synced;
    let ack = Ack {
        through_seq: 9,
        first_offset: None,
        end_offset: None,
        level,
        synced_seq: 9,
        generation: 1,
        duplicates: 0,
        appends,
    };
    Event::Ack { channel: 1, ack }
}

fn no() -> Box<Refused> {
    Box::new(Refused::new(ErrorReason::ShardClosed, "no"))
}

fn nack(answers_append: bool) -> Event {
    Event::Nack { channel: 1, seq: 0, refused: no(), answers_append }
}

fn next(outbox: &Outbox, alarm: &Arc<Alarm>) -> Poll<Option<Event>> {
    outbox.poll_next(&mut Context::from_waker(&Waker::from(Arc::clone(alarm))))
}

/// Takes what is there.
fn take(outbox: &Outbox) -> Option<Event> {
    match next(outbox, &Arc::default()) {
        Poll::Ready(event) => event,
        Poll::Pending => panic!("nothing is there"),
    }
}

#[test]
fn events_come_in_the_order_they_were_queued() {
    let outbox = Outbox::default();
    for token in 0..3 {
        outbox.push(Event::Pong { token });
    }
    assert_eq!(outbox.progress(), (3, 0));
    for token in 0..3 {
        assert_eq!(take(&outbox), Some(Event::Pong { token }));
    }
    assert_eq!(outbox.progress(), (0, 3));
    assert!(next(&outbox, &Arc::default()).is_pending());
    assert_eq!(outbox.progress(), (0, 3));
}

#[test]
fn append_is_outstanding_until_its_answer_is_taken() {
    let outbox = Outbox::default();
    outbox.expect_answers(7);
    for answer in [ack(4), nack(true), nack(false), ack(2)] {
        outbox.push(answer);
    }
    assert_eq!(outbox.outstanding(), 7, "answers that wait are not taken");
    let left = [(); 4].map(|()| {
        take(&outbox);
        outbox.outstanding()
    });
    assert_eq!(left, [3, 2, 2, 0]);
}

#[test]
fn what_the_session_tells_counts_until_it_is_taken() {
    let outbox = Outbox::default();
    outbox.tell(Event::Refuse { channel: 1, seq: 3, refused: no() });
    outbox.tell(Event::Pong { token: 1 });
    outbox.tell(Event::Throttled { limit: "writes_in_flight", since: SystemTime::UNIX_EPOCH });
    let left = [(); 3].map(|()| {
        let before = outbox.outstanding();
        take(&outbox);
        before
    });
    assert_eq!((left, outbox.outstanding()), ([3, 2, 1], 0));
}

#[test]
fn answers_to_opens_and_ends_do_not_count() {
    let outbox = Outbox::default();
    outbox.expect_answers(1);
    outbox.push(Event::Opened { channel: 1, state: OpenState::default() });
    outbox.push(Event::Finished { channel: 1, generation: 0, size: 0, crc32c: 0 });
    outbox.push(Event::GoAway { deadline: Duration::ZERO, reason: "stop" });
    outbox.push(Event::Fail(no()));
    for _ in 0..4 {
        assert!(take(&outbox).is_some());
        assert_eq!(outbox.outstanding(), 1);
    }
}

#[test]
fn whoever_waits_for_room_is_told_when_an_answer_is_taken() {
    let outbox = Outbox::default();
    outbox.expect_answers(2);
    let alarm = Arc::new(Alarm::default());
    let mut drained = pin!(outbox.drained.notified());
    assert!(poll(&alarm, drained.as_mut()).is_pending());
    outbox.push(Event::Opened { channel: 1, state: OpenState::default() });
    outbox.push(ack(1));
    take(&outbox);
    assert_eq!(alarm.rings(), 0, "neither queued nor taken: an append was");
    take(&outbox);
    assert_eq!((alarm.rings(), outbox.outstanding()), (1, 1));
    assert!(poll(&alarm, drained.as_mut()).is_ready());
}

#[test]
fn reader_that_waits_is_woken_once_by_what_comes() {
    let outbox = Outbox::default();
    let alarm = Arc::new(Alarm::default());
    assert!(next(&outbox, &alarm).is_pending());
    outbox.push(Event::Pong { token: 1 });
    outbox.push(Event::Pong { token: 2 });
    assert_eq!(alarm.rings(), 1);
    assert_eq!(next(&outbox, &alarm), Poll::Ready(Some(Event::Pong { token: 1 })));
    assert_eq!(next(&outbox, &alarm), Poll::Ready(Some(Event::Pong { token: 2 })));
    assert!(next(&outbox, &alarm).is_pending());
    outbox.push(Event::Pong { token: 3 });
    assert_eq!(alarm.rings(), 2);
}

#[test]
fn last_one_that_looked_is_woken() {
    let outbox = Outbox::default();
    let (first, last) = (Arc::new(Alarm::default()), Arc::new(Alarm::default()));
    assert!(next(&outbox, &first).is_pending() && next(&outbox, &last).is_pending());
    outbox.push(Event::Pong { token: 1 });
    assert_eq!((first.rings(), last.rings()), (0, 1));
}

#[test]
fn stream_ends_after_what_is_queued_and_what_still_came() {
    let outbox = Outbox::default();
    outbox.expect_answers(2);
    outbox.push(ack(1));
    outbox.end();
    outbox.push(ack(1));
    assert_eq!((take(&outbox), take(&outbox)), (Some(ack(1)), Some(ack(1))));
    assert_eq!((take(&outbox), take(&outbox), outbox.outstanding()), (None, None, 0));
    assert!(!outbox.is_closed());
}

#[test]
fn reader_that_waits_is_woken_by_every_kind_of_end() {
    type End = fn(&Outbox);
    let ends: [(End, Option<Event>); 3] =
        [(Outbox::end, None), (Outbox::close, None), (|outbox| outbox.cut(no()), Some(Event::Fail(no())))];
    for (end, last) in ends {
        let outbox = Outbox::default();
        let alarm = Arc::new(Alarm::default());
        assert!(next(&outbox, &alarm).is_pending());
        end(&outbox);
        assert_eq!(alarm.rings(), 1);
        assert_eq!(take(&outbox), last);
        assert_eq!(take(&outbox).filter(|_| last.is_some()), None);
        assert_eq!(take(&outbox), None);
    }
}

#[test]
fn closed_outbox_forgets_what_it_has_and_takes_nothing_more() {
    let outbox = Outbox::default();
    outbox.expect_answers(5);
    outbox.push(ack(2));
    let alarm = Arc::new(Alarm::default());
    let mut drained = pin!(outbox.drained.notified());
    assert!(poll(&alarm, drained.as_mut()).is_pending());
    outbox.close();
    assert_eq!((alarm.rings(), outbox.outstanding(), outbox.is_closed()), (1, 0, true));
    // Answers that were on their way.
    outbox.push(ack(3));
    assert_eq!((take(&outbox), outbox.outstanding(), outbox.progress()), (None, 0, (0, 0)));
}

#[test]
fn appends_that_a_session_hands_on_after_the_client_has_gone_are_answered_all_the_same() {
    let outbox = Outbox::default();
    outbox.close();
    outbox.expect_answers(3);
    let alarm = Arc::new(Alarm::default());
    let mut drained = pin!(outbox.drained.notified());
    assert!(poll(&alarm, drained.as_mut()).is_pending());
    outbox.push(ack(2));
    assert_eq!((alarm.rings(), outbox.outstanding()), (1, 1));
    outbox.push(nack(true));
    outbox.tell(Event::Pong { token: 1 });
    assert_eq!(outbox.outstanding(), 0);
}

#[test]
fn cut_stream_ends_with_the_refusal_alone() {
    let outbox = Outbox::default();
    outbox.expect_answers(2);
    outbox.push(ack(2));
    outbox.cut(no());
    outbox.push(ack(1));
    outbox.push(Event::Pong { token: 1 });
    assert_eq!((outbox.outstanding(), outbox.is_closed()), (0, true));
    assert_eq!((take(&outbox), take(&outbox)), (Some(Event::Fail(no())), None));
    outbox.cut(no());
    outbox.close();
    assert_eq!(take(&outbox), None, "nobody is left to read it");
}

proptest! {
    #[test]
    fn outstanding_is_what_was_expected_less_what_was_taken(steps in prop::collection::vec((0..4u8, 1..5u32), 0..60)) {
        let outbox = Outbox::default();
        let (mut expected, mut queued, mut taken) = (0u64, VecDeque::new(), 0u64);
        for (step, n) in steps {
            match step {
                0 => {
                    outbox.expect_answers(n.into());
                    outbox.push(ack(n));
                    expected += u64::from(n);
                    queued.push_back(u64::from(n));
                }
                1 => {
                    outbox.tell(Event::Pong { token: n.into() });
                    expected += 1;
                    queued.push_back(1);
                }
                2 => {
                    outbox.push(nack(false));
                    queued.push_back(0);
                }
                _ => {
                    let found = matches!(next(&outbox, &Arc::default()), Poll::Ready(Some(_)));
                    prop_assert_eq!(found, !queued.is_empty());
                    taken += queued.pop_front().unwrap_or(0);
                }
            }
            prop_assert_eq!(outbox.outstanding(), expected - taken);
            prop_assert_eq!(outbox.progress().0, queued.len());
        }
        outbox.end();
        while take(&outbox).is_some() {}
        prop_assert_eq!(outbox.outstanding(), 0);
    }
}
