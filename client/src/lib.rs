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
//! # What to use
//!
//! | for | use |
//! | --- | --- |
//! | records, as fast as they come | [`Writer::write`]; [`Writer::flush`] says when all are acknowledged |
//! | a record or some, all or none, each with its offset | [`Writer::append`], and its [`Receipt`] |
//! | a logger that must not block | [`Writer::try_write`]: the example is at [`Writer`] |
//! | a handler with a deadline | [`Writer::write_timeout`], [`Writer::append_timeout`] |
//! | code that writes bytes | [`Writer::into_async_write`]: [`ByteWriter`] |
//! | code that speaks streams | [`Writer::into_sink`]: [`RecordSink`] |
//! | an export that is resumed after a crash | [`Producer::Named`]: the example is at [`Producer`] |
//! | one write, without a session | [`Client::append_once`] |
//! | a file that appears whole or not at all | [`Client::upload`], [`Client::upload_file`]: the example is at [`Upload`] |
//! | the same, for code that writes bytes | [`Upload::into_async_write`]: [`UploadWriter`] publishes on shutdown |
//! | some files that appear together | [`Upload::leave_open`] for each, then [`Files::commit_files`] |
//! | following a file | [`Files::tail`]: the example is at [`Tail`] |
//! | reading, listing | [`Files::read`], [`Files::download`], [`Files::stat`], [`Files::list`], [`Files::entries`] |
//! | removing | [`Files::delete`], [`Files::delete_prefix`] |
//! | renaming, cutting, sealing | [`Files::rename`], [`Files::truncate`], [`Files::seal`] |
//! | files that another program changed | [`Files::adopt`] |
//! | paths with the date and such in them | [`PathTemplate`] |
//!
//! # Telemetry
//!
//! With the feature `telemetry` (on by default) the library reports to the OpenTelemetry SDK that the application installs
//! before its first client connects; without an SDK this costs next to nothing.
//!
//! - Metrics: `inkpot.client.appends`, `.records`, `.io` (acknowledged), `.append.duration`, `.refusals` by
//!   `inkpot.reason`, `.reconnects`, `.in_flight.appends`, `.in_flight.size`, `.window.waits`. None has the name of a file.
//! - Spans of `tracing`: `inkpot.session`, `inkpot.connect`, `inkpot.open`.
//! - Each call carries the W3C `traceparent` and `tracestate` of the current span. An append made in a sampled span carries
//!   its `traceparent`; one that gathers several records, that of the first.
//!
//! What this library must not do: print, read the environment, retry what may be written twice, or show a token.

mod backoff;
mod batch;
mod client;
mod config;
mod connector;
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
mod template;
mod tls;
mod upload;

pub use batch::BatchPolicy;
pub use client::{AppendOnce, Client};
pub use config::ClientBuilder;
pub use error::{Error, ErrorKind, Result};
pub use files::{
    AdoptOptions, ChangeOptions, DownloadOptions, Downloaded, Entry, Files, ListOptions, ReadOptions, RenameOptions,
};
pub use producer::Producer;
pub use session::{
    Ack, ByteWriter, Cut, OpenOptions, Opened, Progress, Receipt, RecordSink, Session, SessionStats, Throttle, Unsent,
    Writer,
};
pub use tail::{Line, Lines, Tail, TailOptions};
pub use template::PathTemplate;
pub use upload::{
    Expected, Published, Transferred, Upload, UploadFileOptions, UploadMode, UploadOptions, UploadWriter,
};

pub use inkpot_proto::v1::{
    Admission, AdoptResponse, DeletePrefixResponse, DeleteResponse, Durability, ErrorReason, FileInfo, Framing,
    GetWriteStateResponse, Limits, NotAdopted, Operator, Outcome, ReadResponse, RenameResponse, SealResponse,
    Transition, TruncateResponse, UploadPart,
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
