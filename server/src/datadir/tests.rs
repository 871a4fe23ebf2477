#![allow(clippy::unwrap_used)]
use super::*;
use inkpot_wal::fs::{
    Access,
    memory::{Loss, MemoryFs},
    real::RealFs,
};
use std::{fs as std_fs, os::unix::fs::symlink};
use tempfile::TempDir;

const CATALOG: &[u8] = b"an empty catalog";

/// As the catalog does it: creates a file and syncs its content.
fn make_catalog(fs: &dyn FileSystem, shard: u32) -> io::Result<()> {
    let file = fs.create(&layout::catalog(shard), Attributes::PRIVATE)?;
    file.write_at(&[CATALOG], 0)?;
    file.sync_all()
}

fn no_probe() -> io::Result<()> {
    Ok(())
}

fn opening(fs: &dyn FileSystem) -> Opening<'_> {
    Opening {
        fs,
        folder: Path::new("/data"),
        shards: 2,
        shards_given: false,
        cluster_id: 0xabc,
        files: Attributes { mode: 0o750, uid: None, gid: None },
        probe: &no_probe,
        init_shard: &make_catalog,
    }
}

fn problem(opening: &Opening<'_>) -> Problem {
    DataDir::open(opening).unwrap_err().problem
}

fn put(fs: &dyn FileSystem, path: &str, content: &str) {
    fs.create(path, Attributes::PRIVATE).unwrap().write_at(&[content.as_bytes()], 0).unwrap();
}

/// The content of the manifest is replaced.
fn put_manifest(fs: &dyn FileSystem, content: &str) {
    fs.remove_file(MANIFEST).unwrap();
    put(fs, MANIFEST, content);
}

