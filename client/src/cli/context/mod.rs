//! `inkpot context`: servers with a name, so that they need not be told at each call.

mod store;

pub(crate) use store::{Context, Contexts, Name, absolute_path};

use super::{
    failure::{Exit, Failure},
    global::GlobalArgs,
    output::{self, Format},
    target::{Origin, Target, TokenSource},
    tls::Tls,
};
use clap::Subcommand;
use serde::Serialize;
use std::{
    fmt::{self, Display},
    path::PathBuf,
};

const AFTER_HELP: &str = "\
Examples:
  inkpot context add prod --endpoint https://ink.example:7411 --ca-file ca.pem --token-file ink.token  name a server
  inkpot context use prod                                                                              from now on
  inkpot --context staging ls                                                                          this once
  inkpot context show                                                                                  which, and why";

/// Give servers names, and choose one
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Give the server of --endpoint a name, and keep --token-file and the TLS options with it
    Add {
        /// Letters in lower case, digits and . _ -
        name: Name,
    },
    /// Make a context the current one: the server where nothing else names one
    Use {
        /// The context
        name: Name,
    },
    /// List the contexts; the current one has a star
    Ls,
    /// Forget a context; its token file stays
    Rm {
        /// The context
        name: Name,
    },
    /// Show which server a command would use, and why
    Show,
}

/// Runs `inkpot context`.
pub(crate) async fn run(global: &GlobalArgs, args: Args) -> Result<Exit, Failure> {
    match args.action {
        Action::Add { name } => add(global, name).await,
        Action::Use { name } => set_current(global.format, name),
        Action::Ls => list(global.format),
        Action::Rm { name } => remove(global.format, name),
        Action::Show => show(global),
    }?;
    Ok(Exit::Done)
}

/// A context as the tool shows it.
#[derive(Debug, Serialize)]
struct Described {
    name: Name,
    endpoint: String,
    token_file: Option<PathBuf>,
    tls: Tls,
    current: bool,
}

impl Described {
    fn new(contexts: &Contexts, name: &Name) -> Result<Self, Failure> {
        let Context { endpoint, token_file, tls } = contexts.get(name)?.clone();
        Ok(Self { name: name.clone(), endpoint, token_file, tls, current: contexts.current.as_ref() == Some(name) })
    }

    /// Says what was done to it: in words, or by showing it.
    fn report(&self, format: Format, words: impl Display) -> Result<(), Failure> {
        match format {
            Format::Json => output::emit_json(self)?,
            Format::Text => output::say(words),
        }
        Ok(())
    }
}

impl Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.current { '*' } else { ' ' };
        write!(f, "{star} {:<20} {}", self.name, self.endpoint)?;
        self.token_file.as_ref().map_or(Ok(()), |file| write!(f, "  token in {}", file.display()))?;
        self.tls.given().try_for_each(|(option, value)| write!(f, "  {option} {value}"))
    }
}

async fn add(global: &GlobalArgs, name: Name) -> Result<(), Failure> {
    if global.endpoint()?.is_none() {
        return Err(Failure::new(Exit::Usage, format!("which server is {name}? --endpoint says it")));
    }
    let target = global.target()?;
    // What no client can use is refused here rather than at each use.
    target.connect(target.anonymous()?).await?;
    let context = Context {
        endpoint: target.endpoint,
        token_file: global.token_file.clone().map(checked_token_file).transpose()?,
        tls: target.tls.try_map_files(absolute)?,
    };
    let added = Contexts::change(|contexts| {
        if contexts.get(&name).is_ok() {
            let message = format!("there is a context {name} already; `inkpot context rm {name}` makes room");
            return Err(Failure::new(Exit::Usage, message));
        }
        contexts.contexts.insert(name.clone(), context);
        Described::new(contexts, &name)
    })?;
    let Described { endpoint, .. } = &added;
    let words = format_args!("context {name} is {endpoint}; `inkpot context use {name}` makes it the current one");
    added.report(global.format, words)
}

/// One that cannot be read is refused: it is a slip, or a token in the place of its file.
fn checked_token_file(file: PathBuf) -> Result<PathBuf, Failure> {
    TokenSource::File(file.clone()).read()?;
    absolute(file)
}

/// The path as it can be kept.
fn absolute(file: PathBuf) -> Result<PathBuf, Failure> {
    let failed = |why: &dyn Display| Failure::new(Exit::Usage, format!("file {}: {why}", file.display()));
    let absolute = std::path::absolute(&file).map_err(|error| failed(&error))?;
    if absolute.to_str().is_some() { Ok(absolute) } else { Err(failed(&"the path must be UTF-8")) }
}

fn set_current(format: Format, name: Name) -> Result<(), Failure> {
    let current = Contexts::change(|contexts| {
        contexts.current = Some(name.clone());
        Described::new(contexts, &name)
    })?;
    current.report(format, format_args!("context {name} is the current one"))
}

fn remove(format: Format, name: Name) -> Result<(), Failure> {
    let removed = Contexts::change(|contexts| {
        contexts.current.take_if(|current| *current == name);
        let removed = Described::new(contexts, &name)?;
        contexts.contexts.remove(&name);
        Ok(removed)
    })?;
    removed.report(format, format_args!("context {name} is forgotten"))
}

fn list(format: Format) -> Result<(), Failure> {
    let contexts = Contexts::load()?;
    for name in contexts.contexts.keys() {
        output::answer_now(format, &Described::new(&contexts, name)?)?;
    }
    Ok(())
}

/// What a command would use.
#[derive(Debug, Serialize)]
struct Shown {
    endpoint: String,
    endpoint_from: String,
    context: Option<Name>,
    token_from: Option<String>,
    tls: Tls,
    /// Where the contexts are kept.
    context_file: Option<PathBuf>,
}

impl Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token_from.as_deref().unwrap_or("none");
        let file = self.context_file.as_ref().map_or("none".into(), |file| file.to_string_lossy());
        writeln!(f, "endpoint      {} (from {})", self.endpoint, self.endpoint_from)?;
        writeln!(f, "token from    {token}")?;
        for (option, value) in self.tls.given() {
            writeln!(f, "{:<13} {value}", option.trim_start_matches('-'))?;
        }
        write!(f, "context file  {file}")
    }
}

fn show(global: &GlobalArgs) -> Result<(), Failure> {
    let Target { endpoint, origin, token, tls } = global.target()?;
    let shown = Shown {
        endpoint,
        endpoint_from: origin.to_string(),
        token_from: token.map(|token| token.to_string()),
        tls,
        context: if let Origin::Context(name) = origin { Some(name) } else { None },
        context_file: store::path(),
    };
    output::answer_now(global.format, &shown)
}
