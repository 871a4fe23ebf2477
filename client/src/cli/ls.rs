//! `inkpot ls`: the files below a prefix.

use super::{
    failure::{Exit, Failure},
    global::GlobalArgs,
    output::{self, Format},
    stat::Described,
};
use futures_util::StreamExt;
use std::pin::pin;

/// Files asked for at a time.
const PAGE_FILES: u32 = 1_000;

/// List files, in byte order of their paths
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Beginning of the paths; without it: all files
    #[arg(default_value = "")]
    prefix: String,
    /// Sizes, durable sizes in bytes, generations and times too
    #[arg(short, long)]
    long: bool,
}

/// Runs `inkpot ls`.
pub(crate) async fn run(global: &GlobalArgs, args: Args) -> Result<Exit, Failure> {
    let files = global.connect().await?.files();
    let mut listed = pin!(files.list(&args.prefix, PAGE_FILES));
    if args.long && global.format == Format::Text {
        output::say(format_args!("{:>14} {:>14} {:>18}  {:<30}  PATH", "SIZE", "SYNCED", "GENERATION", "MODIFIED"));
    }
    while let Some(file) = listed.next().await {
        let file = file.map_err(|error| Failure::reading(format_args!("list {:?}", args.prefix), &error))?;
        let file = Described::from(file);
        match global.format {
            Format::Json => output::emit_json(&file)?,
            Format::Text if args.long => output::emit_line(file.row())?,
            Format::Text => output::emit_line(&file.path)?,
        }
    }
    Ok(Exit::Done)
}
