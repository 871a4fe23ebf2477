//! Answers and words: JSON or text on stdout, words and progress on stderr, progress only on a terminal.

use super::failure::Failure;
use bytes::Bytes;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use inkpot_proto::v1::Durability;
use serde::Serialize;
use std::{
    fmt::Display,
    io::{self, Write},
    time::Duration,
};
use tokio::task;

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

/// Writes a line to stdout.
pub(crate) fn emit_line(line: impl Display) -> Result<(), Failure> {
    emit(format!("{line}\n").as_bytes())
}

/// Writes one JSON object, on one line.
pub(crate) fn emit_json(value: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string(value).map_err(|error| Failure::error("cannot encode the answer", error))?;
    emit_line(json)
}

/// Writes an answer in the form that was asked for.
pub(crate) fn answer(format: Format, value: &(impl Display + Serialize)) -> Result<(), Failure> {
    match format {
        Format::Json => emit_json(value),
        Format::Text => emit_line(value),
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
