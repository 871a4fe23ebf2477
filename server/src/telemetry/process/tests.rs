#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn resident_memory_is_that_of_the_process() {
    let before = resident_bytes().unwrap();
    let held = vec![1_u8; 64 << 20];
    let after = resident_bytes().unwrap();
    assert!(after >= before + (48 << 20), "{before} {after}");
    drop(held);
}

#[test]
fn every_open_file_is_a_descriptor() {
    let before = descriptors().unwrap();
    let held: Vec<_> = (0..100).map(|_| fs::File::open("/dev/null").unwrap()).collect();
    let after = descriptors().unwrap();
    // Other tests open and close files meanwhile.
    assert!(after >= before + 50, "{before} {after}");
    drop(held);
}

#[test]
fn processor_time_grows_with_work() {
    let user = || cpu_seconds(rustix::param::clock_ticks_per_second())[0];
    let (before, mode) = user();
    assert_eq!(mode, "user");
    let mut number = 1_u64;
    // Bounded by work, not by time: a second of it at the least.
    while user().0 - before < 0.05 {
        number =
            (0..10_000_000).fold(number, |number, n| std::hint::black_box(number.wrapping_mul(31).wrapping_add(n)));
    }
}
