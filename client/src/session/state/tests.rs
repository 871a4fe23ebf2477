#![allow(clippy::unwrap_used)]

use super::{Pulled, State};
use crate::{
    Error, OpenOptions, Outcome, batch::Sealed, producer::Identity, session::channel::Effects, telemetry::Moment,
};
use bytes::Bytes;
use inkpot_proto::v1::{self, WriteResponse, write_request::Frame, write_response::Frame as Answer};
use std::{collections::VecDeque, task::Waker, time::Duration};
use tokio::time::Instant;

/// Short form of a frame: which, on which channel, and the seq of an append.
fn pulled(state: &mut State, link: u64) -> Vec<(&'static str, u32, u64)> {
    let mut frames = VecDeque::new();
    let _ = state.pull(link, &mut frames, Waker::noop(), Moment::default());
    let short = |frame| match frame {
        Frame::Open(open) => ("open", open.channel, open.if_generation.unwrap_or(u64::MAX)),
        Frame::Append(append) => ("append", append.channel, append.seq),
        Frame::Finish(finish) => ("finish", finish.channel, 0),
        Frame::Flush(_) => ("flush", 0, 0),
        Frame::Ping(_) => ("ping", 0, 0),
    };
    frames.into_iter().filter_map(|request| request.frame).map(short).collect()
}

fn answer(state: &mut State, answer: Answer) -> Effects {
    let mut effects = Effects::default();
    state.answer(WriteResponse { frame: Some(answer) }, Instant::now(), &mut effects).unwrap();
    effects
}

fn opened(channel: u32, last_seq: u64) -> Answer {
    Answer::Opened(v1::Opened { channel, epoch: 1, last_seq, ..v1::Opened::default() })
}

fn ack(channel: u32, through_seq: u64) -> Answer {
    Answer::Ack(v1::Ack { channel, through_seq, level: 2, generation: 7, ..v1::Ack::default() })
}

/// A state with a file per options, connected and open.
fn open(options: impl IntoIterator<Item = OpenOptions>) -> (State, u64) {
    let mut state = State::new(Duration::from_secs(60));
    let link = state.begin();
    for options in options {
        let identity = Identity { id: "p".to_owned(), epoch: 0 };
        let lane = state.add("f".to_owned(), v1::Mode::Append, options, identity, Instant::now()).unwrap();
        pulled(&mut state, link);
        answer(&mut state, opened(lane.id, 0));
    }
    (state, link)
}

fn push(state: &mut State, id: u32) {
    assert!(state.push(id, Sealed::single(Bytes::from_static(b"x"), 1), None));
}

#[test]
fn channels_take_turns_and_flush_goes_last() {
    let (mut state, link) = open([OpenOptions::default(), OpenOptions::default()]);
    for _ in 0..100 {
        push(&mut state, 1);
    }
    push(&mut state, 2);
    state.want_flush();
    let frames = pulled(&mut state, link);
    assert_eq!(frames.len(), 102);
    assert_eq!((frames[99], frames[100], frames[101]), (("append", 1, 100), ("append", 2, 1), ("flush", 0, 0)));
    assert!(pulled(&mut state, link).is_empty());
}

#[test]
fn old_connection_gets_nothing_more() {
    let (mut state, link) = open([OpenOptions::default()]);
    push(&mut state, 1);
    let mut effects = Effects::default();
    state.offline(Some(&Error::transport("gone")), &mut effects);
    let next = state.begin();
    let mut frames = VecDeque::new();
    assert_eq!(state.pull(link, &mut frames, Waker::noop(), Moment::default()), Pulled::End);
    assert_eq!(pulled(&mut state, next), [("open", 1, u64::MAX)]);
    answer(&mut state, opened(1, 0));
    assert_eq!(pulled(&mut state, next), [("append", 1, 1)]);
}

#[test]
fn committed_but_unacked_appends_are_sent_again_for_their_acks() {
    let (mut state, link) = open([OpenOptions::default()]);
    (0..3).for_each(|_| push(&mut state, 1));
    pulled(&mut state, link);
    state.offline(None, &mut Effects::default());
    let link = state.begin();
    pulled(&mut state, link);
    answer(&mut state, opened(1, 2));
    assert_eq!(pulled(&mut state, link), [("append", 1, 1), ("append", 1, 2), ("append", 1, 3)]);
    let effects = answer(&mut state, ack(1, 3));
    assert_eq!((effects.done.len(), state.unacked()), (3, 0));
}

/// Found by the simulation (seeds 55419 and 56575): the file was renamed between the new Open and what was sent again.
#[test]
fn refusal_of_what_the_server_had_leaves_its_outcome_unknown() {
    for (last_seq, outcome) in [(1, Outcome::Unknown), (0, Outcome::NotApplied)] {
        let (mut state, link) = open([OpenOptions::default()]);
        push(&mut state, 1);
        pulled(&mut state, link);
        state.offline(None, &mut Effects::default());
        let link = state.begin();
        pulled(&mut state, link);
        answer(&mut state, opened(1, last_seq));
        assert_eq!(pulled(&mut state, link), [("append", 1, 1)]);
        let changed = v1::ErrorReason::GenerationChanged;
        let nack = v1::Nack { channel: 1, seq: 1, reason: changed.into(), outcome: 1, ..v1::Nack::default() };
        let effects = answer(&mut state, Answer::Nack(nack));
        assert_eq!(effects.failed[0].error().unwrap().outcome(), outcome);
    }
}

