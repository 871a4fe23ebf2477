//! The one task of a session: connects, takes the answers, connects again. Ends with the last handle.

use super::{Shared, outbound::Outbound};
use crate::{
    Error, ErrorKind, Result,
    backoff::{GOOD_CONNECTION, backoff},
    error::described_transport,
    telemetry,
};
use futures_util::FutureExt;
use inkpot_proto::v1::{ErrorReason, WriteResponse, write_service_client::WriteServiceClient};
use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tonic::{Code, Streaming};
use tracing::{Instrument, Span};

/// Most answers that are taken under one lock.
const ANSWERS: usize = 256;
/// How long a session that is being closed waits for the server to end the stream.
const CLOSE_GRACE: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(3600);

/// Nobody needs the session any more.
#[derive(Debug)]
struct Unused;

/// How a connection ended.
#[derive(Debug)]
enum End {
    /// It failed; another one may do.
    Lost(Error),
    /// The server wants another one, for this reason.
    Away(String),
    /// The server will not take this session.
    Refused(Error),
}

pub(crate) struct Driver {
    shared: Arc<Shared>,
    sleep: Pin<Box<Sleep>>,
    failures: u32,
    span: Span,
}

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let span = telemetry::session_span(shared.settings.endpoint.uri());
        Self { shared, sleep: Box::pin(sleep(IDLE)), failures: 0, span }
    }

    /// Runs until nobody needs the session.
    pub(crate) async fn run(mut self) {
        let _end = EndOfDriver(Arc::clone(&self.shared));
        while let Ok(()) = self.work().await {}
    }

    /// One connection, and the pause after it.
    async fn work(&mut self) -> Result<(), Unused> {
        while !self.shared.state().has_work() {
            let shared = Arc::clone(&self.shared);
            self.attend(shared.work.notified()).await?;
        }
        let begun = Instant::now();
        let end = self.connection().await?;
        tracing::debug!(parent: &self.span, ?end, "the connection of a session ended");
        let cause = match &end {
            End::Lost(error) | End::Refused(error) => Some(error),
            End::Away(reason) => {
                tracing::debug!(parent: &self.span, reason, "the server asked for a new connection");
                None
            }
        };
        let acked = self.shared.change(|state, effects| state.offline(cause, effects));
        if let End::Refused(error) = &end {
            self.shared.change(|state, effects| state.fail_all(|file| error.clone().on(file), effects));
        }
        self.failures = if acked || begun.elapsed() >= GOOD_CONNECTION { 0 } else { self.failures.saturating_add(1) };
        self.attend(sleep(backoff(self.failures))).await
    }

    /// Does what is due while `future` is not ready: batches, retries, giving up.
    async fn attend<F: Future>(&mut self, future: F) -> Result<F::Output, Unused> {
        let shared = Arc::clone(&self.shared);
        let mut future = pin!(future);
        loop {
            let next = shared.tick();
            if shared.is_unused() {
                return Err(Unused);
            }
            self.sleep.as_mut().reset(next.unwrap_or_else(|| Instant::now() + IDLE));
            tokio::select! {
                output = &mut future => return Ok(output),
                () = shared.driver.notified() => {}
                () = &mut self.sleep => {}
            }
        }
    }

    async fn connection(&mut self) -> Result<End, Unused> {
        let span = telemetry::connect_span(&self.span);
        let mut inbound = match self.connect().instrument(span.clone()).await? {
            Ok(inbound) => inbound,
            Err(error) => {
                telemetry::failed(&span, &error);
                return Ok(judge(error));
            }
        };
        drop(span);
        self.connected();
        let ended = self.receive(&mut inbound).await;
        if ended.is_err() && self.shared.state().closing {
            self.shared.change(|state, _| state.stop_sending());
            let rest = async { while let Ok(Some(_)) = inbound.message().await {} };
            let _ = timeout(CLOSE_GRACE, rest).await; // the server then sees a reset instead of an end
        }
        ended
    }

    fn connected(&self) {
        let reconnects = {
            let mut state = self.shared.state();
            state.connected();
            state.reconnects()
        };
        if reconnects > 0 {
            self.shared.settings.telemetry.reconnected("Write");
        }
    }

    /// A connection of its own for each session, and the stream on it.
    async fn connect(&mut self) -> Result<Result<Streaming<WriteResponse>>, Unused> {
        let shared = Arc::clone(&self.shared);
        let settings = &shared.settings;
        let channel =
            match self.attend(timeout(settings.connect_timeout, settings.connector.connect(&settings.endpoint))).await?
            {
                Ok(Ok(channel)) => channel,
                Ok(Err(error)) => return Ok(Err(settings.unreachable(&described_transport(&error)))),
                Err(_) => return Ok(Err(settings.unreachable("no connection in time"))),
            };
        let link = shared.state().begin();
        let outbound = Outbound::new(Arc::clone(&shared), link);
        let mut client = WriteServiceClient::new(channel);
        match self.attend(timeout(settings.connect_timeout, client.write(settings.request(outbound)))).await? {
            Ok(answer) => Ok(settings.answer(answer)),
            Err(_) => Ok(Err(settings.unreachable("no answer in time"))),
        }
    }

    /// Takes answers until the stream ends.
    async fn receive(&mut self, inbound: &mut Streaming<WriteResponse>) -> Result<End, Unused> {
        let shared = Arc::clone(&self.shared);
        let mut answers = Vec::with_capacity(ANSWERS);
        loop {
            let cut_at = shared.state().cut_at;
            let first = async {
                match cut_at {
                    Some(cut_at) => tokio::select! {
                        () = sleep_until(cut_at) => Ok(None),
                        message = inbound.message() => message,
                    },
                    None => inbound.message().await,
                }
            };
            let mut next = Some(self.attend(first).await?);
            let mut end = None;
            while let Some(message) = next.take() {
                match message {
                    Ok(Some(answer)) => answers.push(answer),
                    Ok(None) => end = Some(Ok(())),
                    Err(status) => end = Some(Err(shared.settings.error(&status))),
                }
                if end.is_none() && answers.len() < ANSWERS {
                    next = inbound.message().now_or_never();
                }
            }
            if let Err(error) = shared.answers(answers.drain(..)) {
                return Ok(End::Lost(error));
            }
            match end {
                None => {}
                Some(Err(error)) => return Ok(judge(error)),
                Some(Ok(())) => {
                    let mut state = shared.state();
                    return Ok(match state.cut_at {
                        Some(_) => End::Away(std::mem::take(&mut state.cut_reason)),
                        None => End::Lost(Error::transport("the server ended the session")),
                    });
                }
            }
        }
    }
}

/// Whether another connection can help.
fn judge(error: Error) -> End {
    let refused = match error.reason() {
        Some(ErrorReason::MessageTooLarge) => true,
        _ => matches!(
            error.code(),
            Code::Unauthenticated | Code::PermissionDenied | Code::Unimplemented | Code::InvalidArgument
        ),
    };
    if refused && error.kind() == ErrorKind::Refused { End::Refused(error) } else { End::Lost(error) }
}

/// However the driver ends, a panic included: nobody waits for it any more.
struct EndOfDriver(Arc<Shared>);

impl Drop for EndOfDriver {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests;
