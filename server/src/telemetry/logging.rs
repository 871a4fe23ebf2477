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
    filter::filter_fn,
    fmt,
    layer::{Layered, SubscriberExt},
    util::SubscriberInitExt,
};

/// Where spans and lines for the collector may come from: never from what carries them there, or they would feed
/// themselves.
const OURS: &str = "inkpot";
/// What it tells of the way to the collector stays here.
const DELIVERY: &str = "inkpot_server::telemetry";

/// Checks a filter.
///
/// # Errors
/// What is wrong with it.
pub fn check_filter(filter: &str) -> Result<(), String> {
    parse(filter).map(drop)
}

/// Begins to log, for the whole process. Does nothing if the process logs already.
pub(super) fn init(log: &Log, providers: &Providers) {
    let lines = fmt::layer().with_writer(io::stderr);
    // Colours only for eyes: in a file or a collector they are noise.
    let lines: Box<dyn Layer<_> + Send + Sync> = match log.format {
        LogFormat::Text => Box::new(lines.with_ansi(io::stderr().is_terminal())),
        LogFormat::Json => Box::new(lines.json().flatten_event(true).with_ansi(false)),
    };
    let lines = lines.with_filter(filter_fn(is_told)).with_filter(filter(log));
    let subscriber = tracing_subscriber::registry().with(lines);
    drop(with_collector(subscriber, log, providers).try_init());
}

/// Adds what goes to the collector: spans whatever the filter says, lines as it says.
fn with_collector<S>(
    subscriber: S,
    log: &Log,
    providers: &Providers,
) -> Layered<Vec<Box<dyn Layer<S> + Send + Sync>>, S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a> + Send + Sync,
{
    let mut layers: Vec<Box<dyn Layer<S> + Send + Sync>> = Vec::new();
    if let Some(traces) = &providers.traces {
        let spans = tracing_opentelemetry::layer()
            .with_tracer(traces.tracer(SCOPE))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false);
        let ours = filter_fn(|meta| meta.is_span() && is_ours(meta)).with_max_level_hint(LevelFilter::INFO);
        layers.push(Box::new(spans.with_filter(ours)));
    }
    if let Some(logs) = &providers.logs {
        let lines = OpenTelemetryTracingBridge::new(logs);
        let ours = filter_fn(|meta| meta.is_event() && is_ours(meta) && !meta.target().starts_with(DELIVERY));
        layers.push(Box::new(lines.with_filter(ours).with_filter(filter(log))));
    }
    subscriber.with(layers)
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
