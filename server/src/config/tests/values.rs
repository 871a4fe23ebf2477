//! Units, and each kind of value that does not do.

use super::*;
use crate::config::units::{parse_duration, parse_mode, parse_size, show_duration, show_mode, show_size};
use proptest::prelude::*;

#[test]
fn sizes_take_binary_and_decimal_units_of_any_case() {
    let cases = [
        ("0", 0),
        ("17", 17),
        ("17B", 17),
        ("2KiB", 2048),
        ("64 MiB", 64 << 20),
        ("3gib", 3 << 30),
        ("5MB", 5_000_000),
    ];
    for (text, bytes) in cases {
        assert_eq!(parse_size(text), Ok(bytes), "{text}");
    }
}

#[test]
fn sizes_without_a_known_unit_or_beyond_64_bits_are_refused_with_the_remedy() {
    for text in ["", "MiB", "1.5MiB", "-1B", "1 parsec", "64M", "1MiB2"] {
        assert!(parse_size(text).unwrap_err().contains("\"64MiB\""), "{text}");
    }
    for text in ["99999999999999999999", "99999999999999999TiB"] {
        assert!(parse_size(text).unwrap_err().contains("64 bits"), "{text}");
    }
}

#[test]
fn durations_need_units_but_for_zero() {
    assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
    assert_eq!(parse_duration("1m 30s"), Ok(Duration::from_secs(90)));
    assert_eq!(parse_duration("7d"), Ok(Duration::from_secs(604_800)));
    for text in ["", "5", "-1s", "soon", "1 fortnight"] {
        assert!(parse_duration(text).unwrap_err().contains("100ms"), "{text}");
    }
}

#[test]
fn modes_are_octal() {
    assert_eq!(parse_mode("0640"), Ok(0o640));
    assert_eq!(parse_mode("755"), Ok(0o755));
    for text in ["", "64", "0689", "00640", "+640", "rw-r-----"] {
        assert!(parse_mode(text).unwrap_err().contains("\"0640\""), "{text}");
    }
}

proptest! {
    #[test]
    fn what_is_shown_is_read_back(bytes: u64, nanos in 0..u64::MAX, mode in 0_u32..0o7777) {
        prop_assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
        prop_assert_eq!(parse_duration(&show_duration(Duration::from_nanos(nanos))), Ok(Duration::from_nanos(nanos)));
        prop_assert_eq!(parse_mode(&show_mode(mode)), Ok(mode));
    }

    #[test]
    fn no_text_makes_a_parser_panic(text: String) {
        let _ = (parse_size(&text), parse_duration(&text), parse_mode(&text));
        let _ = load_text(&text);
    }
}

/// Each with the key that must be named, and the remedy.
#[test]
fn values_of_the_wrong_kind_name_key_and_remedy() {
    let cases = [
        ("listen = 7411", "listen", "in a string"),
        ("listen = 'localhost'", "listen", "IP and port"),
        ("shards = 'four'", "shards", "whole number from 1 to 256"),
        ("shards = 1.5", "shards", "whole number"),
        ("shards = -1", "shards", "whole number"),
        ("allow_remote_without_token = 'yes'", "allow_remote_without_token", "true or false"),
        ("files.file_mode = 640", "files.file_mode", "\"0640\""),
        ("files.owner = 'root'", "files.owner", "whole number"),
        ("wal.max_bytes = true", "wal.max_bytes", "\"64MiB\""),
        ("apply.delay = 100", "apply.delay", "needs a unit"),
        ("log.format = 'xml'", "log.format", "\"text\" or \"json\""),
        ("log.filter = 2020-01-01", "log.filter", "in a string"),
        ("wal = 3", "wal", "it is a table"),
        ("tenants = 3", "tenants", "it is a table"),
        ("tenants.a = 3", "tenants.a", "it is a table"),
        ("[tenants.a]\ntoken = 'x'", "tenants.a.token", "no such key"),
        ("[tenants.a]\ntoken_sha256 = [1]", "tenants.a.token_sha256", "list of strings"),
        ("[walls]", "walls", "no such key"),
        ("[tenants.a.flush]\nrecords = 1", "tenants.a.flush.records", "no such key"),
    ];
    for (text, key, remedy) in cases {
        let faults = load_text(text).unwrap_err();
        let fault = faults
            .0
            .iter()
            .find(|fault| fault.key.as_deref() == Some(key))
            .unwrap_or_else(|| panic!("{text}: {faults}"));
        assert!(fault.message.contains(remedy), "{fault}");
    }
}

#[test]
fn empty_tables_that_exist_are_no_fault() {
    assert_eq!(
        load_text("[wal]\n[tenants]\n[tenant_defaults.flush]\n[tenants.default]\n").unwrap().wal,
        Config::default().wal
    );
}

#[test]
fn zero_is_refused_for_every_limit() {
    let dump = Config::default().dump();
    let mut table = String::new();
    let mut tried = 0;
    for line in dump.lines() {
        if let Some(name) = line.strip_prefix('[') {
            table = name.trim_end_matches(']').to_owned() + ".";
        }
        let Some((name, value)) = line.split_once(" = ") else { continue };
        let key = format!("{table}{name}");
        let is_text = value.starts_with('"') && !value.trim_matches('"').starts_with(|c: char| c.is_ascii_digit());
        if is_text
            || ["true", "false"].contains(&value)
            || ["flush.delay", "listen", "telemetry.traced_appends_per_second"].contains(&key.as_str())
        {
            continue;
        }
        assert_eq!(only_fault(&format!("{key} = '0'")).key, Some(key));
        tried += 1;
    }
    assert!(tried > 25, "only {tried} keys tried");
}
