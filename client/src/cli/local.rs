//! Local files that are sent: what they are known by, and how they are read.

use super::failure::{Exit, Failure};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Bytes of the hash that a producer id carries, which may have 64 bytes: 32 in hexadecimal, and what stands before.
const HASH_BYTES: usize = 16;

/// What must hold for an upload to be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    None,
    Absent,
    Generation(u64),
}

/// A regular file, as it was when it was looked at. The same again as long as nobody has written to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Local {
    /// Without links and relative components.
    pub(crate) path: PathBuf,
    /// In bytes.
    pub(crate) size: u64,
    /// Seconds and nanoseconds since the epoch.
    modified: (i64, i64),
}

impl Local {
    /// Looks at a file; nothing if it is none that can be read twice: a pipe, a device.
    ///
    /// # Errors
    /// There is nothing, or it is a directory.
    pub(crate) fn look(path: &Path) -> Result<Option<Self>, Failure> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Failure::new(Exit::NotFound, format!("{}: no such local file", path.display())),
            _ => Failure::error(path.display(), error),
        };
        let found = fs::metadata(path).map_err(failed)?;
        if found.is_dir() {
            let words =
                format!("{0} is a directory; `inkpot publish {0} PREFIX` sends all that is in it", path.display());
            return Err(Failure::new(Exit::Usage, words));
        }
        if !found.is_file() {
            return Ok(None);
        }
        Ok(Some(Self::of(fs::canonicalize(path).map_err(failed)?, &found)))
    }

    fn of(path: PathBuf, found: &Metadata) -> Self {
        Self { path, size: found.len(), modified: (found.mtime(), found.mtime_nsec()) }
    }

    /// The name under which an upload of this file to `to` on `server` is found again: another one for another path,
    /// another server, another condition, which the server keeps with the upload, and once the file has changed.
    pub(crate) fn producer(&self, server: &str, to: &str, condition: Condition) -> String {
        let mut hash = Sha256::new();
        let (seconds, nanos) = self.modified;
        let numbers = [self.size.to_le_bytes(), seconds.to_le_bytes(), nanos.to_le_bytes()].concat();
        let condition = format!("{condition:?}");
        for part in
            [server.as_bytes(), to.as_bytes(), condition.as_bytes(), self.path.as_os_str().as_encoded_bytes(), &numbers]
        {
            // With its length, so that no two lists of parts are the same bytes.
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let digits: String = hash.finalize().iter().take(HASH_BYTES).map(|byte| format!("{byte:02x}")).collect();
        format!("inkpot-put-{digits}")
    }

    /// Opens it at `offset`; what comes before is read too, for its checksum.
    ///
    /// # Errors
    /// It cannot be read, or is not the file that was looked at.
    pub(crate) fn open_at(&self, offset: u64) -> Result<(File, u32), Failure> {
        let failed = |error| Failure::error(format_args!("cannot read {}", self.path.display()), error);
        let mut file = File::open(&self.path).map_err(failed)?;
        self.unchanged(&file)?;
        let crc32c = checksum_of(&mut file, offset).map_err(failed)?;
        Ok((file, crc32c))
    }

    /// Whether this is still the file that was looked at: a mixture of two is sent to nobody.
    ///
    /// # Errors
    /// It has changed, or nobody can say.
    pub(crate) fn unchanged(&self, file: &File) -> Result<(), Failure> {
        let path = self.path.display();
        let found = file.metadata().map_err(|error| Failure::error(&path, error))?;
        if Self::of(self.path.clone(), &found) == *self {
            return Ok(());
        }
        let words =
            format!("{path} was changed while it was sent; nothing was published: put it again when it is at rest");
        Err(Failure::new(Exit::Error, words))
    }
}

/// crc32c of the next `bytes` bytes.
fn checksum_of(source: &mut impl Read, bytes: u64) -> io::Result<u32> {
    let (mut crc32c, mut left, mut piece) = (0, bytes, vec![0; 256 << 10]);
    while left > 0 {
        let most = usize::try_from(left).map_or(piece.len(), |left| left.min(piece.len()));
        let got = source.read(&mut piece[..most])?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        crc32c = crc32c::crc32c_append(crc32c, &piece[..got]);
        left -= got as u64;
    }
    Ok(crc32c)
}

#[cfg(test)]
mod tests;
