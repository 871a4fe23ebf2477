#![allow(clippy::unwrap_used)]

mod cut;
mod cut_every_byte;
mod epochs;
mod failures;
mod flip_every_byte;
mod foreign_bytes;
mod model;
mod power_loss;

use super::{Mark, Survey};
use crate::{
    WalError,
    frame::Kind,
    fs::{Attributes, FileSystem, memory::MemoryFs},
    segment::{Found, Loaded, SegmentId, list, wal_dir},
    writer::Writer,
};
use std::sync::Arc;

const SHARD: u32 = 2;
/// Bytes of a segment: room for a handful of frames.
const SEGMENT: u64 = 1024;

/// A machine whose shard has an empty log.
fn machine() -> MemoryFs {
    let memory = MemoryFs::new();
    for dir in ["shards", "shards/0002", &wal_dir(SHARD)] {
        memory.create_dir(dir, Attributes::PRIVATE_DIR).unwrap();
    }
    for dir in ["", "shards", "shards/0002"] {
        memory.sync_dir(dir).unwrap();
    }
    memory
}

fn fs(memory: &MemoryFs) -> Arc<dyn FileSystem> {
    Arc::new(memory.clone())
}

/// What the owner of a log knows of it.
#[derive(Clone, Debug, Default)]
struct Owner {
    /// Every frame of decisions that was begun and not refused, with its sequence, in order.
    written: Vec<(u64, Vec<u8>)>,
    /// Last sequence whose append returned.
    in_kernel: u64,
    /// Last sequence whose sync returned.
    synced: u64,
    /// What its catalog holds.
    mark: Mark,
    /// A mark that it took and has not put into its catalog yet.
    taken: Option<Mark>,
    /// How many frames there were in all: makes each payload another one.
    count: u64,
}

impl Owner {
    fn append(&mut self, writer: &mut Writer, len: usize) -> Result<(), WalError> {
        self.count += 1;
        let mut payload = self.count.to_le_bytes().to_vec();
        payload.resize(len.max(8), self.count.to_le_bytes()[0]);
        let (head, tail) = payload.split_at(5);
        let sequence = writer.last_sequence() + 1;
        let appended = writer.append(&[head, tail]);
        match appended {
            Err(WalError::Full { .. } | WalError::Closed) => {}
            _ => self.written.push((sequence, payload)),
        }
        self.note(writer);
        assert_eq!(appended?, sequence);
        Ok(())
    }

    fn sync(&mut self, writer: &mut Writer) -> Result<(), WalError> {
        let synced = writer.sync();
        self.note(writer);
        synced
    }

    fn seal(&mut self, writer: &mut Writer) -> Result<(), WalError> {
        let sealed = writer.seal();
        self.note(writer);
        sealed
    }

    fn checkpoint(&mut self, writer: &mut Writer) -> Result<(), WalError> {
        self.sync(writer)?;
        self.mark = writer.mark().expect("it was synced");
        writer.release(&self.mark)
    }

    /// A checkpoint that took its mark a while ago.
    fn late_checkpoint(&mut self, writer: &mut Writer) -> Result<(), WalError> {
        if let Some(taken) = self.taken.take().filter(|taken| taken.sequence > self.mark.sequence) {
            self.mark = taken;
            writer.release(&taken)?;
        }
        self.taken = writer.mark();
        Ok(())
    }

    fn note(&mut self, writer: &Writer) {
        self.in_kernel = writer.last_sequence();
        self.synced = writer.synced_sequence();
    }

    /// Reads the log and checks it: all frames up to `floor`, and of the others as many as there are in a row.
    fn survey(&self, fs: &dyn FileSystem, floor: u64) -> Survey {
        let survey = Survey::read(fs, SHARD, self.mark, None).unwrap();
        self.check(&survey, fs, floor);
        survey
    }

    fn check(&self, survey: &Survey, fs: &dyn FileSystem, floor: u64) {
        let last = survey.last_sequence();
        assert!(last >= floor, "lost: only {last} of {floor} frames");
        let within = |sequence: u64| (self.mark.sequence + 1..=last).contains(&sequence);
        let expected: Vec<_> = self.written.iter().filter(|(sequence, _)| within(*sequence)).cloned().collect();
        assert_eq!(replayed(survey, fs).unwrap(), expected, "up to {last}");
    }

