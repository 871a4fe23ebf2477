#![allow(clippy::unwrap_used)]

use super::*;
use crate::{
    apply::view::ViewState,
    shard::testing::{key, view},
};

fn path(path: &str) -> FilePath {
    FilePath::parse(path).unwrap()
}

/// Content at `path`, in this state, for a reader that asked for `a.log`.
fn fate(path: &str, gone: Option<Gone>, successor: Option<u64>) -> String {
    let next = successor.map(|id| view("a.log", id, ViewState::default()));
    let state = ViewState { gone, successor: next, ..ViewState::default() };
    match Fate::of(&view(path, 1, state), &key("a.log")) {
        Fate::Present => "present".to_owned(),
        Fate::Left => "left".to_owned(),
        Fate::Rotated(next) => format!("rotated {:?}", next.map(|view| view.generation)),
        Fate::Replaced(next) => format!("replaced {:?}", next.map(|view| view.generation)),
    }
}

#[test]
fn fate_follows_from_path_state_and_successor() {
    let (replaced, deleted) = (Some(Gone::Replaced), Some(Gone::Deleted));
    assert_eq!(fate("a.log", None, None), "present");
    assert_eq!(fate("a.log", deleted, None), "left");
    assert_eq!(fate("b.log", None, None), "left", "renamed");
    assert_eq!(fate("a.log", replaced, Some(2)), "replaced Some(2)");
    assert_eq!(fate("a.log", replaced, None), "replaced None");
    assert_eq!(fate("a.log", None, Some(2)), "rotated Some(2)", "it gets its other name in the next step");
    assert_eq!(fate("a@1.log", None, Some(2)), "rotated Some(2)");
    assert_eq!(fate("a@1.log", deleted, Some(2)), "rotated Some(2)", "it was not kept");
    assert_eq!(fate("a@1.log", None, None), "rotated None", "what comes after it has left memory");
    assert_eq!(fate("a@1.log", replaced, Some(3)), "replaced None", "that took its place under its other name");
}

#[test]
fn names_that_rotation_makes_differ_by_what_routing_leaves_out() {
    let of = path("logs/my.app.log");
    for yes in ["logs/my.app@1.log", "logs/my@1.app.log", "logs/my.app.log@1", "logs/my.app@20261123T101500Z-7.log"] {
        assert!(is_rotation(&of, &path(yes)), "{yes}");
    }
    for no in [
        "logs/my.app.log",
        "logs/my.app1.log",
        "logs/m@1y.app.log",
        "logs/my.app@1.2.log",
        "logs/my.app@1.txt",
        "logs/my.app@1/b.log",
        "logs/our.app@1.log",
        "my.app@1.log",
    ] {
        assert!(!is_rotation(&of, &path(no)), "{no}");
    }
    assert!(is_rotation(&path("a@b"), &path("a@b@1")));
    assert!(is_rotation(&path(".hidden"), &path("@1.hidden")));
}

#[test]
fn stems_are_of_the_last_component() {
    assert_eq!(stems(&path("a.d/b.c.log")).collect::<Vec<_>>(), ["a.d/b", "a.d/b.c", "a.d/b.c.log"]);
    assert_eq!(stems(&path("b")).collect::<Vec<_>>(), ["b"]);
}
