//! Leads a set through: every shard holds its parts ready, one decides, then all carry out. The client may go away
//! meanwhile; what was begun is brought to an end.

use super::{Outcome, Ready, Step, Wish};
use crate::{
    apply::{plain, view::FileView},
    route,
    shard::{
        Command, ShardHandle,
        ids::{FileKey, ProducerId},
        operation::{Action, Done, Operator},
        record::SetId,
    },
};
use futures_util::future::join_all;
use inkpot_proto::{error::Refused, v1::ErrorReason};
use inkpot_wal::fs::{Access, FileSystem, parent};
use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{RwLock, oneshot},
    time,
};
use tokio_util::sync::CancellationToken;

/// How long to wait before a shard that could not be asked is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// How often it is looked whether the plain file of a file that is to leave has everything.
const LOOK: Duration = Duration::from_millis(5);

/// An upload of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadWish {
    /// The path that it will have.
    pub key: FileKey,
    /// Who sent it.
    pub producer: ProducerId,
    /// Its epoch, if that matters.
    pub epoch: Option<u64>,
    /// Its size in bytes, if it is to be checked.
    pub size: Option<u64>,
    /// Its crc32c, if it is to be checked.
    pub crc32c: Option<u32>,
}

/// What leads sets through.
#[derive(Debug)]
pub struct Sets {
    shards: Arc<[ShardHandle]>,
    fs: Arc<dyn FileSystem>,
    drain: CancellationToken,
    /// Held to read while several shards are looked at as of one moment; held to write while a set happens.
    pub visibility: RwLock<()>,
    /// Sets that are led through now, and what tells readers whether they have happened.
    led: Mutex<HashMap<SetId, Arc<Outcome>>>,
}

/// Parts by the number of their shard, in the order of the wishes; with the place of each among all.
type ByShard = BTreeMap<u32, Vec<(usize, Wish)>>;

impl Sets {
    /// Sets of files of these shards, which are in the order of their numbers.
    #[must_use]
    pub fn new(shards: Arc<[ShardHandle]>, fs: Arc<dyn FileSystem>, drain: CancellationToken) -> Self {
        Self { shards, fs, drain, visibility: RwLock::new(()), led: Mutex::default() }
    }

    /// Publishes uploads of one tenant, all or none. Returns their generations.
    ///
    /// # Errors
    /// What a shard says to one of them; OUTCOME_UNKNOWN if the server stops before it is known.
    pub async fn publish(&self, uploads: Vec<UploadWish>) -> Result<Vec<u64>, Refused> {
        let count = uploads.len();
        let mut parts = ByShard::new();
        for (place, upload) in uploads.into_iter().enumerate() {
            parts.entry(self.shard_of(&upload.key)).or_default().push((place, Wish::Publish(upload)));
        }
        let Some(coordinator) = parts.keys().next().copied() else { return Ok(Vec::new()) };
        let id = self.shards[coordinator as usize].allot_id().await?;
        let ready = self.run(id, coordinator, parts).await?;
        let mut generations = vec![0; count];
        for (place, ready) in ready {
            let (Ready::Held(generation) | Ready::Published(generation)) = ready;
            generations[place] = generation;
        }
        Ok(generations)
    }

    /// Gives a file a path of another shard.
    ///
    /// # Errors
    /// As [`Sets::publish`].
    pub async fn rename(
        &self,
        from: FileKey,
        to: FileKey,
        replace: bool,
        if_generation: Option<u64>,
        operator: Option<Operator>,
    ) -> Result<Done, Refused> {
        let (source, target) = (self.shard_of(&from), self.shard_of(&to));
        // It may have been moved back since.
        for key in [&to, &from] {
            if let Some(done) = self.find_done(key, &to, operator.as_ref(), replace).await? {
                return Ok(done);
            }
        }
        // The shard where the file arrives decides, so that its path is free before the one that it leaves.
        let id = self.shards[target as usize].allot_id().await?;
        let frozen = self.step(source, |reply| Step::Freeze {
            id,
            key: from.clone(),
            if_generation,
            operator: operator.clone(),
            to: to.clone(),
            replace,
            reply,
        });
        let ready = match frozen.await {
            Ok(file) => self.sync_plain(source, &from).await.map(|()| file),
            Err(refused) => Err(refused),
        };
        let file = match ready {
            Ok(file) => file,
            Err(refused) => {
                self.settle(source, id, false).await;
                // The same rename may have been under way, and be over by now.
                let done = match refused.reason {
                    ErrorReason::FileNotFound => self.find_done(&to, &to, operator.as_ref(), replace).await?,
                    _ => None,
                };
                return done.ok_or(refused);
            }
        };
        let done = Done {
            generation: file.row.generation,
            size: file.row.end,
            crc32c: file.row.content.crc32c,
            duplicate: false,
        };
        let leave = vec![(0, Wish::Leave(from.clone()))];
        let arrive = vec![(1, Wish::Arrive { file, from, replace })];
        // From here on nobody but the shard that decides can say that it does not happen.
        self.run(id, target, ByShard::from([(source, leave), (target, arrive)])).await?;
        Ok(done)
    }

