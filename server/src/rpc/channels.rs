//! What the two sides of a session tell each other about its channels: the reading side what it asked of shards, the
//! response stream what became of it. Touched by opens, finishes and their answers only, never by appends.

use crate::shard::outbox::Event;
use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Opens and finishes that wait for their answer, and channels that are no longer open.
#[derive(Debug, Default)]
pub struct Board(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Unanswered opens and finishes by channel; never 0.
    asked: HashMap<u32, u32>,
    /// Sum of `asked`.
    total: u64,
    /// Channels that a shard refused to open, or took back.
    broken: HashSet<u32>,
}

impl Board {
    /// A shard is asked to open the channel; whatever broke it before is over.
    pub fn asked_to_open(&self, channel: u32) {
        let mut state = self.lock();
        state.broken.remove(&channel);
        state.ask(channel);
    }

    /// A shard is asked to end the channel.
    pub fn asked_to_finish(&self, channel: u32) {
        self.lock().ask(channel);
    }

    /// The shard could not be asked.
    pub fn not_asked(&self, channel: u32) {
        self.lock().settle(channel);
    }

    /// Whether the channel is no longer open, although the session did not end it.
    #[must_use]
    pub fn is_broken(&self, channel: u32) -> bool {
        self.lock().broken.contains(&channel)
    }

    /// How many opens and finishes wait for their answer to be taken.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.lock().total
    }

    /// Looks at what the client is told. Returns whether that answered an open or a finish.
    pub fn told(&self, event: &Event) -> bool {
        match event {
            Event::Opened { channel, .. } | Event::Finished { channel, .. } => self.lock().settle(*channel),
            Event::Nack { channel, seq: 0, answers_append: false, .. } => {
                let mut state = self.lock();
                state.broken.insert(*channel);
                state.settle(*channel)
            }
            _ => false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn ask(&mut self, channel: u32) {
        *self.asked.entry(channel).or_default() += 1;
        self.total += 1;
    }

    fn settle(&mut self, channel: u32) -> bool {
        let Some(asked) = self.asked.get_mut(&channel) else { return false };
        *asked -= 1;
        let is_last = *asked == 0;
        self.total -= 1;
        if is_last {
            self.asked.remove(&channel);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::shard::outbox::OpenState;
    use inkpot_proto::{error::Refused, v1::ErrorReason};

    fn nack(answers_append: bool) -> Event {
        let refused = Box::new(Refused::new(ErrorReason::ProducerFenced, "fenced"));
        Event::Nack { channel: 7, seq: 0, refused, answers_append }
    }

    #[test]
    fn refused_open_settles_and_breaks_until_opened_anew() {
        let board = Board::default();
        board.asked_to_open(7);
        assert_eq!(board.asked(), 1);
        assert!(board.told(&nack(false)));
        assert!(board.asked() == 0 && board.is_broken(7));
        board.asked_to_open(7);
        assert!(!board.is_broken(7));
    }

    #[test]
    fn nack_of_an_append_without_seq_is_no_answer_to_an_open() {
        let board = Board::default();
        board.asked_to_open(7);
        assert!(!board.told(&nack(true)));
        assert!(board.asked() == 1 && !board.is_broken(7));
    }

    #[test]
    fn open_and_finish_are_both_waited_for() {
        let board = Board::default();
        board.asked_to_open(7);
        board.asked_to_finish(7);
        assert!(board.told(&Event::Opened { channel: 7, state: OpenState::default() }));
        assert_eq!(board.asked(), 1);
        assert!(board.told(&Event::Finished { channel: 7, generation: 1, size: 2, crc32c: 0 }));
        assert_eq!(board.asked(), 0);
    }
}
