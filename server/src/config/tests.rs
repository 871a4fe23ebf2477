#![allow(clippy::unwrap_used)]
use super::*;
use std::{ffi::OsString, fs, path::Path};
use tempfile::TempDir;

mod contradictions;
mod policies;
mod values;

const TOKEN: &str = "correct-horse-battery";

/// Sources with a file of this text.
fn in_file(text: &str) -> (TempDir, Sources) {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("inkpotd.toml");
    fs::write(&file, text).unwrap();
    (dir, Sources { file: Some(file), ..Sources::default() })
}

fn load_text(text: &str) -> Result<Config, Faults> {
    let (_dir, sources) = in_file(text);
    Config::load(&sources)
}

/// The one fault that a file of this text has.
fn only_fault(text: &str) -> Fault {
    let faults = load_text(text).unwrap_err();
    assert_eq!(faults.0.len(), 1, "{faults}");
    faults.0.into_iter().next().unwrap()
}

fn environment(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    variables.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

#[test]
fn without_any_source_the_defaults_hold_and_have_no_fault() {
    let config = Config::load(&Sources::default()).unwrap();
    assert_eq!(config, Config::default());
    assert!(config.development());
    assert_eq!(config.listen.to_string(), "127.0.0.1:7411");
}

#[test]
fn flag_wins_over_variable_over_file_over_default() {
    let (_dir, mut sources) = in_file("shards = 5\nwal.max_bytes = '1GiB'\nlog.format = 'json'\nflush.records = 7");
    sources.environment = environment(&[("INKPOT_SHARDS", "6"), ("INKPOT_WAL__MAX_BYTES", "2GiB"), ("PATH", "/bin")]);
    sources.flags = vec![Flag { key: "shards", flag: "--shards", value: "7".into() }];
    let config = Config::load(&sources).unwrap();
    assert_eq!(config.shards, 7);
    assert!(config.shards_given);
    assert_eq!(config.wal.max_bytes, 2 << 30);
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.flush, Flush { records: 7, ..Config::default().flush });
}

#[test]
fn variable_names_the_file_unless_a_flag_does() {
    let (_one, by_variable) = in_file("shards = 8");
    let (_two, by_flag) = in_file("shards = 9");
    let named = by_variable.file.unwrap().into_os_string();
    let environment = vec![("INKPOT_CONFIG".into(), named)];
    let only_variable = Sources { environment: environment.clone(), ..Sources::default() };
    assert_eq!(Config::load(&only_variable).unwrap().shards, 8);
    assert_eq!(Config::load(&Sources { environment, ..by_flag }).unwrap().shards, 9);
}

#[test]
fn all_faults_of_all_sources_come_at_once_with_key_place_and_remedy() {
    let (_dir, mut sources) = in_file("shards = 0\n\n[wal]\nsegment_bytes = '8 parsecs'\nsegments = 3\n");
    sources.environment = environment(&[("INKPOT_FLUSH__DELAY", "soon"), ("INKPOT_COLOUR", "blue")]);
    sources.flags = vec![Flag { key: "listen", flag: "--listen", value: "everywhere".into() }];
    let faults = Config::load(&sources).unwrap_err();
    let expected = [
        ("listen", "flag --listen", "127.0.0.1:7411"),
        ("shards", "inkpotd.toml\", line 1", "1 at least and 256 at most"),
        ("wal.segment_bytes", "inkpotd.toml\", line 4", "64MiB"),
        ("flush.delay", "variable INKPOT_FLUSH__DELAY", "100ms"),
        ("colour", "variable INKPOT_COLOUR", "no such key"),
        ("wal.segments", "inkpotd.toml\", line 5", "--dump-config"),
    ];
    assert_eq!(faults.0.len(), expected.len(), "{faults}");
    for (fault, (key, place, remedy)) in faults.0.iter().zip(expected) {
        assert_eq!(fault.key.as_deref(), Some(key));
        assert!(fault.message.contains(place) && fault.message.contains(remedy), "{fault}");
    }
    assert!(faults.to_string().starts_with("the configuration has 6 faults:\n  - listen"));
}

#[test]
fn missing_file_is_a_fault_that_names_it() {
    let sources = Sources { file: Some(Path::new("/no/such/inkpotd.toml").into()), ..Sources::default() };
    let faults = Config::load(&sources).unwrap_err();
    assert!(faults.0[0].message.contains("/no/such/inkpotd.toml"), "{faults}");
}

#[test]
fn every_syntax_error_of_the_file_is_reported_with_its_line() {
    let faults = load_text("shards = = 3\nlisten = 'x'\nflush = ]\n").unwrap_err();
    let lines: Vec<_> = faults.0.iter().map(|fault| fault.message.as_str()).collect();
    assert!(lines.iter().any(|line| line.contains("line 1") && line.contains("not valid TOML")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("line 3")), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("listen")), "values of a broken file are not judged: {lines:?}");
}

