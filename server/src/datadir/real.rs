//! The data folder on a real volume: makes it if need be, and claims it for this process.

use super::{DataDirError, Problem};
use inkpot_wal::fs::{Attributes, real::RealFs};
use std::{
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt, chown},
    path::Path,
};

/// Claims a data folder for as long as the returned value lives; makes it, and the folders above it, if it is missing.
/// `attributes` are those of a folder made here; one that exists keeps its own.
///
/// # Errors
/// It is no directory, may not be read or made, is claimed by another process, or the kernel is too old.
pub fn claim(folder: &Path, attributes: Attributes) -> Result<RealFs, DataDirError> {
    try_claim(folder, attributes).map_err(|problem| problem.in_folder(folder))
}

fn try_claim(folder: &Path, attributes: Attributes) -> Result<RealFs, Problem> {
    match fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Err(Problem::NotADirectory),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(folder, Some(attributes)).map_err(Problem::of("make it"))?;
        }
        Err(error) => return Err(Problem::of("look at it")(error)),
    }
    take(folder)
}

/// As [`claim`], for a folder that exists. Makes nothing.
///
/// # Errors
/// As [`claim`].
pub fn claim_existing(folder: &Path) -> Result<RealFs, DataDirError> {
    let taken = match fs::metadata(folder) {
        Ok(metadata) if !metadata.is_dir() => Err(Problem::NotADirectory),
        Ok(_) => take(folder),
        Err(error) => Err(Problem::of("look at it")(error)),
    };
    taken.map_err(|problem| problem.in_folder(folder))
}

fn take(folder: &Path) -> Result<RealFs, Problem> {
    let fs = RealFs::open(folder).map_err(|source| match source.kind() {
        io::ErrorKind::Unsupported => Problem::OldKernel { source },
        _ => Problem::of("open it")(source),
    })?;
    fs.lock().map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Problem::InUse,
        _ => Problem::of("lock it")(error),
    })?;
    Ok(fs)
}

/// Makes a folder durably: its name is kept only once the directory that has it was synced, and so for each one above.
fn make(folder: &Path, attributes: Option<Attributes>) -> io::Result<()> {
    let above = match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !above.try_exists()? {
        make(above, None)?;
    }
    match attributes {
        Some(attributes) => make_as(folder, attributes)?,
        None => fs::create_dir(folder)?,
    }
    File::open(above)?.sync_all()
}

/// With just these attributes, whatever the umask: the plain files are for other programs too.
fn make_as(folder: &Path, Attributes { mode, uid, gid }: Attributes) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(folder)?;
    if uid.is_some() || gid.is_some() {
        chown(folder, uid, gid)?;
    }
    fs::set_permissions(folder, Permissions::from_mode(mode))
}
