//! What went wrong, in terms that a caller can act on: why, and what became of the write.

mod as_io;

use crate::Progress;
use inkpot_proto::{
    error::{self, Detail, Refused},
    path::FilePath,
    v1::{ErrorReason, Nack, Outcome},
};
use std::{error::Error as _, fmt, io, sync::Arc, time::Duration};
use tonic::{Code, Status};

/// Where an error comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The server refused, or this library did because the server would have.
    Refused,
    /// The connection failed, or something that is not an Inkpot server answered.
    Transport,
    /// Nothing moved for as long as [`ClientBuilder::give_up_after`](crate::ClientBuilder::give_up_after) says.
    GaveUp,
    /// The window of the session ([`ClientBuilder::in_flight`](crate::ClientBuilder::in_flight)) has no room, and the
    /// call was not to wait for it. Nothing was taken.
    WindowFull,
    /// The window of the session had no room for as long as the call was to wait. Nothing was taken.
    Timeout,
    /// The server no longer has appends that it acknowledged: it lost power below the level that they were written
    /// with, or was restored from an older copy.
    AckedLost,
    /// The server sent what the protocol does not allow.
    Protocol,
    /// The session has ended, or the writer was finished.
    Closed,
    /// The configuration of the client is not valid.
    Config,
    /// What is on this side failed: a local file, or what bytes are read from or written to.
    Local,
}

/// Why a call, an append or a channel failed. Cheap to clone. Never holds the token.
///
/// | question | answer |
/// | --- | --- |
/// | is it in the file? | [`outcome`](Self::outcome): `NotApplied` means no, `Unknown` that nobody can say yet |
/// | whose fault is it? | [`kind`](Self::kind) |
/// | why did the server refuse? | [`reason`](Self::reason), [`limit`](Self::limit), [`code`](Self::code) |
/// | is it worth another try, and when? | [`retryable`](Self::retryable), [`retry_after`](Self::retry_after) |
/// | how far did the channel get? | [`progress`](Self::progress) |
///
/// ```
/// use inkpot_client::{AppendOnce, Client, ErrorKind, Outcome};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), inkpot_client::Error> {
/// let error = Client::builder("ftp://files.example").connect().await.unwrap_err();
/// assert_eq!((error.kind(), error.outcome()), (ErrorKind::Config, Outcome::NotApplied));
///
/// let client = Client::builder("http://127.0.0.1:1").connect().await?; // nobody listens there
/// let error = client.append_once("f", vec!["record\n".into()], AppendOnce::default()).await.unwrap_err();
/// assert_eq!((error.kind(), error.outcome()), (ErrorKind::Transport, Outcome::Unknown));
/// assert!(error.retryable() && error.file() == Some("f"));
///
/// let error = client.append_once("../up", vec!["record\n".into()], AppendOnce::default()).await.unwrap_err();
/// assert_eq!((error.kind(), error.outcome()), (ErrorKind::Refused, Outcome::NotApplied));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Error(Box<Shared>);

#[derive(Clone)]
struct Shared {
    inner: Arc<Inner>,
    outcome: Outcome,
}

struct Inner {
    kind: ErrorKind,
    code: Code,
    reason: Option<ErrorReason>,
    message: String,
    file: Option<String>,
    retry_after: Option<Duration>,
    limit: Option<String>,
    progress: Option<Progress>,
}

