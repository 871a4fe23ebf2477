//! `inkpot append`, the real binary against a real server: what it sends, what it says of it, and how it ends when the
//! server, the input or the user does.
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
    fs,
    time::{Duration, Instant},
};

const BOUND: Duration = Duration::from_secs(30);
const JSON: [&str; 2] = ["--output", "json"];

fn append<'a>(server: &Server, args: impl IntoIterator<Item = &'a str>) -> Tool {
    Tool::at(server, JSON.into_iter().chain(["append"]).chain(args))
}

fn lines(range: std::ops::Range<u64>) -> String {
    range.map(|n| format!("{n:07} INFO request served status=200\n")).collect()
}

/// What the server has as the bytes of a file.
fn content(server: &Server, path: &str) -> String {
    Tool::at(server, ["cat", path]).run("").exit(0).text()
}

fn wait_for_plain(server: &Server, path: &str, bytes: usize) {
    let plain = server.plain(path);
    wait::until_blocking("the plain file", BOUND, || fs::metadata(&plain).is_ok_and(|file| file.len() >= bytes as u64));
}

/// The fields that are the same in every good run, changed by `fields`.
fn summary(path: &str, fields: Value) -> Value {
    let mut summary = json!({
        "path": path, "complete": true, "records_sent": 0, "records": 0, "bytes": 0, "records_not_written": 0,
        "records_unknown": 0, "first_offset": null, "end_offset": null, "level": null, "duplicates": 0, "reconnects": 0,
    });
    for (name, value) in fields.as_object().unwrap() {
        *summary.get_mut(name).unwrap() = value.clone();
    }
    summary
}

#[test]
fn a_record_per_line_summed_up_exactly() {
    let server = Server::start(Setup::default());
    let first = append(&server, ["logs/app"]).run("one\ntwo\n\nlast").exit(0);
    let counts =
        json!({"records_sent": 4, "records": 4, "bytes": 13, "first_offset": 0, "end_offset": 13, "level": "SYNCED"});
    assert_eq!(first.json(), summary("logs/app", counts));
    assert_eq!(first.stderr, "");
    let second = append(&server, ["logs/app"]).run("\nmore\n").exit(0);
    let counts =
        json!({"records_sent": 2, "records": 2, "bytes": 6, "first_offset": 13, "end_offset": 19, "level": "SYNCED"});
    assert_eq!(second.json(), summary("logs/app", counts));
    let third = Tool::at(&server, ["append", "logs/app"]).run("x\n").exit(0);
    assert_eq!(third.text(), "", "the input is not repeated on stdout");
    assert_eq!(
        third.stderr,
        "logs/app: 1 records, 2 bytes acknowledged at [19, 21), SYNCED; duplicates 0, reconnects 0\n"
    );
    assert_eq!(content(&server, "logs/app"), "one\ntwo\n\nlast\nmore\nx\n");
    wait_for_plain(&server, "logs/app", 21);
    assert_eq!(fs::read_to_string(server.plain("logs/app")).unwrap(), "one\ntwo\n\nlast\nmore\nx\n");
}

#[test]
fn raw_sends_any_bytes_in_chunks_and_at_the_level_that_was_asked_for() {
    let server = Server::start(Setup::default());
    let bytes: Vec<u8> = (0..100_001u32).map(|n| (n % 251) as u8).collect();
    let args = ["--raw", "--chunk-size", "1000", "--durability", "written", "blob"];
    let ended = append(&server, args).run(bytes.clone()).exit(0);
    let counts = json!({
        "records_sent": 101, "records": 101, "bytes": 100_001, "first_offset": 0, "end_offset": 100_001,
        "level": "WRITTEN",
    });
    assert_eq!(ended.json(), summary("blob", counts));
    assert_eq!(Tool::at(&server, ["cat", "blob"]).run("").exit(0).stdout, bytes);
    let usage = append(&server, ["--raw", "--chunk-size", "2MiB", "blob"]).run("x").exit(2);
    assert!(usage.stderr.contains("record limit of 1048576 bytes"), "{}", usage.stderr);
}

#[test]
fn empty_input_is_complete_and_makes_no_file() {
    let server = Server::start(Setup::default());
    for args in [["f", "--linger=0ms"], ["f", "--raw"]] {
        assert_eq!(append(&server, args).run("").exit(0).json(), summary("f", json!({})));
    }
    let _ = Tool::at(&server, ["stat", "f"]).run("").exit(4).says("there is no file \"f\"");
}

