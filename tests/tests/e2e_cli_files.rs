//! What the tool does to files that are there: `mv`, `rm`, `truncate`, `seal`, `adopt`; and `du` and `ls -d`, which show
//! where they are. The real binary against a real server.
#![allow(clippy::unwrap_used)]

use inkpot_tests::{
    Server, Setup,
    harness::{
        tool::{Ended, Tool},
        wait,
    },
};
use serde_json::{Value, json};
use std::{fs, time::Duration};

const BOUND: Duration = Duration::from_secs(30);

fn run<'a>(server: &Server, args: impl IntoIterator<Item = &'a str>) -> Ended {
    Tool::at(server, args).run("")
}

fn append(server: &Server, path: &str, input: &str) {
    let _ = Tool::at(server, ["append", path]).run(input).exit(0);
}

fn json(server: &Server, args: &[&str]) -> Ended {
    run(server, ["--output", "json"].iter().chain(args).copied())
}

fn generation(server: &Server, path: &str) -> u64 {
    json(server, &["stat", path]).exit(0).json()["generation"].as_u64().unwrap()
}

fn content(server: &Server, path: &str) -> String {
    run(server, ["cat", path]).exit(0).text()
}

fn listed(server: &Server, prefix: &str) -> Vec<String> {
    run(server, ["ls", prefix]).exit(0).text().lines().map(str::to_owned).collect()
}

/// A server with a file for each path, of so many bytes.
fn with_files(files: &[(&str, usize)]) -> Server {
    let server = Server::start(Setup::default());
    for (path, size) in files {
        append(&server, path, &("x".repeat(size - 1) + "\n"));
    }
    server
}

#[test]
fn mv_gives_another_path_and_replaces_only_if_told() {
    let server = Server::start(Setup::default());
    append(&server, "a", "of a\n");
    append(&server, "b", "of b\n");
    let moved = json(&server, &["mv", "a", "dir/"]).exit(0).json();
    assert_eq!((&moved["from"], &moved["path"]), (&"a".into(), &"dir/a".into()));
    assert_eq!(moved["generation"], generation(&server, "dir/a"));
    assert_eq!((listed(&server, ""), content(&server, "dir/a").as_str()), (vec!["b".into(), "dir/a".into()], "of a\n"));
    let _ = run(&server, ["mv", "dir/a", "b"]).exit(5).says("\"b\"");
    assert_eq!((content(&server, "dir/a").as_str(), content(&server, "b").as_str()), ("of a\n", "of b\n"));
    let wrong = (generation(&server, "dir/a") + 1).to_string();
    let _ = run(&server, ["mv", "dir/a", "b", "--replace", "--if-generation", &wrong]).exit(5).says("generation");
    let _ = run(&server, ["mv", "dir/a", "b", "--replace"]).exit(0);
    assert_eq!((listed(&server, ""), content(&server, "b").as_str()), (vec!["b".into()], "of a\n"));
    let _ = run(&server, ["mv", "dir/a", "c"]).exit(4).says("\"dir/a\"");
    // Who appends to the new path goes on there.
    append(&server, "b", "more\n");
    assert_eq!(content(&server, "b"), "of a\nmore\n");
}

#[test]
fn rm_removes_each_file_and_tells_of_those_that_are_not_there() {
    let server = with_files(&[("a", 2), ("b", 2), ("c", 2), ("d", 2)]);
    let ended = run(&server, ["rm", "a", "none", "b"]).exit(4).says("there is no file \"none\"");
    assert_eq!(ended.text(), "a\nb\n");
    assert_eq!(listed(&server, ""), ["c", "d"]);
    let wrong = (generation(&server, "c") + 1).to_string();
    let _ = run(&server, ["rm", "c", "--if-generation", &wrong]).exit(5).says("generation");
    let _ = run(&server, ["rm", "c", "d", "--if-generation", &wrong]).exit(2);
    assert_eq!(run(&server, ["rm", "c", "-n"]).exit(0).text(), "c\n");
    assert_eq!(listed(&server, ""), ["c", "d"]);
    let removed = json(&server, &["rm", "c"]).exit(0).json();
    assert_eq!(removed, json!({ "path": "c", "removed": true }));
    let _ = run(&server, ["stat", "c"]).exit(4);
    wait::until_blocking("the plain file goes", BOUND, || !server.plain("c").exists());
}

