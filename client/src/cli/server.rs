//! `inkpot server`: the coordinator itself, so that one binary is enough. The same arguments as `inkpotd`.

use super::output;
use std::{
    ffi::OsString,
    io, iter,
    process::{self, ExitCode},
    thread,
};

/// The name under which the arguments reach the server: its messages are those of the program of its own.
const PROGRAM: &str = "inkpotd";

/// Only the manual page shows it: `--help` goes to the server like everything else.
const AFTER_HELP: &str = "\
Examples:
  inkpot server --help                      the options, the environment and the exit statuses of the server
  inkpot server --data-dir /var/lib/inkpot  serve the files below this folder on 127.0.0.1:7411

Exit status:
  that of inkpotd";

/// What comes after `server`, as it is.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true, after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Die with the one who holds the other end of stdin
    #[arg(long, hide = true)]
    until_stdin_ends: bool,
    /// Arguments of inkpotd: --listen, --data-dir, --config, --help
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    args: Vec<OsString>,
}

/// Hands over to the server until it has stopped.
pub(crate) fn run(args: Args) -> ExitCode {
    if args.until_stdin_ends {
        // Not joined: it waits for as long as the process lives.
        thread::spawn(die_with_stdin);
    }
    inkpot_server::cli::run(iter::once(PROGRAM.into()).chain(args.args))
}

/// Ends the process without a stop in order: nobody is there who would wait for it.
fn die_with_stdin() {
    // An error is the end as well.
    let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
    output::say("the process that started this server is gone");
    process::exit(1);
}
