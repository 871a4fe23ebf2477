//! Wires the parts of the server together.

use crate::config::Config;
use thiserror::Error;

/// Why the server could not start, or ended.
#[derive(Debug, Error)]
#[error("this build serves nothing yet")]
pub struct StartError;

/// Serves until it is told to stop.
///
/// # Errors
/// What kept it from starting.
pub async fn run(_config: Config) -> Result<(), StartError> {
    Err(StartError)
}
