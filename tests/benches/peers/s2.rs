//! s2-lite: a stream per file, on SlateDB in a local folder; the records of a batch in one append, over HTTP/1.1.

use super::{
    Peer,
    load::{self, IN_FLIGHT, Producer, Work},
    server::Server,
};
use prost::Message;
use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
};

/// See the module.
pub struct S2;

/// What its streams belong to.
const BASINS: &str = r#"{"basins": [{"name": "inkpot-bench", "config": {"create_stream_on_append": true}}]}"#;

impl Peer for S2 {
    fn name(&self) -> &'static str {
        "s2-lite"
    }

    fn settings(&self, durable: bool) -> Option<&'static str> {
        durable.then_some(
            "a local folder, flushed every 5 ms (its default), with `fsync`; a batch in one append of protobuf",
        )
    }

    fn measure(&self, work: &Work) -> io::Result<f64> {
        let server = Server::start("s2-lite", |port, folder| {
            let (data, basins) = (folder.join("data"), folder.join("basins.json"));
            fs::create_dir(&data)?;
            fs::write(&basins, BASINS)?;
            let (data, basins) = (data.display().to_string(), basins.display().to_string());
            let args = ["--port", &port.to_string(), "--local-root", &data, "--init-file", &basins, "--no-cors"];
            Ok(args.map(str::to_owned).into())
        })?;
        load::run(work, |_| Ok(Box::new(Connections::new(&server)?)))
    }
}

/// Of `s2.v1`, what is sent.
#[derive(Clone, PartialEq, Message)]
struct AppendInput {
    #[prost(message, repeated, tag = "1")]
    records: Vec<AppendRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct AppendRecord {
    #[prost(bytes = "vec", tag = "3")]
    body: Vec<u8>,
}

/// One for each batch that is on its way: a request waits for the one before it on its connection.
struct Connections {
    all: Vec<BufReader<TcpStream>>,
    sent: usize,
    answered: usize,
    /// Records of an append.
    batch: usize,
}

impl Connections {
    fn new(server: &Server) -> io::Result<Self> {
        let all = (0..IN_FLIGHT).map(|_| Ok(BufReader::new(server.connect()?))).collect::<io::Result<_>>()?;
        Ok(Self { all, sent: 0, answered: 0, batch: 0 })
    }
}

impl Producer for Connections {
    fn send(&mut self, file: usize, records: &[&[u8]]) -> io::Result<()> {
        let bodies = records.iter().map(|record| AppendRecord { body: record.to_vec() }).collect();
        let body = AppendInput { records: bodies }.encode_to_vec();
        let mut request = format!(
            "POST /v1/streams/file-{file}/records HTTP/1.1\r\nhost: localhost\r\ns2-basin: inkpot-bench\r\n\
             content-type: application/protobuf\r\naccept: application/protobuf\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(&body);
        self.batch = records.len();
        let connection = self.sent % self.all.len();
        self.sent += 1;
        self.all[connection].get_mut().write_all(&request)
    }

    fn acknowledged(&mut self) -> io::Result<usize> {
        let connection = self.answered % self.all.len();
        self.answered += 1;
        let answers = &mut self.all[connection];
        let (mut status, mut line, mut len) = (String::new(), String::new(), 0);
        answers.read_line(&mut status)?;
        loop {
            line.clear();
            answers.read_line(&mut line)?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    len = value.parse().map_err(io::Error::other)?;
                }
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; len];
        answers.read_exact(&mut body)?;
        if status.starts_with("HTTP/1.1 200 ") {
            Ok(self.batch)
        } else {
            Err(io::Error::other(format!("{} {}", status.trim_end(), String::from_utf8_lossy(&body))))
        }
    }
}
