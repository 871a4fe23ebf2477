#![allow(clippy::unwrap_used)]
use super::*;

/// The plan for these arguments, and what is printed.
fn planned(args: &[&str], variables: &[(&str, &str)], input: &str) -> (Plan, String) {
    let args = std::iter::once("inkpotd").chain(args.iter().copied()).map(OsString::from);
    let environment = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
    let mut output = Vec::new();
    let plan = plan(args, environment, &mut input.as_bytes(), &mut output);
    (plan, String::from_utf8(output).unwrap())
}

fn served(args: &[&str], variables: &[(&str, &str)]) -> Config {
    match planned(args, variables, "").0 {
        Plan::Serve(config) => *config,
        other => panic!("{other:?}"),
    }
}

fn refused(args: &[&str], input: &str) -> (u8, String) {
    match planned(args, &[], input) {
        (Plan::Refuse { code, words }, output) if output.is_empty() => (code, words),
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_arguments_the_defaults_are_served() {
    assert_eq!(served(&[], &[]), Config::default());
}

#[test]
fn flags_win_over_variables() {
    let args = ["--listen", "127.0.0.1:1", "--data-dir", "/x", "--shards=3", "--allow-remote-without-token"];
    let config = served(&args, &[("INKPOT_LISTEN", "127.0.0.1:2"), ("INKPOT_LOG__FORMAT", "json")]);
    assert_eq!((config.listen.port(), config.shards, config.allow_remote_without_token), (1, 3, true));
    assert_eq!((config.data_dir, config.log.format), (PathBuf::from("/x"), crate::config::LogFormat::Json));
}

#[test]
fn faults_end_with_78_and_one_report_that_names_flags_and_file() {
    let args = ["--shards", "0", "--listen", "nowhere", "--config", "/no/such/file"];
    for more in [None, Some("--check-config"), Some("--dump-config")] {
        let args: Vec<_> = args.into_iter().chain(more).collect();
        let (code, words) = refused(&args, "");
        assert_eq!(code, 78);
        for part in ["3 faults", "flag --shards", "flag --listen", "/no/such/file"] {
            assert!(words.contains(part), "{part} is missing in {words}");
        }
    }
}

#[test]
fn listening_to_other_machines_without_a_token_ends_with_78() {
    let (code, words) = refused(&["--listen", "0.0.0.0:7411"], "");
    assert_eq!(code, 78);
    assert!(words.contains("--allow-remote-without-token") && words.contains("hash-token"), "{words}");
    served(&["--listen", "0.0.0.0:7411", "--allow-remote-without-token"], &[]);
}

#[test]
fn check_prints_ok_and_dump_prints_what_loads_again() {
    assert!(matches!(planned(&["--check-config"], &[], ""), (Plan::Exit(0), output) if output == "ok\n"));
    let (plan, dump) = planned(&["--dump-config", "--shards", "9"], &[], "");
    assert!(matches!(plan, Plan::Exit(0)));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &dump).unwrap();
    let reloaded = served(&["--config", file.path().to_str().unwrap()], &[]);
    assert_eq!(reloaded, served(&["--shards", "9"], &[]));
}

#[test]
fn token_from_standard_input_is_hashed_and_bad_ones_are_not_shown() {
    let (plan, output) = planned(&["hash-token"], &[], "correct-horse-battery\n");
    assert!(matches!(plan, Plan::Exit(0)));
    assert_eq!(output.trim_end(), token_sha256("correct-horse-battery"));
    let (code, words) = refused(&["hash-token"], "pässwörter sind geheim\n");
    assert!(code == 1 && !words.contains("geheim"), "{words}");
    assert!(refused(&["hash-token"], "").1.contains("16 characters"));
}

#[test]
fn wrong_usage_ends_with_2_and_help_with_0() {
    assert_eq!(refused(&["--colour"], "").0, 2);
    assert_eq!(refused(&["--check-config", "--dump-config"], "").0, 2);
    let (plan, help) = planned(&["--help"], &[], "");
    assert!(matches!(plan, Plan::Exit(0)) && help.contains("INKPOT_WAL__MAX_BYTES"), "{help}");
}

#[test]
fn reader_that_went_away_is_no_failure_but_a_full_disk_is() {
    struct Failing(io::ErrorKind);
    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let code = |kind| match print(&mut Failing(kind), "text") {
        Plan::Exit(code) | Plan::Refuse { code, .. } => code,
        Plan::Serve(_) | Plan::Repair { .. } => panic!("nothing is served"),
    };
    assert_eq!((code(io::ErrorKind::BrokenPipe), code(io::ErrorKind::StorageFull)), (0, 1));
}

#[test]
fn repair_only_tells_unless_it_is_told_to_do_it() {
    for (args, wanted) in [(&["--repair"][..], false), (&["--repair", "--yes"][..], true)] {
        match planned(args, &[], "").0 {
            Plan::Repair { yes, .. } => assert_eq!(yes, wanted),
            other => panic!("{other:?}"),
        }
    }
    for args in [&["--yes"][..], &["--repair", "--check-config"][..]] {
        assert_eq!(refused(args, "").0, 2, "{args:?}");
    }
}
