//! What is done to a file as a whole, in its turn among the appends of the file.

use super::{ShardError, ShardWriter, answers::closed, append::unix_millis, effects::Effect};
use crate::{
    apply::plain::check_vacant,
    catalog::CatalogError,
    shard::{
        ids::{FileId, FileKey},
        operation::{Action, Done, Operation, Operator, Prepared},
        record::Record,
        state::File,
    },
};
use inkpot_proto::{error::Refused, v1::ErrorReason};
use inkpot_wal::planted::{self, Bug};
use std::time::Instant;

impl ShardWriter {
    /// Carries out an operation, or says why not; answered when the commit is through.
    pub(super) fn operate(&mut self, operation: Operation, now: Instant) -> Result<(), ShardError> {
        let Operation { key, if_generation, operator, action, reply } = operation;
        // Every answer tells how the file is, which must not be lost again.
        self.sync_wanted = true;
        let outcome = self.try_operate(&key, if_generation, operator.as_ref(), &action, now);
        match outcome {
            Ok(outcome) => self.answers.later(reply, outcome),
            Err(error) => {
                self.answers.later(reply, Err::<Done, _>(closed("the operation was not carried out")));
                return Err(error.into());
            }
        }
        Ok(())
    }

    fn try_operate(
        &mut self,
        key: &FileKey,
        if_generation: Option<u64>,
        operator: Option<&Operator>,
        action: &Action,
        now: Instant,
    ) -> Result<Result<Done, Refused>, CatalogError> {
        let source = self.load(key)?;
        let target = match action {
            Action::Rename { to, .. } => self.load(to)?,
            _ => None,
        };
        Ok(self.decide_operation(key, (source, target), if_generation, operator, action, now))
    }

    fn decide_operation(
        &mut self,
        key: &FileKey,
        (source, target): (Option<FileId>, Option<FileId>),
        if_generation: Option<u64>,
        operator: Option<&Operator>,
        action: &Action,
        now: Instant,
    ) -> Result<Done, Refused> {
        if let Some(operator) = operator {
            // A file that was renamed has its producers with it.
            for id in [source, target].into_iter().flatten() {
                if let Some(done) = self.find_done(id, operator, action)? {
                    return Ok(done);
                }
            }
        }
        self.check_lock(key)?;
        if let Action::Rename { to, .. } = action {
            self.check_lock(to)?;
        }
        if let Action::Adopt(prepared) = action {
            return self.adopt(key, source, if_generation, prepared, now);
        }
        let id = self.check_source(key, source, if_generation).map_err(|refused| match action {
            Action::Delete if refused.reason == ErrorReason::IsADirectory => not_empty(key),
            _ => refused,
        })?;
        if let Some(operator) = operator {
            self.check_operator(id, operator, now)?;
        }
        self.check_plain(id)?;
        match action {
            Action::Delete => Ok(self.delete(id, operator, action, now)),
            Action::Seal => Ok(self.seal(id, operator, action, now)),
            Action::Rename { to, replace } => self.rename(id, to, target, *replace, operator, action, now),
            Action::Truncate(prepared) => self.truncate(id, prepared, operator, action, now),
            Action::Compress(prepared) => self.compress(id, prepared, now),
            Action::Adopt(_) => Err(closed("the file was not adopted")),
        }
    }

    /// The file that an operation is about.
    pub(super) fn check_source(
        &self,
        key: &FileKey,
        present: Option<FileId>,
        if_generation: Option<u64>,
    ) -> Result<FileId, Refused> {
        let created = present.filter(|id| self.files.get(*id).is_some_and(|file| file.created));
        let Some(id) = created else { return Err(self.not_found(key)) };
        self.check_generation(id, key, if_generation)?;
        Ok(id)
    }

