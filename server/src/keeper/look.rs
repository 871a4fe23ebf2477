//! Which files are to be removed or compressed, from one look at all of them. Pure.

use crate::{
    policy::{Policies, Policy, RotatedFile},
    shard::{FileSummary, ids::FileKey},
};
use inkpot_proto::path::FilePath;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Files that one look finds to be compressed at most; the next look finds the others.
const MAX_TO_COMPRESS: usize = 1000;
/// How long a file that made trouble is left alone after the first time; doubled with each further time.
const FIRST_BACKOFF: Duration = Duration::from_secs(60);
/// ... up to this.
const MAX_BACKOFF: Duration = Duration::from_secs(60 * 60);

/// What one look at the files of a tenant in a shard has found.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// Files that were rotated away and whose policy removes some, by the path that they had.
    rotated: BTreeMap<FilePath, (Arc<Policy>, Vec<FileSummary>)>,
    /// Files that are to be compressed.
    pub(super) to_compress: Vec<FileSummary>,
}

impl Look {
    /// Takes a file into account.
    pub(super) fn take(&mut self, policies: &Policies, file: FileSummary) {
        let of_rotated = file.rotated.and_then(|_| policies.of_rotated(&file.path));
        let is_rotated = of_rotated.is_some();
        let (base, policy) = match of_rotated {
            Some((base, policy)) => (base, policy),
            None => match policies.of(&file.path) {
                Some(policy) => (file.path.clone(), policy),
                None => return,
            },
        };
        let is_complete = file.sealed && file.applied_size == file.size && file.size > 0;
        let wants_compression = policy.compress && is_complete && !file.compressed && !file.foreign_change;
        if wants_compression && self.to_compress.len() < MAX_TO_COMPRESS {
            self.to_compress.push(file.clone());
        }
        if is_rotated && policy.keep.is_set() {
            self.rotated.entry(base).or_insert_with(|| (Arc::clone(policy), Vec::new())).1.push(file);
        }
    }

    /// The rotated files that are not kept; they are not compressed any more either.
    pub(super) fn take_unkept(&mut self, now: SystemTime) -> Vec<FileSummary> {
        let mut removed = Vec::new();
        for (policy, files) in std::mem::take(&mut self.rotated).into_values() {
            let facts: Vec<_> = files.iter().map(facts).collect();
            let indexes = policy.to_remove(&facts, now);
            removed.extend(indexes.into_iter().filter_map(|index| files.get(index).cloned()));
        }
        self.to_compress.retain(|file| !removed.iter().any(|gone| gone.path == file.path));
        removed
    }
}

fn facts(file: &FileSummary) -> RotatedFile {
    let rotated_at = UNIX_EPOCH + Duration::from_millis(file.rotated.unwrap_or_default());
    RotatedFile { size: file.size, rotated_at }
}

/// Files that made trouble, and for how long they are left alone.
#[derive(Debug, Default)]
pub(super) struct Tried(HashMap<(FileKey, u64), (Instant, Duration)>);

impl Tried {
    /// Whether it is time for a file of this generation.
    pub(super) fn may_try(&self, key: &FileKey, generation: u64, now: Instant) -> bool {
        self.0.get(&(key.clone(), generation)).is_none_or(|(until, _)| now >= *until)
    }

    /// The file made trouble; returns how long it is left alone.
    pub(super) fn failed(&mut self, key: &FileKey, generation: u64, now: Instant) -> Duration {
        let (until, backoff) = self.0.entry((key.clone(), generation)).or_insert((now, FIRST_BACKOFF / 2));
        *backoff = (*backoff * 2).min(MAX_BACKOFF);
        *until = now + *backoff;
        *backoff
    }

    /// Forgets files that have not been tried for long after their time: they are gone.
    pub(super) fn forget_old(&mut self, now: Instant) {
        self.0.retain(|_, (until, _)| now < *until + MAX_BACKOFF);
    }
}
