//! A disk for a real server that keeps, when power is lost, only what was synced: a FUSE file system over the disk in
//! memory of `inkpot_wal` ([`MemoryFs`]), whose rules of what a sync makes durable and of what may be left of the rest
//! (nothing, a prefix, any subset, torn sectors) are those that it has.
//!
//! The server makes real system calls on it. Nothing of a file or a name stays with the kernel (no page cache, no
//! lifetime of names), so that what [`LossyDisk::lose_power`] puts in place is what the next server finds. One thread
//! serves all calls, one after the other; so all calls stand still while one is held at a [`Stop`].
//!
//! It has what a server needs, and no more: regular files and directories, renames of all kinds, the extended attribute of
//! the identity, syncs, the free space. No links, no owners, no permissions, no `mmap`, no `fallocate`.

mod machine;
mod names;
mod volume;

use self::{machine::Machine, volume::Volume};
use super::server::Server;
use fuser::{BackgroundSession, Config, MountOption};
use inkpot_wal::fs::{
    faulty::{FaultKind, Op, When},
    memory::{Loss, MemoryFs},
};
use rustix::process::Signal;
use std::{
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tempfile::TempDir;

/// When a call is held: before it has any effect, or when it has it but its caller does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Nothing of it is done.
    Before,
    /// All of it is done.
    After,
}

/// A place in the life of a server: the `nth` call of this kind, from when it was asked for, on a path that has this in
/// it.
#[derive(Clone, Copy, Debug)]
pub struct Stop {
    /// Kind of call.
    pub op: Op,
    /// Part of its path.
    pub path: &'static str,
    /// Which; the first is 1.
    pub nth: u64,
    /// On which side of it.
    pub side: Side,
}

/// A mounted disk; unmounted when dropped. Drop the servers on it before.
pub struct LossyDisk {
    shared: Arc<Shared>,
    session: Option<BackgroundSession>,
    at: TempDir,
}

/// A disk as it was at some moment.
pub struct Kept(MemoryFs);

/// What the calls and the test share.
struct Shared {
    machine: Mutex<Machine>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LossyDisk {
    /// An empty disk with room for so many bytes.
    ///
    /// # Panics
    /// If it cannot be mounted: that needs `/dev/fuse`, and the right to mount.
    #[must_use]
    pub fn mount(bytes: u64) -> Self {
        let machine = Mutex::new(Machine::new(MemoryFs::with_capacity(bytes)));
        let shared = Arc::new(Shared { machine, changed: Condvar::new() });
        let at = TempDir::with_prefix("inkpot-lossy-").expect("a temporary folder");
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("inkpot-test".to_owned()), MountOption::NoAtime];
        let session = fuser::spawn_mount(Volume::new(Arc::clone(&shared)), at.path(), &config);
        let session = session.unwrap_or_else(|error| {
            panic!("this test needs /dev/fuse and the right to mount (root, or CAP_SYS_ADMIN): {error}")
        });
        Self { shared, session: Some(session), at }
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.at.path()
    }

    /// Makes calls fail, until power is lost: see [`inkpot_wal::fs::faulty::FaultyFs::fail`]. An open file goes by the
    /// path under which it was opened or made.
    pub fn fail(&self, op: Op, path: &str, when: When, kind: FaultKind) {
        self.shared.lock().faulty.fail(op, path, when, kind);
    }

    /// From now on nothing fails.
    pub fn heal(&self) {
        self.shared.lock().faulty.clear();
    }

    /// How many calls of this kind there were since power was lost, on paths that have this in them, failed ones too.
    #[must_use]
    pub fn count(&self, op: Op, path: &str) -> u64 {
        self.shared.lock().faulty.count(op, path)
    }

    /// Makes the disk larger or smaller; what is there stays, even if it is more.
    pub fn set_capacity(&self, bytes: u64) {
        self.shared.lock().memory.set_capacity(bytes);
    }

    /// How much waits for a sync.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.shared.lock().memory.unsynced_operations()
    }

    /// Holds everything at this place, as soon as a server comes to it. The one that was asked for before is forgotten.
    pub fn stop_at(&self, stop: Stop) {
        self.shared.lock().stop_at(stop);
    }

    /// Waits until a server came to the place that was asked for; says whether it did. If not, nothing is asked for any
    /// more.
    #[must_use]
    pub fn wait_for_stop(&self, bound: Duration) -> bool {
        let machine = self.shared.lock();
        let waited = self.shared.changed.wait_timeout_while(machine, bound, |machine| !machine.is_stopped());
        let (mut machine, _) = waited.unwrap_or_else(PoisonError::into_inner);
        machine.is_stopped() || {
            machine.go_on();
            false
        }
    }

    /// What is held goes on.
    pub fn go_on(&self) {
        self.shared.lock().go_on();
        self.shared.changed.notify_all();
    }

    /// The power of the server's machine fails: the server dies, and with it everything that was not synced, but for what
    /// `how` and the seed leave of it. With [`Loss::All`] only the server dies. All faults are over then.
    ///
    /// # Panics
    /// If the server has ended before.
    pub fn lose_power(&self, server: &mut Server, how: Loss, seed: u64) {
        let found = {
            let machine = self.shared.lock();
            let found = machine.memory.power_loss(how, seed);
            // Under the lock: no call returns any more to a process that can still tell anybody.
            server.signal(Signal::KILL);
            found
        };
        self.go_on();
        // What it has still asked for is done on the disk as it was; nobody will see it.
        server.kill9();
        self.shared.lock().start(found);
    }

    /// The disk as it is now, to go back to. Nobody may have a file open.
    #[must_use]
    pub fn keep(&self) -> Kept {
        Kept(self.shared.lock().memory.power_loss(Loss::All, 0))
    }

    /// Goes back to what was kept: inodes, times and all. Nobody may have a file open.
    pub fn go_back_to(&self, kept: &Kept) {
        self.shared.lock().start(kept.0.power_loss(Loss::All, 0));
    }

    /// As [`LossyDisk::lose_power`], where nobody has a file open.
    pub fn lose_power_alone(&self, how: Loss, seed: u64) {
        let mut machine = self.shared.lock();
        let found = machine.memory.power_loss(how, seed);
        machine.start(found);
    }
}

impl Drop for LossyDisk {
    fn drop(&mut self) {
        self.go_on();
        // Lazily, because a server that is being killed may still have files open; the thread ends with the last of them.
        let _ = std::process::Command::new("umount").arg("--lazy").arg(self.at.path()).status();
        drop(self.session.take());
    }
}
