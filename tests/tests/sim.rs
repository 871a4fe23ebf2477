//! Deterministic simulation: the real server and the real client library over a simulated network (turmoil) and a disk in
//! memory that loses what was not synced. Everything that happens is drawn from a seed, and the same seed gives the same
//! run. Each seed runs in a process of its own, because what it depends on (counters of the runtime, addresses) must be the
//! same in each.
//!
//! `INKPOT_SIM_SEED=N` runs one seed and prints its trace; `INKPOT_SIM_SEEDS=N` runs so many, from
//! `INKPOT_SIM_FIRST` on (`tests/run sim --seeds N`).
#![allow(clippy::unwrap_used)]

#[path = "sim/campaign.rs"]
mod campaign;
#[path = "sim/clients.rs"]
mod clients;
#[path = "sim/disk.rs"]
mod disk;
#[path = "sim/net.rs"]
mod net;
#[path = "sim/notebook.rs"]
mod notebook;
#[path = "sim/operators.rs"]
mod operators;
#[path = "sim/pinned.rs"]
mod pinned;
#[path = "sim/plan.rs"]
mod plan;
#[path = "sim/readers.rs"]
mod readers;
#[path = "sim/run.rs"]
mod run;
#[path = "sim/server.rs"]
mod server;
#[path = "sim/trace.rs"]
mod trace;

use campaign::{Campaign, Child};

/// Seeds of a normal run of the tests.
const SEEDS: u64 = 150;
/// Seeds that are run twice.
const TWICE: u64 = 50;

#[test]
fn same_seed_gives_the_same_trace() {
    for seed in 0..TWICE {
        let (one, other) = (Child::run(seed), Child::run(seed));
        assert!(one.lines > 100, "seed {seed} did next to nothing: {one:?}");
        assert_eq!(one, other, "seed {seed} is not the same twice");
    }
    assert_ne!(Child::run(0).digest, Child::run(1).digest, "the seed makes no difference");
}

#[test]
fn no_seed_breaks_a_promise() {
    let campaign = Campaign::from_environment(SEEDS);
    let report = campaign.run();
    println!("{report}");
    assert!(report.failed.is_empty(), "{report}");
}

/// Run by the others, as a process: one seed.
#[test]
#[ignore = "one seed, for the process that asks for it with INKPOT_SIM_SEED"]
fn one_seed() {
    let seed = campaign::seed_of_child().expect("INKPOT_SIM_SEED names the seed");
    let outcome = run::run(seed);
    campaign::tell(seed, &outcome);
    assert!(outcome.faults.is_empty(), "seed {seed}: {:#?}", outcome.faults);
}
