//! A `Read` call: committed bytes in pieces, one piece ahead of the client, and with `follow` what comes later, also in
//! the content that comes after. Holds the file's view while it runs, never an open file.

mod bytes;
mod fate;
mod find;
mod outlet;

pub use outlet::Pieces;

use super::{Services, convert::file as checks, draining};
use crate::{
    admission::Tenant,
    apply::view::{Chunk, FileView},
    config::units::show_duration,
    shard::ids::FileKey,
};
use ::bytes::Bytes;
use fate::Fate;
use inkpot_proto::{
    error::Refused,
    path::TenantName,
    v1::{self, ErrorReason, Transition},
};
use outlet::{Outlet, Pace, Stalled};
use std::{io, pin::pin, sync::Arc};
use tokio::time::{self, Instant};

/// Reads a file for a client.
#[derive(Debug)]
pub(super) struct Reader {
    services: Arc<Services>,
    key: FileKey,
    request: checks::ReadRequest,
    client: Outlet,
    tenant: Arc<Tenant>,
}

/// Why a reader ends before its time.
enum End {
    Refused(Refused),
    Stalled,
}

impl From<Refused> for End {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<Stalled> for End {
    fn from(Stalled: Stalled) -> Self {
        Self::Stalled
    }
}

/// How far a reader is.
struct Place {
    view: Arc<FileView>,
    /// Whether it is a rotated file that was asked for by its own path.
    is_archive: bool,
    /// Next byte to read.
    offset: u64,
    /// Where the content ends for this reader, while its path leads elsewhere.
    end: Option<u64>,
    /// Bytes that may still be sent.
    left: u64,
    /// Where to stop, unless the reader stays.
    stop: u64,
    pace: Pace,
}

impl Reader {
    /// A reader, and where its pieces come out.
    ///
    /// # Errors
    /// As many are there as the tenant or the node may have.
    pub(super) fn new(
        services: Arc<Services>,
        tenant: TenantName,
        request: checks::ReadRequest,
    ) -> Result<(Self, Pieces), Refused> {
        let owner = services.admission.tenant(&tenant);
        let places = services.admit_read(&owner)?;
        let (client, pieces) = Outlet::new(services.config.limits.read_stall, places);
        let key = FileKey { tenant, path: request.path.clone() };
        Ok((Self { services, key, request, client, tenant: owner }, pieces))
    }

