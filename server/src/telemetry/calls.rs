//! What is measured of calls.

use super::{instruments, names};
use opentelemetry::{
    KeyValue,
    metrics::{Histogram, Meter},
};
use std::time::Duration;
use tonic::Code;

/// See [`names::RPC_DURATION`]. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Calls(Histogram<f64>);

impl Calls {
    /// Measures into `meter`.
    #[must_use]
    pub fn new(meter: &Meter) -> Self {
        Self(instruments::histogram(meter, &names::RPC_DURATION))
    }

    /// A call of `method` (`package.Service/Method`) has ended. Only methods that exist may be named here: whoever calls
    /// chooses the others.
    pub fn ended(&self, method: &'static str, code: Code, took: Duration) {
        let attributes = [
            KeyValue::new(names::RPC_SYSTEM, "grpc"),
            KeyValue::new(names::RPC_METHOD, method),
            KeyValue::new(names::RPC_STATUS, status_name(code)),
        ];
        self.0.record(took.as_secs_f64(), &attributes);
    }
}

/// A code as the conventions for gRPC spell it.
#[must_use]
pub fn status_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
