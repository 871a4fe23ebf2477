//! Random scripts: they give the same results and leave the same files in memory as on the disk of this machine, and
//! what is found after power was lost obeys the rules whatever was done before.

use std::{collections::BTreeSet, io, sync::Arc};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use rustix::io::Errno;

use super::{InMemory, OnDisk, World, content};
use crate::fs::{
    Access, Attributes, Existing, File, FileSystem, Kind,
    faulty::{FaultKind, FaultyFs, Op, When},
    memory::{Loss, MemoryFs},
};

const SCRIPTS: u64 = 60;
const STEPS: usize = 150;
const PATHS: [&str; 12] =
    ["a", "b", "dir", "dir/a", "dir/sub", "dir/sub/a", "other", "other/a", "link", "link/a", "fifo", "fifo/a"];

/// What a call gave, without what differs from one volume to the other.
type Outcome = Result<String, Errno>;

fn plain<T>(result: io::Result<T>, tell: impl FnOnce(T) -> String) -> Outcome {
    result.map(tell).map_err(|error| Errno::from_io_error(&error).expect("an error of the system"))
}

fn done(result: io::Result<()>) -> Outcome {
    plain(result, |()| String::new())
}

/// One step of a script; draws the same numbers whatever happens.
fn step(fs: &dyn FileSystem, handle: &mut Option<Arc<dyn File>>, rng: &mut SmallRng) -> Outcome {
    let (kind, one, two) = (rng.random_range(0..13), PATHS[rng.random_range(0..12)], PATHS[rng.random_range(0..12)]);
    let (offset, len, fill) = (rng.random_range(0..40), rng.random_range(0..20), rng.random_range(b'a'..=b'z'));
    let existing = [Existing::Replace, Existing::Keep, Existing::Exchange][rng.random_range(0..3)];
    let take = |file: Arc<dyn File>, handle: &mut Option<Arc<dyn File>>| {
        *handle = Some(file);
        String::new()
    };
    match (kind, handle.as_ref()) {
        (0 | 1, _) => plain(fs.create(one, Attributes::PRIVATE), |file| take(file, handle)),
        (2, _) => done(fs.create_dir(one, Attributes::PRIVATE_DIR)),
        (3 | 4, _) => done(fs.rename(one, two, existing)),
        (5, _) => done(fs.remove_file(one)),
        (6, _) => done(fs.remove_dir(one)),
        (7, _) => plain(fs.open(one, Access::ReadWrite), |file| take(file, handle)),
        (8, Some(file)) => done(file.set_len(offset)),
        (9, Some(file)) => plain(file.metadata(), |found| format!("{} {}", found.len, found.links)),
        (10, Some(file)) => done(file.set_file_id(&[fill; 16])),
        (11, _) => done(fs.sync_dir(one)),
        (_, Some(file)) => done(file.write_at(&[&[fill; 20][..len]], offset)),
        (_, None) => plain(fs.metadata(one), |found| format!("{:?}", found.kind)),
    }
}

/// Everything below the data folder: path, kind, links of files, content, identity.
fn tree(fs: &dyn FileSystem) -> Vec<String> {
    let mut found = Vec::new();
    let mut dirs = vec![String::new()];
    while let Some(dir) = dirs.pop() {
        for entry in fs.read_dir(&dir).unwrap() {
            let path = format!("{dir}/{}", entry.name).trim_start_matches('/').to_owned();
            let metadata = fs.metadata(&path).unwrap();
            assert_eq!(entry.is_dir, metadata.kind == Kind::Directory);
            found.push(match metadata.kind {
                Kind::File => {
                    let id = fs.open(&path, Access::Read).unwrap().file_id().unwrap();
                    format!("{path}: {} {:?} {id:?}", metadata.links, content(fs, &path))
                }
                kind => format!("{path}: {kind:?}"),
            });
            dirs.extend(entry.is_dir.then_some(path));
        }
    }
    found.sort();
    found
}

