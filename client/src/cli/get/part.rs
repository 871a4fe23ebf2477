//! The local file while it is not complete: beside the one that it will be, under a name that tells the generation, so that
//! a later run goes on only with bytes of the same content.

use crate::cli::failure::{Exit, Failure};
use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};
use tempfile::TempPath;
use tokio::{io::AsyncWriteExt, task};

/// What a fetch writes to.
#[derive(Debug)]
pub(super) struct Part {
    /// Its end is where the next byte goes.
    pub(super) file: tokio::fs::File,
    path: PathBuf,
    /// Bytes that an earlier run has left.
    pub(super) len: u64,
    /// That of those bytes.
    pub(super) crc32c: u32,
    /// No later run can go on with it.
    pub(super) is_useless: bool,
}

/// # Errors
/// There is something at `local`, and it is not to be replaced, or cannot be.
pub(super) fn refuse_to_overwrite(local: &Path, force: bool) -> Result<(), Failure> {
    match fs::symlink_metadata(local) {
        Ok(found) if found.is_dir() => {
            Err(Failure::new(Exit::Usage, format!("{} is a directory: name a file in it", local.display())))
        }
        Ok(_) if !force => Err(exists(local)),
        _ => Ok(()),
    }
}

fn exists(local: &Path) -> Failure {
    Failure::new(Exit::Conflict, format!("{} is there already; --force takes its place", local.display()))
}

/// Where the bytes of this generation are gathered.
fn path_for(local: &Path, generation: u64) -> PathBuf {
    let name = local.file_name().unwrap_or_default().to_string_lossy();
    local.with_file_name(format!(".{name}.{generation}.inkpot-part"))
}

impl Part {
    /// Opens it: with what is in it, of which at most `resume` bytes are wanted, or empty.
    ///
    /// # Errors
    /// It cannot be written, or another run writes it.
    pub(super) async fn open(local: &Path, generation: u64, resume: Option<u64>) -> Result<Self, Failure> {
        let path = path_for(local, generation);
        let failed = {
            let path = path.clone();
            move |error: io::Error| Failure::error(format_args!("cannot write {}", path.display()), error)
        };
        let opening = {
            let path = path.clone();
            move || prepare(&path, resume)
        };
        let opened = task::spawn_blocking(opening).await.map_err(|error| failed(error.into()))?;
        let (file, len, crc32c) = opened.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                let words = format!("another `inkpot get` writes {}; wait for its end", path.display());
                Failure::new(Exit::Error, words)
            }
            _ => failed(error),
        })?;
        Ok(Self { file: tokio::fs::File::from_std(file), path, len, crc32c, is_useless: false })
    }

    /// Gives it its name, once its bytes are on the disk.
    ///
    /// # Errors
    /// That failed, or there is a file of that name by now which is not to be replaced.
    pub(super) async fn publish(self, local: &Path, force: bool) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::error(format_args!("cannot write {}", local.display()), error);
        self.file.sync_all().await.map_err(failed)?;
        let part = TempPath::try_from_path(&self.path).map_err(failed)?;
        let moved = if force { part.persist(local) } else { part.persist_noclobber(local) };
        moved.map_err(|not_moved| {
            let error = not_moved.error;
            // Else it would be removed with the path.
            let _ = not_moved.path.keep();
            if error.kind() == io::ErrorKind::AlreadyExists { exists(local) } else { failed(error) }
        })
    }

    /// Removes it.
    pub(super) fn discard(self) {
        // What cannot be removed is in nobody's way.
        let _ = fs::remove_file(&self.path);
    }

    /// Says what is left of a fetch that ends early.
    pub(super) async fn left(mut self, failure: Failure) -> Failure {
        // Else a write that is still under way would not be counted.
        let _ = self.file.flush().await;
        match fs::metadata(&self.path) {
            Ok(found) if found.len() > 0 && !self.is_useless => {
                let kept = found.len();
                failure.with_advice(&format!("; {kept} bytes are kept in {}: --resume goes on", self.path.display()))
            }
            _ => {
                self.discard();
                failure
            }
        }
    }
}

/// The open file, how many of its bytes are kept, and their crc32c.
fn prepare(path: &Path, resume: Option<u64>) -> io::Result<(File, u64, u32)> {
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    file.try_lock()?;
    let kept = file.metadata()?.len().min(resume.unwrap_or(0));
    file.set_len(kept)?;
    let (mut crc32c, mut piece) = (0, vec![0; 256 << 10]);
    loop {
        match file.read(&mut piece)? {
            0 => break,
            got => crc32c = crc32c::crc32c_append(crc32c, &piece[..got]),
        }
    }
    file.seek(SeekFrom::Start(kept))?;
    Ok((file, kept, crc32c))
}

#[cfg(test)]
mod tests;