#[test]
fn rides_through_a_kill_in_the_middle_of_a_slow_input() {
    let mut server = Server::start(Setup::default());
    let mut running = append(&server, ["f"]).start();
    let mut sent = String::new();
    for kill in 0..3 {
        let piece = lines(kill * 1_000..kill * 1_000 + 500);
        running.feed(&piece);
        sent += &piece;
        wait_for_plain(&server, "f", sent.len() - piece.len() / 2);
        server.kill9();
        // Taken while nobody is there to ack it.
        let piece = lines(kill * 1_000 + 500..kill * 1_000 + 1_000);
        running.feed(&piece);
        sent += &piece;
        server.restart();
    }
    running.end_input();
    let ended = running.wait(BOUND).exit(0);
    let found = ended.json();
    let (reconnects, duplicates) = (found["reconnects"].as_u64().unwrap(), found["duplicates"].as_u64().unwrap());
    assert!((1..=30).contains(&reconnects), "{found}");
    let counts = json!({
        "records_sent": 3_000, "records": 3_000, "bytes": sent.len(), "first_offset": 0, "end_offset": sent.len(),
        "level": "SYNCED", "reconnects": reconnects, "duplicates": duplicates,
    });
    assert_eq!(found, summary("f", counts));
    assert_eq!(content(&server, "f"), sent);
    assert!(server.terminate().success());
    assert_eq!(fs::read_to_string(server.plain("f")).unwrap(), sent);
}

#[test]
fn gives_up_when_the_server_stays_away_and_says_what_was_acked() {
    let mut server = Server::start(Setup::default());
    let mut running = append(&server, ["f", "--give-up-after", "2s"]).start();
    let acked = lines(0..10);
    running.feed(&acked);
    wait_for_plain(&server, "f", acked.len());
    server.kill9();
    running.feed(lines(10..17));
    running.end_input();
    let since = Instant::now();
    let ended = running.wait(BOUND).exit(3).says("gave up after 2s without progress, 10 records acknowledged before");
    assert!(since.elapsed() >= Duration::from_secs(1), "it gave up after {:?}", since.elapsed());
    // What reached the connection before its loss was noticed is in doubt, the rest is not.
    let found = ended.json();
    let (not_written, unknown) = (&found["records_not_written"], &found["records_unknown"]);
    assert_eq!(not_written.as_u64().unwrap() + unknown.as_u64().unwrap(), 7, "{found}");
    let counts = json!({
        "complete": false, "records_sent": 17, "records": 10, "bytes": acked.len(), "first_offset": 0,
        "end_offset": acked.len(), "level": "SYNCED", "records_not_written": not_written, "records_unknown": unknown,
    });
    assert_eq!(found, summary("f", counts));
    server.restart();
    let found = content(&server, "f");
    assert!(found.starts_with(&acked), "what was acked is there");
    assert!(lines(0..17).starts_with(&found), "{found}");
    // Nobody listens there.
    server.kill9();
    let ended = append(&server, ["f", "--give-up-after", "500ms"]).run("x\n").exit(3);
    assert!(ended.stderr.contains("cannot reach") && ended.stderr.contains(&server.endpoint()), "{}", ended.stderr);
    assert_eq!(ended.text(), "", "nothing was opened, so there is nothing to sum up");
}

/// Feeds lines until a good part of them is in the plain file. Gives how many were fed.
fn feed_until_file_grows(running: &mut Running, server: &Server, path: &str) -> u64 {
    let mut fed = 0;
    let plain = server.plain(path);
    while fs::metadata(&plain).map_or(0, |file| file.len()) < 200_000 {
        assert!(fed < 1_000_000, "the file does not grow");
        running.feed(lines(fed..fed + 100));
        fed += 100;
    }
    fed
}

#[test]
fn interrupt_leaves_nothing_in_doubt() {
    let server = Server::start(Setup::default());
    for signal in [Signal::INT, Signal::TERM] {
        let path = format!("f-{}", signal.as_raw());
        let mut running = append(&server, [path.as_str()]).start();
        let fed = feed_until_file_grows(&mut running, &server, &path);
        running.signal(signal);
        let ended = running.wait(BOUND).exit(130).says("interrupted; waiting for the last acknowledgements");
        let (found, content) = (ended.json(), content(&server, &path));
        let records = content.lines().count() as u64;
        assert!(records > 0 && lines(0..fed).starts_with(&content));
        let counts = json!({
            "complete": false, "records_sent": records, "records": records, "bytes": content.len(), "first_offset": 0,
            "end_offset": content.len(), "level": "SYNCED",
        });
        assert_eq!(found, summary(&path, counts));
    }
}

