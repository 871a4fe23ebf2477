//! The trace of a write: spans for the append and its stages, and one for the commit that carried it.
//!
//! A span is made for an append that its client sampled (a `traceparent` of its own, or the trace of its unary call), and
//! for a few appends of a session whose call is sampled. Nothing is made for any other append, and a bound on traced
//! appends per second keeps a client that samples everything from costing the others anything.
//!
//! ```text
//! append ─┬─ admission     from reading it to having its permits
//!         ├─ queue         in the shard, until a commit takes it
//!         └─ commit ─┬─ wal.write     child of the first traced append of the commit, linked to all of them;
//!                    └─ wal.sync      the other appends link to it
//! ```

use super::names::{DURABILITY, REASON, level_in_words, reason_in_words};
use inkpot_proto::v1::{Durability, ErrorReason};
use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, TextMapPropagator},
    trace::{Link, SpanContext, SpanKind, Status, TraceContextExt, TraceId},
};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{ParentBasedSampler, Sampler, SamplingResult, ShouldSample},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tracing::{Span, field::Empty, info_span, span::EnteredSpan};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Status of what ended without a commit or a refusal: it failed, or its session was cut.
const NOT_COMMITTED: &str = "not committed";
/// Name of the span of an append.
const APPEND: &str = "append";
/// Appends that share the trace of their session, at most.
const SESSION_APPENDS: u32 = 1000;
/// ... and how long after the one before.
const SESSION_PAUSE: Duration = Duration::from_secs(1);

/// Header and field that carry the W3C trace context.
const TRACEPARENT: &str = "traceparent";

struct Headers<'a>(&'a http::HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

struct Field<'a>(&'a str);

impl Extractor for Field<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == TRACEPARENT).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

/// The trace that a call belongs to, as its headers say; the empty context if they say none, or nonsense.
#[must_use]
pub fn of_headers(headers: &http::HeaderMap) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers))
}

/// The sampled span that an append belongs to, as its `traceparent` says. `None` if that is empty, nonsense (which the
/// W3C recommendation wants ignored), or not sampled.
#[must_use]
fn of_field(traceparent: &str) -> Option<SpanContext> {
    if traceparent.is_empty() {
        return None;
    }
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &Field(traceparent));
    sampled(&context)
}

/// The sampled span that the present call belongs to.
#[must_use]
pub fn of_call() -> Option<SpanContext> {
    sampled(&Span::current().context())
}

fn sampled(context: &Context) -> Option<SpanContext> {
    let span = context.span().span_context().clone();
    (span.is_valid() && span.is_sampled()).then_some(span)
}

/// At most so many in a second.
#[derive(Debug)]
struct Bound {
    started: Instant,
    per_second: u64,
    /// The present second since the start in the upper half, how many there were in it in the lower.
    window: AtomicU64,
}

impl Bound {
    fn new(per_second: u32) -> Self {
        Self { started: Instant::now(), per_second: u64::from(per_second), window: AtomicU64::new(0) }
    }

    fn allows(&self) -> bool {
        self.allows_in(self.started.elapsed().as_secs())
    }

    fn allows_in(&self, second: u64) -> bool {
        let next = |window: u64| {
            let traced = if window >> 32 == second { window & u64::from(u32::MAX) } else { 0 };
            (traced < self.per_second).then_some(second << 32 | (traced + 1))
        };
        self.window.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

/// Which calls are traced, unless `OTEL_TRACES_SAMPLER` says: those that their client sampled, and those without a trace,
/// each up to a bound. Sampling is the word of whoever calls, with or without a token, and its cost would be everybody's.
#[derive(Clone, Debug)]
pub(super) struct BoundedCalls(Arc<Bound>);

impl BoundedCalls {
    /// At most so many of either kind in a second; what belongs to a span of ours is sampled as that is.
    pub(super) fn sampler(per_second: u32) -> ParentBasedSampler {
        let bounded = || Self(Arc::new(Bound::new(per_second)));
        Sampler::parent_based(bounded()).with_remote_parent_sampled(bounded())
    }
}

impl ShouldSample for BoundedCalls {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        // Appends have a bound of their own, before their span is made.
        let sampler = if name == APPEND || self.0.allows() { Sampler::AlwaysOn } else { Sampler::AlwaysOff };
        sampler.should_sample(parent, trace_id, name, kind, attributes, links)
    }
}

/// Which appends are traced.
#[derive(Debug)]
pub struct Tracing(Bound);

impl Tracing {
    /// At most so many appends in a second; 0 traces none.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self(Bound::new(per_second))
    }

    /// The sampled span that an append names, if any append is traced at all.
    #[must_use]
    pub fn parent_of(&self, traceparent: &str) -> Option<SpanContext> {
        if self.0.per_second == 0 { None } else { of_field(traceparent) }
    }

