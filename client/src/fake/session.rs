//! A session of the fake server.

use super::{Act, Known, Seen, World, rpc_status, uploads};
use futures_util::FutureExt;
use inkpot_proto::v1::{
    self, ErrorReason, Outcome, WriteRequest, WriteResponse, write_request::Frame, write_response::Frame as Answer,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

/// The time that the server puts before a record.
const TIMESTAMP: &[u8] = b"2026-11-23T10:15:00.123Z ";

pub(super) struct Channel {
    pub(super) path: String,
    pub(super) mode: v1::Mode,
    framing: v1::Framing,
    timestamps: bool,
    pub(super) producer: String,
    epoch: u64,
    /// The append that must come again first.
    refused: Option<u64>,
    /// Appends counted on this channel, for those without a producer.
    counted: u64,
}

pub(super) struct Session {
    pub(super) world: Arc<Mutex<World>>,
    pub(super) number: u64,
    pub(super) channels: HashMap<u32, Channel>,
    pub(super) answers: mpsc::Sender<Result<WriteResponse, Status>>,
    /// Held back to be thinned.
    pub(super) acks: Vec<v1::Ack>,
}

struct Cut;

impl Session {
    pub(super) async fn run(mut self, mut frames: Streaming<WriteRequest>) {
        loop {
            let next = match frames.message().now_or_never() {
                Some(next) => next,
                None => {
                    if self.send_acks().await.is_err() {
                        return;
                    }
                    frames.message().await
                }
            };
            let Ok(Some(WriteRequest { frame: Some(frame) })) = next else { break };
            if self.take(frame).await.is_err() {
                let _ = self.answers.send(Err(Status::unknown("the connection is gone"))).await;
                return;
            }
        }
        let _ = self.send_acks().await;
    }

    async fn send(&mut self, answer: Answer) -> Result<(), Cut> {
        self.send_acks().await?;
        self.answers.send(Ok(WriteResponse { frame: Some(answer) })).await.map_err(|_| Cut)
    }

    async fn send_acks(&mut self) -> Result<(), Cut> {
        for ack in std::mem::take(&mut self.acks) {
            let answer = WriteResponse { frame: Some(Answer::Ack(ack)) };
            self.answers.send(Ok(answer)).await.map_err(|_| Cut)?;
        }
        Ok(())
    }

    async fn take(&mut self, frame: Frame) -> Result<(), Cut> {
        let act = {
            let world = &mut *self.world.lock().unwrap();
            match &frame {
                Frame::Append(append) => {
                    let payload = append.payload.as_ref().unwrap();
                    assert_eq!(append.crc32c, Some(crc32c::crc32c(&payload.data)));
                    let lengths = match payload.record_lengths.as_slice() {
                        [] => vec![payload.data.len() as u32],
                        lengths => lengths.to_vec(),
                    };
                    world.traces.push(append.traceparent.clone());
                    world.appends.push((self.number, append.channel, append.seq, lengths));
                }
                Frame::Open(open) => world.opens.push(open.clone()),
                Frame::Finish(finish) => world.finishes.push(*finish),
                _ => {}
            }
            (world.script)(&Seen { frame: &frame })
        };
        match act {
            Act::Serve => self.serve(frame, true).await,
            Act::Ignore => Ok(()),
            Act::Cut { applied } => {
                if applied {
                    self.serve(frame, false).await?; // the acks that are held back are lost too
                } else {
                    self.send_acks().await?;
                }
                Err(Cut)
            }
            Act::Nack { reason, applied } => self.script_nack(frame, reason, applied).await,
            Act::Say(answer) => {
                self.send(answer).await?;
                self.serve(frame, true).await
            }
            Act::Delay(time) => {
                tokio::time::sleep(time).await;
                self.serve(frame, true).await
            }
            Act::Instead(answer) => self.send(answer).await,
        }
    }

    async fn script_nack(&mut self, frame: Frame, reason: ErrorReason, applied: bool) -> Result<(), Cut> {
        let (channel, seq) = match &frame {
            Frame::Open(open) => (open.channel, 0),
            Frame::Append(append) => (append.channel, append.seq),
            Frame::Finish(finish) => (finish.channel, 0),
            _ => (0, 0),
        };
        let expected = self.channels.get(&channel).and_then(|channel| channel.refused).unwrap_or(seq);
        if seq > expected {
            return self.serve(frame, true).await; // the earlier refusal stands
        }
        if applied {
            self.serve(frame.clone(), false).await?;
        }
        if let Frame::Finish(_) = frame {
            self.channels.remove(&channel); // it ends the channel even where it is refused
        } else if let Some(channel) = self.channels.get_mut(&channel) {
            channel.refused = (seq > 0).then_some(seq);
        }
        self.nack(channel, seq, reason).await
    }

    async fn nack(&mut self, channel: u32, seq: u64, reason: ErrorReason) -> Result<(), Cut> {
        let outcome = if reason == ErrorReason::OutcomeUnknown { Outcome::Unknown } else { Outcome::NotApplied };
        let status = rpc_status(reason);
        let nack = v1::Nack {
            channel,
            seq,
            status: Some(status),
            outcome: outcome.into(),
            reason: reason.into(),
            ..v1::Nack::default()
        };
        self.send(Answer::Nack(nack)).await
    }

    async fn serve(&mut self, frame: Frame, answer: bool) -> Result<(), Cut> {
        match frame {
            Frame::Open(open) => {
                let channel = open.channel;
                match self.open(open) {
                    Ok(opened) if answer => self.send(Answer::Opened(opened)).await,
                    Ok(_) => Ok(()),
                    Err(reason) => self.nack(channel, 0, reason).await,
                }
            }
            Frame::Append(append) => self.append(append, answer).await,
            Frame::Finish(finish) => match self.finish(&finish) {
                Ok(finished) if answer => self.send(Answer::Finished(finished)).await,
                Ok(_) => Ok(()),
                Err(reason) => self.nack(finish.channel, 0, reason).await,
            },
            Frame::Ping(ping) => self.send(Answer::Pong(v1::Pong { token: ping.token })).await,
            Frame::Flush(_) => self.send_acks().await,
        }
    }

    fn finish(&mut self, finish: &v1::Finish) -> Result<v1::Finished, ErrorReason> {
        let channel = &self.channels.remove(&finish.channel).ok_or(ErrorReason::UnknownChannel)?;
        let finished = if uploads::is_upload(channel.mode) {
            uploads::finish(&mut self.world.lock().unwrap(), channel, finish)?
        } else {
            v1::Finished { channel: finish.channel, generation: 1, ..v1::Finished::default() }
        };
        Ok(finished)
    }

    fn open(&mut self, open: v1::Open) -> Result<v1::Opened, ErrorReason> {
        let world = &mut *self.world.lock().unwrap();
        let upload = uploads::is_upload(open.mode());
        if upload {
            uploads::check_open(world, &open)?;
        }
        let limits = Some(world.limits);
        let file = world.content(open.mode(), &open.path, &open.producer_id);
        let mut opened = v1::Opened { channel: open.channel, limits, ..v1::Opened::default() };
        if !open.producer_id.is_empty() {
            let known = file.producers.entry(open.producer_id.clone()).or_default();
            let epoch = if open.producer_epoch == 0 { known.epoch + 1 } else { open.producer_epoch };
            if epoch > known.epoch {
                opened.previous_epoch = known.epoch;
                opened.previous_last_seq = known.appends.len() as u64;
                *known = Known { epoch, ..Known::default() };
                if file.published.take().is_some() {
                    file.bytes.clear(); // the next upload of this producer
                }
            }
            known.holder = self.number;
            opened.epoch = epoch;
            opened.last_seq = known.appends.len() as u64;
        }
        opened.next_offset = file.bytes.len() as u64;
        opened.published = file.published.is_some();
        opened.upload = upload;
        opened.generation = if upload { 0 } else { u64::from(opened.next_offset > 0) };
        let channel = Channel {
            mode: open.mode(),
            framing: open.framing(),
            timestamps: open.timestamps,
            path: open.path,
            producer: open.producer_id,
            epoch: opened.epoch,
            refused: None,
            counted: 0,
        };
        self.channels.insert(open.channel, channel);
        Ok(opened)
    }

    async fn append(&mut self, append: v1::Append, answer: bool) -> Result<(), Cut> {
        match self.apply(&append) {
            Ok(ack) if answer => self.ack(ack).await,
            Ok(_) => Ok(()),
            Err(reason) => self.nack(append.channel, append.seq, reason).await,
        }
    }

    fn apply(&mut self, append: &v1::Append) -> Result<v1::Ack, ErrorReason> {
        let channel = self.channels.get_mut(&append.channel).ok_or(ErrorReason::UnknownChannel)?;
        if channel.refused.is_some_and(|refused| append.seq > refused) {
            return Err(ErrorReason::EarlierSeqRefused);
        }
        let world = &mut *self.world.lock().unwrap();
        let (level, remembers_offsets) = (world.level, world.remembers_offsets);
        let file = world.content(channel.mode, &channel.path, &channel.producer);
        let bytes = &stored(channel, append.payload.as_ref().unwrap());
        let range = (file.bytes.len() as u64, (file.bytes.len() + bytes.len()) as u64);
        let mut ack = v1::Ack {
            channel: append.channel,
            through_seq: append.seq,
            first_offset: Some(range.0),
            end_offset: Some(range.1),
            level: level.into(),
            synced_seq: append.seq,
            generation: 1,
            duplicates: 0,
        };
        let last = match file.producers.get_mut(&channel.producer) {
            None => {
                channel.counted += 1;
                assert_eq!(channel.counted, append.seq, "without a producer seqs are counted");
                None
            }
            Some(known) if known.epoch != channel.epoch || known.holder != self.number => {
                return Err(ErrorReason::ProducerFenced);
            }
            Some(known) => Some(known),
        };
        if let Some(known) = last {
            let index = usize::try_from(append.seq - 1).unwrap();
            if let Some((first, end)) = known.appends.get(index).copied() {
                assert_eq!(&file.bytes[first as usize..end as usize], &bytes[..], "a resend has the same bytes");
                ack.duplicates = 1;
                ack.first_offset = remembers_offsets.then_some(first);
                ack.end_offset = remembers_offsets.then_some(end);
                channel.refused = None;
                return Ok(ack);
            }
            if file.published.is_some() {
                return Err(ErrorReason::UploadFinished);
            }
            if index > known.appends.len() {
                return Err(ErrorReason::SequenceGap);
            }
            known.appends.push(range);
        }
        channel.refused = None;
        file.bytes.extend_from_slice(bytes);
        Ok(ack)
    }

    /// Adds an ack to the last one, if the appends lie one after the other.
    async fn ack(&mut self, ack: v1::Ack) -> Result<(), Cut> {
        let thin = self.world.lock().unwrap().thin_acks;
        match self.acks.last_mut() {
            Some(last) if last.channel == ack.channel && last.end_offset == ack.first_offset => {
                last.through_seq = ack.through_seq;
                last.synced_seq = ack.synced_seq;
                last.end_offset = ack.end_offset;
                last.duplicates += ack.duplicates;
            }
            _ => self.acks.push(ack),
        }
        if thin { Ok(()) } else { self.send_acks().await }
    }
}

/// The bytes of an append as they stand in the file.
fn stored(channel: &Channel, payload: &v1::Payload) -> Vec<u8> {
    let whole = [payload.data.len() as u32];
    let lengths = if payload.record_lengths.is_empty() { &whole[..] } else { &payload.record_lengths };
    let (mut rest, mut stored) = (&payload.data[..], Vec::new());
    for length in lengths {
        let (data, behind) = rest.split_at(*length as usize);
        let record = [if channel.timestamps { TIMESTAMP } else { b"" }, data].concat();
        if channel.framing == v1::Framing::LengthDelimited {
            varint(record.len(), &mut stored);
        }
        stored.extend_from_slice(&record);
        let ends = matches!(channel.framing, v1::Framing::Newline | v1::Framing::NewlineKeep);
        if ends && !record.ends_with(b"\n") {
            stored.push(b'\n');
        }
        rest = behind;
    }
    stored
}

/// A protobuf varint.
fn varint(mut length: usize, out: &mut Vec<u8>) {
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}
