//! How the tool ends: its exit statuses, and the one place that turns an error of the library into one of them.

use inkpot_client::{Error, ErrorKind};
use inkpot_proto::v1::{ErrorReason, Outcome};
use std::{fmt::Display, io, process::ExitCode};

/// Exit statuses, as `--help` documents them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// Refused, or a failure of the transport or the machine.
    Error = 1,
    /// Wrong arguments.
    Usage = 2,
    /// Gave up, or of some records it is not known whether they were written.
    Unknown = 3,
    /// No such file.
    NotFound = 4,
    /// Interrupted.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why the tool ends early, in words for stderr. Without words nothing is said.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// A failure of the machine or of a child process.
    pub(crate) fn error(what: impl Display, error: impl Display) -> Self {
        Self::new(Exit::Error, format!("{what}: {error}"))
    }

    /// What stopped a request before it could change anything.
    pub(crate) fn reading(what: impl Display, error: &Error) -> Self {
        let exit = match (error.reason(), error.kind()) {
            (Some(ErrorReason::FileNotFound), _) => Exit::NotFound,
            (_, ErrorKind::GaveUp) => Exit::Unknown,
            _ => Exit::Error,
        };
        Self::new(exit, named(what, error))
    }

    /// What stopped a write: it matters whether the outcome is known.
    pub(crate) fn writing(what: impl Display, error: &Error) -> Self {
        let unknown = error.outcome() == Outcome::Unknown || error.kind() == ErrorKind::GaveUp;
        let exit = if unknown { Exit::Unknown } else { Exit::Error };
        Self::new(exit, named(what, error))
    }

    /// What stopped output to stdout. A reader that has seen enough is no failure.
    pub(crate) fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Exit::Done, ""),
            _ => Self::error("cannot write to stdout", error),
        }
    }

    /// Says it on stderr.
    pub(crate) fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            super::output::say(format_args!("inkpot: {}", self.message));
        }
        self.exit.into()
    }
}

/// The error with what it is about, unless it says that itself.
fn named(what: impl Display, error: &Error) -> String {
    let (what, error) = (what.to_string(), error.to_string());
    if error.contains(&what) { error } else { format!("{what}: {error}") }
}
