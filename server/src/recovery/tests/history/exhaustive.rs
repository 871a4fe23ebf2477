//! Sessions, dedupe and fencing, and the order of commit and ack: every history of a few steps, of two writers that share a
//! producer. One was cut off and does not know it; the other goes on in its place. Power is lost, or the process dies, at
//! any point between the steps.

use super::{Mode, short::started};
use crate::recovery::tests::script::chain;
use bytes::Bytes;
use inkpot_proto::v1::Durability;
use inkpot_wal::fs::memory::Loss;

/// Steps of a history.
const STEPS: usize = 6;
const PATH: &str = "a";

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// A writer opens the file, or opens it again.
    Open(Writer),
    /// It sends its next append, SYNCED.
    Send(Writer),
    /// It sends the last one again, WRITTEN: the ack did not reach it.
    Again(Writer),
    Commit,
    Checkpoint,
    PowerLoss,
    Death,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    Old,
    New,
}

const ALL: [Step; 10] = [
    Step::Open(Writer::Old),
    Step::Open(Writer::New),
    Step::Send(Writer::Old),
    Step::Send(Writer::New),
    Step::Again(Writer::Old),
    Step::Again(Writer::New),
    Step::Commit,
    Step::Checkpoint,
    Step::PowerLoss,
    Step::Death,
];

/// Whether a step means something after those.
fn makes_sense(before: &[Step], step: Step) -> bool {
    let is_crash = |step: Step| matches!(step, Step::PowerLoss | Step::Death);
    // A channel ends with the machine.
    let alive = before.iter().rposition(|step| is_crash(*step)).map_or(before, |at| &before[at + 1..]);
    let is_open = |writer| alive.contains(&Step::Open(writer));
    let has_sent = |writer| before.contains(&Step::Send(writer));
    match step {
        Step::Open(Writer::Old) => true,
        Step::Open(Writer::New) => before.contains(&Step::Open(Writer::Old)),
        Step::Send(writer) => is_open(writer),
        Step::Again(writer) => is_open(writer) && has_sent(writer),
        // What nothing happened before does nothing.
        Step::Commit | Step::Checkpoint => {
            alive.last().is_some_and(|last| !matches!(last, Step::Commit | Step::Checkpoint))
        }
        Step::PowerLoss | Step::Death => alive.last().is_some(),
    }
}

/// Every history of so many steps.
fn all(steps: usize) -> Vec<Vec<Step>> {
    let mut histories = vec![Vec::new()];
    for _ in 0..steps {
        let longer = |history: Vec<Step>| {
            let next: Vec<Step> = ALL.into_iter().filter(|step| makes_sense(&history, *step)).collect();
            next.into_iter().map(move |step| [&history[..], &[step]].concat())
        };
        histories = histories.into_iter().flat_map(longer).collect();
    }
    histories
}

/// A writer as it knows itself.
#[derive(Default)]
struct Side {
    channel: Option<u32>,
    seq: u64,
    last: Option<(u64, Bytes)>,
}

fn run(steps: &[Step]) -> Result<(), crate::recovery::tests::machine::Stop> {
    let mut history = started(format!("{steps:?}"));
    let mut sides = [Side::default(), Side::default()];
    for (at, step) in steps.iter().enumerate() {
        match *step {
            Step::Open(writer) => {
                let epoch = writer as u64 + 1;
                // Its first open begins at 1; a later one goes on where the answer says.
                history.settle()?;
                let channel = history.open(PATH, Mode::Append, Some(("p", epoch)));
                history.commit()?;
                let known = history.book.tree().at(PATH).and_then(|(_, file)| file.producers.get("p"));
                let side = &mut sides[writer as usize];
                side.channel = Some(channel);
                side.seq = known.filter(|known| known.epoch == epoch).map_or(0, |known| known.last_seq);
            }
            Step::Send(writer) => {
                let side = &mut sides[writer as usize];
                side.seq += 1;
                let data = Bytes::from(format!("{writer:?} {} at {at}, ", side.seq));
                side.last = Some((side.seq, data.clone()));
                history.send(side.channel.unwrap_or_default(), side.seq, data, Durability::Synced);
            }
            Step::Again(writer) => {
                let side = &sides[writer as usize];
                let Some((seq, data)) = side.last.clone() else { continue };
                history.send(side.channel.unwrap_or_default(), seq, data, Durability::Written);
            }
            Step::Commit => history.commit()?,
            Step::Checkpoint => {
                history.settle()?;
                history.checkpoint()?;
            }
            Step::PowerLoss | Step::Death => {
                let loss = if *step == Step::Death { Loss::All } else { Loss::Nothing };
                history = history.lose(loss, at as u64);
                sides.iter_mut().for_each(|side| side.channel = None);
            }
        }
    }
    history.prove()
}

fn run_all(histories: &[Vec<Step>]) {
    for steps in histories {
        run(steps).unwrap_or_else(|error| panic!("{steps:?}: {}", chain(error.as_ref())));
    }
}

/// Every other one, from `first` on: two tests share the work.
fn half(first: usize) -> Vec<Vec<Step>> {
    all(STEPS).into_iter().skip(first).step_by(2).collect()
}

#[test]
fn two_writers_of_one_producer_are_told_apart_in_every_short_history_first_half() {
    run_all(&half(0));
}

#[test]
fn two_writers_of_one_producer_are_told_apart_in_every_short_history_second_half() {
    run_all(&half(1));
}

#[test]
fn every_history_is_tried_once_and_has_its_crashes() {
    let mut histories = all(STEPS);
    let count = histories.len();
    histories.sort_by_key(|steps| format!("{steps:?}"));
    histories.dedup();
    assert_eq!(histories.len(), count);
    assert!(count > 2_000, "{count}");
    let fenced = [
        Step::Open(Writer::Old),
        Step::Send(Writer::Old),
        Step::PowerLoss,
        Step::Open(Writer::Old),
        Step::Again(Writer::Old),
        Step::Commit,
    ];
    assert!(histories.contains(&fenced.to_vec()));
}
