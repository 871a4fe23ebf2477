//! The server that a subcommand talks to: where it is, and who we are there.

use super::{
    failure::{Exit, Failure},
    global::GlobalArgs,
};
use inkpot_client::{Client, ClientBuilder};
use std::{env, fs};

const TOKEN_VARIABLE: &str = "INKPOT_TOKEN";

/// A server and the token for it.
#[derive(Debug)]
pub(crate) struct Target {
    endpoint: String,
    token: Option<String>,
}

impl Target {
    pub(crate) const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:7411";

    /// Reads the token, if there is one.
    pub(crate) fn new(args: &GlobalArgs) -> Result<Self, Failure> {
        let token = match &args.token_file {
            Some(file) => Some(
                fs::read_to_string(file)
                    .map_err(|error| Failure::new(Exit::Usage, format!("token file {}: {error}", file.display())))?,
            ),
            None => env::var(TOKEN_VARIABLE).ok(),
        };
        let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        Ok(Self { endpoint: args.endpoint.clone(), token })
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A client, to be adjusted.
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
