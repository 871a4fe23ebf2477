//! What one does to files as a whole, and when the library asks again.

use super::in_time;
use crate::{
    AdoptOptions, ChangeOptions, Client, Entry, ErrorKind, ErrorReason, Files, ListOptions, Operator, Outcome,
    RenameOptions,
    fake::{Fake, File, Trouble},
};
use futures_util::{StreamExt, TryStreamExt};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_millis(600);

/// A server with these files, each with its name as content.
async fn stocked(paths: &[&str]) -> (Fake, Files) {
    let fake = Fake::good().await;
    fake.world(|world| {
        for path in paths {
            world.files.insert((*path).to_owned(), File { bytes: (*path).into(), ..File::default() });
        }
    });
    let client = Client::builder(&fake.endpoint).give_up_after(PATIENCE).connect().await.unwrap();
    (fake, client.files())
}

fn operator() -> Option<Operator> {
    Some(Operator { producer_id: "p".into(), producer_epoch: 1, seq: 1 })
}

fn trouble(fake: &Fake, troubles: impl IntoIterator<Item = Trouble>) {
    fake.world(|world| {
        world.troubles = troubles.into_iter().collect();
        world.calls.clear();
    });
}

fn calls(fake: &Fake) -> usize {
    fake.world(|world| world.calls.len())
}

fn paths(fake: &Fake) -> Vec<String> {
    fake.world(|world| {
        let mut paths: Vec<_> = world.files.keys().cloned().collect();
        paths.sort();
        paths
    })
}

#[tokio::test]
async fn operations_do_what_they_say() {
    let (fake, files) = stocked(&["a", "b", "c"]).await;
    assert!(!in_time(files.delete("a", ChangeOptions::default())).await.unwrap().duplicate);
    let cut = in_time(files.truncate("b", 0, ChangeOptions::default())).await.unwrap();
    assert_eq!((cut.generation, fake.world(|world| world.bytes("b"))), (2, Vec::new()));
    assert_eq!(in_time(files.rename("b", "d", RenameOptions::default())).await.unwrap().generation, 2);
    let sealed = in_time(files.seal("c", ChangeOptions::default())).await.unwrap();
    assert_eq!((sealed.size, sealed.crc32c, sealed.duplicate), (1, crc32c::crc32c(b"c"), false));
    assert_eq!(paths(&fake), ["c", "d"]);
    let error = in_time(files.rename("c", "d", RenameOptions::default())).await.unwrap_err();
    assert_eq!((error.reason(), error.file()), (Some(ErrorReason::FileExists), Some("c")));
    let replace = RenameOptions { replace: true, ..RenameOptions::default() };
    in_time(files.rename("c", "d", replace)).await.unwrap();
    assert_eq!(paths(&fake), ["d"]);
    let wrong = || ChangeOptions { if_generation: Some(9), ..ChangeOptions::default() };
    for error in [
        in_time(files.delete("d", wrong())).await.unwrap_err(),
        in_time(files.truncate("d", 0, wrong())).await.unwrap_err(),
        in_time(files.seal("d", wrong())).await.unwrap_err(),
    ] {
        assert_eq!((error.reason(), error.outcome()), (Some(ErrorReason::GenerationChanged), Outcome::NotApplied));
    }
    trouble(&fake, []);
    for error in [
        in_time(files.delete("../up", ChangeOptions::default())).await.unwrap_err(),
        in_time(files.rename("d", "/e", RenameOptions::default())).await.unwrap_err(),
    ] {
        assert_eq!(error.reason(), Some(ErrorReason::InvalidPath));
    }
    assert_eq!(calls(&fake), 0, "invalid names are not sent");
}

#[tokio::test]
async fn operator_makes_a_lost_answer_harmless() {
    let (fake, files) = stocked(&["a", "b", "c"]).await;
    let lost = || trouble(&fake, [Trouble::LoseAnswer]);
    let options = || ChangeOptions { operator: operator(), ..ChangeOptions::default() };
    lost();
    assert!(in_time(files.delete("a", options())).await.unwrap().duplicate);
    lost();
    let cut = in_time(files.truncate("b", 0, options())).await.unwrap();
    assert_eq!((cut.generation, cut.duplicate), (2, true));
    lost();
    let renamed = RenameOptions { operator: operator(), ..RenameOptions::default() };
    assert!(in_time(files.rename("c", "d", renamed)).await.unwrap().duplicate);
    assert_eq!((calls(&fake), paths(&fake)), (2, vec!["b".to_owned(), "d".to_owned()]));
}

