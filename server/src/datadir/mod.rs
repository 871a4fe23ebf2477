//! The data folder: whose it is, of which version, and how many shards it has.
//!
//! A first start makes the layout, syncs it, and writes `inkpot.toml` last; so a folder that has it is complete, and one
//! that has only names of ours and not one file or log is a first start that was interrupted, which begins again.
//! Nothing is ever written to, or removed from, a folder that is neither.

mod first_start;
pub mod layout;
mod manifest;
mod real;

pub use manifest::{FORMAT_VERSION, MAX_SHARDS};
pub use real::{claim, claim_existing};

use inkpot_wal::fs::{Attributes, FileSystem, Kind, read_all};
use layout::{FILES, MANIFEST, SHARDS, STAGING};
use manifest::Manifest;
use std::{
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
};

use tracing::warn;

/// An opened data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDir {
    /// How many shards it has.
    pub shards: u32,
    /// 32 hex digits that tell this folder, and what is copied from it, from any other.
    pub cluster_id: String,
    /// Whether this start made it.
    pub first_start: bool,
}

/// Makes the empty catalog of a shard, and syncs what it writes; the folder of the shard exists, and is synced after.
pub type InitShard<'a> = &'a dyn Fn(&dyn FileSystem, u32) -> io::Result<()>;

/// What [`DataDir::open`] needs.
pub struct Opening<'a> {
    /// The data folder.
    pub fs: &'a dyn FileSystem,
    /// Its name in errors.
    pub folder: &'a Path,
    /// Shards, if this is the first start; 1 to [`MAX_SHARDS`].
    pub shards: u32,
    /// Whether somebody asked for that number, who is told if the folder has another.
    pub shards_given: bool,
    /// Its identity, if this is the first start; random.
    pub cluster_id: u128,
    /// Owner and mode of the directory of the plain files.
    pub files: Attributes,
    /// Proves that the volume keeps file ids, as [`inkpot_wal::fs::real::RealFs::probe_file_ids`] does.
    pub probe: &'a dyn Fn() -> io::Result<()>,
    /// What else a first start has to do per shard.
    pub init_shard: InitShard<'a>,
}

/// A data folder that cannot be used.
#[derive(Debug)]
pub struct DataDirError {
    /// The folder.
    pub folder: PathBuf,
    /// Why not; the message has the remedy.
    pub problem: Problem,
}

impl fmt::Display for DataDirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "data folder {:?}: {}", self.folder, self.problem)
    }
}

impl Error for DataDirError {
    /// What is below the problem, which the message has in it already.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.problem.source()
    }
}

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Its format is of a newer version.
    #[error(
        "it has format version {found}, and this inkpotd knows {FORMAT_VERSION} at most; start a newer inkpotd, nothing \
         was changed"
    )]
    NewerVersion {
        /// The version of the folder.
        found: u32,
    },
    /// Its format is one that was given up.
    #[error(
        "it has format version {found}, which this inkpotd ({FORMAT_VERSION}) does not read; take the files below files/ \
         into a new folder, nothing was changed"
    )]
    OlderVersion {
        /// The version of the folder.
        found: u32,
    },
    /// Another process holds the lock.
    #[error("another inkpotd uses it; stop that one, or name another folder with --data-dir")]
    InUse,
    /// The path leads to something else.
    #[error("it is not a directory; name another path with --data-dir")]
    NotADirectory,
    /// Files of somebody else are in it.
    #[error(
        "it has no {MANIFEST}, and holds {name:?}, which inkpotd did not put there; name an empty or new folder with \
         --data-dir"
    )]
    Foreign {
        /// One of the names.
        name: String,
    },
    /// The manifest is gone and data is there.
    #[error("it has no {MANIFEST}, but data in {name:?}; restore {MANIFEST} from a backup, nothing was changed")]
    LostManifest {
        /// Where the data is.
        name: String,
    },
    /// Something of ours is missing or makes no sense.
    #[error("{what}; restore it from a backup, nothing was changed")]
    Damaged {
        /// What.
        what: String,
    },
    /// The process may not write to it.
    #[error(
        "it cannot be written to ({doing}); make it writable for the user of inkpotd, or name another with --data-dir"
    )]
    NotWritable {
        /// What failed.
        doing: String,
        /// How.
        source: io::Error,
    },
    /// No space.
    #[error("its disk is full ({doing}); make space there, or name a folder on another disk with --data-dir")]
    DiskFull {
        /// What failed.
        doing: String,
        /// How.
        source: io::Error,
    },
    /// The volume does not keep file ids.
    #[error(
        "its file system has no extended attributes, which inkpotd tells files by; use ext4, XFS or Btrfs, or name \
         another folder with --data-dir"
    )]
    NoFileIds {
        /// How the probe failed.
        source: io::Error,
    },
    /// The kernel lacks a call.
    #[error("the kernel has no openat2; inkpotd needs Linux 5.6 or newer")]
    OldKernel {
        /// How it failed.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot {doing}")]
    Io {
        /// What failed.
        doing: String,
        /// How.
        source: io::Error,
    },
}