    /// Starts the next epoch. What was not found cannot come back, even if the attempt fails.
    fn begin(&mut self, survey: &Survey, fs: &Arc<dyn FileSystem>) -> Result<Writer, WalError> {
        self.written.retain(|(sequence, _)| *sequence <= survey.last_sequence());
        let writer = survey.begin(fs, SEGMENT)?;
        assert_eq!(writer.last_sequence(), survey.last_sequence() + 1, "the begin frame is the next one");
        assert_eq!(writer.synced_sequence(), writer.last_sequence());
        self.note(&writer);
        Ok(writer)
    }

    /// Reads, checks and starts the next epoch of a machine that was not asked to fail.
    fn restart(&mut self, memory: &MemoryFs, floor: u64) -> Writer {
        self.taken = None;
        let fs = fs(memory);
        let survey = self.survey(fs.as_ref(), floor);
        self.begin(&survey, &fs).unwrap()
    }
}

fn replayed(survey: &Survey, fs: &dyn FileSystem) -> Result<Vec<(u64, Vec<u8>)>, WalError> {
    let mut frames = Vec::new();
    survey.replay(fs, |frame| {
        frames.push((frame.header.sequence, frame.payload.to_vec()));
        Ok::<_, WalError>(())
    })?;
    Ok(frames)
}

fn is_damaged(fs: &dyn FileSystem, mark: Mark) -> bool {
    match Survey::read(fs, SHARD, mark, None) {
        Err(WalError::Damaged { .. }) => true,
        Ok(_) => false,
        Err(error) => panic!("{error:?}"),
    }
}

/// The segments of the epochs from that of `mark` on which lie behind it, with their frames.
fn live(fs: &dyn FileSystem, mark: Mark) -> Vec<(SegmentId, Vec<Found>)> {
    let start = SegmentId { epoch: mark.epoch, number: mark.segment };
    let epochs = super::list_epochs(fs, SHARD).unwrap();
    let ids = epochs.iter().flat_map(|epoch| list(fs, SHARD, *epoch).unwrap().segments);
    ids.filter(|id| *id >= start)
        .map(|id| {
            let offset = if id == start { mark.offset } else { 0 };
            (id, Loaded::read(fs, SHARD, id).unwrap().unwrap().frames(offset))
        })
        .collect()
}

/// A log of four epochs with recycled segments, of which the last three are live: one ended by a kill with frames that
/// were only written, one by power loss. If `sealed`, its last frame is a seal, else there are two that nothing proves.
fn long_log(sealed: bool) -> (MemoryFs, Owner) {
    use crate::fs::memory::Loss;
    let (mut memory, mut owner) = (machine(), Owner::default());
    for (epoch, loss) in [Loss::All, Loss::All, Loss::Torn].into_iter().enumerate() {
        let mut writer = owner.restart(&memory, owner.synced);
        for round in 0..12 {
            owner.append(&mut writer, 20 + 17 * round).unwrap();
            if round % 2 == 0 {
                owner.sync(&mut writer).unwrap();
            }
            if round == 5 {
                owner.seal(&mut writer).unwrap();
            }
            if epoch < 2 && round == 8 - epoch {
                owner.checkpoint(&mut writer).unwrap();
            }
        }
        memory = memory.power_loss(loss, epoch as u64);
    }
    let mut writer = owner.restart(&memory, owner.synced);
    for round in 0..9 {
        owner.append(&mut writer, 10 + 40 * round).unwrap();
        owner.sync(&mut writer).unwrap();
    }
    if sealed {
        owner.seal(&mut writer).unwrap();
    } else {
        owner.append(&mut writer, 30).unwrap();
        owner.append(&mut writer, 40).unwrap();
    }
    drop(writer);
    (memory, owner)
}

#[test]
fn the_long_log_is_what_it_says() {
    let (memory, owner) = long_log(true);
    let live = live(&memory, owner.mark);
    let epochs: std::collections::BTreeSet<_> = live.iter().map(|(id, _)| id.epoch).collect();
    assert_eq!(epochs.into_iter().collect::<Vec<_>>(), [2, 3, 4]);
    assert!(live.len() >= 7, "{} segments", live.len());
    let frames: Vec<_> = live.iter().flat_map(|(_, frames)| frames).collect();
    assert!(frames.iter().filter(|found| found.header.kind == Kind::Begin && !found.header.rewritten).count() >= 2);
    assert!(frames.iter().any(|found| found.header.rewritten && found.header.kind == Kind::Decisions));
    assert_eq!(frames.last().unwrap().header.kind, Kind::Seal);
    owner.survey(&memory, owner.synced);
}