#[test]
fn rm_r_removes_what_is_below_a_directory_and_nothing_beside_it() {
    let files = [("logs/a", 10), ("logs/b/c", 20), ("logs-old", 5), ("logs2/x", 5), ("other", 5)];
    let server = with_files(&files);
    let all = listed(&server, "");
    let _ = run(&server, ["rm", "-r", "logs"]).exit(2).says("--yes");
    let _ = run(&server, ["rm", "-r", "", "--yes"]).exit(2).says("--all");
    assert_eq!(run(&server, ["rm", "-r", "logs", "--dry-run"]).exit(0).text(), "logs/a\nlogs/b/c\n");
    assert_eq!(listed(&server, ""), all);
    let removed = json(&server, &["rm", "-r", "logs", "--yes"]).exit(0).json();
    assert_eq!(removed, json!({ "prefix": "logs/", "removed": 2, "removed_bytes": 30 }));
    assert_eq!(listed(&server, ""), ["logs-old", "logs2/x", "other"]);
    // The same again has nothing to do.
    assert_eq!(json(&server, &["rm", "-r", "logs", "--yes"]).exit(0).json()["removed"], 0);
    let _ = run(&server, ["rm", "-r", "--prefix", "logs", "--yes"]).exit(0);
    assert_eq!(listed(&server, ""), ["other"]);
    let _ = run(&server, ["rm", "-r", "--all", "--yes"]).exit(0);
    assert_eq!(listed(&server, ""), [""; 0]);
    wait::until_blocking("empty directories go", BOUND, || !server.plain("logs").exists());
}

#[test]
fn truncate_keeps_the_first_bytes_as_a_new_generation() {
    let server = Server::start(Setup::default());
    append(&server, "f", "one\ntwo\nthree\n");
    let before = generation(&server, "f");
    let cut = json(&server, &["truncate", "f", "--size", "8"]).exit(0).json();
    assert_eq!((&cut["path"], &cut["size"]), (&"f".into(), &8.into()));
    assert!(cut["generation"] != before && cut["generation"] == generation(&server, "f"), "{cut}");
    assert_eq!(content(&server, "f"), "one\ntwo\n");
    append(&server, "f", "new\n");
    assert_eq!(content(&server, "f"), "one\ntwo\nnew\n");
    let _ = run(&server, ["truncate", "f", "--size", "1KiB"]).exit(1).says("12");
    let _ = run(&server, ["truncate", "f", "--size", "0", "--if-generation", &before.to_string()]).exit(5);
    let _ = run(&server, ["truncate", "f"]).exit(2).says("--size");
    let _ = run(&server, ["truncate", "none", "--size", "0"]).exit(4);
    assert_eq!(content(&server, "f"), "one\ntwo\nnew\n");
}

#[test]
fn sealed_file_takes_no_appends() {
    let server = Server::start(Setup::default());
    append(&server, "f", "all\n");
    append(&server, "g", "all of g\n");
    let sealed = json(&server, &["seal", "f", "none", "g"]).exit(4).says("there is no file \"none\"").json_lines();
    let expected = |path: &str, bytes: &str, duplicate: bool| {
        json!({
            "path": path, "size": bytes.len(), "generation": generation(&server, path),
            "crc32c": format!("{:08x}", crc32c::crc32c(bytes.as_bytes())), "duplicate": duplicate,
        })
    };
    assert_eq!(sealed, [expected("f", "all\n", false), expected("g", "all of g\n", false)]);
    let refused = Tool::at(&server, ["append", "f"]).run("more\n").exit(1);
    assert!(refused.stderr.contains("\"f\"") && refused.stderr.contains("sealed"), "{}", refused.stderr);
    assert_eq!(content(&server, "f"), "all\n");
    assert_eq!(json(&server, &["stat", "f"]).exit(0).json()["sealed"], true);
    assert_eq!(json(&server, &["seal", "f"]).exit(0).json(), expected("f", "all\n", true));
    let long = run(&server, ["ls", "-l", "f"]).exit(0).text();
    assert_eq!(long.split_ascii_whitespace().nth(3), Some("sealed"), "{long}");
    let _ = run(&server, ["seal", "f", "g", "--if-generation", "1"]).exit(2);
}

