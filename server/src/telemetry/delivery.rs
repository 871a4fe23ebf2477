//! What stands between the SDK and an exporter of OTLP: runs it on the runtime of telemetry, and notices whether a
//! collector takes what is sent. A batch that cannot be delivered is lost: nothing waits for it, nothing is kept.

use super::{instruments, names, shards::Cell};
use opentelemetry::{KeyValue, metrics::Meter};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    logs::{LogBatch, LogExporter},
    metrics::{Temporality, data::ResourceMetrics, exporter::PushMetricExporter},
    trace::{SpanData, SpanExporter},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::runtime::Handle;
use tokio_util::context::TokioContext;

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Metrics,
    Logs,
}

impl Signal {
    pub(super) const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// In words, and as an attribute.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }
}

/// Whether the collector takes a signal.
#[derive(Debug, Default)]
pub(super) struct State {
    failing: AtomicBool,
    failures: Cell,
}

/// An exporter that is watched.
#[derive(Debug)]
pub(super) struct Delivery<E> {
    exporter: E,
    signal: Signal,
    runtime: Handle,
    state: Arc<State>,
}

impl<E> Delivery<E> {
    pub(super) fn new(exporter: E, signal: Signal, runtime: Handle, states: &States) -> Self {
        Self { exporter, signal, runtime, state: states.of(signal) }
    }

    /// Tells of a change, and only of a change: a collector that is down for a day is no reason for a million lines.
    async fn noticing(&self, export: impl Future<Output = OTelSdkResult>) -> OTelSdkResult {
        let outcome = TokioContext::new(export, self.runtime.clone()).await;
        let signal = self.signal.name();
        match &outcome {
            Ok(()) if self.state.failing.swap(false, Ordering::Relaxed) => {
                tracing::info!(signal, "telemetry is delivered again");
            }
            Ok(()) => {}
            Err(error) => {
                self.state.failures.add(1);
                if !self.state.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(signal, %error, "telemetry cannot be delivered and is dropped; writes are not affected");
                }
            }
        }
        outcome
    }
}

impl<E: SpanExporter> SpanExporter for Delivery<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.noticing(self.exporter.export(batch)).await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: LogExporter> LogExporter for Delivery<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        self.noticing(self.exporter.export(batch)).await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Delivery<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.noticing(self.exporter.export(metrics)).await
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

/// The states of all signals.
#[derive(Clone, Debug, Default)]
pub(super) struct States([Arc<State>; 3]);

impl States {
    fn of(&self, signal: Signal) -> Arc<State> {
        Arc::clone(&self.0[signal as usize])
    }

    /// Lets whoever collects read the failures.
    pub(super) fn observe(&self, meter: &Meter) {
        let states = self.clone();
        instruments::observe(meter, &names::EXPORT_FAILURES, move |tell| {
            for signal in Signal::ALL {
                tell(states.of(signal).failures.get(), &[KeyValue::new(names::SIGNAL, signal.name())]);
            }
        });
    }
}

#[cfg(test)]
mod tests;
