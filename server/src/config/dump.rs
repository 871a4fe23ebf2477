//! The effective configuration as TOML that loads again. Tokens stand in it as hashes only, whatever they came from.

use super::{
    Config, LogFormat,
    keys::{self, Field, Key, KeyPath},
    units::{show_duration, show_mode, show_size},
};
use crate::policy::Policy;
use std::fmt::Write;
use toml::Value;

impl Config {
    /// All settings with their values, as TOML that loads again; what is not set stands there as a comment.
    #[must_use]
    pub fn dump(&self) -> String {
        let mut config = self.clone();
        let mut dump = Dump { text: String::new(), table: KeyPath(Vec::new()) };
        dump.keys(keys::server(&mut config));
        dump.keys(keys::tenant_defaults(&mut config.tenant_defaults));
        dump.policies(&keys::default_policies(), &mut config.default_policies);
        for (name, tenant) in &mut config.tenants {
            dump.keys(keys::tenant(name, tenant));
            dump.policies(&keys::policies(name), &mut tenant.policies);
        }
        dump.text
    }
}

struct Dump {
    text: String,
    table: KeyPath,
}

impl Dump {
    fn keys(&mut self, keys: Vec<Key<'_>>) {
        for Key { path, field } in keys {
            let Some((name, table)) = path.0.split_last() else { continue };
            if table != self.table.0 {
                self.table = KeyPath(table.to_vec());
                self.line(format_args!("\n[{}]", self.table.clone()));
            }
            self.setting(&KeyPath::of(name), field);
        }
    }

    /// Each under its own header, with all its keys, so that none has a header of a table within.
    fn policies(&mut self, list: &KeyPath, policies: &mut [Policy]) {
        let name_in = |table: &KeyPath, path: &KeyPath| KeyPath(path.0[table.0.len()..].to_vec());
        if policies.is_empty() {
            let mut sample = Policy::default();
            let names = keys::policy(list, &mut sample).map(|key| name_in(list, &key.path).to_string());
            self.line(format_args!("# [[{list}]] is not set; its keys: {}", names.join(", ")));
        }
        for (number, policy) in policies.iter_mut().enumerate() {
            self.table = list.element(number);
            self.line(format_args!("\n[[{list}]]"));
            for Key { path, field } in keys::policy(&list.element(number), policy) {
                self.setting(&name_in(&list.element(number), &path), field);
            }
        }
    }

    fn setting(&mut self, name: &KeyPath, field: Field<'_>) {
        match show(field) {
            Some(value) => self.line(format_args!("{name} = {value}")),
            None => self.line(format_args!("# {name} is not set")),
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("writing to a string never fails");
    }
}

/// A value in TOML; `None` for what is not set.
fn show(field: Field<'_>) -> Option<Value> {
    Some(match field {
        Field::Size(bytes, _) => show_size(*bytes).into(),
        Field::OptionalSize(bytes, _) => show_size((*bytes)?).into(),
        Field::Span(duration, _) => show_duration(*duration).into(),
        Field::Count(count, _) => (*count).into(),
        Field::OptionalCount(count, _) | Field::OptionalId(count) => (*count)?.into(),
        Field::Files(count, _) => Value::Integer(i64::try_from(*count).ok()?),
        Field::Flag(truth) => (*truth).into(),
        Field::Address(address) => address.to_string().into(),
        Field::OptionalAddress(address) => (*address)?.to_string().into(),
        Field::Path(path) => path.to_string_lossy().into_owned().into(),
        Field::Text(text) => text.clone().into(),
        Field::Format(LogFormat::Text) => "text".into(),
        Field::Format(LogFormat::Json) => "json".into(),
        Field::Mode(mode) => show_mode(*mode).into(),
        Field::OptionalSpan(duration, _) => show_duration((*duration)?).into(),
        Field::Tokens(hashes) => hashes.clone().into(),
        Field::Pattern(pattern) => pattern.to_string().into(),
        Field::Name(template) => template.to_string().into(),
        Field::ClockTime(at) => (*at)?.name().into(),
    })
}
