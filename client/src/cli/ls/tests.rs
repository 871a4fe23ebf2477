#![allow(clippy::unwrap_used)]
use super::*;
use inkpot_client::FileInfo;
use serde_json::json;

fn file() -> Entry {
    let info = FileInfo {
        path: "a/b".to_owned(),
        size: 1_000,
        stored_size: 100,
        generation: 7,
        sealed: true,
        crc32c: Some(0xe306_9283),
        compressed: true,
        ..FileInfo::default()
    };
    Entry::File(Box::new(info))
}

#[test]
fn columns_stand_under_their_headings() {
    let (heading, file) = (stat::heading(), Row::new(file(), true).to_string());
    let directory = Row::new(Entry::Prefix("a/c/".to_owned()), true).to_string();
    let end = |name: &str| heading.find(name).unwrap() + name.len();
    for (name, value, dash) in [("SIZE", "1000", "-"), ("STORED", "100", "-"), ("GENERATION", "7", "-")] {
        assert!(file[..end(name)].ends_with(value), "{name}: {file}");
        assert!(directory[..end(name)].ends_with(dash), "{name}: {directory}");
    }
    assert!(file[..end("SEALED")].ends_with("sealed"), "{file}");
    let path = heading.find("PATH").unwrap();
    assert_eq!((&file[path..], &directory[path..]), ("a/b", "a/c/"));
}

#[test]
fn short_list_has_the_paths_alone() {
    assert_eq!(Row::new(file(), false).to_string(), "a/b");
    assert_eq!(Row::new(Entry::Prefix("a/c/".to_owned()), false).to_string(), "a/c/");
}

#[test]
fn programs_can_tell_a_directory() {
    let directory = serde_json::to_value(Row::new(Entry::Prefix("a/c/".to_owned()), false)).unwrap();
    assert_eq!(directory, json!({ "path": "a/c/", "directory": true }));
    let file = serde_json::to_value(Row::new(file(), false)).unwrap();
    assert_eq!((&file["path"], &file["crc32c"], &file["directory"]), (&json!("a/b"), &json!("e3069283"), &json!(null)));
}
