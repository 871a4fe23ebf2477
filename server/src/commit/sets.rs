//! The steps of a set in one shard, each in its turn: see [`crate::sets`].

use super::{
    ShardError, ShardWriter,
    answers::closed,
    checkpoint::snapshot_of,
    effects::Effect,
    uploads::{Content, check_content, check_published},
};
use crate::{
    apply::{
        applier::stored,
        plain::{check_vacant, disk_full},
        registry,
        view::FileView,
    },
    catalog::{CatalogError, Stored},
    sets::{Outcome, Ready, Step, UnderWay, UploadWish, Wish},
    shard::{
        being_decided,
        ids::{FileId, FileKey},
        operation::{Action, Operator},
        record::{Encoder, Part, Record, SetId},
        state::{File, Remembered},
    },
};
use inkpot_proto::{error::Refused, v1::ErrorReason};
use std::{sync::Arc, time::Instant};

impl ShardWriter {
    /// Takes a step of a set; answered when the commit is through.
    pub(super) fn step(&mut self, step: Step, now: Instant) -> Result<(), ShardError> {
        self.sync_wanted = true;
        if let Some(refused) = self.refuse_without_room(&step) {
            step.refuse(refused);
            return Ok(());
        }
        match step {
            Step::Freeze { id, key, if_generation, operator, to, replace, reply } => {
                let frozen = self.freeze(id, &key, if_generation, operator.as_ref(), (to, replace), now);
                let (frozen, error) = split(frozen);
                self.answers.later(reply, frozen);
                return error;
            }
            Step::Prepare { id, coordinator, wishes, outcome, reply } => {
                let (ready, error) = split(self.prepare(id, coordinator, wishes, &outcome, now));
                self.answers.later(reply, ready);
                return error;
            }
            Step::Decide { id, participants, reply } => {
                let decided = self.decide_set(id, participants, now);
                self.answers.later(reply, decided);
            }
            Step::Settle { id, commit, reply } => {
                self.settle_set(id, commit, now)?;
                self.answers.later(reply, Ok(()));
            }
            Step::Close { id, reply } => {
                if self.files.sets().is_decided(id) {
                    self.record(&Record::Close { id }, now);
                }
                self.answers.later(reply, Ok(()));
            }
            Step::Ask { id, asker, reply } => {
                let answer = self.tell_outcome(id, asker);
                self.answers.later(reply, answer);
            }
            Step::FindDone { key, operator, action, reply } => {
                let present = self.load(&key)?;
                // It may have been done by what is being decided.
                let done = self
                    .check_lock(&key)
                    .and_then(|()| present.map_or(Ok(None), |id| self.find_done(id, &operator, &action)));
                self.answers.later(reply, done);
            }
            Step::List { reply } => {
                let (sets, recovered) = (self.files.sets(), &self.recovered_sets);
                let held = sets.all_held().filter(|(id, _)| recovered.contains(id));
                let held = held.map(|(id, held)| (id, held.coordinator)).collect();
                let decided = sets.all_decided().filter(|(id, _)| recovered.contains(id));
                let decided = decided.map(|(id, shards)| (id, shards.to_vec())).collect();
                self.answers.later(reply, Ok(UnderWay { held, decided }));
            }
        }
        Ok(())
    }

    /// Queues a step of a set: before what tenants have sent.
    pub fn push_step(&mut self, step: Step) {
        self.steps.push_back(step);
    }

    /// On a full disk a step waits, as all does that is to be logged.
    fn refuse_without_room(&self, step: &Step) -> Option<Refused> {
        let is_logged = !matches!(step, Step::Ask { .. } | Step::FindDone { .. } | Step::List { .. });
        (is_logged && (self.disk_full || self.backlog.is_disk_full())).then(|| disk_full("a step of a set"))
    }

    /// Whether a path waits for a set, or its file is about to leave.
    ///
    /// # Errors
    /// BEING_DECIDED.
    pub(super) fn check_lock(&self, key: &FileKey) -> Result<(), Refused> {
        self.check_frozen(key)?;
        if self.files.sets().lock_of(key).is_some() { Err(being_decided(key)) } else { Ok(()) }
    }

