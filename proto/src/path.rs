//! The grammar of names, checked before any of them reaches a system call.

use crate::{
    error::Refused,
    limits::{MAX_COMPONENT_BYTES, MAX_PATH_BYTES, MAX_PATH_DEPTH, MAX_TENANT_BYTES, RESERVED_PREFIX},
    v1::ErrorReason,
};
use std::{fmt, sync::Arc};
use thiserror::Error;
use unicode_normalization::is_nfc;

/// Why a name is refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum InvalidName {
    #[error("it is empty")]
    Empty,
    #[error("it is longer than {MAX_PATH_BYTES} bytes")]
    TooLong,
    #[error("it has more than {MAX_PATH_DEPTH} components")]
    TooDeep,
    #[error("it is absolute; paths begin below the tenant's root, without a slash")]
    Absolute,
    #[error("it has an empty component (two slashes, or one at the end)")]
    EmptyComponent,
    #[error("a component is longer than {MAX_COMPONENT_BYTES} bytes")]
    ComponentTooLong,
    #[error("a component is \".\" or \"..\"")]
    Dots,
    #[error("a component begins with {RESERVED_PREFIX:?}, which is reserved")]
    Reserved,
    #[error("it has a control character")]
    Control,
    #[error("it has a backslash")]
    Backslash,
    #[error("it is not in Unicode normalization form NFC")]
    NotNormalized,
    #[error("it must be 1 to {MAX_TENANT_BYTES} letters, digits, \"-\", \"_\" or \".\", and not begin with \".\"")]
    TenantGrammar,
}

impl InvalidName {
    /// The refusal of a request that gave `name` as the path of a file.
    #[must_use]
    pub fn refuse(self, name: &str) -> Refused {
        let shown: String = name.chars().take(80).collect();
        Refused::new(ErrorReason::InvalidPath, format!("path {shown:?} is not valid: {self}"))
    }
}

/// Path of a file below its tenant's root. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FilePath(Arc<str>);

impl FilePath {
    /// Checks a path against the grammar.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn parse(path: &str) -> Result<Self, InvalidName> {
        if path.is_empty() {
            return Err(InvalidName::Empty);
        }
        if path.len() > MAX_PATH_BYTES {
            return Err(InvalidName::TooLong);
        }
        if path.starts_with('/') {
            return Err(InvalidName::Absolute);
        }
        if path.chars().any(char::is_control) {
            return Err(InvalidName::Control);
        }
        if path.contains('\\') {
            return Err(InvalidName::Backslash);
        }
        if path.split('/').count() > MAX_PATH_DEPTH {
            return Err(InvalidName::TooDeep);
        }
        path.split('/').try_for_each(check_component)?;
        if !is_nfc(path) {
            return Err(InvalidName::NotNormalized);
        }
        Ok(Self(path.into()))
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_component(component: &str) -> Result<(), InvalidName> {
    if component.is_empty() {
        Err(InvalidName::EmptyComponent)
    } else if component.len() > MAX_COMPONENT_BYTES {
        Err(InvalidName::ComponentTooLong)
    } else if component == "." || component == ".." {
        Err(InvalidName::Dots)
    } else if component.starts_with(RESERVED_PREFIX) {
        Err(InvalidName::Reserved)
    } else {
        Ok(())
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Name of a tenant; also the name of its directory. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantName(Arc<str>);

impl TenantName {
    /// Checks a tenant name: 1 to 64 bytes of ASCII letters, digits, `-`, `_`, `.`, the first not `.`.
    ///
    /// # Errors
    /// [`InvalidName::TenantGrammar`].
    pub fn parse(name: &str) -> Result<Self, InvalidName> {
        let fits = (1..=MAX_TENANT_BYTES).contains(&name.len()) && !name.starts_with('.');
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if fits && plain { Ok(Self(name.into())) } else { Err(InvalidName::TenantGrammar) }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
