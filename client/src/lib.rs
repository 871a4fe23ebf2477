//! Client of Inkpot: writes to many named files over one stream, each write acknowledged with its offset and the
//! durability that it reached.
//!
//! A [`Session`] keeps what is not acknowledged, connects again when its connection is lost, and sends again what is
//! safe to send again; with a [`Producer`] (the default) each record is in the file exactly once. It never waits for
//! ever: [`ClientBuilder::give_up_after`] bounds the time without progress, [`ClientBuilder::in_flight`] the memory.
//! An [`Error`] says what became of the write.
//!
//! ```no_run
//! use inkpot_client::{Client, OpenOptions};
//!
//! # async fn example() -> Result<(), inkpot_client::Error> {
//! let client = Client::builder("http://127.0.0.1:7411").token("secret").connect().await?;
//! let session = client.session().await;
//! let log = session.open("logs/app.log", OpenOptions::default()).await?;
//! for line in ["first\n", "second\n"] {
//!     log.write(line.into()).await?; // gathered into batches
//! }
//! let receipt = log.append(vec!["all ".into(), "or none\n".into()]).await?;
//! println!("at offset {:?}", receipt.await?.first_offset);
//! let progress = log.finish().await?; // everything is acknowledged now
//! println!("{} records, {:?}", progress.acked_records, progress.level);
//! session.close().await
//! # }
//! ```
//!
//! A producer that resumes after a restart of its own:
//!
//! ```no_run
//! use inkpot_client::{BatchPolicy, OpenOptions, Producer, Session};
//!
//! # async fn example(session: Session, lines: Vec<bytes::Bytes>) -> Result<(), inkpot_client::Error> {
//! let options = OpenOptions {
//!     producer: Producer::Named { id: "importer-7".into(), epoch: Some(1) },
//!     batch: BatchPolicy { max_records: 1, ..BatchPolicy::default() }, // a seq for each line
//!     ..OpenOptions::default()
//! };
//! let file = session.open("exports/day.csv", options).await?;
//! let done = usize::try_from(file.opened().last_seq).unwrap_or(usize::MAX);
//! for line in lines.into_iter().skip(done) {
//!     file.write(line).await?;
//! }
//! file.finish().await?;
//! # Ok(())
//! # }
//! ```
//!
//! What this library must not do: print, read the environment, retry what may be written twice, or show a token.

mod backoff;
mod batch;
mod client;
mod config;
mod error;
mod files;
mod producer;
mod session;
mod tail;
#[cfg(feature = "telemetry")]
mod telemetry;
#[cfg(not(feature = "telemetry"))]
#[path = "telemetry_off.rs"]
mod telemetry;
mod tls;

pub use batch::BatchPolicy;
pub use client::{AppendOnce, Client};
pub use config::ClientBuilder;
pub use error::{Error, ErrorKind, Result};
pub use files::{Files, ReadOptions};
pub use producer::Producer;
pub use session::{
    Ack, ByteWriter, Cut, OpenOptions, Opened, Progress, Receipt, RecordSink, Session, SessionStats, Throttle, Unsent,
    Writer,
};
pub use tail::{Line, Lines, Tail, TailOptions};

pub use inkpot_proto::v1::{
    Admission, Durability, ErrorReason, FileInfo, Framing, GetWriteStateResponse, Limits, Outcome, ReadResponse,
};
pub use tonic::Code;

/// Keeps the code in the README true.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct ReadmeSnippets;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