    /// Whether the file of a path is about to leave. What was known of it then is what arrives.
    ///
    /// # Errors
    /// BEING_DECIDED.
    pub(super) fn check_frozen(&self, key: &FileKey) -> Result<(), Refused> {
        let file = self.files.id_of(key).and_then(|id| self.files.get(id));
        if file.is_some_and(|file| file.frozen.is_some()) { Err(being_decided(key)) } else { Ok(()) }
    }

    fn freeze(
        &mut self,
        set: SetId,
        key: &FileKey,
        if_generation: Option<u64>,
        operator: Option<&Operator>,
        (to, replace): (FileKey, bool),
        now: Instant,
    ) -> Result<Result<Box<Stored>, Refused>, CatalogError> {
        let present = self.load(key)?;
        Ok(self.try_freeze(set, key, present, if_generation, operator, &Action::Rename { to, replace }, now))
    }

    #[allow(clippy::too_many_arguments)]
    fn try_freeze(
        &mut self,
        set: SetId,
        key: &FileKey,
        present: Option<FileId>,
        if_generation: Option<u64>,
        operator: Option<&Operator>,
        action: &Action,
        now: Instant,
    ) -> Result<Box<Stored>, Refused> {
        self.check_lock(key)?;
        let id = self.check_source(key, present, if_generation)?;
        if let Some(operator) = operator {
            self.check_operator(id, operator, now)?;
        }
        self.check_plain(id)?;
        let remember = self.config.producers.remembered as usize;
        let Some(file) = self.files.get_mut(id) else { return Err(closed("the file is gone")) };
        let mut stored = stored(snapshot_of(file));
        if let Action::Rename { to, .. } = action {
            stored.row.key = to.clone();
        }
        if let Some(operator) = operator {
            // It is done where the file arrives, so it is counted there.
            note_done(&mut stored, operator, action, remember);
        }
        let (len, most) = (arrival_bytes(&stored, key), self.log.max_payload());
        if len > most {
            let text = format!(
                "what is remembered of the {} producers of file {key} takes {len} bytes, more than the {most} that one frame of \
                 the log has (wal.segment_bytes); a path of the same shard needs none",
                stored.producers.len()
            );
            return Err(Refused::new(ErrorReason::TooManyProducers, text).with_limit("wal.segment_bytes"));
        }
        file.frozen = Some(set);
        self.frozen.insert(set, id);
        Ok(Box::new(stored))
    }

    fn prepare(
        &mut self,
        set: SetId,
        coordinator: u32,
        wishes: Vec<Wish>,
        outcome: &Arc<Outcome>,
        now: Instant,
    ) -> Result<Result<Vec<Ready>, Refused>, CatalogError> {
        let mut ready = Vec::with_capacity(wishes.len());
        let mut parts = Vec::with_capacity(wishes.len());
        for wish in wishes {
            let (said, part) = match self.check_wish(set, wish)? {
                Ok(checked) => checked,
                Err(refused) => return Ok(Err(refused)),
            };
            ready.push(said);
            parts.extend(part);
        }
        // One of another set could have been published by itself: then nothing is held.
        if parts.len() < ready.len() {
            return Ok(Ok(ready));
        }
        for part in parts {
            self.hold(&part, Arc::clone(outcome));
            self.frozen.remove(&set);
            self.record(&Record::Prepare { id: set, coordinator, part }, now);
        }
        Ok(Ok(ready))
    }

    #[allow(clippy::type_complexity)]
    fn check_wish(&mut self, set: SetId, wish: Wish) -> Result<Result<(Ready, Option<Part>), Refused>, CatalogError> {
        Ok(match wish {
            Wish::Publish(wish) => {
                let present = self.load(&wish.key)?;
                self.check_upload(&wish, present)
            }
            Wish::Leave(key) => {
                let id = self.files.id_of(&key);
                let file = id.and_then(|id| self.files.get(id)).filter(|file| file.frozen == Some(set));
                let leaves =
                    file.map(|file| (Ready::Held(file.view.generation), Some(Part::Leave { file: file.view.id })));
                leaves.ok_or_else(|| being_decided(&key))
            }
            Wish::Arrive { file, from, replace } => {
                let key = file.row.key.clone();
                let present = self.load(&key)?;
                self.check_arrival(file, from, replace, present)
            }
        })
    }

