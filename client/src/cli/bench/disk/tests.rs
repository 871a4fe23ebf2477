#![allow(clippy::unwrap_used)]
use super::{super::load::tests::load, *};
use std::fs;

#[test]
fn disk_is_measured_and_nothing_is_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let load = Load { duration: Duration::from_millis(60), ..load(1, 1) };
    let seen = measure(folder.path(), &load).unwrap();
    assert!(seen.bytes_per_s > 0.0 && COMMIT_BYTES.contains(&seen.commit_bytes), "{seen:?}");
    assert!(!seen.small_micros.is_empty());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn payload_is_written_over_and_over() {
    let folder = tempfile::tempdir().unwrap();
    let load = load(1, 1);
    let mut disk = Disk::new(folder.path(), &load).unwrap();
    let size = COMMIT_BYTES[0];
    for _ in 0..FILE_BYTES / size as u64 + 2 {
        disk.write(size).unwrap();
    }
    assert_eq!(disk.at, 2 * size as u64);
}

#[test]
fn missing_folder_is_named() {
    let failure = measure(Path::new("/nowhere/at/all"), &load(1, 1)).unwrap_err();
    assert!(format!("{failure:?}").contains("/nowhere/at/all"), "{failure:?}");
}
