#![allow(clippy::unwrap_used)]
use super::*;
use hdrhistogram::Histogram;
use inkpot_proto::v1::Durability;
use std::time::Duration;

fn figures(records_per_s: f64) -> Figures {
    let ack_ms = AckTimes { p50: 1.0, p99: 2.0, p999: 3.0, max: 4.0 };
    Figures { records_per_s, mib_per_s: 1.0, ack_ms, level: Some(Durability::Synced), server: None }
}

fn report_of(runs: &[Figures], wire: &[Figures]) -> Option<Report> {
    let load = Load {
        record_size: 100,
        files: 1,
        producers: 2,
        connections: 1,
        batch: 10,
        window: 4,
        durability: Durability::Synced,
        duration: Duration::from_millis(1_500),
        warmup: Duration::ZERO,
    };
    Report::new(&load, runs, wire)
}

#[test]
fn figures_come_from_the_measured_time_only() {
    let mut ack_micros = Histogram::new_with_bounds(1, 1_000_000, 3).unwrap();
    (1..=1_000).for_each(|micros| ack_micros.saturating_record(micros));
    let cost = super::super::cost::Used { cpu_seconds: 0.5, rss_mib: 64.0 };
    let seen = Seen {
        records: 500_000,
        bytes: 10 << 20,
        elapsed: Duration::from_secs(2),
        ack_micros,
        level: Some(Durability::Written),
        cost: Some(cost),
    };
    let figures = Figures::from(&seen);
    assert_eq!(figures.records_per_s, 250_000.0);
    assert_eq!(figures.mib_per_s, 5.0);
    assert_eq!((figures.ack_ms.p50, figures.ack_ms.max), (0.5, 1.0));
    assert_eq!(figures.level, Some(Durability::Written));
    assert_eq!(figures.server, Some(ServerFigures { cpu_s_per_million: 1.0, rss_mib: 64.0 }));
}

#[test]
fn median_of_odd_even_and_none() {
    assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
    assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), Some(2.5));
    assert_eq!(median(std::iter::empty()), None);
}

#[test]
fn ratio_is_taken_within_the_pairs() {
    // The second pair ran on a slower machine: the ratio of the medians would be 0.5.
    let report = report_of(
        &[figures(500.0), figures(40.0), figures(500.0)],
        &[figures(1_000.0), figures(100.0), figures(1_250.0)],
    );
    let report = report.unwrap();
    assert_eq!(report.ratio.wire, Some(0.4));
    assert_eq!(report.figures.records_per_s, 500.0);
    assert_eq!(report.spread.records_per_s, 0.92);
}

#[test]
fn one_run_without_reference_has_no_ratio_and_no_spread() {
    let report = report_of(&[figures(10.0)], &[]).unwrap();
    assert_eq!((report.ratio.wire, report.spread.ratio_wire), (None, None));
    assert_eq!(report.spread.records_per_s, 0.0);
    assert_eq!(report.wire, None);
    assert_eq!(report_of(&[], &[]), None);
}

#[test]
fn level_is_the_lowest_of_all_runs() {
    let mut runs = [figures(1.0), figures(1.0)];
    runs[0].level = Some(Durability::Written);
    assert_eq!(Figures::medians(&runs).unwrap().level, Some(Durability::Written));
}

#[test]
fn json_has_the_documented_keys() {
    let json = serde_json::to_value(report_of(&[figures(10.0)], &[figures(20.0)])).unwrap();
    assert_eq!(json["records_per_s"], 10.0);
    assert_eq!(json["ack_ms"]["p999"], 3.0);
    assert_eq!(json["level"], "SYNCED");
    assert_eq!(json["load"]["duration_s"], 1.5);
    assert_eq!(json["ratio"]["wire"], 0.5);
    assert_eq!(json["wire"]["records_per_s"], 20.0);
    assert!(json["spread"].is_object() && json["server"].is_null());
}
