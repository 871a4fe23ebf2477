#![allow(clippy::unwrap_used)]

use super::*;
use crate::{
    apply::registry::Registry,
    catalog::{
        Changes, Progress,
        tests::{catalog, stored},
    },
    shard::testing::{key, name},
};

fn query(prefix: &str, delimiter: Option<char>, from: &str) -> Query {
    Query { tenant: name("t"), prefix: prefix.to_owned(), delimiter, from: from.to_owned(), max: 0 }
}

fn list(catalog: &Catalog, query: &Query, stretch: &Stretch, max: usize) -> Listed {
    catalog.list(query, query.begin(), stretch, max).unwrap()
}

fn paths(listed: &Listed) -> Vec<&str> {
    listed.rows.iter().map(|row| row.key.path.as_str()).collect()
}

fn with(paths: &[&str]) -> (inkpot_wal::fs::memory::MemoryFs, Catalog) {
    let (memory, catalog) = catalog();
    let files: Vec<_> = (1..).zip(paths).map(|(id, path)| stored(path, id)).collect();
    catalog.save(&Changes { files: files.clone(), ..Changes::default() }, Progress::default()).unwrap();
    (memory, catalog)
}

#[test]
fn files_come_by_tenant_prefix_and_order() {
    let (_memory, catalog) = catalog();
    let mut files: Vec<_> =
        (1..).zip(["b", "a/2", "a/1", "a", "a/10", "c"]).map(|(id, path)| stored(path, id)).collect();
    files[5].row.created = false;
    let mut other = stored("a/3", 9);
    other.row.key.tenant = name("t-other");
    files.push(other);
    catalog.save(&Changes { files: files.clone(), ..Changes::default() }, Progress::default()).unwrap();
    let nothing = Stretch::default();
    let found = |prefix, from, max| list(&catalog, &query(prefix, None, from), &nothing, max);
    assert_eq!(paths(&found("", "", 10)), ["a", "a/1", "a/10", "a/2", "b"], "made files of the tenant, in order");
    assert_eq!(paths(&found("a/", "", 10)), ["a/1", "a/10", "a/2"]);
    assert_eq!(paths(&found("a/", "", 2)), ["a/1", "a/10"]);
    assert_eq!(paths(&found("a/", "a/10\0", 2)), ["a/2"]);
    assert_eq!(paths(&found("a/", "A", 1)), ["a/1"], "what comes before the prefix cuts nothing");
    assert_eq!(paths(&found("x", "", 10)), [""; 0]);
    assert_eq!(paths(&found("", "", 0)), [""; 0]);
}

#[test]
fn what_the_registry_knows_is_left_out() {
    let (_memory, catalog) = with(&["a", "b", "c/1", "c/2", "d/1", "e/1"]);
    let registry = Registry::default();
    ["b", "c/1", "d/1"].iter().for_each(|path| registry.set_absent(key(path)));
    let bare = query("", None, "");
    assert_eq!(paths(&list(&catalog, &bare, &registry.stretch(&bare, "", 9), 9)), ["a", "c/2", "e/1"]);
    let below = query("", Some('/'), "");
    let listed = list(&catalog, &below, &registry.stretch(&below, "", 9), 9);
    assert_eq!((paths(&listed), &listed.prefixes[..]), (vec!["a"], &["c/".to_owned(), "e/".to_owned()][..]));
    let cut = registry.stretch(&below, "", 2);
    assert_eq!(cut.end.as_deref(), Some("d/1"));
    assert_eq!(list(&catalog, &below, &cut, 9).prefixes, ["c/"], "the stretch ends before the others");
}

/// How many paths are looked at does not depend on how many there are below a common prefix, before where the page
/// begins, or behind it.
#[test]
fn page_with_delimiter_looks_at_few_of_many_files() {
    let (_memory, catalog) = catalog();
    let ids = (0..100).flat_map(|dir| (0..1000).map(move |file| (dir, file)));
    let files: Vec<_> = (1..).zip(ids).map(|(id, (dir, file))| stored(&format!("d{dir:02}/{file:03}"), id)).collect();
    catalog.save(&Changes { files: files.clone(), ..Changes::default() }, Progress::default()).unwrap();
    let nothing = Stretch::default();
    let all = list(&catalog, &query("", Some('/'), ""), &nothing, 1000);
    assert_eq!((all.prefixes.len(), all.visited), (100, 100), "one path for each prefix");
    let page = list(&catalog, &query("", Some('/'), "d600"), &nothing, 10);
    assert_eq!((page.prefixes.first().map(String::as_str), page.visited), (Some("d61/"), 10));
    let page = list(&catalog, &query("d50/", Some('/'), "d50/500"), &nothing, 10);
    assert_eq!((paths(&page)[0], page.rows.len(), page.visited), ("d50/500", 10, 10));
    let known = Stretch { prefixes: all.prefixes, ..Stretch::default() };
    let page = list(&catalog, &query("", Some('/'), ""), &known, 1000);
    assert_eq!((page.prefixes.len(), page.visited), (0, 100), "also where the registry has the prefix");
}
