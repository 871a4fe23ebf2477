//! What a repair of one shard keeps and gives up. Looks only; nothing on disk changes.

use super::{RepairError, aside};
use crate::{
    apply::{plain::displaced, registry::Registry, view::staged_path},
    catalog::{Catalog, CatalogError},
    commit::driver::chain,
    config::Config,
    datadir::layout,
    recovery::{self, Ground, RecoveryError},
    shard::{
        ids::{FileId, FileKey},
        record::{self, Part, Record},
    },
};
use inkpot_proto::path::TenantName;
use inkpot_wal::{
    fs::{Access, FileSystem, parent},
    recovery::{Cut, Extent},
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt, io,
    sync::Arc,
};

/// Files that are named one by one; of the others it is said how many they are.
const MAX_NAMED: usize = 1000;

/// What a look at a shard came to.
pub(super) enum Survey {
    /// Its log and catalog can be read.
    Whole,
    /// This would be given up.
    Damaged(Box<Plan>),
    /// Not to be repaired this way, in words.
    Beyond(String),
}

/// A repair to be.
pub(super) struct Plan {
    pub(super) shard: u32,
    pub(super) cut: Cut,
    /// Directory of the copies.
    pub(super) aside: String,
    /// What lies in staging and no record that is kept names; paths.
    pub(super) staged: Vec<String>,
    lost: BTreeMap<String, Lost>,
    /// Records about sets.
    set_steps: u64,
}

/// What is given up of a file.
#[derive(Debug, Default)]
struct Lost {
    appends: u64,
    bytes: u64,
    /// Where the first of them begins.
    from: Option<u64>,
    /// Records of other kinds, by what they did.
    others: BTreeMap<&'static str, u64>,
}

/// Looks at a shard.
pub(super) fn look(shared: &Arc<dyn FileSystem>, config: &Config, shard: u32) -> Result<Survey, RepairError> {
    let fs = shared.as_ref();
    let looked = Catalog::open_scratch(fs, shard).and_then(|catalog| Ok((catalog.progress()?, catalog)));
    let (progress, catalog) = match looked {
        Ok(looked) => looked,
        Err(error) => return Ok(Survey::Beyond(beyond(shard, &error))),
    };
    let Some(cut) = Cut::find(fs, shard, progress.mark)? else {
        let registry = Registry::default();
        let ground = Ground { number: shard, fs: shared, config, registry: &registry };
        return match recovery::check(&ground, &catalog) {
            Ok(()) => Ok(Survey::Whole),
            Err(error) if error.is_damage() => Ok(Survey::Beyond(misfit(shard, &error))),
            Err(error) => Err(error.into()),
        };
    };
    let aside = aside::free_name(fs, shard)?;
    let (staged, lost) = (Vec::new(), BTreeMap::new());
    let mut plan = Plan { shard, cut, aside, staged, lost, set_steps: 0 };
    let mut names = Names { catalog: &catalog, names: HashMap::new(), known: HashSet::new() };
    names.known.extend(catalog.uploads()?.into_iter().map(|upload| upload.id));
    plan.cut.kept::<RepairError>(fs, |frame| {
        record::decode(&frame.payload, |record| {
            names.note(&record, true);
            Ok::<_, RepairError>(())
        })
    })?;
    let mut given_up = Vec::new();
    plan.cut.given_up::<RepairError>(fs, |frame| {
        record::decode(&frame.payload, |record| {
            names.note(&record, false);
            given_up.push(without_bytes(record));
            Ok::<_, RepairError>(())
        })
    })?;
    for record in &given_up {
        plan.count(&mut names, record)?;
    }
    plan.staged = unknown_in_staging(fs, shard, &names.known)?;
    Ok(Survey::Damaged(Box::new(plan)))
}

/// The bytes of an append hold the memory of a whole segment.
fn without_bytes(record: Record) -> Record {
    match record {
        Record::Append { id, offset, producer, crc32c, data } => {
            Record::Chunk { id, offset, len: data.len() as u64, stored_crc32c: crc32c, producer, crc32c }
        }
        record => record,
    }
}

/// What an operator can do about what is not repaired.
const WAY_OUT: &str = "Nothing of this shard is changed by --repair. What is possible: restore the whole data folder from a backup of one \
     moment; or keep this folder, start on a new one, copy what is below files/ into it, and take the files with `inkpot \
     adopt -r`: the plain files hold everything up to the last checkpoint, and most of what came after it. Producers, \
     generations and unpublished uploads are lost then.";

fn beyond(shard: u32, error: &CatalogError) -> String {
    format!(
        "shard {shard}: {}\n  A catalog cannot be made again from the log, which holds only what came after the last \
         checkpoint. {WAY_OUT}",
        chain(error)
    )
}

fn misfit(shard: u32, error: &RecoveryError) -> String {
    format!(
        "shard {shard}: {}\n  Its log and its catalog can be read each for itself, and do not fit: they may be of different \
         moments, or of different folders. {WAY_OUT}",
        chain(error)
    )
}

/// What ids are called.
struct Names<'a> {
    catalog: &'a Catalog,
    names: HashMap<FileId, FileKey>,
    /// Ids that what is kept speaks of.
    known: HashSet<FileId>,
}

