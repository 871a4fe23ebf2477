//! Opening and ending channels, and what a producer has committed.

use super::{ShardError, ShardWriter, answers::closed};
use crate::{
    apply::{
        plain::{check_vacant, difference, foreign, open_ours, refuse},
        registry::Found,
        view::{FileView, Location, Place, ViewState},
    },
    catalog::{CatalogError, FileRow, Stored},
    shard::{
        Ending, Mode, Open, ProducerState, SessionLink, WriteState, being_decided,
        decide::Channel,
        ids::{FileId, FileKey, ProducerId, generation},
        outbox::{Event, OpenState},
        record::Record,
        state::{File, Producer},
    },
};
use inkpot_proto::{error::Refused, v1::ErrorReason};
use inkpot_wal::fs::Access;
use std::{sync::Arc, time::Instant};

/// Idle producers that one open forgets at most, to make room for another.
const MAX_FORGOTTEN: usize = 1024;

impl ShardWriter {
    /// Opens a channel: answered by `Opened` or a nack when the commit is through.
    pub(super) fn open(&mut self, open: Open, now: Instant) -> Result<(), ShardError> {
        let (session, number) = (Arc::clone(&open.session), open.channel);
        let outcome = self.try_open(open, now).inspect_err(|_| {
            self.answers.nack_channel(&session, number, closed("the open was not carried out"));
        })?;
        match outcome {
            Ok(state) => {
                // What an open tells must not be lost again.
                self.sync_wanted = true;
                self.answers.event(&session, Event::Opened { channel: number, state });
            }
            Err(refused) => self.answers.nack_channel(&session, number, refused),
        }
        Ok(())
    }

    /// Ends a channel; `Finished` comes after its appends are answered.
    pub(super) fn finish_channel(&mut self, session: &Arc<SessionLink>, number: u32, ending: Ending, now: Instant) {
        if self.channels.get(&(session.id, number)).is_some_and(|channel| channel.published) {
            return self.finish_upload(session, number, ending, None, now);
        }
        let ended = self.drop_channel(session.id, number);
        let file = ended.and_then(|id| self.files.get(id)).filter(|file| file.created);
        let (generation, size) = file.map_or((0, 0), |file| (file.generation(), file.end));
        let crc32c = file.and_then(|file| file.content.crc32c).unwrap_or(0);
        self.answers.event(session, Event::Finished { channel: number, generation, size, crc32c });
        if let Some(id) = ended {
            self.forget_unused(id);
        }
    }

    /// Forgets the channels of a session. What it had enqueued was taken before.
    pub(super) fn end_session(&mut self, session: &Arc<SessionLink>, now: Instant) {
        let numbers = self.sessions.remove(&session.id).unwrap_or_default();
        if !self.lost.is_empty() {
            self.lost.retain(|(id, _)| *id != session.id);
        }
        for number in numbers {
            let nameless = self.channels.get(&(session.id, number)).is_some_and(|channel| channel.producer.is_none());
            if let Some(id) = self.drop_channel(session.id, number) {
                self.forget_unused(id);
                if nameless {
                    // Nobody could find it again.
                    self.discard(id, now);
                }
            }
        }
    }

    /// Whether a session has uploads open.
    pub(super) fn has_uploads(&self, session: u64) -> bool {
        let numbers = self.sessions.get(&session).into_iter().flatten();
        numbers.into_iter().any(|number| self.is_uploading(session, *number))
    }

    /// The file of that path, from memory or the catalog; `None` if there is none.
    ///
    /// # Errors
    /// Those of the catalog.
    pub fn lookup(&mut self, key: &FileKey) -> Result<Option<Arc<FileView>>, CatalogError> {
        let id = self.load(key)?;
        let file = id.and_then(|id| self.files.get(id)).filter(|file| file.created);
        Ok(file.map(|file| Arc::clone(&file.view)))
    }

