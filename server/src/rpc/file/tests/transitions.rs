//! What a reader that follows is told of rotation, replacement and deletion.

use super::{
    reading::{Files, all, refusal, request, start},
    *,
};
use crate::apply::view::{Gone, Location};
use inkpot_proto::v1::Transition;
use inkpot_wal::fs::Existing;

/// Content of a file, in memory only. Its number is its id and its generation.
fn content(path: &str, number: u64, data: &[&'static str]) -> Arc<FileView> {
    let view = FileView::new(key(path), FileId::new(0, 1, number), number, ViewState::default());
    view.state().exists = true;
    data.iter().for_each(|data| commit(&view, data));
    Arc::new(view)
}

fn register(fake: &Fake, view: &Arc<FileView>) {
    fake.services.shard(&key("a.log")).registry.insert(Arc::clone(view));
}

/// `new` takes the place of `old`, which gets another path, or none.
fn rotate(fake: &Fake, old: &Arc<FileView>, new: &Arc<FileView>, to: Option<&str>) {
    old.state().successor = Some(Arc::clone(new));
    match to {
        Some(to) => {
            old.state().rotated_to = Some(new.generation);
            old.place_mut().key = key(to);
            register(fake, old);
        }
        None => old.state().gone = Some(Gone::Replaced),
    }
    register(fake, new);
    old.changed.notify_waiters();
}

fn delete(fake: &Fake, view: &Arc<FileView>) {
    fake.services.shard(&key("a.log")).registry.set_absent(view.key());
    view.state().gone = Some(Gone::Deleted);
    view.changed.notify_waiters();
}

fn rename(fake: &Fake, view: &Arc<FileView>, to: &str) {
    let from = view.key();
    view.place_mut().key = key(to);
    fake.services.shard(&key("a.log")).registry.insert_moved(Arc::clone(view), &from);
    view.changed.notify_waiters();
}

async fn follow(files: &mut Files, if_generation: Option<u64>) -> Streaming<v1::ReadResponse> {
    start(files, v1::ReadRequest { follow: true, if_generation, ..request("a.log") }).await
}

async fn next(answers: &mut Streaming<v1::ReadResponse>) -> v1::ReadResponse {
    within(answers.message()).await.unwrap().unwrap()
}

/// The next response is these bytes of that generation.
async fn bytes(answers: &mut Streaming<v1::ReadResponse>, generation: u64, offset: u64, data: &str) {
    let next = next(answers).await;
    assert_eq!(next.transition(), Transition::Unspecified, "{next:?}");
    assert_eq!((next.generation, next.offset, &next.data[..]), (generation, offset, data.as_bytes()));
}

/// The next response is this transition to that generation.
async fn transition(answers: &mut Streaming<v1::ReadResponse>, transition: Transition, generation: u64) {
    let next = next(answers).await;
    assert_eq!((next.transition(), next.generation, next.data.len()), (transition, generation, 0), "{next:?}");
    if transition != Transition::Deleted {
        assert_eq!(next.offset, 0);
    }
}

#[tokio::test]
async fn all_bytes_come_before_each_rotation_and_none_is_skipped() {
    let fake = Fake::new(one_shard());
    let contents: Vec<_> = (1..=4).map(|n| content("a.log", n, &[])).collect();
    register(&fake, &contents[0]);
    commit(&contents[0], "old");
    let mut answers = follow(&mut fake.files().await, None).await;
    bytes(&mut answers, 1, 0, "old").await;
    // While the reader waits: the rest of the first, all of the second, nothing of the third.
    commit(&contents[1], "second");
    commit(&contents[0], "er");
    rotate(&fake, &contents[0], &contents[1], Some("a@1.log"));
    rotate(&fake, &contents[1], &contents[2], Some("a@2.log"));
    rotate(&fake, &contents[2], &contents[3], Some("a@3.log"));
    bytes(&mut answers, 1, 3, "er").await;
    transition(&mut answers, Transition::Rotated, 2).await;
    bytes(&mut answers, 2, 0, "second").await;
    transition(&mut answers, Transition::Rotated, 3).await;
    transition(&mut answers, Transition::Rotated, 4).await;
    commit(&contents[3], "fourth");
    bytes(&mut answers, 4, 0, "fourth").await;
}

#[tokio::test]
async fn replacement_is_told_at_once_and_without_the_rest() {
    let fake = Fake::new(one_shard());
    let size = 64 << 20;
    let old = content("a.log", 1, &[Box::leak("x".repeat(size).into_boxed_str())]);
    register(&fake, &old);
    let mut answers = follow(&mut fake.files().await, None).await;
    let mut received = next(&mut answers).await.data.len();
    rotate(&fake, &old, &content("a.log", 2, &["new"]), None);
    let told = loop {
        let next = next(&mut answers).await;
        received += next.data.len();
        if next.transition() != Transition::Unspecified {
            break next;
        }
    };
    assert_eq!((told.transition(), told.generation, told.end_offset), (Transition::Replaced, 2, 3));
    assert!(received < size, "the rest was not waited for");
    bytes(&mut answers, 2, 0, "new").await;
}

#[tokio::test]
async fn follower_from_the_middle_gets_the_next_content_from_its_beginning() {
    let fake = Fake::new(one_shard());
    let old = content("a.log", 1, &["0123456789"]);
    register(&fake, &old);
    let from = v1::ReadRequest { follow: true, offset: 8, limit: 5, ..request("a.log") };
    let mut answers = start(&mut fake.files().await, from).await;
    bytes(&mut answers, 1, 8, "89").await;
    rotate(&fake, &old, &content("a.log", 2, &["abcdef"]), Some("a@1.log"));
    transition(&mut answers, Transition::Rotated, 2).await;
    bytes(&mut answers, 2, 0, "abc").await;
    assert_eq!(within(answers.message()).await.unwrap(), None, "the limit counts over all of them");
}

#[tokio::test]
async fn deleted_file_is_waited_for() {
    let mut fake = Fake::new(one_shard());
    let old = content("a.log", 1, &["old"]);
    register(&fake, &old);
    fake.answer_about_files();
    let mut answers = follow(&mut fake.files().await, None).await;
    bytes(&mut answers, 1, 0, "old").await;
    delete(&fake, &old);
    transition(&mut answers, Transition::Deleted, 1).await;
    register(&fake, &content("a.log", 2, &["new"]));
    transition(&mut answers, Transition::Created, 2).await;
    bytes(&mut answers, 2, 0, "new").await;
}

#[tokio::test]
async fn renamed_file_is_read_to_its_end_and_then_the_path_is_waited_for() {
    let mut fake = Fake::new(one_shard());
    let old = content("a.log", 1, &["old"]);
    register(&fake, &old);
    fake.answer_about_files();
    let mut answers = follow(&mut fake.files().await, None).await;
    bytes(&mut answers, 1, 0, "old").await;
    commit(&old, "er");
    rename(&fake, &old, "b.log");
    bytes(&mut answers, 1, 3, "er").await;
    transition(&mut answers, Transition::Deleted, 1).await;
    commit(&old, " and elsewhere");
    rename(&fake, &old, "a.log");
    transition(&mut answers, Transition::Created, 1).await;
    bytes(&mut answers, 1, 0, "older and elsewhere").await;
}

#[tokio::test]
async fn first_content_comes_without_a_transition() {
    let mut fake = Fake::new(one_shard());
    fake.answer_about_files();
    let mut answers = follow(&mut fake.files().await, None).await;
    register(&fake, &content("a.log", 1, &["here"]));
    bytes(&mut answers, 1, 0, "here").await;
}

/// Bytes that the view has and the disk has not: the inode went with a checkpoint.
fn lose(view: &FileView) {
    let mut state = view.state();
    state.committed += 10;
    state.applied = state.committed;
    state.pending.clear();
}

#[tokio::test]
async fn content_whose_bytes_are_gone_is_left_behind() {
    let mut fake = Fake::new(one_shard());
    let old = content("a.log", 1, &["old"]);
    register(&fake, &old);
    fake.answer_about_files();
    let mut answers = follow(&mut fake.files().await, None).await;
    bytes(&mut answers, 1, 0, "old").await;
    // Rotated away, not kept, and not read to its end.
    lose(&old);
    old.state().gone = Some(Gone::Deleted);
    let new = content("a.log", 2, &["new"]);
    rotate(&fake, &old, &new, Some("a@1.log"));
    transition(&mut answers, Transition::Replaced, 2).await;
    bytes(&mut answers, 2, 0, "new").await;
    lose(&new);
    delete(&fake, &new);
    transition(&mut answers, Transition::Deleted, 2).await;
}

#[tokio::test]
async fn rotated_content_that_was_given_up_in_memory_is_not_told_as_sent() {
    let fake = Fake::new(one_shard());
    let (old, new) = (content("a.log", 1, &["old"]), content("a.log", 2, &["new"]));
    register(&fake, &old);
    let mut answers = follow(&mut fake.files().await, None).await;
    bytes(&mut answers, 1, 0, "old").await;
    old.state().committed += 10;
    rotate(&fake, &old, &new, Some("a@1.log"));
    transition(&mut answers, Transition::Replaced, 2).await;
    bytes(&mut answers, 2, 0, "new").await;
}

#[tokio::test]
async fn reader_that_does_not_stay_is_told_that_the_file_is_gone() {
    let fake = Fake::new(one_shard());
    let old = content("a.log", 1, &[]);
    register(&fake, &old);
    lose(&old);
    old.place_mut().location = Location::Staged;
    old.state().gone = Some(Gone::Replaced);
    let status = refusal(&mut fake.files().await, request("a.log")).await;
    refused(&status, Code::FailedPrecondition, ErrorReason::GenerationChanged);
    assert!(status.message().contains("read it again"), "{status}");
}

#[tokio::test]
async fn reader_that_does_not_stay_gets_the_content_that_it_began_with() {
    let fake = Fake::new(one_shard());
    let text = "x".repeat(600 << 10);
    let old = put(&fake, "a.log", &text, &[]);
    let mut answers = start(&mut fake.files().await, request("a.log")).await;
    let mut received = next(&mut answers).await.data.len();
    {
        let mut place = old.place_mut();
        fake.fs.rename("files/default/a.log", "files/default/a@1.log", Existing::Keep).unwrap();
        place.key = key("a@1.log");
    }
    rotate(&fake, &old, &content("a.log", 2, &["new"]), Some("a@1.log"));
    while let Some(piece) = within(answers.message()).await.unwrap() {
        received += piece.data.len();
    }
    assert_eq!(received, text.len());
}

#[tokio::test]
async fn follower_begins_at_a_rotated_generation_that_is_kept() {
    let mut fake = Fake::new(one_shard());
    let contents = [content("a.log", 1, &["one"]), content("a.log", 2, &["two"]), content("a.log", 3, &["three"])];
    register(&fake, &contents[0]);
    rotate(&fake, &contents[0], &contents[1], Some("a@1.log"));
    rotate(&fake, &contents[1], &contents[2], Some("a@2.log"));
    register(&fake, &content("a@other/x", 7, &["not of the file"]));
    fake.answer_about_files();
    let mut files = fake.files().await;
    let mut answers = follow(&mut files, Some(2)).await;
    bytes(&mut answers, 2, 0, "two").await;
    transition(&mut answers, Transition::Rotated, 3).await;
    bytes(&mut answers, 3, 0, "three").await;
    let mut answers = follow(&mut files, Some(1)).await;
    bytes(&mut answers, 1, 0, "one").await;
    transition(&mut answers, Transition::Rotated, 2).await;
}

/// As after a start, when views do not know each other.
#[tokio::test]
async fn follower_finds_what_came_after_a_rotated_generation() {
    let mut fake = Fake::new(one_shard());
    let contents: Vec<_> = (1..=4).map(|n| content("a.log", n, &["x"])).collect();
    register(&fake, &contents[0]);
    for (n, pair) in contents.windows(2).enumerate() {
        rotate(&fake, &pair[0], &pair[1], Some(&format!("a@{n}.log")));
        pair[0].state().successor = None;
    }
    fake.answer_about_files();
    let mut files = fake.files().await;
    let mut answers = follow(&mut files, Some(1)).await;
    bytes(&mut answers, 1, 0, "x").await;
    for next in 2..=4 {
        transition(&mut answers, Transition::Rotated, next).await;
        bytes(&mut answers, next, 0, "x").await;
    }
    delete(&fake, &contents[1]);
    delete(&fake, &contents[2]);
    let mut answers = follow(&mut files, Some(1)).await;
    bytes(&mut answers, 1, 0, "x").await;
    transition(&mut answers, Transition::Rotated, 4).await;
}

#[tokio::test]
async fn rotated_file_that_is_followed_by_its_own_path_stays() {
    let mut fake = Fake::new(one_shard());
    let (old, new) = (content("a.log", 1, &["one"]), content("a.log", 2, &["two"]));
    register(&fake, &old);
    rotate(&fake, &old, &new, Some("a@1.log"));
    fake.answer_about_files();
    let follow = v1::ReadRequest { follow: true, ..request("a@1.log") };
    let mut answers = start(&mut fake.files().await, follow).await;
    bytes(&mut answers, 1, 0, "one").await;
    delete(&fake, &old);
    transition(&mut answers, Transition::Deleted, 1).await;
}

#[tokio::test]
async fn generation_that_is_not_kept_is_refused() {
    let mut fake = Fake::new(one_shard());
    register(&fake, &content("a.log", 3, &["three"]));
    register(&fake, &content("a@2.log", 2, &["two"]));
    fake.answer_about_files();
    let mut files = fake.files().await;
    for (follow, generation) in [(true, 1), (false, 2)] {
        let asked = v1::ReadRequest { follow, if_generation: Some(generation), ..request("a.log") };
        let status = refusal(&mut files, asked).await;
        refused(&status, Code::FailedPrecondition, ErrorReason::GenerationChanged);
    }
    let present = v1::ReadRequest { if_generation: Some(3), ..request("a.log") };
    assert_eq!(all(&mut files, present).await.unwrap(), "three");
}

#[tokio::test]
async fn generation_of_a_deleted_file_that_was_rotated_is_found() {
    let mut fake = Fake::new(one_shard());
    let (old, new) = (content("a.log", 1, &["one"]), content("a.log", 2, &["two"]));
    register(&fake, &old);
    rotate(&fake, &old, &new, Some("a@1.log"));
    delete(&fake, &new);
    fake.answer_about_files();
    let mut answers = follow(&mut fake.files().await, Some(1)).await;
    bytes(&mut answers, 1, 0, "one").await;
    transition(&mut answers, Transition::Rotated, 2).await;
    bytes(&mut answers, 2, 0, "two").await;
    transition(&mut answers, Transition::Deleted, 2).await;
}