impl Names<'_> {
    fn note(&mut self, record: &Record, is_kept: bool) {
        let mut ids = vec![record.id()];
        match record {
            Record::Name { key, id, .. } | Record::Upload { key, id, .. } | Record::Adopt { key, id, .. } => {
                self.names.insert(*id, key.clone());
            }
            Record::Rotate { next, .. } | Record::Swap { next, .. } => ids.push(*next),
            Record::Prepare { part, .. } => ids.push(match part {
                Part::Publish { upload: id } | Part::Leave { file: id } => *id,
                Part::Arrive { file, .. } => file.id,
            }),
            _ => {}
        }
        if is_kept {
            self.known.extend(ids);
        }
    }

    fn name(&mut self, id: FileId) -> Result<String, RepairError> {
        let key = match self.names.get(&id) {
            Some(key) => Some(key.clone()),
            None => self.catalog.by_id(id)?.map(|stored| stored.row.key),
        };
        Ok(key.map_or_else(|| format!("a file that only what cannot be read names, id {id}"), |key| key.to_string()))
    }
}

impl Plan {
    fn count(&mut self, names: &mut Names<'_>, record: &Record) -> Result<(), RepairError> {
        use Record as R;
        let what = match record {
            R::Prepare { .. } | R::Decide { .. } | R::Settle { .. } | R::Close { .. } => {
                self.set_steps += 1;
                return Ok(());
            }
            R::Chunk { id, offset, len, .. } => {
                let lost = self.lost.entry(names.name(*id)?).or_default();
                lost.appends += 1;
                lost.bytes += len;
                lost.from.get_or_insert(*offset);
                return Ok(());
            }
            R::Append { .. } | R::Name { .. } | R::Epoch { .. } | R::Forget { .. } | R::Operation { .. } => {
                return Ok(());
            }
            R::Create { .. } => "made",
            R::Upload { .. } => "upload begun",
            R::Publish { .. } => "upload published",
            R::Remove { .. } => "removed",
            R::Rename { .. } => "renamed",
            R::Rotate { .. } => "rotated",
            R::Swap { .. } => "truncated or compressed",
            R::Adopt { .. } => "adopted",
            R::Seal { .. } => "sealed",
        };
        *self.lost.entry(names.name(record.id())?).or_default().others.entry(what).or_default() += 1;
        Ok(())
    }
}

/// What a start would remove, because nothing that is kept names it: although its bytes may be acknowledged.
fn unknown_in_staging(fs: &dyn FileSystem, shard: u32, known: &HashSet<FileId>) -> Result<Vec<String>, RepairError> {
    let failed = |path: &str| {
        let path = path.to_owned();
        move |source: io::Error| RepairError::File { path, source }
    };
    let mut found = Vec::new();
    for tenant in fs.read_dir(layout::STAGING).map_err(failed(layout::STAGING))? {
        let Ok(name) = TenantName::parse(&tenant.name) else { continue };
        let some = staged_path(&name, shard, FileId(0));
        let dir = parent(&some);
        let entries = match fs.read_dir(dir) {
            Err(error) if displaced(&error).is_some() => continue,
            entries => entries.map_err(failed(dir))?,
        };
        for entry in entries.into_iter().filter(|entry| !entry.is_dir) {
            let path = format!("{dir}/{}", entry.name);
            let id = fs.open(&path, Access::Read).and_then(|file| file.file_id()).map_err(failed(&path))?;
            if id.is_some_and(|id| !known.contains(&FileId::from_bytes(id))) {
                found.push(path);
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shard, cut, aside, staged, lost, set_steps } = self;
        let Extent { mark, kept_through, readable, unreadable } = cut.extent();
        writeln!(f, "shard {shard}: {}", cut.damage)?;
        match kept_through - mark {
            0 => writeln!(f, "  kept: what the catalog has, up to frame {mark}; nothing of the log")?,
            _ => writeln!(
                f,
                "  kept: what the catalog has, up to frame {mark}, and frames {} to {kept_through}",
                mark + 1
            )?,
        }
        if unreadable + readable == 0 {
            writeln!(
                f,
                "  given up: nothing; only the frame is broken that says that an epoch began, and it is made again"
            )?;
            return write!(f, "  copies of damaged segments and of the catalog: {aside}");
        }
        writeln!(
            f,
            "  given up: {unreadable} frames that cannot be read, from frame {} on, and {readable} behind them that can",
            kept_through + 1
        )?;
        for (name, lost) in lost.iter().take(MAX_NAMED) {
            writeln!(f, "    {name}: {lost}")?;
        }
        if lost.len() > MAX_NAMED {
            writeln!(f, "    and {} more files", lost.len() - MAX_NAMED)?;
        }
        if *set_steps > 0 {
            writeln!(
                f,
                "    {set_steps} steps of sets and renames over shards: look at the paths that they were about"
            )?;
        }
        if unreadable > 0 {
            writeln!(f, "    and whatever was in the frames that cannot be read")?;
        }
        if !staged.is_empty() {
            writeln!(f, "  {} files in staging that nothing kept names go to the copies", staged.len())?;
        }
        writeln!(f, "  plain files keep what was brought to them; what they have beyond the log can be adopted")?;
        write!(f, "  copies of damaged segments, of what is given up, and of the catalog: {aside}")
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { appends, bytes, from, others } = self;
        let mut parts = Vec::new();
        if let Some(from) = from {
            parts.push(format!("{appends} appends, {bytes} bytes from byte {from} on"));
        }
        parts.extend(
            others
                .iter()
                .map(|(what, times)| if *times == 1 { (*what).to_owned() } else { format!("{what} {times} times") }),
        );
        f.write_str(&parts.join(", "))
    }
}
