//! Rotation in the model: what a file had before a cut gets a path of its own, which is called here by the number of its
//! content, as its generation may not have been told yet.

use super::{
    ask::Ask,
    tree::{Channel, File, Told, Tree},
};
use crate::policy::{NameTemplate, Pattern, Policy, Rotate};
use std::{
    collections::BTreeMap,
    sync::{LazyLock, Mutex},
};

/// The files that are rotated, by the first append that would make them larger than this.
const ROTATING: [(&str, u64); 2] = [("log", 500), ("d/g", 900)];

/// What makes the shard do the same.
pub fn policies() -> Vec<Policy> {
    let policy = |(path, most)| Policy {
        pattern: Pattern::parse(path).unwrap(),
        rotate: Rotate {
            size: Some(most),
            name: NameTemplate::parse("{stem}@{generation}{ext}").unwrap(),
            ..Rotate::default()
        },
        ..Policy::default()
    };
    ROTATING.map(policy).into()
}

/// The path of a content that was rotated away, as the model has it.
fn rotated_path(path: &str, id: u64) -> &'static str {
    static KNOWN: LazyLock<Mutex<BTreeMap<String, &'static str>>> = LazyLock::new(Mutex::default);
    let name = format!("{path}@{id}");
    let mut known = KNOWN.lock().unwrap();
    known.entry(name.clone()).or_insert_with(|| name.leak())
}

/// The content that a path of the model was given for, with the path that it was cut at.
fn cut_at(path: &'static str) -> Option<(&'static str, u64)> {
    path.split_once('@').map(|(from, id)| (from, id.parse().unwrap()))
}

/// The generation that a path of the service was given for.
pub fn generation_of(name: &str) -> Option<u64> {
    name.split_once('@').map(|(_, generation)| u64::from_str_radix(generation, 16).unwrap())
}

impl Tree {
    /// What the service calls a path of the model; `None` if the generation of what was cut there was not told yet.
    pub fn name_of(&self, path: &'static str) -> Option<String> {
        let Some((from, id)) = cut_at(path) else { return Some(path.to_owned()) };
        self.generations.get(&id).map(|generation| format!("{from}@{generation:016x}"))
    }

    /// Learns the generations of contents that were cut, of which nobody was told, from the names that are there: a later
    /// cut has a higher generation.
    pub fn learn_cuts<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        let unknown: Vec<u64> = {
            let cuts = self.paths.keys().filter_map(|path| cut_at(path));
            let mut cuts: Vec<u64> = cuts.map(|(_, id)| id).filter(|id| !self.generations.contains_key(id)).collect();
            cuts.sort_unstable();
            cuts
        };
        let known: Vec<u64> = self.generations.values().copied().collect();
        let mut found: Vec<u64> = names.filter_map(generation_of).filter(|found| !known.contains(found)).collect();
        found.sort_unstable();
        self.generations.extend(unknown.into_iter().zip(found));
    }

    /// Cuts the file of an append if that is due.
    pub fn rotate_before(&mut self, channel: &mut Channel, len: usize) {
        let File { path, content, .. } = &self.files[&channel.file];
        let most = ROTATING.iter().find(|(of, _)| of == path).map(|(_, most)| *most);
        let is_due = most.is_some_and(|most| !content.is_empty() && (content.len() + len) as u64 > most);
        if is_due && !channel.upload {
            channel.file = self.rotate(channel.file);
        }
    }

    /// Returns the content that its path leads to from now on.
    fn rotate(&mut self, id: u64) -> u64 {
        let path = self.files[&id].path;
        let next = self.add(path, None);
        let old = self.file(id);
        let producers = std::mem::take(&mut old.producers);
        (old.path, old.sealed) = (rotated_path(path, id), true);
        self.paths.insert(self.files[&id].path, id);
        self.paths.insert(path, next);
        self.file(next).producers = producers;
        for channel in self.channels.values_mut().filter(|channel| channel.file == id && !channel.published) {
            channel.file = next;
        }
        next
    }

    /// Contents that were cut and are there still, under the path that they got.
    pub fn cuts(&self) -> usize {
        self.paths.iter().filter(|(path, id)| cut_at(path).is_some() && self.files[id].created).count()
    }

    /// The state before an append whose file has to be cut first, when it is cut.
    pub fn cut_for(&self, ask: &Ask) -> Option<Self> {
        let Ask::Write { channel, .. } = ask else { return None };
        let from = self.channels.get(channel)?.file;
        let Ok(Told::Acked { duplicate: false, file, .. }) = self.clone().take(ask) else { return None };
        let mut cut = self.clone();
        (file != from).then(|| cut.rotate(from))?;
        Some(cut)
    }
}