    /// What a reader is told of a path who asked before the registry knew of it: while a shard opens, that may be long ago.
    ///
    /// # Errors
    /// Those of the catalog; BEING_DECIDED.
    pub fn answer_lookup(&mut self, key: &FileKey) -> Result<Result<Option<Arc<FileView>>, Refused>, CatalogError> {
        match self.registry.lookup(key) {
            Found::Present(view) => Ok(Ok(Some(view))),
            Found::Absent => Ok(Ok(None)),
            Found::Undecided => Ok(Err(being_decided(key))),
            Found::Unknown => self.lookup(key).map(Ok),
        }
    }

    pub(super) fn write_state(
        &mut self,
        key: &FileKey,
        producer: Option<&ProducerId>,
    ) -> Result<Result<WriteState, Refused>, ShardError> {
        let present = self.load(key)?;
        let upload = producer.and_then(|producer| self.files.upload_of(key, producer));
        let Some(file) = upload.or(present).and_then(|id| self.files.get(id)) else {
            return Ok(Ok(WriteState::default()));
        };
        let producer = producer.and_then(|id| file.producers.get(id)).map(|state| ProducerState {
            epoch: state.epoch,
            last_seq: state.last_seq,
            last_range: state
                .remembered
                .back()
                .filter(|last| last.generation == file.view.generation)
                .map(|last| (last.offset, last.offset + u64::from(last.len))),
        });
        let (generation, next_offset, upload) = (file.generation(), file.end, file.upload.is_some());
        Ok(Ok(WriteState { generation, next_offset, producer, upload }))
    }

    fn try_open(&mut self, open: Open, now: Instant) -> Result<Result<OpenState, Refused>, ShardError> {
        let slot = (open.session.id, open.channel);
        self.lost.remove(&slot);
        self.drop_if_fenced(slot);
        if self.channels.contains_key(&slot) {
            let text = format!("channel {} is open on this session; finish it first, or take another number", slot.1);
            return Ok(Err(Refused::new(ErrorReason::ChannelInUse, text)));
        }
        let found = match open.mode {
            Mode::Append => self.find_or_name(&open.key)?.map(|id| (id, false)),
            Mode::Create | Mode::Replace => self.find_or_begin_upload(&open, now)?,
        };
        let (id, published) = match found {
            Ok(found) => found,
            Err(refused) => return Ok(Err(refused)),
        };
        let is_append = open.mode == Mode::Append;
        let outcome = if is_append { self.check_open(id, &open) } else { Ok(()) };
        if let Err(refused) = outcome.and_then(|()| self.hold_producer(id, &open, now)) {
            self.forget_unused(id);
            return Ok(Err(refused));
        }
        let id_of = open.producer.map(|(id, _)| id);
        let (mut state, staging) = self.uploading(id, id_of.as_ref(), published);
        let Some(file) = self.files.get_mut(id) else { return Ok(Err(closed("the file is gone"))) };
        file.channels += 1;
        (state.upload, state.published) = (!is_append, published);
        if let Some(producer) = id_of.as_ref().and_then(|id| file.producers.get(id)).filter(|known| known.last_seq == 0)
        {
            (state.previous_epoch, state.previous_last_seq) = producer.previous;
        }
        let policy =
            open.session.tenant.policies.of(&open.key.path).filter(|policy| policy.rotate.is_set() && is_append);
        let channel = Channel {
            file: id,
            rotation: policy.cloned(),
            key: open.key,
            stale: false,
            staging: staging.filter(|_| !is_append),
            published,
            producer: id_of,
            open: self.opens,
            arrived: state.last_seq,
            taken: 0,
            refused: false,
            last: (state.last_seq, self.log.last_sequence() + 1),
            synced_seq: 0,
        };
        self.channels.insert(slot, channel);
        self.sessions.entry(slot.0).or_default().insert(slot.1);
        self.holders.insert(self.opens, (open.session, slot.1));
        Ok(Ok(state))
    }

