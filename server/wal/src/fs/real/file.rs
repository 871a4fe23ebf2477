//! An open file of the operating system.

use std::{
    io::{self, IoSlice},
    os::fd::OwnedFd,
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{self, FileType, Stat, XattrFlags},
    io::{Errno, pread, pwritev, retry_on_intr},
};

use crate::fs::{FILE_ID_BYTES, File, Kind, Metadata, VolumeSync};

/// Name of the extended attribute that holds the identity of a file.
const FILE_ID: &str = "user.inkpot.id";

/// A regular file.
#[derive(Debug)]
pub(super) struct RealFile {
    fd: OwnedFd,
}

impl RealFile {
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self { fd }
    }
}

impl File for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match retry_on_intr(|| pread(&self.fd, &mut buf[done..], offset.saturating_add(done as u64)))? {
                0 => break,
                read => done += read,
            }
        }
        Ok(done)
    }

    fn will_need(&self, offset: u64, len: u64) {
        // Without the hint everything works, only later.
        let _ = fs::fadvise(&self.fd, offset, std::num::NonZero::new(len), fs::Advice::WillNeed);
    }

    fn drop_cached(&self, offset: u64, len: u64) {
        // Without the hint a read may be answered from memory.
        let _ = fs::fadvise(&self.fd, offset, std::num::NonZero::new(len), fs::Advice::DontNeed);
    }

    fn write_at(&self, parts: &[&[u8]], mut offset: u64) -> io::Result<()> {
        let mut slices: Vec<_> = parts.iter().filter(|part| !part.is_empty()).map(|part| IoSlice::new(part)).collect();
        let mut rest = slices.as_mut_slice();
        while !rest.is_empty() {
            // Takes the first 1024 parts (`IOV_MAX`) if there are more.
            match retry_on_intr(|| pwritev(&self.fd, rest, offset))? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut rest, written);
                }
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Ok(retry_on_intr(|| fs::ftruncate(&self.fd, len))?)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(fs::fdatasync(&self.fd)?)
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(fs::fsync(&self.fd)?)
    }

    fn metadata(&self) -> io::Result<Metadata> {
        metadata_of(&self.fd)
    }

    fn set_file_id(&self, id: &[u8; FILE_ID_BYTES]) -> io::Result<()> {
        Ok(fs::fsetxattr(&self.fd, FILE_ID, id, XattrFlags::empty())?)
    }

    fn file_id(&self) -> io::Result<Option<[u8; FILE_ID_BYTES]>> {
        let mut id = [0; FILE_ID_BYTES];
        match fs::fgetxattr(&self.fd, FILE_ID, &mut id) {
            Ok(FILE_ID_BYTES) => Ok(Some(id)),
            // Shorter, longer, or none: not stamped by us.
            Ok(_) | Err(Errno::RANGE | Errno::NODATA) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// A descriptor of the data folder that is used for nothing else.
#[derive(Debug)]
pub(super) struct VolumeHandle {
    fd: OwnedFd,
}

impl VolumeHandle {
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self { fd }
    }
}

impl VolumeSync for VolumeHandle {
    fn sync(&self) -> io::Result<()> {
        Ok(fs::syncfs(&self.fd)?)
    }
}

pub(super) fn kind_of(stat: &Stat) -> Kind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        _ => Kind::Other,
    }
}

#[allow(clippy::useless_conversion, reason = "the widths differ from one architecture to the other")]
pub(super) fn metadata_of(fd: &OwnedFd) -> io::Result<Metadata> {
    let stat = fs::fstat(fd)?;
    Ok(Metadata {
        kind: kind_of(&stat),
        len: u64::try_from(stat.st_size).map_err(io::Error::other)?,
        inode: stat.st_ino,
        links: stat.st_nlink.into(),
        modified: time(stat.st_mtime, stat.st_mtime_nsec.into()),
    })
}

/// A time of an inode; one that cannot be told (out of the range of the clock) is the epoch.
fn time(seconds: i64, nanoseconds: u64) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let at =
        if seconds < 0 { SystemTime::UNIX_EPOCH.checked_sub(whole) } else { SystemTime::UNIX_EPOCH.checked_add(whole) };
    at.and_then(|at| at.checked_add(Duration::from_nanos(nanoseconds))).unwrap_or(SystemTime::UNIX_EPOCH)
}
