//! Sending what is read, on a thread of its own, through an upload.

use super::{
    failure::{Exit, Failure},
    input::{self, Cut, Records},
    local::Local,
};
use inkpot_client::Upload;
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};
use tokio::{sync::mpsc, task};

/// What is still to be sent of something.
pub(crate) struct Rest {
    pieces: mpsc::Receiver<Records>,
    /// A local file, the open file, the crc32c of what was sent of it before.
    file: Option<(Local, File, u32)>,
}

impl Rest {
    pub(crate) fn stdin(upload: &Upload) -> Result<Self, Failure> {
        Ok(Self { pieces: pieces(io::stdin(), upload)?, file: None })
    }

    /// What can be read once.
    pub(crate) fn stream(path: &Path, upload: &Upload) -> Result<Self, Failure> {
        let file = File::open(path).map_err(|error| Failure::error(path.display(), error))?;
        Ok(Self { pieces: pieces(file, upload)?, file: None })
    }

    /// What the upload does not have of a file. What it has is read too, for the checksum of the whole.
    ///
    /// # Errors
    /// The file has changed, is shorter, or cannot be read.
    pub(crate) async fn of(local: &Local, upload: &Upload) -> Result<Self, Failure> {
        let offset = upload.resumed_at();
        if offset > local.size {
            let (path, size) = (local.path.display(), local.size);
            let words = format!(
                "{path} has {size} bytes, and the upload has {offset}: it is not one of this file; --restart begins anew, \
                 --abort discards it"
            );
            return Err(Failure::new(Exit::Error, words));
        }
        let failed = |error: &dyn std::fmt::Display| Failure::error(local.path.display(), error);
        let sent = local.clone();
        let opened = task::spawn_blocking(move || sent.open_at(offset)).await.map_err(|error| failed(&error))?;
        let (file, crc32c) = opened?;
        let kept = file.try_clone().map_err(|error| failed(&error))?;
        // What somebody appends meanwhile is no part of what was looked at.
        let pieces = pieces(file.take(local.size - offset), upload)?;
        Ok(Self { pieces, file: Some((local.clone(), kept, crc32c)) })
    }

    /// Sends it all, and waits until it is acknowledged. `acked` is called with how much of the upload is.
    ///
    /// # Errors
    /// It cannot be read to its end, the local file has changed, or the upload failed.
    pub(crate) async fn pour(mut self, upload: &mut Upload, acked: impl Fn(u64)) -> Result<(), Failure> {
        if let Some((_, _, crc32c)) = &self.file {
            upload.set_resumed_crc32c(*crc32c);
        }
        let path = upload.path().to_owned();
        while let Some(pieces) = self.pieces.recv().await {
            for piece in pieces.map_err(|error| Failure::error(&path, error))? {
                upload.write(piece).await.map_err(|error| Failure::writing(&path, &error))?;
            }
            acked(upload.acked_offset());
        }
        upload.flush().await.map_err(|error| Failure::writing(&path, &error))?;
        acked(upload.acked_offset());
        self.file.map_or(Ok(()), |(local, file, _)| local.unchanged(&file))
    }
}

/// Reads pieces of the size in which the upload sends them.
fn pieces(source: impl Read + Send + 'static, upload: &Upload) -> Result<mpsc::Receiver<Records>, Failure> {
    let bytes = upload.chunk_bytes();
    let pieces = input::spawn(source, Cut::Chunks(bytes), bytes);
    pieces.map_err(|error| Failure::error("cannot read the input", error))
}
