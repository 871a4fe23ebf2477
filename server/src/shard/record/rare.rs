//! Records of what happens to files now and then, each by itself: everything but bytes.

use super::{
    ADOPT, CLOSE, CREATE, DECIDE, EPOCH, FORGET, NAME, OPERATION, PREPARE, PUBLISH, Part, REMOVE, RENAME, ROTATE,
    Record, SEAL, SETTLE, SWAP, UPLOAD,
};
use crate::{
    catalog::{FileRow, Stored, decode_producer, encode_producer},
    shard::{
        codec::{Reader, Undecodable, put_number, put_option, put_text},
        ids::{FileId, FileKey},
    },
};
use bytes::Bytes;
use inkpot_proto::path::{FilePath, TenantName};

/// Appends a record, less the id of its file.
pub(super) fn encode(record: &Record, out: &mut Vec<u8>) {
    match record {
        Record::Append { .. } | Record::Chunk { .. } => {}
        Record::Name { key, generation, .. } => {
            out.push(NAME);
            put_number(out, *generation);
            put_key(out, key);
        }
        Record::Create { at, .. } => {
            out.push(CREATE);
            put_number(out, *at);
        }
        Record::Epoch { producer, epoch, .. } => {
            out.push(EPOCH);
            put_text(out, producer);
            put_number(out, *epoch);
        }
        Record::Forget { producer, .. } => {
            out.push(FORGET);
            put_text(out, producer);
        }
        Record::Upload { key, generation, replace, if_generation, .. } => {
            out.push(UPLOAD);
            put_number(out, *generation);
            put_key(out, key);
            put_number(out, u64::from(*replace));
            put_option(out, *if_generation);
        }
        Record::Publish { .. } => out.push(PUBLISH),
        Record::Remove { heir, .. } => {
            out.push(REMOVE);
            put_option(out, heir.map(|(_, generation)| generation));
            if let Some((id, _)) = heir {
                out.extend_from_slice(&id.to_bytes());
            }
        }
        Record::Rename { to, .. } => {
            out.push(RENAME);
            put_key(out, to);
        }
        Record::Rotate { to, next, generation, at, .. } => {
            out.push(ROTATE);
            put_key(out, to);
            out.extend_from_slice(&next.to_bytes());
            put_number(out, *generation);
            put_number(out, *at);
        }
        Record::Swap { next, generation, len, crc32c, compressed, .. } => {
            out.push(SWAP);
            out.extend_from_slice(&next.to_bytes());
            put_number(out, *generation);
            put_number(out, *len);
            out.extend_from_slice(&crc32c.to_le_bytes());
            put_option(out, *compressed);
        }
        Record::Adopt { key, generation, len, crc32c, at, .. } => {
            out.push(ADOPT);
            put_number(out, *generation);
            put_key(out, key);
            put_number(out, *len);
            out.extend_from_slice(&crc32c.to_le_bytes());
            put_number(out, *at);
        }
        Record::Seal { .. } => out.push(SEAL),
        Record::Operation { producer, seq, crc32c, .. } => {
            out.push(OPERATION);
            put_text(out, producer);
            put_number(out, *seq);
            out.extend_from_slice(&crc32c.to_le_bytes());
        }
        Record::Prepare { coordinator, part, .. } => {
            out.push(PREPARE);
            put_number(out, u64::from(*coordinator));
            put_part(out, part);
        }
        Record::Decide { participants, .. } => {
            out.push(DECIDE);
            put_number(out, participants.len() as u64);
            participants.iter().for_each(|shard| put_number(out, u64::from(*shard)));
        }
        Record::Settle { commit, .. } => {
            out.push(SETTLE);
            put_number(out, u64::from(*commit));
        }
        Record::Close { .. } => out.push(CLOSE),
    }
}

