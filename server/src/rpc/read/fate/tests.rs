#![allow(clippy::unwrap_used)]

use super::*;
use crate::{
    apply::view::ViewState,
    shard::testing::{key, view},
};

fn told(view: &FileView, asked: &str, is_archive: bool) -> String {
    match Fate::of(view, &key(asked), is_archive) {
        Fate::Present => "present".to_owned(),
        Fate::Left => "left".to_owned(),
        Fate::Rotated(next) => format!("rotated {:?}", next.map(|view| view.generation)),
        Fate::Replaced(next) => format!("replaced {:?}", next.map(|view| view.generation)),
    }
}

/// Content at `path`, in this state; `next` is its successor's path.
fn content(path: &str, gone: Option<Gone>, rotated_to: Option<u64>, next: Option<&str>) -> Arc<FileView> {
    let successor = next.map(|path| view(path, 2, ViewState::default()));
    view(path, 1, ViewState { gone, rotated_to, successor, ..ViewState::default() })
}

/// For a reader that asked for `a.log`.
fn fate(path: &str, gone: Option<Gone>, rotated_to: Option<u64>, next: Option<&str>) -> String {
    told(&content(path, gone, rotated_to, next), "a.log", false)
}

#[test]
fn fate_follows_from_path_state_and_successor() {
    let (replaced, deleted, there) = (Some(Gone::Replaced), Some(Gone::Deleted), Some("a.log"));
    assert_eq!(fate("a.log", None, None, None), "present");
    assert_eq!(fate("a.log", deleted, None, None), "left");
    assert_eq!(fate("a.log", deleted, None, there), "left", "also if there is another one since");
    assert_eq!(fate("b.log", None, None, None), "left", "renamed");
    assert_eq!(fate("b.log", Some(Gone::Left), None, None), "left", "to another shard");
    assert_eq!(fate("a.log", replaced, None, there), "replaced Some(2)");
    assert_eq!(fate("a.log", replaced, None, None), "replaced None");
    assert_eq!(fate("a.log", None, Some(2), there), "rotated Some(2)", "it gets its other path in the next step");
    assert_eq!(fate("a@1.log", None, Some(2), there), "rotated Some(2)");
    assert_eq!(fate("a@1.log", None, Some(2), Some("a@2.log")), "rotated Some(2)", "which was rotated away, too");
    assert_eq!(fate("a@1.log", deleted, Some(2), there), "rotated Some(2)", "it was not kept");
    assert_eq!(fate("a@1.log", None, Some(2), None), "rotated None", "what comes after it has left memory");
    assert_eq!(fate("a@1.log", deleted, Some(3), Some("a@1.log")), "rotated None", "that came after it elsewhere");
    assert_eq!(fate("a@1.log", replaced, Some(3), Some("a@1.log")), "replaced None", "that, too");
}

#[test]
fn rotated_file_that_is_read_by_its_own_path_has_nothing_after_it() {
    let rotated = content("a@1.log", None, Some(2), Some("a.log"));
    assert!(is_archive(&rotated, &key("a@1.log")) && !is_archive(&rotated, &key("a.log")));
    assert!(!is_archive(&content("a.log", None, Some(2), Some("a.log")), &key("a.log")), "it is about to be moved");
    assert!(!is_archive(&content("a.log", None, None, None), &key("a.log")));
    assert_eq!(told(&rotated, "a@1.log", true), "present");
    rotated.place_mut().key = key("b.log");
    assert_eq!(told(&rotated, "a@1.log", true), "left");
    assert_eq!(told(&rotated, "a.log", false), "rotated Some(2)");
}

#[test]
fn rotated_file_that_came_back_to_the_path_is_what_the_path_leads_to() {
    let back = content("a.log", None, Some(2), Some("a.log"));
    back.state().successor.as_ref().unwrap().state().gone = Some(Gone::Replaced);
    assert_eq!(told(&back, "a.log", false), "present", "a reader that goes on to what came after it comes here again");
    assert!(is_archive(&back, &key("a.log")));
}
