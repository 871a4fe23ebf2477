//! Sets of 10 files over all shards, and renames over shards, while the server is killed (SIGKILL) at random moments: a
//! set is whole or absent at every moment that anybody looks, a file is at exactly one of its paths with all of its bytes,
//! and asking again settles what was under way.
//!
//! `INKPOT_TEST_SETS` and `INKPOT_TEST_RENAMES` set how many of each there are.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use futures_util::future::try_join_all;
use inkpot_client::{Client, ErrorReason, OpenOptions, Producer, RenameOptions, UploadMode, UploadOptions};
use inkpot_proto::v1::{ListRequest, Operator, StatRequest, file_service_client::FileServiceClient};
use inkpot_tests::harness::{
    server::{Server, Setup},
    session::FileClient,
    wait,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tonic::Code;

const FILES: usize = 10;
/// How long anything may take on a machine that is busy with other tests.
const BOUND: Duration = Duration::from_secs(120);
/// Quick checkpoints, so that kills fall into them too.
const CONFIG: &str =
    "shards = 3\n[wal]\nsegment_bytes = \"5MiB\"\n[checkpoint]\nwal_bytes = \"1MiB\"\ninterval = \"150ms\"";

fn count(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |number| number.parse().expect("a number"))
}

fn path(set: usize, file: usize) -> String {
    format!("sets/{set:04}/{file}")
}

/// Every other set replaces what the one before it had put there.
fn target(set: usize) -> usize {
    set / 2
}

fn content(set: usize, file: usize) -> Bytes {
    format!("set {set} file {file} ").repeat(1 + (set * 7 + file * 13) % 40).into()
}

/// What the tasks tell each other.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Sets or renames that are settled.
    settled: AtomicUsize,
    /// Looks that found something.
    looks: AtomicUsize,
    retries: AtomicUsize,
}

/// Kills the server at random moments until it is told to stop; returns how often it did.
async fn kill(mut server: Server, shared: Arc<Shared>, seed: u64) -> (Server, usize) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut kills = 0;
    while !shared.stop.load(Ordering::Relaxed) {
        // The moment is what is random here; nothing is waited for.
        tokio::time::sleep(Duration::from_millis(random.random_range(100..700))).await;
        tokio::task::block_in_place(|| server.restart());
        kills += 1;
    }
    (server, kills)
}

/// The sizes of the files of a set as Stat tells them one after the other; `None`: somebody could not be asked.
async fn sizes(files: &mut FileClient, set: usize, order: impl Iterator<Item = usize>) -> Option<Vec<(usize, u64)>> {
    let mut sizes = Vec::new();
    for file in order {
        match files.stat(StatRequest { path: path(target(set), file) }).await {
            Ok(answer) => sizes.push((file, answer.into_inner().file.unwrap().size)),
            Err(status) if status.code() == Code::NotFound => sizes.push((file, 0)),
            Err(_) => return None,
        }
    }
    Some(sizes)
}

/// Whether the sizes are those of `set` or of what was there before, in the order in which they were asked; without those
/// that do not tell.
fn versions(set: usize, sizes: &[(usize, u64)]) -> Vec<bool> {
    let version = |(file, size): &(usize, u64)| {
        let before = if set % 2 == 1 { content(set - 1, *file).len() as u64 } else { 0 };
        let after = content(set, *file).len() as u64;
        assert!(
            [before, after].contains(size),
            "{} has {size} bytes, not {before} or {after}",
            path(target(set), *file)
        );
        (before != after).then_some(*size == after)
    };
    sizes.iter().filter_map(version).collect()
}

