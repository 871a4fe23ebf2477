//! Uploads: a file that appears whole or not at all.

mod byte_writer;
mod file;
mod options;

pub use byte_writer::UploadWriter;
pub use options::{Expected, Published, Transferred, UploadFileOptions, UploadMode, UploadOptions};

use crate::{BatchPolicy, Client, Error, OpenOptions, Opened, Progress, Result, Session, SessionStats, Writer};
use bytes::{Buf, Bytes, BytesMut};
use inkpot_proto::{
    error::Refused,
    v1::{self, ErrorReason, FinishAction, UploadPart},
};
use std::{fmt, time::Duration};

/// How long records wait for others, with a framing: an upload is about throughput.
const RECORDS_LINGER: Duration = Duration::from_millis(100);

/// A file that is being uploaded: nobody sees it before [`commit`](Self::commit), and then everybody sees all of it. Made by
/// [`Client::upload`] and [`Session::upload`].
///
/// It goes on by itself over lost connections and restarts of the server, like a [`Writer`]. Dropped without an end, what
/// was sent of it stays on the server, where an upload to the same path with the same
/// [`Producer::Named`](crate::Producer::Named) finds it again, until it expires (`Limits.upload_expiry_seconds`).
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
    session: Session,
    writer: Writer,
    /// Whether each write is a record.
    framed: bool,
    /// Most bytes of a chunk.
    chunk_bytes: usize,
    /// The beginning of a chunk.
    buffer: BytesMut,
    /// A whole chunk, or a record, that waits for room.
    pending: Option<Bytes>,
    /// Bytes that were taken.
    taken: u64,
    /// Their crc32c.
    taken_crc32c: u32,
    /// That of what was there before.
    resumed_crc32c: Option<u32>,
}

impl Client {
    /// Begins an upload to `path`, or goes on with one of the same producer, on a session of its own.
    ///
    /// # Errors
    /// The server refused for good (with its reason, like `FileExists`, or `UploadOpen` if the upload was begun with another
    /// mode or generation), an option is not valid, or nothing was heard of the server for as long as
    /// [`give_up_after`](crate::ClientBuilder::give_up_after) says.
    pub async fn upload(&self, path: &str, options: UploadOptions) -> Result<Upload> {
        let chunk_bytes = options.check().map_err(|error| error.on(path))?;
        // The chunk that is gathered is in memory too.
        let session = self.session_with_window(options.window_bytes - chunk_bytes);
        Upload::open(session, path, options, chunk_bytes).await
    }
}

impl Session {
    /// As [`Client::upload`], on this session: many small files need no connection each. The window of the session holds
    /// in place of [`UploadOptions::window_bytes`]; beside it each upload gathers at most one chunk.
    ///
    /// # Errors
    /// As [`Client::upload`].
    pub async fn upload(&self, path: &str, options: UploadOptions) -> Result<Upload> {
        let chunk_bytes = options.check().map_err(|error| error.on(path))?;
        Upload::open(self.clone(), path, options, chunk_bytes).await
    }
}

impl Upload {
    async fn open(session: Session, path: &str, options: UploadOptions, chunk_bytes: u64) -> Result<Self> {
        let framed = options.is_framed();
        let batch = BatchPolicy { max_records: u32::MAX, max_bytes: chunk_bytes, linger: RECORDS_LINGER };
        let channel = OpenOptions {
            durability: options.durability,
            admission: options.admission,
            framing: options.framing,
            timestamps: false,
            producer: options.producer,
            batch,
            if_generation: options.if_generation,
        };
        let writer = session.open_as(options.mode.wire(), path, channel).await?;
        let chunk_bytes = usize::try_from(chunk_bytes).unwrap_or(usize::MAX).min(writer.record_limit());
        Ok(Self {
            session,
            writer,
            framed,
            chunk_bytes,
            buffer: BytesMut::new(),
            pending: None,
            taken: 0,
            taken_crc32c: 0,
            resumed_crc32c: None,
        })
    }

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

