//! Holds a shard against the model: what readers and producers are told, the directory tree, listing and usage.

use super::{
    PATHS, PRODUCERS,
    book::{Book, Known},
    tree::{File, Tree},
};
use crate::{
    recovery::tests::machine::{Machine, Stop, key},
    shard::{
        FileSummary, WriteState,
        listing::{Entry, Query, page},
        turns::Item,
    },
};
use inkpot_wal::fs::{FileSystem, read_all};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::sync::oneshot;

/// What a reader finds at a path.
#[derive(Debug)]
struct Seen {
    generation: u64,
    content: Vec<u8>,
    sealed: bool,
}

/// What clients can learn of a shard that nobody writes to.
#[derive(Debug, Default)]
pub struct Found {
    files: BTreeMap<String, Seen>,
    states: BTreeMap<(String, &'static str), WriteState>,
}

impl Found {
    /// Looks at every path that is listed, and at every one that clients may know.
    pub fn of(machine: &mut Machine, known: &Known) -> Result<Self, Stop> {
        let mut found = Self::default();
        let mut answers = Vec::new();
        let listed = list(machine, 100)?.into_iter().map(|summary| summary.path.as_str().to_owned());
        let in_trees = known.trees.iter().flat_map(|tree| tree.paths.keys().filter_map(|path| tree.name_of(path)));
        let paths: BTreeSet<String> = PATHS.map(str::to_owned).into_iter().chain(listed).chain(in_trees).collect();
        for (path, producer) in paths.iter().flat_map(|path| PRODUCERS.map(|producer| (path.clone(), producer))) {
            let (reply, answer) = oneshot::channel();
            machine.ask(Item::WriteState { key: key(&path), producer: Some(producer.into()), reply });
            answers.push(((path, producer), answer));
        }
        machine.commit()?;
        for (of, mut answer) in answers {
            found.states.insert(of, answer.try_recv()??);
        }
        for path in paths {
            let Some(view) = machine.writer().lookup(&key(&path))? else {
                assert!(machine.registry.get(&key(&path)).is_none(), "{path}: readers find what is not there");
                continue;
            };
            let content = machine.try_read(&path)?;
            let state = view.state();
            assert_eq!(state.foreign, None, "{path}: nobody else was here");
            assert_eq!(state.crc32c, Some(crc32c::crc32c(&content)), "{path}");
            assert_eq!(state.gone, None, "{path}");
            found.files.insert(path, Seen { generation: view.generation, content, sealed: state.sealed });
        }
        Ok(found)
    }

    /// What is otherwise than the model says; nothing if it agrees.
    fn differences(&self, tree: &Tree, used: &BTreeSet<u64>) -> Vec<String> {
        let mut differ = Vec::new();
        let mut there = BTreeMap::new();
        for (path, id) in &tree.paths {
            match tree.name_of(path) {
                Some(name) => _ = there.insert(name, (path, *id, &tree.files[id])),
                None => differ.push(format!("{path} was cut, and is not there")),
            }
        }
        let is_named = |name: &str| there.get(name).is_some_and(|(_, _, file)| file.created);
        differ
            .extend(self.files.keys().filter(|name| !is_named(name)).map(|name| format!("{name} should not be there")));
        for (name, (_, id, file)) in there.iter().filter(|(_, (_, _, file))| file.created) {
            let Some(seen) = self.files.get(name) else {
                differ.push(format!("{name} should be there"));
                continue;
            };
            differ.extend(difference(name, file, seen));
            let known = tree.generations.get(id).copied();
            let is_it = known.map_or(!used.contains(&seen.generation), |known| known == seen.generation);
            differ.extend((!is_it).then(|| format!("{name}: generation {}, not {known:?}", seen.generation)));
        }
        for ((name, producer), state) in &self.states {
            let path = there.get(name).map(|(path, ..)| **path).or(PATHS.into_iter().find(|path| path == name));
            let wanted = path.map_or((None, false, 0), |path| wanted_state(tree, path, producer));
            let found = brief(state);
            differ
                .extend((wanted != found).then(|| format!("{producer} in {name}: wanted {wanted:?}, found {found:?}")));
        }
        differ
    }

