//! A file, or a part of it, written somewhere else.

use super::Files;
use crate::{Error, Result, Transferred};
use inkpot_proto::{error::Refused, v1::ErrorReason};
use tokio::io::AsyncWrite;

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
    /// Whether that is what the server has for the whole file. `false` for a part, unless asked, and if the server does
    /// not know it.
    pub verified: bool,
}

impl Files {
    /// Writes the bytes of one generation to `out`, over lost connections and restarts of the server. A file that grows
    /// meanwhile is downloaded up to the end that it had in the beginning. `out` is flushed, not shut down. `progress` is
    /// called whenever something was written.
    ///
    /// # Errors
    /// [`GenerationChanged`](ErrorReason::GenerationChanged): the file was replaced, or is not the one asked for; what was
    /// written is of no use. [`Damaged`](ErrorReason::Damaged): the bytes do not have the crc32c of the file.
    /// [`Local`](crate::ErrorKind::Local): `out` failed. Else what the server or the connection says.
    #[allow(clippy::unused_async)]
    pub async fn download(
        &self,
        path: &str,
        out: &mut (impl AsyncWrite + Unpin + Send + ?Sized),
        options: DownloadOptions,
        progress: impl FnMut(Transferred) + Send,
    ) -> Result<Downloaded> {
        let _ = (out, options, progress);
        Err(Error::refused(Refused::new(ErrorReason::Unimplemented, "not yet")).on(path))
    }
}