    /// A channel whose producer was opened anew elsewhere is of no use: its number may be taken again.
    fn drop_if_fenced(&mut self, slot: (u64, u32)) {
        let Some(channel) = self.channels.get(&slot) else { return };
        let file = self.files.get(channel.file);
        let producer = channel.producer.as_ref().and_then(|id| file.and_then(|file| file.producers.get(id)));
        if producer.is_some_and(|producer| producer.open != channel.open)
            && let Some(id) = self.drop_channel(slot.0, slot.1)
        {
            self.forget_unused(id);
        }
    }

    fn check_open(&mut self, id: FileId, open: &Open) -> Result<(), Refused> {
        let Some(file) = self.files.get(id) else { return Ok(()) };
        let generation = file.generation();
        if let Some(wanted) = open.if_generation.filter(|wanted| *wanted != generation) {
            let text = format!("file {} has generation {generation}, not {wanted}", open.key);
            return Err(Refused::new(ErrorReason::GenerationChanged, text));
        }
        if file.created { self.check_plain(id) } else { check_vacant(self.fs.as_ref(), &open.key, self.number) }
    }

    /// Whether the plain file is as we left it. While bytes wait for it the applier looks; it may be writing now.
    pub(super) fn check_plain(&mut self, id: FileId) -> Result<(), Refused> {
        let Some(file) = self.files.get(id) else { return Ok(()) };
        let view = Arc::clone(&file.view);
        let (is_settled, len, seen) = {
            let state = view.state();
            let len = state.compressed.unwrap_or(state.applied);
            (state.pending.is_empty() || state.foreign.is_some(), len, state.seen)
        };
        if !is_settled {
            return Ok(());
        }
        let found = open_ours(self.fs.as_ref(), &view, Access::Read).map_err(|error| refuse(&error, &view.key()))?;
        let what = match found {
            Err(what) => Some(what),
            Ok(plain) => {
                let metadata = plain.metadata().map_err(|error| refuse(&error, &view.key()))?;
                difference(&metadata, len, seen)
            }
        };
        let mut state = view.state();
        // A file that is again as it was is taken back, unless bytes were put aside meanwhile.
        state.foreign = what.or_else(|| state.foreign.take().filter(|_| state.parked.is_some()));
        state.foreign.as_deref().map_or(Ok(()), |what| Err(foreign(&view.key(), what)))
    }

    /// Gives the producer to this open.
    fn hold_producer(&mut self, id: FileId, open: &Open, now: Instant) -> Result<(), Refused> {
        self.opens += 1;
        let Some((producer, wanted)) = &open.producer else { return Ok(()) };
        self.forget_idle(id, producer, now);
        let Some(file) = self.files.get(id) else { return Ok(()) };
        let known = file.producers.get(producer).map(|known| (known.epoch, known.open));
        let at_path = if file.upload.is_some() { self.epoch_at_path(&open.key, producer) } else { 0 };
        let raised = match known {
            Some((epoch, _)) if *wanted != 0 && *wanted < epoch => {
                return Err(fenced(&open.key, producer, *wanted, epoch));
            }
            Some((epoch, _)) if *wanted == epoch => None,
            Some((epoch, _)) if *wanted == 0 => Some(next_epoch(epoch.max(at_path))?),
            Some(_) => Some(*wanted),
            None => {
                self.check_room_for_producer(id, now)?;
                Some(if *wanted == 0 { next_epoch(at_path)? } else { *wanted })
            }
        };
        if let Some(epoch) = raised {
            self.name(id, now);
            self.record(&Record::Epoch { id, producer: producer.clone(), epoch }, now);
        }
        if let Some((session, number)) = known.and_then(|(_, open)| self.holders.remove(&open)) {
            self.fence(&session, number, producer, id);
        }
        let (opens, seconds) = (self.opens, self.running_seconds(now));
        if let Some(state) = self.files.get_mut(id).and_then(|file| file.producers.get_mut(producer)) {
            state.open = opens;
            state.active_at = seconds;
        }
        self.count_producers(id);
        Ok(())
    }

