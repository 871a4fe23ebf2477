//! Real faults on a real server under load: it is stopped for longer than every timeout, and its disk is full again and
//! again. Nothing acked is lost or doubled, and it goes on by itself.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::ErrorReason as Reason;
use inkpot_tests::harness::{
    assert_refused,
    disk::Mount,
    files::{assert_content, stat},
    load::{Load, Shape},
    operate::delete,
    server::{Server, Setup},
    session::unary,
    wait,
};
use rustix::process::Signal;
use std::{fs, io::Write, time::Duration};
use tonic::Code;

/// How long anything may take on a machine that is busy with other tests.
const BOUND: Duration = Duration::from_secs(120);
/// What a client waits for a server that is silent, twice; the server itself asks after 30 s, and waits 10 s.
const KEEPALIVE: Duration = Duration::from_secs(2);
/// Longer than both.
const STANDSTILL: Duration = Duration::from_secs(42);
/// How often the disk is full, unless `INKPOT_TEST_FULL_DISKS` says so.
const FULL_DISKS: u64 = 5;

fn shape() -> Shape {
    Shape { producers: 4, files: 40, pace: Duration::from_millis(2), bound: BOUND, keepalive: KEEPALIVE }
}

/// The load goes on by itself.
async fn goes_on(load: &Load, what: &str) {
    let until = load.sent() + 2_000;
    wait::until(what, BOUND, || load.sent() >= until).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn standstill_longer_than_every_timeout_loses_and_doubles_nothing() {
    let mut server = Server::start(Setup::default());
    let load = Load::start(&server, shape()).await;
    goes_on(&load, "lines before the standstill").await;
    server.signal(Signal::STOP);
    tokio::time::sleep(STANDSTILL).await;
    server.signal(Signal::CONT);
    goes_on(&load, "lines after the standstill").await;
    let done = load.finish().await;
    assert!(done.reconnects() > 0, "nobody noticed a standstill of {STANDSTILL:?}");
    assert!(server.terminate().success());
    done.check(&server);
}

/// Takes every byte that is left.
fn fill(ballast: &std::path::Path) {
    let mut taker = fs::File::create(ballast).unwrap();
    while taker.write(&[1; 4096]).is_ok_and(|written| written > 0) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disks_lose_and_double_nothing_and_writing_resumes_by_itself() {
    let times = std::env::var("INKPOT_TEST_FULL_DISKS").map_or(FULL_DISKS, |times| times.parse().unwrap());
    let disk = Mount::small_disk(160 << 20);
    let ballast = disk.path().join("ballast");
    let config = "[wal]\nsegment_bytes = \"5MiB\"\nmax_bytes = \"32MiB\"\n[checkpoint]\nwal_bytes = \"8MiB\"\ninterval = \"400ms\"";
    let mut server =
        Server::start(Setup::default().config(config).arg("--shards").arg("1").data_dir(disk.path().join("data")));
    let load = Load::start(&server, shape()).await;
    for time in 0..times {
        goes_on(&load, &format!("lines before the disk is full for the {time}. time")).await;
        let before = load.retries();
        fill(&ballast);
        wait::until("appends are refused", BOUND, || load.retries() > before).await;
        // Kills on a full disk, one after the other, now and then.
        for _ in 0..time % 3 {
            tokio::task::block_in_place(|| server.restart());
        }
        // What is committed can be read.
        wait::until_async("reads go on", BOUND, async || stat(&server, "host-00/service-0000.log").await.is_ok()).await;
        fs::remove_file(&ballast).unwrap();
    }
    goes_on(&load, "lines after the last time").await;
    let done = load.finish().await;
    assert!(server.terminate().success());
    done.check(&server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_a_file_makes_room_on_a_disk_without_a_byte_left_also_after_a_kill() {
    let disk = Mount::small_disk(160 << 20);
    let mut server = Server::start(Setup::default().arg("--shards").arg("1").data_dir(disk.path().join("data")));
    for _ in 0..40 {
        server.client().append(unary("large.log", vec![b'x'; 1 << 20])).await.unwrap();
    }
    wait::until("the plain file", BOUND, || {
        fs::metadata(server.plain("large.log")).is_ok_and(|found| found.len() == 40 << 20)
    })
    .await;
    let append = async |server: &Server| server.client().append(unary("small.log", "line\n")).await;
    fill(&disk.path().join("ballast"));
    let mut lines = 1;
    // A full disk is noticed within a moment.
    let refused = loop {
        match append(&server).await {
            Ok(_) => lines += 1,
            Err(refused) => break refused,
        }
    };
    assert_refused(&refused, Code::ResourceExhausted, Reason::DiskFull);
    tokio::task::block_in_place(|| server.restart());
    server.files().delete(delete("large.log")).await.unwrap();
    wait::until_async("writing resumes", BOUND, async || append(&server).await.is_ok()).await;
    assert_content(&server, "small.log", "line\n".repeat(lines).as_bytes()).await;
}
