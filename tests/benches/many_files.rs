//! How a server does with very many files: how fast they are made, how long a page of a listing, a Stat and a start take,
//! and how much memory it holds. Prints a line per measure; asserts only that what it measures is right.
//!
//! `cargo bench -p inkpot-tests --profile dev --bench many_files -- [FILES [DIRECTORIES]]`; 1 000 000 and 10 000 unless
//! given. The profile of development is optimised too, and its binaries are there after the tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use inkpot_proto::v1::{AppendRequest, ListRequest, Payload, StatRequest};
use inkpot_tests::harness::server::{Server, Setup};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// Appends that are on their way at once, over how many connections.
const AT_ONCE: usize = 512;
const CONNECTIONS: usize = 8;

fn path(file: usize, directories: usize) -> String {
    format!("many/{:05}/{file:07}.log", file % directories)
}

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let files = numbers.first().copied().unwrap_or(1_000_000);
    let directories = numbers.get(1).copied().unwrap_or(10_000);
    tokio::runtime::Runtime::new().unwrap().block_on(measure(files, directories));
}

async fn measure(files: usize, directories: usize) {
    let mut server = Server::start(Setup::default());
    println!("idle: {} MiB resident", resident(&server) >> 10);
    let tenths = files.div_ceil(10);
    for begin in (0..files).step_by(tenths) {
        let started = Instant::now();
        let end = files.min(begin + tenths);
        make(&server, begin, end, directories).await;
        let rate = (end - begin) as f64 / started.elapsed().as_secs_f64();
        println!("{end} files: {rate:.0} made per second, {} MiB resident", resident(&server) >> 10);
    }
    look(&server, files, directories).await;
    let started = Instant::now();
    assert!(server.terminate().success());
    println!("clean stop: {:.2} s", started.elapsed().as_secs_f64());
    start(&mut server, "after a clean stop", directories).await;
    look(&server, files, directories).await;
    make(&server, 0, files.min(10_000), directories).await;
    server.kill9();
    start(&mut server, "after kill -9 and 10 000 appends", directories).await;
}

async fn start(server: &mut Server, when: &str, directories: usize) {
    let started = Instant::now();
    server.restart();
    stat(server, &path(0, directories)).await;
    println!(
        "start {when}: {:.2} s to the first Stat, {} MiB resident",
        started.elapsed().as_secs_f64(),
        resident(server) >> 10
    );
}

/// One append to each of these files.
async fn make(server: &Server, begin: usize, end: usize, directories: usize) {
    let next = Arc::new(AtomicUsize::new(begin));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let writes = inkpot_proto::v1::write_service_client::WriteServiceClient::new(server.channel());
        for _ in 0..AT_ONCE / CONNECTIONS {
            let (mut writes, next) = (writes.clone(), Arc::clone(&next));
            tasks.spawn(async move {
                loop {
                    let file = next.fetch_add(1, Ordering::Relaxed);
                    if file >= end {
                        return;
                    }
                    let payload = Some(Payload { data: vec![b'x'; 100].into(), record_lengths: Vec::new() });
                    let request = AppendRequest { path: path(file, directories), payload, ..AppendRequest::default() };
                    writes.append(request).await.unwrap();
                }
            });
        }
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

async fn look(server: &Server, files: usize, directories: usize) {
    let mut client = Files::new(server.channel());
    let (first, token) = page(&mut client, "", "").await;
    let (middle, _) = page(&mut client, &format!("many/{:05}/", directories / 2), "").await;
    let (next, _) = page(&mut client, "", &token).await;
    let started = Instant::now();
    let request = ListRequest {
        prefix: "many/".to_owned(),
        delimiter: "/".to_owned(),
        page_size: 1000,
        ..ListRequest::default()
    };
    let prefixes = client.list(request).await.unwrap().into_inner().prefixes.len();
    assert_eq!(prefixes, directories.min(1000));
    let by_directory = started.elapsed();
    let mut times: Vec<Duration> = Vec::new();
    for file in (0..files).step_by(files.div_ceil(1000)) {
        times.push(stat(server, &path(file, directories)).await);
    }
    times.sort_unstable();
    println!(
        "page of 1000: {first:.1?}, the next {next:.1?}, one directory {middle:.1?}, 1000 directories {by_directory:.1?}; Stat \
         median {:.2?}, slowest of {} {:.2?}",
        times[times.len() / 2],
        times.len(),
        times[times.len() - 1]
    );
}

type Files = inkpot_proto::v1::file_service_client::FileServiceClient<tonic::transport::Channel>;

async fn page(client: &mut Files, prefix: &str, token: &str) -> (Duration, String) {
    let request = ListRequest {
        prefix: prefix.to_owned(),
        page_size: 1000,
        page_token: token.to_owned(),
        ..ListRequest::default()
    };
    let started = Instant::now();
    let page = client.list(request).await.unwrap().into_inner();
    assert!(!page.files.is_empty());
    (started.elapsed(), page.next_page_token)
}

async fn stat(server: &Server, path: &str) -> Duration {
    let mut client = Files::new(server.channel());
    let started = Instant::now();
    client.stat(StatRequest { path: path.to_owned() }).await.unwrap();
    started.elapsed()
}

/// Resident memory of the server in KiB.
fn resident(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
