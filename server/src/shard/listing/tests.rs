#![allow(clippy::unwrap_used)]

use super::*;
use crate::{
    apply::view::{FileView, ViewState},
    catalog::{Catalog, Changes, FileRow, Progress, Stored, tests::with_undecodable_row},
    host::Host,
    shard::{
        ids::FileId,
        state::Content,
        testing::{key, name},
    },
};
use inkpot_wal::fs::{Attributes, FileSystem, memory::MemoryFs};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::sync::mpsc;

mod concurrent;

/// A shard's catalog and registry, and what a shard does to them.
struct Files {
    _memory: MemoryFs,
    catalog: Catalog,
    registry: Registry,
    ids: u64,
}

impl Files {
    fn new() -> Self {
        let memory = MemoryFs::new();
        ["shards", "shards/0000"].iter().for_each(|dir| memory.create_dir(dir, Attributes::PRIVATE_DIR).unwrap());
        Catalog::create(&memory, 0).unwrap();
        let catalog = Catalog::open(&memory, 0).unwrap();
        Self { _memory: memory, catalog, registry: Registry::default(), ids: 0 }
    }

    /// A file in memory.
    fn make(&mut self, path: &str, size: u64) -> Arc<FileView> {
        self.ids += 1;
        let state = ViewState { exists: true, committed: size, ..ViewState::default() };
        let view = Arc::new(FileView::new(key(path), FileId::new(0, 1, self.ids), self.ids, state));
        self.registry.insert(Arc::clone(&view));
        view
    }

    /// A file that only the catalog has.
    fn store(&mut self, path: &str, size: u64) {
        let view = self.make(path, size);
        self.save(&[&view]);
        assert!(self.registry.remove_unused(&view));
    }

    fn save(&self, views: &[&Arc<FileView>]) {
        let stored: Vec<Stored> = views.iter().map(|view| stored(view)).collect();
        self.catalog.save(&Changes { files: stored, ..Changes::default() }, Progress::default()).unwrap();
    }

    fn page(&self, query: &Query) -> Vec<Entry> {
        self.page_with(query, Moment::Before, || ())
    }

    /// A page during which something happens.
    fn page_with(&self, query: &Query, moment: Moment, meanwhile: impl FnOnce()) -> Vec<Entry> {
        let mut meanwhile = Some(meanwhile);
        let rows = |from: &str, stretch: &Stretch, max| {
            if moment == Moment::Before
                && let Some(meanwhile) = meanwhile.take()
            {
                meanwhile();
            }
            let listed = self.catalog.list(query, from, stretch, max);
            if let Some(meanwhile) = meanwhile.take() {
                meanwhile();
            }
            listed
        };
        page(query, &self.registry, rows).unwrap()
    }
}

/// When something happens: before or after the look at the catalog.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    Before,
    After,
}

fn stored(view: &FileView) -> Stored {
    let row = FileRow {
        key: view.key(),
        generation: view.generation,
        created: true,
        end: view.state().committed,
        sequence: 1,
        parked: None,
        foreign: None,
        seen: None,
        producers: 0,
        content: Content::default(),
        upload: None,
        staged: false,
    };
    Stored { id: view.id, row, producers: Vec::new() }
}

fn all(delimiter: Option<char>) -> Query {
    Query { tenant: name("t"), prefix: String::new(), delimiter, from: String::new(), max: 10_000 }
}

fn texts(page: &[Entry]) -> Vec<&str> {
    page.iter().map(Entry::text).collect()
}

fn sizes(page: &[Entry]) -> Vec<u64> {
    let size = |entry: &Entry| match entry {
        Entry::File(file) => Some(file.size),
        Entry::Prefix(_) => None,
    };
    page.iter().filter_map(size).collect()
}

#[test]
fn text_behind_a_prefix_is_behind_all_that_begin_with_it_and_before_the_rest() {
    let cases =
        [("a", "b"), ("logs/", "logs0"), ("x\u{7f}", "x\u{80}"), ("\u{d7ff}", "\u{e000}"), ("\u{ff}", "\u{100}")];
    for (prefix, behind) in cases {
        assert_eq!(behind_prefix(prefix), behind);
        assert!(format!("{prefix}{}", char::MAX).as_str() < behind);
    }
    assert!("a" < behind_path("a").as_str() && behind_path("a").as_str() < "a!");
}

