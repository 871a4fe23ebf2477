//! What stands below the options in `--help`, and with the same words in the manual pages.
//!
//! A section is a line that ends in a colon and rows below it, indented by two: a term, two spaces or more, what it
//! means; or a sentence alone. The manual pages depend on this form.

use super::failure::Exit;

/// How the section of the exit statuses begins.
pub(crate) const EXIT_STATUS: &str = "Exit status:";

const EXAMPLES: &str = "\
Examples:
  inkpot demo                                      see it work: a server of its own, killed in the middle
  journalctl -f | inkpot append logs/journal       a record per line, acked when it survives power loss
  inkpot append logs/app <app.log                  each line once, whatever breaks in between
  inkpot tail -f logs/app                          the last lines, and what comes later
  inkpot put backup.tar archive/                   a local file, which appears whole, and is resumed after Ctrl-C
  inkpot get archive/backup.tar                    and back, verified
  inkpot publish site/ www                         all files of a directory, together or not at all
  inkpot ls -l -d archive/                         as a directory shows it
  inkpot --output json stat logs/app               what is known of a file, for programs
  inkpot bench --spawn --against wire --batch 100  how fast this machine is, beside the bare transport";

const SERVER: &str = "\
Server, token and TLS:
  server  first of --endpoint or --context, INKPOT_ENDPOINT, INKPOT_CONTEXT, current context, http://127.0.0.1:7411
  token   first of --token-file, the token file of --context, INKPOT_TOKEN, that of another context that is used
  TLS     each of the TLS options, its variable, the context that named the server; certificate and key go together";

const ENVIRONMENT: &str = "\
Environment:
  An empty variable is as good as none.
  INKPOT_ENDPOINT      as --endpoint
  INKPOT_CONTEXT       as --context
  INKPOT_TOKEN         the token itself
  INKPOT_CA_FILE       as --ca-file
  INKPOT_CLIENT_CERT   as --client-cert: the file, not what it holds
  INKPOT_CLIENT_KEY    as --client-key: the file, not what it holds
  INKPOT_SERVER_NAME   as --server-name
  INKPOT_CONTEXT_FILE  where the contexts are; else $XDG_CONFIG_HOME/inkpot/config.toml, ~/.config/inkpot/config.toml";

/// Below the options of the tool itself.
pub(crate) fn overview() -> String {
    format!("{EXAMPLES}\n\n{}", reference())
}

/// What holds for all subcommands.
pub(crate) fn reference() -> String {
    let row = |(exit, meaning): &(Exit, &str)| format!("  {:<3}  {meaning}\n", *exit as u8);
    let statuses: String = Exit::MEANINGS.iter().map(row).collect();
    format!("{SERVER}\n\n{EXIT_STATUS}\n{statuses}\n{ENVIRONMENT}")
}