/// Result of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    fn new(kind: ErrorKind, code: Code, outcome: Outcome, message: String) -> Self {
        let inner =
            Inner { kind, code, reason: None, message, file: None, retry_after: None, limit: None, progress: None };
        Self::of(inner, outcome)
    }

    fn of(inner: Inner, outcome: Outcome) -> Self {
        Self(Box::new(Shared { inner: Arc::new(inner), outcome }))
    }

    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, Code::InvalidArgument, Outcome::NotApplied, message.into())
    }

    /// What is on this side failed. An error of this library that was wrapped on its way is given back as it was.
    pub(crate) fn local(what: impl fmt::Display, error: io::Error) -> Self {
        error.downcast::<Self>().unwrap_or_else(|error| {
            Self::new(ErrorKind::Local, Code::Unknown, Outcome::NotApplied, format!("{what}: {error}"))
        })
    }

    pub(crate) fn closed(file: &str) -> Self {
        let message = format!("{file}: the session has ended; open the file on a new one");
        Self::new(ErrorKind::Closed, Code::Cancelled, Outcome::Unknown, message)
    }

    /// The writer was finished, or is about to be.
    pub(crate) fn finished(file: &str) -> Self {
        let message = format!("{file}: the writer was finished; open the file again");
        Self::new(ErrorKind::Closed, Code::Cancelled, Outcome::NotApplied, message).on(file)
    }

    pub(crate) fn transport(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Transport, Code::Unavailable, Outcome::Unknown, message.into())
    }

    pub(crate) fn protocol(message: impl fmt::Display) -> Self {
        let message = format!("the server broke the protocol: {message}");
        Self::new(ErrorKind::Protocol, Code::Internal, Outcome::Unknown, message)
    }

    pub(crate) fn acked_lost(message: String) -> Self {
        Self::new(ErrorKind::AckedLost, Code::DataLoss, Outcome::Unknown, message)
    }

    /// Nothing moved for too long. Says what was last heard, because that is what the reader needs to know.
    pub(crate) fn gave_up(after: Duration, done: &str, last: Option<&Self>) -> Self {
        let cause = last.map_or_else(|| "the server did not answer".to_owned(), ToString::to_string);
        let message = format!("gave up after {after:?} without progress, {done}; last: {cause}");
        let inner = Inner {
            kind: ErrorKind::GaveUp,
            code: Code::DeadlineExceeded,
            reason: None,
            message,
            file: None,
            retry_after: None,
            limit: last.and_then(|last| last.0.inner.limit.clone()),
            progress: None,
        };
        Self::of(inner, Outcome::Unknown)
    }

    /// Nothing was taken, because the window is full. Names the limit of the server that keeps it so, if it is known.
    pub(crate) fn no_room(kind: ErrorKind, limit: Option<&str>) -> Self {
        let code = if kind == ErrorKind::Timeout { Code::DeadlineExceeded } else { Code::ResourceExhausted };
        let because = limit.map(|limit| format!("; the server waits for room in the limit {limit}"));
        let message = format!("the window of the session is full{}", because.unwrap_or_default());
        let mut error = Self::new(kind, code, Outcome::NotApplied, message);
        error.edit(|inner| inner.limit = limit.map(ToOwned::to_owned));
        error
    }

    /// The server has stopped reading the session.
    pub(crate) fn throttled(limit: &str) -> Self {
        let message = format!("the session waits for room in the limit {limit}");
        Self::refused(Refused::new(ErrorReason::QuotaExceeded, message).with_limit(limit))
    }

    /// The connection was lost, and without a producer a resend could write twice.
    pub(crate) fn not_resent(cause: &Self) -> Self {
        let message = format!(
            "appends were in flight and cannot be sent again without the risk of writing twice; \
             a producer makes that safe: {cause}"
        );
        let mut error = Self::new(ErrorKind::Transport, Code::Unknown, Outcome::Unknown, message);
        error.edit(|inner| inner.reason = Some(ErrorReason::OutcomeUnknown));
        error
    }

    pub(crate) fn refused(refused: Refused) -> Self {
        let inner = Inner {
            kind: ErrorKind::Refused,
            code: refused.code(),
            reason: Some(refused.reason),
            retry_after: None,
            limit: refused.limit,
            message: refused.message,
            file: None,
            progress: None,
        };
        Self::of(inner, refused.outcome)
    }

    /// The end of a call or stream. Only our own detail may say that nothing was applied.
    pub(crate) fn from_status(status: &Status) -> Self {
        let message = described(status);
        let Some(detail) = Detail::of(status) else {
            let permanent =
                matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied | Code::Unimplemented);
            let kind = if permanent { ErrorKind::Refused } else { ErrorKind::Transport };
            return Self::new(kind, status.code(), Outcome::Unknown, message);
        };
        Self::detailed(status.code(), detail, message)
    }

    fn detailed(code: Code, detail: Detail, message: String) -> Self {
        let inner = Inner {
            kind: ErrorKind::Refused,
            code,
            reason: Some(detail.reason),
            message,
            file: None,
            retry_after: detail.retry_after,
            limit: detail.limit,
            progress: None,
        };
        Self::of(inner, detail.outcome)
    }

    pub(crate) fn from_nack(nack: &Nack) -> Self {
        let reason = ErrorReason::try_from(nack.reason).unwrap_or_default();
        let outcome = match Outcome::try_from(nack.outcome) {
            Ok(Outcome::NotApplied) => Outcome::NotApplied,
            _ => Outcome::Unknown,
        };
        let found = nack.status.as_ref().and_then(Detail::of_rpc);
        let (retry_after, limit) = found.map_or((None, None), |detail| (detail.retry_after, detail.limit));
        let code = nack.status.as_ref().map_or_else(|| error::code(reason), |status| Code::from_i32(status.code));
        let words = nack.status.as_ref().map(|status| status.message.clone()).filter(|words| !words.is_empty());
        let message = words.unwrap_or_else(|| error::reason_name(reason).to_owned());
        Self::detailed(code, Detail { reason, outcome, retry_after, limit }, message)
    }

    fn edit(&mut self, change: impl FnOnce(&mut Inner)) {
        let old = &self.0.inner;
        let mut inner = Inner {
            kind: old.kind,
            code: old.code,
            reason: old.reason,
            message: old.message.clone(),
            file: old.file.clone(),
            retry_after: old.retry_after,
            limit: old.limit.clone(),
            progress: old.progress.clone(),
        };
        change(&mut inner);
        self.0.inner = Arc::new(inner);
    }

    /// Names the file, unless one is named.
    pub(crate) fn on(mut self, file: &str) -> Self {
        if self.0.inner.file.is_none() {
            self.edit(|inner| inner.file = Some(file.to_owned()));
        }
        self
    }

    /// Names the server and what may help, if the transport to it failed: its words are the operating system's, and name
    /// nothing.
    pub(crate) fn at(mut self, endpoint: impl fmt::Display, advice: &str) -> Self {
        if self.kind() == ErrorKind::Transport {
            self.edit(|inner| inner.message = format!("request to {endpoint} failed: {}{advice}", inner.message));
        }
        self
    }

    /// Carries what was acknowledged before.
    pub(crate) fn after(mut self, progress: Progress) -> Self {
        self.edit(|inner| inner.progress = Some(progress));
        self
    }

    pub(crate) fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.0.outcome = outcome;
        self
    }

    /// Where the error comes from.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.inner.kind
    }

    /// The reason that the server gave, or would have given; `None` if the error does not come from it.
    #[must_use]
    pub fn reason(&self) -> Option<ErrorReason> {
        self.0.inner.reason
    }

    /// What became of the write. `Unknown` unless the server, or this library before it sent anything, said that
    /// nothing was applied.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// The gRPC code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.inner.code
    }

    /// What happened, in English, without the name of the file unless the server put it there.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.inner.message
    }

    /// Path of the file that the error is about, if it is about one.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        self.0.inner.file.as_deref()
    }

    /// The limit that was hit or is waited for, as it is named in the configuration of the server.
    #[must_use]
    pub fn limit(&self) -> Option<&str> {
        self.0.inner.limit.as_deref()
    }

    /// When the server wants to be asked again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.inner.retry_after
    }

    /// What the channel had acknowledged before it failed; `None` if the error did not end a channel.
    #[must_use]
    pub fn progress(&self) -> Option<&Progress> {
        self.0.inner.progress.as_ref()
    }

    /// Whether the same request, sent again later, can succeed without anything else being changed first. With
    /// [`Outcome::Unknown`] only a resend with the same producer and seq is safe against a second copy.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self.kind() {
            ErrorKind::Transport | ErrorKind::GaveUp | ErrorKind::WindowFull | ErrorKind::Timeout => true,
            ErrorKind::Refused => self.passes(),
            _ => false,
        }
    }

    /// Whether the refusal passes by itself. A reason that this version does not know passes if the server says when.
    pub(crate) fn passes(&self) -> bool {
        match self.reason() {
            Some(ErrorReason::Unspecified) => self.retry_after().is_some(),
            Some(reason) => error::passes_by_itself(reason),
            None => false,
        }
    }
}

