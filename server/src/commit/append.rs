//! Deciding on appends, and carrying out what was decided: state, frame, plain file, ack.

use super::{
    Draft, ShardWriter,
    answers::{Taken, closed},
    stager::Chunk,
};
use crate::{
    admission::Permit,
    apply::{
        plain::{check_vacant, disk_full, foreign, refuse},
        view::FileView,
    },
    shard::{
        SessionLink, Write, WriteBody,
        decide::{Channel, Decision, Wish, decide, next_seq},
        ids::FileId,
        record::Record,
    },
};
use inkpot_proto::{
    error::Refused,
    v1::{Durability, ErrorReason},
};
use inkpot_wal::planted::{self, Bug};
use std::{
    io,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// When an append was read, and when it is decided on.
#[derive(Clone, Copy)]
struct Times {
    since: Instant,
    now: Instant,
}

impl ShardWriter {
    /// Takes an append, or refuses it. `chunk` tells where the bytes of an upload are staged.
    pub(super) fn write(
        &mut self,
        session: &Arc<SessionLink>,
        write: Write,
        chunk: Option<Chunk>,
        since: Instant,
        now: Instant,
    ) {
        let number = write.channel;
        let Some(mut channel) = self.channels.remove(&(session.id, number)) else {
            return self.answers.nack(session, number, write.seq, Box::new(self.no_channel(session.id, number)));
        };
        let seq = if write.seq == 0 { channel.arrived.saturating_add(1) } else { write.seq };
        // A number that was refused at the door may be anything.
        if channel.staging.is_none() && (write.seq == 0 || write.body.is_ok()) {
            channel.arrived = seq;
        }
        self.in_hand = Some((Arc::clone(session), number, seq));
        let at = Times { since, now };
        let mut trace = None;
        let taken = write.body.and_then(|mut body| {
            trace = body.trace.take();
            self.decide(session, number, &mut channel, seq, (body, chunk), at)
        });
        match (taken, trace) {
            (Ok(offset), Some(mut trace)) => {
                trace.taken(offset);
                self.traces.push(*trace);
            }
            (Ok(_), None) => {}
            (Err(refused), trace) => {
                if let Some(trace) = trace {
                    trace.refused(refused.reason);
                }
                self.refuse(session, number, &mut channel, seq, refused);
            }
        }
        self.channels.insert((session.id, number), channel);
        self.in_hand = None;
    }

    fn refuse(
        &mut self,
        session: &Arc<SessionLink>,
        number: u32,
        channel: &mut Channel,
        seq: u64,
        mut refused: Box<Refused>,
    ) {
        if channel.refused && !matches!(refused.reason, ErrorReason::ProducerFenced | ErrorReason::GenerationChanged) {
            self.name_earlier(channel, seq, &mut refused);
        }
        channel.refused = true;
        // A refusal that tells how far file or producer have come waits until that is durable.
        self.sync_wanted |= refused.expected_seq.is_some() || refused.expected_offset.is_some();
        self.answers.nack(session, number, seq, refused);
    }

    pub(super) fn no_channel(&self, session: u64, number: u32) -> Refused {
        if self.lost.contains(&(session, number)) {
            return closed(&format!("channel {number} was lost, open it again"));
        }
        let text = format!("channel {number} is not open on this session; open it first");
        Refused::new(ErrorReason::UnknownChannel, text)
    }

    /// What comes behind a refused append is refused for that, whatever else is wrong with it.
    fn name_earlier(&self, channel: &Channel, seq: u64, refused: &mut Box<Refused>) {
        let Some(file) = self.files.get(channel.file) else { return };
        let producer = channel.producer.as_ref().and_then(|id| file.producers.get(id));
        let next = next_seq(channel, producer);
        if seq > next && refused.reason != ErrorReason::EarlierSeqRefused {
            let text = format!("seq {seq} comes after a refused one; send {next} again, or open the file anew");
            **refused = Refused::new(ErrorReason::EarlierSeqRefused, text);
            refused.expected_seq = Some(next);
        }
    }

    /// Returns where the append begins, unless that is no longer remembered.
    fn decide(
        &mut self,
        session: &Arc<SessionLink>,
        number: u32,
        channel: &mut Channel,
        seq: u64,
        (body, chunk): (WriteBody, Option<Chunk>),
        Times { since, now }: Times,
    ) -> Result<Option<u64>, Box<Refused>> {
        let Some(file) = self.files.get(channel.file) else {
            return Err(Box::new(closed("the file is not open any more")));
        };
        let producer = channel.producer.as_ref().and_then(|id| file.producers.get(id));
        let len = body.data.len() as u64;
        let wish = Wish { seq, len, crc32c: body.crc32c, expected_offset: body.expected_offset };
        let mut generation = file.view.generation;
        let (range, duplicate) = match decide(file, producer, channel, &wish) {
            Decision::Refuse(refused) => {
                if planted::is(Bug::PermitLeaked) {
                    std::mem::forget(body.permit);
                } else if planted::is(Bug::RefusedApplied) && file.created && file.upload.is_none() {
                    let (id, offset) = (channel.file, file.end);
                    let record = Record::Append { id, offset, producer: None, crc32c: body.crc32c, data: body.data };
                    let start = self.record(&record, now);
                    self.draft(id, offset, start, usize::try_from(len).unwrap_or(0));
                }
                return Err(refused);
            }
            Decision::Duplicate(found) => {
                generation = found.map_or(generation, |found| found.generation);
                (found.map(|found| found.range), true)
            }
            Decision::Append(offset) if channel.staging.is_some() => {
                self.take_chunk(channel, seq, &body, (offset, chunk), now)?;
                channel.refused = false;
                channel.taken = seq;
                (Some((offset, offset + len)), false)
            }
            Decision::Append(offset) => {
                self.check_writable(channel.file)?;
                if session.tenant.stored.is_limited() {
                    self.account.reserve_bytes(&channel.key.tenant, len)?;
                }
                self.make_plain(channel.file, now)?;
                let producer = channel.producer.clone().map(|id| (id, seq));
                let record =
                    Record::Append { id: channel.file, offset, producer, crc32c: body.crc32c, data: body.data };
                let start = self.record(&record, now);
                self.draft(channel.file, offset, start, usize::try_from(len).unwrap_or(0));
                channel.refused = false;
                channel.taken = seq;
                (Some((offset, offset + len)), false)
            }
        };
        self.sync_wanted |= body.durability == Durability::Synced || channel.staging.is_some();
        if channel.last.1 <= self.log.synced_sequence() {
            channel.synced_seq = channel.last.0;
        }
        if !duplicate {
            channel.last = (seq, self.log.last_sequence() + 1);
        }
        let synced_seq = channel.synced_seq;
        let taken = Taken { seq, range, duplicate, generation, synced_seq, records: body.records, since };
        self.answers.ack(session, number, taken);
        self.keep_permit(body.permit);
        Ok(range.map(|(first, _)| first))
    }

    /// Carries out a decision in memory, and puts it into the frame. Returns where its data begins there.
    pub(super) fn record(&mut self, record: &Record, now: Instant) -> usize {
        let seconds = self.running_seconds(now);
        let start = self.encoder.push(record);
        self.files.apply(record, self.log.last_sequence() + 1, seconds);
        start
    }

    pub(super) fn check_writable(&self, id: FileId) -> Result<(), Box<Refused>> {
        let Some(file) = self.files.get(id) else { return Ok(()) };
        let foreign_change = file.view.state().foreign.clone();
        if let Some(what) = foreign_change {
            return Err(Box::new(foreign(&file.key, &what)));
        }
        if self.disk_full || self.backlog.is_disk_full() {
            return Err(Box::new(disk_full(&format!("file {}", file.key))));
        }
        Ok(())
    }

    /// Makes the plain file before its first append, and lets that append's frame say so.
    fn make_plain(&mut self, id: FileId, now: Instant) -> Result<(), Box<Refused>> {
        let Some(file) = self.files.get(id).filter(|file| !file.created) else { return Ok(()) };
        let view = Arc::clone(&file.view);
        self.check_lock(&file.key)?;
        self.account.reserve_file(&file.key.tenant)?;
        let made = self.plain.create(&view.key(), id);
        let made = made.map_err(|error| Box::new(self.refuse_making(&error, &view)))?;
        self.backlog.hand_on(id, made);
        self.registry.insert(view);
        self.name(id, now);
        self.record(&Record::Create { id, at: unix_millis() }, now);
        Ok(())
    }

    fn refuse_making(&self, error: &io::Error, view: &FileView) -> Refused {
        let taken = error.kind() == io::ErrorKind::AlreadyExists;
        let occupant = taken.then(|| check_vacant(self.fs.as_ref(), &view.key(), self.number).err());
        occupant.flatten().unwrap_or_else(|| refuse(error, &view.key()))
    }

    /// Lets the frame name the file's id, unless the log or the catalog did before.
    pub(super) fn name(&mut self, id: FileId, now: Instant) {
        let Some(file) = self.files.get(id).filter(|file| !file.named) else { return };
        let record = Record::Name { key: file.key.clone(), id, generation: file.view.generation };
        self.record(&record, now);
    }

    fn draft(&mut self, id: FileId, offset: u64, start: usize, len: usize) {
        let Some(file) = self.files.get(id) else { return };
        let crc32c = file.content.crc32c;
        if let Some(last) = self.drafts.last_mut()
            && last.view.id == id
            && last.start + last.len == start
        {
            last.len += len;
            last.crc32c = crc32c;
            return;
        }
        self.drafts.push(Draft { view: Arc::clone(&file.view), offset, start, len, crc32c });
    }

    fn keep_permit(&mut self, permit: Permit) {
        match self.permits.iter_mut().find(|kept| Arc::ptr_eq(kept.tenant(), permit.tenant())) {
            Some(kept) => kept.merge(permit),
            None => self.permits.push(permit),
        }
    }
}

/// The time of day, in milliseconds since 1970: never a reason for a decision about order or durability.
pub(super) fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