    /// The trace of an append, unless there are too many of them, or none is wanted.
    #[must_use]
    pub fn append(&self, parent: &SpanContext, of: Append<'_>) -> Option<Box<AppendTrace>> {
        if !self.0.allows() {
            return None;
        }
        let span = info_span!(
            parent: None,
            APPEND,
            otel.kind = "server",
            inkpot.tenant = of.tenant,
            inkpot.path = of.path,
            inkpot.channel = i64::from(of.channel),
            inkpot.seq = signed(of.seq),
            inkpot.bytes = signed(of.bytes as u64),
            inkpot.offset = Empty,
            inkpot.durability = Empty,
            inkpot.reason = Empty,
        );
        // Fails only without a layer that exports spans, and then there is nothing to be a child of.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent.clone()));
        let stage = info_span!(parent: &span, "admission");
        Some(Box::new(AppendTrace { span, stage, ended: false }))
    }
}

/// The sampled call of a session, as far as its appends share its trace: one in a second, because a session may last for
/// days, and a trace is looked at as a whole.
#[derive(Debug)]
pub struct SessionTrace {
    parent: SpanContext,
    last: Option<Instant>,
    left: u32,
}

impl SessionTrace {
    /// That of the present call, if it is sampled.
    #[must_use]
    pub fn of_call() -> Option<Self> {
        of_call().map(|parent| Self { parent, last: None, left: SESSION_APPENDS })
    }

    /// What the next append belongs to, if one is due.
    pub fn due(&mut self, now: Instant) -> Option<SpanContext> {
        let waits = self.last.is_some_and(|last| now.saturating_duration_since(last) < SESSION_PAUSE);
        if waits || self.left == 0 {
            return None;
        }
        (self.last, self.left) = (Some(now), self.left - 1);
        Some(self.parent.clone())
    }
}

/// What the span of an append tells of it.
#[derive(Clone, Copy, Debug)]
pub struct Append<'a> {
    /// Whose.
    pub tenant: &'a str,
    /// The file.
    pub path: &'a str,
    /// The channel.
    pub channel: u32,
    /// Its number; 0 counts on.
    pub seq: u64,
    /// How long it is.
    pub bytes: usize,
}

/// The spans of an append under way. They end when this is dropped.
#[derive(Debug)]
pub struct AppendTrace {
    span: Span,
    stage: Span,
    /// Whether it was told how it ended.
    ended: bool,
}

impl AppendTrace {
    /// It has its permits, and waits for its shard.
    #[must_use]
    pub fn queued(mut self: Box<Self>) -> Box<Self> {
        self.stage = info_span!(parent: &self.span, "queue");
        self
    }

    /// A commit has taken it, to begin at `offset`; none for a duplicate that is no longer remembered.
    pub fn taken(&mut self, offset: Option<u64>) {
        self.stage = Span::none();
        if let Some(offset) = offset {
            self.span.record("inkpot.offset", signed(offset));
        }
    }

    /// It is refused, and ends here.
    pub fn refused(mut self, reason: ErrorReason) {
        self.ended = true;
        let reason = reason_in_words(reason);
        self.span.record(REASON, reason.as_str());
        self.span.set_status(Status::error(reason));
    }
}

impl Drop for AppendTrace {
    fn drop(&mut self) {
        if !self.ended {
            self.span.set_status(Status::error(NOT_COMMITTED));
        }
    }
}

/// The span of a commit that carries traced appends.
#[derive(Debug)]
pub struct CommitTrace {
    span: Span,
    ended: bool,
    appends: Vec<AppendTrace>,
}

impl CommitTrace {
    /// A commit of `shard`; `None` if it carries nothing that is traced.
    #[must_use]
    pub fn begin(shard: u32, appends: Vec<AppendTrace>) -> Option<Self> {
        let first = appends.first()?;
        let span =
            info_span!(parent: &first.span, "commit", inkpot.shard = i64::from(shard), inkpot.durability = Empty);
        let commit = span.context().span().span_context().clone();
        for (at, append) in appends.iter().enumerate() {
            span.add_link(append.span.context().span().span_context().clone());
            if at > 0 {
                append.span.add_link(commit.clone());
            }
        }
        Some(Self { span, ended: false, appends })
    }

    /// Writing the log, until what this returns is dropped.
    pub fn write(&self) -> EnteredSpan {
        info_span!(parent: &self.span, "wal.write").entered()
    }

    /// Syncing the log, until what this returns is dropped.
    pub fn sync(&self) -> EnteredSpan {
        info_span!(parent: &self.span, "wal.sync").entered()
    }

    /// The commit is through; all its appends were told so.
    pub fn end(mut self, level: Durability) {
        let level = level_in_words(level);
        self.ended = true;
        self.appends.iter_mut().for_each(|append| append.ended = true);
        for span in self.appends.iter().map(|append| &append.span).chain([&self.span]) {
            span.record(DURABILITY, level);
        }
    }
}

impl Drop for CommitTrace {
    fn drop(&mut self) {
        if !self.ended {
            self.span.set_status(Status::error(NOT_COMMITTED));
        }
    }
}

/// As spans have numbers. Offsets and seqs fit.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