    fn check_upload(&mut self, wish: &UploadWish, present: Option<FileId>) -> Result<(Ready, Option<Part>), Refused> {
        let UploadWish { key, producer, epoch, size, crc32c } = wish;
        self.check_lock(key)?;
        let is_its_epoch = |found: u64| epoch.is_none_or(|epoch| epoch == found);
        let Some(id) = self.files.upload_of(key, producer) else {
            let file = present.and_then(|id| self.files.get(id));
            let origin = file.and_then(|file| file.content.origin.as_ref());
            let is_published = origin.is_some_and(|(name, found)| name == producer && is_its_epoch(*found));
            return match file.filter(|_| is_published) {
                Some(file) => {
                    let published = check_published(file, producer, *size, *crc32c)?;
                    Ok((Ready::Published(published.generation), None))
                }
                None => Err(no_upload(key, producer)),
            };
        };
        let Some(file) = self.files.get(id) else { return Err(no_upload(key, producer)) };
        let found = file.producers.get(producer).map_or(0, |known| known.epoch);
        if !is_its_epoch(found) {
            let text = format!("the upload of producer {producer:?} to {key} has epoch {found}");
            let mut refused = Refused::new(ErrorReason::ProducerFenced, text);
            refused.current_epoch = Some(found);
            return Err(refused);
        }
        if file.channels > 0 {
            let text = format!("the upload of producer {producer:?} to {key} is open; finish it with LEAVE_OPEN first");
            return Err(Refused::new(ErrorReason::UploadOpen, text));
        }
        check_content(key, Content::of(file), *size, *crc32c)?;
        let generation = file.view.generation;
        let (replace, if_generation) =
            file.upload.as_ref().map_or((false, None), |upload| (upload.replace, upload.if_generation));
        self.check_target(key, replace, if_generation)?;
        if self.files.id_of(key).is_none_or(|id| self.files.get(id).is_none_or(|file| !file.created)) {
            self.account.reserve_file(&key.tenant).map_err(|refused| *refused)?;
        }
        Ok((Ready::Held(generation), Some(Part::Publish { upload: id })))
    }

    fn check_arrival(
        &mut self,
        file: Box<Stored>,
        from: FileKey,
        replace: bool,
        present: Option<FileId>,
    ) -> Result<(Ready, Option<Part>), Refused> {
        let to = file.row.key.clone();
        self.check_lock(&to)?;
        match present.filter(|id| self.files.get(*id).is_some_and(|file| file.created)) {
            Some(_) if !replace => {
                let text = format!("file {to} is there already; ask to replace it, or take another path");
                return Err(Refused::new(ErrorReason::FileExists, text));
            }
            Some(present) => self.check_plain(present)?,
            None => check_vacant(self.fs.as_ref(), &to, self.number)?,
        }
        let generation = file.row.generation;
        Ok((Ready::Held(generation), Some(Part::Arrive { file, from })))
    }

    /// Lets readers see what a path has until the set is decided, and from then on.
    fn hold(&mut self, part: &Part, outcome: Arc<Outcome>) {
        let Some(key) = self.files.paths_of(part) else { return };
        let present = self.files.id_of(&key).and_then(|id| self.files.get(id)).filter(|file| file.created);
        let now = present.map(|file| Arc::clone(&file.view));
        let next = match part {
            Part::Publish { upload } => self.files.get(*upload).map(|file| {
                show_content(&file.view, file);
                Arc::clone(&file.view)
            }),
            Part::Leave { .. } => None,
            Part::Arrive { file, from } => Some(self.view_of_arrival(file, from)),
        };
        let held = registry::Held { now, next, outcome: Some(outcome) };
        self.add_effect(Effect::Hold { key: key.clone(), held }, &[&key]);
    }

    fn view_of_arrival(&mut self, file: &Stored, from: &FileKey) -> Arc<FileView> {
        let row = crate::catalog::FileRow { key: from.clone(), ..file.row.clone() };
        let view = Arc::new(super::open::view_from_catalog(file.id, &row, self.number));
        self.files.keep_view(Arc::clone(&view));
        view
    }

