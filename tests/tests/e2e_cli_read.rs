//! `inkpot cat`, `tail`, `ls`, `stat` and `--help`, the real binary against a real server.
#![allow(clippy::unwrap_used)]

use inkpot_tests::{
    Server, Setup,
    harness::{
        tool::{Ended, Tool},
        wait,
    },
};
use rustix::{
    io::ioctl_fionread,
    process::{Pid, Signal, kill_process},
};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    process::Stdio,
    thread,
    time::Duration,
};

const BOUND: Duration = Duration::from_secs(30);

fn append(server: &Server, path: &str, input: &str) {
    let _ = Tool::at(server, ["append", path]).run(input).exit(0);
}

fn run<'a>(server: &Server, args: impl IntoIterator<Item = &'a str>) -> Ended {
    Tool::at(server, args).run("")
}

/// Makes so many files, whose names begin with `bench-`, by the quickest way there is to make many.
fn make_files(server: &Server, count: u32) {
    let count = count.to_string();
    let load = ["--files", &count, "--producers", "4", "--window", "1", "--duration", "10ms", "--warmup", "0s"];
    let _ = run(server, ["bench", "--repeats", "1"].into_iter().chain(load)).exit(0);
}

fn lines(range: std::ops::Range<u64>) -> String {
    range.map(|n| format!("{n:07} INFO request served status=200\n")).collect()
}

/// Waits until what was appended is in the plain file and survives power loss, so that its facts stand still.
fn wait_for_applied(server: &Server, path: &str) -> Value {
    let stat = || run(server, ["stat", path, "--output", "json"]).exit(0).json();
    wait::until_blocking("all of the file is applied and synced", BOUND, || {
        let file = stat();
        file["applied_size"] == file["size"] && file["synced_size"] == file["size"]
    });
    stat()
}

#[test]
fn cat_gives_the_range_that_was_asked_for() {
    let server = Server::start(Setup::default());
    let content = lines(0..20_000);
    append(&server, "f", &content);
    let all = content.as_bytes();
    let end = all.len();
    let table: [(&[&str], &[u8]); 6] = [
        (&[], all),
        (&["--offset", "400000"], &all[400_000..]),
        (&["--offset", "3", "--limit", "5"], &all[3..8]),
        (&["--limit", "300000"], &all[..300_000]),
        (&["--offset", "-10"], &all[end - 10..]),
        (&["--offset", "-300000", "--limit", "1"], &all[end - 300_000..end - 299_999]),
    ];
    for (args, expected) in table {
        let ended = run(&server, ["cat", "f"].into_iter().chain(args.iter().copied())).exit(0);
        assert!(ended.stdout == expected, "{args:?} gave {} of {} bytes", ended.stdout.len(), expected.len());
        assert_eq!(ended.stderr, "");
    }
    let at_end = end.to_string();
    assert_eq!(run(&server, ["cat", "f", "--offset", &at_end]).exit(0).text(), "");
    let beyond = run(&server, ["cat", "f", "--offset", "9999999"]).exit(1);
    assert!(beyond.stderr.contains(&at_end), "{}", beyond.stderr);
    let _ = run(&server, ["cat", "f", "--limit", "0"]).exit(2);
}

#[test]
fn reader_that_has_seen_enough_is_no_failure() {
    let server = Server::start(Setup::default());
    append(&server, "f", &lines(0..20_000));
    for args in [&["cat", "f"][..], &["tail", "-n", "20000", "f"], &["tail", "-f", "-n", "20000", "f"]] {
        let mut command = Tool::at(&server, args).command();
        let mut child = command.stdin(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        // As `head -1` does: one read, then the pipe is closed.
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, lines(0..1));
        let mut ended = None;
        wait::until_blocking("it ends", BOUND, || {
            ended = child.try_wait().unwrap();
            ended.is_some()
        });
        let said = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
        assert_eq!((ended.unwrap().code(), said.as_str()), (Some(0), ""), "{args:?}: {ended:?}");
    }
}

