//! What an answer of the server changes in its channel.

use super::{Channel, Effects, Phase, Then};
use crate::{Ack, Error, Opened, Result};
use inkpot_proto::v1::{self, Durability, ErrorReason, Nack, Outcome};
use tokio::time::Instant;

impl Channel {
    /// `Opened` came.
    pub(crate) fn opened(&mut self, frame: &v1::Opened, now: Instant) -> Result<()> {
        if self.phase != Phase::Opening {
            return Err(Error::protocol("Opened for a channel that does not wait for it"));
        }
        if self.is_upload() && !frame.upload && !frame.published {
            return Err(Error::protocol("an upload was opened as a file; this server has no uploads"));
        }
        if self.identity.resends() {
            self.resume(frame)?;
        } else {
            self.front_seq = 1;
            (self.doubtful_seq, self.told_seq) = (0, 0);
        }
        self.phase = Phase::Open;
        self.cursor = 0;
        self.sent_seq = 0;
        self.refusal = None;
        self.generation = frame.generation;
        self.clock.opened(now);
        self.lane.set_opened(|| Opened::new(frame, &self.identity.id));
        Ok(())
    }

    /// Goes on as a producer that the server may know.
    fn resume(&mut self, frame: &v1::Opened) -> Result<()> {
        let first = self.lane.opened().is_none();
        if frame.epoch == 0 || (self.identity.epoch != 0 && frame.epoch != self.identity.epoch) {
            let asked = self.identity.epoch;
            return Err(Error::protocol(format_args!("Opened has epoch {}, asked for {asked}", frame.epoch)));
        }
        let next = frame.last_seq.checked_add(1).ok_or_else(|| Error::protocol("last_seq does not fit"))?;
        self.identity.epoch = frame.epoch;
        if first {
            self.front_seq = next;
        }
        if frame.published || self.aborts() {
            // Ended as was wanted, or of no interest any more: what there was of it need not be there.
            self.doubtful_seq = self.doubtful_seq.min(frame.last_seq);
            return Ok(());
        }
        let acked = self.front_seq - 1;
        if frame.last_seq < acked {
            let message = format!("the server acknowledged appends through {acked}, and now has {}", frame.last_seq);
            return Err(Error::acked_lost(message));
        }
        if frame.last_seq > acked.saturating_add(self.unacked.len() as u64) {
            let message = format!("appends through {} are there, which this writer did not send", frame.last_seq);
            return Err(Error::protocol(message));
        }
        (self.doubtful_seq, self.told_seq) = (frame.last_seq, frame.last_seq);
        Ok(())
    }

    /// An ack came. Gives the place of the first append that it adds.
    pub(crate) fn ack(&mut self, ack: &v1::Ack, now: Instant, effects: &mut Effects) -> Result<Option<u64>> {
        self.progress.synced_seq = self.progress.synced_seq.max(ack.synced_seq);
        if ack.through_seq < self.front_seq || self.aborts() {
            return Ok(None);
        }
        let level = self.check_ack(ack)?;
        // At most the length of `unacked`, by the check above.
        let count = usize::try_from(ack.through_seq - self.front_seq + 1).unwrap_or(usize::MAX);
        let mut at = self.first_offset(ack, count)?;
        let (place, sent) = self.unacked.front().map(|pending| (pending.place, pending.sent)).unzip();
        let (records, bytes) = (self.progress.acked_records, self.progress.acked_bytes);
        for (index, pending) in self.unacked.drain(..count).enumerate() {
            let first_offset = at;
            at = at.map(|offset| offset + pending.stored_bytes);
            let duplicate = index < ack.duplicates as usize;
            self.progress.add(&pending.append, duplicate);
            if let Some(reply) = pending.reply {
                let seq = self.front_seq + index as u64;
                let generation = ack.generation;
                let ack = Ack { seq, first_offset, end_offset: at, level, generation, duplicate };
                effects.replies.push((reply, Ok(ack)));
            }
            effects.done.push(pending.append);
        }
        let (records, bytes) = (self.progress.acked_records - records, self.progress.acked_bytes - bytes);
        effects.tally.acked(count as u64, records, bytes, level, sent.unwrap_or_default());
        self.front_seq = ack.through_seq.saturating_add(1);
        self.cursor = self.cursor.saturating_sub(count);
        self.generation = ack.generation;
        self.refusal = None;
        self.clock.acked(now);
        self.progress.reached(ack, level);
        Ok(place)
    }

