//! What was asked, in the order in which the shard decides, and what the answers say about the state of the model: each
//! is what it predicts, and after a crash the shard is in a state between the last answer that is kept and the last
//! thing that was asked.

use super::{
    ask::{Answer, Ask, Deed, Operate},
    tree::{Told, Tree, is_below},
};
use crate::{
    recovery::tests::whole::Reply,
    shard::{Ending, outbox::Event},
};
use inkpot_proto::{
    error::Refused,
    v1::{Durability, ErrorReason as R, Outcome},
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Something that was asked and not answered.
#[derive(Debug)]
struct Entry {
    ask: Ask,
    reply: Option<Reply>,
    /// It is back from the stager.
    staged: bool,
}

/// What clients know of the shard after it stopped.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The states that it may be in; more than one if something was not answered.
    pub trees: Vec<Tree>,
    /// How many of them only a loss of power may bring back.
    pub weak: usize,
    /// Generations that were told.
    pub used: BTreeSet<u64>,
    /// As in [`Book`].
    pub attempted: BTreeSet<&'static str>,
    /// Operations that were not answered.
    pub unanswered: Vec<Operate>,
}

/// See the module.
#[derive(Debug)]
pub struct Book {
    /// The state that is known to be synced, and those after each answer since then.
    trees: Vec<Tree>,
    queue: VecDeque<Entry>,
    /// What waits for the stager.
    jobs: VecDeque<Entry>,
    used: BTreeSet<u64>,
    events: BTreeMap<u32, VecDeque<Event>>,
    /// Where appends that came to nothing may have left an empty file, or directories for one: nothing names them.
    pub attempted: BTreeSet<&'static str>,
    /// Calls are made to fail: what is refused for that is not predicted.
    pub faulty: bool,
    /// Answers since the last call of [`Book::take_answers`].
    answers: Vec<(Ask, Answer)>,
}

impl Book {
    pub fn new(tree: Tree, used: BTreeSet<u64>) -> Self {
        let (queue, jobs, events) = Default::default();
        Self {
            trees: vec![tree],
            queue,
            jobs,
            used,
            events,
            attempted: BTreeSet::new(),
            faulty: false,
            answers: Vec::new(),
        }
    }

    /// Nothing is there, and nothing was asked.
    pub fn empty() -> Self {
        Self::new(Tree::default(), BTreeSet::new())
    }

    /// The state after the last answer.
    pub fn tree(&self) -> &Tree {
        self.trees.last().expect("there is always one")
    }

    /// The state once everything that was asked is answered.
    pub fn ahead(&self) -> Tree {
        let mut tree = self.tree().clone();
        for entry in self.queue.iter().chain(&self.jobs) {
            let _ = tree.take(&entry.ask);
        }
        tree
    }

    pub fn asked(&mut self, ask: Ask, reply: Option<Reply>) {
        self.queue.push_back(Entry { ask, reply, staged: false });
    }

    /// Everything that was answered is synced.
    pub fn synced(&mut self) {
        self.trees.drain(..self.trees.len() - 1);
    }

    /// The uploads to a path have expired.
    pub fn expire(&mut self, path: &str) {
        self.trees = vec![self.tree().clone()];
        let files = self.trees[0].files.values_mut();
        files.filter(|file| file.path == path && file.upload.is_some()).for_each(|file| file.gone = true);
    }

    pub fn waits(&self) -> bool {
        !self.queue.is_empty() || !self.jobs.is_empty()
    }

    pub fn take_answers(&mut self) -> Vec<(Ask, Answer)> {
        std::mem::take(&mut self.answers)
    }

    /// These appends and ends of channels went to the stager.
    pub fn went_to_stager(&mut self, names: &[(u32, Option<u64>)]) {
        for (channel, seq) in names {
            let is_it = |entry: &Entry| match (&entry.ask, seq) {
                _ if entry.staged => false,
                (Ask::Write { channel: number, seq, .. }, Some(wanted)) => (number, seq) == (channel, wanted),
                (Ask::Finish { channel: number, .. }, None) => number == channel,
                _ => false,
            };
            let at = self.queue.iter().position(is_it).expect("what the stager has was asked for");
            self.jobs.extend(self.queue.remove(at));
        }
    }

