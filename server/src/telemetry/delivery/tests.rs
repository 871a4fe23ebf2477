#![allow(clippy::unwrap_used)]

use super::*;
use opentelemetry_sdk::error::OTelSdkError;

/// An exporter that does as it is told.
#[derive(Debug)]
struct Exporter {
    fails: Arc<AtomicBool>,
}

impl SpanExporter for Exporter {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        // Needs the timer of a runtime, as the real exporters do, and is polled by a thread that has none.
        tokio::time::sleep(Duration::from_millis(1)).await;
        if self.fails.load(Ordering::Relaxed) {
            return Err(OTelSdkError::InternalFailure("nobody is there".to_owned()));
        }
        Ok(())
    }
}

#[test]
fn failures_are_counted_and_success_ends_them() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let fails = Arc::new(AtomicBool::new(true));
    let states = States::default();
    let exporter = Exporter { fails: Arc::clone(&fails) };
    let delivery = Delivery::new(exporter, Signal::Traces, runtime.handle().clone(), &states);
    let state = states.of(Signal::Traces);
    let export = || futures_util::FutureExt::now_or_never(delivery.export(Vec::new()));
    assert!(export().is_none(), "it waits for the timer, and does not panic");
    let outside = |delivery: &Delivery<Exporter>| {
        let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
        other.block_on(delivery.export(Vec::new()))
    };
    assert!(outside(&delivery).is_err());
    assert!(outside(&delivery).is_err());
    assert_eq!((state.failures.get(), state.failing.load(Ordering::Relaxed)), (2, true));
    fails.store(false, Ordering::Relaxed);
    assert!(outside(&delivery).is_ok());
    assert_eq!((state.failures.get(), state.failing.load(Ordering::Relaxed)), (2, false));
    assert_eq!(states.of(Signal::Logs).failures.get(), 0);
}
