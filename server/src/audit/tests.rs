#![allow(clippy::unwrap_used)]

use super::*;
use crate::shard::testing::key;
use inkpot_proto::v1::ErrorReason;
use inkpot_wal::fs::{memory::MemoryFs, read_all};

fn log(fs: &MemoryFs) -> AuditLog {
    AuditLog::new(Arc::new(fs.clone()), Host::Threads)
}

fn text(fs: &MemoryFs, path: &str) -> String {
    String::from_utf8(read_all(fs, path).unwrap()).unwrap()
}

#[test]
fn line_tells_who_did_what_to_which_content() {
    let action = Action::Rename { to: key("b"), replace: true };
    let entry = Entry::of(&key("a \"quoted\""), &action).unwrap();
    let done = Done { generation: 7, size: 12, ..Done::default() };
    let line = entry.line(SystemTime::UNIX_EPOCH, &Ok(done));
    let expected = r#"{"time":"1970-01-01T00:00:00.000Z","tenant":"t","method":"Rename","path":"a \"quoted\"","to":"b","outcome":"OK","generation":7,"size":12}"#;
    assert_eq!(line, format!("{expected}\n"));
    let refused = Refused::new(ErrorReason::FileNotFound, "there is none");
    let line = Entry::of(&key("a"), &Action::Delete).unwrap().line(SystemTime::UNIX_EPOCH, &Err(refused));
    assert!(line.ends_with("\"path\":\"a\",\"outcome\":\"FILE_NOT_FOUND\"}\n"), "{line}");
}

#[test]
fn what_takes_no_content_away_is_not_audited() {
    let harmless = [Action::Seal, Action::Rename { to: key("b"), replace: false }];
    assert!(harmless.iter().all(|action| Entry::of(&key("a"), action).is_none()));
}

#[test]
fn control_characters_cannot_break_a_line() {
    assert_eq!(quoted("a\n\\\u{1}\u{85}"), r#""a\u000a\\\u0001\u0085""#);
}

#[test]
fn lines_go_on_behind_those_of_the_process_before() {
    let fs = MemoryFs::new();
    log(&fs).append("one\n").unwrap();
    let again = log(&fs);
    again.append("two\n").unwrap();
    again.append("three\n").unwrap();
    assert_eq!(text(&fs, AUDIT_LOG), "one\ntwo\nthree\n");
}

#[test]
fn line_that_was_cut_off_does_not_spoil_the_next_one() {
    let fs = MemoryFs::new();
    log(&fs).append("{\"ti").unwrap();
    log(&fs).append("two\n").unwrap();
    assert_eq!(text(&fs, AUDIT_LOG), "{\"ti\ntwo\n");
}

#[test]
fn full_log_becomes_the_old_one() {
    let fs = MemoryFs::new();
    let log = AuditLog { max_bytes: 8, ..log(&fs) };
    for line in ["one\n", "two\n", "three\n", "four\n", "five\n"] {
        log.append(line).unwrap();
    }
    assert_eq!((text(&fs, OLD_AUDIT_LOG).as_str(), text(&fs, AUDIT_LOG).as_str()), ("three\nfour\n", "five\n"));
}

#[test]
fn log_that_somebody_removed_is_an_error_once_and_begins_anew() {
    let fs = MemoryFs::new();
    let log = AuditLog { max_bytes: 1, ..log(&fs) };
    log.append("one\n").unwrap();
    fs.remove_file(AUDIT_LOG).unwrap();
    log.append("two\n").unwrap_err();
    log.append("three\n").unwrap();
    assert_eq!(text(&fs, AUDIT_LOG), "three\n");
}
