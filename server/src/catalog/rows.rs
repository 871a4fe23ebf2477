//! Rows of the catalog as bytes.

use crate::{
    apply::view::{Parked, Seen},
    shard::{
        codec::{Reader, Undecodable, put_number, put_option, put_text},
        ids::{FileId, FileKey, ProducerId},
        state::{Content, Producer, Remembered, Upload, Usage},
    },
};
use bytes::Bytes;
use inkpot_proto::path::{FilePath, TenantName};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A file as of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRow {
    /// Its tenant and path.
    pub key: FileKey,
    /// Its generation.
    pub generation: u64,
    /// Whether the plain file was made.
    pub created: bool,
    /// Committed bytes; all of them are in the plain file, less what is parked.
    pub end: u64,
    /// The frame that this row reflects.
    pub sequence: u64,
    /// What was put aside.
    pub parked: Option<Parked>,
    /// What another program did to the plain file.
    pub foreign: Option<String>,
    /// How our last write left the plain file.
    pub seen: Option<Seen>,
    /// How many producers it has.
    pub producers: u32,
    /// The rest of what is known of its content.
    pub content: Content,
    /// Set while it is not published.
    pub upload: Option<Upload>,
    /// It lies in staging although it is published: something else stands at its path.
    pub staged: bool,
}

/// A file with its producers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The id.
    pub id: FileId,
    /// The file.
    pub row: FileRow,
    /// Its producers.
    pub producers: Vec<(ProducerId, Producer)>,
}

impl FileRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.key.path.as_str().len());
        put_text(&mut out, self.key.tenant.as_str());
        put_text(&mut out, self.key.path.as_str());
        put_number(&mut out, self.generation);
        put_number(&mut out, u64::from(self.created));
        put_number(&mut out, self.end);
        put_number(&mut out, self.sequence);
        put_option(&mut out, self.parked.map(|parked| parked.from));
        put_option(&mut out, self.parked.map(|parked| parked.end));
        put_option(&mut out, self.foreign.as_ref().map(|_| 1));
        put_text(&mut out, self.foreign.as_deref().unwrap_or_default());
        put_option(&mut out, self.seen.map(|seen| seen.inode));
        put_option(&mut out, self.seen.map(|seen| nanos(seen.modified)));
        put_number(&mut out, u64::from(self.producers));
        put_content(&mut out, &self.content);
        put_upload(&mut out, self.upload.as_ref());
        put_number(&mut out, u64::from(self.staged));
        out
    }

    pub(crate) fn decode(row: &[u8]) -> Result<Self, Undecodable> {
        let mut reader = Reader::new(Bytes::copy_from_slice(row));
        let tenant = TenantName::parse(&reader.text()?).map_err(|_| Undecodable(0))?;
        let path = FilePath::parse(&reader.text()?).map_err(|_| Undecodable(0))?;
        let generation = reader.number()?;
        let created = reader.number()? != 0;
        let end = reader.number()?;
        let sequence = reader.number()?;
        let parked = reader.option()?.zip(reader.option()?).map(|(from, end)| Parked { from, end });
        let is_foreign = reader.option()?.is_some();
        let foreign = Some(reader.text()?).filter(|_| is_foreign);
        let seen = reader.option()?.zip(reader.option()?);
        let seen = seen.map(|(inode, at)| Seen { inode, modified: UNIX_EPOCH + Duration::from_nanos(at) });
        let producers = u32::try_from(reader.number()?).unwrap_or(u32::MAX);
        let key = FileKey { tenant, path };
        let content = content(&mut reader)?;
        let upload = upload(&mut reader)?;
        let staged = reader.number()? != 0;
        Ok(Self { key, generation, created, end, sequence, parked, foreign, seen, producers, content, upload, staged })
    }
}

fn put_content(out: &mut Vec<u8>, content: &Content) {
    put_option(out, content.crc32c.map(u64::from));
    put_number(out, u64::from(content.sealed));
    put_option(out, content.compressed);
    put_option(out, content.origin.as_ref().map(|(_, epoch)| *epoch));
    put_text(out, content.origin.as_ref().map_or("", |(producer, _)| producer));
    put_number(out, content.began);
    put_option(out, content.rotated.map(|(at, _)| at));
    put_option(out, content.rotated.map(|(_, next)| next));
}

fn content(reader: &mut Reader) -> Result<Content, Undecodable> {
    let crc32c = reader.option()?.map(u32::try_from).transpose().map_err(|_| reader.undecodable())?;
    let sealed = reader.number()? != 0;
    let compressed = reader.option()?;
    let epoch = reader.option()?;
    let producer = reader.text()?;
    let origin = epoch.map(|epoch| (producer.into(), epoch));
    let began = reader.number()?;
    let rotated = reader.option()?.zip(reader.option()?);
    Ok(Content { crc32c, sealed, compressed, origin, began, rotated })
}

fn put_upload(out: &mut Vec<u8>, upload: Option<&Upload>) {
    put_option(out, upload.map(|upload| upload.active_at));
    let Some(upload) = upload else { return };
    put_number(out, u64::from(upload.replace));
    put_option(out, upload.if_generation);
    put_number(out, u64::from(upload.producer.is_some()));
    put_text(out, upload.producer.as_deref().unwrap_or_default());
}

fn upload(reader: &mut Reader) -> Result<Option<Upload>, Undecodable> {
    let Some(active_at) = reader.option()? else { return Ok(None) };
    let replace = reader.number()? != 0;
    let if_generation = reader.option()?;
    let has_producer = reader.number()? != 0;
    let producer = Some(reader.text()?.into()).filter(|_| has_producer);
    Ok(Some(Upload { replace, if_generation, producer, active_at }))
}

/// What a tenant has, as a row.
pub(super) fn encode_usage(usage: Usage) -> Vec<u8> {
    let mut out = Vec::with_capacity(16);
    put_number(&mut out, usage.bytes);
    put_number(&mut out, usage.files);
    out
}

/// Reads what [`encode_usage`] wrote.
pub(super) fn decode_usage(row: &[u8]) -> Result<Usage, Undecodable> {
    let mut reader = Reader::new(Bytes::copy_from_slice(row));
    Ok(Usage { bytes: reader.number()?, files: reader.number()? })
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// A producer as a row.
pub(crate) fn encode_producer(producer: &Producer) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + producer.remembered.len() * 12);
    put_number(&mut out, producer.epoch);
    put_number(&mut out, producer.last_seq);
    put_number(&mut out, producer.active_at);
    put_number(&mut out, producer.previous.0);
    put_number(&mut out, producer.previous.1);
    for remembered in &producer.remembered {
        put_number(&mut out, remembered.generation);
        put_number(&mut out, remembered.offset);
        put_number(&mut out, u64::from(remembered.len));
        out.extend_from_slice(&remembered.crc32c.to_le_bytes());
    }
    out
}

/// Reads what [`encode_producer`] wrote.
pub(crate) fn decode_producer(row: &[u8]) -> Result<Producer, Undecodable> {
    let mut reader = Reader::new(Bytes::copy_from_slice(row));
    let mut producer = Producer {
        epoch: reader.number()?,
        last_seq: reader.number()?,
        active_at: reader.number()?,
        previous: (reader.number()?, reader.number()?),
        ..Producer::default()
    };
    while !reader.is_at_end() {
        let generation = reader.number()?;
        let offset = reader.number()?;
        let len = u32::try_from(reader.number()?).map_err(|_| Undecodable(0))?;
        let crc32c = u32::from_le_bytes(reader.array()?);
        producer.remembered.push_back(Remembered { generation, offset, len, crc32c });
    }
    Ok(producer)
}
