//! What a frame of the log carries: decisions, in order, and the bytes they are about. Replay decides nothing again.
//!
//! A payload is the length of its first part (`u32`), that part, which has the records, and the data: the bytes of the
//! appends one after the other, so that appends that follow each other in a file lie together in the frame too. File and
//! producer are named once and hold until another is named.

use super::{
    codec::{Reader, Undecodable, put_number, put_text},
    ids::{FileId, FileKey, ProducerId},
};
use bytes::{BufMut, Bytes, BytesMut};
use inkpot_proto::path::{FilePath, TenantName};

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
        /// crc32c of the bytes.
        crc32c: u32,
        /// The bytes.
        data: Bytes,
    },
}

impl Record {
    /// The file that it is about.
    #[must_use]
    pub fn id(&self) -> FileId {
        match self {
            Self::Name { id, .. }
            | Self::Create { id }
            | Self::Epoch { id, .. }
            | Self::Forget { id, .. }
            | Self::Append { id, .. } => *id,
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
        if let Record::Name { key, id, generation } = record {
            self.records.push(NAME);
            self.records.extend_from_slice(&id.to_bytes());
            put_number(&mut self.records, *generation);
            put_text(&mut self.records, key.tenant.as_str());
            put_text(&mut self.records, key.path.as_str());
            self.file = Some(*id);
            return start;
        }
        if self.file != Some(record.id()) {
            self.file = Some(record.id());
            self.records.push(FILE);
            self.records.extend_from_slice(&record.id().to_bytes());
        }
        match record {
            Record::Name { .. } => {}
            Record::Create { .. } => self.records.push(CREATE),
            Record::Epoch { producer, epoch, .. } => {
                self.records.push(EPOCH);
                put_text(&mut self.records, producer);
                put_number(&mut self.records, *epoch);
            }
            Record::Forget { producer, .. } => {
                self.records.push(FORGET);
                put_text(&mut self.records, producer);
            }
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
            NAME => {
                let id = FileId::from_bytes(records.array()?);
                let generation = records.number()?;
                let key = key(&mut records)?;
                file = Some(id);
                visit(Record::Name { key, id, generation })?;
            }
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
        CREATE => Ok(Record::Create { id }),
        EPOCH => Ok(Record::Epoch { id, producer: records.text()?.into(), epoch: records.number()? }),
        FORGET => Ok(Record::Forget { id, producer: records.text()?.into() }),
        APPEND => {
            let offset = records.number()?;
            let seq = records.number()?;
            let len = records.number()?;
            let crc32c = u32::from_le_bytes(records.array()?);
            let producer = producer.map(|producer| (producer.clone(), seq));
            Ok(Record::Append { id, offset, producer, crc32c, data: data.bytes(len)? })
        }
        _ => Err(records.undecodable()),
    }
}

fn key(reader: &mut Reader) -> Result<FileKey, Undecodable> {
    let tenant = TenantName::parse(&reader.text()?).map_err(|_| reader.undecodable())?;
    let path = FilePath::parse(&reader.text()?).map_err(|_| reader.undecodable())?;
    Ok(FileKey { tenant, path })
}

#[cfg(test)]
mod tests;
