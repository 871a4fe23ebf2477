//! Pages while files come and go.

use super::*;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

/// A checkpoint beside a page: saves a file, which then leaves memory if nobody uses it.
fn checkpoint(files: &Files, view: Arc<FileView>) {
    files.save(&[&view]);
    files.registry.remove_unused(&view);
}

/// Whatever comes first, a page of both says what was there before.
#[test]
fn file_that_leaves_memory_with_a_checkpoint_is_listed() {
    for moment in [Moment::Before, Moment::After] {
        let mut files = Files::new();
        let view = files.make("a", 1);
        assert_eq!(texts(&files.page_with(&all(None), moment, || checkpoint(&files, view))), ["a"], "{moment:?}");
        assert_eq!(texts(&files.page(&all(None))), ["a"], "from then on");
    }
}

#[test]
fn file_that_was_deleted_before_is_not_listed_after_a_checkpoint() {
    for moment in [Moment::Before, Moment::After] {
        let mut files = Files::new();
        files.store("gone", 1);
        files.store("stays", 1);
        files.registry.set_absent(key("gone"));
        // The checkpoint has removed the row, too; a page that asked the catalog before saw it.
        let forget = || files.registry.drop_absent([&key("gone")]);
        assert_eq!(texts(&files.page_with(&all(None), moment, forget)), ["stays"], "{moment:?}");
    }
}

#[test]
fn file_that_grew_before_is_listed_with_its_size() {
    for moment in [Moment::Before, Moment::After] {
        let mut files = Files::new();
        files.store("a", 1);
        let view = files.make("a", 2);
        assert_eq!(sizes(&files.page_with(&all(None), moment, || checkpoint(&files, view))), [2], "{moment:?}");
    }
}

/// Files that are there all the time are listed once each, whatever comes and goes beside them: some are always in the
/// catalog, some come into memory, grow and leave it again with checkpoints.
#[test]
fn files_that_stay_are_listed_once_whatever_happens() {
    let mut files = Files::new();
    let lasting: Vec<String> = (0..8).map(|n| format!("{n}/lasting")).collect();
    for path in &lasting {
        files.store(path, 1);
    }
    let ids = files.ids;
    let done = AtomicBool::new(false);
    let files = &files;
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..400_u64 {
                let n = usize::try_from(round % 8).unwrap();
                // It is used: comes to memory as the catalog has it, and grows.
                let state = ViewState { exists: true, committed: round + 2, ..ViewState::default() };
                let view = Arc::new(FileView::new(key(&lasting[n]), FileId::new(0, 1, n as u64 + 1), ids, state));
                files.registry.insert(Arc::clone(&view));
                // Another one is made beside it, and deleted.
                let passing = FileView::new(
                    key(&format!("{n}/passing")),
                    FileId::new(0, 2, round + 1),
                    round,
                    ViewState { exists: true, ..ViewState::default() },
                );
                let passing = Arc::new(passing);
                files.registry.insert(Arc::clone(&passing));
                files.registry.set_absent(passing.key());
                // A checkpoint: it has the first and not the second.
                files.save(&[&view]);
                files.registry.drop_absent([&passing.key()]);
                while !files.registry.remove_unused(&view) {
                    thread::yield_now();
                }
            }
            done.store(true, Ordering::SeqCst);
        });
        while !done.load(Ordering::SeqCst) {
            for delimiter in [None, Some('/')] {
                let mut query = Query { max: 3, ..all(delimiter) };
                let mut found = Vec::new();
                loop {
                    let page = files.page(&query);
                    let Some(last) = page.last() else { break };
                    query.from = last.behind();
                    found.extend(texts(&page).into_iter().map(str::to_owned));
                }
                found.retain(|text| !text.ends_with("passing"));
                let expected: Vec<String> = match delimiter {
                    None => lasting.clone(),
                    Some(_) => (0..8).map(|n| format!("{n}/")).collect(),
                };
                assert_eq!(found, expected);
            }
        }
    });
}
