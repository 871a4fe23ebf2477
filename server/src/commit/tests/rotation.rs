//! Files that are cut between two appends.

use super::*;
use crate::{
    apply::view::Gone,
    policy::{Pattern, Policy, Rotate},
    shard::{
        ids::FileKey,
        operation::{Action, Operation},
    },
};

/// Files below `logs/` have 10 bytes at most.
fn rig() -> Rig {
    let pattern = Pattern::parse("logs/*").unwrap();
    let rotate = Rotate { size: Some(10), ..Rotate::default() };
    let mut config = Config::default();
    config.default_policies.push(Policy { pattern, rotate, ..Policy::default() });
    Rig::new(config)
}

/// Commits until nothing waits.
fn settle(rig: &mut Rig) -> Vec<Event> {
    let mut events = rig.commit();
    while rig.writer.due(rig.now).is_some() {
        events.extend(rig.commit());
    }
    events
}

/// Paths and sizes of the files, in order.
fn files(rig: &Rig) -> Vec<(String, u64)> {
    let there = rig.writer.files.iter().filter(|file| file.created && file.gone.is_none());
    let mut files: Vec<_> = there.map(|file| (file.key.path.as_str().to_owned(), file.end)).collect();
    files.sort();
    files
}

fn generation(rig: &Rig, path: &str) -> u64 {
    rig.writer.files.id_of(&key(path)).and_then(|id| rig.writer.files.get(id)).map_or(0, |file| file.view.generation)
}

fn rotated(rig: &Rig) -> Vec<FileKey> {
    let rotated = rig.writer.files.iter().filter(|file| file.content.rotated.is_some());
    rotated.map(|file| file.key.clone()).collect()
}

#[test]
fn file_is_cut_before_the_append_that_would_make_it_too_large() {
    let mut rig = rig();
    rig.open(1, "logs/a.log", Some(("p", 1)));
    for seq in 1..=3 {
        rig.send(1, seq, 5, Durability::Synced);
    }
    let events = settle(&mut rig);
    let (first, second) = (ack(&events[1]), ack(&events[2]));
    assert_eq!((first.through_seq, first.first_offset, first.end_offset), (2, Some(0), Some(10)));
    assert_eq!((second.through_seq, second.first_offset, second.end_offset), (3, Some(0), Some(5)));
    assert_eq!(events.len(), 3, "no ack spans two generations: {events:?}");
    let cut = rotated(&rig);
    let name = cut[0].path.as_str();
    assert!(name.starts_with("logs/a@") && name.ends_with("Z.log"), "{name}");
    assert_eq!(files(&rig), [("logs/a.log".to_owned(), 5), (name.to_owned(), 10)]);
    assert_eq!(second.generation, generation(&rig, "logs/a.log"));
    assert_eq!(first.generation, generation(&rig, name));
    assert_ne!(first.generation, second.generation);
    let stamped = |path: &str| rig.memory.open(path, inkpot_wal::fs::Access::Read).unwrap().file_id().unwrap();
    assert_ne!(stamped(&cut[0].plain_path()), stamped(&key("logs/a.log").plain_path()));
}

#[test]
fn rotated_file_is_sealed_and_leads_followers_to_the_next_one() {
    let mut rig = rig();
    rig.open(1, "logs/a.log", None);
    rig.send(1, 1, 10, Durability::Synced);
    settle(&mut rig);
    let before = rig.writer.lookup(&key("logs/a.log")).unwrap().unwrap();
    rig.send(1, 2, 1, Durability::Synced);
    settle(&mut rig);
    let after = rig.writer.lookup(&key("logs/a.log")).unwrap().unwrap();
    let state = before.state();
    assert!(state.sealed && state.gone != Some(Gone::Deleted));
    assert!(Arc::ptr_eq(state.successor.as_ref().unwrap(), &after));
    assert_eq!((state.committed, before.key()), (10, rotated(&rig)[0].clone()));
    drop(state);
    rig.open(2, rotated(&rig)[0].path.as_str(), None);
    rig.send(2, 1, 1, Durability::Synced);
    assert_eq!(reason(&settle(&mut rig)[1]), ErrorReason::Sealed);
}

#[test]
fn all_channels_of_a_file_go_over() {
    let mut rig = rig();
    rig.open(1, "logs/a.log", Some(("p", 1)));
    rig.open(2, "logs/a.log", Some(("q", 1)));
    rig.send(1, 1, 6, Durability::Synced);
    rig.send(2, 1, 6, Durability::Synced);
    rig.send(1, 2, 4, Durability::Synced);
    let events = settle(&mut rig);
    let acks: Vec<_> = events[2..].iter().map(|event| (ack(event).through_seq, ack(event).first_offset)).collect();
    assert_eq!(acks, [(1, Some(0)), (1, Some(0)), (2, Some(6))]);
    let generations: Vec<_> = events[2..].iter().map(|event| ack(event).generation).collect();
    assert!(generations[0] != generations[1] && generations[1] == generations[2], "{generations:?}");
    let cut = rig.writer.files.id_of(&rotated(&rig)[0]).and_then(|id| rig.writer.files.get(id)).unwrap();
    assert_eq!((cut.channels, cut.producers.len()), (0, 0));
    let present = rig.writer.files.id_of(&key("logs/a.log")).and_then(|id| rig.writer.files.get(id)).unwrap();
    assert_eq!((present.channels, present.producers.len()), (2, 2));
}

