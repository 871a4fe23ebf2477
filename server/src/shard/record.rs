//! What a frame of the log carries: decisions, in order, and the bytes they are about. Replay decides nothing again.
//!
//! A payload is the length of its first part (`u32`), that part, which has the records, and the data: the bytes of the
//! appends one after the other, so that appends that follow each other in a file lie together in the frame too. File and
//! producer are named once and hold until another is named.

mod rare;

use super::{
    codec::{Reader, Undecodable, put_number, put_text},
    ids::{FileId, FileKey, ProducerId},
};
use crate::catalog::Stored;
use bytes::{BufMut, Bytes, BytesMut};

/// A decision about one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The id and generation that a path has from now on.
    Name {
        /// The path.
        key: FileKey,
        /// The id.
        id: FileId,
        /// The generation.
        generation: u64,
    },
    /// The plain file was made.
    Create {
        /// The file.
        id: FileId,
        /// When, in milliseconds since 1970; decides nothing but when the file is rotated.
        at: u64,
    },
    /// A producer is known from now on, or has a higher epoch; its seqs begin at 1.
    Epoch {
        /// The file.
        id: FileId,
        /// The producer.
        producer: ProducerId,
        /// Its epoch.
        epoch: u64,
    },
    /// A producer is forgotten.
    Forget {
        /// The file.
        id: FileId,
        /// The producer.
        producer: ProducerId,
    },
    /// Bytes at the end of a file.
    Append {
        /// The file.
        id: FileId,
        /// Where they begin.
        offset: u64,
        /// Who wrote them, and its seq.
        producer: Option<(ProducerId, u64)>,
        /// crc32c of the bytes as they were sent.
        crc32c: u32,
        /// The bytes.
        data: Bytes,
    },
    /// An upload begins: content for a path that the path does not lead to yet.
    Upload {
        /// The path.
        key: FileKey,
        /// The id.
        id: FileId,
        /// The generation that it will be.
        generation: u64,
        /// Whether it may take the place of a file.
        replace: bool,
        /// The generation that it must replace; 0: there must be none.
        if_generation: Option<u64>,
    },
    /// Bytes at the end of an upload, which are in its staged file and synced there.
    Chunk {
        /// The upload.
        id: FileId,
        /// Where they begin.
        offset: u64,
        /// How many.
        len: u64,
        /// crc32c of them.
        stored_crc32c: u32,
        /// Who wrote them, and its seq.
        producer: Option<(ProducerId, u64)>,
        /// crc32c of the bytes as they were sent.
        crc32c: u32,
    },
    /// An upload takes its path, and the place of what was there.
    Publish {
        /// The upload.
        id: FileId,
    },
    /// A file or an upload is gone.
    Remove {
        /// Which.
        id: FileId,
        /// What keeps its producers at the path for a while, and the generation of that.
        heir: Option<(FileId, u64)>,
    },
    /// A file has another path from now on, and takes the place of what was there.
    Rename {
        /// The file.
        id: FileId,
        /// The path.
        to: FileKey,
    },
    /// A file is rotated: it has another path from now on, and its own begins anew.
    Rotate {
        /// The file.
        id: FileId,
        /// Its path from now on.
        to: FileKey,
        /// What its path leads to from now on.
        next: FileId,
        /// The generation of that.
        generation: u64,
        /// When, in milliseconds since 1970; decides nothing but how long it is kept.
        at: u64,
    },
    /// Other content, which is staged and synced, takes the place of a file's.
    Swap {
        /// The file as it was.
        id: FileId,
        /// As it is from now on.
        next: FileId,
        /// The generation of that; the same one if only the form of the content differs.
        generation: u64,
        /// Its size in bytes.
        len: u64,
        /// Its crc32c.
        crc32c: u32,
        /// Bytes that it takes compressed; `None` if it is not.
        compressed: Option<u64>,
    },
    /// A file that lay at a path, and that nobody here had made, is taken as it is.
    Adopt {
        /// The path.
        key: FileKey,
        /// Its id from now on.
        id: FileId,
        /// Its generation from now on.
        generation: u64,
        /// Its size in bytes.
        len: u64,
        /// Its crc32c.
        crc32c: u32,
        /// When, in milliseconds since 1970.
        at: u64,
    },
    /// A file takes no more appends.
    Seal {
        /// The file.
        id: FileId,
    },
    /// A producer did something to a file as a whole, under a seq.
    Operation {
        /// The file.
        id: FileId,
        /// The producer.
        producer: ProducerId,
        /// The seq.
        seq: u64,
        /// What tells one operation from another.
        crc32c: u32,
    },
    /// A part of a set: it is held ready, and happens with the rest of the set or not at all.
    Prepare {
        /// The set.
        id: SetId,
        /// The shard that decides.
        coordinator: u32,
        /// The part.
        part: Part,
    },
    /// A set happens. For the shard that decides; it keeps this until all others know.
    Decide {
        /// The set.
        id: SetId,
        /// The shards that hold parts ready.
        participants: Vec<u32>,
    },
    /// The parts of a set happen, or are let go.
    Settle {
        /// The set.
        id: SetId,
        /// Whether they happen.
        commit: bool,
    },
    /// All shards know that a set happened.
    Close {
        /// The set.
        id: SetId,
    },
}

