//! Log lines to standard error. Standard output is never written to: it belongs to what a command prints.
//!
//! Text that comes from outside (paths, tenant names, peers) is logged with its `Debug` form, which escapes line breaks
//! and control characters, so that nobody can forge a line.

use crate::config::{Log, LogFormat};
use std::io::{self, IsTerminal};
use tracing_subscriber::{EnvFilter, util::SubscriberInitExt};

/// Checks a filter.
///
/// # Errors
/// What is wrong with it.
pub fn check_filter(filter: &str) -> Result<(), String> {
    parse(filter).map(drop)
}

/// Begins to log, for the whole process. Does nothing if the process logs already.
pub fn init(log: &Log) {
    let filter = parse(&log.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_writer(io::stderr).with_env_filter(filter);
    // Colours only for eyes: in a file or a collector they are noise.
    let outcome = match log.format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_ansi(false).finish().try_init(),
    };
    drop(outcome);
}

fn parse(filter: &str) -> Result<EnvFilter, String> {
    if filter.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    EnvFilter::builder().parse(filter).map_err(|error| error.to_string())
}
