//! A `Read` call: committed bytes in pieces, one piece ahead of the client, and with `follow` what comes later. Holds
//! the file's view while it runs, never an open file.

use super::{Services, convert::file as checks, draining};
use crate::{
    admission::Tenant,
    apply::view::{Chunk, FileView},
    shard::ids::FileKey,
};
use bytes::BytesMut;
use inkpot_proto::{
    error::Refused,
    limits::READ_CHUNK_BYTES,
    path::TenantName,
    v1::{self, ErrorReason},
};
use inkpot_wal::fs::FileSystem;
use rustix::io::Errno;
use std::{
    io::{self, ErrorKind},
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::mpsc,
    task,
    time::{self, Instant},
};
use tonic::Status;

/// How often a file that does not exist is looked for, at first.
const FIRST_LOOK: Duration = Duration::from_millis(20);
/// And at last.
const LAST_LOOK: Duration = Duration::from_secs(1);

type Answer = Result<v1::ReadResponse, Status>;

/// Reads a file for a client.
#[derive(Debug)]
pub(super) struct Reader {
    services: Arc<Services>,
    key: FileKey,
    request: checks::ReadRequest,
    client: mpsc::Sender<Answer>,
    tenant: Arc<Tenant>,
}

/// How far a reader is.
struct Place {
    view: Arc<FileView>,
    /// Next byte to read.
    offset: u64,
    /// Bytes that may still be sent.
    left: u64,
    /// Where to stop, unless the reader stays.
    stop: u64,
}

impl Reader {
    /// A reader, and where its pieces come out.
    pub(super) fn new(
        services: Arc<Services>,
        tenant: TenantName,
        request: checks::ReadRequest,
    ) -> (Self, mpsc::Receiver<Answer>) {
        let (client, chunks) = mpsc::channel(1);
        let owner = services.admission.tenant(&tenant);
        let key = FileKey { tenant, path: request.path.clone() };
        (Self { services, key, request, client, tenant: owner }, chunks)
    }

    /// Reads until everything is sent, the client is gone, or the time of the call is over.
    pub(super) async fn run(self, deadline: Option<Instant>) {
        let passed = async {
            match deadline {
                Some(at) => time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let end = tokio::select! {
            end = self.send_file() => end,
            () = self.client.closed() => Ok(()),
            () = passed => Err(Refused::new(ErrorReason::Deadline, "the deadline of the call has passed")),
        };
        if let Err(refused) = end {
            // A client that is gone needs no reason.
            let _ = self.client.send(Err(refused.to_status())).await;
        }
    }

    async fn send_file(&self) -> Result<(), Refused> {
        let mut place = self.begin().await?;
        let mut is_first = true;
        loop {
            let view = Arc::clone(&place.view);
            let mut changed = pin!(view.changed.notified());
            changed.as_mut().enable();
            let chunk = self.chunk(&place).await?;
            let len = chunk.data.len() as u64;
            if len > 0 || is_first {
                self.send(&place, chunk).await;
                is_first = false;
            }
            place.offset += len;
            place.left -= len;
            if place.left == 0 || place.offset == place.stop {
                return Ok(());
            }
            if len == 0 && !self.request.follow {
                let message = format!("{} has no byte {}, although it is committed", self.key, place.offset);
                return Err(Refused::new(ErrorReason::Internal, message));
            }
            if len == 0 {
                tokio::select! {
                    () = changed => {}
                    () = self.services.drain.cancelled() => return Err(draining()),
                }
                self.change_generation(&mut place)?;
            }
        }
    }

    async fn begin(&self) -> Result<Place, Refused> {
        let view = self.find().await?;
        self.check_generation(&view)?;
        let end = view.state().committed;
        let offset = checks::first_byte(self.request.offset, end)
            .map_err(|refused| Refused { message: format!("{}: {}", self.key, refused.message), ..refused })?;
        let stop = if self.request.follow { u64::MAX } else { end };
        Ok(Place { view, offset, left: self.request.limit, stop })
    }

    /// The file; waits for one that does not exist if the reader stays.
    async fn find(&self) -> Result<Arc<FileView>, Refused> {
        let mut pause = FIRST_LOOK;
        loop {
            if let Some(view) = self.services.shard(&self.key).lookup(&self.key).await? {
                return Ok(view);
            }
            if !self.request.follow {
                return Err(not_found(&self.key));
            }
            tokio::select! {
                () = time::sleep(pause) => pause = LAST_LOOK.min(pause * 2),
                () = self.services.drain.cancelled() => return Err(draining()),
            }
        }
    }

    fn check_generation(&self, view: &FileView) -> Result<(), Refused> {
        match self.request.if_generation {
            Some(asked) if asked != view.generation => {
                let message = format!("{} has generation {}, not {asked}", self.key, view.generation);
                Err(Refused::new(ErrorReason::GenerationChanged, message))
            }
            _ => Ok(()),
        }
    }

    /// Goes over to the content that has replaced what was read so far.
    fn change_generation(&self, place: &mut Place) -> Result<(), Refused> {
        let present = self.services.shard(&self.key).registry.get(&self.key);
        if let Some(view) = present.filter(|view| view.generation != place.view.generation) {
            self.check_generation(&view)?;
            place.view = view;
            place.offset = 0;
        }
        Ok(())
    }

    async fn chunk(&self, place: &Place) -> Result<Chunk, Refused> {
        let offset = place.offset;
        let most = (READ_CHUNK_BYTES as u64).min(place.left).min(place.stop - offset);
        let most = usize::try_from(most).unwrap_or(READ_CHUNK_BYTES);
        let read = if is_in_memory(&place.view, offset) {
            collect(&place.view, &*self.services.fs, offset, most)
        } else {
            let (view, fs) = (Arc::clone(&place.view), Arc::clone(&self.services.fs));
            let reading = task::spawn_blocking(move || collect(&view, &*fs, offset, most));
            reading.await.map_err(io::Error::other).flatten()
        };
        read.map_err(|error| refuse_io(&self.key, offset, &error))
    }

    async fn send(&self, place: &Place, chunk: Chunk) {
        self.tenant.tally.read.add(chunk.data.len() as u64);
        let response = v1::ReadResponse {
            offset: place.offset,
            data: chunk.data,
            generation: place.view.generation,
            end_offset: chunk.end,
            transition: v1::Transition::Unspecified.into(),
        };
        // Whoever waits for this sees that the client is gone.
        let _ = self.client.send(Ok(response)).await;
    }
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

pub(super) fn not_found(key: &FileKey) -> Refused {
    Refused::new(ErrorReason::FileNotFound, format!("there is no file {key}"))
}

/// A plain file that is gone, is something else or has lost bytes was changed by somebody else: nothing of ours does
/// that.
fn refuse_io(key: &FileKey, offset: u64, error: &io::Error) -> Refused {
    let foreign = matches!(
        error.kind(),
        ErrorKind::UnexpectedEof
            | ErrorKind::NotFound
            | ErrorKind::IsADirectory
            | ErrorKind::NotADirectory
            | ErrorKind::InvalidInput
    );
    if foreign || error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) {
        let message = format!("{key} was changed by another program, byte {offset} cannot be read: {error}");
        return Refused::new(ErrorReason::ForeignChange, message);
    }
    Refused::new(ErrorReason::Internal, format!("{key} cannot be read at byte {offset}: {error}"))
}
