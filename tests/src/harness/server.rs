//! A server as a process of its own, on a data folder of its own.
//!
//! The calls that start and stop it block the thread. A test that stops a server while connections to it are open needs a
//! runtime of several threads: on one thread they cannot close meanwhile, and the server waits for them until its deadline.

pub use super::process::{binary, tool};

use super::{
    process::{Said, collect, collect_into, first_line, text, wait_for_exit},
    session::{Client, FileClient, RawSession, Token},
    wait,
};
use inkpot_proto::v1::{file_service_client::FileServiceClient, write_service_client::WriteServiceClient};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

/// How long a server may take to say that it listens: recovery included, on a machine that is busy with other tests.
const START_BOUND: Duration = Duration::from_secs(60);
/// How long a server may take to stop: its own deadlines are 20 s and 10 s.
const STOP_BOUND: Duration = Duration::from_secs(60);

/// How a server is to be started.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    config: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    data_dir: Option<PathBuf>,
    tokens: Vec<(String, String)>,
}

impl Setup {
    /// Adds to the configuration file, as TOML. Tables may be opened; [`Setup::token`] does not mind.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        self.config += toml;
        self.config.push('\n');
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The data folder, if it is not to be a new one that goes with the server.
    #[must_use]
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(path.into());
        self
    }

    /// Gives a tenant a token, which ends the development mode. The first one is what [`Server::client`] shows.
    #[must_use]
    pub fn token(mut self, tenant: &str, token: &str) -> Self {
        self.tokens.push((tenant.to_owned(), token.to_owned()));
        self
    }

    /// Runs the server until it ends by itself, as it does when it refuses to start.
    ///
    /// # Panics
    /// If it is still there after a bound; it is killed then.
    #[must_use]
    pub fn run_to_end(self) -> Output {
        let home = Home::of(&self);
        let mut child = command(&self, &home, "127.0.0.1:0".parse().expect("an address"), &self.args)
            .stdout(Stdio::piped())
            .spawn()
            .expect("inkpotd can be started");
        let (out, err) = (collect(child.stdout.take()), collect(child.stderr.take()));
        let status = wait_for_exit(&mut child, START_BOUND).unwrap_or_else(|| {
            let _ = child.kill().and_then(|()| child.wait());
            panic!("inkpotd still runs after {START_BOUND:?}; its standard error:\n{}", text(&err));
        });
        // The pipes are at their end once the process has gone; the readers need a moment.
        wait::until_blocking("the pipes end", START_BOUND, || Arc::strong_count(&out) + Arc::strong_count(&err) == 2);
        Output { status, stdout: text(&out).into(), stderr: text(&err).into() }
    }
}

/// Where a server keeps what the test made for it. Outlives its restarts.
#[derive(Debug)]
struct Home {
    /// Configuration, tokens and, if none was named, data; removed in the end.
    folder: TempDir,
    data_dir: PathBuf,
}

impl Home {
    fn of(setup: &Setup) -> Self {
        let folder = TempDir::with_prefix("inkpot-test-").expect("a temporary folder");
        let data_dir = setup.data_dir.clone().unwrap_or_else(|| folder.path().join("data"));
        let mut config = setup.config.clone();
        let mut tenants: Vec<&str> = setup.tokens.iter().map(|(tenant, _)| tenant.as_str()).collect();
        tenants.dedup();
        for tenant in tenants {
            let tokens = setup.tokens.iter().filter(|(name, _)| name == tenant);
            let files: Vec<String> =
                tokens.enumerate().map(|(n, (_, token))| write_token(&folder, tenant, n, token)).collect();
            let _ = writeln!(config, "[tenants.{tenant}]\ntoken_files = {files:?}");
        }
        fs::write(folder.path().join("inkpotd.toml"), config).expect("the configuration can be written");
        Self { folder, data_dir }
    }

    fn config_file(&self) -> PathBuf {
        self.folder.path().join("inkpotd.toml")
    }
}

fn write_token(folder: &TempDir, tenant: &str, number: usize, token: &str) -> String {
    let path = folder.path().join(format!("token-{tenant}-{number}"));
    fs::write(&path, token).expect("a token can be written");
    path.to_str().expect("a temporary folder in UTF-8").to_owned()
}

/// A running server. Dropping it kills the process and removes its folder.
#[derive(Debug)]
pub struct Server {
    setup: Setup,
    home: Home,
    address: SocketAddr,
    child: Child,
    stderr: Said,
}

impl Server {
    /// Starts a server, and waits until it listens.
    ///
    /// # Panics
    /// If it does not; with its standard error.
    #[must_use]
    pub fn start(setup: Setup) -> Self {
        let home = Home::of(&setup);
        let address = "127.0.0.1:0".parse().expect("an address");
        let stderr = Arc::default();
        match launch(&setup, &home, address, &stderr) {
            Ok((child, address)) => Self { setup, home, address, child, stderr },
            Err(why) => panic!("{why}; its standard error:\n{}", text(&stderr)),
        }
    }

