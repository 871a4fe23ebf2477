use super::*;
use inkpot_proto::{error::Refused, limits::MAX_MESSAGE_BYTES};
use tonic_health::server::health_reporter;

/// A real tonic service behind the layer; whatever is wrong with a message, it finds in decoding.
async fn of_tonic(request: Request<Body>) -> Response<Body> {
    let (_, health) = health_reporter();
    answer(CodesLayer.layer(health), request).await
}

async fn of_handler(request: Request<Body>) -> Response<Body> {
    answer(CodesLayer.layer(service_fn(unreachable_handler)), request).await
}

#[tokio::test]
async fn bytes_that_are_no_message_are_malformed() {
    let bad = [
        ("garbage", "\0\0\0\0\u{1}\u{7f}"),
        ("wrong wire type", "\0\0\0\0\u{2}\u{8}\u{1}"),
        ("truncated field", "\0\0\0\0\u{2}\u{a}\u{7f}"),
        ("truncated message", "\0\0\0\0\u{9}abc"),
        ("truncated prefix", "\0\0"),
        ("compressed without encoding", "\u{1}\0\0\0\0"),
        ("unknown flag", "\u{7}\0\0\0\0"),
        ("no message at all", ""),
    ];
    for (what, body) in bad {
        let response = of_tonic(call(CHECK, body)).await;
        let (code, detail) = refused(&response);
        let expected = (Code::InvalidArgument, ErrorReason::MalformedMessage, Outcome::NotApplied);
        assert_eq!((code, detail.reason, detail.outcome), expected, "{what}");
    }
}

#[tokio::test]
async fn length_beyond_the_limit_is_too_large_without_its_bytes() {
    let response = of_tonic(call(CHECK, "\0\u{7f}\u{7f}\u{7f}\u{7f}")).await;
    let (code, detail) = refused(&response);
    assert_eq!((code, detail.reason), (Code::ResourceExhausted, ErrorReason::MessageTooLarge));
    assert_eq!(detail.limit.as_deref(), Some("max_message_bytes"));
    let message = Status::from_header_map(response.headers()).unwrap().message().to_owned();
    assert!(message.contains(&MAX_MESSAGE_BYTES.to_string()), "{message}");
}

#[tokio::test]
async fn unknown_method_is_unimplemented_with_our_detail() {
    let response = of_tonic(call("/grpc.health.v1.Health/Cure", "\0\0\0\0\0")).await;
    assert_refused(&response, Code::Unimplemented, ErrorReason::Unimplemented, Outcome::NotApplied);
}

#[tokio::test]
async fn good_call_passes_and_errors_of_handlers_stay_as_they_are() {
    let good = of_tonic(call(CHECK, "\0\0\0\0\0")).await;
    assert_eq!((good.status(), status_in_head(&good)), (StatusCode::OK, None));
    for status in [
        Status::not_found("no such service"),
        Status::internal("a bug"),
        Refused::new(ErrorReason::OutOfRange, "message length too large").to_status(),
    ] {
        let inner = service_fn(|_| async { Ok::<_, Infallible>(status.clone().into_http()) });
        let response = answer(CodesLayer.layer(inner), call(STAT, "")).await;
        let found = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(
            (found.code(), found.message(), found.details()),
            (status.code(), status.message(), status.details())
        );
    }
}

#[test]
fn status_of_a_request_stream_is_translated_once() {
    let ours = in_our_terms(Status::internal("failed to decode Protobuf message: invalid varint"));
    assert_eq!(Detail::of(&ours).unwrap().reason, ErrorReason::MalformedMessage);
    assert_eq!(in_our_terms(ours.clone()).details(), ours.details());
    assert_eq!(in_our_terms(Status::cancelled("gone")).code(), Code::Cancelled);
    assert_eq!(Detail::of(&in_our_terms(Status::internal("a bug"))), None);
}

#[tokio::test]
async fn other_methods_than_post_are_405() {
    for method in [Method::GET, Method::PUT, Method::OPTIONS] {
        let mut request = call(STAT, "");
        *request.method_mut() = method;
        let response = of_handler(request).await;
        assert_eq!(
            (response.status(), response.headers()["allow"].as_bytes()),
            (StatusCode::METHOD_NOT_ALLOWED, &b"POST"[..])
        );
    }
}

#[tokio::test]
async fn other_content_than_grpc_is_415() {
    for content in
        ["application/json", "application/grpc-web", "application/grpc+json", "application/grpcx", "", "text/plain"]
    {
        let mut request = call(STAT, "");
        request.headers_mut().insert("content-type", content.parse().unwrap());
        assert_eq!(of_handler(request).await.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content:?}");
    }
    let mut without = call(STAT, "");
    without.headers_mut().remove("content-type");
    assert_eq!(of_handler(without).await.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let twice = with_header(call(STAT, ""), "content-type", "application/grpc");
    assert_eq!(of_handler(twice).await.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn content_of_grpc_in_any_spelling_reaches_the_handler() {
    for content in ["application/grpc", "application/grpc+proto", "Application/gRPC; charset=utf-8"] {
        let mut request = call(STAT, "");
        request.headers_mut().insert("content-type", content.parse().unwrap());
        assert_eq!(answer(CodesLayer.layer(service_fn(handler)), request).await.status(), StatusCode::OK, "{content}");
    }
}

#[tokio::test]
async fn call_without_te_trailers_is_unimplemented() {
    let mut request = call(STAT, "");
    request.headers_mut().remove("te");
    assert_refused(&of_handler(request).await, Code::Unimplemented, ErrorReason::Unimplemented, Outcome::NotApplied);
}