/// Syncs each file and each directory, the way that takes no sync of the volume.
fn sync_one_by_one(fs: &dyn FileSystem) {
    let mut dirs = vec![String::new()];
    while let Some(dir) = dirs.pop() {
        for entry in fs.read_dir(&dir).unwrap() {
            let path = format!("{dir}/{}", entry.name).trim_start_matches('/').to_owned();
            if entry.is_dir {
                dirs.push(path);
            } else if fs.metadata(&path).unwrap().kind == Kind::File {
                fs.open(&path, Access::Read).unwrap().sync_all().unwrap();
            }
        }
        fs.sync_dir(&dir).unwrap();
    }
}

#[test]
fn memory_does_what_linux_does() {
    for seed in 0..SCRIPTS {
        let (memory, disk) = (InMemory::default(), OnDisk::default());
        memory.symlink("link");
        disk.symlink("link");
        memory.fifo("fifo");
        disk.fifo("fifo");
        let (mut in_memory, mut on_disk) = (None, None);
        let (mut one, mut other) = (SmallRng::seed_from_u64(seed), SmallRng::seed_from_u64(seed));
        for number in 0..STEPS {
            let expected = step(disk.fs(), &mut on_disk, &mut other);
            assert_eq!(step(memory.fs(), &mut in_memory, &mut one), expected, "step {number} of script {seed}");
        }
        assert_eq!(tree(memory.fs()), tree(disk.fs()), "script {seed}");
    }
}

/// A machine after a script of any kind, with everything on its disk, and the state of the dice.
fn synced_machine(seed: u64) -> (MemoryFs, SmallRng) {
    let (memory, mut rng, mut handle) = (MemoryFs::new(), SmallRng::seed_from_u64(seed), None);
    for _ in 0..STEPS {
        let _ = step(&memory, &mut handle, &mut rng);
    }
    memory.volume_sync().unwrap().unwrap().sync().unwrap();
    (memory, rng)
}

#[test]
fn loss_finds_what_was_synced_or_a_moment_since() {
    for seed in 0..SCRIPTS {
        let (memory, mut rng) = synced_machine(seed);
        let fs = FaultyFs::over_memory(&memory);
        fs.fail(Op::SyncDir, "", When::Always, FaultKind::Errno(Errno::IO.raw_os_error()));
        let synced = tree(&memory);
        let (mut moments, mut handle) = (BTreeSet::from([synced.clone()]), None);
        for _ in 0..30 {
            let _ = step(&fs, &mut handle, &mut rng);
            moments.insert(tree(&memory));
        }
        assert_eq!(tree(&memory.power_loss(Loss::Nothing, 0)), synced, "script {seed}");
        assert_eq!(tree(&memory.power_loss(Loss::All, 0)), tree(&memory), "script {seed}");
        for loss in 0..20 {
            assert!(moments.contains(&tree(&memory.power_loss(Loss::Prefix, loss))), "script {seed}, loss {loss}");
        }
    }
}

#[test]
fn what_was_synced_one_by_one_survives_every_loss() {
    for seed in 0..SCRIPTS {
        let (memory, mut rng) = synced_machine(seed);
        let mut handle = None;
        for _ in 0..STEPS {
            let _ = step(&memory, &mut handle, &mut rng);
        }
        sync_one_by_one(&memory);
        for how in Loss::EVERY {
            assert_eq!(tree(&memory.power_loss(how, seed)), tree(&memory), "script {seed}, {how:?}");
        }
    }
}

#[test]
fn what_is_found_after_a_loss_is_on_the_disk() {
    for seed in 0..SCRIPTS {
        let (memory, mut rng) = synced_machine(seed);
        let mut handle = None;
        for _ in 0..STEPS {
            let _ = step(&memory, &mut handle, &mut rng);
        }
        for how in [Loss::Nothing, Loss::Prefix, Loss::Subset, Loss::Torn] {
            let found = memory.power_loss(how, seed);
            assert_eq!(found.unsynced_operations(), 0);
            for again in Loss::EVERY {
                assert_eq!(tree(&found.power_loss(again, seed)), tree(&found), "script {seed}, {how:?}, {again:?}");
            }
        }
    }
}