    /// Whether the operation was done before: the producers of a file go with it.
    async fn find_done(
        &self,
        key: &FileKey,
        to: &FileKey,
        operator: Option<&Operator>,
        replace: bool,
    ) -> Result<Option<Done>, Refused> {
        let Some(operator) = operator else { return Ok(None) };
        let action = Action::Rename { to: to.clone(), replace };
        let (key, operator) = (key.clone(), operator.clone());
        self.step(self.shard_of(&key.clone()), |reply| Step::FindDone { key, operator, action, reply }).await
    }

    /// Waits until a frozen file is all in its plain file, and makes that durable: the shard that it goes to has not its
    /// bytes in its log.
    async fn sync_plain(&self, shard: u32, key: &FileKey) -> Result<(), Refused> {
        let view = self.shards[shard as usize].lookup(key).await?;
        let Some(view) = view else {
            return Err(Refused::new(ErrorReason::FileNotFound, format!("there is no file {key}")));
        };
        while !is_applied(&view) {
            tokio::select! {
                () = time::sleep(LOOK) => {}
                () = self.drain.cancelled() => {
                    return Err(Refused::new(ErrorReason::Draining, "the server is stopping; nothing was applied"));
                }
            }
        }
        let foreign = view.state().foreign.clone();
        if let Some(what) = foreign {
            // Bytes that were acknowledged may lie beside the plain file, where the other shard would not find them.
            return Err(plain::foreign(key, &what));
        }
        let fs = Arc::clone(&self.fs);
        let syncing = self.shards[shard as usize].host.blocking(move || {
            let path = view.path();
            fs.open(&path, Access::ReadWrite)?.sync_all()?;
            let mut dir = parent(&path);
            while !dir.is_empty() {
                fs.sync_dir(dir)?;
                dir = parent(dir);
            }
            Ok(())
        });
        let synced: io::Result<()> = syncing.await.flatten();
        synced.map_err(|error| {
            Refused::new(ErrorReason::Internal, format!("file {key} could not be synced: {error}; it stays as it is"))
        })
    }

    /// From the parts to the end: they are held ready, it is decided, all carry out.
    async fn run(&self, id: SetId, coordinator: u32, parts: ByShard) -> Result<Vec<(usize, Ready)>, Refused> {
        let outcome = Arc::new(Outcome::default());
        self.led().insert(id, Arc::clone(&outcome));
        let ran = self.run_led(id, coordinator, parts, &outcome).await;
        if !ran.as_ref().is_err_and(|refused| refused.reason == ErrorReason::OutcomeUnknown) {
            self.led().remove(&id);
        }
        ran
    }

    async fn run_led(
        &self,
        id: SetId,
        coordinator: u32,
        parts: ByShard,
        outcome: &Arc<Outcome>,
    ) -> Result<Vec<(usize, Ready)>, Refused> {
        let participants: Vec<u32> = parts.keys().copied().collect();
        let prepared =
            join_all(parts.into_iter().map(|(shard, parts)| self.prepare(id, coordinator, shard, parts, outcome)));
        let prepared: Result<Vec<_>, Refused> = prepared.await.into_iter().collect();
        let ready: Vec<(usize, Ready)> = match prepared {
            Ok(ready) => ready.into_iter().flatten().collect(),
            Err(refused) => {
                self.settle_all(&participants, id, false).await;
                return Err(refused);
            }
        };
        let published = ready.iter().filter(|(_, ready)| matches!(ready, Ready::Published(_))).count();
        if published > 0 {
            self.settle_all(&participants, id, false).await;
            return if published == ready.len() { Ok(ready) } else { Err(published_before()) };
        }
        if !self.decide(id, coordinator, &participants, outcome).await? {
            self.settle_all(&participants, id, false).await;
            let text = "a shard failed while the set was prepared; nothing was applied, try again";
            return Err(Refused::new(ErrorReason::BeingDecided, text));
        }
        self.carry_out(id, coordinator, &participants).await;
        Ok(ready)
    }