    fn decide_set(&mut self, id: SetId, participants: Vec<u32>, now: Instant) -> Result<(), Refused> {
        if self.files.sets().is_decided(id) {
            return Ok(());
        }
        // What another life of the shard began, or somebody was told does not happen, never does.
        if id.epoch() != self.log.epoch() || self.refused_sets.contains(&id) || self.files.sets().held(id).is_none() {
            let text = "the set was given up while it was prepared; nothing was applied, try again";
            return Err(Refused::new(ErrorReason::BeingDecided, text));
        }
        self.record(&Record::Decide { id, participants }, now);
        Ok(())
    }

    fn tell_outcome(&mut self, id: SetId, asker: u32) -> Result<bool, Refused> {
        let sets = self.files.sets();
        if sets.is_decided(id) {
            // Who is asked carries its own parts out first: what leaves another shard has arrived by then.
            if asker != self.number && sets.held(id).is_some() {
                return Err(Refused::new(ErrorReason::BeingDecided, "the set happens, and is being carried out"));
            }
            return Ok(true);
        }
        if id.epoch() == self.log.epoch() {
            self.refused_sets.insert(id);
        }
        Ok(false)
    }

    fn settle_set(&mut self, id: SetId, commit: bool, now: Instant) -> Result<(), CatalogError> {
        let only_frozen = self.frozen.remove(&id);
        self.refused_sets.remove(&id);
        self.recovered_sets.remove(&id);
        let Some(held) = self.files.sets().held(id).cloned() else {
            if let Some(file) = only_frozen.and_then(|file| self.files.get_mut(file)) {
                file.frozen = None;
            }
            return Ok(());
        };
        let mut effects = Vec::new();
        for part in &held.parts {
            let Some(key) = self.files.paths_of(part) else { continue };
            // After a start it may be in the catalog only.
            let over = self.load(&key)?;
            match part {
                Part::Publish { upload } => effects.push((Effect::Publish { id: *upload, over }, key)),
                Part::Leave { file } => effects.push((Effect::Leave { id: *file }, key)),
                Part::Arrive { file, from } => {
                    effects.push((Effect::Arrive { id: file.id, from: from.clone(), over }, key));
                }
            }
        }
        self.record(&Record::Settle { id, commit }, now);
        for (effect, key) in effects {
            if commit {
                // It may come back, with the same id.
                if let Effect::Leave { id } = effect {
                    self.leave_behind(id);
                }
                self.add_effect(effect, &[&key]);
            } else {
                let has_row = self.catalog.by_key(&key)?.is_some();
                self.add_effect(Effect::Release { key: key.clone(), has_row }, &[&key]);
            }
        }
        Ok(())
    }
}

/// What readers will see of an upload.
fn show_content(view: &FileView, file: &File) {
    let mut state = view.state();
    (state.committed, state.applied, state.synced) = (file.end, file.end, file.end);
    state.crc32c = file.content.crc32c;
}

fn note_done(stored: &mut Stored, operator: &Operator, action: &Action, remember: usize) {
    let (generation, offset) = (stored.row.generation, stored.row.end);
    if let Some((_, known)) = stored.producers.iter_mut().find(|(name, _)| *name == operator.producer) {
        known.last_seq = operator.seq;
        known.remembered.push_back(Remembered { generation, offset, len: 0, crc32c: action.fingerprint() });
        if known.remembered.len() > remember.max(1) {
            known.remembered.pop_front();
        }
    }
}

/// Bytes that the arrival of a file takes in a frame.
fn arrival_bytes(file: &Stored, from: &FileKey) -> usize {
    let part = Part::Arrive { file: Box::new(file.clone()), from: from.clone() };
    let mut encoder = Encoder::default();
    encoder.push(&Record::Prepare { id: file.id, coordinator: 0, part });
    encoder.len()
}

/// An answer, and the error that closes the shard.
fn split<T>(outcome: Result<Result<T, Refused>, CatalogError>) -> (Result<T, Refused>, Result<(), ShardError>) {
    match outcome {
        Ok(answer) => (answer, Ok(())),
        Err(error) => (Err(closed("the step was not taken")), Err(error.into())),
    }
}

fn no_upload(key: &FileKey, producer: &str) -> Refused {
    let text = format!("producer {producer:?} has no upload to {key}: it was never begun, was aborted, or has expired");
    Refused::new(ErrorReason::UploadNotFound, text)
}
