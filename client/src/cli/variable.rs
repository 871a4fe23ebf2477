//! Variables of the environment. One that is empty is none. They are read where their value is needed and not by clap,
//! so that a bad one is no hindrance to what does not need it.

use super::failure::{Exit, Failure};
use std::{env, path::PathBuf};

/// The path that a variable holds.
pub(crate) fn path(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The text that a variable holds.
pub(crate) fn text(name: &str) -> Result<Option<String>, Failure> {
    let text = path(name).map(|value| value.into_os_string().into_string()).transpose();
    text.map_err(|_| Failure::new(Exit::Usage, format!("{name} must be UTF-8")))
}
