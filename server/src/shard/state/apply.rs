//! Carrying out what was decided: the one way in which the state of a shard changes, live and in replay.

use super::{Content, File, Files, Producer, Remembered, Upload, Usage};
use crate::{
    apply::view::{FileView, Gone, Location, Place, ViewState},
    shard::{
        ids::{FastMap, FileId, FileKey, ProducerId},
        record::Record,
    },
};
use std::sync::Arc;

impl Files {
    /// Carries out what was decided. `sequence` is the frame that says so, `now` the running time in seconds. The files
    /// that it is about must be in memory, and so must the one at the path that it gives to another; a frame from before
    /// the last one that changed a file changes nothing of it.
    pub fn apply(&mut self, record: &Record, sequence: u64, now: u64) {
        if let Record::Upload { key, id, generation, replace, if_generation } = record {
            return self.begin_upload(key, *id, *generation, (*replace, *if_generation), sequence, now);
        }
        if let Record::Adopt { key, id, generation, len, crc32c, at } = record {
            return self.adopt(key, *id, *generation, (*len, *crc32c, *at), sequence);
        }
        if self.apply_to_sets(record, sequence) || self.touch(record.id(), sequence).is_none() {
            return;
        }
        match record {
            Record::Append { id, offset, producer, crc32c, data } => {
                let len = data.len() as u64;
                self.add(*id, (*offset, len), now, |before| crc32c::crc32c_append(before, data));
                self.took(*id, producer.as_ref(), Some((*offset, len)), *crc32c, now);
            }
            Record::Chunk { id, offset, len, stored_crc32c, producer, crc32c } => {
                let bytes = usize::try_from(*len).unwrap_or(usize::MAX);
                self.add(*id, (*offset, *len), now, |before| crc32c::crc32c_combine(before, *stored_crc32c, bytes));
                self.took(*id, producer.as_ref(), Some((*offset, *len)), *crc32c, now);
            }
            Record::Operation { id, producer, seq, crc32c } => {
                self.took(*id, Some(&(producer.clone(), *seq)), None, *crc32c, now);
            }
            Record::Name { id, .. } => self.with(*id, |file| file.named = true),
            Record::Create { id, at } => self.with(*id, |file| (file.created, file.content.began) = (true, *at)),
            Record::Epoch { id, producer, epoch } => self.raise(*id, producer, *epoch, now),
            Record::Forget { id, producer } => self.with(*id, |file| _ = file.producers.remove(producer)),
            Record::Seal { id } => self.with(*id, |file| file.content.sealed = true),
            Record::Publish { id } => self.publish(*id, sequence),
            Record::Remove { id, heir } => self.remove_file(*id, *heir, sequence),
            Record::Rename { id, to } => self.rename(*id, to, sequence),
            Record::Rotate { id, to, next, generation, at } => {
                self.rotate(*id, to, (*next, *generation), *at, sequence);
            }
            Record::Swap { id, next, generation, len, crc32c, compressed } => {
                self.swap(*id, (*next, *generation), (*len, *crc32c, *compressed), sequence);
            }
            Record::Upload { .. }
            | Record::Adopt { .. }
            | Record::Prepare { .. }
            | Record::Decide { .. }
            | Record::Settle { .. }
            | Record::Close { .. } => {}
        }
    }

    /// Lets go of uploads without a producer: their sessions are over, and nobody could find them again.
    pub fn drop_nameless_uploads(&mut self) {
        let is_nameless = |file: &&File| file.upload.as_ref().is_some_and(|upload| upload.producer.is_none());
        let nameless: Vec<_> = self.iter().filter(is_nameless).map(|file| (file.view.id, file.sequence)).collect();
        for (id, sequence) in nameless {
            let _ = self.touch(id, sequence);
            self.with(id, |file| file.gone = Some(Gone::Deleted));
        }
    }

    /// Notes that a frame changes a file; `None` if it does not, because the file is as of a later one.
    pub(super) fn touch(&mut self, id: FileId, sequence: u64) -> Option<()> {
        let file = self.by_id.get_mut(&id).filter(|file| file.sequence <= sequence)?;
        file.sequence = sequence;
        if !std::mem::replace(&mut file.changed, true) {
            self.changed.push(id);
        }
        Some(())
    }

