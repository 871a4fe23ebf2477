//! Copies of what a repair takes away. All of them are synced before anything is changed.

use super::{RepairError, plan::Plan};
use crate::datadir::layout;
use inkpot_wal::fs::{Access, Attributes, Existing, FileSystem, parent};
use std::io;

/// Bytes that are copied at once.
const PIECE_BYTES: usize = 1 << 20;

/// The first name that is free for what a shard gives up.
///
/// # Errors
/// Those of the file system.
pub(super) fn free_name(fs: &dyn FileSystem, shard: u32) -> Result<String, RepairError> {
    let dir = format!("{}/repaired", layout::shard(shard));
    let mut number = 1_u32;
    loop {
        let name = format!("{dir}/{number}");
        match fs.metadata(&name) {
            Ok(_) => number += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(name),
            Err(source) => return Err(RepairError::File { path: name, source }),
        }
    }
}

/// Copies segments and catalog, writes what is given up in words beside them, and moves what lies in staging.
pub(super) fn keep(fs: &dyn FileSystem, plan: &Plan) -> Result<(), RepairError> {
    let dir = plan.aside.as_str();
    make_dirs(fs, dir)?;
    for path in plan.cut.aside.iter().chain([&layout::catalog(plan.shard)]) {
        // EPOCH-SEGMENT, or the name alone.
        let below = path.strip_prefix(&format!("{}/", layout::wal(plan.shard))).unwrap_or(path);
        let name = if below == path { "catalog".to_owned() } else { below.replace('/', "-") };
        copy(fs, path, &format!("{dir}/{name}")).map_err(failed(path))?;
    }
    let report = format!("{dir}/report.txt");
    let file = fs.create(&report, Attributes::PRIVATE).map_err(failed(&report))?;
    file.write_at(&[plan.to_string().as_bytes(), b"\n"], 0).and_then(|()| file.sync_all()).map_err(failed(&report))?;
    fs.sync_dir(dir).map_err(failed(dir))?;
    for path in &plan.staged {
        let to = format!("{dir}/staged-{}", path.rsplit('/').next().unwrap_or(path));
        fs.rename(path, &to, Existing::Keep).map_err(failed(path))?;
        fs.sync_dir(dir).and_then(|()| fs.sync_dir(parent(path))).map_err(failed(path))?;
    }
    Ok(())
}

fn make_dirs(fs: &dyn FileSystem, dir: &str) -> Result<(), RepairError> {
    for dir in [parent(dir), dir] {
        match fs.create_dir(dir, Attributes::PRIVATE_DIR) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(dir)(error)),
            _ => fs.sync_dir(parent(dir)).map_err(failed(dir))?,
        }
    }
    Ok(())
}

/// A file that is gone already needs no copy: that is what is damaged.
fn copy(fs: &dyn FileSystem, from: &str, to: &str) -> io::Result<()> {
    let source = match fs.open(from, Access::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        source => source?,
    };
    let target = fs.create(to, Attributes::PRIVATE)?;
    let (mut piece, mut at) = (vec![0; PIECE_BYTES], 0);
    loop {
        match source.read_at(&mut piece, at)? {
            0 => return target.sync_all(),
            read => {
                target.write_at(&[&piece[..read]], at)?;
                at += read as u64;
            }
        }
    }
}

fn failed(path: &str) -> impl FnOnce(io::Error) -> RepairError {
    let path = path.to_owned();
    move |source| RepairError::File { path, source }
}
