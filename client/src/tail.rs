//! Following a file over lost connections.

mod lines;

pub use lines::{Line, Lines};

use crate::{
    Error, Files, Result,
    backoff::{GOOD_CONNECTION, LONGEST_BACKOFF, backoff},
};
use futures_util::{Stream, StreamExt};
use inkpot_proto::v1::{ErrorReason, ReadRequest, ReadResponse, Transition};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep};
use tonic::Streaming;

/// Where a [`Tail`] begins. The default: with the first byte of whatever there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TailOptions {
    /// First byte; negative: that many bytes before the end, as it is when the server first answers.
    pub offset: i64,
    /// If set: the generation that the file must have. Goes with an offset that was kept from an earlier run.
    pub if_generation: Option<u64>,
}

/// A file as it grows: every committed byte once and in order, over lost connections and restarts of the server. Made by
/// [`Files::tail`].
///
/// Pieces are never empty, and each begins where the one before ended. The tail goes over rotation, replacement and deletion:
/// an item whose `transition` is not `Unspecified` has no bytes and tells which of these it was, and the next bytes are
/// those of the new content from offset 0. After `Rotated` nothing of the old content is missing, after `Replaced` its end may
/// be; it stands also for a content that lost its place while there was no connection. A file that was `Deleted` is waited
/// for, and comes with `Created`.
///
/// After a lost connection, a refusal that passes by itself, or a server that is stopping, the tail asks again, with growing
/// pauses of at most 2 s, from the byte after the last one that it gave. It never ends by itself. What it cannot get over is
/// its last item:
///
/// - [`GaveUp`](crate::ErrorKind::GaveUp): for [`give_up_after`](crate::ClientBuilder::give_up_after) there was neither a
///   connection that held for 2 s nor a byte. A file that does not grow is no reason to give up.
/// - reason [`GenerationChanged`](ErrorReason::GenerationChanged): [`TailOptions::if_generation`] is not, or no longer, to
///   be had.
/// - reason [`OutOfRange`](ErrorReason::OutOfRange): the file is shorter than the offset: bytes that were read before are
///   no longer there (the server lost power, and they were not SYNCED), or the offset was wrong.
/// - whatever else the server refuses for good, like a token or a path that is not valid.
///
/// A tail is cancelled by dropping it; between two items nothing is lost. To go on in a later run, keep the offset after
/// the last byte that was dealt with, and the generation:
///
/// ```no_run
/// use futures_util::StreamExt;
/// use inkpot_client::{Client, ErrorReason, TailOptions};
///
/// # async fn ship(_: &[u8]) -> Result<(), inkpot_client::Error> { Ok(()) }
/// # fn load() -> Option<(u64, u64)> { None }
/// # fn save(_: u64, _: u64) {}
/// # async fn example(client: Client) -> Result<(), inkpot_client::Error> {
/// let options = match load() {
///     Some((offset, generation)) => TailOptions { offset: offset as i64, if_generation: Some(generation) },
///     None => TailOptions::default(),
/// };
/// let mut tail = client.files().tail("logs/app.log", options);
/// while let Some(piece) = tail.next().await {
///     match piece {
///         Ok(piece) => {
///             ship(&piece.data).await?;
///             save(piece.offset + piece.data.len() as u64, piece.generation);
///         }
///         Err(error) if error.reason() == Some(ErrorReason::GenerationChanged) => {
///             // Replaced between two runs. While the tail runs, it goes over to the new content by itself.
///             tail = client.files().tail("logs/app.log", TailOptions::default());
///         }
///         Err(error) => return Err(error),
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct Tail {
    files: Files,
    path: String,
    /// Where to begin, while it is not known which byte that is.
    begin: i64,
    /// The next byte.
    next: Option<u64>,
    generation: Option<u64>,
    step: Step,
    /// Whether there was an answer before.
    answered: bool,
    failures: u32,
    /// When it last got on, or began.
    moved: Instant,
    /// Whether the file was deleted, and is waited for.
    gone: bool,
    /// Whether the server ever told what it reads, so that what was asked for was there.
    begun: bool,
    /// Whether nothing was read of the content after a transition.
    fresh: bool,
    /// A piece that comes behind a transition that the server did not name.
    held: Option<ReadResponse>,
    on_retry: Option<OnRetry>,
}