    /// Brings a set that was decided to its end, as far as the server does not stop before: then the decision is kept,
    /// and the next start goes on from it.
    pub(super) async fn carry_out(&self, id: SetId, coordinator: u32, participants: &[u32]) {
        let led = self.led().get(&id).cloned();
        if let Some(outcome) = led {
            let _moment = self.visibility.write().await;
            outcome.happen();
        }
        // First where it was decided: what leaves a shard has arrived by then.
        if !self.settle(coordinator, id, true).await {
            return;
        }
        let others: Vec<u32> = participants.iter().copied().filter(|shard| *shard != coordinator).collect();
        if self.settle_all(&others, id, true).await {
            // If that fails the decision is kept too.
            let _ = self.step(coordinator, |reply| Step::Close { id, reply }).await;
        }
    }

    fn led(&self) -> MutexGuard<'_, HashMap<SetId, Arc<Outcome>>> {
        self.led.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn prepare(
        &self,
        id: SetId,
        coordinator: u32,
        shard: u32,
        parts: Vec<(usize, Wish)>,
        outcome: &Arc<Outcome>,
    ) -> Result<Vec<(usize, Ready)>, Refused> {
        let (places, wishes): (Vec<usize>, Vec<Wish>) = parts.into_iter().unzip();
        let outcome = Arc::clone(outcome);
        let ready = self.step(shard, |reply| Step::Prepare { id, coordinator, wishes, outcome, reply }).await?;
        Ok(places.into_iter().zip(ready).collect())
    }

    /// Whether the set happens. Asks until it is known: what was decided may have been lost on its way back.
    async fn decide(
        &self,
        id: SetId,
        coordinator: u32,
        participants: &[u32],
        outcome: &Outcome,
    ) -> Result<bool, Refused> {
        let participants = participants.to_vec();
        match self.step(coordinator, |reply| Step::Decide { id, participants, reply }).await {
            Ok(()) => return Ok(true),
            Err(refused) if refused.reason == ErrorReason::BeingDecided => return Ok(false),
            Err(_) => {}
        }
        loop {
            if let Ok(happens) = self.step(coordinator, |reply| Step::Ask { id, asker: coordinator, reply }).await {
                // The resolver may have carried it out and closed it meanwhile.
                return Ok(happens || outcome.has_happened());
            }
            tokio::select! {
                () = time::sleep(ASK_AGAIN) => {}
                () = self.drain.cancelled() => {
                    let text = "the server stops before it is known whether the set happened; ask for it again";
                    return Err(Refused::new(ErrorReason::OutcomeUnknown, text));
                }
            }
        }
    }

    async fn settle_all(&self, shards: &[u32], id: SetId, commit: bool) -> bool {
        join_all(shards.iter().map(|shard| self.settle(*shard, id, commit))).await.into_iter().all(|settled| settled)
    }

    /// Lets a shard carry its parts out, or let them go; tries until it does, or the server stops: then the next start
    /// does. Tells whether it did.
    pub(super) async fn settle(&self, shard: u32, id: SetId, commit: bool) -> bool {
        while self.step(shard, |reply| Step::Settle { id, commit, reply }).await.is_err() {
            tokio::select! {
                () = time::sleep(ASK_AGAIN) => {}
                () = self.drain.cancelled() => return false,
            }
        }
        true
    }

    /// One step in one shard.
    pub(super) async fn step<T>(
        &self,
        shard: u32,
        step: impl FnOnce(oneshot::Sender<Result<T, Refused>>) -> Step,
    ) -> Result<T, Refused> {
        let (reply, answer) = oneshot::channel();
        self.shards[shard as usize].send(Command::Step(Box::new(step(reply)))).await?;
        answer.await.unwrap_or_else(|_| {
            Err(Refused::new(ErrorReason::OutcomeUnknown, format!("shard {shard} failed before it answered")))
        })
    }

    fn shard_of(&self, key: &FileKey) -> u32 {
        route::shard_of(&key.tenant, &key.path, u32::try_from(self.shards.len()).unwrap_or(u32::MAX))
    }
}

fn is_applied(view: &FileView) -> bool {
    let state = view.state();
    state.gone.is_some() || state.foreign.is_some() || (state.pending.is_empty() && state.applied == state.committed)
}

fn published_before() -> Refused {
    let text = "some of the uploads are published already, by themselves or in another set; leave them out";
    Refused::new(ErrorReason::UploadFinished, text)
}
