//! `inkpotd --repair`: opens a shard again whose log is damaged, by giving up what cannot be read and what comes behind
//! it. Works on a data folder that no server holds. First it tells, for every shard, what it would give up; that changes
//! nothing. It does so only if it is told to, and keeps copies of everything that it takes away in `repaired/N` of the
//! shard, never used by a server and never removed by one.
//!
//! The log is cut ([`inkpot_wal::recovery::Cut`]), not mended: state is the sum of all frames. What frames behind the
//! cut did to plain files stays as it is: files that have bytes which the log no longer knows are foreign to the next
//! start, which overwrites nothing, and Adopt takes them. What they had put into staging goes to the copies, because a
//! start removes there what no record names.

mod aside;
mod plan;

use crate::{
    catalog::{Catalog, CatalogError, Changes},
    config::Config,
    datadir::{self, DataDir, DataDirError},
    recovery::RecoveryError,
    shard::codec::Undecodable,
};
use inkpot_wal::{WalError, fs::FileSystem};
use plan::{Plan, Survey};
use std::{
    io::{self, Write},
    sync::Arc,
};
use thiserror::Error;

/// Why nothing, or not everything, was repaired.
#[derive(Debug, Error)]
pub enum RepairError {
    /// The data folder.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The log of a shard.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The catalog of a shard.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A frame that can be read holds what this version does not know.
    #[error("a frame of the log cannot be understood; a newer version may have written it")]
    Record(#[from] Undecodable),
    /// What a start of the shard would meet.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// A copy, or a file in staging.
    #[error("{path} failed")]
    File {
        /// Which.
        path: String,
        /// The error of the file system.
        source: io::Error,
    },
    /// The words could not be told, so nothing was done.
    #[error("cannot write to standard output; nothing was changed")]
    Output(#[source] io::Error),
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every shard can be opened.
    Whole,
    /// Nothing was changed: it was only told what would be given up.
    Told,
    /// Not every shard can be repaired this way.
    Beyond,
}

/// Tells to `out` what is damaged and what would be given up; with `yes` it is given up then.
///
/// # Errors
/// See [`RepairError`]. A repair that was cut short can be done again.
pub fn run(config: &Config, yes: bool, out: &mut dyn Write) -> Result<Ending, RepairError> {
    let fs: Arc<dyn FileSystem> = Arc::new(datadir::claim_existing(&config.data_dir)?);
    repair(&fs, config, yes, out)
}

/// [`run`] on a data folder that is ours.
pub(crate) fn repair(
    fs: &Arc<dyn FileSystem>,
    config: &Config,
    yes: bool,
    out: &mut dyn Write,
) -> Result<Ending, RepairError> {
    let shards = DataDir::look(fs.as_ref(), &config.data_dir)?.shards;
    let mut tell = |words: String| {
        let told = writeln!(out, "{words}").and_then(|()| out.flush());
        told.map_err(RepairError::Output)
    };
    let (mut plans, mut beyond) = (Vec::new(), 0);
    for shard in 0..shards {
        match plan::look(fs, config, shard)? {
            Survey::Whole => tell(format!("shard {shard}: its log and its catalog can be read"))?,
            Survey::Damaged(plan) => {
                tell(plan.to_string())?;
                plans.push(*plan);
            }
            Survey::Beyond(why) => {
                beyond += 1;
                tell(why)?;
            }
        }
    }
    if !yes && !plans.is_empty() {
        tell("nothing was changed; inkpotd --repair --yes gives up what is named above".to_owned())?;
        return Ok(if beyond > 0 { Ending::Beyond } else { Ending::Told });
    }
    for plan in &plans {
        carry_out(fs, config, plan)?;
        tell(format!("shard {}: repaired; what was given up is kept in {}", plan.shard, plan.aside))?;
    }
    if !plans.is_empty() {
        tell("start inkpotd, then let `inkpot verify` name the files that have more than the log knows".to_owned())?;
    }
    Ok(if beyond > 0 { Ending::Beyond } else { Ending::Whole })
}

fn carry_out(fs: &Arc<dyn FileSystem>, config: &Config, plan: &Plan) -> Result<(), RepairError> {
    aside::keep(fs.as_ref(), plan)?;
    let writer = plan.cut.begin(fs, config.wal.segment_bytes)?;
    if let (true, Some(mark)) = (plan.cut.moves_mark(), writer.mark()) {
        let catalog = Catalog::open(fs.as_ref(), plan.shard)?;
        let changes = Changes { usage: catalog.usage()?, sets: catalog.sets()?, ..Changes::default() };
        catalog.save(&changes, crate::catalog::Progress { mark, ..catalog.progress()? })?;
    }
    Ok(())
}
