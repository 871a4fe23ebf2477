//! Our codes for what tonic answers by itself, or does not mind.

use super::{Request, Response, refuse, status_in_head};
use futures_util::{
    TryFutureExt,
    future::{Either, MapOk, Ready, ready},
};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ALLOW, CONTENT_TYPE, TE},
};
use inkpot_proto::{
    error::{Detail, Refused},
    limits::MAX_MESSAGE_BYTES,
    v1::ErrorReason,
};
use std::task::{Context, Poll};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};

/// Refuses what is no gRPC call, and gives the bare answers of tonic our code and detail. Outside of identity, because
/// what is not gRPC is refused without looking at its credential, and every answer of tonic passes through.
#[derive(Clone, Copy, Debug, Default)]
pub struct CodesLayer;

impl<S> Layer<S> for CodesLayer {
    type Service = Codes<S>;

    fn layer(&self, inner: S) -> Codes<S> {
        Codes { inner }
    }
}

/// See [`CodesLayer`].
#[derive(Clone, Debug)]
pub struct Codes<S> {
    inner: S,
}

type Translate = fn(Response<Body>) -> Response<Body>;

impl<S> Service<Request<Body>> for Codes<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<MapOk<S::Future, Translate>, Ready<Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match no_grpc(&request) {
            Some(answer) => Either::Right(ready(Ok(answer))),
            None => Either::Left(self.inner.call(request).map_ok(translate as Translate)),
        }
    }
}

/// The answer to what is no gRPC call: in the words of HTTP where the caller may not know gRPC.
fn no_grpc(request: &Request<Body>) -> Option<Response<Body>> {
    if request.method() != Method::POST {
        let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "gRPC calls are POST requests\n");
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        if request.method() == Method::HEAD {
            // Content in the answer to HEAD is an error of the protocol, and the HTTP library does not leave it out.
            *answer.body_mut() = Body::empty();
        }
        return Some(answer);
    }
    if !has_grpc_content(request.headers()) {
        return Some(plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the content-type of gRPC calls is application/grpc\n"));
    }
    // Without it something between us may drop trailers, and with them the status.
    let trailers = request.headers().get_all(TE).iter().any(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    let refused = || Refused::new(ErrorReason::Unimplemented, "a gRPC call needs the header `te: trailers`");
    (!trailers).then(|| refuse(&refused()))
}

fn plain(code: StatusCode, words: &'static str) -> Response<Body> {
    let mut answer = Response::new(Body::new(words.to_owned()));
    *answer.status_mut() = code;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

/// `application/grpc` or `application/grpc+proto`, with or without parameters.
fn has_grpc_content(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(content), None) = (types.next(), types.next()) else { return false };
    let essence = content.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    essence.eq_ignore_ascii_case(b"application/grpc") || essence.eq_ignore_ascii_case(b"application/grpc+proto")
}

fn translate(response: Response<Body>) -> Response<Body> {
    let has_detail = response.headers().contains_key(Status::GRPC_STATUS_DETAILS);
    let bare = status_in_head(&response).filter(|_| !has_detail);
    bare.and_then(|(code, message)| ours(code, &message)).map_or(response, |refused| refuse(&refused))
}

/// A status that tonic made, of a message that it could not decode or a method that it does not have, in our terms; any
/// other stays as it is. For the errors of a stream of requests, which no layer sees.
#[must_use]
pub fn in_our_terms(status: Status) -> Status {
    if Detail::of(&status).is_some() {
        return status;
    }
    ours(status.code(), status.message()).map_or(status, |refused| refused.to_status())
}

/// All of these come before the handler, or instead of it, so that nothing was applied.
fn ours(code: Code, message: &str) -> Option<Refused> {
    match code {
        Code::OutOfRange | Code::ResourceExhausted if is_too_large(message) => {
            let message = format!("a message is larger than {MAX_MESSAGE_BYTES} bytes; send less per message");
            Some(Refused::new(ErrorReason::MessageTooLarge, message).with_limit("max_message_bytes"))
        }
        Code::Internal if is_malformed(message) => {
            let message = format!("a message cannot be decoded: {message}");
            Some(Refused::new(ErrorReason::MalformedMessage, message))
        }
        Code::Unimplemented => {
            let what = if message.is_empty() { "there is no such service or method" } else { message };
            Some(Refused::new(ErrorReason::Unimplemented, what))
        }
        _ => None,
    }
}

/// The words of tonic 0.14 for a message beyond the limit, as it comes or after decompression.
fn is_too_large(message: &str) -> bool {
    message.contains("message length too large") || message.contains("exceeded while decompressing")
}

/// The words of tonic 0.14 and prost 0.14 for bytes that are no message.
fn is_malformed(message: &str) -> bool {
    const WORDS: [&str; 6] = [
        "failed to decode Protobuf message",
        "invalid compression flag",
        "compressed-flag but no grpc-encoding",
        "Error decompressing",
        "Unexpected EOF decoding stream",
        "Missing request message",
    ];
    WORDS.iter().any(|words| message.contains(words))
}
