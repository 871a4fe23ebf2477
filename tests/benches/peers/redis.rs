//! Redis Streams: a stream per file, `XADD` in pipelines.

use super::{
    Peer,
    load::{self, Producer, Work},
    server::Server,
};
use std::{
    io::{self, BufRead, BufReader, Write},
    net::TcpStream,
};

/// See the module.
pub struct Redis;

impl Peer for Redis {
    fn name(&self) -> &'static str {
        "Redis Streams"
    }

    fn settings(&self, durable: bool) -> Option<&'static str> {
        Some(if durable {
            "`appendonly yes`, `appendfsync always`, no snapshots; `XADD` in pipelines of a batch"
        } else {
            "`appendonly yes`, `appendfsync everysec`, no snapshots; `XADD` in pipelines of a batch"
        })
    }

    fn measure(&self, work: &Work) -> io::Result<f64> {
        let sync = if work.durable { "always" } else { "everysec" };
        let server = Server::start("redis-server", |port, folder| {
            let port = port.to_string();
            let folder = folder.display().to_string();
            let args = ["--port", &port, "--bind", "127.0.0.1", "--dir", &folder, "--save", "", "--appendonly", "yes"];
            Ok(args.into_iter().chain(["--appendfsync", sync]).map(str::to_owned).collect())
        })?;
        load::run(work, |_| Ok(Box::new(Connection::new(server.connect()?)?)))
    }
}

struct Connection {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
    request: Vec<u8>,
    line: Vec<u8>,
}

impl Connection {
    fn new(stream: TcpStream) -> io::Result<Self> {
        let answers = BufReader::with_capacity(64 << 10, stream.try_clone()?);
        Ok(Self { stream, answers, request: Vec::new(), line: Vec::new() })
    }

    /// A bulk string, as `XADD` answers it: its length, then the id.
    fn answer(&mut self) -> io::Result<()> {
        for _ in 0..2 {
            self.line.clear();
            self.answers.read_until(b'\n', &mut self.line)?;
            if self.line.first().is_none_or(|first| *first == b'-') {
                return Err(io::Error::other(String::from_utf8_lossy(&self.line).into_owned()));
            }
        }
        Ok(())
    }
}

impl Producer for Connection {
    fn send(&mut self, file: usize, records: &[&[u8]]) -> io::Result<()> {
        let key = format!("file-{file}");
        self.request.clear();
        for record in records {
            write!(self.request, "*5\r\n$4\r\nXADD\r\n${}\r\n{key}\r\n$1\r\n*\r\n$1\r\nd\r\n", key.len())?;
            write!(self.request, "${}\r\n", record.len())?;
            self.request.extend_from_slice(record);
            self.request.extend_from_slice(b"\r\n");
        }
        self.stream.write_all(&self.request)
    }

    fn acknowledged(&mut self) -> io::Result<usize> {
        self.answer().map(|()| 1)
    }
}
