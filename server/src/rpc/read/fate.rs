//! What became of content that a reader follows, told by its view alone; and which paths rotation may have made.

use crate::{
    apply::view::{FileView, Gone},
    shard::ids::FileKey,
};
use inkpot_proto::path::FilePath;
use std::sync::Arc;

/// What became of content whose path a reader asked for.
#[derive(Clone, Debug)]
pub(super) enum Fate {
    /// The path leads to it.
    Present,
    /// It was rotated away, and no more bytes come to it. What came after it, if that is known.
    Rotated(Option<Arc<FileView>>),
    /// Other content took its place: this, if it is known.
    Replaced(Option<Arc<FileView>>),
    /// It was deleted, or has a path now that rotation does not make.
    Left,
}

impl Fate {
    /// Of content that was read by this path.
    pub(super) fn of(view: &FileView, asked: &FileKey) -> Self {
        // In this order: a file that is rotated away gets its successor first, and then its other name.
        let key = view.key();
        let state = view.state();
        let successor = state.successor.clone();
        match (state.gone, key == *asked) {
            // Where it was rotated to, something else took its place: that is not what came after it.
            (Some(Gone::Replaced), false) => Self::Replaced(None),
            (Some(Gone::Replaced), true) => Self::Replaced(successor),
            _ if successor.is_some() => Self::Rotated(successor),
            (None, true) => Self::Present,
            (None, false) if is_rotation(&asked.path, &key.path) => Self::Rotated(None),
            _ => Self::Left,
        }
    }
}

/// Where `@` and what follows may stand in the name of a rotated file: before each dot of the last component, and at
/// its end. What comes before.
pub(super) fn stems(path: &FilePath) -> impl Iterator<Item = &str> {
    let path = path.as_str();
    let name = path.rfind('/').map_or(0, |slash| slash + 1);
    let dots = path[name..].match_indices('.').map(move |(dot, _)| name + dot);
    dots.chain([path.len()]).map(|at| &path[..at])
}

/// Whether rotation of the file `of` may have made `path`.
pub(super) fn is_rotation(of: &FilePath, path: &FilePath) -> bool {
    stems(of).any(|stem| {
        let rest = &of.as_str()[stem.len()..];
        let middle = path.as_str().strip_prefix(stem).and_then(|path| path.strip_suffix(rest));
        middle.and_then(|middle| middle.strip_prefix('@')).is_some_and(|middle| !middle.contains(['.', '/']))
    })
}

#[cfg(test)]
mod tests;
