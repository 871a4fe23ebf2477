#![allow(clippy::unwrap_used)]

use super::*;
use crate::catalog::tests::catalog;
use std::{
    pin::pin,
    sync::mpsc::{RecvTimeoutError, channel},
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

fn refused(why: &str) -> Refused {
    Refused::new(ErrorReason::ShardClosed, why)
}

#[test]
fn whoever_comes_before_the_shard_is_open_waits() {
    let slot = CatalogSlot::default();
    let mut cx = Context::from_waker(Waker::noop());
    let mut begun = pin!(slot.begun());
    assert_eq!(begun.as_mut().poll(&mut cx), Poll::Pending);
    slot.open(Arc::new(catalog().1));
    assert_eq!(begun.as_mut().poll(&mut cx), Poll::Ready(()));
    assert!(slot.read(|catalog| catalog.progress().is_ok()).unwrap());
}

#[test]
fn shard_that_is_closed_says_why_and_may_open_again() {
    let slot = CatalogSlot::default();
    slot.close(refused("no"));
    assert_eq!(slot.read(|_| ()).unwrap_err().message, "no");
    slot.open(Arc::new(catalog().1));
    slot.read(|_| ()).unwrap();
    slot.close(refused("again"));
    assert_eq!(slot.read(|_| ()).unwrap_err().message, "again");
}

/// Otherwise the database would be dropped by the reader, after the next recovery has opened its file.
#[test]
fn closing_waits_for_who_is_reading_and_then_the_catalog_is_gone() {
    let slot = CatalogSlot::default();
    let catalog = Arc::new(catalog().1);
    let gone = Arc::downgrade(&catalog);
    slot.open(catalog);
    let (reading, begun) = channel();
    let (go_on, wait) = channel::<()>();
    let (closed, done) = channel();
    thread::scope(|scope| {
        let slot = &slot;
        scope.spawn(move || {
            slot.read(|_| {
                reading.send(()).unwrap();
                wait.recv().unwrap();
            })
            .unwrap();
        });
        begun.recv().unwrap();
        scope.spawn(move || {
            slot.close(refused("no"));
            closed.send(()).unwrap();
        });
        // That it has not closed can only be seen for a while.
        assert_eq!(done.recv_timeout(Duration::from_millis(50)), Err(RecvTimeoutError::Timeout));
        assert!(gone.upgrade().is_some());
        go_on.send(()).unwrap();
        done.recv().unwrap();
        assert!(gone.upgrade().is_none());
    });
}
