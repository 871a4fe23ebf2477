//! Programs as processes: where they are, how long they may take, what they say.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

/// What a process writes, as far as it has come.
pub(super) type Said = Arc<Mutex<Vec<u8>>>;

/// The server beside the test executable (`target/PROFILE/deps/e2e_...`); built if it is missing.
///
/// # Panics
/// If it can be neither found nor built.
#[must_use]
pub fn binary() -> PathBuf {
    beside_the_test("inkpotd", "inkpot-server")
}

/// The command line tool beside the test executable; built if it is missing.
///
/// # Panics
/// If it can be neither found nor built.
#[must_use]
pub fn tool() -> PathBuf {
    beside_the_test("inkpot", "inkpot-client")
}

fn beside_the_test(name: &str, package: &str) -> PathBuf {
    static BUILDING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let test = std::env::current_exe().expect("the path of the test executable");
    let profile = test.parent().and_then(Path::parent).expect("target/PROFILE/deps");
    let binary = profile.join(name);
    if !binary.exists() {
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--locked", "--package", package, "--bin", name]);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        let built = build.status().is_ok_and(|status| status.success()) && binary.exists();
        assert!(built, "{} is missing; run: cargo build --workspace --bins", binary.display());
    }
    binary
}

/// Waits for the process to end; `None` if it does not within the bound.
pub(super) fn wait_for_exit(child: &mut Child, bound: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + bound;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
            _ => return None,
        }
    }
}

/// The first line of a pipe; what comes after it is read and dropped, so that the process never blocks on it.
pub(super) fn first_line(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    let mut lines = BufReader::new(pipe.expect("standard output is piped"));
    thread::spawn(move || {
        let mut line = String::new();
        if lines.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            // The test may have stopped waiting.
            let _ = sender.send(line);
        }
        let _ = std::io::copy(&mut lines, &mut std::io::sink());
    });
    receiver
}

/// Everything that comes out of a pipe.
pub(super) fn collect(pipe: Option<impl Read + Send + 'static>) -> Said {
    let into = Arc::default();
    collect_into(pipe, Arc::clone(&into));
    into
}

/// As [`collect`], behind what is there already.
pub(super) fn collect_into(pipe: Option<impl Read + Send + 'static>, into: Said) {
    let mut pipe = pipe.expect("standard error is piped");
    thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(bytes @ 1..) = pipe.read(&mut piece) {
            into.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&piece[..bytes]);
        }
    });
}

/// What was said.
pub(super) fn text(bytes: &Mutex<Vec<u8>>) -> String {
    String::from_utf8_lossy(&bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
}