#[test]
fn reader_that_is_stuck_keeps_no_interrupt_waiting() {
    let server = Server::start(Setup::default());
    append(&server, "f", &lines(0..60_000));
    make_files(&server, 1_000);
    let long_list = ["ls", "--output", "json"];
    let table = [&["tail", "-f", "-n", "60000", "f"][..], &["tail", "-n", "60000", "f"], &["cat", "f"], &long_list];
    for args in table {
        for signal in [Signal::INT, Signal::TERM] {
            // Far more than a pipe holds, and nobody reads it.
            let (pipe, stdout) = std::io::pipe().unwrap();
            let mut child = Tool::at(&server, args).command().stdin(Stdio::null()).stdout(stdout).spawn().unwrap();
            let mut held = 0;
            wait::until_blocking("the pipe is full", BOUND, || {
                let before = std::mem::replace(&mut held, ioctl_fionread(&pipe).unwrap());
                thread::sleep(Duration::from_millis(50));
                held > 0 && held == before
            });
            kill_process(Pid::from_child(&child), signal).unwrap();
            let mut ended = None;
            wait::until_blocking("it ends", BOUND, || {
                ended = child.try_wait().unwrap();
                ended.is_some()
            });
            let ended = ended.unwrap();
            // `cat` leaves the signals to the system.
            let as_expected = ended.code() == Some(130) || args[0] == "cat" && ended.signal() == Some(signal.as_raw());
            assert!(as_expected, "{args:?}: {ended:?}");
        }
    }
}

#[test]
fn tail_gives_the_last_lines() {
    let server = Server::start(Setup::default());
    append(&server, "f", &lines(0..30_000));
    append(&server, "open", "a\nb\nno newline");
    append(&server, "long", &("x".repeat(600_000) + "\nlast\n"));
    let long = "x".repeat(600_000) + "\nlast\n";
    let expected = [
        (&["f"][..], lines(29_990..30_000)),
        (&["-n", "1", "f"], lines(29_999..30_000)),
        (&["-n", "0", "f"], String::new()),
        (&["-n", "25000", "f"], lines(5_000..30_000)),
        (&["-n", "99999", "f"], lines(0..30_000)),
        (&["-n", "1", "open"], "no newline".to_owned()),
        (&["-n", "2", "open"], "b\nno newline".to_owned()),
        (&["-n", "1", "long"], "last\n".to_owned()),
        (&["-n", "2", "long"], long),
    ];
    for (args, expected) in expected {
        let ended = run(&server, ["tail"].into_iter().chain(args.iter().copied())).exit(0);
        assert!(ended.text() == expected, "{args:?} gave {} of {} bytes", ended.stdout.len(), expected.len());
    }
}

#[test]
fn tail_follows_over_a_kill_and_restart_without_losing_or_doubling_a_line() {
    let mut server = Server::start(Setup::default());
    append(&server, "before", &lines(0..100));
    // One of them waits for a file that does not exist yet, and may come to it when it does.
    let mut follow = [["before", "5"], ["later", "1000"]]
        .map(|[path, lines]| Tool::at(&server, ["tail", "-f", "-n", lines, path]).start());
    let mut expected = [lines(95..100), String::new()];
    wait::until_blocking("what is there is told", BOUND, || follow[0].stdout().len() >= expected[0].len());
    for round in 0..3 {
        let piece = lines(1_000 * round..1_000 * round + 500);
        for (path, expected) in ["before", "later"].into_iter().zip(&mut expected) {
            append(&server, path, &piece);
            *expected += &piece;
        }
        for (follow, expected) in follow.iter().zip(&expected) {
            wait::until_blocking("what was appended is followed", BOUND, || follow.stdout().len() >= expected.len());
        }
        if round < 2 {
            server.kill9();
            // Nobody is there for a while, and nobody who follows may give up.
            wait::until_blocking("the loss is noticed", BOUND, || {
                follow.iter().all(|follow| follow.stderr().matches("trying again from byte").count() > round as usize)
            });
            server.restart();
        }
    }
    for (follow, expected) in follow.iter_mut().zip(&expected) {
        assert_eq!(&String::from_utf8(follow.stdout()).unwrap(), expected);
        follow.signal(Signal::INT);
    }
    for (follow, expected) in follow.into_iter().zip(&expected) {
        let ended = follow.wait(BOUND);
        let by = (ended.status.code(), ended.status.signal());
        assert!(matches!(by, (Some(130), _) | (_, Some(2))), "{by:?}");
        assert_eq!(&ended.text(), expected);
    }
}

