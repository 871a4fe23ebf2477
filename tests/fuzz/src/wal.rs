//! The log: frames as bytes, and a log whose segments were damaged.

use crate::{
    edits::{Input, edit},
    memory::within,
};
use inkpot_wal::{
    frame::{self, ALIGN, HEADER_BYTES, Header, Kind, Place},
    fs::{Access, Attributes, FileSystem, memory::MemoryFs, read_all},
    recovery::{Mark, Survey},
    segment::wal_dir,
};
use std::sync::Arc;

const SHARD: u32 = 2;
/// Bytes of a segment: room for a handful of frames.
const SEGMENT: u64 = 1024;
/// Frames of the log before it is damaged.
const FRAMES: u8 = 12;
/// What reading a log of some KiB may take.
const SURVEY_BYTES: usize = 1 << 20;

/// Bytes as a frame: once as they are, and once with checksums that fit, so that nothing else is hidden behind them. What
/// is decoded encodes to the same.
pub fn frame(bytes: &[u8]) {
    let mut input = Input(bytes);
    let place = Place {
        shard: u32::from_le_bytes(input.array()),
        epoch: u64::from_le_bytes(input.array()),
        nonce: u64::from_le_bytes(input.array()),
        offset: u64::from(u16::from_le_bytes(input.array())),
    };
    let mut bytes = input.0.to_vec();
    check_frame(&bytes, place);
    sign(&mut bytes, place);
    check_frame(&bytes, place);
}

fn check_frame(bytes: &[u8], place: Place) {
    let Some((header, length)) = within(0, || frame::decode(bytes, place)) else { return };
    let payload = &bytes[HEADER_BYTES..HEADER_BYTES + length];
    assert!(frame::size(length) <= bytes.len(), "a frame ends behind the bytes that it was read from");
    let again = frame::encode(header, &[payload], place);
    let mut whole = again.to_vec();
    whole.extend_from_slice(payload);
    whole.resize(frame::size(length), 0);
    assert_eq!(frame::decode(&whole, place), Some((header, length)));
    let elsewhere = Place { offset: place.offset + ALIGN as u64, ..place };
    assert_eq!(frame::decode(&whole, elsewhere), None, "a frame passes in another place");
}

/// Gives bytes the magic, version and checksums that a frame of theirs would have.
fn sign(bytes: &mut [u8], place: Place) {
    let header = Header { kind: Kind::Seal, rewritten: false, sequence: 0, durable_through: 0 };
    let valid = frame::encode(header, &[], place);
    if bytes.len() < HEADER_BYTES {
        return;
    }
    bytes[..5].copy_from_slice(&valid[..5]);
    let length = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize;
    let payload = bytes.get(HEADER_BYTES..HEADER_BYTES.saturating_add(length)).unwrap_or_default();
    let crc = crc32c::crc32c(payload).to_le_bytes();
    bytes[12..16].copy_from_slice(&crc);
    bytes[32..36].fill(0);
    let parts: [&[u8]; 5] = [
        &bytes[..HEADER_BYTES],
        &place.shard.to_le_bytes(),
        &place.epoch.to_le_bytes(),
        &place.nonce.to_le_bytes(),
        &place.offset.to_le_bytes(),
    ];
    let signature = parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part));
    bytes[32..36].copy_from_slice(&signature.to_le_bytes());
}

/// A log of two epochs and several segments, damaged as the input says. Recovery says DAMAGED, or finds frames that were
/// written, from the first on and without a gap; and finds the same again after it began the next epoch.
pub fn recovery(bytes: &[u8]) {
    let machine = log();
    let written = replay(&machine, SURVEY_BYTES).expect("the log is whole");
    let mut input = Input(bytes);
    let mut files = segments(&machine);
    while !input.is_empty() && !files.is_empty() {
        let number = usize::from(input.byte()) % files.len();
        let mut piece = Input(input.bytes(16));
        let mut content = read_all(&machine, &files[number]).expect("a segment can be read");
        edit(&mut content, &mut piece);
        let file = machine.open(&files[number], Access::ReadWrite).expect("a segment can be written");
        file.set_len(content.len() as u64).and_then(|()| file.write_at(&[&content], 0)).expect("there is room");
        if content.is_empty() {
            machine.remove_file(&files.remove(number)).expect("a segment can be removed");
        }
    }
    let Some(found) = replay(&machine, SURVEY_BYTES + 64 * bytes.len()) else { return };
    assert!(written.starts_with(&found), "{found:?} were found where {written:?} were written");
    let fs: Arc<dyn FileSystem> = Arc::new(machine.clone());
    let survey = Survey::read(&machine, SHARD, Mark::default(), None).expect("it was read before");
    if survey.begin(&fs, SEGMENT).is_ok() {
        assert_eq!(replay(&machine, SURVEY_BYTES), Some(found), "the next epoch changed what there was");
    }
}

fn log() -> MemoryFs {
    let machine = MemoryFs::new();
    for dir in ["shards", "shards/0002", &wal_dir(SHARD)] {
        machine.create_dir(dir, Attributes::PRIVATE_DIR).expect("an empty folder");
    }
    let fs: Arc<dyn FileSystem> = Arc::new(machine.clone());
    for epoch in 0..2_u8 {
        let survey = Survey::read(&machine, SHARD, Mark::default(), None).expect("the log is whole");
        let mut writer = survey.begin(&fs, SEGMENT).expect("there is room");
        for number in 0..FRAMES / 2 {
            let payload = vec![epoch * 16 + number; 60 + 40 * usize::from(number)];
            writer.append(&[&payload]).and_then(|_| writer.sync()).expect("there is room");
        }
    }
    machine
}

/// What recovery finds; `None` if it refuses.
fn replay(machine: &MemoryFs, most: usize) -> Option<Vec<(u64, Vec<u8>)>> {
    within(most, || {
        let survey = Survey::read(machine, SHARD, Mark::default(), None).ok()?;
        let mut found = Vec::new();
        let visit = |frame: frame::Frame| {
            found.push((frame.header.sequence, frame.payload.to_vec()));
            Ok(())
        };
        survey.replay::<inkpot_wal::WalError>(machine, visit).ok().map(|()| found)
    })
}

fn segments(machine: &MemoryFs) -> Vec<String> {
    let wal = wal_dir(SHARD);
    let below = |dir: &str| machine.read_dir(dir).expect("a directory of the log");
    let mut files = Vec::new();
    for epoch in below(&wal).iter().filter(|entry| entry.is_dir) {
        let dir = format!("{wal}/{}", epoch.name);
        files.extend(below(&dir).iter().map(|entry| format!("{dir}/{}", entry.name)));
    }
    files.sort();
    files
}
