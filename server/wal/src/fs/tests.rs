#![allow(clippy::unwrap_used)]

mod conformance;
mod exchange;
mod faulty;
mod memory;
mod power_loss;
mod real;
mod scripts;

use std::{io, os::unix, path::PathBuf, sync::Arc};

use rustix::{
    fs::{CWD, Mode},
    io::Errno,
};

use super::{Access, Attributes, File, FileSystem, memory::MemoryFs, read_all, real::RealFs};

/// A file system under test, and a hand that makes there what the trait does not.
trait World {
    fn fs(&self) -> &dyn FileSystem;
    fn symlink(&self, path: &str);
    fn fifo(&self, path: &str);
    fn hard_link(&self, from: &str, to: &str);

    fn put(&self, path: &str, bytes: &[u8]) -> Arc<dyn File> {
        put(self.fs(), path, bytes)
    }

    fn dir(&self, path: &str) {
        self.fs().create_dir(path, Attributes::PRIVATE_DIR).unwrap();
    }
}

#[derive(Default)]
struct InMemory(MemoryFs);

impl World for InMemory {
    fn fs(&self) -> &dyn FileSystem {
        &self.0
    }

    fn symlink(&self, path: &str) {
        self.0.symlink(path).unwrap();
    }

    fn fifo(&self, path: &str) {
        self.0.fifo(path).unwrap();
    }

    fn hard_link(&self, from: &str, to: &str) {
        self.0.hard_link(from, to).unwrap();
    }
}

struct OnDisk {
    fs: RealFs,
    dir: tempfile::TempDir,
}

impl Default for OnDisk {
    fn default() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { fs: RealFs::open(dir.path()).unwrap(), dir }
    }
}

impl OnDisk {
    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }
}

impl World for OnDisk {
    fn fs(&self) -> &dyn FileSystem {
        &self.fs
    }

    /// Leads to the data folder itself, so that whoever follows it finds something.
    fn symlink(&self, path: &str) {
        unix::fs::symlink(self.dir.path(), self.path(path)).unwrap();
    }

    fn fifo(&self, path: &str) {
        rustix::fs::mkfifoat(CWD, self.path(path), Mode::RWXU).unwrap();
    }

    fn hard_link(&self, from: &str, to: &str) {
        std::fs::hard_link(self.path(from), self.path(to)).unwrap();
    }
}

fn put(fs: &dyn FileSystem, path: &str, bytes: &[u8]) -> Arc<dyn File> {
    let file = fs.create(path, Attributes::PRIVATE).unwrap();
    file.write_at(&[bytes], 0).unwrap();
    file
}

/// The content of a file, or nothing if there is no such file.
fn content(fs: &dyn FileSystem, path: &str) -> Option<Vec<u8>> {
    match read_all(fs, path) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => panic!("{path}: {error}"),
    }
}

fn names(fs: &dyn FileSystem, path: &str) -> Vec<String> {
    let mut names: Vec<_> = fs.read_dir(path).unwrap().into_iter().map(|entry| entry.name).collect();
    names.sort();
    names
}

/// The number of the error, which there must be.
fn errno<T>(result: io::Result<T>) -> Errno {
    Errno::from_io_error(&result.err().expect("an error")).expect("an error of the system")
}

fn open(fs: &dyn FileSystem, path: &str) -> io::Result<Arc<dyn File>> {
    fs.open(path, Access::ReadWrite)
}
