//! The loops beside a shard's own: the applier, the stager, and the one that makes log segments ahead of need.

use super::{
    ROOM_RESERVE_BYTES, ShardWriter,
    answers::closed,
    driver::{Spec, refuse},
    refuse_item,
    stager::{BATCH_BYTES, Job, Stager},
};
use crate::{
    apply::{self, applier::Applier, backlog::Backlog, driver::Control, registry::Registry},
    host::Worker,
    recovery::plain_files,
    shard::Command,
};
use inkpot_wal::segment::SegmentMaker;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use thiserror::Error;
use tokio::sync::mpsc::{self, Receiver, Sender, UnboundedReceiver, UnboundedSender, error::SendError};

/// A loop beside the shard's own ended although nobody told it to: it panicked.
#[derive(Debug, Error)]
#[error("a loop of the shard panicked")]
pub(super) struct HelperGone;

/// The loops beside the shard's own, each where the shard's [`Host`](crate::host::Host) says.
pub(super) struct Helpers {
    control: Arc<Control>,
    applier: Worker,
    prepare: Sender<()>,
    preparer: Worker,
    /// Never full: what waits there holds permits.
    stage: UnboundedSender<Job>,
    stager: Worker,
}

impl Helpers {
    pub(super) fn start(
        spec: &Spec,
        registry: &Registry,
        sender: &mpsc::Sender<Command>,
        applier: Applier,
        backlog: &Arc<Backlog>,
        writer: &ShardWriter,
    ) -> std::io::Result<Self> {
        let (number, host) = (spec.number, spec.host);
        let (prepare, wanted) = mpsc::channel(1);
        // First those that end by themselves if another cannot be made.
        let preparer =
            host.start(format!("segments-{number}"), run_preparer(writer.log().maker(), Arc::clone(backlog), wanted))?;
        let (stage, jobs) = mpsc::unbounded_channel();
        let stager = Stager::new(Arc::clone(&spec.fs), plain_files(&spec.ground(registry)));
        let stager = host.start(format!("stage-{number}"), run_stager(stager, jobs, sender.clone()))?;
        let control = Arc::new(Control::default());
        let config = &spec.config;
        let run = apply::driver::run(
            applier,
            Arc::clone(backlog),
            Arc::clone(&control),
            sender.clone(),
            config.apply.clone(),
            config.checkpoint.clone(),
        );
        let applier = host.start(format!("apply-{number}"), run)?;
        Ok(Self { control, applier, prepare, preparer, stage, stager })
    }

    /// After a commit: tells the others what concerns them, and notices if one of them is gone.
    pub(super) fn look_at(&self, writer: &ShardWriter) -> Result<(), HelperGone> {
        if self.applier.is_finished() || self.preparer.is_finished() || self.stager.is_finished() {
            return Err(HelperGone);
        }
        self.control.wal_bytes.store(writer.unreleased_bytes(), Ordering::Relaxed);
        if !writer.log().maker().is_ready() {
            // A full channel means that it is asked for already.
            let _ = self.prepare.try_send(());
        }
        Ok(())
    }

    /// Hands jobs to the stager; one that is gone is noticed by [`Helpers::look_at`].
    pub(super) fn stage(&self, jobs: Vec<Job>) {
        for job in jobs {
            if let Err(SendError(job)) = self.stage.send(job) {
                refuse_item(job.into_item(), &closed("the append was not staged"));
            }
        }
    }

    pub(super) fn checkpoint_now(&self) {
        self.control.checkpoint_now.store(true, Ordering::Release);
        self.control.changed.notify_one();
    }

    /// Ends them; meanwhile refuses what comes, because the applier may be waiting for room in the mailbox. Tells
    /// whether the shard was told to stop.
    pub(super) async fn stop(self, mailbox: &mut mpsc::Receiver<Command>) -> bool {
        self.control.stop.store(true, Ordering::Release);
        self.control.changed.notify_one();
        drop(self.prepare);
        drop(self.stage);
        let refused = closed("the append was not taken");
        let mut told_to_stop = false;
        while !self.applier.is_finished() || !self.preparer.is_finished() || !self.stager.is_finished() {
            if let Ok(Some(command)) = tokio::time::timeout(Duration::from_millis(2), mailbox.recv()).await {
                told_to_stop |= matches!(command, Command::Stop);
                refuse(command, &refused);
            }
        }
        for worker in [self.applier, self.preparer, self.stager] {
            if worker.join().await.is_err() {
                tracing::error!("a loop of the shard panicked");
            }
        }
        told_to_stop
    }
}

/// Does jobs as they come, as many at once as are there, up to a bound.
async fn run_stager(mut stager: Stager, mut jobs: UnboundedReceiver<Job>, shard: mpsc::Sender<Command>) {
    while let Some(first) = jobs.recv().await {
        let mut bytes = first.bytes();
        let mut batch = vec![first];
        while bytes < BATCH_BYTES
            && let Ok(job) = jobs.try_recv()
        {
            bytes += job.bytes();
            batch.push(job);
        }
        let (items, outcome) = stager.run(batch);
        let is_over = outcome.is_err();
        if let Err(SendError(command)) = shard.send(Command::Staged { items, outcome }).await {
            refuse(command, &closed("the append was not staged"));
        }
        if is_over {
            // The shard closes, and refuses what still waits here.
            while let Some(job) = jobs.recv().await {
                refuse_item(job.into_item(), &closed("the append was not staged"));
            }
            return;
        }
    }
}

/// Makes the next segment whenever it is asked for, once the reserve is full. If that fails, or takes room that is wanted
/// otherwise, the shard makes it itself when it needs it, and learns why.
async fn run_preparer(maker: Arc<SegmentMaker>, backlog: Arc<Backlog>, mut wanted: Receiver<()>) {
    let reserve = maker.reserve();
    let mut is_told = false;
    while wanted.recv().await.is_some() {
        // What waits has to find room in plain files: without that no log is given back, and no write is taken.
        let waiting = backlog.bytes();
        let prepared = reserve.fill_up(waiting).and(maker.prepare(waiting + ROOM_RESERVE_BYTES));
        // On a full disk it is asked for with every commit.
        if let (Err(error), false) = (&prepared, is_told) {
            tracing::warn!(%error, "a log segment could not be prepared ahead");
        }
        is_told = prepared.is_err();
    }
}
