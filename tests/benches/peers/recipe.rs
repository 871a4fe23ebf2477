//! The recipe that Inkpot grew out of: `aiofiles` and asyncio in the process of the producers, see `recipe.py`.

use super::{
    Peer,
    load::{IN_FLIGHT, PRODUCERS, WARM_UP, Work},
};
use std::{io, process::Command};
use tempfile::TempDir;

/// See the module.
pub struct Recipe;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/recipe.py");

impl Peer for Recipe {
    fn name(&self) -> &'static str {
        "aiofiles, in process"
    }

    fn settings(&self, durable: bool) -> Option<&'static str> {
        Some(if durable {
            "one writer per file, 100 records, 1 MiB or 100 ms per write and `fsync`, a semaphore of 100; no network"
        } else {
            "one writer per file, 100 records, 1 MiB or 100 ms per write, a semaphore of 100; no network"
        })
    }

    fn measure(&self, work: &Work) -> io::Result<f64> {
        let folder = TempDir::with_prefix("inkpot-peer-")?;
        let output = Command::new("python3")
            .arg(SCRIPT)
            .arg(folder.path())
            .args([work.record, work.batch, work.files, PRODUCERS, IN_FLIGHT].map(|number| number.to_string()))
            .args([WARM_UP, work.duration].map(|time| time.as_secs_f64().to_string()))
            .arg(if work.durable { "durable" } else { "written" })
            .output()?;
        let rate = String::from_utf8_lossy(&output.stdout).trim().parse();
        rate.map_err(|_| io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
    }
}
