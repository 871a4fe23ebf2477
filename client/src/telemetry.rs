//! Everything that this library measures, with name, description and unit; its spans; and the W3C trace context that goes
//! with what it sends.
//!
//! Metrics go to the meter provider that `opentelemetry::global` has when the first client of the process connects: the
//! application installs its SDK before that. Without one nothing is collected, and only the atomics below are counted.
//! Nothing here is done per record, and no attribute names a file.

use crate::{Durability, ErrorReason};
use inkpot_proto::error::reason_name;
use opentelemetry::{
    Context, KeyValue, global,
    metrics::{BoundHistogram, Counter, Meter},
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId},
};
use std::{
    fmt,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
};
use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tracing::{Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt;

const METER: &str = "inkpot-client";

/// Why the server refused, as an ErrorReason in lower case.
const REASON: &str = "inkpot.reason";
/// Level of the ack: written, synced, replicated.
const DURABILITY: &str = "inkpot.durability";
/// Method whose stream was lost: Write, Read.
const METHOD: &str = "rpc.method";

/// Upper bounds of the buckets of durations, in seconds.
const SECONDS: [f64; 15] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

static GLOBAL: LazyLock<Telemetry> = LazyLock::new(|| Telemetry::new(&global::meter(METER)));

/// What a client reports to.
#[derive(Clone)]
pub(crate) struct Telemetry(Arc<Instruments>);

struct Instruments {
    totals: Arc<Totals>,
    /// By level: written, synced, replicated.
    append_duration: [BoundHistogram<f64>; 3],
    refusals: Counter<u64>,
    reconnects: Counter<u64>,
}

/// Counted here, and read when metrics are collected.
#[derive(Default)]
struct Totals {
    appends: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
    waits: AtomicU64,
    in_flight_appends: AtomicI64,
    in_flight_bytes: AtomicI64,
}

impl Telemetry {
    /// That of the process.
    pub(crate) fn global() -> Self {
        GLOBAL.clone()
    }

    pub(crate) fn new(meter: &Meter) -> Self {
        let totals = Arc::new(Totals::default());
        totals.observe_by(meter);
        let append_duration = meter
            .f64_histogram("inkpot.client.append.duration")
            .with_description("From sending to the ack, of the oldest append that an ack covers")
            .with_unit("s")
            .with_boundaries(SECONDS.to_vec())
            .build();
        let at = |level| append_duration.bind(&[KeyValue::new(DURABILITY, level)]);
        Self(Arc::new(Instruments {
            totals,
            append_duration: [at("written"), at("synced"), at("replicated")],
            refusals: meter
                .u64_counter("inkpot.client.refusals")
                .with_description("Refusals that came from the server, also of what was sent again, by reason")
                .with_unit("{refusal}")
                .build(),
            reconnects: meter
                .u64_counter("inkpot.client.reconnects")
                .with_description("Streams of sessions and tails that were opened again after the first one")
                .with_unit("{stream}")
                .build(),
        }))
    }

    /// An append was handed over for sending.
    pub(crate) fn sent(&self, bytes: usize) {
        self.in_flight(1, bytes.try_into().unwrap_or(i64::MAX));
    }

    /// Appends are acknowledged, or have failed.
    pub(crate) fn done(&self, appends: usize, bytes: usize) {
        self.in_flight(-i64::try_from(appends).unwrap_or(i64::MAX), -i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    fn in_flight(&self, appends: i64, bytes: i64) {
        self.0.totals.in_flight_appends.fetch_add(appends, Relaxed);
        self.0.totals.in_flight_bytes.fetch_add(bytes, Relaxed);
    }

    /// Somebody has to wait for room in the window.
    pub(crate) fn waits(&self) {
        self.0.totals.waits.fetch_add(1, Relaxed);
    }

    /// A stream of this method is there again.
    pub(crate) fn reconnected(&self, method: &'static str) {
        self.0.reconnects.add(1, &[KeyValue::new(METHOD, method)]);
    }

    /// Answers of the server.
    pub(crate) fn answered(&self, tally: &Tally) {
        for ack in &tally.acks {
            self.0.totals.appends.fetch_add(ack.appends, Relaxed);
            self.0.totals.records.fetch_add(ack.records, Relaxed);
            self.0.totals.bytes.fetch_add(ack.bytes, Relaxed);
            let level = match ack.level {
                Durability::Unspecified | Durability::Written => 0,
                Durability::Synced => 1,
                Durability::Replicated => 2,
            };
            if let Some(sent) = ack.sent.0 {
                self.0.append_duration[level].record(sent.elapsed().as_secs_f64());
            }
        }
        for reason in &tally.refusals {
            self.0.refusals.add(1, &[KeyValue::new(REASON, reason_name(*reason).to_ascii_lowercase())]);
        }
    }
}

/// Name, description, unit and value of an instrument.
type Observed<T> = (&'static str, &'static str, &'static str, fn(&Totals) -> &T);

impl Totals {
    fn observe_by(self: &Arc<Self>, meter: &Meter) {
        let counters: [Observed<AtomicU64>; 4] = [
            ("inkpot.client.appends", "Acknowledged appends", "{append}", |totals| &totals.appends),
            ("inkpot.client.records", "Acknowledged records", "{record}", |totals| &totals.records),
            ("inkpot.client.io", "Acknowledged bytes", "By", |totals| &totals.bytes),
            ("inkpot.client.window.waits", "Sends that had to wait for room in the window", "{wait}", |totals| {
                &totals.waits
            }),
        ];
        for (name, description, unit, total) in counters {
            let totals = Arc::clone(self);
            let counter = meter.u64_observable_counter(name).with_description(description).with_unit(unit);
            counter.with_callback(move |now| now.observe(total(&totals).load(Relaxed), &[])).build();
        }
        let usages: [Observed<AtomicI64>; 2] = [
            ("inkpot.client.in_flight.appends", "Appends that are not acknowledged", "{append}", |totals| {
                &totals.in_flight_appends
            }),
            ("inkpot.client.in_flight.size", "Bytes that are not acknowledged", "By", |totals| &totals.in_flight_bytes),
        ];
        for (name, description, unit, usage) in usages {
            let totals = Arc::clone(self);
            let counter = meter.i64_observable_up_down_counter(name).with_description(description).with_unit(unit);
            counter.with_callback(move |now| now.observe(usage(&totals).load(Relaxed), &[])).build();
        }
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

/// When something was sent, if it was.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moment(Option<Instant>);

impl Moment {
    pub(crate) fn now() -> Self {
        Self(Some(Instant::now()))
    }
}

/// What came of some answers of the server, gathered where no instrument may be touched.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    acks: Vec<Acked>,
    refusals: Vec<ErrorReason>,
}

#[derive(Debug)]
struct Acked {
    appends: u64,
    records: u64,
    bytes: u64,
    level: Durability,
    /// When the oldest of the appends was sent.
    sent: Moment,
}

impl Tally {
    pub(crate) fn acked(&mut self, appends: u64, records: u64, bytes: u64, level: Durability, sent: Moment) {
        self.acks.push(Acked { appends, records, bytes, level, sent });
    }

    pub(crate) fn refused(&mut self, reason: ErrorReason) {
        self.refusals.push(reason);
    }
}

/// The sampled span in which an append was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    trace: TraceId,
    span: SpanId,
    flags: TraceFlags,
}

impl Trace {
    /// The current span, if it is sampled.
    pub(crate) fn current() -> Option<Self> {
        with_current(|span| span.is_sampled().then(|| Self::of(span))).flatten()
    }

    fn of(span: &SpanContext) -> Self {
        Self { trace: span.trace_id(), span: span.span_id(), flags: span.trace_flags() }
    }

    /// As the header `traceparent`: 55 bytes.
    pub(crate) fn traceparent(self) -> String {
        format!("00-{}-{}-{:02x}", self.trace, self.span, self.flags)
    }
}

/// Looks at the context of the current span, if there is one: that of OpenTelemetry, which the layer of `tracing` keeps
/// unless it was told not to.
fn with_current<T>(look: impl FnOnce(&SpanContext) -> T) -> Option<T> {
    let span = Context::map_current(|context| context.span().span_context().clone());
    let span = if span.is_valid() { span } else { Span::current().context().span().span_context().clone() };
    span.is_valid().then(|| look(&span))
}

/// Adds the context of the current span to a call.
pub(crate) fn inject(metadata: &mut MetadataMap) {
    let headers = with_current(|span| {
        [("traceparent", Trace::of(span).traceparent()), ("tracestate", span.trace_state().header())]
    });
    for (name, value) in headers.into_iter().flatten().filter(|(_, value)| !value.is_empty()) {
        if let Ok(value) = MetadataValue::<Ascii>::try_from(value) {
            metadata.insert(name, value);
        }
    }
}

/// The life of a session.
pub(crate) fn session_span(server: impl fmt::Display) -> Span {
    tracing::info_span!("inkpot.session", inkpot.server = %server)
}

/// One attempt of a session to connect, until the server answers on the stream.
pub(crate) fn connect_span(session: &Span) -> Span {
    tracing::info_span!(
        parent: session,
        "inkpot.connect",
        otel.kind = "client",
        otel.status_code = field::Empty,
        otel.status_description = field::Empty,
    )
}

/// A file is being opened.
pub(crate) fn open_span(path: &str) -> Span {
    tracing::info_span!(
        "inkpot.open",
        inkpot.path = path,
        otel.status_code = field::Empty,
        otel.status_description = field::Empty,
    )
}

/// What the span is about has failed.
pub(crate) fn failed(span: &Span, error: &crate::Error) {
    span.record("otel.status_code", "ERROR");
    span.record("otel.status_description", field::display(error));
}
