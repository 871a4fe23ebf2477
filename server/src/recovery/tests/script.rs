//! The run that everything happens to, and what has to hold after it.

use super::{
    machine::{Machine, Stop},
    model::Stream,
};
use inkpot_proto::v1::Durability::{self, Synced, Written};
use std::time::Duration;

const fn stream(file: &'static str, producer: &'static str) -> Stream {
    Stream { file, producer }
}

pub const APP_P: Stream = stream("app.log", "p");
pub const APP_Q: Stream = stream("app.log", "q");
pub const DEEP: Stream = stream("deep/er/one.log", "p");
pub const DEEPER: Stream = stream("deep/er/still/two.log", "r");
pub const POD: Stream = stream("jobs/run", "pod");
pub const LATE: Stream = stream("jobs/late/run", "q");

/// `times` commits with an append of each channel.
pub fn burst(machine: &mut Machine, channels: &[u32], level: Durability, times: usize) -> Result<(), Stop> {
    for _ in 0..times {
        for channel in channels {
            machine.send(*channel, level);
        }
        machine.commit()?;
    }
    Ok(())
}

pub fn open_all(machine: &mut Machine, streams: &[(Stream, u64)]) -> Result<Vec<u32>, Stop> {
    let channels: Vec<u32> = streams.iter().map(|(stream, wanted)| machine.open(*stream, *wanted)).collect();
    machine.commit()?;
    let refused = channels.iter().any(|channel| machine.channels[channel].state.is_none());
    if refused { Err("an open was refused".into()) } else { Ok(channels) }
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
    burst(machine, &channels[..3], Written, 4)
}

/// After the death of the process, with a failure of the shard in the middle.
fn second_life(machine: &mut Machine) -> Result<(), Stop> {
    machine.kill_and_restart()?;
    let channels = open_all(machine, &[(APP_P, 1), (DEEPER, 5), (POD, 0), (LATE, 1)])?;
    find(machine)?;
    burst(machine, &channels, Synced, 1)?;
    burst(machine, &channels[..2], Written, 1)?;
    machine.fail_over(&"a failure without consequences".into())?;
    let channels = open_all(machine, &[(APP_P, 1), (APP_Q, 2), (LATE, 1)])?;
    burst(machine, &channels, Written, 1)?;
    machine.round()?;
    machine.checkpoint()?;
    burst(machine, &channels, Synced, 5)?;
    machine.round()?;
    machine.checkpoint()?;
    burst(machine, &channels, Written, 3)
}

/// Clients learn from their opens what is there.
fn find(machine: &mut Machine) -> Result<(), Stop> {
    for file in machine.model.files() {
        let bytes = machine.try_read(file)?;
        machine.model.check(file, &bytes, Written);
    }
    Ok(())
}

pub fn run(machine: &mut Machine) -> Result<(), Stop> {
    first_life(machine)?;
    second_life(machine)
}

/// A start must succeed, and find everything that was acknowledged at `kept` or above. Then the clients send everything
/// again, and every file has everything once.
pub fn prove(machine: &mut Machine, kept: Durability) -> Result<(), Stop> {
    machine.boot()?;
    prove_running(machine, kept)
}

/// As [`prove`], of a shard that was recovered just now.
pub fn prove_running(machine: &mut Machine, kept: Durability) -> Result<(), Stop> {
    machine.nacks.clear();
    // Long enough to look for room on the disk again.
    machine.now += Duration::from_secs(1);
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
    let refused: Vec<_> = machine.nacks.iter().filter(|(_, seq, _)| *seq > 0).collect();
    assert!(refused.is_empty(), "{refused:?}");
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

pub fn check_plain(machine: &mut Machine) {
    for file in machine.model.files() {
        assert_eq!(machine.plain(file), machine.read(file), "plain file {file}");
    }
}

pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
