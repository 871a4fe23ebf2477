//! Which call meets which fault.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::io::Errno;

use crate::fs::memory::MemoryFs;

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// `FileSystem::open`.
    Open,
    /// `FileSystem::create`.
    Create,
    /// `FileSystem::create_dir`.
    CreateDir,
    /// `FileSystem::rename`.
    Rename,
    /// `FileSystem::remove_file` and `remove_dir`.
    Remove,
    /// `metadata` of a path or an open file.
    Metadata,
    /// `FileSystem::read_dir`.
    ReadDir,
    /// `FileSystem::sync_dir`.
    SyncDir,
    /// `FileSystem::volume_sync`, which only gives the handle.
    OpenVolume,
    /// `VolumeSync::sync`.
    SyncVolume,
    /// `FileSystem::free_bytes`.
    FreeBytes,
    /// `File::read_at`.
    Read,
    /// `File::write_at`.
    Write,
    /// `File::set_len`.
    SetLen,
    /// `File::sync_data`.
    SyncData,
    /// `File::sync_all`.
    SyncAll,
    /// `File::set_file_id`.
    SetFileId,
    /// `File::file_id`.
    FileId,
}

/// Which of the calls that a rule matches it meets, counted from when it was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Each.
    Always,
    /// Only this one; the first is 1.
    Nth(u64),
    /// This one and all after it.
    From(u64),
}

impl When {
    fn meets(self, number: u64) -> bool {
        match self {
            Self::Always => true,
            Self::Nth(nth) => number == nth,
            Self::From(first) => number >= first,
        }
    }
}

/// What happens to a call.
#[derive(Clone, Debug)]
pub enum FaultKind {
    /// It does nothing and fails with this number.
    Errno(i32),
    /// A write does the first `written` bytes and fails with `errno`; any other call fails as with
    /// [`FaultKind::Errno`].
    ShortWrite {
        /// Bytes that are written; all of them if there are fewer.
        written: usize,
        /// The error, `ENOSPC` or `EDQUOT` by nature.
        errno: i32,
    },
    /// A sync fails with `EIO`, and what it should have made durable is gone for good although it can still be read and
    /// the next sync succeeds: what Linux does when writing back fails. Names are not lost this way: any other call,
    /// also a sync of a directory, only fails.
    LostSync,
    /// It waits until the gate is released, then goes on as if nothing had been.
    Hang(Gate),
}

/// Holds calls back.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    shared: Arc<(Mutex<GateState>, Condvar)>,
}

#[derive(Debug, Default)]
struct GateState {
    is_released: bool,
    waiting: usize,
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens it for good.
    pub fn release(&self) {
        self.state().is_released = true;
        self.shared.1.notify_all();
    }

    /// Waits until a call hangs here, but not longer than `limit`; says whether one does.
    #[must_use]
    pub fn wait_until_hanging(&self, limit: Duration) -> bool {
        let nobody = |state: &mut GateState| state.waiting == 0;
        let (state, _) =
            self.shared.1.wait_timeout_while(self.state(), limit, nobody).unwrap_or_else(PoisonError::into_inner);
        state.waiting > 0
    }

    fn pass(&self) {
        let mut state = self.state();
        state.waiting += 1;
        self.shared.1.notify_all();
        let closed = |state: &mut GateState| !state.is_released;
        let mut state = self.shared.1.wait_while(state, closed).unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
    }

    fn state(&self) -> MutexGuard<'_, GateState> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a file has to do itself before a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remains {
    /// Nothing.
    Nothing,
    /// Write so many bytes.
    Written(usize),
    /// Lose what was not synced.
    Lost,
}

/// A call that fails.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) remains: Remains,
    pub(super) error: io::Error,
}

#[derive(Debug)]
struct Rule {
    op: Op,
    path: String,
    when: When,
    kind: FaultKind,
    calls: u64,
}

impl Rule {
    /// Counts a call if it matches; says whether the rule meets it.
    fn sees(&mut self, op: Op, paths: &[&str]) -> bool {
        let matches = self.op == op && paths.iter().any(|path| path.contains(&self.path));
        self.calls += u64::from(matches);
        matches && self.when.meets(self.calls)
    }
}

/// The rules of one file system, and the calls that came by.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) memory: Option<MemoryFs>,
    state: Mutex<RulesState>,
}

#[derive(Debug, Default)]
struct RulesState {
    rules: Vec<Rule>,
    calls: BTreeMap<Op, BTreeMap<String, u64>>,
}

impl Rules {
    pub(super) fn new(memory: Option<MemoryFs>) -> Self {
        Self { memory, state: Mutex::default() }
    }

    pub(super) fn add(&self, op: Op, path: &str, when: When, kind: FaultKind) {
        self.state().rules.push(Rule { op, path: path.to_owned(), when, kind, calls: 0 });
    }

    pub(super) fn clear(&self) {
        self.state().rules.clear();
    }

    pub(super) fn count(&self, op: Op, path: &str) -> u64 {
        let state = self.state();
        let calls = state.calls.get(&op).into_iter().flatten();
        calls.filter(|(called, _)| called.contains(path)).map(|(_, count)| count).sum()
    }

    /// For calls of which nothing remains.
    pub(super) fn meet(&self, op: Op, paths: &[&str]) -> io::Result<()> {
        self.judge(op, paths).map_err(|failure| failure.error)
    }

    /// Counts a call, holds it back, or fails it.
    pub(super) fn judge(&self, op: Op, paths: &[&str]) -> Result<(), Failure> {
        let (remains, errno) = match self.fault(op, paths) {
            None => return Ok(()),
            Some(FaultKind::Hang(gate)) => {
                gate.pass();
                return Ok(());
            }
            Some(FaultKind::Errno(errno)) => (Remains::Nothing, errno),
            Some(FaultKind::ShortWrite { written, errno }) => (Remains::Written(written), errno),
            Some(FaultKind::LostSync) => (Remains::Lost, Errno::IO.raw_os_error()),
        };
        Err(Failure { remains, error: io::Error::from_raw_os_error(errno) })
    }

    fn fault(&self, op: Op, paths: &[&str]) -> Option<FaultKind> {
        let mut state = self.state();
        // A rename counts once, under both paths.
        *state.calls.entry(op).or_default().entry(paths.join(" ")).or_default() += 1;
        let met: Vec<bool> = state.rules.iter_mut().map(|rule| rule.sees(op, paths)).collect();
        let first = met.into_iter().position(|met| met)?;
        Some(state.rules[first].kind.clone())
    }

    fn state(&self) -> MutexGuard<'_, RulesState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
