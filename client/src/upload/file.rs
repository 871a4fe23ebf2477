//! A local file, uploaded.

use super::{Published, Transferred, UploadFileOptions};
use crate::{Client, Result};
use std::path::Path;

impl Client {
    /// Uploads the file at `local` to `path`, and publishes it. Holds at most [`UploadOptions::window_bytes`] of it. If an
    /// upload of the same producer is there, it goes on behind what that has; if that is published, it says so again.
    /// `progress` is called whenever the server has acknowledged more. Cancelled, it leaves the upload to be resumed.
    ///
    /// [`UploadOptions::window_bytes`]: crate::UploadOptions::window_bytes
    ///
    /// # Errors
    /// [`Local`](crate::ErrorKind::Local): the file cannot be read, is shorter than what was uploaded of it, or changed
    /// while it was uploaded; nothing was published. `ChecksumMismatch`: the local file is not the one whose upload is
    /// resumed; abort that. Else as [`Client::upload`], [`Upload::write`](crate::Upload::write) and
    /// [`Upload::commit`](crate::Upload::commit).
    #[allow(clippy::unused_async)]
    pub async fn upload_file(
        &self,
        local: impl AsRef<Path>,
        path: &str,
        options: UploadFileOptions,
        progress: impl FnMut(Transferred) + Send,
    ) -> Result<Published> {
        let _ = (local.as_ref(), options, progress);
        Err(super::not_yet(path))
    }
}
