//! `inkpot demo` and `inkpot bench`, the real binary with the servers that it starts: that they end as they should, that
//! they tell what they should, and that the demo can fail.
#![allow(clippy::unwrap_used)]

use inkpot_tests::{
    Server, Setup,
    harness::{
        tool::{Ended, Running, Tool},
        wait,
    },
};
use rustix::process::Signal;
use serde_json::Value;
use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Duration,
};

const BOUND: Duration = Duration::from_secs(60);

fn lines(range: std::ops::Range<u64>) -> String {
    range.map(|n| format!("{n:07} INFO request served status=200\n")).collect()
}

/// The text files of the one run of the demo in a data folder, in their order.
fn demo_files(data_dir: &Path) -> Vec<PathBuf> {
    let folder = |path: &Path| fs::read_dir(path).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        folder(&data_dir.join("files/default")).flat_map(|run| folder(&run).collect::<Vec<_>>()).collect();
    files.sort();
    files
}

/// That the story has its chapters, in their order.
#[track_caller]
fn assert_story(ended: &Ended) {
    let mut rest = ended.stderr.as_str();
    for chapter in ["text: ", "listens on", "SIGKILL to server", "listens again", "records acked", "compared"] {
        let at = rest.find(chapter).unwrap_or_else(|| panic!("no {chapter:?} in its place:\n{}", ended.stderr));
        rest = &rest[at..];
    }
}

#[test]
fn demo_ends_equal_with_a_kill_in_it() {
    let ended = Tool::new(["demo"]).run_within(BOUND, "").exit(0);
    assert_story(&ended);
    let text = ended.text();
    assert_eq!(text.matches(" bytes: equal\n").count(), 3, "{text}");
    let sums: Vec<&str> = text.lines().filter(|line| line.starts_with("  ")).map(|line| &line[9..]).collect();
    assert!(sums.iter().all(|sum| sum.len() == 64), "{text}");
    assert!(sums.chunks(3).all(|file| file[0] == file[1] && file[1] == file[2]), "{text}");
    assert!(text.ends_with(" records: all equal: nothing lost, nothing twice\n"), "{text}");
}

#[test]
fn demo_streams_stdin_and_leaves_every_line_of_it_behind() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let input = lines(0..20_000);
    let args = ["--output", "json", "demo", "--stdin", "--files", "2", "--data-dir", data_dir.to_str().unwrap()];
    let ended = Tool::new(args).run_within(BOUND, input.clone()).exit(0);
    assert_story(&ended);
    let report = ended.json();
    assert_eq!(report["equal"], true);
    let files = report["files"].as_array().unwrap();
    assert_eq!(files.iter().map(|file| file["records_acked"].as_u64().unwrap()).sum::<u64>(), 20_000);
    for (file, plain) in files.iter().zip(demo_files(&data_dir)) {
        assert!(plain.ends_with(file["path"].as_str().unwrap()));
        assert_eq!(file["bytes"], fs::metadata(&plain).unwrap().len());
        assert_eq!((&file["equal"], &file["fault"]), (&Value::Bool(true), &Value::Null));
        assert_eq!((&file["sha256_sent"], &file["sha256_sent"]), (&file["sha256_file"], &file["sha256_read"]));
    }
    // Told by other means than the demo's own.
    let plain: String = demo_files(&data_dir).iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let mut found: Vec<&str> = plain.lines().collect();
    found.sort_unstable();
    assert_eq!(found, input.lines().collect::<Vec<_>>());
    let _ = Tool::new(["demo", "--stdin"]).run("").exit(1).says("stdin is empty");
    let one = Tool::new(["demo", "--stdin"]).run("one line").exit(0);
    assert!(one.text().ends_with("3 files, 1 records: all equal: nothing lost, nothing twice\n"), "{}", one.text());
}

/// Runs the demo, and spoils the last of its files while it compares them one after the other. Nothing if it was done
/// before.
fn spoiled_demo() -> Option<Ended> {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let mut running = Tool::new(["demo", "--stdin", "--data-dir", data_dir.to_str().unwrap()]).start();
    running.feed(lines(0..600_000));
    running.end_input();
    wait::until_blocking("everything is acked", BOUND, || running.stderr().contains("records acked; reconnects"));
    running.signal(Signal::STOP);
    let files = demo_files(&data_dir);
    File::options().write(true).open(files.last()?).unwrap().write_all_at(b"#", 0).unwrap();
    running.signal(Signal::CONT);
    let ended = running.wait(BOUND);
    (ended.status.code() != Some(0)).then_some(ended)
}

