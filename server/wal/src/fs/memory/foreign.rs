//! The hand of somebody else in the data folder, and the teeth of time. What it does is durable at once, is not counted
//! as an operation, and works whatever [`MemoryFs::fail_from`] says.

use std::{io, sync::Arc};

use rustix::io::Errno;

use super::{
    MemoryFs,
    image::Body,
    journal::{Data, Place},
    state::State,
};

/// All errors are those of the path: `ENOENT`, `ENOTDIR`, `EISDIR`, `EEXIST`, `EINVAL`.
impl MemoryFs {
    /// Writes into an existing file, in place.
    ///
    /// # Errors
    /// Those of the path.
    pub fn foreign_write(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change_content(path, Data::Write { offset, bytes: bytes.to_vec(), interrupted: false })
    }

    /// Removes a file, or anything that is no directory.
    ///
    /// # Errors
    /// Those of the path.
    pub fn foreign_remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.foreign();
        let (place, _) = state.place(path)?;
        state.unmake(path, false)?;
        keep_place(&mut state, place);
        Ok(())
    }

    /// Puts a file without identity under a name, in place of what stood there.
    ///
    /// # Errors
    /// Those of the path.
    pub fn foreign_put(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.foreign();
        if state.place(path)?.1.is_some() {
            state.unmake(path, false)?;
        }
        let inode = make(&mut state, path, Body::File(Arc::new(bytes.to_vec())))?;
        state.space.force(inode, bytes.len() as u64);
        Ok(())
    }

    /// Makes a symbolic link; where it leads does not matter, for nobody follows it.
    ///
    /// # Errors
    /// Those of the path.
    pub fn symlink(&self, path: &str) -> io::Result<()> {
        Ok(make(&mut self.foreign(), path, Body::Symlink).map(|_| ())?)
    }

    /// Makes a FIFO.
    ///
    /// # Errors
    /// Those of the path.
    pub fn fifo(&self, path: &str) -> io::Result<()> {
        Ok(make(&mut self.foreign(), path, Body::Fifo).map(|_| ())?)
    }

    /// Gives a file one more name.
    ///
    /// # Errors
    /// Those of the paths.
    pub fn hard_link(&self, from: &str, to: &str) -> io::Result<()> {
        let state = &mut *self.foreign();
        let inode = state.place(from)?.1.ok_or(Errno::NOENT)?;
        let (place, taken) = state.place(to)?;
        if taken.is_some() {
            return Err(Errno::EXIST.into());
        }
        for image in [&mut state.current, &mut state.durable] {
            image.link(place.dir, &place.name, inode);
        }
        Ok(())
    }

    /// Flips bit `bit` (0 is the lowest) of the byte at offset `byte`, wherever that byte is kept. Leaves the time alone.
    ///
    /// # Errors
    /// Those of the path; `EINVAL` beyond the end of the file.
    pub fn flip_bit(&self, path: &str, byte: u64, bit: u8) -> io::Result<()> {
        let state = &mut *self.foreign();
        let inode = state.file(path)?;
        let at = usize::try_from(byte).map_err(io::Error::other)?;
        let flip = |content: &mut [u8], start: usize| {
            at.checked_sub(start).and_then(|index| content.get_mut(index)).map(|byte| *byte ^= 1 << bit)
        };
        let content = state.current.content_mut(inode).ok_or(Errno::INVAL)?;
        flip(content, 0).ok_or(Errno::INVAL)?;
        if let Some(content) = state.durable.content_mut(inode) {
            flip(content, 0);
        }
        for data in state.journal.data_mut(inode) {
            if let Data::Write { offset, bytes, .. } = data {
                flip(bytes, usize::try_from(*offset).map_err(io::Error::other)?);
            }
        }
        Ok(())
    }

    /// Cuts a file; one that is shorter already stays as it is.
    ///
    /// # Errors
    /// Those of the path.
    pub fn cut(&self, path: &str, len: u64) -> io::Result<()> {
        self.change_content(path, Data::Cut(len))
    }

    /// The fate of data whose writing back failed: what was written to a file and not synced will never be durable, yet
    /// the running machine goes on to see it, and its next sync succeeds.
    ///
    /// # Errors
    /// Those of the path.
    pub fn drop_unsynced(&self, path: &str) -> io::Result<()> {
        let mut state = self.foreign();
        let inode = state.file(path)?;
        state.journal.take_data(inode);
        Ok(())
    }

    /// [`MemoryFs::drop_unsynced`] of an inode, whatever its name is.
    pub fn drop_unsynced_inode(&self, inode: u64) {
        self.foreign().journal.take_data(inode);
    }

    /// [`MemoryFs::drop_unsynced`] of every file.
    pub fn drop_all_unsynced(&self) {
        self.foreign().journal.drop_all_data();
    }

    fn foreign(&self) -> std::sync::MutexGuard<'_, State> {
        let mut state = self.state();
        state.clock += 1;
        state
    }

    fn change_content(&self, path: &str, data: Data) -> io::Result<()> {
        let state = &mut *self.foreign();
        let inode = state.file(path)?;
        for image in [&mut state.current, &mut state.durable] {
            data.apply(image, inode);
        }
        let len = state.current.content(inode).map_or(0, |content| content.len() as u64);
        state.space.force(inode, len);
        state.touch(inode);
        state.keep_time(inode);
        // What waits for a sync may not undo it later.
        if state.journal.has_data(inode) {
            state.journal.push_data(inode, data);
        }
        Ok(())
    }
}

impl State {
    /// The regular file that a path leads to.
    fn file(&self, path: &str) -> Result<u64, Errno> {
        let inode = self.place(path)?.1.ok_or(Errno::NOENT)?;
        if self.current.is_directory(inode) {
            return Err(Errno::ISDIR);
        }
        self.current.content(inode).map(|_| inode).ok_or(Errno::INVAL)
    }
}

fn make(state: &mut State, path: &str, body: Body) -> Result<u64, Errno> {
    let inode = state.make(path, body)?;
    let (place, _) = state.place(path)?;
    keep_place(state, place);
    Ok(inode)
}

/// Makes one name durable. A directory that has no durable name itself takes it along into the void.
fn keep_place(state: &mut State, place: Place) {
    let metas = state.journal.take_place(place);
    state.keep(metas);
}
