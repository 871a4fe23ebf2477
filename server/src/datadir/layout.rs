//! Where things stand in the data folder. Paths are relative to it, as [`inkpot_wal::fs`] takes them.

/// What the folder is: format version, number of shards, cluster id. Its presence makes a folder ours.
pub const MANIFEST: &str = "inkpot.toml";
/// The manifest until it is complete.
pub const NEW_MANIFEST: &str = "inkpot.toml.new";
/// The plain files, in a directory per tenant.
pub const FILES: &str = "files";
/// What is not published yet, in a directory per tenant.
pub const STAGING: &str = "staging";
/// What was deleted, replaced, cut and adopted.
pub const AUDIT_LOG: &str = "audit.log";
/// The lines before those of [`AUDIT_LOG`].
pub const OLD_AUDIT_LOG: &str = "audit.log.1";
/// A directory per shard.
pub const SHARDS: &str = "shards";

/// The directory of a shard: `shards/0003`.
#[must_use]
pub fn shard(shard: u32) -> String {
    format!("{SHARDS}/{shard:04}")
}

/// The directory of a shard's log, with a directory per epoch.
#[must_use]
pub fn wal(shard: u32) -> String {
    format!("{}/wal", self::shard(shard))
}

/// The directory of acked bytes of a shard that cannot be applied for now.
#[must_use]
pub fn parked(shard: u32) -> String {
    format!("{}/parked", self::shard(shard))
}

/// The database of a shard's files and producers.
#[must_use]
pub fn catalog(shard: u32) -> String {
    format!("{}/catalog", self::shard(shard))
}
