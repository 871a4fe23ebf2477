//! Pages of a shard's files: the catalog's rows under what the registry knows better. Each text that a page may begin
//! at is an inclusive bound in byte order, and need not be a path.

use super::{Command, FileSummary, ShardHandle, being_decided, ids::FileKey};
use crate::{
    apply::{
        Request,
        registry::{Registry, Stretch},
    },
    catalog::{CatalogError, Listed},
    commit::driver::chain,
};
use inkpot_proto::{error::Refused, path::TenantName, v1::ErrorReason};

/// Paths of the registry that are looked at under its lock at once; the shard's thread may wait for that long.
const STRETCH_PATHS: usize = 1000;

/// Asks for files of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Whose.
    pub tenant: TenantName,
    /// What their paths begin with.
    pub prefix: String,
    /// Paths that have it behind the prefix are put together up to it. Not [`char::MAX`].
    pub delimiter: Option<char>,
    /// Where to begin.
    pub from: String,
    /// Most entries.
    pub max: usize,
}

impl Query {
    /// The first text that matters.
    #[must_use]
    pub fn begin(&self) -> &str {
        self.from.as_str().max(self.prefix.as_str())
    }

    /// What a path has in common with others: up to the first delimiter behind the prefix, and with it. The path must
    /// begin with the prefix.
    #[must_use]
    pub fn common<'a>(&self, path: &'a str) -> Option<&'a str> {
        let delimiter = self.delimiter?;
        let at = self.prefix.len() + path[self.prefix.len()..].find(delimiter)?;
        Some(&path[..at + delimiter.len_utf8()])
    }
}

/// What stands in a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A file.
    File(FileSummary),
    /// What at least one path has in common with others.
    Prefix(String),
}

impl Entry {
    /// By this a page is in order.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::File(file) => file.path.as_str(),
            Self::Prefix(prefix) => prefix,
        }
    }

    /// The first text behind it, and behind everything that a prefix stands for.
    #[must_use]
    pub fn behind(&self) -> String {
        match self {
            Self::File(file) => behind_path(file.path.as_str()),
            Self::Prefix(prefix) => behind_prefix(prefix),
        }
    }
}

/// The first text behind a path.
#[must_use]
pub fn behind_path(path: &str) -> String {
    format!("{path}\0")
}

/// The first text behind all that begin with this one, which must have a last character, and not [`char::MAX`].
#[must_use]
pub fn behind_prefix(prefix: &str) -> String {
    let mut text = prefix.to_owned();
    // No text holds a surrogate.
    let next = |last| if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(u32::from(last) + 1) };
    let last = text.pop().and_then(next);
    text.extend(last);
    text
}

/// A page: at most `query.max` entries in order. `rows` reads the catalog for a stretch: from a text, what the registry
/// knows of it, and how many entries are wanted.
///
/// The registry is asked before the catalog, stretch by stretch. A checkpoint that ends between the two takes something
/// from the registry only after the catalog has it, so nothing that the registry did not know can be missing from a
/// catalog that is read later. The other way round, with a catalog from before the checkpoint:
/// - a file is made; *catalog*; the checkpoint saves it; nobody uses it, it leaves memory; *registry*: it is in neither;
/// - a file is deleted; *catalog*; the checkpoint removes its row, so its path is not remembered as absent any more;
///   *registry*: it is listed although it was gone before anybody asked;
/// - a file grows; *catalog*; the checkpoint saves that, the file leaves memory; *registry*: the size before is told.
///
/// # Errors
/// Those of `rows`.
pub fn page<E>(
    query: &Query,
    registry: &Registry,
    mut rows: impl FnMut(&str, &Stretch, usize) -> Result<Listed, E>,
) -> Result<Vec<Entry>, E> {
    let mut page = Vec::new();
    let mut from = query.begin().to_owned();
    while page.len() < query.max {
        let wanted = query.max - page.len();
        let mut stretch = registry.stretch(query, &from, STRETCH_PATHS);
        let listed = rows(&from, &stretch, wanted)?;
        // A view may have another path by now.
        let files = std::mem::take(&mut stretch.files).into_iter();
        let files = files.map(|(path, view)| Entry::File(FileSummary { path, ..view.summary() }));
        let prefixes = stretch.prefixes.into_iter().chain(listed.prefixes).map(Entry::Prefix);
        let rows = listed.rows.into_iter().map(|row| Entry::File(row.summary()));
        let mut found: Vec<Entry> = files.chain(prefixes).chain(rows).collect();
        found.sort_unstable_by(|one, other| one.text().cmp(other.text()));
        found.truncate(wanted);
        let Some(end) = stretch.end else {
            page.append(&mut found);
            break;
        };
        // A prefix may reach beyond the stretch.
        from = found.last().map(Entry::behind).unwrap_or_default().max(end);
        page.append(&mut found);
    }
    Ok(page)
}

impl ShardHandle {
    /// A page of files, without asking the shard's thread.
    ///
    /// # Errors
    /// SHARD_CLOSED or DAMAGED while the shard is closed, and if the catalog cannot be read: the shard then closes and
    /// recovers.
    pub async fn list(&self, query: Query) -> Result<Vec<Entry>, Refused> {
        self.catalog.begun().await;
        let handle = self.clone();
        let listing = self.host.blocking(move || handle.read_page(&query));
        let listed = listing.await.map_err(|error| {
            Refused::new(ErrorReason::Internal, format!("listing files of shard {} failed: {error}", self.number))
        })?;
        match listed {
            Ok(entries) => Ok(entries),
            Err(Unlisted::Refused(refused)) => Err(refused),
            Err(Unlisted::Catalog(error)) => {
                let text = chain(&error);
                self.send(Command::Apply(Request::Failed(error.into()))).await?;
                Err(Refused::new(ErrorReason::ShardClosed, format!("{text}: the shard recovers by itself; try again")))
            }
        }
    }

    fn read_page(&self, query: &Query) -> Result<Vec<Entry>, Unlisted> {
        page(query, &self.registry, |from, stretch, max| {
            if let Some(path) = &stretch.undecided {
                let key = FileKey { tenant: query.tenant.clone(), path: path.clone() };
                return Err(Unlisted::Refused(being_decided(&key)));
            }
            let listed = self.catalog.read(|catalog| catalog.list(query, from, stretch, max));
            listed.map_err(Unlisted::Refused)?.map_err(Unlisted::Catalog)
        })
    }
}

/// Why there is no page.
enum Unlisted {
    Refused(Refused),
    Catalog(CatalogError),
}

#[cfg(test)]
mod tests;