    /// `http://ADDRESS`; the same after a restart.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens; the same after a restart.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process that runs now.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The data folder.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.home.data_dir
    }

    /// The plain file of tenant `default` at this path.
    #[must_use]
    pub fn plain(&self, path: &str) -> PathBuf {
        self.plain_of("default", path)
    }

    /// The plain file of a tenant at this path.
    #[must_use]
    pub fn plain_of(&self, tenant: &str, path: &str) -> PathBuf {
        self.home.data_dir.join("files").join(tenant).join(path)
    }

    /// Everything that it wrote to standard error, over its restarts.
    #[must_use]
    pub fn stderr(&self) -> String {
        text(&self.stderr)
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If the process has gone.
    pub fn signal(&self, signal: Signal) {
        kill_process(pid_of(&self.child), signal).expect("inkpotd runs");
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGKILL; returns when the process has gone.
    pub fn kill9(&mut self) {
        // Killing what has ended already is no fault of the test.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM; returns when the process has ended.
    ///
    /// # Panics
    /// If it takes longer than its own deadlines allow.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_for_end(STOP_BOUND)
    }

    /// Waits until the process has ended.
    ///
    /// # Panics
    /// If it has not within `bound`.
    pub fn wait_for_end(&mut self, bound: Duration) -> ExitStatus {
        wait_for_exit(&mut self.child, bound)
            .unwrap_or_else(|| panic!("inkpotd still runs after {bound:?}; its standard error:\n{}", self.stderr()))
    }

    /// Starts the server again, on the same folder and port; kills it first if it still runs.
    ///
    /// # Panics
    /// If it does not listen within a bound.
    pub fn restart(&mut self) {
        if let Err(why) = self.try_restart() {
            panic!("{why}; its standard error:\n{}", self.stderr());
        }
    }

    /// As [`Server::restart`], for a server that may refuse.
    ///
    /// # Errors
    /// Why it does not listen.
    pub fn try_restart(&mut self) -> Result<(), String> {
        self.kill9();
        let deadline = Instant::now() + START_BOUND;
        loop {
            let said = self.stderr().len();
            match launch(&self.setup, &self.home, self.address, &self.stderr) {
                Ok((child, _)) => {
                    self.child = child;
                    return Ok(());
                }
                // Somebody else's connection may have the port for a moment.
                Err(_) if self.stderr()[said..].contains("cannot listen") && Instant::now() < deadline => {}
                Err(why) => return Err(why),
            }
        }
    }

    /// Starts the process again, on the same folder and port, and does not wait for it: it may be about to die. What can
    /// wait for it is [`Server::restart`], which kills it first.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn restart_unawaited(&mut self) {
        self.kill9();
        let mut command = command(&self.setup, &self.home, self.address, &self.setup.args);
        self.child = command.stdout(Stdio::null()).spawn().expect("inkpotd can be started");
        collect_into(self.child.stderr.take(), Arc::clone(&self.stderr));
    }

    /// The token that [`Server::client`] shows: the first one of the setup.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.setup.tokens.first().map(|(_, token)| token.as_str())
    }

    /// A new connection.
    #[must_use]
    pub fn channel(&self) -> Channel {
        Endpoint::from_shared(self.endpoint()).expect("a URI").tcp_nodelay(true).connect_lazy()
    }

    /// WriteService on a new connection, with the first token.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client_as(self.token())
    }

    /// WriteService on a new connection, with this token.
    #[must_use]
    pub fn client_as(&self, token: Option<&str>) -> Client {
        WriteServiceClient::with_interceptor(self.channel(), Token::new(token)).max_decoding_message_size(16 << 20)
    }

    /// FileService on a new connection, with the first token.
    #[must_use]
    pub fn files(&self) -> FileClient {
        self.files_as(self.token())
    }

    /// FileService on a new connection, with this token.
    #[must_use]
    pub fn files_as(&self, token: Option<&str>) -> FileClient {
        FileServiceClient::with_interceptor(self.channel(), Token::new(token))
    }

    /// A session on a new connection, with the first token.
    ///
    /// # Panics
    /// If the server does not take it.
    pub async fn session(&self) -> RawSession {
        RawSession::start(self.client()).await.expect("the server takes a session")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill9();
        if thread::panicking() {
            eprintln!("--- standard error of inkpotd on {} ---\n{}", self.address, self.stderr());
        }
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// Starts the process, and waits for the line that says where it listens.
fn launch(setup: &Setup, home: &Home, address: SocketAddr, stderr: &Said) -> Result<(Child, SocketAddr), String> {
    let mut child = command(setup, home, address, &setup.args)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("inkpotd cannot be started: {error}"))?;
    collect_into(child.stderr.take(), Arc::clone(stderr));
    let lines = first_line(child.stdout.take());
    match lines.recv_timeout(START_BOUND) {
        Ok(line) => match line.trim().strip_prefix("listening on ").and_then(|address| address.parse().ok()) {
            Some(address) => Ok((child, address)),
            None => Err(give_up(child, &format!("inkpotd said {line:?} instead of where it listens"))),
        },
        Err(_) => Err(give_up(child, "inkpotd does not listen")),
    }
}

fn give_up(mut child: Child, why: &str) -> String {
    let ended = wait_for_exit(&mut child, Duration::from_secs(1));
    // It may have ended by itself.
    let _ = child.kill().and_then(|()| child.wait());
    ended.map_or_else(|| why.to_owned(), |status| format!("{why}: {status}"))
}

fn command(setup: &Setup, home: &Home, address: SocketAddr, args: &[String]) -> Command {
    let mut command = Command::new(binary());
    command.arg("--config").arg(home.config_file()).arg("--data-dir").arg(&home.data_dir);
    if !args.iter().any(|arg| arg == "--listen") {
        command.arg("--listen").arg(address.to_string());
    }
    command.args(args).stdin(Stdio::null()).stderr(Stdio::piped());
    let ours = |name: &str| name.starts_with("INKPOT_") || name.starts_with("OTEL_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| ours(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command.envs(setup.env.iter().map(|(name, value)| (name, value)));
    command
}
