//! Turns a byte stream into records on a thread of its own: a record per line, or chunks. The bytes are never
//! changed, and the records share the buffers that were read.

use bytes::{Bytes, BytesMut};
use std::{
    io::{self, Read},
    thread,
};
use thiserror::Error;
use tokio::sync::mpsc;

/// Bytes asked for by one read.
const READ_BYTES: usize = 64 << 10;
/// Reads that may wait to be taken: enough to overlap reading and sending, little to lose sight of at an interrupt.
const READS_AHEAD: usize = 4;

/// How a stream is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// After each newline; a last line without one is a record too.
    Lines,
    /// After this many bytes; the last chunk may be shorter.
    Chunks(usize),
}

/// Why reading stopped before the end.
#[derive(Debug, Error)]
pub(crate) enum InputError {
    /// A line that no append can carry.
    #[error(
        "line {line} is longer than the record limit of {limit} bytes; nothing from this line on was sent (to send \
         any bytes regardless of lines use --raw)"
    )]
    LineTooLong { line: u64, limit: usize },
    /// The stream broke.
    #[error("cannot read the input after {records} records: {error}")]
    Read { records: u64, error: io::Error },
}

/// What a read gave, in order; after an error nothing comes.
pub(crate) type Records = Result<Vec<Bytes>, InputError>;

/// Starts to read. `limit` is the largest record in bytes. The thread ends with the stream, at an error, or with the
/// first records that nobody takes; a read that never returns ends with the process.
pub(crate) fn spawn(source: impl Read + Send + 'static, cut: Cut, limit: usize) -> io::Result<mpsc::Receiver<Records>> {
    let (sender, receiver) = mpsc::channel(READS_AHEAD);
    thread::Builder::new().name("input".to_owned()).spawn(move || pump(source, Cutter::new(cut, limit), &sender))?;
    Ok(receiver)
}

fn pump(mut source: impl Read, mut cutter: Cutter, sender: &mpsc::Sender<Records>) {
    loop {
        let mut records = Vec::new();
        let (result, last) = match cutter.read_from(&mut source) {
            Ok(0) => (cutter.finish(&mut records), true),
            Ok(_) => (cutter.cut(&mut records), false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => (Err(InputError::Read { records: cutter.records, error }), true),
        };
        if !records.is_empty() && sender.blocking_send(Ok(records)).is_err() {
            return;
        }
        if let Err(error) = result {
            // Nobody left to tell is the end as well.
            let _ = sender.blocking_send(Err(error));
            return;
        }
        if last {
            return;
        }
    }
}

/// Cuts what is pushed into records. Holds at most one unfinished record and one read.
#[derive(Debug)]
struct Cutter {
    cut: Cut,
    limit: usize,
    pending: BytesMut,
    /// Bytes of `pending` that are known to hold no end of a record.
    searched: usize,
    records: u64,
}

impl Cutter {
    fn new(cut: Cut, limit: usize) -> Self {
        Self { cut, limit, pending: BytesMut::new(), searched: 0, records: 0 }
    }

    fn read_from(&mut self, source: &mut impl Read) -> io::Result<usize> {
        let old = self.pending.len();
        self.pending.resize(old + READ_BYTES, 0);
        let got = source.read(&mut self.pending[old..]);
        self.pending.truncate(old + got.as_ref().copied().unwrap_or(0));
        got
    }

    /// Moves the complete records out of `pending`. Those before a faulty one are given all the same.
    fn cut(&mut self, records: &mut Vec<Bytes>) -> Result<(), InputError> {
        match self.cut {
            Cut::Lines => self.cut_lines(records),
            Cut::Chunks(size) => {
                while self.pending.len() >= size {
                    records.push(self.pending.split_to(size).freeze());
                    self.records += 1;
                }
                Ok(())
            }
        }
    }

    fn cut_lines(&mut self, records: &mut Vec<Bytes>) -> Result<(), InputError> {
        if let Some(last) = self.pending[self.searched..].iter().rposition(|byte| *byte == b'\n') {
            let mut rest = self.pending.split_to(self.searched + last + 1).freeze();
            while !rest.is_empty() {
                let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
                self.push_line(rest.split_to(end), records)?;
            }
        }
        self.searched = self.pending.len();
        if self.pending.len() > self.limit { Err(self.too_long()) } else { Ok(()) }
    }

    /// Takes what is left at the end of the stream as the last record.
    fn finish(&mut self, records: &mut Vec<Bytes>) -> Result<(), InputError> {
        self.cut(records)?;
        let rest = self.pending.split().freeze();
        if rest.is_empty() { Ok(()) } else { self.push_line(rest, records) }
    }

    fn push_line(&mut self, line: Bytes, records: &mut Vec<Bytes>) -> Result<(), InputError> {
        if line.len() > self.limit {
            return Err(self.too_long());
        }
        self.records += 1;
        records.push(line);
        Ok(())
    }

    fn too_long(&self) -> InputError {
        InputError::LineTooLong { line: self.records + 1, limit: self.limit }
    }
}

#[cfg(test)]
mod tests;
