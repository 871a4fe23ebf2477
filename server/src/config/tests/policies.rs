//! Policies: the one kind of setting of which there is a list.

use super::*;
use crate::policy::{ClockTime, Keep, NameTemplate, Pattern, Policy, Rotate};
use inkpot_proto::path::FilePath;

const ALL: &str = "
[[tenant_defaults.policies]]
pattern = 'logs/**'
compress = true
rotate.size = '64MiB'
rotate.age = '1d'
rotate.at = 'weekly'
rotate.name = '{stem}@{generation}{ext}'
[tenant_defaults.policies.keep]
count = 7
age = '90d'
bytes = '5GiB'

[[tenant_defaults.policies]]
pattern = '**'

[[tenants.default.policies]]
pattern = 'logs/audit/*'
rotate = { at = 'daily' }
";

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap()
}

/// The one fault of a text; its key, and words that must be in its message.
fn assert_fault(text: &str, key: &str, words: &[&str]) {
    let fault = only_fault(text);
    assert_eq!(fault.key.as_deref(), Some(key), "{fault}");
    words.iter().for_each(|word| assert!(fault.message.contains(word), "{word:?} is missing in: {fault}"));
}

/// A policy that is fine, with one more line.
fn with(line: &str) -> String {
    format!("[[tenant_defaults.policies]]\npattern = '*'\nrotate.size = '1MiB'\n{line}")
}

#[test]
fn every_key_of_a_policy_is_read() {
    let config = load_text(ALL).unwrap();
    let days = |days: u64| Duration::from_secs(days * 24 * 60 * 60);
    let first = Policy {
        pattern: pattern("logs/**"),
        rotate: Rotate {
            size: Some(64 << 20),
            age: Some(days(1)),
            at: Some(ClockTime::Weekly),
            name: NameTemplate::parse("{stem}@{generation}{ext}").unwrap(),
        },
        keep: Keep { count: Some(7), age: Some(days(90)), bytes: Some(5 << 30) },
        compress: true,
    };
    let second = Policy { pattern: pattern("**"), ..Policy::default() };
    assert_eq!(config.default_policies, [first, second]);
    let own = Policy {
        pattern: pattern("logs/audit/*"),
        rotate: Rotate { at: Some(ClockTime::Daily), ..Rotate::default() },
        ..Policy::default()
    };
    assert_eq!(config.tenants["default"].policies, [own]);
}

#[test]
fn own_policies_of_a_tenant_come_before_the_defaults() {
    let config = load_text(ALL).unwrap();
    let at = |tenant, path| {
        let policies = config.policies(&TenantName::parse(tenant).unwrap());
        let path = FilePath::parse(path).unwrap();
        policies.of(&path).map(|policy| policy.rotate.at)
    };
    assert_eq!(at("default", "logs/audit/a"), Some(Some(ClockTime::Daily)));
    assert_eq!(at("default", "logs/a"), Some(Some(ClockTime::Weekly)));
    assert_eq!(at("other", "logs/audit/a"), Some(Some(ClockTime::Weekly)));
    assert_eq!(at("other", "a"), Some(None));
    let none = Config::default();
    assert_eq!(none.policies(&TenantName::parse("default").unwrap()).of(&FilePath::parse("a").unwrap()), None);
}

#[test]
fn dump_of_policies_loads_again_as_the_same() {
    let hash = token_sha256(TOKEN);
    let text = format!(
        "shards = 4\n{ALL}[tenants.'a.b']\ntoken_sha256 = ['{hash}']\n[[tenants.'a.b'.policies]]\npattern = '*'\n\
         [[tenants.'a.b'.policies]]\npattern = '**'\n[tenants.b]\ntoken_sha256 = ['{}']\n",
        token_sha256("another-token-than-that")
    );
    let config = load_text(&text).unwrap();
    let dump = config.dump();
    assert_eq!(load_text(&dump).unwrap(), config, "{dump}");
    assert_eq!(dump.matches("\n[[tenants.\"a.b\".policies]]\n").count(), 2, "{dump}");
    assert!(dump.contains("\nrotate.size = \"64MiB\"\n") && dump.contains("\n# keep.count is not set\n"), "{dump}");
}

#[test]
fn dump_without_policies_tells_their_keys() {
    let dump = Config::default().dump();
    let line = dump.lines().find(|line| line.starts_with("# [[tenant_defaults.policies]] is not set")).unwrap();
    for key in
        ["pattern", "compress", "rotate.size", "rotate.age", "rotate.at", "rotate.name", "keep.count", "keep.age"]
    {
        assert!(line.contains(key), "{line}");
    }
}

