//! A server of a peer: a process in a folder of its own, which ends with what holds it.

use rustix::process::{Pid, Signal, kill_process};
use std::{
    ffi::OsStr,
    io,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long a server may take to start.
const BOUND: Duration = Duration::from_secs(30);
/// How long it may take to end.
const TO_END: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A port of the loopback that nothing listens on.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A server that runs.
pub struct Server {
    child: Child,
    /// Where it listens on the loopback.
    pub port: u16,
    _folder: TempDir,
}

impl Server {
    /// Starts a program, and waits until it listens. `args` get the port and the folder.
    pub fn start<S: AsRef<OsStr>>(
        program: &str,
        args: impl FnOnce(u16, &Path) -> io::Result<Vec<S>>,
    ) -> io::Result<Self> {
        let folder = TempDir::with_prefix("inkpot-peer-")?;
        let port = free_port()?;
        let args = args(port, folder.path())?;
        let mut command = Command::new(program);
        command.args(args).current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let missing =
            |error| io::Error::other(format!("{program} cannot be run ({error}); see tests/benches/peers/run"));
        let mut server = Self { child: command.spawn().map_err(missing)?, port, _folder: folder };
        let deadline = Instant::now() + BOUND;
        while server.connect().is_err() {
            if Instant::now() > deadline || server.child.try_wait()?.is_some() {
                return Err(io::Error::other(format!("{program} does not listen")));
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(server)
    }

    /// A new connection.
    pub fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // PostgreSQL takes its other processes along only if it is told; everything else ends of it too.
        let pid = self.child.id().try_into().ok().and_then(Pid::from_raw);
        let _ = pid.map(|pid| kill_process(pid, Signal::QUIT));
        let deadline = Instant::now() + TO_END;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(LOOK_EVERY);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
