//! What was sent, what was acknowledged and at which level, and whether the bytes of a file agree with that.

use crate::shard::outbox::{Ack, OpenState};
use bytes::Bytes;
use inkpot_proto::{
    error::Refused,
    v1::{Durability, Outcome},
};
use std::collections::{BTreeMap, BTreeSet};

/// A producer in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stream {
    pub file: &'static str,
    pub producer: &'static str,
}

/// An append.
#[derive(Clone, Debug)]
pub struct Sent {
    pub data: Bytes,
    /// Where it lies, if it was acknowledged or found.
    pub offset: Option<u64>,
    /// Highest level of its acks.
    pub level: Option<Durability>,
    /// It was found after a restart, so that sending it again makes a duplicate.
    pub found: bool,
    /// The last answer was that it is not applied, and it was not sent again.
    pub refused: bool,
    /// An answer was that the outcome is not known.
    pub unknown: bool,
}

#[derive(Clone, Debug, Default)]
struct Producer {
    /// Highest epoch that an `Opened` told.
    told: u64,
    lives: BTreeMap<u64, Vec<Sent>>,
}

/// Everything that clients know.
#[derive(Clone, Debug, Default)]
pub struct Model {
    producers: BTreeMap<Stream, Producer>,
}

/// How many appends of each producer and epoch a file has.
pub type Counts = BTreeMap<(Stream, u64), u64>;

impl Model {
    /// The next append of a producer: its seq and bytes that no other append has.
    pub fn send(&mut self, stream: Stream, epoch: u64) -> (u64, Bytes) {
        let life = self.life(stream, epoch);
        let seq = life.len() as u64 + 1;
        let filler = "abcdefghijklmnopqrstuvwxyz".repeat(18);
        let length = usize::try_from(seq * 53 % 450 + 17).unwrap();
        let data: Bytes = format!("{}/{epoch}/{seq}:{}\n", stream.producer, &filler[..length]).into();
        life.push(Sent { data: data.clone(), offset: None, level: None, found: false, refused: false, unknown: false });
        (seq, data)
    }

    /// The appends of a producer in an epoch.
    pub fn life(&mut self, stream: Stream, epoch: u64) -> &mut Vec<Sent> {
        self.producers.entry(stream).or_default().lives.entry(epoch).or_default()
    }

    /// Highest epoch that a producer was told; 0 before the first.
    pub fn told(&self, stream: Stream) -> u64 {
        self.producers.get(&stream).map_or(0, |producer| producer.told)
    }

    /// Every producer that was opened or has sent something.
    pub fn streams(&self) -> Vec<Stream> {
        self.producers.keys().copied().collect()
    }

    /// The level of each append that was acknowledged.
    pub fn levels(&self) -> impl Iterator<Item = Durability> {
        let lives = self.producers.values().flat_map(|producer| producer.lives.values());
        lives.flatten().filter_map(|sent| sent.level)
    }

