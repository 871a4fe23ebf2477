//! How Inkpot does as the work grows: more files, more sessions, larger records, more tenants; and how long a start after
//! `kill -9` takes as log and files grow. A table and a picture; everything on this machine, one after the other.
//!
//! `cargo build --release --workspace --bins`, then `cargo bench -p inkpot-tests --bench growth -- [--seconds N]
//! [--repeats N] [--picture FILE.svg] [NAME...]`.
#![allow(clippy::print_stdout)] // figures are what it is for

mod recovery;
mod series;

use inkpot_tests::figures::{Column, Panel, draw};
use series::{Point, Series};
use std::{error::Error, path::PathBuf};

struct Args {
    seconds: u32,
    repeats: u32,
    picture: Option<PathBuf>,
    /// Of each name, a part; none: all.
    names: Vec<String>,
}

impl Args {
    fn parse() -> Result<Self, Box<dyn Error>> {
        let mut parsed = Self { seconds: 2, repeats: 3, picture: None, names: Vec::new() };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--seconds" => parsed.seconds = value()?.parse()?,
                "--repeats" => parsed.repeats = value()?.parse()?,
                "--picture" => parsed.picture = Some(value()?.into()),
                // Given by cargo.
                "--bench" => {}
                name => parsed.names.push(name.to_lowercase()),
            }
        }
        Ok(parsed)
    }

    fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|wanted| name.to_lowercase().contains(wanted.as_str()))
    }
}

/// Tells a point, and keeps its bar.
fn tell(panel: &mut Panel, point: &Point) {
    println!("{point}");
    panel.bars.push(point.bar());
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse()?;
    let mut load = Column { title: "Appends, SYNCED".to_owned(), panels: Vec::new() };
    for series in Series::all().into_iter().filter(|series| args.wants(series.title)) {
        println!("\n{}\n\n{}", series.title, Point::HEAD);
        let mut panel = Panel { title: series.title.to_owned(), bars: Vec::new() };
        for value in series.values {
            tell(&mut panel, &series.measure(*value, args.seconds, args.repeats)?);
        }
        load.panels.push(panel);
    }
    let mut starts = Column { title: "Start after kill -9".to_owned(), panels: Vec::new() };
    for series in recovery::SERIES.iter().filter(|series| args.wants(series.title)) {
        println!("\n{}\n\n{}", series.title, recovery::Start::HEAD);
        let mut panel = Panel { title: series.title.to_owned(), bars: Vec::new() };
        for (files, log_mib) in series.points {
            let start = recovery::measure(*files, *log_mib)?;
            println!("{start}");
            panel.bars.push(start.bar());
        }
        starts.panels.push(panel);
    }
    if let Some(path) = args.picture {
        std::fs::write(path, draw(&[load, starts]))?;
    }
    Ok(())
}
