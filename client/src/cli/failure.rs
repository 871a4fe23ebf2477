//! How the tool ends: its exit statuses, and the one place that turns an error of the library into one of them.

use inkpot_client::{Error, ErrorKind};
use inkpot_proto::v1::{ErrorReason, Outcome};
use std::{fmt::Display, io, process::ExitCode};

/// Exit statuses. What they mean stands in [`Exit::MEANINGS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Done = 0,
    Error = 1,
    Usage = 2,
    Unknown = 3,
    NotFound = 4,
    Conflict = 5,
    Interrupted = 130,
}

impl Exit {
    /// Every status, as `--help` and the man pages document it.
    pub(crate) const MEANINGS: [(Self, &str); 7] = [
        (Self::Done, "done; of `append`: every record is acknowledged"),
        (
            Self::Error,
            "refused by the server, or it or this machine failed; of `health`: it does not serve; of `verify`: damage",
        ),
        (Self::Usage, "wrong arguments or settings"),
        (Self::Unknown, "gave up, or of some records it is not known whether they were written"),
        (Self::NotFound, "no such file"),
        (Self::Conflict, "nothing was changed: there is such a file already, or it has another generation"),
        (Self::Interrupted, "interrupted"),
    ];
}

impl Exit {
    /// How the tool ends after it has told, or tried to tell, of this end on stdout. Bad news stays bad where nobody
    /// reads it.
    pub(crate) fn told(self, told: Result<(), Failure>) -> Result<Self, Failure> {
        if self == Self::Done { told.map(|()| self) } else { Ok(self) }
    }

    /// How the tool ends after one of many: a failure is said at once and kept from the ones after it; the first one
    /// decides.
    pub(crate) fn after(self, one: Result<(), Failure>) -> Self {
        match one {
            Err(failure) => {
                failure.report();
                if self == Self::Done { failure.exit } else { self }
            }
            Ok(()) => self,
        }
    }
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
            (_, ErrorKind::Config) => Exit::Usage,
            _ => Exit::Error,
        };
        Self::new(exit, named(what, error))
    }

    /// What stopped a write or another change: it matters whether the outcome is known.
    pub(crate) fn writing(what: impl Display, error: &Error) -> Self {
        let exit = match (error.kind(), error.outcome(), error.reason()) {
            (ErrorKind::Config, ..) => Exit::Usage,
            (ErrorKind::GaveUp, ..) | (_, Outcome::Unknown, _) => Exit::Unknown,
            (.., Some(ErrorReason::FileNotFound | ErrorReason::UploadNotFound)) => Exit::NotFound,
            (.., Some(ErrorReason::FileExists | ErrorReason::GenerationChanged)) => Exit::Conflict,
            _ => Exit::Error,
        };
        Self::new(exit, named(what, error))
    }

    /// The same, with what may help.
    pub(crate) fn with_advice(mut self, advice: &str) -> Self {
        self.message.push_str(advice);
        self
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
