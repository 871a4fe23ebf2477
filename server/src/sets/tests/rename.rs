//! A file that gets a path of another shard, through every schedule.

use super::{
    schedule::{Bounds, Choices, run_all},
    world::{Sight, World, drive, runtime},
};
use crate::shard::{
    Mode,
    ids::{FileId, FileKey},
    operation::{Done, Operator},
    outbox::Event,
};
use inkpot_proto::{error::Refused, v1::ErrorReason};
use std::sync::Arc;

const BYTES: &str = "what moves; ";
const MORE: &str = "more";

/// What the catalog has of the file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Catalogued {
    Nothing,
    /// All of it.
    Whole,
    /// What it was before its last append.
    Beginning,
}

struct Scene {
    world: World,
    from: FileKey,
    to: FileKey,
    file: FileId,
    /// What the new path has before.
    before: Sight,
    /// Whether somebody asks for the files while shards open, which brings them to memory.
    is_asked: bool,
    /// Whether it has more than it begins with.
    has_grown: bool,
}

/// What the client knows.
#[derive(Default)]
struct Known {
    happened: bool,
    /// Whether an append beside the rename was acknowledged.
    appended: bool,
}

impl Scene {
    fn new(replaces: bool, catalogued: Catalogued) -> Self {
        let mut world = World::new(2);
        world.open_all();
        let (from, to) = (world.path_in(1, "from/f"), world.path_in(0, "to/f"));
        let file = world.write(&from, Mode::Append, "p", BYTES).1.unwrap();
        let before = replaces.then(|| world.write(&to, Mode::Append, "q", "in the way").1.unwrap());
        if catalogued != Catalogued::Nothing {
            world.checkpoint();
        }
        let has_grown = catalogued == Catalogued::Beginning;
        if has_grown {
            world.write(&from, Mode::Append, "p", MORE).1.unwrap();
        }
        let before = before.map_or(Sight::Nothing, Sight::File);
        Self { world, from, to, file, before, is_asked: catalogued == Catalogued::Nothing, has_grown }
    }

    fn rename(&self, world: &World) -> impl Future<Output = Result<Done, Refused>> + use<> {
        let (sets, from, to) = (Arc::clone(&world.sets), self.from.clone(), self.to.clone());
        let replace = self.before != Sight::Nothing;
        let operator = Some(Operator { producer: "o".into(), epoch: 1, seq: 1 });
        async move { sets.rename(from, to, replace, None, operator).await }
    }

    fn look(&self, world: &mut World) -> Option<bool> {
        let from = match world.look(&self.from) {
            Sight::Untold => None,
            Sight::Nothing => Some(true),
            sight if sight == Sight::File(self.file) => Some(false),
            other => panic!("{other:?} at the old path: {:#?}", world.trace),
        };
        let to = match world.look(&self.to) {
            Sight::Untold => None,
            sight if sight == self.before => Some(false),
            sight if sight == Sight::File(self.file) => Some(true),
            other => panic!("{other:?} at the new path: {:#?}", world.trace),
        };
        assert!(from.is_none() || to.is_none() || from == to, "torn, {from:?} and {to:?}: {:#?}", world.trace);
        from.or(to)
    }

    fn bytes(known: &Known) -> String {
        if known.appended { format!("{BYTES}{MORE}") } else { BYTES.to_owned() }
    }

    fn check(&self, world: &mut World, result: Option<&Result<Done, Refused>>, beside: bool, known: &mut Known) {
        let seen = self.look(world);
        assert!(!known.happened || seen != Some(false), "it was there before: {:#?}", world.trace);
        known.happened |= seen == Some(true);
        match result {
            Some(Ok(_)) => assert_ne!(seen, Some(false), "acknowledged, and not there: {:#?}", world.trace),
            Some(Err(refused)) if refused.reason != ErrorReason::OutcomeUnknown => {
                assert!(!known.happened, "refused as {refused:?}, and there: {:#?}", world.trace);
            }
            _ => {}
        }
        if beside && world.is_open(&self.from) && world.look(&self.from) == Sight::File(self.file) {
            let events = world.write(&self.from, Mode::Append, "p", MORE).0;
            known.appended = events.iter().any(|event| matches!(event, Event::Ack { .. }));
            world.trace.push(format!("appended: {}", known.appended));
        }
        let path = if known.happened { &self.to } else { &self.from };
        if world.look(path) == Sight::File(self.file)
            && let Some(read) = world.read(path)
        {
            assert_eq!(String::from_utf8(read).unwrap(), Self::bytes(known), "{:#?}", world.trace);
        }
    }

