#![allow(clippy::unwrap_used)]

use super::*;
use crate::{
    apply::{
        registry::Stretch,
        view::{Parked, Seen},
    },
    shard::{
        listing::Query,
        state::{Content, Remembered, Upload},
        testing::{key, name},
    },
};
use inkpot_proto::path::FilePath;
use inkpot_wal::fs::{
    faulty::{FaultKind, FaultyFs, Op, When},
    memory::{Loss, MemoryFs},
};
use std::time::{Duration, UNIX_EPOCH};

fn folder() -> MemoryFs {
    let memory = MemoryFs::new();
    ["shards", "shards/0000"].iter().for_each(|dir| memory.create_dir(dir, Attributes::PRIVATE_DIR).unwrap());
    ["", "shards"].iter().for_each(|dir| memory.sync_dir(dir).unwrap());
    memory
}

pub(super) fn catalog() -> (MemoryFs, Catalog) {
    let memory = folder();
    Catalog::create(&memory, 0).unwrap();
    let catalog = Catalog::open(&memory, 0).unwrap();
    (memory, catalog)
}

/// A catalog with one file, whose row is not one.
pub(crate) fn with_undecodable_row(path: &str) -> (MemoryFs, Catalog) {
    let (memory, catalog) = catalog();
    let file = stored(path, 1);
    catalog.save(&changes(std::slice::from_ref(&file)), progress(1)).unwrap();
    let transaction = catalog.db.begin_write().unwrap();
    let mut files = transaction.open_table(FILES).unwrap();
    files.insert(file.id.to_bytes().as_slice(), [1].as_slice()).unwrap();
    drop(files);
    transaction.commit().unwrap();
    (memory, catalog)
}

pub(super) fn row(path: &str) -> FileRow {
    FileRow {
        key: key(path),
        generation: 7,
        created: true,
        end: 100,
        sequence: 9,
        parked: None,
        foreign: None,
        seen: None,
        producers: 0,
        content: Content::default(),
        upload: None,
        staged: false,
    }
}

pub(super) fn changes(files: &[Stored]) -> Changes {
    Changes { files: files.to_vec(), ..Changes::default() }
}

pub(super) fn stored(path: &str, counter: u64) -> Stored {
    Stored { id: FileId::new(0, 1, counter), row: row(path), producers: Vec::new() }
}

fn producer(epoch: u64, appends: u64) -> Producer {
    let remembered =
        (0..appends).map(|n| Remembered { generation: 7, offset: n * 10, len: 10, crc32c: 0xdead_beef ^ n as u32 });
    Producer {
        epoch,
        last_seq: appends,
        remembered: remembered.collect(),
        active_at: 1_000_000,
        previous: (epoch - 1, 12),
        open: 0,
    }
}

pub(super) fn progress(sequence: u64) -> Progress {
    Progress { mark: Mark { sequence, epoch: 3, segment: 4, offset: 4096 }, running: 77 }
}

/// How many files begin with that.
fn count(catalog: &Catalog, prefix: &str) -> usize {
    let query =
        Query { tenant: name("t"), prefix: prefix.to_owned(), delimiter: None, from: String::new(), max: usize::MAX };
    catalog.list(&query, prefix, &Stretch::default(), usize::MAX).unwrap().rows.len()
}

#[test]
fn new_catalog_is_at_the_beginning_of_the_log() {
    let (_, catalog) = catalog();
    assert_eq!(catalog.progress().unwrap(), Progress::default());
    assert_eq!(catalog.by_key(&key("a")).unwrap(), None);
}

#[test]
fn files_are_found_as_they_were_saved_also_after_power_loss() {
    let (memory, catalog) = catalog();
    let mut full = stored("deep/ä/file", 2);
    full.row.parked = Some(Parked { from: 50, end: 100 });
    full.row.foreign = Some("was deleted".to_owned());
    full.row.seen =
        Some(Seen { inode: u64::MAX, modified: UNIX_EPOCH + Duration::from_nanos(1_234_567_890_123_456_789) });
    full.row.producers = 2;
    full.producers = vec![("".into(), producer(1, 0)), ("p".into(), producer(u64::MAX, 64))];
    full.row.staged = true;
    full.row.content = Content {
        crc32c: Some(u32::MAX),
        sealed: true,
        compressed: Some(u64::MAX),
        origin: Some(("p".into(), 3)),
        began: 1_234,
        rotated: Some((5, u64::MAX)),
    };
    let bare = Stored { row: FileRow { created: false, end: 0, ..row("bare") }, ..stored("bare", 1) };
    let mut upload = stored("upload", 3);
    upload.row.content.crc32c = None;
    upload.row.upload =
        Some(Upload { replace: true, if_generation: Some(0), producer: Some("".into()), active_at: u64::MAX });
    catalog.save(&changes(&[full.clone(), bare.clone(), upload.clone()]), progress(9)).unwrap();
    for loss in Loss::EVERY {
        let catalog = Catalog::open(&memory.power_loss(loss, 1), 0).unwrap();
        assert_eq!(catalog.progress().unwrap(), progress(9));
        assert_eq!(catalog.uploads().unwrap(), std::slice::from_ref(&upload), "{loss:?}");
        assert_eq!(catalog.by_key(&upload.row.key).unwrap(), None, "an upload has no path");
        for file in [&full, &bare] {
            assert_eq!(catalog.by_key(&file.row.key).unwrap().as_ref(), Some(file), "{loss:?}");
            assert_eq!(catalog.by_id(file.id).unwrap().as_ref(), Some(file), "{loss:?}");
        }
    }
}