/// Checks a path before anything is sent.
pub(crate) fn check_path(path: &str) -> Result<()> {
    match FilePath::parse(path) {
        Ok(_) => Ok(()),
        Err(invalid) => Err(Error::refused(invalid.refuse(path))),
    }
}

/// The words of a status and of what caused it: tonic's own say no more than "transport error".
fn described(status: &Status) -> String {
    let mut words = if status.message().is_empty() { status.code().to_string() } else { status.message().to_owned() };
    chain(&mut words, status.source());
    words
}

/// The words of an error of the transport and of what caused it.
pub(crate) fn described_transport(error: &tonic::transport::Error) -> String {
    let mut words = error.to_string();
    chain(&mut words, error.source());
    words
}

fn chain(words: &mut String, mut source: Option<&(dyn std::error::Error + 'static)>) {
    while let Some(cause) = source {
        let cause_words = cause.to_string();
        if !words.contains(&cause_words) {
            words.push_str(": ");
            words.push_str(&cause_words);
        }
        source = cause.source();
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.file() {
            Some(file) if !self.message().contains(file) => write!(f, "{file}: {}", self.message()),
            _ => f.write_str(self.message()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.kind())
            .field("code", &self.code())
            .field("reason", &self.reason())
            .field("outcome", &self.outcome())
            .field("message", &self.message())
            .field("file", &self.file())
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Error {}
