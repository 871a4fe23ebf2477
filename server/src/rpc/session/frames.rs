//! What each frame of the client comes to.

use super::{Channel, Draining, Session, Waiting, unknown_channel};
use crate::{
    admission::{Limit, MIN_CHARGE_BYTES},
    rpc::convert::{self, Checked, invalid},
    shard::{Command, Write, outbox::Event},
    telemetry::trace::{self, AppendTrace},
};
use inkpot_proto::{
    error::Refused,
    v1::{self, ErrorReason, write_request::Frame},
};
use opentelemetry::trace::SpanContext;
use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

impl Session {
    /// Takes one frame of the client.
    pub(super) async fn take(&mut self, frame: Option<Frame>) -> Result<(), Draining> {
        match frame {
            Some(Frame::Append(append)) => match self.append(append) {
                Some(waiting) => return self.wait_for_room(waiting).await,
                None => return Ok(()),
            },
            Some(Frame::Open(open)) => self.open(open).await,
            Some(Frame::Flush(v1::Flush {})) => self.flush().await,
            Some(Frame::Finish(finish)) => self.finish(&finish).await,
            Some(Frame::Ping(v1::Ping { token })) => {
                self.send_all().await;
                self.link.outbox.tell(Event::Pong { token });
            }
            None => self.refuse(0, Box::new(invalid("the request has no frame that this server knows"))),
        }
        Ok(())
    }

    async fn open(&mut self, open: v1::Open) {
        let channel = open.channel;
        match self.check_open(&open) {
            Ok(open) => self.send_open(channel, open).await,
            Err(refused) => self.refuse(channel, refused),
        }
    }

    fn check_open(&mut self, open: &v1::Open) -> Result<convert::OpenRequest, Box<Refused>> {
        if self.channels.contains_key(&open.channel) && !self.board.is_broken(open.channel) {
            let message = format!("channel {} is open; finish it first, or use another number", open.channel);
            return Err(Box::new(Refused::new(ErrorReason::ChannelInUse, message)));
        }
        let request = convert::open(open)?;
        let max = self.services.config.limits.session_channels as usize;
        if self.channels.len() >= max {
            self.channels.retain(|channel, _| !self.board.is_broken(*channel));
        }
        if self.channels.len() >= max { Err(self.too_many_channels()) } else { Ok(request) }
    }

    /// Puts an append, or its refusal, in its place; gives it back if it has to wait for room.
    fn append(&mut self, append: v1::Append) -> Option<Waiting> {
        let v1::Append { channel, seq, .. } = append;
        let inherited = self.inherited.take();
        let Some(known) = self.channels.get(&channel) else {
            let refused = unknown_channel(channel);
            self.link.count_refusal(refused.reason);
            self.link.outbox.tell(Event::Refuse { channel, seq, refused });
            return None;
        };
        let shard = known.shard;
        let body = match convert::append(append, &known.terms, &self.services.config.limits, SystemTime::now) {
            Ok(append) => match self.admit(&append, known) {
                Ok(permit) => {
                    let trace = self.trace(&append, inherited, channel, seq, known);
                    Ok(append.into_body(permit, trace))
                }
                Err(NoRoom::Wait(limit)) => {
                    let trace = self.trace(&append, inherited, channel, seq, known);
                    return Some(Waiting { shard, channel, seq, append, limit, trace, since: Instant::now() });
                }
                Err(NoRoom::Refuse(refused)) => {
                    if let Some(trace) = self.trace(&append, inherited, channel, seq, known) {
                        trace.refused(refused.reason);
                    }
                    Err(refused)
                }
            },
            Err(refused) => Err(Box::new(in_place(refused, channel, seq, known))),
        };
        self.groups[shard].push(Write { channel, seq, body }, Instant::now);
        None
    }

    /// The spans of an append, if it is traced.
    fn trace(
        &self,
        append: &Checked,
        inherited: Option<SpanContext>,
        channel: u32,
        seq: u64,
        known: &Channel,
    ) -> Option<Box<AppendTrace>> {
        let parent = self.services.tracing.parent_of(&append.traceparent).or(inherited)?;
        let tenant = self.link.tenant.name.as_str();
        let of = trace::Append { tenant, path: known.path.as_str(), channel, seq, bytes: append.data.len() };
        self.services.tracing.append(&parent, of)
    }

    fn admit(&self, append: &Checked, known: &Channel) -> Result<crate::admission::Permit, NoRoom> {
        let tenant = &self.link.tenant;
        let len = append.data.len() as u64;
        tenant.try_acquire(len).map_err(|limit| match never_fits(tenant, len) {
            Some(refused) => NoRoom::Refuse(refused),
            None if known.terms.reject => {
                tenant.tally.found_no_room(limit.name());
                NoRoom::Refuse(Box::new(no_room(tenant, limit)))
            }
            None => NoRoom::Wait(limit),
        })
    }

    async fn flush(&mut self) {
        self.send_all().await;
        for (shard, used) in self.services.shards.iter().zip(&self.used) {
            // A shard that has stopped has nothing to flush, and its appends are answered.
            if *used {
                let _ = shard.send(Command::Flush).await;
            }
        }
    }

    async fn finish(&mut self, finish: &v1::Finish) {
        let channel = finish.channel;
        let Some(known) = self.channels.get(&channel) else {
            return self.refuse(channel, unknown_channel(channel));
        };
        let ending = match convert::finish(finish, &known.terms) {
            Ok(ending) => ending,
            Err(refused) => return self.refuse(channel, Box::new(refused)),
        };
        let shard = known.shard;
        self.channels.remove(&channel);
        self.send_group(shard).await;
        self.board.asked_to_finish(channel);
        let command = Command::Finish { session: Arc::clone(&self.link), channel, ending };
        if let Err(refused) = self.services.shards[shard].send(command).await {
            self.board.not_asked(channel);
            self.refuse(channel, Box::new(refused));
        }
    }
}

/// What becomes of an append that finds no room.
enum NoRoom {
    Wait(Limit),
    Refuse(Box<Refused>),
}

/// The refusal of an append that is larger than a whole limit, and so would wait for ever.
pub(crate) fn never_fits(tenant: &crate::admission::Tenant, len: u64) -> Option<Box<Refused>> {
    let charge = len.max(MIN_CHARGE_BYTES);
    let limit = [Limit::BytesInFlight, Limit::NodeMemory].into_iter().find(|limit| charge > tenant.limit(*limit))?;
    let message = format!(
        "tenant {}: an append of {len} bytes never fits into {} = {}; send smaller appends, or raise the limit",
        tenant.name,
        limit.name(),
        tenant.limit(limit)
    );
    Some(Box::new(Refused::new(ErrorReason::RecordTooLarge, message).with_limit(limit.name())))
}

/// The refusal of an append that would have to wait, and may not.
pub(crate) fn no_room(tenant: &crate::admission::Tenant, limit: Limit) -> Refused {
    let message = format!(
        "tenant {}: {} = {} is used up; wait for acks, use ADMISSION_WAIT, or raise the limit",
        tenant.name,
        limit.name(),
        tenant.limit(limit)
    );
    Refused::new(limit.reason(), message).with_limit(limit.name())
}

fn in_place(mut refused: Refused, channel: u32, seq: u64, known: &Channel) -> Refused {
    refused.message = format!("append {seq} of channel {channel} ({:?}): {}", known.path.as_str(), refused.message);
    refused
}
