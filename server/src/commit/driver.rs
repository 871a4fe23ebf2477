//! A shard's life: recover, serve, and after a failure close, refuse, and recover in place with back-off. On a thread of
//! its own with a runtime of its own, because commits wait for the disk; [`crate::host`] has the exception.

use super::{ShardWriter, Slots, answers::closed, helpers::Helpers, refuse_item, unknown};
use crate::{
    admission::Admission,
    apply::{
        Request,
        applier::{Applier, Unsynced},
        backlog::Backlog,
        plain::disk_full,
        registry::Registry,
    },
    catalog::CatalogSlot,
    config::Config,
    host::{Host, Worker},
    recovery::{Ground, Recovered, RecoveryError, recover},
    shard::{Command, MAILBOX_COMMANDS, ShardHandle, turns::Item},
    telemetry::ShardMetrics,
};
use futures_util::FutureExt;
use inkpot_proto::{error::Refused, v1::ErrorReason};
use inkpot_wal::{fs::FileSystem, recovery::Retained};
use std::{
    collections::VecDeque,
    io,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot, watch};

/// Commands that are taken at once.
const COMMANDS_PER_ROUND: usize = 256;
/// How long a shard stays closed after its first failure; doubled with each further one.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// ... up to this.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// A shard that found no room on the disk looks again after this long.
const FULL_BACKOFF: Duration = Duration::from_secs(1);

/// How often it is looked whether all shards have told what is stored.
const COUNTS_LOOK: Duration = Duration::from_millis(2);

/// How a shard is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It recovers for the first time.
    Opening,
    /// It serves.
    Open,
    /// It is closed, and why.
    Closed(String),
    /// It has ended.
    Stopped,
}

/// What a shard stands on.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Its number.
    pub number: u32,
    /// Where everything lies.
    pub fs: Arc<dyn FileSystem>,
    /// The settings.
    pub config: Arc<Config>,
    /// Who may make it hurry.
    pub admission: Arc<Admission>,
    /// What it measures with.
    pub metrics: Arc<ShardMetrics>,
    /// Makes generations of this folder other ones than those of any other.
    pub salt: u64,
    /// Where its loops run.
    pub host: Host,
}

impl Spec {
    pub(super) fn ground<'a>(&'a self, registry: &'a Registry) -> Ground<'a> {
        Ground { number: self.number, fs: &self.fs, config: &self.config, registry }
    }
}

/// A shard that runs.
#[derive(Debug)]
pub struct Running {
    /// The way to it.
    pub handle: ShardHandle,
    /// How it is.
    pub health: watch::Receiver<Health>,
    /// Its loop; ends after [`Command::Stop`].
    pub worker: Worker,
}

/// Starts a shard.
///
/// # Errors
/// Those of [`Host::start`].
pub fn start(spec: Spec) -> std::io::Result<Running> {
    let registry = Arc::new(Registry::default());
    let (sender, mailbox) = mpsc::channel(MAILBOX_COMMANDS);
    let (tell, health) = watch::channel(Health::Opening);
    let catalog = Arc::new(CatalogSlot::default());
    let (number, host) = (spec.number, spec.host);
    let handle = ShardHandle::new(number, host, Arc::clone(&registry), Arc::clone(&catalog), sender.clone());
    let (taken, lost) = (VecDeque::new(), Slots::default());
    let shard = Shard { spec, registry, catalog, sender, mailbox, tell, taken, lost };
    let worker = host.start(format!("shard-{number}"), shard.run())?;
    Ok(Running { handle, health, worker })
}

struct Shard {
    spec: Spec,
    registry: Arc<Registry>,
    /// Filled while the shard is open.
    catalog: Arc<CatalogSlot>,
    sender: mpsc::Sender<Command>,
    mailbox: mpsc::Receiver<Command>,
    tell: watch::Sender<Health>,
    /// Taken from the mailbox and not carried out yet; refused if the shard fails meanwhile.
    taken: VecDeque<Command>,
    /// Channels that a failure took away, until they are opened again or their session ends.
    lost: Slots,
}

/// How serving ended.
enum End {
    Stopped,
    Failed(String, Refused),
}

