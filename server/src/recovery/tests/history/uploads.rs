//! Uploads that meet each other, and those that nobody finishes.

use super::{Mode, check, short::started};
use crate::shard::Ending;
use inkpot_proto::v1::Durability::Synced;
use std::time::Duration;

const Q: Option<(&str, u64)> = Some(("q", 1));
const WHOLE: Ending = Ending::Commit { size: None, crc32c: None };

/// The first one is cut off, and does not know it yet: what it still sends must not reach the staged file, and its end
/// must not cut it.
#[test]
fn channel_that_lost_its_upload_leaves_the_staged_bytes_alone() {
    for ending in [Ending::LeaveOpen, WHOLE, Ending::Abort] {
        let mut history = started(format!("the first one ends with {ending:?}"));
        let first = history.open("log", Mode::Create, Q);
        history.commit().unwrap();
        history.send(first, 1, "one, ", Synced);
        history.settle().unwrap();
        let second = history.open("log", Mode::Create, Q);
        history.commit().unwrap();
        history.send(second, 2, "two and more", Synced);
        history.settle().unwrap();
        history.send(first, 2, "other bytes", Synced);
        history.finish(first, ending);
        history.settle().unwrap();
        history.send(second, 3, ", three", Synced);
        history.finish(second, WHOLE);
        history.settle().unwrap();
        history.checkpoint().unwrap();
        history.prove().unwrap();
    }
}

#[test]
fn upload_that_nobody_finishes_expires_and_leaves_nothing() {
    let mut history = started("an upload expires".to_owned());
    let left = history.open("log", Mode::Create, Q);
    let kept = history.open("d/g", Mode::Create, Some(("p", 1)));
    history.commit().unwrap();
    history.send(left, 1, "something", Synced);
    history.finish(left, Ending::LeaveOpen);
    history.send(kept, 1, "this one goes on", Synced);
    history.settle().unwrap();
    let expiry = history.machine.config.uploads.expiry;
    history.machine.now += expiry / 2;
    history.checkpoint().unwrap();
    history.settle().unwrap();
    history.machine.now += expiry / 2 + Duration::from_secs(2);
    history.checkpoint().unwrap();
    // The upload whose channel is open stays.
    history.book.expire("log");
    history.settle().unwrap();
    let again = history.open("log", Mode::Create, Q);
    history.commit().unwrap();
    assert_eq!(history.book.tree().channels[&again].file, history.book.tree().upload_of("log", "q").unwrap().0);
    history.finish(again, Ending::Abort);
    history.finish(kept, WHOLE);
    history.settle().unwrap();
    history.checkpoint().unwrap();
    check::check_staging(&history.machine, history.book.tree());
    history.prove().unwrap();
}
