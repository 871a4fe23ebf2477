//! A real server under load that may open no more files, or have no more memory, for a while: it says so or goes slower,
//! loses and doubles nothing, and goes on when there is room again.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::{WriteRequest, write_request::Frame as Ask};
use inkpot_tests::{
    RawSession, Server, Setup,
    harness::{
        files::content,
        session::{append, open_as, unary},
        wait,
        witness::{Shape, Witness},
    },
};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use std::{
    fs,
    time::{Duration, Instant},
};

/// How long anything may take on a machine that is busy with other tests.
const BOUND: Duration = Duration::from_secs(120);
/// Sessions that want memory.
const SESSIONS: usize = 24;
/// More than the sessions, budgets and segments can take: see `e2e_memory`.
const ENOUGH_MIB: u64 = 512;
/// How long there is no room.
const WHILE: Duration = Duration::from_secs(1);
/// Small budgets: what a server takes stands in its configuration.
const CONFIG: &str = "[wal]\nsegment_bytes = \"5MiB\"\n[checkpoint]\nwal_bytes = \"2MiB\"\ninterval = \"200ms\"\n\
    [memory]\nwrites_bytes = \"8MiB\"\n[apply]\nbudget_bytes = \"8MiB\"";

fn shape(files: usize) -> Shape {
    Shape { producers: 3, files, window: 8, rest: Duration::from_millis(10), bound: BOUND }
}

/// Sets what the server may have, and gives what it might have before.
fn limit(server: &Server, what: Resource, most: u64) -> Rlimit {
    let pid = Pid::from_raw(server.pid().try_into().unwrap());
    let maximum = getrlimit(what).maximum;
    prlimit(pid, what, Rlimit { current: Some(most), maximum }).unwrap()
}

fn give_back(server: &Server, what: Resource, before: Rlimit) {
    let pid = Pid::from_raw(server.pid().try_into().unwrap());
    prlimit(pid, what, before).unwrap();
}

fn open_files(server: &Server) -> u64 {
    fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count() as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_without_descriptors_goes_on_when_there_are_some_again() {
    let mut server = Server::start(Setup::default().config(CONFIG));
    let pid = server.pid();
    let load = Witness::start(&server, shape(60), 21).await;
    load.goes_on(500, "appends with descriptors").await;
    for spare in [3, 0, 1] {
        let before = limit(&server, Resource::Nofile, open_files(&server) + spare);
        // New files, uploads, readers and connections all want some; these connections stay.
        let (mut held, mut refused) = (Vec::new(), 0);
        let deadline = Instant::now() + WHILE;
        while Instant::now() < deadline {
            let mut client = server.client();
            let append = client.append(unary(&format!("new/{spare}-{}", held.len()), "new\n"));
            refused += u32::from(!matches!(tokio::time::timeout(WHILE / 10, append).await, Ok(Ok(_))));
            held.push(client);
        }
        give_back(&server, Resource::Nofile, before);
        assert!(refused > 0, "there were descriptors enough with {spare} to spare");
        load.goes_on(300, "appends with descriptors again").await;
    }
    let published = load.published();
    wait::until("an upload in the end", BOUND, || load.published() > published).await;
    let is_taken = async || server.client().append(unary("new/after", "new\n")).await.is_ok();
    wait::until_async("a new file in the end", BOUND, is_taken).await;
    assert_eq!(content(&server, "new/after").await.unwrap().len() % 4, 0);
    assert!(server.is_running() && server.pid() == pid);
    assert!(!server.stderr().contains("panicked"), "it panicked");
    load.judge(&mut server).await;
}

/// Many sessions that send large appends: each has buffers of its own.
async fn press(server: &Server) {
    let mut tasks = Vec::new();
    for number in 0..SESSIONS {
        let client = server.client();
        tasks.push(tokio::spawn(async move {
            let Ok(mut session) = RawSession::start(client).await else { return };
            let path = format!("large/{number}");
            let ask = |frame| WriteRequest { frame: Some(frame) };
            if session.try_send(ask(Ask::Open(open_as(1, &path, "p", 1))), WHILE).await.is_err() {
                return;
            }
            for seq in 1..=20 {
                let append = append(1, seq, vec![b'x'; 900_000]);
                if session.try_send(ask(Ask::Append(append)), WHILE).await.is_err() {
                    return;
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

/// Waits until the load goes on, by more than can be in flight, and tells how often the server died meanwhile: at once,
/// or later for something that it could not do then. It is started again each time.
async fn goes_on_or_dies(server: &mut Server, load: &Witness, what: &str) -> usize {
    let (until, mut deaths) = (load.acked() + 500, 0);
    let has_gone_on = || {
        if !server.is_running() {
            deaths += 1;
            println!("died {what}: {}", server.stderr().lines().last().unwrap_or_default());
            tokio::task::block_in_place(|| server.restart());
        }
        load.acked() >= until
    };
    wait::until(what, BOUND, has_gone_on).await;
    deaths
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_without_memory_goes_on_or_dies_and_loses_nothing() {
    // Its allocator does not claim a gibibyte of addresses beforehand, in which no limit would be met.
    let mut server = Server::start(Setup::default().config(CONFIG).env("MIMALLOC_ARENA_RESERVE", "0"));
    let load = Witness::start(&server, shape(12), 22).await;
    let mut deaths = goes_on_or_dies(&mut server, &load, "with memory").await;
    for room_mib in [ENOUGH_MIB, 32, 8, 0] {
        let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        let data = status.lines().find_map(|line| line.strip_prefix("VmData:")).unwrap();
        let kib: u64 = data.trim().trim_end_matches(" kB").parse().unwrap();
        let before = limit(&server, Resource::Data, (kib << 10) + (room_mib << 20));
        press(&server).await;
        give_back(&server, Resource::Data, before);
        deaths += goes_on_or_dies(&mut server, &load, &format!("after {room_mib} MiB to spare")).await;
        assert!(room_mib < ENOUGH_MIB || deaths == 0, "it died with {ENOUGH_MIB} MiB more than it had");
    }
    deaths += goes_on_or_dies(&mut server, &load, "in the end").await;
    println!("{} appends, died {deaths} times", load.acked());
    load.judge(&mut server).await;
}
