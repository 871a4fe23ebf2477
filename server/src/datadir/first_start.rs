//! Makes a data folder out of an empty one, so that a loss of power at any point leaves either a complete folder or one
//! that the next start recognises and makes anew.

use super::{
    DataDir, Opening, Problem,
    layout::{self, FILES, MANIFEST, NEW_MANIFEST, SHARDS, STAGING},
    manifest::Manifest,
};
use inkpot_wal::fs::{Attributes, Existing, FileSystem};
use std::io;

/// What an interrupted first start may leave behind, and what is no content: the probe of file ids, and the folder that
/// ext4 has at the root of a volume.
const EXPECTED: [&str; 6] = [FILES, STAGING, SHARDS, NEW_MANIFEST, ".inkpot-probe", "lost+found"];

/// Refuses a folder without a manifest if anything is in it that a first start had not put there.
pub(super) fn require_nothing_to_lose(fs: &dyn FileSystem) -> Result<(), Problem> {
    for entry in list(fs, "")? {
        if !EXPECTED.contains(&entry.as_str()) {
            return Err(Problem::Foreign { name: entry });
        }
    }
    let mut empty = vec![FILES.to_owned(), STAGING.to_owned()];
    for shard in list(fs, SHARDS)? {
        let folder = format!("{SHARDS}/{shard}");
        require_ours(fs, &shard, &folder)?;
        empty.extend([format!("{folder}/wal"), format!("{folder}/parked")]);
    }
    for name in empty {
        if !list(fs, &name)?.is_empty() {
            return Err(Problem::LostManifest { name });
        }
    }
    Ok(())
}

/// Refuses what lies where shards do and is no shard of a first start: all of it is about to be removed.
fn require_ours(fs: &dyn FileSystem, name: &str, folder: &str) -> Result<(), Problem> {
    const OF_A_SHARD: [&str; 4] = ["wal", "parked", "catalog", "catalog.new"];
    let is_shard = name.len() == 4 && name.bytes().all(|byte| byte.is_ascii_digit());
    let stranger = list(fs, folder)?.into_iter().find(|entry| !OF_A_SHARD.contains(&entry.as_str()));
    match stranger {
        Some(entry) => Err(Problem::Foreign { name: format!("{folder}/{entry}") }),
        None if !is_shard => Err(Problem::Foreign { name: folder.to_owned() }),
        None => Ok(()),
    }
}

/// Makes the layout from nothing, and the manifest last.
pub(super) fn begin(opening: &Opening<'_>) -> Result<DataDir, Problem> {
    let fs = opening.fs;
    for left_over in [NEW_MANIFEST, SHARDS, STAGING, FILES] {
        remove(fs, left_over).map_err(Problem::of(format!("remove {left_over} of an interrupted first start")))?;
    }
    make_dir(fs, FILES, opening.files)?;
    make_dir(fs, STAGING, Attributes::PRIVATE_DIR)?;
    make_dir(fs, SHARDS, Attributes::PRIVATE_DIR)?;
    for shard in 0..opening.shards {
        make_shard(opening, shard)?;
    }
    [FILES, STAGING, SHARDS, ""].into_iter().try_for_each(|directory| sync_dir(fs, directory))?;
    let manifest = Manifest::new(opening.shards, opening.cluster_id);
    write_manifest(fs, &manifest).map_err(Problem::of(format!("write {MANIFEST}")))?;
    Ok(DataDir { shards: manifest.shards, cluster_id: manifest.cluster_id, first_start: true })
}

fn make_shard(opening: &Opening<'_>, shard: u32) -> Result<(), Problem> {
    let fs = opening.fs;
    let (folder, wal, parked) = (layout::shard(shard), layout::wal(shard), layout::parked(shard));
    for directory in [&folder, &wal, &parked] {
        make_dir(fs, directory, Attributes::PRIVATE_DIR)?;
    }
    (opening.init_shard)(fs, shard).map_err(Problem::of(format!("make the catalog of shard {shard}")))?;
    [&wal, &parked, &folder].into_iter().try_for_each(|directory| sync_dir(fs, directory))
}

fn write_manifest(fs: &dyn FileSystem, manifest: &Manifest) -> io::Result<()> {
    let file = fs.create(NEW_MANIFEST, Attributes::PRIVATE)?;
    file.write_at(&[manifest.encode().as_bytes()], 0)?;
    file.sync_all()?;
    fs.rename(NEW_MANIFEST, MANIFEST, Existing::Keep)?;
    fs.sync_dir("")
}

fn make_dir(fs: &dyn FileSystem, path: &str, attributes: Attributes) -> Result<(), Problem> {
    fs.create_dir(path, attributes).map_err(Problem::of(format!("make the directory {path}")))
}

fn sync_dir(fs: &dyn FileSystem, path: &str) -> Result<(), Problem> {
    fs.sync_dir(path).map_err(Problem::of(format!("sync the directory {path:?}")))
}

/// The names in a directory; none if there is no such directory.
fn list(fs: &dyn FileSystem, path: &str) -> Result<Vec<String>, Problem> {
    match fs.read_dir(path) {
        Ok(entries) => Ok(entries.into_iter().map(|entry| entry.name).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        // One of our names, but not what we make of it.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(Problem::Foreign { name: path.to_owned() }),
        Err(error) => Err(Problem::of(format!("list {path:?}"))(error)),
    }
}

/// Removes a file, or a directory with all that is in it; what is not there is no error.
fn remove(fs: &dyn FileSystem, path: &str) -> io::Result<()> {
    let entries = match fs.read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return fs.remove_file(path),
        Err(error) => return Err(error),
    };
    entries.iter().try_for_each(|entry| remove(fs, &format!("{path}/{}", entry.name)))?;
    fs.remove_dir(path)
}
