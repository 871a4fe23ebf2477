#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

fn matches(pattern: &str, path: &str) -> bool {
    Pattern::parse(pattern).unwrap().matches(&FilePath::parse(path).unwrap())
}

#[test]
fn wildcards_stand_for_what_they_should() {
    let cases = [
        ("a", "a", true),
        ("a", "b", false),
        ("a", "a/a", false),
        ("*", "a", true),
        ("*", "a/b", false),
        ("*.log", ".log", true),
        ("*.log", "app.log", true),
        ("*.log", "app.log.1", false),
        ("*.log", "logs/app.log", false),
        ("logs/*.log", "logs/app.log", true),
        ("logs/*", "logs/a/b", false),
        ("logs/*/x", "logs/a/x", true),
        ("a*b*c", "a-b-b-c", true),
        ("a*b*c", "a-c-b", false),
        ("a?c", "abc", true),
        ("a?c", "a\u{e9}c", true),
        ("a?c", "ac", false),
        ("a?c", "a/c", false),
        ("**", "a", true),
        ("**", "a/b/c", true),
        ("logs/**", "logs/a", true),
        ("logs/**", "logs/a/b/c", true),
        ("logs/**", "logs", false),
        ("logs/**", "log/a", false),
        ("**/app.log", "app.log", true),
        ("**/app.log", "a/b/app.log", true),
        ("**/app.log", "a/b/xapp.log", false),
        ("a/**/z", "a/z", true),
        ("a/**/z", "a/b/c/z", true),
        ("a/**/z", "a/b/c", false),
        ("a/**/m/**/z", "a/m/m/x/z", true),
        ("a/**/m/**/z", "a/x/z", false),
        ("**/*.log", "x.log/y", false),
        ("**/*.log", "x/y.log", true),
        ("A", "a", false),
    ];
    for (pattern, path, expected) in cases {
        assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
    }
}

#[test]
fn default_matches_nothing() {
    assert!(!Pattern::default().is_set() && !Pattern::default().matches(&FilePath::parse("a").unwrap()));
}

#[test]
fn patterns_that_could_match_nothing_are_refused_with_the_reason() {
    let cases = [
        ("", "empty"),
        ("/var/log", "absolute"),
        ("a//b", "empty component"),
        ("a/", "empty component"),
        ("a/../b", ".."),
        (".inkpot/*", "reserved"),
        ("a\\*", "backslash"),
        ("e\u{301}*", "NFC"),
        ("*.{log,txt}", "one policy each"),
        ("[ab]", "one policy each"),
        ("a**", "stands alone"),
        ("logs/***", "stands alone"),
    ];
    for (pattern, reason) in cases {
        let problem = Pattern::parse(pattern).unwrap_err();
        assert!(problem.contains(reason), "{pattern}: {problem}");
    }
}

#[test]
fn pattern_made_to_take_long_does_not() {
    let pattern = Pattern::parse(&format!("{}b", "**/*a*a*a*a*a*a*a*a/".repeat(15))).unwrap();
    let path = FilePath::parse(&vec!["a".repeat(31); 32].join("/")).unwrap();
    assert!(!pattern.matches(&path));
}

/// What the two wildcards of a component mean, told without thought for the time it takes.
fn plainly(pattern: &[char], text: &[char]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([ANY_PART, behind @ ..], _) => (0..=text.len()).any(|taken| plainly(behind, &text[taken..])),
        ([one, behind @ ..], [other, rest @ ..]) => (*one == ANY_CHARACTER || one == other) && plainly(behind, rest),
        _ => false,
    }
}

proptest! {
    #[test]
    fn matching_is_what_the_wildcards_mean(pattern in "[ab?]([*]?[ab?]){0,6}[*]?", text in "[ab]{1,10}") {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        prop_assert_eq!(matches(&pattern, &text), plainly(&chars(&pattern), &chars(&text)));
        // As stars within a component, so components within a path.
        let depth = |text: &str| chars(text).iter().map(|c| if *c == '*' { "**".into() } else { c.to_string() })
            .collect::<Vec<_>>().join("/");
        let at_least_one = pattern.ends_with('*').then_some('?');
        let expected = plainly(&chars(&pattern).into_iter().chain(at_least_one).collect::<Vec<_>>(), &chars(&text));
        prop_assert_eq!(matches(&depth(&pattern), &depth(&text)), expected);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text: String) {
        let _ = Pattern::parse(&text);
    }
}
