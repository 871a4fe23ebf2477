//! `inkpot ls`: the files below a prefix, or as a directory shows them.

use super::{
    failure::{Exit, Failure},
    global::GlobalArgs,
    output::{self, Format, Gathered},
    stat::{self, Described},
};
use futures_util::StreamExt;
use inkpot_client::{Entry, ListOptions};
use serde::Serialize;
use std::{fmt, pin::pin};

/// Files asked for at a time.
pub(crate) const PAGE_FILES: u32 = 1_000;

const AFTER_HELP: &str = "\
Examples:
  inkpot ls                  every path
  inkpot ls logs/app         every path that begins so: logs/app, logs/app/x, logs/apps
  inkpot ls -d logs/         what is directly in logs/; directories end with /
  inkpot ls -l --output json | jq .size";

/// List files, in byte order of their paths
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Beginning of the paths; without it: all files
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,
    /// Sizes, sizes of the plain files in bytes, generations, whether they are sealed, and times too
    #[arg(short, long)]
    long: bool,
    /// One level: a directory below the prefix comes once, with a / at its end, and not what is in it
    #[arg(short, long)]
    directories: bool,
}

/// Runs `inkpot ls`.
pub(crate) async fn run(global: &GlobalArgs, args: Args) -> Result<Exit, Failure> {
    let files = global.connect().await?.files();
    let options = ListOptions { page_size: PAGE_FILES, delimiter: args.directories.then_some('/') };
    let mut listed = pin!(files.entries(&args.prefix, options));
    let (mut lines, mut any) = (Gathered::default(), false);
    while let Some(entry) = listed.next().await {
        let entry = match entry {
            Ok(entry) => Row::new(entry, args.long),
            Err(error) => {
                // What was listed is told before what went wrong.
                lines.flush().await?;
                return Err(Failure::reading(format_args!("list {:?}", args.prefix), &error));
            }
        };
        if args.long && global.format == Format::Text && !std::mem::replace(&mut any, true) {
            output::say(stat::heading());
        }
        lines.answer(global.format, &entry).await?;
    }
    lines.flush().await?;
    Ok(Exit::Done)
}

/// A line of the list.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Row {
    File {
        #[serde(flatten)]
        file: Box<Described>,
        #[serde(skip)]
        long: bool,
    },
    Directory {
        /// With the / at its end.
        path: String,
        directory: bool,
        #[serde(skip)]
        long: bool,
    },
}

impl Row {
    fn new(entry: Entry, long: bool) -> Self {
        match entry {
            Entry::File(file) => Self::File { file: Box::new((*file).into()), long },
            Entry::Prefix(path) => Self::Directory { path, directory: true, long },
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, long: true } => f.write_str(&file.row()),
            Self::File { file, long: false } => f.write_str(&file.path),
            Self::Directory { path, long: true, .. } => f.write_str(&stat::directory_row(path)),
            Self::Directory { path, long: false, .. } => f.write_str(path),
        }
    }
}

#[cfg(test)]
mod tests;
