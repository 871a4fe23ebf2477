use super::*;

fn read(variables: &[(&str, &str)]) -> (Wishes, Vec<String>) {
    Wishes::read(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
}

fn wishes(variables: &[(&str, &str)]) -> Wishes {
    let (wishes, problems) = read(variables);
    assert_eq!(problems, [""; 0]);
    wishes
}

const ALL: Wishes = Wishes { traces: true, metrics: true, logs: true };

#[test]
fn nothing_is_exported_unless_asked_for() {
    assert_eq!(wishes(&[]), Wishes::default());
    assert_eq!(wishes(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), Wishes::default());
    assert_eq!(wishes(&[("OTEL_SERVICE_NAME", "a")]), Wishes::default());
}

#[test]
fn an_endpoint_asks_for_every_signal() {
    assert_eq!(wishes(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317")]), ALL);
}

#[test]
fn an_endpoint_of_a_signal_asks_for_that_signal() {
    let only = wishes(&[("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://localhost:4318/v1/logs")]);
    assert_eq!(only, Wishes { logs: true, ..Wishes::default() });
}

#[test]
fn an_exporter_wins_over_the_endpoint() {
    let without_logs =
        wishes(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317"), ("OTEL_LOGS_EXPORTER", "none")]);
    assert_eq!(without_logs, Wishes { logs: false, ..ALL });
    assert_eq!(wishes(&[("OTEL_TRACES_EXPORTER", "otlp")]), Wishes { traces: true, ..Wishes::default() });
}

#[test]
fn the_sdk_can_be_switched_off() {
    let off = wishes(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317"), ("OTEL_SDK_DISABLED", "TRUE")]);
    assert_eq!(off, Wishes::default());
}

#[test]
fn an_unknown_exporter_is_named_and_left_out() {
    let (found, problems) =
        read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317"), ("OTEL_TRACES_EXPORTER", "zipkin")]);
    assert_eq!(found, Wishes { traces: false, ..ALL });
    assert!(problems.len() == 1 && problems[0].contains("OTEL_TRACES_EXPORTER=zipkin"), "{problems:?}");
}

#[test]
fn the_grpc_port_means_grpc_unless_a_protocol_is_named() {
    let is_grpc = |variables: &[(&str, &str)]| {
        is_grpc_by_endpoint(Signal::Traces, &|name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    };
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317/");
    assert!(is_grpc(&[endpoint]));
    assert!(!is_grpc(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")]));
    assert!(is_grpc(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector")]), "HTTP has no TLS");
    assert!(!is_grpc(&[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")]));
    assert!(!is_grpc(&[endpoint, ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")]));
    assert!(!is_grpc(&[endpoint, ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://other:4318/v1/traces")]));
}

#[test]
fn an_empty_endpoint_of_a_signal_is_none() {
    let (found, _) =
        read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4317"), ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")]);
    assert_eq!(found, ALL);
}

#[test]
fn what_the_exporters_would_pass_over_is_named() {
    let wrong = [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "htpp/protobuf"),
        ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
        ("OTEL_TRACES_SAMPLER", "traceidrato"),
    ];
    for (name, value) in wrong {
        let (_, problems) = read(&[(name, value)]);
        assert!(problems.len() == 1 && problems[0].contains(name) && problems[0].contains(value), "{problems:?}");
    }
    let known = |name: &str| (name == "OTEL_TRACES_SAMPLER").then(|| "parentbased_traceidratio".to_owned());
    assert!(names_a_sampler(&known));
    assert!(!names_a_sampler(&|_: &str| Some("traceidrato".to_owned())));
}
