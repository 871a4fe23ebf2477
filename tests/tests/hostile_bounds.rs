//! The table of bounds in SECURITY.md: each setting is one, has this default, and has a test that is there.
#![allow(clippy::unwrap_used)]

use inkpot_tests::harness::server::binary;
use std::{collections::BTreeMap, fs, path::Path, process::Command};

/// A row of the table.
struct Row<'a> {
    what: &'a str,
    setting: &'a str,
    default: &'a str,
    test: &'a str,
}

fn rows(table: &str) -> Vec<Row<'_>> {
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(2);
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [what, setting, default, _answer, test] = cells[..] else { panic!("a row has five cells: {line}") };
        Row { what, setting, default, test }
    })
    .collect()
}

/// What stands between backticks, if the whole cell does.
fn code(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?.strip_suffix('`')
}

/// Every setting with its default; one that is not set is `none`.
fn defaults() -> BTreeMap<String, String> {
    let output = Command::new(binary()).arg("--dump-config").env_clear().output().unwrap();
    let (mut table, mut settings) = (String::new(), BTreeMap::new());
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            table = format!("{name}.");
        } else if let Some((name, value)) = line.split_once(" = ") {
            settings.insert(format!("{table}{name}"), value.to_owned());
        } else if let Some(name) = line.strip_prefix("# ").and_then(|line| line.strip_suffix(" is not set")) {
            settings.insert(format!("{table}{name}"), "none".to_owned());
        }
    }
    settings
}

#[test]
fn every_bound_has_its_setting_its_default_and_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let security = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let (rows, defaults) = (rows(&security), defaults());
    assert!(rows.len() > 30, "the table has {} rows", rows.len());
    for Row { what, setting, default, test } in &rows {
        if *setting != "fixed" {
            let setting = code(setting).unwrap_or_else(|| panic!("{what}: {setting} is no setting"));
            let known = defaults.get(setting).unwrap_or_else(|| panic!("{what}: there is no setting {setting}"));
            assert_eq!(code(default).unwrap_or(default), known, "{what}: the default of {setting}");
        }
        let (file, name) = code(test).and_then(|test| test.split_once("::")).unwrap();
        let path = if file.contains('/') { root.join(file) } else { root.join(format!("tests/tests/{file}.rs")) };
        let source = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{what}: {}: {error}", path.display()));
        assert!(source.contains(&format!("fn {name}(")), "{what}: there is no test {name} in {}", path.display());
    }
    // No limit of calls and connections without a row.
    for setting in defaults.keys().filter(|setting| setting.starts_with("limits.")) {
        assert!(rows.iter().any(|row| code(row.setting) == Some(setting)), "{setting} has no row");
    }
}
