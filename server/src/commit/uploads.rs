//! Uploads: content that is sent on a channel and lies in staging until it is published, all of it or nothing.

use super::{
    ShardWriter,
    answers::closed,
    effects::Effect,
    open::fenced,
    stager::{Chunk, Job},
};
use crate::{
    apply::{plain::check_vacant, view::Gone},
    catalog::CatalogError,
    shard::{
        Ending, Mode, Open, SessionLink, Write, WriteBody, being_decided,
        decide::{Channel, Staging, check_fence, check_path},
        ids::{FileId, FileKey, ProducerId},
        operation::Done,
        outbox::{Event, OpenState},
        record::Record,
        state::{File, Upload},
        turns::Item,
    },
};
use inkpot_proto::{error::Refused, path::TenantName, v1::ErrorReason};
use std::{sync::Arc, time::Instant};

impl ShardWriter {
    /// Opens an upload, begun before or new. Returns its id, and whether it is published already.
    pub(super) fn find_or_begin_upload(
        &mut self,
        open: &Open,
        now: Instant,
    ) -> Result<Result<(FileId, bool), Refused>, CatalogError> {
        let present = self.load(&open.key)?;
        if let Some((producer, epoch)) = &open.producer {
            if let Some(id) = self.files.upload_of(&open.key, producer) {
                if self.files.get(id).is_some_and(|file| file.frozen.is_some()) {
                    return Ok(Err(being_decided(&open.key)));
                }
                return Ok(self.check_terms(id, open).map(|()| (id, false)));
            }
            let origin = present.and_then(|id| self.files.get(id)).and_then(|file| file.content.origin.as_ref());
            if let Some(id) = present.filter(|_| origin == Some(&(producer.clone(), *epoch))) {
                return Ok(Ok((id, true)));
            }
            // Published, it would take the file back behind what its producer is by now; and its seqs would be taken for
            // those of appends in the same epoch.
            let (holds, last_seq) = self.producer_at_path(&open.key, producer);
            if *epoch != 0 && (*epoch < holds || (*epoch == holds && last_seq > 0)) {
                return Ok(Err(fenced(&open.key, producer, *epoch, holds)));
            }
        }
        if let Err(refused) = self.check_target(&open.key, open.mode == Mode::Replace, open.if_generation) {
            return Ok(Err(refused));
        }
        if let Err(refused) = self.check_room_for_upload(&open.key) {
            return Ok(Err(refused));
        }
        let (id, generation) = self.allot();
        let replace = open.mode == Mode::Replace;
        let (key, if_generation) = (open.key.clone(), open.if_generation);
        self.record(&Record::Upload { key, id, generation, replace, if_generation }, now);
        Ok(Ok((id, false)))
    }

    /// Whether an upload may go on as it is opened now.
    fn check_terms(&self, id: FileId, open: &Open) -> Result<(), Refused> {
        let Some(upload) = self.files.get(id).and_then(|file| file.upload.as_ref()) else { return Ok(()) };
        if upload.replace == (open.mode == Mode::Replace) && upload.if_generation == open.if_generation {
            return Ok(());
        }
        let text = format!(
            "the upload to {} was begun with another mode or if_generation; abort it first, or use another producer",
            open.key
        );
        Err(Refused::new(ErrorReason::UploadOpen, text))
    }

    /// Whether an upload could be published to this path now.
    pub(super) fn check_target(
        &mut self,
        key: &FileKey,
        replace: bool,
        if_generation: Option<u64>,
    ) -> Result<(), Refused> {
        let present = self.files.id_of(key).and_then(|id| self.files.get(id));
        let generation = present.map_or(0, File::generation);
        if let Some(wanted) = if_generation.filter(|wanted| *wanted != generation) {
            let text = format!("file {key} has generation {generation}, not {wanted}");
            return Err(Refused::new(ErrorReason::GenerationChanged, text));
        }
        match present.filter(|file| file.created).map(|file| file.view.id) {
            Some(_) if !replace => {
                let text = format!("file {key} is there already; take MODE_REPLACE to replace it, or another path");
                Err(Refused::new(ErrorReason::FileExists, text))
            }
            Some(id) => self.check_plain(id),
            None => check_vacant(self.fs.as_ref(), key, self.number),
        }
    }

    fn check_room_for_upload(&self, key: &FileKey) -> Result<(), Refused> {
        let most = self.config.uploads.per_tenant as usize;
        let open = self.files.uploads().filter(|(of, _)| of.tenant == key.tenant).take(most).count();
        if open < most {
            return Ok(());
        }
        let text = format!(
            "tenant {} has {most} uploads open in this shard, as many as it may (uploads.per_tenant); finish or abort some",
            key.tenant
        );
        Err(Refused::new(ErrorReason::QuotaExceeded, text).with_limit("uploads.per_tenant"))
    }

