//! `inkpot tail -f` and `-F` over what becomes of a file, and how `inkpot append` lays records: framing, timestamps, path
//! templates. The real binary against a real server.
#![allow(clippy::unwrap_used)]

use inkpot_tests::{
    Server, Setup,
    harness::{
        tool::{Ended, Running, Tool},
        wait,
    },
};
use std::{fs, path::PathBuf, time::Duration};
use tempfile::TempDir;

const BOUND: Duration = Duration::from_secs(30);

fn run<'a>(server: &Server, args: impl IntoIterator<Item = &'a str>) -> Ended {
    Tool::at(server, args).run("")
}

fn append(server: &Server, args: &[&str], input: &str) -> Ended {
    Tool::at(server, ["append"].iter().chain(args)).run(input)
}

fn content(server: &Server, path: &str) -> String {
    run(server, ["cat", path]).exit(0).text()
}

fn local(content: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("local");
    fs::write(&path, content).unwrap();
    (folder, path)
}

#[track_caller]
fn wait_for_stdout(tail: &Running, expected: &str) {
    wait::until_blocking("what tail shows", BOUND, || tail.stdout() == expected.as_bytes());
}

#[track_caller]
fn wait_for_words(tail: &Running, words: &str) {
    wait::until_blocking(words, BOUND, || tail.stderr().contains(words));
}

#[test]
fn tail_follows_the_path_over_a_replacement_a_removal_and_a_new_file() {
    let server = Server::start(Setup::default());
    let _ = append(&server, &["f"], "one\n").exit(0);
    let tail = Tool::at(&server, ["tail", "-F", "f"]).start();
    wait_for_stdout(&tail, "one\n");
    let (_folder, path) = local("two\n");
    let _ = run(&server, ["put", path.to_str().unwrap(), "f"]).exit(0);
    wait_for_words(&tail, "f: replaced");
    wait_for_stdout(&tail, "one\ntwo\n");
    let _ = append(&server, &["f"], "three\n").exit(0);
    wait_for_stdout(&tail, "one\ntwo\nthree\n");
    let _ = run(&server, ["rm", "f"]).exit(0);
    wait_for_words(&tail, "f: removed");
    let _ = append(&server, &["f"], "four\n").exit(0);
    wait_for_words(&tail, "f: there is a new file");
    wait_for_stdout(&tail, "one\ntwo\nthree\nfour\n");
}

#[test]
fn tail_follows_the_path_over_a_kill_of_the_server_between_two_contents() {
    let mut server = Server::start(Setup::default());
    let _ = append(&server, &["f"], "one\n").exit(0);
    let tail = Tool::at(&server, ["tail", "-F", "f"]).start();
    wait_for_stdout(&tail, "one\n");
    let (_folder, path) = local("two\n");
    let _ = run(&server, ["put", path.to_str().unwrap(), "f"]).exit(0);
    wait_for_stdout(&tail, "one\ntwo\n");
    server.kill9();
    server.restart();
    let _ = append(&server, &["f"], "three\n").exit(0);
    wait_for_stdout(&tail, "one\ntwo\nthree\n");
}

#[test]
fn tail_of_a_content_ends_with_it() {
    let server = Server::start(Setup::default());
    let (_folder, path) = local("two\n");
    for (args, words) in [(&["put", path.to_str().unwrap(), "f"][..], "f: replaced"), (&["rm", "f"], "f: removed")] {
        let _ = append(&server, &["f"], "one\n").exit(0);
        let tail = Tool::at(&server, ["tail", "-f", "-n", "1", "f"]).start();
        wait_for_stdout(&tail, "one\n");
        let _ = run(&server, args.iter().copied()).exit(0);
        let ended = tail.wait(BOUND).exit(1).says(words).says("tail -F");
        assert_eq!(ended.text(), "one\n");
    }
    let _ = run(&server, ["tail", "-f", "-F", "f"]).exit(2);
}

#[test]
fn tail_that_waits_for_a_file_shows_it_from_its_beginning() {
    let server = Server::start(Setup::default());
    for flag in ["-f", "-F"] {
        let path = format!("new{flag}");
        let tail = Tool::at(&server, ["tail", flag, &path]).start();
        let _ = append(&server, &[&path], "first\n").exit(0);
        wait_for_stdout(&tail, "first\n");
    }
}

#[test]
fn framing_lays_the_records_as_it_says() {
    let server = Server::start(Setup::default());
    let _ = append(&server, &["newline", "--framing", "newline"], "a\nlast").exit(0);
    assert_eq!(content(&server, "newline"), "a\nlast\n");
    let chunks = ["kept", "--framing", "newline-keep", "--raw", "--chunk-size", "4"];
    let _ = append(&server, &chunks, "a\nbcd\ne").exit(0);
    assert_eq!(content(&server, "kept"), "a\nbc\nd\ne\n");
    let refused = append(&server, &["lines", "--framing", "lines", "--batch-records", "1"], "a\nlast").exit(1);
    assert!(refused.stderr.contains("newline"), "{}", refused.stderr);
    assert_eq!(content(&server, "lines"), "a\n");
    let _ = append(&server, &["lengths", "--framing", "length-delimited"], "ab\ncde\n").exit(0);
    assert_eq!(content(&server, "lengths"), "\u{3}ab\n\u{4}cde\n");
    let _ = append(&server, &["none"], "a\nlast").exit(0);
    assert_eq!(content(&server, "none"), "a\nlast");
}

#[test]
fn timestamps_stand_before_each_record() {
    let server = Server::start(Setup::default());
    let _ = append(&server, &["f", "--timestamps"], "one\ntwo\n").exit(0);
    let text = content(&server, "f");
    let lines: Vec<(&str, &str)> = text.lines().map(|line| line.split_once(' ').unwrap()).collect();
    assert_eq!(lines.iter().map(|(_, record)| *record).collect::<Vec<_>>(), ["one", "two"]);
    let shape = |time: &str| time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect::<String>();
    assert!(lines.iter().all(|(time, _)| shape(time) == "0000-00-00T00:00:00.000Z"), "{text}");
}

#[test]
fn template_says_which_file() {
    let server = Server::start(Setup::default());
    let template = "logs/{service}/{region}.log";
    let variables = ["--template", "--var", "service=web", "--var", "region=eu"];
    let ended = append(&server, &[&[template], &variables[..]].concat(), "line\n").exit(0);
    assert!(ended.stderr.starts_with("logs/web/eu.log: 1 records"), "{}", ended.stderr);
    assert_eq!(content(&server, "logs/web/eu.log"), "line\n");
    let _ = append(&server, &["logs/{date}", "--template"], "line\n").exit(0);
    let unknown = append(&server, &[template, "--template", "--var", "service=web"], "line\n").exit(2);
    assert!(unknown.stderr.contains("{region} is not known"), "{}", unknown.stderr);
    let listed = run(&server, ["ls"]).exit(0).text();
    let mut paths = listed.lines();
    let date = paths.next().and_then(|path| path.strip_prefix("logs/")).unwrap();
    assert!(date.len() == 10 && date.starts_with("20"), "{listed}");
    assert_eq!(paths.collect::<Vec<_>>(), ["logs/web/eu.log"]);
}
