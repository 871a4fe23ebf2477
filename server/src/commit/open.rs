//! Opening and ending channels, and what a producer has committed.

use super::{ShardError, ShardWriter, answers::closed};
use crate::{
    apply::{
        plain::{check_vacant, difference, foreign, open_ours, refuse},
        view::{FileView, ViewState},
    },
    catalog::{CatalogError, Stored},
    shard::{
        Ending, Mode, Open, ProducerState, SessionLink, WriteState,
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
    pub(super) fn finish_channel(&mut self, session: &Arc<SessionLink>, number: u32, _ending: Ending) {
        let ended = self.drop_channel(session.id, number);
        let file = ended.and_then(|id| self.files.get(id)).filter(|file| file.created);
        let (generation, size) = file.map_or((0, 0), |file| (file.view.generation, file.end));
        self.answers.event(session, Event::Finished { channel: number, generation, size, crc32c: 0 });
        if let Some(id) = ended {
            self.forget_unused(id);
        }
    }

    /// Forgets the channels of a session. What it had enqueued was taken before.
    pub(super) fn end_session(&mut self, session: &Arc<SessionLink>) {
        let numbers = self.sessions.remove(&session.id).unwrap_or_default();
        if !self.lost.is_empty() {
            self.lost.retain(|(id, _)| *id != session.id);
        }
        for number in numbers {
            if let Some(id) = self.drop_channel(session.id, number) {
                self.forget_unused(id);
            }
        }
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

    pub(super) fn write_state(
        &mut self,
        key: &FileKey,
        producer: Option<&ProducerId>,
    ) -> Result<Result<WriteState, Refused>, ShardError> {
        let Some(file) = self.load(key)?.and_then(|id| self.files.get(id)) else {
            return Ok(Ok(WriteState::default()));
        };
        let producer = producer.and_then(|id| file.producers.get(id)).map(|state| ProducerState {
            epoch: state.epoch,
            last_seq: state.last_seq,
            last_range: state.remembered.back().map(|last| (last.offset, last.offset + u64::from(last.len))),
        });
        let generation = if file.created { file.view.generation } else { 0 };
        Ok(Ok(WriteState { generation, next_offset: file.end, producer, upload: false }))
    }

    fn try_open(&mut self, open: Open, now: Instant) -> Result<Result<OpenState, Refused>, ShardError> {
        let slot = (open.session.id, open.channel);
        self.lost.remove(&slot);
        self.drop_if_fenced(slot);
        if self.channels.contains_key(&slot) {
            let text = format!("channel {} is open on this session; finish it first, or take another number", slot.1);
            return Ok(Err(Refused::new(ErrorReason::ChannelInUse, text)));
        }
        if open.mode != Mode::Append {
            let text = "uploads are not in this version; it has MODE_APPEND only";
            return Ok(Err(Refused::new(ErrorReason::Unimplemented, text)));
        }
        let id = match self.find_or_name(&open.key)? {
            Ok(id) => id,
            Err(refused) => return Ok(Err(refused)),
        };
        let outcome = self.check_open(id, &open).and_then(|()| self.hold_producer(id, &open, now));
        if let Err(refused) = outcome {
            self.forget_unused(id);
            return Ok(Err(refused));
        }
        let Some(file) = self.files.get_mut(id) else { return Ok(Err(closed("the file is gone"))) };
        file.channels += 1;
        let generation = if file.created { file.view.generation } else { 0 };
        let mut state = OpenState { generation, next_offset: file.end, ..OpenState::default() };
        let id_of = open.producer.map(|(id, _)| id);
        if let Some(producer) = id_of.as_ref().and_then(|id| file.producers.get(id)) {
            (state.epoch, state.last_seq) = (producer.epoch, producer.last_seq);
            if producer.last_seq == 0 {
                (state.previous_epoch, state.previous_last_seq) = producer.previous;
            }
        }
        let channel = Channel {
            file: id,
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
        let generation = if file.created { file.view.generation } else { 0 };
        if let Some(wanted) = open.if_generation.filter(|wanted| *wanted != generation) {
            let text = format!("file {} has generation {generation}, not {wanted}", open.key);
            return Err(Refused::new(ErrorReason::GenerationChanged, text));
        }
        if file.created { self.check_plain(id) } else { check_vacant(self.fs.as_ref(), &open.key, self.number) }
    }

    /// Whether the plain file is as we left it. While bytes wait for it the applier looks; it may be writing now.
    fn check_plain(&mut self, id: FileId) -> Result<(), Refused> {
        let Some(file) = self.files.get(id) else { return Ok(()) };
        let view = Arc::clone(&file.view);
        let (is_settled, applied, seen) = {
            let state = view.state();
            (state.pending.is_empty() || state.foreign.is_some(), state.applied, state.seen)
        };
        if !is_settled {
            return Ok(());
        }
        let found = open_ours(self.fs.as_ref(), &view, Access::Read).map_err(|error| refuse(&error, &view.key()))?;
        let what = match found {
            Err(what) => Some(what),
            Ok(plain) => {
                let metadata = plain.metadata().map_err(|error| refuse(&error, &view.key()))?;
                difference(&metadata, applied, seen)
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
        let raised = match known {
            Some((epoch, _)) if *wanted != 0 && *wanted < epoch => {
                let text = format!(
                    "producer {producer:?} of file {} has epoch {epoch}; epoch {wanted} is fenced, open with a higher one",
                    open.key
                );
                let mut refused = Refused::new(ErrorReason::ProducerFenced, text);
                refused.current_epoch = Some(epoch);
                return Err(refused);
            }
            Some((epoch, _)) if *wanted == epoch => None,
            Some((epoch, _)) if *wanted == 0 => Some(next_epoch(epoch)?),
            Some(_) => Some(*wanted),
            None => {
                self.check_room_for_producer(id, now)?;
                Some((*wanted).max(1))
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

    /// Tells the session that held the producer that it does no more.
    fn fence(&mut self, session: &Arc<SessionLink>, number: u32, producer: &str, id: FileId) {
        let Some(file) = self.files.get(id) else { return };
        let epoch = file.producers.get(producer).map(|state| state.epoch);
        let text = format!("producer {producer:?} of file {} was opened anew elsewhere", file.view.key());
        let mut refused = Refused::new(ErrorReason::ProducerFenced, text);
        refused.current_epoch = epoch;
        self.answers.nack_channel(session, number, refused);
    }

    fn check_room_for_producer(&mut self, id: FileId, now: Instant) -> Result<(), Refused> {
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

    fn count_producers(&self, id: FileId) {
        if let Some(file) = self.files.get(id) {
            file.view.state().producers = u32::try_from(file.producers.len()).unwrap_or(u32::MAX);
        }
    }

    fn drop_channel(&mut self, session: u64, number: u32) -> Option<FileId> {
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
            return Ok(Ok(id));
        }
        if let Err(refused) = check_vacant(self.fs.as_ref(), key, self.number) {
            return Ok(Err(refused));
        }
        self.ids += 1;
        let epoch = self.log.epoch();
        let id = FileId::new(self.number, epoch, self.ids);
        let generation = generation(self.number, epoch, self.ids);
        let view = FileView::new(key.clone(), id, generation, ViewState::default());
        self.files.insert(File::new(Arc::new(view), false));
        Ok(Ok(id))
    }

    /// Brings a file that the catalog knows into memory.
    fn load(&mut self, key: &FileKey) -> Result<Option<FileId>, CatalogError> {
        if let Some(id) = self.files.id_of(key) {
            return Ok(Some(id));
        }
        let Some(stored) = self.catalog.by_key(key)? else { return Ok(None) };
        let id = stored.id;
        // Readers may have a view of it since before a recovery in place.
        let view = self.registry.get(key).filter(|view| view.id == id);
        let file = from_catalog(stored, view);
        self.registry.insert(Arc::clone(&file.view));
        self.files.insert(file);
        Ok(Some(id))
    }
}

fn next_epoch(epoch: u64) -> Result<u64, Refused> {
    epoch
        .checked_add(1)
        .ok_or_else(|| Refused::new(ErrorReason::OutOfRange, "the producer has used up its epochs; take another id"))
}

/// A file as the catalog has it. `view` is the one that readers have, if some do.
pub(crate) fn from_catalog(stored: Stored, view: Option<Arc<FileView>>) -> File {
    let Stored { id, row, producers } = stored;
    let view = view.unwrap_or_else(|| {
        let state = ViewState {
            exists: row.created,
            committed: row.end,
            synced: row.end,
            applied: row.parked.map_or(row.end, |parked| parked.from),
            parked: row.parked,
            foreign: row.foreign,
            seen: row.seen,
            producers: row.producers,
            ..ViewState::default()
        };
        Arc::new(FileView::new(row.key, id, row.generation, state))
    });
    File {
        view,
        named: true,
        created: row.created,
        end: row.end,
        sequence: row.sequence,
        producers: producers.into_iter().collect(),
        changed: false,
        channels: 0,
    }
}
