//! What the page cache holds of bytes that were just written to plain files: as much as readers who follow ask for, and no
//! more. Where pages are used again as soon as they are on the disk, writing goes at the speed of the disk; where each
//! byte goes into a page that was never touched, the first touch is what it costs (measured in a virtual machine on ext4,
//! 1 GiB into one file: 0.6 GiB/s and 1.7 s of processor time with fresh pages, 2.3 GiB/s and 0.3 s with used ones). And a
//! flood of writes does not push everything else out of memory.

use crate::shard::ids::FileId;
use inkpot_wal::fs::File;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// A file lets go of as much at once, in bytes; one that never gathers it is left to the operating system.
const PIECE_BYTES: u64 = 1 << 20;
/// What stays in memory of all files together, in bytes.
const KEPT_BYTES: u64 = 64 << 20;

/// Bytes that were written one after the other, and have not begun to go to the disk.
#[derive(Debug)]
struct Run {
    from: u64,
    end: u64,
}

/// Bytes that are on their way to the disk.
#[derive(Debug)]
struct Piece {
    file: Arc<dyn File>,
    from: u64,
    len: u64,
}

/// See the module. All of it are hints: nothing rests on them.
#[derive(Debug, Default)]
pub struct Trail {
    runs: HashMap<FileId, Run>,
    pieces: VecDeque<Piece>,
    bytes: u64,
}

impl Trail {
    /// Notes that so many bytes were written to a file.
    pub fn wrote(&mut self, id: FileId, file: &Arc<dyn File>, from: u64, len: u64) {
        let end = from + len;
        let run = self.runs.entry(id).or_insert(Run { from, end: from });
        if run.end != from {
            run.from = from;
        }
        run.end = end;
        if end - run.from >= PIECE_BYTES {
            let from = std::mem::replace(&mut run.from, end);
            self.let_go(Arc::clone(file), from, end - from);
        }
    }

    /// No more is written to a file.
    pub fn ended(&mut self, id: FileId, file: &Arc<dyn File>) {
        if let Some(run) = self.runs.remove(&id) {
            self.let_go(Arc::clone(file), run.from, run.end - run.from);
        }
    }

    /// Everything that was written is on the disk: what has gathered begins anew.
    pub fn synced(&mut self) {
        self.runs.clear();
    }

    fn let_go(&mut self, file: Arc<dyn File>, from: u64, len: u64) {
        // Brings it on its way; the second time it is there, and leaves.
        file.drop_cached(from, len);
        self.bytes += len;
        self.pieces.push_back(Piece { file, from, len });
        while self.bytes > KEPT_BYTES
            && let Some(oldest) = self.pieces.pop_front()
        {
            oldest.file.drop_cached(oldest.from, oldest.len);
            self.bytes -= oldest.len;
        }
    }
}

#[cfg(test)]
mod tests;
