//! What clients do, drawn by lot from what makes sense, and some that does not.

use super::{
    History, PATHS, PRODUCERS,
    ask::Deed,
    tree::{File, Kept, Tree},
};
use crate::{
    recovery::tests::machine::{Stop, key},
    shard::{Ending, Mode},
};
use bytes::Bytes;
use inkpot_proto::v1::Durability;
use rand::{Rng, rngs::SmallRng};

/// An operation that was asked for with an operator: its path, what it does, who does it.
pub type Signed = (&'static str, Deed, (&'static str, u64, u64));

fn one_of<T: Copy>(rng: &mut SmallRng, of: &[T]) -> T {
    of[rng.random_range(0..of.len())]
}

fn data(rng: &mut SmallRng, most: usize) -> Bytes {
    let len = rng.random_range(1..=most);
    (0..len).map(|_| rng.random_range(b'a'..=b'z')).collect::<Vec<u8>>().into()
}

/// The next seq of a producer, with its epoch.
fn next(file: Option<&File>, producer: &str) -> (u64, u64) {
    let known = file.and_then(|file| file.producers.get(producer));
    known.map_or((1, 1), |known| (known.epoch, known.last_seq + 1))
}

/// What clients remember beside the model.
#[derive(Debug, Default)]
pub struct Clients {
    signed: Vec<Signed>,
}

impl Clients {
    /// One of them asks for something, or time goes by.
    pub fn step(&mut self, history: &mut History, rng: &mut SmallRng) -> Result<(), Stop> {
        match rng.random_range(0..100) {
            0..8 => open_file(history, rng),
            8..18 => open_upload(history, rng),
            18..44 => send(history, rng),
            44..54 => finish(history, rng),
            54..68 => self.operate(history, rng)?,
            68..71 => self.repeat(history, rng)?,
            71..84 => history.commit()?,
            84..93 => history.stage(rng.random_range(1..9))?,
            93..96 => history.round()?,
            96..97 => history.tick(rng.random_range(1..200))?,
            97..98 => history.checkpoint_beside(|history| self.some(history, rng, 5))?,
            _ => {
                history.settle()?;
                history.checkpoint()?;
            }
        }
        Ok(())
    }

    fn some(&mut self, history: &mut History, rng: &mut SmallRng, steps: u32) -> Result<(), Stop> {
        for _ in 0..steps {
            match rng.random_range(0..4) {
                0 => send(history, rng),
                1 => finish(history, rng),
                2 => self.operate(history, rng)?,
                _ => open_upload(history, rng),
            }
        }
        history.settle()
    }

    fn operate(&mut self, history: &mut History, rng: &mut SmallRng) -> Result<(), Stop> {
        let tree = history.book.ahead();
        let there = named(history);
        let path = if there.is_empty() || rng.random_ratio(1, 10) { one_of(rng, &PATHS) } else { one_of(rng, &there) };
        let deed = match rng.random_range(0..10) {
            0..3 => Deed::Delete,
            3..4 => Deed::Seal,
            4..8 => Deed::Rename { to: one_of(rng, &PATHS), replace: rng.random() },
            _ => {
                let name = history.name(path);
                let view = history.machine.writer().lookup(&key(&name))?;
                let most = view.map_or(8, |view| usize::try_from(view.state().committed).unwrap());
                Deed::Truncate { len: rng.random_range(0..=most) }
            }
        };
        let mut operator = None;
        if rng.random_ratio(2, 3) {
            let producer = one_of(rng, &PRODUCERS);
            if uploads(history, path, producer) {
                // Of a producer with an upload to the path one is told that.
                return Ok(());
            }
            let (epoch, seq) = next(tree.at(path).map(|(_, file)| file), producer);
            let by = if rng.random_ratio(1, 10) { (producer, epoch + 1, 1) } else { (producer, epoch, seq) };
            self.signed.push((path, deed, by));
            operator = Some(by);
        }
        let if_generation = if_generation(&tree, path, rng);
        history.operate(path, deed, operator, if_generation)
    }

    /// An answer was lost, or came late: the client asks again.
    fn repeat(&mut self, history: &mut History, rng: &mut SmallRng) -> Result<(), Stop> {
        let from = self.signed.len().saturating_sub(3);
        let Some((path, deed, by)) = (from < self.signed.len()).then(|| one_of(rng, &self.signed[from..])) else {
            return Ok(());
        };
        if uploads(history, path, by.0) || history.book.tree().name_of(path).is_none() {
            return Ok(());
        }
        history.operate(path, deed, Some(by), None)
    }
}

/// Whether a producer has an upload to a path, or may have if its end is refused: one is told of that then, and cannot
/// see what it is in the file at the path.
fn uploads(history: &History, path: &str, producer: &str) -> bool {
    [history.book.ahead(), history.book.tree().clone()].iter().any(|tree| tree.upload_of(path, producer).is_some())
}

