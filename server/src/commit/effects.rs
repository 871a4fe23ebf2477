//! What a commit does to the directory tree and to what readers see, once its frame is synced and before anybody is told.
//! It is carried out again by recovery, as far as it was not; see [`crate::recovery`].

use super::{ShardError, ShardWriter};
use crate::{
    apply::{
        names::Moved,
        registry::Held,
        view::{FileView, Gone, Location, Place, Seen},
    },
    shard::ids::{FileId, FileKey},
};
use std::{collections::BTreeSet, io, sync::Arc};

/// Something that was decided, and is not carried out before it is durable.
#[derive(Clone, Debug)]
pub(super) enum Effect {
    /// Content from staging takes its path, and the place of what was there.
    Publish { id: FileId, over: Option<FileId> },
    /// A file leaves its path.
    Remove { id: FileId },
    /// A file gets another path, and takes the place of what was there.
    Rename { id: FileId, from: FileKey, over: Option<FileId> },
    /// A file gets another path, and its own begins anew.
    Rotate { id: FileId, from: FileKey, next: FileId },
    /// What lies at a path is taken as it is.
    Adopt { id: FileId, over: Option<FileId> },
    /// A file takes no more appends.
    Seal { id: FileId },
    /// A path waits for a set.
    Hold { key: FileKey, held: Held },
    /// A set does not happen: a path is as it was. The catalog may have a row of it.
    Release { key: FileKey, has_row: bool },
    /// A file has a path of another shard, which has its inode by now.
    Leave { id: FileId },
    /// A file comes from another shard.
    Arrive { id: FileId, from: FileKey, over: Option<FileId> },
}

/// The paths that effects of a commit are about: whoever looks at the directory tree there has to wait for them.
#[derive(Debug, Default)]
pub(super) struct TouchedPaths(BTreeSet<String>);

impl TouchedPaths {
    pub(super) fn add(&mut self, key: &FileKey) {
        self.0.insert(key.plain_path());
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether a path, one above it or one below it is among them.
    pub(super) fn relate_to(&self, key: &FileKey) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let path = key.plain_path();
        let mut at_or_above = path.match_indices('/').map(|(end, _)| &path[..end]).chain([path.as_str()]);
        let below = format!("{path}/");
        at_or_above.any(|path| self.0.contains(path))
            || self.0.range(below.clone()..).next().is_some_and(|first| first.starts_with(&below))
    }
}

impl ShardWriter {
    pub(super) fn add_effect(&mut self, effect: Effect, paths: &[&FileKey]) {
        paths.iter().for_each(|key| self.touched_paths.add(key));
        self.effects.push(effect);
        self.sync_wanted = true;
    }

    /// Carries out what is durable by now.
    pub(super) fn carry_out(&mut self) -> Result<(), ShardError> {
        for effect in std::mem::take(&mut self.effects) {
            self.carry_out_one(&effect)?;
        }
        self.touched_paths.clear();
        Ok(())
    }

    fn carry_out_one(&mut self, effect: &Effect) -> Result<(), ShardError> {
        match effect {
            Effect::Publish { id, over } => self.publish(*id, *over),
            Effect::Remove { id } => self.take_away(*id),
            Effect::Rename { id, from, over } => self.give_path(*id, from, *over),
            Effect::Rotate { id, from, next } => self.begin_anew(*id, from, *next),
            Effect::Adopt { id, over } => self.show_adopted(*id, *over),
            Effect::Hold { key, held } => {
                self.registry.hold(key.clone(), held.clone());
                Ok(())
            }
            Effect::Release { key, has_row } => {
                self.release(key, *has_row);
                Ok(())
            }
            Effect::Leave { id } => {
                if let Some(view) = self.view_of(*id) {
                    self.registry.set_absent(view.key());
                    self.retire(&view, Gone::Left, None);
                }
                Ok(())
            }
            Effect::Arrive { id, from, over } => {
                self.give_path(*id, from, *over)?;
                let Some(view) = self.view_of(*id) else { return Ok(()) };
                // The shard that it comes from forgets it next: the move has to be durable by then.
                let synced =
                    self.plain.sync_parents(&from.plain_path()).and_then(|()| self.plain.sync_parents(&view.path()));
                synced.map_err(|source| failed(&view, source))
            }
            Effect::Seal { id } => {
                if let Some(view) = self.view_of(*id) {
                    view.state().sealed = true;
                    view.changed.notify_waiters();
                }
                Ok(())
            }
        }
    }

    fn publish(&mut self, id: FileId, over: Option<FileId>) -> Result<(), ShardError> {
        let Some(view) = self.view_of(id) else { return Ok(()) };
        let target = self.target_of(id, &view);
        let old = over.and_then(|old| self.view_of(old));
        let moved = match old.as_ref().filter(|old| old.state().exists) {
            Some(old) if target.location == Location::Plain => self.plain.take_over(&view, old),
            Some(old) => self.plain.move_to(&view, target).and_then(|moved| {
                let staged = Place { location: Location::Staged, ..old.place().clone() };
                self.plain.move_to(old, staged).map(|_| moved)
            }),
            None => self.plain.move_to(&view, target),
        };
        self.show(id, &view, moved)?;
        if let Some(old) = old {
            self.retire(&old, Gone::Replaced, Some(Arc::clone(&view)));
        }
        self.registry.insert(view);
        Ok(())
    }