impl Shard {
    async fn run(mut self) {
        let mut retained: Option<Retained> = None;
        let mut backoff = FIRST_BACKOFF;
        // At the start requests wait until the shard is open; after a failure they are refused until it is again.
        let mut closed_for: Option<Refused> = None;
        loop {
            let began = Instant::now();
            let outcome = match &closed_for {
                None => recover(&self.spec.ground(&self.registry), retained.clone()),
                Some(refused) => match self.recover_aside(retained.clone(), refused).await {
                    Some(outcome) => outcome,
                    None => break,
                },
            };
            let (why, refused) = match outcome {
                Ok((recovered, unsynced)) => {
                    self.spec.metrics.recovery_duration.since(began);
                    let began = Instant::now();
                    match self.serve(recovered, unsynced, &mut retained).await {
                        End::Stopped => break,
                        End::Failed(why, refused) => {
                            if began.elapsed() > MAX_BACKOFF {
                                backoff = FIRST_BACKOFF;
                            }
                            (why, refused)
                        }
                    }
                }
                Err(error) => {
                    self.spec.admission.counted(self.spec.number);
                    (chain(&error), refusal(&error))
                }
            };
            let how_long = if refused.reason == ErrorReason::DiskFull { FULL_BACKOFF } else { backoff };
            tracing::error!(shard = self.spec.number, why, retry_in = ?how_long, "shard closed");
            self.spec.metrics.open.set(0);
            self.spec.metrics.failures.add(1);
            self.catalog.close(refused.clone());
            self.tell.send_replace(Health::Closed(why));
            if self.stay_closed(how_long, &refused).await {
                break;
            }
            backoff = (backoff * 2).min(MAX_BACKOFF);
            closed_for = Some(refused);
        }
        self.spec.metrics.open.set(0);
        self.tell.send_replace(Health::Stopped);
        let refused = closed("the server is stopping");
        self.catalog.close(refused.clone());
        self.mailbox.close();
        while let Some(command) = self.mailbox.recv().await {
            refuse(command, &refused);
        }
    }

    /// Recovers beside, and refuses meanwhile, so that no session stands still for it. `None`: the shard
    /// was told to stop.
    async fn recover_aside(
        &mut self,
        retained: Option<Retained>,
        refused: &Refused,
    ) -> Option<Result<(Recovered, Unsynced), RecoveryError>> {
        let (tell, mut done) = oneshot::channel();
        let (spec, registry) = (self.spec.clone(), Arc::clone(&self.registry));
        let recovery = async move { _ = tell.send(recover(&spec.ground(&registry), retained)) };
        // Not joined: it ends with what it tells.
        if let Err(source) = self.spec.host.start(format!("recover-{}", self.spec.number), recovery) {
            return Some(Err(RecoveryError::Thread(source)));
        }
        let mut told_to_stop = false;
        loop {
            tokio::select! {
                biased;
                outcome = &mut done => {
                    let outcome = outcome.unwrap_or_else(|_| Err(RecoveryError::Thread(io::Error::other("it panicked"))));
                    return Some(outcome).filter(|_| !told_to_stop);
                }
                Some(command) = self.mailbox.recv() => {
                    told_to_stop |= matches!(command, Command::Stop);
                    refuse(command, refused);
                }
            }
        }
    }

    /// Where tenants have limits of what they store, no shard takes anything before all know what is stored: at a start,
    /// requests wait for the slowest shard as they wait for their own.
    async fn wait_for_counts(&self) {
        let config = &self.spec.config;
        let is_limited = |bytes: Option<u64>, files: Option<u32>| bytes.is_some() || files.is_some();
        let defaults = &config.tenant_defaults;
        let has_limits = is_limited(defaults.stored_bytes, defaults.files)
            || config.tenants.values().any(|tenant| is_limited(tenant.limits.stored_bytes, tenant.limits.files));
        while has_limits && self.spec.admission.is_counting() {
            tokio::time::sleep(COUNTS_LOOK).await;
        }
    }

