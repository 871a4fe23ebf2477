//! What a machine finds after it stopped without warning.

use std::collections::{BTreeMap, BTreeSet};

use rand::{Rng, rngs::SmallRng};

use super::{
    image::{Body, Image},
    journal::{Data, Journal, Meta, Pending},
    space::Space,
    state::State,
};

/// The unit that a disk writes whole, in bytes.
const SECTOR_BYTES: u64 = 512;

/// How much of what was not synced survives. What was synced always does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Power loss: nothing of it.
    Nothing,
    /// Power loss: the operations up to some point, in the order in which they were done on the whole volume.
    Prefix,
    /// Power loss: any of the operations, each for itself, left out where what it builds on did not survive.
    Subset,
    /// Power loss: as [`Loss::Subset`], and any sectors of each write (now and then torn within a sector), whether or
    /// not the size of the file tells of them.
    Torn,
    /// Death of the process only: the machine goes on and holds everything, and has synced no more than before.
    All,
}

impl Loss {
    /// Each of them.
    pub const EVERY: [Self; 5] = [Self::Nothing, Self::Prefix, Self::Subset, Self::Torn, Self::All];
}

impl Pending<'_> {
    pub(super) fn apply(&self, image: &mut Image) {
        match self {
            Self::Data(inode, data) => data.apply(image, *inode),
            Self::Meta(meta) => meta.apply(image),
        }
    }
}

/// The machine after it was started again.
pub(super) fn after(state: &State, how: Loss, rng: &mut SmallRng) -> State {
    if how == Loss::All {
        return after_kill(state, rng);
    }
    let mut found = state.durable.clone();
    let pending = state.journal.in_order();
    let chosen = choose(&pending, how, rng);
    for pending in pending.into_iter().zip(chosen).filter_map(|(pending, is_chosen)| is_chosen.then_some(pending)) {
        survive(pending, how, &mut found, rng);
    }
    if how != Loss::Nothing {
        write_back_times(state, &mut found, rng);
    }
    found.drop_unreachable();
    let mut space = Space::new(state.space.capacity);
    for (number, inode) in &found.inodes {
        if let Body::File(content) = &inode.body {
            space.find(*number, content.len() as u64, &state.space);
        }
    }
    restarted(state, found.clone(), found, Journal::default(), space)
}

fn restarted(before: &State, current: Image, durable: Image, journal: Journal, space: Space) -> State {
    State {
        current,
        durable,
        journal,
        space,
        handles: BTreeMap::new(),
        next_inode: before.next_inode,
        clock: before.clock + 1,
        operations: 0,
        fail_from: None,
    }
}

/// The kernel lives: whatever was not synced is still not synced.
fn after_kill(state: &State, rng: &mut SmallRng) -> State {
    let mut current = state.current.clone();
    let mut journal = state.journal.clone();
    let mut space = state.space.clone();
    for (inode, data) in journal.all_data_mut() {
        if let Data::Write { offset, bytes, interrupted: interrupted @ true } = data {
            let room = space.take(inode, *offset, rng.random_range(0..=bytes.len() as u64));
            bytes.truncate(usize::try_from(room).unwrap_or(usize::MAX));
            *interrupted = false;
            current.write(inode, *offset, bytes);
        }
    }
    let mut state = restarted(state, current, state.durable.clone(), journal, space);
    let inodes: Vec<u64> = state.current.inodes.keys().copied().collect();
    inodes.into_iter().for_each(|inode| state.forget_unused(inode));
    state
}

/// Which of the operations survive.
fn choose(pending: &[Pending<'_>], how: Loss, rng: &mut SmallRng) -> Vec<bool> {
    let mut chosen: Vec<bool> = match how {
        Loss::Nothing => vec![false; pending.len()],
        Loss::Prefix => {
            let kept = rng.random_range(0..=pending.len());
            (0..pending.len()).map(|index| index < kept).collect()
        }
        Loss::Subset | Loss::Torn | Loss::All => {
            let odds = rng.random_range(1..=7);
            pending.iter().map(|_| rng.random_ratio(odds, 8)).collect()
        }
    };
    take_ids_along(pending, &mut chosen);
    chosen
}

/// An inode that was moved has the attributes that it had when it was moved: journals keep that order.
fn take_ids_along(pending: &[Pending<'_>], chosen: &mut [bool]) {
    let mut moved = BTreeSet::new();
    for (pending, is_chosen) in pending.iter().zip(chosen).rev() {
        match pending {
            Pending::Meta(meta @ (Meta::Move { .. } | Meta::Exchange { .. })) if *is_chosen => {
                moved.extend(meta.inodes().into_iter().flatten());
            }
            Pending::Meta(Meta::FileId { inode, .. }) => *is_chosen |= moved.contains(inode),
            _ => {}
        }
    }
}

fn survive(pending: Pending<'_>, how: Loss, found: &mut Image, rng: &mut SmallRng) {
    match pending {
        Pending::Data(inode, Data::Write { offset, bytes, .. }) if how == Loss::Torn && rng.random_ratio(2, 3) => {
            tear(found, inode, *offset, bytes, rng);
        }
        Pending::Data(inode, Data::Write { offset, bytes, interrupted: true }) => {
            found.write(inode, *offset, &bytes[..rng.random_range(0..=bytes.len())]);
        }
        pending => pending.apply(found),
    }
}

/// Writes some of the pieces of a write, and perhaps the size that it would have led to.
fn tear(found: &mut Image, inode: u64, offset: u64, bytes: &[u8], rng: &mut SmallRng) {
    let Some(len_before) = found.content(inode).map(|content| content.len() as u64) else { return };
    let end = offset + bytes.len() as u64;
    if rng.random_ratio(1, 8) {
        let (head, tail) = bytes.split_at(rng.random_range(0..=bytes.len()));
        let (at, piece) = if rng.random() { (offset, head) } else { (offset + head.len() as u64, tail) };
        found.write(inode, at, piece);
    } else {
        for (at, piece) in sectors(offset, bytes) {
            if rng.random() {
                found.write(inode, at, piece);
            }
        }
    }
    if end > len_before {
        let len = match rng.random_range(0..3) {
            0 => len_before,
            1 => end,
            _ => rng.random_range(len_before..=end),
        };
        found.set_len(inode, len);
    }
}

/// The pieces of a write that lie in one sector each, with their offsets.
fn sectors(offset: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let into_first = usize::try_from(offset % SECTOR_BYTES).unwrap_or_default();
    let first = bytes.len().min(SECTOR_BYTES as usize - into_first);
    let (head, rest) = bytes.split_at(first);
    let rest_offset = offset + first as u64;
    let rest = rest.chunks(SECTOR_BYTES as usize).zip(0..);
    std::iter::once((offset, head)).chain(rest.map(move |(piece, number)| (rest_offset + number * SECTOR_BYTES, piece)))
}

/// Times of modification reach the disk whenever it suits the kernel.
fn write_back_times(state: &State, found: &mut Image, rng: &mut SmallRng) {
    for (number, inode) in &mut found.inodes {
        if let Some(current) = state.current.inodes.get(number)
            && rng.random()
        {
            inode.modified = current.modified;
        }
    }
}
