//! A real text to stream: the sources below the current directory, the tool's own sources, or stdin. Lines keep their
//! newlines and share the buffers that were read.

use bytes::Bytes;
use std::{
    collections::VecDeque,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Most bytes of text: it stays in memory to be compared in the end.
const MOST_BYTES: u64 = 64 << 20;
/// Most directory entries looked at.
const MOST_ENTRIES: usize = 100_000;
const EXTENSIONS: [&str; 3] = ["rs", "md", "proto"];
/// What is streamed where no source tree is.
const OWN_SOURCES: [&str; 6] = [
    include_str!("mod.rs"),
    include_str!("text.rs"),
    include_str!("verify.rs"),
    include_str!("../append.rs"),
    include_str!("../bench/load.rs"),
    include_str!("../../../../proto/inkpot/v1/write.proto"),
];

/// Lines to stream, and where they come from.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) origin: String,
    pub(super) lines: Vec<Bytes>,
}

impl Text {
    /// The sources below `directory`; without any, those of the tool itself.
    pub(super) fn of_sources(directory: &Path) -> Self {
        let mut lines = Vec::new();
        let mut bytes = 0;
        let mut read = 0;
        for path in sources_below(directory) {
            let Ok(content) = fs::read(&path) else { continue };
            bytes += content.len() as u64;
            if bytes > MOST_BYTES {
                break;
            }
            read += 1;
            split(content.into(), &mut lines);
        }
        if lines.is_empty() {
            OWN_SOURCES.iter().for_each(|source| split(Bytes::from_static(source.as_bytes()), &mut lines));
            return Self { origin: "the sources of this tool".to_owned(), lines };
        }
        Self { origin: format!("{read} source files below {}", directory.display()), lines }
    }

    /// All of a stream.
    ///
    /// # Errors
    /// It cannot be read, or it is longer than what is kept in memory.
    pub(super) fn of_stream(source: impl Read) -> io::Result<Self> {
        let mut content = Vec::new();
        source.take(MOST_BYTES + 1).read_to_end(&mut content)?;
        if content.len() as u64 > MOST_BYTES {
            return Err(io::Error::other(format!("the text is longer than {} MiB", MOST_BYTES >> 20)));
        }
        let mut lines = Vec::new();
        split(content.into(), &mut lines);
        Ok(Self { origin: "stdin".to_owned(), lines })
    }

    /// Repeats the whole text until it has at least `least` lines. Gives how often it stands there then.
    pub(super) fn repeat_to(&mut self, least: usize) -> usize {
        let once = self.lines.len();
        let times = least.div_ceil(once.max(1)).max(1);
        for _ in 1..times {
            self.lines.extend_from_within(..once);
        }
        times
    }
}

/// Cuts after each newline. A last line without one is a line too.
fn split(mut content: Bytes, lines: &mut Vec<Bytes>) {
    while !content.is_empty() {
        let end = content.iter().position(|byte| *byte == b'\n').map_or(content.len(), |at| at + 1);
        lines.push(content.split_to(end));
    }
}

/// Source files in the order of their paths. Hidden directories, build output and symbolic links are left out.
fn sources_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut looked_at = 0;
    let mut waiting = VecDeque::from([directory.to_owned()]);
    while let Some(directory) = waiting.pop_front() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            looked_at += 1;
            if looked_at > MOST_ENTRIES {
                break;
            }
            let name = entry.file_name();
            let skipped = name == "target" || name.to_string_lossy().starts_with('.');
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && !skipped => waiting.push_back(path),
                Ok(kind) if kind.is_file() && is_source(&path) => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

fn is_source(path: &Path) -> bool {
    path.extension().and_then(|extension| extension.to_str()).is_some_and(|extension| EXTENSIONS.contains(&extension))
}

#[cfg(test)]
mod tests;
