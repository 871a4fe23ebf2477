//! `inkpot seal`: a file takes no more appends.

use super::{
    checksum,
    failure::{Exit, Failure},
    global::GlobalArgs,
    output::{self, Format},
};
use inkpot_client::{ChangeOptions, Files};
use inkpot_proto::v1::SealResponse;
use serde::Serialize;
use std::fmt;

const AFTER_HELP: &str = "\
Examples:
  inkpot seal exports/2026-07-31.csv  whoever appends to it from now on is refused; its bytes survive power loss
  inkpot seal a b c --output json     with size, generation and crc32c of each, a JSON object a line";

/// Let files take no more appends
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Paths of the files below the tenant's root
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,
    /// Only if the file has this generation; with one path
    #[arg(long, value_name = "N")]
    if_generation: Option<u64>,
}

/// What a sealed file is.
#[derive(Debug, Serialize)]
struct Sealed {
    path: String,
    size: u64,
    generation: u64,
    crc32c: String,
    /// It was sealed before.
    duplicate: bool,
}

impl fmt::Display for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, size, generation, crc32c, .. } = self;
        let before = if self.duplicate { "; it was sealed before" } else { "" };
        write!(f, "{path}: sealed with {size} bytes, generation {generation}, crc32c {crc32c}{before}")
    }
}

/// Runs `inkpot seal`.
pub(crate) async fn run(global: &GlobalArgs, args: Args) -> Result<Exit, Failure> {
    if args.if_generation.is_some() && args.paths.len() > 1 {
        return Err(Failure::new(Exit::Usage, "--if-generation is that of one file: give one path"));
    }
    let files = global.connect().await?.files();
    let mut exit = Exit::Done;
    for path in args.paths {
        exit = exit.after(seal(&files, global.format, path, args.if_generation).await);
    }
    Ok(exit)
}

async fn seal(files: &Files, format: Format, path: String, if_generation: Option<u64>) -> Result<(), Failure> {
    let options = ChangeOptions { if_generation, ..ChangeOptions::default() };
    let sealed = files.seal(&path, options).await.map_err(|error| Failure::writing(&path, &error))?;
    let SealResponse { size, generation, crc32c, duplicate } = sealed;
    output::answer(format, &Sealed { path, size, generation, crc32c: checksum::hex(crc32c), duplicate }).await
}
