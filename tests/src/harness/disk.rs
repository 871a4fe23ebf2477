//! Disks of a test's own: small ones that fill up, and folders that are read-only. They need the right to mount, which
//! root has, also in a container with CAP_SYS_ADMIN.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

/// Something mounted; unmounted when dropped.
#[derive(Debug)]
pub struct Mount {
    at: PathBuf,
    is_mounted: bool,
    /// The mount point, if it was made for this.
    _folder: Option<TempDir>,
}

impl Mount {
    /// A new empty disk in memory with room for so many bytes.
    ///
    /// # Panics
    /// If mounting is not allowed.
    #[must_use]
    pub fn small_disk(bytes: u64) -> Self {
        let folder = TempDir::with_prefix("inkpot-disk-").expect("a temporary folder");
        let at = folder.path().to_owned();
        mount(["-t", "tmpfs", "-o", &format!("size={bytes}"), "inkpot-test"].map(OsStr::new), &at);
        Self { at, is_mounted: true, _folder: Some(folder) }
    }

    /// The file system in this file, over a loop device. To be unmounted by [`Mount::unmount`] where it matters when.
    ///
    /// # Panics
    /// If mounting is not allowed, or there is no loop device, or no file system in the file.
    #[must_use]
    pub fn image(file: &Path) -> Self {
        let folder = TempDir::with_prefix("inkpot-image-").expect("a temporary folder");
        let at = folder.path().to_owned();
        mount([OsStr::new("-o"), OsStr::new("loop"), file.as_os_str()], &at);
        Self { at, is_mounted: true, _folder: Some(folder) }
    }

    /// Unmounts it now; what it has not written yet is written.
    ///
    /// # Panics
    /// If something on it is still open.
    pub fn unmount(mut self) {
        let done = Command::new("umount").arg(&self.at).status();
        self.is_mounted = false;
        assert!(done.is_ok_and(|status| status.success()), "{} cannot be unmounted", self.at.display());
    }

    /// Makes a folder read-only, for root too.
    ///
    /// # Panics
    /// If mounting is not allowed.
    #[must_use]
    pub fn read_only(folder: &Path) -> Self {
        mount([OsStr::new("--bind"), folder.as_os_str()], folder);
        let mounted = Self { at: folder.to_owned(), is_mounted: true, _folder: None };
        mount(["-o", "remount,bind,ro"].map(OsStr::new), folder);
        mounted
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.at
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.is_mounted {
            // Lazily: a server that is being killed may still have files open.
            let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
        }
    }
}

fn mount<const N: usize>(args: [&OsStr; N], at: &Path) {
    let output = Command::new("mount").args(args).arg(at).output().expect("the program mount");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "this test needs the right to mount (root, or a container with CAP_SYS_ADMIN); mount {args:?} {}: {words}",
        at.display()
    );
}
