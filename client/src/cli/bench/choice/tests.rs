use super::*;

#[test]
fn files_come_in_turn() {
    let mut choice = Choice::new(3, None, 0);
    let chosen: Vec<usize> = (0..7).map(|_| choice.next()).collect();
    assert_eq!(chosen, [0, 1, 2, 0, 1, 2, 0]);
}

#[test]
fn skew_prefers_the_first_as_the_law_says() {
    let mut choice = Choice::new(4, Some(1.0), 7);
    let mut counts = [0_u32; 4];
    (0..25_000).for_each(|_| counts[choice.next()] += 1);
    // 1 + 1/2 + 1/3 + 1/4 = 25/12: 12 000, 6 000, 4 000, 3 000 are expected.
    for (count, expected) in counts.into_iter().zip([12_000, 6_000, 4_000, 3_000]) {
        assert!(count.abs_diff(expected) < 400, "{counts:?}");
    }
}

#[test]
fn producer_chooses_the_same_in_each_run() {
    let chosen = |producer| {
        let mut choice = Choice::new(100, Some(0.9), producer);
        (0..50).map(|_| choice.next()).collect::<Vec<_>>()
    };
    assert_eq!(chosen(3), chosen(3));
    assert_ne!(chosen(3), chosen(4));
}
