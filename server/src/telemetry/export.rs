//! Where telemetry goes: to a collector by OTLP, as the standard `OTEL_*` variables say, and to whoever scrapes the
//! Prometheus endpoint. Without either nothing is measured, and nothing is made.

use super::{
    delivery::{Delivery, Signal, States},
    trace::BoundedCalls,
};
use crate::config;
use opentelemetry::{KeyValue, Value};
use opentelemetry_otlp::{ExporterBuildError, LogExporter, MetricExporter, SpanExporter};
use opentelemetry_sdk::{Resource, logs::SdkLoggerProvider, metrics::SdkMeterProvider, trace::SdkTracerProvider};
use prometheus::Registry;
use tokio::runtime::Runtime;

/// Port of OTLP over gRPC: an endpoint there is taken for one, where no variable names a protocol.
const GRPC_PORT: &str = ":4317";

/// Appends that a commit links to, at most.
const COMMIT_LINKS: u32 = 1024;
/// The samplers that the SDK knows by name.
const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

/// What the environment asks for, by signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    pub(super) traces: bool,
    pub(super) metrics: bool,
    pub(super) logs: bool,
}

impl Wishes {
    /// Reads the variables that say what is exported. Those that say how are read by the exporters themselves. Returns
    /// what it did not understand, too.
    pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> (Self, Vec<String>) {
        let mut problems = Vec::new();
        let mut wishes = Self::default();
        if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return (wishes, problems);
        }
        problems.extend(not_understood(&variable));
        for signal in Signal::ALL {
            let wanted = match wish(signal, &variable) {
                Ok(wanted) => wanted,
                Err(problem) => {
                    problems.push(problem);
                    false
                }
            };
            match signal {
                Signal::Traces => wishes.traces = wanted,
                Signal::Metrics => wishes.metrics = wanted,
                Signal::Logs => wishes.logs = wanted,
            }
        }
        (wishes, problems)
    }

    pub(super) fn any(self) -> bool {
        self.traces || self.metrics || self.logs
    }
}

/// Whether a variable names a sampler that there is.
fn names_a_sampler(variable: &impl Fn(&str) -> Option<String>) -> bool {
    variable("OTEL_TRACES_SAMPLER").is_some_and(|name| SAMPLERS.contains(&name.trim()))
}

/// Values that the exporters would pass over without a word.
fn not_understood(variable: &impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut problems = Vec::new();
    let mut check = |name: String, known: &[&str], instead: &str| {
        let value = variable(&name).unwrap_or_default();
        if !value.trim().is_empty() && !known.contains(&value.trim()) {
            let may = if known.is_empty() { "this version does not have it".to_owned() } else { known.join(", ") };
            problems.push(format!("{name}={value:?} is not understood ({may}); {instead}"));
        }
    };
    for infix in ["", "TRACES_", "METRICS_", "LOGS_"] {
        let of = |what: &str| format!("OTEL_EXPORTER_OTLP_{infix}{what}");
        check(of("PROTOCOL"), &["grpc", "http/protobuf"], "the default is taken");
        check(of("COMPRESSION"), &["none"], "nothing is compressed");
        for what in ["CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"] {
            check(of(what), &[], "the certificates of the system are believed, and none is shown");
        }
    }
    check("OTEL_TRACES_SAMPLER".to_owned(), &SAMPLERS, "calls are traced up to a bound");
    problems
}

/// Whether a signal is wanted: if its exporter is named, or an endpoint is and no exporter.
fn wish(signal: Signal, variable: &impl Fn(&str) -> Option<String>) -> Result<bool, String> {
    let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let name = signal.name().to_ascii_uppercase();
    let exporter = format!("OTEL_{name}_EXPORTER");
    match set(&exporter).as_deref().map(str::trim) {
        Some("otlp") => Ok(true),
        Some("none") => Ok(false),
        Some(other) => Err(format!("{exporter}={other}: it may be otlp or none; {} are not exported", signal.name())),
        None => Ok(endpoint(signal, variable).is_some()),
    }
}

fn endpoint(signal: Signal, variable: &impl Fn(&str) -> Option<String>) -> Option<String> {
    let name = signal.name().to_ascii_uppercase();
    let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    set(&format!("OTEL_EXPORTER_OTLP_{name}_ENDPOINT")).or_else(|| set("OTEL_EXPORTER_OTLP_ENDPOINT"))
}

/// Whether a signal goes over gRPC although no variable says so.
fn is_grpc_by_endpoint(signal: Signal, variable: &impl Fn(&str) -> Option<String>) -> bool {
    let name = signal.name().to_ascii_uppercase();
    let named = [format!("OTEL_EXPORTER_OTLP_{name}_PROTOCOL"), "OTEL_EXPORTER_OTLP_PROTOCOL".to_owned()];
    let is_named = named.iter().any(|name| variable(name).is_some_and(|value| !value.is_empty()));
    let endpoint = endpoint(signal, variable).unwrap_or_default();
    // Over HTTP this exporter has no TLS.
    !is_named && (endpoint.trim_end_matches('/').ends_with(GRPC_PORT) || endpoint.starts_with("https://"))
}

