//! `inkpot mv`: another path for a file.

use super::{
    failure::{Exit, Failure},
    global::GlobalArgs,
    output,
};
use inkpot_client::RenameOptions;
use serde::Serialize;
use std::fmt;

const AFTER_HELP: &str = "\
Examples:
  inkpot mv logs/app logs/app.old                fails if there is a logs/app.old
  inkpot mv --replace new/prices.csv prices.csv  readers see the one or the other, never half of it
  inkpot mv logs/app archive/                    keeps the last part of the name: archive/app";

/// Give a file another path, also in another directory
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Present path of the file below the tenant's root
    from: String,
    /// New path; if it ends with /, the last part of the present one comes behind it
    to: String,
    /// Take the place of a file that is there; without it that is refused
    #[arg(long)]
    replace: bool,
    /// Only if the file that is moved has this generation
    #[arg(long, value_name = "N")]
    if_generation: Option<u64>,
}

impl Args {
    fn to(&self) -> String {
        let name = self.from.rsplit('/').next().unwrap_or_default();
        if self.to.ends_with('/') { format!("{}{name}", self.to) } else { self.to.clone() }
    }
}

/// What became of it.
#[derive(Debug, Serialize)]
struct Moved {
    from: String,
    path: String,
    generation: u64,
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}: generation {}", self.from, self.path, self.generation)
    }
}

/// Runs `inkpot mv`.
pub(crate) async fn run(global: &GlobalArgs, args: Args) -> Result<Exit, Failure> {
    let files = global.connect().await?.files();
    let path = args.to();
    let options =
        RenameOptions { replace: args.replace, if_generation: args.if_generation, ..RenameOptions::default() };
    let renamed = files.rename(&args.from, &path, options).await;
    let renamed = renamed.map_err(|error| Failure::writing(&args.from, &error))?;
    output::answer(global.format, &Moved { from: args.from, path, generation: renamed.generation }).await?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests;
