//! From flags, variables and file to a [`Config`], with every fault of all of them in one answer.

use super::{
    Config, Tenant, TenantLimits, check,
    fill::{fill, list},
    keys::{self, Key, KeyPath},
    source::{self, Entries, Entry, Origin, Value},
    tokens,
};
use std::{collections::BTreeMap, ffi::OsString, fmt, path::PathBuf};

/// Where settings come from. The environment is handed in, so that tests need not change that of the process.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The TOML file. If absent, the variable `INKPOT_CONFIG` may name it; without either no file is read.
    pub file: Option<PathBuf>,
    /// Variables; those that do not begin with `INKPOT_` are ignored.
    pub environment: Vec<(OsString, OsString)>,
    /// Flags; they win over everything else.
    pub flags: Vec<Flag>,
}

/// A flag that sets a key.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The key, with dots.
    pub key: &'static str,
    /// The flag as it is written, for errors.
    pub flag: &'static str,
    /// Its value.
    pub value: OsString,
}

/// One thing that is wrong with the configuration, with the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key with dots, if it is about one.
    pub key: Option<String>,
    /// Key, where it was set, what is wrong, and what to do.
    pub message: String,
}

impl Fault {
    pub(super) fn new(message: String) -> Self {
        Self { key: None, message }
    }

    pub(super) fn of(path: &KeyPath, origin: Option<&Origin>, problem: impl fmt::Display) -> Self {
        let place = origin.map_or_else(|| "default".to_owned(), ToString::to_string);
        Self { key: Some(path.to_string()), message: format!("{path} ({place}): {problem}") }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// All that is wrong with the configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0.len() == 1 { "" } else { "s" };
        write!(f, "the configuration has {} fault{plural}:", self.0.len())?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  - {fault}"))
    }
}

impl std::error::Error for Faults {}

impl Config {
    /// Reads the configuration: flags over variables over file over defaults.
    ///
    /// # Errors
    /// Every fault of all sources: keys that do not exist, values that do not parse or are out of bounds, and settings
    /// that contradict each other.
    pub fn load(sources: &Sources) -> Result<Self, Faults> {
        let mut loader = Loader::default();
        if let Some(file) = file(sources) {
            source::read_file(&file, &mut loader.entries, &mut loader.faults);
        }
        source::read_environment(&sources.environment, &mut loader.entries, &mut loader.faults);
        source::read_flags(&sources.flags, &mut loader.entries, &mut loader.faults);
        let config = loader.config();
        loader.refuse_what_is_left();
        // Contradictions are looked for only among values that are all as they were meant.
        if loader.faults.is_empty() {
            loader.faults = check::check(&config, &loader.origins);
        }
        if loader.faults.is_empty() { Ok(config) } else { Err(Faults(loader.faults)) }
    }
}

fn file(sources: &Sources) -> Option<PathBuf> {
    let named = || sources.environment.iter().find(|(name, value)| name == "INKPOT_CONFIG" && !value.is_empty());
    sources.file.clone().or_else(|| named().map(|(_, value)| PathBuf::from(value)))
}

/// Takes entries one key after the other; what is left in the end has no key.
#[derive(Default)]
struct Loader {
    entries: Entries,
    origins: BTreeMap<KeyPath, Origin>,
    faults: Vec<Fault>,
}

impl Loader {
    fn config(&mut self) -> Config {
        let mut config =
            Config { shards_given: self.entries.contains_key(&KeyPath::of("shards")), ..Config::default() };
        self.fill(keys::server(&mut config));
        let defaults_flush = KeyPath::of("tenant_defaults.flush");
        config.tenant_defaults.flush = self.any_below(&defaults_flush).then(|| config.flush.clone());
        self.fill(keys::tenant_defaults(&mut config.tenant_defaults));
        for name in self.tenant_names() {
            let tenant = self.tenant(&name, &config);
            config.tenants.insert(name, tenant);
        }
        config
    }

    fn tenant(&mut self, name: &str, config: &Config) -> Tenant {
        let table = keys::tenant_table(name);
        let mut tenant = Tenant::default();
        if self.any_below(&table.child("limits").child("flush")) {
            let TenantLimits { flush, .. } = &config.tenant_defaults;
            tenant.limits.flush = Some(flush.as_ref().unwrap_or(&config.flush).clone());
        }
        self.fill(keys::tenant(name, &mut tenant));
        self.add_token_files(&table.child("token_files"), &mut tenant);
        tenant.token_sha256.iter_mut().for_each(|hash| hash.make_ascii_lowercase());
        tenant.token_sha256.sort_unstable();
        tenant.token_sha256.dedup();
        tenant
    }

    fn add_token_files(&mut self, path: &KeyPath, tenant: &mut Tenant) {
        let Some(Entry { value, origin }) = self.entries.remove(path) else { return };
        match list(&value)
            .and_then(|files| files.iter().map(|file| tokens::read_token_file(file)).collect::<Result<Vec<_>, _>>())
        {
            Ok(hashes) => tenant.token_sha256.extend(hashes),
            Err(problem) => self.faults.push(Fault::of(path, Some(&origin), problem)),
        }
        self.origins.insert(path.clone(), origin);
    }

    fn fill(&mut self, keys: Vec<Key<'_>>) {
        for Key { path, field } in keys {
            let Some(Entry { value, origin }) = self.entries.remove(&path) else { continue };
            if let Err(problem) = fill(field, &value) {
                self.faults.push(Fault::of(&path, Some(&origin), problem));
            }
            self.origins.insert(path, origin);
        }
    }

    fn any_below(&self, table: &KeyPath) -> bool {
        self.entries.keys().any(|path| path.is_below(table))
    }

    fn tenant_names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.entries.keys().filter_map(tenant_name).map(str::to_owned).collect();
        names.dedup();
        names
    }

    /// What no key took is a fault, but for a table that is known and merely empty.
    fn refuse_what_is_left(&mut self) {
        for (path, Entry { value, origin }) in std::mem::take(&mut self.entries) {
            let known_table = is_table(&path);
            if known_table && value == Value::EmptyTable {
                continue;
            }
            let problem = if known_table { "it is a table, and takes no value" } else { "there is no such key" };
            let problem = format!("{problem}; `inkpotd --dump-config` shows the keys that there are");
            self.faults.push(Fault::of(&path, Some(&origin), problem));
        }
    }
}

fn tenant_name(path: &KeyPath) -> Option<&str> {
    match path.0.as_slice() {
        [tenants, name, ..] if tenants == "tenants" => Some(name),
        _ => None,
    }
}

/// Whether a path is a table of the tree: something is below it.
fn is_table(path: &KeyPath) -> bool {
    let mut config = Config::default();
    config.tenant_defaults.flush = Some(config.flush.clone());
    let mut tenant = Tenant::default();
    tenant.limits.flush = Some(config.flush.clone());
    let name = tenant_name(path).unwrap_or_default();
    let below = |keys: Vec<Key<'_>>| keys.iter().any(|key| key.path.is_below(path));
    below(keys::tenant(name, &mut tenant))
        || below(keys::tenant_defaults(&mut config.tenant_defaults))
        || below(keys::server(&mut config))
}
