//! `inkpot truncate`: the first bytes of a file become its next generation.

use super::{
    failure::{Exit, Failure},
    global::GlobalArgs,
    output, units,
};
use inkpot_client::ChangeOptions;
use serde::Serialize;
use std::fmt;

const AFTER_HELP: &str = "\
Examples:
  inkpot truncate logs/app --size 0          empty it; those who append to it open it again by themselves
  inkpot truncate data.csv --size 1MiB       keep the first MiB
  inkpot truncate data.csv --size 0 --if-generation 7";

/// Cut a file: keep its first bytes
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Path of the file below the tenant's root
    path: String,
    /// Size that is left, at most the present one
    #[arg(short, long, value_parser = units::size, value_name = "BYTES")]
    size: u64,
    /// Only if the file has this generation
    #[arg(long, value_name = "N")]
    if_generation: Option<u64>,
}

/// What became of it.
#[derive(Debug, Serialize)]
struct Cut {
    path: String,
    size: u64,
    generation: u64,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} bytes, generation {}", self.path, self.size, self.generation)
    }
}

/// Runs `inkpot truncate`.
pub(crate) async fn run(global: &GlobalArgs, args: Args) -> Result<Exit, Failure> {
    let Args { path, size, if_generation } = args;
    let files = global.connect().await?.files();
    let options = ChangeOptions { if_generation, ..ChangeOptions::default() };
    let cut = files.truncate(&path, size, options).await.map_err(|error| Failure::writing(&path, &error))?;
    output::answer(global.format, &Cut { path, size, generation: cut.generation }).await?;
    Ok(Exit::Done)
}