/// Reads what [`encode`] wrote.
pub(super) fn decode(kind: u8, id: FileId, from: &mut Reader) -> Result<Record, Undecodable> {
    Ok(match kind {
        NAME => Record::Name { id, generation: from.number()?, key: key(from)? },
        CREATE => Record::Create { id, at: from.number()? },
        EPOCH => Record::Epoch { id, producer: from.text()?.into(), epoch: from.number()? },
        FORGET => Record::Forget { id, producer: from.text()?.into() },
        UPLOAD => Record::Upload {
            id,
            generation: from.number()?,
            key: key(from)?,
            replace: from.number()? != 0,
            if_generation: from.option()?,
        },
        PUBLISH => Record::Publish { id },
        REMOVE => {
            let generation = from.option()?;
            let heir = generation.map(|generation| Ok((FileId::from_bytes(from.array()?), generation)));
            Record::Remove { id, heir: heir.transpose()? }
        }
        RENAME => Record::Rename { id, to: key(from)? },
        ROTATE => Record::Rotate {
            id,
            to: key(from)?,
            next: FileId::from_bytes(from.array()?),
            generation: from.number()?,
            at: from.number()?,
        },
        SWAP => Record::Swap {
            id,
            next: FileId::from_bytes(from.array()?),
            generation: from.number()?,
            len: from.number()?,
            crc32c: u32::from_le_bytes(from.array()?),
            compressed: from.option()?,
        },
        ADOPT => Record::Adopt {
            id,
            generation: from.number()?,
            key: key(from)?,
            len: from.number()?,
            crc32c: u32::from_le_bytes(from.array()?),
            at: from.number()?,
        },
        SEAL => Record::Seal { id },
        OPERATION => Record::Operation {
            id,
            producer: from.text()?.into(),
            seq: from.number()?,
            crc32c: u32::from_le_bytes(from.array()?),
        },
        PREPARE => Record::Prepare { id, coordinator: shard(from)?, part: part(from)? },
        DECIDE => {
            let count = from.number()?;
            let participants = (0..count).map(|_| shard(from)).collect::<Result<_, _>>()?;
            Record::Decide { id, participants }
        }
        SETTLE => Record::Settle { id, commit: from.number()? != 0 },
        CLOSE => Record::Close { id },
        _ => return Err(from.undecodable()),
    })
}

const PART_PUBLISH: u8 = 1;
const PART_LEAVE: u8 = 2;
const PART_ARRIVE: u8 = 3;

fn put_part(out: &mut Vec<u8>, part: &Part) {
    match part {
        Part::Publish { upload } => {
            out.push(PART_PUBLISH);
            out.extend_from_slice(&upload.to_bytes());
        }
        Part::Leave { file } => {
            out.push(PART_LEAVE);
            out.extend_from_slice(&file.to_bytes());
        }
        Part::Arrive { file, from } => {
            out.push(PART_ARRIVE);
            out.extend_from_slice(&file.id.to_bytes());
            put_key(out, from);
            put_bytes(out, &file.row.encode());
            put_number(out, file.producers.len() as u64);
            for (name, producer) in &file.producers {
                put_text(out, name);
                put_bytes(out, &encode_producer(producer));
            }
        }
    }
}

fn part(reader: &mut Reader) -> Result<Part, Undecodable> {
    let kind = reader.byte()?;
    let id = FileId::from_bytes(reader.array()?);
    match kind {
        PART_PUBLISH => Ok(Part::Publish { upload: id }),
        PART_LEAVE => Ok(Part::Leave { file: id }),
        PART_ARRIVE => {
            let from = key(reader)?;
            let row = FileRow::decode(&bytes(reader)?)?;
            let count = reader.number()?;
            let producers = (0..count).map(|_| Ok((reader.text()?.into(), decode_producer(&bytes(reader)?)?)));
            let producers = producers.collect::<Result<_, Undecodable>>()?;
            Ok(Part::Arrive { file: Box::new(Stored { id, row, producers }), from })
        }
        _ => Err(reader.undecodable()),
    }
}

fn shard(reader: &mut Reader) -> Result<u32, Undecodable> {
    u32::try_from(reader.number()?).map_err(|_| reader.undecodable())
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn bytes(reader: &mut Reader) -> Result<Bytes, Undecodable> {
    let len = reader.number()?;
    reader.bytes(len)
}

fn put_key(out: &mut Vec<u8>, key: &FileKey) {
    put_text(out, key.tenant.as_str());
    put_text(out, key.path.as_str());
}

fn key(reader: &mut Reader) -> Result<FileKey, Undecodable> {
    let tenant = TenantName::parse(&reader.text()?).map_err(|_| reader.undecodable())?;
    let path = FilePath::parse(&reader.text()?).map_err(|_| reader.undecodable())?;
    Ok(FileKey { tenant, path })
}