type OnRetry = Box<dyn FnMut(&Error, Option<u64>) + Send>;
type Opening = Pin<Box<dyn Future<Output = Result<Streaming<ReadResponse>>> + Send>>;

/// What the tail waits for.
enum Step {
    /// To be polled for the first time, or again after a pause.
    Ask,
    Opening(Opening),
    Reading(Box<Reading>),
    Pausing(Pin<Box<Sleep>>),
    Ended,
}

/// An answer that is being read.
struct Reading {
    pieces: Streaming<ReadResponse>,
    since: Instant,
    /// Whether it brought a byte.
    brought: bool,
}

impl Tail {
    pub(crate) fn new(files: Files, path: String, options: TailOptions) -> Self {
        Self {
            files,
            path,
            begin: options.offset,
            next: u64::try_from(options.offset).ok(),
            generation: options.if_generation,
            step: Step::Ask,
            answered: false,
            failures: 0,
            moved: Instant::now(),
            gone: false,
            begun: false,
            fresh: false,
            held: None,
            on_retry: None,
        }
    }

    /// Calls this whenever the tail was interrupted and will ask again: why, and from which byte (`None` while that is not
    /// known). For telling a user who waits; nothing needs to be done.
    #[must_use]
    pub fn on_retry(mut self, call: impl FnMut(&Error, Option<u64>) + Send + 'static) -> Self {
        self.on_retry = Some(Box::new(call));
        self
    }

    /// The same, line by line. A line of more than `most_bytes` (at least 1) comes in parts of that size, so that a file
    /// without newlines cannot fill the memory.
    #[must_use]
    pub fn lines(self, most_bytes: usize) -> Lines {
        Lines::new(self, most_bytes)
    }

    fn ask(&self) -> Opening {
        let request = ReadRequest {
            path: self.path.clone(),
            offset: self.next.map_or(self.begin, |next| i64::try_from(next).unwrap_or(i64::MAX)),
            limit: 0,
            follow: true,
            if_generation: self.generation,
        };
        let files = self.files.clone();
        Box::pin(async move { files.open_in_time(request).await })
    }

    /// Takes a piece if it is the next one. Gives what is for the caller.
    fn take(&mut self, piece: ReadResponse) -> Result<Option<ReadResponse>> {
        if piece.transition() != Transition::Unspecified {
            return self.go_over(piece).map(Some);
        }
        if std::mem::take(&mut self.gone) {
            // It came to be again while there was no connection.
            let created = notice(Transition::Created, piece.generation);
            self.held = Some(piece).filter(|piece| !piece.data.is_empty());
            return self.go_over(created).map(Some);
        }
        if self.fresh && self.next == Some(piece.offset) {
            self.generation = Some(piece.generation); // it may have changed again since the transition
        }
        let generation = *self.generation.get_or_insert(piece.generation);
        if generation != piece.generation {
            let message = format_args!("a piece of generation {} in generation {generation}", piece.generation);
            return Err(Error::protocol(message).on(&self.path));
        }
        let next = *self.next.get_or_insert(piece.offset);
        if next != piece.offset {
            let message = format_args!("a piece at byte {}, the next one is {next}", piece.offset);
            return Err(Error::protocol(message).on(&self.path));
        }
        self.next = Some(next.saturating_add(piece.data.len() as u64));
        self.fresh &= piece.data.is_empty();
        self.begun = true;
        Ok(Some(piece).filter(|piece| !piece.data.is_empty()))
    }

