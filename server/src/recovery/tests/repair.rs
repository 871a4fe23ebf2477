//! A repair that is stopped at any of its disk calls, and asked for again.

use super::{
    machine::{Machine, Stop, config, key},
    model::{Model, Stream},
    script::{APP_P, DEEP, burst, open_all},
};
use crate::{
    apply::view::staged_path,
    catalog::{Catalog, Changes},
    repair::{Ending, repair},
    shard::ids::FileId,
};
use inkpot_proto::v1::Durability::Synced;
use inkpot_wal::fs::{
    Attributes, FileSystem,
    memory::{Loss, MemoryFs},
    read_all,
};
use std::{collections::BTreeMap, sync::Arc};

const STREAMS: [Stream; 2] = [APP_P, DEEP];
const WAL: &str = "shards/0000/wal";
const REPAIRED: &str = "shards/0000/repaired";
const STAGED: &[u8] = b"acknowledged, and named by nothing that is kept";

/// A shard with a checkpoint, and several segments behind it that are not in plain files.
fn whole() -> Machine {
    let mut machine = Machine::running(config());
    let channels = open_all(&mut machine, &STREAMS.map(|stream| (stream, 1))).unwrap();
    burst(&mut machine, &channels, Synced, 3).unwrap();
    machine.checkpoint().unwrap();
    burst(&mut machine, &channels, Synced, 20).unwrap();
    machine.live = None;
    machine
}

/// Flips a bit of an append of [`APP_P`].
fn flip(machine: &mut Machine, seq: usize) {
    let data = machine.model.life(APP_P, 1)[seq - 1].data.clone();
    for path in files_below(&machine.memory, WAL) {
        let bytes = read_all(&machine.memory, &path).unwrap();
        if let Some(at) = bytes.windows(data.len()).position(|window| window == data) {
            machine.memory.flip_bit(&path, at as u64, 3).unwrap();
            return;
        }
    }
    panic!("append {seq} is not in the log");
}

fn files_below(memory: &MemoryFs, dir: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in memory.read_dir(dir).unwrap_or_default() {
        let path = format!("{dir}/{}", entry.name);
        if entry.is_dir { found.extend(files_below(memory, &path)) } else { found.push(path) }
    }
    found
}

/// A file in staging, with an id that no record has.
fn stage(memory: &MemoryFs) {
    let path = staged_path(&key("f").tenant, 0, FileId(77));
    let (shard, _) = path.rsplit_once('/').unwrap();
    for dir in ["staging/default", shard] {
        let _ = memory.create_dir(dir, Attributes::PRIVATE_DIR);
        memory.sync_dir(inkpot_wal::fs::parent(dir)).unwrap();
    }
    let file = memory.create(&path, Attributes::PRIVATE).unwrap();
    file.write_at(&[STAGED], 0).unwrap();
    file.set_file_id(&FileId(77).to_bytes()).unwrap();
    file.sync_all().unwrap();
    memory.sync_dir(shard).unwrap();
}

/// Asks for a repair; tells how it ended, and its words.
fn ask(memory: &MemoryFs, yes: bool) -> Result<(Ending, String), Stop> {
    let (fs, mut out): (Arc<dyn FileSystem>, _) = (Arc::new(memory.clone()), Vec::new());
    let ending = repair(&fs, &config(), yes, &mut out)?;
    Ok((ending, String::from_utf8(out)?))
}

/// What a start finds: of each producer the last append, of each file its bytes.
fn found(memory: &MemoryFs) -> Vec<(u64, Vec<u8>)> {
    let mut machine = Machine::new(memory.power_loss(Loss::All, 0), config(), Model::default());
    machine.boot().unwrap();
    let of = |stream: Stream| {
        let last = machine.write_state(stream).unwrap().producer.map_or(0, |producer| producer.last_seq);
        (last, machine.read(stream.file))
    };
    STREAMS.map(of).into()
}

/// The contents of all copies, each once.
fn copies(memory: &MemoryFs) -> BTreeMap<Vec<u8>, ()> {
    files_below(memory, REPAIRED).iter().map(|path| (read_all(memory, path).unwrap(), ())).collect()
}

#[test]
fn repair_that_is_stopped_anywhere_is_done_by_asking_again_and_gives_up_no_more_than_was_named() {
    let mut machine = whole();
    stage(&machine.memory);
    flip(&mut machine, 12);
    let damaged = machine.memory.power_loss(Loss::All, 0);
    let log: Vec<Vec<u8>> = files_below(&damaged, WAL).iter().map(|path| read_all(&damaged, path).unwrap()).collect();
    assert!(log.len() > 4, "several segments");
    let (ending, words) = ask(&damaged, false).unwrap();
    assert!(ending == Ending::Told && words.contains("1 files in staging"), "{words}");
    let undisturbed = damaged.power_loss(Loss::All, 0);
    assert_eq!(ask(&undisturbed, true).unwrap().0, Ending::Whole);
    let (expected, calls) = (found(&undisturbed), undisturbed.operations());
    assert!(expected[0].0 == 11 && calls > 30, "{} appends are kept, {calls} calls", expected[0].0);
    let kept = copies(&undisturbed);
    let given_up = log.iter().filter(|segment| kept.contains_key(*segment)).count();
    assert!(given_up > 1 && kept.contains_key(STAGED), "{given_up} segments are copied");

    for stop in 0..calls {
        for loss in [Loss::All, Loss::Nothing, Loss::Torn] {
            let stopped = damaged.power_loss(Loss::All, 0);
            stopped.fail_from(stop);
            assert!(ask(&stopped, true).is_err(), "stopped after {stop} of {calls} calls");
            let after = stopped.power_loss(loss, stop);
            assert_eq!(ask(&after, true).unwrap().0, Ending::Whole, "after {stop} calls, {loss:?}");
            assert_eq!(found(&after), expected, "after {stop} calls, {loss:?}");
            let copied = copies(&after);
            let is_there = |bytes: &Vec<u8>| copied.contains_key(bytes);
            let missing = log.iter().filter(|segment| kept.contains_key(*segment) && !is_there(segment)).count();
            assert_eq!(missing, 0, "segments without a copy after {stop} calls, {loss:?}");
            assert!(is_there(&STAGED.to_vec()), "after {stop} calls, {loss:?}");
        }
    }
}

#[test]
fn catalog_that_lacks_a_file_of_the_log_is_told_with_the_way_out_and_nothing_is_changed() {
    let mut machine = whole();
    let id = machine.boot().map(|()| machine.view(APP_P.file).unwrap().id).unwrap();
    machine.live = None;
    let (catalog, stopped) = (Catalog::open(&machine.memory, 0).unwrap(), machine.memory.power_loss(Loss::All, 0));
    assert_eq!(ask(&stopped, true).unwrap().0, Ending::Whole);
    let changes = Changes { removed: vec![id], usage: catalog.usage().unwrap(), ..Changes::default() };
    catalog.save(&changes, catalog.progress().unwrap()).unwrap();
    drop(catalog);
    let before = machine.memory.operations();
    for yes in [false, true] {
        let (ending, words) = ask(&machine.memory, yes).unwrap();
        assert_eq!(ending, Ending::Beyond);
        assert!(words.contains("do not fit") && words.contains("inkpot adopt -r"), "{words}");
    }
    assert_eq!(machine.memory.operations(), before, "nothing is changed");
    let refused = machine.boot().unwrap_err().to_string();
    assert!(refused.contains(&id.to_string()), "{refused}");
}
