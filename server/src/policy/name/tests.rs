#![allow(clippy::unwrap_used)]
use super::*;
use inkpot_proto::path::TenantName;
use proptest::prelude::*;
use std::{cell::Cell, time::UNIX_EPOCH};

fn path(text: &str) -> FilePath {
    FilePath::parse(text).unwrap()
}

fn template(text: &str) -> NameTemplate {
    NameTemplate::parse(text).unwrap()
}

/// 2026-11-23T10:15:00.123Z.
fn noon() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_795_428_900_123)
}

fn named(text: &str, file: &str) -> String {
    free_name(&template(text), &path(file), noon(), 0x1f, |_| false).unwrap().as_str().to_owned()
}

#[test]
fn name_has_its_suffix_before_the_last_ending() {
    let cases = [
        ("app.log", "app@20261123T101500123Z.log"),
        ("logs/app.log", "logs/app@20261123T101500123Z.log"),
        ("logs.d/app", "logs.d/app@20261123T101500123Z"),
        ("app.tar.gz", "app.tar@20261123T101500123Z.gz"),
        (".profile", ".profile@20261123T101500123Z"),
        (".a.b", ".a@20261123T101500123Z.b"),
        ("a.", "a@20261123T101500123Z."),
        ("user@host.example.log", "user@host@20261123T101500123Z.example.log"),
        ("@app.log", "@app@20261123T101500123Z.log"),
        ("@", "@@20261123T101500123Z"),
    ];
    for (file, expected) in cases {
        assert_eq!(named(DEFAULT, file), expected);
    }
}

#[test]
fn every_placeholder_has_its_form() {
    assert_eq!(named("{stem}@{date}-{generation}{ext}", "a.log"), "a@2026-11-23-000000000000001f.log");
    assert_eq!(named("{stem}@old_{time}@x{ext}", "d/a"), "d/a@old_20261123T101500123Z@x");
}

#[test]
fn templates_that_break_a_rule_are_refused_with_the_reason() {
    let cases = [
        ("", "does not begin"),
        ("{stem}-{time}{ext}", "does not begin"),
        ("old/{stem}@{time}{ext}", "does not begin"),
        ("{stem}@{time}", "does not begin"),
        ("{stem}@{time}.gz{ext}", "something other"),
        ("{stem}@a/{time}{ext}", "something other"),
        ("{stem}@{stem}{time}{ext}", "something other"),
        ("{stem}@{time}{ext}{ext}", "something other"),
        ("{stem}@{hour}{time}{ext}", "something other"),
        ("{stem}@{time}{{ext}", "something other"),
        ("{stem}@{time\u{e9}}{ext}", "something other"),
        ("{stem}@{time} {ext}", "something other"),
        ("{stem}@{date}{ext}", "the same for every"),
        ("{stem}@{ext}", "the same for every"),
    ];
    for (text, reason) in cases {
        let problem = NameTemplate::parse(text).unwrap_err();
        assert!(problem.contains(reason) && problem.contains(DEFAULT), "{text}: {problem}");
    }
    let long = format!("{{stem}}@{}{{time}}{{ext}}", "x".repeat(MAX_TEMPLATE_BYTES));
    assert!(NameTemplate::parse(&long).unwrap_err().contains("128 bytes"));
    assert_eq!(template(DEFAULT), NameTemplate::default());
}

#[test]
fn taken_name_gives_way_to_the_default_then_to_the_next_milliseconds() {
    let own = template("{stem}@{generation}{ext}");
    let taken = ["a@000000000000001f.log", "a@20261123T101500123Z.log", "a@20261123T101500124Z.log"];
    for (n, expected) in taken.iter().chain(&["a@20261123T101500125Z.log"]).enumerate() {
        let is_taken = |name: &FilePath| taken[..n].contains(&name.as_str());
        assert_eq!(free_name(&own, &path("a.log"), noon(), 0x1f, is_taken).unwrap().as_str(), *expected);
    }
    let tried = Cell::new(0);
    let all_taken = |_: &FilePath| {
        tried.set(tried.get() + 1);
        true
    };
    assert_eq!(free_name(&own, &path("a.log"), noon(), 1, all_taken), Err(NoName::Taken));
    assert_eq!(tried.get(), 1 + TRIES);
}

