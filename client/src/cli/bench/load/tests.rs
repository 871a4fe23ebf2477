#![allow(clippy::unwrap_used)]
use super::*;
use inkpot_client::Client;

fn load(files: usize, producers: usize) -> Load {
    Load {
        record_size: 100,
        files,
        producers,
        connections: 2,
        batch: 3,
        window: 4,
        durability: Durability::Synced,
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

#[tokio::test(flavor = "multi_thread")]
async fn run_counts_acks_of_the_measured_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(super::super::wire::serve(listener));
    let load = Load { duration: Duration::from_millis(200), ..load(5, 2) };
    let seen = run(Client::builder(endpoint), &load, "bench", Some(std::process::id())).await.unwrap();
    assert!(seen.records > 0 && seen.records % 3 == 0, "{} records", seen.records);
    assert_eq!(seen.bytes, seen.records * 100);
    assert_eq!(seen.ack_micros.len() * 3, seen.records);
    assert_eq!(seen.level, Some(Durability::Synced));
    assert!(seen.cost.is_some());
}

#[tokio::test]
async fn run_against_nobody_gives_up() {
    let builder = Client::builder("http://127.0.0.1:1").give_up_after(Duration::from_millis(200));
    let failure = run(builder, &load(1, 2), "bench", None).await.unwrap_err();
    assert!(format!("{failure:?}").contains("gave up"), "{failure:?}");
}