    /// The stager is done with the first `count` of its jobs.
    pub fn came_from_stager(&mut self, count: usize) {
        self.queue.extend(self.jobs.drain(..count).map(|entry| Entry { staged: true, ..entry }));
    }

    /// Takes the answers that came, and holds each against the model.
    pub fn settle(&mut self, events: Vec<Event>) {
        self.sort(events);
        while let Some(mut entry) = self.queue.pop_front() {
            let Some(answer) = self.answer(&mut entry) else {
                self.queue.push_front(entry);
                return;
            };
            let mut tree = self.tree().clone();
            let predicted = tree.take(&entry.ask);
            let level = self.check(&mut tree, &entry.ask, predicted, &answer);
            let cut = self.tree().cut_for(&entry.ask);
            self.trees.extend(cut.into_iter().chain([tree]));
            self.answers.push((entry.ask, answer));
            if level == Some(Durability::Synced) {
                self.trees.drain(..self.trees.len() - 1);
            }
        }
    }

    fn sort(&mut self, events: Vec<Event>) {
        for event in events {
            let (Event::Opened { channel, .. }
            | Event::Ack { channel, .. }
            | Event::Nack { channel, .. }
            | Event::Finished { channel, .. }) = &event
            else {
                panic!("nobody asked for {event:?}")
            };
            self.events.entry(*channel).or_default().push_back(event);
        }
    }

    fn answer(&mut self, entry: &mut Entry) -> Option<Answer> {
        if let Some(reply) = &mut entry.reply {
            return match reply.try_recv().ok()? {
                Ok(done) => Some(Answer::Done {
                    generation: done.generation,
                    size: done.size,
                    crc32c: done.crc32c,
                    duplicate: done.duplicate,
                }),
                Err(refused) => Some(Answer::Refused(refused)),
            };
        }
        let events = self.events.get_mut(&entry.ask.channel()?)?;
        let is_one_more = |event: &Event| matches!(event, Event::Ack { ack, .. } if ack.appends > 1);
        if is_one_more(events.front()?) {
            return Some(first_of_many(events.front_mut()?, &entry.ask));
        }
        Some(match events.pop_front()? {
            Event::Opened { state, .. } => Answer::Opened(state),
            Event::Finished { generation, size, crc32c, .. } => Answer::Finished { generation, size, crc32c },
            Event::Nack { refused, .. } => Answer::Refused(*refused),
            Event::Ack { ack, .. } => Answer::Acked {
                offset: ack.first_offset,
                generation: ack.generation,
                level: ack.level,
                duplicate: ack.duplicates > 0,
            },
            event => panic!("no answer: {event:?}"),
        })
    }

