//! Which paths a policy is for.

use inkpot_proto::path::FilePath;
use std::fmt;

/// What stands for any components if it is one.
const ANY_DEPTH: &str = "**";
const ANY_PART: char = '*';
const ANY_CHARACTER: char = '?';

/// A pattern of paths. In a component `*` stands for any characters or none, and `?` for one; a component `**` stands for
/// any components or none, but the last one for one at least. Everything else stands for itself. The default matches
/// nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    AnyDepth,
    Component(Vec<char>),
}

impl Pattern {
    /// Reads a pattern. As its wildcards are characters that paths may have too, it has to obey the grammar of paths; else
    /// no path could match it.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        FilePath::parse(text).map_err(|problem| format!("pattern {text:?} matches no path: {problem}"))?;
        if let Some(sign) = text.chars().find(|c| matches!(c, '[' | ']' | '{' | '}')) {
            return Err(format!(
                "pattern {text:?} has a {sign:?}, which means nothing here; use \"?\" or \"*\", or one policy each"
            ));
        }
        let mut parts = text.split('/').map(part).collect::<Option<Vec<_>>>().ok_or_else(|| {
            format!("pattern {text:?} has a \"**\" beside other characters; it stands alone, as in \"logs/**/*.log\"")
        })?;
        if parts.last() == Some(&Part::AnyDepth) {
            parts.push(Part::Component(vec![ANY_PART]));
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// Whether it is a pattern at all, not the default.
    #[must_use]
    pub fn is_set(&self) -> bool {
        !self.text.is_empty()
    }

    /// Whether a path matches, in at most the product of both lengths steps.
    #[must_use]
    pub fn matches(&self, path: &FilePath) -> bool {
        let components: Vec<Vec<char>> =
            path.as_str().split('/').map(|component| component.chars().collect()).collect();
        let fits = |part: &Part, component: &Vec<char>| match part {
            Part::AnyDepth => false,
            Part::Component(pattern) => {
                let fits = |one: &char, other: &char| *one == ANY_CHARACTER || one == other;
                matches(pattern, component, |one| *one == ANY_PART, fits)
            }
        };
        matches(&self.parts, &components, |part| *part == Part::AnyDepth, fits)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn part(component: &str) -> Option<Part> {
    match component {
        ANY_DEPTH => Some(Part::AnyDepth),
        other => (!other.contains(ANY_DEPTH)).then(|| Part::Component(other.chars().collect())),
    }
}

/// Whether a pattern matches all of the items, where a star takes any number of them. If something behind a star does not
/// fit, only the last star has to take more: what stands before it matched as early as it could.
fn matches<P, T>(pattern: &[P], items: &[T], is_star: impl Fn(&P) -> bool, fits: impl Fn(&P, &T) -> bool) -> bool {
    let (mut at, mut item) = (0, 0);
    let mut star = None;
    while item < items.len() {
        match pattern.get(at) {
            Some(one) if is_star(one) => {
                at += 1;
                star = Some((at, item));
            }
            Some(one) if fits(one, &items[item]) => {
                at += 1;
                item += 1;
            }
            _ => {
                let Some((behind, taken)) = star else { return false };
                (at, item) = (behind, taken + 1);
                star = Some((behind, item));
            }
        }
    }
    pattern[at..].iter().all(is_star)
}

#[cfg(test)]
mod tests;
