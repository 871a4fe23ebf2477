//! Arguments of `inkpot put`.

use crate::cli::{
    checksum,
    failure::{Exit, Failure},
    local::{Condition, Local},
    target::Target,
    units,
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

const AFTER_HELP: &str = "\
Examples:
  inkpot put backup.tar archive/                appears as archive/backup.tar, whole or not at all
  inkpot put prices.csv prices.csv --if-absent  status 5 if there is such a file
  pg_dump db | inkpot put - dumps/db.sql        of unknown size; it cannot be resumed
  inkpot put backup.tar archive/ --abort        discard what was sent of it
  inkpot put a.bin set/a.bin --leave-open       for a set that CommitFiles publishes later

Resuming:
  Until the end nobody sees any of the file. After Ctrl-C, a kill or a lost server the same command goes on.
  What was sent of a local file that has changed since is not gone on with; it expires.";

/// Send a local file, which appears as a whole
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The local file, or - for stdin
    #[arg(value_name = "LOCAL|-")]
    pub(super) local: PathBuf,
    /// Path that it will have; if it ends with /, the name of the local file comes behind it
    #[arg(value_name = "PATH")]
    path: String,
    /// Only if there is no file at the path; without it one that is there is replaced
    #[arg(long, conflicts_with = "if_generation")]
    pub(super) if_absent: bool,
    /// Only if the file at the path has this generation
    #[arg(long, value_name = "N")]
    pub(super) if_generation: Option<u64>,
    /// Name of the upload; without it: one that is the same for the same server, path, condition and unchanged local file
    #[arg(long, value_name = "ID")]
    producer: Option<String>,
    /// Begin anew, whatever was sent before
    #[arg(long, visible_alias = "no-resume")]
    pub(super) restart: bool,
    /// Discard the upload that was left open, and send nothing
    #[arg(long, conflicts_with_all = ["restart", "leave_open", "checksum"])]
    pub(super) abort: bool,
    /// crc32c that the whole must have, or auto: the server compares it with what was read here
    #[arg(long, default_value = "auto", value_parser = expected, value_name = "HEX|auto")]
    pub(super) checksum: Expected,
    /// Publish nothing: leave the upload to a set, under its name
    #[arg(long)]
    pub(super) leave_open: bool,
    /// Bytes of one append
    #[arg(long, default_value = "1MiB", value_parser = units::some_bytes, value_name = "BYTES")]
    pub(super) chunk_size: usize,
    /// Give up after this long without progress; until then server restarts are ridden through
    #[arg(long, default_value = "60s", value_parser = units::some_time, value_name = "TIME")]
    pub(super) give_up_after: Duration,
}

/// Which checksum the whole must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// That of what was read.
    Read,
    /// This one.
    Given(u32),
}

impl Expected {
    /// What the server is to check of an upload of `size` bytes. What was read here the library knows by itself.
    pub(super) fn of_size(self, size: u64) -> inkpot_client::Expected {
        let crc32c = match self {
            Self::Read => None,
            Self::Given(crc32c) => Some(crc32c),
        };
        inkpot_client::Expected { size: Some(size), crc32c }
    }

    /// Compares it with what was sent, where no server does.
    ///
    /// # Errors
    /// They are not equal.
    pub(super) fn check(self, path: &str, sent: Option<u32>) -> Result<(), Failure> {
        match (self, sent) {
            (Self::Given(given), Some(sent)) if given != sent => {
                let (given, sent) = (checksum::hex(given), checksum::hex(sent));
                let words = format!(
                    "{path}: what was sent has the crc32c {sent} and not {given}; the upload is left open: --abort \
                     discards it"
                );
                Err(Failure::new(Exit::Error, words))
            }
            _ => Ok(()),
        }
    }
}

fn expected(text: &str) -> Result<Expected, String> {
    if text == "auto" { Ok(Expected::Read) } else { checksum::parse(text).map(Expected::Given) }
}

/// Where the bytes come from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    Stdin,
    /// A pipe or a device: read once, like stdin.
    Stream(PathBuf),
    File(Local),
}

impl Args {
    pub(super) fn source(&self) -> Result<Source, Failure> {
        if self.local == Path::new("-") {
            return Ok(Source::Stdin);
        }
        Ok(Local::look(&self.local)?.map_or_else(|| Source::Stream(self.local.clone()), Source::File))
    }

    /// Path that the file will have.
    pub(super) fn path(&self) -> String {
        let name = self.local.file_name().unwrap_or_default().to_string_lossy();
        if self.path.ends_with('/') && name != "-" { format!("{}{name}", self.path) } else { self.path.clone() }
    }

    fn condition(&self) -> Condition {
        match self.if_generation {
            Some(generation) => Condition::Generation(generation),
            None if self.if_absent => Condition::Absent,
            None => Condition::None,
        }
    }

    /// The name of the upload; `None`: nobody can find it again.
    pub(super) fn producer(&self, source: &Source, target: &Target) -> Option<String> {
        let stable = || match source {
            Source::File(local) => Some(local.producer(&target.endpoint, &self.path(), self.condition())),
            Source::Stdin | Source::Stream(_) => None,
        };
        self.producer.clone().or_else(stable)
    }
}

#[cfg(test)]
mod tests;