#[test]
fn interrupt_before_anything_was_sent_says_so() {
    let mut server = Server::start(Setup::default());
    server.kill9();
    let running = append(&server, ["f"]).start();
    // Until the signals are its own an interrupt ends it without a word.
    wait::until_blocking("the signals are watched", BOUND, || {
        let status = fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << (Signal::TERM.as_raw() - 1)) != 0
    });
    running.signal(Signal::INT);
    assert_eq!(running.wait(BOUND).exit(130).says("interrupted; nothing was sent").text(), "");
}

#[test]
fn second_interrupt_ends_at_once_and_tells_what_is_unknown() {
    let mut server = Server::start(Setup::default());
    let mut running = append(&server, ["f"]).start();
    running.feed(lines(0..3));
    wait_for_plain(&server, "f", lines(0..3).len());
    server.kill9();
    running.feed(lines(3..8));
    running.signal(Signal::INT);
    wait::until_blocking("the first interrupt", BOUND, || running.stderr().contains("waiting for the last"));
    running.signal(Signal::INT);
    let since = Instant::now();
    let found = running.wait(BOUND).exit(130).json();
    assert!(since.elapsed() < Duration::from_secs(4), "it took {:?}", since.elapsed());
    // The interrupt may have overtaken the lines that nobody could take.
    let sent = found["records_sent"].as_u64().unwrap();
    assert!((3..=8).contains(&sent), "{found}");
    assert_eq!((&found["records"], &found["records_unknown"]), (&json!(3), &json!(sent - 3)), "{found}");
    assert_eq!(found["complete"], false);
}

#[test]
fn second_run_of_a_producer_goes_on_and_an_older_life_is_fenced() {
    let server = Server::start(Setup::default());
    let mut end = 0;
    for (run, epoch) in [(0, None), (1, None), (2, Some("--epoch=7")), (3, Some("--epoch=7"))] {
        let args = ["f", "--producer", "importer-1"].into_iter().chain(epoch);
        let input = lines(run * 10..run * 10 + 10);
        let ended = append(&server, args).run(input.clone()).exit(0);
        let counts = json!({
            "records_sent": 10, "records": 10, "bytes": input.len(), "first_offset": end,
            "end_offset": end + input.len(), "level": "SYNCED",
        });
        assert_eq!(ended.json(), summary("f", counts));
        end += input.len();
        let resumed = ended.stderr.contains("producer importer-1 has 1 appends there in epoch 7");
        assert_eq!(resumed, run == 3, "only an epoch that goes on is worth a word: {}", ended.stderr);
    }
    let fenced = append(&server, ["f", "--producer", "importer-1", "--epoch", "6"]).run("x\n").exit(1);
    assert!(fenced.stderr.contains("epoch 6 is fenced"), "{}", fenced.stderr);
    assert_eq!(content(&server, "f"), lines(0..40));
}

#[test]
fn bad_news_is_a_bad_status_where_nobody_reads_it() {
    let server = Server::start(Setup::default().config("[limits]\nrecord_bytes = \"1KiB\""));
    let long = "x".repeat(2_000);
    for (input, exit) in [(long.as_str(), 1), ("short", 0)] {
        let (reader, closed) = std::io::pipe().unwrap();
        drop(reader);
        let mut child = append(&server, ["f"]).command().stdout(closed).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
        let said = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(exit), "{said}");
        assert_eq!(said.contains("longer than the record limit"), exit == 1, "{said}");
    }
}

#[test]
fn line_over_the_limit_is_named_and_what_came_before_is_acked() {
    let server = Server::start(Setup::default().config("[limits]\nrecord_bytes = \"1KiB\""));
    let (fits, too_long) = ("x".repeat(1_023) + "\n", "y".repeat(1_024) + "\n");
    let ended = append(&server, ["f"]).run(format!("one\n{fits}{too_long}four\n")).exit(1);
    let ended = ended.says("line 3 is longer than the record limit of 1024 bytes; nothing from this line on was sent");
    let counts = json!({
        "complete": false, "records_sent": 2, "records": 2, "bytes": 1_028, "first_offset": 0, "end_offset": 1_028,
        "level": "SYNCED",
    });
    assert_eq!(ended.json(), summary("f", counts));
    assert_eq!(content(&server, "f"), format!("one\n{fits}"));
    // A line without an end must not be gathered for ever: its input stays open.
    let mut running = append(&server, ["g"]).start();
    running.feed("z".repeat(1_025));
    let _ = running.wait(BOUND).exit(1).says("line 1 is longer");
    // As chunks the same bytes pass.
    let ended = append(&server, ["h", "--raw", "--chunk-size", "1KiB"]).run("z".repeat(5_000)).exit(0);
    assert_eq!(ended.json()["records"], 5);
}

