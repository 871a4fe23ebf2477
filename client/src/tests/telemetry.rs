//! Metrics as an SDK collects them, spans, and the trace context as the server sees it.

use super::{batched, held, in_time, record, singly, until};
use crate::{
    AppendOnce, Client, Error, ErrorReason, Session, TailOptions,
    fake::{Act, Fake, Fault, Feed},
    telemetry::Telemetry,
};
use futures_util::{FutureExt, StreamExt};
use inkpot_proto::v1::write_request::Frame;
use opentelemetry::{
    Context,
    metrics::MeterProvider,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider},
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    metrics::{
        PeriodicReader, SdkMeterProvider, Temporality,
        data::{AggregatedMetrics, MetricData, ResourceMetrics},
        exporter::PushMetricExporter,
    },
    trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};
use tracing::{Instrument, subscriber::DefaultGuard};
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
};

/// What was collected last.
#[derive(Clone, Default)]
struct Collected(Arc<Mutex<Metrics>>);

#[derive(Default)]
struct Metrics {
    /// By name and attribute: the value, or the number of values.
    values: BTreeMap<String, i64>,
    /// By name.
    units: BTreeMap<String, String>,
}

impl PushMetricExporter for Collected {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let mut collected = self.0.lock().unwrap();
        for metric in metrics.scope_metrics().flat_map(|scope| scope.metrics()) {
            assert!(metric.description().len() > 10, "{} is described", metric.name());
            collected.units.insert(metric.name().to_owned(), metric.unit().to_owned());
            collected.values.extend(points(metric.name(), metric.data()));
        }
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}

fn points(name: &str, data: &AggregatedMetrics) -> Vec<(String, i64)> {
    let named = |attribute: Option<&opentelemetry::KeyValue>| match attribute {
        Some(attribute) => format!("{name} {}", attribute.value),
        None => name.to_owned(),
    };
    match data {
        AggregatedMetrics::U64(MetricData::Sum(sum)) => {
            sum.data_points().map(|point| (named(point.attributes().next()), point.value() as i64)).collect()
        }
        AggregatedMetrics::I64(MetricData::Sum(sum)) => {
            sum.data_points().map(|point| (named(point.attributes().next()), point.value())).collect()
        }
        AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
            let point = |point: &opentelemetry_sdk::metrics::data::HistogramDataPoint<f64>| {
                assert!(point.count() == 0 || point.sum() > 0.0 && point.sum() < 60.0, "seconds");
                (named(point.attributes().next()), point.count() as i64)
            };
            histogram.data_points().map(point).collect()
        }
        _ => panic!("{name} is of another kind"),
    }
}

/// A client that reports to a provider of its own.
struct Metered {
    client: Client,
    provider: SdkMeterProvider,
    collected: Collected,
}

impl Metered {
    fn new(endpoint: &str, appends: u32) -> Self {
        let collected = Collected::default();
        let hour = Duration::from_secs(3600);
        let reader = PeriodicReader::builder(collected.clone()).with_interval(hour).build();
        let provider = SdkMeterProvider::builder().with_reader(reader).build();
        let mut settings = Client::builder(endpoint).in_flight(appends, 1 << 20).settings().unwrap();
        settings.telemetry = Telemetry::new(&provider.meter("test"));
        Self { client: Client::new(settings), provider, collected }
    }

    /// What is collected now, without what is zero.
    fn collect(&self) -> BTreeMap<String, i64> {
        self.provider.force_flush().unwrap();
        let mut collected = self.collected.0.lock().unwrap();
        std::mem::take(&mut collected.values).into_iter().filter(|(_, value)| *value != 0).collect()
    }
}

fn expected<const N: usize>(values: [(&str, i64); N]) -> BTreeMap<String, i64> {
    values.into_iter().map(|(name, value)| (format!("inkpot.client.{name}"), value)).collect()
}

#[tokio::test]
async fn acks_refusals_and_reconnects_are_counted() {
    let mut acts = vec![
        Act::Cut { applied: true },
        Act::Nack { reason: ErrorReason::DiskFull, applied: false },
        Act::Nack { reason: ErrorReason::ShardClosed, applied: false },
    ];
    let fake = Fake::start(move |seen| match seen.frame {
        Frame::Append(append) if append.seq == 2 => acts.pop().unwrap_or(Act::Serve),
        _ => Act::Serve,
    })
    .await;
    let metered = Metered::new(&fake.endpoint, 100);
    let session = metered.client.session().await;
    let writer = session.open("f", batched(3, Duration::from_secs(3600))).await.unwrap();
    for number in 0..6 {
        in_time(writer.write(record(number))).await.unwrap();
        if number % 3 == 2 {
            in_time(writer.flush()).await.unwrap();
        }
    }
    in_time(metered.client.append_once("g", vec![record(1)], AppendOnce::default())).await.unwrap();
    let collected = metered.collect();
    let values = expected([
        ("appends", 3),
        ("records", 7),
        ("io", 7 * record(0).len() as i64),
        ("refusals disk_full", 1),
        ("refusals shard_closed", 1),
        ("reconnects Write", 1),
        ("append.duration synced", 3),
    ]);
    assert_eq!(collected, values);
}

