//! `inkpot man`: the manual pages, made from the same definitions and words as `--help`.

use super::{
    failure::{Exit, Failure},
    help, output,
};
use clap::Command;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

const AFTER_HELP: &str = "\
Examples:
  inkpot man | man -l -                         read the main page
  inkpot man --dir ~/.local/share/man/man1      all pages, where man finds them: man inkpot-append";

/// Write the manual pages
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Write a page for each subcommand into this folder, made if missing; without it: the main page to stdout
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs `inkpot man`.
pub(crate) fn run(args: Args, tool: Command) -> Result<Exit, Failure> {
    // As clap_mangen does it: `inkpot help append` needs no page.
    let mut tool = tool.disable_help_subcommand(true);
    tool.build();
    let Some(dir) = args.dir else {
        output::emit(&page(&tool).map_err(|error| Failure::output(&error))?)?;
        return Ok(Exit::Done);
    };
    let failed = |error| Failure::error(format_args!("cannot write to {}", dir.display()), error);
    fs::create_dir_all(&dir).map_err(failed)?;
    let pages = write_all(&tool, &dir).map_err(failed)?;
    output::say(format_args!("{pages} pages in {}", dir.display()));
    Ok(Exit::Done)
}

/// Writes the page of a command and those of its subcommands; gives how many.
fn write_all(command: &Command, dir: &Path) -> io::Result<usize> {
    fs::write(dir.join(Man::new(command.clone()).get_filename()), page(command)?)?;
    let subcommands = command.get_subcommands().filter(|command| !command.is_hide_set());
    subcommands.map(|command| write_all(command, dir)).sum::<io::Result<usize>>().map(|pages| pages + 1)
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let source = concat!("inkpot ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(source).manual("Inkpot");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut roff = Roff::new();
    let own = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    sections(&mut roff, &own);
    if !own.contains(help::EXIT_STATUS) {
        sections(&mut roff, &help::reference());
    }
    roff.to_writer(&mut page)?;
    Ok(page)
}

/// Turns the sections below the options of a help text into those of a page.
fn sections(roff: &mut Roff, help: &str) {
    for line in help.lines().filter(|line| !line.is_empty()) {
        let Some(row) = line.strip_prefix("  ") else {
            roff.control("SH", [line.trim_end_matches(':').to_uppercase().as_str()]);
            continue;
        };
        match row.split_once("  ") {
            Some((term, meaning)) => {
                roff.control("TP", []);
                roff.text([bold(term)]);
                roff.text([roman(meaning.trim_start())]);
            }
            None => {
                roff.control("PP", []);
                roff.text([roman(row)]);
            }
        }
    }
}

#[cfg(test)]
mod tests;
