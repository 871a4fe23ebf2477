//! Options that stand before or after any subcommand.

use super::{context, failure::Failure, output::Format, target::Target, tls::Tls};
use inkpot_client::Client;
use std::path::PathBuf;

/// The options, as given. The server that they name is worked out when a subcommand asks for it.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// The server; where nothing names one: http://127.0.0.1:7411
    #[arg(long, global = true, env = "INKPOT_ENDPOINT", value_name = "URI")]
    pub(crate) endpoint: Option<String>,
    /// The server that has this name; see `inkpot context`
    #[arg(long, global = true, env = "INKPOT_CONTEXT", value_name = "NAME")]
    pub(crate) context: Option<context::Name>,
    /// File that holds the token
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Form of the answer on stdout
    #[arg(long = "output", global = true, value_enum, default_value_t = Format::Text, value_name = "FORM")]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) tls: Tls,
}

impl GlobalArgs {
    /// The server to talk to.
    pub(crate) fn target(&self) -> Result<Target, Failure> {
        Target::new(self)
    }

    /// A client of it with the defaults of the library.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        let target = self.target()?;
        target.connect(target.builder()?).await
    }
}
