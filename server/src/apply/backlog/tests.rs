#![allow(clippy::unwrap_used)]

use super::*;
use crate::{
    apply::view::ViewState,
    shard::testing::{Alarm, poll, view},
};
use bytes::Bytes;
use inkpot_wal::fs::{Attributes, FileSystem, memory::MemoryFs};
use std::{pin::pin, thread};

fn piece(offset: u64, len: usize, sequence: u64) -> Piece {
    Piece { offset, data: Bytes::from(vec![b'x'; len]), sequence }
}

fn empty(path: &str, id: u64) -> Arc<FileView> {
    view(path, id, ViewState::default())
}

/// Whether it was told since the last look.
fn told(notify: &Notify) -> bool {
    poll(&Arc::new(Alarm::default()), pin!(notify.notified())).is_ready()
}

/// Takes what waits for a file, as the applier does.
fn apply(backlog: &Backlog, view: &Arc<FileView>, pieces: usize) -> u64 {
    let mut state = view.state();
    let pieces = pieces.min(state.pending.len());
    let bytes = state.pending.drain(..pieces).map(|piece| piece.data.len() as u64).sum();
    state.pending_bytes -= bytes;
    state.listed = !state.pending.is_empty();
    let listed = state.listed;
    drop(state);
    if listed {
        backlog.put_back(Arc::clone(view));
    }
    backlog.done(bytes);
    bytes
}

#[test]
fn pushed_piece_is_committed_and_waits() {
    let (backlog, view) = (Backlog::new(100), empty("f", 1));
    let alarm = Arc::new(Alarm::default());
    let mut changed = pin!(view.changed.notified());
    assert!(poll(&alarm, changed.as_mut()).is_pending());
    backlog.push(&view, piece(0, 10, 1), None);
    assert_eq!(alarm.rings(), 1);
    let since = view.state().pending_since.unwrap();
    backlog.push(&view, piece(10, 5, 2), None);
    let state = view.state();
    assert_eq!(
        (state.exists, state.committed, state.applied, state.pending_bytes, backlog.bytes()),
        (true, 15, 0, 15, 15)
    );
    assert_eq!(state.pending_since, Some(since), "the first one counts");
    assert_eq!(state.pending.iter().map(|piece| (piece.offset, piece.sequence)).collect::<Vec<_>>(), [(0, 1), (10, 2)]);
}

#[test]
fn piece_of_a_synced_frame_is_synced_and_a_later_one_is_not() {
    let (backlog, view) = (Backlog::new(100), empty("f", 1));
    backlog.set_synced(7);
    assert_eq!(backlog.synced(), 7);
    backlog.push(&view, piece(0, 10, 7), None);
    assert_eq!(view.state().synced, 10);
    backlog.push(&view, piece(10, 5, 8), None);
    let state = view.state();
    assert_eq!((state.synced, state.committed), (10, 15));
}

#[test]
fn file_is_on_the_list_once_for_as_long_as_something_waits() {
    let (backlog, one, two) = (Backlog::new(100), empty("a", 1), empty("b", 2));
    let ids = |files: Vec<Arc<FileView>>| files.iter().map(|view| view.generation).collect::<Vec<_>>();
    assert!(backlog.is_empty());
    for offset in 0..3 {
        backlog.push(&one, piece(offset, 1, 1), None);
        assert_eq!(told(&backlog.arrived), offset == 0, "only what is new on the list is told");
        backlog.push(&two, piece(offset, 1, 1), None);
        assert_eq!(told(&backlog.arrived), offset == 0);
    }
    assert!(!backlog.is_empty());
    assert_eq!(ids(backlog.take()), [1, 2]);
    backlog.push(&one, piece(3, 1, 1), None);
    assert_eq!(ids(backlog.take()), [0; 0], "whoever took it still has it");
    apply(&backlog, &one, 2);
    apply(&backlog, &two, 3);
    assert_eq!(ids(backlog.take()), [1]);
    apply(&backlog, &one, 9);
    assert_eq!((ids(backlog.take()), backlog.bytes()), (vec![], 0));
    backlog.push(&one, piece(4, 1, 1), None);
    assert_eq!(ids(backlog.take()), [1]);
}

#[test]
fn full_budget_hurries_the_applier_and_relief_tells_the_shard_once() {
    let (backlog, view) = (Backlog::new(100), empty("f", 1));
    backlog.push(&view, piece(0, 99, 1), None);
    assert!(!backlog.is_over_budget() && !told(&backlog.hurry));
    backlog.push(&view, piece(99, 1, 1), None);
    assert!(backlog.is_over_budget() && told(&backlog.hurry));
    backlog.push(&view, piece(100, 50, 1), None);
    assert!(told(&backlog.hurry));
    backlog.done(50);
    assert!(backlog.is_over_budget() && !told(&backlog.relieved), "100 of 100 is too much");
    backlog.done(1);
    assert!(!backlog.is_over_budget() && told(&backlog.relieved));
    backlog.done(99);
    assert!(!told(&backlog.relieved), "it was told");
    assert_eq!(backlog.bytes(), 0);
}

#[test]
fn shard_is_told_when_the_disk_is_full_and_when_there_is_room_again() {
    let backlog = Backlog::new(100);
    backlog.set_disk_full(false);
    assert!(!backlog.is_disk_full() && !told(&backlog.relieved));
    backlog.set_disk_full(true);
    assert!(backlog.is_disk_full() && told(&backlog.relieved), "what is held is refused from now on");
    backlog.set_disk_full(true);
    assert!(backlog.is_disk_full() && !told(&backlog.relieved));
    backlog.set_disk_full(false);
    assert!(!backlog.is_disk_full() && told(&backlog.relieved));
}

#[test]
fn descriptors_are_handed_on_once_and_in_order() {
    let (backlog, fs) = (Backlog::new(100), MemoryFs::new());
    for n in 1..=2 {
        backlog.hand_on(FileId(n), fs.create(&n.to_string(), Attributes::PRIVATE).unwrap());
    }
    assert_eq!(backlog.take_made().iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [1, 2]);
    assert!(backlog.take_made().is_empty());
}

#[test]
fn nothing_is_lost_between_a_shard_that_pushes_and_an_applier_that_takes() {
    const PIECES: u64 = 20_000;
    let backlog = Backlog::new(1000);
    let views: Vec<_> = (1..=3).map(|id| empty(&format!("f{id}"), id)).collect();
    thread::scope(|scope| {
        let applier = scope.spawn(|| {
            let mut applied = 0;
            let began = Instant::now();
            while applied < PIECES {
                assert!(began.elapsed().as_secs() < 20, "{applied} of {PIECES} came");
                for view in backlog.take() {
                    applied += apply(&backlog, &view, 2);
                }
            }
            applied
        });
        for n in 0..PIECES {
            backlog.push(&views[usize::try_from(n % 3).unwrap()], piece(n / 3, 1, n), None);
        }
        assert_eq!(applier.join().unwrap(), PIECES);
    });
    assert_eq!((backlog.bytes(), backlog.take().len()), (0, 0));
    for view in views {
        let state = view.state();
        assert_eq!((state.listed, state.pending_bytes), (false, 0));
    }
}