    async fn run(&self, choices: &mut Choices, bounds: Bounds, beside: bool) {
        let mut world = self.world.copy();
        world.open_all();
        (world.bounds, world.beside) = (bounds, beside);
        if self.is_asked {
            world.asked = vec![self.from.clone(), self.to.clone()];
        }
        let mut known = Known { appended: self.has_grown, ..Known::default() };
        let leader = self.rename(&world);
        let result = drive(&mut world, choices, leader, |world, result, beside| {
            self.check(world, result, beside, &mut known);
        });
        let result = result.await;
        world.beside = false;
        let mut whole = self.look(&mut world).expect("at rest");
        if self.has_grown && !whole {
            // At once: what the last failure left is not mended by another start.
            let again = self.rename_again(&mut world).await;
            assert!(!again.duplicate, "{:#?}", world.trace);
            whole = true;
        }
        world.trace.push("the end".to_owned());
        world = self.start_again(world, whole, &known);
        world.checkpoint();
        world = self.start_again(world, whole, &known);
        // The operator tells a retry from another rename.
        let again = self.rename_again(&mut world).await;
        assert_eq!(again.duplicate, whole, "{:#?}", world.trace);
        if let Some(Ok(done)) = result {
            assert_eq!(again.generation, done.generation);
        }
        assert_eq!(self.look(&mut world), Some(true), "{:#?}", world.trace);
        self.start_again(world, true, &known);
    }

    async fn rename_again(&self, world: &mut World) -> Done {
        let leader = self.rename(world);
        let again = drive(world, &mut Choices::default(), leader, |_, _, _| {}).await.unwrap();
        again.unwrap_or_else(|refused| panic!("{refused:?} at a retry: {:#?}", world.trace))
    }

    /// Everything that a client knows is there after another start.
    fn start_again(&self, world: World, whole: bool, known: &Known) -> World {
        let mut world = world.started_again();
        world.open_all();
        assert!(world.is_at_rest(), "{:#?}", world.trace);
        assert_eq!(self.look(&mut world), Some(whole), "after another start: {:#?}", world.trace);
        let (path, other) = if whole { (&self.to, &self.from) } else { (&self.from, &self.to) };
        let plain = world.plain(path).map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(plain, Some(Self::bytes(known)), "{:#?}", world.trace);
        let other = world.plain(other).is_some();
        assert_eq!(other, !whole && self.before != Sight::Nothing, "{:#?}", world.trace);
        let mut beside = world.copy();
        beside.open_all();
        assert_eq!(beside.last_seq(path, "p"), Some(1 + u64::from(known.appended)), "{:#?}", world.trace);
        world
    }
}

/// Runs all schedules; returns how many.
fn run(bounds: Bounds, beside: bool, scenes: &[(bool, Catalogued)]) -> usize {
    let outer = runtime();
    let mut count = 0;
    for (replaces, catalogued) in scenes {
        let guard = outer.enter();
        let scene = Scene::new(*replaces, *catalogued);
        drop(guard);
        count += run_all(|choices| runtime().block_on(scene.run(choices, bounds, beside)));
    }
    println!("{bounds:?}, beside {beside}: {count} schedules");
    count
}

const ALL: [(bool, Catalogued); 6] = [
    (false, Catalogued::Nothing),
    (false, Catalogued::Whole),
    (false, Catalogued::Beginning),
    (true, Catalogued::Nothing),
    (true, Catalogued::Whole),
    (true, Catalogued::Beginning),
];

#[test]
fn file_is_at_one_path_with_all_bytes_whatever_fails_once() {
    assert!(run(Bounds { orders: 1, faults: 1 }, false, &ALL) > 100);
}

#[test]
fn file_is_at_one_path_with_all_bytes_whatever_fails_twice() {
    assert!(run(Bounds { orders: 0, faults: 2 }, false, &[(true, Catalogued::Whole)]) > 100);
}

#[test]
fn no_append_beside_a_rename_is_lost_whatever_fails_once() {
    // One scene has all of it: a file from before the last checkpoint, and one in its way.
    assert!(run(Bounds { orders: 0, faults: 1 }, true, &[(true, Catalogued::Whole)]) > 100);
}
