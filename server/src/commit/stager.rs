//! Brings the bytes of uploads to their staged files, and syncs them there, before the log refers to them. On a thread of
//! its own, first come first served: so what a session sent for an upload stays in order, its end included, and nobody
//! writes to a staged file beside it. What is done goes back to the shard, which decides on it.

use crate::{
    apply::{
        plain::{PlainFiles, disk_full, displaced, keep_staging_dir},
        trail::Trail,
    },
    shard::{
        Ending, SessionLink, Write,
        ids::{FileId, FileKey},
        turns::Item,
    },
};
use inkpot_proto::{error::Refused, v1::ErrorReason};
use inkpot_wal::{
    fs::{File, FileSystem, parent},
    planted::{self, Bug},
    writer::is_full,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
    time::Instant,
};

/// Staged files that stay open; what uses them ends with their upload, or with the turn of others.
const OPEN_FILES: usize = 64;
/// Bytes that are written before they are synced, together.
pub const BATCH_BYTES: usize = 8 << 20;

/// Something for the stager, in its turn.
#[derive(Debug)]
pub enum Job {
    /// An append of an upload.
    Write {
        /// The session.
        session: Arc<SessionLink>,
        /// The append; a refused one only has its turn.
        write: Write,
        /// When it was read.
        since: Instant,
        /// The upload, and where its bytes go; `None`: it has its turn only.
        target: Option<(FileKey, FileId, u64)>,
        /// Where its bytes are, once they are there.
        chunk: Option<Chunk>,
    },
    /// The end of an upload's channel.
    Finish {
        /// The session.
        session: Arc<SessionLink>,
        /// The channel.
        channel: u32,
        /// What becomes of the upload.
        ending: Ending,
        /// The upload, and how many bytes of it are sent; `None`: it has its turn only.
        target: Option<(FileKey, FileId, u64)>,
        /// Why it cannot end so.
        refused: Option<Refused>,
    },
    /// Something else that must not overtake these.
    Pass(Box<Item>),
}

impl Job {
    /// Bytes that it holds in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Write { write, .. } => write.body.as_ref().map_or(0, |body| body.data.len()),
            _ => 0,
        }
    }

    /// What the shard takes when it comes back.
    #[must_use]
    pub fn into_item(self) -> Item {
        match self {
            Self::Write { session, write, since, target, chunk } => {
                Item::Staged { session, write, since, chunk, was_sent: target.is_some() }
            }
            Self::Finish { session, channel, ending, refused, .. } => {
                Item::StagedFinish { session, channel, ending, refused }
            }
            Self::Pass(item) => Item::Passed(item),
        }
    }
}

/// Bytes of an upload in its staged file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Where they begin.
    pub offset: u64,
    /// crc32c of them.
    pub crc32c: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Stager {
    fs: Arc<dyn FileSystem>,
    plain: PlainFiles,
    open: BTreeMap<FileId, Arc<dyn File>>,
    trail: Trail,
    /// Staging directories whose names are durable.
    kept_dirs: BTreeSet<String>,
}

impl Stager {
    /// A stager that makes staged files with `plain`.
    #[must_use]
    pub fn new(fs: Arc<dyn FileSystem>, plain: PlainFiles) -> Self {
        Self { fs, plain, open: BTreeMap::new(), trail: Trail::default(), kept_dirs: BTreeSet::new() }
    }

    /// Does these jobs. If that went well, what is returned may be referred to: it is synced. An error of another kind
    /// than want of room says that nothing that was written since the last success may be taken for durable: the shard has
    /// to close, and to refuse what is returned.
    pub fn run(&mut self, jobs: Vec<Job>) -> (Vec<Item>, io::Result<()>) {
        let mut written = BTreeMap::new();
        let mut outcome = Ok(());
        let items = jobs
            .into_iter()
            .map(|mut job| {
                if outcome.is_ok() {
                    outcome = self.one(&mut job, &mut written);
                }
                job.into_item()
            })
            .collect();
        (items, outcome.and_then(|()| self.sync(written)))
    }

