use super::*;
use std::{future::pending, time::Duration};
use tokio::time::{Instant, sleep};

const MAX: Duration = Duration::from_secs(300);

async fn never(_: Request<Body>) -> Result<Response<Body>, Infallible> {
    pending().await
}

/// Answers with the milliseconds that the handler has.
async fn tell_deadline(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let left = request.extensions().get::<Deadline>().map(|deadline| deadline.0 - Instant::now());
    let left = left.map_or("none".to_owned(), |left| left.as_millis().to_string());
    Ok(Response::builder().header("left", left).body(Body::empty()).unwrap())
}

fn timed(path: &str, timeout: &str) -> Request<Body> {
    with_header(call(path, ""), "grpc-timeout", timeout)
}

async fn left(request: Request<Body>) -> String {
    let response = answer(DeadlineLayer::new(MAX).layer(service_fn(tell_deadline)), request).await;
    response.headers()["left"].to_str().unwrap().to_owned()
}

/// Whether a handler that was called just now was told about this many seconds.
fn about(left: &str, seconds: u64) -> bool {
    let left: u64 = left.parse().unwrap();
    (seconds * 1000 - 2000..=seconds * 1000).contains(&left)
}

#[tokio::test]
async fn garbage_in_the_header_is_invalid_argument_before_the_handler() {
    for garbage in ["", "S", "5", "5s", "-1S", "+1S", "1.5S", "123456789S", "5SS", "0x1S", "soon"] {
        for path in [STAT, WRITE] {
            let layer = DeadlineLayer::new(MAX);
            let response = answer(layer.layer(service_fn(unreachable_handler)), timed(path, garbage)).await;
            assert_refused(&response, Code::InvalidArgument, ErrorReason::InvalidField, Outcome::NotApplied);
        }
    }
}

#[tokio::test]
async fn deadline_that_has_passed_is_refused_before_the_handler() {
    for passed in ["0S", "0n", "1n", "999u"] {
        for path in [STAT, WRITE] {
            let layer = DeadlineLayer::new(MAX);
            let response = answer(layer.layer(service_fn(unreachable_handler)), timed(path, passed)).await;
            assert_refused(&response, Code::DeadlineExceeded, ErrorReason::Deadline, Outcome::NotApplied);
        }
    }
}

#[tokio::test]
async fn every_unit_is_understood_and_unary_calls_are_held_to_the_maximum() {
    for (timeout, seconds) in [("20S", 20), ("20000m", 20), ("20000000u", 20), ("2M", 120), ("99999999n", 0)] {
        let left = left(timed(STAT, timeout)).await;
        assert!(seconds == 0 || about(&left, seconds), "{timeout}: {left}");
    }
    for long in ["6M", "1H", "99999999H"] {
        assert!(about(&left(timed(STAT, long)).await, 300), "{long}");
    }
    assert!(about(&left(call(STAT, "")).await, 300), "a call that names no deadline has the longest");
}

#[tokio::test]
async fn streams_are_told_their_deadline_and_not_held_to_the_maximum() {
    assert_eq!(left(call(WRITE, "")).await, "none");
    assert!(about(&left(timed(WRITE, "1H")).await, 3600));
}

#[tokio::test]
async fn unary_call_is_cut_before_tonic_would_and_its_outcome_is_unknown() {
    // As tonic does it: a timer that began before, and is looked at after.
    let timeout_of_tonic = sleep(Duration::from_millis(40));
    let service = DeadlineLayer::new(MAX).layer(service_fn(never));
    let response = tokio::select! {
        biased;
        response = answer(service, timed(STAT, "40m")) => response,
        () = timeout_of_tonic => panic!("tonic was first"),
    };
    assert_refused(&response, Code::DeadlineExceeded, ErrorReason::Deadline, Outcome::Unknown);
}

#[tokio::test]
async fn unary_call_without_deadline_is_cut_at_the_maximum() {
    let service = DeadlineLayer::new(Duration::from_millis(20)).layer(service_fn(never));
    let response = answer(service, call(STAT, "")).await;
    assert_refused(&response, Code::DeadlineExceeded, ErrorReason::Deadline, Outcome::Unknown);
}

#[tokio::test]
async fn stream_is_not_cut_by_the_layer() {
    let service = DeadlineLayer::new(Duration::from_millis(1)).layer(service_fn(never));
    tokio::select! {
        biased;
        _ = answer(service, timed(WRITE, "2m")) => panic!("the stream was cut"),
        () = sleep(Duration::from_millis(30)) => {}
    }
}

/// The list of streaming methods is kept by hand; here it is held against the protos.
#[test]
fn methods_that_answer_with_a_stream_are_the_ones_in_the_protos() {
    let protos = [
        ("inkpot.v1.WriteService", include_str!("../../../../../proto/inkpot/v1/write.proto")),
        ("inkpot.v1.FileService", include_str!("../../../../../proto/inkpot/v1/file.proto")),
        ("inkpot.v1.AdminService", include_str!("../../../../../proto/inkpot/v1/admin.proto")),
    ];
    let mut calls = 0;
    for (service, proto) in protos {
        for line in proto.lines().map(str::trim).filter(|line| line.starts_with("rpc ")) {
            let name = line.trim_start_matches("rpc ").split('(').next().unwrap();
            let path = format!("/{service}/{name}");
            assert_eq!(method::is_streaming(&path), line.contains("returns (stream "), "{path}");
            calls += 1;
        }
    }
    assert!(calls > 6, "only {calls} methods found");
}
