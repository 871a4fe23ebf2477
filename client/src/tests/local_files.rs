//! Local files, uploaded and downloaded.

use super::in_time;
use crate::{
    Client, DownloadOptions, ErrorKind, ErrorReason, Expected, Producer, Transferred, UploadFileOptions, UploadOptions,
    fake::{Act, Fake, File, Trouble},
};
use bytes::Bytes;
use inkpot_proto::v1::write_request::Frame;
use std::{fs, path::PathBuf};
use tempfile::TempDir;

/// A local file of 95 bytes.
fn local() -> (TempDir, PathBuf, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("local");
    let bytes: Vec<u8> = (0..95).collect();
    fs::write(&path, &bytes).unwrap();
    (directory, path, bytes)
}

fn options() -> UploadFileOptions {
    let producer = Producer::Named { id: "p".into(), epoch: Some(1) };
    let upload = UploadOptions { producer, chunk_bytes: 10, window_bytes: 40, ..UploadOptions::default() };
    UploadFileOptions { upload, ..UploadFileOptions::default() }
}

async fn client(fake: &Fake) -> Client {
    Client::builder(&fake.endpoint).connect().await.unwrap()
}

/// Uploads the first bytes, and stops.
async fn begun(client: &Client, bytes: &[u8]) {
    let mut upload = in_time(client.upload("f", options().upload)).await.unwrap();
    in_time(upload.write(Bytes::copy_from_slice(bytes))).await.unwrap();
    in_time(upload.flush()).await.unwrap();
}

#[tokio::test]
async fn file_is_uploaded_with_progress_over_a_lost_connection() {
    let mut cuts = 2;
    let fake = Fake::start(move |seen| match seen.frame {
        Frame::Append(append) if append.seq == 5 && cuts > 0 => {
            cuts -= 1;
            Act::Cut { applied: cuts == 0 }
        }
        _ => Act::Serve,
    })
    .await;
    let (_directory, path, bytes) = local();
    let mut seen = Vec::new();
    let published =
        in_time(client(&fake).await.upload_file(&path, "f", options(), |now| seen.push(now))).await.unwrap();
    assert_eq!((published.size, published.crc32c), (95, crc32c::crc32c(&bytes)));
    assert_eq!(fake.world(|world| world.bytes("f")), bytes);
    assert_eq!((seen.first().copied(), seen.last().copied()), (Some(at(0)), Some(at(95))));
    assert!(seen.windows(2).all(|pair| pair[0].done <= pair[1].done), "{seen:?}");
}

fn at(done: u64) -> Transferred {
    Transferred { done, total: 95 }
}

#[tokio::test]
async fn file_goes_on_behind_what_was_uploaded_before() {
    for checksum in [true, false] {
        let fake = Fake::good().await;
        let client = client(&fake).await;
        let (_directory, path, bytes) = local();
        begun(&client, &bytes[..30]).await;
        let sent = fake.world(|world| world.appends.len());
        let mut seen = Vec::new();
        let options = UploadFileOptions { checksum, ..options() };
        in_time(client.upload_file(&path, "f", options.clone(), |now| seen.push(now))).await.unwrap();
        assert_eq!(fake.world(|world| world.bytes("f")), bytes);
        assert_eq!(fake.world(|world| world.appends.len()) - sent, 7, "65 bytes in chunks of 10");
        assert_eq!(seen.first(), Some(&at(30)));
        let commit = fake.world(|world| world.finishes.last().copied()).unwrap();
        assert_eq!(commit.crc32c, checksum.then(|| crc32c::crc32c(&bytes)));
        let again = in_time(client.upload_file(&path, "f", options, |_| ())).await.unwrap();
        assert_eq!((again.generation, again.size), (1, 95), "published before: says so again");
        assert_eq!(fake.world(|world| world.appends.len()) - sent, 7);
    }
}

