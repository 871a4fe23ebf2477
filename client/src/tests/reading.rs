//! Calls of one answer, and reading.

use super::in_time;
use crate::{
    AppendOnce, Client, Code, ErrorKind, ErrorReason, Framing, Outcome, Producer, ReadOptions,
    fake::{self, Fake},
};
use futures_util::{StreamExt, TryStreamExt};
use inkpot_proto::{error::Refused, v1::FileInfo};

fn names(files: &[FileInfo]) -> Vec<&str> {
    files.iter().map(|file| file.path.as_str()).collect()
}

#[tokio::test]
async fn list_goes_over_all_pages() {
    let fake = fake::files(["a/1", "a/2", "a/3", "b/1"]).await;
    let files = Client::builder(&fake.endpoint).connect().await.unwrap().files();
    let found: Vec<_> = in_time(files.list("a/", 2).try_collect()).await.unwrap();
    assert_eq!(names(&found), ["a/1", "a/2", "a/3"]);
    let none: Vec<_> = in_time(files.list("c/", 2).try_collect()).await.unwrap();
    assert!(none.is_empty());
}

#[tokio::test]
async fn read_gives_the_bytes_or_the_reason() {
    let fake = fake::files(["a"]).await;
    let files = Client::builder(&fake.endpoint).connect().await.unwrap().files();
    let pieces: Vec<_> = in_time(files.read("a", ReadOptions::default()).try_collect()).await.unwrap();
    assert_eq!(pieces.iter().flat_map(|piece| piece.data.to_vec()).collect::<Vec<_>>(), b"content of a");
    assert_eq!(in_time(files.stat("a")).await.unwrap().path, "a");
    let mut missing = std::pin::pin!(files.read("none", ReadOptions::default()));
    let error = in_time(missing.next()).await.unwrap().unwrap_err();
    assert_eq!((error.reason(), error.file()), (Some(ErrorReason::FileNotFound), Some("none")));
    assert!(in_time(missing.next()).await.is_none());
    assert_eq!(in_time(files.stat("none")).await.unwrap_err().code(), Code::NotFound);
    let invalid = in_time(files.stat("/none")).await.unwrap_err();
    assert_eq!(invalid.reason(), Some(ErrorReason::InvalidPath));
}

#[tokio::test]
async fn single_append_and_write_state_work_without_a_session() {
    let fake = Fake::good().await;
    let client = Client::builder(&fake.endpoint).connect().await.unwrap();
    let ack = in_time(client.append_once("f", vec!["one".into(), "two".into()], AppendOnce::default())).await.unwrap();
    assert_eq!((ack.first_offset, ack.end_offset), (Some(0), Some(6)));
    assert_eq!(in_time(client.write_state("f", "")).await.unwrap().next_offset, 6);
    let framed = AppendOnce { framing: Framing::Newline, timestamps: true, ..AppendOnce::default() };
    in_time(client.append_once("f", vec!["three".into()], framed)).await.unwrap();
    let sent: Vec<_> = fake.world(|world| world.singles.iter().map(|one| (one.framing(), one.timestamps)).collect());
    assert_eq!(sent, [(Framing::None, false), (Framing::Newline, true)]);
    let auto = AppendOnce { producer: Producer::Auto, ..AppendOnce::default() };
    let error = in_time(client.append_once("f", vec!["x".into()], auto)).await.unwrap_err();
    assert_eq!((error.reason(), error.outcome()), (Some(ErrorReason::InvalidField), Outcome::NotApplied));
}

#[tokio::test]
async fn error_without_our_detail_has_an_unknown_outcome() {
    let fake = Fake::good().await;
    let client = Client::builder(&fake.endpoint).connect().await.unwrap();
    let error = in_time(client.write_state("none", "")).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome(), error.reason()), (ErrorKind::Transport, Outcome::Unknown, None));
    let refused = Refused::new(ErrorReason::Draining, "stopping").to_status();
    let error = crate::Error::from_status(&refused);
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Refused, Outcome::NotApplied));
    assert!(error.retryable());
}
