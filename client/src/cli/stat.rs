//! `inkpot stat`: what is known of one file.

use super::{
    failure::{Exit, Failure},
    global::GlobalArgs,
    output,
};
use inkpot_proto::v1::FileInfo;
use serde::Serialize;
use std::fmt;

/// Show what is known of a file
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Path of the file below the tenant's root
    path: String,
}

/// Runs `inkpot stat`.
pub(crate) async fn run(global: &GlobalArgs, args: Args) -> Result<Exit, Failure> {
    let files = global.connect().await?.files();
    let file = files.stat(&args.path).await.map_err(|error| Failure::reading(&args.path, &error))?;
    output::answer(global.format, &Described::from(file))?;
    Ok(Exit::Done)
}

/// A file as the tool shows it. Sizes in bytes.
#[derive(Debug, Serialize)]
pub(crate) struct Described {
    pub(crate) path: String,
    size: u64,
    applied_size: u64,
    synced_size: u64,
    generation: u64,
    sealed: bool,
    producers: u32,
    /// RFC 3339, UTC.
    modified: Option<String>,
    shard: u32,
    foreign_change: bool,
}

impl From<FileInfo> for Described {
    fn from(file: FileInfo) -> Self {
        Self {
            path: file.path,
            size: file.size,
            applied_size: file.applied_size,
            synced_size: file.synced_size,
            generation: file.generation,
            sealed: file.sealed,
            producers: file.producers,
            modified: file.modified.map(|time| time.to_string()),
            shard: file.shard,
            foreign_change: file.foreign_change,
        }
    }
}

impl Described {
    fn modified(&self) -> &str {
        self.modified.as_deref().unwrap_or("-")
    }

    /// One line of a long list.
    pub(crate) fn row(&self) -> String {
        let Self { path, size, synced_size, generation, .. } = self;
        let note = if self.foreign_change { "  (changed by another program)" } else { "" };
        format!("{size:>14} {synced_size:>14} {generation:>18}  {:<30}  {path}{note}", self.modified())
    }
}

impl fmt::Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "path            {}", self.path)?;
        writeln!(f, "size            {} bytes", self.size)?;
        writeln!(f, "applied size    {} bytes (in the plain file by now)", self.applied_size)?;
        writeln!(f, "synced size     {} bytes (survive power loss by now)", self.synced_size)?;
        writeln!(f, "generation      {}", self.generation)?;
        writeln!(f, "sealed          {}", self.sealed)?;
        writeln!(f, "producers       {}", self.producers)?;
        writeln!(f, "modified        {}", self.modified())?;
        writeln!(f, "shard           {}", self.shard)?;
        write!(f, "foreign change  {}", self.foreign_change)
    }
}
