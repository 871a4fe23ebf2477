#![allow(clippy::unwrap_used)]

use super::*;
use crate::{
    apply::{plain::PlainFiles, view::ViewState},
    shard::testing::view,
};
use inkpot_wal::{
    fs::{
        faulty::{FaultKind, FaultyFs, Op, When},
        memory::MemoryFs,
        read_all,
    },
    recovery::Mark,
};

const RESERVE_BYTES: u64 = 4 << 20;

/// An applier on a disk in memory, and what it applies from.
struct Rig {
    memory: MemoryFs,
    faulty: FaultyFs,
    plain: PlainFiles,
    backlog: Arc<Backlog>,
    applier: Applier,
    sequence: u64,
}

impl Rig {
    fn new(open_files: usize) -> Self {
        let memory = MemoryFs::new();
        for dir in ["files", "staging", "shards", "shards/0000", "shards/0000/parked", "shards/0000/wal"] {
            memory.create_dir(dir, Attributes::PRIVATE_DIR).unwrap();
        }
        Catalog::create(&memory, 0).unwrap();
        let catalog = Arc::new(Catalog::open(&memory, 0).unwrap());
        let faulty = FaultyFs::over_memory(&memory);
        let fs: Arc<dyn FileSystem> = Arc::new(faulty.clone());
        let plain = PlainFiles::new(Arc::clone(&fs), 0, Attributes::PRIVATE, Attributes::PRIVATE_DIR);
        let backlog = Arc::new(Backlog::new(1 << 30));
        let unsynced = Unsynced { volume: fs.volume_sync().unwrap(), ..Unsynced::default() };
        let reserve = Reserve::new(Arc::clone(&fs), 0, RESERVE_BYTES);
        let applier =
            Applier::new(fs, catalog, Arc::clone(&backlog), open_files, reserve, unsynced, ShardMetrics::off());
        Self { memory, faulty, plain, backlog, applier, sequence: 0 }
    }

    fn make(&mut self, path: &str, id: u64) -> Arc<FileView> {
        let view = view(path, id, ViewState::default());
        let file = self.plain.create(&view.key(), view.id).unwrap();
        self.backlog.hand_on(view.id, file);
        view
    }

    /// Bytes that are committed, in a frame of their own.
    fn push(&mut self, view: &Arc<FileView>, data: impl Into<Bytes>) {
        self.sequence += 1;
        let offset = view.state().committed;
        self.backlog.push(view, Piece { offset, data: data.into(), sequence: self.sequence }, None);
    }

    fn sync_log(&self) {
        self.backlog.set_synced(self.sequence);
    }

    fn round(&mut self) -> Round {
        self.applier.round(Which::Waited(Duration::ZERO), Instant::now()).unwrap()
    }

    fn checkpoint(&mut self) -> Result<Option<Snapshot>, ApplyError> {
        let mark = Mark { sequence: self.sequence, epoch: 1, segment: 0, offset: 64 };
        let progress = Progress { mark, running: 0 };
        let snapshot = Snapshot { progress, dirs: self.plain.take_changed_dirs(), ..Snapshot::default() };
        self.applier.checkpoint(snapshot, Instant::now())
    }

    fn content(&self, view: &FileView) -> Vec<u8> {
        read_all(&self.memory, &view.path()).unwrap()
    }

    fn writes(&self) -> u64 {
        self.faulty.count(Op::Write, "/t/")
    }
}

/// A write that finds no room after three bytes.
fn short(errno: rustix::io::Errno) -> FaultKind {
    FaultKind::ShortWrite { written: 3, errno: errno.raw_os_error() }
}

#[test]
fn nothing_is_applied_before_it_is_synced_in_the_log() {
    let mut rig = Rig::new(8);
    let view = rig.make("f", 1);
    rig.push(&view, "one");
    rig.sync_log();
    rig.push(&view, "two");
    assert_eq!(rig.round(), Round { files: 1, bytes: 3, disk_full: false });
    assert_eq!(rig.content(&view), b"one");
    assert_eq!(rig.round(), Round::default());
    rig.sync_log();
    rig.round();
    assert_eq!(rig.content(&view), b"onetwo");
    assert_eq!((view.state().applied, rig.backlog.bytes()), (6, 0));
}

