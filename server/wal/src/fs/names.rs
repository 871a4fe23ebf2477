//! The grammar of paths, the same for every implementation: what one accepts and refuses, all do.

use rustix::io::Errno;

/// Length from which Linux refuses a path (`PATH_MAX`, with its terminating NUL), in bytes.
const PATH_BYTES: usize = 4096;

/// Lets through what [`super`] calls a path; `EINVAL` for anything else, `ENAMETOOLONG` for one too long for Linux.
pub(super) fn check(path: &str) -> Result<&str, Errno> {
    let valid = path.is_empty() || path.split('/').all(|name| !matches!(name, "" | "." | ".."));
    if !valid || path.contains('\0') {
        return Err(Errno::INVAL);
    }
    if path.len() >= PATH_BYTES {
        return Err(Errno::NAMETOOLONG);
    }
    Ok(path)
}

/// The directory and the last name of a path; `EINVAL` for the data folder itself, which cannot be made, moved or
/// removed from within.
pub(super) fn split(path: &str) -> Result<(&str, &str), Errno> {
    match check(path)? {
        "" => Err(Errno::INVAL),
        path => Ok(path.rsplit_once('/').unwrap_or(("", path))),
    }
}