fn assert_complete(fs: &dyn FileSystem, shards: u32) {
    require_layout(fs, shards).unwrap();
    for shard in 0..shards {
        assert_eq!(read_all(fs, &layout::catalog(shard)).unwrap(), CATALOG, "catalog of shard {shard}");
    }
    assert_eq!(fs.metadata(layout::NEW_MANIFEST).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn first_start_makes_everything_and_later_starts_find_it() {
    let fs = MemoryFs::new();
    let made = DataDir::open(&opening(&fs)).unwrap();
    assert_eq!(made, DataDir { shards: 2, cluster_id: format!("{:032x}", 0xabc), first_start: true });
    assert_complete(&fs, 2);
    let fs = fs.power_loss(Loss::Nothing, 1);
    let again = DataDir::open(&Opening { cluster_id: 7, ..opening(&fs) }).unwrap();
    assert_eq!(again, DataDir { first_start: false, ..made });
}

#[test]
fn number_of_shards_of_the_first_start_stays_whatever_is_asked_for_later() {
    let fs = MemoryFs::new();
    DataDir::open(&opening(&fs)).unwrap();
    let again = DataDir::open(&Opening { shards: 5, shards_given: true, ..opening(&fs) }).unwrap();
    assert_eq!(again.shards, 2);
}

#[test]
fn first_start_cut_at_any_operation_by_any_loss_begins_again_or_is_complete() {
    let whole = MemoryFs::new();
    DataDir::open(&opening(&whole)).unwrap();
    let operations = whole.operations();
    assert!(operations > 20, "only {operations} operations");
    for cut in 0..operations {
        for (seed, loss) in Loss::EVERY.into_iter().enumerate().flat_map(|(n, loss)| [(n, loss), (n + 100, loss)]) {
            let first = MemoryFs::new();
            first.fail_from(cut);
            DataDir::open(&opening(&first)).unwrap_err();
            let second = first.power_loss(loss, seed as u64);
            // The second start is cut as well, further on.
            second.fail_from(cut / 2 + 3);
            drop(DataDir::open(&opening(&second)));
            let third = second.power_loss(loss, seed as u64 + 1);
            DataDir::open(&opening(&third)).unwrap_or_else(|error| panic!("cut at {cut}, {loss:?}, {seed}: {error}"));
            assert_complete(&third, 2);
        }
    }
}

#[test]
fn folder_that_was_opened_once_is_never_taken_for_a_first_start_again() {
    let operations = {
        let fs = MemoryFs::new();
        DataDir::open(&opening(&fs)).unwrap();
        fs.operations()
    };
    for cut in 0..operations {
        let fs = MemoryFs::new();
        fs.fail_from(cut);
        DataDir::open(&opening(&fs)).unwrap_err();
        // The process dies, not the machine: what was not synced is there, but may still be lost.
        let restarted = fs.power_loss(Loss::All, 1);
        let opened = DataDir::open(&opening(&restarted)).unwrap();
        let after_loss =
            DataDir::open(&Opening { cluster_id: 9, ..opening(&restarted.power_loss(Loss::Nothing, 2)) }).unwrap();
        assert_eq!(after_loss, DataDir { first_start: false, ..opened }, "cut at {cut}");
    }
}

#[test]
fn newer_format_version_is_refused_with_both_versions_even_if_the_rest_looks_otherwise() {
    let fs = MemoryFs::new();
    DataDir::open(&opening(&fs)).unwrap();
    put_manifest(&fs, "format_version = 3\nshards = \"many\"\nsomething = 1\n");
    let before = fs.operations();
    let error = DataDir::open(&opening(&fs)).unwrap_err();
    assert!(matches!(error.problem, Problem::NewerVersion { found: 3 }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("/data")
            && text.contains("version 3")
            && text.contains("knows 2")
            && text.contains("newer inkpotd")
    );
    assert_eq!(fs.operations(), before, "nothing was changed");
}

#[test]
fn format_that_was_given_up_is_refused_with_what_to_do() {
    let fs = MemoryFs::new();
    DataDir::open(&opening(&fs)).unwrap();
    put_manifest(&fs, "format_version = 1\nshards = 2\ncluster_id = '00000000000000000000000000000abc'");
    let error = DataDir::open(&opening(&fs)).unwrap_err();
    assert!(matches!(error.problem, Problem::OlderVersion { found: 1 }), "{error}");
    assert!(error.to_string().contains("new folder"), "{error}");
}

#[test]
fn manifest_that_makes_no_sense_is_refused_as_damage() {
    let bad = [
        "",
        "not toml",
        "format_version = 0\nshards = 2\ncluster_id = '00000000000000000000000000000abc'",
        "format_version = 2\nshards = 0\ncluster_id = '00000000000000000000000000000abc'",
        "format_version = 2\nshards = 3\ncluster_id = '00000000000000000000000000000abc'",
        "format_version = 2\nshards = 257\ncluster_id = '00000000000000000000000000000abc'",
        "format_version = 2\nshards = 2\ncluster_id = 'abc'",
        "format_version = 2\nshards = 2\ncluster_id = '00000000000000000000000000000abc'\nmore = 1",
    ];
    for content in bad {
        let fs = MemoryFs::new();
        DataDir::open(&opening(&fs)).unwrap();
        put_manifest(&fs, content);
        let error = DataDir::open(&opening(&fs)).unwrap_err();
        assert!(matches!(error.problem, Problem::Damaged { .. }), "{content:?}: {error}");
        assert!(error.to_string().contains("backup"), "{error}");
    }
}

#[test]
fn missing_or_surplus_directory_of_a_shard_is_refused_as_damage() {
    let fs = MemoryFs::new();
    DataDir::open(&opening(&fs)).unwrap();
    fs.create_dir("shards/0002", Attributes::PRIVATE_DIR).unwrap();
    assert!(matches!(problem(&opening(&fs)), Problem::Damaged { what } if what.contains("counts 2 shards")));
    fs.remove_dir("shards/0002").unwrap();
    fs.remove_dir("shards/0001/wal").unwrap();
    assert!(matches!(problem(&opening(&fs)), Problem::Damaged { what } if what.contains("shards/0001/wal is missing")));
}

#[test]
fn folder_with_something_of_others_is_refused_and_left_alone() {
    for foreign in ["photo.jpg", "wal"] {
        let fs = MemoryFs::new();
        put(&fs, foreign, "precious");
        let before = fs.operations();
        let error = DataDir::open(&opening(&fs)).unwrap_err();
        assert!(matches!(&error.problem, Problem::Foreign { name } if name == foreign), "{error}");
        assert!(error.to_string().contains("--data-dir"), "{error}");
        assert_eq!(fs.operations(), before);
    }
    let fs = MemoryFs::new();
    put(&fs, FILES, "a file, where we have a directory");
    assert!(matches!(problem(&opening(&fs)), Problem::Foreign { name } if name == FILES));
}

#[test]
fn folder_with_data_but_no_manifest_is_never_begun_again() {
    for kept in ["files/tenant", "staging/upload", "shards/0001/wal/1", "shards/0000/parked/x"] {
        let fs = MemoryFs::new();
        DataDir::open(&opening(&fs)).unwrap();
        put(&fs, kept, "acked");
        fs.remove_file(MANIFEST).unwrap();
        let before = fs.operations();
        let error = DataDir::open(&opening(&fs)).unwrap_err();
        assert!(matches!(&error.problem, Problem::LostManifest { name } if kept.starts_with(name)), "{kept}: {error}");
        assert_eq!(fs.operations(), before);
    }
}

#[test]
fn full_disk_refuses_a_first_start_but_not_a_later_one() {
    let fs = MemoryFs::with_capacity(4);
    let error = DataDir::open(&Opening { init_shard: &|_, _| Ok(()), ..opening(&fs) }).unwrap_err();
    assert!(matches!(error.problem, Problem::DiskFull { .. }), "{error}");
    assert!(error.to_string().contains("make space"), "{error}");
    fs.set_capacity(1 << 20);
    DataDir::open(&opening(&fs)).unwrap();
    let full = || Err(io::ErrorKind::StorageFull.into());
    DataDir::open(&Opening { probe: &full, ..opening(&fs) }).unwrap();
}

#[test]
fn volume_that_is_read_only_or_keeps_no_file_ids_is_refused_with_the_remedy() {
    let fs = MemoryFs::new();
    let read_only = || Err(io::ErrorKind::ReadOnlyFilesystem.into());
    let no_ids = || Err(io::ErrorKind::Unsupported.into());
    for _start in ["first", "later"] {
        let error = DataDir::open(&Opening { probe: &read_only, ..opening(&fs) }).unwrap_err();
        assert!(matches!(error.problem, Problem::NotWritable { .. }), "{error}");
        let error = DataDir::open(&Opening { probe: &no_ids, ..opening(&fs) }).unwrap_err();
        assert!(matches!(error.problem, Problem::NoFileIds { .. }) && error.to_string().contains("ext4"), "{error}");
        DataDir::open(&opening(&fs)).unwrap();
    }
}

#[test]
fn catalog_that_cannot_be_made_ends_the_first_start_with_its_reason() {
    let fs = MemoryFs::new();
    let failing = |_: &dyn FileSystem, shard| if shard == 1 { Err(io::Error::other("no pages")) } else { Ok(()) };
    let error = DataDir::open(&Opening { init_shard: &failing, ..opening(&fs) }).unwrap_err();
    assert!(error.to_string().contains("catalog of shard 1"), "{error}");
    assert_eq!(error.source().unwrap().to_string(), "no pages");
    assert!(fs.open(MANIFEST, Access::Read).is_err());
}

#[test]
fn full_disk_while_catalogs_are_made_is_called_a_full_disk() {
    let fs = MemoryFs::new();
    let full = |_: &dyn FileSystem, _| Err(io::ErrorKind::StorageFull.into());
    let problem = problem(&Opening { init_shard: &full, ..opening(&fs) });
    assert!(matches!(problem, Problem::DiskFull { .. }), "{problem:?}");
}

fn claim_at(folder: &Path) -> Result<RealFs, DataDirError> {
    claim(folder, Attributes { mode: 0o750, uid: None, gid: None })
}

#[test]
fn real_folder_is_made_with_those_above_it_and_used_by_one_at_a_time() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("a/b");
    let fs = claim_at(&folder).unwrap();
    assert_eq!(std_fs::metadata(&folder).unwrap().permissions().mode() & 0o7777, 0o750);
    let probe = || fs.probe_file_ids("");
    assert!(DataDir::open(&Opening { probe: &probe, ..opening(&fs) }).unwrap().first_start);
    let error = claim_at(&folder).unwrap_err();
    assert!(matches!(error.problem, Problem::InUse) && error.to_string().contains("--data-dir"), "{error}");
    drop(fs);
    let fs = claim_at(&folder).unwrap();
    let probe = || fs.probe_file_ids("");
    assert!(!DataDir::open(&Opening { probe: &probe, ..opening(&fs) }).unwrap().first_start);
}

#[test]
fn path_that_is_or_lies_below_a_file_is_refused() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    std_fs::write(&file, "").unwrap();
    for folder in [file.clone(), file.join("below"), Path::new("/dev/null").to_owned()] {
        let error = claim_at(&folder).unwrap_err();
        assert!(matches!(error.problem, Problem::NotADirectory), "{error}");
    }
    let link = dir.path().join("link");
    symlink(dir.path(), &link).unwrap();
    claim_at(&link).unwrap();
}

#[test]
fn name_with_a_line_break_cannot_forge_a_log_line() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("x\nERROR all is lost");
    std_fs::write(&file, "").unwrap();
    assert!(!claim_at(&file).unwrap_err().to_string().contains('\n'));
}