#[test]
fn demo_fails_if_one_byte_of_a_file_is_another() {
    let ended = (0..4).find_map(|_| spoiled_demo()).expect("the demo calls a spoiled file equal").exit(1);
    let text = ended.text();
    assert_eq!((text.matches(": equal\n").count(), text.matches(": NOT EQUAL\n").count()), (2, 1), "{text}");
    assert!(text.ends_with("NOT ALL EQUAL\n"), "{text}");
}

/// A demo of which the server runs, and the folder of that process.
fn demo_with_server(scratch: &Path) -> (Running, PathBuf) {
    let running = Tool::new(["demo"]).env("TMPDIR", scratch.to_str().unwrap()).start();
    wait::until_blocking("the server runs", BOUND, || running.stderr().contains("listens on"));
    let said = running.stderr();
    let server = said.split("(pid ").nth(1).and_then(|rest| rest.split(')').next()).unwrap();
    (running, Path::new("/proc").join(server))
}

#[test]
fn interrupted_demo_leaves_no_process_and_no_folder_behind() {
    let scratch = tempfile::tempdir().unwrap();
    let (running, server) = demo_with_server(scratch.path());
    running.signal(Signal::INT);
    let _ = running.wait(BOUND).exit(130).says("interrupted");
    assert!(!server.exists(), "the server still runs");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn server_of_a_killed_demo_dies_with_it() {
    let scratch = tempfile::tempdir().unwrap();
    let (running, server) = demo_with_server(scratch.path());
    drop(running);
    // Nobody may be there to take its exit status.
    wait::until_blocking("the server has gone", BOUND, || {
        fs::read_to_string(server.join("stat")).map_or(true, |stat| stat.contains(") Z "))
    });
}

#[track_caller]
fn assert_positive(figures: &Value, names: &[&str]) {
    for name in names {
        let figure = figures.pointer(name).and_then(Value::as_f64);
        assert!(figure.is_some_and(|figure| figure > 0.0), "{name} of {figures}");
    }
}

const FIGURES: [&str; 6] =
    ["/records_per_s", "/mib_per_s", "/ack_ms/p50", "/ack_ms/p99", "/ack_ms/p999", "/ack_ms/max"];

#[test]
fn bench_tells_all_figures_beside_the_references() {
    let load = ["--record-size", "100", "--batch", "10", "--files", "20", "--duration", "1s", "--warmup", "100ms"];
    let args = ["--output", "json", "bench", "--spawn", "--check", "--against", "wire,disk", "--repeats", "2"];
    let report = Tool::new(args.into_iter().chain(load)).run_within(BOUND, "").exit(0).json();
    for figures in [&report, &report["wire"]] {
        assert_positive(figures, &FIGURES);
        assert_positive(figures, &["/server/cpu_s_per_million", "/server/rss_mib"]);
        let times = ["p50", "p99", "p999", "max"].map(|name| figures["ack_ms"][name].as_f64().unwrap());
        assert!(times.is_sorted(), "{times:?}");
        let bytes = figures["mib_per_s"].as_f64().unwrap() * f64::from(1 << 20);
        let records = figures["records_per_s"].as_f64().unwrap();
        assert!((bytes / records - 100.0).abs() < 1.0, "{bytes} B/s and {records} records/s of 100 bytes");
        assert_eq!(figures["level"], "SYNCED");
    }
    assert_positive(&report, &["/server/syncs_per_s", "/server/appends_per_commit"]);
    assert_positive(&report["disk"], &["/records_per_s", "/mib_per_s", "/commit_kib", "/write_4kib_ms/p50"]);
    assert_positive(&report, &["/ratio/wire", "/ratio/disk", "/ratio/reference"]);
    let spread = &report["spread"];
    assert!(spread["records_per_s"].as_f64().unwrap() >= 0.0 && spread["ratio_wire"].as_f64().unwrap() >= 0.0);
    assert_eq!(report["repeats"], 2);
    let load = &report["load"];
    assert_eq!((&load["record_size"], &load["batch"], &load["files"]), (&100.into(), &10.into(), &20.into()));
    assert_eq!((&load["producers"], &load["connections"]), (&16.into(), &4.into()));
}

#[test]
fn bench_measures_a_server_that_runs() {
    let server = Server::start(Setup::default());
    let load = ["--durability", "written", "--duration", "200ms", "--warmup", "50ms", "--repeats", "1"];
    let report = Tool::at(&server, ["bench", "--output", "json"].into_iter().chain(load)).run("").exit(0).json();
    assert_positive(&report, &FIGURES);
    assert_eq!((&report["level"], &report["server"], &report["wire"]), (&"WRITTEN".into(), &Value::Null, &Value::Null));
    assert_eq!(report["ratio"]["wire"], Value::Null);
    let text = Tool::at(&server, ["bench"].into_iter().chain(load)).run("").exit(0).text();
    for word in ["records/s", "MiB/s", "p99.9", "WRITTEN", "medians of 1"] {
        assert!(text.contains(word), "{word} is missing:\n{text}");
    }
}

#[test]
fn bench_keeps_a_rate_for_several_tenants_and_a_few_busy_files() {
    let load =
        ["--tenants", "4", "--files", "64", "--skew", "1", "--rate", "2000", "--duration", "2s", "--warmup", "0s"];
    let args = ["bench", "--output", "json", "--spawn", "--check", "--repeats", "1"];
    let report = Tool::new(args.into_iter().chain(load)).run_within(BOUND, "").exit(0).json();
    let rate = report["records_per_s"].as_f64().unwrap();
    assert!(rate > 1_000.0 && rate <= 2_000.0, "{report}");
    assert_eq!((&report["load"]["tenants"], &report["load"]["rate"]), (&4.into(), &2000.0.into()));
}

#[test]
fn bench_uploads() {
    let load = ["--mode", "upload", "--upload-size", "64KiB", "--batch", "100", "--files", "20", "--duration", "1s"];
    let args = ["bench", "--output", "json", "--spawn", "--check", "--against", "wire", "--repeats", "1"];
    let report = Tool::new(args.into_iter().chain(load)).run_within(BOUND, "").exit(0).json();
    for figures in [&report, &report["wire"]] {
        assert_positive(figures, &FIGURES);
        assert_eq!(figures["level"], "SYNCED");
    }
}

#[test]
fn bench_measures_what_a_server_that_runs_uses() {
    let metrics = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let server = Server::start(Setup::default().arg("--metrics-listen").arg(&metrics));
    let pid = server.pid().to_string();
    let args =
        ["bench", "--output", "json", "--repeats", "1", "--duration", "300ms", "--pid", &pid, "--metrics", &metrics];
    let report = Tool::at(&server, args).run("").exit(0).json();
    assert_positive(&report, &["/server/cpu_s_per_million", "/server/rss_mib", "/server/syncs_per_s"]);
    let nobody = ["bench", "--duration", "100ms", "--metrics", "127.0.0.1:1"];
    let _ = Tool::at(&server, nobody).run("").exit(1).says("127.0.0.1:1");
}

#[test]
fn bench_refuses_what_cannot_be_measured() {
    let wrong: [&[&str]; 10] = [
        &["--files", "0"],
        &["--batch", "0"],
        &["--duration", "0s"],
        &["--against", "x"],
        &["--rate", "0"],
        &["--rate", "often"],
        &["--tenants", "2"],
        &["--tenants", "5", "--spawn"],
        &["--skew", "1"],
        &["--spawn", "--pid", "1"],
    ];
    for args in wrong {
        let _ = Tool::new(["bench"].iter().chain(args)).run("").exit(2).says(": ");
    }
    let server = Server::start(Setup::default());
    let ended = Tool::at(&server, ["bench", "--record-size", "2MiB", "--duration", "100ms"]).run("").exit(1);
    assert!(ended.stderr.contains("is larger than the 1048576"), "{}", ended.stderr);
}

#[test]
fn bench_spawns_its_server_with_the_configuration_that_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("server.toml");
    std::fs::write(&config, "[limits]\nrecord_bytes = \"4KiB\"\n").unwrap();
    let config = config.to_str().unwrap();
    let load = ["bench", "--spawn", "--server-config", config, "--duration", "100ms", "--repeats", "1"];
    let _ = Tool::new(load.into_iter().chain(["--record-size", "4000"])).run_within(BOUND, "").exit(0);
    let refused = load.into_iter().chain(["--record-size", "5000"]);
    let _ = Tool::new(refused).run_within(BOUND, "").exit(1).says("is larger than the 4096");
}
