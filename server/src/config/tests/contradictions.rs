//! Settings that are each fine but together could never admit some request, or would be dangerous.

use super::*;

fn assert_fault(text: &str, key: &str, words: &[&str]) {
    let fault = only_fault(text);
    assert_eq!(fault.key.as_deref(), Some(key), "{fault}");
    words.iter().for_each(|word| assert!(fault.message.contains(word), "{word:?} is missing in: {fault}"));
}

#[test]
fn whatever_the_largest_append_cannot_pass_is_refused() {
    assert_fault("limits.append_bytes = '4MiB'", "limits.append_bytes", &["gRPC message", "at most"]);
    assert_fault("limits.record_bytes = '4MiB'", "limits.record_bytes", &["limits.append_bytes", "3MiB at most"]);
    assert_fault("memory.writes_bytes = '2MiB'", "memory.writes_bytes", &["could never be admitted", "3MiB at least"]);
    assert_fault("apply.budget_bytes = '2MiB'", "apply.budget_bytes", &["could never be admitted", "3MiB at least"]);
    assert_fault("wal.segment_bytes = '3MiB'", "wal.segment_bytes", &["could never be logged", "3200KiB at least"]);
    assert_fault(
        "tenant_defaults.bytes_in_flight = '1MiB'",
        "tenant_defaults.bytes_in_flight",
        &["could never be admitted", "3MiB at least"],
    );
    assert_fault(
        "[tenants.default.limits]\nbytes_in_flight = '1MiB'",
        "tenants.default.limits.bytes_in_flight",
        &["line 2", "3MiB at least"],
    );
    assert_fault("tenant_defaults.stored_bytes = '1MiB'", "tenant_defaults.stored_bytes", &["3MiB at least"]);
    assert_fault(
        "tenants.default.limits.stored_bytes = '1MiB'",
        "tenants.default.limits.stored_bytes",
        &["could never be admitted", "3MiB at least"],
    );
}

#[test]
fn log_without_room_for_two_segments_or_a_checkpoint_is_refused() {
    assert_fault(
        "wal.max_bytes = '15MiB'\ncheckpoint.wal_bytes = '1MiB'",
        "wal.max_bytes",
        &["two segments", "16MiB at least"],
    );
    assert_fault("checkpoint.wal_bytes = '512MiB'", "checkpoint.wal_bytes", &["wal.max_bytes", "at most"]);
}

#[test]
fn contradictions_are_all_reported_and_name_default_settings_as_such() {
    let faults =
        load_text("limits.append_bytes = '3900KiB'\nwal.segment_bytes = '1MiB'\nmemory.writes_bytes = 1").unwrap_err();
    assert_eq!(faults.0.len(), 2, "{faults}");
    assert_fault("apply.delay = '3s'", "apply.max_delay", &["(default)", "3s at least"]);
}

#[test]
fn modes_that_keep_the_server_out_or_let_others_write_are_refused() {
    assert_fault("files.file_mode = '0440'", "files.file_mode", &["0600"]);
    assert_fault("files.dir_mode = '0640'", "files.dir_mode", &["0700"]);
    assert_fault("files.file_mode = '0666'", "files.file_mode", &["set 0664"]);
    assert_fault("files.dir_mode = '2770'", "files.dir_mode", &["set 0770"]);
}

#[test]
fn log_filter_that_does_not_parse_and_empty_data_folder_are_refused() {
    assert_fault("log.filter = 'a=b=c=d'", "log.filter", &["as in \"info\""]);
    assert_fault("log.filter = ''", "log.filter", &["empty"]);
    assert_fault("data_dir = ''", "data_dir", &["./inkpot-data"]);
}

#[test]
fn tenants_need_a_valid_name_and_a_token_of_their_own() {
    let hash = token_sha256(TOKEN);
    assert_fault("[tenants.a]", "tenants.a", &["hash-token"]);
    assert_fault(&format!("tenants.'a/b'.token_sha256 = ['{hash}']"), "tenants.\"a/b\"", &["not a name"]);
    assert_fault("tenants.a.token_sha256 = ['abc']", "tenants.a.token_sha256", &["64 hex digits", "hash-token"]);
    let twice = format!("tenants.a.token_sha256 = ['{hash}']\ntenants.b.token_sha256 = ['{hash}']");
    assert_fault(&twice, "tenants.b.token_sha256", &["tenant \"a\" has the same token"]);
}

#[test]
fn token_files_are_read_and_never_shown() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("token");
    let with = |content: &str| {
        fs::write(&file, content).unwrap();
        load_text(&format!("tenants.a.token_files = [{file:?}]"))
    };
    assert_eq!(with(&format!("  {TOKEN}\n")).unwrap().tenants["a"].token_sha256, [token_sha256(TOKEN)]);
    for bad in ["", "short", "two words that are long enough"] {
        let faults = with(bad).unwrap_err().to_string();
        assert!(faults.contains("tenants.a.token_files") && (bad.is_empty() || !faults.contains(bad)), "{faults}");
    }
    assert_fault("tenants.default.token_files = ['/no/such/file']", "tenants.default.token_files", &["/no/such/file"]);
}

#[test]
fn listening_beyond_loopback_without_a_token_is_refused_with_both_remedies() {
    for listen in ["0.0.0.0:7411", "[::]:7411", "192.0.2.1:7411"] {
        assert_fault(&format!("listen = '{listen}'"), "listen", &["token_sha256", "--allow-remote-without-token"]);
        load_text(&format!("listen = '{listen}'\nallow_remote_without_token = true")).unwrap();
        let hash = token_sha256(TOKEN);
        load_text(&format!("listen = '{listen}'\ntenants.a.token_sha256 = ['{hash}']")).unwrap();
    }
    load_text("listen = '127.3.2.1:1'").unwrap();
}
