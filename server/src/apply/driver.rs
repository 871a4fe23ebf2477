//! When to apply, and when to checkpoint: the loop of a shard's second thread.

use super::{
    Request,
    applier::{Applier, ApplyError, Snapshot, Which},
    backlog::Backlog,
};
use crate::{
    config::{Apply, Checkpoint},
    shard::Command,
};
use inkpot_wal::recovery::Mark;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{Notify, mpsc, oneshot};

/// How long to wait before trying again on a full disk.
const FULL_RETRY: Duration = Duration::from_millis(500);
/// A round that takes more than this part of the delay stretches the delay.
const ROUND_SHARE: u32 = 4;

/// What a shard tells its applier.
#[derive(Debug, Default)]
pub struct Control {
    /// Bytes of log that no checkpoint has released.
    pub wal_bytes: AtomicU64,
    /// A checkpoint is wanted now.
    pub checkpoint_now: AtomicBool,
    /// The applier is to end; it applies nothing more.
    pub stop: AtomicBool,
    /// Told when one of these changed.
    pub changed: Notify,
}

/// Runs until it is stopped or fails. What it needs of the shard it asks for through the mailbox.
pub async fn run(
    mut applier: Applier,
    backlog: Arc<Backlog>,
    control: Arc<Control>,
    shard: mpsc::Sender<Command>,
    apply: Apply,
    checkpoint: Checkpoint,
) {
    let mut delay = apply.delay;
    let mut last_checkpoint = Instant::now();
    let mut unfinished = None;
    let mut last_mark = None;
    loop {
        // With nothing waiting there is nothing to look at before the next checkpoint.
        let look =
            if backlog.is_empty() { checkpoint.interval.saturating_sub(last_checkpoint.elapsed()) } else { delay / 4 };
        tokio::select! {
            () = tokio::time::sleep(look) => {}
            () = backlog.arrived.notified(), if backlog.is_empty() => {}
            () = backlog.hurry.notified() => {}
            () = control.changed.notified() => {}
        }
        if control.stop.load(Ordering::Acquire) {
            return;
        }
        let outcome = step(&mut applier, delay).await;
        let wanted = control.checkpoint_now.swap(false, Ordering::AcqRel)
            || control.wal_bytes.load(Ordering::Relaxed) >= checkpoint.wal_bytes
            || last_checkpoint.elapsed() >= checkpoint.interval;
        let outcome = match outcome {
            Ok(took) => {
                delay = (took * ROUND_SHARE).clamp(apply.delay, apply.max_delay.max(apply.delay));
                if wanted {
                    last_checkpoint = Instant::now();
                    run_checkpoint(&mut applier, &shard, &mut unfinished, &mut last_mark).await
                } else {
                    Ok(())
                }
            }
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            let _ = shard.send(Command::Apply(Request::Failed(error))).await;
            return;
        }
    }
}

/// One round; returns how long it took.
async fn step(applier: &mut Applier, delay: Duration) -> Result<Duration, ApplyError> {
    let begin = Instant::now();
    let round = applier.round(Which::Waited(delay), begin)?;
    if round.disk_full {
        tokio::time::sleep(FULL_RETRY).await;
        return Ok(Duration::ZERO);
    }
    Ok(begin.elapsed())
}

async fn run_checkpoint(
    applier: &mut Applier,
    shard: &mpsc::Sender<Command>,
    unfinished: &mut Option<Snapshot>,
    last_mark: &mut Option<Mark>,
) -> Result<(), ApplyError> {
    let snapshot = match unfinished.take() {
        Some(snapshot) => snapshot,
        None => {
            let (reply, answer) = oneshot::channel();
            if shard.send(Command::Apply(Request::Snapshot(reply))).await.is_err() {
                return Ok(());
            }
            let Ok(snapshot) = answer.await else { return Ok(()) };
            snapshot
        }
    };
    let mark = snapshot.progress.mark;
    if *last_mark != Some(mark) {
        *unfinished = applier.checkpoint(snapshot, Instant::now())?;
    }
    if unfinished.is_none() {
        *last_mark = Some(mark);
        let _ = shard.send(Command::Apply(Request::Checkpointed(mark))).await;
    } else {
        tokio::time::sleep(FULL_RETRY).await;
    }
    Ok(())
}
