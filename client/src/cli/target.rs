//! The server that a subcommand talks to: where it is, who we are there, and how both sides prove it.

use super::{
    context::{Context, Contexts, Name},
    failure::{Exit, Failure},
    global::GlobalArgs,
    tls::Tls,
};
use inkpot_client::{Client, ClientBuilder};
use std::{env, fmt, fs, path::PathBuf};

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

impl TokenSource {
    /// The token; nothing if it is empty.
    pub(crate) fn read(&self) -> Result<Option<String>, Failure> {
        match self {
            Self::Variable => Ok(token_variable()),
            Self::File(file) => {
                let text = fs::read_to_string(file);
                let failed = |error| Failure::new(Exit::Usage, format!("token file {}: {error}", file.display()));
                Ok(some_token(&text.map_err(failed)?))
            }
        }
    }
}

impl fmt::Display for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => file.display().fmt(f),
            Self::Variable => f.write_str(TOKEN_VARIABLE),
        }
    }
}

/// Which server, where its token is, and how it is reached: the options first, --context among them, then what the
/// environment says, then the current context. The token and the TLS settings of a context go to no server but its own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) endpoint: String,
    pub(crate) origin: Origin,
    pub(crate) token: Option<TokenSource>,
    pub(crate) tls: Tls,
}

impl Target {
    /// Reads the contexts only if no endpoint is given. Reads no token.
    pub(crate) fn new(args: &GlobalArgs) -> Result<Self, Failure> {
        let (kept, origin) = match args.endpoint()? {
            Some(endpoint) => (Context { endpoint, ..Context::default() }, Origin::Endpoint),
            None => named(args.context()?.as_ref())?,
        };
        let told = args.token_file.clone().map(TokenSource::File);
        let (kept_token, variable) =
            (kept.token_file.map(TokenSource::File), token_variable().map(|_| TokenSource::Variable));
        // A context that is an option wins over all of the environment: its token there may be for another server.
        let token = if args.context.is_some() { kept_token.or(variable) } else { variable.or(kept_token) };
        Ok(Self {
            endpoint: kept.endpoint,
            origin,
            token: told.or(token),
            tls: args.tls.clone().or_variables()?.or(kept.tls),
        })
    }

    /// Settings of a client, to be adjusted.
    pub(crate) fn builder(&self) -> Result<ClientBuilder, Failure> {
        let builder = self.anonymous()?;
        Ok(match self.token.as_ref().map_or(Ok(None), TokenSource::read)? {
            Some(token) => builder.token(token),
            None => builder,
        })
    }

    /// Settings of a client that shows no token.
    pub(crate) fn anonymous(&self) -> Result<ClientBuilder, Failure> {
        self.tls.apply(Client::builder(&self.endpoint))
    }

    /// A client with these settings. Nothing is asked of the server; what no client can use is refused.
    pub(crate) async fn connect(&self, builder: ClientBuilder) -> Result<Client, Failure> {
        let client = builder.connect().await;
        client.map_err(|error| Failure::reading(&self.endpoint, &error).with_advice(&self.tls.advice(error.message())))
    }
}

/// The context of this name, or the current one, or the default.
fn named(name: Option<&Name>) -> Result<(Context, Origin), Failure> {
    let contexts = Contexts::load()?;
    let Some(name) = name.or(contexts.current.as_ref()) else {
        return Ok((Context { endpoint: DEFAULT_ENDPOINT.to_owned(), ..Context::default() }, Origin::Default));
    };
    Ok((contexts.get(name)?.clone(), Origin::Context(name.clone())))
}

fn token_variable() -> Option<String> {
    env::var(TOKEN_VARIABLE).ok().and_then(|text| some_token(&text))
}

fn some_token(text: &str) -> Option<String> {
    Some(text.trim().to_owned()).filter(|token| !token.is_empty())
}
