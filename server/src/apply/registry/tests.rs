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

fn query(tenant: &str, prefix: &str, delimiter: Option<char>) -> Query {
    Query { tenant: name(tenant), prefix: prefix.to_owned(), delimiter, from: String::new(), max: 0 }
}

/// Everything that is known below a prefix.
fn below(registry: &Registry, prefix: &str, delimiter: Option<char>, most: usize) -> Stretch {
    registry.stretch(&query("t", prefix, delimiter), prefix, most)
}

fn files(stretch: &Stretch) -> Vec<&str> {
    stretch.files.iter().map(|(path, _)| path.as_str()).collect()
}

fn absent(stretch: &Stretch) -> Vec<&str> {
    stretch.absent.iter().map(FilePath::as_str).collect()
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
fn path_is_present_absent_or_unknown() {
    let registry = Registry::default();
    let view = of_tenant("t", "a", false);
    assert!(matches!(registry.lookup(&key("a")), Found::Unknown));
    registry.insert(Arc::clone(&view));
    assert!(matches!(registry.lookup(&key("a")), Found::Absent), "it does not exist yet, whatever the catalog says");
    view.state().exists = true;
    assert!(matches!(registry.lookup(&key("a")), Found::Present(found) if Arc::ptr_eq(&found, &view)));
    registry.set_absent(key("a"));
    assert!(matches!(registry.lookup(&key("a")), Found::Absent));
    assert!(registry.get(&key("a")).is_none());
}

#[test]
fn absent_path_is_forgotten_unless_it_has_a_file_again() {
    let registry = Registry::default();
    let keys = [key("a"), key("b"), key("c")];
    keys.iter().for_each(|key| registry.set_absent(key.clone()));
    registry.insert(existing("b"));
    registry.drop_absent(&keys[..2]);
    assert!(matches!(registry.lookup(&keys[0]), Found::Unknown));
    assert!(matches!(registry.lookup(&keys[1]), Found::Present(_)));
    assert!(matches!(registry.lookup(&keys[2]), Found::Absent));
    registry.drop_absent(&keys);
    registry.drop_absent([&key("never known")]);
    assert_eq!(registry.len(), 1);
}

#[test]
fn file_that_moved_is_at_its_new_path_and_its_old_one_is_absent() {
    let registry = Registry::default();
    let view = existing("a");
    registry.insert(Arc::clone(&view));
    view.place_mut().key = key("b");
    registry.insert_moved(Arc::clone(&view), &key("a"));
    assert!(matches!(registry.lookup(&key("a")), Found::Absent));
    assert!(matches!(registry.lookup(&key("b")), Found::Present(found) if Arc::ptr_eq(&found, &view)));
    assert!(registry.remove_unused(&view));
    assert!(matches!(registry.lookup(&key("b")), Found::Unknown));
    assert!(matches!(registry.lookup(&key("a")), Found::Absent), "the catalog may have the file there still");
}

#[test]
fn path_that_has_another_file_keeps_it_when_the_one_before_moves() {
    let registry = Registry::default();
    let (old, new) = (existing("a"), existing("a"));
    registry.insert(Arc::clone(&new));
    old.place_mut().key = key("a@1");
    registry.insert_moved(Arc::clone(&old), &key("a"));
    assert!(matches!(registry.lookup(&key("a")), Found::Present(found) if Arc::ptr_eq(&found, &new)));
    assert!(matches!(registry.lookup(&key("a@1")), Found::Present(found) if Arc::ptr_eq(&found, &old)));
}

#[test]
fn view_that_has_another_path_than_the_registry_knows_is_in_use() {
    let registry = Registry::default();
    let view = existing("a");
    registry.insert(Arc::clone(&view));
    view.place_mut().key = key("b");
    assert!(!registry.remove_unused(&view));
    assert!(registry.get(&key("a")).is_some());
}

#[test]
fn stretch_is_of_one_tenant_in_order() {
    let registry = Registry::default();
    for path in ["b/2", "a", "b/1", "c", "b", "b-"] {
        registry.insert(existing(path));
    }
    registry.insert(of_tenant("t", "b/3", false));
    registry.set_absent(key("b/4"));
    registry.insert(of_tenant("s", "b/5", true));
    registry.insert(of_tenant("u", "b/6", true));
    let all = |prefix| below(&registry, prefix, None, 99);
    assert_eq!(files(&all("")), ["a", "b", "b-", "b/1", "b/2", "c"]);
    assert_eq!(files(&all("b")), ["b", "b-", "b/1", "b/2"]);
    let stretch = all("b/");
    assert_eq!((files(&stretch), absent(&stretch), &stretch.end), (vec!["b/1", "b/2"], vec!["b/3", "b/4"], &None));
    assert!(["b/1", "b/3", "b/4"].iter().all(|path| stretch.knows(path)) && !stretch.knows("b/5"));
    assert_eq!(files(&registry.stretch(&query("t", "b/", None), "b/1\0", 99)), ["b/2"]);
    assert_eq!(files(&registry.stretch(&query("t", "b/", None), "c", 99)), [""; 0]);
    assert_eq!(files(&registry.stretch(&query("v", "", None), "", 99)), [""; 0]);
}

#[test]
fn stretch_ends_after_so_many_paths_and_the_next_begins_there() {
    let registry = Registry::default();
    for path in ["a", "b", "d"] {
        registry.insert(existing(path));
    }
    registry.set_absent(key("c"));
    let first = below(&registry, "", None, 3);
    assert_eq!((files(&first), absent(&first), first.end.as_deref()), (vec!["a", "b"], vec!["c"], Some("d")));
    let second = registry.stretch(&query("t", "", None), "d", 1);
    assert_eq!((files(&second), &second.end), (vec!["d"], &None), "nothing is behind it");
}

#[test]
fn what_is_below_a_common_prefix_is_gone_by() {
    let registry = Registry::default();
    (0..1000).for_each(|n| registry.insert(existing(&format!("a/{n}"))));
    (0..2).for_each(|n| registry.set_absent(key(&format!("b/{n}"))));
    registry.insert(existing("c"));
    registry.insert(existing("d/e/f"));
    let stretch = below(&registry, "", Some('/'), 5);
    assert_eq!((files(&stretch), absent(&stretch)), (vec!["c"], vec!["b/0", "b/1"]));
    assert_eq!((&stretch.prefixes, &stretch.end), (&vec!["a/".to_owned(), "d/".to_owned()], &None));
    assert!(stretch.has_prefix("a/") && !stretch.has_prefix("b/"));
    assert_eq!(below(&registry, "d/", Some('/'), 5).prefixes, ["d/e/"]);
    assert_eq!(files(&below(&registry, "d/e/", Some('/'), 5)), ["d/e/f"]);
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

#[test]
fn reading_goes_on_beside_many_changes() {
    let registry = Registry::default();
    registry.insert(existing("stays"));
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..2000 {
                let view = existing(&format!("n{}", n % 7));
                registry.insert(Arc::clone(&view));
                registry.set_absent(view.key());
                registry.drop_absent([&view.key()]);
            }
        });
        for _ in 0..2000 {
            let stretch = below(&registry, "", None, 99);
            assert_eq!(files(&stretch).iter().filter(|path| **path == "stays").count(), 1);
        }
    });
    assert_eq!(registry.len(), 1);
}

