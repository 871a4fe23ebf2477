#![allow(clippy::unwrap_used)]
use super::*;
use inkpot_client::Client;

pub(in super::super) fn load(files: usize, producers: usize) -> Load {
    Load {
        mode: Mode::Append,
        record_size: 100,
        files,
        skew: None,
        producers,
        connections: 2,
        tenants: 1,
        batch: 3,
        window: 4,
        upload_size: 1_000,
        durability: Durability::Synced,
        rate: None,
        duration: Duration::from_secs(1),
        warmup: Duration::ZERO,
    }
}

#[test]
fn many_files_are_shared_out_and_few_are_shared() {
    let shares = load(10_000, 16).shares();
    assert!(shares.iter().all(|share| share.len() == 625));
    let mut all: Vec<usize> = shares.concat();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..10_000));
    assert_eq!(load(2, 5).shares(), [[0], [1], [0], [1], [0]]);
}

#[test]
fn records_are_lines_of_their_size() {
    let records = load(1, 1).records();
    assert_eq!(records.len(), 3);
    assert!(records.iter().all(|record| record.len() == 100 && record.ends_with(b"\n")));
    let newlines = records[0].iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(newlines, 1);
}

#[test]
fn window_of_large_appends_keeps_within_memory() {
    let small = Load { window: 256, ..load(1, 16) };
    assert_eq!(small.clone().within_memory().window, 256);
    let large = Load { record_size: 64 << 10, batch: 10, ..small };
    assert_eq!(large.clone().within_memory().window, 6);
    assert_eq!(Load { batch: 1_000, ..large }.within_memory().window, 1);
}

#[test]
fn appends_are_due_as_often_as_the_rate_says() {
    assert_eq!(load(1, 2).interval(), None);
    // 2 producers of 3 records each: 6 records every 20 ms.
    let paced = Load { rate: Some(300.0), ..load(1, 2) };
    assert_eq!(paced.interval(), Some(Duration::from_millis(20)));
    let uploads = Load { mode: Mode::Upload, ..paced };
    assert_eq!(uploads.upload_appends(), 4);
    assert_eq!(uploads.interval(), Some(Duration::from_millis(80)));
}

/// Runs a load against the reference.
async fn run_on_wire(load: &Load) -> Seen {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(super::super::wire::serve(listener));
    run(&goal(Client::builder(endpoint)), load).await.unwrap()
}

fn goal(builder: ClientBuilder) -> Goal {
    let pid = Some(std::process::id());
    Goal { tenants: vec![builder], prefix: "bench".into(), pid, metrics: None, check: false }
}

#[tokio::test(flavor = "multi_thread")]
async fn run_counts_acks_of_the_measured_time() {
    let load = Load { duration: Duration::from_millis(200), ..load(5, 2) };
    let seen = run_on_wire(&load).await;
    assert!(seen.records > 0 && seen.records.is_multiple_of(3), "{} records", seen.records);
    assert_eq!(seen.bytes, seen.records * 100);
    // Those of the last window are timed, and not counted; those before the first are counted, and not timed.
    assert!((seen.ack_micros.len() * 3).abs_diff(seen.records) <= 2 * 2 * 4 * 3, "{seen:?}");
    assert_eq!(seen.level, Some(Durability::Synced));
    assert!(seen.cost.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn open_loop_sends_what_is_due_and_times_all_of_it() {
    // 600 records/s for half a second, from two producers: 50 appends each.
    let load = Load { duration: Duration::from_millis(500), rate: Some(600.0), ..load(2, 2) };
    let seen = run_on_wire(&load).await;
    assert!(seen.ack_micros.len().abs_diff(100) <= 2, "{seen:?}");
    assert!(seen.records <= 306, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_are_timed_whole() {
    let load = Load { mode: Mode::Upload, duration: Duration::from_millis(300), ..load(2, 2) };
    let seen = run_on_wire(&load).await;
    assert!(!seen.ack_micros.is_empty() && seen.records > 0, "{seen:?}");
}

#[tokio::test]
async fn run_against_nobody_gives_up() {
    let builder = Client::builder("http://127.0.0.1:1").give_up_after(Duration::from_millis(200));
    let failure = run(&goal(builder), &load(1, 2)).await.unwrap_err();
    assert!(format!("{failure:?}").contains("gave up"), "{failure:?}");
}
