//! A file system whose calls fail as told, on top of another one.
//!
//! A rule names a kind of call, a part of the path, which of the calls that match it meets, and what happens then. Rules
//! are looked at in the order in which they were added, and the first that meets a call has it; the others count it all
//! the same. An open file goes by the path under which it was opened or created.

mod files;
mod rules;

use std::{io, sync::Arc};

pub use self::rules::{FaultKind, Gate, Op, When};
use self::{
    files::{FaultyFile, FaultyVolume},
    rules::Rules,
};
use super::{Access, Attributes, DirEntry, Existing, File, FileSystem, Metadata, VolumeSync, memory::MemoryFs};

/// A file system with rules. Clones share them.
#[derive(Clone, Debug)]
pub struct FaultyFs {
    inner: Arc<dyn FileSystem>,
    rules: Arc<Rules>,
}

impl FaultyFs {
    /// Without any rule yet, on top of `inner`. A [`FaultKind::LostSync`] fails a sync here, but what was not synced
    /// stays with `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn FileSystem>) -> Self {
        Self { inner, rules: Arc::new(Rules::new(None)) }
    }

    /// On top of a volume in memory, which loses its unsynced data with [`FaultKind::LostSync`].
    #[must_use]
    pub fn over_memory(memory: &MemoryFs) -> Self {
        Self { inner: Arc::new(memory.clone()), rules: Arc::new(Rules::new(Some(memory.clone()))) }
    }

    /// Adds a rule for the calls `op` on paths that contain `path` (an empty one is in all). [`Op::SyncVolume`],
    /// [`Op::OpenVolume`] and [`Op::FreeBytes`] go by the path `""`, a rename by both of its paths.
    pub fn fail(&self, op: Op, path: &str, when: When, kind: FaultKind) {
        self.rules.add(op, path, when, kind);
    }

    /// Lifts all rules. What hangs at a gate goes on hanging.
    pub fn clear(&self) {
        self.rules.clear();
    }

    /// How many calls `op` there were on paths that contain `path`, failed ones too.
    #[must_use]
    pub fn count(&self, op: Op, path: &str) -> u64 {
        self.rules.count(op, path)
    }

    fn meet(&self, op: Op, path: &str) -> io::Result<()> {
        self.rules.meet(op, &[path])
    }

    fn wrap(&self, file: Arc<dyn File>, path: &str) -> Arc<dyn File> {
        Arc::new(FaultyFile::new(file, path, Arc::clone(&self.rules)))
    }
}

impl FileSystem for FaultyFs {
    fn open(&self, path: &str, access: Access) -> io::Result<Arc<dyn File>> {
        self.meet(Op::Open, path)?;
        Ok(self.wrap(self.inner.open(path, access)?, path))
    }

    fn create(&self, path: &str, attributes: Attributes) -> io::Result<Arc<dyn File>> {
        self.meet(Op::Create, path)?;
        Ok(self.wrap(self.inner.create(path, attributes)?, path))
    }

    fn create_dir(&self, path: &str, attributes: Attributes) -> io::Result<()> {
        self.meet(Op::CreateDir, path)?;
        self.inner.create_dir(path, attributes)
    }

    fn rename(&self, from: &str, to: &str, existing: Existing) -> io::Result<()> {
        self.rules.meet(Op::Rename, &[from, to])?;
        self.inner.rename(from, to, existing)
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        self.meet(Op::Remove, path)?;
        self.inner.remove_file(path)
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        self.meet(Op::Remove, path)?;
        self.inner.remove_dir(path)
    }

    fn metadata(&self, path: &str) -> io::Result<Metadata> {
        self.meet(Op::Metadata, path)?;
        self.inner.metadata(path)
    }

    fn read_dir(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        self.meet(Op::ReadDir, path)?;
        self.inner.read_dir(path)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.meet(Op::SyncDir, path)?;
        self.inner.sync_dir(path)
    }

    fn volume_sync(&self) -> io::Result<Option<Box<dyn VolumeSync>>> {
        self.meet(Op::OpenVolume, "")?;
        let inner = self.inner.volume_sync()?;
        Ok(inner.map(|inner| Box::new(FaultyVolume::new(inner, Arc::clone(&self.rules))) as Box<dyn VolumeSync>))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.meet(Op::FreeBytes, "")?;
        self.inner.free_bytes()
    }
}
