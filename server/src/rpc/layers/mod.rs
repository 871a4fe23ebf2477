//! Tower layers around all services: what holds for every call, before a handler sees it.
//!
//! From the outside in: [`TraceLayer`], [`CodesLayer`], [`IdentityLayer`], [`DeadlineLayer`]. Each says why it stands
//! where it does. They see the head of a call and of its answer only: what streams carry is the business of sessions,
//! and so are quotas, which count messages, not calls.

mod codes;
mod deadline;
mod identity;
mod method;
mod trace;

pub use codes::{Codes, CodesLayer, in_our_terms};
pub use deadline::{Deadline, DeadlineLayer, Deadlines};
pub use identity::{Identify, Identity, IdentityLayer};
pub use trace::{Trace, TraceLayer};

use http::{Request, Response};
use inkpot_proto::error::Refused;
use tonic::{Code, Status, body::Body};

/// The answer to a call that is refused before its handler: a head with the status, and no body.
fn refuse(refused: &Refused) -> Response<Body> {
    refused.to_status().into_http()
}

/// The status in the head of an answer; `None` if the body brings it.
fn status_in_head(response: &Response<Body>) -> Option<(Code, String)> {
    // tonic keeps the status that it made the head from, except where its generated code writes the header by hand.
    let kept = response.extensions().get::<Status>().map(|status| (status.code(), status.message().to_owned()));
    let header =
        || response.headers().get(Status::GRPC_STATUS).map(|code| (Code::from_bytes(code.as_bytes()), String::new()));
    kept.or_else(header)
}

#[cfg(test)]
mod tests;
