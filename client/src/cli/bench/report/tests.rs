#![allow(clippy::unwrap_used)]
use super::super::scrape::Counts;
use super::*;
use std::time::Duration;

fn figures(records_per_s: f64) -> Figures {
    let ack_ms = Times { p50: 1.0, p99: 2.0, p999: 3.0, max: 4.0 };
    Figures { records_per_s, mib_per_s: 1.0, ack_ms, level: Some(Durability::Synced), server: None }
}

fn report_of(runs: &[Figures], wire: &[Figures], disk: &[f64]) -> Option<Report> {
    let write_4kib_ms = Times { p50: 0.1, p99: 0.2, p999: 0.3, max: 0.4 };
    let disk =
        disk.iter().map(|rate| DiskFigures { records_per_s: *rate, mib_per_s: 1.0, commit_kib: 512.0, write_4kib_ms });
    let load = Load { duration: Duration::from_millis(1_500), ..super::super::load::tests::load(1, 2) };
    Report::new(&load, &Runs { inkpot: runs.to_vec(), wire: wire.to_vec(), disk: disk.collect() })
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
        counts: Some(Counts { syncs: 40.0, commits: 10.0, appends: 1_000.0 }),
    };
    let figures = Figures::from(&seen);
    assert_eq!(figures.records_per_s, 250_000.0);
    assert_eq!(figures.mib_per_s, 5.0);
    assert_eq!((figures.ack_ms.p50, figures.ack_ms.max), (0.5, 1.0));
    assert_eq!(figures.level, Some(Durability::Written));
    let server = figures.server.unwrap();
    assert_eq!((server.cpu_s_per_million, server.rss_mib), (Some(1.0), Some(64.0)));
    assert_eq!((server.syncs_per_s, server.appends_per_commit), (Some(20.0), Some(100.0)));
    let unseen = Figures::from(&Seen { cost: None, counts: None, ..seen });
    assert_eq!(unseen.server, None);
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
        &[],
    );
    let report = report.unwrap();
    assert_eq!(report.ratio.wire, Some(0.4));
    assert_eq!(report.figures.records_per_s, 500.0);
    assert_eq!(report.spread.records_per_s, 0.92);
}

#[test]
fn one_run_without_reference_has_no_ratio_and_no_spread() {
    let report = report_of(&[figures(10.0)], &[], &[]).unwrap();
    assert_eq!((report.ratio.wire, report.spread.ratio_wire), (None, None));
    assert_eq!(report.spread.records_per_s, 0.0);
    assert_eq!(report.wire, None);
    assert_eq!(report_of(&[], &[], &[]), None);
}

#[test]
fn level_is_the_lowest_of_all_runs() {
    let mut runs = [figures(1.0), figures(1.0)];
    runs[0].level = Some(Durability::Written);
    assert_eq!(Figures::medians(&runs).unwrap().level, Some(Durability::Written));
}

#[test]
fn json_has_the_documented_keys() {
    let json = serde_json::to_value(report_of(&[figures(10.0)], &[figures(20.0)], &[40.0])).unwrap();
    assert_eq!(json["records_per_s"], 10.0);
    assert_eq!(json["ack_ms"]["p999"], 3.0);
    assert_eq!(json["level"], "SYNCED");
    assert_eq!(json["load"]["duration_s"], 1.5);
    assert_eq!(json["ratio"]["wire"], 0.5);
    assert_eq!(json["ratio"]["disk"], 0.25);
    assert_eq!(json["wire"]["records_per_s"], 20.0);
    assert_eq!(json["disk"]["write_4kib_ms"]["p99"], 0.2);
    assert!(json["spread"].is_object() && json["server"].is_null());
}

#[test]
fn reference_is_the_lower_one_of_each_repeat() {
    let runs = [figures(100.0), figures(100.0), figures(100.0)];
    let wire = [figures(200.0), figures(1_000.0), figures(400.0)];
    let ratio = report_of(&runs, &wire, &[500.0, 250.0, 800.0]).unwrap().ratio;
    assert_eq!((ratio.wire, ratio.disk, ratio.reference), (Some(0.25), Some(0.2), Some(0.4)));
    let alone = report_of(&runs, &[], &[200.0]).unwrap().ratio;
    assert_eq!((alone.wire, alone.disk, alone.reference), (None, Some(0.5), None));
}