    /// Reads until everything is sent, the client is gone or takes nothing, or the time of the call is over.
    pub(super) async fn run(self, deadline: Option<Instant>) {
        let passed = async {
            match deadline {
                Some(at) => time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let sending = async {
            self.send_file().await?;
            Ok(self.client.taken().await?)
        };
        let end = tokio::select! {
            end = sending => end,
            () = self.client.closed() => Ok(()),
            () = passed => Err(Refused::new(ErrorReason::Deadline, "the deadline of the call has passed").into()),
        };
        let status = match end {
            Ok(()) => return,
            Err(End::Stalled) => self.stalled().to_status(),
            Err(End::Refused(refused)) => {
                let status = refused.to_status();
                // A client that is gone needs no reason.
                match self.client.send(Err(status.clone())).await {
                    Ok(_) => return,
                    Err(Stalled) => status,
                }
            }
        };
        self.client.end(status);
    }

    fn stalled(&self) -> Refused {
        let (limit, time) = ("limits.read_stall", show_duration(self.services.config.limits.read_stall));
        let message = format!(
            "{} of tenant {}: nothing that was sent was taken for {limit} = {time}; read on from where what came ends, or \
             raise the limit",
            self.key, self.tenant.name
        );
        Refused::new(ErrorReason::QuotaExceeded, message).with_limit(limit)
    }

    async fn send_file(&self) -> Result<(), End> {
        let mut place = self.begin().await?;
        let mut is_first = true;
        loop {
            let view = Arc::clone(&place.view);
            let mut changed = pin!(view.changed.notified());
            changed.as_mut().enable();
            // Before the bytes are looked at: content that was rotated away gets no more.
            let fate = if self.request.follow { self.fate(&place) } else { Fate::Present };
            if let Fate::Replaced(next) = fate {
                self.go_over(&mut place, Transition::Replaced, next).await?;
                continue;
            }
            // Under another path it may grow on; it may also come back.
            place.end = match fate {
                Fate::Left => place.end.or_else(|| Some(view.state().committed.max(place.offset))),
                _ => None,
            };
            let chunk = match self.chunk(&place).await {
                Ok(chunk) => chunk,
                Err(error) => {
                    self.lose(&mut place, &error).await?;
                    continue;
                }
            };
            let (len, end) = (chunk.data.len() as u64, chunk.end);
            if len > 0 || is_first {
                self.send(&mut place, chunk, Transition::Unspecified).await?;
                is_first = false;
            }
            place.offset += len;
            place.left -= len;
            if place.left == 0 || place.offset == place.stop {
                return Ok(());
            }
            if len > 0 {
                continue;
            }
            match fate {
                // What was not kept may be gone from memory before it was in the plain file.
                Fate::Rotated(next) if place.offset < end => {
                    self.go_over(&mut place, Transition::Replaced, next).await?;
                }
                Fate::Rotated(next) => self.go_over(&mut place, Transition::Rotated, next).await?,
                Fate::Left => self.wait_for_another(&mut place).await?,
                _ if !self.request.follow => {
                    let message = format!("{} has no byte {}, although it is committed", self.key, place.offset);
                    return Err(Refused::new(ErrorReason::Internal, message).into());
                }
                _ => tokio::select! {
                    () = changed => {}
                    () = self.services.drain.cancelled() => return Err(draining().into()),
                },
            }
        }
    }

    async fn begin(&self) -> Result<Place, Refused> {
        let view = self.first().await?;
        let end = view.state().committed;
        let offset = checks::first_byte(self.request.offset, end)
            .map_err(|refused| Refused { message: format!("{}: {}", self.key, refused.message), ..refused })?;
        let stop = if self.request.follow { u64::MAX } else { end };
        let is_archive = fate::is_archive(&view, &self.key);
        Ok(Place { view, is_archive, offset, end: None, left: self.request.limit, stop, pace: Pace::new() })
    }

    fn fate(&self, place: &Place) -> Fate {
        Fate::of(&place.view, &self.key, place.is_archive)
    }

    fn go_to(&self, place: &mut Place, view: Arc<FileView>) {
        place.is_archive = fate::is_archive(&view, &self.key);
        (place.view, place.offset, place.end) = (view, 0, None);
    }

    /// Goes over to what came after the content, and tells so.
    async fn go_over(&self, place: &mut Place, transition: Transition, next: Option<Arc<FileView>>) -> Result<(), End> {
        let next = match next {
            Some(view) => Some(view),
            None => self.after(&place.view).await?,
        };
        let Some(view) = next else { return self.wait_for_another(place).await };
        self.go_to(place, view);
        self.tell(place, transition).await
    }

    /// Tells that the path leads nowhere, and waits for it to lead somewhere again.
    async fn wait_for_another(&self, place: &mut Place) -> Result<(), End> {
        self.tell(place, Transition::Deleted).await?;
        let view = self.again().await?;
        self.go_to(place, view);
        self.tell(place, Transition::Created).await
    }

    /// Bytes cannot be read. Of content that is gone that is no wonder: a reader that stays goes on with what there is.
    async fn lose(&self, place: &mut Place, error: &io::Error) -> Result<(), End> {
        let fate = self.fate(place);
        if matches!(fate, Fate::Present) || !bytes::is_displaced(error) {
            return Err(bytes::refuse(&self.key, place.offset, error).into());
        }
        if !self.request.follow {
            let message =
                format!("{} was replaced, deleted or rotated away while it was read; read it again", self.key);
            return Err(Refused::new(ErrorReason::GenerationChanged, message).into());
        }
        match fate {
            Fate::Replaced(next) | Fate::Rotated(next) => self.go_over(place, Transition::Replaced, next).await,
            Fate::Present | Fate::Left => self.wait_for_another(place).await,
        }
    }

    async fn chunk(&self, place: &Place) -> io::Result<Chunk> {
        let offset = place.offset;
        let stop = place.end.unwrap_or(u64::MAX).min(place.stop);
        let most = place.left.min(stop - offset);
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(place.pace.bytes());
        if most == 0 {
            return Ok(Chunk { data: Bytes::new(), end: place.view.state().committed });
        }
        bytes::read(&place.view, &self.services, offset, most).await
    }

    /// Sends a transition without bytes.
    async fn tell(&self, place: &mut Place, transition: Transition) -> Result<(), End> {
        let end = place.view.state().committed;
        self.send(place, Chunk { data: Bytes::new(), end }, transition).await
    }

    async fn send(&self, place: &mut Place, chunk: Chunk, transition: Transition) -> Result<(), End> {
        self.tenant.tally.read.add(chunk.data.len() as u64);
        let response = v1::ReadResponse {
            offset: place.offset,
            data: chunk.data,
            generation: place.view.generation,
            end_offset: chunk.end,
            transition: transition.into(),
        };
        place.pace.sent(self.client.send(Ok(response)).await?);
        Ok(())
    }
}

pub(super) fn not_found(key: &FileKey) -> Refused {
    Refused::new(ErrorReason::FileNotFound, format!("there is no file {key}"))
}
