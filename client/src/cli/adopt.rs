//! `inkpot adopt`: plain files that another program changed or put there become files as they are.

use super::{
    failure::{Exit, Failure},
    global::GlobalArgs,
    ls::PAGE_FILES,
    output,
};
use futures_util::StreamExt;
use inkpot_client::AdoptOptions;
use serde::Serialize;
use std::{fmt, pin::pin};

const AFTER_HELP: &str = "\
Examples:
  inkpot adopt logs/app       after another program changed it: appends go on, as a new generation
  inkpot adopt -r imports     every plain file below imports/ that is not known yet
  inkpot adopt -r             the whole tree, for example after a move from another system";

/// Take plain files that another program changed or put there
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Path of the file below the tenant's root; with -r: of a directory, without it: everything
    #[arg(required_unless_present = "recursive", default_value = "", hide_default_value = true)]
    path: String,
    /// Everything below the directory
    #[arg(short, long)]
    recursive: bool,
}

/// What was taken.
#[derive(Debug, Default, Serialize)]
struct Adopted {
    path: String,
    adopted: u64,
    adopted_bytes: u64,
    /// How many could not be taken; stderr says which.
    not_adopted: u64,
}

impl fmt::Display for Adopted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { adopted, adopted_bytes, not_adopted, .. } = self;
        write!(f, "{adopted} files adopted, {adopted_bytes} bytes; {not_adopted} not adopted")
    }
}

/// Runs `inkpot adopt`.
pub(crate) async fn run(global: &GlobalArgs, args: Args) -> Result<Exit, Failure> {
    if args.path.is_empty() && !args.recursive {
        return Err(Failure::new(Exit::Usage, "an empty path is the whole tree; if that is meant: adopt -r"));
    }
    let files = global.connect().await?.files();
    let bar = output::spinner();
    let options = AdoptOptions { recursive: args.recursive, page_size: PAGE_FILES };
    let mut steps = pin!(files.adopt(args.path.trim_end_matches('/'), options));
    let mut sum = Adopted { path: args.path.clone(), ..Adopted::default() };
    while let Some(step) = steps.next().await {
        let step = step.map_err(|error| {
            let advice = if error.retryable() { "; the same again takes the rest" } else { "" };
            Failure::writing(&args.path, &error).with_advice(advice)
        })?;
        sum.adopted += u64::from(step.adopted);
        sum.adopted_bytes += step.adopted_bytes;
        sum.not_adopted += step.not_adopted.len() as u64;
        bar.suspend(|| {
            step.not_adopted.iter().for_each(|one| output::say(format_args!("inkpot: {}: {}", one.path, one.why)));
        });
        bar.set_message(format!("{} files adopted", sum.adopted));
    }
    bar.finish_and_clear();
    let exit = if sum.not_adopted == 0 { Exit::Done } else { Exit::Error };
    exit.told(output::answer(global.format, &sum).await)
}