    /// Changes a file, and what its tenant has by it.
    pub(super) fn with(&mut self, id: FileId, change: impl FnOnce(&mut File)) {
        let Some(file) = self.by_id.get_mut(&id) else { return };
        let before = file.usage();
        change(file);
        let after = file.usage();
        if before != after {
            let usage = self.usage.entry(file.key.tenant.clone()).or_default();
            usage.bytes = (usage.bytes + after.bytes).saturating_sub(before.bytes);
            usage.files = (usage.files + after.files).saturating_sub(before.files);
            if *usage == Usage::default() {
                self.usage.remove(&file.key.tenant);
            }
            if self.usage_changed.last() != Some(&file.key.tenant) {
                self.usage_changed.push(file.key.tenant.clone());
            }
        }
    }

    /// Adds bytes at the end of a file; `checksum` goes on from the one before.
    fn add(&mut self, id: FileId, (offset, len): (u64, u64), now: u64, checksum: impl FnOnce(u32) -> u32) {
        self.with(id, |file| {
            file.end = offset + len;
            file.content.crc32c = file.content.crc32c.map(checksum);
            if let Some(upload) = &mut file.upload {
                upload.active_at = now;
            }
        });
    }

    /// Counts a seq of a producer.
    fn took(
        &mut self,
        id: FileId,
        producer: Option<&(ProducerId, u64)>,
        range: Option<(u64, u64)>,
        crc32c: u32,
        now: u64,
    ) {
        let remember = self.remember;
        let Some(file) = self.by_id.get_mut(&id) else { return };
        let Some((producer, seq)) = producer else { return };
        let Some(known) = file.producers.get_mut(producer) else { return };
        known.last_seq = *seq;
        known.active_at = now;
        let (offset, len) = range.unwrap_or((file.end, 0));
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        known.remembered.push_back(Remembered { generation: file.view.generation, offset, len, crc32c });
        if known.remembered.len() > remember {
            known.remembered.pop_front();
        }
    }

    fn raise(&mut self, id: FileId, producer: &ProducerId, epoch: u64, now: u64) {
        let Some(file) = self.by_id.get_mut(&id) else { return };
        let known = file.producers.entry(producer.clone()).or_default();
        let previous = (known.epoch, known.last_seq);
        let open = known.open;
        *known = Producer { epoch, active_at: now, previous, open, ..Producer::default() };
        if let Some(upload) = &mut file.upload {
            upload.active_at = now;
            upload.producer = Some(producer.clone());
            self.uploads.insert((file.key.clone(), producer.clone()), id);
        }
    }

    fn begin_upload(
        &mut self,
        key: &FileKey,
        id: FileId,
        generation: u64,
        (replace, if_generation): (bool, Option<u64>),
        sequence: u64,
        now: u64,
    ) {
        if self.by_id.get(&id).is_some_and(|known| known.sequence > sequence) {
            return;
        }
        let view = self.view_of(key, Location::Staged, id, generation);
        let upload = Upload { replace, if_generation, producer: None, active_at: now };
        self.insert(File { key: key.clone(), upload: Some(upload), ..File::new(view, true) });
        let _ = self.touch(id, sequence);
    }

    pub(super) fn publish(&mut self, id: FileId, sequence: u64) {
        let Some(key) = self.by_id.get(&id).map(|file| file.key.clone()) else { return };
        let producers = self.displace(&key, id, sequence);
        let mut producer = None;
        self.with(id, |file| {
            let upload = file.upload.take().unwrap_or_default();
            let epoch = upload.producer.as_ref().and_then(|name| file.producers.get(name)).map(|known| known.epoch);
            file.content.origin = upload.producer.clone().zip(epoch);
            file.created = true;
            producer = upload.producer;
            for (name, known) in producers {
                let own = file.producers.entry(name).or_default();
                if known.epoch > own.epoch {
                    *own = known;
                }
            }
        });
        if let Some(producer) = producer {
            self.uploads.remove(&(key.clone(), producer));
        }
        self.by_key.insert(key, id);
    }

