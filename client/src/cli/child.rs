//! A server as a child process of the tool: started from the tool's own binary, watched until it listens, killed
//! with whatever drops it, and gone with the tool itself, which holds the other end of its stdin.

use super::failure::{Exit, Failure};
use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// How long a server may take to recover and listen.
const START_WITHIN: Duration = Duration::from_secs(60);
/// How long a killed process may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(2);
const GONE_POLL: Duration = Duration::from_millis(2);
/// What a server prints on stdout when it serves.
const LISTENING: &str = "listening on ";
/// How much of a dead server's log is shown.
const LOG_LINES_SHOWN: usize = 8;

/// Any port of the loopback interface that is free.
pub(crate) const ANY_PORT: &str = "127.0.0.1:0";

/// A running server.
#[derive(Debug)]
pub(crate) struct ChildServer {
    process: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl ChildServer {
    /// Starts a coordinator on `listen` over `data_dir`, with `more` arguments; what it says goes to the file `log`.
    pub(crate) async fn coordinator(
        listen: &str,
        data_dir: &Path,
        log: &Path,
        more: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, Failure> {
        if !cfg!(feature = "server") {
            return Err(Failure::new(Exit::Error, "this inkpot was built without the server (feature `server`)"));
        }
        let args: [&OsStr; 6] = [
            "server".as_ref(),
            "--until-stdin-ends".as_ref(),
            "--listen".as_ref(),
            listen.as_ref(),
            "--data-dir".as_ref(),
            data_dir.as_ref(),
        ];
        Self::start(args.map(OsStr::to_owned).into_iter().chain(more), log).await
    }

    /// Runs this binary with `args` and waits until it tells where it listens.
    pub(crate) async fn start(args: impl IntoIterator<Item = OsString>, log: &Path) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::error("cannot start a server of its own", error);
        let mut command = Command::new(env::current_exe().map_err(failed)?);
        // What is set for a server of the user must not reach this one.
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("INKPOT_")) {
            command.env_remove(name);
        }
        let log_file = File::options().create(true).append(true).open(log).map_err(failed)?;
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log_file).kill_on_drop(true);
        let mut process = command.spawn().map_err(failed)?;
        let stdout = process.stdout.take().ok_or_else(|| Failure::new(Exit::Error, "the server has no stdout"))?;
        let mut lines = BufReader::new(stdout).lines();
        match timeout(START_WITHIN, address_in(&mut lines)).await {
            Ok(Some(address)) => {
                // Ends with the server; until then the pipe must not fill.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                Ok(Self { process, address, log: log.to_owned() })
            }
            Ok(None) => Err(died(log)),
            Err(_) => Err(Failure::new(Exit::Error, format!("the server did not listen within {START_WITHIN:?}"))),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Process id; nothing once it is dead.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.id()
    }

    /// Sends SIGKILL and waits until the process is gone. Fails if it had died before by itself.
    pub(crate) async fn kill(mut self) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure::error("cannot kill the server", error);
        if self.process.try_wait().map_err(failed)?.is_some() {
            return Err(died(&self.log));
        }
        self.process.kill().await.map_err(failed)
    }
}

/// The process is gone when this returns, so that the folders it works in can be removed.
impl Drop for ChildServer {
    fn drop(&mut self) {
        let since = Instant::now();
        // An error means that it is gone already.
        let _ = self.process.start_kill();
        while matches!(self.process.try_wait(), Ok(None)) && since.elapsed() < GONE_WITHIN {
            thread::sleep(GONE_POLL);
        }
    }
}

/// The address in the line that says that the server listens; nothing if stdout ended without it.
async fn address_in(lines: &mut Lines<BufReader<ChildStdout>>) -> Option<SocketAddr> {
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(address) = line.strip_prefix(LISTENING) {
            return address.trim().parse().ok();
        }
    }
    None
}

fn died(log: &Path) -> Failure {
    let log = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    let last = lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n  ");
    Failure::new(Exit::Error, format!("the server ended by itself; its last words:\n  {last}"))
}