#[test]
fn many_appends_of_a_file_are_one_write_call() {
    let mut rig = Rig::new(8);
    let views = [rig.make("a", 1), rig.make("b", 2)];
    for n in 0..100 {
        rig.push(&views[n % 2], vec![b'x'; 50]);
    }
    rig.sync_log();
    assert_eq!(rig.round(), Round { files: 2, bytes: 5000, disk_full: false });
    assert_eq!(rig.writes(), 2);
}

#[test]
fn file_is_written_once_it_has_waited_or_gathered_enough() {
    let mut rig = Rig::new(8);
    let (few, many) = (rig.make("few", 1), rig.make("many", 2));
    rig.push(&few, "x");
    rig.push(&many, vec![b'x'; 256 << 10]);
    rig.sync_log();
    let delay = Duration::from_secs(3600);
    let now = Instant::now();
    rig.applier.round(Which::Waited(delay), now).unwrap();
    assert_eq!((few.state().applied, many.state().applied), (0, 256 << 10));
    rig.applier.round(Which::Waited(delay), now + 2 * delay).unwrap();
    assert_eq!(few.state().applied, 1);
}

#[test]
fn partial_write_on_a_full_disk_is_cut_off_and_tried_again() {
    let mut rig = Rig::new(8);
    let view = rig.make("f", 1);
    rig.push(&view, "first");
    rig.sync_log();
    rig.round();
    rig.push(&view, "second");
    rig.sync_log();
    rig.faulty.fail(Op::Write, "/t/", When::Nth(1), short(rustix::io::Errno::NOSPC));
    assert!(rig.round().disk_full && rig.backlog.is_disk_full());
    assert_eq!(rig.content(&view), b"first");
    assert!(!rig.round().disk_full && !rig.backlog.is_disk_full());
    assert_eq!(rig.content(&view), b"firstsecond");
    assert_eq!(view.state().foreign, None);
}

#[test]
fn quota_of_the_file_system_bars_one_file_and_its_bytes_are_parked() {
    let mut rig = Rig::new(8);
    let (barred, other) = (rig.make("barred", 1), rig.make("other", 2));
    rig.push(&barred, "never applied");
    rig.push(&other, "applied");
    rig.sync_log();
    rig.faulty.fail(Op::Write, "/t/", When::Nth(1), short(rustix::io::Errno::DQUOT));
    assert!(rig.checkpoint().unwrap().is_none());
    assert_eq!((rig.content(&barred), rig.content(&other)), (b"".to_vec(), b"applied".to_vec()));
    assert_eq!(barred.read(&rig.memory, 0, 100).unwrap().data, "never applied");
    assert_eq!(rig.backlog.bytes(), 0);
}

#[test]
fn hundred_thousand_files_need_no_more_descriptors_than_allowed() {
    const FILES: u64 = 100_000;
    const OPEN: usize = 64;
    let mut rig = Rig::new(OPEN);
    let mut views = Vec::new();
    for id in 1..=FILES {
        let view = rig.make(&format!("{}/{id}", id % 100), id);
        rig.push(&view, id.to_string());
        views.push(view);
        if id % 10_000 == 0 {
            let handed_on = rig.backlog.take_made();
            assert!(handed_on.len() <= 512, "{} descriptors wait for the applier", handed_on.len());
            rig.sync_log();
            rig.round();
            assert!(rig.applier.descriptors.len() <= OPEN, "{} files are open", rig.applier.descriptors.len());
        }
    }
    assert!(rig.checkpoint().unwrap().is_none());
    assert!(views.iter().all(|view| view.state().foreign.is_none()));
    assert!(views.iter().step_by(997).all(|view| rig.content(view) == view.generation.to_string().as_bytes()));
    assert_eq!(rig.faulty.count(Op::SyncAll, "/t/"), 0, "that many files are synced by one call");
}

