#![allow(clippy::unwrap_used)]

use super::*;
use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TextEncoder};

/// Three tenants, of which two share a name.
struct Three([(Arc<str>, Tally); 3]);

impl Tenants for Three {
    fn each(&self, tell: &mut dyn FnMut(&Arc<str>, Usage<'_>)) {
        for (name, tally) in &self.0 {
            tell(name, Usage { tally, waiting: 1, writes: (2, 10), bytes: (300, 1000) });
        }
    }

    fn memory(&self) -> (u64, u64) {
        (600, 4096)
    }
}

fn scraped(tenants: Three) -> String {
    let registry = Registry::new();
    let reader = opentelemetry_prometheus::exporter().with_registry(registry.clone()).scope_info_enabled(false);
    let provider = SdkMeterProvider::builder().with_reader(reader.build().unwrap()).build();
    let tenants: Arc<dyn Tenants> = Arc::new(tenants);
    observe(&provider.meter("test"), &tenants);
    TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
}

fn tenants() -> Three {
    Three([("a".into(), Tally::default()), ("other".into(), Tally::default()), ("other".into(), Tally::default())])
}

#[track_caller]
fn assert_has(text: &str, line: &str) {
    assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
}

#[test]
fn acks_are_counted_by_tenant_and_level() {
    let tenants = tenants();
    let acked = Acked { appends: 3, records: 30, bytes: 300, duplicates: 2 };
    tenants.0[0].1.acked(Durability::Synced, acked);
    tenants.0[0].1.acked(Durability::Written, Acked { appends: 1, ..Acked::default() });
    let text = scraped(tenants);
    assert_has(&text, r#"inkpot_write_appends_total{inkpot_durability="synced",inkpot_tenant="a"} 3"#);
    assert_has(&text, r#"inkpot_write_appends_total{inkpot_durability="written",inkpot_tenant="a"} 1"#);
    assert_has(&text, r#"inkpot_write_records_total{inkpot_tenant="a"} 30"#);
    assert_has(&text, r#"inkpot_write_io_bytes_total{inkpot_tenant="a"} 300"#);
    assert_has(&text, r#"inkpot_write_duplicates_total{inkpot_tenant="a"} 2"#);
}

#[test]
fn tenants_that_share_a_name_are_added_up() {
    let tenants = tenants();
    tenants.0[1].1.refused(ErrorReason::SequenceGap);
    tenants.0[2].1.refused(ErrorReason::SequenceGap);
    tenants.0[2].1.found_no_room("writes_in_flight");
    let text = scraped(tenants);
    assert_has(&text, r#"inkpot_write_refusals_total{inkpot_reason="sequence_gap",inkpot_tenant="other"} 2"#);
    assert_has(&text, r#"inkpot_admission_refusals_total{inkpot_limit="writes_in_flight",inkpot_tenant="other"} 1"#);
    assert_has(&text, r#"inkpot_admission_writes_usage{inkpot_tenant="other"} 4"#);
    assert_has(&text, r#"inkpot_admission_writes_usage{inkpot_tenant="a"} 2"#);
    assert_has(&text, r#"inkpot_admission_payload_limit_bytes{inkpot_tenant="a"} 1000"#);
    assert_has(&text, "inkpot_admission_memory_usage_bytes 600");
    assert_has(&text, "inkpot_admission_memory_limit_bytes 4096");
}
