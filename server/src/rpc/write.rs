//! WriteService: sessions, single appends, and where a producer stands.

use super::{
    Services, answer::Answers, append, channels::Board, convert, layers::Deadline, session::Session, tenant_of,
};
use crate::shard::{WriteState, ids::FileKey};
use inkpot_proto::v1::{self, write_service_server::WriteService};
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

/// The service.
#[derive(Clone, Debug)]
pub struct Writes(Arc<Services>);

impl Writes {
    /// In front of these.
    #[must_use]
    pub fn new(services: Arc<Services>) -> Self {
        Self(services)
    }
}

#[tonic::async_trait]
impl WriteService for Writes {
    type WriteStream = Answers;

    async fn write(&self, request: Request<Streaming<v1::WriteRequest>>) -> Result<Response<Answers>, Status> {
        let services = &self.0;
        let place = services.admit_session()?;
        let link = services.link(&tenant_of(&request)?, false);
        let board = Arc::new(Board::default());
        let gone = tokio_util::sync::CancellationToken::new();
        let deadline = request.extensions().get::<Deadline>().map(|deadline| deadline.0);
        let answers = Answers::new(Arc::clone(&link), Arc::clone(&board), services.limits(), gone.clone());
        let session = Session::new(Arc::clone(services), link, board, place);
        services.tasks.spawn(session.run(request.into_inner(), gone, deadline));
        Ok(Response::new(answers))
    }

    async fn append(&self, request: Request<v1::AppendRequest>) -> Result<Response<v1::AppendResponse>, Status> {
        let tenant = tenant_of(&request)?;
        let answer = append::append(&self.0, tenant, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn get_write_state(
        &self,
        request: Request<v1::GetWriteStateRequest>,
    ) -> Result<Response<v1::GetWriteStateResponse>, Status> {
        let tenant = tenant_of(&request)?;
        let request = request.into_inner();
        let path = convert::path(&request.path)?;
        let producer = convert::producer_id(&request.producer_id)?;
        let owner = self.0.admission.tenant(&tenant);
        let key = FileKey { tenant, path };
        let state = self.0.shard(&key).clone().write_state(owner, key, producer).await?;
        Ok(Response::new(response(&state)))
    }
}

fn response(state: &WriteState) -> v1::GetWriteStateResponse {
    let producer = state.producer.unwrap_or_default();
    v1::GetWriteStateResponse {
        generation: state.generation,
        next_offset: state.next_offset,
        known: state.producer.is_some(),
        epoch: producer.epoch,
        last_seq: producer.last_seq,
        last_first_offset: producer.last_range.map(|(first, _)| first),
        last_end_offset: producer.last_range.map(|(_, end)| end),
        upload: state.upload,
    }
}

#[cfg(test)]
mod tests;
