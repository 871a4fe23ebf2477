//! Sums of directories from a list of files in byte order of their paths. In that order all paths of a directory stand
//! together, so a directory is complete with the first path that is not in it.

/// What the files below a directory, or below the prefix, take together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    /// The directory, with the `/` at its end; or the prefix.
    pub(super) path: String,
    /// How many directories below the prefix it is; 0: the prefix itself.
    pub(super) depth: usize,
    /// Bytes that the files hold.
    pub(super) size: u64,
    /// Bytes that their plain files take.
    pub(super) stored_size: u64,
    pub(super) files: u64,
}

impl Sum {
    fn take(&mut self, size: u64, stored_size: u64, files: u64) {
        self.size = self.size.saturating_add(size);
        self.stored_size = self.stored_size.saturating_add(stored_size);
        self.files += files;
    }
}

/// The directories that are not complete, from the prefix down to the last one that had a file.
#[derive(Debug)]
pub(super) struct Sums {
    prefix: Sum,
    open: Vec<Sum>,
}

impl Sums {
    /// Sums of the files whose path begins with `prefix`.
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: Sum { path: prefix.to_owned(), ..Sum::default() }, open: Vec::new() }
    }

    /// Takes the next file; gives the directories that are complete with that, from the inside out.
    pub(super) fn add(&mut self, path: &str, size: u64, stored_size: u64) -> Vec<Sum> {
        let mut complete = Vec::new();
        while self.open.last().is_some_and(|last| !path.starts_with(&last.path)) {
            complete.extend(self.close());
        }
        let known = self.open.last().map_or(self.prefix.path.len(), |last| last.path.len());
        for (at, _) in path.match_indices('/').filter(|(at, _)| *at >= known) {
            let depth = self.open.len() + 1;
            self.open.push(Sum { path: path[..=at].to_owned(), depth, ..Sum::default() });
        }
        self.open.last_mut().unwrap_or(&mut self.prefix).take(size, stored_size, 1);
        complete
    }

    /// Gives what is left, the sum of all as the last one.
    pub(super) fn finish(mut self) -> Vec<Sum> {
        let mut complete = Vec::new();
        while let Some(sum) = self.close() {
            complete.push(sum);
        }
        complete.push(self.prefix);
        complete
    }

    /// Completes the innermost directory; what it has counts for the one around it.
    fn close(&mut self) -> Option<Sum> {
        let sum = self.open.pop()?;
        self.open.last_mut().unwrap_or(&mut self.prefix).take(sum.size, sum.stored_size, sum.files);
        Some(sum)
    }
}
