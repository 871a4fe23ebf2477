//! The same error for those who speak `std::io`.

use super::{Error, ErrorKind};
use inkpot_proto::v1::ErrorReason;
use std::io;
use tonic::Code;

/// Keeps the error whole: `get_ref` and `downcast_ref::<inkpot_client::Error>()` give it back, with its outcome. The kind
/// follows the gRPC code, and is never one on which callers repeat a write by themselves (`Interrupted`, `WouldBlock`).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let error = inkpot_client::Client::builder("ftp://files.example").connect().await.unwrap_err();
/// let error = std::io::Error::from(error);
/// assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
/// let inner: Option<&inkpot_client::Error> = error.get_ref().and_then(|inner| inner.downcast_ref());
/// assert_eq!(inner.map(|inner| inner.kind()), Some(inkpot_client::ErrorKind::Config));
/// # }
/// ```
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::new(kind(&error), error)
    }
}

fn kind(error: &Error) -> io::ErrorKind {
    match (error.kind(), error.reason(), error.code()) {
        (ErrorKind::Closed, ..) => io::ErrorKind::BrokenPipe,
        (ErrorKind::GaveUp | ErrorKind::Timeout, ..) => io::ErrorKind::TimedOut,
        (_, Some(ErrorReason::DiskFull), _) => io::ErrorKind::StorageFull,
        (_, _, Code::InvalidArgument | Code::OutOfRange) => io::ErrorKind::InvalidInput,
        (_, _, Code::NotFound) => io::ErrorKind::NotFound,
        (_, _, Code::AlreadyExists) => io::ErrorKind::AlreadyExists,
        (_, _, Code::PermissionDenied | Code::Unauthenticated) => io::ErrorKind::PermissionDenied,
        (_, _, Code::ResourceExhausted) => io::ErrorKind::QuotaExceeded,
        (_, _, Code::DeadlineExceeded) => io::ErrorKind::TimedOut,
        (_, _, Code::Unavailable) => io::ErrorKind::NotConnected,
        (_, _, Code::Unimplemented) => io::ErrorKind::Unsupported,
        (_, _, Code::DataLoss) => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    }
}