#[test]
fn variables_reach_a_policy_by_its_number_and_can_add_one() {
    let (_dir, mut sources) = in_file(&with(""));
    sources.environment = environment(&[
        ("INKPOT_TENANT_DEFAULTS__POLICIES__0__ROTATE__SIZE", "2MiB"),
        ("INKPOT_TENANT_DEFAULTS__POLICIES__1__PATTERN", "**"),
    ]);
    let config = Config::load(&sources).unwrap();
    let sizes: Vec<_> = config.default_policies.iter().map(|policy| policy.rotate.size).collect();
    assert_eq!(sizes, [Some(2 << 20), None]);
    sources.environment = environment(&[("INKPOT_TENANT_DEFAULTS__POLICIES__2__PATTERN", "**")]);
    let faults = Config::load(&sources).unwrap_err();
    assert_eq!(faults.0[0].key.as_deref(), Some("tenant_defaults.policies.2.pattern"), "{faults}");
}

#[test]
fn more_policies_than_one_digit_counts_stay_in_order() {
    let text: String = (0..12).map(|n| format!("[[tenant_defaults.policies]]\npattern = 'p{n}'\n")).collect();
    let patterns: Vec<_> = load_text(&text).unwrap().default_policies.iter().map(|p| p.pattern.to_string()).collect();
    assert_eq!(patterns, (0..12).map(|n| format!("p{n}")).collect::<Vec<_>>());
}

#[test]
fn values_that_do_not_do_name_key_line_and_remedy() {
    let of = |key: &str| format!("tenant_defaults.policies.0.{key}");
    let cases = [
        ("pattern = '/var/*'", "pattern", "absolute"),
        ("pattern = 3", "pattern", "in a string"),
        ("pattern = '*'\ncompress = 'yes'", "compress", "true or false"),
        ("pattern = '*'\nrotate.size = 100", "rotate.size", "1KiB at least"),
        ("pattern = '*'\nrotate.age = 5", "rotate.age", "needs a unit"),
        ("pattern = '*'\nrotate.age = '1ms'", "rotate.age", "1s at least"),
        ("pattern = '*'\nrotate.at = 'noon'", "rotate.at", "\"daily\""),
        ("pattern = '*'\nrotate.name = '{stem}.{time}{ext}'", "rotate.name", "{stem}@"),
        ("pattern = '*'\nrotate.name = '{stem}@{date}{ext}'", "rotate.name", "{generation}"),
        ("pattern = '*'\nkeep.count = 0", "keep.count", "1 at least"),
        ("pattern = '*'\nkeep.bytes = '0'", "keep.bytes", "1B at least"),
        ("pattern = '*'\nkeep.files = 3", "keep.files", "no such key"),
        ("pattern = '*'\nsize = 3", "size", "no such key"),
        ("pattern = '*'\nrotate = 'daily'", "rotate", "it is a table"),
    ];
    for (lines, key, remedy) in cases {
        let line = format!("line {}", 1 + lines.lines().count());
        assert_fault(&format!("[[tenant_defaults.policies]]\n{lines}"), &of(key), &[remedy, &line]);
    }
}

#[test]
fn list_that_is_none_is_refused_with_its_form() {
    let list = "tenant_defaults.policies";
    assert_fault("tenant_defaults.policies = 3", list, &["[[tenant_defaults.policies]]"]);
    assert_fault("tenant_defaults.policies = ['*']", list, &["[[tenant_defaults.policies]]"]);
    assert_fault("tenant_defaults.policies = [{ pattern = '*' }, 3]", list, &["[[tenant_defaults.policies]]"]);
    let single = "[tenants.a.policies]\npattern = '*'\n";
    assert_fault(single, "tenants.a.policies.pattern", &["double brackets, [[tenants.a.policies]]"]);
    assert_fault("[[policies]]\npattern = '*'", "policies.0.pattern", &["no such key"]);
    for empty in ["tenant_defaults.policies = []", "[tenants.default.policies]"] {
        assert_eq!(load_text(empty).unwrap().default_policies, []);
    }
}

#[test]
fn policies_that_could_never_do_anything_are_refused() {
    let of = |key: &str| format!("tenant_defaults.policies.{key}");
    assert_fault("[[tenant_defaults.policies]]", &of("0.pattern"), &["not set", "logs/**/*.log"]);
    let nameless = "[[tenant_defaults.policies]]\ncompress = true";
    assert_fault(nameless, &of("0.pattern"), &["line 2", "not set"]);
    let twice = with("[[tenant_defaults.policies]]\npattern = '*'");
    assert_fault(&twice, &of("1.pattern"), &["line 5", "tenant_defaults.policies.0 has the same pattern"]);
    let keeps = "[[tenant_defaults.policies]]\npattern = '*'\nkeep.count = 3";
    assert_fault(keeps, &of("0.keep"), &["line 3", "rotate.size"]);
    let named = "[[tenants.default.policies]]\npattern = '*'\nrotate.name = '{stem}@old-{time}{ext}'";
    assert_fault(named, "tenants.default.policies.0.rotate.name", &["line 3", "rotate.at"]);
    load_text(&with("keep.count = 3\nrotate.name = '{stem}@old-{time}{ext}'")).unwrap();
}
