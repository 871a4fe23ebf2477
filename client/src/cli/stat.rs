//! `inkpot stat`: what is known of one file.

use super::{
    checksum,
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
    output::answer(global.format, &Described::from(file)).await?;
    Ok(Exit::Done)
}

/// A file as the tool shows it. Sizes in bytes.
#[derive(Debug, Serialize)]
pub(crate) struct Described {
    pub(crate) path: String,
    size: u64,
    applied_size: u64,
    synced_size: u64,
    /// What the plain file takes.
    pub(crate) stored_size: u64,
    compressed: bool,
    generation: u64,
    sealed: bool,
    producers: u32,
    /// RFC 3339, UTC.
    modified: Option<String>,
    /// Of the committed bytes, in hexadecimal.
    crc32c: Option<String>,
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
            stored_size: file.stored_size,
            compressed: file.compressed,
            generation: file.generation,
            sealed: file.sealed,
            producers: file.producers,
            modified: file.modified.map(|time| time.to_string()),
            crc32c: file.crc32c.map(checksum::hex),
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
        let Self { path, size, stored_size, generation, .. } = self;
        let sealed = if self.sealed { "sealed" } else { "-" };
        let note = if self.foreign_change { "  (changed by another program)" } else { "" };
        format!("{size:>14} {stored_size:>14} {generation:>20} {sealed:>7}  {:<30}  {path}{note}", self.modified())
    }
}

/// Stands over the rows.
pub(crate) fn heading() -> String {
    format!("{:>14} {:>14} {:>20} {:>7}  {:<30}  PATH", "SIZE", "STORED", "GENERATION", "SEALED", "MODIFIED")
}

/// A directory among the rows.
pub(crate) fn directory_row(path: &str) -> String {
    format!("{0:>14} {0:>14} {0:>20} {0:>7}  {0:<30}  {path}", "-")
}

impl fmt::Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "path            {}", self.path)?;
        writeln!(f, "size            {} bytes", self.size)?;
        writeln!(f, "applied size    {} bytes (in the plain file by now)", self.applied_size)?;
        writeln!(f, "synced size     {} bytes (survive power loss by now)", self.synced_size)?;
        let compressed = if self.compressed { ", compressed" } else { "" };
        writeln!(f, "stored size     {} bytes{compressed}", self.stored_size)?;
        writeln!(f, "crc32c          {}", self.crc32c.as_deref().unwrap_or("-"))?;
        writeln!(f, "generation      {}", self.generation)?;
        writeln!(f, "sealed          {}", self.sealed)?;
        writeln!(f, "producers       {}", self.producers)?;
        writeln!(f, "modified        {}", self.modified())?;
        writeln!(f, "shard           {}", self.shard)?;
        write!(f, "foreign change  {}", self.foreign_change)
    }
}