#[tokio::test]
async fn file_that_is_not_the_one_of_the_upload_is_not_published() {
    let fake = Fake::good().await;
    let client = client(&fake).await;
    let (_directory, path, bytes) = local();
    begun(&client, b"something else").await;
    let error = in_time(client.upload_file(&path, "f", options(), |_| ())).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::ChecksumMismatch));
    fs::write(&path, &bytes[..5]).unwrap();
    let error = in_time(client.upload_file(&path, "f", options(), |_| ())).await.unwrap_err();
    assert_eq!((error.kind(), error.file()), (ErrorKind::Local, Some("f")));
    assert!(error.message().contains("has 5 bytes, but 95 of it were uploaded before"), "{error}");
    assert!(fake.world(|world| world.files.is_empty()));
}

#[tokio::test]
async fn file_of_another_size_than_the_published_one_is_said_to_be_late() {
    let fake = Fake::good().await;
    let client = client(&fake).await;
    let (_directory, path, bytes) = local();
    in_time(client.upload_file(&path, "f", options(), |_| ())).await.unwrap();
    fs::write(&path, &bytes[..90]).unwrap();
    let error = in_time(client.upload_file(&path, "f", options(), |_| ())).await.unwrap_err();
    assert_eq!((error.reason(), error.file()), (Some(ErrorReason::UploadFinished), Some("f")));
    assert!(error.message().contains("95 bytes; the local file has 90"), "{error}");
}

#[tokio::test]
async fn file_that_changes_while_it_is_uploaded_is_not_published() {
    let fake = Fake::good().await;
    let client = client(&fake).await;
    let (_directory, path, _) = local();
    let change = path.clone();
    let uploading = client.upload_file(&path, "f", options(), |now| {
        if now.done == 0 {
            let mut bytes = fs::read(&change).unwrap();
            bytes.push(0);
            fs::write(&change, bytes).unwrap();
        }
    });
    let error = in_time(uploading).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Local);
    assert!(error.message().contains("changed while it was uploaded"), "{error}");
    assert!(fake.world(|world| world.files.is_empty()));
    let missing = path.with_file_name("missing");
    let error = in_time(client.upload_file(&missing, "f", options(), |_| ())).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Local && error.message().contains("missing"), "{error}");
}

/// A server with a file of 2500 bytes, which is read in pieces of 1000.
async fn stocked() -> (Fake, Vec<u8>) {
    let fake = Fake::good().await;
    let bytes: Vec<u8> = (0..2500_u32).map(|number| (number % 251) as u8).collect();
    let file = File { bytes: bytes.clone(), renewals: 4, ..File::default() };
    fake.world(|world| world.files.insert("f".to_owned(), file));
    (fake, bytes)
}

#[tokio::test]
async fn download_is_whole_over_lost_connections_and_verified() {
    let (fake, bytes) = stocked().await;
    fake.world(|world| {
        world.troubles = [
            Trouble::LoseAnswer,
            Trouble::Refuse(ErrorReason::ShardClosed),
            Trouble::End(9), // not in Stat
            Trouble::End(1),
            Trouble::End(0),
            Trouble::LoseAnswer,
            Trouble::End(1),
        ]
        .into();
    });
    let (mut out, mut seen) = (Vec::new(), Vec::new());
    let files = client(&fake).await.files();
    let downloaded = in_time(files.download("f", &mut out, DownloadOptions::default(), |now| seen.push(now.done)));
    let downloaded = downloaded.await.unwrap();
    assert_eq!(out, bytes);
    assert_eq!((downloaded.size, downloaded.generation, downloaded.verified), (2500, 5, true));
    assert_eq!(downloaded.crc32c, crc32c::crc32c(&bytes));
    assert_eq!(seen, [0, 1000, 2000, 2500]);
    let reads =
        fake.world(|world| world.calls.iter().filter(|call| call.starts_with("read")).cloned().collect::<Vec<_>>());
    assert_eq!(reads, ["read 0", "read 1000", "read 1000", "read 1000", "read 2000"]);
}

