//! `inkpot get`: a file, or a part of it, becomes a local file. It has another name until it is complete and verified.

mod part;
mod stdout;

use super::{
    checksum,
    failure::{Exit, Failure},
    global::GlobalArgs,
    interrupt::Interrupts,
    output,
    range::Range,
    units,
};
use inkpot_client::{DownloadOptions, Downloaded, Error, ErrorReason, FileInfo, Files, Transferred};
use part::Part;
use serde::Serialize;
use std::{
    fmt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use stdout::Stdout;
use tokio::io::AsyncWrite;

const AFTER_HELP: &str = "\
Examples:
  inkpot get archive/backup.tar                ./backup.tar, verified by its crc32c
  inkpot get archive/backup.tar /srv --resume  goes on with what an earlier run has left in /srv
  inkpot get logs/app - --range -1000          the last 1000 bytes, to stdout
  inkpot get prices.csv prices.csv --force     takes the place of the local file, whole";

/// Fetch a file, or a part of it, into a local file
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Path of the file below the tenant's root
    path: String,
    /// The local file, or a directory for it, or - for stdout; without it: the last part of the path, in this directory
    #[arg(value_name = "LOCAL|-")]
    local: Option<PathBuf>,
    /// Go on with what an earlier run has left, if the file is still of the same generation
    #[arg(long, conflicts_with = "range")]
    resume: bool,
    /// Only these bytes, both ends included, as in HTTP: 0-99, 100-, -100
    #[arg(long, allow_hyphen_values = true, value_name = "A-B")]
    range: Option<Range>,
    /// Take the place of a local file that is there; without it that is refused
    #[arg(short, long)]
    force: bool,
    /// Give up after this long without progress; until then server restarts are ridden through
    #[arg(long, default_value = "60s", value_parser = units::some_time, value_name = "TIME")]
    give_up_after: Duration,
}

impl Args {
    /// The local file; `None`: stdout.
    fn local(&self) -> Option<PathBuf> {
        let name = Path::new(self.path.rsplit('/').next().unwrap_or_default());
        match &self.local {
            None => Some(name.to_owned()),
            Some(local) if local == Path::new("-") => None,
            Some(local) if local.is_dir() => Some(local.join(name)),
            Some(local) => Some(local.clone()),
        }
    }
}

/// Runs `inkpot get`.
pub(crate) async fn run(global: &GlobalArgs, args: Args) -> Result<Exit, Failure> {
    let (interrupts, started) = (Interrupts::watch()?, Instant::now());
    let local = args.local();
    if let Some(local) = &local {
        part::refuse_to_overwrite(local, args.force)?;
    }
    let get = interrupts.or("interrupted", Get::new(global, &args)).await?;
    let Some(local) = local else { return interrupts.or("interrupted", get.to_stdout()).await };
    let mut part = Part::open(&local, get.file.generation, args.resume.then_some(get.end)).await?;
    let resumed_at = part.len;
    let got = interrupts.or("interrupted", get.to_part(&mut part)).await;
    match got {
        Ok(verified) => {
            part.publish(&local, args.force).await?;
            let summary = get.summary(&local, resumed_at, verified, started.elapsed());
            interrupts.or("interrupted; it is there", output::answer(global.format, &summary)).await?;
            Ok(Exit::Done)
        }
        Err(failure) if args.range.is_some() => {
            part.discard();
            Err(failure)
        }
        Err(failure) => Err(part.left(failure).await),
    }
}

/// A run: what is fetched of which file.
struct Get {
    files: Files,
    path: String,
    file: FileInfo,
    /// First byte, and the one after the last.
    start: u64,
    end: u64,
}

impl Get {
    async fn new(global: &GlobalArgs, args: &Args) -> Result<Self, Failure> {
        let target = global.target()?;
        let files = target.connect(target.builder()?.give_up_after(args.give_up_after)).await?.files();
        let file = files.stat(&args.path).await.map_err(|error| Failure::reading(&args.path, &error))?;
        let (start, end) =
            args.range.map_or(Some((0, file.size)), |range| range.within(file.size)).ok_or_else(|| {
                let words = format!("{}: the range begins behind the end, which is at byte {}", args.path, file.size);
                Failure::new(Exit::Error, words)
            })?;
        Ok(Self { files, path: args.path.clone(), file, start, end })
    }