#[tokio::test]
async fn what_is_in_flight_and_who_waits_shows_until_it_is_acked_or_fails() {
    let (fake, released) = held().await;
    let metered = Metered::new(&fake.endpoint, 2);
    let session = metered.client.session().await;
    let writer = session.open("f", singly()).await.unwrap();
    while writer.write(record(1)).now_or_never().is_some() {}
    let bytes = 2 * record(1).len() as i64;
    let mut collected = metered.collect();
    collected.remove("inkpot.client.reconnects Write");
    assert_eq!(collected, expected([("in_flight.appends", 2), ("in_flight.size", bytes), ("window.waits", 1)]));
    released.store(true, Ordering::SeqCst);
    in_time(writer.flush()).await.unwrap();
    let collected = metered.collect();
    assert_eq!(collected.get("inkpot.client.appends"), Some(&2));
    assert_eq!(collected.get("inkpot.client.in_flight.appends"), None);

    released.store(false, Ordering::SeqCst);
    let receipt = writer.append(vec![record(2)]).await.unwrap();
    assert_eq!(metered.collect().get("inkpot.client.in_flight.size"), Some(&(bytes / 2)));
    let shared = session.watch();
    drop((writer, session));
    in_time(receipt).await.unwrap_err();
    until(|| shared.upgrade().is_none()).await;
    assert_eq!(metered.collect().get("inkpot.client.in_flight.size"), None);
}

#[tokio::test]
async fn tail_that_goes_on_counts_as_reconnected() {
    let feed = Feed::start([Fault::End(1, None), Fault::End(1, None)]);
    feed.append("0123456789012");
    let metered = Metered::new(&feed.endpoint, 1);
    let mut tail = metered.client.files().tail("f", TailOptions::default());
    for _ in 0..3 {
        in_time(tail.next()).await.unwrap().unwrap();
    }
    assert_eq!(metered.collect(), expected([("reconnects Read", 2)]));
}

#[tokio::test]
async fn names_and_units_are_those_of_the_docs_and_ucum() {
    let fake = Fake::start(super::once(1, Act::Nack { reason: ErrorReason::DiskFull, applied: false })).await;
    let metered = Metered::new(&fake.endpoint, 1);
    let writer = metered.client.session().await.open("f", singly()).await.unwrap();
    in_time(writer.append(vec![record(1)]).await.unwrap()).await.unwrap();
    metered.client.files().telemetry().reconnected("Read");
    metered.collect();
    let units: Vec<_> = metered.collected.0.lock().unwrap().units.clone().into_iter().collect();
    let expected = [
        ("append.duration", "s"),
        ("appends", "{append}"),
        ("in_flight.appends", "{append}"),
        ("in_flight.size", "By"),
        ("io", "By"),
        ("reconnects", "{stream}"),
        ("records", "{record}"),
        ("refusals", "{refusal}"),
        ("window.waits", "{wait}"),
    ];
    assert_eq!(units, expected.map(|(name, unit)| (format!("inkpot.client.{name}"), unit.to_owned())));
    let (crate_docs, page) = (include_str!("../lib.rs"), include_str!("../../../TELEMETRY.md"));
    for (name, unit) in expected {
        assert!(crate_docs.contains(&format!(".{name}`")), "the docs of the crate name {name}");
        assert!(page.contains(&format!("| `inkpot.client.{name}` | `{unit}` |")), "TELEMETRY.md shows {name}");
    }
}

