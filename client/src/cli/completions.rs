//! `inkpot completions`: a script that lets a shell complete the arguments of the tool.

use super::{
    failure::{Exit, Failure},
    output,
};
use clap::{Command, ValueEnum};
use clap_complete::Shell;

const AFTER_HELP: &str = "\
Where it goes:
  bash        inkpot completions bash >~/.local/share/bash-completion/completions/inkpot
  zsh         inkpot completions zsh >~/.zfunc/_inkpot, and in ~/.zshrc: fpath+=~/.zfunc; autoload -Uz compinit; compinit
  fish        inkpot completions fish >~/.config/fish/completions/inkpot.fish
  powershell  inkpot completions powershell >>$PROFILE
  elvish      inkpot completions elvish >>~/.config/elvish/rc.elv";

/// Write the completions of a shell to stdout
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The shell; without it: the one that SHELL names
    #[arg(value_enum)]
    shell: Option<Shell>,
}

/// Runs `inkpot completions`.
pub(crate) fn run(args: Args, tool: &Command) -> Result<Exit, Failure> {
    let Some(shell) = args.shell.or_else(Shell::from_env) else {
        let known = Shell::value_variants().iter().map(Shell::to_string).collect::<Vec<_>>().join(", ");
        return Err(Failure::new(Exit::Usage, format!("SHELL names no shell that is known; name one: {known}")));
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut visible(tool).version(env!("CARGO_PKG_VERSION")), tool.get_name(), &mut script);
    output::emit(&script)?;
    Ok(Exit::Done)
}

/// The command without what is hidden from people, which a shell would offer to them otherwise.
fn visible(command: &Command) -> Command {
    // One that has a `-h` of its own brings its `--help` too.
    let own_help = command.get_arguments().any(|arg| arg.get_id() == "help");
    // clap takes names only for the life of the process, and this process ends when it has written them.
    Command::new(&*command.get_name().to_owned().leak())
        .disable_help_flag(own_help)
        .about(command.get_about().cloned().unwrap_or_default())
        .args(command.get_arguments().filter(|arg| !arg.is_hide_set()).cloned())
        .subcommands(command.get_subcommands().filter(|command| !command.is_hide_set()).map(visible))
}
