//! Bytes of a view for a reader.

use crate::{
    apply::view::{Chunk, FileView},
    rpc::Services,
    shard::ids::FileKey,
};
use bytes::BytesMut;
use inkpot_proto::{error::Refused, v1::ErrorReason};
use inkpot_wal::fs::FileSystem;
use rustix::io::Errno;
use std::{
    io::{self, ErrorKind},
    sync::Arc,
};

/// Up to `most` committed bytes from `offset` on; empty at the end.
///
/// # Errors
/// Those of the file system, and of [`FileView::read`].
pub(super) async fn read(view: &Arc<FileView>, services: &Services, offset: u64, most: usize) -> io::Result<Chunk> {
    if is_in_memory(view, offset) {
        return collect(view, &*services.fs, offset, most);
    }
    let (view, fs) = (Arc::clone(view), Arc::clone(&services.fs));
    services.host.blocking(move || collect(&view, &*fs, offset, most)).await.flatten()
}

/// Whether reading there needs no disk. It may need one by the time of the read; that is rare, and short.
fn is_in_memory(view: &FileView, offset: u64) -> bool {
    let state = view.state();
    offset >= state.committed || offset >= state.applied && state.parked.is_none()
}

/// Up to `most` bytes, of as many pieces as that takes: small appends would make small messages.
fn collect(view: &FileView, fs: &dyn FileSystem, offset: u64, most: usize) -> io::Result<Chunk> {
    let first = view.read(fs, offset, most)?;
    if first.data.is_empty() || first.data.len() == most || offset + first.data.len() as u64 == first.end {
        return Ok(first);
    }
    let mut end = first.end;
    let mut data = BytesMut::with_capacity(most.min(usize::try_from(end - offset).unwrap_or(most)));
    data.extend_from_slice(&first.data);
    while data.len() < most {
        let next = view.read(fs, offset + data.len() as u64, most - data.len())?;
        if next.data.is_empty() {
            break;
        }
        end = next.end;
        data.extend_from_slice(&next.data);
    }
    Ok(Chunk { data: data.freeze(), end })
}

/// Whether an error says that a file is not what or where it was.
pub(super) fn is_displaced(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof
            | ErrorKind::NotFound
            | ErrorKind::IsADirectory
            | ErrorKind::NotADirectory
            | ErrorKind::InvalidInput
    ) || error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
}

/// The refusal of content that is not gone. That its plain file is gone, is something else or has lost bytes is the work
/// of somebody else: nothing of ours does that.
pub(super) fn refuse(key: &FileKey, offset: u64, error: &io::Error) -> Refused {
    if is_displaced(error) {
        let message = format!("{key} was changed by another program, byte {offset} cannot be read: {error}");
        return Refused::new(ErrorReason::ForeignChange, message);
    }
    Refused::new(ErrorReason::Internal, format!("{key} cannot be read at byte {offset}: {error}"))
}
