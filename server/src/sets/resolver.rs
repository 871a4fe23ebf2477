//! Brings to an end what a crash left: sets that were decided are carried out, the others are let go. Looks at a shard
//! whenever it opens, at a start and after a failure.

use super::{Sets, Step, UnderWay};
use crate::{commit::driver::Health, shard::record::SetId};
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, time};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long to wait before a shard that could not answer is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Watches the shards, which are in the order of their numbers, until the server stops.
pub fn start(sets: &Arc<Sets>, health: Vec<watch::Receiver<Health>>, drain: &CancellationToken, tasks: &TaskTracker) {
    for (shard, health) in (0..).zip(health) {
        let (sets, drain) = (Arc::clone(sets), drain.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = watch(&sets, shard, health) => {}
                () = drain.cancelled() => {}
            }
        });
    }
}

async fn watch(sets: &Sets, shard: u32, mut health: watch::Receiver<Health>) {
    loop {
        if *health.borrow_and_update() == Health::Open {
            resolve(sets, shard).await;
        }
        if health.changed().await.is_err() {
            return;
        }
    }
}

/// Ends the sets that a shard holds parts of, and those that it decided. Later ones have somebody who leads them through.
async fn resolve(sets: &Sets, shard: u32) {
    let Ok(UnderWay { held, decided }) = sets.step(shard, |reply| Step::List { reply }).await else { return };
    for (id, participants) in decided {
        tracing::info!(set = %id, shard, "a set that was decided before the start is carried out");
        sets.settle(shard, id, true).await;
        for other in participants.into_iter().filter(|other| *other != shard) {
            sets.settle(other, id, true).await;
        }
        let _ = sets.step(shard, |reply| Step::Close { id, reply }).await;
    }
    for (id, coordinator) in held {
        let commit = ask(sets, id, coordinator, shard).await;
        tracing::info!(set = %id, shard, commit, "a set that was under way before the start is settled");
        sets.settle(shard, id, commit).await;
    }
}

async fn ask(sets: &Sets, id: SetId, coordinator: u32, asker: u32) -> bool {
    loop {
        match sets.step(coordinator, |reply| Step::Ask { id, asker, reply }).await {
            Ok(happens) => return happens,
            Err(_) => time::sleep(ASK_AGAIN).await,
        }
    }
}
