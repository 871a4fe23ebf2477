//! A file that is read as it is, and whose changes stay in memory: for looking at a catalog without touching it. Opening
//! a database that was not closed repairs it.

use inkpot_wal::fs::{FILE_ID_BYTES, File, Metadata};
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Bytes of a page that is kept once something in it was changed.
const PAGE_BYTES: u64 = 4096;

/// See the module.
#[derive(Debug)]
pub struct Scratch {
    inner: Arc<dyn File>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    len: u64,
    /// Bytes that were behind the end at some time do not come back.
    inner_len: u64,
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Scratch {
    /// Over a file that was opened to read.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn new(inner: Arc<dyn File>) -> io::Result<Self> {
        let len = inner.metadata()?.len;
        Ok(Self { inner, state: Mutex::new(State { len, inner_len: len, pages: BTreeMap::new() }) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A page as it is now; zeros behind the end.
    fn page(&self, state: &State, page: u64) -> io::Result<Vec<u8>> {
        if let Some(bytes) = state.pages.get(&page) {
            return Ok(bytes.clone());
        }
        let mut bytes = vec![0; PAGE_BYTES as usize];
        let from = page * PAGE_BYTES;
        let known = usize::try_from(state.inner_len.saturating_sub(from).min(PAGE_BYTES)).map_err(io::Error::other)?;
        self.inner.read_at(&mut bytes[..known], from)?;
        Ok(bytes)
    }
}

/// The parts of pages that `len` bytes from `offset` on lie in: page, where in it, how many.
fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset + len as u64;
    let mut at = offset;
    std::iter::from_fn(move || {
        let (page, skip) = (at / PAGE_BYTES, at % PAGE_BYTES);
        let count = (PAGE_BYTES - skip).min(end - at);
        at += count;
        // Never more than a page.
        (count > 0).then_some((page, skip as usize, count as usize))
    })
}

impl File for Scratch {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.lock();
        let available = usize::try_from(state.len.saturating_sub(offset)).unwrap_or(usize::MAX).min(buf.len());
        let mut done = 0;
        for (page, skip, count) in parts(offset, available) {
            let bytes = self.page(&state, page)?;
            buf[done..done + count].copy_from_slice(&bytes[skip..skip + count]);
            done += count;
        }
        Ok(done)
    }

    fn write_at(&self, data: &[&[u8]], offset: u64) -> io::Result<()> {
        let (data, mut state) = (data.concat(), self.lock());
        let mut done = 0;
        for (page, skip, count) in parts(offset, data.len()) {
            let mut bytes = self.page(&state, page)?;
            bytes[skip..skip + count].copy_from_slice(&data[done..done + count]);
            state.pages.insert(page, bytes);
            done += count;
        }
        state.len = state.len.max(offset + data.len() as u64);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.lock();
        if len < state.len {
            let last = len / PAGE_BYTES;
            let mut bytes = self.page(&state, last)?;
            bytes[(len % PAGE_BYTES) as usize..].fill(0);
            state.pages.retain(|page, _| *page < last);
            state.pages.insert(last, bytes);
            state.inner_len = state.inner_len.min(len);
        }
        state.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }

    fn metadata(&self) -> io::Result<Metadata> {
        let metadata = self.inner.metadata()?;
        Ok(Metadata { len: self.lock().len, ..metadata })
    }

    fn set_file_id(&self, _: &[u8; FILE_ID_BYTES]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn file_id(&self) -> io::Result<Option<[u8; FILE_ID_BYTES]>> {
        self.inner.file_id()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use inkpot_wal::fs::{Access, Attributes, FileSystem, memory::MemoryFs, read_all};

    #[test]
    fn it_behaves_like_a_file_and_leaves_the_one_below_alone() {
        let (below, beside) = (MemoryFs::new(), MemoryFs::new());
        let content: Vec<u8> = (0..20_000_u32).map(|n| (n % 251) as u8).collect();
        for fs in [&below, &beside] {
            fs.create("f", Attributes::PRIVATE).unwrap().write_at(&[&content], 0).unwrap();
        }
        let scratch = Scratch::new(below.open("f", Access::Read).unwrap()).unwrap();
        let model = beside.open("f", Access::ReadWrite).unwrap();
        let both: [&dyn File; 2] = [&scratch, model.as_ref()];
        let same = || {
            let read = both.map(|file| {
                let mut bytes = vec![7; 40_000];
                let read = file.read_at(&mut bytes, 3).unwrap();
                (read, bytes, file.metadata().unwrap().len)
            });
            assert!(read[0] == read[1], "{:?} and {:?}", (read[0].0, read[0].2), (read[1].0, read[1].2));
        };
        same();
        for (offset, len) in [(0, 1), (4095, 2), (8192, 4096), (19_990, 5000), (30_000, 10)] {
            both.iter().for_each(|file| file.write_at(&[&vec![9; len], b"x"], offset).unwrap());
            same();
        }
        for len in [30_000, 10_000, 4096, 25_000, 5, 6000, 0, 12_000] {
            both.iter().for_each(|file| file.set_len(len).unwrap());
            same();
        }
        assert!(read_all(&below, "f").unwrap() == content);
    }
}