#[test]
fn few_files_are_synced_one_by_one_and_many_by_the_volume() {
    let mut rig = Rig::new(100);
    for (files, each, volume) in [(10, 10, 0), (60, 0, 1)] {
        let before = (rig.faulty.count(Op::SyncAll, "/t/"), rig.faulty.count(Op::SyncVolume, ""));
        for id in 1..=files {
            let view = rig.make(&format!("{files}/{id}"), files * 100 + id);
            rig.push(&view, "x");
        }
        rig.sync_log();
        rig.checkpoint().unwrap();
        let after = (rig.faulty.count(Op::SyncAll, "/t/"), rig.faulty.count(Op::SyncVolume, ""));
        assert_eq!((after.0 - before.0, after.1 - before.1), (each, volume), "{files} files");
    }
}

#[test]
fn file_that_was_closed_before_its_sync_is_synced_with_the_volume() {
    let mut rig = Rig::new(4);
    for id in 1..=6 {
        let view = rig.make(&id.to_string(), id);
        rig.push(&view, "x");
        rig.sync_log();
        rig.round();
    }
    rig.checkpoint().unwrap();
    assert_eq!((rig.faulty.count(Op::SyncVolume, ""), rig.faulty.count(Op::SyncAll, "/t/")), (1, 0));
}

#[test]
fn checkpoint_parks_all_of_a_file_that_somebody_changed() {
    let mut rig = Rig::new(8);
    let view = rig.make("f", 1);
    rig.push(&view, "applied");
    rig.sync_log();
    rig.round();
    let path = view.path();
    rig.memory.foreign_write(&path, 7, b"theirs").unwrap();
    // More than one call writes.
    for byte in [b'a', b'b', b'c', b'd'] {
        rig.push(&view, vec![byte; 3 << 20]);
    }
    rig.sync_log();
    assert!(rig.checkpoint().unwrap().is_none());
    let end = 7 + (12 << 20);
    assert_eq!(view.state().parked, Some(Parked { from: 7, end }));
    assert_eq!((view.state().pending.len(), rig.backlog.bytes()), (0, 0));
    for (byte, part) in (0..).zip([b'a', b'b', b'c', b'd']) {
        let chunk = view.read(&rig.memory, 7 + (byte << 20) * 3, 3 << 20).unwrap();
        assert!(chunk.data.len() == 3 << 20 && chunk.data.iter().all(|byte| *byte == part));
    }
    assert_eq!(rig.content(&view), b"appliedtheirs");
}

#[test]
fn failure_that_is_no_want_of_room_is_an_error() {
    for (op, path) in [(Op::Write, "/t/"), (Op::SyncAll, "/t/"), (Op::SyncDir, "files"), (Op::Metadata, "/t/")] {
        let mut rig = Rig::new(8);
        let view = rig.make("f", 1);
        rig.push(&view, "x");
        rig.sync_log();
        rig.faulty.fail(op, path, When::Nth(1), FaultKind::Errno(rustix::io::Errno::IO.raw_os_error()));
        let error = rig.checkpoint().unwrap_err();
        assert!(matches!(error, ApplyError::File { .. }), "{op:?}: {error:?}");
    }
}

#[test]
fn checkpoint_without_room_for_the_catalog_waits_or_takes_from_the_reserve() {
    let mut rig = Rig::new(8);
    let view = rig.make("a", 1);
    rig.push(&view, "one");
    rig.sync_log();
    rig.round();
    let capacity = 1 << 40;
    rig.memory.set_capacity(capacity);
    let used = capacity - rig.memory.free_bytes().unwrap();
    rig.memory.set_capacity(used);
    assert!(rig.checkpoint().unwrap().is_some());
    let mark = Catalog::open(&rig.memory, 0).unwrap().progress().unwrap().mark;
    assert_eq!(mark.sequence, 0);
    rig.memory.set_capacity(used + 2 * RESERVE_BYTES);
    rig.applier.reserve.fill_up(0).unwrap();
    rig.memory.set_capacity(used + RESERVE_BYTES);
    assert!(rig.checkpoint().unwrap().is_none());
    let mark = Catalog::open(&rig.memory, 0).unwrap().progress().unwrap().mark;
    assert_eq!(mark.sequence, 1);
}