    /// What `Opened` tells of an upload, and the channel's beginning.
    pub(super) fn uploading(
        &self,
        id: FileId,
        producer: Option<&ProducerId>,
        published: bool,
    ) -> (OpenState, Option<Staging>) {
        let Some(file) = self.files.get(id) else { return (OpenState::default(), None) };
        let known = producer.and_then(|name| file.producers.get(name));
        let last_seq = known.map_or(0, |known| known.last_seq);
        let was = producer.filter(|_| published).and_then(|name| Content::published(file, name));
        let state = OpenState {
            generation: file.generation(),
            epoch: known.map_or(0, |known| known.epoch),
            last_seq,
            next_offset: was.map_or(file.end, |was| was.size),
            upload: true,
            published,
            ..OpenState::default()
        };
        (state, (!published).then_some(Staging { seq: last_seq, end: file.end }))
    }

    /// Whether what comes on a channel has to go by the stager.
    pub(super) fn is_uploading(&self, session: u64, number: u32) -> bool {
        self.channels.get(&(session, number)).is_some_and(|channel| channel.staging.is_some())
    }

    /// Sends an append of an upload to the stager.
    pub(super) fn stage(&mut self, session: Arc<SessionLink>, mut write: Write, since: Instant) {
        let disk_full = self.disk_full || self.backlog.is_disk_full();
        let is_writer = self.channels.get(&(session.id, write.channel)).is_some_and(|channel| self.is_writer(channel));
        let Some(channel) = self.channels.get_mut(&(session.id, write.channel)) else { return };
        let Some(staging) = &mut channel.staging else { return };
        if write.seq == 0 {
            write.seq = channel.arrived.saturating_add(1);
        }
        channel.arrived = channel.arrived.max(write.seq);
        let mut target = None;
        if let Ok(body) = &write.body
            && write.seq == staging.seq + 1
            && !disk_full
            && is_writer
        {
            target = Some((channel.key.clone(), channel.file, staging.end));
            *staging = Staging { seq: write.seq, end: staging.end + body.data.len() as u64 };
        }
        self.push_job(Job::Write { session, write, since, target, chunk: None });
    }

    /// Whether a channel may still touch what is staged of its upload: another one that took its producer writes there.
    fn is_writer(&self, channel: &Channel) -> bool {
        let Some(file) = self.files.get(channel.file).filter(|file| file.upload.is_some()) else { return false };
        let known = channel.producer.as_ref().and_then(|name| file.producers.get(name));
        check_path(file, channel).is_ok() && known.is_none_or(|known| known.open == channel.open)
    }

    /// Sends the end of an upload's channel to the stager, behind what was sent on it.
    pub(super) fn stage_finish(&mut self, session: Arc<SessionLink>, channel: u32, ending: Ending) {
        let Some(known) = self.channels.get(&(session.id, channel)) else { return };
        let end = known.staging.map_or(0, |staging| staging.end);
        let target = self.is_writer(known).then(|| (known.key.clone(), known.file, end));
        self.push_job(Job::Finish { session, channel, ending, target, refused: None });
    }

    /// Sends something to the stager only to have its turn there.
    pub(super) fn pass(&mut self, item: Item) {
        self.push_job(Job::Pass(Box::new(item)));
    }

    fn push_job(&mut self, job: Job) {
        self.jobs.push(job);
        self.staging += 1;
    }

    /// What the stager has to do, in order.
    pub fn take_jobs(&mut self) -> Vec<Job> {
        std::mem::take(&mut self.jobs)
    }

    /// Takes what comes back from the stager.
    pub fn staged(&mut self, items: Vec<Item>) {
        for item in items {
            self.staging -= 1;
            if let Some(tenant) = item.tenant() {
                self.turns.push(&tenant, item);
            }
        }
    }

    /// Takes an append of an upload whose bytes are staged, as decided.
    pub(super) fn take_chunk(
        &mut self,
        channel: &mut Channel,
        seq: u64,
        body: &WriteBody,
        (offset, chunk): (u64, Option<Chunk>),
        now: Instant,
    ) -> Result<(), Box<Refused>> {
        let Some(chunk) = chunk.filter(|chunk| chunk.offset == offset) else {
            // It came while an earlier one was on its way to be refused.
            self.restage(channel);
            self.check_writable(channel.file)?;
            return Err(Box::new(closed(&format!("append {seq} was not staged"))));
        };
        self.account.reserve_bytes(&channel.key.tenant, body.data.len() as u64)?;
        let producer = channel.producer.clone().map(|id| (id, seq));
        let len = body.data.len() as u64;
        let (id, stored_crc32c, crc32c) = (channel.file, chunk.crc32c, body.crc32c);
        self.record(&Record::Chunk { id, offset, len, stored_crc32c, producer, crc32c }, now);
        Ok(())
    }

