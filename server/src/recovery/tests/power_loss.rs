//! Power is lost, or the process dies, at every operation of a run, and once more during the recovery after that.

use super::{
    machine::{Machine, Stop, config},
    model::{Model, Stream},
};
use inkpot_proto::v1::Durability::{self, Synced, Written};
use inkpot_wal::fs::memory::{Loss, MemoryFs};
use std::time::Duration;

const fn stream(file: &'static str, producer: &'static str) -> Stream {
    Stream { file, producer }
}

const APP_P: Stream = stream("app.log", "p");
const APP_Q: Stream = stream("app.log", "q");
const DEEP: Stream = stream("deep/er/one.log", "p");
const DEEPER: Stream = stream("deep/er/still/two.log", "r");
const POD: Stream = stream("jobs/run", "pod");
const LATE: Stream = stream("jobs/late/run", "q");

/// `times` commits with an append of each channel.
fn burst(machine: &mut Machine, channels: &[u32], level: Durability, times: usize) -> Result<(), Stop> {
    for _ in 0..times {
        for channel in channels {
            machine.send(*channel, level);
        }
        machine.commit()?;
    }
    Ok(())
}

fn open_all(machine: &mut Machine, streams: &[(Stream, u64)]) -> Result<Vec<u32>, Stop> {
    let channels = streams.iter().map(|(stream, wanted)| machine.open(*stream, *wanted)).collect();
    machine.commit()?;
    Ok(channels)
}

/// From the first start on: files in new directories, both levels, epochs raised and allotted, rounds of the applier,
/// checkpoints also beside commits, log segments used again, a seal.
fn first_life(machine: &mut Machine) -> Result<(), Stop> {
    machine.boot()?;
    let channels = open_all(machine, &[(APP_P, 1), (APP_Q, 1), (DEEP, 1), (POD, 0)])?;
    burst(machine, &channels, Synced, 1)?;
    burst(machine, &channels[..2], Written, 2)?;
    machine.round()?;
    machine.tick(Duration::from_millis(100))?;
    machine.round()?;
    burst(machine, &channels, Written, 1)?;
    machine.checkpoint()?;
    machine.tick(Duration::from_millis(60))?;
    let more = open_all(machine, &[(DEEPER, 5), (POD, 0)])?;
    burst(machine, &more, Synced, 1)?;
    burst(machine, &channels[..3], Written, 2)?;
    machine.round()?;
    let snapshot = machine.snapshot()?;
    burst(machine, &[channels[0], more[0]], Synced, 2)?;
    machine.finish_checkpoint(snapshot)?;
    burst(machine, &channels[..3], Written, 1)
}

/// After the death of the process, with a failure of the shard in the middle.
fn second_life(machine: &mut Machine) -> Result<(), Stop> {
    machine.kill_and_restart()?;
    let channels = open_all(machine, &[(APP_P, 1), (DEEPER, 5), (POD, 0), (LATE, 1)])?;
    find(machine);
    burst(machine, &channels, Synced, 1)?;
    burst(machine, &channels[..2], Written, 1)?;
    machine.fail_over(&"a failure without consequences".into())?;
    let channels = open_all(machine, &[(APP_P, 1), (APP_Q, 2), (LATE, 1)])?;
    burst(machine, &channels, Written, 1)?;
    machine.round()?;
    machine.checkpoint()?;
    burst(machine, &channels, Synced, 1)?;
    machine.round()?;
    machine.checkpoint()?;
    burst(machine, &channels, Written, 2)
}

/// Clients learn from their opens what is there.
fn find(machine: &mut Machine) {
    for file in machine.model.files() {
        let bytes = machine.read(file);
        machine.model.check(file, &bytes, Written);
    }
}

fn run(machine: &mut Machine) -> Result<(), Stop> {
    first_life(machine)?;
    second_life(machine)
}

