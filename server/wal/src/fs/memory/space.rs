//! How much of a volume is taken: bytes that were written, holes left out.

use std::collections::BTreeMap;

/// Capacity of a volume and what each file takes of it.
#[derive(Clone, Debug)]
pub(super) struct Space {
    pub(super) capacity: u64,
    used: u64,
    files: BTreeMap<u64, Extents>,
}

impl Space {
    pub(super) fn new(capacity: u64) -> Self {
        Self { capacity, used: 0, files: BTreeMap::new() }
    }

    pub(super) fn free(&self) -> u64 {
        self.capacity.saturating_sub(self.used)
    }

    /// Takes what a write of `len` bytes at `offset` needs; returns how many of these bytes found room.
    pub(super) fn take(&mut self, inode: u64, offset: u64, len: u64) -> u64 {
        let free = self.free();
        let extents = self.files.entry(inode).or_default();
        let end = extents.reach(offset, offset + len, free);
        self.used += extents.insert(offset, end);
        end - offset
    }

    /// Gives back what a file takes beyond `len`.
    pub(super) fn cut(&mut self, inode: u64, len: u64) {
        if let Some(extents) = self.files.get_mut(&inode) {
            self.used -= extents.cut(len);
        }
    }

    /// Makes a file take exactly its first `len` bytes, whether there is room or not.
    pub(super) fn force(&mut self, inode: u64, len: u64) {
        self.cut(inode, len);
        self.used += self.files.entry(inode).or_default().insert(0, len);
    }

    pub(super) fn release(&mut self, inode: u64) {
        self.cut(inode, 0);
        self.files.remove(&inode);
    }

    /// Counts a file as it is found after power loss: what `before` knew of it, up to its length now.
    pub(super) fn find(&mut self, inode: u64, len: u64, before: &Self) {
        let mut extents = before.files.get(&inode).cloned().unwrap_or_else(|| Extents(vec![(0, len)]));
        extents.cut(len);
        self.used += extents.0.iter().map(|(start, end)| end - start).sum::<u64>();
        self.files.insert(inode, extents);
    }
}

/// Byte ranges that are allocated: ascending, neither overlapping nor touching nor empty.
#[derive(Clone, Debug, Default)]
struct Extents(Vec<(u64, u64)>);

impl Extents {
    /// How far a write from `start` to `end` gets with `free` new bytes.
    fn reach(&self, start: u64, end: u64, mut free: u64) -> u64 {
        let mut at = start;
        let first = self.0.partition_point(|&(_, extent_end)| extent_end <= start);
        for &(extent_start, extent_end) in &self.0[first..] {
            let gap = extent_start.min(end).saturating_sub(at);
            if gap > free {
                return at + free;
            }
            free -= gap;
            at = extent_end.min(end);
            if at == end {
                return end;
            }
        }
        end.min(at.saturating_add(free))
    }

    /// Adds a range; returns how many bytes of it are new.
    fn insert(&mut self, start: u64, end: u64) -> u64 {
        if start == end {
            return 0;
        }
        let first = self.0.partition_point(|&(_, extent_end)| extent_end < start);
        let last = first + self.0[first..].partition_point(|&(extent_start, _)| extent_start <= end);
        let merged = self.0[first..last].iter().fold((start, end), |all, one| (all.0.min(one.0), all.1.max(one.1)));
        let before: u64 = self.0[first..last].iter().map(|(start, end)| end - start).sum();
        self.0.splice(first..last, [merged]);
        merged.1 - merged.0 - before
    }

    /// Drops what lies beyond `len`; returns how many bytes that were.
    fn cut(&mut self, len: u64) -> u64 {
        let mut dropped = 0;
        while let Some((start, end)) = self.0.last_mut().filter(|(_, end)| *end > len) {
            dropped += *end - len.max(*start);
            *end = len;
            if *start >= len {
                self.0.pop();
            }
        }
        dropped
    }
}
