//! Options that stand before or after any subcommand.

use super::{
    context,
    failure::{Exit, Failure},
    output::Format,
    target::Target,
    tls::Tls,
    variable,
};
use inkpot_client::Client;
use std::path::PathBuf;

const ENDPOINT_VARIABLE: &str = "INKPOT_ENDPOINT";
const CONTEXT_VARIABLE: &str = "INKPOT_CONTEXT";

/// The options, as given. The server that they name is worked out when a subcommand asks for it.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// The server; without it: --context, INKPOT_ENDPOINT, INKPOT_CONTEXT, the current context, http://127.0.0.1:7411
    #[arg(long, global = true, value_name = "URI")]
    pub(crate) endpoint: Option<String>,
    /// The server that has this name; see `inkpot context`
    #[arg(long, global = true, value_name = "NAME")]
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
    /// Whether there are two options where one would do, and nothing says which is meant.
    pub(crate) fn names_two_servers(&self) -> bool {
        self.endpoint.is_some() && self.context.is_some()
    }

    /// The endpoint, if it names the server. The variable does not where a context is an option.
    pub(crate) fn endpoint(&self) -> Result<Option<String>, Failure> {
        match (&self.endpoint, &self.context) {
            (None, None) => variable::text(ENDPOINT_VARIABLE),
            (endpoint, _) => Ok(endpoint.clone()),
        }
    }

    /// The context that is asked for.
    pub(crate) fn context(&self) -> Result<Option<context::Name>, Failure> {
        if self.context.is_some() {
            return Ok(self.context.clone());
        }
        let bad = |why: String| Failure::new(Exit::Usage, format!("{CONTEXT_VARIABLE}: {why}"));
        variable::text(CONTEXT_VARIABLE)?.map(|name| name.parse().map_err(bad)).transpose()
    }

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