    /// After bytes that were sent to be staged were refused: what is sent from now on follows what was taken. (Another
    /// refusal, of a seq that is taken for instance, changes nothing about what is on its way; to begin anew behind it would
    /// let bytes be written over that are taken meanwhile.)
    pub(super) fn restage_refused(&mut self, slot: (u64, u32)) {
        let Some(mut channel) = self.channels.get(&slot).filter(|channel| channel.refused).cloned() else { return };
        self.restage(&mut channel);
        self.channels.insert(slot, channel);
    }

    fn restage(&self, channel: &mut Channel) {
        let Some(staging) = &mut channel.staging else { return };
        let Some(file) = self.files.get(channel.file) else { return };
        let known = channel.producer.as_ref().and_then(|name| file.producers.get(name));
        *staging = Staging { seq: known.map_or(channel.taken, |known| known.last_seq), end: file.end };
    }

    /// Ends an upload's channel: `Finished`, or a nack that leaves the upload open.
    pub(super) fn finish_upload(
        &mut self,
        session: &Arc<SessionLink>,
        number: u32,
        ending: Ending,
        refused: Option<Refused>,
        now: Instant,
    ) {
        let Some(channel) = self.channels.get(&(session.id, number)).cloned() else {
            let refused = self.no_channel(session.id, number);
            return self.answers.nack_channel(session, number, refused);
        };
        // After a refused chunk the staged file is shorter than what was sent: that says nothing against it.
        let outcome = match refused.filter(|_| !channel.refused) {
            Some(refused) => Err(refused),
            None => self.end_upload(&channel, ending, now),
        };
        self.drop_channel(session.id, number);
        match outcome {
            Ok(published) => {
                self.sync_wanted = true;
                let now = || self.files.get(channel.file).map(Content::of);
                let Content { generation, size, crc32c } = published.or_else(now).unwrap_or_default();
                let crc32c = crc32c.unwrap_or(0);
                self.answers.ended(session, Event::Finished { channel: number, generation, size, crc32c });
            }
            Err(refused) => {
                self.sync_wanted = true;
                self.answers.nack_channel(session, number, refused);
            }
        }
        if channel.producer.is_none() {
            self.discard(channel.file, now);
        }
    }

    /// Tells what was published, if it was before.
    fn end_upload(&mut self, channel: &Channel, ending: Ending, now: Instant) -> Result<Option<Content>, Refused> {
        let Some(file) = self.files.get(channel.file) else { return Err(closed("the upload is not open any more")) };
        check_path(file, channel)?;
        if let Some(name) = &channel.producer
            && let Some(known) = file.producers.get(name)
        {
            check_fence(file, name, known, channel)?;
        }
        match ending {
            Ending::LeaveOpen => Ok(None),
            Ending::Abort => {
                self.discard(channel.file, now);
                Ok(None)
            }
            Ending::Commit { size, crc32c } => {
                if channel.refused {
                    let text = format!("an append of the upload to {} was refused; send it again first", channel.key);
                    return Err(Refused::new(ErrorReason::EarlierSeqRefused, text));
                }
                if let Some(name) = channel.producer.as_ref().filter(|_| channel.published) {
                    return check_published(file, name, size, crc32c).map(Some);
                }
                check_content(&file.key, Content::of(file), size, crc32c)?;
                self.publish_upload(channel.file, now).map(|()| None)
            }
        }
    }

    /// Lets an upload take its path, if it may.
    pub(super) fn publish_upload(&mut self, id: FileId, now: Instant) -> Result<(), Refused> {
        let Some(file) = self.files.get(id) else { return Err(closed("the upload is not open any more")) };
        let Some(Upload { replace, if_generation, .. }) = file.upload else { return Ok(()) };
        let key = file.key.clone();
        self.check_lock(&key)?;
        self.check_target(&key, replace, if_generation)?;
        let over = self.files.id_of(&key);
        if over.is_none_or(|over| self.files.get(over).is_none_or(|file| !file.created)) {
            self.account.reserve_file(&key.tenant).map_err(|refused| *refused)?;
        }
        self.record(&Record::Publish { id }, now);
        self.add_effect(Effect::Publish { id, over }, &[&key]);
        Ok(())
    }

