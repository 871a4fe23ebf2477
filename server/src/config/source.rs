//! Where settings come from: the TOML file, `INKPOT_*` variables, flags. Each becomes entries that know their origin,
//! so that a fault can name it; nothing is judged here but the syntax.

use super::{
    keys::KeyPath,
    load::{Fault, Flag},
};
use std::{collections::BTreeMap, ffi::OsString, fmt, path::Path};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Prefix of the variables of the server and its CLI.
const PREFIX: &str = "INKPOT_";
/// Names with our prefix that are not keys: the path of the file, and what the CLI takes.
const NOT_KEYS: [&str; 9] = [
    "INKPOT_CA_FILE",
    "INKPOT_CLIENT_CERT",
    "INKPOT_CLIENT_KEY",
    "INKPOT_CONFIG",
    "INKPOT_CONTEXT",
    "INKPOT_CONTEXT_FILE",
    "INKPOT_ENDPOINT",
    "INKPOT_SERVER_NAME",
    "INKPOT_TOKEN",
];

/// Where an entry stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    File { path: String, line: usize },
    Variable(String),
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{path}, line {line}"),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// A value as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A variable or flag, or a string of the file.
    Text(String),
    /// A number of the file; one that does not fit is none.
    Integer(Option<u64>),
    /// A truth value of the file.
    Bool(bool),
    /// A list of strings of the file.
    List(Vec<String>),
    /// A table without keys.
    EmptyTable,
    /// Something that no key takes, such as a date.
    Other(&'static str),
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// All entries by key; of two with the same key the later source stays.
pub(super) type Entries = BTreeMap<KeyPath, Entry>;

/// Adds the entries of a TOML file. One with syntax errors adds all of these, and no entry.
pub(super) fn read_file(path: &Path, entries: &mut Entries, faults: &mut Vec<Fault>) {
    let shown = format!("{path:?}");
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return faults.push(Fault::new(format!("cannot read the configuration file {shown}: {error}"))),
    };
    let line = |offset: usize| 1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count();
    let (table, errors) = DeTable::parse_recoverable(&text);
    if errors.is_empty() {
        let place = |offset| Origin::File { path: shown.clone(), line: line(offset) };
        flatten(&KeyPath(Vec::new()), table.get_ref(), &place, entries);
    }
    faults.extend(errors.iter().map(|error| {
        let line = line(error.span().map_or(0, |span| span.start));
        Fault::new(format!("{shown}, line {line}: not valid TOML: {}", error.message()))
    }));
}

fn flatten(below: &KeyPath, table: &DeTable<'_>, place: &dyn Fn(usize) -> Origin, entries: &mut Entries) {
    for (name, value) in table {
        add(below.child(name.get_ref()), value.get_ref(), name.span().start, place, entries);
    }
}

/// The tables of a list are numbered as if that were their names, so variables reach them too.
fn add(path: KeyPath, value: &DeValue<'_>, at: usize, place: &dyn Fn(usize) -> Origin, entries: &mut Entries) {
    match value {
        DeValue::Table(inner) if !inner.is_empty() => flatten(&path, inner, place, entries),
        DeValue::Array(items) if !items.is_empty() && items.iter().all(|item| item.get_ref().is_table()) => {
            for (number, item) in items.iter().enumerate() {
                add(path.element(number), item.get_ref(), item.span().start, place, entries);
            }
        }
        leaf => {
            entries.insert(path, Entry { value: of_toml(leaf), origin: place(at) });
        }
    }
}

fn of_toml(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => Value::Integer(u64::from_str_radix(number.as_str(), number.radix()).ok()),
        DeValue::Boolean(truth) => Value::Bool(*truth),
        DeValue::Array(items) => {
            let texts = items.iter().map(Spanned::get_ref).map(|item| item.as_str().map(str::to_owned));
            texts.collect::<Option<_>>().map_or(Value::Other("list of other things than strings"), Value::List)
        }
        DeValue::Table(_) => Value::EmptyTable,
        DeValue::Float(_) => Value::Other("number with a fraction"),
        DeValue::Datetime(_) => Value::Other("date"),
    }
}

/// Adds the entries of the environment: `INKPOT_WAL__MAX_BYTES` is `wal.max_bytes`.
pub(super) fn read_environment(variables: &[(OsString, OsString)], entries: &mut Entries, faults: &mut Vec<Fault>) {
    for (name, value) in variables {
        let Some(key) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        let name = format!("{PREFIX}{key}");
        if NOT_KEYS.contains(&name.as_str()) || is_service_link(key) {
            continue;
        }
        let path = KeyPath(key.to_ascii_lowercase().split("__").map(str::to_owned).collect());
        add_text(path, value, Origin::Variable(name.escape_debug().to_string()), entries, faults);
    }
}

/// Whether Kubernetes put the variable there because a Service of the namespace is named `inkpot` or `inkpot-...`.
fn is_service_link(key: &str) -> bool {
    let port = key.strip_prefix("PORT").or_else(|| key.split_once("_PORT").map(|(_, rest)| rest));
    let port_form = |rest: &str| {
        let number = rest.strip_prefix('_').and_then(|rest| rest.split('_').next()).unwrap_or_default();
        rest.is_empty() || !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    key.ends_with("SERVICE_HOST") || key.contains("SERVICE_PORT") || port.is_some_and(port_form)
}

/// Adds the entries of the flags.
pub(super) fn read_flags(flags: &[Flag], entries: &mut Entries, faults: &mut Vec<Fault>) {
    for Flag { key, flag, value } in flags {
        add_text(KeyPath::of(key), value, Origin::Flag(flag), entries, faults);
    }
}

fn add_text(path: KeyPath, value: &OsString, origin: Origin, entries: &mut Entries, faults: &mut Vec<Fault>) {
    match value.to_str() {
        Some(text) => {
            entries.insert(path, Entry { value: Value::Text(text.to_owned()), origin });
        }
        None => faults.push(Fault::of(&path, Some(&origin), format!("{value:?} is not UTF-8"))),
    }
}