/// A machine that was stopped after `operations`, and whether the run was over before.
fn stopped(operations: u64, run: impl Fn(&mut Machine) -> Result<(), Stop>) -> (Machine, bool) {
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

/// A start must succeed, and find everything that was acknowledged at `kept` or above. Then the clients send everything
/// again, and every file has everything once.
fn prove(machine: &mut Machine, kept: Durability) -> Result<(), Stop> {
    machine.boot()?;
    check_found(machine, kept)?;
    machine.checkpoint()?;
    check_plain(machine);
    let streams = machine.model.streams();
    let mut opened = Vec::new();
    for stream in streams {
        // An epoch that was raised and not told fences the one before.
        let raised = machine.write_state(stream)?.producer.map_or(0, |producer| producer.epoch);
        opened.push((stream, raised.max(machine.model.told(stream))));
    }
    let channels = open_all(machine, &opened)?;
    for (channel, (stream, _)) in channels.iter().zip(&opened) {
        let state = machine.channels[channel].state.unwrap();
        let sent = machine.model.life(*stream, state.epoch).clone();
        let found = sent.iter().filter(|sent| sent.found).count() as u64;
        assert_eq!(state.last_seq, found, "{stream:?} was told another last seq than its bytes say");
        for seq in 1..=sent.len() as u64 {
            machine.resend(*channel, seq);
        }
    }
    machine.commit()?;
    assert!(machine.nacks.is_empty(), "{:?}", machine.nacks);
    for file in machine.model.files() {
        let bytes = machine.read(file);
        machine.model.check_complete(file, &bytes);
    }
    machine.round()?;
    machine.checkpoint()?;
    check_plain(machine);
    Ok(())
}

fn check_found(machine: &mut Machine, kept: Durability) -> Result<(), Stop> {
    for file in machine.model.files() {
        let bytes = machine.read(file);
        let counts = machine.model.check(file, &bytes, kept);
        if let Some(view) = machine.view(file) {
            assert_eq!(view.state().foreign, None, "{file}: an honest restart");
        }
        for stream in machine.model.streams().into_iter().filter(|stream| stream.file == file) {
            let told = machine.model.told(stream);
            let state = machine.write_state(stream)?;
            assert_eq!(state.next_offset, bytes.len() as u64, "{file}");
            let producer = state.producer.unwrap_or_default();
            assert!(producer.epoch >= told, "{stream:?} was told epoch {told}, and has {}", producer.epoch);
            let count = counts.get(&(stream, producer.epoch)).copied().unwrap_or_default();
            assert_eq!(producer.last_seq, count, "{stream:?}");
        }
    }
    Ok(())
}

fn check_plain(machine: &mut Machine) {
    for file in machine.model.files() {
        assert_eq!(machine.plain(file), machine.read(file), "plain file {file}");
    }
}

fn prove_or_panic(machine: &mut Machine, kept: Durability, what: &str) {
    prove(machine, kept).unwrap_or_else(|error| panic!("{what}: {}", chain(error.as_ref())));
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Stops the run after every operation; returns how many there were.
fn lose_power_everywhere(loss: Loss, seeds: u64) -> u64 {
    for cut in 0.. {
        let (machine, done) = stopped(cut, run);
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
        let (machine, done) = stopped(cut, run);
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
    let losses = lose_power_twice(1, |_, _| (Loss::All, Loss::Nothing));
    assert!(losses > 5000, "only {losses} losses");
}

#[test]
fn second_death_of_the_process_loses_nothing_written() {
    let losses = lose_power_twice(3, |_, _| (Loss::All, Loss::All));
    assert!(losses > 1500, "only {losses} losses");
}

#[test]
fn second_loss_of_any_kind_loses_nothing() {
    let every = |number: u64| Loss::EVERY[usize::try_from(number % 5).unwrap()];
    let losses = lose_power_twice(1, |cut, second_cut| (every(cut), every(cut / 5 + second_cut)));
    assert!(losses > 5000, "only {losses} losses");
}
