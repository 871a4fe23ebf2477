//! The disk of the simulated server: in memory, with faults, and with a note of each call that changes it.

use super::trace::Trace;
use inkpot_wal::fs::{
    Access, Attributes, DirEntry, Existing, FILE_ID_BYTES, File, FileSystem, Metadata, VolumeSync,
    faulty::FaultyFs,
    memory::{Loss, MemoryFs},
};
use std::{cell::Cell, io, sync::Arc, time::Duration};

/// Nobody stands still for longer: what had to come to an end would not within the time of a simulation.
const LONGEST: Duration = Duration::from_secs(4);

thread_local! {
    /// How long each call takes, and whether only syncs do.
    static SLOW: Cell<(Duration, bool)> = const { Cell::new((Duration::ZERO, false)) };
    /// What the calls since the last look should have taken.
    static TOOK: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// From now on each call that changes the disk takes so long; or each sync only.
pub fn slow_down(each: Duration, syncs: bool) {
    SLOW.set((each, syncs));
}

/// How long the calls since the last look took.
pub fn took() -> Duration {
    TOOK.take().min(LONGEST)
}

/// A machine's disk, over its lives.
#[derive(Debug)]
pub struct Disk {
    memory: MemoryFs,
    faulty: FaultyFs,
    trace: Trace,
}

impl Disk {
    /// An empty one with plenty of room.
    pub fn new(trace: Trace) -> Self {
        let memory = MemoryFs::new();
        Self { faulty: FaultyFs::over_memory(&memory), memory, trace }
    }

    /// What the present life of the machine sees.
    pub fn file_system(&self) -> Arc<dyn FileSystem> {
        Arc::new(Traced { inner: Arc::new(self.faulty.clone()), trace: self.trace.clone() })
    }

    /// The volume, without faults and notes.
    pub fn memory(&self) -> &MemoryFs {
        &self.memory
    }

    /// Where calls are made to fail.
    pub fn faulty(&self) -> &FaultyFs {
        &self.faulty
    }

    /// What is found after this moment, by a machine that starts anew. Whoever still runs on the disk of before changes
    /// nothing any more.
    pub fn stop(&mut self, loss: Loss, seed: u64) {
        self.memory = self.memory.power_loss(loss, seed);
        self.faulty = FaultyFs::over_memory(&self.memory);
    }
}

#[derive(Debug)]
struct Traced {
    inner: Arc<dyn FileSystem>,
    trace: Trace,
}

#[derive(Debug)]
struct TracedFile {
    inner: Arc<dyn File>,
    path: String,
    trace: Trace,
}

#[derive(Debug)]
struct TracedVolume {
    inner: Box<dyn VolumeSync>,
    trace: Trace,
}

fn note<T>(trace: &Trace, call: impl FnOnce() -> String, done: io::Result<T>) -> io::Result<T> {
    let outcome = done.as_ref().map_or_else(|error| error.to_string(), |_| "ok".to_owned());
    let call = call();
    let (each, syncs) = SLOW.get();
    if !syncs || call.starts_with("sync") {
        TOOK.set(TOOK.get() + each);
    }
    trace.note(format!("disk {call}: {outcome}"));
    done
}

impl Traced {
    fn file(&self, inner: Arc<dyn File>, path: &str) -> Arc<dyn File> {
        Arc::new(TracedFile { inner, path: path.to_owned(), trace: self.trace.clone() })
    }
}

impl FileSystem for Traced {
    fn open(&self, path: &str, access: Access) -> io::Result<Arc<dyn File>> {
        Ok(self.file(self.inner.open(path, access)?, path))
    }

    fn create(&self, path: &str, attributes: Attributes) -> io::Result<Arc<dyn File>> {
        let made = note(&self.trace, || format!("create {path}"), self.inner.create(path, attributes));
        Ok(self.file(made?, path))
    }

    fn create_dir(&self, path: &str, attributes: Attributes) -> io::Result<()> {
        note(&self.trace, || format!("create_dir {path}"), self.inner.create_dir(path, attributes))
    }

    fn rename(&self, from: &str, to: &str, existing: Existing) -> io::Result<()> {
        note(&self.trace, || format!("rename {from} {to} {existing:?}"), self.inner.rename(from, to, existing))
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        note(&self.trace, || format!("remove_file {path}"), self.inner.remove_file(path))
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        note(&self.trace, || format!("remove_dir {path}"), self.inner.remove_dir(path))
    }

    fn metadata(&self, path: &str) -> io::Result<Metadata> {
        self.inner.metadata(path)
    }

    fn read_dir(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        self.inner.read_dir(path)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        note(&self.trace, || format!("sync_dir {path}"), self.inner.sync_dir(path))
    }

    fn volume_sync(&self) -> io::Result<Option<Box<dyn VolumeSync>>> {
        let trace = self.trace.clone();
        Ok(self.inner.volume_sync()?.map(|inner| Box::new(TracedVolume { inner, trace }) as Box<dyn VolumeSync>))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.inner.free_bytes()
    }
}

impl File for TracedFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buf, offset)
    }

    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let crc = || parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part));
        let call = || format!("write {} {offset}+{len} {:08x}", self.path, crc());
        note(&self.trace, call, self.inner.write_at(parts, offset))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        note(&self.trace, || format!("set_len {} {len}", self.path), self.inner.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        note(&self.trace, || format!("sync_data {}", self.path), self.inner.sync_data())
    }

    fn sync_all(&self) -> io::Result<()> {
        note(&self.trace, || format!("sync_all {}", self.path), self.inner.sync_all())
    }

    fn metadata(&self) -> io::Result<Metadata> {
        self.inner.metadata()
    }

    fn set_file_id(&self, id: &[u8; FILE_ID_BYTES]) -> io::Result<()> {
        note(&self.trace, || format!("set_file_id {}", self.path), self.inner.set_file_id(id))
    }

    fn file_id(&self) -> io::Result<Option<[u8; FILE_ID_BYTES]>> {
        self.inner.file_id()
    }
}

impl VolumeSync for TracedVolume {
    fn sync(&self) -> io::Result<()> {
        note(&self.trace, || "sync_volume".to_owned(), self.inner.sync())
    }
}
