#![allow(clippy::unwrap_used)]

use super::*;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SdkTracerProvider, SpanData, SpanExporter},
};
use std::sync::Mutex;
use tracing_subscriber::layer::SubscriberExt;

const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const NOT_SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
const OTHER: &str = "00-11111111111111111111111111111111-2222222222222222-01";

/// Spans that have ended.
#[derive(Clone, Debug, Default)]
struct Ended(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Ended {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

impl Ended {
    fn named(&self, name: &str) -> Vec<SpanData> {
        self.0.lock().unwrap().iter().filter(|span| span.name == name).cloned().collect()
    }

    fn one(&self, name: &str) -> SpanData {
        let mut found = self.named(name);
        assert_eq!(found.len(), 1, "spans {name:?}");
        found.remove(0)
    }
}

/// The spans that `act` makes.
fn spans(act: impl FnOnce()) -> Ended {
    let ended = Ended::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(ended.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), act);
    ended
}

fn of(path: &str) -> Append<'_> {
    Append { tenant: "default", path, channel: 1, seq: 7, bytes: 100 }
}

fn traced(tracing: &Tracing, traceparent: &str) -> AppendTrace {
    *tracing.append(&of_field(traceparent).unwrap(), of("a.log")).unwrap().queued()
}

fn attribute(span: &SpanData, key: &str) -> String {
    span.attributes.iter().find(|found| found.key.as_str() == key).unwrap().value.to_string()
}

#[test]
fn only_a_sampled_and_valid_traceparent_counts() {
    assert!(of_field(SAMPLED).is_some());
    let nonsense = ["", NOT_SAMPLED, "00-00000000000000000000000000000000-b7ad6b7169203331-01", "nonsense", "00-", "ÿ"];
    for nonsense in nonsense {
        assert_eq!(of_field(nonsense), None, "{nonsense:?}");
    }
}