/// The providers of what is wanted.
#[derive(Debug, Default)]
pub(super) struct Providers {
    pub(super) traces: Option<SdkTracerProvider>,
    pub(super) metrics: Option<SdkMeterProvider>,
    pub(super) logs: Option<SdkLoggerProvider>,
}

/// Makes the providers; what cannot be made is left out, and told in the second part. `calls` in a second are
/// traced, unless a variable names a sampler.
pub(super) fn providers(
    wishes: Wishes,
    scrape: Option<&Registry>,
    calls: u32,
    runtime: &Runtime,
    states: &States,
) -> (Providers, Vec<String>) {
    // Exporters start tasks while they are made.
    let _context = runtime.enter();
    let resource = resource();
    let mut problems = Vec::new();
    let mut note = |signal: Signal, error: &ExporterBuildError| {
        problems.push(format!("{} are not exported: {error}", signal.name()));
    };
    let mut providers = Providers::default();
    if wishes.traces {
        match span_exporter() {
            Ok(exporter) => {
                let exporter = Delivery::new(exporter, Signal::Traces, runtime.handle().clone(), states);
                let provider = SdkTracerProvider::builder().with_resource(resource.clone());
                let mut provider = provider.with_max_links_per_span(COMMIT_LINKS);
                if !names_a_sampler(&from_environment) {
                    provider = provider.with_sampler(BoundedCalls::sampler(calls));
                }
                providers.traces = Some(provider.with_batch_exporter(exporter).build());
            }
            Err(error) => note(Signal::Traces, &error),
        }
    }
    if wishes.logs {
        match log_exporter() {
            Ok(exporter) => {
                let exporter = Delivery::new(exporter, Signal::Logs, runtime.handle().clone(), states);
                let provider = SdkLoggerProvider::builder().with_resource(resource.clone());
                providers.logs = Some(provider.with_batch_exporter(exporter).build());
            }
            Err(error) => note(Signal::Logs, &error),
        }
    }
    let mut meters = SdkMeterProvider::builder().with_resource(resource);
    let mut is_read = false;
    if wishes.metrics {
        match metric_exporter() {
            Ok(exporter) => {
                let exporter = Delivery::new(exporter, Signal::Metrics, runtime.handle().clone(), states);
                meters = meters.with_periodic_exporter(exporter);
                is_read = true;
            }
            Err(error) => note(Signal::Metrics, &error),
        }
    }
    if let Some(registry) = scrape {
        let reader = opentelemetry_prometheus::exporter().with_registry(registry.clone()).scope_info_enabled(false);
        match reader.build() {
            Ok(reader) => {
                meters = meters.with_reader(reader);
                is_read = true;
            }
            Err(error) => problems.push(format!("there is no Prometheus endpoint: {error}")),
        }
    }
    providers.metrics = is_read.then(|| meters.build());
    (providers, problems)
}

fn span_exporter() -> Result<SpanExporter, ExporterBuildError> {
    let builder = SpanExporter::builder();
    if is_grpc_by_endpoint(Signal::Traces, &from_environment) { builder.with_tonic().build() } else { builder.build() }
}

fn metric_exporter() -> Result<MetricExporter, ExporterBuildError> {
    let builder = MetricExporter::builder();
    if is_grpc_by_endpoint(Signal::Metrics, &from_environment) { builder.with_tonic().build() } else { builder.build() }
}

fn log_exporter() -> Result<LogExporter, ExporterBuildError> {
    let builder = LogExporter::builder();
    if is_grpc_by_endpoint(Signal::Logs, &from_environment) { builder.with_tonic().build() } else { builder.build() }
}

/// A variable of the process.
pub(super) fn from_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Who tells all this: as `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say, and what they leave out.
fn resource() -> Resource {
    let given = Resource::builder().build();
    let has = |key: &'static str| given.get(&key.into()).is_some();
    let unnamed = match given.get(&"service.name".into()) {
        Some(Value::String(name)) => name.as_str().starts_with("unknown_service"),
        _ => true,
    };
    let mut ours = Vec::new();
    if unnamed {
        ours.push(KeyValue::new("service.name", "inkpotd"));
    }
    if !has("service.version") {
        ours.push(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    }
    if !has("service.instance.id") {
        ours.push(KeyValue::new("service.instance.id", format!("{:032x}", rand::random::<u128>())));
    }
    Resource::builder().with_attributes(ours).build()
}

/// Whether there is anything to tell at all.
pub(super) fn is_wanted(wishes: Wishes, config: &config::Telemetry) -> bool {
    wishes.any() || config.metrics_listen.is_some()
}

#[cfg(test)]
mod tests;