#[test]
fn bad_paths_are_refused_with_their_reason() {
    let server = Server::start(Setup::default());
    let deep = "d/".repeat(40) + "f";
    let table = [
        ("", "it is empty"),
        ("../x", "a component is \".\" or \"..\""),
        ("/etc/passwd", "it is absolute"),
        ("a//b", "it has an empty component"),
        (deep.as_str(), "components"),
    ];
    for (path, reason) in table {
        let ended = append(&server, [path]).run("x\n").exit(1);
        assert!(ended.stderr.contains(reason), "{path:?}: {}", ended.stderr);
        assert_eq!(ended.text(), "");
    }
    let _ = append(&server, ["dir/file"]).run("x\n").exit(0);
    // What only the server knows.
    let below = append(&server, ["dir/file/below"]).run("x\n").exit(1);
    assert!(below.stderr.contains("dir/file"), "{}", below.stderr);
    let directory = append(&server, ["dir"]).run("x\n").exit(1);
    assert!(directory.stderr.contains("directory"), "{}", directory.stderr);
    assert_eq!(content(&server, "dir/file"), "x\n");
}

#[test]
fn token_comes_from_a_file_or_the_environment_and_is_never_shown() {
    const RIGHT: &str = "right-token-0123456789abcdef";
    const WRONG: &str = "wrong-token-0123456789abcdef";
    let server = Server::start(Setup::default().token("red", RIGHT));
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, token: &str| {
        let path = folder.path().join(name);
        fs::write(&path, token).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (right, wrong) = (file("right", &format!("{RIGHT}\n")), file("wrong", WRONG));
    let run = |token: Option<&str>, file: Option<&str>| {
        let args = ["f"].into_iter().chain(file.into_iter().flat_map(|file| ["--token-file", file]));
        let tool = append(&server, args).without_env("INKPOT_TOKEN");
        let tool = token.into_iter().fold(tool, |tool, token| tool.env("INKPOT_TOKEN", token));
        let ended = tool.run("x\n");
        for secret in [RIGHT, WRONG] {
            assert!(!ended.stderr.contains(secret) && !ended.text().contains(secret), "a token is shown");
        }
        ended
    };
    for (token, file) in [(Some(RIGHT), None), (None, Some(&*right)), (Some(WRONG), Some(&*right))] {
        assert_eq!(run(token, file).exit(0).json()["records"], 1);
    }
    for (token, file) in [(Some(WRONG), None), (None, None), (None, Some(&*wrong)), (Some(RIGHT), Some(&*wrong))] {
        let refused = run(token, file).exit(1);
        assert!(["token", "credential"].iter().any(|why| refused.stderr.contains(why)), "{}", refused.stderr);
        assert_eq!(refused.text(), "");
    }
    let missing = folder.path().join("missing");
    let _ = run(None, missing.to_str()).exit(2).says("missing: No such file");
    let broken = run(Some("two\nlines"), None).exit(2);
    assert!(broken.stderr.contains("visible ASCII on one line") && !broken.stderr.contains("two"), "{}", broken.stderr);
}

#[test]
fn endpoint_comes_from_the_argument_or_the_environment() {
    let server = Server::start(Setup::default());
    let nobody = "http://127.0.0.1:1";
    let args = ["append", "f", "--give-up-after", "300ms"];
    let run = |tool: Tool| tool.run("x\n");
    let _ = run(Tool::new(args).env("INKPOT_ENDPOINT", &server.endpoint())).exit(0);
    let _ = run(Tool::new(args).env("INKPOT_ENDPOINT", &server.address().to_string())).exit(0);
    let ended = run(Tool::new(args).env("INKPOT_ENDPOINT", nobody)).exit(3);
    assert!(ended.stderr.contains(nobody), "{}", ended.stderr);
    let endpoint = server.endpoint();
    let with_argument = args.into_iter().chain(["--endpoint", &endpoint]);
    let _ = run(Tool::new(with_argument).env("INKPOT_ENDPOINT", nobody)).exit(0);
    for (endpoint, reason) in [("ftp://h", "the scheme must be http"), ("http://", "not valid")] {
        let ended = run(Tool::new(args).env("INKPOT_ENDPOINT", endpoint)).exit(2);
        assert!(ended.stderr.contains(reason), "{}", ended.stderr);
    }
    assert_eq!(content(&server, "f"), "x\nx\nx\n");
}