    /// Holds an answer against what the model says. Returns the level at which the state is known now, if it is.
    fn check(&mut self, tree: &mut Tree, ask: &Ask, predicted: Result<Told, R>, answer: &Answer) -> Option<Durability> {
        let what = format!("{ask:?}: {answer:?}, and the model says {predicted:?}");
        match (predicted, answer) {
            (Ok(told), Answer::Opened(state)) => {
                let Told::Opened { epoch, last_seq, next_offset, published, file, fenced } = told else {
                    panic!("{what}")
                };
                let found = (state.epoch, state.last_seq, state.next_offset, state.published);
                assert_eq!((epoch, last_seq, next_offset, published), found, "{what}");
                match file {
                    Some(file) => self.learn(tree, file, state.generation, &what),
                    None => assert_eq!(state.generation, 0, "{what}"),
                }
                self.take_fence(tree, fenced, &what);
                Some(Durability::Synced)
            }
            (Ok(Told::Acked { offset, duplicate, file }), Answer::Acked { generation, .. }) => {
                let Answer::Acked { offset: found, level, duplicate: was_there, .. } = answer else { unreachable!() };
                assert_eq!((Some(offset), duplicate), (*found, *was_there), "{what}");
                let wanted = if let Ask::Write { durability, .. } = ask { *durability } else { Durability::Synced };
                assert!(*level >= wanted, "{what}");
                self.learn(tree, file, *generation, &what);
                if let Some(path) = made(self.tree(), ask) {
                    // Until it is synced a loss of power leaves no more of it than of one that came to nothing.
                    let is_lasting = *level == Durability::Synced;
                    _ = if is_lasting { self.attempted.remove(path) } else { self.attempted.insert(path) };
                }
                Some(*level)
            }
            (Ok(Told::Finished { published }), Answer::Finished { generation, size, crc32c }) => {
                if let Some(content) = published {
                    assert_eq!((content.size, content.crc32c.unwrap_or(0)), (*size, *crc32c), "{what}");
                    self.learn(tree, content.file, *generation, &what);
                }
                published.map(|_| Durability::Synced)
            }
            (Ok(Told::Done { file, duplicate }), Answer::Done { generation, size, crc32c, duplicate: was_done }) => {
                assert_eq!(duplicate, *was_done, "{what}");
                if !duplicate {
                    let content = &tree.files[&file].content;
                    assert_eq!((content.len() as u64, Some(crc32c::crc32c(content))), (*size, *crc32c), "{what}");
                }
                self.learn(tree, file, *generation, &what);
                Some(Durability::Synced)
            }
            (Err(reason), Answer::Refused(refused)) => {
                let follows = matches!(refused.reason, R::EarlierSeqRefused) && matches!(ask, Ask::Write { .. })
                    || (reason, refused.reason) == (R::SequenceGap, R::UnknownProducer);
                let is_dir = reason == R::FileNotFound && self.is_in_the_way(tree, ask, Some(reason), refused);
                let is_fault = self.faulty && (is_of_a_fault(refused) || is_of_a_dir(refused));
                let is_it = is_dir || refused.reason == reason || follows || is_fault;
                assert!(is_it, "{what}");
                None
            }
            (Ok(_), Answer::Refused(refused)) if self.faulty && (is_of_a_fault(refused) || is_of_a_dir(refused)) => {
                if refused.outcome == Outcome::NotApplied {
                    self.attempted.extend(made(self.tree(), ask));
                    *tree = self.tree().cut_for(ask).unwrap_or_else(|| self.tree().clone());
                    tree.take_operator(ask);
                }
                if let Ask::Finish { channel, .. } = ask {
                    tree.channels.remove(channel);
                }
                None
            }
            (Ok(_), Answer::Refused(refused)) if self.is_in_the_way(tree, ask, None, refused) => {
                *tree = self.tree().clone();
                tree.take_operator(ask);
                if let Ask::Finish { channel, .. } = ask {
                    tree.channels.remove(channel);
                }
                None
            }
            _ => panic!("{what}"),
        }
    }

    /// Whether something that nothing names may stand in the way.
    fn is_in_the_way(&self, tree: &Tree, ask: &Ask, reason: Option<R>, refused: &Refused) -> bool {
        let path = match ask {
            Ask::Open(open) => Some(open.path),
            Ask::Operate(operate) if reason == Some(R::FileNotFound) => Some(operate.path),
            Ask::Operate(Operate { deed: Deed::Rename { to, .. }, .. }) => Some(*to),
            Ask::Operate(operate) => Some(operate.path),
            Ask::Write { channel, .. } => tree.channels.get(channel).map(|channel| tree.files[&channel.file].path),
            Ask::Finish { channel, .. } => {
                self.tree().channels.get(channel).map(|channel| tree.files[&channel.file].path)
            }
        };
        let Some(path) = path else { return false };
        match refused.reason {
            R::IsADirectory | R::DirectoryNotEmpty => self.attempted.iter().any(|left| is_below(left, path)),
            R::NotADirectory => self.attempted.iter().any(|left| is_below(path, left)),
            _ => false,
        }
    }

    /// The channel that lost its producer is told before anything else.
    fn take_fence(&mut self, tree: &Tree, fenced: Option<u32>, what: &str) {
        let Some(channel) = fenced else { return };
        let events = self.events.get_mut(&channel);
        let told = events.and_then(|events| {
            let is_it = |event: &Event| {
                matches!(event, Event::Nack { seq: 0, refused, .. } if refused.reason == R::ProducerFenced)
            };
            let at = events.iter().position(is_it)?;
            events.remove(at)
        });
        // What its content has lost the path to may have left memory.
        assert!(told.is_some() || tree.is_cut_off(channel), "channel {channel} was not told that it is fenced: {what}");
    }