    /// Where the next byte goes: what was there before, and what was taken since. Does not count what a framing adds.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.resumed_at().saturating_add(self.taken)
    }

    /// How much of the upload is acknowledged, in bytes; counted like [`offset`](Self::offset).
    #[must_use]
    pub fn acked_offset(&self) -> u64 {
        self.resumed_at().saturating_add(self.writer.progress().acked_bytes)
    }

    /// What was sent and acknowledged, chunk by chunk.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.writer.progress()
    }

    /// Most bytes of a chunk: what was asked for, lowered to what the server takes.
    #[must_use]
    pub fn chunk_bytes(&self) -> usize {
        self.chunk_bytes
    }

    /// What the session of the upload is doing.
    #[must_use]
    pub fn stats(&self) -> SessionStats {
        self.session.stats()
    }

    /// Tells the crc32c of the first [`resumed_at`](Self::resumed_at) bytes, so that that of the whole is known.
    pub fn set_resumed_crc32c(&mut self, crc32c: u32) {
        self.resumed_crc32c = Some(crc32c);
    }

    /// Takes bytes: gathers them into chunks and sends those. Waits while the window is full.
    ///
    /// Cancelled, it has taken as much as [`offset`](Self::offset) says.
    ///
    /// # Errors
    /// The upload failed for good; what is acknowledged stays on the server. Or it is published already
    /// (`UploadFinished`). With a framing, a record that is empty or too large is refused, and the upload goes on.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        self.check_open()?;
        self.send_pending().await?;
        if self.framed {
            self.pending = Some(bytes);
            return self.send_pending().await;
        }
        while !bytes.is_empty() {
            if self.buffer.is_empty() && bytes.len() >= self.chunk_bytes {
                let chunk = bytes.split_to(self.chunk_bytes);
                self.count(&chunk);
                self.pending = Some(chunk);
            } else {
                let gathered = self.gather(&bytes)?;
                bytes.advance(gathered);
            }
            if self.buffer.len() == self.chunk_bytes {
                self.pending = Some(self.buffer.split().freeze());
            }
            self.send_pending().await?;
        }
        Ok(())
    }

    /// Takes as many of these bytes as there is room for without waiting; with a framing, all as one record, or none.
    fn gather(&mut self, bytes: &[u8]) -> Result<usize> {
        self.check_open()?;
        if self.pending.is_some() || bytes.is_empty() {
            return Ok(0);
        }
        if self.framed {
            self.pending = Some(Bytes::copy_from_slice(bytes));
            return Ok(bytes.len());
        }
        let bytes = &bytes[..bytes.len().min(self.chunk_bytes - self.buffer.len())];
        if self.buffer.is_empty() && self.taken >= self.chunk_bytes as u64 {
            self.buffer.reserve(self.chunk_bytes); // more than a small file: the next chunk is likely to be full too
        }
        self.buffer.extend_from_slice(bytes);
        self.count(bytes);
        Ok(bytes.len())
    }

    /// Sends what was gathered, full or not. Waits for room.
    async fn send_gathered(&mut self) -> Result<()> {
        self.send_pending().await?;
        if !self.buffer.is_empty() {
            self.pending = Some(self.buffer.split().freeze());
        }
        self.send_pending().await
    }

    /// Cancelled while it waits for room, it has sent nothing.
    async fn send_pending(&mut self) -> Result<()> {
        let Some(bytes) = self.pending.clone() else { return Ok(()) };
        let sent = if self.framed {
            self.writer.write(bytes.clone()).await
        } else {
            self.writer.append(vec![bytes.clone()]).await.map(drop) // the flush at the end waits for its ack
        };
        self.pending = None;
        if self.framed && sent.is_ok() {
            self.count(&bytes);
        }
        sent
    }

    fn count(&mut self, bytes: &[u8]) {
        self.taken += bytes.len() as u64;
        self.taken_crc32c = crc32c::crc32c_append(self.taken_crc32c, bytes);
    }

    fn check_open(&self) -> Result<()> {
        if !self.is_published() {
            return Ok(());
        }
        let message = "the upload is published, and takes no more bytes";
        Err(Error::refused(Refused::new(ErrorReason::UploadFinished, message)).on(self.path()))
    }

    /// Sends what was gathered, and waits until everything that was written is acknowledged.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn flush(&mut self) -> Result<()> {
        self.send_gathered().await?;
        self.writer.flush().await.map(drop)
    }

    /// Publishes the upload: all of it or nothing. The server checks size and crc32c: those given, or those that are known
    /// here, which is if everything was written through this `Upload` without framing, or the crc32c of the rest was told
    /// ([`set_resumed_crc32c`](Self::set_resumed_crc32c)). Published before: succeeds again.
    ///
    /// # Errors
    /// `SizeMismatch`, `ChecksumMismatch`, `GenerationChanged`, `FileExists` (a file came to be meanwhile): nothing was
    /// published, and the upload stays as it is. `Unknown` as outcome: it may be published; the same upload, opened again,
    /// tells. Else as [`write`](Self::write).
    pub async fn commit(mut self, expected: Expected) -> Result<Published> {
        self.send_gathered().await?;
        let known = self.known();
        let end = v1::Finish {
            action: FinishAction::Commit.into(),
            size: expected.size.or(known.size),
            crc32c: expected.crc32c.or(known.crc32c),
            ..v1::Finish::default()
        };
        let finished = self.writer.end_upload(end).await?;
        let v1::Finished { generation, size, crc32c, .. } = finished;
        Ok(Published { generation, size, crc32c })
    }

    /// Discards the upload, with what is not acknowledged.
    ///
    /// # Errors
    /// What the server or the connection says; the upload may be there still. `UploadFinished` if it is published.
    pub async fn abort(self) -> Result<()> {
        self.check_open()?;
        let end = v1::Finish { action: FinishAction::Abort.into(), ..v1::Finish::default() };
        self.writer.end_upload(end).await.map(drop)
    }

    /// Waits until everything is acknowledged, and leaves the upload for
    /// [`Files::commit_files`](crate::Files::commit_files), which takes what this gives. One that is published is left as
    /// it is.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn leave_open(mut self) -> Result<UploadPart> {
        let Expected { mut size, mut crc32c } = self.known();
        if !self.is_published() {
            self.send_gathered().await?;
            let end = v1::Finish { action: FinishAction::LeaveOpen.into(), ..v1::Finish::default() };
            let finished = self.writer.end_upload(end).await?;
            size = size.or(Some(finished.size));
            crc32c = crc32c.or(Some(finished.crc32c));
        }
        let Opened { producer_id, epoch, .. } = self.opened().clone();
        Ok(UploadPart { path: self.path().to_owned(), producer_id, producer_epoch: epoch, size, crc32c })
    }

    /// What is known of the whole upload without asking.
    fn known(&self) -> Expected {
        if self.framed || self.is_published() {
            return Expected { size: None, crc32c: self.resumed_crc32c.filter(|_| self.is_published()) };
        }
        let resumed = if self.resumed_at() == 0 { Some(0) } else { self.resumed_crc32c };
        let length = usize::try_from(self.taken).ok();
        let whole = resumed.zip(length).map(|(crc, length)| crc32c::crc32c_combine(crc, self.taken_crc32c, length));
        Expected { size: Some(self.offset()), crc32c: whole }
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
