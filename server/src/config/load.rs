//! From flags, variables and file to a [`Config`], with every fault of all of them in one answer.

use super::{
    Config, Tenant, TenantLimits, check,
    fill::{fill, list},
    keys::{self, Key, KeyPath},
    source::{self, Entries, Entry, Origin, Value},
    tokens,
};
use crate::policy::Policy;
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
        config.default_policies = self.policies(&keys::default_policies());
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
        tenant.policies = self.policies(&keys::policies(name));
        self.add_token_files(&table.child("token_files"), &mut tenant);
        tenant.token_sha256.iter_mut().for_each(|hash| hash.make_ascii_lowercase());
        tenant.token_sha256.sort_unstable();
        tenant.token_sha256.dedup();
        tenant
    }

    /// The tables of a list, numbered without a gap.
    fn policies(&mut self, list: &KeyPath) -> Vec<Policy> {
        let mut policies = Vec::new();
        loop {
            let table = list.element(policies.len());
            if !self.any_below(&table) && !self.entries.contains_key(&table) {
                return policies;
            }
            let mut policy = Policy::default();
            self.fill(keys::policy(&table, &mut policy).into());
            policies.push(policy);
        }
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

    /// What no key took is a fault, but for a table or list that is known and merely empty.
    fn refuse_what_is_left(&mut self) {
        for (path, Entry { value, origin }) in std::mem::take(&mut self.entries) {
            let problem = match (place_of(&path), value) {
                (Place::Table | Place::List, Value::EmptyTable) => continue,
                (Place::List, Value::List(items)) if items.is_empty() => continue,
                (Place::Table, _) => "it is a table, and takes no value".to_owned(),
                (Place::List, _) => format!("it is a list of tables, each under its own [[{path}]]"),
                (Place::BesideElements(list), _) => {
                    format!("there is no such key; a table of this list begins with double brackets, [[{list}]]")
                }
                (Place::Nowhere, _) => "there is no such key".to_owned(),
            };
            let problem = format!("{problem}; `inkpotd --dump-config` shows the keys that there are");
            self.faults.push(Fault::of(&path, Some(&origin), problem));
        }
    }
}

/// Where in the tree a path leads that is no key.
enum Place {
    Table,
    List,
    /// Below this list, but not into a table of it.
    BesideElements(KeyPath),
    Nowhere,
}

fn place_of(path: &KeyPath) -> Place {
    let lists = [keys::default_policies(), keys::policies(tenant_name(path).unwrap_or_default())];
    if lists.contains(path) {
        return Place::List;
    }
    let is_number = |part: &String| part.parse::<usize>().is_ok_and(|number| number.to_string() == *part);
    if let Some(list) = lists.into_iter().find(|list| path.is_below(list)) {
        let table = KeyPath(path.0[..=list.0.len()].to_vec());
        return match table.0.last() {
            Some(part) if !is_number(part) => Place::BesideElements(list),
            _ if is_above_any(path, &keys::policy(&table, &mut Policy::default())) => Place::Table,
            _ => Place::Nowhere,
        };
    }
    if is_table(path) { Place::Table } else { Place::Nowhere }
}

fn tenant_name(path: &KeyPath) -> Option<&str> {
    match path.0.as_slice() {
        [tenants, name, ..] if tenants == "tenants" => Some(name),
        _ => None,
    }
}

/// Whether a path is a table of the tree, outside of lists: something is below it.
fn is_table(path: &KeyPath) -> bool {
    let mut config = Config::default();
    config.tenant_defaults.flush = Some(config.flush.clone());
    let mut tenant = Tenant::default();
    tenant.limits.flush = Some(config.flush.clone());
    let name = tenant_name(path).unwrap_or_default();
    is_above_any(path, &keys::tenant(name, &mut tenant))
        || is_above_any(path, &keys::tenant_defaults(&mut config.tenant_defaults))
        || is_above_any(path, &keys::server(&mut config))
}

fn is_above_any(path: &KeyPath, keys: &[Key<'_>]) -> bool {
    keys.iter().any(|key| key.path.is_below(path))
}
