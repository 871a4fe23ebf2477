//! What is in a local directory: the files that a set is made of, and the paths that they will have.

use crate::cli::{
    failure::{Exit, Failure},
    local::Local,
};
use inkpot_proto::path::FilePath;
use std::{fs, io, path::Path};

/// Most files of a set: what one CommitFiles takes.
pub(super) const MAX_FILES: usize = 1_000;

/// A file of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) local: Local,
    /// Path that it will have.
    pub(super) path: String,
}

/// The files below `directory`, in order of their paths, each below `prefix`. Links to files are followed.
///
/// # Errors
/// There is none, or too many, or something that cannot be a part of a set: then none is sent.
pub(super) fn parts(directory: &Path, prefix: &str) -> Result<Vec<Part>, Failure> {
    let mut parts = Vec::new();
    let prefix = prefix.trim_end_matches('/');
    collect(directory, prefix, &mut parts)?;
    if parts.is_empty() {
        return Err(Failure::new(Exit::Usage, format!("there is no file in {}", directory.display())));
    }
    parts.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(parts)
}

fn collect(directory: &Path, prefix: &str, parts: &mut Vec<Part>) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        let exit = if error.kind() == io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Error };
        Failure::new(exit, format!("cannot read the directory {}: {error}", directory.display()))
    };
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = below(prefix, &entry.path())?;
        if entry.file_type().map_err(failed)?.is_dir() {
            collect(&entry.path(), &path, parts)?;
            continue;
        }
        parts.push(part(&entry.path(), path)?);
        if parts.len() > MAX_FILES {
            let words = format!(
                "a set has at most {MAX_FILES} files, because all of them appear at once, and there are more below {}; \
                 publish it in parts, or put the files one by one",
                directory.display()
            );
            return Err(Failure::new(Exit::Usage, words));
        }
    }
    Ok(())
}

/// The path of an entry: its name behind that of the directory.
fn below(prefix: &str, entry: &Path) -> Result<String, Failure> {
    let name = entry.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| {
        Failure::new(Exit::Usage, format!("{}: the name is not UTF-8, and no path can have it", entry.display()))
    })?;
    Ok(if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") })
}

fn part(entry: &Path, path: String) -> Result<Part, Failure> {
    if let Err(invalid) = FilePath::parse(&path) {
        let words = format!("{}: {}", entry.display(), invalid.refuse(&path).message);
        return Err(Failure::new(Exit::Usage, words));
    }
    let local = Local::look(entry)?.ok_or_else(|| {
        let words = format!("{} is neither a file nor a directory: take it away, or put it by itself", entry.display());
        Failure::new(Exit::Usage, words)
    })?;
    Ok(Part { local, path })
}

#[cfg(test)]
mod tests;
