//! What operations may have done to files.

use super::{AppendId, Deed, Event, History, Operation, OperationId};

/// What an operation does to the file of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect<'a> {
    /// Its content is gone.
    Ends,
    /// So many bytes become another generation.
    Cuts(u64),
    /// It gets this path.
    Moves(&'a str),
}

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing was done.
    Denied,
    /// Nobody knows.
    Unknown,
    /// It was done.
    Done,
}

/// An operation, and when it happened, by the index of the event.
#[derive(Clone, Copy, Debug)]
pub struct Course<'a> {
    pub operation: &'a Operation,
    pub fate: Fate,
    /// When somebody first asked.
    pub asked: usize,
    /// When it was over: never, as long as nobody knows.
    pub over: usize,
    /// By when it has happened, if that is known.
    pub happened: Option<usize>,
    /// What was told when it was done.
    pub generations: &'a [u64],
}

/// The courses of all operations, by their number.
pub struct Courses<'a>(Vec<Course<'a>>);

/// The path of the file of which a path is what was rotated away; else the path itself.
pub fn base(path: &str) -> String {
    let name = path.rfind('/').map_or(0, |at| at + 1);
    let Some(mark) = path[name..].find('@').map(|at| at + name) else { return path.to_owned() };
    let end = path[mark..].find('.').map_or(path.len(), |at| at + mark);
    format!("{}{}", &path[..mark], &path[end..])
}

/// Whether this is the path, or one that its file may have been rotated to.
fn leads_to(path: &str, file: &str) -> bool {
    path == file || base(path) == file
}

impl Operation {
    /// What it may do to the file that a path had, with this generation if that is known.
    fn effects(&self, file: &str, generation: Option<u64>) -> Vec<Effect<'_>> {
        let is_meant = self.if_generation.is_none_or(|wanted| generation.is_none_or(|generation| generation == wanted));
        let effect = match &self.deed {
            Deed::Rename { from, to, .. } if from == to => None,
            Deed::Rename { from, to, replace } => {
                let moves = (leads_to(from, file) && is_meant).then_some(Effect::Moves(to.as_str()));
                let ends = (leads_to(to, file) && *replace).then_some(Effect::Ends);
                return moves.into_iter().chain(ends).collect();
            }
            Deed::Delete { path } => (leads_to(path, file) && is_meant).then_some(Effect::Ends),
            Deed::DeletePrefix { prefix } => file.starts_with(prefix).then_some(Effect::Ends),
            Deed::Truncate { path, size } => (leads_to(path, file) && is_meant).then_some(Effect::Cuts(*size)),
            Deed::Publish { parts } => {
                let replaces = parts.iter().any(|part| part.replace && leads_to(&part.path, file));
                (replaces && is_meant).then_some(Effect::Ends)
            }
            Deed::Seal { .. } => None,
        };
        effect.into_iter().collect()
    }

    /// Whether a path for which this holds is among those that it changes.
    fn changes(&self, file: &str, is_it: impl Fn(&str) -> bool) -> bool {
        match &self.deed {
            Deed::Delete { path } | Deed::Truncate { path, .. } => is_it(path),
            Deed::Seal { .. } => false,
            Deed::DeletePrefix { prefix } => file.starts_with(prefix),
            Deed::Rename { from, to, .. } => from != to && (is_it(from) || is_it(to)),
            Deed::Publish { parts } => parts.iter().any(|part| is_it(&part.path)),
        }
    }
}

impl<'a> Courses<'a> {
    pub fn of(history: &'a History) -> Self {
        let course = |operation| Course {
            operation,
            fate: Fate::Denied,
            asked: usize::MAX,
            over: usize::MAX,
            happened: None,
            generations: &[],
        };
        let mut courses: Vec<Course<'a>> = history.operations.iter().map(course).collect();
        for (at, event) in history.events.iter().enumerate() {
            match event {
                Event::Asked(id) if courses[*id].asked == usize::MAX => {
                    (courses[*id].fate, courses[*id].asked) = (Fate::Unknown, at);
                }
                Event::Denied(id) => courses[*id].fate = Fate::Denied,
                Event::Done { operation, generations, .. } => {
                    let course = &mut courses[*operation];
                    (course.fate, course.over, course.generations) = (Fate::Done, at, generations);
                    course.happened = Some(at);
                }
                _ => {}
            }
        }
        Self(courses)
    }

