//! One append in one call: a session of one channel and one append, without the stream.
//!
//! Until the append is handed to its shard the call may be given up by either side, and nothing was applied. From then
//! on it runs in a task of its own, because a caller that hangs up must not leave half of it behind.

use super::{
    Services, answer,
    convert::{self, UnaryRequest},
    draining,
    session::{never_fits, no_room},
};
use crate::{
    admission::{Permit, Tenant},
    shard::{Batch, Command, Mode, Open, SessionLink, ShardHandle, Write, ids::FileKey, outbox::Event},
    telemetry::trace::{self, AppendTrace},
};
use inkpot_proto::{
    error::Refused,
    path::TenantName,
    v1::{self, ErrorReason, Outcome},
};
use std::{
    future::poll_fn,
    sync::Arc,
    time::{Instant, SystemTime},
};
use tokio::time;

/// How often an append is tried when its file becomes another one meanwhile.
const TRIES: usize = 16;
/// The only channel of the call's session.
const CHANNEL: u32 = 0;

/// Appends, and waits for the answer.
///
/// # Errors
/// What [`convert::unary`] refuses, want of room, and what the shard says.
pub(super) async fn append(
    services: &Arc<Services>,
    tenant: TenantName,
    request: v1::AppendRequest,
) -> Result<v1::AppendResponse, Refused> {
    let owner = services.admission.tenant(&tenant);
    let mut answer = append_once(services, tenant.clone(), request.clone()).await;
    for _ in 1..TRIES {
        // Replaced, cut or renamed between open and append: to the caller, who asked for no generation, they are one.
        match &answer {
            Err(refused) if refused.reason == ErrorReason::GenerationChanged && request.if_generation.is_none() => {
                answer = append_once(services, tenant.clone(), request.clone()).await;
            }
            _ => break,
        }
    }
    answer.inspect_err(|refused| owner.tally.refused(refused.reason))
}

async fn append_once(
    services: &Arc<Services>,
    tenant: TenantName,
    request: v1::AppendRequest,
) -> Result<v1::AppendResponse, Refused> {
    let request = convert::unary(request, &services.config.limits, SystemTime::now)?;
    services.refuse_if_draining()?;
    let link = services.link(&tenant, true);
    let trace = begin_trace(services, &link.tenant, &request);
    let since = Instant::now();
    let permit = match admit(services, &link.tenant, &request).await {
        Ok(permit) => permit,
        Err(refused) => {
            if let Some(trace) = trace {
                trace.refused(refused.reason);
            }
            return Err(refused);
        }
    };
    let room = Room { permit, trace, since };
    let key = FileKey { tenant, path: request.open.path.clone() };
    let shard = services.shard(&key).clone();
    let patience = services.config.limits.deadline_max;
    let call = services.tasks.spawn(async move {
        let answer = time::timeout(patience, ask(&shard, &link, key, request, room)).await;
        link.outbox.close();
        // A shard that has stopped knows no sessions.
        let _ = shard.send(Command::SessionEnded { session: link }).await;
        answer.unwrap_or_else(|_| Err(unknown("the shard did not answer in time")))
    });
    call.await.unwrap_or_else(|_| Err(unknown("the server has failed")))
}

/// An append that was let in.
struct Room {
    permit: Permit,
    trace: Option<Box<AppendTrace>>,
    /// When it was read.
    since: Instant,
}

/// The spans of the append, if its call is traced.
fn begin_trace(services: &Services, tenant: &Tenant, request: &UnaryRequest) -> Option<Box<AppendTrace>> {
    let bytes = request.append.data.len();
    let (tenant, path) = (tenant.name.as_str(), request.open.path.as_str());
    let of = trace::Append { tenant, path, channel: CHANNEL, seq: request.seq, bytes };
    services.tracing.append(&trace::of_call()?, of)
}

async fn admit(services: &Services, tenant: &Arc<Tenant>, request: &UnaryRequest) -> Result<Permit, Refused> {
    let len = request.append.data.len() as u64;
    let limit = match tenant.try_acquire(len) {
        Ok(permit) => return Ok(permit),
        Err(limit) => limit,
    };
    if let Some(refused) = never_fits(tenant, len) {
        return Err(*refused);
    }
    if request.open.terms.reject {
        tenant.tally.found_no_room(limit.name());
        return Err(no_room(tenant, limit));
    }
    let since = Instant::now();
    tokio::select! {
        permit = tenant.acquire(len) => {
            services.waits.ended(&tenant.label, limit, since.elapsed());
            Ok(permit)
        }
        () = services.drain.cancelled() => Err(draining()),
    }
}

async fn ask(
    shard: &ShardHandle,
    link: &Arc<SessionLink>,
    key: FileKey,
    request: UnaryRequest,
    Room { permit, trace, since }: Room,
) -> Result<v1::AppendResponse, Refused> {
    let UnaryRequest { open, seq, append } = request;
    let session = Arc::clone(link);
    let (producer, if_generation) = (open.producer, open.if_generation);
    let open = Open { session, channel: CHANNEL, key, mode: Mode::Append, producer, if_generation };
    shard.send(Command::Open(open)).await?;
    let write = Write { channel: CHANNEL, seq, body: Ok(append.into_body(permit, trace)) };
    link.outbox.expect_answers(1);
    shard.send(Command::Writes(Batch { session: Arc::clone(link), writes: vec![write], since })).await?;
    let mut refused_open = None;
    loop {
        let event = poll_fn(|cx| link.outbox.poll_next(cx)).await;
        let Some(event) = event else { return Err(unknown("the session of the call has ended")) };
        if let Event::Nack { answers_append: false, refused, .. } = event {
            refused_open = Some(*refused);
        } else if let Some(answer) = answer::of_unary(event) {
            return answer.map_err(|refused| cause(refused_open, refused));
        }
    }
}

/// Why the append is not acknowledged: the open was refused, and so the append found no channel. Unless the open was taken
/// in the commit that failed: then the append may be in that commit too, and only its own answer tells.
fn cause(open: Option<Refused>, append: Refused) -> Refused {
    if append.outcome == Outcome::Unknown { append } else { open.unwrap_or(append) }
}

fn unknown(why: &str) -> Refused {
    let message = format!("{why}; whether the append was applied is not known, send it again with the same seq");
    Refused::new(ErrorReason::OutcomeUnknown, message)
}
