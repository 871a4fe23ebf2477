//! Files of the catalog in order of their paths.

use super::{Catalog, CatalogError, FILES, FileRow, PATHS};
use crate::{
    apply::registry::Stretch,
    shard::{
        FileSummary,
        ids::FileId,
        listing::{Query, behind_prefix},
    },
};
use inkpot_proto::path::TenantName;
use redb::ReadableDatabase;
use std::ops::ControlFlow;

/// What the catalog adds to a [`Stretch`].
#[derive(Debug, Default)]
pub struct Listed {
    /// Files, in order.
    pub rows: Vec<FileRow>,
    /// What the paths of further files have in common, in order.
    pub prefixes: Vec<String>,
    /// How many paths were looked at.
    pub visited: usize,
}

impl Listed {
    fn len(&self) -> usize {
        self.rows.len() + self.prefixes.len()
    }
}

impl Catalog {
    /// Up to `max` files and common prefixes that a query asks for, from `from` on and within `stretch`, less those that
    /// it knows. All are of one moment. Never goes through what is below a common prefix, unless `stretch` says that it
    /// is absent.
    ///
    /// # Errors
    /// Those of the database.
    pub fn list(&self, query: &Query, from: &str, stretch: &Stretch, max: usize) -> Result<Listed, CatalogError> {
        let transaction = self.db.begin_read().map_err(|error| self.failed(error))?;
        let paths = transaction.open_table(PATHS).map_err(|error| self.failed(error))?;
        let files = transaction.open_table(FILES).map_err(|error| self.failed(error))?;
        let tenant = row_key(&query.tenant, "");
        let begin = row_key(&query.tenant, &query.prefix);
        let mut listed = Listed::default();
        let mut next = Some(row_key(&query.tenant, from));
        while let Some(from) = next.take() {
            let range = paths.range::<&[u8]>(from.as_slice()..).map_err(|error| self.failed(error))?;
            for entry in range {
                let (key, id) = entry.map_err(|error| self.failed(error))?;
                if listed.len() == max || !key.value().starts_with(&begin) {
                    break;
                }
                let (Ok(path), Ok(id)) = (std::str::from_utf8(&key.value()[tenant.len()..]), id.value().try_into())
                else {
                    continue;
                };
                if stretch.end.as_deref().is_some_and(|end| path >= end) {
                    break;
                }
                listed.visited += 1;
                let row = || Ok(self.row(&files, FileId::from_bytes(id))?.filter(|row| row.created));
                if let ControlFlow::Break(jump) = take(query, stretch, path, &mut listed, row)? {
                    next = Some(row_key(&query.tenant, &jump));
                    break;
                }
            }
        }
        Ok(listed)
    }
}

/// Takes a path into the list; breaks with the text to go on at, if that is not the next path.
fn take(
    query: &Query,
    stretch: &Stretch,
    path: &str,
    listed: &mut Listed,
    row: impl FnOnce() -> Result<Option<FileRow>, CatalogError>,
) -> Result<ControlFlow<String>, CatalogError> {
    let common = query.common(path);
    if let Some(common) = common.filter(|common| stretch.has_prefix(common)) {
        return Ok(ControlFlow::Break(behind_prefix(common)));
    }
    if stretch.knows(path) {
        return Ok(ControlFlow::Continue(()));
    }
    let Some(row) = row()? else { return Ok(ControlFlow::Continue(())) };
    let Some(common) = common else {
        listed.rows.push(row);
        return Ok(ControlFlow::Continue(()));
    };
    listed.prefixes.push(common.to_owned());
    Ok(ControlFlow::Break(behind_prefix(common)))
}

/// The key of a path in its table. Any text may stand for a path, as a bound.
pub(super) fn row_key(tenant: &TenantName, path: &str) -> Vec<u8> {
    [tenant.as_str().as_bytes(), &[0], path.as_bytes()].concat()
}

impl FileRow {
    /// What Stat and List tell of the file.
    #[must_use]
    pub fn summary(self) -> FileSummary {
        FileSummary {
            path: self.key.path,
            size: self.end,
            applied_size: self.parked.map_or(self.end, |parked| parked.from),
            synced_size: self.end,
            generation: self.generation,
            sealed: self.content.sealed,
            producers: self.producers,
            modified: self.seen.map(|seen| seen.modified),
            foreign_change: self.foreign.is_some(),
            crc32c: self.content.crc32c,
            stored_size: self.content.compressed.unwrap_or(self.end),
            compressed: self.content.compressed.is_some(),
            rotated: self.content.rotated.map(|(at, _)| at),
        }
    }
}

#[cfg(test)]
mod tests;
