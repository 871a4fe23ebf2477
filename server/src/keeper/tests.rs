#![allow(clippy::unwrap_used)]

use super::look::{Look, Tried};
use crate::{
    policy::{Keep, Pattern, Policies, Policy, Rotate},
    shard::{FileSummary, testing::key},
};
use std::time::{Duration, Instant, UNIX_EPOCH};

fn policies(compress: bool, count: u32) -> Policies {
    let rotate = Rotate { size: Some(1024), ..Rotate::default() };
    let keep = Keep { count: Some(count), ..Keep::default() };
    let pattern = Pattern::parse("logs/*.log").unwrap();
    Policies::new(&[Policy { pattern, rotate, keep, compress }], &[])
}

/// A file that was sealed, by a rotation if that has a time.
fn file(path: &str, rotated: Option<u64>) -> FileSummary {
    FileSummary {
        path: key(path).path,
        size: 10,
        applied_size: 10,
        synced_size: 10,
        generation: 1,
        sealed: true,
        producers: 0,
        modified: None,
        foreign_change: false,
        crc32c: None,
        stored_size: 10,
        compressed: false,
        rotated,
    }
}

fn look(policies: &Policies, files: Vec<FileSummary>) -> (Vec<String>, Vec<String>) {
    let mut look = Look::default();
    files.into_iter().for_each(|file| look.take(policies, file));
    let names = |files: Vec<FileSummary>| files.into_iter().map(|file| file.path.as_str().to_owned()).collect();
    let removed = names(look.take_unkept(UNIX_EPOCH + Duration::from_secs(100)));
    (removed, names(look.to_compress))
}

#[test]
fn rotated_files_beyond_the_policy_are_removed_file_by_file() {
    let at = |path: &str, seconds: u64| file(path, Some(seconds * 1000));
    let files = vec![
        at("logs/a@20261123T101500001Z.log", 3),
        at("logs/a@20261123T101500002Z.log", 1),
        at("logs/a@20261123T101500003Z.log", 2),
        at("logs/b@20261123T101500001Z.log", 1),
        file("logs/a.log", None),
    ];
    let (removed, compressed) = look(&policies(false, 1), files);
    assert_eq!(removed, ["logs/a@20261123T101500002Z.log", "logs/a@20261123T101500003Z.log"]);
    assert_eq!(compressed, [""; 0]);
}

#[test]
fn files_that_were_not_rotated_or_have_another_name_by_now_are_kept() {
    let files = vec![
        file("logs/a@20261123T101500001Z.log", None),
        file("logs/a@20261123T101500002Z.log", Some(1)),
        file("logs/kept@by-hand.log", Some(1)),
        file("kept/a@20261123T101500002Z.log", Some(1)),
    ];
    let (removed, _) = look(&policies(false, 1), files);
    assert_eq!(removed, [""; 0]);
}

#[test]
fn sealed_and_rotated_files_are_compressed_once_they_are_complete() {
    let files = vec![
        file("logs/a.log", None),
        file("logs/a@20261123T101500001Z.log", Some(1)),
        file("other/a.log", None),
        FileSummary { sealed: false, ..file("logs/b.log", None) },
        FileSummary { applied_size: 9, ..file("logs/c.log", None) },
        FileSummary { compressed: true, ..file("logs/d.log", None) },
        FileSummary { foreign_change: true, ..file("logs/e.log", None) },
        FileSummary { size: 0, applied_size: 0, ..file("logs/f.log", None) },
    ];
    let (_, compressed) = look(&policies(true, 5), files);
    assert_eq!(compressed, ["logs/a.log", "logs/a@20261123T101500001Z.log"]);
}

#[test]
fn what_is_removed_is_not_compressed_before() {
    let files =
        vec![file("logs/a@20261123T101500001Z.log", Some(1000)), file("logs/a@20261123T101500002Z.log", Some(2000))];
    let (removed, compressed) = look(&policies(true, 1), files);
    assert_eq!(removed, ["logs/a@20261123T101500001Z.log"]);
    assert_eq!(compressed, ["logs/a@20261123T101500002Z.log"]);
}

#[test]
fn file_that_made_trouble_is_left_alone_for_longer_each_time() {
    let (mut tried, now) = (Tried::default(), Instant::now());
    let key = key("a");
    assert!(tried.may_try(&key, 1, now));
    let first = tried.failed(&key, 1, now);
    assert!(!tried.may_try(&key, 1, now) && tried.may_try(&key, 2, now));
    assert!(tried.may_try(&key, 1, now + first));
    assert_eq!(tried.failed(&key, 1, now + first), 2 * first);
    let longest = (0..20).map(|_| tried.failed(&key, 1, now)).max().unwrap();
    assert_eq!(longest, Duration::from_secs(3600));
    tried.forget_old(now + 2 * longest);
    assert_eq!(tried.failed(&key, 1, now), first, "it was forgotten");
}
