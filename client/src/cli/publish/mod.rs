//! `inkpot publish`: all files of a local directory appear together, or none of them does.

mod tree;

use super::{
    failure::{Exit, Failure},
    global::GlobalArgs,
    interrupt::Interrupts,
    local::Condition,
    output,
    send::Rest,
    units,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use indicatif::ProgressBar;
use inkpot_client::{Files, Outcome, Producer, Session, UploadMode, UploadOptions, UploadPart};
use serde::Serialize;
use std::{
    cell::Cell,
    fmt,
    path::PathBuf,
    time::{Duration, Instant},
};
use tree::Part;

const AFTER_HELP: &str = "\
Examples:
  inkpot publish site/ www                 every file of site/ below www/, all at once
  inkpot publish site/ www --replace       also where there are files already
  inkpot publish out/ sets/17 --parallel 16

Resuming:
  Until the end nobody sees any of the files. After Ctrl-C or a kill the same command goes on with what was sent.";

/// Send a local directory, whose files appear all together or not at all
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The local directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Directory that its files will have below the tenant's root; "" for the root itself
    prefix: String,
    /// Take the place of files that are there; without it one of them is enough for nothing to be published
    #[arg(long)]
    replace: bool,
    /// Files that are sent at the same time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64), value_name = "N")]
    parallel: u16,
    /// Give up after this long without progress; until then server restarts are ridden through
    #[arg(long, default_value = "60s", value_parser = units::some_time, value_name = "TIME")]
    give_up_after: Duration,
}

/// Runs `inkpot publish`.
pub(crate) async fn run(global: &GlobalArgs, args: Args) -> Result<Exit, Failure> {
    let (interrupts, started) = (Interrupts::watch()?, Instant::now());
    let target = global.target()?;
    let parts = tree::parts(&args.directory, &args.prefix)?;
    let client = target.connect(target.builder()?.give_up_after(args.give_up_after)).await?;
    let bytes = parts.iter().map(|part| part.local.size).sum();
    let sender = Sender {
        session: client.session().await,
        server: target.endpoint,
        mode: if args.replace { UploadMode::Replace } else { UploadMode::Create },
        bar: output::transfer(Some(bytes)),
    };
    let set = interrupts.or("interrupted", sender.send_all(&parts, args.parallel.into())).await;
    sender.bar.finish_and_clear();
    let kept = "; nothing was published, and what was sent is kept: the same command goes on with it";
    let set = set.map_err(|failure| failure.with_advice(kept))?;
    let in_doubt = "interrupted while the set was published: all of the files are or none; `inkpot ls` tells";
    let files = interrupts.or(in_doubt, commit(&client.files(), &args.prefix, set)).await?;
    let summary = Summary { prefix: args.prefix, bytes, seconds: started.elapsed().as_secs_f64(), files };
    interrupts.or("interrupted; the files are published", output::answer(global.format, &summary)).await?;
    Ok(Exit::Done)
}

/// What sends the files.
struct Sender {
    session: Session,
    server: String,
    mode: UploadMode,
    bar: ProgressBar,
}

impl Sender {
    /// Sends all files, some at a time; gives what the set is made of, in the order of the files.
    async fn send_all(&self, parts: &[Part], at_a_time: usize) -> Result<Vec<UploadPart>, Failure> {
        stream::iter(parts).map(|part| self.send(part)).buffered(at_a_time).try_collect().await
    }

    async fn send(&self, part: &Part) -> Result<UploadPart, Failure> {
        let Part { local, path } = part;
        let condition = if self.mode == UploadMode::Create { Condition::Absent } else { Condition::None };
        // The name that `put` would give it.
        let producer = Producer::Named { id: local.producer(&self.server, path, condition), epoch: None };
        let options = UploadOptions { mode: self.mode, producer, ..UploadOptions::default() };
        let failed = |error| Failure::writing(path, &error);
        let mut upload = self.session.upload(path, options).await.map_err(failed)?;
        let rest = Rest::of(local, &upload).await?;
        let before = Cell::new(0);
        rest.pour(&mut upload, |acked| self.bar.inc(acked.saturating_sub(before.replace(acked)))).await?;
        upload.leave_open().await.map_err(failed)
    }
}

async fn commit(files: &Files, prefix: &str, set: Vec<UploadPart>) -> Result<Vec<Published>, Failure> {
    let published: Vec<_> = set.iter().map(|part| (part.path.clone(), part.size)).collect();
    let generations = files.commit_files(set).await.map_err(|error| {
        let advice = match error.outcome() {
            Outcome::NotApplied => "; none of the files was published",
            _ => "; all of the files are published or none: `inkpot ls` tells",
        };
        Failure::writing(prefix, &error).with_advice(advice)
    })?;
    let with_generation = |((path, size), generation)| Published { path, size, generation };
    Ok(published.into_iter().zip(generations).map(with_generation).collect())
}

/// A file of the set.
#[derive(Debug, Serialize)]
struct Published {
    path: String,
    size: Option<u64>,
    generation: u64,
}

/// What was published.
#[derive(Debug, Serialize)]
struct Summary {
    prefix: String,
    bytes: u64,
    seconds: f64,
    files: Vec<Published>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { prefix, bytes, seconds, files } = self;
        write!(f, "{prefix}: {} files published, {bytes} bytes, {seconds:.1} s", files.len())
    }
}
