//! Signals, and what the health service tells. The stages of a stop stand in [`crate::app`], their deadlines in the
//! configuration.

use crate::commit::driver::Health;
use std::io;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};
use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};

/// Health service name of writing as a whole: serving while every shard is open and the server is not stopping.
pub const WRITES: &str = "inkpot.v1.WriteService";

/// The signals that stop the server.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// If the handlers cannot be installed.
    pub fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Completes when the server is told to stop: SIGTERM or SIGINT.
    pub async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Health service name of one shard.
#[must_use]
pub fn shard_service(number: usize) -> String {
    format!("inkpot.v1.shard-{number:04}")
}

/// Keeps the health service true: of each shard, and of writing as a whole. The empty name tells only that the process
/// lives.
pub async fn report_health(reporter: HealthReporter, shards: Vec<watch::Receiver<Health>>, drain: CancellationToken) {
    let count = shards.len();
    let mut shards = shards;
    loop {
        let mut all_open = !drain.is_cancelled();
        for (number, shard) in shards.iter_mut().enumerate() {
            let is_open = *shard.borrow_and_update() == Health::Open;
            all_open &= is_open;
            reporter.set_service_status(shard_service(number), status(is_open)).await;
        }
        reporter.set_service_status(WRITES, status(all_open)).await;
        let changes = shards.iter_mut().map(|shard| Box::pin(shard.changed()));
        tokio::select! {
            (changed, ..) = futures_util::future::select_all(changes) => {
                if changed.is_err() {
                    return;
                }
            }
            () = drain.cancelled() => return end_watches(reporter, count).await,
        }
    }
}

/// The server stops: whoever watches is told, and its stream ends, because the stop waits for every stream. Whoever still
/// asks is answered: that nothing is taken any more, and that the process lives.
async fn end_watches(mut reporter: HealthReporter, shards: usize) {
    let names = (0..shards).map(shard_service).chain([WRITES.to_owned()]);
    let names = names.map(|name| (name, ServingStatus::NotServing)).chain([(String::new(), ServingStatus::Serving)]);
    for (name, status) in names {
        reporter.set_service_status(&name, status).await;
        // A stream of a name that is gone ends after its last news.
        reporter.clear_service_status(&name).await;
        reporter.set_service_status(&name, status).await;
    }
}

fn status(serving: bool) -> ServingStatus {
    if serving { ServingStatus::Serving } else { ServingStatus::NotServing }
}