    fn learn(&mut self, tree: &mut Tree, file: u64, generation: u64, what: &str) {
        match tree.generations.get(&file) {
            Some(known) => assert_eq!(*known, generation, "another generation than before: {what}"),
            None => {
                assert!(generation != 0 && self.used.insert(generation), "generation {generation} was used: {what}");
                tree.generations.insert(file, generation);
            }
        }
    }

    /// The shard has stopped: what may it have done? Answers that came with the end count.
    pub fn stop(mut self, events: Vec<Event>) -> Known {
        self.faulty = true;
        self.sort(events);
        let weak = self.trees.len() - 1;
        let mut tree = self.tree().clone();
        let mut trees = self.trees.clone();
        let mut unanswered = Vec::new();
        for mut entry in std::mem::take(&mut self.queue) {
            if let Ask::Operate(operate) = &entry.ask {
                unanswered.push(operate.clone());
            }
            // What was not staged was not decided on.
            if !entry.staged && entry.ask.channel().is_some_and(|channel| tree.is_uploading(channel)) {
                continue;
            }
            let before = tree.clone();
            trees.extend(before.cut_for(&entry.ask));
            let predicted = tree.take(&entry.ask);
            let answer = self.answer(&mut entry);
            self.attempted.extend(made(&before, &entry.ask));
            if let (Ok(told), Some(Answer::Refused(refused))) = (&predicted, &answer)
                && refused.outcome == Outcome::NotApplied
                && must_not_hold(&entry.ask, told)
            {
                tree = before;
                continue;
            }
            trees.push(tree.clone());
        }
        trees.iter_mut().for_each(Tree::stop);
        Known { trees, weak, used: self.used, attempted: self.attempted, unanswered }
    }
}

/// The path at which an append makes the plain file.
fn made(tree: &Tree, ask: &Ask) -> Option<&'static str> {
    let Ask::Write { channel, .. } = ask else { return None };
    let file = tree.channels.get(channel).map(|channel| &tree.files[&channel.file]);
    let is_cut = tree.cut_for(ask).is_some();
    file.filter(|file| is_cut || !file.created && file.upload.is_none()).map(|file| file.path)
}

/// Whether a refusal that says that nothing was applied says so of what the shard remembers. An open that is refused may
/// have raised the epoch.
fn must_not_hold(ask: &Ask, told: &Told) -> bool {
    match (ask, told) {
        (Ask::Open(_), _) | (_, Told::Acked { duplicate: true, .. } | Told::Done { duplicate: true, .. }) => false,
        (Ask::Finish { ending, .. }, _) => matches!(ending, Ending::Commit { .. }),
        _ => true,
    }
}

fn is_of_a_fault(refused: &Refused) -> bool {
    matches!(refused.reason, R::Internal | R::DiskFull | R::ShardClosed | R::OutcomeUnknown | R::EarlierSeqRefused)
}

/// Where calls fail a directory may have been left, and another one not be looked at.
fn is_of_a_dir(refused: &Refused) -> bool {
    matches!(refused.reason, R::IsADirectory | R::NotADirectory | R::DirectoryNotEmpty | R::FileNotFound)
}

/// Takes the first append from an ack of several.
fn first_of_many(event: &mut Event, ask: &Ask) -> Answer {
    let (Event::Ack { ack, .. }, Ask::Write { seq, data, .. }) = (event, ask) else { panic!("no answer to {ask:?}") };
    assert_eq!(*seq, ack.through_seq + 1 - u64::from(ack.appends), "an ack of others: {ack:?}");
    let offset = ack.first_offset;
    let answer = Answer::Acked { offset, generation: ack.generation, level: ack.level, duplicate: ack.duplicates > 0 };
    ack.first_offset = offset.map(|offset| offset + data.len() as u64);
    ack.appends -= 1;
    ack.duplicates = ack.duplicates.saturating_sub(1);
    answer
}
