#![allow(clippy::unwrap_used)]

use super::{PathTemplate, calendar::Moment};
use crate::{Error, ErrorReason, Outcome};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// 2026-11-23T10:15:00Z.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_428_900)
}

fn render(template: &str, values: &[(&str, &str)]) -> Result<String, Error> {
    PathTemplate::parse(template)?.render(values, now())
}

#[test]
fn variables_are_filled_in() {
    let host = rustix::system::uname().nodename().to_str().unwrap().to_owned();
    let pid = std::process::id();
    for (template, expected) in [
        ("logs/{service}/{date}.log", "logs/billing/2026-11-23.log".to_owned()),
        ("{date}T{hour}", "2026-11-23T10".to_owned()),
        ("{host}/{pid}", format!("{host}/{pid}")),
        ("{{{service}}}", "{billing}".to_owned()),
        ("plain", "plain".to_owned()),
    ] {
        assert_eq!(render(template, &[("service", "billing"), ("other", "x")]).unwrap(), expected);
    }
    assert_eq!(render("{date}", &[("date", "today")]).unwrap(), "today", "a given value goes first");
    let template = PathTemplate::parse("{a}/{b}-{a}").unwrap();
    assert_eq!(template.variables().collect::<Vec<_>>(), ["a", "b", "a"]);
    assert_eq!(template.to_string(), "{a}/{b}-{a}");
}

#[test]
fn no_value_climbs_out_or_breaks_the_grammar() {
    let long = "x".repeat(300);
    for value in ["", ".", "..", "../up", "a/b", "/root", "a\\b", "a\nb", "a\0b", "\u{7f}", &long] {
        let error = render("logs/{v}", &[("v", value)]).unwrap_err();
        assert_eq!(
            (error.reason(), error.outcome()),
            (Some(ErrorReason::InvalidPath), Outcome::NotApplied),
            "{value:?}"
        );
    }
    for (template, value) in [("{v}{v}", "a/"), ("{v}./x", "."), ("a/{v}.", "."), ("/{v}", "a"), ("{v}/", "a")] {
        assert!(render(template, &[("v", value)]).is_err(), "{template:?} with {value:?}");
    }
    assert!(render("{a}{b}/x", &[("a", ".ink"), ("b", "pot")]).is_err(), "reserved names do not pass in parts");
    assert_eq!(render("{v}.log", &[("v", "v1..v2")]).unwrap(), "v1..v2.log");
}

#[test]
fn unknown_variable_names_the_known_ones() {
    let error = render("{servce}.log", &[("service", "a")]).unwrap_err();
    assert!(error.message().contains("{servce} is not known; known are date, host, hour, pid, service"), "{error}");
}

#[test]
fn braces_must_be_pairs_around_a_name() {
    for template in ["{", "}", "a{b", "a}b", "{}", "{a b}", "{a{b}}", "{ä}"] {
        let error = PathTemplate::parse(template).unwrap_err();
        assert!(error.message().contains(&format!("{template:?} is not valid")), "{error}");
    }
    assert!("{ok}".parse::<PathTemplate>().is_ok());
}

#[test]
fn dates_are_those_of_the_calendar() {
    let at = |seconds: i64| {
        let length = Duration::from_secs(seconds.unsigned_abs());
        let moment = Moment::of(if seconds < 0 { UNIX_EPOCH - length } else { UNIX_EPOCH + length });
        (moment.date(), moment.hour)
    };
    for (seconds, date, hour) in [
        (0, "1970-01-01", 0),
        (-1, "1969-12-31", 23),
        (951_782_399, "2000-02-28", 23),
        (951_782_400, "2000-02-29", 0),
        (951_868_800, "2000-03-01", 0),
        (1_709_164_800, "2024-02-29", 0),
        (1_735_689_599, "2024-12-31", 23),
        (4_107_542_400, "2100-03-01", 0),
        (4_107_542_399, "2100-02-28", 23),
        (253_402_300_799, "9999-12-31", 23),
    ] {
        assert_eq!(at(seconds), (date.to_owned(), hour), "{seconds}");
    }
}
