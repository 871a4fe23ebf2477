//! Telemetry that cannot be delivered, and asking for it wrongly. What arrives where is shown by tests/telemetry, with a
//! real collector and Prometheus.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::{Append, AppendRequest};
use inkpot_tests::{
    Server, Setup,
    harness::{
        session::{append, open_as, unary},
        wait,
    },
};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

const BOUND: Duration = Duration::from_secs(60);
const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// An address where nobody listens.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Everything to a collector there, often, and without patience.
fn exporting(endpoint: &str) -> Setup {
    Setup::default()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .env("OTEL_EXPORTER_OTLP_TIMEOUT", "300")
        .env("OTEL_METRIC_EXPORT_INTERVAL", "200")
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
        .env("OTEL_BLRP_SCHEDULE_DELAY", "100")
        .env("INKPOT_LOG__FILTER", "inkpot_server=debug")
}

fn scrape(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// The value of a series, as it stands in the text of the endpoint.
fn value(text: &str, series: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

/// `count` appends of 10 bytes, each sampled by its client; all are acknowledged, and are in the plain file in order.
async fn write_traced(server: &Server, count: u64) {
    let mut session = server.session().await;
    session.opened(open_as(1, "logs/a", "p", 1)).await;
    for seq in 1..=count {
        let traced = Append { traceparent: SAMPLED.to_owned(), ..append(1, seq, format!("{seq:9}\n")) };
        session.append(traced).await;
    }
    session.acked(1, count).await.unwrap();
    let expected: String = (1..=count).map(|seq| format!("{seq:9}\n")).collect();
    let plain = server.plain("logs/a");
    let applied = || std::fs::read_to_string(&plain).is_ok_and(|text| text == expected);
    wait::until("the plain file has every append once", BOUND, applied).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_collector_costs_no_ack_and_is_told_of_once() {
    let mut server = Server::start(exporting(&format!("http://{}", free_address())));
    write_traced(&server, 5000).await;
    let told = || server.stderr().matches("telemetry cannot be delivered").count();
    // Once for each of traces, metrics and logs.
    wait::until("the server tells that nothing is delivered", BOUND, || told() == 3).await;
    write_traced_again(&server).await;
    assert_eq!(told(), 3, "it is told again for each batch");
    assert!(server.terminate().success());
}

async fn write_traced_again(server: &Server) {
    let mut session = server.session().await;
    session.opened(open_as(1, "logs/b", "p", 1)).await;
    for seq in 1..=20 {
        let traced = Append { traceparent: SAMPLED.to_owned(), ..append(1, seq, "x") };
        session.append(traced).await;
        session.acked(1, seq).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_takes_connections_and_answers_nothing_costs_no_ack_and_no_exit() {
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    let held = std::thread::spawn(move || collector.incoming().take(64).collect::<Vec<_>>());
    let mut server = Server::start(exporting(&endpoint).env("OTEL_EXPORTER_OTLP_TIMEOUT", "60000"));
    write_traced(&server, 5000).await;
    let begin = Instant::now();
    assert!(server.terminate().success());
    // Its own stages end at once, as nothing is open; the last words of telemetry have 2 s.
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    assert!(!held.is_finished());
}

#[tokio::test]
async fn the_endpoint_counts_what_was_acknowledged_and_every_permit_comes_back() {
    let metrics = free_address();
    let server = Server::start(Setup::default().arg("--metrics-listen").arg(metrics.to_string()));
    write_traced(&server, 1000).await;
    let text = scrape(metrics);
    let tenant = r#"inkpot_tenant="default""#;
    let series = [
        (format!(r#"inkpot_write_appends_total{{inkpot_durability="synced",{tenant}}}"#), 1000),
        (format!("inkpot_write_records_total{{{tenant}}}"), 1000),
        (format!("inkpot_write_io_bytes_total{{{tenant}}}"), 10_000),
        (format!("inkpot_sessions_active{{{tenant}}}"), 1),
        (format!("inkpot_admission_writes_usage{{{tenant}}}"), 0),
        (format!("inkpot_admission_payload_usage_bytes{{{tenant}}}"), 0),
        ("inkpot_admission_memory_usage_bytes".to_owned(), 0),
    ];
    for (series, expected) in series {
        assert_eq!(value(&text, &series), Some(expected), "{series} in\n{text}");
    }
}

#[tokio::test]
async fn tenants_beyond_the_bound_share_a_name() {
    let metrics = free_address();
    let setup = Setup::default().arg("--metrics-listen").arg(metrics.to_string());
    let setup = setup.config("[telemetry]\nmax_tenants = 1").token("first", "first-token-012345");
    let setup = setup.token("second", "second-token-012345").token("third", "third-token-012345");
    let server = Server::start(setup);
    for token in ["first-token-012345", "second-token-012345", "third-token-012345"] {
        let mut client = server.client_as(Some(token));
        client.append(unary("a", "x")).await.unwrap();
    }
    let text = scrape(metrics);
    let appends = |tenant: &str| {
        value(&text, &format!(r#"inkpot_write_appends_total{{inkpot_durability="synced",inkpot_tenant="{tenant}"}}"#))
    };
    assert_eq!((appends("first"), appends("other"), appends("second")), (Some(1), Some(2), None), "{text}");
}

#[test]
fn a_metrics_address_that_is_taken_is_told_with_the_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = Setup::default().arg("--metrics-listen").arg(&address).run_to_end();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&address) && said.contains("--metrics-listen"), "{said}");
}

#[tokio::test]
async fn wrong_variables_are_told_and_the_server_serves_without() {
    let wrong = [
        ("OTEL_TRACES_EXPORTER", "zipkin", "OTEL_TRACES_EXPORTER=zipkin"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "not a uri", "not exported"),
    ];
    for (name, value, words) in wrong {
        let server = Server::start(Setup::default().env(name, value));
        write_traced(&server, 10).await;
        assert!(server.stderr().contains(words), "{name}={value}: {}", server.stderr());
    }
}

#[tokio::test]
async fn every_refused_append_is_counted_once_with_its_reason() {
    let metrics = free_address();
    let server = Server::start(Setup::default().arg("--metrics-listen").arg(metrics.to_string()));
    let of = |producer_epoch| AppendRequest { producer_id: "p".into(), producer_epoch, seq: 1, ..unary("a", "x") };
    let mut client = server.client();
    client.append(of(2)).await.unwrap();
    client.append(of(1)).await.unwrap_err();
    client.append(unary("../a", "x")).await.unwrap_err();
    let mut session = server.session().await;
    session.append(append(9, 1, "x")).await;
    session.nack(9).await;
    session.opened(open_as(1, "b", "p", 1)).await;
    session.append(append(1, 5, "x")).await;
    session.nack(1).await;
    let text = scrape(metrics);
    let found: Vec<_> = text.lines().filter(|line| line.starts_with("inkpot_write_refusals_total")).collect();
    let expected = ["invalid_path", "producer_fenced", "unknown_channel", "unknown_producer"]
        .map(|reason| format!(r#"inkpot_write_refusals_total{{inkpot_reason="{reason}",inkpot_tenant="default"}} 1"#));
    assert_eq!(found, expected);
}
