//! Rotation: before an append for which the policy of its file says so, what the file has gets another path, and its own
//! begins anew. The channels of the file go on there. The append waits for the next commit: until this one is carried out,
//! the old content still lies at the path.

use super::{ShardWriter, effects::Effect};
use crate::{
    apply::{plain::check_vacant, view::COMPRESSED_SUFFIX},
    policy::{Facts, NoName, Policy},
    route,
    shard::{
        SessionLink, Write,
        decide::{Decision, Wish, decide},
        ids::{FileId, FileKey},
        record::Record,
        turns::Item,
    },
};
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// What is to be rotated, and how.
struct Due {
    id: FileId,
    policy: Arc<Policy>,
    at: SystemTime,
}

impl ShardWriter {
    /// Rotates the file of an append if that is due; tells whether it did, so that the append has to wait.
    pub(super) fn rotate_before(&mut self, item: &Item, now: Instant) -> bool {
        let Item::Write(session, write, _) = item else { return false };
        if !session.tenant.policies.rotate() {
            return false;
        }
        let Some(due) = self.due_rotation(session, write) else { return false };
        match self.rotate(&due, now) {
            Ok(()) => true,
            Err(error) => {
                if let Some(channel) = self.channels.get_mut(&(session.id, write.channel)) {
                    tracing::warn!(file = %channel.key, %error, "a file cannot be rotated, and goes on until it is opened again");
                    channel.rotation = None;
                }
                false
            }
        }
    }

    /// An append that would not be taken rotates nothing. One that names an offset may be refused after the rotation, as the
    /// file begins anew then.
    fn due_rotation(&self, session: &SessionLink, write: &Write) -> Option<Due> {
        let channel = self.channels.get(&(session.id, write.channel))?;
        let policy = channel.rotation.as_ref()?;
        let body = write.body.as_ref().ok()?;
        let file = self.files.get(channel.file)?;
        // What a set is about to put in its place is told of from the moment on that the set happens.
        self.check_lock(&file.key).ok()?;
        let (len, at) = (body.data.len() as u64, SystemTime::now());
        // Of an upload that was published nobody knows the time; it is as new as can be.
        let began = Some(file.content.began).filter(|began| *began > 0).map(Duration::from_millis);
        let facts = Facts { size: file.end, began: began.map_or(at, |since| UNIX_EPOCH + since) };
        if !policy.is_due(facts, len, at) {
            return None;
        }
        let producer = channel.producer.as_ref().and_then(|id| file.producers.get(id));
        let seq = if write.seq == 0 { channel.arrived.saturating_add(1) } else { write.seq };
        let wish = Wish { seq, len, crc32c: body.crc32c, expected_offset: body.expected_offset };
        let is_taken = matches!(decide(file, producer, channel, &wish), Decision::Append(_));
        let is_writable =
            || self.check_writable(channel.file).is_ok() && self.files.sets().lock_of(&file.key).is_none();
        (is_taken && is_writable()).then(|| Due { id: channel.file, policy: Arc::clone(policy), at })
    }

    fn rotate(&mut self, due: &Due, now: Instant) -> Result<(), NoName> {
        let Due { id, policy, at } = due;
        let Some(file) = self.files.get(*id) else { return Ok(()) };
        let (from, cut) = (file.key.clone(), file.view.generation);
        let key_of = |path| FileKey { tenant: from.tenant.clone(), path };
        let path = policy.rotated_name(&from.path, *at, cut, |path| self.is_taken(&key_of(path.clone())))?;
        let to = key_of(path);
        let shard_of = |key: &FileKey| route::shard_of(&key.tenant, &key.path, u32::MAX);
        debug_assert_eq!(shard_of(&from), shard_of(&to), "what is rotated away stays in the shard of its file");
        let (next, generation) = self.allot();
        let millis = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let at = u64::try_from(millis).unwrap_or(u64::MAX);
        self.record(&Record::Rotate { id: *id, to: to.clone(), next, generation, at }, now);
        self.metrics.rotations.add(1);
        self.go_over(*id, next);
        self.count_producers(next);
        tracing::debug!(file = %from, rotated = %to.path, "file rotated");
        self.add_effect(Effect::Rotate { id: *id, from: from.clone(), next }, &[&from, &to]);
        Ok(())
    }

    /// Channels go on in the file that their path leads to from now on. One of a published upload stays with its content.
    fn go_over(&mut self, id: FileId, next: FileId) {
        let mut count = 0;
        for channel in self.channels.values_mut() {
            if channel.file == id && !channel.stale && !channel.published {
                channel.file = next;
                count += 1;
            }
        }
        if let Some(file) = self.files.get_mut(id) {
            file.channels = file.channels.saturating_sub(count);
        }
        if let Some(file) = self.files.get_mut(next) {
            file.channels += count;
        }
    }

    /// Whether anything has a path, or the name that its compressed file would have.
    fn is_taken(&self, key: &FileKey) -> bool {
        let is_promised = || self.files.sets().lock_of(key).is_some();
        let is_known = || self.files.id_of(key).is_some() || !matches!(self.catalog.by_key(key), Ok(None));
        let is_there = || check_vacant(self.fs.as_ref(), key, self.number).is_err();
        is_promised() || is_known() || is_there() || self.fs.metadata(&(key.plain_path() + COMPRESSED_SUFFIX)).is_ok()
    }
}
