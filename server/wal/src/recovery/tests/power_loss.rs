//! Power lost at every operation of a script, and again at every operation of the recovery.

use super::{Owner, SHARD, fs, machine};
use crate::{
    WalError,
    fs::{
        FileSystem,
        faulty::{FaultKind, FaultyFs, Op, When},
        memory::{Loss, MemoryFs},
    },
    recovery::Survey,
};
use std::sync::Arc;

/// Everything that a log does, over two epochs, with segments that roll and are used again.
fn script(memory: &MemoryFs, owner: &mut Owner) -> Result<(), WalError> {
    for epoch in 0..2 {
        let fs = fs(memory);
        // A machine that failed is found in the caller; here reading either works or says so.
        let survey = Survey::read(fs.as_ref(), SHARD, owner.mark, None)?;
        let mut writer = owner.begin(&survey, &fs)?;
        for round in 0..9 {
            owner.append(&mut writer, 30 + 60 * (round % 4))?;
            match round % 3 {
                0 => owner.sync(&mut writer)?,
                1 => owner.seal(&mut writer)?,
                _ => {}
            }
            if round == 4 && epoch == 0 {
                writer.maker().prepare(0).map_err(|error| WalError::io("ahead of need", error))?;
            }
            if round == 5 {
                owner.checkpoint(&mut writer)?;
            }
        }
    }
    Ok(())
}

fn operations_of_script() -> u64 {
    let (memory, mut owner) = (machine(), Owner::default());
    let before = memory.operations();
    script(&memory, &mut owner).unwrap();
    memory.operations() - before
}

/// Stops a new machine `at` operations into the script.
fn stopped(at: u64) -> (MemoryFs, Owner) {
    let (memory, mut owner) = (machine(), Owner::default());
    memory.fail_from(memory.operations() + at);
    let end = script(&memory, &mut owner);
    assert!(!matches!(end, Err(WalError::Damaged { .. } | WalError::Full { .. })), "{end:?}");
    (memory, owner)
}

fn floor(owner: &Owner, losses: &[Loss]) -> u64 {
    if losses.iter().all(|loss| *loss == Loss::All) { owner.in_kernel } else { owner.synced }
}

#[test]
fn one_power_loss_anywhere_loses_nothing_synced() {
    for at in 0..=operations_of_script() {
        let (memory, owner) = stopped(at);
        for (loss, seed) in Loss::EVERY.into_iter().flat_map(|loss| (0..6).map(move |seed| (loss, seed))) {
            let (found, mut owner) = (memory.power_loss(loss, seed), owner.clone());
            let least = floor(&owner, &[loss]);
            let mut writer = owner.restart(&found, least);
            owner.append(&mut writer, 50).unwrap();
            owner.seal(&mut writer).unwrap();
            let found = found.power_loss(Loss::Nothing, 0);
            owner.survey(&found, owner.synced);
        }
    }
}

#[test]
fn a_second_power_loss_anywhere_in_the_recovery_loses_nothing_either() {
    for at in 0..=operations_of_script() {
        let (memory, owner) = stopped(at);
        for (loss, seed) in Loss::EVERY.into_iter().flat_map(|loss| (0..2).map(move |seed| (loss, seed))) {
            twice(&memory, &owner, loss, at * 8 + seed);
        }
    }
}

fn twice(memory: &MemoryFs, owner: &Owner, first: Loss, seed: u64) {
    for at in 0.. {
        let (found, mut owner) = (memory.power_loss(first, seed), owner.clone());
        let survey = owner.survey(&found, floor(&owner, &[first]));
        found.fail_from(at);
        let begun = owner.begin(&survey, &fs(&found));
        let second = Loss::EVERY[usize::try_from(at + seed).unwrap() % 5];
        let found = found.power_loss(second, seed + at);
        if begun.is_ok() {
            let last = survey.last_sequence();
            owner.survey(&found, last);
            owner.restart(&found, last);
            return;
        }
        let least = floor(&owner, &[first, second]);
        owner.restart(&found, least);
        let found = found.power_loss(Loss::Nothing, 0);
        owner.survey(&found, owner.synced);
    }
}

#[test]
fn a_dozen_power_losses_in_a_row_inside_the_recovery_lose_nothing() {
    for seed in 0..40 {
        let (mut memory, mut owner) = stopped(20 + seed);
        memory = memory.power_loss(Loss::EVERY[usize::try_from(seed).unwrap() % 4], seed);
        for attempt in 0..12 {
            let survey = owner.survey(&memory, owner.synced);
            memory.fail_from(attempt);
            let begun = owner.begin(&survey, &fs(&memory));
            assert!(begun.is_err() || attempt > 8);
            drop(begun);
            memory = memory.power_loss(Loss::EVERY[usize::try_from(seed + attempt).unwrap() % 4], seed + attempt);
        }
        owner.clone().restart(&memory, owner.synced);
    }
}

#[test]
fn attempt_that_failed_can_be_made_again_from_the_same_survey_under_another_number() {
    let (memory, owner) = stopped(40);
    let found = memory.power_loss(Loss::All, 0);
    let least = owner.in_kernel;
    for at in 1..9 {
        let (found, mut owner) = (found.power_loss(Loss::All, 0), owner.clone());
        let survey = owner.survey(&found, least);
        let faulty = FaultyFs::over_memory(&found);
        let fs: Arc<dyn FileSystem> = Arc::new(faulty.clone());
        let op = [Op::Write, Op::SyncData][usize::try_from(at % 2).unwrap()];
        faulty.fail(op, "wal", When::Nth(1 + at / 2), FaultKind::Errno(5));
        let first = owner.begin(&survey, &fs).map(|writer| writer.epoch());
        faulty.clear();
        if first.is_err() {
            let writer = owner.begin(&survey, &fs).unwrap();
            assert_eq!(writer.epoch(), survey.highest_epoch + 2);
        }
        owner.survey(&found.power_loss(Loss::Nothing, 0), owner.synced);
    }
}
