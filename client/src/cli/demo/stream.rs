//! The producers of the demo: each has a connection and a session of its own, sends its share of the text to all
//! files in turn, and keeps what was acked where.

use super::{super::failure::Failure, verify::Placed};
use bytes::Bytes;
use inkpot_client::{Client, OpenOptions, Producer, Receipt, Session, Writer};
use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering},
};
use tokio::sync::{mpsc, watch};

/// Records of one append.
const BATCH_RECORDS: usize = 32;
/// Appends of a producer in flight. The server remembers the offsets of that many by default, so that even those
/// whose acks the kill swallowed are told where they lie.
const WINDOW: u32 = 64;
const WINDOW_BYTES: u64 = 8 << 20;

/// One append to be.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) file: usize,
    pub(super) records: Vec<Bytes>,
}

/// Deals the lines to the producers, one append after the other; all of them go through the files in the same order,
/// so that they meet there.
pub(super) fn deal(lines: &[Bytes], producers: usize, files: usize) -> Vec<Vec<Piece>> {
    let mut shares = vec![Vec::new(); producers];
    for (number, records) in lines.chunks(BATCH_RECORDS).enumerate() {
        let file = (number / producers) % files;
        shares[number % producers].push(Piece { file, records: records.to_vec() });
    }
    shares
}

/// How far all producers are together.
#[derive(Debug)]
pub(super) struct Tally {
    sent: AtomicU64,
    acked: watch::Sender<u64>,
    killed: watch::Sender<bool>,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self { sent: AtomicU64::new(0), acked: watch::Sender::new(0), killed: watch::Sender::new(false) }
    }

    /// Records handed to the library.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Records acked.
    pub(super) fn acked(&self) -> u64 {
        *self.acked.borrow()
    }

    /// Returns when at least `records` are acked.
    pub(super) async fn until_acked(&self, records: u64) {
        // Cannot fail: the sender lives in `self`.
        let _ = self.acked.subscribe().wait_for(|acked| *acked >= records).await;
    }

    /// Lets the producers send the rest.
    pub(super) fn release(&self) {
        self.killed.send_replace(true);
    }

    async fn until_released(&self) {
        let _ = self.killed.subscribe().wait_for(|killed| *killed).await;
    }
}

/// What a producer brought home.
#[derive(Debug)]
pub(super) struct Harvest {
    /// Per file.
    pub(super) placed: Vec<Vec<Placed>>,
    /// Appends that had been committed although their acks were lost.
    pub(super) duplicates: u64,
    pub(super) reconnects: u64,
}

/// A producer before it begins.
#[derive(Debug)]
pub(super) struct Streamer {
    pub(super) number: usize,
    pub(super) endpoint: String,
    pub(super) paths: Vec<String>,
    pub(super) pieces: Vec<Piece>,
}

impl Streamer {
    /// Sends all pieces and waits for all acks. Holds the last third back until the server was killed.
    pub(super) async fn run(self, tally: &Tally) -> Result<Harvest, Failure> {
        let Self { number, endpoint, paths, pieces } = self;
        let failed = |error| Failure::writing(format_args!("producer {number}"), &error);
        let client = Client::builder(endpoint).in_flight(WINDOW, WINDOW_BYTES).connect().await.map_err(failed)?;
        let session = client.session().await;
        let writers = open_all(&session, number, &paths).await?;
        let (sender, receiver) = mpsc::channel(WINDOW as usize);
        let ((), (placed, duplicates)) = tokio::try_join!(
            send(number, &writers, pieces, sender, tally),
            collect(number, paths.len(), receiver, tally)
        )?;
        for writer in writers {
            writer.finish().await.map_err(failed)?;
        }
        let reconnects = session.stats().reconnects;
        session.close().await.map_err(failed)?;
        Ok(Harvest { placed, duplicates, reconnects })
    }
}

async fn open_all(session: &Session, number: usize, paths: &[String]) -> Result<Vec<Writer>, Failure> {
    let mut writers = Vec::with_capacity(paths.len());
    for path in paths {
        let producer = Producer::Named { id: format!("demo-{number}"), epoch: None };
        let opened = session.open(path, OpenOptions { producer, ..OpenOptions::default() }).await;
        writers.push(opened.map_err(|error| Failure::writing(path, &error))?);
    }
    Ok(writers)
}

type Sent = (Piece, Receipt);

async fn send(
    number: usize,
    writers: &[Writer],
    pieces: Vec<Piece>,
    sent: mpsc::Sender<Sent>,
    tally: &Tally,
) -> Result<(), Failure> {
    let held_back = pieces.len() - (pieces.len() * 2 / 3).max(1).min(pieces.len());
    let mut pieces = VecDeque::from(pieces);
    while let Some(piece) = pieces.pop_front() {
        if pieces.len() < held_back {
            tally.until_released().await;
        }
        tally.sent.fetch_add(piece.records.len() as u64, Ordering::Relaxed);
        let receipt = writers[piece.file].append(piece.records.clone()).await;
        let receipt = receipt.map_err(|error| Failure::writing(format_args!("producer {number}"), &error))?;
        if sent.send((piece, receipt)).await.is_err() {
            // The collector failed, and tells why.
            return Ok(());
        }
    }
    Ok(())
}

async fn collect(
    number: usize,
    files: usize,
    mut sent: mpsc::Receiver<Sent>,
    tally: &Tally,
) -> Result<(Vec<Vec<Placed>>, u64), Failure> {
    let mut placed: Vec<Vec<Placed>> = vec![Vec::new(); files];
    let mut duplicates = 0;
    while let Some((Piece { file, records }, receipt)) = sent.recv().await {
        let ack = receipt.await.map_err(|error| Failure::writing(format_args!("producer {number}"), &error))?;
        duplicates += u64::from(ack.duplicate);
        tally.acked.send_modify(|acked| *acked += records.len() as u64);
        let order = placed[file].len() as u64;
        let (first_offset, end_offset) = (ack.first_offset, ack.end_offset);
        placed[file].push(Placed { producer: number, order, records, first_offset, end_offset });
    }
    Ok((placed, duplicates))
}

#[cfg(test)]
mod tests;
