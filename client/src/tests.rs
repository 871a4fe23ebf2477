//! The library against a server that misbehaves as told.
#![allow(clippy::unwrap_used)]

mod adapters;
mod connector;
mod delivery;
mod limits;
mod local_files;
mod operations;
mod reading;
mod refusals;
mod sending;
mod tail;
#[cfg(feature = "telemetry")]
mod telemetry;
mod tls;
mod uploads;

use crate::{
    BatchPolicy, Client, ClientBuilder, OpenOptions, Producer, Session,
    fake::{Act, Fake, Seen},
};
use bytes::Bytes;
use inkpot_proto::v1::write_request::Frame;
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};

/// Longer than any test may take.
const BOUND: Duration = Duration::from_secs(20);

async fn in_time<F: Future>(future: F) -> F::Output {
    timeout(BOUND, future).await.expect("the client waits for ever")
}

/// Waits until the world is as wanted.
async fn until(mut reached: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < BOUND, "never came to pass");
        sleep(Duration::from_millis(1)).await;
    }
}

/// A server that loses each append, with the connection, until it is released.
async fn held() -> (Fake, Arc<AtomicBool>) {
    let released = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&released);
    let fake = Fake::start(move |frame: &Seen<'_>| match frame.frame {
        Frame::Append(_) if !seen.load(Ordering::SeqCst) => Act::Cut { applied: false },
        _ => Act::Serve,
    });
    (fake.await, released)
}

async fn session_with(fake: &Fake, adjust: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Session {
    adjust(Client::builder(&fake.endpoint)).connect().await.unwrap().session().await
}

async fn session(fake: &Fake) -> Session {
    session_with(fake, |builder| builder).await
}

/// Each record an append, at once.
fn singly() -> OpenOptions {
    batched(1, Duration::ZERO)
}

fn batched(max_records: u32, linger: Duration) -> OpenOptions {
    let batch = BatchPolicy { max_records, linger, ..BatchPolicy::default() };
    OpenOptions { batch, ..OpenOptions::default() }
}

fn without_producer() -> OpenOptions {
    OpenOptions { producer: Producer::None, ..singly() }
}

fn record(number: usize) -> Bytes {
    format!("record {number}\n").into()
}

fn records(numbers: impl IntoIterator<Item = usize>) -> Vec<u8> {
    numbers.into_iter().flat_map(|number| record(number).to_vec()).collect()
}

/// Does `act` with the append of this seq when it comes for the first time, and serves everything else.
fn once(seq: u64, act: Act) -> impl FnMut(&Seen<'_>) -> Act {
    let mut act = Some(act);
    move |seen| match seen.frame {
        Frame::Append(append) if append.seq == seq => act.take().unwrap_or(Act::Serve),
        _ => Act::Serve,
    }
}
