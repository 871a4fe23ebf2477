//! Rotation and retention: which policy a path has, when its file is cut, what the cut part is called, and which of those
//! are removed. Pure: sizes and times come in, nothing is looked up.

mod name;
mod pattern;

pub use name::{NameTemplate, NoName};
pub use pattern::Pattern;

use inkpot_proto::path::FilePath;
use std::{
    cmp::Reverse,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const HOUR_SECONDS: u64 = 60 * 60;
const DAY_SECONDS: u64 = 24 * HOUR_SECONDS;
const WEEK_DAYS: u64 = 7;
/// The Unix epoch was a Thursday, three days into its week.
const EPOCH_WEEKDAY: u64 = 3;

/// What becomes of the files whose path the pattern matches: one `[[tenants.NAME.policies]]` or
/// `[[tenant_defaults.policies]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The paths; must be set. `*` stands for any part of a component, `?` for a character, `**` for any components.
    pub pattern: Pattern,
    /// When a file is cut, and what the part before the cut is called.
    pub rotate: Rotate,
    /// How many of these are kept.
    pub keep: Keep,
    /// Whether rotated and sealed files are compressed, in the background. `false`.
    pub compress: bool,
}

/// When a file is cut: at the first append at which any of these holds. It is cut before that append; an empty file is
/// never cut. Nothing set: never.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotate {
    /// Most bytes of a file, 1 KiB to 1 EiB; only an append that is larger by itself makes a larger file. Not set.
    pub size: Option<u64>,
    /// How long after the first byte of its generation, 1 s to 3650 d. Not set.
    pub age: Option<Duration>,
    /// At what time of the clock: `"hourly"`, `"daily"` or `"weekly"`. Not set.
    pub at: Option<ClockTime>,
    /// The name of the part before the cut, in the directory of the file: `{stem}@`, then letters, digits, `-_+=,@` and
    /// `{time}` (as in `20261123T101500123Z`), `{date}` (as in `2026-11-23`; both of the cut, in UTC) or `{generation}`
    /// (16 hex digits), then `{ext}`; `{time}` or `{generation}` must be among them. At most 128 bytes. A path that this
    /// makes too long, or that is taken, gets the default instead. `"{stem}@{time}{ext}"`.
    pub name: NameTemplate,
}

/// What is kept of the rotated files of a file, the newest first; what breaks any of these is removed. Nothing set: all.
/// Counts only where `rotate` has something set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Most files, 1 to 1 000 000. Not set.
    pub count: Option<u32>,
    /// How long after they were rotated, 1 s to 3650 d. Not set.
    pub age: Option<Duration>,
    /// Most bytes that they have together, uncompressed, 1 B to 1 EiB. Not set.
    pub bytes: Option<u64>,
}

/// A time of the clock, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockTime {
    /// At the full hour.
    Hourly,
    /// At 00:00.
    Daily,
    /// On Monday at 00:00.
    Weekly,
}

/// What a file is like before an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its bytes.
    pub size: u64,
    /// When the first of them was taken.
    pub began: SystemTime,
}

/// A rotated file, as retention looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotatedFile {
    /// Its bytes, uncompressed.
    pub size: u64,
    /// When it was rotated.
    pub rotated_at: SystemTime,
}

/// The policies of a tenant, in order. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policies(Arc<[Arc<Policy>]>);

impl Policies {
    /// The own ones of a tenant, and behind them the defaults.
    #[must_use]
    pub fn new(own: &[Policy], defaults: &[Policy]) -> Self {
        Self(own.iter().chain(defaults).cloned().map(Arc::new).collect())
    }

    /// The policy of a path: the first whose pattern matches.
    #[must_use]
    pub fn of(&self, path: &FilePath) -> Option<&Arc<Policy>> {
        self.0.iter().find(|policy| policy.pattern.matches(path))
    }

    /// Of a path that a policy gave to what it rotated away: the path that this had before, and the policy.
    #[must_use]
    pub fn of_rotated(&self, path: &FilePath) -> Option<(FilePath, &Arc<Policy>)> {
        name::bases(path).find_map(|base| {
            let policy = self.of(&base).filter(|policy| policy.is_rotated_name_of(&base, path))?;
            Some((base, policy))
        })
    }

    /// Whether any of them lets go of files, or has them compressed.
    #[must_use]
    pub fn look_after_files(&self) -> bool {
        self.0.iter().any(|policy| policy.keep.is_set() || policy.compress)
    }