    /// The epoch that a producer has in the file at a path, which is in memory; 0 if none.
    pub(super) fn epoch_at_path(&self, key: &FileKey, producer: &str) -> u64 {
        let present = self.files.id_of(key).and_then(|id| self.files.get(id));
        present.and_then(|file| file.producers.get(producer)).map_or(0, |known| known.epoch)
    }

    /// Tells the session that held the producer that it does no more.
    fn fence(&mut self, session: &Arc<SessionLink>, number: u32, producer: &str, id: FileId) {
        let Some(file) = self.files.get(id) else { return };
        let epoch = file.producers.get(producer).map(|state| state.epoch);
        let text = format!("producer {producer:?} of file {} was opened anew elsewhere", file.view.key());
        let mut refused = Refused::new(ErrorReason::ProducerFenced, text);
        refused.current_epoch = epoch;
        self.answers.nack_channel(session, number, refused);
    }

    pub(super) fn check_room_for_producer(&mut self, id: FileId, now: Instant) -> Result<(), Refused> {
        let most = self.config.producers.per_file as usize;
        if self.files.get(id).is_none_or(|file| file.producers.len() < most) {
            return Ok(());
        }
        let idle = self.files.get(id).map(|file| file.producers.keys().cloned().collect::<Vec<_>>());
        // As many as a frame carries without a thought; the next open goes on.
        for producer in idle.unwrap_or_default().into_iter().take(MAX_FORGOTTEN) {
            self.forget_idle(id, &producer, now);
        }
        match self.files.get(id).filter(|file| file.producers.len() >= most) {
            None => Ok(()),
            Some(file) => {
                let text = format!(
                    "file {} has {most} producers, as many as it may (producers.per_file); use fewer names",
                    file.view.key()
                );
                Err(Refused::new(ErrorReason::TooManyProducers, text).with_limit("producers.per_file"))
            }
        }
    }

    /// Forgets a producer that nobody holds and that was idle for longer than the retention.
    fn forget_idle(&mut self, id: FileId, producer: &ProducerId, now: Instant) {
        let seconds = self.running_seconds(now);
        let retention = self.config.producers.retention.as_secs();
        let is_idle = |state: &Producer| {
            !self.holders.contains_key(&state.open) && seconds.saturating_sub(state.active_at) > retention
        };
        if self.files.get(id).and_then(|file| file.producers.get(producer)).is_some_and(is_idle) {
            self.record(&Record::Forget { id, producer: producer.clone() }, now);
        }
    }

    pub(super) fn count_producers(&self, id: FileId) {
        if let Some(file) = self.files.get(id) {
            file.view.state().producers = u32::try_from(file.producers.len()).unwrap_or(u32::MAX);
        }
    }