    /// Notes that somebody saw an upload: whatever alone may have published it has happened by then.
    pub fn saw(&mut self, upload: AppendId, at: usize) {
        let mut by: Vec<&mut Course<'a>> = self.0.iter_mut().filter(|course| course.publishes(upload)).collect();
        if let [course] = by.as_mut_slice() {
            course.happened = course.happened.map(|before| before.min(at)).or(Some(at));
        }
    }

    pub fn get(&self, id: OperationId) -> &Course<'a> {
        &self.0[id]
    }

    /// Those that may have been done.
    pub fn possible(&self) -> impl Iterator<Item = &Course<'a>> {
        self.0.iter().filter(|course| course.fate != Fate::Denied)
    }

    /// What may have happened, from then on, to the file that a path had. If it is known which operation ended it, only that.
    pub fn effects(&self, file: &str, generation: Option<u64>, since: usize) -> Vec<(&Course<'a>, Effect<'a>)> {
        let since = self.possible().filter(|course| course.over >= since);
        let effects = |course: &Course<'a>| course.operation.effects(file, generation);
        let all: Vec<_> =
            since.flat_map(|course| effects(course).into_iter().map(move |effect| (course, effect))).collect();
        let is_sure = |(course, _): &(&Course<'a>, Effect<'a>)| {
            let names_it = course.operation.if_generation.is_some_and(|wanted| Some(wanted) == generation);
            // A rename names the generation at its old path.
            names_it && course.fate == Fate::Done && !course.is_rename()
        };
        let sure: Vec<_> = all.iter().copied().filter(is_sure).collect();
        if sure.is_empty() { all } else { sure }
    }

    /// Whether no operation may have changed what the path leads to.
    pub fn leave_alone(&self, file: &str) -> bool {
        !self.possible().any(|course| course.names(file))
    }

    /// Whether a rename may have given the path to another file, or taken its file away.
    pub fn rename(&self, file: &str) -> bool {
        self.possible().any(|course| course.is_rename() && course.names(file))
    }

    /// Whether a file may have got from one path to another.
    pub fn connect(&self, from: &str, to: &str) -> bool {
        let mut reached = vec![from.to_owned()];
        let mut next = 0;
        while let Some(path) = reached.get(next).cloned() {
            if path == base(to) || path == to {
                return true;
            }
            for course in self.possible() {
                let Deed::Rename { from, to, .. } = &course.operation.deed else { continue };
                if leads_to(from, &path) && !reached.contains(to) {
                    reached.push(to.clone());
                }
            }
            next += 1;
        }
        false
    }

    /// Sizes that cuts may have left.
    pub fn cuts(&self) -> impl Iterator<Item = u64> {
        self.possible().filter_map(|course| match course.operation.deed {
            Deed::Truncate { size, .. } => Some(size),
            _ => None,
        })
    }

    /// Whether some operation may have published an upload.
    pub fn publish(&self, upload: AppendId) -> bool {
        self.0.iter().any(|course| course.publishes(upload))
    }
}

impl Course<'_> {
    fn publishes(&self, upload: AppendId) -> bool {
        let Deed::Publish { parts } = &self.operation.deed else { return false };
        self.fate != Fate::Denied && parts.iter().any(|part| part.upload == upload)
    }

    pub fn is_rename(&self) -> bool {
        matches!(self.operation.deed, Deed::Rename { .. })
    }

    /// Whether it may change what the path leads to, or what was rotated away from there.
    pub fn names(&self, file: &str) -> bool {
        self.operation.changes(file, |path| leads_to(path, file))
    }

    /// Whether it may have given the path to the file with that generation.
    pub fn may_bring(&self, file: &str, generation: u64) -> bool {
        let Deed::Rename { from, to, .. } = &self.operation.deed else { return false };
        from != to && to == file && (self.generations.is_empty() || self.generations.contains(&generation))
    }

    /// Whether it changes what the path leads to.
    pub fn takes(&self, file: &str) -> bool {
        self.operation.changes(file, |path| path == file)
    }
}
