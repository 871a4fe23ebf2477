//! The time that a call has.
//!
//! tonic reads `grpc-timeout` too, outside of all layers: it ignores one that makes no sense, and answers one that has
//! passed with CANCELLED and without our detail. So ours is a little earlier.

use super::{Request, Response, method, refuse};
use futures_util::future::BoxFuture;
use http::HeaderMap;
use inkpot_proto::{
    error::Refused,
    v1::{ErrorReason, Outcome},
};
use std::{
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, timeout_at};
use tonic::body::Body;
use tower::{Layer, Service};

const HEADER: &str = "grpc-timeout";
/// Most digits that the header may have, by the specification of gRPC over HTTP/2.
const MAX_DIGITS: usize = 8;
/// The grain of timers: what is shorter has passed before anything can be done.
const GRAIN: Duration = Duration::from_millis(1);
/// How much earlier than the caller and tonic a call is cut: the twentieth part of its time within these bounds, which
/// leaves the answer time to arrive; but at most half of it.
const EARLIER: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// When the time of a call is over; in the extensions of each request that has a deadline. Streams look after it
/// themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(pub Instant);

/// Refuses a deadline that makes no sense or has passed, and cuts unary calls at theirs, or at the longest that the
/// server allows. Innermost, so that the time is that of the handler, and a refusal by another layer needs no timer.
#[derive(Clone, Copy, Debug)]
pub struct DeadlineLayer {
    max: Duration,
}

impl DeadlineLayer {
    /// `max` is the longest time of a unary call, also of one that names none.
    #[must_use]
    pub fn new(max: Duration) -> Self {
        Self { max }
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadlines<S>;

    fn layer(&self, inner: S) -> Deadlines<S> {
        Deadlines { inner, max: self.max }
    }
}

/// See [`DeadlineLayer`].
#[derive(Clone, Debug)]
pub struct Deadlines<S> {
    inner: S,
    max: Duration,
}

impl<S> Service<Request<Body>> for Deadlines<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let is_streaming = method::is_streaming(request.uri().path());
        let asked = match asked(request.headers()) {
            Ok(asked) => asked,
            Err(refused) => return Box::pin(async move { Ok(refuse(&refused)) }),
        };
        let limit = if is_streaming { asked } else { Some(asked.map_or(self.max, |asked| asked.min(self.max))) };
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        if let Some(at) = deadline {
            request.extensions_mut().insert(Deadline(at));
        }
        let answer = self.inner.call(request);
        match deadline.filter(|_| !is_streaming) {
            Some(at) => Box::pin(async move { timeout_at(at, answer).await.unwrap_or_else(|_| Ok(refuse(&cut()))) }),
            None => Box::pin(answer),
        }
    }
}

/// The time that the caller gives, less what we need to answer before tonic does; `None` if there is no header.
fn asked(headers: &HeaderMap) -> Result<Option<Duration>, Refused> {
    let Some(header) = headers.get(HEADER) else { return Ok(None) };
    let timeout = parse(header.as_bytes()).ok_or_else(|| {
        let message = format!(
            "{HEADER} is {header:?}; it must be 1 to {MAX_DIGITS} digits and one of the units H, M, S, m, u, n"
        );
        Refused::new(ErrorReason::InvalidField, message)
    })?;
    if timeout < GRAIN {
        return Err(Refused::new(ErrorReason::Deadline, "the deadline of the call has passed; nothing was begun"));
    }
    let earlier = (timeout / 20).clamp(EARLIER.0, EARLIER.1).min(timeout / 2);
    Ok(Some(timeout - earlier))
}

fn parse(header: &[u8]) -> Option<Duration> {
    let (unit, digits) = header.split_last()?;
    if !(1..=MAX_DIGITS).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(number * 60 * 60)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// What the handler had enqueued goes on without it.
fn cut() -> Refused {
    let message =
        "the deadline of the call has passed before it was done; sending the same seq again settles whether it was";
    Refused { outcome: Outcome::Unknown, ..Refused::new(ErrorReason::Deadline, message) }
}
