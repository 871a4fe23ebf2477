//! What every subcommand that talks to a server needs: where it is, who we are, how to answer.

use super::{
    failure::{Exit, Failure},
    output::Format,
};
use inkpot_client::{Client, ClientBuilder};
use std::{env, fs, path::PathBuf};

const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:7411";
const TOKEN_VARIABLE: &str = "INKPOT_TOKEN";

/// Options that stand before or after any subcommand.
#[derive(Debug, clap::Args)]
pub(crate) struct GlobalArgs {
    /// The server
    #[arg(long, global = true, env = "INKPOT_ENDPOINT", default_value = DEFAULT_ENDPOINT, value_name = "URI")]
    endpoint: String,
    /// File that holds the token; without it: the environment variable INKPOT_TOKEN
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Form of the answer on stdout
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, value_name = "FORM")]
    output: Format,
}

/// The options, read and checked.
#[derive(Debug)]
pub(crate) struct Context {
    endpoint: String,
    token: Option<String>,
    pub(crate) format: Format,
}

impl Context {
    /// Reads the token, if there is one.
    pub(crate) fn new(args: GlobalArgs) -> Result<Self, Failure> {
        let token = match &args.token_file {
            Some(file) => Some(
                fs::read_to_string(file)
                    .map_err(|error| Failure::new(Exit::Usage, format!("token file {}: {error}", file.display())))?,
            ),
            None => env::var(TOKEN_VARIABLE).ok(),
        };
        let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        Ok(Self { endpoint: args.endpoint, token, format: args.output })
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A client of the server that the options name, to be adjusted.
    pub(crate) fn builder(&self) -> ClientBuilder {
        let builder = Client::builder(self.endpoint.clone());
        match &self.token {
            Some(token) => builder.token(token.clone()),
            None => builder,
        }
    }

    /// A connected client with the defaults of the library.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        self.builder().connect().await.map_err(|error| Failure::reading(self.endpoint(), &error))
    }
}
