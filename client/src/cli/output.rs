//! Answers and words: JSON or text on stdout, words and progress on stderr, progress only on a terminal.

use super::failure::Failure;
use bytes::Bytes;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use inkpot_proto::v1::Durability;
use serde::Serialize;
use std::{
    fmt::Display,
    io::{self, Write},
    mem,
    time::Duration,
};
use tokio::task;

/// Answers that are gathered before they are written, in bytes: little to wait for, and few writes.
const GATHERED_BYTES: usize = 32 << 10;

/// Form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One JSON object, or one a line where there are many.
    Json,
}

/// A level of durability, as an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Level {
    /// Survives the death of the server process, not power loss
    Written,
    /// Survives power loss of the machine
    Synced,
}

impl From<Level> for Durability {
    fn from(level: Level) -> Self {
        match level {
            Level::Written => Self::Written,
            Level::Synced => Self::Synced,
        }
    }
}

/// A level as it stands in answers.
pub(crate) fn level_name(level: Durability) -> &'static str {
    level.as_str_name().trim_start_matches("DURABILITY_")
}

/// Writes a line of words to stderr. That nobody reads them is no failure.
pub(crate) fn say(words: impl Display) {
    let _ = writeln!(io::stderr(), "{words}");
}

/// Writes data to stdout at once.
pub(crate) fn emit(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| Failure::output(&error))
}

/// As [`emit`], but a reader who takes nothing keeps no interrupt waiting: it is another thread that is stuck then.
pub(crate) async fn emit_aside(bytes: Bytes) -> Result<(), Failure> {
    let written = task::spawn_blocking(move || emit(&bytes)).await;
    written.unwrap_or_else(|error| Err(Failure::error("cannot write to stdout", error)))
}

/// Writes a line to stdout at once.
pub(crate) fn emit_line(line: impl Display) -> Result<(), Failure> {
    emit(format!("{line}\n").as_bytes())
}

/// Writes one JSON object, on one line, at once.
pub(crate) fn emit_json(value: &impl Serialize) -> Result<(), Failure> {
    emit_line(json(value)?)
}

/// Writes an answer in the form that was asked for, at once. For what the system's own handling of signals ends.
pub(crate) fn answer_now(format: Format, value: &(impl Display + Serialize)) -> Result<(), Failure> {
    emit(answered(format, value)?.as_bytes())
}

/// As [`answer_now`], but as [`emit_aside`] does it.
pub(crate) async fn answer(format: Format, value: &(impl Display + Serialize)) -> Result<(), Failure> {
    emit_aside(answered(format, value)?.into()).await
}

fn answered(format: Format, value: &(impl Display + Serialize)) -> Result<String, Failure> {
    Ok(match format {
        Format::Json => json(value)? + "\n",
        Format::Text => format!("{value}\n"),
    })
}

fn json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::error("cannot encode the answer", error))
}

/// Many answers for stdout, gathered so that not each of them costs a write, and written as [`emit_aside`] does it.
#[derive(Debug, Default)]
pub(crate) struct Gathered(String);

impl Gathered {
    /// Adds an answer.
    pub(crate) async fn answer(&mut self, format: Format, value: &(impl Display + Serialize)) -> Result<(), Failure> {
        self.0 += &answered(format, value)?;
        if self.0.len() >= GATHERED_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Writes what has been gathered.
    pub(crate) async fn flush(&mut self) -> Result<(), Failure> {
        if self.0.is_empty() {
            return Ok(());
        }
        emit_aside(mem::take(&mut self.0).into()).await
    }
}

/// A line of progress on stderr that nobody sees unless stderr is a terminal.
pub(crate) fn spinner() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        bar.set_style(style);
    }
    if !bar.is_hidden() {
        bar.enable_steady_tick(Duration::from_millis(125));
    }
    bar
}

/// Progress of a transfer of so many bytes, if that is known; seen like [`spinner`].
pub(crate) fn transfer(bytes: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(bytes, ProgressDrawTarget::stderr_with_hz(8));
    let template = match bytes {
        Some(_) => {
            "{wide_bar} {percent:>3}%  {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left"
        }
        None => "{spinner} {elapsed} {binary_bytes}, {binary_bytes_per_sec}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
