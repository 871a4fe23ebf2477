//! Histories of whole files: clients upload, append, delete, rename, cut and seal, the machine stops anywhere, and what is
//! found is held against the model of [`tree`]: contents, generations, offsets, producers, usage, listing, and the
//! directory tree.

mod ask;
mod book;
mod check;
mod clients;
mod exhaustive;
mod random;
mod rotation;
mod short;
mod tree;
mod uploads;

use super::{
    machine::{Machine, OTHERS, Stop, config, key},
    model::Model,
    script::chain,
};
use crate::{
    config::Config,
    shard::{
        Ending, Mode,
        operation::{Action, Operator},
        turns::Item,
    },
};
use ask::{Answer, Ask, Deed, Open, Operate};
use book::{Book, Known};
use bytes::Bytes;
use check::Found;
use inkpot_proto::v1::Durability;
use inkpot_wal::fs::memory::{Loss, MemoryFs};
use std::{collections::BTreeMap, time::Duration};

/// The paths of a history: files in the same and in other directories, and where a file stands in the way of another.
const PATHS: [&str; 7] = ["a", "a/b", "a/c", "d/e/f", "d/g", "log", "log.1"];
/// Who writes, whoever that is.
const PRODUCERS: [&str; 3] = ["p", "q", "r"];

/// A machine, and what its clients know of it.
struct History {
    machine: Machine,
    book: Book,
    /// What was done, to be told if something is wrong.
    steps: Vec<String>,
    channels: u32,
    /// How often what was done.
    counts: BTreeMap<String, u32>,
    /// What is known while no shard runs.
    known: Option<Known>,
}

/// With files that are rotated.
fn policed() -> Config {
    Config { default_policies: rotation::policies(), ..config() }
}

impl History {
    /// On an empty disk, with a machine that was not started.
    fn new(memory: MemoryFs) -> Self {
        let machine = Machine::new(memory, policed(), Model::default());
        Self { machine, book: Book::empty(), steps: Vec::new(), channels: OTHERS, counts: BTreeMap::new(), known: None }
    }

    fn note(&mut self, step: impl FnOnce() -> String) {
        self.steps.push(step());
    }

    /// What the service calls a path.
    fn name(&self, path: &'static str) -> String {
        self.book.tree().name_of(path).expect("clients were told of it")
    }

