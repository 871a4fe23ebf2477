//! Operations on whole files, as short as tests need them.

use super::{PATIENCE, server::Server, session::within};
use inkpot_proto::v1::{
    DeleteRequest, DeleteResponse, Operator, RenameRequest, RenameResponse, SealRequest, SealResponse, TruncateRequest,
    TruncateResponse,
};
use tonic::Status;

/// Who does an operation.
#[must_use]
pub fn operator(producer: &str, epoch: u64, seq: u64) -> Option<Operator> {
    Some(Operator { producer_id: producer.to_owned(), producer_epoch: epoch, seq })
}

/// Asks for a file to be removed, by nobody and without a condition.
#[must_use]
pub fn delete(path: &str) -> DeleteRequest {
    DeleteRequest { path: path.to_owned(), ..DeleteRequest::default() }
}

/// Asks for another path that must be free, by nobody and without a condition.
#[must_use]
pub fn rename(from: &str, to: &str) -> RenameRequest {
    RenameRequest { from: from.to_owned(), to: to.to_owned(), ..RenameRequest::default() }
}

/// Asks for a file to be cut, by nobody and without a condition.
#[must_use]
pub fn truncate(path: &str, size: u64) -> TruncateRequest {
    TruncateRequest { path: path.to_owned(), size, ..TruncateRequest::default() }
}

/// Asks for a file to be sealed, by nobody and without a condition.
#[must_use]
pub fn seal(path: &str) -> SealRequest {
    SealRequest { path: path.to_owned(), ..SealRequest::default() }
}

/// An operation that can be asked for.
pub trait Operation: Sized {
    /// Its answer.
    type Answer;

    /// Asks for it on a new connection, with the first token.
    ///
    /// # Errors
    /// What the server says.
    fn on(self, server: &Server) -> impl Future<Output = Result<Self::Answer, Status>>;
}

macro_rules! operation {
    ($request:ty, $answer:ty, $method:ident) => {
        impl Operation for $request {
            type Answer = $answer;

            async fn on(self, server: &Server) -> Result<$answer, Status> {
                let mut files = server.files();
                let answer = within(PATIENCE, stringify!($method), files.$method(self)).await;
                answer.map(tonic::Response::into_inner)
            }
        }
    };
}

operation!(DeleteRequest, DeleteResponse, delete);
operation!(RenameRequest, RenameResponse, rename);
operation!(TruncateRequest, TruncateResponse, truncate);
operation!(SealRequest, SealResponse, seal);
