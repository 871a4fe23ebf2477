//! From the log to the plain files: off the path of acks, never past what is synced, one write per file and round.

pub mod registry;
pub mod view;

/// Placeholder
#[derive(Debug)]
pub enum Request {}