    fn take_away(&mut self, id: FileId) -> Result<(), ShardError> {
        let Some(view) = self.view_of(id) else { return Ok(()) };
        if view.state().exists {
            let staged = Place { location: Location::Staged, ..view.place().clone() };
            let moved = self.plain.move_to(&view, staged).map_err(|source| failed(&view, source))?;
            if let Moved::Lost(what) = moved {
                tracing::warn!(file = %view.key(), change = what, "a file that was removed was changed by another program");
            }
            self.registry.set_absent(view.key());
        }
        self.retire(&view, Gone::Deleted, None);
        Ok(())
    }

    fn give_path(&mut self, id: FileId, from: &FileKey, over: Option<FileId>) -> Result<(), ShardError> {
        let Some(view) = self.view_of(id) else { return Ok(()) };
        let target = self.target_of(id, &view);
        let old = over.and_then(|old| self.view_of(old));
        let is_plain = view.place().location == Location::Plain;
        let moved = match old.as_ref().filter(|old| old.state().exists) {
            Some(old) if is_plain && old.place().location == Location::Plain => self.plain.take_over(&view, old),
            Some(old) => {
                let staged = Place { location: Location::Staged, ..old.place().clone() };
                self.plain.move_to(old, staged).and_then(|_| self.plain.move_to(&view, target))
            }
            None => self.plain.move_to(&view, target),
        };
        self.show(id, &view, moved)?;
        if let Some(old) = old {
            self.retire(&old, Gone::Replaced, Some(Arc::clone(&view)));
        }
        self.registry.insert_moved(Arc::clone(&view), from);
        view.changed.notify_waiters();
        Ok(())
    }

    fn release(&self, key: &FileKey, has_row: bool) {
        let present = self.files.id_of(key).and_then(|id| self.files.get(id)).filter(|file| file.created);
        match present {
            Some(file) => {
                let found = self.look_at(&file.view);
                let mut state = file.view.state();
                state.seen = state.seen.or(found);
                drop(state);
                self.registry.insert(Arc::clone(&file.view));
            }
            None if has_row => self.registry.set_absent(key.clone()),
            None => self.registry.forget(key),
        }
    }

    fn begin_anew(&mut self, id: FileId, from: &FileKey, next: FileId) -> Result<(), ShardError> {
        let (Some(view), Some(next)) = (self.view_of(id), self.view_of(next)) else { return Ok(()) };
        {
            let mut state = view.state();
            (state.rotated_to, state.sealed) = (Some(next.generation), true);
            state.successor = Some(next);
        }
        self.give_path(id, from, None)
    }

    fn show_adopted(&mut self, id: FileId, over: Option<FileId>) -> Result<(), ShardError> {
        let Some(view) = self.view_of(id) else { return Ok(()) };
        let old = over.and_then(|old| self.view_of(old));
        self.show(id, &view, Ok(Moved::Done))?;
        if let Some(old) = old {
            self.retire(&old, Gone::Replaced, Some(Arc::clone(&view)));
        }
        self.registry.insert(view);
        Ok(())
    }

    /// Lets readers see a file as it is decided.
    fn show(&self, id: FileId, view: &FileView, moved: io::Result<Moved>) -> Result<(), ShardError> {
        let foreign = match moved.map_err(|source| failed(view, source))? {
            Moved::Done => None,
            Moved::Lost(what) => Some(what),
            Moved::Taken => Some("has something else at its path, which another program put there".to_owned()),
        };
        if let Some(change) = &foreign {
            tracing::warn!(file = %view.key(), change, "a file could not get its path");
        }
        let seen = self.look_at(view);
        let Some(file) = self.files.get(id) else { return Ok(()) };
        let mut state = view.state();
        if !state.exists {
            // All of it is in its file, and synced.
            state.exists = true;
            (state.committed, state.applied, state.synced) = (file.end, file.end, file.end);
        }
        state.crc32c = file.content.crc32c;
        state.sealed = file.content.sealed;
        state.compressed = file.content.compressed;
        state.rotated = file.content.rotated.map(|(at, _)| at);
        state.producers = u32::try_from(file.producers.len()).unwrap_or(u32::MAX);
        if state.pending.is_empty() {
            state.seen = seen;
        }
        state.foreign = foreign.or_else(|| state.foreign.take());
        Ok(())
    }

    /// The plain file as it is now; `None` if it cannot be looked at.
    fn look_at(&self, view: &FileView) -> Option<Seen> {
        let found = self.fs.metadata(&view.path()).ok()?;
        Some(Seen { inode: found.inode, modified: found.modified })
    }

    /// The path of a view leads elsewhere from now on.
    fn retire(&mut self, view: &FileView, gone: Gone, successor: Option<Arc<FileView>>) {
        let mut state = view.state();
        state.gone = Some(gone);
        state.successor = successor;
        let dropped = state.drop_pending();
        drop(state);
        self.backlog.done(dropped);
        self.room_due |= self.disk_full;
        view.changed.notify_waiters();
    }

    fn view_of(&self, id: FileId) -> Option<Arc<FileView>> {
        self.files.get(id).map(|file| Arc::clone(&file.view))
    }

    /// Where a file belongs, as decided.
    fn target_of(&self, id: FileId, view: &FileView) -> Place {
        let file = self.files.get(id);
        let key = file.map_or_else(|| view.key(), |file| file.key.clone());
        let is_compressed = file.is_some_and(|file| file.content.compressed.is_some());
        Place { key, location: if is_compressed { Location::Compressed } else { Location::Plain } }
    }
}

fn failed(view: &FileView, source: io::Error) -> ShardError {
    ShardError::Names { path: view.path(), source }
}
