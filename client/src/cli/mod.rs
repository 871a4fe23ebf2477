//! Arguments of the tool and the way from them to a subcommand, a module each. Data goes to stdout, words go to
//! stderr. No secret is ever an argument: a token comes from a file or the environment.

mod adopt;
mod append;
mod bench;
mod cat;
mod checksum;
mod child;
mod completions;
mod context;
mod demo;
mod du;
mod failure;
mod get;
mod global;
mod health;
mod help;
mod input;
mod interrupt;
mod local;
mod ls;
mod man;
mod mv;
mod output;
mod publish;
mod put;
mod range;
mod rm;
mod seal;
mod send;
#[cfg(feature = "server")]
mod server;
mod stat;
mod tail;
mod target;
mod tls;
mod truncate;
mod units;
mod variable;
mod verify;

use clap::{CommandFactory, Parser, Subcommand, error::ErrorKind};
use failure::{Exit, Failure};
use global::GlobalArgs;
use std::process::ExitCode;

/// Streams and whole files into durable plain files, and back.
#[derive(Debug, Parser)]
#[command(name = "inkpot", version, after_help = help::overview(), max_term_width = 120)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Async(AsyncCommand),
    /// Run the coordinator (the same as inkpotd)
    #[cfg(feature = "server")]
    Server(server::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// What runs on the tool's own runtime; the server builds one for itself. In the order of `--help`: by use.
#[derive(Debug, Subcommand)]
enum AsyncCommand {
    Append(append::Args),
    Tail(tail::Args),
    Cat(cat::Args),
    Put(put::Args),
    Get(get::Args),
    Publish(publish::Args),
    Ls(ls::Args),
    Stat(stat::Args),
    Du(du::Args),
    Mv(mv::Args),
    Rm(rm::Args),
    Truncate(truncate::Args),
    Seal(seal::Args),
    Adopt(adopt::Args),
    Verify(verify::Args),
    Health(health::Args),
    Context(context::Args),
    Demo(demo::Args),
    Bench(Box<bench::Args>),
    #[command(hide = true)]
    WireServer(bench::wire::Args),
}

/// Runs what the arguments of the process ask for.
pub(crate) fn main() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    // Not by clap's conflicts_with, which overlooks options on both sides of the subcommand.
    if global.names_two_servers() {
        let words = "--endpoint and --context each name the server: give one of them";
        Cli::command().error(ErrorKind::ArgumentConflict, words).exit();
    }
    let result = match command {
        Command::Async(command) => run(&global, command),
        #[cfg(feature = "server")]
        Command::Server(args) => return server::run(args),
        Command::Completions(args) => completions::run(args, &Cli::command()),
        Command::Man(args) => man::run(args, Cli::command()),
    };
    result.map_or_else(|failure| failure.report(), ExitCode::from)
}

fn run(global: &GlobalArgs, command: AsyncCommand) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::error("cannot start the runtime", error))?;
    let result = runtime.block_on(dispatch(global, command));
    // What still runs has nobody left to answer to, and a read that has not returned must not keep the process.
    runtime.shutdown_background();
    result
}

async fn dispatch(global: &GlobalArgs, command: AsyncCommand) -> Result<Exit, Failure> {
    match command {
        AsyncCommand::Append(args) => append::run(global, args).await,
        AsyncCommand::Cat(args) => cat::run(global, args).await,
        // Also where SIGINT is ignored, as for what a script starts in the background.
        AsyncCommand::Tail(args) => interrupt::or_dropped(tail::run(global, args)).await,
        AsyncCommand::Put(args) => put::run(global, args).await,
        AsyncCommand::Get(args) => get::run(global, args).await,
        AsyncCommand::Publish(args) => publish::run(global, args).await,
        AsyncCommand::Ls(args) => interrupt::or_dropped(ls::run(global, args)).await,
        AsyncCommand::Stat(args) => interrupt::or_dropped(stat::run(global, args)).await,
        AsyncCommand::Du(args) => interrupt::or_dropped(du::run(global, args)).await,
        AsyncCommand::Mv(args) => interrupt::or_dropped(mv::run(global, args)).await,
        AsyncCommand::Rm(args) => interrupt::or_dropped(rm::run(global, args)).await,
        AsyncCommand::Truncate(args) => interrupt::or_dropped(truncate::run(global, args)).await,
        AsyncCommand::Seal(args) => interrupt::or_dropped(seal::run(global, args)).await,
        AsyncCommand::Adopt(args) => interrupt::or_dropped(adopt::run(global, args)).await,
        AsyncCommand::Verify(args) => interrupt::or_dropped(verify::run(global, args)).await,
        AsyncCommand::Health(args) => interrupt::or_dropped(health::run(global, args)).await,
        AsyncCommand::Context(args) => context::run(global, args).await,
        AsyncCommand::Demo(args) => interrupt::or_dropped(demo::run(global, args)).await,
        AsyncCommand::Bench(args) => interrupt::or_dropped(bench::run(global, &args)).await,
        AsyncCommand::WireServer(args) => bench::wire::run(args).await,
    }
}

#[cfg(test)]
mod tests;
