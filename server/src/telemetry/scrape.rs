//! The Prometheus endpoint: `GET /metrics`, over HTTP/1, to anybody who can reach the address. Bounded: connections,
//! and the time that a client may take to ask.

use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{body::Bytes, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{Encoder, Registry, TextEncoder};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::Semaphore, time};

/// Connections at a time; further ones wait to be accepted.
const CONNECTIONS: usize = 16;
/// How long a client may take to send the head of its request.
const HEAD: Duration = Duration::from_secs(10);
/// How long a connection may last, which is one request: a client that does not read must not hold its place.
const CONNECTION: Duration = Duration::from_secs(30);
/// After an error of `accept`, such as too many descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves what `registry` gathers, for as long as the runtime lives.
pub(super) async fn serve(listener: TcpListener, registry: Registry) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // Never closed, so there is always a place in the end.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let registry = registry.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request| {
                let response = answer(&request, &registry);
                async { Ok::<_, Infallible>(response) }
            });
            let mut http = http1::Builder::new();
            let http = http.timer(TokioTimer::new()).header_read_timeout(HEAD).keep_alive(false);
            // A client that breaks off has what it wanted, or asks again.
            let _ = time::timeout(CONNECTION, http.serve_connection(TokioIo::new(stream), answer)).await;
            drop(place);
        });
    }
}

fn answer(request: &Request<Incoming>, registry: &Registry) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => metrics(registry),
        (_, "/metrics") => words(StatusCode::METHOD_NOT_ALLOWED, "GET it"),
        _ => words(StatusCode::NOT_FOUND, "the metrics are at /metrics"),
    }
}

fn metrics(registry: &Registry) -> Response<Full<Bytes>> {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    match encoder.encode(&registry.gather(), &mut text) {
        Ok(()) => respond(StatusCode::OK, encoder.format_type(), text.into()),
        Err(error) => words(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn words(status: StatusCode, words: &str) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", format!("{words}\n").into())
}

fn respond(status: StatusCode, content_type: &str, body: Bytes) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status).header(CONTENT_TYPE, content_type);
    // Status and header are those above.
    response.body(Full::new(body)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
