//! `inkpot.toml`: what a data folder is. It is written once, as the last step of the first start, and only read after.

use super::{Problem, layout::MANIFEST};
use serde::Deserialize;

/// Version of the layout of the data folder and of everything in it that this binary writes and reads.
pub const FORMAT_VERSION: u32 = 2;
/// Most shards of a data folder.
pub const MAX_SHARDS: u32 = 256;
const HEADER: &str =
    "# Written by inkpotd at the first start on this data folder. Do not change it: the data depends on it.\n";

/// The content of the file.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) format_version: u32,
    pub(super) shards: u32,
    pub(super) cluster_id: String,
}

/// What every version of the file has: read alone first, because a newer one may look otherwise in all else.
#[derive(Deserialize)]
struct Version {
    format_version: u32,
}

impl Manifest {
    pub(super) fn new(shards: u32, cluster_id: u128) -> Self {
        Self { format_version: FORMAT_VERSION, shards, cluster_id: format!("{cluster_id:032x}") }
    }

    pub(super) fn encode(&self) -> String {
        let Self { format_version, shards, cluster_id } = self;
        format!("{HEADER}format_version = {format_version}\nshards = {shards}\ncluster_id = \"{cluster_id}\"\n")
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Problem> {
        let damaged = |what: String| Problem::Damaged { what: format!("{MANIFEST} {what}") };
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("is not text".to_owned()))?;
        let invalid = |error: toml::de::Error| damaged(format!("cannot be read: {}", error.message()));
        let Version { format_version } = toml::from_str(text).map_err(invalid)?;
        if format_version > FORMAT_VERSION {
            return Err(Problem::NewerVersion { found: format_version });
        }
        // Version 1 was never released: its catalog and log know appends only.
        if format_version == 1 {
            return Err(Problem::OlderVersion { found: format_version });
        }
        let manifest: Self = toml::from_str(text).map_err(invalid)?;
        let hex = manifest.cluster_id.len() == 32 && manifest.cluster_id.bytes().all(|byte| byte.is_ascii_hexdigit());
        if format_version == 0 || !(1..=MAX_SHARDS).contains(&manifest.shards) || !hex {
            return Err(damaged("has a value that no version writes".to_owned()));
        }
        Ok(manifest)
    }
}
