//! A span per call, in the trace of its client; a line, and a measurement, when it has ended.

use super::{Request, Response, method, status_in_head};
use crate::telemetry::{Calls, names, status_name, trace};
use futures_util::future::BoxFuture;
use http::HeaderMap;
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use opentelemetry::trace::Status as SpanStatus;
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};
use tonic::{Code, Status, body::Body, transport::server::TcpConnectInfo};
use tower::{Layer, Service};
use tracing::{Instrument, Span, debug, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Opens a span with method, peer and (once it is known) tenant. Outermost, so that what the other layers refuse is in
/// the log too. Health is left out: it would drown the rest.
#[derive(Clone, Debug)]
pub struct TraceLayer {
    calls: Calls,
}

impl TraceLayer {
    /// Measures calls with this.
    #[must_use]
    pub fn new(calls: Calls) -> Self {
        Self { calls }
    }
}

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;

    fn layer(&self, inner: S) -> Trace<S> {
        Trace { inner, calls: self.calls.clone() }
    }
}

/// See [`TraceLayer`].
#[derive(Clone, Debug)]
pub struct Trace<S> {
    inner: S,
    calls: Calls,
}

impl<S> Service<Request<Body>> for Trace<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        if method::is_health(path) {
            return Box::pin(self.inner.call(request));
        }
        let method = method::known(path);
        let span = span(&request, method);
        let call = Call {
            span: span.clone(),
            method,
            calls: self.calls.clone(),
            begin: Instant::now(),
            http: 0,
            ended: false,
        };
        let answer = span.in_scope(|| self.inner.call(request));
        Box::pin(async move { Ok(watch(answer.await?, call)) }.instrument(span))
    }
}

/// The names come from outside: their `Debug` form has no line breaks.
fn span(request: &Request<Body>, known: &'static str) -> Span {
    let peer = request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
    let peer = peer.map(tracing::field::display);
    let span = tracing::info_span!(
        "rpc",
        otel.name = known,
        otel.kind = "server",
        rpc.method = known,
        rpc.method_original = Empty,
        peer,
        inkpot.tenant = Empty
    );
    if known == method::OTHER {
        span.record("rpc.method_original", tracing::field::debug(request.uri().path()));
    }
    // Fails only where no layer exports spans: then there is nothing to be a child of.
    let _ = span.set_parent(trace::of_headers(request.headers()));
    // Not as fields: they would stand in every log line of the call.
    span.set_attribute(names::RPC_SYSTEM, "grpc");
    span
}

/// A call whose end is waited for.
#[derive(Debug)]
struct Call {
    span: Span,
    method: &'static str,
    calls: Calls,
    begin: Instant,
    http: u16,
    ended: bool,
}

impl Call {
    fn end(&mut self, code: Code, why: &str) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let http = self.http;
        let took = self.begin.elapsed();
        self.calls.ended(self.method, code, took);
        self.span.set_attribute(names::RPC_STATUS, status_name(code));
        if is_fault_of_server(code) {
            self.span.set_status(SpanStatus::error(status_name(code)));
        }
        self.span.in_scope(|| debug!(?code, ?why, http, seconds = took.as_secs_f64(), "answered"));
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(Code::Cancelled, "the client has gone before the end of its answer");
    }
}

/// The codes that make the span of a server an error, by the conventions for gRPC.
fn is_fault_of_server(code: Code) -> bool {
    use Code as C;
    matches!(code, C::Unknown | C::DeadlineExceeded | C::Unimplemented | C::Internal | C::Unavailable | C::DataLoss)
}

/// An answer ends with the status in its head, or else with its trailers.
fn watch(response: Response<Body>, mut call: Call) -> Response<Body> {
    call.http = response.status().as_u16();
    if let Some((code, why)) = status_in_head(&response) {
        call.end(code, &why);
        return response;
    }
    response.map(|body| Body::new(Watched { body, call }))
}

/// The body of an answer, until its trailers.
#[derive(Debug)]
struct Watched {
    body: Body,
    call: Call,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    let (code, why) = status_of(trailers);
                    self.call.end(code, &why);
                }
            }
            Some(Err(status)) => self.call.end(status.code(), status.message()),
            None => self.call.end(Code::Ok, ""),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Nobody takes a frame from a body that says that it is at its end.
        if self.body.is_end_stream() {
            self.call.end(Code::Ok, "");
        }
    }
}

fn status_of(trailers: &HeaderMap) -> (Code, String) {
    let status = Status::from_header_map(trailers);
    status.map_or((Code::Ok, String::new()), |status| (status.code(), status.message().to_owned()))
}