    /// Serves until it is stopped or fails; then `retained` is what the next attempt needs of memory.
    async fn serve(&mut self, recovered: Recovered, unsynced: Unsynced, retained: &mut Option<Retained>) -> End {
        let config = Arc::clone(&self.spec.config);
        let backlog = Arc::new(Backlog::new(config.apply.budget_bytes));
        let catalog = Arc::clone(&recovered.catalog);
        let applier = Applier::new(
            Arc::clone(&self.spec.fs),
            Arc::clone(&catalog),
            Arc::clone(&backlog),
            config.apply.open_files,
            recovered.log.maker().reserve(),
            unsynced,
            Arc::clone(&self.spec.metrics),
        );
        let mut writer =
            ShardWriter::new(&self.spec, Arc::clone(&self.registry), Arc::clone(&backlog), recovered, Instant::now());
        writer.set_lost(std::mem::take(&mut self.lost));
        let helpers = match Helpers::start(&self.spec, &self.registry, &self.sender, applier, &backlog, &writer) {
            Ok(helpers) => helpers,
            Err(error) => {
                *retained = Some(writer.close(&closed("the shard could not start")).0);
                return End::Failed(error.to_string(), closed("the shard could not start"));
            }
        };
        writer.note_state();
        self.wait_for_counts().await;
        self.catalog.open(catalog);
        self.spec.metrics.open.set(1);
        self.tell.send_replace(Health::Open);
        let mut stopping = None;
        let serving = self.serve_open(&mut writer, &backlog, &helpers, &mut stopping);
        let served = AssertUnwindSafe(serving).catch_unwind().await;
        let failure = match served {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some((chain(error.as_ref()), unknown(error.as_ref()))),
            Err(_) => {
                let text = "the shard's task panicked; its memory is not trusted any more";
                Some((text.to_owned(), Refused::new(ErrorReason::OutcomeUnknown, text)))
            }
        };
        let (why, in_flight) = failure.clone().unwrap_or_else(|| (String::new(), closed("the server has stopped")));
        // Before anything that may take long: until it is said why, below.
        self.catalog.close(closed("files cannot be listed"));
        let (kept, lost) = writer.close(&in_flight);
        self.lost = lost;
        let mut told_to_stop = stopping.is_some();
        for command in self.taken.drain(..) {
            told_to_stop |= matches!(command, Command::Stop);
            refuse(command, &closed("the append was not taken"));
        }
        told_to_stop |= helpers.stop(&mut self.mailbox).await;
        match failure {
            Some(_) if !told_to_stop => {
                *retained = Some(kept);
                End::Failed(why, closed("the append was not taken"))
            }
            _ => End::Stopped,
        }
    }

    async fn serve_open(
        &mut self,
        writer: &mut ShardWriter,
        backlog: &Backlog,
        helpers: &Helpers,
        stopping: &mut Option<Stopping>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut commands = Vec::with_capacity(COMMANDS_PER_ROUND);
        let admission = Arc::clone(&self.spec.admission);
        loop {
            let hurried = admission.hurried();
            tokio::pin!(hurried);
            hurried.as_mut().enable();
            let now = Instant::now();
            if writer.due(now).is_some_and(|due| due <= now) {
                while commands.len() < COMMANDS_PER_ROUND
                    && let Ok(command) = self.mailbox.try_recv()
                {
                    commands.push(command);
                }
            } else {
                let deadline = stopping.as_ref().map(|stopping| stopping.deadline);
                let wake = [writer.due(now), writer.tick_at(), deadline].into_iter().flatten().min();
                tokio::select! {
                    biased;
                    _ = self.mailbox.recv_many(&mut commands, COMMANDS_PER_ROUND) => {}
                    () = sleep_until(wake) => {}
                    () = hurried => {}
                    () = backlog.relieved.notified() => {}
                }
            }
            let mut stopped = false;
            self.taken.extend(commands.drain(..));
            while let Some(command) = self.taken.pop_front() {
                stopped |= self.handle(writer, command, helpers, stopping)?;
            }
            writer.note_queue();
            let now = Instant::now();
            if writer.due(now).is_some_and(|due| due <= now) {
                writer.commit(now)?;
            }
            if writer.tick_at().is_some_and(|at| at <= now) {
                writer.tick(now)?;
            }
            helpers.stage(writer.take_jobs());
            if writer.take_room_due() {
                helpers.checkpoint_now();
            }
            if let Err(gone) = helpers.look_at(writer) {
                // One that failed tells why before it goes: what it told is here by now, perhaps behind other things.
                for _ in 0..self.mailbox.len() {
                    let Ok(command) = self.mailbox.try_recv() else { break };
                    self.handle(writer, command, helpers, stopping)?;
                }
                return Err(gone.into());
            }
            if let Some(stopping) = stopping.as_mut().filter(|stopping| stopping.is_unsettled && writer.is_idle()) {
                stopping.is_unsettled = false;
                helpers.checkpoint_now();
            }
            let is_late = stopping.as_ref().is_some_and(|stopping| now >= stopping.deadline);
            if is_late {
                tracing::warn!(shard = self.spec.number, "stopped before the last checkpoint; the next start replays");
            }
            if stopped || is_late {
                return Ok(());
            }
        }
    }

