//! A file, or a part of it, written somewhere else.

use super::Files;
use crate::{
    Error, FileInfo, Result, Transferred,
    backoff::{LONGEST_BACKOFF, backoff},
};
use futures_util::StreamExt;
use inkpot_proto::{
    error::Refused,
    v1::{ErrorReason, ReadRequest, ReadResponse},
};
use std::time::Duration;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    time::{Instant, sleep, timeout},
};
use tonic::Streaming;

/// Which bytes to download. The default: the whole file, verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DownloadOptions {
    /// First byte.
    pub offset: u64,
    /// Most bytes; 0: to the end, as it is when the download begins.
    pub limit: u64,
    /// Whether a whole file is checked against the crc32c that the server has for it. A part is not.
    pub verify: bool,
    /// If set: the generation that the file must have.
    pub if_generation: Option<u64>,
}

impl Default for DownloadOptions {
    fn default() -> Self {
        Self { offset: 0, limit: 0, verify: true, if_generation: None }
    }
}

/// What was downloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Downloaded {
    /// Bytes that were written.
    pub size: u64,
    /// Generation that all of them belong to.
    pub generation: u64,
    /// Their crc32c.
    pub crc32c: u32,
    /// Whether that is what the server has for the whole file. `false` if that was not to be checked, for a part, and if
    /// the server does not know it.
    pub verified: bool,
}

impl Files {
    /// Writes the bytes of one generation to `out`, over lost connections and restarts of the server. A file that grows
    /// meanwhile is downloaded up to the end that it had in the beginning. `out` is flushed, not shut down. `progress` is
    /// called at the beginning, and whenever something was written.
    ///
    /// # Errors
    /// [`GenerationChanged`](ErrorReason::GenerationChanged): the file was replaced, or is not the one asked for; what was
    /// written is of no use. [`Damaged`](ErrorReason::Damaged): the bytes do not have the crc32c of the file.
    /// [`OutOfRange`](ErrorReason::OutOfRange): it ends before `offset`. [`Local`](crate::ErrorKind::Local): `out` failed.
    /// [`GaveUp`](crate::ErrorKind::GaveUp): nothing came for [`give_up_after`](crate::ClientBuilder::give_up_after). Else
    /// what the server says.
    pub async fn download(
        &self,
        path: &str,
        out: &mut (impl AsyncWrite + Unpin + Send + ?Sized),
        options: DownloadOptions,
        mut progress: impl FnMut(Transferred) + Send,
    ) -> Result<Downloaded> {
        let mut download = Download::new(self, path);
        let (info, size) = download.begin(&options).await.map_err(|error| error.on(path))?;
        let (begin, generation) = (options.offset, info.generation);
        progress(Transferred { done: 0, total: size });
        let (mut done, mut crc32c) = (0, 0);
        while done < size {
            let piece = download.piece(begin + done, size - done, generation).await.map_err(|error| error.on(path))?;
            out.write_all(&piece.data).await.map_err(|error| Error::local("the output", error))?;
            download.moved = Instant::now();
            crc32c = crc32c::crc32c_append(crc32c, &piece.data);
            done += piece.data.len() as u64;
            progress(Transferred { done, total: size });
        }
        out.flush().await.map_err(|error| Error::local("the output", error))?;
        let expected = info.crc32c.filter(|_| options.verify && size == info.size);
        if expected.is_some_and(|expected| expected != crc32c) {
            let message = format!("the {size} bytes that came do not have the crc32c that the server has for the file");
            return Err(Error::refused(Refused::new(ErrorReason::Damaged, message)).on(path));
        }
        Ok(Downloaded { size, generation, crc32c, verified: expected.is_some() })
    }
}

/// A download, over its connections.
struct Download<'a> {
    files: &'a Files,
    path: &'a str,
    /// The answer that is being read.
    pieces: Option<Streaming<ReadResponse>>,
    failures: u32,
    /// When it last got on, or began.
    moved: Instant,
}

impl<'a> Download<'a> {
    fn new(files: &'a Files, path: &'a str) -> Self {
        Self { files, path, pieces: None, failures: 0, moved: Instant::now() }
    }

    /// What the file is, and how many bytes of it are wanted.
    async fn begin(&mut self, options: &DownloadOptions) -> Result<(FileInfo, u64)> {
        let info = loop {
            match timeout(self.files.give_up_after(), self.files.stat(self.path)).await {
                Ok(Ok(info)) => break info,
                Ok(Err(error)) => self.interrupted(error).await?,
                Err(_) => self.interrupted(Error::transport("the server did not answer")).await?,
            }
        };
        if let Some(asked) = options.if_generation.filter(|asked| *asked != info.generation) {
            let message = format!("the file has generation {}, not {asked}", info.generation);
            return Err(Error::refused(Refused::new(ErrorReason::GenerationChanged, message)));
        }
        let Some(rest) = info.size.checked_sub(options.offset) else {
            let message = format!("the file has {} bytes, and ends before byte {}", info.size, options.offset);
            return Err(Error::refused(Refused::new(ErrorReason::OutOfRange, message)));
        };
        let size = if options.limit == 0 { rest } else { rest.min(options.limit) };
        Ok((info, size))
    }

    /// The next bytes, at most `limit`.
    async fn piece(&mut self, offset: u64, limit: u64, generation: u64) -> Result<ReadResponse> {
        loop {
            match self.try_piece(offset, limit, generation).await {
                Ok(piece) => {
                    self.check(&piece, offset, limit, generation)?;
                    if !piece.data.is_empty() {
                        self.failures = 0;
                        return Ok(piece);
                    }
                }
                Err(error) => self.interrupted(error).await?,
            }
        }
    }

    async fn try_piece(&mut self, offset: u64, limit: u64, generation: u64) -> Result<ReadResponse> {
        let pieces = match &mut self.pieces {
            Some(pieces) => pieces,
            None => {
                let request = ReadRequest {
                    path: self.path.to_owned(),
                    offset: i64::try_from(offset).unwrap_or(i64::MAX),
                    limit,
                    follow: false,
                    if_generation: Some(generation),
                };
                self.pieces.insert(self.files.open_in_time(request).await?)
            }
        };
        match timeout(self.files.give_up_after(), pieces.next()).await {
            Ok(Some(Ok(piece))) => Ok(piece),
            Ok(Some(Err(status))) => Err(self.files.error(&status, self.path)),
            Ok(None) => Err(Error::transport("the server ended the read before its end")),
            Err(_) => Err(Error::transport("the server sent nothing")),
        }
    }

    fn check(&self, piece: &ReadResponse, offset: u64, limit: u64, generation: u64) -> Result<()> {
        let length = piece.data.len() as u64;
        if piece.generation == generation && piece.offset == offset && length <= limit {
            return Ok(());
        }
        let (found, at) = (piece.generation, piece.offset);
        let message =
            format_args!("{length} bytes at {at} of generation {found}; asked for {limit} at {offset} of {generation}");
        Err(Error::protocol(message))
    }

    /// An attempt is over. Waits for the next one; an error: there is none.
    async fn interrupted(&mut self, error: Error) -> Result<()> {
        self.pieces = None;
        if !error.retryable() {
            return Err(error);
        }
        let patience = self.files.give_up_after();
        if self.moved.elapsed() >= patience {
            return Err(Error::gave_up(patience, "download", Some(&error)));
        }
        let asked = error.retry_after().unwrap_or(Duration::ZERO).min(LONGEST_BACKOFF);
        sleep(backoff(self.failures).max(asked)).await;
        self.failures = self.failures.saturating_add(1);
        Ok(())
    }
}
