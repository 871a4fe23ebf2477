//! NATS JetStream: one stream on the disk, a subject per file, publications with acknowledgements.

use super::{
    Peer,
    load::{self, Producer, Work},
    server::Server,
};
use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
};

/// See the module.
pub struct Nats;

impl Peer for Nats {
    fn name(&self) -> &'static str {
        "NATS JetStream"
    }

    fn settings(&self, durable: bool) -> Option<&'static str> {
        Some(if durable {
            "a stream on the disk, one replica, `sync_interval: always`; the publications of a batch at once"
        } else {
            "a stream on the disk, one replica, synced every two minutes (its default); the publications of a batch at once"
        })
    }

    fn measure(&self, work: &Work) -> io::Result<f64> {
        let server = Server::start("nats-server", |port, folder| {
            let config = folder.join("nats.conf");
            let store = folder.join("store");
            let sync = if work.durable { "always" } else { "2m" };
            let text = format!(
                "listen: 127.0.0.1:{port}\n\
                 jetstream {{ store_dir: {store:?}, max_file_store: 50G, sync_interval: {sync} }}\n"
            );
            fs::write(&config, text)?;
            Ok(vec!["-c".to_owned(), config.display().to_string()])
        })?;
        let mut first = Connection::new(server.connect()?, 0)?;
        first.create_stream()?;
        load::run(work, |number| Ok(Box::new(Connection::new(server.connect()?, number + 1)?)))
    }
}

struct Connection {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
    inbox: String,
    request: Vec<u8>,
    line: String,
}

impl Connection {
    fn new(stream: TcpStream, number: usize) -> io::Result<Self> {
        let answers = BufReader::with_capacity(64 << 10, stream.try_clone()?);
        let inbox = format!("_INBOX.{number}");
        let mut connection = Self { stream, answers, inbox, request: Vec::new(), line: String::new() };
        connection.answers.read_line(&mut connection.line)?;
        let hello =
            format!("CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\nSUB {} 1\r\nPING\r\n", connection.inbox);
        connection.stream.write_all(hello.as_bytes())?;
        while connection.line != "PONG\r\n" {
            connection.next_line()?;
        }
        Ok(connection)
    }

    fn next_line(&mut self) -> io::Result<()> {
        self.line.clear();
        self.answers.read_line(&mut self.line)?;
        if self.line.is_empty() || self.line.starts_with("-ERR") {
            return Err(io::Error::other(format!("the server says {:?}", self.line)));
        }
        Ok(())
    }

    /// The payload of the next message to the inbox.
    fn message(&mut self) -> io::Result<Vec<u8>> {
        loop {
            self.next_line()?;
            if self.line == "PING\r\n" {
                self.stream.write_all(b"PONG\r\n")?;
                continue;
            }
            let length = self.line.trim_end().rsplit(' ').next().and_then(|length| length.parse::<usize>().ok());
            let length = length.filter(|_| self.line.starts_with("MSG "));
            let length = length.ok_or_else(|| io::Error::other(format!("the server says {:?}", self.line)))?;
            let mut payload = vec![0; length + 2];
            self.answers.read_exact(&mut payload)?;
            payload.truncate(length);
            return Ok(payload);
        }
    }

    fn create_stream(&mut self) -> io::Result<()> {
        let config =
            r#"{"name":"FILES","subjects":["files.>"],"storage":"file","retention":"limits","num_replicas":1}"#;
        let request = format!("PUB $JS.API.STREAM.CREATE.FILES {} {}\r\n{config}\r\n", self.inbox, config.len());
        self.stream.write_all(request.as_bytes())?;
        self.taken()
    }

    /// An answer that is no error.
    fn taken(&mut self) -> io::Result<()> {
        let answer = self.message()?;
        if answer.windows(8).any(|part| part == b"\"error\":") {
            return Err(io::Error::other(String::from_utf8_lossy(&answer).into_owned()));
        }
        Ok(())
    }
}

impl Producer for Connection {
    fn send(&mut self, file: usize, records: &[&[u8]]) -> io::Result<()> {
        self.request.clear();
        for record in records {
            write!(self.request, "PUB files.{file} {} {}\r\n", self.inbox, record.len())?;
            self.request.extend_from_slice(record);
            self.request.extend_from_slice(b"\r\n");
        }
        self.stream.write_all(&self.request)
    }

    fn acknowledged(&mut self) -> io::Result<usize> {
        self.taken().map(|()| 1)
    }
}