    /// Takes a command; tells whether the shard is done.
    fn handle(
        &self,
        writer: &mut ShardWriter,
        command: Command,
        helpers: &Helpers,
        stopping: &mut Option<Stopping>,
    ) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        let now = Instant::now();
        match command {
            Command::Writes(batch) => writer.push_batch(batch, now),
            Command::Flush => writer.turns().flush(),
            Command::Lookup { key, reply } => _ = reply.send(writer.answer_lookup(&key)?),
            Command::Step(step) => writer.push_step(*step),
            Command::AllotId { reply } => _ = reply.send(Ok(writer.allot_id())),
            Command::Staged { items, outcome } => {
                if let Err(error) = outcome {
                    for item in items {
                        refuse_item(item, &closed("the append was not staged"));
                    }
                    return Err(Box::new(error));
                }
                writer.staged(items);
            }
            Command::Apply(Request::Snapshot(reply)) => _ = reply.send(writer.snapshot(now)?),
            Command::Apply(Request::Checkpointed(mark)) => {
                writer.checkpointed(&mark, now)?;
                if let Some(stopping) = stopping {
                    if writer.is_settled(&mark) {
                        return Ok(true);
                    }
                    stopping.is_unsettled = true;
                }
            }
            Command::Apply(Request::Failed(error)) => return Err(Box::new(error)),
            Command::Stop => {
                let deadline = now + self.spec.config.shutdown.close;
                *stopping = Some(Stopping { deadline, is_unsettled: false });
                writer.turns().flush();
                helpers.checkpoint_now();
            }
            command => {
                if let Some((tenant, item)) = into_item(command) {
                    writer.turns().push(&tenant, item);
                }
            }
        }
        Ok(false)
    }

    /// Refuses everything for as long as the shard is to stay closed; tells whether it is to stop instead.
    async fn stay_closed(&mut self, how_long: Duration, refused: &Refused) -> bool {
        let until = tokio::time::Instant::now() + how_long;
        loop {
            match tokio::time::timeout_at(until, self.mailbox.recv()).await {
                Ok(None | Some(Command::Stop)) => return true,
                Ok(Some(command)) => refuse(command, refused),
                Err(_) => return false,
            }
        }
    }
}

/// A shard that is to end.
struct Stopping {
    /// It ends then, whatever is left.
    deadline: Instant,
    /// Another checkpoint is wanted, once nothing waits any more: before, it would not be the last one either.
    is_unsettled: bool,
}

fn into_item(command: Command) -> Option<(Arc<crate::admission::Tenant>, Item)> {
    match command {
        Command::Open(open) => Some((Arc::clone(&open.session.tenant), Item::Open(open))),
        Command::Finish { session, channel, ending } => {
            Some((Arc::clone(&session.tenant), Item::Finish { session, channel, ending }))
        }
        Command::SessionEnded { session } => Some((Arc::clone(&session.tenant), Item::SessionEnded(session))),
        Command::DiscardUploads { tenant, reply } => {
            let name = tenant.name.clone();
            Some((tenant, Item::DiscardUploads { tenant: name, reply }))
        }
        Command::Operation { tenant, operation } => Some((tenant, Item::Operation(operation))),
        Command::WriteState { tenant, key, producer, reply } => {
            Some((tenant, Item::WriteState { key, producer, reply }))
        }
        _ => None,
    }
}

/// Refuses a command of a shard that is closed.
pub(super) fn refuse(command: Command, refused: &Refused) {
    match command {
        Command::Writes(batch) => {
            for write in batch.writes {
                refuse_item(Item::Write(Arc::clone(&batch.session), write, batch.since), refused);
            }
        }
        Command::Staged { items, .. } => items.into_iter().for_each(|item| refuse_item(item, refused)),
        Command::AllotId { reply } => _ = reply.send(Err(refused.clone())),
        Command::Step(step) => step.refuse(refused.clone()),
        Command::Lookup { reply, .. } => _ = reply.send(Err(refused.clone())),
        Command::Flush | Command::Apply(_) | Command::Stop => {}
        command => {
            if let Some((_, item)) = into_item(command) {
                refuse_item(item, refused);
            }
        }
    }
}

fn refusal(error: &RecoveryError) -> Refused {
    if error.is_damage() {
        let text = format!("acknowledged data is damaged: {}; nothing was cut, the shard stays closed", chain(error));
        return Refused::new(ErrorReason::Damaged, text);
    }
    if error.is_disk_full() {
        return disk_full(&chain(error));
    }
    closed(&chain(error))
}

/// An error with its sources, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
