//! `inkpot health`, the real binary: what it says of servers that serve, stop, hang, are gone or are something else.
#![allow(clippy::unwrap_used)]

use inkpot_tests::{
    Server, Setup,
    harness::{
        tool::{Running, Tool},
        wait,
    },
};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

const BOUND: Duration = Duration::from_secs(30);
const WRITES: &str = "inkpot.v1.WriteService";

fn health<'a>(endpoint: &str, args: impl IntoIterator<Item = &'a str>) -> Tool {
    Tool::new(["health"].into_iter().chain(args)).env("INKPOT_ENDPOINT", endpoint)
}

/// A server whose shards are open.
fn serving(setup: Setup) -> Server {
    let server = Server::start(setup);
    wait::until_blocking("it serves", BOUND, || health(&server.endpoint(), []).run("").status.success());
    server
}

fn lines(running: &Running) -> Vec<Value> {
    let text = String::from_utf8(running.stdout()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn statuses(running: &Running) -> Vec<String> {
    lines(running).iter().map(|line| line["status"].as_str().unwrap().to_owned()).collect()
}

fn wait_for(running: &Running, status: &str, changes: usize) {
    wait::until_blocking(status, BOUND, || {
        let seen = statuses(running);
        seen.len() >= changes && seen.last().is_some_and(|last| last == status)
    });
}

#[test]
fn serving_is_status_0_and_anything_else_1() {
    let server = serving(Setup::default().token("red", "red-token-0123456789abcdef"));
    let endpoint = server.endpoint();
    let table = [
        (None, 0, "SERVING inkpot.v1.WriteService\n"),
        (Some(""), 0, "SERVING\n"),
        (Some("inkpot.v1.shard-0003"), 0, "SERVING inkpot.v1.shard-0003\n"),
        (Some("inkpot.v1.shard-0004"), 1, "SERVICE_UNKNOWN inkpot.v1.shard-0004\n"),
        (Some("no such service"), 1, "SERVICE_UNKNOWN no such service\n"),
    ];
    for (service, exit, expected) in table {
        let args = || service.into_iter().flat_map(|service| ["--service", service]);
        let ended = health(&endpoint, args()).run("").exit(exit);
        assert_eq!((ended.text().as_str(), ended.stderr.as_str()), (expected, ""));
        let found = health(&endpoint, args().chain(["--output", "json"])).run("").exit(exit).json();
        let status = expected.split_ascii_whitespace().next().unwrap();
        assert_eq!(found, json!({"status": status, "service": service.unwrap_or(WRITES)}));
    }
    // An address is enough, and a token that cannot be read is none of its business.
    let address = server.address().to_string();
    let _ = health(&address, ["--token-file", "/no/such/file"]).run("").exit(0);
}

#[test]
fn status_is_the_same_where_nobody_reads_the_answer() {
    let server = serving(Setup::default());
    for (service, exit) in [("inkpot.v1.WriteService", 0), ("no such service", 1)] {
        for args in [&["--service", service][..], &["--service", service, "--output", "json"]] {
            let (reader, closed) = std::io::pipe().unwrap();
            drop(reader);
            let mut command = health(&server.endpoint(), args.iter().copied()).command();
            let mut child = command.stdout(closed).spawn().unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(exit), "{args:?}");
        }
    }
}

#[test]
fn watch_tells_each_change_over_stop_and_restart() {
    let mut server = serving(Setup::default());
    let watch = || health(&server.endpoint(), ["--watch", "--output", "json"]).start();
    let (writes, text) = (watch(), health(&server.endpoint(), ["--watch"]).start());
    wait_for(&writes, "SERVING", 1);
    wait::until_blocking("a line of text", BOUND, || text.stdout().ends_with(b" SERVING inkpot.v1.WriteService\n"));
    assert!(server.terminate().success());
    assert!(!server.stderr().contains("calls are still running"), "a watch must not hold the stop up");
    wait_for(&writes, "UNREACHABLE", 3);
    server.restart();
    wait_for(&writes, "SERVING", 4);
    server.kill9();
    wait_for(&writes, "UNREACHABLE", 5);
    let mut seen = statuses(&writes);
    // It may have been asked while it recovered.
    seen.retain(|status| status != "NOT_SERVING");
    assert_eq!(seen, ["SERVING", "UNREACHABLE", "SERVING", "UNREACHABLE"]);
    assert_eq!(statuses(&writes)[1], "NOT_SERVING", "a server that stops says so first");
    writes.signal(Signal::INT);
    let ended = writes.wait(BOUND).exit(130).says("trying again");
    let times: Vec<String> = ended.json_lines().iter().map(|line| line["time"].as_str().unwrap().to_owned()).collect();
    assert!(times.is_sorted() && times.iter().all(|time| time.len() == 24 && time.ends_with('Z')), "{times:?}");
    assert!(ended.json_lines().iter().all(|line| line["service"] == WRITES));
    text.signal(Signal::TERM);
    let ended = text.wait(BOUND).exit(130);
    assert!(ended.text().lines().all(|line| line.split(' ').count() == 3), "{}", ended.text());
}

#[test]
fn watch_waits_for_a_server_and_for_a_service() {
    let mut server = Server::start(Setup::default());
    server.kill9();
    let service = |name| health(&server.endpoint(), ["--watch", "--output", "json", "--service", name]).start();
    let (process, unknown) = (service(""), service("inkpot.v1.shard-1000"));
    wait_for(&process, "UNREACHABLE", 1);
    wait_for(&unknown, "UNREACHABLE", 1);
    server.restart();
    wait_for(&process, "SERVING", 2);
    wait_for(&unknown, "SERVICE_UNKNOWN", 2);
    for (running, expected) in [(process, ["UNREACHABLE", "SERVING"]), (unknown, ["UNREACHABLE", "SERVICE_UNKNOWN"])] {
        assert_eq!(statuses(&running), expected, "a status that lasts is told once");
        running.signal(Signal::INT);
        let _ = running.wait(BOUND).exit(130);
    }
}

#[test]
fn server_that_cannot_be_reached_is_named_with_what_to_do() {
    let ended = health("http://127.0.0.1:1", []).run("").exit(1);
    for words in ["http://127.0.0.1:1: Connection refused", "inkpot server", "inkpot context show"] {
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
    assert_eq!(ended.text(), "");
    let ended = health("http://127.0.0.1:1", ["--output", "json"]).run("").exit(1).says("Connection refused");
    assert_eq!(ended.json(), json!({"status": "UNREACHABLE", "service": WRITES}));
    let _ = health("http://no-such-host.invalid", []).run("").exit(1).says("no-such-host.invalid: ");
}

#[test]
fn server_that_hangs_is_given_its_time_and_no_more() {
    let server = serving(Setup::default());
    server.signal(Signal::STOP);
    let since = Instant::now();
    let _ = health(&server.endpoint(), ["--timeout", "300ms"]).run("").exit(1).says("no answer within 300ms");
    assert!(since.elapsed() >= Duration::from_millis(300) && since.elapsed() < Duration::from_secs(5));
    let watch = health(&server.endpoint(), ["--watch", "--timeout", "300ms", "--output", "json"]).start();
    wait_for(&watch, "UNREACHABLE", 1);
    server.signal(Signal::CONT);
    wait_for(&watch, "SERVING", 2);
}

#[test]
fn what_is_no_server_of_ours_is_said() {
    // Speaks gRPC, but not of health.
    let other = Tool::new(["wire-server"]).start();
    wait::until_blocking("it listens", BOUND, || other.stdout().ends_with(b"\n"));
    let said = String::from_utf8(other.stdout()).unwrap();
    let endpoint = said.trim().strip_prefix("listening on ").unwrap();
    for args in [&[][..], &["--watch"]] {
        let ended = health(endpoint, args.iter().copied()).run("").exit(1).says(endpoint);
        assert_eq!(ended.text(), "");
    }
    // Speaks HTTP/1.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    let web = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]).unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").unwrap();
    });
    let ended = health(&endpoint, []).run("").exit(1).says(&endpoint);
    assert_eq!(ended.text(), "");
    web.join().unwrap();
}

#[test]
fn bad_arguments_are_refused() {
    let table: [(&str, &[&str], &str); 6] = [
        ("http://127.0.0.1:1", &["--timeout", "0s"], "longer than zero"),
        ("http://127.0.0.1:1", &["--timeout", "5"], "not a duration"),
        ("http://127.0.0.1:1", &["name"], "unexpected argument"),
        ("ftp://127.0.0.1:1", &[], "the scheme must be http"),
        ("ftp://127.0.0.1:1", &["--watch"], "the scheme must be http"),
        ("not a host", &[], "not valid"),
    ];
    for (endpoint, args, why) in table {
        let ended = health(endpoint, args.iter().copied()).run("").exit(2).says(why);
        assert_eq!(ended.text(), "");
    }
}