#[tokio::test]
async fn part_of_a_file_is_downloaded_and_not_verified() {
    let (fake, bytes) = stocked().await;
    let files = client(&fake).await.files();
    for (offset, limit, expected) in
        [(100, 1200, 100..1300), (2400, 0, 2400..2500), (2000, 9000, 2000..2500), (2500, 0, 2500..2500)]
    {
        let mut out = Vec::new();
        let options = DownloadOptions { offset, limit, ..DownloadOptions::default() };
        let downloaded = in_time(files.download("f", &mut out, options, |_| ())).await.unwrap();
        assert_eq!(out, bytes[expected]);
        assert_eq!((downloaded.size, downloaded.verified), (out.len() as u64, false));
        assert_eq!(downloaded.crc32c, crc32c::crc32c(&out));
    }
    let options = DownloadOptions { offset: 2501, ..DownloadOptions::default() };
    let error = in_time(files.download("f", &mut Vec::new(), options, |_| ())).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::OutOfRange));
}

#[tokio::test]
async fn download_of_a_file_that_is_replaced_is_an_error() {
    let (fake, _) = stocked().await;
    let files = client(&fake).await.files();
    let options = DownloadOptions { if_generation: Some(4), ..DownloadOptions::default() };
    let error = in_time(files.download("f", &mut Vec::new(), options, |_| ())).await.unwrap_err();
    assert_eq!((error.reason(), error.file()), (Some(ErrorReason::GenerationChanged), Some("f")));
    fake.world(|world| world.troubles = [Trouble::End(9), Trouble::End(1)].into());
    let mut out = Vec::new();
    let replaced = in_time(files.download("f", &mut out, DownloadOptions::default(), |now| {
        if now.done == 1000 {
            fake.world(|world| world.files.get_mut("f").unwrap().renewals += 1);
        }
    }));
    assert_eq!(replaced.await.unwrap_err().reason(), Some(ErrorReason::GenerationChanged));
}

#[tokio::test]
async fn damaged_bytes_are_found_out_where_they_are_to_be_verified() {
    let (fake, _) = stocked().await;
    fake.world(|world| world.files.get_mut("f").unwrap().crc32c = Some(7));
    let files = client(&fake).await.files();
    let error = in_time(files.download("f", &mut Vec::new(), DownloadOptions::default(), |_| ())).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::Damaged));
    let options = DownloadOptions { verify: false, ..DownloadOptions::default() };
    assert!(!in_time(files.download("f", &mut Vec::new(), options, |_| ())).await.unwrap().verified);
}

#[tokio::test]
async fn output_that_fails_is_told_as_ours_and_an_upload_as_output_keeps_its_error() {
    let (fake, bytes) = stocked().await;
    let client = client(&fake).await;
    let mut full = std::io::Cursor::new(vec![0; 10].into_boxed_slice());
    let error = in_time(client.files().download("f", &mut full, DownloadOptions::default(), |_| ())).await.unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Local, None));

    let mut copy = in_time(client.upload("g", options().upload)).await.unwrap().into_async_write();
    in_time(client.files().download("f", &mut copy, DownloadOptions::default(), |_| ())).await.unwrap();
    in_time(tokio::io::AsyncWriteExt::shutdown(&mut copy)).await.unwrap();
    assert_eq!(fake.world(|world| world.bytes("g")), bytes);

    let mut published = in_time(client.upload("g", options().upload)).await.unwrap().into_async_write();
    let error = in_time(client.files().download("f", &mut published, DownloadOptions::default(), |_| ())).await;
    assert_eq!(error.unwrap_err().reason(), Some(ErrorReason::UploadFinished));
    let again = in_time(client.upload("g", options().upload)).await.unwrap();
    assert_eq!(in_time(again.commit(Expected::default())).await.unwrap().size, 2500);
}
