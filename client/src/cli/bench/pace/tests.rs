#![allow(clippy::unwrap_used)]
use super::*;

#[tokio::test]
async fn appends_are_due_at_their_times_and_late_ones_at_once() {
    let begin = Instant::now();
    let step = Duration::from_millis(20);
    let mut pace = Pace::new(begin + step, step).unwrap();
    for number in 1..=3 {
        pace.due().await.unwrap();
        assert!(begin.elapsed() >= step * number, "{number} was told too early");
        pace.advance();
    }
    assert_eq!(pace.next(), begin + step * 4);
    // What was due long ago is due.
    let late = Pace::new(begin.checked_sub(Duration::from_secs(1)).unwrap_or(begin), step).unwrap();
    late.due().await.unwrap();
}

#[tokio::test]
async fn waiting_may_be_given_up_and_begun_again() {
    let begin = Instant::now();
    let far = Duration::from_millis(60);
    let pace = Pace::new(begin + far, far).unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(5), pace.due()).await.is_err());
    pace.due().await.unwrap();
    assert!(begin.elapsed() >= far);
}
