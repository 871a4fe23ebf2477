//! A local file, uploaded.

use super::{Expected, Published, Transferred, Upload, UploadFileOptions};
use crate::{Client, Error, Result};
use bytes::{Bytes, BytesMut};
use inkpot_proto::{error::Refused, v1::ErrorReason};
use std::{
    fs::{File, Metadata},
    io::{self, Read},
    path::{Path, PathBuf},
};
use tokio::task::spawn_blocking;

impl Client {
    /// Uploads the file at `local` to `path`, and publishes it. Holds at most [`UploadOptions::window_bytes`] of it. If an
    /// upload of the same producer is there, it goes on behind what that has; if that is published, it says so again.
    /// `progress` is called at the beginning, and with each chunk. Cancelled, it leaves the upload to be resumed.
    ///
    /// [`UploadOptions::window_bytes`]: crate::UploadOptions::window_bytes
    ///
    /// # Errors
    /// [`Local`](crate::ErrorKind::Local): the file cannot be read, is shorter than what was uploaded of it, or changed
    /// while it was uploaded; nothing was published. `ChecksumMismatch`: the local file is not the one whose upload is
    /// resumed; abort that. `UploadFinished`: an upload of another size is published under the same epoch. Else as [`Client::upload`], [`Upload::write`](crate::Upload::write) and
    /// [`Upload::commit`](crate::Upload::commit).
    pub async fn upload_file(
        &self,
        local: impl AsRef<Path>,
        path: &str,
        options: UploadFileOptions,
        mut progress: impl FnMut(Transferred) + Send,
    ) -> Result<Published> {
        let mut local = Local::open(local.as_ref()).await.map_err(|error| error.on(path))?;
        let mut upload = self.upload(path, options.upload).await?;
        let sent = async {
            let rest = local.resume(&mut upload, options.checksum, &mut progress).await?;
            local.send(&mut upload, rest, &mut progress).await?;
            local.check_unchanged()
        };
        sent.await.map_err(|error| error.on(path))?;
        let total = local.size();
        let published = upload.commit(Expected { size: Some(total), crc32c: None }).await?;
        progress(Transferred { done: total, total });
        Ok(published)
    }
}

/// The local file.
struct Local {
    path: PathBuf,
    /// `None` while it is being read.
    file: Option<File>,
    /// As it was when it was opened.
    begun: Metadata,
}

impl Local {
    async fn open(path: &Path) -> Result<Self> {
        let (shown, path) = (path.to_owned(), path.to_owned());
        let opened = run(move || {
            let file = File::open(path)?;
            let begun = file.metadata()?;
            Ok((file, begun))
        });
        let (file, begun) = opened.await.map_err(|error| Error::local(shown.display(), error))?;
        Ok(Self { path: shown, file: Some(file), begun })
    }

    fn size(&self) -> u64 {
        self.begun.len()
    }

    /// Passes over what was uploaded before. Gives how many bytes are left.
    async fn resume(
        &mut self,
        upload: &mut Upload,
        checksum: bool,
        progress: &mut (impl FnMut(Transferred) + Send),
    ) -> Result<u64> {
        let (done, total) = (upload.resumed_at(), self.size());
        if upload.is_published() && done != total {
            let message = format!("the upload is published, and has {done} bytes; the local file has {total}");
            return Err(Error::refused(Refused::new(ErrorReason::UploadFinished, message)));
        }
        let Some(left) = total.checked_sub(done) else {
            return Err(self.fault(format_args!("has {total} bytes, but {done} of it were uploaded before")));
        };
        progress(Transferred { done, total });
        if checksum && done > 0 {
            let (mut crc32c, mut rest) = (0, done);
            while rest > 0 {
                let chunk = self.read(upload.chunk_bytes(), rest).await?;
                crc32c = crc32c::crc32c_append(crc32c, &chunk);
                rest -= chunk.len() as u64;
            }
            upload.set_resumed_crc32c(crc32c);
        } else if done > 0 {
            self.with_file(move |file| io::Seek::seek(file, io::SeekFrom::Start(done)).map(drop)).await?;
        }
        Ok(left)
    }

    /// Uploads the next `rest` bytes.
    async fn send(
        &mut self,
        upload: &mut Upload,
        mut rest: u64,
        progress: &mut (impl FnMut(Transferred) + Send),
    ) -> Result<()> {
        let total = self.size();
        while rest > 0 {
            let chunk = self.read(upload.chunk_bytes(), rest).await?;
            rest -= chunk.len() as u64;
            upload.write(chunk).await?;
            progress(Transferred { done: upload.acked_offset(), total });
        }
        Ok(())
    }

    /// The next bytes: a chunk, or the rest if that is less.
    async fn read(&mut self, chunk_bytes: usize, rest: u64) -> Result<Bytes> {
        let length = usize::try_from(rest).unwrap_or(usize::MAX).min(chunk_bytes);
        self.with_file(move |file| {
            let mut chunk = BytesMut::zeroed(length);
            file.read_exact(&mut chunk)?;
            Ok(chunk.freeze())
        })
        .await
    }

    /// Whether what was sent is one content, as far as one can tell.
    fn check_unchanged(&self) -> Result<()> {
        let Some(file) = &self.file else { return Err(self.fault("cannot be read any more")) };
        let now = file.metadata().map_err(|error| Error::local(self.path.display(), error))?;
        if now.len() != self.begun.len() || now.modified().ok() != self.begun.modified().ok() {
            return Err(self.fault("changed while it was uploaded"));
        }
        Ok(())
    }

    /// Does something with the file where it may block.
    async fn with_file<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut File) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let Some(mut file) = self.file.take() else { return Err(self.fault("cannot be read any more")) };
        let worked = run(move || work(&mut file).map(|done| (file, done))).await;
        let (file, done) = worked.map_err(|error| Error::local(self.path.display(), error))?;
        self.file = Some(file);
        Ok(done)
    }

    fn fault(&self, what: impl std::fmt::Display) -> Error {
        Error::local(self.path.display(), io::Error::other(what.to_string()))
    }
}

async fn run<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