    /// The state of the model that this is; there must be one among those that may be.
    pub fn recognise(&self, known: &Known, is_power_lost: bool) -> (Tree, BTreeSet<u64>) {
        let from = if is_power_lost { 0 } else { known.weak };
        let mut trees = known.trees[from..].to_vec();
        trees.iter_mut().for_each(|tree| tree.learn_cuts(self.files.keys().map(String::as_str)));
        let differences: Vec<_> = trees.iter().map(|tree| self.differences(tree, &known.used)).collect();
        let Some(at) = differences.iter().rposition(Vec::is_empty) else {
            panic!("the shard is in none of {} states that it may be in: {differences:#?}", differences.len());
        };
        let (mut tree, mut used) = (trees.swap_remove(at), known.used.clone());
        let told = &known.trees[from + at].generations;
        // A path had a generation before the append that told it, which was lost.
        let lost = known.trees.last().map(|last| &last.generations).into_iter().flatten();
        let is_made = |id: &u64| tree.files.get(id).is_none_or(|file| file.created || file.upload.is_some());
        lost.filter(|(id, _)| !is_made(id)).for_each(|(_, generation)| _ = used.remove(generation));
        for (path, id) in tree.paths.clone() {
            let Some(seen) = tree.name_of(path).and_then(|name| self.files.get(&name)) else { continue };
            tree.generations.insert(id, seen.generation);
            let is_new = used.insert(seen.generation);
            assert!(is_new || told.contains_key(&id), "{path}: generation {} twice", seen.generation);
        }
        (tree, used)
    }
}

fn difference(path: &str, file: &File, seen: &Seen) -> Option<String> {
    if *file.content != seen.content {
        let same = file.content.iter().zip(&seen.content).take_while(|(one, other)| one == other).count();
        let (wanted, found) = (file.content.len(), seen.content.len());
        return Some(format!("{path}: wanted {wanted} bytes, found {found}, of which {same} agree"));
    }
    (file.sealed != seen.sealed).then(|| format!("{path}: sealed is {}", seen.sealed))
}

/// Epoch and last seq of a producer, its upload, the next offset.
type Brief = (Option<(u64, u64)>, bool, u64);

fn brief(state: &WriteState) -> Brief {
    (state.producer.map(|known| (known.epoch, known.last_seq)), state.upload, state.next_offset)
}

fn wanted_state(tree: &Tree, path: &str, producer: &str) -> Brief {
    let file = tree.upload_of(path, producer).or_else(|| tree.at(path)).map(|(_, file)| file);
    let Some(file) = file else { return (None, false, 0) };
    let known = file.producers.get(producer).map(|known| (known.epoch, known.last_seq));
    (known, file.upload.is_some(), file.content.len() as u64)
}

/// The directory tree has what the model has, and nothing else: every file byte for byte, no directory without files.
/// Where an append came to nothing an empty file may be left, with its directories, until somebody opens it.
pub fn check_disk(machine: &Machine, book: &Book) {
    let (mut files, mut dirs) = (BTreeMap::new(), BTreeSet::new());
    let (tree, attempted) = (book.tree(), &book.attempted);
    walk(machine, "files/default", &mut files, &mut dirs);
    let above = |path: &str| {
        let ends = path.match_indices('/').map(|(end, _)| end).collect::<Vec<_>>();
        ends.into_iter().map(|end| format!("files/default/{}", &path[..end])).collect::<Vec<_>>()
    };
    for (path, id) in tree.paths.iter().filter(|(_, id)| tree.files[*id].created) {
        let plain = key(&name(tree, path)).plain_path();
        let found = files.remove(&plain).unwrap_or_else(|| panic!("there is no plain file {plain}"));
        assert!(found == *tree.files[id].content, "plain file {plain} has {} other bytes", found.len());
        above(path).iter().for_each(|dir| _ = dirs.remove(dir));
    }
    for path in attempted {
        let plain = tree.name_of(path).map(|name| key(&name).plain_path());
        let found = plain.and_then(|plain| files.remove(&plain));
        assert!(found.is_none_or(|found| found.is_empty()), "{path}");
        above(path).iter().for_each(|dir| _ = dirs.remove(dir));
    }
    assert!(files.is_empty(), "plain files that nobody made: {:?}", files.keys());
    assert!(dirs.is_empty(), "directories without files: {dirs:?}");
}

fn walk(machine: &Machine, dir: &str, files: &mut BTreeMap<String, Vec<u8>>, dirs: &mut BTreeSet<String>) {
    for entry in machine.memory.read_dir(dir).unwrap_or_default() {
        let path = format!("{dir}/{}", entry.name);
        if entry.is_dir {
            walk(machine, &path, files, dirs);
            dirs.insert(path);
        } else {
            files.insert(path.clone(), read_all(&machine.memory, &path).unwrap());
        }
    }
}

/// Staging has the uploads that somebody could go on with, and nothing else. After a start.
pub fn check_staging(machine: &Machine, tree: &Tree) {
    let (mut staged, mut dirs) = (BTreeMap::new(), BTreeSet::new());
    walk(machine, "staging/default", &mut staged, &mut dirs);
    let uploads = tree.files.values().filter(|file| file.upload.is_some() && !file.gone);
    let mut empty = 0;
    for upload in uploads {
        // Behind what was acknowledged there may be more.
        let is_it = |content: &Vec<u8>| content.starts_with(&upload.content);
        if upload.content.is_empty() {
            empty += 1;
            continue;
        }
        let path = staged.iter().find(|(_, content)| is_it(content)).map(|(path, _)| path.clone());
        let path =
            path.unwrap_or_else(|| panic!("the {} bytes of {upload:?} are not in staging", upload.content.len()));
        staged.remove(&path);
    }
    assert!(staged.len() <= empty, "left in staging: {:?}", staged.keys());
}

/// What is listed is what the model has, in pages of any size.
pub fn check_list(machine: &mut Machine, tree: &Tree) -> Result<(), Stop> {
    let there = tree.paths.iter().filter(|(_, id)| tree.files[*id].created);
    let wanted: BTreeMap<String, &u64> = there.map(|(path, id)| (name(tree, path), id)).collect();
    for max in [1, 3, 100] {
        let found = list(machine, max)?;
        let paths: Vec<&str> = found.iter().map(|summary| summary.path.as_str()).collect();
        for path in PATHS {
            let is_there = wanted.contains_key(path);
            let (known, stored) = (machine.registry.lookup(&key(path)), machine.live().catalog.by_key(&key(path))?);
            let what = format!("listed in pages of {max}; the registry says {known:?}, the catalog {stored:?}");
            assert_eq!(paths.contains(&path), is_there, "{path} {what}");
        }
        assert!(paths.iter().eq(wanted.keys()), "{paths:?}, wanted {wanted:?}");
        for ((path, id), summary) in wanted.iter().zip(&found) {
            let file = &tree.files[id];
            assert_eq!((summary.size, summary.sealed), (file.content.len() as u64, file.sealed), "{path}");
            let known = tree.generations.get(id);
            assert!(known.is_none_or(|known| *known == summary.generation), "{path} {known:?} {summary:?}");
        }
    }
    Ok(())
}

/// What the service calls a path, whose content clients were told of.
fn name(tree: &Tree, path: &'static str) -> String {
    tree.name_of(path).unwrap_or_else(|| panic!("the generation at {path} was never told"))
}

fn list(machine: &mut Machine, max: usize) -> Result<Vec<FileSummary>, Stop> {
    let (tenant, registry) = (key("any").tenant, Arc::clone(&machine.registry));
    let catalog = &machine.live().catalog;
    let mut query = Query { tenant, prefix: String::new(), delimiter: None, from: String::new(), max };
    let mut found = Vec::new();
    loop {
        let page = page(&query, &registry, |from, stretch, max| catalog.list(&query, from, stretch, max))?;
        let Some(last) = page.last() else { return Ok(found) };
        query.from = last.behind();
        for entry in page {
            let Entry::File(summary) = entry else { panic!("nobody asked for {entry:?}") };
            found.push(summary);
        }
    }
}