    fn one(&mut self, job: &mut Job, written: &mut BTreeMap<FileId, FileKey>) -> io::Result<()> {
        match job {
            Job::Write { write: Write { body, .. }, target: Some((key, id, offset)), chunk, .. } => {
                let Ok(content) = body else { return Ok(()) };
                written.insert(*id, key.clone());
                let done = self.file(key, *id).and_then(|file| {
                    file.write_at(&[&content.data], *offset)?;
                    self.trail.wrote(*id, &file, *offset, content.data.len() as u64);
                    Ok(())
                });
                match done {
                    Ok(()) => *chunk = Some(Chunk { offset: *offset, crc32c: crc32c::crc32c(&content.data) }),
                    Err(error) if is_full(&error) => *body = Err(Box::new(disk_full(&format!("the upload to {key}")))),
                    Err(error) if is_lost(&error) => *body = Err(Box::new(lost(key, &error))),
                    Err(error) => return Err(error),
                }
                Ok(())
            }
            Job::Finish { ending, target: Some((key, id, end)), refused, .. } => {
                let done = match ending {
                    // Until the abort is durable the upload goes on after a crash, with what the log refers to by then.
                    Ending::Abort if planted::is(Bug::AbortUnsynced) => Ok(()),
                    Ending::Abort => self.open.get(id).map_or(Ok(()), |file| file.sync_data()),
                    _ => self.complete(key, *id, *end),
                };
                if let Some(file) = self.open.remove(id) {
                    self.trail.ended(*id, &file);
                }
                match done {
                    Err(error) if is_full(&error) => *refused = Some(disk_full(&format!("the upload to {key}"))),
                    Err(error) if is_lost(&error) => *refused = Some(lost(key, &error)),
                    done => return done,
                }
                Ok(())
            }
            Job::Write { .. } | Job::Finish { .. } | Job::Pass(_) => Ok(()),
        }
    }

    /// Cuts off what was written and never taken, and syncs the rest with its size and times.
    fn complete(&mut self, key: &FileKey, id: FileId, end: u64) -> io::Result<()> {
        let file = self.file(key, id)?;
        let len = file.metadata()?.len;
        if len < end {
            let text = format!("it has {len} bytes, not the {end} that were acknowledged");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        if len > end {
            file.set_len(end)?;
        }
        file.sync_all()?;
        self.fs.sync_dir(parent(&self.plain.staged(&key.tenant, id)))
    }

    fn sync(&self, written: BTreeMap<FileId, FileKey>) -> io::Result<()> {
        let mut dirs = BTreeSet::new();
        for (id, key) in written {
            dirs.insert(parent(&self.plain.staged(&key.tenant, id)).to_owned());
            // One that is no longer open was synced when it was closed.
            if let Some(file) = self.open.get(&id) {
                file.sync_data()?;
            }
        }
        dirs.iter().try_for_each(|dir| self.fs.sync_dir(dir))
    }

    fn file(&mut self, key: &FileKey, id: FileId) -> io::Result<Arc<dyn File>> {
        if let Some(file) = self.open.get(&id) {
            return Ok(Arc::clone(file));
        }
        let staged = self.plain.staged(&key.tenant, id);
        if !self.kept_dirs.contains(parent(&staged)) {
            keep_staging_dir(self.fs.as_ref(), parent(&staged))?;
            self.kept_dirs.insert(parent(&staged).to_owned());
        }
        let file = self.plain.open_staged(&key.tenant, id)?;
        if self.open.len() >= OPEN_FILES
            && let Some((id, oldest)) = self.open.pop_first()
        {
            self.trail.ended(id, &oldest);
            // It may have bytes of this batch.
            oldest.sync_data()?;
        }
        self.open.insert(id, Arc::clone(&file));
        Ok(file)
    }
}

/// The staged file is not as we left it.
fn is_lost(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData || displaced(error).is_some()
}

fn lost(key: &FileKey, error: &io::Error) -> Refused {
    let text = format!(
        "what was staged of the upload to {key} was changed by another program ({error}); abort it, and begin anew"
    );
    Refused::new(ErrorReason::ForeignChange, text)
}