#[test]
fn the_context_of_a_call_comes_from_its_headers() {
    let mut headers = http::HeaderMap::new();
    assert!(!of_headers(&headers).span().span_context().is_valid());
    headers.insert("traceparent", SAMPLED.parse().unwrap());
    headers.insert("tracestate", "vendor=1".parse().unwrap());
    let context = of_headers(&headers);
    let found = context.span().span_context().clone();
    assert_eq!(found.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(found.trace_state().get("vendor"), Some("1"));
}

#[test]
fn a_write_is_one_trace_through_admission_queue_and_commit() {
    let spans = spans(|| {
        let mut append = traced(&Tracing::new(10), SAMPLED);
        append.taken(Some(4096));
        let commit = CommitTrace::begin(3, vec![append]).unwrap();
        drop(commit.write());
        drop(commit.sync());
        commit.end(Durability::Synced);
    });
    let append = spans.one("append");
    assert_eq!(append.parent_span_id.to_string(), "b7ad6b7169203331");
    assert_eq!(attribute(&append, "inkpot.path"), "a.log");
    assert_eq!(attribute(&append, "inkpot.durability"), "synced");
    let number = |span: &SpanData, key: &str| {
        let found = span.attributes.iter().find(|found| found.key.as_str() == key);
        found.map(|found| found.value.clone()).unwrap()
    };
    assert_eq!(number(&append, "inkpot.offset"), opentelemetry::Value::I64(4096));
    assert_eq!(number(&append, "inkpot.seq"), opentelemetry::Value::I64(7));
    let commit = spans.one("commit");
    for (child, parent) in
        [("admission", &append), ("queue", &append), ("commit", &append), ("wal.write", &commit), ("wal.sync", &commit)]
    {
        let child = spans.one(child);
        assert_eq!(child.parent_span_id, parent.span_context.span_id(), "{}", child.name);
        assert_eq!(child.span_context.trace_id(), append.span_context.trace_id(), "{}", child.name);
    }
    assert_eq!(number(&commit, "inkpot.shard"), opentelemetry::Value::I64(3));
}

#[test]
fn a_commit_links_to_every_traced_append_and_they_to_it() {
    let spans = spans(|| {
        let tracing = Tracing::new(10);
        let appends = vec![traced(&tracing, SAMPLED), traced(&tracing, OTHER)];
        CommitTrace::begin(0, appends).unwrap().end(Durability::Written);
    });
    let commit = spans.one("commit");
    let appends = spans.named("append");
    let linked: Vec<_> = commit.links.iter().map(|link| link.span_context.span_id()).collect();
    for append in &appends {
        assert!(linked.contains(&append.span_context.span_id()));
    }
    let of_other_trace = appends.iter().find(|append| append.span_context.trace_id() != commit.span_context.trace_id());
    let links = &of_other_trace.unwrap().links;
    assert!(links.iter().any(|link| link.span_context.span_id() == commit.span_context.span_id()));
}

#[test]
fn a_sampled_session_shares_its_trace_with_one_append_a_second_and_not_for_ever() {
    let parent = of_field(SAMPLED).unwrap();
    let mut session = SessionTrace { parent: parent.clone(), last: None, left: SESSION_APPENDS };
    let begin = Instant::now();
    assert_eq!(session.due(begin), Some(parent));
    assert_eq!(session.due(begin + SESSION_PAUSE / 2), None);
    let due = (1..2 * SESSION_APPENDS).filter(|n| session.due(begin + *n * SESSION_PAUSE).is_some()).count();
    assert_eq!(due, SESSION_APPENDS as usize - 1);
}

#[test]
fn a_refused_append_ends_with_its_reason() {
    let spans = spans(|| traced(&Tracing::new(10), SAMPLED).refused(ErrorReason::SequenceGap));
    let append = spans.one("append");
    assert_eq!(attribute(&append, "inkpot.reason"), "sequence_gap");
    assert_eq!(append.status, Status::error("sequence_gap"));
}

#[test]
fn a_commit_that_fails_is_an_error_in_its_span_and_those_of_its_appends() {
    let spans = spans(|| {
        drop(CommitTrace::begin(0, vec![traced(&Tracing::new(10), SAMPLED)]));
    });
    for name in ["append", "commit"] {
        assert_eq!(spans.one(name).status, Status::error(NOT_COMMITTED), "{name}");
    }
}

#[test]
fn a_commit_without_traced_appends_has_no_span() {
    assert!(spans(|| assert!(CommitTrace::begin(0, Vec::new()).is_none())).0.lock().unwrap().is_empty());
}

#[test]
fn appends_beyond_the_bound_of_a_second_are_not_traced() {
    let bound = Bound::new(2);
    assert!(bound.allows_in(5) && bound.allows_in(5));
    assert!(!bound.allows_in(5));
    assert!(bound.allows_in(6), "a new second");
    assert!(!Bound::new(0).allows_in(0));
    let none = Tracing::new(0);
    assert!(none.append(&of_field(SAMPLED).unwrap(), of("a.log")).is_none());
}

#[test]
fn calls_are_traced_up_to_a_bound_whoever_sampled_them() {
    let sampler = BoundedCalls::sampler(3);
    let sampled = |parent: &Context| {
        let decision = sampler.should_sample(Some(parent), TraceId::from(7), "rpc", &SpanKind::Server, &[], &[]);
        decision.decision == opentelemetry_sdk::trace::SamplingDecision::RecordAndSample
    };
    let roots = (0..100).filter(|_| sampled(&Context::new())).count();
    // The second may end meanwhile.
    assert!((3..=6).contains(&roots), "{roots}");
    let of_client =
        |traceparent: &str| TraceContextPropagator::new().extract_with_context(&Context::new(), &Field(traceparent));
    let sampled_by_clients = (0..100).filter(|_| sampled(&of_client(SAMPLED))).count();
    assert!((3..=6).contains(&sampled_by_clients), "{sampled_by_clients}");
    assert!(!sampled(&of_client(NOT_SAMPLED)));
}