    pub fn files(&self) -> BTreeSet<&'static str> {
        self.producers.keys().map(|stream| stream.file).collect()
    }

    /// An open was answered.
    pub fn opened(&mut self, stream: Stream, wanted: u64, state: &OpenState) {
        let told = self.told(stream);
        if wanted == 0 {
            assert!(state.epoch > told, "{stream:?} was told epoch {told} and is allotted {}", state.epoch);
        } else {
            assert_eq!(state.epoch, wanted, "{stream:?}");
        }
        assert!(state.epoch >= told, "{stream:?} goes back from epoch {told} to {}", state.epoch);
        self.producers.entry(stream).or_default().told = state.epoch;
    }

    /// Appends were acknowledged.
    pub fn acked(&mut self, stream: Stream, epoch: u64, ack: &Ack) {
        let life = self.life(stream, epoch);
        let first = ack.through_seq + 1 - u64::from(ack.appends);
        let mut at = ack.first_offset;
        for seq in first..=ack.through_seq {
            let sent = &mut life[usize::try_from(seq).unwrap() - 1];
            let what = format!("{stream:?} epoch {epoch} seq {seq} {ack:?}");
            assert_eq!(ack.duplicates > 0, sent.found || sent.level.is_some(), "duplicate or not: {what}");
            if let (Some(before), Some(now)) = (sent.offset, at) {
                assert_eq!(before, now, "moved: {what}");
            }
            sent.offset = at.or(sent.offset);
            sent.refused = false;
            sent.level = sent.level.max(Some(ack.level));
            at = at.map(|at| at + sent.data.len() as u64);
        }
        assert_eq!(at, ack.end_offset, "{stream:?} {ack:?}");
        let synced = usize::try_from(ack.synced_seq).unwrap().min(life.len());
        for sent in &mut life[..synced] {
            sent.level = sent.level.max(Some(Durability::Synced));
        }
    }

    /// An append was refused.
    pub fn refused(&mut self, stream: Stream, epoch: u64, seq: u64, refused: &Refused) {
        let sent = &mut self.life(stream, epoch)[usize::try_from(seq).unwrap() - 1];
        assert!(sent.level.is_none(), "{stream:?} epoch {epoch} seq {seq} was acknowledged: {refused}");
        sent.unknown |= refused.outcome != Outcome::NotApplied;
        sent.refused = !sent.unknown && !sent.found;
    }

    /// Checks the bytes of a file: whole appends, each sent to this file, each producer's in order and none twice; every
    /// ack at `kept` or above honoured, at its offset. Takes note of what is there and what is not.
    pub fn check(&mut self, file: &'static str, bytes: &[u8], kept: Durability) -> Counts {
        let mut counts = Counts::new();
        let mut at = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = std::str::from_utf8(line).unwrap_or_else(|_| panic!("{file} at {at}: nobody sent {line:?}"));
            let (producer, epoch, seq) = parse(text).unwrap_or_else(|| panic!("{file} at {at}: nobody sent {text:?}"));
            let stream = self.streams().into_iter().find(|s| s.file == file && s.producer == producer);
            let stream = stream.unwrap_or_else(|| panic!("{file} at {at}: strange producer in {text:?}"));
            let count = counts.entry((stream, epoch)).or_default();
            *count += 1;
            assert_eq!(*count, seq, "{file} at {at}: out of order, doubled or missing: {text:?}");
            let sent = self.life(stream, epoch).get_mut(usize::try_from(seq).unwrap() - 1);
            let sent = sent.unwrap_or_else(|| panic!("{file} at {at}: nobody sent {text:?}"));
            assert_eq!(sent.data, line, "{file} at {at}: torn");
            if let Some(acked) = sent.offset.filter(|_| sent.level >= Some(kept)) {
                assert_eq!(acked, at, "{file}: {text:?} was acknowledged elsewhere");
            }
            assert!(!sent.refused, "{file} at {at}: was answered with NOT_APPLIED: {text:?}");
            (sent.offset, sent.found) = (Some(at), true);
            at += line.len() as u64;
        }
        for (stream, producer) in self.producers.iter_mut().filter(|(stream, _)| stream.file == file) {
            for (epoch, life) in &mut producer.lives {
                let count = counts.get(&(*stream, *epoch)).copied().unwrap_or_default();
                for (n, sent) in life.iter_mut().enumerate().skip(usize::try_from(count).unwrap()) {
                    assert!(sent.level < Some(kept), "{stream:?} {epoch}: seq {} is lost, {:?}", n + 1, sent.level);
                    (sent.offset, sent.level, sent.found, sent.unknown) = (None, None, false, false);
                }
            }
        }
        counts
    }

    /// Checks that a file has everything that was sent to it.
    pub fn check_complete(&mut self, file: &'static str, bytes: &[u8]) {
        let counts = self.check(file, bytes, Durability::Written);
        for (stream, producer) in self.producers.iter().filter(|(stream, _)| stream.file == file) {
            for (epoch, life) in producer.lives.range(producer.told..) {
                let count = counts.get(&(*stream, *epoch)).copied().unwrap_or_default();
                assert_eq!(count, life.len() as u64, "{stream:?} epoch {epoch} is not complete");
            }
        }
    }
}

/// Producer, epoch and seq of an append.
fn parse(line: &str) -> Option<(&str, u64, u64)> {
    let (name, _) = line.split_once(':')?;
    let mut parts = name.split('/');
    Some((parts.next()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
