//! rsyslog: messages over RELP into a plain file each.

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
pub struct Rsyslog;

impl Peer for Rsyslog {
    fn name(&self) -> &'static str {
        "rsyslog, RELP"
    }

    fn settings(&self, durable: bool) -> Option<&'static str> {
        // Its acknowledgement tells that a message is in a queue in memory.
        (!durable).then_some(
            "acknowledged once queued in memory; a queue of 200 000, taken 1 024 at a time; a file each by `omfile`, \
             in blocks of 64 KiB; the messages of a batch at once",
        )
    }

    fn measure(&self, work: &Work) -> io::Result<f64> {
        let server = Server::start("rsyslogd", |port, folder| {
            let (config, at) = (folder.join("rsyslog.conf"), folder.display());
            let text = format!(
                "global(workDirectory=\"{at}\" maxMessageSize=\"128k\")\n\
                 main_queue(queue.type=\"FixedArray\" queue.size=\"200000\" queue.dequeueBatchSize=\"1024\")\n\
                 module(load=\"imrelp\")\n\
                 input(type=\"imrelp\" address=\"127.0.0.1\" port=\"{port}\" maxDataSize=\"128k\")\n\
                 template(name=\"path\" type=\"string\" string=\"{at}/files/%programname%.log\")\n\
                 template(name=\"line\" type=\"string\" string=\"%msg:2:$%\\n\")\n\
                 action(type=\"omfile\" dynaFile=\"path\" template=\"line\" dynaFileCacheSize=\"20000\" \
                 ioBufferSize=\"64k\" flushOnTXEnd=\"off\")\n"
            );
            fs::write(&config, text)?;
            let pid = folder.join("pid").display().to_string();
            Ok(["-n", "-f", &config.display().to_string(), "-i", &pid].map(str::to_owned).into())
        })?;
        load::run(work, |_| Ok(Box::new(Connection::new(server.connect()?)?)))
    }
}

struct Connection {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
    request: Vec<u8>,
    answer: Vec<u8>,
    transaction: u32,
}

impl Connection {
    fn new(stream: TcpStream) -> io::Result<Self> {
        let answers = BufReader::with_capacity(64 << 10, stream.try_clone()?);
        let mut connection = Self { stream, answers, request: Vec::new(), answer: Vec::new(), transaction: 0 };
        connection.command("open", &[b"relp_version=0\nrelp_software=inkpot,1,-\ncommands=syslog"])?;
        connection.flush()?;
        connection.answer()?;
        Ok(connection)
    }

    fn command(&mut self, name: &str, data: &[&[u8]]) -> io::Result<()> {
        // Numbers begin anew after nine digits.
        self.transaction = self.transaction % 999_999_999 + 1;
        let len: usize = data.iter().map(|part| part.len()).sum();
        write!(self.request, "{} {name} {len} ", self.transaction)?;
        data.iter().for_each(|part| self.request.extend_from_slice(part));
        self.request.push(b'\n');
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.request)?;
        self.request.clear();
        Ok(())
    }

    /// The next answer: number, `rsp`, length and data, which begins with 200 if all is well.
    fn answer(&mut self) -> io::Result<()> {
        for _ in 0..3 {
            self.answer.clear();
            self.answers.read_until(b' ', &mut self.answer)?;
        }
        let len = str::from_utf8(&self.answer).ok().and_then(|len| len.trim_end().parse::<usize>().ok());
        // With the newline behind it.
        self.answer.resize(len.ok_or(io::ErrorKind::InvalidData)? + 1, 0);
        self.answers.read_exact(&mut self.answer)?;
        if self.answer.starts_with(b"200 ") {
            Ok(())
        } else {
            Err(io::Error::other(String::from_utf8_lossy(&self.answer).into_owned()))
        }
    }
}

impl Producer for Connection {
    fn send(&mut self, file: usize, records: &[&[u8]]) -> io::Result<()> {
        let head = format!("<13>1 2026-01-01T00:00:00Z host file-{file} - - - ");
        for record in records {
            self.command("syslog", &[head.as_bytes(), record])?;
        }
        self.flush()
    }

    fn acknowledged(&mut self) -> io::Result<usize> {
        self.answer().map(|()| 1)
    }
}
