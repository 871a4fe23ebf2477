//! Whether plain files hold what was committed.

use super::Files;
use crate::{Error, Result};
use futures_util::{Stream, StreamExt, stream};
use inkpot_proto::v1::{VerifyRequest, VerifyResponse, admin_service_client::AdminServiceClient};

impl Files {
    /// Lets the server hold the plain files below `prefix` (empty: all) against their checksums. Each item tells how far
    /// it is, and maybe of a file that is damaged; the last one is `done`. The server stops when this is dropped. An
    /// error is the last item, also that of a server that ended it early; it is tried once.
    pub fn verify(&self, prefix: &str) -> impl Stream<Item = Result<VerifyResponse>> + Send + use<> {
        let (files, prefix) = (self.clone(), prefix.to_owned());
        let steps = stream::once(async move {
            let request = files.settings.request(VerifyRequest { prefix: prefix.clone() });
            let answer = AdminServiceClient::new(files.channel.clone()).verify(request).await;
            let steps = files.settings.answer(answer)?;
            Ok::<_, Error>(Steps { files, prefix, steps, done: false })
        });
        steps.flat_map(|opened| match opened {
            Ok(steps) => stream::try_unfold(steps, Steps::next).left_stream(),
            Err(error) => stream::once(async { Err(error) }).right_stream(),
        })
    }
}

struct Steps {
    files: Files,
    prefix: String,
    steps: tonic::Streaming<VerifyResponse>,
    done: bool,
}

impl Steps {
    async fn next(mut self) -> Result<Option<(VerifyResponse, Self)>> {
        if self.done {
            return Ok(None);
        }
        match self.steps.message().await {
            Ok(Some(step)) => {
                self.done = step.done;
                Ok(Some((step, self)))
            }
            Ok(None) => Err(Error::protocol(format!("Verify of {:?} ended before it was done", self.prefix))),
            Err(status) => Err(self.files.settings.error(&status)),
        }
    }
}