    /// The bytes that follow are those of another content, or of none for now.
    fn go_over(&mut self, piece: ReadResponse) -> Result<ReadResponse> {
        if !piece.data.is_empty() {
            return Err(Error::protocol("a transition with bytes in it").on(&self.path));
        }
        self.gone = piece.transition() == Transition::Deleted;
        self.generation = Some(piece.generation).filter(|generation| *generation > 0 && !self.gone);
        self.next = Some(0);
        (self.begun, self.fresh) = (true, true);
        Ok(piece)
    }

    /// The content that was read is not there any more, and what came of it not known: another one has its place.
    fn replaced(&mut self) -> Result<ReadResponse> {
        self.step = Step::Ask;
        self.go_over(notice(Transition::Replaced, 0))
    }

    /// Whether an error says that the content of an earlier answer has lost its place meanwhile.
    fn lost_its_place(&self, error: &Error) -> bool {
        self.begun && self.generation.is_some() && error.reason() == Some(ErrorReason::GenerationChanged)
    }

    /// An attempt is over. An error: for good.
    fn interrupted(&mut self, error: Error) -> Result<()> {
        if let Step::Reading(reading) = &self.step
            && (reading.brought || reading.since.elapsed() >= GOOD_CONNECTION)
        {
            self.failures = 0;
            self.moved = Instant::now();
        }
        if !error.retryable() {
            return Err(error);
        }
        let patience = self.files.give_up_after();
        if self.moved.elapsed() > patience {
            let at = self.next.map_or_else(String::new, |next| format!(" at byte {next}"));
            return Err(Error::gave_up(patience, &format!("tail{at}"), Some(&error)).on(&self.path));
        }
        let asked = error.retry_after().unwrap_or(Duration::ZERO).min(LONGEST_BACKOFF);
        self.step = Step::Pausing(Box::pin(sleep(backoff(self.failures).max(asked))));
        self.failures = self.failures.saturating_add(1);
        if let Some(call) = &mut self.on_retry {
            call(&error, self.next);
        }
        Ok(())
    }

    /// One step. Gives a piece, if it brought one; an error: the last one.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<ReadResponse>>> {
        if let Some(piece) = self.held.take() {
            return Poll::Ready(self.take(piece));
        }
        match &mut self.step {
            Step::Ask | Step::Ended => self.step = Step::Opening(self.ask()),
            Step::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                Ok(pieces) => {
                    if std::mem::replace(&mut self.answered, true) {
                        self.files.telemetry().reconnected("Read");
                    }
                    self.step = Step::Reading(Box::new(Reading { pieces, since: Instant::now(), brought: false }));
                }
                Err(error) if self.lost_its_place(&error) => return Poll::Ready(self.replaced().map(Some)),
                Err(error) => self.interrupted(error)?,
            },
            Step::Reading(reading) => match ready!(reading.pieces.poll_next_unpin(cx)) {
                Some(Ok(piece)) => {
                    // The first piece comes always, and may be empty: that is no progress.
                    reading.brought |= !piece.data.is_empty() || piece.transition() != Transition::Unspecified;
                    return Poll::Ready(self.take(piece));
                }
                Some(Err(status)) => {
                    let error = self.files.error(&status, &self.path);
                    if self.lost_its_place(&error) {
                        return Poll::Ready(self.replaced().map(Some));
                    }
                    self.interrupted(error)?;
                }
                None => self.interrupted(Error::transport("the server ended the read").on(&self.path))?,
            },
            Step::Pausing(pause) => {
                ready!(pause.as_mut().poll(cx));
                self.step = Step::Ask;
            }
        }
        Poll::Ready(Ok(None))
    }
}

fn notice(transition: Transition, generation: u64) -> ReadResponse {
    ReadResponse { transition: transition.into(), generation, ..ReadResponse::default() }
}

impl Stream for Tail {
    type Item = Result<ReadResponse>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while !matches!(self.step, Step::Ended) {
            match ready!(self.poll_step(cx)) {
                Ok(None) => {}
                Ok(Some(piece)) => return Poll::Ready(Some(Ok(piece))),
                Err(error) => {
                    self.step = Step::Ended;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        Poll::Ready(None)
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail")
            .field("path", &self.path)
            .field("next", &self.next)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}
