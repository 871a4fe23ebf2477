//! The wall clock of a real server jumps, forwards and back, by an hour and by years, while it works and between two
//! starts. It decides nothing: nothing is lost or doubled, nobody is forgotten, and an upload that is open stays so.
//! Needs libfaketime, which `tests/run` installs.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::FinishAction;
use inkpot_tests::harness::{
    files::content,
    server::{Server, Setup},
    session::{append, finish, open_as},
    upload::create_as,
    wait,
    witness::{Shape, Witness},
};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long anything may take on a machine that is busy with other tests.
const BOUND: Duration = Duration::from_secs(120);
const CONFIG: &str = "[wal]\nsegment_bytes = \"5MiB\"\n[checkpoint]\nwal_bytes = \"1MiB\"\ninterval = \"200ms\"\n\
    [keeper]\ninterval = '20ms'\npause = '1ms'\n[[tenant_defaults.policies]]\npattern = 'logs/**'\nrotate.size = '1KiB'";
const JUMPS: [&str; 5] = ["+1h", "-1h", "+400d", "-3000d", "+20000d"];

/// The library that gives a process another clock, where Debian has it.
fn library() -> PathBuf {
    let found =
        fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path().join("faketime/libfaketimeMT.so.1"));
    found.into_iter().find(|path| path.exists()).expect("libfaketime is needed: tests/run installs it")
}

/// Whole, at once: the process reads it at any moment.
fn set_clock(file: &Path, to: &str) {
    let new = file.with_extension("new");
    fs::write(&new, to).unwrap();
    fs::rename(new, file).unwrap();
}

async fn write(server: &Server, from: u64, to: u64) -> u64 {
    let mut session = server.session().await;
    let opened = session.opened(open_as(1, "logs/app.log", "p", 1)).await;
    for seq in from..=to {
        session.append(append(1, seq, line(seq))).await;
        session.acked(1, seq).await.unwrap();
    }
    session.finish(1).await.unwrap();
    opened.last_seq
}

fn line(number: u64) -> String {
    format!("line {number:04} {}\n", "x".repeat(89))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jumps_of_the_wall_clock_lose_and_forget_nothing() {
    let home = tempfile::tempdir().unwrap();
    let clock = home.path().join("clock");
    set_clock(&clock, "+0");
    let setup = Setup::default()
        .config(CONFIG)
        .env("LD_PRELOAD", library().to_str().unwrap())
        .env("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap())
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let mut server = Server::start(setup);
    let shape = Shape { producers: 2, files: 8, window: 8, rest: Duration::from_millis(10), bound: BOUND };
    let load = Witness::start(&server, shape, 31).await;
    let mut uploading = server.session().await;
    uploading.opened(create_as(1, "whole/open", "u", 1)).await;
    uploading.write(1, 1, line(1)).await.unwrap();
    drop(uploading);
    let mut done = 0;
    for (number, jump) in JUMPS.into_iter().enumerate() {
        let last = write(&server, done + 1, done + 15).await;
        assert_eq!(last, done, "somebody was forgotten before {jump}");
        done += 15;
        load.goes_on(200, &format!("appends before {jump}")).await;
        set_clock(&clock, jump);
        load.goes_on(200, &format!("appends after {jump}")).await;
        // The next life begins with that clock.
        if number % 2 == 0 {
            tokio::task::block_in_place(|| server.restart());
        }
    }
    assert_eq!(write(&server, done + 1, done + 15).await, done);
    done += 15;
    let mut session = server.session().await;
    let opened = session.opened(create_as(1, "whole/open", "u", 1)).await;
    assert_eq!((opened.upload, opened.last_seq), (true, 1), "the upload is gone: {opened:?}");
    session.end(finish(1, FinishAction::Commit)).await.unwrap();
    drop(session);
    let mut paths = inkpot_tests::harness::files::list(&server).await;
    paths.retain(|path| path.starts_with("logs/"));
    // It does see the jumps: names are made from the clock.
    let years: BTreeSet<&str> = paths.iter().filter_map(|path| path.get("logs/app@".len()..)?.get(..4)).collect();
    assert!(years.len() >= 4, "the clock does not jump: {paths:?}");
    let mut found: Vec<String> = Vec::new();
    for path in &paths {
        let text = String::from_utf8(content(&server, path).await.unwrap()).unwrap();
        found.extend(text.split_inclusive('\n').map(str::to_owned));
    }
    // Names are made from the clock, so they do not tell the order.
    found.sort();
    assert_eq!(found, (1..=done).map(line).collect::<Vec<_>>());
    wait::until("an upload", BOUND, || load.published() > 0).await;
    load.judge(&mut server).await;
}
