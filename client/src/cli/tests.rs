#![allow(clippy::unwrap_used)]
use super::*;
use clap::CommandFactory;

#[test]
fn arguments_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn help_documents_every_exit_status() {
    let help = Cli::command().render_long_help().to_string();
    let statuses =
        [Exit::Done, Exit::Error, Exit::Usage, Exit::Unknown, Exit::NotFound, Exit::Conflict, Exit::Interrupted];
    for status in statuses {
        let listed = help.lines().any(|line| line.trim_start().starts_with(&format!("{} ", status as u8)));
        assert!(listed, "{status:?}");
    }
}

#[test]
fn token_is_no_argument_and_global_options_stand_anywhere() {
    assert!(Cli::try_parse_from(["inkpot", "--token", "x", "ls"]).is_err());
    assert!(Cli::try_parse_from(["inkpot", "ls", "--output", "json", "--endpoint", "http://h:1"]).is_ok());
}

#[test]
fn cat_takes_negative_offsets_and_no_limit_of_zero() {
    assert!(Cli::try_parse_from(["inkpot", "cat", "a", "--offset", "-5"]).is_ok());
    assert!(Cli::try_parse_from(["inkpot", "cat", "a", "--limit", "0"]).is_err());
}
