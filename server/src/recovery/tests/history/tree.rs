//! The simple model: what there is at which path, and what becomes of it by what clients ask for. No disk, no log, no
//! crash: those are what it is held against.

use super::ask::{Ask, Deed, Open, Operate};
use crate::shard::{Ending, Mode};
use bytes::Bytes;
use inkpot_proto::v1::ErrorReason as R;
use std::{collections::BTreeMap, sync::Arc};

/// What one seq of a producer was.
#[derive(Clone, Debug)]
pub enum Kept {
    Append { offset: u64, data: Bytes, file: u64 },
    Deed { deed: Deed, file: u64 },
}

/// A producer in a file.
#[derive(Clone, Debug, Default)]
pub struct Producer {
    pub epoch: u64,
    pub last_seq: u64,
    pub kept: BTreeMap<u64, Kept>,
    /// Number of the open that holds it.
    hold: u64,
}

/// What is particular to an upload.
#[derive(Clone, Copy, Debug)]
pub struct Upload {
    pub producer: Option<&'static str>,
    pub replace: bool,
    pub if_generation: Option<u64>,
}

/// A content: of a file, of an upload, or of a path at which there is nothing yet but producers.
#[derive(Clone, Debug)]
pub struct File {
    pub path: &'static str,
    pub created: bool,
    pub gone: bool,
    pub sealed: bool,
    pub content: Arc<Vec<u8>>,
    pub producers: BTreeMap<&'static str, Producer>,
    pub upload: Option<Upload>,
    origin: Option<(&'static str, u64)>,
}

/// A channel.
#[derive(Clone, Debug)]
pub struct Channel {
    pub file: u64,
    pub upload: bool,
    pub producer: Option<&'static str>,
    pub refused: bool,
    pub published: bool,
    stale: bool,
    hold: u64,
    /// The last seq that was taken, without a producer.
    pub taken: u64,
}

/// Whether a path lies below another one.
pub fn is_below(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    pub files: BTreeMap<u64, File>,
    pub paths: BTreeMap<&'static str, u64>,
    pub channels: BTreeMap<u32, Channel>,
    /// Generations that were told.
    pub generations: BTreeMap<u64, u64>,
    made: u64,
    holds: u64,
}

/// What a client should be told; `file` is the content whose generation it is.
/// What a Finish tells of an upload: the content that it became, its size, and its crc32c unless it is not known any more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Published {
    pub file: u64,
    pub size: u64,
    pub crc32c: Option<u32>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// `fenced` is the channel that the open takes its producer from, which is told so.
    Opened {
        epoch: u64,
        last_seq: u64,
        next_offset: u64,
        published: bool,
        file: Option<u64>,
        fenced: Option<u32>,
    },
    Acked {
        offset: u64,
        duplicate: bool,
        file: u64,
    },
    Finished {
        published: Option<Published>,
    },
    Done {
        file: u64,
        duplicate: bool,
    },
}

impl Tree {
    /// Carries out what is asked, or tells why not.
    pub fn take(&mut self, ask: &Ask) -> Result<Told, R> {
        match ask {
            Ask::Open(open) => self.open(open),
            Ask::Write { channel, seq, data, .. } => self.write(*channel, *seq, data),
            Ask::Finish { channel, ending } => self.finish(*channel, *ending),
            Ask::Operate(operate) => self.operate(operate),
        }
    }

    /// The machine has stopped: nobody has a channel any more.
    pub fn stop(&mut self) {
        self.channels.clear();
        self.files.retain(|_, file| !file.gone && file.upload.is_none_or(|upload| upload.producer.is_some()));
        self.files.values_mut().flat_map(|file| file.producers.values_mut()).for_each(|known| known.hold = 0);
    }

    /// Whether what comes on a channel has to be staged.
    pub fn is_uploading(&self, channel: u32) -> bool {
        self.channels.get(&channel).is_some_and(|channel| channel.upload && !channel.published)
    }

    /// Whether a channel's path leads to other content by now.
    pub fn is_cut_off(&self, channel: u32) -> bool {
        self.channels.get(&channel).is_none_or(|channel| self.check_path(channel).is_err())
    }

    /// Makes the producer of an operation known that is refused for a fault then.
    pub fn take_operator(&mut self, ask: &Ask) {
        let Ask::Operate(Operate { path, operator: Some((name, epoch, seq)), .. }) = ask else { return };
        if let Some(id) = self.at(path).filter(|(_, file)| file.created).map(|(id, _)| id) {
            let _ = self.check_operator(id, name, *epoch, *seq);
        }
    }

