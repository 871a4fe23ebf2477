//! The server that a subcommand talks to: where it is, and who we are there.

use super::{
    context::{Contexts, Name},
    failure::{Exit, Failure},
    global::GlobalArgs,
};
use inkpot_client::{Client, ClientBuilder};
use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
};

const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:7411";
const TOKEN_VARIABLE: &str = "INKPOT_TOKEN";

/// What named the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Endpoint,
    Context(Name),
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint => f.write_str("--endpoint or INKPOT_ENDPOINT"),
            Self::Context(name) => write!(f, "context {name}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Where the token is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TokenSource {
    File(PathBuf),
    Variable,
}

impl fmt::Display for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => file.display().fmt(f),
            Self::Variable => f.write_str(TOKEN_VARIABLE),
        }
    }
}

/// Which server, and where its token is: the options first, then what the environment says, then the context. The
/// token of a context goes to no server but its own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) endpoint: String,
    pub(crate) origin: Origin,
    pub(crate) token: Option<TokenSource>,
}

impl Choice {
    /// Reads the contexts only if no endpoint is given.
    pub(crate) fn new(args: &GlobalArgs) -> Result<Self, Failure> {
        let (endpoint, origin, kept_token) = match &args.endpoint {
            Some(endpoint) => (endpoint.clone(), Origin::Endpoint, None),
            None => named(args.context.as_ref())?,
        };
        let variable = || token_variable().map(|_| TokenSource::Variable);
        let token = args.token_file.clone().map(TokenSource::File);
        Ok(Self { endpoint, origin, token: token.or_else(variable).or(kept_token.map(TokenSource::File)) })
    }
}

/// The server of this context, or of the current one, or the default; with its token file.
fn named(name: Option<&Name>) -> Result<(String, Origin, Option<PathBuf>), Failure> {
    let contexts = Contexts::load()?;
    let Some(name) = name.or(contexts.current.as_ref()) else {
        return Ok((DEFAULT_ENDPOINT.to_owned(), Origin::Default, None));
    };
    let context = contexts.get(name)?;
    Ok((context.endpoint.clone(), Origin::Context(name.clone()), context.token_file.clone()))
}

fn token_variable() -> Option<String> {
    env::var(TOKEN_VARIABLE).ok().map(|token| token.trim().to_owned()).filter(|token| !token.is_empty())
}

/// Refuses what no client can use as an endpoint. Nothing is asked of the server.
pub(crate) async fn check_endpoint(endpoint: &str) -> Result<(), Failure> {
    let checked = Client::builder(endpoint).connect().await;
    checked.map(drop).map_err(|error| Failure::reading(endpoint, &error))
}

/// The token in a file; nothing if it is empty.
pub(crate) fn read_token(file: &Path) -> Result<Option<String>, Failure> {
    let token = fs::read_to_string(file)
        .map_err(|error| Failure::new(Exit::Usage, format!("token file {}: {error}", file.display())))?;
    Ok(Some(token.trim().to_owned()).filter(|token| !token.is_empty()))
}

/// A server and the token for it.
#[derive(Debug)]
pub(crate) struct Target {
    endpoint: String,
    token: Option<String>,
}

impl Target {
    /// Chooses the server, and reads the token, if there is one.
    pub(crate) fn new(args: &GlobalArgs) -> Result<Self, Failure> {
        let Choice { endpoint, token, .. } = Choice::new(args)?;
        let token = match token {
            Some(TokenSource::File(file)) => read_token(&file)?,
            Some(TokenSource::Variable) => token_variable(),
            None => None,
        };
        Ok(Self { endpoint, token })
    }

    fn endpoint(&self) -> &str {
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

    /// A client with these settings.
    pub(crate) async fn connect(&self, builder: ClientBuilder) -> Result<Client, Failure> {
        builder.connect().await.map_err(|error| Failure::reading(self.endpoint(), &error))
    }
}