    pub(super) fn drop_channel(&mut self, session: u64, number: u32) -> Option<FileId> {
        let channel = self.channels.remove(&(session, number))?;
        if let Some(numbers) = self.sessions.get_mut(&session) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.sessions.remove(&session);
            }
        }
        self.holders.remove(&channel.open);
        if let Some(file) = self.files.get_mut(channel.file) {
            file.channels = file.channels.saturating_sub(1);
        }
        Some(channel.file)
    }

    /// Drops a file that only opens knew, once no channel has it.
    fn forget_unused(&mut self, id: FileId) {
        if self.files.get(id).is_some_and(|file| !file.named && file.channels == 0) {
            self.files.remove(id);
        }
    }

    fn find_or_name(&mut self, key: &FileKey) -> Result<Result<FileId, Refused>, CatalogError> {
        if let Some(id) = self.load(key)? {
            return Ok(self.check_frozen(key).map(|()| id));
        }
        let vacant = self.check_lock(key).and_then(|()| check_vacant(self.fs.as_ref(), key, self.number));
        if let Err(refused) = vacant {
            return Ok(Err(refused));
        }
        let (id, generation) = self.allot();
        let view = FileView::new(key.clone(), id, generation, ViewState::default());
        self.files.insert(File::new(Arc::new(view), false));
        Ok(Ok(id))
    }

    /// An id and a generation that were never used.
    pub(super) fn allot(&mut self) -> (FileId, u64) {
        let id = self.allot_id();
        (id, self.generation_of(id))
    }

    /// An id that was never used.
    pub fn allot_id(&mut self) -> FileId {
        self.ids += 1;
        FileId::new(self.number, self.log.epoch(), self.ids)
    }

    /// The generation that goes with an id.
    pub(super) fn generation_of(&self, id: FileId) -> u64 {
        generation(id, self.salt)
    }

    /// Brings a file that the catalog knows into memory.
    pub(super) fn load(&mut self, key: &FileKey) -> Result<Option<FileId>, CatalogError> {
        if let Some(id) = self.files.id_of(key) {
            return Ok(Some(id));
        }
        // The catalog may not know yet that the file is gone, or has another path.
        let stored = self.catalog.by_key(key)?.filter(|stored| self.files.get(stored.id).is_none());
        let Some(stored) = stored else { return Ok(None) };
        let id = stored.id;
        // Readers may have a view of it since before a recovery in place.
        let view = self.registry.view_of(key, id);
        let file = from_catalog(stored, view, self.number);
        if self.files.sets().lock_of(key).is_none() {
            self.registry.insert(Arc::clone(&file.view));
        }
        self.files.insert(file);
        Ok(Some(id))
    }
}

fn next_epoch(epoch: u64) -> Result<u64, Refused> {
    epoch
        .checked_add(1)
        .ok_or_else(|| Refused::new(ErrorReason::OutOfRange, "the producer has used up its epochs; take another id"))
}

/// The refusal of an open with a lower epoch than the one that holds.
pub(super) fn fenced(key: &FileKey, producer: &ProducerId, wanted: u64, holds: u64) -> Refused {
    let text = format!(
        "producer {producer:?} of file {key} has epoch {holds}; epoch {wanted} is fenced, open with a higher one"
    );
    let mut refused = Refused::new(ErrorReason::ProducerFenced, text);
    refused.current_epoch = Some(holds);
    refused
}

/// A file of this shard as the catalog has it. `view` is the one that readers have, if some do.
pub(crate) fn from_catalog(stored: Stored, view: Option<Arc<FileView>>, shard: u32) -> File {
    let Stored { id, row, producers } = stored;
    let view = view.unwrap_or_else(|| Arc::new(view_from_catalog(id, &row, shard)));
    File {
        key: row.key,
        view,
        named: true,
        created: row.created,
        end: row.end,
        sequence: row.sequence,
        producers: producers.into_iter().collect(),
        content: row.content,
        upload: row.upload,
        gone: None,
        changed: false,
        channels: 0,
        frozen: None,
    }
}

pub(super) fn view_from_catalog(id: FileId, row: &FileRow, shard: u32) -> FileView {
    let state = ViewState {
        exists: row.created,
        committed: row.end,
        synced: row.end,
        applied: row.parked.map_or(row.end, |parked| parked.from),
        parked: row.parked,
        foreign: row.foreign.clone(),
        seen: row.seen,
        producers: row.producers,
        sealed: row.content.sealed,
        rotated_to: row.content.rotated.map(|(_, next)| next),
        crc32c: row.content.crc32c,
        compressed: row.content.compressed,
        rotated: row.content.rotated.map(|(at, _)| at),
        ..ViewState::default()
    };
    let location = match (row.upload.is_some() || row.staged, row.content.compressed) {
        (true, _) => Location::Staged,
        (false, Some(_)) => Location::Compressed,
        (false, None) => Location::Plain,
    };
    FileView::at(Place { key: row.key.clone(), location }, shard, id, row.generation, state)
}