    /// Whether any of them rotates files.
    #[must_use]
    pub fn rotate(&self) -> bool {
        self.0.iter().any(|policy| policy.rotate.is_set())
    }
}

impl Policy {
    /// Whether a file must be cut before an append of `len` bytes that is taken `now`. A clock that went back makes no file
    /// older.
    #[must_use]
    pub fn is_due(&self, facts: Facts, len: u64, now: SystemTime) -> bool {
        let Facts { size, began } = facts;
        let Rotate { size: most, age, at, name: _ } = &self.rotate;
        let too_large = || most.is_some_and(|most| size.saturating_add(len) > most);
        let too_old = || age.is_some_and(|age| now.duration_since(began).is_ok_and(|passed| passed >= age));
        let clock = || at.is_some_and(|at| at.period_of(now) > at.period_of(began));
        size > 0 && (too_large() || too_old() || clock())
    }

    /// The path for the content of a file that is cut `now` in this generation: the first that obeys the path grammar and
    /// is free of the name that the policy asks for, the default name, and that of each of the next thousand milliseconds.
    ///
    /// # Errors
    /// There is none. The file is not cut then, and goes on.
    pub fn rotated_name(
        &self,
        path: &FilePath,
        now: SystemTime,
        generation: u64,
        is_taken: impl Fn(&FilePath) -> bool,
    ) -> Result<FilePath, NoName> {
        name::free_name(&self.rotate.name, path, now, generation, is_taken)
    }

    /// What the path of every rotated file of a file begins with.
    #[must_use]
    pub fn rotated_prefix(path: &FilePath) -> String {
        name::prefix(path)
    }

    /// Whether `candidate` is a name that [`Policy::rotated_name`] gives for `path`. A name that merely has an `@`, as in
    /// `mail/user@host.log` beside `mail/user.log`, is none. Names of an earlier template are none either: their files are
    /// kept.
    #[must_use]
    pub fn is_rotated_name_of(&self, path: &FilePath, candidate: &FilePath) -> bool {
        [&self.rotate.name, &NameTemplate::default()].iter().any(|name| name.gives(path, candidate))
    }

    /// Indexes of the rotated files of a file that are not kept, the oldest first. Of two that were rotated at the same time
    /// the later in the list is the newer.
    #[must_use]
    pub fn to_remove(&self, rotated: &[RotatedFile], now: SystemTime) -> Vec<usize> {
        let Keep { count, age, bytes } = self.keep;
        let mut newest_first: Vec<_> = rotated.iter().enumerate().collect();
        newest_first.sort_unstable_by_key(|(index, file)| Reverse((file.rotated_at, *index)));
        let most = count.map_or(usize::MAX, |count| count as usize);
        let mut sum = 0_u64;
        // The first that is not kept ends it: what is older is as old, and adds to the sum.
        let kept = newest_first.iter().take(most).take_while(|(_, file)| {
            sum = sum.saturating_add(file.size);
            let passed = now.duration_since(file.rotated_at).unwrap_or_default();
            bytes.is_none_or(|most| sum <= most) && age.is_none_or(|most| passed <= most)
        });
        let kept = kept.count();
        newest_first[kept..].iter().rev().map(|(index, _)| *index).collect()
    }
}

impl Rotate {
    /// Whether a file is ever cut.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.size.is_some() || self.age.is_some() || self.at.is_some()
    }
}

impl Keep {
    /// Whether anything is ever removed.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.count.is_some() || self.age.is_some() || self.bytes.is_some()
    }
}

impl ClockTime {
    /// How it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// How it is written.
    pub fn parse(text: &str) -> Result<Self, String> {
        let all = [Self::Hourly, Self::Daily, Self::Weekly];
        let named = all.into_iter().find(|at| at.name() == text);
        named.ok_or_else(|| {
            format!("{text:?} is not a time to rotate at; write \"hourly\", \"daily\" or \"weekly\" (in UTC)")
        })
    }

    /// Which hour, day or week a time lies in. UTC has no leap seconds here, and days of one length.
    fn period_of(self, time: SystemTime) -> u64 {
        let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        match self {
            Self::Hourly => seconds / HOUR_SECONDS,
            Self::Daily => seconds / DAY_SECONDS,
            Self::Weekly => (seconds / DAY_SECONDS + EPOCH_WEEKDAY) / WEEK_DAYS,
        }
    }
}

#[cfg(test)]
mod tests;
