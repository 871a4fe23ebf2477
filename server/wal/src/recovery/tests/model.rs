//! Random runs against a model of what the owner of the log knows.

use super::{Owner, SHARD, machine};
use crate::{
    WalError,
    frame::{Frame, Header, Kind},
    fs::{
        FileSystem,
        faulty::{FaultKind, FaultyFs, Op, When},
        memory::{Loss, MemoryFs},
    },
    recovery::{Retained, Survey},
    writer::Writer,
};
use proptest::prelude::*;
use std::sync::Arc;

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Sync,
    Seal,
    Checkpoint,
    LateCheckpoint,
    Prepare,
    NoRoom(usize),
    Kill,
    PowerLoss(Loss, u64),
    FailedSync,
    FailedWrite(usize),
    InterruptedStart(u64, Loss, u64),
}

fn loss() -> impl Strategy<Value = Loss> {
    prop::sample::select(Loss::EVERY.to_vec())
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (8..400_usize).prop_map(Step::Append),
        5 => Just(Step::Sync),
        2 => Just(Step::Seal),
        1 => Just(Step::Checkpoint),
        3 => Just(Step::LateCheckpoint),
        1 => Just(Step::Prepare),
        1 => (0..200_usize).prop_map(Step::NoRoom),
        1 => Just(Step::Kill),
        2 => (loss(), any::<u64>()).prop_map(|(loss, seed)| Step::PowerLoss(loss, seed)),
        1 => Just(Step::FailedSync),
        1 => (0..400_usize).prop_map(Step::FailedWrite),
        1 => (0..12_u64, loss(), any::<u64>()).prop_map(|(at, loss, seed)| Step::InterruptedStart(at, loss, seed)),
    ]
}

struct Run {
    memory: MemoryFs,
    faulty: FaultyFs,
    owner: Owner,
    writer: Writer,
}

impl Run {
    fn new() -> Self {
        let mut owner = Owner::default();
        let (memory, faulty, writer) = start(machine(), &mut owner, 0);
        Self { memory, faulty, owner, writer }
    }

    fn restart(&mut self, memory: MemoryFs, floor: u64) {
        let (memory, faulty, writer) = start(memory, &mut self.owner, floor);
        *self = Self { memory, faulty, owner: self.owner.clone(), writer };
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Append(len) => self.owner.append(&mut self.writer, *len).unwrap(),
            Step::Sync => self.owner.sync(&mut self.writer).unwrap(),
            Step::Seal => self.owner.seal(&mut self.writer).unwrap(),
            Step::Checkpoint => self.owner.checkpoint(&mut self.writer).unwrap(),
            Step::LateCheckpoint => self.owner.late_checkpoint(&mut self.writer).unwrap(),
            Step::Prepare => self.writer.maker().prepare(0).unwrap(),
            Step::NoRoom(written) => self.no_room(*written),
            Step::Kill => self.restart(self.memory.power_loss(Loss::All, 0), self.owner.in_kernel),
            Step::PowerLoss(loss, seed) => self.restart(self.memory.power_loss(*loss, *seed), self.floor(&[*loss])),
            Step::FailedSync => self.failed_sync(),
            Step::FailedWrite(written) => self.failed_write(*written),
            Step::InterruptedStart(at, loss, seed) => self.interrupted_start(*at, *loss, *seed),
        }
    }

    fn floor(&self, losses: &[Loss]) -> u64 {
        if losses.iter().all(|loss| *loss == Loss::All) { self.owner.in_kernel } else { self.owner.synced }
    }

    fn no_room(&mut self, written: usize) {
        self.faulty.fail(Op::Write, "wal", When::Nth(1), FaultKind::ShortWrite { written, errno: 28 });
        let refused = self.owner.append(&mut self.writer, 100);
        assert!(matches!(refused, Err(WalError::Full { .. }) | Ok(())), "{refused:?}");
        self.faulty.clear();
    }

    fn failed_sync(&mut self) {
        let written = self.owner.written.len();
        self.owner.append(&mut self.writer, 33).unwrap();
        assert_eq!(self.owner.written.len(), written + 1);
        self.faulty.fail(Op::SyncData, "wal", When::Nth(1), FaultKind::LostSync);
        self.owner.sync(&mut self.writer).unwrap_err();
        self.recover_in_place();
    }

    fn failed_write(&mut self, written: usize) {
        self.faulty.fail(Op::Write, "wal", When::Nth(1), FaultKind::ShortWrite { written, errno: 5 });
        // A roll may take the fault before the frame does, or need none if a segment was ready.
        self.owner.append(&mut self.writer, 200).unwrap_err();
        self.recover_in_place();
    }

    fn recover_in_place(&mut self) {
        self.faulty.clear();
        let owner = &self.owner;
        let held = owner.written.iter().filter(|(at, _)| (owner.synced + 1..=owner.in_kernel).contains(at));
        let frames = held.map(|(sequence, payload)| retained(*sequence, payload)).collect();
        let retained = Retained { frames, last_sequence: owner.in_kernel };
        let survey = Survey::read(&self.memory, SHARD, owner.mark, Some(retained)).unwrap();
        owner.check(&survey, &self.memory, owner.in_kernel);
        assert_eq!(survey.last_sequence(), owner.in_kernel);
        let fs: Arc<dyn FileSystem> = Arc::new(self.faulty.clone());
        self.writer = self.owner.begin(&survey, &fs).unwrap();
    }

    fn interrupted_start(&mut self, at: u64, loss: Loss, seed: u64) {
        let found = self.memory.power_loss(loss, seed);
        let survey = self.owner.survey(&found, self.floor(&[loss]));
        found.fail_from(at);
        if self.owner.begin(&survey, &super::fs(&found)).is_ok() {
            return self.restart(found.power_loss(loss, seed), survey.last_sequence());
        }
        self.restart(found.power_loss(loss, seed.rotate_left(7)), self.floor(&[loss]));
    }
}

fn start(memory: MemoryFs, owner: &mut Owner, floor: u64) -> (MemoryFs, FaultyFs, Writer) {
    let faulty = FaultyFs::over_memory(&memory);
    let fs: Arc<dyn FileSystem> = Arc::new(faulty.clone());
    owner.taken = None;
    let survey = owner.survey(fs.as_ref(), floor);
    let writer = owner.begin(&survey, &fs).unwrap();
    (memory, faulty, writer)
}

fn retained(sequence: u64, payload: &[u8]) -> Frame {
    let header = Header { kind: Kind::Decisions, rewritten: false, sequence, durable_through: 0 };
    Frame { header, payload: payload.to_vec().into() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_runs_lose_nothing_and_invent_nothing(steps in prop::collection::vec(step(), 1..60)) {
        let mut run = Run::new();
        for step in &steps {
            run.take(step);
        }
        let floor = run.owner.synced;
        run.restart(run.memory.power_loss(Loss::Torn, steps.len() as u64), floor);
    }
}
