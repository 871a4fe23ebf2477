//! Instruments, made from the list of [`names`](super::names): units, descriptions and buckets are the same everywhere.

use super::names::{Kind, Metric};
use opentelemetry::{
    KeyValue,
    metrics::{AsyncInstrument, Histogram, Meter},
};

/// Bounds of the buckets of durations, in seconds: a commit takes 0.1 ms on a good disk, a wait for a quota minutes.
const SECONDS: [f64; 17] =
    [1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];
/// Bounds of the buckets of sizes, in bytes: a frame has 64 B to 4 MiB.
const BYTES: [f64; 9] = [256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 2_097_152.0, 4_194_304.0];
/// Bounds of the buckets of numbers of appends.
const APPENDS: [f64; 11] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 1000.0, 2500.0, 10_000.0];

/// A histogram.
pub(super) fn histogram(meter: &Meter, metric: &Metric) -> Histogram<f64> {
    debug_assert_eq!(metric.kind, Kind::Histogram, "{}", metric.name);
    let bounds = match metric.unit {
        "s" => SECONDS.to_vec(),
        "By" => BYTES.to_vec(),
        _ => APPENDS.to_vec(),
    };
    meter
        .f64_histogram(metric.name)
        .with_unit(metric.unit)
        .with_description(metric.description)
        .with_boundaries(bounds)
        .build()
}

/// A counter or gauge of whole numbers whose values `read` tells when somebody collects.
pub(super) fn observe(
    meter: &Meter,
    metric: &Metric,
    read: impl Fn(&mut dyn FnMut(u64, &[KeyValue])) + Send + Sync + 'static,
) {
    let callback = move |observer: &dyn AsyncInstrument<u64>| {
        read(&mut |value, attributes| observer.observe(value, attributes));
    };
    match metric.kind {
        Kind::Counter => {
            let builder = meter.u64_observable_counter(metric.name).with_unit(metric.unit);
            builder.with_description(metric.description).with_callback(callback).build();
        }
        _ => {
            let builder = meter.u64_observable_gauge(metric.name).with_unit(metric.unit);
            builder.with_description(metric.description).with_callback(callback).build();
        }
    }
}
