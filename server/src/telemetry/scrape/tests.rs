#![allow(clippy::unwrap_used)]

use super::*;
use prometheus::{IntGauge, Opts};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What the endpoint answers to a request, with its head.
async fn ask(request: &str) -> String {
    let registry = Registry::new();
    let gauge = IntGauge::with_opts(Opts::new("pots", "Pots of ink.")).unwrap();
    gauge.set(3);
    registry.register(Box::new(gauge)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(serve(listener, registry));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    server.abort();
    answer
}

#[tokio::test]
async fn metrics_come_as_prometheus_text() {
    let answer = ask("GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    assert!(answer.ends_with("# HELP pots Pots of ink.\n# TYPE pots gauge\npots 3\n"), "{answer}");
}

#[tokio::test]
async fn other_paths_and_methods_are_told_where_the_metrics_are() {
    let answer = ask("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("/metrics"), "{answer}");
    let answer = ask("POST /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
}

#[tokio::test]
async fn what_is_no_http_is_refused() {
    let answer = ask("\0\0\0 nonsense\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}
