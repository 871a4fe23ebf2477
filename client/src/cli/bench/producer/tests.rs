use super::*;

#[test]
fn acks_of_the_measured_time_count_and_times_of_what_was_sent_then() {
    let from = Instant::now();
    let at = |seconds| from + Duration::from_secs(seconds);
    let phases = Phases { from, until: at(10) };
    let mut tally = Flight::new(&super::super::load::tests::load(1, 1)).tally;
    tally.acked(5, at(3), phases);
    tally.acked(7, at(12), phases);
    assert_eq!((tally.acked_bytes, tally.acked_bytes_in_all), (5, 12));
    // Sent in time, and acknowledged after the end: the longest times of all are among these.
    tally.took(at(9), at(12), phases);
    tally.took(at(11), at(12), phases);
    assert_eq!(tally.ack_micros.len(), 1);
    assert!(tally.ack_micros.max().abs_diff(3_000_000) < 10_000);
    tally.reached(Durability::Synced);
    tally.reached(Durability::Written);
    assert_eq!(tally.level, Some(Durability::Written));
}
