//! The command line tool as a process: what goes in, what comes out, how it ends.

use super::{
    server::{Server, tool},
    wait,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    ffi::OsStr,
    io::{Read, Write},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

/// How long a tool may take that nothing hinders, on a machine that is busy with other tests.
const BOUND: Duration = Duration::from_secs(30);

/// A run of `inkpot` to be. No variable of the tests' own environment that begins with `INKPOT_` reaches it.
#[derive(Debug)]
pub struct Tool(Command);

impl Tool {
    /// A run that is told of no server.
    #[must_use]
    pub fn new<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Self {
        // A shell starts what runs in the background with SIGINT ignored, and the tests may be started so.
        let mut command = Command::new("env");
        command.arg("--default-signal=INT").arg(tool());
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("INKPOT_")) {
            command.env_remove(name);
        }
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command)
    }

    /// A run against a server, with the first token of its setup.
    #[must_use]
    pub fn at<S: AsRef<OsStr>>(server: &Server, args: impl IntoIterator<Item = S>) -> Self {
        let tool = Self::new(args).env("INKPOT_ENDPOINT", &server.endpoint());
        match server.token() {
            Some(token) => tool.env("INKPOT_TOKEN", token),
            None => tool,
        }
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    /// Removes a variable that was set before.
    #[must_use]
    pub fn without_env(mut self, name: &str) -> Self {
        self.0.env_remove(name);
        self
    }

    /// Starts it, with its input open.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(mut self) -> Running {
        let mut child = self.0.spawn().expect("inkpot can be started");
        let (stdout, stderr) = (Pipe::of(child.stdout.take()), Pipe::of(child.stderr.take()));
        Running { stdin: child.stdin.take(), child, stdout, stderr }
    }

    /// Runs it over this input until it ends.
    ///
    /// # Panics
    /// If it cannot be started, or does not end within a bound.
    #[must_use]
    pub fn run(self, input: impl Into<Vec<u8>>) -> Ended {
        self.run_within(BOUND, input)
    }

    /// As [`Tool::run`], with a bound of its own.
    ///
    /// # Panics
    /// If it cannot be started, or does not end within `bound`.
    #[must_use]
    pub fn run_within(self, bound: Duration, input: impl Into<Vec<u8>>) -> Ended {
        let (mut running, input) = (self.start(), input.into());
        let stdin = running.stdin.take();
        // It may end, or speak, before it has read everything.
        let feeder = thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(&input)));
        let ended = running.wait(bound);
        // The pipe has no reader any more, so this ends as well.
        let _ = feeder.join();
        ended
    }

    /// Starts it, and lets the test read its standard output itself.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn command(self) -> Command {
        self.0
    }
}

/// A tool that runs. Dropping it kills the process.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Pipe,
    stderr: Pipe,
}

impl Running {
    /// Gives it more input.
    ///
    /// # Panics
    /// If it does not read any more.
    pub fn feed(&mut self, input: impl AsRef<[u8]>) {
        let stdin = self.stdin.as_mut().expect("the input is open");
        stdin.write_all(input.as_ref()).expect("inkpot reads its input");
    }

    /// Ends its input.
    pub fn end_input(&mut self) {
        self.stdin = None;
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If the process has gone.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("inkpot runs");
    }

    /// What it has written to standard output so far.
    #[must_use]
    pub fn stdout(&self) -> Vec<u8> {
        self.stdout.bytes()
    }

    /// What it has written to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Waits until it ends.
    ///
    /// # Panics
    /// If it does not within `bound`; with what it said.
    #[must_use]
    pub fn wait(mut self, bound: Duration) -> Ended {
        let mut status = None;
        wait::until_blocking("inkpot ends", bound, || {
            status = self.child.try_wait().expect("a child process can be waited for");
            status.is_some()
        });
        let status = status.expect("it has ended");
        self.stdout.join();
        self.stderr.join();
        Ended { status, stdout: self.stdout.bytes(), stderr: self.stderr.text() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Killing what has ended already is no fault of the test.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- standard error of inkpot ---\n{}", self.stderr());
        }
    }
}

/// A pipe that is read to its end on a thread of its own.
#[derive(Debug)]
struct Pipe {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Pipe {
    fn of(pipe: Option<impl Read + Send + 'static>) -> Self {
        let mut pipe = pipe.expect("the pipe was asked for");
        let bytes = Arc::<Mutex<Vec<u8>>>::default();
        let into = Arc::clone(&bytes);
        let reader = thread::spawn(move || {
            let mut piece = vec![0; 64 << 10];
            while let Ok(read @ 1..) = pipe.read(&mut piece) {
                into.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&piece[..read]);
            }
        });
        Self { bytes, reader: Some(reader) }
    }

    fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    fn join(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the pipe can be read");
        }
    }
}

/// A tool that has ended.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Ended {
    /// Asserts the exit status.
    #[track_caller]
    #[must_use]
    pub fn exit(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{}; {}", self.text(), self.stderr);
        self
    }

    /// Asserts that standard error holds these words.
    #[track_caller]
    #[must_use]
    pub fn says(self, words: &str) -> Self {
        assert!(self.stderr.contains(words), "not said: {words:?}; {}", self.stderr);
        self
    }

    /// Standard output as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard output, which must be one JSON value and a newline.
    ///
    /// # Panics
    /// If it is not.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        let [value] = &self.json_lines()[..] else { panic!("not one line: {}; {}", self.text(), self.stderr) };
        value.clone()
    }

    /// Standard output, which must be a JSON value a line.
    ///
    /// # Panics
    /// If it is not.
    #[track_caller]
    #[must_use]
    pub fn json_lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.text().lines().map(parse).collect()
    }
}