#[test]
fn name_that_would_be_too_long_gives_way_to_the_default_or_is_refused() {
    let own = template("{stem}@0123456789-{time}{ext}");
    let long = path(&format!("{}.log", "x".repeat(255 - 4 - 20)));
    let name = free_name(&own, &long, noon(), 1, |_| false).unwrap();
    assert_eq!((name.as_str().len(), name.as_str().ends_with("x@20261123T101500123Z.log")), (255, true));
    let longer = path(&format!("{}.log", "x".repeat(255 - 4 - 19)));
    let refused = free_name(&own, &longer, noon(), 1, |_| false);
    assert_eq!(refused, Err(NoName::Invalid(InvalidName::ComponentTooLong)));
}

#[test]
fn only_names_of_the_template_are_its_names() {
    let gives = |text: &str, file: &str, candidate: &str| template(text).gives(&path(file), &path(candidate));
    assert!(gives(DEFAULT, "logs/app.log", "logs/app@20261123T101500123Z.log"));
    assert!(gives("{stem}@{date}-{generation}{ext}", "a", "a@2026-11-23-000000000000001f"));
    let others = [
        "logs/app.log",
        "logs/app@host.log",
        "logs/app@.log",
        "logs/app@20261123T101500123Z",
        "logs/app@20261123T101500123Z.log.gz",
        "logs/app@20261123T101500123Zx.log",
        "logs/app@2026112xT101500123Z.log",
        "logs/app@20261123T101500123.log",
        "logs/app@20261123T101500123Z@20261123T101500123Z.log",
        "logs/app2@20261123T101500123Z.log",
        "logs2/app@20261123T101500123Z.log",
        "app@20261123T101500123Z.log",
    ];
    for other in others {
        assert!(!gives(DEFAULT, "logs/app.log", other), "{other}");
    }
    assert!(!gives("{stem}@{generation}{ext}", "a", "a@000000000000001F"));
    assert!(!gives("{stem}@{generation}{ext}", "a", "a@1f"));
    assert!(!gives(DEFAULT, "a.", "a@20261123T101500123Z"), "its ending is a dot");
}

proptest! {
    #[test]
    fn every_name_is_known_again_and_stays_in_its_shard(
        file in "([a-c@.]{1,8}/)?[a-c@.]{1,12}",
        text in "\\{stem\\}@([a-z@-]{0,5}\\{(time|date|generation)\\}){0,3}\\{time\\}[a-z]{0,3}\\{ext\\}",
        millis in 0..=253_402_300_799_999_u64,
        generation: u64,
    ) {
        let Ok(file) = FilePath::parse(&file) else { return Ok(()) };
        let own = template(&text);
        let now = UNIX_EPOCH + Duration::from_millis(millis);
        let name = free_name(&own, &file, now, generation, |_| false).unwrap();
        prop_assert!(name != file && own.gives(&file, &name), "{name} of {file}");
        prop_assert!(name.as_str().starts_with(&prefix(&file)));
        let tenant = TenantName::parse("default").unwrap();
        let shard = |path| route::shard_of(&tenant, path, u32::MAX);
        prop_assert_eq!(shard(&file), shard(&name));
        let again = free_name(&NameTemplate::default(), &name, now, generation, |_| false).unwrap();
        prop_assert_eq!(shard(&file), shard(&again), "a rotated file is rotated again");
        prop_assert!(!NameTemplate::default().gives(&file, &again));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text: String, inner in "[{}a-z]{0,20}") {
        let _ = NameTemplate::parse(&text);
        let _ = NameTemplate::parse(&format!("{HEAD}{inner}{TAIL}"));
    }
}
