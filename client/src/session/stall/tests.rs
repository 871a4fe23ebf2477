use super::{Clock, Trail};
use std::time::Duration;
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn only_acks_keep_a_clock_going_for_ever() {
    let start = Instant::now();
    let mut clock = Clock::start(start);
    assert!(!clock.stalled(start + PATIENCE, PATIENCE));
    assert!(clock.stalled(start + PATIENCE * 2, PATIENCE));
    for turn in 1..=3 {
        clock.opened(start + PATIENCE * turn);
    }
    assert!(!clock.stalled(start + PATIENCE * 3, PATIENCE));
    clock.opened(start + PATIENCE * 4);
    assert!(clock.stalled(start + PATIENCE * 4, PATIENCE), "opened again and again, and never an ack");
    clock.acked(start + PATIENCE * 4);
    assert!(!clock.stalled(start + PATIENCE * 5, PATIENCE));
}

#[test]
fn trail_knows_what_moved_lately_before_a_place_and_stays_small() {
    let start = Instant::now();
    let mut trail = Trail::new(PATIENCE);
    assert!(!trail.moved_before(5, start, PATIENCE));
    for second in 0..1000 {
        trail.note(start + Duration::from_secs(second), 1000 + second);
    }
    assert!(trail.buckets.len() < 20);
    let now = start + Duration::from_secs(1000);
    assert!(trail.moved_before(u64::MAX, now, PATIENCE));
    assert!(trail.moved_before(1990, now, PATIENCE));
    assert!(!trail.moved_before(1900, now, PATIENCE), "what was sent before it moved, but long ago");
    assert!(!trail.moved_before(u64::MAX, now + PATIENCE * 2, PATIENCE));
}
