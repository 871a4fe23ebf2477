#![allow(clippy::unwrap_used)]
use super::*;
use crate::config::{Config, Tenant, token_sha256};
use http::{Method, StatusCode};
use inkpot_proto::{
    error::Detail,
    v1::{ErrorReason, Outcome},
};
use std::convert::Infallible;
use tower::{Layer, Service, ServiceExt, service_fn};

mod codes;
mod deadline;
mod identity;
mod trace;

const STAT: &str = "/inkpot.v1.FileService/Stat";
const WRITE: &str = "/inkpot.v1.WriteService/Write";
const CHECK: &str = "/grpc.health.v1.Health/Check";
const TOKEN: &str = "correct-horse-battery";

/// A call as a gRPC client sends it, with a message of these bytes.
fn call(path: &str, body: &str) -> Request<Body> {
    let request = Request::builder().method(Method::POST).uri(format!("http://inkpot{path}"));
    let request = request.header("content-type", "application/grpc").header("te", "trailers");
    request.body(Body::new(body.to_owned())).unwrap()
}

fn with_header(mut request: Request<Body>, name: &'static str, value: &str) -> Request<Body> {
    request.headers_mut().append(name, value.parse().unwrap());
    request
}

/// A handler that answers with an empty head, which a layer may not reach.
async fn handler(_: Request<Body>) -> Result<Response<Body>, Infallible> {
    Ok(Response::new(Body::empty()))
}

async fn unreachable_handler(_: Request<Body>) -> Result<Response<Body>, Infallible> {
    panic!("the handler was called")
}

async fn answer<S>(service: S, request: Request<Body>) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    service.oneshot(request).await.unwrap()
}

/// Code and detail of an answer that a layer made; the detail is read from the headers, as a client does.
fn refused(response: &Response<Body>) -> (Code, Detail) {
    let status = Status::from_header_map(response.headers()).unwrap();
    (status.code(), Detail::of(&status).unwrap_or_else(|| panic!("no detail of ours: {status:?}")))
}

fn assert_refused(response: &Response<Body>, code: Code, reason: ErrorReason, outcome: Outcome) {
    let (found, detail) = refused(response);
    assert_eq!((found, detail.reason, detail.outcome), (code, reason, outcome));
}
