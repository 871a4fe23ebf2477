#![allow(clippy::unwrap_used)]

use super::*;
use crate::{
    apply::view::ViewState,
    shard::{
        ids::FileId,
        testing::{key, name},
    },
};
use proptest::prelude::*;
use std::{sync::Barrier, thread};

fn of_tenant(tenant: &str, path: &str, exists: bool) -> Arc<FileView> {
    let key = FileKey { tenant: name(tenant), path: FilePath::parse(path).unwrap() };
    let state = ViewState { exists, ..ViewState::default() };
    Arc::new(FileView::new(key, FileId(1), 1, state))
}

fn existing(path: &str) -> Arc<FileView> {
    of_tenant("t", path, true)
}

fn paths(found: &[Arc<FileView>]) -> Vec<String> {
    found.iter().map(|view| view.key().path.to_string()).collect()
}

#[test]
fn file_is_found_once_it_exists() {
    let registry = Registry::default();
    assert!(registry.is_empty() && registry.get(&key("a")).is_none());
    let view = of_tenant("t", "a", false);
    registry.insert(Arc::clone(&view));
    assert!(registry.get(&key("a")).is_none());
    assert_eq!((registry.len(), registry.is_empty()), (1, false));
    view.state().exists = true;
    assert!(Arc::ptr_eq(&registry.get(&key("a")).unwrap(), &view));
}

#[test]
fn later_view_of_a_path_replaces_the_earlier_one() {
    let registry = Registry::default();
    let (old, new) = (existing("a"), existing("a"));
    registry.insert(old);
    registry.insert(Arc::clone(&new));
    assert_eq!(registry.len(), 1);
    assert!(Arc::ptr_eq(&registry.get(&key("a")).unwrap(), &new));
}

#[test]
fn list_is_of_one_tenant_in_order_and_of_existing_files() {
    let registry = Registry::default();
    for path in ["b/2", "a", "b/1", "c", "b"] {
        registry.insert(existing(path));
    }
    registry.insert(of_tenant("t", "b/3", false));
    registry.insert(of_tenant("s", "b/4", true));
    registry.insert(of_tenant("u", "b/5", true));
    let below = |prefix, after, max| registry.below(&name("t"), prefix, after, max);
    assert_eq!(paths(&below("", None, 99)), ["a", "b", "b/1", "b/2", "c"]);
    assert_eq!(paths(&below("b", None, 99)), ["b", "b/1", "b/2"]);
    assert_eq!(paths(&below("b/", None, 99)), ["b/1", "b/2"]);
    assert_eq!(paths(&below("b/", Some("b/1"), 99)), ["b/2"]);
    assert_eq!(paths(&below("b/", Some("a"), 1)), ["b/1"]);
    assert_eq!(paths(&below("b/", Some("c"), 99)), [""; 0]);
    assert_eq!(paths(&below("", None, 0)), [""; 0]);
    assert_eq!(paths(&registry.below(&name("v"), "", None, 99)), [""; 0]);
}

#[test]
fn file_that_nobody_else_has_is_removed() {
    let registry = Registry::default();
    let view = existing("a");
    registry.insert(Arc::clone(&view));
    assert!(registry.remove_unused(&view));
    assert!(registry.is_empty());
    assert!(registry.remove_unused(&view), "it is unused although it is not there");
}

#[test]
fn file_that_a_reader_has_stays() {
    let registry = Registry::default();
    let view = existing("a");
    registry.insert(Arc::clone(&view));
    let reader = registry.get(&key("a"));
    assert!(!registry.remove_unused(&view));
    assert_eq!(registry.len(), 1);
    drop(reader);
    assert!(registry.remove_unused(&view));
}

#[test]
fn successor_of_a_view_stays_when_that_goes() {
    let registry = Registry::default();
    let (old, new) = (existing("a"), existing("a"));
    registry.insert(Arc::clone(&new));
    let reader = Arc::clone(&old);
    assert!(!registry.remove_unused(&old), "a reader has it");
    drop(reader);
    assert!(registry.remove_unused(&old));
    assert!(Arc::ptr_eq(&registry.get(&key("a")).unwrap(), &new));
}

#[test]
fn no_reader_holds_a_view_that_was_removed() {
    let registry = Registry::default();
    for _ in 0..200 {
        let view = existing("a");
        registry.insert(Arc::clone(&view));
        let begin = Barrier::new(4);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    begin.wait();
                    for found in (0..50).map_while(|_| registry.get(&key("a"))) {
                        // While it is held, everybody else finds the same one.
                        assert!(registry.get(&key("a")).is_some_and(|again| Arc::ptr_eq(&again, &found)));
                    }
                });
            }
            begin.wait();
            while !registry.remove_unused(&view) {
                thread::yield_now();
            }
            assert_eq!(Arc::strong_count(&view), 1);
        });
        assert!(registry.is_empty());
    }
}

proptest! {
    #[test]
    fn pages_hold_what_a_list_of_all_would(
        files in prop::collection::btree_map(("[st]", "[ab-]{1,3}(/[ab-]{1,2}){0,2}"), any::<bool>(), 0..25),
        prefix in "([ab-]{1,2}/?){0,2}", after in prop::option::of("[abc/-]{0,4}"), max in 0..6usize,
    ) {
        let registry = Registry::default();
        for ((tenant, path), exists) in &files {
            registry.insert(of_tenant(tenant, path, *exists));
        }
        let expected: Vec<&str> = files
            .iter()
            .filter(|((tenant, path), exists)| **exists && tenant == "s" && path.starts_with(&prefix))
            .map(|((_, path), _)| path.as_str())
            .filter(|path| after.as_deref().is_none_or(|after| *path > after))
            .take(max)
            .collect();
        let found = registry.below(&name("s"), &prefix, after.as_deref(), max);
        prop_assert_eq!(paths(&found), expected);
    }
}
