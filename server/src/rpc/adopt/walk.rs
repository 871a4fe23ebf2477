//! The directory tree of a tenant in byte order of the paths, a part at a time. Links are not followed, and names that are
//! not UTF-8 are not seen.

use inkpot_wal::fs::FileSystem;
use std::{io, ops::ControlFlow};

/// Something in the tree that is no directory, or a directory that cannot be looked into.
#[derive(Debug)]
pub(in crate::rpc) struct Found {
    /// Its path below the root of the tenant.
    pub(in crate::rpc) path: String,
    /// Why the directory cannot be looked into.
    pub(in crate::rpc) problem: Option<io::Error>,
}

/// Goes through the tree below `root`.
struct Walk<'a> {
    fs: &'a dyn FileSystem,
    root: &'a str,
    after: &'a str,
    max: usize,
    found: Vec<Found>,
}

/// Up to `max` things at or below `start`, a directory below `root` (empty: `root` itself), whose path comes after `after`;
/// and whether there are more.
pub(in crate::rpc) fn walk(
    fs: &dyn FileSystem,
    root: &str,
    start: &str,
    after: &str,
    max: usize,
) -> (Vec<Found>, bool) {
    let mut walk = Walk { fs, root, after, max, found: Vec::new() };
    let is_more = walk.directory(start).is_break();
    (walk.found, is_more)
}

impl Walk<'_> {
    fn directory(&mut self, path: &str) -> ControlFlow<()> {
        let mut entries = match self.fs.read_dir(&join(self.root, path)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return ControlFlow::Continue(()),
            Err(error) => return self.push(path.to_owned(), Some(error)),
        };
        // As their paths are ordered: `a.b` comes before `a/c`, and that before `a0`.
        entries.sort_by_cached_key(|entry| {
            let end = if entry.is_dir { "/" } else { "" };
            format!("{}{end}", entry.name)
        });
        for entry in entries {
            let path = join(path, &entry.name);
            if !entry.is_dir {
                self.push(path, None)?;
            } else if self.may_have_some(&path) {
                self.directory(&path)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// Whether anything in a directory can come after `after`.
    fn may_have_some(&self, path: &str) -> bool {
        let below = format!("{path}/");
        below.as_str() > self.after || self.after.starts_with(&below)
    }

    fn push(&mut self, path: String, problem: Option<io::Error>) -> ControlFlow<()> {
        if path.as_str() <= self.after {
            return ControlFlow::Continue(());
        }
        if self.found.len() == self.max {
            return ControlFlow::Break(());
        }
        self.found.push(Found { path, problem });
        ControlFlow::Continue(())
    }
}

fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() || name.is_empty() { format!("{dir}{name}") } else { format!("{dir}/{name}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use inkpot_wal::fs::{Attributes, memory::MemoryFs};

    fn tree(files: &[&str]) -> MemoryFs {
        let fs = MemoryFs::new();
        for file in files {
            for (end, _) in file.match_indices('/') {
                // It may be there.
                let _ = fs.create_dir(&file[..end], Attributes::PRIVATE_DIR);
            }
            fs.create(file, Attributes::PRIVATE).unwrap();
        }
        fs
    }

    fn paths(found: &(Vec<Found>, bool)) -> Vec<&str> {
        found.0.iter().map(|found| found.path.as_str()).collect()
    }

    #[test]
    fn pages_are_in_byte_order_of_the_paths_and_miss_nothing() {
        let fs = tree(&["files/t/a/c", "files/t/a.b", "files/t/a0", "files/t/a/d/e", "files/t/b", "files/other/x"]);
        let expected = ["a.b", "a/c", "a/d/e", "a0", "b"];
        assert_eq!(paths(&walk(&fs, "files/t", "", "", 100)), expected);
        for max in 1..=5 {
            let (mut all, mut after) = (Vec::new(), String::new());
            loop {
                let (found, is_more) = walk(&fs, "files/t", "", &after, max);
                all.extend(found.into_iter().map(|found| found.path));
                after = all.last().unwrap().clone();
                if !is_more {
                    break;
                }
            }
            assert_eq!(all, expected, "{max} at a time");
        }
    }

    #[test]
    fn walk_begins_at_a_directory_and_stays_there() {
        let fs = tree(&["files/t/a/c", "files/t/a/d/e", "files/t/b"]);
        assert_eq!(paths(&walk(&fs, "files/t", "a", "", 100)), ["a/c", "a/d/e"]);
        assert_eq!(paths(&walk(&fs, "files/t", "a", "a/c", 100)), ["a/d/e"]);
        assert_eq!(paths(&walk(&fs, "files/t", "nothing", "", 100)), [""; 0]);
    }
}
