//! Brings to an end what a crash left: sets that were decided are carried out, the others are let go. Looks at a shard
//! whenever it opens, at a start and after a failure.

use super::{Sets, Step, UnderWay};
use crate::{commit::driver::Health, shard::record::SetId};
use futures_util::future::{join, join_all};
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
        let is_open = *health.borrow_and_update() == Health::Open;
        let resolving = async {
            if is_open {
                resolve(sets, shard).await;
            }
            std::future::pending::<()>().await;
        };
        // A shard that fails meanwhile and opens again is looked at anew.
        tokio::select! {
            () = resolving => {}
            changed = health.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

/// Ends the sets that a shard held parts of when it opened, and those that it had decided. Later ones have somebody who
/// leads them through. Each by itself: a shard that stays closed holds up only its own.
async fn resolve(sets: &Sets, shard: u32) {
    let Ok(UnderWay { held, decided }) = sets.step(shard, |reply| Step::List { reply }).await else { return };
    let is_decided = |id: &SetId| decided.iter().any(|(decided, _)| decided == id);
    // Its own parts of what it decided are carried out with the rest.
    let held: Vec<_> = held.into_iter().filter(|(id, _)| !is_decided(id)).collect();
    let decided = decided.into_iter().map(|(id, participants)| async move {
        tracing::info!(set = %id, shard, "a set that was decided before the start is carried out");
        sets.carry_out(id, shard, &participants).await;
    });
    let held = held.into_iter().map(|(id, coordinator)| async move {
        let commit = ask(sets, id, coordinator, shard).await;
        tracing::info!(set = %id, shard, commit, "a set that was under way before the start is settled");
        sets.settle(shard, id, commit).await;
    });
    join(join_all(decided), join_all(held)).await;
}

async fn ask(sets: &Sets, id: SetId, coordinator: u32, asker: u32) -> bool {
    loop {
        match sets.step(coordinator, |reply| Step::Ask { id, asker, reply }).await {
            Ok(happens) => return happens,
            Err(_) => time::sleep(ASK_AGAIN).await,
        }
    }
}
