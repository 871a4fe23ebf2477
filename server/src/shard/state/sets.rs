//! Sets: what happens in several shards, all of it or nothing. A part is held ready by its shard ([`Record::Prepare`]);
//! one shard decides ([`Record::Decide`]); then every shard carries its parts out or lets them go ([`Record::Settle`]). The
//! states, and why none of them lasts, stand in ARCHITECTURE.md.

use super::{File, Files, Upload};
use crate::{
    apply::view::{FileView, Gone, Location, Place, ViewState},
    commit::from_catalog,
    shard::{
        ids::{FileId, FileKey},
        record::{Encoder, Part, Record, SetId},
    },
};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

/// The parts of a set that a shard holds ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The shard that decides.
    pub coordinator: u32,
    /// The parts.
    pub parts: Vec<Part>,
}

/// The sets of a shard that are not over.
#[derive(Debug, Default)]
pub struct Sets {
    held: BTreeMap<SetId, Held>,
    /// Paths that a set may give to another file, or take away: nothing else may meanwhile.
    locked: HashMap<FileKey, SetId>,
    /// Sets that this shard decided to happen, and the shards that hold parts.
    decided: BTreeMap<SetId, Vec<u32>>,
}

impl Sets {
    /// The parts of a set that are held ready.
    #[must_use]
    pub fn held(&self, id: SetId) -> Option<&Held> {
        self.held.get(&id)
    }

    /// All sets of which parts are held ready.
    pub fn all_held(&self) -> impl Iterator<Item = (SetId, &Held)> {
        self.held.iter().map(|(id, held)| (*id, held))
    }

    /// Whether this shard decided that the set happens, and not all others are known to know.
    #[must_use]
    pub fn is_decided(&self, id: SetId) -> bool {
        self.decided.contains_key(&id)
    }

    /// The sets that this shard decided to happen, and the shards that hold parts.
    pub fn all_decided(&self) -> impl Iterator<Item = (SetId, &[u32])> {
        self.decided.iter().map(|(id, shards)| (*id, shards.as_slice()))
    }

    /// The set that a path waits for.
    #[must_use]
    pub fn lock_of(&self, key: &FileKey) -> Option<SetId> {
        self.locked.get(key).copied()
    }

    /// The sets that are under way.
    #[must_use]
    pub fn ids(&self) -> HashSet<SetId> {
        self.held.keys().chain(self.decided.keys()).copied().collect()
    }

    /// The paths that wait for a set.
    pub fn locked(&self) -> impl Iterator<Item = &FileKey> {
        self.locked.keys()
    }

    /// Whether no set is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && self.decided.is_empty()
    }
}

impl Files {
    /// The sets that are not over.
    #[must_use]
    pub fn sets(&self) -> &Sets {
        &self.sets
    }

    /// The sets that are not over as records, from which they can be made again.
    #[must_use]
    pub fn encode_sets(&self) -> Bytes {
        if self.sets.is_empty() {
            return Bytes::new();
        }
        let mut encoder = Encoder::default();
        for (id, held) in self.sets.all_held() {
            for part in &held.parts {
                encoder.push(&Record::Prepare { id, coordinator: held.coordinator, part: part.clone() });
            }
        }
        for (id, participants) in self.sets.all_decided() {
            encoder.push(&Record::Decide { id, participants: participants.to_vec() });
        }
        encoder.finish().0
    }

    /// Paths that a part gives to another file or takes away.
    #[must_use]
    pub fn paths_of(&self, part: &Part) -> Option<FileKey> {
        match part {
            Part::Publish { upload: file } | Part::Leave { file } => self.get(*file).map(|file| file.key.clone()),
            Part::Arrive { file, .. } => Some(file.row.key.clone()),
        }
    }

    /// A view that a file has for readers once it arrives.
    pub fn keep_view(&mut self, view: Arc<FileView>) {
        self.kept_views.insert(view.id, view);
    }

    /// Carries out a record about sets; `false` if it is about something else.
    pub(super) fn apply_to_sets(&mut self, record: &Record, sequence: u64) -> bool {
        match record {
            Record::Prepare { id, coordinator, part } => self.hold(*id, *coordinator, part),
            Record::Decide { id, participants } => _ = self.sets.decided.insert(*id, participants.clone()),
            Record::Close { id } => _ = self.sets.decided.remove(id),
            Record::Settle { id, commit } => self.settle(*id, *commit, sequence),
            _ => return false,
        }
        true
    }

    fn hold(&mut self, id: SetId, coordinator: u32, part: &Part) {
        if let Some(key) = self.paths_of(part) {
            self.sets.locked.insert(key, id);
        }
        if let Part::Leave { file } | Part::Publish { upload: file } = part
            && let Some(file) = self.get_mut(*file)
        {
            file.frozen = Some(id);
        }
        let held = self.sets.held.entry(id).or_insert_with(|| Held { coordinator, parts: Vec::new() });
        if !held.parts.contains(part) {
            held.parts.push(part.clone());
        }
    }

    fn settle(&mut self, id: SetId, commit: bool, sequence: u64) {
        let Some(held) = self.sets.held.remove(&id) else { return };
        self.sets.locked.retain(|_, of| *of != id);
        for part in held.parts {
            if let Part::Leave { file } | Part::Publish { upload: file } = &part
                && let Some(file) = self.get_mut(*file)
            {
                file.frozen = None;
            }
            match part {
                Part::Publish { upload } if commit => {
                    let _ = self.touch(upload, sequence);
                    self.publish(upload, sequence);
                }
                Part::Leave { file } if commit => {
                    let _ = self.touch(file, sequence);
                    self.leave(file);
                }
                Part::Arrive { file, from } if commit => self.arrive(*file, from, held.coordinator, sequence),
                Part::Arrive { file, .. } => _ = self.kept_views.remove(&file.id),
                Part::Publish { .. } | Part::Leave { .. } => {}
            }
        }
    }

    fn leave(&mut self, id: FileId) {
        let Some(key) = self.get(id).map(|file| file.key.clone()) else { return };
        self.unbind(&key, id);
        self.with(id, |file| {
            file.gone = Some(Gone::Left);
            file.producers.clear();
        });
    }

    fn arrive(&mut self, stored: crate::catalog::Stored, from: FileKey, shard: u32, sequence: u64) {
        let (id, key) = (stored.id, stored.row.key.clone());
        self.displace(&key, id, sequence);
        let location = if stored.row.content.compressed.is_some() { Location::Compressed } else { Location::Plain };
        let kept = self.kept_views.remove(&id).filter(|view| view.shard == shard);
        let view = kept.unwrap_or_else(|| {
            let (place, state) = (Place { key: from, location }, ViewState::default());
            Arc::new(FileView::at(place, shard, id, stored.row.generation, state))
        });
        let bytes = stored.row.content.compressed.unwrap_or(stored.row.end);
        // Channels from before it left, and came back, still count.
        let channels = self.get(id).map_or(0, |file| file.channels);
        let mut file = File { sequence, channels, ..from_catalog(stored, Some(view), shard) };
        let (end, content) = (file.end, std::mem::take(&mut file.content));
        // It counts for its tenant here from now on.
        (file.end, file.created) = (0, false);
        debug_assert!(file.upload.as_ref().is_none_or(|upload: &Upload| upload.producer.is_none()));
        self.insert(File { upload: None, ..file });
        let _ = self.touch(id, sequence);
        self.with(id, |file| {
            (file.end, file.created, file.content) = (end, true, content);
            debug_assert_eq!(file.usage().bytes, bytes);
        });
    }
}