#[test]
fn file_in_memory_goes_before_its_row_and_absent_ones_are_hidden() {
    let mut files = Files::new();
    for path in ["a", "b", "c/1", "c/2", "d/1"] {
        files.store(path, 1);
    }
    files.make("b", 2);
    files.make("e/1", 3);
    for path in ["c/1", "d/1"] {
        files.registry.set_absent(key(path));
    }
    let page = files.page(&all(None));
    assert_eq!((texts(&page), sizes(&page)), (vec!["a", "b", "c/2", "e/1"], vec![1, 2, 1, 3]));
    assert_eq!(texts(&files.page(&all(Some('/')))), ["a", "b", "c/", "e/"], "nothing is left below d/");
}

/// A deleted directory does not fill a page, nor the memory: it is gone by, some paths at a time.
#[test]
fn page_goes_on_behind_many_absent_files() {
    let mut files = Files::new();
    let gone: Vec<String> = (0..3 * STRETCH_PATHS).map(|n| format!("b/{n:05}")).collect();
    let views: Vec<_> = gone.iter().map(|path| files.make(path, 1)).collect();
    files.save(&views.iter().collect::<Vec<_>>());
    drop(views);
    gone.iter().for_each(|path| files.registry.set_absent(key(path)));
    for path in ["a", "b/z", "c"] {
        files.store(path, 1);
    }
    assert_eq!(texts(&files.page(&Query { max: 2, ..all(None) })), ["a", "b/z"]);
    assert_eq!(texts(&files.page(&all(Some('/')))), ["a", "b/", "c"]);
}

#[test]
fn prefix_that_reaches_beyond_a_stretch_comes_once() {
    let mut files = Files::new();
    files.store("a/0", 1);
    for n in 0..STRETCH_PATHS {
        files.registry.set_absent(key(&format!("a/1{n:05}")));
    }
    files.make("a/2", 1);
    files.make("b", 1);
    assert_eq!(texts(&files.page(&all(Some('/')))), ["a/", "b"]);
}

#[test]
fn file_that_moves_while_it_is_listed_has_the_path_that_it_had_then() {
    let mut files = Files::new();
    let view = files.make("a", 1);
    let page = files.page_with(&all(None), Moment::Before, || view.place_mut().key = key("b"));
    assert_eq!(texts(&page), ["a"]);
}

#[tokio::test]
async fn shard_whose_catalog_cannot_be_read_is_told_to_close() {
    let (_memory, catalog) = with_undecodable_row("a");
    let (sender, mut mailbox) = mpsc::channel(1);
    let handle = ShardHandle::new(0, Host::Threads, Arc::default(), Arc::default(), sender);
    handle.catalog.open(Arc::new(catalog));
    let refused = handle.list(all(None)).await.unwrap_err();
    assert_eq!(refused.reason, ErrorReason::ShardClosed);
    assert!(refused.message.contains("does not decode"), "{}", refused.message);
    assert!(matches!(mailbox.try_recv(), Ok(Command::Apply(Request::Failed(_)))));
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Where {
    Catalog,
    Memory,
    Both,
    /// The catalog has it still.
    Deleted,
}

/// What one sees of these files, as a fold over all of them.
fn expected(files: &BTreeMap<String, Where>, query: &Query) -> Vec<String> {
    let there = files.iter().filter(|(path, place)| **place != Where::Deleted && path.starts_with(&query.prefix));
    let seen: BTreeSet<String> = there.map(|(path, _)| query.common(path).unwrap_or(path).to_owned()).collect();
    seen.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn pages_hold_each_entry_once_in_order(
        known in prop::collection::btree_map(
            "[ab-]{1,2}(/[ab-]{1,2}){0,2}",
            prop::sample::select(vec![Where::Catalog, Where::Memory, Where::Both, Where::Deleted]),
            0..20,
        ),
        prefix in "([ab-]{1,2}/?){0,2}",
        delimiter in prop::option::of(prop::sample::select(vec!['/', '-'])),
        max in 1..5usize,
    ) {
        let mut files = Files::new();
        for (path, place) in &known {
            match place {
                Where::Memory => _ = files.make(path, 1),
                Where::Catalog => files.store(path, 1),
                Where::Both => {
                    let view = files.make(path, 1);
                    files.save(&[&view]);
                }
                Where::Deleted => {
                    files.store(path, 1);
                    files.registry.set_absent(key(path));
                }
            }
        }
        let mut query = Query { prefix, max, ..all(delimiter) };
        let mut found = Vec::new();
        loop {
            let page = files.page(&query);
            prop_assert!(page.len() <= max);
            let Some(last) = page.last() else { break };
            query.from = last.behind();
            found.extend(texts(&page).into_iter().map(str::to_owned));
        }
        prop_assert_eq!(found, expected(&known, &query));
    }
}
