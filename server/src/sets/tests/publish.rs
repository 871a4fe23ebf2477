//! Uploads that are published together, through every schedule.

use super::{
    schedule::{Bounds, Choices, run_all},
    world::{Sight, World, drive, runtime},
};
use crate::{
    sets::UploadWish,
    shard::{
        Mode,
        ids::{FileId, FileKey},
    },
};
use inkpot_proto::{error::Refused, v1::ErrorReason};
use std::sync::Arc;

/// A part of the set: what its path has before and after.
struct Part {
    key: FileKey,
    before: Sight,
    after: FileId,
    bytes: String,
}

struct Scene {
    world: World,
    parts: Vec<Part>,
    /// Whether somebody asks for the files while shards open, which brings them to memory.
    is_asked: bool,
}

impl Scene {
    /// One upload in each shard; every other one replaces a file.
    fn new(shards: u32, checkpointed: bool) -> Self {
        let mut world = World::new(shards);
        world.open_all();
        let mut parts = Vec::new();
        for shard in 0..shards as usize {
            let key = world.path_in(shard, "dir/f");
            let replaces = shard % 2 == 0;
            let before = replaces.then(|| world.write(&key, Mode::Append, "before", "what was there").1.unwrap());
            let bytes = format!("part {shard}");
            let mode = if replaces { Mode::Replace } else { Mode::Create };
            let after = world.write(&key, mode, "p", &bytes).1.unwrap();
            parts.push(Part { key, before: before.map_or(Sight::Nothing, Sight::File), after, bytes });
        }
        if checkpointed {
            world.checkpoint();
        }
        Self { world, parts, is_asked: !checkpointed }
    }

    fn wishes(&self) -> Vec<UploadWish> {
        let wish = |part: &Part| UploadWish {
            key: part.key.clone(),
            producer: "p".into(),
            epoch: Some(1),
            size: Some(part.bytes.len() as u64),
            crc32c: Some(crc32c::crc32c(part.bytes.as_bytes())),
        };
        self.parts.iter().map(wish).collect()
    }

    /// Whether the set has happened, as far as anybody is told.
    fn look(&self, world: &mut World) -> Option<bool> {
        let mut seen = None;
        for part in &self.parts {
            let happened = match world.look(&part.key) {
                Sight::Untold => continue,
                sight if sight == part.before => false,
                sight if sight == Sight::File(part.after) => true,
                other => panic!("{other:?} at {}: {:#?}", part.key, world.trace),
            };
            assert_eq!(*seen.get_or_insert(happened), happened, "torn at {}: {:#?}", part.key, world.trace);
            if happened && let Some(read) = world.read(&part.key) {
                assert_eq!(read, part.bytes.as_bytes(), "{}: {:#?}", part.key, world.trace);
            }
        }
        seen
    }

    async fn run(&self, choices: &mut Choices, bounds: Bounds) {
        let mut world = self.world.copy();
        world.open_all();
        world.bounds = bounds;
        if self.is_asked {
            world.asked = self.parts.iter().map(|part| part.key.clone()).collect();
        }
        let mut happened = false;
        let (sets, wishes) = (Arc::clone(&world.sets), self.wishes());
        let result = drive(&mut world, choices, async move { sets.publish(wishes).await }, |world, result, _| {
            self.check(world, result, &mut happened);
        });
        let result = result.await;
        let whole = self.look(&mut world).expect("at rest");
        self.check(&mut world, result.as_ref(), &mut happened);
        world.trace.push("the end".to_owned());
        world = self.start_again(world, whole);
        world.checkpoint();
        world = self.start_again(world, whole);
        // A retry settles it, whatever came before.
        let (sets, wishes) = (Arc::clone(&world.sets), self.wishes());
        let mut natural = Choices::default();
        let leader = async move { sets.publish(wishes).await };
        let again = drive(&mut world, &mut natural, leader, |_, _, _| {}).await.unwrap();
        let again = again.unwrap_or_else(|refused| panic!("{refused:?} at a retry: {:#?}", world.trace));
        if let Some(Ok(generations)) = result {
            assert_eq!(generations, again);
        }
        assert_eq!(self.look(&mut world), Some(true), "{:#?}", world.trace);
        for part in &self.parts {
            assert_eq!(world.plain(&part.key).as_deref(), Some(part.bytes.as_bytes()), "{:#?}", world.trace);
        }
    }

    fn check(&self, world: &mut World, result: Option<&Result<Vec<u64>, Refused>>, happened: &mut bool) {
        let seen = self.look(world);
        assert!(!*happened || seen != Some(false), "it was there before: {:#?}", world.trace);
        *happened |= seen == Some(true);
        match result {
            Some(Ok(_)) => assert_ne!(seen, Some(false), "acknowledged, and not there: {:#?}", world.trace),
            Some(Err(refused)) if refused.reason != ErrorReason::OutcomeUnknown => {
                assert!(!*happened, "refused as {refused:?}, and there: {:#?}", world.trace);
            }
            _ => {}
        }
    }

    fn start_again(&self, world: World, whole: bool) -> World {
        let mut world = world.started_again();
        world.open_all();
        assert!(world.is_at_rest(), "{:#?}", world.trace);
        assert_eq!(self.look(&mut world), Some(whole), "after another start: {:#?}", world.trace);
        world
    }
}

/// Runs all schedules; returns how many.
fn run(shards: u32, checkpointed: bool, bounds: Bounds) -> usize {
    let outer = runtime();
    let guard = outer.enter();
    let scene = Scene::new(shards, checkpointed);
    drop(guard);
    let count = run_all(|choices| runtime().block_on(scene.run(choices, bounds)));
    println!("{shards} shards, checkpointed {checkpointed}, {bounds:?}: {count} schedules");
    count
}

#[test]
fn set_over_two_shards_is_whole_or_absent_whatever_fails_once() {
    for checkpointed in [false, true] {
        assert!(run(2, checkpointed, Bounds { orders: 1, faults: 1 }) > 100);
    }
}

#[test]
fn set_over_two_shards_is_whole_or_absent_whatever_fails_twice() {
    assert!(run(2, true, Bounds { orders: 0, faults: 2 }) > 100);
}

#[test]
fn set_over_three_shards_is_whole_or_absent_whatever_fails_once() {
    for checkpointed in [false, true] {
        assert!(run(3, checkpointed, Bounds { orders: 0, faults: 1 }) > 30);
    }
}