#[test]
fn duplicate_rotates_nothing_and_is_told_where_it_is() {
    let mut rig = rig();
    rig.open(1, "logs/a.log", Some(("p", 1)));
    rig.send(1, 1, 10, Durability::Synced);
    let first = *ack(&settle(&mut rig)[1]);
    rig.send(1, 1, 10, Durability::Synced);
    let again = *ack(&settle(&mut rig)[0]);
    assert_eq!((again.duplicates, again.generation), (1, first.generation));
    assert_eq!(rotated(&rig), []);
    rig.send(1, 2, 3, Durability::Synced);
    rig.send(1, 1, 10, Durability::Synced);
    let events = settle(&mut rig);
    let (next, again) = (ack(&events[0]), ack(&events[1]));
    assert_eq!((next.through_seq, next.first_offset), (2, Some(0)));
    assert_eq!((again.duplicates, again.generation, again.first_offset), (1, first.generation, Some(0)));
    assert_ne!(next.generation, first.generation);
    assert_eq!(rotated(&rig).len(), 1);
}

#[test]
fn refused_append_rotates_nothing() {
    let mut rig = rig();
    rig.open(1, "logs/a.log", Some(("p", 1)));
    rig.send(1, 1, 10, Durability::Synced);
    rig.send(1, 3, 10, Durability::Synced);
    assert_eq!(reason(&settle(&mut rig)[2]), ErrorReason::SequenceGap);
    assert_eq!(rotated(&rig), []);
}

#[test]
fn one_append_that_is_too_large_by_itself_makes_a_file_of_its_own() {
    let mut rig = rig();
    rig.open(1, "logs/a.log", Some(("p", 1)));
    for (seq, len) in [(1, 30), (2, 1), (3, 30)] {
        rig.send(1, seq, len, Durability::Synced);
    }
    let ends: Vec<_> = settle(&mut rig)[1..].iter().map(|event| ack(event).end_offset).collect();
    assert_eq!(ends, [Some(30), Some(1), Some(30)]);
    let sizes: Vec<_> = files(&rig).into_iter().map(|(_, size)| size).collect();
    assert_eq!(sizes.iter().sum::<u64>(), 61);
    assert_eq!(rotated(&rig).len(), 2, "of the same millisecond, with names of their own");
}

#[test]
fn file_without_a_policy_is_not_cut() {
    let mut rig = rig();
    rig.open(1, "other/a.log", None);
    rig.send(1, 1, 10, Durability::Synced);
    rig.send(1, 2, 10, Durability::Synced);
    settle(&mut rig);
    assert_eq!(files(&rig), [("other/a.log".to_owned(), 20)]);
}

#[test]
fn foreign_change_is_not_rotated_away() {
    let mut rig = rig();
    rig.open(1, "logs/a.log", None);
    rig.send(1, 1, 10, Durability::Synced);
    settle(&mut rig);
    rig.writer.lookup(&key("logs/a.log")).unwrap().unwrap().state().foreign = Some("was modified".to_owned());
    rig.send(1, 2, 10, Durability::Synced);
    assert_eq!(reason(&settle(&mut rig)[0]), ErrorReason::ForeignChange);
    assert_eq!(rotated(&rig), []);
}

#[test]
fn question_after_a_rotation_tells_no_range_of_the_content_before() {
    let mut rig = rig();
    rig.open(1, "logs/a.log", Some(("p", 1)));
    rig.open(2, "logs/a.log", Some(("q", 1)));
    rig.send(1, 1, 10, Durability::Synced);
    rig.send(2, 1, 7, Durability::Synced);
    settle(&mut rig);
    let (reply, mut answer) = oneshot::channel();
    let tenant = Arc::clone(&rig.session.tenant);
    rig.writer.turns().push(&tenant, Item::WriteState { key: key("logs/a.log"), producer: Some("p".into()), reply });
    settle(&mut rig);
    let state = answer.try_recv().unwrap().unwrap();
    let producer = state.producer.unwrap();
    assert_eq!((state.next_offset, producer.last_seq, producer.last_range), (7, 1, None));
}

#[test]
fn path_that_a_checkpoint_knows_and_a_rotation_left_begins_anew() {
    let mut rig = rig();
    rig.open(1, "logs/a.log", None);
    rig.send(1, 1, 10, Durability::Synced);
    settle(&mut rig);
    let snapshot = rig.writer.snapshot(rig.now).unwrap();
    assert_eq!(snapshot.files.len(), 1);
    rig.send(1, 2, 3, Durability::Synced);
    settle(&mut rig);
    assert_eq!(rig.writer.lookup(&key("logs/a.log")).unwrap().unwrap().state().committed, 3);
    let (reply, mut answer) = oneshot::channel();
    let operation =
        Operation { key: rotated(&rig)[0].clone(), if_generation: None, operator: None, action: Action::Delete, reply };
    let tenant = Arc::clone(&rig.session.tenant);
    rig.writer.turns().push(&tenant, Item::Operation(Box::new(operation)));
    settle(&mut rig);
    assert_eq!(answer.try_recv().unwrap().unwrap().size, 10);
    assert_eq!(files(&rig), [("logs/a.log".to_owned(), 3)]);
}