    fn remove_file(&mut self, id: FileId, heir: Option<(FileId, u64)>, sequence: u64) {
        let Some(file) = self.by_id.get(&id) else { return };
        let key = file.key.clone();
        if let Some(Upload { producer: Some(producer), .. }) = &file.upload {
            self.uploads.remove(&(key.clone(), producer.clone()));
        }
        self.unbind(&key, id);
        let mut producers = FastMap::default();
        self.with(id, |file| {
            file.gone = Some(Gone::Deleted);
            producers = std::mem::take(&mut file.producers);
        });
        if let Some((heir, generation)) = heir {
            let view = self.view_of(&key, Location::Plain, heir, generation);
            self.insert(File { key: key.clone(), producers, ..File::new(view, true) });
            let _ = self.touch(heir, sequence);
        }
    }

    fn rename(&mut self, id: FileId, to: &FileKey, sequence: u64) {
        let Some(from) = self.by_id.get(&id).map(|file| file.key.clone()) else { return };
        self.displace(to, id, sequence);
        self.unbind(&from, id);
        self.with(id, |file| file.key = to.clone());
        self.by_key.insert(to.clone(), id);
    }

    fn rotate(&mut self, id: FileId, to: &FileKey, (next, generation): (FileId, u64), at: u64, sequence: u64) {
        let Some(from) = self.by_id.get(&id).map(|file| file.key.clone()) else { return };
        self.rename(id, to, sequence);
        let mut producers = FastMap::default();
        self.with(id, |file| {
            producers = std::mem::take(&mut file.producers);
            file.content.rotated = Some((at, generation));
            file.content.sealed = true;
        });
        let view = self.view_of(&from, Location::Plain, next, generation);
        self.insert(File { key: from.clone(), producers, ..File::new(view, true) });
        let _ = self.touch(next, sequence);
    }

    fn swap(
        &mut self,
        id: FileId,
        (next, generation): (FileId, u64),
        (len, crc32c, compressed): (u64, u32, Option<u64>),
        sequence: u64,
    ) {
        let Some(old) = self.by_id.get(&id) else { return };
        let (key, content) = (old.key.clone(), old.content.clone());
        let producers = self.displace(&key, next, sequence);
        let view = self.view_of(&key, Location::Staged, next, generation);
        self.insert(File { key: key.clone(), producers, ..File::new(view, true) });
        let _ = self.touch(next, sequence);
        self.with(next, |file| {
            (file.created, file.end) = (true, len);
            file.content = Content { crc32c: Some(crc32c), compressed, ..content };
        });
    }

    fn adopt(&mut self, key: &FileKey, id: FileId, generation: u64, (len, crc32c, at): (u64, u32, u64), sequence: u64) {
        if self.by_id.get(&id).is_some_and(|known| known.sequence > sequence) {
            return;
        }
        let producers = self.displace(key, id, sequence);
        let view = self.view_of(key, Location::Plain, id, generation);
        self.insert(File { key: key.clone(), producers, ..File::new(view, true) });
        let _ = self.touch(id, sequence);
        self.with(id, |file| {
            (file.created, file.end) = (true, len);
            file.content = Content { crc32c: Some(crc32c), began: at, ..Content::default() };
        });
    }

    /// Takes a path from what has it, for `by`. Returns the producers that were there.
    pub(super) fn displace(&mut self, key: &FileKey, by: FileId, sequence: u64) -> FastMap<ProducerId, Producer> {
        let mut producers = FastMap::default();
        if let Some(id) = self.by_key.get(key).copied().filter(|id| *id != by) {
            let _ = self.touch(id, sequence);
            self.unbind(key, id);
            self.with(id, |file| {
                file.gone = Some(Gone::Replaced);
                producers = std::mem::take(&mut file.producers);
            });
        }
        producers
    }

    fn view_of(&self, key: &FileKey, location: Location, id: FileId, generation: u64) -> Arc<FileView> {
        self.kept_view(id).unwrap_or_else(|| {
            let place = Place { key: key.clone(), location };
            Arc::new(FileView::at(place, id.shard(), id, generation, ViewState::default()))
        })
    }
}
