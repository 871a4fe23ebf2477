//! `inkpot server`: the coordinator itself, so that one binary is enough. The same arguments as `inkpotd`.

use std::{ffi::OsString, iter, process::ExitCode};

/// The name under which the arguments reach the server: its messages are those of the program of its own.
const PROGRAM: &str = "inkpotd";

/// What comes after `server`, as it is.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Arguments of inkpotd: --listen, --data-dir, --config, --help
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    args: Vec<OsString>,
}

/// Hands over to the server until it has stopped.
pub(crate) fn run(args: Args) -> ExitCode {
    inkpot_server::cli::run(iter::once(PROGRAM.into()).chain(args.args))
}
