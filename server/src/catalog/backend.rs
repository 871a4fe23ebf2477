//! A redb storage backend on a [`File`] of ours.

use inkpot_wal::fs::File;
use redb::StorageBackend;
use std::{io, sync::Arc};

/// Where the database reads and writes.
#[derive(Debug)]
pub struct Backend(Arc<dyn File>);

impl Backend {
    /// On an open file.
    pub fn new(file: Arc<dyn File>) -> Self {
        Self(file)
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let read = self.0.read_at(out, offset)?;
        if read == out.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(&[data], offset)
    }
}
