//! Waiting for a condition, never for a time.

use std::{
    thread,
    time::{Duration, Instant},
};

const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits until the condition holds.
///
/// # Panics
/// If it does not within `bound`.
pub async fn until(what: &str, bound: Duration, mut condition: impl FnMut() -> bool) {
    until_async(what, bound, async || condition()).await;
}

/// As [`until`], for a condition that has to ask the server.
///
/// # Panics
/// If it does not hold within `bound`.
pub async fn until_async(what: &str, bound: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + bound;
    while !condition().await {
        assert!(Instant::now() < deadline, "not within {bound:?}: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// As [`until`], where no runtime is.
///
/// # Panics
/// If it does not hold within `bound`.
#[track_caller]
pub fn until_blocking(what: &str, bound: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + bound;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {bound:?}: {what}");
        thread::sleep(LOOK_EVERY);
    }
}
