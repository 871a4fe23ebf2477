//! Brings names in order: every file of which the log says that it was published, renamed, rotated, replaced or removed
//! since the mark lies where it belongs when this is done, wherever the crash left it.
//!
//! An inode is known by the id that it carries. First everything that lies in a wrong place goes to staging, so that all
//! names are free; then everything goes where it belongs. Each step may be cut short and done again: nothing is removed
//! but what the log says is gone, and what no record names.

use super::{Ground, RecoveryError};
use crate::{
    apply::{
        names::Moved,
        plain::{PlainFiles, displaced},
        view::{FileView, Gone, Location, Place, staged_path},
    },
    datadir::layout,
    shard::{
        ids::FileId,
        state::{File, Files},
    },
};
use inkpot_proto::path::TenantName;
use inkpot_wal::fs::{Access, Existing, FileSystem, parent};
use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::Arc,
};

/// Where the inodes lie that were found, by the id that they carry.
type Found = BTreeMap<FileId, String>;

/// See the module. `places` tells for each file whose name changed where it may be.
pub(super) fn settle(
    ground: &Ground<'_>,
    files: &Files,
    places: &HashMap<FileId, Vec<Place>>,
    plain: &mut PlainFiles,
) -> Result<(), RecoveryError> {
    let mut staged = scan_staging(ground)?;
    name_staged(ground.fs.as_ref(), &mut staged)?;
    let renamed = || {
        let there = places.iter().filter_map(|(id, places)| files.get(*id).map(|file| (file, places)));
        // What left is another shard's.
        there.filter(|(file, _)| file.gone != Some(Gone::Left))
    };
    for (file, places) in renamed() {
        put_aside(ground.fs.as_ref(), file, places, &staged, plain)?;
    }
    // Before anything gets its place: a directory without files may stand there.
    for (file, places) in renamed() {
        places.iter().for_each(|place| plain.left(&file.view.path_at(place), place));
    }
    for (file, _) in renamed() {
        put_in_place(file, plain)?;
    }
    for (id, path) in staged {
        let is_needed = files.get(id).is_some_and(|file| file.gone.is_none());
        if !is_needed {
            remove(ground.fs.as_ref(), &path)?;
        }
    }
    for (file, _) in renamed().filter(|(file, _)| file.gone.is_some()) {
        remove(ground.fs.as_ref(), &file.view.path())?;
    }
    Ok(())
}

/// Moves a file to staging unless it lies where it belongs, and tells its view where it is.
fn put_aside(
    fs: &dyn FileSystem,
    file: &File,
    places: &[Place],
    staged: &Found,
    plain: &mut PlainFiles,
) -> Result<(), RecoveryError> {
    let view = &file.view;
    let target = target_of(file);
    let mut found = staged.get(&view.id).cloned();
    for place in places.iter().filter(|place| place.location != Location::Staged) {
        let path = view.path_at(place);
        if found.is_none() && is_inode(fs, &path, view.id)? {
            found = Some(path);
        }
    }
    let aside = Place { location: Location::Staged, ..target.clone() };
    let aside_path = view.path_at(&aside);
    match found {
        Some(path) if path == view.path_at(&target) => *view.place_mut() = target,
        Some(path) if path == aside_path => *view.place_mut() = aside,
        Some(path) => {
            plain.rename(&path, &aside_path, Location::Staged).map_err(failed(&path))?;
            *view.place_mut() = aside;
        }
        // Nothing carries its id: what that means is found out when its bytes are brought.
        None => *view.place_mut() = target,
    }
    Ok(())
}

fn put_in_place(file: &File, plain: &mut PlainFiles) -> Result<(), RecoveryError> {
    let view = &file.view;
    let target = target_of(file);
    let is_in_staging = view.place().location == Location::Staged;
    if !is_in_staging || target.location == Location::Staged {
        return Ok(());
    }
    let moved = plain.move_to(view, target).map_err(failed(&view.path()))?;
    if moved == Moved::Taken {
        // It stays in staging, and can be read from there.
        view.state().foreign = Some("has something else at its path, which another program put there".to_owned());
    }
    Ok(())
}

/// Where a file belongs.
fn target_of(file: &File) -> Place {
    let location = match (file.gone.is_some() || file.upload.is_some(), file.content.compressed) {
        (true, _) => Location::Staged,
        (false, Some(_)) => Location::Compressed,
        (false, None) => Location::Plain,
    };
    Place { key: file.key.clone(), location }
}

