//! What became of content that a reader follows, told by its view alone.

use crate::{
    apply::view::{FileView, Gone},
    shard::ids::FileKey,
};
use std::sync::Arc;

/// What became of content whose path a reader asked for.
#[derive(Clone, Debug)]
pub(super) enum Fate {
    /// The path leads to it.
    Present,
    /// It was rotated away, and no more bytes come to it. What came after it, if that is in memory.
    Rotated(Option<Arc<FileView>>),
    /// Other content took its place: this, if it is known.
    Replaced(Option<Arc<FileView>>),
    /// It was deleted, or somebody gave it another path.
    Left,
}

impl Fate {
    /// Of content that was read by this path; `is_archive` as told by [`is_archive`] when reading began.
    pub(super) fn of(view: &FileView, asked: &FileKey, is_archive: bool) -> Self {
        // In this order: a file that is rotated away has its successor before it has its other path.
        let key = view.key();
        let (gone, rotated_to, successor) = {
            let state = view.state();
            (state.gone, state.rotated_to, state.successor.clone())
        };
        match gone {
            Some(Gone::Replaced) if key == *asked => return Self::Replaced(successor),
            // What took its place did so under its other path.
            Some(Gone::Replaced) => return Self::Replaced(None),
            Some(Gone::Deleted | Gone::Left) if key == *asked => return Self::Left,
            Some(Gone::Deleted | Gone::Left) | None => {}
        }
        let next = successor.filter(|next| rotated_to == Some(next.generation));
        let is_moving = next.as_ref().is_some_and(|next| has_path(next, asked));
        if rotated_to.is_some() && !is_archive && (key != *asked || is_moving) {
            Self::Rotated(next)
        } else if key == *asked {
            Self::Present
        } else {
            Self::Left
        }
    }
}

/// Whether the path asked for is the one that rotation gave to the content, so that what came after it is no matter of
/// the path. To be told when reading begins: the content may get a third path.
pub(super) fn is_archive(view: &FileView, asked: &FileKey) -> bool {
    let (rotated_to, successor) = {
        let state = view.state();
        (state.rotated_to, state.successor.clone())
    };
    let is_moving = || successor.is_some_and(|next| rotated_to == Some(next.generation) && has_path(&next, asked));
    rotated_to.is_some() && view.key() == *asked && !is_moving()
}

/// Whether the path leads to the content: what is gone keeps the path that it had, while a rotated file may come back to it.
fn has_path(view: &FileView, asked: &FileKey) -> bool {
    view.key() == *asked && view.state().gone.is_none()
}

#[cfg(test)]
mod tests;
