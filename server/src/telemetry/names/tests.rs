use super::*;
use std::collections::BTreeSet;

/// The part of TELEMETRY.md that is made from [`ALL`].
const BEGIN: &str = "<!-- metrics: made from server/src/telemetry/names.rs -->\n";
const END: &str = "<!-- end of metrics -->";

fn table() -> String {
    let mut table = String::from("| metric | at the Prometheus endpoint | kind | unit | attributes | |\n");
    table += "| --- | --- | --- | --- | --- | --- |\n";
    for metric in ALL {
        let Metric { name, kind, unit, attributes, description } = metric;
        let attributes: Vec<_> = attributes.iter().map(|key| format!("`{key}`")).collect();
        let prometheus = metric.prometheus_name();
        table +=
            &format!("| `{name}` | `{prometheus}` | {kind} | `{unit}` | {} | {description} |\n", attributes.join(", "));
    }
    table
}

#[test]
fn the_page_shows_every_metric_as_it_is() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../TELEMETRY.md");
    let page = std::fs::read_to_string(page).expect("TELEMETRY.md stands at the top");
    let (_, rest) = page.split_once(BEGIN).expect("the page has the begin mark");
    let (shown, _) = rest.split_once(END).expect("the page has the end mark");
    let table = table();
    assert!(
        shown == table,
        "TELEMETRY.md does not show the metrics that there are; between the marks must stand:\n{table}"
    );
}

#[test]
fn names_are_well_formed_and_differ() {
    let mut seen = BTreeSet::new();
    for metric in ALL {
        let is_word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        assert!(metric.name.split('.').all(is_word), "{}", metric.name);
        assert!(seen.insert(metric.prometheus_name()), "{} is there twice", metric.name);
        assert!(metric.description.ends_with('.'), "{}", metric.name);
        let is_annotation = metric.unit.starts_with('{') && metric.unit.ends_with('}');
        assert!(is_annotation || ["s", "By"].contains(&metric.unit), "{}: {}", metric.name, metric.unit);
    }
}

#[test]
fn prometheus_names_have_unit_and_total() {
    assert_eq!(WRITE_IO.prometheus_name(), "inkpot_write_io_bytes_total");
    assert_eq!(COMMIT_DURATION.prometheus_name(), "inkpot_commit_duration_seconds");
    assert_eq!(SESSIONS.prometheus_name(), "inkpot_sessions_active");
}
