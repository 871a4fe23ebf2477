//! The command line of the server: reads the configuration, and serves, checks or shows it.
//!
//! Data goes to standard output, words to standard error. Nothing listens before the configuration is without fault.

use crate::{
    app,
    config::{Config, Faults, Flag, Sources, check_token, token_sha256},
    repair::{self, Ending},
    telemetry::Telemetry,
};
use clap::{Parser, Subcommand};
use std::{
    error::Error,
    ffi::OsString,
    io::{self, Read, Write},
    path::PathBuf,
    process::ExitCode,
};

/// Exit status after a fault in the configuration: `EX_CONFIG` of sysexits.h.
const EXIT_CONFIG: u8 = 78;
/// Exit status after any other failure.
const EXIT_FAILURE: u8 = 1;
/// More than any token has, in bytes.
const MAX_TOKEN_INPUT: u64 = 64 << 10;

const AFTER_HELP: &str = "\
Each setting has a key in the TOML file and a variable: wal.max_bytes is INKPOT_WAL__MAX_BYTES.
Flags win over variables, variables over the file, the file over the defaults.
Without any, the server listens on 127.0.0.1:7411, keeps ./inkpot-data, and asks nobody for a token.

Traces, metrics and logs go to an OpenTelemetry collector where OTEL_EXPORTER_OTLP_ENDPOINT (and the other standard
OTEL_* variables) say.

Exit status: 0 stopped as asked, with nothing lost; of --repair: all shards can be opened; 1 could not start or failed; of
--repair: something is damaged, and was told; 2 wrong usage; 78 faults in the configuration.";

/// Inkpot: gives every file exactly one writer, and acknowledges each write with the durability it reached.
#[derive(Debug, Parser)]
#[command(name = "inkpotd", version, after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
struct Args {
    /// Address to listen on [default: 127.0.0.1:7411]
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<OsString>,
    /// Folder of everything that is kept; made if missing [default: ./inkpot-data]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<OsString>,
    /// TOML file with settings; also INKPOT_CONFIG
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Single-writer tasks; counts only at the first start on a data folder [default: 4]
    #[arg(long, value_name = "NUMBER")]
    shards: Option<OsString>,
    /// Address of the Prometheus endpoint, GET /metrics [default: none]
    #[arg(long, value_name = "IP:PORT")]
    metrics_listen: Option<OsString>,
    /// Take requests from other machines although nobody has to show a token
    #[arg(long)]
    allow_remote_without_token: bool,
    /// Print "ok", or all faults of the configuration, and exit
    #[arg(long, conflicts_with = "dump_config")]
    check_config: bool,
    /// Print the effective configuration as TOML, and exit
    #[arg(long)]
    dump_config: bool,
    /// Tell which shards cannot be opened because their log is damaged, and what a repair would give up; serve nothing
    #[arg(long, conflicts_with_all = ["check_config", "dump_config"])]
    repair: bool,
    /// With --repair: do it, after telling
    #[arg(long, requires = "repair")]
    yes: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read a token from standard input, and print what tenants.NAME.token_sha256 takes
    HashToken,
}

impl Args {
    fn sources(self, environment: Vec<(OsString, OsString)>) -> Sources {
        let allow = self.allow_remote_without_token.then(|| "true".into());
        let flags = [
            ("listen", "--listen", self.listen),
            ("data_dir", "--data-dir", self.data_dir),
            ("shards", "--shards", self.shards),
            ("telemetry.metrics_listen", "--metrics-listen", self.metrics_listen),
            ("allow_remote_without_token", "--allow-remote-without-token", allow),
        ];
        let flags = flags.into_iter().filter_map(|(key, flag, value)| value.map(|value| Flag { key, flag, value }));
        Sources { file: self.config, environment, flags: flags.collect() }
    }
}

