//! `inkpot bench`: a load on a server, and the same load by the same client on a stream that only acks. The two take
//! turns, repeat by repeat, because a figure of a shared machine means something only beside its neighbour.

mod cost;
mod load;
mod report;
pub(crate) mod wire;

use super::{
    child::{self, ChildServer},
    failure::{Exit, Failure},
    global::GlobalArgs,
    output::{self, Format, Level},
    units,
};
use inkpot_client::{Client, ClientBuilder};
use load::Load;
use report::{Figures, Report};
use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Measure appends: rate, ack times, what the server uses
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Size of a record
    #[arg(long, default_value = "100", value_parser = units::some_bytes, value_name = "BYTES")]
    record_size: usize,
    /// Files
    #[arg(long, default_value_t = 1, value_parser = at_least_one, value_name = "N")]
    files: usize,
    /// Producers: each writes to a share of the files of its own, in turn, or shares a file if there are too few
    #[arg(long, default_value_t = 16, value_parser = at_least_one, value_name = "N")]
    producers: usize,
    /// Connections that the producers share
    #[arg(long, default_value_t = 4, value_parser = at_least_one, value_name = "N")]
    connections: usize,
    /// Records of an append
    #[arg(long, default_value_t = 1, value_parser = at_least_one, value_name = "N")]
    batch: usize,
    /// Appends that a producer keeps in flight; fewer where all of them together were above 64 MiB
    #[arg(long, default_value_t = 256, value_parser = at_least_one, value_name = "N")]
    window: usize,
    /// What a record survives once it is acknowledged
    #[arg(long, value_enum, default_value_t = Level::Synced)]
    durability: Level,
    /// Measured time of a run
    #[arg(long, default_value = "5s", value_parser = units::some_time, value_name = "TIME")]
    duration: Duration,
    /// Time before it that is not measured
    #[arg(long, default_value = "1s", value_parser = units::duration, value_name = "TIME")]
    warmup: Duration,
    /// Runs, of which the medians are told
    #[arg(long, default_value_t = 3, value_parser = at_least_one, value_name = "N")]
    repeats: usize,
    /// Measure a server of its own, a new one with an empty data folder for each run
    #[arg(long)]
    spawn: bool,
    /// Where the data folders of --spawn are made (and removed); without it: the folder for temporary files
    #[arg(long, requires = "spawn", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Measure a reference too, in turns
    #[arg(long, value_enum, value_name = "REFERENCE")]
    against: Option<Reference>,
}

/// What the figures can be held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Reference {
    /// A stream that only acknowledges
    Wire,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("it must be a whole number of at least 1".to_owned()),
        Ok(number) => Ok(number),
    }
}

impl Args {
    fn load(&self) -> Load {
        Load {
            record_size: self.record_size,
            files: self.files,
            producers: self.producers,
            connections: self.connections.min(self.producers),
            batch: self.batch,
            window: self.window,
            durability: self.durability.into(),
            duration: self.duration,
            warmup: self.warmup,
        }
        .within_memory()
    }
}

/// Runs `inkpot bench`.
pub(crate) async fn run(global: &GlobalArgs, args: Args) -> Result<Exit, Failure> {
    let load = args.load();
    let bar = output::spinner();
    let (mut runs, mut wire) = (Vec::new(), Vec::new());
    for repeat in 1..=args.repeats {
        bar.set_message(format!("run {repeat} of {}", args.repeats));
        runs.push(if args.spawn {
            spawned(&load, args.data_dir.as_deref()).await?
        } else {
            remote(global, &load).await?
        });
        if args.against == Some(Reference::Wire) {
            bar.set_message(format!("wire {repeat} of {}", args.repeats));
            wire.push(against_wire(&load).await?);
        }
    }
    bar.finish_and_clear();
    let report = Report::new(&load, &runs, &wire).ok_or_else(|| Failure::new(Exit::Error, "nothing was measured"))?;
    match global.format {
        Format::Json => output::emit_json(&report)?,
        Format::Text => output::emit_line(&report)?,
    }
    Ok(Exit::Done)
}

/// A run against the server of the user, on files of its own.
async fn remote(global: &GlobalArgs, load: &Load) -> Result<Figures, Failure> {
    let run = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    measure(global.target()?.builder()?, load, &format!("bench-{run}"), None).await
}

/// A run against a new server, which leaves nothing behind.
async fn spawned(load: &Load, parent: Option<&Path>) -> Result<Figures, Failure> {
    let folder = scratch(parent)?;
    let log = folder.path().join("server.log");
    let server = ChildServer::coordinator(child::ANY_PORT, &folder.path().join("data"), &log).await?;
    measure_child(server, load).await
}

/// A run against the reference.
async fn against_wire(load: &Load) -> Result<Figures, Failure> {
    let folder = scratch(None)?;
    let server = ChildServer::start(["wire-server".into()], &folder.path().join("server.log")).await?;
    measure_child(server, load).await
}

fn scratch(parent: Option<&Path>) -> Result<tempfile::TempDir, Failure> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("inkpot-bench-");
    let made = parent.map_or_else(|| builder.tempdir(), |parent| builder.tempdir_in(parent));
    made.map_err(|error| Failure::error("cannot make a temporary folder", error))
}

async fn measure_child(server: ChildServer, load: &Load) -> Result<Figures, Failure> {
    let figures = measure(Client::builder(server.endpoint()), load, "bench", server.pid()).await?;
    server.kill().await?;
    Ok(figures)
}

async fn measure(builder: ClientBuilder, load: &Load, prefix: &str, pid: Option<u32>) -> Result<Figures, Failure> {
    Ok(Figures::from(&load::run(builder, load, prefix, pid).await?))
}
