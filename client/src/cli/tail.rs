//! `inkpot tail`: the last lines of a file, and with `-f` what comes later, for ever.

use super::{
    cat,
    failure::{Exit, Failure},
    global::GlobalArgs,
    output,
};
use futures_util::StreamExt;
use inkpot_client::{Error, Files, ReadOptions, TailOptions};
use inkpot_proto::v1::{ErrorReason, Transition};
use std::{pin::pin, time::Duration};

/// Bytes looked at in one step backwards.
const STEP_BYTES: u64 = 256 << 10;

const AFTER_HELP: &str = "\
Examples:
  inkpot tail -f logs/app                    the last 10 lines, and what comes later, over restarts of the server
  inkpot tail -f -n 0 logs/app               only what comes later
  inkpot tail -F logs/app                    the same, and over rotation, replacement and removal: what is at the path
  inkpot tail -n 1000 logs/app | grep ERROR  among more of them";

/// Write the last lines of a file to stdout
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Path of the file below the tenant's root
    path: String,
    /// How many lines
    #[arg(short = 'n', long, default_value_t = 10, value_name = "LINES")]
    lines: u64,
    /// Stay, and write what is committed later; a file that does not exist yet is waited for. Ends with the content: when
    /// it is rotated, replaced or removed
    #[arg(short, long)]
    follow: bool,
    /// As -f, but with whatever is at the path: stderr tells of rotation, replacement, removal, and of a new file
    #[arg(short = 'F', long, conflicts_with = "follow")]
    follow_path: bool,
}

impl Args {
    fn follows(&self) -> bool {
        self.follow || self.follow_path
    }
}

/// Runs `inkpot tail`.
pub(crate) async fn run(global: &GlobalArgs, args: Args) -> Result<Exit, Failure> {
    let target = global.target()?;
    // One who follows waits for the server, however long it is gone.
    let files = target.connect(target.builder()?.give_up_after(Duration::MAX)).await?.files();
    let failed = |error: &Error| Failure::reading(&args.path, error);
    let (start, end) = match files.stat(&args.path).await {
        Ok(file) => (last_lines(&files, &args.path, file.size, args.lines).await.map_err(|e| failed(&e))?, file.size),
        Err(error) if args.follows() && error.reason() == Some(ErrorReason::FileNotFound) => (0, 0),
        Err(error) => return Err(failed(&error)),
    };
    if args.follows() {
        return follow(&files, &args.path, start, args.follow_path).await;
    }
    if start < end {
        let options = ReadOptions { offset: signed(start), limit: end - start, follow: false };
        if let Some(error) = cat::copy(files.read(&args.path, options), &mut None).await? {
            return Err(failed(&error));
        }
    }
    Ok(Exit::Done)
}

/// Writes everything from `start` on. Ends with what following cannot get over, and with the content unless it is the path
/// that is followed.
async fn follow(files: &Files, path: &str, start: u64, whatever_is_there: bool) -> Result<Exit, Failure> {
    let options = TailOptions { offset: signed(start), if_generation: None };
    let mut told = None;
    let mut tail = files.tail(path, options).on_retry(move |why, at| {
        let at = at.unwrap_or(start);
        // Once for each place, however often it is tried there.
        if told.replace(at) != Some(at) {
            output::say(format_args!("inkpot: {why}; trying again from byte {at}"));
        }
    });
    let mut at = start;
    while let Some(piece) = tail.next().await {
        let failed = |error: &Error| Failure::reading(format_args!("{path} at byte {at}"), error);
        let piece = piece.map_err(|error| failed(&error))?;
        let transition = piece.transition();
        if transition == Transition::Unspecified {
            at = piece.offset + piece.data.len() as u64;
            output::emit_aside(piece.data).await?;
            continue;
        }
        if !whatever_is_there && let Some(ended) = ended(path, transition) {
            return Err(ended);
        }
        output::say(format_args!("inkpot: {path}: {}", became(transition, piece.generation)));
        at = 0;
    }
    Ok(Exit::Done)
}

/// What became of a file, in words. What is shown after that has this generation; 0: it is not known yet.
fn became(transition: Transition, generation: u64) -> String {
    let words = match transition {
        Transition::Rotated => "rotated; going on with the new one",
        Transition::Replaced => "replaced; going on with the new one, from its beginning",
        Transition::Deleted => return "removed; waiting for a new file".to_owned(),
        Transition::Created => "there is a new file",
        Transition::Unspecified => "it is the same file",
    };
    if generation == 0 { words.to_owned() } else { format!("{words}, generation {generation}") }
}

/// How one ends who follows the content alone; nothing where there was none before.
fn ended(path: &str, transition: Transition) -> Option<Failure> {
    let (exit, why) = match transition {
        Transition::Created | Transition::Unspecified => return None,
        // It was shown to its end.
        Transition::Rotated => (Exit::Done, "rotated; tail -F goes on with the new one"),
        Transition::Replaced => (Exit::Error, "replaced; tail -F goes on with the new one"),
        Transition::Deleted => (Exit::Error, "removed; tail -F waits for a new one"),
    };
    Some(Failure::new(exit, format!("{path}: {why}")))
}

/// Offsets fit: the server counts them as i64 too.
fn signed(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

/// Where the last `lines` lines of the first `size` bytes begin. Goes backwards, and holds one step at a time.
async fn last_lines(files: &Files, path: &str, size: u64, lines: u64) -> Result<u64, Error> {
    let mut search = Backwards::new(size, lines);
    while search.found.is_none() {
        let start = search.before.saturating_sub(STEP_BYTES);
        let mut step = Vec::new();
        let options = ReadOptions { offset: signed(start), limit: search.before - start, follow: false };
        let mut pieces = pin!(files.read(path, options));
        while let Some(piece) = pieces.next().await {
            step.extend_from_slice(&piece?.data);
        }
        search.step(start, &step);
    }
    Ok(search.found.unwrap_or(0))
}

/// Looks for the beginning of the last lines, from the end on.
#[derive(Debug)]
struct Backwards {
    /// Newlines still to be passed. The one that ends the last line is not counted.
    left: u64,
    size: u64,
    /// Everything from here on has been looked at.
    before: u64,
    found: Option<u64>,
}

impl Backwards {
    fn new(size: u64, lines: u64) -> Self {
        let found = if lines == 0 || size == 0 { Some(size) } else { None };
        Self { left: lines, size, before: size, found }
    }

    /// Takes the bytes in `[start, before)`.
    fn step(&mut self, start: u64, bytes: &[u8]) {
        let newlines = bytes.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
        for line in newlines.map(|(at, _)| start + at as u64 + 1).filter(|line| *line < self.size) {
            self.left -= 1;
            if self.left == 0 {
                self.found = Some(line);
                return;
            }
        }
        self.before = start;
        if start == 0 {
            self.found = Some(0);
        }
    }
}

#[cfg(test)]
mod tests;