#[test]
fn du_sums_up_directories() {
    let server = with_files(&[("a/b/c", 10), ("a/b/d", 20), ("a/e", 30), ("a-b/f", 40), ("g", 50)]);
    let rows = |args: &[&str]| -> Vec<(String, u64, u64)> {
        let rows = json(&server, &[&["du"], args].concat()).exit(0).json_lines();
        let number = |row: &Value, name: &str| row[name].as_u64().unwrap();
        let row = |row: &Value| (row["path"].as_str().unwrap().to_owned(), number(row, "size"), number(row, "files"));
        rows.iter().map(row).collect()
    };
    let row = |path: &str, size, files| (path.to_owned(), size, files);
    let all = [row("a-b/", 40, 1), row("a/b/", 30, 2), row("a/", 60, 3), row("", 150, 5)];
    assert_eq!(rows(&[]), all);
    assert_eq!(rows(&["-d", "1"]), [row("a-b/", 40, 1), row("a/", 60, 3), row("", 150, 5)]);
    assert_eq!(rows(&["-d", "0", "a"]), [row("a", 100, 4)]);
    assert_eq!(rows(&["a/"]), [row("a/b/", 30, 2), row("a/", 60, 3)]);
    let text = run(&server, ["du", "-h", "-d", "0"]).exit(0);
    assert_eq!(text.text().split_ascii_whitespace().collect::<Vec<_>>()[..1], ["150B"]);
    assert!(text.stderr.contains("SIZE") && text.text().ends_with("/\n"), "{text:?}");
    let _ = run(&server, ["du", "--help"]).exit(0);
    let nobody = Tool::new(["du"]).env("INKPOT_ENDPOINT", "http://127.0.0.1:1").run("").exit(1);
    assert!(!nobody.stderr.contains("SIZE"), "{}", nobody.stderr);
}

#[test]
fn ls_d_shows_one_level() {
    let server = with_files(&[("a/b/c", 10), ("a/e", 30), ("a-b/f", 40), ("g", 50)]);
    assert_eq!(run(&server, ["ls", "-d"]).exit(0).text(), "a-b/\na/\ng\n");
    assert_eq!(run(&server, ["ls", "-d", "a/"]).exit(0).text(), "a/b/\na/e\n");
    let rows = json(&server, &["ls", "-d", "a/"]).exit(0).json_lines();
    assert_eq!(rows[0], json!({ "path": "a/b/", "directory": true }));
    assert_eq!((&rows[1]["path"], &rows[1]["size"]), (&"a/e".into(), &30.into()));
    let long = run(&server, ["ls", "-l", "-d", "a/"]).exit(0).says("STORED");
    let last: Vec<_> =
        long.text().lines().map(|line| line.split_ascii_whitespace().last().unwrap().to_owned()).collect();
    assert_eq!(last, ["a/b/", "a/e"]);
    assert_eq!(run(&server, ["ls", "-l", "nothing"]).exit(0).stderr, "", "a heading stands over something");
}

#[test]
fn adopt_takes_what_another_program_put_there() {
    let server = Server::start(Setup::default());
    append(&server, "f", "ours\n");
    wait::until_blocking("it is applied", BOUND, || fs::read(server.plain("f")).is_ok_and(|file| file == b"ours\n"));
    fs::create_dir(server.plain("tree")).unwrap();
    fs::write(server.plain("tree/a"), "theirs\n").unwrap();
    fs::create_dir(server.plain("tree/b")).unwrap();
    fs::write(server.plain("tree/b/c"), "theirs too\n").unwrap();
    let one = json(&server, &["adopt", "tree/a"]).exit(0).json();
    assert_eq!(one, json!({ "path": "tree/a", "adopted": 1, "adopted_bytes": 7, "not_adopted": 0 }));
    assert_eq!(content(&server, "tree/a"), "theirs\n");
    append(&server, "tree/a", "ours\n");
    assert_eq!(content(&server, "tree/a"), "theirs\nours\n");
    let rest = json(&server, &["adopt", "-r"]).exit(0).json();
    assert_eq!(
        (&rest["adopted"], &rest["adopted_bytes"]),
        (&1.into(), &11.into()),
        "those that are ours are not counted"
    );
    assert_eq!(content(&server, "tree/b/c"), "theirs too\n");
    let _ = run(&server, ["adopt", "none"]).exit(4);
    let _ = run(&server, ["adopt"]).exit(2);
}
