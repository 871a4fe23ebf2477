//! `inkpot rm`: files, or everything below a directory.

use super::{
    failure::{Exit, Failure},
    global::GlobalArgs,
    ls::PAGE_FILES,
    output::{self, Format, Gathered},
    units,
};
use futures_util::StreamExt;
use inkpot_client::{ChangeOptions, Files};
use serde::Serialize;
use std::{
    fmt,
    io::{self, IsTerminal},
    pin::pin,
    thread,
};
use tokio::sync::oneshot;

/// Files that are counted before somebody is asked; where there are more, that is said.
const COUNTED_FILES: u64 = 10_000;

const AFTER_HELP: &str = "\
Examples:
  inkpot rm logs/app logs/web             these files
  inkpot rm -r logs/2025                  everything below logs/2025/, after a question
  inkpot rm -r --prefix logs/2025- --yes  every file whose path begins so: logs/2025-01/a, logs/2025-02
  inkpot rm -r logs/2025 --dry-run        what that would remove

Resuming:
  If it is interrupted, the same again removes the rest.";

/// Remove files
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Paths of the files below the tenant's root; with -r: of directories
    #[arg(required_unless_present = "all", value_name = "PATH")]
    paths: Vec<String>,
    /// Everything below the directories
    #[arg(short, long)]
    recursive: bool,
    /// PATH is the beginning of paths, as with `ls`, and no directory
    #[arg(long, requires = "recursive")]
    prefix: bool,
    /// All files, and uploads that are not finished
    #[arg(long, requires = "recursive", conflicts_with = "paths")]
    all: bool,
    /// Only if the file has this generation; with one path
    #[arg(long, conflicts_with = "recursive", value_name = "N")]
    if_generation: Option<u64>,
    /// Remove nothing; write the paths of what would be removed
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Ask nothing; without a terminal, -r needs this
    #[arg(short, long)]
    yes: bool,
}

impl Args {
    /// The beginnings of the paths that are to go.
    fn prefixes(&self) -> Result<Vec<String>, Failure> {
        if self.all {
            return Ok(vec![String::new()]);
        }
        let prefix = |path: &String| match path.trim_end_matches('/') {
            "" => Err(Failure::new(Exit::Usage, "an empty path would be all files; if that is meant: rm -r --all")),
            _ if self.prefix => Ok(path.clone()),
            directory => Ok(format!("{directory}/")),
        };
        self.paths.iter().map(prefix).collect()
    }
}

/// A file that was, or would be, removed.
#[derive(Debug, Serialize)]
struct Removed<'a> {
    path: &'a str,
    removed: bool,
}

impl fmt::Display for Removed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path)
    }
}

/// What was removed below a prefix.
#[derive(Debug, Serialize)]
struct Below<'a> {
    prefix: &'a str,
    removed: u64,
    removed_bytes: u64,
}

impl fmt::Display for Below<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { prefix, removed, removed_bytes } = self;
        write!(f, "{prefix}: {removed} files removed, {}", units::human(*removed_bytes))
    }
}

/// What is there to be removed, as far as it was counted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counted {
    files: u64,
    bytes: u64,
    more: bool,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.more { "more than " } else { "" };
        write!(f, "{more}{} files, {more}{}", self.files, units::human(self.bytes))
    }
}

async fn counted(files: &Files, prefix: &str) -> Result<Counted, Failure> {
    let mut counted = Counted::default();
    let mut listed = pin!(files.list(prefix, PAGE_FILES));
    while let Some(file) = listed.next().await {
        let file = file.map_err(|error| Failure::reading(format_args!("list {prefix:?}"), &error))?;
        if counted.files == COUNTED_FILES {
            counted.more = true;
            break;
        }
        counted.files += 1;
        counted.bytes += file.size;
    }
    Ok(counted)
}

