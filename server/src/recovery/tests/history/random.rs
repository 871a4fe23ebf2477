//! Long histories of many clients, drawn by lot; the machine stops now and then, at any operation on its disk.

use super::{History, clients::Clients};
use crate::recovery::tests::script::chain;
use inkpot_wal::fs::memory::{Loss, MemoryFs};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use std::collections::BTreeMap;

/// Histories of one test; each has its seed as its number.
const SEEDS: u64 = 400;
/// What clients do in one.
const STEPS: u32 = 150;

/// Runs a history; to run one again that failed, call this with its seed.
fn run(seed: u64) -> History {
    let rng = &mut SmallRng::seed_from_u64(seed);
    let mut history = History::new(MemoryFs::new());
    history.note(|| format!("history {seed}: `run({seed})` does it again"));
    history.machine.boot().unwrap();
    let mut clients = Clients::default();
    for _ in 0..STEPS {
        // A machine that fails does not come back to itself.
        if !history.book.faulty && rng.random_ratio(1, 12) {
            history.stop_at(history.machine.memory.operations() + rng.random_range(0..60));
        }
        let done = match rng.random_range(0..60) {
            0 => history.fail_over(&"a failure without consequences".into()),
            1 => Err("it stops between two steps".into()),
            _ => clients.step(&mut history, rng),
        };
        if let Err(error) = done {
            history.note(|| chain(error.as_ref()));
            let loss = Loss::EVERY[rng.random_range(0..Loss::EVERY.len())];
            history = history.lose(loss, rng.random());
        }
    }
    if history.book.faulty {
        // What fails without consequences, as the removal of an empty directory, is made good by a start.
        history = history.lose(Loss::Nothing, rng.random());
    }
    history
}

fn run_all(seeds: std::ops::Range<u64>) {
    let mut done = BTreeMap::<String, u32>::new();
    let mut bad = Vec::new();
    for seed in seeds {
        let proven = std::panic::catch_unwind(|| {
            let history = run(seed);
            let mut counts = history.counts.clone();
            counts.insert("rotated".to_owned(), u32::try_from(history.book.tree().cuts()).unwrap());
            history.prove().unwrap_or_else(|error| panic!("{}", chain(error.as_ref())));
            counts
        });
        match proven {
            Ok(counts) => counts.into_iter().for_each(|(what, count)| *done.entry(what).or_default() += count),
            Err(_) => {
                eprintln!("\n=== {seed} is bad\n");
                bad.push(seed);
            }
        }
    }
    assert_eq!(bad, [0; 0], "histories that are bad, each told above; `run` with that number does it again");
    // What is not in them is not proven.
    for what in [
        "Opened",
        "Acked",
        "duplicate",
        "published",
        "Delete",
        "Seal",
        "Rename",
        "Truncate",
        "rotated",
        "done before",
        "lose",
    ] {
        assert!(done.get(what).is_some_and(|count| *count > 20), "too little of {what}: {done:?}");
    }
}

#[test]
fn histories_keep_what_they_were_told_first_quarter() {
    run_all(0..SEEDS / 4);
}

#[test]
fn histories_keep_what_they_were_told_second_quarter() {
    run_all(SEEDS / 4..SEEDS / 2);
}

#[test]
fn histories_keep_what_they_were_told_third_quarter() {
    run_all(SEEDS / 2..SEEDS / 4 * 3);
}

#[test]
fn histories_keep_what_they_were_told_fourth_quarter() {
    run_all(SEEDS / 4 * 3..SEEDS);
}

#[test]
fn same_seed_does_the_same() {
    let (one, other) = (run(7), run(7));
    assert_eq!(one.steps, other.steps);
}