    fn open(&mut self, path: &'static str, mode: Mode, producer: Option<(&'static str, u64)>) -> u32 {
        self.open_if(path, mode, producer, None)
    }

    fn open_if(
        &mut self,
        path: &'static str,
        mode: Mode,
        producer: Option<(&'static str, u64)>,
        if_generation: Option<u64>,
    ) -> u32 {
        self.channels += 1;
        let open = Open { channel: self.channels, path, mode, producer, if_generation };
        let (session, _) = self.machine.session();
        let item = crate::shard::Open {
            session,
            channel: open.channel,
            key: key(&self.name(path)),
            mode,
            producer: producer.map(|(name, epoch)| (name.into(), epoch)),
            if_generation,
        };
        self.machine.ask(Item::Open(item));
        self.asked(Ask::Open(open), None);
        self.channels
    }

    fn send(&mut self, channel: u32, seq: u64, data: impl Into<Bytes>, durability: Durability) {
        let data = data.into();
        self.machine.send_on(channel, seq, data.clone(), durability);
        self.asked(Ask::Write { channel, seq, data, durability }, None);
    }

    fn finish(&mut self, channel: u32, ending: Ending) {
        let (session, _) = self.machine.session();
        self.machine.ask(Item::Finish { session, channel, ending });
        self.asked(Ask::Finish { channel, ending }, None);
    }

    /// Asks for an operation, as the service does.
    fn operate(
        &mut self,
        path: &'static str,
        deed: Deed,
        operator: Option<(&'static str, u64, u64)>,
        if_generation: Option<u64>,
    ) -> Result<(), Stop> {
        let name = self.name(path);
        let mut ask = Operate { path, if_generation, operator, deed, prepared: None };
        let action = match deed {
            Deed::Delete => Action::Delete,
            Deed::Seal => Action::Seal,
            Deed::Rename { to, replace } => Action::Rename { to: key(to), replace },
            Deed::Truncate { len } => {
                let prepared = self.machine.prepare(&name, len as u64)?;
                ask.prepared = Some(prepared);
                Action::Truncate(prepared)
            }
        };
        let by = operator.map(|(name, epoch, seq)| Operator { producer: name.into(), epoch, seq });
        let reply = self.machine.operate(&name, if_generation, by, action);
        self.asked(Ask::Operate(ask), Some(reply));
        Ok(())
    }

    fn asked(&mut self, ask: Ask, reply: Option<super::whole::Reply>) {
        self.note(|| match &ask {
            Ask::Write { channel, seq, data, .. } => format!("Write {channel} seq {seq}, {} bytes", data.len()),
            ask => format!("{ask:?}"),
        });
        self.book.asked(ask, reply);
    }

    /// Commits what is queued.
    fn commit(&mut self) -> Result<(), Stop> {
        self.note(|| "commit".to_owned());
        while self.commit_once()? {}
        Ok(())
    }

    fn commit_once(&mut self) -> Result<bool, Stop> {
        let before = self.machine.jobs.len();
        let more = self.machine.commit_once()?;
        let names: Vec<_> = self.machine.jobs.iter().skip(before).map(super::whole::name).collect();
        self.book.went_to_stager(&names);
        self.book.settle(std::mem::take(&mut self.machine.told));
        for (ask, answer) in self.book.take_answers() {
            if let (Ask::Operate(Operate { prepared: Some(prepared), .. }), answer) = (&ask, &answer)
                && !matches!(answer, Answer::Done { duplicate: false, .. })
            {
                self.machine.forget_prepared(prepared);
            }
            self.count_answer(&ask, &answer);
            self.note(|| format!("  {answer:?}"));
        }
        self.check_usage();
        Ok(more)
    }

    fn count_answer(&mut self, ask: &Ask, answer: &Answer) {
        match (ask, answer) {
            (_, Answer::Opened(_)) => self.count("Opened"),
            (_, Answer::Acked { duplicate, .. }) => self.count(if *duplicate { "duplicate" } else { "Acked" }),
            (Ask::Finish { ending: Ending::Commit { .. }, .. }, Answer::Finished { .. }) => self.count("published"),
            (Ask::Operate(_), Answer::Done { duplicate: true, .. }) => self.count("done before"),
            (Ask::Operate(ask), Answer::Done { .. }) => {
                self.count(format!("{:?}", ask.deed).split(' ').next().unwrap_or_default());
            }
            (_, Answer::Refused(refused)) => self.count(format!("{:?}", refused.reason)),
            _ => {}
        }
    }

    /// Lets the stager do some of what it has to.
    fn stage(&mut self, most: usize) -> Result<(), Stop> {
        let count = most.min(self.machine.jobs.len());
        self.note(|| format!("stage {count}"));
        self.machine.stage(count)?;
        self.book.came_from_stager(count);
        Ok(())
    }

    /// Everything that was asked is answered.
    fn settle(&mut self) -> Result<(), Stop> {
        self.commit()?;
        while !self.machine.jobs.is_empty() {
            self.stage(usize::MAX)?;
            self.commit()?;
        }
        assert!(!self.book.waits(), "not everything was answered");
        let (_, tenant) = self.machine.session();
        assert_eq!(tenant.in_flight(), (0, 0), "writes and bytes whose permits did not come back");
        check::check_list(&mut self.machine, self.book.tree())
    }

    /// A checkpoint after which the disk is as the model.
    fn checkpoint(&mut self) -> Result<(), Stop> {
        self.note(|| "checkpoint".to_owned());
        self.machine.checkpoint()?;
        self.book.synced();
        check::check_disk(&self.machine, &self.book);
        check::check_list(&mut self.machine, self.book.tree())
    }

    fn check_usage(&mut self) {
        if self.book.faulty {
            return;
        }
        let (_, tenant) = self.machine.session();
        let found = (tenant.stored.bytes(), tenant.stored.files());
        assert_eq!(found, self.book.tree().usage(), "bytes and files that the tenant is charged for");
    }

    /// The machine stops after that operation on its disk.
    fn stop_at(&mut self, operation: u64) {
        self.note(|| format!("stops after operation {operation}"));
        self.machine.memory.fail_from(operation);
        // It fails first what needs the disk and does not close the shard.
        self.book.faulty = true;
    }

    /// The machine stops, and one that starts with what `loss` leaves of its disk has what it must have.
    fn lose(mut self, loss: Loss, seed: u64) -> Self {
        self.count("lose");
        self.note(|| format!("lose {loss:?} {seed}"));
        self.stop();
        let machine = Machine::new(self.machine.memory.power_loss(loss, seed), policed(), Model::default());
        self.machine = machine;
        let found = self.machine.boot().and_then(|()| self.recognise(loss != Loss::All, false));
        found.unwrap_or_else(|error| panic!("the next start fails: {}", chain(error.as_ref())));
        self
    }

    /// No shard runs from here on.
    fn stop(&mut self) {
        self.machine.drain();
        let told = std::mem::take(&mut self.machine.told);
        let book = std::mem::replace(&mut self.book, Book::empty());
        self.known.get_or_insert_with(|| book.stop(told));
    }

    /// The shard fails, and recovers in place.
    fn fail_over(&mut self, failure: &Stop) -> Result<(), Stop> {
        self.count("fail over");
        self.note(|| format!("fail over: {failure}"));
        let faulty = self.book.faulty;
        self.machine.close(&crate::commit::unknown(failure.as_ref()));
        self.stop();
        self.machine.come_back(failure)?;
        self.recognise(false, faulty)
    }

    /// Finds out in which of the states that it may be in the shard is.
    fn recognise(&mut self, is_power_lost: bool, faulty: bool) -> Result<(), Stop> {
        let found = Found::of(&mut self.machine, self.known.as_ref().expect("no shard runs"))?;
        let known = self.known.take().expect("it was there");
        let (tree, used) = found.recognise(&known, is_power_lost);
        self.book = Book::new(tree, used);
        (self.book.attempted, self.book.faulty) = (known.attempted, faulty);
        self.check_usage();
        self.ask_again(known.unanswered)
    }

    /// Clients that had no answer ask again; each operation must be done once.
    fn ask_again(&mut self, unanswered: Vec<Operate>) -> Result<(), Stop> {
        for ask in unanswered.into_iter().filter(|ask| ask.operator.is_some()) {
            if self.book.tree().name_of(ask.path).is_none() {
                // What was cut there was lost with the power.
                continue;
            }
            self.operate(ask.path, ask.deed, ask.operator, ask.if_generation)?;
        }
        self.settle()
    }

    /// Everything that is synced goes to the plain files.
    fn round(&mut self) -> Result<(), Stop> {
        self.note(|| "round".to_owned());
        self.machine.round()
    }

    fn tick(&mut self, millis: u64) -> Result<(), Stop> {
        self.note(|| format!("tick {millis}"));
        self.machine.tick(Duration::from_millis(millis))
    }

    /// A checkpoint beside which something else is done.
    fn checkpoint_beside(&mut self, mut meanwhile: impl FnMut(&mut Self) -> Result<(), Stop>) -> Result<(), Stop> {
        self.note(|| "checkpoint begins".to_owned());
        let snapshot = self.machine.snapshot()?;
        self.book.synced();
        meanwhile(self)?;
        self.note(|| "checkpoint ends".to_owned());
        self.machine.finish_checkpoint(snapshot)
    }

    fn count(&mut self, what: impl Into<String>) {
        *self.counts.entry(what.into()).or_default() += 1;
    }

    /// Everything has its end: what was asked is answered, the disk is as the model, and so it is after another start.
    fn prove(mut self) -> Result<(), Stop> {
        self.settle()?;
        self.checkpoint()?;
        let mut next = self.lose(Loss::Nothing, 1);
        check::check_staging(&next.machine, next.book.tree());
        check::check_disk(&next.machine, &next.book);
        next.checkpoint()
    }
}

impl Drop for History {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let from = self.steps.len().saturating_sub(120);
            eprintln!("{}", self.steps[from..].join("\n"));
        }
    }
}
