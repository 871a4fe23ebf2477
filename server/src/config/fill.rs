//! Turns a value as it was written into the field of its key. Pure.

use super::{LogFormat, keys::Field, source::Value, units};
use crate::policy::{ClockTime, NameTemplate, Pattern};
use std::{fmt::Display, net::SocketAddr, ops::RangeInclusive, path::PathBuf, str::FromStr, time::Duration};

/// Sets a field, or tells what is wrong with the value and what to write instead; the field stays as it was then.
pub(super) fn fill(field: Field<'_>, value: &Value) -> Result<(), String> {
    match field {
        Field::Size(slot, bounds) => *slot = size(value, &bounds)?,
        Field::OptionalSize(slot, bounds) => *slot = Some(size(value, &bounds)?),
        Field::Span(slot, bounds) => *slot = span(value, &bounds)?,
        Field::OptionalSpan(slot, bounds) => *slot = Some(span(value, &bounds)?),
        Field::Count(slot, bounds) => *slot = count(value, &bounds)?,
        Field::OptionalCount(slot, bounds) => *slot = Some(count(value, &bounds)?),
        Field::OptionalId(slot) => *slot = Some(count(value, &(0..=u32::MAX - 1))?),
        Field::Files(slot, bounds) => *slot = count(value, &bounds)?,
        Field::Flag(slot) => *slot = truth(value)?,
        Field::Address(slot) => *slot = address(value)?,
        Field::OptionalAddress(slot) => *slot = Some(address(value)?),
        Field::Path(slot) => *slot = PathBuf::from(text(value, "a path")?),
        Field::Text(slot) => *slot = text(value, "a text")?.to_owned(),
        Field::Format(slot) => *slot = format_of(text(value, "a log format")?)?,
        Field::Mode(slot) => *slot = mode(value)?,
        Field::Tokens(slot) => *slot = list(value)?,
        Field::Pattern(slot) => *slot = Pattern::parse(text(value, "a pattern, such as \"logs/**/*.log\",")?)?,
        Field::Name(slot) => *slot = NameTemplate::parse(text(value, "a name, such as \"{stem}@{time}{ext}\",")?)?,
        Field::ClockTime(slot) => {
            *slot = Some(ClockTime::parse(text(value, "a time to rotate at, such as \"daily\",")?)?);
        }
    }
    Ok(())
}

fn size(value: &Value, bounds: &RangeInclusive<u64>) -> Result<u64, String> {
    let bytes = match value {
        Value::Integer(Some(bytes)) => *bytes,
        other => units::parse_size(text(other, "a size, such as \"64MiB\"")?)?,
    };
    within(bytes, bounds, |bytes| units::show_size(*bytes))
}

fn span(value: &Value, bounds: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let duration = units::parse_duration(&text_or_zero(value)?)?;
    within(duration, bounds, |duration| units::show_duration(*duration))
}

fn address(value: &Value) -> Result<SocketAddr, String> {
    let shown = text(value, "an address")?;
    let problem =
        |_| format!("{shown:?} is not an address; write IP and port, as in \"127.0.0.1:7411\" or \"[::1]:7411\"");
    shown.parse().map_err(problem)
}

/// A duration as text; of numbers only 0 needs no unit.
fn text_or_zero(value: &Value) -> Result<String, String> {
    match value {
        Value::Integer(Some(0)) => Ok("0".to_owned()),
        Value::Integer(_) => Err("a duration needs a unit, and quotes; as in \"100ms\"".to_owned()),
        other => text(other, "a duration, such as \"100ms\"").map(str::to_owned),
    }
}

fn count<T>(value: &Value, bounds: &RangeInclusive<T>) -> Result<T, String>
where
    T: FromStr + TryFrom<u64> + PartialOrd + Display,
{
    let whole = || format!("it must be a whole number from {} to {}", bounds.start(), bounds.end());
    let number = match value {
        Value::Integer(number) => number.and_then(|number| T::try_from(number).ok()),
        Value::Text(text) => text.trim().parse().ok(),
        other => return Err(format!("it is {}; {}", kind(other), whole())),
    };
    let number = number.ok_or_else(|| match value {
        Value::Text(text) => format!("{text:?} does not do; {}", whole()),
        _ => whole(),
    })?;
    within(number, bounds, ToString::to_string)
}

fn within<T: PartialOrd>(value: T, bounds: &RangeInclusive<T>, show: impl Fn(&T) -> String) -> Result<T, String> {
    if bounds.contains(&value) {
        return Ok(value);
    }
    Err(format!(
        "{} is out of bounds; set it to {} at least and {} at most",
        show(&value),
        show(bounds.start()),
        show(bounds.end())
    ))
}

fn truth(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(truth) => Ok(*truth),
        Value::Text(text) if text == "true" => Ok(true),
        Value::Text(text) if text == "false" => Ok(false),
        other => Err(format!("it is {}; write true or false", kind(other))),
    }
}

fn mode(value: &Value) -> Result<u32, String> {
    let Value::Text(text) = value else {
        return Err("a file mode is written in a string, because it is octal; as in \"0640\"".to_owned());
    };
    units::parse_mode(text)
}

fn format_of(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        other => Err(format!("{other:?} is not a log format; write \"text\" or \"json\"")),
    }
}

/// A list of strings; in a variable they are separated by commas.
pub(super) fn list(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::List(items) => Ok(items.clone()),
        Value::Text(text) => {
            Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
        }
        other => Err(format!("it is {}; write a list of strings, as in [\"...\"]", kind(other))),
    }
}

fn text<'a>(value: &'a Value, wanted: &str) -> Result<&'a str, String> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(format!("it is {}; write {wanted} in a string", kind(other))),
    }
}

fn kind(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("{text:?}"),
        Value::Integer(Some(number)) => format!("the number {number}"),
        Value::Integer(None) => "a number out of range".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::List(_) => "a list".to_owned(),
        Value::EmptyTable => "a table".to_owned(),
        Value::Other(kind) => format!("a {kind}"),
    }
}