#[test]
fn names_of_the_cli_and_of_kubernetes_service_links_are_no_faults() {
    let config = Config::load(&Sources {
        environment: environment(&[
            ("INKPOT_ENDPOINT", "http://127.0.0.1:1"),
            ("INKPOT_TOKEN", "x"),
            ("INKPOT_CONFIG", ""),
            ("INKPOT_SERVICE_HOST", "10.0.0.1"),
            ("INKPOT_SERVICE_PORT_GRPC", "7411"),
            ("INKPOT_PORT", "tcp://10.0.0.1:7411"),
            ("INKPOT_PORT_7411_TCP_ADDR", "10.0.0.1"),
            ("INKPOT_HEADLESS_PORT_7411_TCP", "tcp://10.0.0.1:7411"),
        ]),
        ..Sources::default()
    });
    assert_eq!(config.unwrap(), Config::default());
}

#[test]
fn variable_that_is_not_utf8_is_a_fault() {
    use std::os::unix::ffi::OsStringExt;
    let environment = vec![("INKPOT_DATA_DIR".into(), OsString::from_vec(vec![b'/', 0xff]))];
    let faults = Config::load(&Sources { environment, ..Sources::default() }).unwrap_err();
    assert_eq!(faults.0[0].key.as_deref(), Some("data_dir"));
    assert!(faults.0[0].message.contains("UTF-8"), "{faults}");
}

#[test]
fn tenant_limits_come_from_tenant_then_defaults_then_server() {
    let text = format!(
        "[flush]\nrecords = 9\ndelay = '5ms'\n[tenant_defaults]\nweight = 3\nfiles = 5\n[tenant_defaults.flush]\nbytes = '2MiB'\n\
         [tenants.a]\ntoken_sha256 = ['{}']\n[tenants.a.limits]\nweight = 4\nstored_bytes = '1GiB'\nflush.delay = '7ms'\n",
        token_sha256(TOKEN).to_uppercase()
    );
    let config = load_text(&text).unwrap();
    let limits = |name| config.tenant_limits(&TenantName::parse(name).unwrap());
    let server = Flush { records: 9, delay: Duration::from_millis(5), ..Config::default().flush };
    let defaults = Flush { bytes: 2 << 20, ..server };
    assert_eq!(
        limits("other"),
        TenantLimits { weight: 3, files: Some(5), flush: Some(defaults.clone()), ..Config::default().tenant_defaults }
    );
    let own = Flush { delay: Duration::from_millis(7), ..defaults };
    assert_eq!(
        limits("a"),
        TenantLimits { weight: 4, stored_bytes: Some(1 << 30), flush: Some(own.clone()), ..limits("other") }
    );
    assert_eq!(config.tenant_flush(&TenantName::parse("a").unwrap()), own);
    assert_eq!(config.tenants["a"].token_sha256, [token_sha256(TOKEN)], "hex of any case is kept in lower case");
    assert!(!config.development());
}

#[test]
fn dump_of_everything_loads_again_as_the_same_and_shows_no_token() {
    let dir = TempDir::new().unwrap();
    let token_file = dir.path().join("token");
    fs::write(&token_file, format!("{TOKEN}\n")).unwrap();
    let text = format!(
        "listen = '[::1]:1'\ndata_dir = \"/var/lib/ink \\\"pot\\\"\"\nshards = 3\nfiles.file_mode = '0600'\nfiles.owner = 5\n\
         files.group = 6\nwal.max_bytes = 1234567891\ncheckpoint.interval = '1m 30s 5ms'\ntenant_defaults.flush.records = 1\n\
         log.filter = 'debug,h2=info'\nlog.format = 'json'\n\
         [tenants.'a.b']\ntoken_files = [{token_file:?}]\n[tenants.'a.b'.limits]\nwrites_in_flight = 10\nbytes_in_flight = '5MiB'\n\
         weight = 2\nflush.bytes = '3B'\n"
    );
    let config = load_text(&text).unwrap();
    let dump = config.dump();
    assert_eq!(load_text(&dump).unwrap(), config, "{dump}");
    assert!(dump.contains(&token_sha256(TOKEN)) && !dump.contains(TOKEN), "{dump}");
    assert!(dump.contains("[tenants.\"a.b\".limits.flush]"), "{dump}");
}

#[test]
fn dump_of_the_defaults_names_every_key_that_has_a_value() {
    let dump = Config::default().dump();
    let reloaded = load_text(&dump).unwrap();
    assert_eq!(Config { shards_given: false, ..reloaded }, Config::default());
    for line in
        ["segment_bytes = \"8MiB\"", "delay = \"0s\"", "retention = \"7days\"", "file_mode = \"0640\"", "shards = 4"]
    {
        assert!(dump.lines().any(|shown| shown == line), "{line} is missing in\n{dump}");
    }
}