#[test]
fn ls_lists_in_order_below_a_prefix() {
    let server = Server::start(Setup::default());
    for path in ["logs/b", "logs/a", "logs-old", "other", "logs/sub/c"] {
        append(&server, path, &format!("{path}\n"));
        wait_for_applied(&server, path);
    }
    assert_eq!(run(&server, ["ls"]).exit(0).text(), "logs-old\nlogs/a\nlogs/b\nlogs/sub/c\nother\n");
    assert_eq!(run(&server, ["ls", "logs/"]).exit(0).text(), "logs/a\nlogs/b\nlogs/sub/c\n");
    assert_eq!(run(&server, ["ls", "nothing"]).exit(0).text(), "");
    let long = run(&server, ["ls", "-l", "logs/"]).exit(0);
    let rows: Vec<String> = long.text().lines().map(str::to_owned).collect();
    let columns: Vec<Vec<&str>> = rows.iter().map(|row| row.split_ascii_whitespace().collect()).collect();
    let found: Vec<_> = columns.iter().map(|row| (row[0], row[1], row[3], row[5])).collect();
    let expected = [("7", "7", "-", "logs/a"), ("7", "7", "-", "logs/b"), ("11", "11", "-", "logs/sub/c")];
    assert_eq!(found, expected);
    // The heading stands over its columns, and apart from the data.
    let heading = long.stderr.trim_end();
    assert!(["SIZE", "STORED", "GENERATION", "SEALED"].iter().all(|name| {
        let end = heading.find(name).unwrap() + name.len();
        rows.iter().all(|row| !row[..end].ends_with(' ') && row[end..].starts_with(' '))
    }));
    let listed = run(&server, ["ls", "--output", "json", "logs/"]).exit(0).json_lines();
    assert_eq!(listed[1], run(&server, ["stat", "--output", "json", "logs/b"]).exit(0).json());
    assert_eq!(
        listed.iter().map(|file| file["path"].as_str().unwrap()).collect::<Vec<_>>(),
        ["logs/a", "logs/b", "logs/sub/c"]
    );
}

#[test]
fn ls_goes_on_over_the_pages() {
    let server = Server::start(Setup::default());
    // More than a page holds.
    make_files(&server, 1_100);
    let listed = run(&server, ["ls", "bench-"]).exit(0).text();
    let names: Vec<&str> = listed.lines().collect();
    assert_eq!(names.len(), 1_100);
    assert!(names.is_sorted() && names.iter().all(|name| name.starts_with("bench-")));
}

#[test]
fn stat_tells_what_is_known() {
    let server = Server::start(Setup::default());
    append(&server, "a/b", "one\ntwo\n");
    append(&server, "a/b", "three\n");
    let file = wait_for_applied(&server, "a/b");
    let modified = file["modified"].as_str().unwrap();
    assert!(modified.ends_with('Z') && modified.contains('T'), "{modified}");
    let (generation, shard) = (file["generation"].as_u64().unwrap(), file["shard"].as_u64().unwrap());
    assert!(generation > 0 && shard < 1_024);
    assert_eq!(
        file,
        json!({
            "path": "a/b", "size": 14, "applied_size": 14, "synced_size": 14, "stored_size": 14, "compressed": false,
            "generation": generation, "sealed": false, "producers": 2, "modified": modified,
            "crc32c": file["crc32c"], "shard": shard, "foreign_change": false,
        })
    );
    // A server need not know it of a file that grows; what it says is right.
    let crc32c = format!("{:08x}", crc32c::crc32c(b"one\ntwo\nthree\n"));
    assert!(file["crc32c"].is_null() || file["crc32c"] == crc32c, "{file}");
    let text = run(&server, ["stat", "a/b"]).exit(0).text();
    let (first, second) = (text.lines().next().unwrap(), text.lines().nth(1).unwrap());
    assert_eq!((first, second), ("path            a/b", "size            14 bytes"));
    // Whether it is compressed stands with the stored size.
    assert_eq!(text.lines().count(), file.as_object().unwrap().len() - 1);
}

#[test]
fn what_does_not_exist_is_status_4_and_bad_paths_are_1() {
    let server = Server::start(Setup::default());
    for command in ["cat", "tail", "stat"] {
        let ended = run(&server, [command, "nothing/here"]).exit(4).says("there is no file \"nothing/here\"");
        assert_eq!(ended.text(), "");
        let _ = run(&server, [command, "../x"]).exit(1).says("path \"../x\" is not valid");
    }
}

