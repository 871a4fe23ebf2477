//! Starts after `kill -9`: until the server serves, by the log that it has to replay and the files that it knows.

use inkpot_tests::figures::{Bar, bench, program};
use std::{
    fmt, fs, io,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Starts of which one number grows.
pub struct Series {
    /// What grows.
    pub title: &'static str,
    /// Files, and MiB of log in all shards.
    pub points: &'static [(usize, u64)],
}

/// All of them.
pub const SERIES: [Series; 2] = [
    Series { title: "Log to replay, MiB", points: &[(100, 64), (100, 256), (100, 1024)] },
    Series { title: "Files, 256 MiB of log", points: &[(1, 256), (100, 256), (10_000, 256), (100_000, 256)] },
];

const RECORD: usize = 1024;
const BATCH: usize = 100;
/// How long a start may take.
const BOUND: Duration = Duration::from_secs(120);

/// A start that was measured.
pub struct Start {
    files: usize,
    log_mib: f64,
    seconds: f64,
    rss_mib: f64,
}

impl Start {
    /// Above the lines.
    pub const HEAD: &str = "| files | log | until it serves | RSS then |\n| --- | --- | --- | --- |";

    /// By time.
    pub fn bar(&self) -> Bar {
        let label = format!("{} files, {:.0} MiB", self.files, self.log_mib);
        Bar {
            label,
            value: self.seconds,
            text: format!("{:.2} s, RSS {:.0} MiB", self.seconds, self.rss_mib),
            is_ours: true,
        }
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, log_mib, seconds, rss_mib } = self;
        write!(f, "| {files} | {log_mib:.0} MiB | {seconds:.2} s | {rss_mib:.0} MiB |")
    }
}

/// A server that is killed when it is dropped.
struct Server(Child);

impl Server {
    fn start(data: &Path, port: u16) -> io::Result<Self> {
        let mut command = Command::new(program("inkpotd")?);
        command.arg("--data-dir").arg(data).args(["--listen", &format!("127.0.0.1:{port}")]);
        // Nothing is given back of the log before the kill, so that its size is what was written.
        command.envs([("INKPOT_CHECKPOINT__INTERVAL", "1h"), ("INKPOT_CHECKPOINT__WAL_BYTES", "4GiB")]);
        command.envs([("INKPOT_WAL__MAX_BYTES", "8GiB")]);
        let mut server = Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        let mut health = Command::new(program("inkpot")?);
        health.args(["health", "--endpoint", &format!("http://127.0.0.1:{port}")]);
        health.stdout(Stdio::null()).stderr(Stdio::null());
        let deadline = Instant::now() + BOUND;
        while !health.status()?.success() {
            if Instant::now() > deadline || server.0.try_wait()?.is_some() {
                return Err(io::Error::other("the server does not serve"));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    fn rss_mib(&self) -> io::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
        kib.map(|kib| kib / 1024.0).ok_or_else(|| io::Error::other("no VmRSS"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Appends until the logs of all shards have so many MiB; returns how many they have, by what was measured.
fn append_until(port: u16, files: usize, mib: u64) -> io::Result<f64> {
    let mut appended = 0.0;
    while appended < mib as f64 {
        let args = ["--endpoint", &format!("http://127.0.0.1:{port}"), "--duration", "200ms", "--warmup", "0ms"];
        let numbers = [("--record-size", RECORD), ("--batch", BATCH), ("--files", files), ("--repeats", 1)];
        let mut args: Vec<String> = args.map(str::to_owned).into();
        args.extend(numbers.into_iter().flat_map(|(flag, number)| [flag.to_owned(), number.to_string()]));
        let report = bench(&args)?;
        appended += report["mib_per_s"].as_f64().unwrap_or(0.0) * 0.2;
    }
    Ok(appended)
}

/// Fills a log, kills the server, and starts it again.
pub fn measure(files: usize, log_mib: u64) -> io::Result<Start> {
    let folder = TempDir::with_prefix("inkpot-growth-")?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let server = Server::start(folder.path(), port)?;
    let log_mib = append_until(port, files, log_mib)?;
    drop(server);
    let begin = Instant::now();
    let server = Server::start(folder.path(), port)?;
    let seconds = begin.elapsed().as_secs_f64();
    Ok(Start { files, log_mib, seconds, rss_mib: server.rss_mib()? })
}