proptest! {
    #[test]
    fn stretches_hold_what_a_look_at_all_would(
        known in prop::collection::btree_map(("[st]", "[ab-]{1,3}(/[ab-]{1,2}){0,2}"), 0..3u8, 0..25),
        prefix in "([ab-]{1,2}/?){0,2}", delimiter in prop::option::of(prop::sample::select(vec!['/', '-'])),
        from in "[abc/-]{0,4}", most in 1..6usize,
    ) {
        let registry = Registry::default();
        for ((tenant, path), kind) in &known {
            match kind {
                0 => registry.insert(of_tenant(tenant, path, true)),
                1 => registry.insert(of_tenant(tenant, path, false)),
                _ => registry.set_absent(FileKey { tenant: name(tenant), path: FilePath::parse(path).unwrap() }),
            }
        }
        let query = Query { from, ..query("s", &prefix, delimiter) };
        let (mut found, mut prefixes) = (Vec::new(), Vec::new());
        let mut next = Some(query.begin().to_owned());
        while let Some(from) = next {
            let stretch = registry.stretch(&query, &from, most);
            prop_assert!(stretch.files.len() + stretch.prefixes.len() + stretch.absent.len() <= most);
            found.extend(files(&stretch).into_iter().map(str::to_owned));
            prefixes.extend(stretch.prefixes);
            next = stretch.end;
        }
        let paths = known.iter().filter(|((tenant, path), _)| tenant == "s" && path.starts_with(&prefix));
        let paths = paths.filter(|((_, path), kind)| **kind == 0 && path.as_str() >= query.begin());
        let (below, bare): (Vec<&str>, Vec<&str>) =
            paths.map(|((_, path), _)| path.as_str()).partition(|path| query.common(path).is_some());
        let mut commons: Vec<&str> = below.into_iter().filter_map(|path| query.common(path)).collect();
        commons.dedup();
        prop_assert_eq!(found, bare);
        prop_assert_eq!(prefixes, commons);
    }
}