    pub fn at(&self, path: &str) -> Option<(u64, &File)> {
        self.paths.get(path).map(|id| (*id, &self.files[id]))
    }

    /// The generation at a path, as far as it was told; 0 if there is nothing.
    pub fn generation_at(&self, path: &str) -> Option<u64> {
        match self.at(path).filter(|(_, file)| file.created) {
            Some((id, _)) => self.generations.get(&id).copied(),
            None => Some(0),
        }
    }

    pub fn upload_of(&self, path: &str, producer: &str) -> Option<(u64, &File)> {
        let mut files = self.files.iter().map(|(id, file)| (*id, file));
        files.find(|(_, file)| {
            let by = file.upload.and_then(|upload| upload.producer);
            file.path == path && !file.gone && by == Some(producer)
        })
    }

    /// Bytes and files that there are.
    pub fn usage(&self) -> (u64, u64) {
        let there = || self.files.values().filter(|file| !file.gone);
        let bytes = there().map(|file| file.content.len() as u64).sum();
        (bytes, there().filter(|file| file.created).count() as u64)
    }

    pub fn add(&mut self, path: &'static str, upload: Option<Upload>) -> u64 {
        self.made += 1;
        let (producers, content) = (BTreeMap::new(), Arc::default());
        let file = File { path, created: false, gone: false, sealed: false, content, producers, upload, origin: None };
        self.files.insert(self.made, file);
        self.made
    }

    pub fn file(&mut self, id: u64) -> &mut File {
        self.files.get_mut(&id).expect("a file of the model")
    }

    /// What stands in the way of a file at a path at which there is none.
    fn check_vacant(&self, path: &str) -> Result<(), R> {
        let mut there = self.paths.iter().filter(|(_, id)| self.files[id].created).map(|(path, _)| *path);
        there.try_for_each(|other| match other {
            other if is_below(path, other) => Err(R::NotADirectory),
            other if is_below(other, path) => Err(R::IsADirectory),
            _ => Ok(()),
        })
    }

    fn check_target(&self, path: &str, replace: bool, if_generation: Option<u64>) -> Result<(), R> {
        let there = self.at(path).is_some_and(|(_, file)| file.created);
        if if_generation.is_some_and(|wanted| self.generation_at(path) != Some(wanted)) {
            return Err(R::GenerationChanged);
        }
        match (there, replace) {
            (true, false) => Err(R::FileExists),
            (true, true) => Ok(()),
            (false, _) => self.check_vacant(path),
        }
    }

    fn open(&mut self, open: &Open) -> Result<Told, R> {
        let (id, published) =
            if open.mode == Mode::Append { (self.open_file(open)?, false) } else { self.open_upload(open)? };
        let (epoch, fenced) = self.hold(id, open)?;
        let upload = open.mode != Mode::Append;
        let (producer, hold) = (open.producer.map(|(name, _)| name), self.holds);
        let channel = Channel { file: id, upload, producer, refused: false, published, stale: false, hold, taken: 0 };
        self.channels.insert(open.channel, channel);
        let file = &self.files[&id];
        let last_seq = producer.map_or(0, |name| file.producers[name].last_seq);
        let was = producer.filter(|_| published).map(|name| self.published(id, name));
        let next_offset = was.map_or(file.content.len() as u64, |was| was.size);
        let of = file.created.then_some(id);
        Ok(Told::Opened { epoch, last_seq, next_offset, published, file: of, fenced })
    }

    fn open_file(&mut self, open: &Open) -> Result<u64, R> {
        let there = self.at(open.path).map(|(id, file)| (id, file.created));
        if there.is_none_or(|(_, created)| !created) {
            self.check_vacant(open.path)?;
        }
        if open.if_generation.is_some_and(|wanted| self.generation_at(open.path) != Some(wanted)) {
            return Err(R::GenerationChanged);
        }
        Ok(there.map_or_else(
            || {
                let id = self.add(open.path, None);
                self.paths.insert(open.path, id);
                id
            },
            |(id, _)| id,
        ))
    }

