//! Power is lost, or the process dies, at every operation of a run, and once more during the recovery after that.

use super::{
    machine::{Machine, config},
    model::Model,
    script::{chain, prove, run},
};
use inkpot_proto::v1::Durability::{self, Synced, Written};
use inkpot_wal::fs::{
    faulty::Op,
    memory::{Loss, MemoryFs},
};

/// A machine that was stopped after `operations`, and whether the run was over before.
fn stopped(operations: u64) -> (Machine, bool) {
    let memory = MemoryFs::new();
    memory.fail_from(operations);
    let mut machine = Machine::new(memory, config(), Model::default());
    let done = run(&mut machine).is_ok();
    machine.drain();
    (machine, done)
}

/// What `loss` leaves of acks.
fn kept(loss: Loss) -> Durability {
    if loss == Loss::All { Written } else { Synced }
}

fn prove_or_panic(machine: &mut Machine, kept: Durability, what: &str) {
    prove(machine, kept).unwrap_or_else(|error| panic!("{what}: {}", chain(error.as_ref())));
}

/// Stops the run after every operation; returns how many there were.
fn lose_power_everywhere(loss: Loss, seeds: u64) -> u64 {
    for cut in 0.. {
        let (machine, done) = stopped(cut);
        for seed in 0..seeds {
            let mut next = machine.on(machine.memory.power_loss(loss, seed));
            prove_or_panic(&mut next, kept(loss), &format!("cut at {cut}, {loss:?}, seed {seed}"));
        }
        if done {
            return cut;
        }
    }
    unreachable!()
}

#[test]
fn run_has_everything_in_it_that_may_go_wrong() {
    let (machine, done) = stopped(u64::MAX);
    assert!(done);
    let (made, renamed) = (machine.faulty.count(Op::Create, "wal/"), machine.faulty.count(Op::Rename, "wal/"));
    // A new segment gets its name once, one that is used again loses one and gets one.
    assert!(made > 2 && renamed >= made + 4, "{made} new segments, {renamed} renames: too few are used again");
    assert!(machine.faulty.count(Op::SyncVolume, "") > 2);
    assert!(machine.faulty.count(Op::SyncAll, "default/") > 2);
    assert!(machine.faulty.count(Op::SyncDir, "files/default/deep/er") > 0);
    for level in [Written, Synced] {
        assert!(machine.model.levels().any(|acked| acked == level), "no ack at {level:?}");
    }
}

#[test]
fn nothing_synced_is_lost_with_everything_unsynced() {
    let operations = lose_power_everywhere(Loss::Nothing, 1);
    assert!(operations > 200, "only {operations} operations");
}

#[test]
fn nothing_synced_is_lost_when_a_prefix_survives() {
    lose_power_everywhere(Loss::Prefix, 4);
}

#[test]
fn nothing_synced_is_lost_when_a_subset_survives() {
    lose_power_everywhere(Loss::Subset, 8);
}

#[test]
fn nothing_synced_is_lost_when_writes_are_torn() {
    lose_power_everywhere(Loss::Torn, 8);
}

#[test]
fn nothing_written_is_lost_when_the_process_dies() {
    lose_power_everywhere(Loss::All, 1);
}

/// Loses power at every `step`th operation of the run, and again at every operation of the start and the checkpoint
/// after it. Returns how many second losses there were.
fn lose_power_twice(step: usize, losses: impl Fn(u64, u64) -> (Loss, Loss)) -> u64 {
    let mut count = 0;
    for cut in (0..).step_by(step) {
        let (machine, done) = stopped(cut);
        for second_cut in 0.. {
            let (first, second) = losses(cut, second_cut);
            let memory = machine.memory.power_loss(first, cut);
            memory.fail_from(second_cut);
            let mut interrupted = machine.on(memory);
            let recovered = interrupted.boot().and_then(|()| interrupted.checkpoint()).is_ok();
            let mut next = interrupted.on(interrupted.memory.power_loss(second, second_cut));
            let kept = kept(first).max(kept(second));
            prove_or_panic(&mut next, kept, &format!("cut at {cut}, {first:?}, then at {second_cut}, {second:?}"));
            count += 1;
            if recovered {
                break;
            }
        }
        if done {
            return count;
        }
    }
    unreachable!()
}

#[test]
fn second_loss_during_recovery_loses_nothing_with_everything_unsynced() {
    let losses = lose_power_twice(1, |_, _| (Loss::Nothing, Loss::Nothing));
    assert!(losses > 5000, "only {losses} losses");
}

#[test]
fn second_loss_after_the_death_of_the_process_loses_nothing_synced() {
    let losses = lose_power_twice(4, |_, _| (Loss::All, Loss::Nothing));
    assert!(losses > 1500, "only {losses} losses");
}

#[test]
fn second_death_of_the_process_loses_nothing_written() {
    let losses = lose_power_twice(6, |_, _| (Loss::All, Loss::All));
    assert!(losses > 900, "only {losses} losses");
}

#[test]
fn second_loss_of_any_kind_loses_nothing() {
    let every = |number: u64| Loss::EVERY[usize::try_from(number % 5).unwrap()];
    let losses = lose_power_twice(2, |cut, second_cut| (every(cut), every(cut / 5 + second_cut)));
    assert!(losses > 3000, "only {losses} losses");
}

/// The proof has teeth: what is only written may go with the power.
#[test]
#[should_panic(expected = "is lost")]
fn proof_notices_a_loss() {
    for cut in (50..).step_by(7) {
        let (machine, done) = stopped(cut);
        let mut next = machine.on(machine.memory.power_loss(Loss::Nothing, 1));
        prove_or_panic(&mut next, Written, &format!("cut at {cut}"));
        if done {
            return;
        }
    }
}
