//! Log lines to standard error, and to the collector if one is named. Standard output is never written to: it belongs to
//! what a command prints.
//!
//! Text that comes from outside (paths, tenant names, peers) is logged with its `Debug` form, which escapes line breaks
//! and control characters, so that nobody can forge a line.

use super::{SCOPE, export::Providers};
use crate::config::{Log, LogFormat};
use opentelemetry::trace::TracerProvider;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use std::io::{self, IsTerminal};
use tracing::{Metadata, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, filter_fn},
    fmt,
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

/// Where spans and lines for the collector may come from: never from what carries them there, or they would feed
/// themselves.
const OURS: &str = "inkpot";
/// What it tells of the way to the collector stays here.
const DELIVERY: &str = "inkpot_server::telemetry";

/// A subscriber that layers can be put on.
trait Spans: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync {}

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync> Spans for S {}

/// Checks a filter.
///
/// # Errors
/// What is wrong with it.
pub fn check_filter(filter: &str) -> Result<(), String> {
    parse(filter).map(drop)
}

/// Begins to log, for the whole process. Does nothing if the process logs already.
pub(super) fn init(log: &Log, providers: &Providers) {
    let subscriber =
        tracing_subscriber::registry().with(lines(log)).with(spans(providers)).with(exported_lines(log, providers));
    drop(subscriber.try_init());
}

/// Lines on standard error.
fn lines<S: Spans>(log: &Log) -> impl Layer<S> {
    let lines = fmt::layer().with_writer(io::stderr);
    // Colours only for eyes: in a file or a collector they are noise.
    let lines: Box<dyn Layer<S> + Send + Sync> = match log.format {
        LogFormat::Text => Box::new(lines.with_ansi(io::stderr().is_terminal())),
        LogFormat::Json => Box::new(lines.json().flatten_event(true).with_ansi(false)),
    };
    lines.with_filter(filter(log).and(filter_fn(is_told)))
}

/// Spans for the collector, whatever the filter of lines says.
fn spans<S: Spans>(providers: &Providers) -> Option<impl Layer<S> + use<S>> {
    let traces = providers.traces.as_ref()?;
    let spans = tracing_opentelemetry::layer()
        .with_tracer(traces.tracer(SCOPE))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false);
    let ours = filter_fn(|meta| meta.is_span() && is_ours(meta)).with_max_level_hint(LevelFilter::INFO);
    Some(spans.with_filter(ours))
}

/// Lines for the collector.
fn exported_lines<S: Spans>(log: &Log, providers: &Providers) -> Option<impl Layer<S> + use<S>> {
    let logs = providers.logs.as_ref()?;
    let ours = filter_fn(|meta| meta.is_event() && is_ours(meta) && !meta.target().starts_with(DELIVERY));
    Some(OpenTelemetryTracingBridge::new(logs).with_filter(filter(log).and(ours)))
}

/// What the SDK tells of failed exports it tells for each; [`super::delivery`] tells when it begins and ends.
fn is_told(meta: &Metadata<'_>) -> bool {
    !meta.target().starts_with("opentelemetry")
}

fn is_ours(meta: &Metadata<'_>) -> bool {
    meta.target().starts_with(OURS)
}

fn filter(log: &Log) -> EnvFilter {
    parse(&log.filter).unwrap_or_else(|_| EnvFilter::new("info"))
}

fn parse(filter: &str) -> Result<EnvFilter, String> {
    if filter.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    EnvFilter::builder().parse(filter).map_err(|error| error.to_string())
}