    /// Fetches what begins at `offset`.
    async fn fetch(
        &self,
        out: &mut (impl AsyncWrite + Unpin + Send),
        offset: u64,
    ) -> Result<Option<Downloaded>, Error> {
        if offset == self.end {
            return Ok(None);
        }
        let options = DownloadOptions {
            offset,
            limit: self.end - offset,
            // The whole is, with what an earlier run has left.
            verify: false,
            if_generation: Some(self.file.generation),
        };
        let bar = output::transfer(Some(self.end - self.start));
        let before = offset - self.start;
        let show = |transferred: Transferred| bar.set_position(before + transferred.done);
        let downloaded = self.files.download(&self.path, out, options, show).await;
        bar.finish_and_clear();
        downloaded.map(Some)
    }

    async fn to_stdout(&self) -> Result<Exit, Failure> {
        let mut out = Stdout::new();
        let fetched = self.fetch(&mut out, self.start).await;
        if let Some(error) = out.failed() {
            return Err(Failure::output(&error));
        }
        let crc32c = fetched.map_err(|error| self.failure(&error))?.map_or(0, |downloaded| downloaded.crc32c);
        self.verify(crc32c).map(|_| Exit::Done)
    }

    /// Gives whether it is verified.
    async fn to_part(&self, part: &mut Part) -> Result<bool, Failure> {
        let before = (part.crc32c, part.len);
        let fetched = self.fetch(&mut part.file, self.start + part.len).await.map_err(|error| {
            part.is_useless |= error.reason() == Some(ErrorReason::GenerationChanged);
            self.failure(&error)
        })?;
        let crc32c = fetched.map_or(before.0, |downloaded| {
            let bytes = usize::try_from(downloaded.size).unwrap_or(usize::MAX);
            crc32c::crc32c_combine(before.0, downloaded.crc32c, bytes)
        });
        self.verify(crc32c).inspect_err(|_| part.is_useless = true)
    }

    /// Whether the bytes are known to be those of the file: not if they are a part of it, or the server does not know.
    ///
    /// # Errors
    /// They are others.
    fn verify(&self, crc32c: u32) -> Result<bool, Failure> {
        let whole = self.start == 0 && self.end == self.file.size;
        match self.file.crc32c.filter(|_| whole) {
            None => Ok(false),
            Some(expected) if expected == crc32c => Ok(true),
            Some(expected) => {
                let (expected, found) = (checksum::hex(expected), checksum::hex(crc32c));
                let words = format!("{}: what came has the crc32c {found}, the file has {expected}", self.path);
                Err(Failure::new(Exit::Error, words).with_advice("; get it again without --resume"))
            }
        }
    }

    fn failure(&self, error: &Error) -> Failure {
        let failure = Failure::reading(&self.path, error);
        match error.reason() {
            Some(ErrorReason::GenerationChanged) => failure.with_advice("; get it again"),
            _ => failure,
        }
    }

    fn summary<'a>(&'a self, local: &'a Path, resumed_at: u64, verified: bool, elapsed: Duration) -> Summary<'a> {
        Summary {
            path: &self.path,
            local,
            size: self.end - self.start,
            crc32c: self.file.crc32c.filter(|_| verified).map(checksum::hex),
            verified,
            generation: self.file.generation,
            resumed_at,
            seconds: elapsed.as_secs_f64(),
        }
    }
}

/// What was done.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    path: &'a str,
    local: &'a Path,
    /// Bytes of the local file.
    size: u64,
    crc32c: Option<String>,
    /// Whether the bytes have the crc32c that the server has for the whole file.
    verified: bool,
    generation: u64,
    /// Bytes that an earlier run had left.
    resumed_at: u64,
    seconds: f64,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, size, generation, resumed_at, seconds, .. } = self;
        write!(f, "{path} -> {}: {size} bytes, ", self.local.display())?;
        match &self.crc32c {
            Some(crc32c) => write!(f, "verified by crc32c {crc32c}")?,
            None => f.write_str("not verified")?,
        }
        write!(f, ", generation {generation}, {seconds:.1} s")?;
        if *resumed_at > 0 { write!(f, "; {resumed_at} bytes were there from an earlier run") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
