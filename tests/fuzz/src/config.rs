//! The configuration file.

use crate::memory::within;
use inkpot_server::config::{Config, Sources};
use std::{fs, io::Write, path::Path};
use tempfile::NamedTempFile;

/// What the configuration takes, beside what the input itself has: its defaults several times over.
const OF_A_BYTE: usize = 8192;
const BASE: usize = 4 << 20;

/// TOML as the configuration. What loads can be shown, and that loads to the same.
pub fn config(bytes: &[u8]) {
    // Tokens may be in files, and which files there are is no business of this.
    if bytes.windows(11).any(|name| name == b"token_files") {
        return;
    }
    within(BASE + OF_A_BYTE * bytes.len(), || {
        let file = NamedTempFile::new().expect("a temporary file");
        file.as_file().write_all(bytes).expect("there is room");
        match load(file.path()) {
            Ok(config) => {
                let shown = config.dump();
                fs::write(file.path(), &shown).expect("there is room");
                let again = load(file.path()).unwrap_or_else(|faults| panic!("{faults}\nin what was shown:\n{shown}"));
                assert_eq!(again.dump(), shown);
            }
            Err(faults) => assert!(!faults.0.is_empty() && faults.0.iter().all(|fault| !fault.message.is_empty())),
        }
    });
}

fn load(file: &Path) -> Result<Config, inkpot_server::config::Faults> {
    Config::load(&Sources { file: Some(file.to_owned()), ..Sources::default() })
}
