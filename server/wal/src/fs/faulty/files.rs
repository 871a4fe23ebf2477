//! Handles whose calls meet the rules.

use std::{io, sync::Arc};

use super::rules::{Op, Remains, Rules};
use crate::fs::{FILE_ID_BYTES, File, Metadata, VolumeSync};

#[derive(Debug)]
pub(super) struct FaultyFile {
    inner: Arc<dyn File>,
    path: String,
    rules: Arc<Rules>,
}

impl FaultyFile {
    pub(super) fn new(inner: Arc<dyn File>, path: &str, rules: Arc<Rules>) -> Self {
        Self { inner, path: path.to_owned(), rules }
    }

    fn meet(&self, op: Op) -> io::Result<()> {
        self.rules.meet(op, &[&self.path])
    }

    fn meet_sync(&self, op: Op) -> io::Result<()> {
        let Err(failure) = self.rules.judge(op, &[&self.path]) else { return Ok(()) };
        if let (Remains::Lost, Some(memory)) = (failure.remains, &self.rules.memory) {
            memory.drop_unsynced_inode(self.inner.metadata()?.inode);
        }
        Err(failure.error)
    }
}

impl File for FaultyFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.meet(Op::Read)?;
        self.inner.read_at(buf, offset)
    }

    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        let Err(failure) = self.rules.judge(Op::Write, &[&self.path]) else {
            return self.inner.write_at(parts, offset);
        };
        if let Remains::Written(written) = failure.remains {
            let bytes = parts.concat();
            self.inner.write_at(&[&bytes[..written.min(bytes.len())]], offset)?;
        }
        Err(failure.error)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.meet(Op::SetLen)?;
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.meet_sync(Op::SyncData)?;
        self.inner.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.meet_sync(Op::SyncAll)?;
        self.inner.sync_all()
    }

    fn metadata(&self) -> io::Result<Metadata> {
        self.meet(Op::Metadata)?;
        self.inner.metadata()
    }

    fn set_file_id(&self, id: &[u8; FILE_ID_BYTES]) -> io::Result<()> {
        self.meet(Op::SetFileId)?;
        self.inner.set_file_id(id)
    }

    fn file_id(&self) -> io::Result<Option<[u8; FILE_ID_BYTES]>> {
        self.meet(Op::FileId)?;
        self.inner.file_id()
    }
}

#[derive(Debug)]
pub(super) struct FaultyVolume {
    inner: Box<dyn VolumeSync>,
    rules: Arc<Rules>,
}

impl FaultyVolume {
    pub(super) fn new(inner: Box<dyn VolumeSync>, rules: Arc<Rules>) -> Self {
        Self { inner, rules }
    }
}

impl VolumeSync for FaultyVolume {
    fn sync(&self) -> io::Result<()> {
        let Err(failure) = self.rules.judge(Op::SyncVolume, &[""]) else { return self.inner.sync() };
        if let (Remains::Lost, Some(memory)) = (failure.remains, &self.rules.memory) {
            memory.drop_all_unsynced();
        }
        Err(failure.error)
    }
}
