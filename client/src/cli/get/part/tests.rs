#![allow(clippy::unwrap_used)]
use super::*;

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path().join("a.bin");
    (folder, local)
}

async fn written(local: &Path, generation: u64, bytes: &[u8]) -> Part {
    let mut part = Part::open(local, generation, None).await.unwrap();
    part.file.write_all(bytes).await.unwrap();
    part.file.flush().await.unwrap();
    part
}

#[tokio::test]
async fn nothing_is_at_the_name_until_it_is_published() {
    let (folder, local) = folder();
    let part = written(&local, 7, b"content").await;
    assert!(!local.exists());
    part.publish(&local, false).await.unwrap();
    assert_eq!(fs::read(&local).unwrap(), b"content");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[tokio::test]
async fn file_that_came_meanwhile_is_not_overwritten_unless_forced() {
    let (_folder, local) = folder();
    let part = written(&local, 7, b"new").await;
    fs::write(&local, b"old").unwrap();
    let failure = part.publish(&local, false).await.unwrap_err();
    assert!(format!("{failure:?}").contains("Conflict"), "{failure:?}");
    assert_eq!(fs::read(&local).unwrap(), b"old");
    assert!(refuse_to_overwrite(&local, false).is_err() && refuse_to_overwrite(&local, true).is_ok());
    let part = Part::open(&local, 7, Some(3)).await.unwrap();
    assert_eq!((part.len, part.crc32c), (3, crc32c::crc32c(b"new")), "it is still there");
    part.publish(&local, true).await.unwrap();
    assert_eq!(fs::read(&local).unwrap(), b"new");
}

#[tokio::test]
async fn only_bytes_of_the_same_generation_are_gone_on_with() {
    let (_folder, local) = folder();
    let left = written(&local, 7, b"content").await.left(Failure::new(Exit::Interrupted, "interrupted")).await;
    assert!(format!("{left:?}").contains("7 bytes are kept"), "{left:?}");
    assert_eq!(Part::open(&local, 8, Some(100)).await.unwrap().len, 0);
    let mut part = Part::open(&local, 7, Some(100)).await.unwrap();
    assert_eq!((part.len, part.crc32c), (7, crc32c::crc32c(b"content")));
    part.file.write_all(b", more").await.unwrap();
    part.publish(&local, false).await.unwrap();
    assert_eq!(fs::read(&local).unwrap(), b"content, more");
}

#[tokio::test]
async fn without_resume_it_begins_anew_and_useless_bytes_go() {
    let (folder, local) = folder();
    drop(written(&local, 7, b"content").await);
    let mut part = Part::open(&local, 7, None).await.unwrap();
    assert_eq!((part.len, part.crc32c), (0, 0));
    part.is_useless = true;
    let _ = part.left(Failure::new(Exit::Error, "changed")).await;
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn two_runs_do_not_write_the_same_part() {
    let (_folder, local) = folder();
    let _part = written(&local, 7, b"content").await;
    let failure = Part::open(&local, 7, None).await.unwrap_err();
    assert!(format!("{failure:?}").contains("another"), "{failure:?}");
}
