#![allow(clippy::unwrap_used)]
use super::*;
use std::os::unix::fs::symlink;

fn write(folder: &Path, name: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, name).unwrap();
}

fn paths(folder: &Path, prefix: &str) -> Vec<String> {
    parts(folder, prefix).unwrap().into_iter().map(|part| part.path).collect()
}

#[test]
fn every_file_has_its_path_below_the_prefix() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["b", "a/x", "a/y/z", "a-b"] {
        write(folder.path(), name);
    }
    assert_eq!(paths(folder.path(), "site/v2"), ["site/v2/a-b", "site/v2/a/x", "site/v2/a/y/z", "site/v2/b"]);
    assert_eq!(paths(folder.path(), "site/v2/"), paths(folder.path(), "site/v2"));
    assert_eq!(paths(folder.path(), ""), ["a-b", "a/x", "a/y/z", "b"]);
}

#[test]
fn links_to_files_are_files_and_links_to_directories_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "d/file");
    symlink("d/file", folder.path().join("link")).unwrap();
    assert_eq!(paths(folder.path(), "p"), ["p/d/file", "p/link"]);
    symlink("d", folder.path().join("loop")).unwrap();
    let failure = parts(folder.path(), "p").unwrap_err();
    assert!(format!("{failure:?}").contains("loop"), "{failure:?}");
}

#[test]
fn what_no_set_can_hold_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    assert!(format!("{:?}", parts(folder.path(), "p").unwrap_err()).contains("there is no file"));
    write(folder.path(), "back\\slash");
    assert!(format!("{:?}", parts(folder.path(), "p").unwrap_err()).contains("slash"));
    assert!(format!("{:?}", parts(&folder.path().join("none"), "p").unwrap_err()).contains("NotFound"));
}

#[test]
fn as_many_files_as_a_set_may_have_and_not_one_more() {
    let folder = tempfile::tempdir().unwrap();
    (0..MAX_FILES).for_each(|n| write(folder.path(), &format!("d/{n}")));
    assert_eq!(paths(folder.path(), "p").len(), MAX_FILES);
    write(folder.path(), "one-more");
    let failure = parts(folder.path(), "p").unwrap_err();
    assert!(format!("{failure:?}").contains("at most 1000 files"), "{failure:?}");
}
