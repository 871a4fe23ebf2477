use super::*;

/// The last lines of `bytes`, looked for in steps of `step` bytes.
fn last(bytes: &str, lines: u64, step: u64) -> &str {
    let mut search = Backwards::new(bytes.len() as u64, lines);
    let index = |offset: u64| usize::try_from(offset).expect("small");
    while search.found.is_none() {
        let start = search.before.saturating_sub(step);
        search.step(start, &bytes.as_bytes()[index(start)..index(search.before)]);
    }
    &bytes[index(search.found.expect("the loop ended"))..]
}

#[test]
fn last_lines_are_the_same_whatever_the_steps() {
    for step in 1..20 {
        assert_eq!(last("a\nbb\nccc\n", 2, step), "bb\nccc\n", "step {step}");
        assert_eq!(last("a\nbb\nccc", 2, step), "bb\nccc", "step {step}");
        assert_eq!(last("a\n\n\n", 2, step), "\n\n", "step {step}");
        assert_eq!(last("no end", 1, step), "no end", "step {step}");
        assert_eq!(last("\n", 1, step), "\n", "step {step}");
    }
}

#[test]
fn fewer_lines_than_asked_for_give_all() {
    assert_eq!(last("a\nb\n", 10, 3), "a\nb\n");
    assert_eq!(last("", 10, 3), "");
}

#[test]
fn no_lines_give_nothing() {
    assert_eq!(last("a\nb\n", 0, 3), "");
}

#[test]
fn one_who_follows_the_content_ends_with_it() {
    let table = [
        (Transition::Rotated, "Done", "a: rotated"),
        (Transition::Replaced, "Error", "a: replaced"),
        (Transition::Deleted, "Error", "a: removed"),
    ];
    for (transition, exit, why) in table {
        let failure = format!("{:?}", ended("a", transition).expect("the content is at its end"));
        assert!(failure.contains(exit) && failure.contains(why) && failure.contains("tail -F"), "{failure}");
    }
    // A file that was waited for is no end of anything.
    assert!(ended("a", Transition::Created).is_none());
}

#[test]
fn every_transition_is_told_in_words_of_its_own() {
    let all = [Transition::Rotated, Transition::Replaced, Transition::Deleted, Transition::Created];
    let words: std::collections::BTreeSet<_> = all.into_iter().map(|transition| became(transition, 7)).collect();
    assert_eq!(words.len(), all.len());
    assert_eq!(became(Transition::Replaced, 0), "replaced; going on with the new one, from its beginning");
}