/// Does what the arguments say; the first is the name of the program. Returns when the server has stopped.
pub fn run<I: IntoIterator<Item = OsString>>(args: I) -> ExitCode {
    let environment = std::env::vars_os().collect();
    match plan(args, environment, &mut io::stdin(), &mut io::stdout()) {
        Plan::Serve(config) => serve(*config),
        Plan::Repair { config, yes } => repair(&config, yes),
        Plan::Exit(code) => code.into(),
        Plan::Refuse { code, words } => {
            // If standard error is gone there is nobody left to tell.
            let _ = writeln!(io::stderr(), "{}", words.trim_end());
            code.into()
        }
    }
}

/// What the arguments come to.
#[derive(Debug)]
enum Plan {
    Serve(Box<Config>),
    /// What is damaged is told and, with `yes`, given up.
    Repair {
        config: Box<Config>,
        yes: bool,
    },
    /// All is said.
    Exit(u8),
    /// With these words for standard error.
    Refuse {
        code: u8,
        words: String,
    },
}

fn plan(
    args: impl IntoIterator<Item = OsString>,
    environment: Vec<(OsString, OsString)>,
    input: &mut dyn Read,
    output: &mut dyn Write,
) -> Plan {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) if error.use_stderr() => return Plan::Refuse { code: 2, words: error.render().to_string() },
        Err(help) => return print(output, &help.render().to_string()),
    };
    if let Some(Command::HashToken) = args.command {
        return hash_token(input, output);
    }
    let (check, dump, repair, yes) = (args.check_config, args.dump_config, args.repair, args.yes);
    match Config::load(&args.sources(environment)) {
        Ok(_) if check => print(output, "ok\n"),
        Ok(config) if dump => print(output, &config.dump()),
        Ok(config) if repair => Plan::Repair { config: Box::new(config), yes },
        Ok(config) => Plan::Serve(Box::new(config)),
        Err(faults) => refuse_config(&faults),
    }
}

fn refuse_config(faults: &Faults) -> Plan {
    Plan::Refuse { code: EXIT_CONFIG, words: format!("inkpotd: {faults}") }
}

fn hash_token(input: &mut dyn Read, output: &mut dyn Write) -> Plan {
    let refuse =
        |problem: &dyn std::fmt::Display| Plan::Refuse { code: EXIT_FAILURE, words: format!("inkpotd: {problem}") };
    let mut token = String::new();
    if let Err(error) = input.take(MAX_TOKEN_INPUT).read_to_string(&mut token) {
        return refuse(&format_args!("cannot read a token from standard input: {error}"));
    }
    match check_token(token.trim()) {
        Ok(()) => print(output, &format!("{}\n", token_sha256(token.trim()))),
        Err(problem) => refuse(&problem),
    }
}

/// Prints; a reader that has gone away had enough.
fn print(output: &mut dyn Write, text: &str) -> Plan {
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Plan::Refuse { code: EXIT_FAILURE, words: format!("inkpotd: cannot write to standard output: {error}") }
        }
        _ => Plan::Exit(0),
    }
}

fn serve(config: Config) -> ExitCode {
    let telemetry = match Telemetry::start(&config) {
        Ok(telemetry) => telemetry,
        Err(error) => return failed(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("inkpot-rpc").build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let outcome = runtime.block_on(app::run(config, &telemetry));
    // What still runs now has had its time in the stages of the stop; a blocked call must not hold the exit up.
    runtime.shutdown_background();
    telemetry.stop();
    outcome.map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS)
}

fn repair(config: &Config, yes: bool) -> ExitCode {
    match repair::run(config, yes, &mut io::stdout()) {
        Ok(Ending::Whole) => ExitCode::SUCCESS,
        Ok(Ending::Told | Ending::Beyond) => EXIT_FAILURE.into(),
        Err(error) => failed(&error),
    }
}

/// One line, with all causes.
fn failed(error: &dyn Error) -> ExitCode {
    let mut words = format!("inkpotd: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        words += &format!(": {error}");
        cause = error.source();
    }
    let _ = writeln!(io::stderr(), "{words}");
    EXIT_FAILURE.into()
}

#[cfg(test)]
mod tests;
