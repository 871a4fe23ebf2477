//! Uploads: a file that appears whole or not at all.

mod byte_writer;
mod file;
mod options;

pub use byte_writer::UploadWriter;
pub use options::{Expected, Published, Transferred, UploadFileOptions, UploadMode, UploadOptions};

use crate::{Client, Error, Opened, Result, Session, SessionStats, Writer};
use bytes::Bytes;
use inkpot_proto::{
    error::Refused,
    v1::{ErrorReason, UploadPart},
};
use std::fmt;

/// A file that is being uploaded: nobody sees it before [`commit`](Self::commit), and then everybody sees all of it. Made by
/// [`Client::upload`] and [`Session::upload`].
///
/// It goes on by itself over lost connections and restarts of the server, like a [`Writer`]. Dropped without an end, it
/// stays on the server, where an upload to the same path with the same [`Producer::Named`](crate::Producer::Named) finds it
/// again, until it expires (`Limits.upload_expiry_seconds`).
///
/// ```no_run
/// use inkpot_client::{Client, Expected, Producer, UploadOptions};
///
/// # async fn example(client: Client, report: Vec<u8>) -> Result<(), inkpot_client::Error> {
/// let producer = Producer::Named { id: "nightly".into(), epoch: Some(20_261_123) }; // the same when it is run again
/// let options = UploadOptions { producer, ..UploadOptions::default() };
/// let mut upload = client.upload("reports/2026-11-23.csv", options).await?;
/// let done = usize::try_from(upload.resumed_at()).unwrap_or(usize::MAX);
/// upload.write(report.get(done..).unwrap_or_default().to_vec().into()).await?;
/// let published = upload.commit(Expected::default()).await?;
/// println!("generation {}, {} bytes", published.generation, published.size);
/// # Ok(())
/// # }
/// ```
pub struct Upload {
    writer: Writer,
}

impl Client {
    /// Begins an upload to `path`, or goes on with one of the same producer, on a session of its own.
    ///
    /// # Errors
    /// The server refused for good (with its reason, like `FileExists`), an option is not valid, or nothing was heard of
    /// the server for as long as [`give_up_after`](crate::ClientBuilder::give_up_after) says.
    pub async fn upload(&self, path: &str, options: UploadOptions) -> Result<Upload> {
        self.session().await.upload(path, options).await
    }
}

impl Session {
    /// As [`Client::upload`], on this session: many small files need no connection each. The window of the session holds
    /// in place of [`UploadOptions::window_bytes`]; beside it each upload gathers at most one chunk.
    ///
    /// # Errors
    /// As [`Client::upload`].
    pub async fn upload(&self, path: &str, options: UploadOptions) -> Result<Upload> {
        let _ = options;
        Err(not_yet(path))
    }
}

fn not_yet(path: &str) -> Error {
    Error::refused(Refused::new(ErrorReason::Unimplemented, "not yet")).on(path)
}

impl Upload {
    /// Path that the file will have.
    #[must_use]
    pub fn path(&self) -> &str {
        self.writer.path()
    }

    /// What the server said when the upload was opened for the first time; producer id and epoch, among others.
    #[must_use]
    pub fn opened(&self) -> &Opened {
        self.writer.opened()
    }

    /// How much was there before, in bytes: the first byte to write is the one at this offset.
    #[must_use]
    pub fn resumed_at(&self) -> u64 {
        self.opened().next_offset
    }

    /// Whether this producer has published the upload before, in the same epoch: it takes no more bytes, and
    /// [`commit`](Self::commit) tells again how it went.
    #[must_use]
    pub fn is_published(&self) -> bool {
        self.opened().published
    }

    /// Where the next byte goes: what was there before, and what was taken since. With a framing that adds bytes this
    /// does not count them.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.resumed_at()
    }

    /// How much of the upload is acknowledged, in bytes; counted like [`offset`](Self::offset).
    #[must_use]
    pub fn acked_offset(&self) -> u64 {
        self.resumed_at() + self.writer.progress().acked_bytes
    }

    /// What the session of the upload is doing.
    #[must_use]
    pub fn stats(&self) -> SessionStats {
        SessionStats::default()
    }

    /// Tells the crc32c of the first [`resumed_at`](Self::resumed_at) bytes, so that that of the whole is known.
    pub fn set_resumed_crc32c(&mut self, crc32c: u32) {
        let _ = crc32c;
    }

    /// Takes bytes: gathers them into chunks and sends those. Waits while the window is full.
    ///
    /// Cancelled, it has taken as much as [`offset`](Self::offset) says.
    ///
    /// # Errors
    /// The upload failed for good; what is acknowledged stays on the server. Or it is published already
    /// (`UploadFinished`).
    #[allow(clippy::unused_async)]
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let _ = bytes;
        Err(not_yet(self.path()))
    }

    /// Sends what was gathered, and waits until everything that was written is acknowledged.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    #[allow(clippy::unused_async)]
    pub async fn flush(&mut self) -> Result<()> {
        Err(not_yet(self.path()))
    }

    /// Publishes the upload: all of it or nothing. The server checks size and crc32c: those given, or those that are known
    /// here, which is if everything was written through this `Upload` without framing, or the crc32c of the rest was told
    /// ([`set_resumed_crc32c`](Self::set_resumed_crc32c)). Published before: succeeds again.
    ///
    /// # Errors
    /// `SizeMismatch`, `ChecksumMismatch`, `GenerationChanged`, `FileExists` (a file came to be meanwhile): nothing was
    /// published, and the upload stays as it is. `Unknown` as outcome: it may be published; the same upload, opened again,
    /// tells. Else as [`write`](Self::write).
    #[allow(clippy::unused_async)]
    pub async fn commit(self, expected: Expected) -> Result<Published> {
        let _ = expected;
        Err(not_yet(self.path()))
    }

    /// Discards the upload, with what is not acknowledged.
    ///
    /// # Errors
    /// What the server or the connection says; the upload may be there still.
    #[allow(clippy::unused_async)]
    pub async fn abort(self) -> Result<()> {
        Err(not_yet(self.path()))
    }

    /// Waits until everything is acknowledged, and leaves the upload for
    /// [`Files::commit_files`](crate::Files::commit_files), which takes what this gives.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    #[allow(clippy::unused_async)]
    pub async fn leave_open(self) -> Result<UploadPart> {
        Err(not_yet(self.path()))
    }

    /// The upload as [`AsyncWrite`](tokio::io::AsyncWrite) that publishes when it is shut down.
    #[must_use]
    pub fn into_async_write(self) -> UploadWriter {
        UploadWriter::new(self)
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("path", &self.path()).field("offset", &self.offset()).finish_non_exhaustive()
    }
}
