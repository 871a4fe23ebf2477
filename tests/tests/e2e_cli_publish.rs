//! `inkpot publish`, the real binary against a real server: all files of a directory or none.
#![allow(clippy::unwrap_used)]

use inkpot_tests::{
    Server, Setup,
    harness::{
        gate::Gate,
        tool::{Ended, Tool},
        wait,
    },
};
use rustix::process::Signal;
use std::{collections::BTreeMap, fs, path::Path, time::Duration};
use tempfile::TempDir;

const BOUND: Duration = Duration::from_secs(60);
const MIB: usize = 1 << 20;

/// A directory with these files; what they hold, by their paths below it.
fn directory(files: &[(&str, usize)]) -> (TempDir, BTreeMap<String, Vec<u8>>) {
    let folder = tempfile::tempdir().unwrap();
    let mut contents = BTreeMap::new();
    for (number, (path, size)) in files.iter().enumerate() {
        let content: Vec<u8> = (0..*size).map(|n| (n * (number + 3) % 251) as u8).collect();
        let local = folder.path().join(path);
        fs::create_dir_all(local.parent().unwrap()).unwrap();
        fs::write(local, &content).unwrap();
        contents.insert((*path).to_owned(), content);
    }
    (folder, contents)
}

fn tool(server: &Server, folder: &Path, args: &[&str]) -> Tool {
    Tool::at(server, ["--output", "json", "publish", folder.to_str().unwrap()].iter().chain(args))
}

fn run<'a>(server: &Server, args: impl IntoIterator<Item = &'a str>) -> Ended {
    Tool::at(server, args).run("")
}

fn listed(server: &Server, prefix: &str) -> Vec<String> {
    run(server, ["ls", prefix]).exit(0).text().lines().map(str::to_owned).collect()
}

#[track_caller]
fn assert_published(server: &Server, prefix: &str, contents: &BTreeMap<String, Vec<u8>>) {
    let paths: Vec<String> = contents.keys().map(|path| format!("{prefix}{path}")).collect();
    assert_eq!(listed(server, prefix), paths);
    for (path, content) in contents {
        let found = run(server, ["cat", &format!("{prefix}{path}")]).exit(0).stdout;
        assert!(found == *content, "{path}: {} of {} bytes", found.len(), content.len());
    }
}

#[test]
fn all_files_of_a_directory_appear_with_their_paths() {
    let server = Server::start(Setup::default());
    let (folder, contents) = directory(&[("a", 10), ("b/c", 3 * MIB), ("b/d/e", 0), ("z", 1_000)]);
    let ended = tool(&server, folder.path(), &["site/v1"]).run("").exit(0).json();
    assert_published(&server, "site/v1/", &contents);
    let files = ended["files"].as_array().unwrap();
    assert_eq!((files.len(), &ended["bytes"]), (4, &contents.values().map(Vec::len).sum::<usize>().into()));
    for file in files {
        let known = run(&server, ["stat", file["path"].as_str().unwrap(), "--output", "json"]).exit(0).json();
        assert_eq!((&file["size"], &file["generation"]), (&known["size"], &known["generation"]));
    }
}

#[test]
fn one_file_that_is_there_already_is_enough_for_none() {
    let server = Server::start(Setup::default());
    let (folder, contents) = directory(&[("a", 10), ("b", 20), ("c", 30)]);
    let _ = Tool::at(&server, ["append", "p/b"]).run("before\n").exit(0);
    let ended = tool(&server, folder.path(), &["p"]).run("").exit(5).says("p/b").says("nothing was published");
    assert_eq!(ended.text(), "");
    assert_eq!(listed(&server, "p/"), ["p/b"]);
    assert_eq!(run(&server, ["cat", "p/b"]).exit(0).text(), "before\n");
    let _ = tool(&server, folder.path(), &["p", "--replace"]).run("").exit(0);
    assert_published(&server, "p/", &contents);
}

#[test]
fn interrupt_publishes_nothing_and_the_same_command_goes_on() {
    let mut server = Server::start(Setup::default());
    let (folder, contents) = directory(&[("a", 4 * MIB), ("b", 4 * MIB), ("c", 4 * MIB)]);
    let gate = Gate::before(server.address(), 6 * MIB as u64, u64::MAX);
    let command = || tool(&server, folder.path(), &["p"]).env("INKPOT_ENDPOINT", &gate.endpoint());
    let running = command().start();
    let staged = server.data_dir().join("staging");
    wait::until_blocking("a MiB is staged", BOUND, || size_below(&staged) >= MIB as u64);
    running.signal(Signal::INT);
    let _ = running.wait(BOUND).exit(130).says("the same command goes on");
    assert_eq!(listed(&server, "p/"), [""; 0]);
    gate.open();
    let _ = command().run("").exit(0);
    assert_published(&server, "p/", &contents);
    server.kill9();
    server.restart();
    assert_published(&server, "p/", &contents);
}

fn size_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => size_below(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

#[test]
fn directory_that_is_no_set_is_refused_before_anything_is_sent() {
    let server = Server::start(Setup::default());
    let (folder, _) = directory(&[]);
    let _ = tool(&server, folder.path(), &["p"]).run("").exit(2).says("there is no file");
    (0..1_001).for_each(|n| fs::write(folder.path().join(n.to_string()), "x").unwrap());
    let _ = tool(&server, folder.path(), &["p"]).run("").exit(2).says("at most 1000 files");
    let _ = tool(&server, &folder.path().join("none"), &["p"]).run("").exit(4).says("cannot read the directory");
    assert_eq!(listed(&server, ""), [""; 0]);
}