#[test]
fn late_answers_change_nothing() {
    let (mut state, link) = open([OpenOptions::default()]);
    (0..2).for_each(|_| push(&mut state, 1));
    pulled(&mut state, link);
    answer(&mut state, ack(1, 2));
    let disk_full = v1::ErrorReason::DiskFull;
    let nack = v1::Nack { channel: 1, seq: 2, reason: disk_full.into(), outcome: 1, ..v1::Nack::default() };
    assert!(answer(&mut state, Answer::Nack(nack)).failed.is_empty());
    assert!(answer(&mut state, ack(1, 1)).done.is_empty());
    assert_eq!((state.unacked(), state.stats().retries), (0, 0));
}

#[test]
fn generation_that_was_asked_for_is_not_asked_again_once_the_file_was_made() {
    let create = OpenOptions { if_generation: Some(0), ..OpenOptions::default() };
    let (mut state, link) = open([create]);
    let reopened = |state: &mut State| {
        state.offline(None, &mut Effects::default());
        let link = state.begin();
        (pulled(state, link), link)
    };
    let (frames, link_2) = reopened(&mut state);
    assert_eq!(frames, [("open", 1, 0)], "nothing was sent yet");
    assert_ne!(link, link_2);
    answer(&mut state, opened(1, 0));
    push(&mut state, 1);
    pulled(&mut state, link_2);
    let (frames, link_3) = reopened(&mut state);
    assert_eq!(frames, [("open", 1, u64::MAX)], "the append may have made the file");
    answer(&mut state, opened(1, 0));
    pulled(&mut state, link_3);
    answer(&mut state, ack(1, 1));
    assert_eq!(reopened(&mut state).0, [("open", 1, 7)]);
}

/// An upload that is open, with three appends on their way.
fn uploading() -> (State, u64) {
    let mut state = State::new(Duration::from_secs(60));
    let link = state.begin();
    let identity = Identity { id: "p".to_owned(), epoch: 0 };
    state.add("f".to_owned(), v1::Mode::Create, OpenOptions::default(), identity, Instant::now()).unwrap();
    pulled(&mut state, link);
    answer(&mut state, kept(0));
    (0..3).for_each(|_| push(&mut state, 1));
    assert_eq!(pulled(&mut state, link).len(), 3);
    (state, link)
}

/// So many appends of the upload are there.
fn kept(last_seq: u64) -> Answer {
    Answer::Opened(v1::Opened { channel: 1, epoch: 1, upload: true, last_seq, ..v1::Opened::default() })
}

fn end(state: &mut State, action: v1::FinishAction) -> Effects {
    let mut effects = Effects::default();
    state.want_end(1, v1::Finish { action: action.into(), ..v1::Finish::default() }, &mut effects);
    effects
}

#[test]
fn upload_that_is_discarded_gives_its_room_back_and_minds_no_late_answer() {
    let (mut state, link) = uploading();
    let effects = end(&mut state, v1::FinishAction::Abort);
    assert_eq!((effects.done.len(), state.unacked()), (3, 0));
    assert_eq!(pulled(&mut state, link), [("finish", 1, 0)]);
    let reason = v1::ErrorReason::DiskFull.into();
    answer(&mut state, Answer::Nack(v1::Nack { channel: 1, seq: 2, reason, outcome: 1, ..v1::Nack::default() }));
    answer(&mut state, ack(1, 3));
    assert!(pulled(&mut state, link).is_empty(), "nothing is sent twice");
    state.offline(None, &mut Effects::default());
    let link = state.begin();
    assert_eq!(pulled(&mut state, link).len(), 1, "whether it is gone is not known");
    answer(&mut state, kept(1));
    assert_eq!(pulled(&mut state, link), [("finish", 1, 0)]);
    answer(&mut state, Answer::Finished(v1::Finished { channel: 1, ..v1::Finished::default() }));
    assert!(!state.has_work() && state.channel(1).unwrap().lane.error().is_none());
}

#[test]
fn upload_whose_writer_is_gone_is_left_open_and_not_asked_for_again() {
    let (mut state, link) = uploading();
    answer(&mut state, ack(1, 3));
    state.abandon(1);
    let mut frames = VecDeque::new();
    let _ = state.pull(link, &mut frames, Waker::noop(), Moment::default());
    let Some(Frame::Finish(finish)) = frames.pop_front().unwrap().frame else { panic!("a Finish") };
    assert_eq!(finish.action(), v1::FinishAction::LeaveOpen);
    state.offline(None, &mut Effects::default());
    assert!(!state.has_work());
}

#[test]
fn published_upload_is_answered_without_a_generation_by_no_good_server() {
    let (mut state, link) = uploading();
    answer(&mut state, ack(1, 3));
    end(&mut state, v1::FinishAction::Commit);
    assert_eq!(pulled(&mut state, link), [("finish", 1, 0)]);
    answer(&mut state, Answer::Finished(v1::Finished { channel: 1, ..v1::Finished::default() }));
    let error = state.channel(1).unwrap().lane.error().unwrap();
    assert_eq!((error.kind(), error.outcome()), (crate::ErrorKind::Protocol, v1::Outcome::Unknown));
}