    /// What there is instead of a file.
    fn not_found(&self, key: &FileKey) -> Refused {
        let found = self.fs.metadata(&key.plain_path());
        if found.is_ok_and(|found| found.kind == inkpot_wal::fs::Kind::Directory) {
            return Refused::new(ErrorReason::IsADirectory, format!("{key} is a directory; name a file below it"));
        }
        not_found(key)
    }

    /// Whether the operation was done before, by this producer under this seq.
    pub(super) fn find_done(&self, id: FileId, operator: &Operator, action: &Action) -> Result<Option<Done>, Refused> {
        let Some(file) = self.files.get(id) else { return Ok(None) };
        let Some(known) = file.producers.get(&operator.producer) else { return Ok(None) };
        if known.epoch != operator.epoch || operator.seq > known.last_seq {
            return Ok(None);
        }
        match known.remembered(operator.seq) {
            Some(remembered) if (remembered.len, remembered.crc32c) != (0, action.fingerprint()) => {
                let text = format!("seq {} of file {} was something else", operator.seq, file.key);
                Err(Refused::new(ErrorReason::SequenceReused, text))
            }
            remembered => {
                let now = (file.view.generation, file.end);
                // What the path leads to by now may be another one.
                let then = remembered.map(|remembered| (remembered.generation, remembered.offset));
                let (generation, size) = then.filter(|then| then.0 != now.0).unwrap_or(now);
                let crc32c = file.content.crc32c.filter(|_| generation == now.0);
                Ok(Some(Done { generation, size, crc32c, duplicate: true }))
            }
        }
    }

    /// Whether a producer may do the operation now; makes it known.
    pub(super) fn check_operator(&mut self, id: FileId, operator: &Operator, now: Instant) -> Result<(), Refused> {
        let Operator { producer, epoch, seq } = operator;
        let Some(file) = self.files.get(id) else { return Ok(()) };
        let known = file.producers.get(producer).map(|known| (known.epoch, known.last_seq));
        if let Some((held, _)) = known.filter(|(held, _)| held > epoch) {
            let text = format!("producer {producer:?} of file {} has epoch {held}; epoch {epoch} is fenced", file.key);
            let mut refused = Refused::new(ErrorReason::ProducerFenced, text);
            refused.current_epoch = Some(held);
            return Err(refused);
        }
        let last = known.filter(|(held, _)| held == epoch).map(|(_, last)| last);
        let next = last.unwrap_or(0).saturating_add(1);
        if *seq != next {
            let reason = if known.is_none() { ErrorReason::UnknownProducer } else { ErrorReason::SequenceGap };
            let mut refused =
                Refused::new(reason, format!("seq {seq} of file {} is out of turn: {next} comes next", file.key));
            refused.expected_seq = Some(next);
            return Err(refused);
        }
        if last.is_none() {
            if known.is_none() {
                self.check_room_for_producer(id, now)?;
            }
            self.name(id, now);
            self.record(&Record::Epoch { id, producer: producer.clone(), epoch: *epoch }, now);
            // Channels of a lower epoch do not hold it any more.
            self.opens += 1;
            let opens = self.opens;
            if let Some(state) = self.files.get_mut(id).and_then(|file| file.producers.get_mut(producer)) {
                state.open = opens;
            }
        }
        Ok(())
    }

    fn check_generation(&self, id: FileId, key: &FileKey, wanted: Option<u64>) -> Result<(), Refused> {
        let found = self.files.get(id).map_or(0, File::generation);
        match wanted {
            Some(wanted) if wanted != found => {
                let text = format!("file {key} has generation {found}, not {wanted}");
                Err(Refused::new(ErrorReason::GenerationChanged, text))
            }
            _ => Ok(()),
        }
    }

    /// Counts the operation for its producer.
    fn note_operator(&mut self, id: FileId, operator: Option<&Operator>, action: &Action, now: Instant) {
        if let Some(Operator { producer, seq, .. }) = operator {
            let crc32c = action.fingerprint();
            self.record(&Record::Operation { id, producer: producer.clone(), seq: *seq, crc32c }, now);
        }
    }