    fn check_ack(&self, ack: &v1::Ack) -> Result<Durability> {
        if ack.through_seq > self.sent_seq {
            let sent = self.sent_seq;
            return Err(Error::protocol(format_args!("ack through {}, sent through {sent}", ack.through_seq)));
        }
        match Durability::try_from(ack.level) {
            Ok(level) if level >= self.options.durability && level != Durability::Unspecified => Ok(level),
            _ => {
                let asked = self.options.durability.as_str_name();
                Err(Error::protocol(format_args!("ack with level {}, asked for {asked}", ack.level)))
            }
        }
    }

    /// Where the appends that an ack adds begin: they lie one after the other, so their lengths must fit.
    fn first_offset(&self, ack: &v1::Ack, count: usize) -> Result<Option<u64>> {
        let (Some(first), Some(end)) = (ack.first_offset, ack.end_offset) else { return Ok(None) };
        let bytes: u64 = self.unacked.range(..count).map(|pending| pending.stored_bytes).sum();
        if first.checked_add(bytes) != Some(end) {
            return Err(Error::protocol(format_args!("ack of {bytes} bytes for offsets {first} to {end}")));
        }
        Ok(Some(first))
    }

    /// A nack came. An error: the channel cannot go on.
    pub(crate) fn nack(&mut self, nack: &Nack, effects: &mut Effects) -> Result<Then> {
        let error = Error::from_nack(nack).on(&self.lane.path);
        if nack.seq == 0 {
            return self.nack_channel(error);
        }
        if nack.seq < self.front_seq || self.aborts() || error.reason() == Some(ErrorReason::EarlierSeqRefused) {
            return Ok(Then::Go); // acked by now, of no interest, or comes again behind the one that was refused
        }
        if nack.seq > self.sent_seq {
            let sent = self.sent_seq;
            return Err(Error::protocol(format_args!("nack of {}, sent through {sent}", nack.seq)));
        }
        let ahead = usize::try_from(nack.seq - self.front_seq).unwrap_or(usize::MAX);
        if self.retry_at.is_some() && ahead >= self.cursor {
            return Ok(Then::Go); // goes out again anyway
        }
        let error = if nack.seq <= self.told_seq { error.with_outcome(Outcome::Unknown) } else { error };
        if error.outcome() == Outcome::NotApplied {
            self.doubtful_seq = self.doubtful_seq.min(nack.seq - 1);
        }
        if !error.passes() || (error.outcome() == Outcome::Unknown && !self.identity.resends()) {
            let own = self.unacked.get_mut(ahead).and_then(|pending| pending.reply.take());
            effects.replies.extend(own.map(|reply| (reply, Err(error.clone()))));
            return Err(error);
        }
        self.cursor = self.cursor.min(ahead);
        self.refusal = Some(error);
        Ok(Then::Retry)
    }

    /// The Open, the Finish or the channel itself was refused.
    fn nack_channel(&mut self, error: Error) -> Result<Then> {
        if self.phase == Phase::Finishing && error.outcome() == Outcome::NotApplied {
            self.finish_in_doubt &= error.reason() == Some(ErrorReason::UnknownChannel);
        }
        if self.is_upload() && self.phase == Phase::Finishing && ends_by_another_open(&error) {
            self.phase = Phase::Away;
            self.refusal = Some(error);
            return Ok(Then::Retry);
        }
        if !error.passes() || (!self.identity.resends() && self.in_doubt()) {
            return Err(error);
        }
        if self.phase != Phase::Finishing {
            self.phase = Phase::Away;
            self.cursor = 0;
        }
        self.refusal = Some(error);
        Ok(Then::Retry)
    }
}

/// A Finish ends its channel even where it is refused, and a server that lost the channel does not know what became of it:
/// an upload that is opened again tells.
fn ends_by_another_open(error: &Error) -> bool {
    error.passes() || error.reason() == Some(ErrorReason::UnknownChannel)
}
