//! `inkpot tail`: the last lines of a file, and with `-f` what comes later. Following goes on over lost connections
//! from the byte where it stopped.

use super::{
    cat,
    failure::{Exit, Failure},
    global::GlobalArgs,
    output,
};
use futures_util::StreamExt;
use inkpot_client::{Error, Files, ReadOptions};
use inkpot_proto::v1::ErrorReason;
use std::{pin::pin, time::Duration};

/// Bytes looked at in one step backwards.
const STEP_BYTES: u64 = 256 << 10;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

const AFTER_HELP: &str = "\
Examples:
  inkpot tail -f logs/app                    the last 10 lines, and what comes later, over restarts of the server
  inkpot tail -f -n 0 logs/app               only what comes later
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
    /// Stay, and write what is committed later; a file that does not exist yet is waited for
    #[arg(short, long)]
    follow: bool,
}

/// Runs `inkpot tail`.
pub(crate) async fn run(global: &GlobalArgs, args: Args) -> Result<Exit, Failure> {
    let files = global.connect().await?.files();
    let failed = |error: &Error| Failure::reading(&args.path, error);
    let (start, end) = match files.stat(&args.path).await {
        Ok(file) => (last_lines(&files, &args.path, file.size, args.lines).await.map_err(|e| failed(&e))?, file.size),
        Err(error) if args.follow && error.reason() == Some(ErrorReason::FileNotFound) => (0, 0),
        Err(error) => return Err(failed(&error)),
    };
    if args.follow {
        return follow(&files, &args.path, start).await;
    }
    if start < end {
        let options = ReadOptions { offset: signed(start), limit: end - start, follow: false };
        if let Some(error) = cat::copy(&files, &args.path, options, &mut None).await? {
            return Err(failed(&error));
        }
    }
    Ok(Exit::Done)
}

/// Writes everything from `at` on, for ever.
async fn follow(files: &Files, path: &str, mut at: u64) -> Result<Exit, Failure> {
    let mut pause = FIRST_PAUSE;
    loop {
        let mut reached = Some(at);
        let options = ReadOptions { offset: signed(at), limit: 0, follow: true };
        let error = cat::copy(files, path, options, &mut reached).await?;
        if let Some(error) = error.as_ref().filter(|error| !error.retryable()) {
            return Err(Failure::reading(format_args!("{path} at byte {at}"), error));
        }
        let moved = reached.is_some_and(|reached| reached > at);
        at = reached.unwrap_or(at);
        if moved || pause == FIRST_PAUSE {
            let why = error.map_or_else(|| "the server ended the read".to_owned(), |error| error.to_string());
            output::say(format_args!("inkpot: {why}; trying again from byte {at}"));
        }
        pause = if moved { FIRST_PAUSE } else { pause };
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
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
