//! Where the kernel's inodes are: it speaks of numbers, the disk below of paths.

use std::collections::HashMap;

/// Number of the top directory, to the kernel and to the disk below.
pub(super) const ROOT: u64 = 1;

/// The last known place of each inode: its directory and its name there.
#[derive(Default)]
pub(super) struct Names(HashMap<u64, (u64, String)>);

impl Names {
    /// Notes where an inode is.
    pub(super) fn set(&mut self, inode: u64, dir: u64, name: &str) {
        self.0.insert(inode, (dir, name.to_owned()));
    }

    /// The path of an inode; `None` if nobody has looked it up.
    pub(super) fn path(&self, inode: u64) -> Option<String> {
        let mut parts = Vec::new();
        let mut at = inode;
        while at != ROOT {
            let (dir, name) = self.0.get(&at)?;
            parts.push(name.as_str());
            at = *dir;
        }
        parts.reverse();
        Some(parts.join("/"))
    }

    /// The path of a name in a directory.
    pub(super) fn join(&self, dir: u64, name: &str) -> Option<String> {
        let dir = self.path(dir)?;
        Some(if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") })
    }
}
