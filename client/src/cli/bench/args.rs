//! The arguments of the bench, and the load that they mean.

use super::{
    super::{
        failure::{Exit, Failure},
        output::Level,
        units,
    },
    load::{Load, Mode},
};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

const AFTER_HELP: &str = "\
Examples:
  inkpot bench --spawn --batch 100 --against wire,disk
                       a server of its own, and in turns with it what only the network, and only the disk, could do
  inkpot bench --rate 100000 --producers 64 --files 1000
                       an open loop: appends are due at this rate, and timed from when they were due
  inkpot bench --spawn --mode upload --upload-size 64MiB --record-size 64KiB
  inkpot bench --pid 4711 --metrics 127.0.0.1:9464
                       a server that runs, and what it uses meanwhile";

/// Measure appends or uploads: rate, ack times, what the server uses
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// What the producers do
    #[arg(long, value_enum, default_value_t)]
    mode: Mode,
    /// Size of a record
    #[arg(long, default_value = "100", value_parser = units::some_bytes, value_name = "BYTES")]
    record_size: usize,
    /// Files
    #[arg(long, default_value_t = 1, value_parser = at_least_one, value_name = "N")]
    files: usize,
    /// Exponent of Zipf's law by which a producer chooses among its files, which takes more --files than --producers;
    /// without it: in turn
    #[arg(long, value_parser = positive, value_name = "EXPONENT")]
    skew: Option<f64>,
    /// Producers: each writes to a share of the files of its own, or shares a file if there are too few
    #[arg(long, default_value_t = 16, value_parser = at_least_one, value_name = "N")]
    producers: usize,
    /// Connections that the producers share
    #[arg(long, default_value_t = 4, value_parser = at_least_one, value_name = "N")]
    connections: usize,
    /// Tenants that the connections belong to in turn
    #[arg(long, default_value_t = 1, value_parser = at_least_one, requires = "spawn", value_name = "N")]
    tenants: usize,
    /// Records of an append
    #[arg(long, default_value_t = 1, value_parser = at_least_one, value_name = "N")]
    batch: usize,
    /// Appends that a producer keeps in flight; fewer where all of them together were above 64 MiB
    #[arg(long, default_value_t = 256, value_parser = at_least_one, value_name = "N")]
    window: usize,
    /// Size of an upload, in whole appends
    #[arg(long, default_value = "16MiB", value_parser = units::some_bytes, value_name = "BYTES")]
    upload_size: usize,
    /// What a record survives once it is acknowledged
    #[arg(long, value_enum, default_value_t = Level::Synced)]
    durability: Level,
    /// Records that are due in a second, all producers together, whatever became of those before (an open loop); without it:
    /// as many as are acknowledged (a closed loop)
    #[arg(long, value_parser = positive, value_name = "N")]
    rate: Option<f64>,
    /// Measured time of a run
    #[arg(long, default_value = "5s", value_parser = units::some_time, value_name = "TIME")]
    duration: Duration,
    /// Time before it that is not measured
    #[arg(long, default_value = "1s", value_parser = units::duration, value_name = "TIME")]
    warmup: Duration,
    /// Runs, of which the medians are told
    #[arg(long, default_value_t = 3, value_parser = at_least_one, value_name = "N")]
    pub(super) repeats: usize,
    /// Measure a server of its own, a new one with an empty data folder for each run
    #[arg(long, conflicts_with_all = ["pid", "metrics"])]
    pub(super) spawn: bool,
    /// Configuration of that server
    #[arg(long, requires = "spawn", conflicts_with = "tenants", value_name = "FILE")]
    pub(super) server_config: Option<PathBuf>,
    /// Where the data folders of --spawn and the file of --against disk are made (and removed); without it: the folder for
    /// temporary files
    #[arg(long, value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// Process id of the server, to tell what it uses
    #[arg(long, value_name = "PID")]
    pub(super) pid: Option<u32>,
    /// Where the server serves its metrics, to tell how it commits
    #[arg(long, value_name = "IP:PORT")]
    pub(super) metrics: Option<SocketAddr>,
    /// Read all files after each run, and compare them with what was acknowledged
    #[arg(long)]
    pub(super) check: bool,
    /// Measure references too, in turns
    #[arg(long, value_enum, value_delimiter = ',', value_name = "REFERENCES")]
    against: Vec<Reference>,
}

/// What the figures can be held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Reference {
    /// A stream that only acknowledges
    Wire,
    /// The same bytes, written durably to one file by one thread
    Disk,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("it must be a whole number of at least 1".to_owned()),
        Ok(number) => Ok(number),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "it must be a number above 0".to_owned())
}

impl Args {
    /// Whether a reference was asked for.
    pub(super) fn is_against(&self, reference: Reference) -> bool {
        self.against.contains(&reference)
    }

    /// The load, with fewer connections and appends in flight where what was asked for makes no sense.
    ///
    /// # Errors
    /// Arguments that contradict each other.
    pub(super) fn load(&self) -> Result<Load, Failure> {
        let connections = self.connections.min(self.producers);
        if self.tenants > connections {
            let text = format!("{} tenants need as many --connections and --producers at least", self.tenants);
            return Err(Failure::new(Exit::Usage, text));
        }
        if self.skew.is_some() && self.files <= self.producers {
            let text = "with --skew each producer needs several files: more --files than --producers";
            return Err(Failure::new(Exit::Usage, text));
        }
        let load = Load {
            mode: self.mode,
            record_size: self.record_size,
            files: self.files,
            skew: self.skew,
            producers: self.producers,
            connections,
            tenants: self.tenants,
            batch: self.batch,
            window: self.window,
            upload_size: self.upload_size,
            durability: self.durability.into(),
            rate: self.rate,
            duration: self.duration,
            warmup: self.warmup,
        };
        Ok(load.within_memory())
    }
}
