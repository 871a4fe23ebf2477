//! `inkpot du`: how much the files below a prefix take, by directory. Holds the directories it is in, and no list.

mod sums;

use super::{
    failure::{Exit, Failure},
    global::GlobalArgs,
    ls::PAGE_FILES,
    output::{self, Format, Gathered},
    units,
};
use futures_util::StreamExt;
use serde::Serialize;
use std::{fmt, pin::pin};
use sums::{Sum, Sums};

const AFTER_HELP: &str = "\
Examples:
  inkpot du                  each directory, and all of it in the last line
  inkpot du -h -d 1 logs/    what is directly below logs/, in MiB and GiB
  inkpot du -d 0 logs/app    the sum of all files whose path begins with logs/app

Columns:
  SIZE    bytes that the files hold
  STORED  bytes that their plain files take: less where they are compressed
  FILES   how many they are
  PATH    the directory, with / at its end, or the prefix; / alone is all of it";

/// Show how much files take, by directory
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP, disable_help_flag = true)]
pub(crate) struct Args {
    /// Beginning of the paths; without it: all files
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,
    /// Show directories down to so many below the prefix; 0: only the sum of all; without it: every one
    #[arg(short = 'd', long, value_name = "DEPTH")]
    max_depth: Option<usize>,
    /// Sizes in units that people read
    #[arg(short = 'h', long)]
    human_readable: bool,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

/// Runs `inkpot du`.
pub(crate) async fn run(global: &GlobalArgs, args: Args) -> Result<Exit, Failure> {
    let files = global.connect().await?.files();
    let mut listed = pin!(files.list(&args.prefix, PAGE_FILES));
    let (mut sums, mut shown) = (Sums::new(&args.prefix), Shown::new(&args, global.format));
    while let Some(file) = listed.next().await {
        let file = file.map_err(|error| Failure::reading(format_args!("list {:?}", args.prefix), &error))?;
        for sum in sums.add(&file.path, file.size, file.stored_size) {
            shown.show(&sum).await?;
        }
    }
    for sum in sums.finish() {
        shown.show(&sum).await?;
    }
    shown.lines.flush().await?;
    Ok(Exit::Done)
}

/// What goes to stdout.
struct Shown {
    lines: Gathered,
    format: Format,
    max_depth: usize,
    human_readable: bool,
    any: bool,
}

impl Shown {
    fn new(args: &Args, format: Format) -> Self {
        let max_depth = args.max_depth.unwrap_or(usize::MAX);
        Self { lines: Gathered::default(), format, max_depth, human_readable: args.human_readable, any: false }
    }

    async fn show(&mut self, sum: &Sum) -> Result<(), Failure> {
        if sum.depth > self.max_depth {
            return Ok(());
        }
        if self.format == Format::Text && !std::mem::replace(&mut self.any, true) {
            output::say(format_args!("{:>14} {:>14} {:>10}  PATH", "SIZE", "STORED", "FILES"));
        }
        self.lines.answer(self.format, &Row::new(sum, self.human_readable)).await
    }
}

/// A sum as the tool shows it.
#[derive(Debug, Serialize)]
struct Row<'a> {
    path: &'a str,
    /// Bytes that the files hold.
    size: u64,
    /// Bytes that their plain files take.
    stored_size: u64,
    files: u64,
    #[serde(skip)]
    human_readable: bool,
}

impl<'a> Row<'a> {
    fn new(sum: &'a Sum, human_readable: bool) -> Self {
        let Sum { path, size, stored_size, files, .. } = sum;
        Self { path, size: *size, stored_size: *stored_size, files: *files, human_readable }
    }

    fn sized(&self, bytes: u64) -> String {
        if self.human_readable { units::human(bytes) } else { bytes.to_string() }
    }
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (size, stored) = (self.sized(self.size), self.sized(self.stored_size));
        // All files have a name too.
        let path = if self.path.is_empty() { "/" } else { self.path };
        write!(f, "{size:>14} {stored:>14} {:>10}  {path}", self.files)
    }
}

#[cfg(test)]
mod tests;