/// Asks on the terminal. Only `y` and `yes` are a yes.
async fn agreed(question: String) -> Result<bool, Failure> {
    let (sender, receiver) = oneshot::channel();
    // Not joined: an interrupt does not wait for an answer.
    let asking = thread::Builder::new().name("question".to_owned()).spawn(move || {
        output::say(format_args!("{question} [y/N]"));
        let mut answer = String::new();
        let read = io::stdin().read_line(&mut answer).map(|_| answer);
        // Nobody waits for it any more where the tool was interrupted.
        let _ = sender.send(read);
    });
    asking.map_err(|error| Failure::error("cannot ask", error))?;
    let answer = receiver.await.map_err(|error| Failure::error("cannot ask", error))?;
    let answer = answer.map_err(|error| Failure::error("cannot read the answer", error))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Runs `inkpot rm`.
pub(crate) async fn run(global: &GlobalArgs, args: Args) -> Result<Exit, Failure> {
    if args.if_generation.is_some() && args.paths.len() > 1 {
        return Err(Failure::new(Exit::Usage, "--if-generation is that of one file: give one path"));
    }
    let prefixes = if args.recursive { Some(args.prefixes()?) } else { None };
    let files = global.connect().await?.files();
    let mut exit = Exit::Done;
    match prefixes {
        Some(prefixes) => {
            for prefix in prefixes {
                exit = exit.after(remove_below(&files, global.format, &prefix, &args).await);
            }
        }
        None => {
            for path in &args.paths {
                exit = exit.after(remove(&files, global.format, path, &args).await);
            }
        }
    }
    Ok(exit)
}

async fn remove(files: &Files, format: Format, path: &str, args: &Args) -> Result<(), Failure> {
    if args.dry_run {
        files.stat(path).await.map_err(|error| Failure::reading(path, &error))?;
    } else {
        let options = ChangeOptions { if_generation: args.if_generation, ..ChangeOptions::default() };
        files.delete(path, options).await.map_err(|error| Failure::writing(path, &error))?;
    }
    output::answer(format, &Removed { path, removed: !args.dry_run }).await
}

async fn remove_below(files: &Files, format: Format, prefix: &str, args: &Args) -> Result<(), Failure> {
    if args.dry_run {
        return list_below(files, format, prefix).await;
    }
    let shown = if prefix.is_empty() { "everything" } else { prefix };
    if !args.yes && !agreed_to(files, prefix, shown).await? {
        return Err(Failure::new(Exit::Error, format!("{shown}: nothing was removed")));
    }
    let bar = output::spinner();
    let (mut removed, mut removed_bytes) = (0, 0);
    let mut steps = pin!(files.delete_prefix(prefix, PAGE_FILES));
    let ended = loop {
        match steps.next().await {
            None => break Ok(()),
            Some(Err(error)) => break Err(error),
            Some(Ok(step)) => {
                removed += u64::from(step.deleted);
                removed_bytes += step.deleted_bytes;
                bar.set_message(format!("{shown}: {removed} files removed"));
            }
        }
    };
    bar.finish_and_clear();
    let told = output::answer(format, &Below { prefix, removed, removed_bytes }).await;
    ended.map_err(|error| {
        let advice = if error.retryable() { "; the same again removes the rest" } else { "" };
        Failure::writing(shown, &error).with_advice(advice)
    })?;
    told
}

/// Whether somebody at the terminal says so.
async fn agreed_to(files: &Files, prefix: &str, shown: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let words = format!("{shown}: nobody can be asked without a terminal; give --yes if it is meant");
        return Err(Failure::new(Exit::Usage, words));
    }
    let counted = counted(files, prefix).await?;
    agreed(format!("Remove {shown} ({counted})?")).await
}

async fn list_below(files: &Files, format: Format, prefix: &str) -> Result<(), Failure> {
    let mut lines = Gathered::default();
    let mut listed = pin!(files.list(prefix, PAGE_FILES));
    while let Some(file) = listed.next().await {
        let file = file.map_err(|error| Failure::reading(format_args!("list {prefix:?}"), &error))?;
        lines.answer(format, &Removed { path: &file.path, removed: false }).await?;
    }
    lines.flush().await
}

#[cfg(test)]
mod tests;