/// Looks at the set that is under way, by Stat and by List, until it is told to stop.
async fn look(endpoint: String, shared: Arc<Shared>, sets: usize) {
    let channel = tonic::transport::Endpoint::from_shared(endpoint).unwrap().connect_lazy();
    let token = inkpot_tests::harness::session::Token::new(None);
    let mut files = FileServiceClient::with_interceptor(channel, token);
    let mut random = StdRng::seed_from_u64(3);
    while !shared.stop.load(Ordering::Relaxed) {
        let set = shared.settled.load(Ordering::Relaxed).min(sets - 1);
        let first = random.random_range(0..FILES);
        // What the next set replaces meanwhile is not looked at.
        if let Some(sizes) = sizes(&mut files, set, (first..FILES).chain(0..first)).await
            && (set % 2 == 1 || shared.settled.load(Ordering::Relaxed) <= set)
        {
            let versions = versions(set, &sizes);
            assert!(versions.is_sorted(), "set {set} is torn: {versions:?}");
            shared.looks.fetch_add(1, Ordering::Relaxed);
        }
        let request = ListRequest { prefix: format!("sets/{:04}/", target(set)), ..ListRequest::default() };
        if let Ok(answer) = files.list(request).await {
            let listed = answer.into_inner().files;
            assert!([0, FILES].contains(&listed.len()), "set {set} is torn in List: {listed:?}");
            let name = |path: &str| path.rsplit('/').next().and_then(|name| name.parse::<usize>().ok()).unwrap();
            let sizes: Vec<_> = listed.iter().map(|file| (name(&file.path), file.size)).collect();
            if set % 2 == 1 && !sizes.is_empty() {
                let versions = versions(set, &sizes);
                assert!(versions.iter().all(|new| *new == versions[0]), "set {set} is torn in List: {versions:?}");
            }
            shared.looks.fetch_add(1, Ordering::Relaxed);
        }
        // A server that is away is not asked without a pause.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Uploads the files of each set and publishes it; asks until it is settled.
async fn publish(client: Client, shared: Arc<Shared>, sets: usize) {
    for set in 0..sets {
        // A set that was published before its answer was lost is known by its epoch.
        let options = |mode| UploadOptions {
            mode,
            producer: Producer::Named { id: "p".to_owned(), epoch: Some(set as u64 + 1) },
            ..UploadOptions::default()
        };
        let mode = if set % 2 == 1 { UploadMode::Replace } else { UploadMode::Create };
        let session = client.session().await;
        let parts = try_join_all((0..FILES).map(|file| {
            let (session, options) = (&session, options(mode));
            async move {
                let mut upload = session.upload(&path(target(set), file), options).await?;
                upload.write(content(set, file)).await?;
                upload.leave_open().await
            }
        }));
        let parts = parts.await.unwrap();
        loop {
            match client.files().commit_files(parts.clone()).await {
                Ok(_) => break,
                Err(error) => {
                    let reason = error.reason();
                    assert_eq!(reason, Some(ErrorReason::BeingDecided), "set {set}: {error:?}");
                    shared.retries.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        shared.settled.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sets_are_whole_or_absent_under_kills() {
    let sets = count("INKPOT_TEST_SETS", 200);
    let server = Server::start(Setup::default().config(CONFIG));
    let shared = Arc::new(Shared::default());
    let client = Client::builder(server.endpoint()).give_up_after(BOUND).connect().await.unwrap();
    let looker = tokio::spawn(look(server.endpoint(), Arc::clone(&shared), sets));
    let writer = tokio::spawn(publish(client, Arc::clone(&shared), sets));
    let killer = tokio::spawn(kill(server, Arc::clone(&shared), 11));
    let finished = writer.await;
    shared.stop.store(true, Ordering::Relaxed);
    let (mut server, kills) = killer.await.unwrap();
    looker.await.unwrap();
    finished.unwrap();
    assert!(server.terminate().success());
    for set in (0..sets).filter(|set| set % 2 == 1 || *set + 1 == sets) {
        for file in 0..FILES {
            let plain = std::fs::read(server.plain(&path(target(set), file))).unwrap();
            assert!(plain == content(set, file), "{} is not as set {set} made it", path(target(set), file));
        }
    }
    assert_nothing_staged(&server);
    let (looks, retries) = (shared.looks.load(Ordering::Relaxed), shared.retries.load(Ordering::Relaxed));
    println!("{sets} sets, {kills} kills, {looks} looks, {retries} retries by hand");
    assert!(kills > 3 && looks > sets, "{kills} kills, {looks} looks");
}

/// After a stop no content is left that no path leads to.
fn assert_nothing_staged(server: &Server) {
    let staging = server.data_dir().join("staging");
    let mut dirs = vec![staging];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            assert!(entry.file_type().unwrap().is_dir(), "{} is left in staging", entry.path().display());
            dirs.push(entry.path());
        }
    }
}

fn place(n: usize) -> String {
    format!("moves/d{}/f{n}", n % 7)
}

/// A file goes from path to path, with some bytes more each time.
async fn wander(client: Client, shared: Arc<Shared>, renames: usize) {
    let session = client.session().await;
    for n in 0..renames {
        let options =
            OpenOptions { producer: Producer::Named { id: "p".to_owned(), epoch: None }, ..OpenOptions::default() };
        let writer = session.open(&place(n), options).await.unwrap();
        writer.write(Bytes::from(format!("line {n}\n"))).await.unwrap();
        writer.finish().await.unwrap();
        let mut state = client.write_state(&place(n), "p").await;
        while state.as_ref().is_err_and(|error| error.reason().is_none()) {
            // It changes nothing, so it may be asked for again whatever became of it.
            state = client.write_state(&place(n), "p").await;
        }
        let state = state.unwrap();
        let operator = Operator { producer_id: "p".to_owned(), producer_epoch: state.epoch, seq: state.last_seq + 1 };
        let options = RenameOptions { operator: Some(operator), ..RenameOptions::default() };
        while let Err(error) = client.files().rename(&place(n), &place(n + 1), options.clone()).await {
            assert_eq!(error.reason(), Some(ErrorReason::BeingDecided), "rename {n}: {error:?}");
            shared.retries.fetch_add(1, Ordering::Relaxed);
        }
        shared.settled.fetch_add(1, Ordering::Relaxed);
    }
}

/// Looks for the file at the two paths between which it moves now, the new one first: it is never at both, and at the old
/// one if it was not at the new one, unless it moved on in between.
async fn look_for_it(endpoint: String, shared: Arc<Shared>) {
    let channel = tonic::transport::Endpoint::from_shared(endpoint).unwrap().connect_lazy();
    let mut files = FileServiceClient::with_interceptor(channel, inkpot_tests::harness::session::Token::new(None));
    while !shared.stop.load(Ordering::Relaxed) {
        let moved = shared.settled.load(Ordering::Relaxed) > 0;
        let request = ListRequest { prefix: "moves/".to_owned(), ..ListRequest::default() };
        if let Ok(answer) = files.list(request).await {
            let listed = answer.into_inner().files;
            assert!(listed.len() <= 1, "it is at more than one path: {listed:?}");
            assert!(!moved || listed.len() == 1, "it is nowhere");
            shared.looks.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn file_that_moves_under_kills_is_at_one_path_with_all_its_bytes() {
    let renames = count("INKPOT_TEST_RENAMES", 150);
    let server = Server::start(Setup::default().config(CONFIG));
    let shared = Arc::new(Shared::default());
    let client = Client::builder(server.endpoint()).give_up_after(BOUND).connect().await.unwrap();
    let looker = tokio::spawn(look_for_it(server.endpoint(), Arc::clone(&shared)));
    let writer = tokio::spawn(wander(client, Arc::clone(&shared), renames));
    let killer = tokio::spawn(kill(server, Arc::clone(&shared), 12));
    let finished = writer.await;
    shared.stop.store(true, Ordering::Relaxed);
    let (mut server, kills) = killer.await.unwrap();
    looker.await.unwrap();
    finished.unwrap();
    assert!(server.terminate().success());
    let expected: String = (0..renames).map(|n| format!("line {n}\n")).collect();
    assert_eq!(std::fs::read_to_string(server.plain(&place(renames))).unwrap(), expected);
    assert!((0..renames).all(|n| !server.plain(&place(n)).exists()), "something is left at an old path");
    assert_nothing_staged(&server);
    let (looks, retries) = (shared.looks.load(Ordering::Relaxed), shared.retries.load(Ordering::Relaxed));
    println!("{renames} renames, {kills} kills, {looks} looks, {retries} retries by hand");
    wait::until("looks", BOUND, || looks > 0 && kills > 3).await;
}