    /// Lets go of an upload that is not published.
    pub(super) fn discard(&mut self, id: FileId, now: Instant) {
        let Some(file) = self.files.get(id).filter(|file| is_discardable(file)) else { return };
        let view = Arc::clone(&file.view);
        self.record(&Record::Remove { id, heir: None }, now);
        view.state().gone = Some(Gone::Deleted);
    }

    /// Lets go of all uploads of a tenant but those of a set that is being decided. Channels that have them open are told
    /// with the next that they send.
    pub(super) fn discard_uploads(&mut self, tenant: &TenantName, now: Instant) -> Done {
        let is_theirs = |file: &&File| file.key.tenant == *tenant && file.upload.is_some() && file.gone.is_none();
        let is_free = |file: &&File| self.files.sets().lock_of(&file.key).is_none();
        let uploads = self.files.iter().filter(is_theirs).filter(is_free);
        let uploads: Vec<_> = uploads.map(|file| (file.view.id, file.end)).collect();
        let size = uploads.iter().map(|(_, end)| end).sum();
        uploads.into_iter().for_each(|(id, _)| self.discard(id, now));
        Done { size, ..Done::default() }
    }

    /// Lets go of uploads that nobody has written to for too long.
    pub(super) fn expire_uploads(&mut self, now: Instant) {
        let seconds = self.running_seconds(now);
        let expiry = self.config.uploads.expiry.as_secs();
        let is_over = |file: &&File| {
            file.channels == 0
                && file.upload.as_ref().is_some_and(|upload| seconds.saturating_sub(upload.active_at) > expiry)
        };
        let over: Vec<FileId> = self
            .files
            .uploads()
            .filter_map(|(_, id)| self.files.get(id))
            .filter(is_over)
            .map(|file| file.view.id)
            .collect();
        for id in over {
            if let Some(file) = self.files.get(id) {
                tracing::info!(upload = %file.key, size = file.end, "an upload that nobody finished has expired");
            }
            self.discard(id, now);
        }
    }
}

/// Whether it is an upload that no set holds.
fn is_discardable(file: &File) -> bool {
    file.upload.is_some() && file.gone.is_none() && file.frozen.is_none()
}

/// What an upload is or was.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Content {
    pub(super) generation: u64,
    size: u64,
    crc32c: Option<u32>,
}

impl Content {
    /// As it is now.
    pub(super) fn of(file: &File) -> Self {
        Self { generation: file.generation(), size: file.end, crc32c: file.content.crc32c }
    }

    /// As it was when it took its path, as far as its producer is remembered: the file may have grown since, or be cut.
    fn published(file: &File, producer: &ProducerId) -> Option<Self> {
        let known = file.producers.get(producer)?;
        // An operation has no bytes.
        let (generation, size) = match known.remembered.iter().rfind(|it| it.len > 0) {
            Some(last) => (last.generation, last.offset + u64::from(last.len)),
            None if known.last_seq == 0 => (file.generation(), 0),
            None => return None,
        };
        let is_now = (generation, size) == (file.generation(), file.end);
        Some(Self { generation, size, crc32c: file.content.crc32c.filter(|_| is_now) })
    }
}

/// What was published of a producer, if that is what its sender says that it is. Asked again after the answer was lost,
/// it has to be told that it is published, whatever became of the file since.
pub(super) fn check_published(
    file: &File,
    producer: &ProducerId,
    size: Option<u64>,
    crc32c: Option<u32>,
) -> Result<Content, Refused> {
    let Some(published) = Content::published(file, producer) else { return Ok(Content::of(file)) };
    check_content(&file.key, published, size, crc32c).map(|()| published)
}

/// Whether an upload is what its sender says that it is.
pub(super) fn check_content(
    key: &FileKey,
    found: Content,
    size: Option<u64>,
    crc32c: Option<u32>,
) -> Result<(), Refused> {
    if let Some(size) = size.filter(|size| *size != found.size) {
        let text = format!("the upload to {key} has {} bytes, not {size}; send the rest, or abort it", found.size);
        let mut refused = Refused::new(ErrorReason::SizeMismatch, text);
        refused.expected_offset = Some(found.size);
        return Err(refused);
    }
    match (crc32c, found.crc32c) {
        (Some(wanted), Some(found)) if wanted != found => {
            let text =
                format!("the upload to {key} has crc32c {found:#010x}, not {wanted:#010x}; abort it, and begin anew");
            Err(Refused::new(ErrorReason::ChecksumMismatch, text))
        }
        _ => Ok(()),
    }
}
