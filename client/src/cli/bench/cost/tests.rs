#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn cpu_time_is_found_behind_an_odd_process_name() {
    let stat = "42 (a ) b) S 1 42 42 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 4 0 100 1000 10 18446744073709551615";
    assert_eq!(cpu_seconds(stat), Some(2.0));
    assert_eq!(cpu_seconds("42 (cut"), None);
}

#[test]
fn memory_is_in_mib() {
    assert_eq!(rss_mib("Name:\tx\nVmRSS:\t   2048 kB\nThreads:\t4\n"), Some(2.0));
    assert_eq!(rss_mib("Name:\tx\n"), None);
}

#[test]
fn own_process_can_be_read_and_a_missing_one_gives_nothing() {
    assert!(Reading::take(std::process::id()).unwrap().rss_mib > 0.0);
    assert_eq!(Reading::take(u32::MAX), None);
}
