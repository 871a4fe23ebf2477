//! `inkpot bench`: a load on a server, and beside it what only the network and only the disk could do. They take turns,
//! repeat by repeat, because a figure of a shared machine means something only beside its neighbour.

mod args;
mod check;
mod choice;
mod cost;
mod disk;
mod load;
mod pace;
mod producer;
mod report;
mod scrape;
mod target;
pub(crate) mod wire;

pub(crate) use args::Args;

use super::{
    failure::{Exit, Failure},
    global::GlobalArgs,
    output::{self, Format},
};
use args::Reference;
use load::Load;
use report::{DiskFigures, Figures, Report, Runs};
use std::env;
use tokio::task;

/// Runs `inkpot bench`.
pub(crate) async fn run(global: &GlobalArgs, args: &Args) -> Result<Exit, Failure> {
    let load = args.load()?;
    let bar = output::spinner();
    let mut runs = Runs::default();
    for repeat in 1..=args.repeats {
        let told = |what: &str| bar.set_message(format!("{what} {repeat} of {}", args.repeats));
        told("run");
        let seen =
            if args.spawn { target::spawned(&load, args).await? } else { target::remote(global, &load, args).await? };
        runs.inkpot.push(Figures::from(&seen));
        if args.is_against(Reference::Wire) {
            told("wire");
            runs.wire.push(Figures::from(&target::wire(&load).await?));
        }
        if args.is_against(Reference::Disk) {
            told("disk");
            runs.disk.push(disk(&load, args).await?);
        }
    }
    bar.finish_and_clear();
    let report = Report::new(&load, &runs).ok_or_else(|| Failure::new(Exit::Error, "nothing was measured"))?;
    match global.format {
        Format::Json => output::emit_json(&report)?,
        Format::Text => output::emit_line(&report)?,
    }
    Ok(Exit::Done)
}

async fn disk(load: &Load, args: &Args) -> Result<DiskFigures, Failure> {
    let folder = args.data_dir.clone().unwrap_or_else(env::temp_dir);
    let of = load.clone();
    let measured = task::spawn_blocking(move || disk::measure(&folder, &of)).await;
    let seen = measured.map_err(|error| Failure::error("the thread that measures the disk died", error))??;
    Ok(DiskFigures::new(&seen, load))
}