    fn done(&self, id: FileId) -> Done {
        self.files.get(id).map_or_else(Done::default, |file| Done {
            generation: file.view.generation,
            size: file.end,
            crc32c: file.content.crc32c,
            duplicate: false,
        })
    }

    fn delete(&mut self, id: FileId, operator: Option<&Operator>, action: &Action, now: Instant) -> Done {
        self.note_operator(id, operator, action, now);
        let done = self.done(id);
        let Some(file) = self.files.get(id) else { return done };
        let key = file.key.clone();
        let heir = (!file.producers.is_empty()).then(|| self.allot());
        self.record(&Record::Remove { id, heir }, now);
        self.add_effect(Effect::Remove { id }, &[&key]);
        done
    }

    fn seal(&mut self, id: FileId, operator: Option<&Operator>, action: &Action, now: Instant) -> Done {
        self.note_operator(id, operator, action, now);
        let duplicate = self.files.get(id).is_some_and(|file| file.content.sealed);
        if !duplicate {
            self.record(&Record::Seal { id }, now);
            self.add_effect(Effect::Seal { id }, &[]);
        }
        Done { duplicate, ..self.done(id) }
    }

    #[allow(clippy::too_many_arguments)]
    fn rename(
        &mut self,
        id: FileId,
        to: &FileKey,
        target: Option<FileId>,
        replace: bool,
        operator: Option<&Operator>,
        action: &Action,
        now: Instant,
    ) -> Result<Done, Refused> {
        let Some(from) = self.files.get(id).map(|file| file.key.clone()) else { return Err(not_found(to)) };
        if from == *to {
            self.note_operator(id, operator, action, now);
            return Ok(self.done(id));
        }
        let over = target.filter(|target| self.files.get(*target).is_some_and(|file| file.created));
        match over {
            Some(_) if !replace => {
                let text = format!("file {to} is there already; ask to replace it, or take another path");
                return Err(Refused::new(ErrorReason::FileExists, text));
            }
            Some(over) => self.check_plain(over)?,
            None => check_vacant(self.fs.as_ref(), to, self.number)?,
        }
        self.note_operator(id, operator, action, now);
        self.record(&Record::Rename { id, to: to.clone() }, now);
        self.leave_behind(id);
        self.add_effect(Effect::Rename { id, from: from.clone(), over: target }, &[&from, to]);
        Ok(self.done(id))
    }

    /// Channels that were opened with the path that the file had do not lead to it any more.
    pub(super) fn leave_behind(&mut self, id: FileId) {
        if self.files.get(id).is_some_and(|file| file.channels > 0) {
            self.channels.values_mut().filter(|channel| channel.file == id).for_each(|channel| channel.stale = true);
        }
    }

    fn truncate(
        &mut self,
        id: FileId,
        prepared: &Prepared,
        operator: Option<&Operator>,
        action: &Action,
        now: Instant,
    ) -> Result<Done, Refused> {
        let Some(file) = self.files.get(id) else { return Ok(Done::default()) };
        if prepared.len > file.end {
            let text = format!("file {} has {} bytes, fewer than {}", file.key, file.end, prepared.len);
            let mut refused = Refused::new(ErrorReason::OutOfRange, text);
            refused.expected_offset = Some(file.end);
            return Err(refused);
        }
        // The content may have come to the path after the copy was made, also one that the caller asks for.
        if prepared.of != file.view.generation && !planted::is(Bug::CutOfAnother) {
            let text = format!("file {} became another while its beginning was copied; try again", file.key);
            return Err(Refused::new(ErrorReason::GenerationChanged, text));
        }
        self.check_prepared(id, prepared)?;
        let generation = self.generation_of(prepared.id);
        self.swap(id, prepared, generation, now);
        // Whoever asks again is told the generation that the cut has made.
        self.note_operator(prepared.id, operator, action, now);
        Ok(self.done(prepared.id))
    }

