//! A span per call, and a line when it is answered.

use super::{Request, Response, method, status_in_head};
use futures_util::future::BoxFuture;
use std::{
    task::{Context, Poll},
    time::Instant,
};
use tonic::{Code, body::Body, transport::server::TcpConnectInfo};
use tower::{Layer, Service};
use tracing::{Instrument, Span, debug, field::Empty};

/// Opens a span with method, peer and (once it is known) tenant. Outermost, so that what the other layers refuse is in
/// the log too. Health is left out: it would drown the rest.
#[derive(Clone, Copy, Debug, Default)]
pub struct TraceLayer;

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;

    fn layer(&self, inner: S) -> Trace<S> {
        Trace { inner }
    }
}

/// See [`TraceLayer`].
#[derive(Clone, Debug)]
pub struct Trace<S> {
    inner: S,
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
        if method::is_health(request.uri().path()) {
            return Box::pin(self.inner.call(request));
        }
        let span = span(&request);
        let begin = Instant::now();
        let answer = span.in_scope(|| self.inner.call(request));
        Box::pin(async move { answer.await.inspect(|response| log(response, begin)) }.instrument(span))
    }
}

/// The names come from outside: their `Debug` form has no line breaks.
fn span(request: &Request<Body>) -> Span {
    let peer = request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
    let peer = peer.map(tracing::field::display);
    tracing::info_span!("rpc", method = ?request.uri().path(), peer, tenant = Empty)
}

/// A stream is answered by its head alone, and logs its own end, because it knows what it carried.
fn log(response: &Response<Body>, begin: Instant) {
    let (code, why) = status_in_head(response).unwrap_or((Code::Ok, String::new()));
    let seconds = begin.elapsed().as_secs_f64();
    debug!(?code, ?why, http = response.status().as_u16(), seconds, "answered");
}
