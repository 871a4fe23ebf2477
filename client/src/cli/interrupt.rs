//! SIGINT and SIGTERM, counted, so that a first one can end things in order and a second one at once.

use super::failure::{Exit, Failure};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// Counts the interrupts of the process from its creation on. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Interrupts(watch::Receiver<u32>);

impl Interrupts {
    /// Takes the two signals over from their default, which ends the process.
    pub(crate) fn watch() -> Result<Self, Failure> {
        let take = |kind| signal(kind).map_err(|error| Failure::error("cannot watch signals", error));
        let (sender, receiver) = watch::channel(0);
        // Ends with the runtime: there is nothing to join that outlives the process.
        tokio::spawn(count(take(SignalKind::interrupt())?, take(SignalKind::terminate())?, sender));
        Ok(Self(receiver))
    }

    /// What `work` gives; an interrupt drops it, and these words are all there is to say.
    ///
    /// # Errors
    /// Those of `work`, or the interrupt.
    pub(crate) async fn or<T>(
        &self,
        words: impl Into<String>,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            () = self.reached(1) => Err(Failure::new(Exit::Interrupted, words)),
            result = work => result,
        }
    }

    /// Returns when at least `count` interrupts have come.
    pub(crate) async fn reached(&self, count: u32) {
        let mut seen = self.0.clone();
        if seen.wait_for(|seen| *seen >= count).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn count(mut interrupt: Signal, mut terminate: Signal, seen: watch::Sender<u32>) {
    loop {
        tokio::select! {
            Some(()) = interrupt.recv() => {}
            Some(()) = terminate.recv() => {}
            else => return,
        }
        seen.send_modify(|seen| *seen += 1);
    }
}

/// Runs `work`; an interrupt drops it, and with it its child processes and temporary directories.
pub(crate) async fn or_dropped(work: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    Interrupts::watch()?.or("interrupted", work).await
}