    fn open_upload(&mut self, open: &Open) -> Result<(u64, bool), R> {
        let replace = open.mode == Mode::Replace;
        if let Some((name, epoch)) = open.producer {
            if let Some((id, file)) = self.upload_of(open.path, name) {
                let is_same = |upload: &Upload| (upload.replace, upload.if_generation) == (replace, open.if_generation);
                return if file.upload.as_ref().is_some_and(is_same) { Ok((id, false)) } else { Err(R::UploadOpen) };
            }
            if let Some((id, _)) = self.at(open.path).filter(|(_, file)| file.origin == Some((name, epoch))) {
                return Ok((id, true));
            }
            let (held, last_seq) = self.producer_at(open.path, name);
            if epoch != 0 && (epoch < held || (epoch == held && last_seq > 0)) {
                return Err(R::ProducerFenced);
            }
        }
        self.check_target(open.path, replace, open.if_generation)?;
        let producer = open.producer.map(|(name, _)| name);
        let upload = Upload { producer, replace, if_generation: open.if_generation };
        Ok((self.add(open.path, Some(upload)), false))
    }

    /// Epoch and last seq of a producer in the file at a path.
    fn producer_at(&self, path: &str, name: &str) -> (u64, u64) {
        let known = self.at(path).and_then(|(_, file)| file.producers.get(name));
        known.map_or((0, 0), |known| (known.epoch, known.last_seq))
    }

    /// Gives the producer to an open. Returns its epoch, and the channel that it was taken from.
    fn hold(&mut self, id: u64, open: &Open) -> Result<(u64, Option<u32>), R> {
        self.holds += 1;
        let hold = self.holds;
        let Some((name, wanted)) = open.producer else { return Ok((0, None)) };
        let before = self.files[&id].producers.get(name).map(|known| known.hold);
        let fenced = self.channels.iter().find(|(_, channel)| Some(channel.hold) == before).map(|(number, _)| *number);
        let at_path = if self.files[&id].upload.is_some() { self.producer_at(open.path, name).0 } else { 0 };
        let known = self.file(id).producers.entry(name).or_default();
        match (known.epoch, wanted) {
            (held, wanted) if wanted != 0 && wanted < held => return Err(R::ProducerFenced),
            (held, wanted) if wanted == held && held > 0 => {}
            (held, 0) => *known = Producer { epoch: held.max(at_path) + 1, ..Producer::default() },
            (_, wanted) => *known = Producer { epoch: wanted, ..Producer::default() },
        }
        known.hold = hold;
        Ok((known.epoch, fenced))
    }

    fn check_path(&self, channel: &Channel) -> Result<(), R> {
        let file = &self.files[&channel.file];
        match (file.gone || channel.stale, file.upload.is_some()) {
            (false, _) => Ok(()),
            (true, true) => Err(R::UploadNotFound),
            (true, false) => Err(R::GenerationChanged),
        }
    }

    fn check_fence(&self, channel: &Channel) -> Result<(), R> {
        let Some(name) = channel.producer else { return Ok(()) };
        match self.files[&channel.file].producers.get(name) {
            Some(known) if known.hold == channel.hold => Ok(()),
            Some(_) => Err(R::ProducerFenced),
            None => Err(R::UnknownProducer),
        }
    }

    fn write(&mut self, number: u32, seq: u64, data: &Bytes) -> Result<Told, R> {
        let Some(mut channel) = self.channels.remove(&number) else { return Err(R::UnknownChannel) };
        let told = self.append(&mut channel, seq, data);
        channel.refused = told.is_err() || (channel.refused && matches!(told, Ok(Told::Acked { duplicate: true, .. })));
        self.channels.insert(number, channel);
        told
    }

    fn append(&mut self, channel: &mut Channel, seq: u64, data: &Bytes) -> Result<Told, R> {
        self.check_path(channel)?;
        self.check_fence(channel)?;
        let file = &self.files[&channel.file];
        let known = channel.producer.map(|name| &file.producers[name]);
        if let Some(known) = known.filter(|known| seq <= known.last_seq) {
            return match known.kept.get(&seq) {
                Some(Kept::Append { offset, data: kept, file }) if kept == data => {
                    Ok(Told::Acked { offset: *offset, duplicate: true, file: *file })
                }
                _ => Err(R::SequenceReused),
            };
        }
        if channel.published {
            return Err(R::UploadFinished);
        }
        if file.sealed {
            return Err(R::Sealed);
        }
        if seq != known.map_or(channel.taken, |known| known.last_seq) + 1 {
            return Err(R::SequenceGap);
        }
        if !file.created && file.upload.is_none() {
            self.check_vacant(file.path)?;
        }
        self.rotate_before(channel, data.len());
        let id = channel.file;
        let file = self.file(id);
        file.created |= file.upload.is_none();
        let offset = file.content.len() as u64;
        Arc::make_mut(&mut file.content).extend_from_slice(data);
        channel.taken = seq;
        if let Some(known) = channel.producer.and_then(|name| file.producers.get_mut(name)) {
            known.last_seq = seq;
            known.kept.insert(seq, Kept::Append { offset, data: data.clone(), file: id });
        }
        Ok(Told::Acked { offset, duplicate: false, file: id })
    }