/// The paths at which there is something that clients can name.
fn named(history: &History) -> Vec<&'static str> {
    let (tree, ahead) = (history.book.tree(), history.book.ahead());
    ahead.paths.keys().copied().filter(|path| tree.name_of(path).is_some()).collect()
}

fn if_generation(tree: &Tree, path: &str, rng: &mut SmallRng) -> Option<u64> {
    match rng.random_range(0..10) {
        0..7 => None,
        7..9 => tree.generation_at(path),
        _ => Some(rng.random_range(0..3)),
    }
}

fn wanted_epoch(file: Option<&File>, producer: &'static str, rng: &mut SmallRng) -> (&'static str, u64) {
    let (epoch, _) = next(file, producer);
    (producer, one_of(rng, &[0, epoch, epoch, epoch, epoch + 1]))
}

fn open_file(history: &mut History, rng: &mut SmallRng) {
    let tree = history.book.ahead();
    let there = named(history);
    let path = if there.is_empty() || rng.random_ratio(9, 10) { one_of(rng, &PATHS) } else { one_of(rng, &there) };
    let producer = one_of(rng, &PRODUCERS);
    if uploads(history, path, producer) {
        return;
    }
    let there = tree.at(path).map(|(_, file)| file);
    let by = rng.random_ratio(4, 5).then(|| wanted_epoch(there, producer, rng));
    history.open(path, Mode::Append, by);
}

fn open_upload(history: &mut History, rng: &mut SmallRng) {
    let tree = history.book.ahead();
    let begun: Vec<_> = tree.files.values().filter(|file| file.upload.is_some() && !file.gone).collect();
    if !begun.is_empty() && rng.random_ratio(1, 2) {
        let file = begun[rng.random_range(0..begun.len())];
        let upload = file.upload.unwrap();
        let Some(producer) = upload.producer else { return };
        let mode = if upload.replace { Mode::Replace } else { Mode::Create };
        let by = wanted_epoch(Some(file), producer, rng);
        history.open_if(file.path, mode, Some(by), upload.if_generation);
        return;
    }
    let (path, producer) = (one_of(rng, &PATHS), one_of(rng, &PRODUCERS));
    let mode = one_of(rng, &[Mode::Create, Mode::Replace]);
    let by = rng.random_ratio(4, 5).then(|| (producer, one_of(rng, &[0, 1, 1, 2])));
    let if_generation = if_generation(&tree, path, rng);
    history.open_if(path, mode, by, if_generation);
}

/// A few appends of a channel, new ones or one that was sent before.
fn send(history: &mut History, rng: &mut SmallRng) {
    let mut tree = history.book.ahead();
    let usable: Vec<u32> =
        tree.channels.iter().filter(|(_, channel)| !channel.refused).map(|(number, _)| *number).collect();
    if usable.is_empty() {
        return open_file(history, rng);
    }
    let number = one_of(rng, &usable);
    for _ in 0..rng.random_range(1..4) {
        let channel = &tree.channels[&number];
        let known = channel.producer.and_then(|name| tree.files[&channel.file].producers.get(name));
        let before = known.and_then(|known| known.kept.iter().next_back());
        let (seq, bytes) = match before {
            Some((seq, Kept::Append { data, .. })) if rng.random_ratio(1, 10) => (*seq, data.clone()),
            _ => (known.map_or(channel.taken, |known| known.last_seq) + 1, data(rng, 400)),
        };
        let durability = one_of(rng, &[Durability::Written, Durability::Synced]);
        history.send(number, seq, bytes, durability);
        tree = history.book.ahead();
        if !tree.channels.contains_key(&number) || tree.channels[&number].refused {
            return;
        }
    }
}

fn finish(history: &mut History, rng: &mut SmallRng) {
    let tree = history.book.ahead();
    let open: Vec<u32> = tree.channels.keys().copied().collect();
    if open.is_empty() {
        return open_upload(history, rng);
    }
    let number = one_of(rng, &open);
    let content = &tree.files[&tree.channels[&number].file].content;
    let (size, crc32c) = (content.len() as u64, crc32c::crc32c(content));
    let ending = match rng.random_range(0..10) {
        0..3 => Ending::Commit { size: Some(size), crc32c: Some(crc32c) },
        3..6 => Ending::Commit { size: None, crc32c: None },
        6 => Ending::Commit { size: Some(size + 1), crc32c: None },
        7 => Ending::Commit { size: None, crc32c: Some(crc32c ^ 1) },
        8 => Ending::Abort,
        _ => Ending::LeaveOpen,
    };
    history.finish(number, ending);
}
