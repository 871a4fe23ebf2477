//! What people and other programs name things by: one target for all of these grammars, because a text that one of them
//! takes is a good beginning for the next, and none of them is worth a campaign of its own.

use crate::{
    paths::{name_template, path, path_template, pattern},
    requests::tokens,
    units::units,
};

/// The same bytes as each of them.
pub fn text(bytes: &[u8]) {
    for reading in [path, pattern, name_template, path_template, tokens, units] {
        reading(bytes);
    }
}