    fn finish(&mut self, number: u32, ending: Ending) -> Result<Told, R> {
        let Some(channel) = self.channels.remove(&number) else { return Ok(Told::Finished { published: None }) };
        if !channel.upload {
            return Ok(Told::Finished { published: None });
        }
        let told = self.end_upload(&channel, ending);
        if channel.producer.is_none() {
            self.discard(channel.file);
        }
        told
    }

    fn end_upload(&mut self, channel: &Channel, ending: Ending) -> Result<Told, R> {
        self.check_path(channel)?;
        self.check_fence(channel)?;
        match ending {
            Ending::LeaveOpen => {}
            Ending::Abort => self.discard(channel.file),
            Ending::Commit { .. } if channel.refused => return Err(R::EarlierSeqRefused),
            Ending::Commit { size, crc32c } => {
                let name = channel.producer.filter(|_| channel.published);
                let content = name.map_or_else(|| self.now(channel.file), |name| self.published(channel.file, name));
                if size.is_some_and(|size| size != content.size) {
                    return Err(R::SizeMismatch);
                }
                if crc32c.is_some_and(|wanted| content.crc32c.is_some_and(|found| wanted != found)) {
                    return Err(R::ChecksumMismatch);
                }
                self.publish(channel.file)?;
                return Ok(Told::Finished { published: Some(content) });
            }
        }
        Ok(Told::Finished { published: None })
    }

    fn now(&self, id: u64) -> Published {
        let content = &self.files[&id].content;
        Published { file: id, size: content.len() as u64, crc32c: Some(crc32c::crc32c(content)) }
    }

    /// What a producer has published, by the last bytes that it sent.
    fn published(&self, id: u64, name: &str) -> Published {
        let now = self.now(id);
        let known = &self.files[&id].producers[name];
        let last = known.kept.values().rev().find_map(|kept| match kept {
            Kept::Append { offset, data, file } if !data.is_empty() => Some((*file, offset + data.len() as u64)),
            _ => None,
        });
        let (file, size) = match last {
            Some(last) => last,
            None if known.last_seq == 0 => (id, 0),
            None => return now,
        };
        Published { file, size, crc32c: now.crc32c.filter(|_| (file, size) == (id, now.size)) }
    }

    fn discard(&mut self, id: u64) {
        let file = self.file(id);
        file.gone |= file.upload.is_some();
    }

    fn publish(&mut self, id: u64) -> Result<(), R> {
        let Some(Upload { producer, replace, if_generation }) = self.files[&id].upload else { return Ok(()) };
        let path = self.files[&id].path;
        self.check_target(path, replace, if_generation)?;
        let displaced = self.displace(path);
        self.paths.insert(path, id);
        let file = self.file(id);
        (file.upload, file.created) = (None, true);
        file.origin = producer.map(|name| (name, file.producers[name].epoch));
        for (name, known) in displaced {
            let own = file.producers.entry(name).or_default();
            if known.epoch > own.epoch {
                *own = known;
            }
        }
        Ok(())
    }

