#![allow(clippy::unwrap_used)]
use super::*;
use std::{os::unix::fs::symlink, time::SystemTime};

fn file(folder: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    path
}

#[test]
fn producer_is_the_same_for_the_same_file_and_another_for_all_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "a", b"content");
    let known = Local::look(&path).unwrap().unwrap();
    let id = known.producer("http://h:1", "to", Condition::None);
    symlink(&path, folder.path().join("link")).unwrap();
    let names = [folder.path().join("link"), folder.path().join("../").join(folder.path()).join("a"), path.clone()];
    for name in names {
        assert_eq!(Local::look(&name).unwrap().unwrap().producer("http://h:1", "to", Condition::None), id, "{name:?}");
    }
    assert!(id.len() <= 64 && id.is_ascii(), "{id}");
    let other = file(folder.path(), "b", b"content");
    fs::File::options().append(true).open(&other).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let touched = Local { modified: (known.modified.0, known.modified.1 + 1), ..known.clone() };
    let longer = Local { size: 8, ..known.clone() };
    let others = [
        known.producer("http://h:1", "to2", Condition::None),
        known.producer("http://h:1t", "o", Condition::None),
        known.producer("http://h:1", "to", Condition::Absent),
        known.producer("http://h:1", "to", Condition::Generation(1)),
        Local::look(&other).unwrap().unwrap().producer("http://h:1", "to", Condition::None),
        touched.producer("http://h:1", "to", Condition::None),
        longer.producer("http://h:1", "to", Condition::None),
    ];
    assert!(others.iter().all(|other| *other != id), "{others:?} {id}");
}

#[test]
fn directory_is_refused_with_the_remedy_and_nothing_is_not_found() {
    let folder = tempfile::tempdir().unwrap();
    let failure = Local::look(folder.path()).unwrap_err();
    assert!(format!("{failure:?}").contains("inkpot publish"), "{failure:?}");
    let failure = Local::look(&folder.path().join("none")).unwrap_err();
    assert!(format!("{failure:?}").contains("NotFound"), "{failure:?}");
}

#[test]
fn device_is_no_file_that_is_read_twice() {
    assert_eq!(Local::look(Path::new("/dev/null")).unwrap(), None);
}

#[test]
fn opening_gives_the_checksum_of_what_was_sent_and_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..700_000_u32).map(|n| (n % 251) as u8).collect();
    let path = file(folder.path(), "a", &content);
    let local = Local::look(&path).unwrap().unwrap();
    for offset in [0, 1, 300_000, content.len()] {
        let (mut rest, crc32c) = local.open_at(offset as u64).unwrap();
        let mut read = Vec::new();
        rest.read_to_end(&mut read).unwrap();
        assert_eq!((read.as_slice(), crc32c), (&content[offset..], crc32c::crc32c(&content[..offset])));
    }
    assert!(local.open_at(content.len() as u64 + 1).is_err());
}

#[test]
fn file_that_changed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "a", b"content");
    let local = Local::look(&path).unwrap().unwrap();
    fs::write(&path, b"another content").unwrap();
    let failure = local.open_at(0).unwrap_err();
    assert!(format!("{failure:?}").contains("was changed"), "{failure:?}");
}
