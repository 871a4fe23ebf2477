//! Files that nobody uses cost no memory, and are found again with all that they know.

use super::{
    machine::{Machine, config},
    model::Stream,
    script::{APP_P, APP_Q, burst, open_all, prove, prove_running},
};
use crate::shard::turns::Item;
use inkpot_proto::v1::Durability::{Synced, Written};
use inkpot_wal::fs::memory::Loss;

#[test]
fn idle_files_leave_memory_at_a_checkpoint_and_are_found_again() {
    const FILES: u64 = 1_000;
    let mut machine = Machine::running(config());
    let names = (0..FILES).map(|n| -> &'static str { format!("d{}/f{n}", n % 7).leak() });
    let streams: Vec<Stream> = names.map(|file| Stream { file, producer: "p" }).collect();
    let opens: Vec<(Stream, u64)> = streams.iter().map(|stream| (*stream, 3)).chain([(APP_P, 1), (APP_Q, 1)]).collect();
    let channels = open_all(&mut machine, &opens).unwrap();
    burst(&mut machine, &channels, Synced, 2).unwrap();
    machine.checkpoint().unwrap();
    assert_eq!(machine.registry.len() as u64, FILES + 1, "files in use stay");
    for channel in &channels[..usize::try_from(FILES).unwrap()] {
        machine.finish(*channel);
    }
    machine.commit().unwrap();
    let reader = machine.view(streams[0].file).unwrap();
    machine.checkpoint().unwrap();
    assert_eq!(machine.registry.len(), 2, "what a channel or a reader has stays");
    drop(reader);
    machine.checkpoint().unwrap();
    assert_eq!(machine.registry.len(), 1);
    for stream in streams.iter().step_by(97) {
        let state = machine.write_state(*stream).unwrap().producer.unwrap();
        assert_eq!((state.epoch, state.last_seq), (3, 2), "{stream:?}");
        let channel = open_all(&mut machine, &[(*stream, 3)]).unwrap()[0];
        // A duplicate, at its offset, and what comes next.
        machine.resend(channel, 2);
        machine.send(channel, Written);
        machine.commit().unwrap();
        assert!(machine.nacks.is_empty(), "{:?}", machine.nacks);
    }
    prove(&mut machine.on(machine.memory.power_loss(Loss::All, 1)), Written).unwrap();
    prove_running(&mut machine, Written).unwrap();
}

#[test]
fn open_that_wrote_nothing_is_forgotten_with_its_session() {
    let mut machine = Machine::running(config());
    open_all(&mut machine, &[(APP_P, 4)]).unwrap();
    let (session, tenant) = machine.session();
    machine.writer().turns().push(&tenant, Item::SessionEnded(session));
    machine.commit().unwrap();
    machine.checkpoint().unwrap();
    assert!(machine.view(APP_P.file).is_none());
    // Its epoch was told, and is not given again.
    machine.kill_and_restart().unwrap();
    assert_eq!(machine.write_state(APP_P).unwrap().producer.unwrap().epoch, 4);
    let channel = open_all(&mut machine, &[(APP_P, 0)]).unwrap()[0];
    assert_eq!(machine.epoch(channel), 5);
}
