//! How a channel ends: an append channel is closed, an upload published, discarded or left.

use super::{Channel, Effects, Phase};
use crate::{Error, Result};
use inkpot_proto::v1::{self, FinishAction, Mode, write_request::Frame};

/// How a channel ends whose writer is dropped: an upload may be resumed later.
pub(super) fn without_a_word(mode: Mode) -> v1::Finish {
    let action = if is_upload(mode) { FinishAction::LeaveOpen } else { FinishAction::Commit };
    v1::Finish { action: action.into(), ..v1::Finish::default() }
}

fn is_upload(mode: Mode) -> bool {
    matches!(mode, Mode::Create | Mode::Replace)
}

impl Channel {
    pub(crate) fn is_upload(&self) -> bool {
        is_upload(self.mode)
    }

    /// Whether the upload is being discarded.
    pub(super) fn aborts(&self) -> bool {
        self.finish && self.is_upload() && self.end.action() == FinishAction::Abort
    }

    /// Whether the server must say that the channel has ended. An append channel whose appends are all acked has nothing
    /// to publish; nor has an upload that nobody waits for.
    pub(super) fn must_tell(&self) -> bool {
        self.is_upload() && (self.owned || self.end.action() != FinishAction::LeaveOpen)
    }

    /// The writer wants the upload to end like this. If that is to discard it, nothing more is sent of it.
    pub(crate) fn want_end(&mut self, end: v1::Finish, effects: &mut Effects) {
        self.end = end;
        self.finish = true;
        if self.aborts() {
            effects.done.extend(self.unacked.drain(..).map(|pending| pending.append));
            self.cursor = 0;
            if self.phase == Phase::Open {
                self.retry_at = None;
            }
        }
        self.want_finish();
    }

    /// The writer wants to finish, or is gone.
    pub(crate) fn want_finish(&mut self) {
        self.finish = true;
        let idle = self.phase == Phase::Away && self.unacked.is_empty() && self.lane.opened().is_some();
        if idle && !self.must_tell() {
            self.phase = Phase::Ended; // no connection, and nothing to publish
        }
    }

    /// The frame that ends the channel, once everything is acked.
    pub(crate) fn finish(&mut self) -> Option<Frame> {
        let ready = matches!(self.phase, Phase::Open | Phase::Finishing);
        if !self.finish || !ready || !self.unacked.is_empty() || self.retry_at.is_some() {
            return None;
        }
        self.phase = Phase::Finishing;
        self.finish_in_doubt |= self.is_upload() && self.end.action() == FinishAction::Commit;
        Some(self.finish_frame(self.end))
    }

    /// The frame that tells the server that nobody is interested any more. An upload is left to be resumed.
    pub(crate) fn give_up(&self) -> Option<Frame> {
        let (action, open) = match self.phase {
            Phase::Opening | Phase::Open if !self.is_upload() => (FinishAction::Abort, true),
            Phase::Opening | Phase::Open | Phase::Finishing => (FinishAction::LeaveOpen, self.is_upload()),
            Phase::Away | Phase::Ended => return None,
        };
        open.then(|| self.finish_frame(v1::Finish { action: action.into(), ..v1::Finish::default() }))
    }

    fn finish_frame(&self, end: v1::Finish) -> Frame {
        Frame::Finish(v1::Finish { channel: self.lane.id, ..end })
    }

    /// `Finished` came.
    pub(crate) fn finished(&mut self, frame: &v1::Finished) -> Result<()> {
        if self.phase != Phase::Finishing {
            return Err(Error::protocol("Finished for a channel that was not finished"));
        }
        let published = self.is_upload() && self.end.action() == FinishAction::Commit;
        if published && frame.generation == 0 {
            return Err(Error::protocol("Finished without a generation for an upload that was to be published"));
        }
        self.finish_in_doubt = false;
        self.finished = Some(*frame);
        self.phase = Phase::Ended;
        Ok(())
    }
}