#[test]
fn server_that_cannot_be_reached_is_status_1() {
    for args in [["cat", "f"], ["tail", "f"], ["stat", "f"], ["ls", "f"], ["ls", "-l"], ["get", "f"], ["du", "f"]] {
        let ended = Tool::new(args).env("INKPOT_ENDPOINT", "http://127.0.0.1:1").run("").exit(1);
        assert!(ended.stderr.contains("refused") && ended.stderr.contains("127.0.0.1:1"), "{}", ended.stderr);
    }
}

#[test]
fn nothing_but_text_goes_where_no_terminal_is() {
    let server = Server::start(Setup::default());
    append(&server, "f", &lines(0..10));
    let runs: [&[&str]; 9] = [
        &["append", "f"],
        &["cat", "f"],
        &["tail", "f"],
        &["ls", "-l"],
        &["stat", "f"],
        &["stat", "nothing"],
        &["bench", "--duration", "50ms", "--warmup", "0s", "--repeats", "1"],
        &["--help"],
        &["no-such-command"],
    ];
    // A terminal of the user's choice does not change that.
    for args in runs {
        let ended = Tool::at(&server, args).env("TERM", "xterm-256color").run("line\n");
        assert!(!ended.stdout.contains(&0x1b) && !ended.stderr.contains('\u{1b}'), "{args:?}: {ended:?}");
    }
}

#[test]
fn help_has_commands_by_use_examples_and_exit_statuses() {
    let help = Tool::new(["--help"]).run("").exit(0).text();
    let parts = ["Examples:", "inkpot demo", "inkpot tail -f", "Exit status:", "130", "Environment:"];
    let variables = ["INKPOT_ENDPOINT", "INKPOT_CONTEXT", "INKPOT_TOKEN", "INKPOT_CONTEXT_FILE"];
    let tls = ["INKPOT_CA_FILE", "INKPOT_CLIENT_CERT", "INKPOT_CLIENT_KEY", "INKPOT_SERVER_NAME"];
    for part in parts.into_iter().chain(variables).chain(tls) {
        assert!(help.contains(part), "{part} is missing:\n{help}");
    }
    let rows = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let commands: Vec<&str> = rows.map(|row| row.split_ascii_whitespace().next().unwrap()).collect();
    let bytes = ["append", "tail", "cat", "put", "get", "publish"];
    let files = ["ls", "stat", "du", "mv", "rm", "truncate", "seal", "adopt", "verify"];
    let service = ["health", "context", "demo", "bench", "server", "completions", "man", "help"];
    assert_eq!(commands, [&bytes[..], &files, &service].concat());
    for command in commands.into_iter().filter(|command| *command != "help") {
        let own = Tool::new([command, "--help"]).run("").exit(0).text();
        assert!(own.contains("Usage:"), "{command}:\n{own}");
    }
    assert!(!help.contains("wire-server"), "what is not for people is not shown");
    let _ = Tool::new(["append"]).run("").exit(2).says("Usage:");
    let version = Tool::new(["--version"]).run("").exit(0).text();
    assert!(version.starts_with("inkpot 0."), "{version}");
}

#[test]
fn many_readers_of_a_growing_file_see_the_same_bytes() {
    let server = Server::start(Setup::default());
    append(&server, "f", &lines(0..1));
    let mut writer = Tool::at(&server, ["append", "f"]).start();
    let readers: Vec<_> = (0..3).map(|_| Tool::at(&server, ["tail", "-f", "-n", "1", "f"]).start()).collect();
    let feeding = thread::spawn(move || {
        (1..200).for_each(|piece| writer.feed(lines(piece * 50 - 49..piece * 50 + 1)));
        writer.end_input();
        writer.wait(BOUND).exit(0)
    });
    let _ = feeding.join().unwrap();
    let all = lines(0..9_951);
    for reader in readers {
        wait::until_blocking("the end is seen", BOUND, || reader.stdout().ends_with(lines(9_950..9_951).as_bytes()));
        // It began somewhere, with a whole line, and has everything from there on.
        let seen = String::from_utf8(reader.stdout()).unwrap();
        assert!(all.ends_with(&seen) && seen.lines().all(|line| line.len() == lines(0..1).len() - 1));
    }
}
