//! `inkpot verify`: whether the plain files hold what was committed.

use super::{
    checksum,
    failure::{Exit, Failure},
    global::GlobalArgs,
    output::{self, Format},
    units,
};
use futures_util::StreamExt;
use indicatif::ProgressBar;
use inkpot_client::Files;
use inkpot_proto::v1::{DamagedFile, VerifyResponse};
use serde::Serialize;
use std::{fmt, pin::pin};

const AFTER_HELP: &str = "\
Examples:
  inkpot verify                         every file: is what is on the disk what was committed?
  inkpot verify logs/ exports/july.csv  all files whose path begins with one of these
  inkpot verify --output json           a JSON object for each damaged file, and one that sums up

What is wrong:
  missing     the plain file is not there
  truncated   it is shorter than what was brought to it
  changed     another program wrote to it, or put something else in its place
  rotten      it holds other bytes, and nobody wrote to it: the disk did not keep them
  unreadable  the disk does not give its bytes
  unknown     a plain file that the service does not know: another program put it there, or a repair gave up what was
              known of it; `inkpot adopt` takes it. This alone is no reason for an exit status

How:
  Only damaged and unknown files are shown, a line each, and a summary in the last line. Nothing is changed.
  The server reads from the disk, and rests to leave it to writes (keeper.pause). Files may be written to meanwhile.";

/// Hold plain files against their checksums
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Beginnings of paths; without any: all files
    #[arg(value_name = "PATH|PREFIX")]
    prefixes: Vec<String>,
}

/// A damaged file as the tool shows it.
#[derive(Debug, Serialize)]
struct Damaged {
    path: String,
    damage: String,
    generation: u64,
    expected_size: u64,
    found_size: Option<u64>,
    expected_crc32c: Option<String>,
    found_crc32c: Option<String>,
    detail: String,
}

impl From<DamagedFile> for Damaged {
    fn from(file: DamagedFile) -> Self {
        let damage = file.damage().as_str_name().trim_start_matches("DAMAGE_").to_lowercase();
        Self {
            path: file.path,
            damage,
            generation: file.generation,
            expected_size: file.expected_size,
            found_size: file.found_size,
            expected_crc32c: file.expected_crc32c.map(checksum::hex),
            found_crc32c: file.found_crc32c.map(checksum::hex),
            detail: file.detail,
        }
    }
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, damage, expected_size, detail, .. } = self;
        let crc32c = |known: &Option<String>| known.clone().unwrap_or_else(|| "unknown".to_owned());
        write!(f, "{path}: {damage}: wanted {expected_size} bytes, crc32c {}; found ", crc32c(&self.expected_crc32c))?;
        match self.found_size {
            Some(size) => write!(f, "{size} bytes, crc32c {}", crc32c(&self.found_crc32c))?,
            None => f.write_str("none to compare")?,
        }
        write!(f, "; {detail}")
    }
}

/// A file that the service does not know, as the tool shows it.
#[derive(Debug, Serialize)]
struct Unknown {
    path: String,
    damage: &'static str,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: the service has no such file", self.path, self.damage)
    }
}

/// What all of it came to.
#[derive(Debug, Default, Serialize)]
struct Sum {
    files: u64,
    bytes: u64,
    damaged: u64,
    without_checksum: u64,
    unsettled: u64,
    unknown: u64,
    staged: u64,
}

impl Sum {
    fn add(&mut self, step: &VerifyResponse) {
        self.files += step.files;
        self.bytes += step.bytes;
        self.without_checksum += step.without_checksum;
        self.unsettled += step.unsettled;
        self.unknown += step.unknown;
        self.staged += step.staged;
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, bytes, damaged, without_checksum, unsettled, unknown, staged } = self;
        write!(f, "{files} files verified, {bytes} bytes; {damaged} damaged")?;
        if *without_checksum > 0 {
            write!(f, "; {without_checksum} without a known checksum")?;
        }
        if *unsettled > 0 {
            write!(f, "; {unsettled} did not stand still")?;
        }
        if *unknown > 0 {
            write!(f, "; {unknown} unknown")?;
        }
        if *staged > 0 {
            write!(f, "; {staged} in staging (uploads that are not published), not looked at")?;
        }
        Ok(())
    }
}

/// Runs `inkpot verify`.
pub(crate) async fn run(global: &GlobalArgs, args: Args) -> Result<Exit, Failure> {
    let files = global.connect().await?.files();
    let prefixes = if args.prefixes.is_empty() { vec![String::new()] } else { args.prefixes };
    let (bar, mut sum, mut exit) = (output::spinner(), Sum::default(), Exit::Done);
    for prefix in prefixes {
        exit = exit.after(verify(&files, global.format, &prefix, &bar, &mut sum).await);
    }
    bar.finish_and_clear();
    if sum.damaged > 0 && exit == Exit::Done {
        exit = Exit::Error;
    }
    exit.told(output::answer(global.format, &sum).await)
}

async fn verify(files: &Files, format: Format, prefix: &str, bar: &ProgressBar, sum: &mut Sum) -> Result<(), Failure> {
    let mut steps = pin!(files.verify(prefix));
    let mut last = VerifyResponse::default();
    while let Some(step) = steps.next().await {
        last = step.map_err(|error| Failure::reading(format_args!("verify {prefix:?}"), &error))?;
        if let Some(damaged) = last.damaged.take() {
            sum.damaged += 1;
            bar.suspend(|| output::answer_now(format, &Damaged::from(damaged)))?;
        }
        if !last.unknown_path.is_empty() {
            let path = std::mem::take(&mut last.unknown_path);
            bar.suspend(|| output::answer_now(format, &Unknown { path, damage: "unknown" }))?;
        }
        let (bytes, damaged) = (units::human(sum.bytes + last.bytes), sum.damaged);
        bar.set_message(format!("{} files verified, {bytes}; {damaged} damaged", sum.files + last.files));
    }
    sum.add(&last);
    if last.files == 0 && last.unknown == 0 && !prefix.is_empty() {
        return Err(Failure::new(Exit::NotFound, format!("no file has a path that begins with {prefix:?}")));
    }
    Ok(())
}
