//! Options that stand before or after any subcommand.

use super::{failure::Failure, output::Format, target::Target};
use inkpot_client::Client;
use std::path::PathBuf;

/// The options, as given. The server that they name is worked out when a subcommand asks for it.
#[derive(Debug, clap::Args)]
pub(crate) struct GlobalArgs {
    /// The server
    #[arg(long, global = true, env = "INKPOT_ENDPOINT", default_value = Target::DEFAULT_ENDPOINT, value_name = "URI")]
    pub(crate) endpoint: String,
    /// File that holds the token; without it: the environment variable INKPOT_TOKEN
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Form of the answer on stdout
    #[arg(long = "output", global = true, value_enum, default_value_t = Format::Text, value_name = "FORM")]
    pub(crate) format: Format,
}

impl GlobalArgs {
    /// The server to talk to.
    pub(crate) fn target(&self) -> Result<Target, Failure> {
        Target::new(self)
    }

    /// A client of it with the defaults of the library.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        self.target()?.connect().await
    }
}