/// Names a set: an id that the deciding shard allotted, so that its epoch tells whether that shard may still decide.
pub type SetId = FileId;

/// A part of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// An upload takes its path.
    Publish {
        /// The upload.
        upload: FileId,
    },
    /// A file leaves this shard: it has a path of another one from then on. All of its bytes are in its plain file, synced.
    Leave {
        /// The file.
        file: FileId,
    },
    /// A file comes from another shard.
    Arrive {
        /// The file with its new path.
        file: Box<Stored>,
        /// The path that it has had.
        from: FileKey,
    },
}

impl Record {
    /// The file that it is about, or the set.
    #[must_use]
    pub fn id(&self) -> FileId {
        match self {
            Self::Name { id, .. }
            | Self::Create { id, .. }
            | Self::Epoch { id, .. }
            | Self::Forget { id, .. }
            | Self::Append { id, .. }
            | Self::Upload { id, .. }
            | Self::Chunk { id, .. }
            | Self::Publish { id }
            | Self::Remove { id, .. }
            | Self::Rename { id, .. }
            | Self::Rotate { id, .. }
            | Self::Swap { id, .. }
            | Self::Adopt { id, .. }
            | Self::Seal { id }
            | Self::Operation { id, .. }
            | Self::Prepare { id, .. }
            | Self::Decide { id, .. }
            | Self::Settle { id, .. }
            | Self::Close { id } => *id,
        }
    }
}

const NAME: u8 = 1;
const CREATE: u8 = 2;
const EPOCH: u8 = 3;
const FORGET: u8 = 4;
const APPEND: u8 = 5;
const FILE: u8 = 6;
const PRODUCER: u8 = 7;
const NO_PRODUCER: u8 = 8;
const UPLOAD: u8 = 9;
const CHUNK: u8 = 10;
const PUBLISH: u8 = 11;
const REMOVE: u8 = 12;
const RENAME: u8 = 13;
const ROTATE: u8 = 14;
const SWAP: u8 = 15;
const ADOPT: u8 = 16;
const SEAL: u8 = 17;
const OPERATION: u8 = 18;
const PREPARE: u8 = 19;
const DECIDE: u8 = 20;
const SETTLE: u8 = 21;
const CLOSE: u8 = 22;

/// Collects the records of one frame.
#[derive(Debug, Default)]
pub struct Encoder {
    records: Vec<u8>,
    data: Vec<Bytes>,
    data_len: usize,
    file: Option<FileId>,
    producer: Option<ProducerId>,
}