    fn compress(&mut self, id: FileId, prepared: &Prepared, now: Instant) -> Result<Done, Refused> {
        let Some(file) = self.files.get(id) else { return Ok(Done::default()) };
        let same = file.content.sealed
            && file.content.compressed.is_none()
            && (file.end, file.content.crc32c.unwrap_or(prepared.crc32c)) == (prepared.len, prepared.crc32c);
        if !same {
            let text = format!("file {} is not what was compressed; it stays as it is", file.key);
            return Err(Refused::new(ErrorReason::GenerationChanged, text));
        }
        let generation = file.view.generation;
        self.check_prepared(id, prepared)?;
        self.swap(id, prepared, generation, now);
        Ok(self.done(prepared.id))
    }

    fn swap(&mut self, id: FileId, prepared: &Prepared, generation: u64, now: Instant) {
        let Some(key) = self.files.get(id).map(|file| file.key.clone()) else { return };
        let Prepared { id: next, len, crc32c, compressed, of: _ } = *prepared;
        self.record(&Record::Swap { id, next, generation, len, crc32c, compressed }, now);
        self.add_effect(Effect::Publish { id: next, over: Some(id) }, &[&key]);
    }

    /// Whether prepared content is there, and of this life of the shard: another one forgets what was allotted.
    fn check_prepared(&self, id: FileId, prepared: &Prepared) -> Result<(), Refused> {
        let Some(file) = self.files.get(id) else { return Ok(()) };
        let stored = prepared.compressed.unwrap_or(prepared.len);
        let path = self.plain.staged(&file.key.tenant, prepared.id);
        let is_there = self.fs.metadata(&path).is_ok_and(|found| found.len == stored);
        if is_there && prepared.id.epoch() == self.log.epoch() {
            return Ok(());
        }
        Err(closed("what was prepared for the file is gone"))
    }

    fn adopt(
        &mut self,
        key: &FileKey,
        present: Option<FileId>,
        if_generation: Option<u64>,
        prepared: &Prepared,
        now: Instant,
    ) -> Result<Done, Refused> {
        let generation = present.and_then(|id| self.files.get(id)).map_or(0, File::generation);
        if let Some(wanted) = if_generation.filter(|wanted| *wanted != generation) {
            let text = format!("file {key} has generation {generation}, not {wanted}");
            return Err(Refused::new(ErrorReason::GenerationChanged, text));
        }
        let found = self.fs.open(&key.plain_path(), inkpot_wal::fs::Access::Read);
        let found = found.and_then(|file| Ok((file.file_id()?, file.metadata()?)));
        let is_it = found.is_ok_and(|(id, metadata)| {
            id == Some(prepared.id.to_bytes()) && metadata.len == prepared.len && metadata.links == 1
        });
        if !is_it || prepared.id.epoch() != self.log.epoch() {
            return Err(Refused::new(
                ErrorReason::ForeignChange,
                format!("{key} was changed while it was adopted; try again"),
            ));
        }
        if generation == 0 {
            self.account.reserve_file(&key.tenant).map_err(|refused| *refused)?;
        }
        let Prepared { id, len, crc32c, .. } = *prepared;
        let generation = self.generation_of(id);
        self.record(&Record::Adopt { key: key.clone(), id, generation, len, crc32c, at: unix_millis() }, now);
        self.add_effect(Effect::Adopt { id, over: present }, &[key]);
        Ok(self.done(id))
    }
}

/// Empty directories are removed by themselves.
fn not_empty(key: &FileKey) -> Refused {
    let text = format!("{key} is a directory with files in it; remove those below it (DeletePrefix)");
    Refused::new(ErrorReason::DirectoryNotEmpty, text)
}

fn not_found(key: &FileKey) -> Refused {
    Refused::new(ErrorReason::FileNotFound, format!("there is no file {key}"))
}
