//! What happened in a simulation, line by line: what clients were told, what was done to the disk, what went wrong. Two
//! runs of a seed have the same lines.

use std::sync::{Arc, Mutex, PoisonError};

/// The lines. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Trace(Arc<Mutex<Vec<String>>>);

impl Trace {
    /// Adds a line, with the simulated time.
    pub fn note(&self, line: impl AsRef<str>) {
        let at = turmoil::sim_elapsed().unwrap_or_default();
        let line = format!("{:>9.3} {}", at.as_secs_f64(), line.as_ref());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A number that tells these lines from others.
    pub fn digest(&self) -> u32 {
        crc32c::crc32c(self.lines().join("\n").as_bytes())
    }
}