/// The spans that have ended.
#[derive(Clone, Debug, Default)]
struct Ended(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Ended {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

/// Traces what this library does on this thread.
fn traced(sampler: Sampler) -> (Ended, DefaultGuard) {
    let ended = Ended::default();
    let provider = SdkTracerProvider::builder().with_sampler(sampler).with_simple_exporter(ended.clone()).build();
    let ours = Targets::new().with_target("inkpot_client", LevelFilter::TRACE);
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test")).with_filter(ours);
    (ended, tracing::subscriber::set_default(tracing_subscriber::registry().with(layer)))
}

async fn session(fake: &Fake) -> Session {
    Client::builder(&fake.endpoint).connect().await.unwrap().session().await
}

fn ids(context: &SpanContext) -> String {
    format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags())
}

async fn current() -> String {
    use tracing_opentelemetry::OpenTelemetrySpanExt;
    ids(tracing::Span::current().context().span().span_context())
}

#[tokio::test]
async fn appends_carry_the_sampled_span_of_their_first_record() {
    let fake = Fake::good().await;
    let (_, _guard) = traced(Sampler::AlwaysOn);
    let hour = Duration::from_secs(3600);
    let writer = session(&fake).await.open("f", batched(2, hour)).await.unwrap();
    in_time(writer.write(record(0))).await.unwrap();
    in_time(writer.flush()).await.unwrap();
    let write = |number| writer.write(record(number));
    let in_span = |number| {
        let span = tracing::info_span!("request");
        async move {
            in_time(write(number)).await.unwrap();
            current().await
        }
        .instrument(span)
    };
    let first = in_span(1).await;
    let second = in_span(2).await;
    let third = in_span(3).await;
    let appended = async {
        in_time(writer.append(vec![record(4), record(5)]).await.unwrap()).await.unwrap();
        current().await
    };
    let fourth = appended.instrument(tracing::info_span!("append")).await;
    assert_ne!(first, second);
    let traces = fake.world(|world| world.traces.clone());
    assert_eq!(traces, [String::new(), first.clone(), third, fourth]);
    assert_eq!((first.len(), first.ends_with("-01")), (55, true));
}

#[tokio::test]
async fn span_that_is_not_sampled_goes_with_calls_and_not_with_appends() {
    let fake = Fake::good().await;
    let (_, _guard) = traced(Sampler::AlwaysOff);
    let work = async {
        let writer = session(&fake).await.open("f", singly()).await.unwrap();
        in_time(writer.append(vec![record(1)]).await.unwrap()).await.unwrap();
        let client = Client::builder(&fake.endpoint).connect().await.unwrap();
        in_time(client.append_once("g", vec![record(1)], AppendOnce::default())).await.unwrap();
        current().await
    };
    let span = in_time(work.instrument(tracing::info_span!("request"))).await;
    assert!(span.ends_with("-00"));
    let (traces, contexts) = fake.world(|world| (world.traces.clone(), world.contexts.clone()));
    assert_eq!(traces, [""]);
    assert_eq!(contexts[1], [Some(span), None]);
}

#[tokio::test]
async fn context_without_tracing_goes_with_its_state() {
    let fake = Fake::good().await;
    let state = TraceState::from_key_value([("vendor", "value")]).unwrap();
    let span = SpanContext::new(TraceId::from(5), SpanId::from(6), TraceFlags::SAMPLED, true, state);
    let client = Client::builder(&fake.endpoint).connect().await.unwrap();
    let writer = client.session().await.open("f", singly()).await.unwrap();
    {
        let _active = Context::new().with_remote_span_context(span.clone()).attach();
        in_time(client.append_once("g", vec![record(1)], AppendOnce::default())).await.unwrap();
        writer.try_write(record(1)).unwrap();
    }
    in_time(writer.flush()).await.unwrap();
    let (traces, contexts) = fake.world(|world| (world.traces.clone(), world.contexts.clone()));
    assert_eq!(contexts, [[None, None], [Some(ids(&span)), Some("vendor=value".to_owned())]]);
    assert_eq!(traces, [ids(&span)]);
}

#[tokio::test]
async fn session_connections_and_opens_are_spans_and_the_stream_belongs_to_its_connection() {
    let fake = Fake::start(super::once(1, Act::Cut { applied: false })).await;
    let (ended, _guard) = traced(Sampler::AlwaysOn);
    let session = session(&fake).await;
    let writer = in_time(session.open("logs/f", singly())).await.unwrap();
    in_time(writer.append(vec![record(1)]).await.unwrap()).await.unwrap();
    let refused = in_time(session.open("../up", singly())).await.unwrap_err();
    assert_eq!(refused.reason(), Some(ErrorReason::InvalidPath), "never sent: no span");
    fake.world(|world| world.refuse = Some(tonic::Status::unauthenticated("expired")));
    let other = self::session(&fake).await;
    let denied = in_time(other.open("logs/g", singly())).await.unwrap_err();
    drop((writer, other));
    in_time(session.close()).await.unwrap();
    until(|| ended.0.lock().unwrap().iter().filter(|span| span.name == "inkpot.session").count() == 2).await;

    let spans = ended.0.lock().unwrap().clone();
    let named = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let (sessions, connects, opens) = (named("inkpot.session"), named("inkpot.connect"), named("inkpot.open"));
    assert_eq!((sessions.len(), connects.len(), opens.len(), spans.len()), (2, 3, 2, 7), "none per record");
    for (connect, [traceparent, _]) in connects.iter().zip(fake.world(|world| world.contexts.clone())) {
        assert_eq!(traceparent, Some(ids(&connect.span_context)));
        assert_eq!(connect.span_kind, SpanKind::Client);
        assert!(sessions.iter().any(|session| session.span_context.span_id() == connect.parent_span_id));
    }
    let failed = |span: &SpanData, error: &Error| span.status == Status::error(error.to_string());
    assert!(!failed(opens[0], &denied) && failed(opens[1], &denied), "{:?}", opens[1].status);
    assert!(matches!(connects[2].status, Status::Error { .. }));
    assert!(opens.iter().all(|open| open.attributes.iter().any(|attribute| attribute.key.as_str() == "inkpot.path")));
}
