//! The same work done by Inkpot and by what people use instead of it: records of one size, from sixteen producers, in
//! batches, into one file or many; durable and not durable apart. Everything on this machine, one after the other.
//!
//! `tests/benches/peers/run` installs the peers, runs this, and draws the picture of the README.
#![allow(clippy::print_stdout)] // figures are what it is for

mod etcd;
mod inkpot;
mod load;
mod nats;
mod postgres;
mod recipe;
mod redis;
mod rsyslog;
mod s2;
mod server;
mod table;

use inkpot_tests::figures::{draw, short};
use load::Work;
use std::{error::Error, io, path::PathBuf, time::Duration};
use table::{Row, Table};

/// Something that takes records.
trait Peer {
    /// Its name, as people say it.
    fn name(&self) -> &'static str;

    /// What was set beyond its defaults, for one of the two; `None`: it promises nothing of the kind.
    fn settings(&self, durable: bool) -> Option<&'static str>;

    /// Does the work with a server of its own; returns records per second.
    fn measure(&self, work: &Work) -> io::Result<f64>;
}

struct Args {
    repeats: usize,
    duration: Duration,
    picture: Option<PathBuf>,
    /// Of each peer's name, a part; none: all.
    names: Vec<String>,
}

impl Args {
    fn parse() -> Result<Self, Box<dyn Error>> {
        let mut parsed = Self { repeats: 3, duration: Duration::from_secs(3), picture: None, names: Vec::new() };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--repeats" => parsed.repeats = value()?.parse()?,
                "--seconds" => parsed.duration = Duration::from_secs(value()?.parse()?),
                "--picture" => parsed.picture = Some(value()?.into()),
                // Given by cargo.
                "--bench" => {}
                name => parsed.names.push(name.to_lowercase()),
            }
        }
        Ok(parsed)
    }

    fn wants(&self, peer: &dyn Peer) -> bool {
        let name = peer.name().to_lowercase();
        self.names.is_empty() || self.names.iter().any(|wanted| name.contains(wanted.as_str()))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse()?;
    let peers: [&dyn Peer; 8] = [
        &inkpot::Inkpot,
        &recipe::Recipe,
        &nats::Nats,
        &redis::Redis,
        &postgres::Postgres,
        &etcd::Etcd,
        &s2::S2,
        &rsyslog::Rsyslog,
    ];
    let peers: Vec<&dyn Peer> = peers.into_iter().filter(|peer| args.wants(*peer)).collect();
    let mut tables = Vec::new();
    for durable in [true, false] {
        let works = load::works(durable, args.duration);
        let promises = peers.iter().filter(|peer| peer.settings(durable).is_some());
        let mut rows: Vec<_> = promises.map(|peer| Row::new(*peer, works.len())).collect();
        // In turns, so that what the machine does meanwhile meets all of them.
        for _ in 0..args.repeats {
            for (number, work) in works.iter().enumerate() {
                for row in &mut rows {
                    let rate = row.peer.measure(work);
                    let rate = rate.map_err(|error| format!("{}: {work}: {error}", row.peer.name()))?;
                    eprintln!("{}: {work}: {}", row.peer.name(), short(rate));
                    row.note(number, rate);
                }
            }
        }
        let table = Table { durable, works, rows };
        println!("{table}");
        tables.push(table);
    }
    for peer in peers {
        for (durable, word) in [(true, "durable"), (false, "not durable")] {
            if let Some(settings) = peer.settings(durable) {
                println!("- {}, {word}: {settings}", peer.name());
            }
        }
    }
    if let Some(path) = args.picture {
        std::fs::write(path, draw(&tables.iter().map(Table::column).collect::<Vec<_>>()))?;
    }
    Ok(())
}