/// What lies in the staging directories of the shard. A name may carry another id than it tells: two files change places
/// there when one is replaced.
fn scan_staging(ground: &Ground<'_>) -> Result<Found, RecoveryError> {
    let fs = ground.fs.as_ref();
    let mut found = Found::new();
    for tenant in fs.read_dir(layout::STAGING).map_err(failed(layout::STAGING))? {
        let Ok(name) = TenantName::parse(&tenant.name) else { continue };
        let some = staged_path(&name, ground.number, FileId(0));
        let dir = inkpot_wal::fs::parent(&some);
        let entries = match fs.read_dir(dir) {
            Err(error) if displaced(&error).is_some() => continue,
            entries => entries.map_err(failed(dir))?,
        };
        for entry in entries.into_iter().filter(|entry| !entry.is_dir) {
            let path = format!("{dir}/{}", entry.name);
            let file = fs.open(&path, Access::Read).map_err(failed(&path))?;
            match file.file_id().map_err(failed(&path))?.map(FileId::from_bytes) {
                Some(id) => _ = found.insert(id, path),
                // It was being made.
                None => remove(fs, &path)?,
            }
        }
    }
    Ok(found)
}

/// Gives everything in staging the name of the id that it carries, so that no name stands in the way of another's.
fn name_staged(fs: &dyn FileSystem, staged: &mut Found) -> Result<(), RecoveryError> {
    for id in staged.keys().copied().collect::<Vec<_>>() {
        let path = staged[&id].clone();
        let own = format!("{}/{id}", parent(&path));
        if path == own {
            continue;
        }
        let other = staged.iter().find(|(_, path)| **path == own).map(|(other, _)| *other);
        let existing = if other.is_some() { Existing::Exchange } else { Existing::Keep };
        fs.rename(&path, &own, existing).map_err(failed(&path))?;
        staged.insert(id, own);
        // It has its turn, or had it: then this one went to its name.
        other.and_then(|other| staged.insert(other, path));
    }
    Ok(())
}

fn is_inode(fs: &dyn FileSystem, path: &str, id: FileId) -> Result<bool, RecoveryError> {
    match fs.open(path, Access::Read) {
        Ok(file) => Ok(file.file_id().map_err(failed(path))? == Some(id.to_bytes())),
        Err(error) if displaced(&error).is_some() => Ok(false),
        Err(error) => Err(failed(path)(error)),
    }
}

fn remove(fs: &dyn FileSystem, path: &str) -> Result<(), RecoveryError> {
    match fs.remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path)(error)),
        _ => Ok(()),
    }
}

fn failed(path: &str) -> impl FnOnce(io::Error) -> RecoveryError {
    let path = path.to_owned();
    move |source| RecoveryError::File { path, source }
}

/// Lets readers find what the log says, and only that. For files that frames behind the mark changed.
pub(super) fn register(ground: &Ground<'_>, files: &Files, id: FileId) {
    let Some(file) = files.get(id) else { return };
    let view = &file.view;
    let mut state = view.state();
    state.producers = u32::try_from(file.producers.len()).unwrap_or(u32::MAX);
    state.exists = file.created;
    state.sealed = file.content.sealed;
    state.crc32c = file.content.crc32c;
    state.compressed = file.content.compressed;
    state.rotated = file.content.rotated.map(|(at, _)| at);
    state.gone = file.gone;
    if file.frozen.is_some() && file.created {
        // All of it was in its plain file, synced, before it was held for a set.
        (state.committed, state.applied, state.synced) = (file.end, file.end, file.end);
        // Its time may be of a write behind the mark, and it may be another shard's by now: who has it looks again.
        state.seen = None;
    }
    state.rotated_to = file.content.rotated.map(|(_, next)| next);
    if file.gone.is_some() {
        state.drop_pending();
        state.successor = successor(files, file);
    }
    drop(state);
    view.changed.notify_waiters();
    if file.gone.is_none() && file.upload.is_none() && files.sets().lock_of(&file.key).is_none() {
        ground.registry.insert(Arc::clone(view));
    }
}

fn successor(files: &Files, file: &File) -> Option<Arc<FileView>> {
    let present = files.id_of(&file.key).and_then(|id| files.get(id));
    present.filter(|present| present.created).map(|present| Arc::clone(&present.view))
}