#[tokio::test]
async fn refusal_after_a_lost_answer_does_not_say_that_nothing_was_applied() {
    let (fake, files) = stocked(&["a"]).await;
    trouble(&fake, [Trouble::LoseAnswer, Trouble::Refuse(ErrorReason::GenerationChanged)]);
    let error = in_time(files.seal("a", ChangeOptions::default())).await.unwrap_err();
    assert_eq!((error.reason(), error.outcome()), (Some(ErrorReason::GenerationChanged), Outcome::Unknown));
    assert_eq!(calls(&fake), 2);
}

#[tokio::test]
async fn without_an_operator_a_lost_answer_is_told_and_not_asked_again() {
    let (fake, files) = stocked(&["a"]).await;
    trouble(&fake, [Trouble::LoseAnswer]);
    let error = in_time(files.delete("a", ChangeOptions::default())).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome(), error.file()), (ErrorKind::Transport, Outcome::Unknown, Some("a")));
    assert_eq!(calls(&fake), 1);
}

#[tokio::test]
async fn refusal_that_passes_and_applied_nothing_is_asked_again_by_all() {
    let (fake, files) = stocked(&["a", "b"]).await;
    trouble(&fake, [Trouble::Refuse(ErrorReason::ShardClosed)]);
    in_time(files.delete("a", ChangeOptions::default())).await.unwrap();
    assert_eq!(calls(&fake), 2);
    trouble(&fake, vec![Trouble::Refuse(ErrorReason::BeingDecided); 100]);
    let error = in_time(files.delete("b", ChangeOptions::default())).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::GaveUp, Outcome::NotApplied));
    assert!(error.message().contains("so the script says"), "{error}");
    trouble(&fake, [Trouble::Refuse(ErrorReason::Sealed)]);
    let error = in_time(files.delete("b", ChangeOptions::default())).await.unwrap_err();
    assert_eq!((error.reason(), calls(&fake)), (Some(ErrorReason::Sealed), 1), "what does not pass is said at once");
}

#[tokio::test]
async fn seal_is_asked_again_because_it_says_the_same() {
    let (fake, files) = stocked(&["a"]).await;
    trouble(&fake, [Trouble::LoseAnswer]);
    assert!(in_time(files.seal("a", ChangeOptions::default())).await.unwrap().duplicate);
}

#[tokio::test]
async fn prefix_is_deleted_page_by_page_as_the_stream_is_read() {
    let (fake, files) = stocked(&["a/1", "a/2", "a/3", "a/4", "a/5", "b/1"]).await;
    let mut pages = Box::pin(files.delete_prefix("a/", 2));
    assert_eq!(paths(&fake).len(), 6, "nothing happens before it is polled");
    let first = in_time(pages.next()).await.unwrap().unwrap();
    assert_eq!((first.deleted, first.deleted_bytes, paths(&fake).len()), (2, 6, 4));
    trouble(&fake, [Trouble::LoseAnswer]);
    let rest: Vec<_> = in_time(pages.try_collect()).await.unwrap();
    assert_eq!(rest.iter().map(|page| page.deleted).collect::<Vec<_>>(), [1], "two were removed by the lost call");
    assert_eq!(paths(&fake), ["b/1"]);
}

#[tokio::test]
async fn adoption_goes_over_all_pages() {
    let (_fake, files) = stocked(&[]).await;
    let options = AdoptOptions { recursive: true, page_size: 3 };
    let pages: Vec<_> = in_time(files.adopt("", options).try_collect()).await.unwrap();
    assert_eq!(pages.iter().map(|page| page.adopted).sum::<u32>(), 6);
    assert_eq!(pages[1].not_adopted[0].path, "fifo");
}

#[tokio::test]
async fn entries_are_files_and_prefixes_in_order_over_all_pages() {
    let (_fake, files) = stocked(&["a", "b/1", "b/2", "c", "d/1/x", "d/2", "e"]).await;
    let found = async |prefix: &str, delimiter| {
        let options = ListOptions { page_size: 2, delimiter };
        let entries: Vec<_> = in_time(files.entries(prefix, options).try_collect()).await.unwrap();
        let shown = |entry: &Entry| match entry {
            Entry::File(file) => file.path.clone(),
            Entry::Prefix(prefix) => format!("[{prefix}]"),
        };
        entries.iter().map(shown).collect::<Vec<_>>()
    };
    assert_eq!(found("", Some('/')).await, ["a", "[b/]", "c", "[d/]", "e"]);
    assert_eq!(found("d/", Some('/')).await, ["[d/1/]", "d/2"]);
    assert_eq!(found("b/", None).await, ["b/1", "b/2"]);
}