impl Encoder {
    /// Adds a record. Returns, for an append, where its bytes begin in the data.
    pub fn push(&mut self, record: &Record) -> usize {
        let start = self.data_len;
        if self.file != Some(record.id()) {
            self.file = Some(record.id());
            self.records.push(FILE);
            self.records.extend_from_slice(&record.id().to_bytes());
        }
        match record {
            Record::Append { offset, producer, crc32c, data, .. } => {
                self.name_producer(producer.as_ref().map(|(id, _)| id));
                self.records.push(APPEND);
                put_number(&mut self.records, *offset);
                put_number(&mut self.records, producer.as_ref().map_or(0, |(_, seq)| *seq));
                put_number(&mut self.records, data.len() as u64);
                self.records.extend_from_slice(&crc32c.to_le_bytes());
                self.data_len += data.len();
                self.data.push(data.clone());
            }
            Record::Chunk { offset, len, stored_crc32c, producer, crc32c, .. } => {
                self.name_producer(producer.as_ref().map(|(id, _)| id));
                self.records.push(CHUNK);
                put_number(&mut self.records, *offset);
                put_number(&mut self.records, producer.as_ref().map_or(0, |(_, seq)| *seq));
                put_number(&mut self.records, *len);
                self.records.extend_from_slice(&stored_crc32c.to_le_bytes());
                self.records.extend_from_slice(&crc32c.to_le_bytes());
            }
            record => rare::encode(record, &mut self.records),
        }
        start
    }

    fn name_producer(&mut self, producer: Option<&ProducerId>) {
        if self.producer.as_ref() == producer {
            return;
        }
        self.producer = producer.cloned();
        match producer {
            None => self.records.push(NO_PRODUCER),
            Some(id) => {
                self.records.push(PRODUCER);
                put_text(&mut self.records, id);
            }
        }
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes that the payload has so far.
    #[must_use]
    pub fn len(&self) -> usize {
        4 + self.records.len() + self.data_len
    }

    /// The payload, and where its data begins. Leaves an empty encoder.
    pub fn finish(&mut self) -> (Bytes, usize) {
        let encoder = std::mem::take(self);
        let mut payload = BytesMut::with_capacity(encoder.len());
        payload.put_u32_le(u32::try_from(encoder.records.len()).unwrap_or(u32::MAX));
        payload.put_slice(&encoder.records);
        for data in &encoder.data {
            payload.put_slice(data);
        }
        (payload.freeze(), 4 + encoder.records.len())
    }
}

/// Hands the records of a payload to `visit`, in order; their data points into the payload.
///
/// # Errors
/// [`Undecodable`] if these are not records that this version knows.
pub fn decode<E: From<Undecodable>>(payload: &Bytes, mut visit: impl FnMut(Record) -> Result<(), E>) -> Result<(), E> {
    let mut reader = Reader::new(payload.clone());
    let records = u64::from(u32::from_le_bytes(reader.array()?));
    let mut records = reader.split(records)?;
    let mut file = None;
    let mut producer: Option<ProducerId> = None;
    while !records.is_at_end() {
        let kind = records.byte()?;
        match kind {
            FILE => file = Some(FileId::from_bytes(records.array()?)),
            PRODUCER => producer = Some(records.text()?.into()),
            NO_PRODUCER => producer = None,
            _ => {
                let id = file.ok_or(records.undecodable())?;
                visit(decode_one(kind, id, producer.as_ref(), &mut records, &mut reader)?)?;
            }
        }
    }
    if reader.is_at_end() { Ok(()) } else { Err(reader.undecodable().into()) }
}

fn decode_one(
    kind: u8,
    id: FileId,
    producer: Option<&ProducerId>,
    records: &mut Reader,
    data: &mut Reader,
) -> Result<Record, Undecodable> {
    match kind {
        APPEND => {
            let offset = records.number()?;
            let seq = records.number()?;
            let len = records.number()?;
            let crc32c = u32::from_le_bytes(records.array()?);
            let producer = producer.map(|producer| (producer.clone(), seq));
            Ok(Record::Append { id, offset, producer, crc32c, data: data.bytes(len)? })
        }
        CHUNK => {
            let offset = records.number()?;
            let seq = records.number()?;
            let len = records.number()?;
            let stored_crc32c = u32::from_le_bytes(records.array()?);
            let crc32c = u32::from_le_bytes(records.array()?);
            let producer = producer.map(|producer| (producer.clone(), seq));
            Ok(Record::Chunk { id, offset, len, stored_crc32c, producer, crc32c })
        }
        kind => rare::decode(kind, id, records),
    }
}

#[cfg(test)]
mod tests;