    /// Takes a path from what has it. Returns the producers that were there.
    fn displace(&mut self, path: &str) -> BTreeMap<&'static str, Producer> {
        let Some(id) = self.paths.remove(path) else { return BTreeMap::new() };
        let file = self.file(id);
        file.gone = true;
        std::mem::take(&mut file.producers)
    }

    fn operate(&mut self, ask: &Operate) -> Result<Told, R> {
        let source = self.at(ask.path).map(|(id, _)| id);
        let target = if let Deed::Rename { to, .. } = ask.deed { self.at(to).map(|(id, _)| id) } else { None };
        if let Some((name, epoch, seq)) = ask.operator {
            for id in source.into_iter().chain(target) {
                let known = self.files[&id].producers.get(name);
                let Some(known) = known.filter(|known| known.epoch == epoch && seq <= known.last_seq) else { continue };
                return match known.kept.get(&seq) {
                    Some(Kept::Deed { deed, file }) if *deed == ask.deed => {
                        Ok(Told::Done { file: *file, duplicate: true })
                    }
                    _ => Err(R::SequenceReused),
                };
            }
        }
        let Some(id) = source.filter(|id| self.files[id].created) else {
            let is_dir = self.check_vacant(ask.path) == Err(R::IsADirectory);
            return Err(match ask.deed {
                _ if !is_dir => R::FileNotFound,
                Deed::Delete => R::DirectoryNotEmpty,
                _ => R::IsADirectory,
            });
        };
        if ask.if_generation.is_some_and(|wanted| self.generations.get(&id) != Some(&wanted)) {
            return Err(R::GenerationChanged);
        }
        if let Some((name, epoch, seq)) = ask.operator {
            self.check_operator(id, name, epoch, seq)?;
        }
        let was_sealed = self.files[&id].sealed;
        match ask.deed {
            Deed::Seal => self.file(id).sealed = true,
            Deed::Rename { to, .. } if to == ask.path => {}
            Deed::Rename { to, replace } => match self.at(to).map(|(_, file)| file.created) {
                Some(true) if !replace => return Err(R::FileExists),
                Some(true) => {}
                _ => self.check_vacant(to)?,
            },
            Deed::Truncate { len } if len > self.files[&id].content.len() => return Err(R::OutOfRange),
            Deed::Truncate { .. } if ask.prepared.map(|prepared| prepared.of) != self.generations.get(&id).copied() => {
                return Err(R::GenerationChanged);
            }
            Deed::Truncate { .. } | Deed::Delete => {}
        }
        let duplicate = ask.deed == Deed::Seal && was_sealed;
        Ok(Told::Done { file: self.carry_out(id, ask), duplicate })
    }

    fn check_operator(&mut self, id: u64, name: &'static str, epoch: u64, seq: u64) -> Result<(), R> {
        let known = self.file(id).producers.get(name).map(|known| (known.epoch, known.last_seq));
        let last = known.filter(|(held, _)| *held == epoch).map(|(_, last)| last);
        match known {
            Some((held, _)) if held > epoch => return Err(R::ProducerFenced),
            known if seq != last.unwrap_or(0) + 1 => {
                return Err(if known.is_none() { R::UnknownProducer } else { R::SequenceGap });
            }
            _ => {}
        }
        if last.is_none() {
            self.holds += 1;
            let hold = self.holds;
            self.file(id).producers.insert(name, Producer { epoch, hold, ..Producer::default() });
        }
        Ok(())
    }

    /// Returns the content that the answer is about.
    fn carry_out(&mut self, id: u64, ask: &Operate) -> u64 {
        let next = if matches!(ask.deed, Deed::Truncate { .. }) { self.add(ask.path, None) } else { id };
        if let Some((name, _, seq)) = ask.operator
            && let Some(known) = self.file(id).producers.get_mut(name)
        {
            known.last_seq = seq;
            known.kept.insert(seq, Kept::Deed { deed: ask.deed, file: next });
        }
        match ask.deed {
            Deed::Seal => {}
            Deed::Delete => {
                let producers = self.displace(ask.path);
                if !producers.is_empty() {
                    let heir = self.add(ask.path, None);
                    self.file(heir).producers = producers;
                    self.paths.insert(ask.path, heir);
                }
            }
            Deed::Rename { to, .. } if to == ask.path => {}
            Deed::Rename { to, .. } => {
                self.displace(to);
                self.paths.remove(ask.path);
                self.paths.insert(to, id);
                self.file(id).path = to;
                self.channels
                    .values_mut()
                    .filter(|channel| channel.file == id)
                    .for_each(|channel| channel.stale = true);
            }
            Deed::Truncate { len } => {
                let producers = self.displace(ask.path);
                self.paths.insert(ask.path, next);
                let File { sealed, origin, content, .. } = self.files[&id].clone();
                let file = self.file(next);
                *file = File { sealed, origin, producers, created: true, ..file.clone() };
                file.content = Arc::new(content[..len].to_vec());
            }
        }
        next
    }
}
