//! Giving plain files other names: into place, out of place, from one path to another. Linux cannot compare before it
//! renames, so what was moved is looked at afterwards, and moved back if it is not ours.

use super::{
    plain::{PlainFiles, displaced},
    view::{FileView, Location, Place},
};
use crate::{datadir::layout, shard::ids::FileId};
use inkpot_wal::fs::{Access, Attributes, Existing, parent};
use std::io;

/// How often something is tried when its directory vanishes meanwhile: another shard may find it empty, and remove it.
pub(super) const TRIES: usize = 16;

/// How a move went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    /// As it should.
    Done,
    /// What was to be moved is not there, or not ours: this became of it.
    Lost(String),
    /// Something that is not ours stands where it was to go.
    Taken,
}

impl PlainFiles {
    /// Moves a file to another place, without overwriting anything. Nothing is synced.
    ///
    /// # Errors
    /// Those of the file system that say nothing about the file.
    pub fn move_to(&mut self, view: &FileView, target: Place) -> io::Result<Moved> {
        let mut place = view.place_mut();
        if *place == target {
            return Ok(Moved::Done);
        }
        let (from, to) = (view.path_at(&place), view.path_at(&target));
        if let Err(error) = self.rename(&from, &to, target.location) {
            return match self.fs().metadata(&from) {
                Err(missing) if displaced(&missing).is_some() => Ok(Moved::Lost("was deleted".to_owned())),
                _ if error.kind() == io::ErrorKind::AlreadyExists || displaced(&error).is_some() => Ok(Moved::Taken),
                _ => Err(error),
            };
        }
        if !self.is_ours(&to, view.id)? {
            self.rename(&to, &from, place.location)?;
            return Ok(Moved::Lost("was replaced".to_owned()));
        }
        self.left(&from, &place);
        *place = target;
        Ok(Moved::Done)
    }

    /// Lets `new` take the path of `old`, which goes to staging, so that at every moment one of the two is there.
    ///
    /// # Errors
    /// As [`PlainFiles::move_to`].
    pub fn take_over(&mut self, new: &FileView, old: &FileView) -> io::Result<Moved> {
        let target = Place { key: old.key(), location: Location::Plain };
        let is_exchanged = old.place().location == Location::Plain && self.exchange(new, old, &target)?;
        if is_exchanged {
            return Ok(Moved::Done);
        }
        // What stood there was not `old`, or has another name: one after the other, as far as they are ours.
        let staged = Place { location: Location::Staged, ..target.clone() };
        if let Moved::Lost(what) = self.move_to(old, staged)? {
            tracing::warn!(file = %target.key, change = what, "a file that was to be replaced was changed by another program");
        }
        self.move_to(new, target)
    }

    /// Swaps the two; tells whether both were ours, else everything is as it was.
    fn exchange(&mut self, new: &FileView, old: &FileView, target: &Place) -> io::Result<bool> {
        let (mut place, mut old_place) = (new.place_mut(), old.place_mut());
        let (from, to) = (new.path_at(&place), old.path_at(&old_place));
        self.keep_dir(parent(&to))?;
        match self.fs().rename(&from, &to, Existing::Exchange) {
            // Missing, a directory, or a file system that cannot.
            Err(error) if displaced(&error).is_some() || error.kind() == io::ErrorKind::Unsupported => {
                return Ok(false);
            }
            exchanged => exchanged?,
        }
        if !self.is_ours(&from, old.id)? || !self.is_ours(&to, new.id)? {
            self.fs().rename(&from, &to, Existing::Exchange)?;
            return Ok(false);
        }
        let staged = Place { location: Location::Staged, ..old_place.clone() };
        let away = old.path_at(&staged);
        if from != away {
            self.rename(&from, &away, Location::Staged)?;
            self.left(&from, &place);
        }
        self.note_change(parent(&to));
        *old_place = staged;
        *place = target.clone();
        Ok(true)
    }

    /// Renames without overwriting anything, and makes the directories that the new name needs, durably.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn rename(&mut self, from: &str, to: &str, location: Location) -> io::Result<()> {
        for _ in 1..TRIES {
            self.keep_dir(parent(to))?;
            match self.fs().rename(from, to, Existing::Keep) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.fs().metadata(from).is_ok() => {
                    self.make_parents(to, location)?;
                }
                renamed => {
                    self.note_change(parent(to));
                    return renamed;
                }
            }
        }
        self.fs().rename(from, to, Existing::Keep)
    }

    /// As [`PlainFiles::rename`], of a file that is made again after a crash: its directories need not be durable.
    pub(super) fn rename_new(&mut self, from: &str, to: &str, location: Location) -> io::Result<()> {
        for _ in 1..TRIES {
            match self.fs().rename(from, to, Existing::Keep) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.fs().metadata(from).is_ok() => {
                    self.make_parents(to, location)?;
                }
                renamed => {
                    self.note_change(parent(to));
                    return renamed;
                }
            }
        }
        self.fs().rename(from, to, Existing::Keep)
    }

    /// Makes the name of a path durable, and those of the directories above it, as far as they are there.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn sync_parents(&self, path: &str) -> io::Result<()> {
        let mut dir = parent(path);
        while !dir.is_empty() {
            match self.fs().sync_dir(dir) {
                Err(error) if displaced(&error).is_none() => return Err(error),
                _ => dir = parent(dir),
            }
        }
        Ok(())
    }

    fn make_parents(&mut self, path: &str, location: Location) -> io::Result<()> {
        self.forget_dirs();
        let attributes = if location == Location::Staged { Attributes::PRIVATE_DIR } else { self.dir_attributes() };
        self.make_dirs(parent(path), attributes)
    }

    /// A name was taken from a directory; directories of plain files that are empty now are removed.
    pub fn left(&mut self, path: &str, place: &Place) {
        let mut dir = parent(path);
        self.note_change(dir);
        let root = format!("{}/{}", layout::FILES, place.key.tenant);
        while place.location != Location::Staged && dir.len() > root.len() {
            match self.fs().remove_dir(dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return,
                _ => self.forget_dir(dir),
            }
            dir = parent(dir);
            self.note_change(dir);
        }
    }

    fn is_ours(&self, path: &str, id: FileId) -> io::Result<bool> {
        match self.fs().open(path, Access::Read) {
            Ok(file) => Ok(file.file_id()? == Some(id.to_bytes())),
            Err(error) if displaced(&error).is_some() => Ok(false),
            Err(error) => Err(error),
        }
    }
}
