//! Records of what happens to files now and then, each by itself: everything but bytes.

use super::{
    ADOPT, CREATE, EPOCH, FORGET, NAME, OPERATION, PUBLISH, REMOVE, RENAME, ROTATE, Record, SEAL, SWAP, UPLOAD,
};
use crate::shard::{
    codec::{Reader, Undecodable, put_number, put_option, put_text},
    ids::{FileId, FileKey},
};
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
        _ => return Err(from.undecodable()),
    })
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