#[test]
fn saving_again_replaces_a_file_and_forgets_producers_that_it_no_longer_has() {
    let (_, catalog) = catalog();
    let mut file = stored("a", 1);
    file.producers = vec![("p".into(), producer(1, 3)), ("q".into(), producer(2, 1))];
    let mut neighbour = stored("b", 2);
    neighbour.producers = vec![("p".into(), producer(5, 1))];
    catalog.save(&changes(&[file.clone(), neighbour.clone()]), progress(1)).unwrap();
    file.row.end = 200;
    file.producers = vec![("q".into(), producer(3, 2))];
    catalog.save(&changes(std::slice::from_ref(&file)), progress(2)).unwrap();
    assert_eq!(catalog.by_id(file.id).unwrap(), Some(file));
    assert_eq!(catalog.by_id(neighbour.id).unwrap(), Some(neighbour), "a file that was not saved stays as it was");
}

#[test]
fn catalog_that_is_not_there_is_named() {
    let memory = folder();
    match Catalog::open(&memory, 0).unwrap_err() {
        CatalogError::Open { path, source } => {
            assert_eq!((path.as_str(), source.kind()), ("shards/0000/catalog", io::ErrorKind::NotFound));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn power_loss_while_it_is_made_leaves_none_or_a_whole_one() {
    for cut in 0.. {
        let memory = folder();
        memory.fail_from(cut);
        let made = Catalog::create(&memory, 0);
        for (seed, loss) in (0..).zip(Loss::EVERY) {
            let after = memory.power_loss(loss, seed);
            match Catalog::open(&after, 0) {
                Ok(catalog) => assert_eq!(catalog.progress().unwrap(), Progress::default()),
                Err(CatalogError::Open { source, .. }) => {
                    assert_eq!(source.kind(), io::ErrorKind::NotFound);
                    assert!(made.is_err(), "a catalog that was made is lost: cut at {cut}, {loss:?}");
                    Catalog::create(&after, 0).unwrap();
                }
                Err(other) => panic!("cut at {cut}, {loss:?}: {other:?}"),
            }
        }
        if made.is_ok() {
            assert!(cut > 10, "only {cut} operations");
            return;
        }
    }
}

/// Either all of a save is there or nothing of it, and all of it once it has returned.
#[test]
fn power_loss_while_it_is_saved_leaves_the_one_before_or_the_one_after() {
    for cut in 0.. {
        let (memory, catalog) = catalog();
        let mut file = stored("a", 1);
        file.producers = vec![("p".into(), producer(1, 3))];
        catalog.save(&changes(std::slice::from_ref(&file)), progress(1)).unwrap();
        let before = file.clone();
        file.row.end = 999;
        file.producers = vec![("p".into(), producer(1, 4))];
        memory.fail_from(memory.operations() + cut);
        let more: Vec<Stored> = (2..40).map(|id| stored(&format!("more/{id}"), id)).chain([file.clone()]).collect();
        let saved = catalog.save(&changes(&more), progress(2)).is_ok();
        for (seed, loss) in (0..).zip(Loss::EVERY.into_iter().chain([Loss::Torn; 5])) {
            let after = Catalog::open(&memory.power_loss(loss, seed), 0).unwrap();
            let found = after.by_id(file.id).unwrap().unwrap();
            if after.progress().unwrap() == progress(2) {
                assert_eq!((&found, count(&after, "more/")), (&file, 38));
            } else {
                assert_eq!(after.progress().unwrap(), progress(1), "cut at {cut}, {loss:?}");
                assert_eq!((&found, count(&after, "more/")), (&before, 0));
                assert!(!saved, "cut at {cut}, {loss:?}");
            }
        }
        if saved {
            assert!(cut > 3, "only {cut} operations");
            return;
        }
    }
}

/// What a failed sync leaves in the page cache may be read again, but only what then is durable may be relied on.
#[test]
fn catalog_that_is_opened_after_a_failed_sync_is_the_one_on_the_disk() {
    for nth in 1.. {
        let (memory, catalog) = catalog();
        catalog.save(&changes(&[stored("a", 1)]), progress(1)).unwrap();
        drop(catalog);
        let faulty = FaultyFs::over_memory(&memory);
        let catalog = Catalog::open(&faulty, 0).unwrap();
        faulty.fail(Op::SyncData, "catalog", When::Nth(nth), FaultKind::LostSync);
        let saved = catalog.save(&changes(&[stored("a", 1), stored("b", 2)]), progress(2));
        drop(catalog);
        faulty.clear();
        let opened = Catalog::open(&faulty, 0).unwrap();
        let found = (opened.progress().unwrap(), opened.by_key(&key("b")).unwrap());
        let after = Catalog::open(&memory.power_loss(Loss::Nothing, 1), 0).unwrap();
        assert_eq!((after.progress().unwrap(), after.by_key(&key("b")).unwrap()), found, "sync {nth}");
        if saved.is_ok() {
            assert!(nth > 1, "it is never synced");
            return;
        }
    }
}

#[test]
fn rows_that_do_not_decode_are_told_from_failures() {
    let encoded = row("a").encode();
    assert_eq!(FileRow::decode(&encoded).unwrap(), row("a"));
    for len in 0..encoded.len() {
        assert!(FileRow::decode(&encoded[..len]).is_err(), "cut to {len}");
    }
    let encoded = rows::encode_producer(&producer(3, 2));
    assert_eq!(rows::decode_producer(&encoded).unwrap(), producer(3, 2));
    assert!(rows::decode_producer(&encoded[..encoded.len() - 1]).is_err());
    let path = FilePath::parse("a").unwrap();
    assert_eq!(row("a").key.path, path);
}
