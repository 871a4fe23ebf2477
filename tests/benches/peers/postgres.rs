//! PostgreSQL: a table of records, `COPY` of a batch per transaction, in its wire protocol (version 3).

use super::{
    Peer,
    load::{self, Producer, Work},
    server::Server,
};
use std::{
    fs,
    io::{self, BufReader, Read, Write},
    net::TcpStream,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
};

/// See the module.
pub struct Postgres;

/// Of a table without an index. Long values are not compressed.
const TABLE: &str = "CREATE TABLE records (file int, data text); ALTER TABLE records ALTER data SET STORAGE EXTERNAL";
const VERSION: u32 = 3 << 16;

impl Peer for Postgres {
    fn name(&self) -> &'static str {
        "PostgreSQL"
    }

    fn settings(&self, durable: bool) -> Option<&'static str> {
        Some(if durable {
            "`synchronous_commit=on`, `shared_buffers=1GB`, `max_wal_size=8GB`, no index; `COPY` and commit of a batch"
        } else {
            "`synchronous_commit=off`, `shared_buffers=1GB`, `max_wal_size=8GB`, no index; `COPY` and commit of a batch"
        })
    }

    fn measure(&self, work: &Work) -> io::Result<f64> {
        let bin = bin()?;
        let server = Server::start("setpriv", |port, folder| {
            let data = folder.join("data");
            let owner = Command::new("id").args(["-u", "postgres"]).output()?;
            let owner = String::from_utf8_lossy(&owner.stdout).trim().parse().map_err(io::Error::other)?;
            chown(folder, Some(owner), None)?;
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
            let made = Command::new("setpriv")
                .args(as_postgres(&bin.join("initdb")))
                .args(["--auth", "trust", "--no-sync", "--username", "postgres", "--pgdata"])
                .arg(&data)
                .current_dir(folder)
                .output()?;
            if !made.status.success() {
                return Err(io::Error::other(String::from_utf8_lossy(&made.stderr).into_owned()));
            }
            let mut args = as_postgres(&bin.join("postgres"));
            args.extend(["-D", &data.display().to_string(), "-p", &port.to_string(), "-k", ""].map(str::to_owned));
            let sync = if work.durable { "synchronous_commit=on" } else { "synchronous_commit=off" };
            for setting in [sync, "listen_addresses=127.0.0.1", "shared_buffers=1GB", "max_wal_size=8GB"] {
                args.extend(["-c", setting].map(str::to_owned));
            }
            Ok(args)
        })?;
        let mut first = Connection::new(&server)?;
        first.query(TABLE);
        first.flush()?;
        first.done()?;
        load::run(work, |_| Ok(Box::new(Connection::new(&server)?)))
    }
}

/// It does not run as root.
fn as_postgres(program: &Path) -> Vec<String> {
    let program = program.display().to_string();
    ["--reuid=postgres", "--regid=postgres", "--clear-groups", "--", &program].map(str::to_owned).into()
}

/// The programs of the newest version that is installed.
fn bin() -> io::Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql")?.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    versions.filter(|bin| bin.join("initdb").exists()).max().ok_or_else(|| io::Error::other("PostgreSQL is missing"))
}

struct Connection {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
    request: Vec<u8>,
    /// Records of a transaction.
    batch: usize,
}

impl Connection {
    fn new(server: &Server) -> io::Result<Self> {
        // It listens a while before it serves.
        for _ in 0..100 {
            let stream = server.connect()?;
            let answers = BufReader::with_capacity(64 << 10, stream.try_clone()?);
            let mut connection = Self { stream, answers, request: Vec::new(), batch: 0 };
            let hello = b"user\0postgres\0database\0postgres\0\0";
            connection.request.extend_from_slice(&(hello.len() as u32 + 8).to_be_bytes());
            connection.request.extend_from_slice(&VERSION.to_be_bytes());
            connection.request.extend_from_slice(hello);
            connection.flush()?;
            if connection.done().is_ok() {
                return Ok(connection);
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        Err(io::Error::other("PostgreSQL takes no connection"))
    }

    fn message(&mut self, kind: u8, body: &[&[u8]]) {
        let len: usize = body.iter().map(|part| part.len()).sum();
        self.request.push(kind);
        self.request.extend_from_slice(&(len as u32 + 4).to_be_bytes());
        body.iter().for_each(|part| self.request.extend_from_slice(part));
    }

    fn query(&mut self, text: &str) {
        self.message(b'Q', &[text.as_bytes(), b"\0"]);
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.request)?;
        self.request.clear();
        Ok(())
    }

    /// Reads until it is ready for the next query.
    fn done(&mut self) -> io::Result<()> {
        loop {
            let mut head = [0; 5];
            self.answers.read_exact(&mut head)?;
            let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let mut body = vec![0; len - 4];
            self.answers.read_exact(&mut body)?;
            match head[0] {
                b'Z' => return Ok(()),
                b'E' => return Err(io::Error::other(String::from_utf8_lossy(&body).into_owned())),
                _ => {}
            }
        }
    }
}

impl Producer for Connection {
    fn send(&mut self, file: usize, records: &[&[u8]]) -> io::Result<()> {
        self.query("COPY records FROM STDIN");
        let file = format!("{file}\t");
        let lines: Vec<&[u8]> = records.iter().flat_map(|record| [file.as_bytes(), record, b"\n"]).collect();
        self.batch = records.len();
        self.message(b'd', &lines);
        self.message(b'c', &[]);
        self.flush()
    }

    fn acknowledged(&mut self) -> io::Result<usize> {
        self.done()?;
        Ok(self.batch)
    }
}