impl Problem {
    /// For `map_err`: sorts an error of the operating system by what its remedy is.
    pub(crate) fn of(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { doing, source },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::NotWritable { doing, source },
            io::ErrorKind::NotADirectory => Self::NotADirectory,
            _ => Self::Io { doing, source },
        }
    }

    fn in_folder(self, folder: &Path) -> DataDirError {
        DataDirError { folder: folder.to_owned(), problem: self }
    }
}

impl DataDir {
    /// Opens a data folder, or makes it in an empty one.
    ///
    /// # Errors
    /// A [`Problem`], with its remedy. A folder that is not ours, or of a newer version, was not touched.
    pub fn open(opening: &Opening<'_>) -> Result<Self, DataDirError> {
        open(opening).map_err(|problem| problem.in_folder(opening.folder))
    }

    /// Looks at a data folder that is complete. Changes nothing.
    ///
    /// # Errors
    /// As [`DataDir::open`]; a folder without manifest is damaged.
    pub fn look(fs: &dyn FileSystem, folder: &Path) -> Result<Self, DataDirError> {
        look(fs).map_err(|problem| problem.in_folder(folder))
    }
}

fn look(fs: &dyn FileSystem) -> Result<DataDir, Problem> {
    let bytes = read_all(fs, MANIFEST).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Problem::Damaged { what: format!("{MANIFEST} is missing") },
        _ => Problem::of(format!("read {MANIFEST}"))(error),
    })?;
    let manifest = Manifest::decode(&bytes)?;
    require_layout(fs, manifest.shards)?;
    Ok(DataDir { shards: manifest.shards, cluster_id: manifest.cluster_id, first_start: false })
}

fn open(opening: &Opening<'_>) -> Result<DataDir, Problem> {
    let fs = opening.fs;
    match read_all(fs, MANIFEST) {
        Ok(bytes) => open_ours(opening, Manifest::decode(&bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            first_start::require_nothing_to_lose(fs)?;
            probe(opening)?;
            first_start::begin(opening)
        }
        Err(error) => Err(Problem::of(format!("read {MANIFEST}"))(error)),
    }
}

fn open_ours(opening: &Opening<'_>, manifest: Manifest) -> Result<DataDir, Problem> {
    require_layout(opening.fs, manifest.shards)?;
    match probe(opening) {
        // It passed at the first start; what is stored can still be read, and written again once there is space.
        Err(Problem::DiskFull { .. }) => warn!(folder = ?opening.folder, "the disk of the data folder is full"),
        other => other?,
    }
    // The process may have died between renaming the manifest into place and making that durable.
    opening.fs.sync_dir("").map_err(Problem::of("sync the folder"))?;
    if opening.shards_given && opening.shards != manifest.shards {
        warn!(
            folder = ?opening.folder, stored = manifest.shards, configured = opening.shards,
            "the data folder keeps the number of shards of its first start; the setting has no effect"
        );
    }
    Ok(DataDir { shards: manifest.shards, cluster_id: manifest.cluster_id, first_start: false })
}

fn probe(opening: &Opening<'_>) -> Result<(), Problem> {
    (opening.probe)().map_err(|source| match source.kind() {
        io::ErrorKind::Unsupported | io::ErrorKind::InvalidData => Problem::NoFileIds { source },
        _ => Problem::of("create a file")(source),
    })
}

/// Every directory is there, and just the shards that the manifest counts: a wrong count would look for files in shards
/// that never had them.
fn require_layout(fs: &dyn FileSystem, shards: u32) -> Result<(), Problem> {
    let of_shards = (0..shards).flat_map(|shard| [layout::shard(shard), layout::wal(shard), layout::parked(shard)]);
    for directory in [FILES, STAGING, SHARDS].map(str::to_owned).into_iter().chain(of_shards) {
        match fs.metadata(&directory) {
            Ok(metadata) if metadata.kind == Kind::Directory => {}
            Ok(_) => return Err(Problem::Damaged { what: format!("{directory} is not a directory") }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Problem::Damaged { what: format!("{directory} is missing") });
            }
            Err(error) => return Err(Problem::of(format!("look at {directory}"))(error)),
        }
    }
    let found = fs.read_dir(SHARDS).map_err(Problem::of(format!("list {SHARDS}")))?.len();
    if found == shards as usize {
        return Ok(());
    }
    Err(Problem::Damaged { what: format!("{MANIFEST} counts {shards} shards, but {SHARDS} has {found} entries") })
}

#[cfg(test)]
mod tests;
