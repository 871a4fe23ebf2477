//! How the server tells what it does: log lines, metrics, traces. TELEMETRY.md is the page for those who read them.
//!
//! Nothing here is on the way of a write: shards add to numbers and distributions in memory; whoever collects reads them
//! on threads of telemetry. What cannot be delivered is dropped.

mod calls;
mod delivery;
mod doors;
mod export;
mod instruments;
pub mod logging;
pub mod names;
mod process;
mod scrape;
mod shards;
mod tenants;
pub mod trace;

pub use calls::{Calls, status_name};
pub use doors::{ConnectionLimit, Doors};
pub use shards::{Cell, Distribution, ShardMetrics};
pub use tenants::{Acked, Tally, Tenants, Usage};

use crate::{admission::Limit, config::Config};
use delivery::States;
use export::{Providers, Wishes};
use inkpot_wal::fs::FileSystem;
use opentelemetry::{
    KeyValue,
    metrics::{Histogram, Meter, MeterProvider},
};
use prometheus::Registry;
use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::runtime::Runtime;

/// How long the last batches may take to be delivered when the server stops.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// The scope of everything that is measured and traced.
const SCOPE: &str = "inkpot";

/// A meter that measures into nothing.
fn no_meter() -> Meter {
    opentelemetry::metrics::noop::NoopMeterProvider::new().meter(SCOPE)
}

/// What measures and traces, for the life of the process.
#[derive(Debug)]
pub struct Telemetry {
    started: Instant,
    meter: Meter,
    registry: Registry,
    providers: Providers,
    states: States,
    /// Of telemetry alone: whatever it waits for, nothing else does.
    runtime: Option<Runtime>,
}

impl Telemetry {
    /// Starts what configuration and environment ask for, and logging.
    ///
    /// # Errors
    /// If the system has no thread for it.
    pub fn start(config: &Config) -> io::Result<Self> {
        let (wishes, mut problems) = Wishes::read(export::from_environment);
        let mut telemetry = Self::off();
        if export::is_wanted(wishes, &config.telemetry) {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .thread_name("inkpot-telemetry")
                .enable_all()
                .build()?;
            let calls = config.telemetry.traced_appends_per_second;
            let scrape = config.telemetry.metrics_listen.map(|_| &telemetry.registry);
            let (providers, more) = export::providers(wishes, scrape, calls, &runtime, &telemetry.states);
            problems.extend(more);
            if let Some(metrics) = &providers.metrics {
                telemetry.meter = metrics.meter(SCOPE);
            }
            telemetry.providers = providers;
            telemetry.runtime = Some(runtime);
        }
        logging::init(&config.log, &telemetry.providers);
        for problem in problems {
            tracing::error!("telemetry: {problem}");
        }
        Ok(telemetry)
    }

    /// Telemetry that goes nowhere.
    #[must_use]
    pub fn off() -> Self {
        Self {
            started: Instant::now(),
            meter: no_meter(),
            registry: Registry::new(),
            providers: Providers::default(),
            states: States::default(),
            runtime: None,
        }
    }

    /// Serves the Prometheus endpoint there; returns the address.
    ///
    /// # Errors
    /// If nobody can listen there.
    pub fn serve_metrics(&self, address: SocketAddr) -> io::Result<SocketAddr> {
        let Some(runtime) = &self.runtime else { return Err(io::Error::other("metrics are off")) };
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let _context = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        runtime.spawn(scrape::serve(listener, self.registry.clone()));
        Ok(address)
    }

    /// What a shard measures with.
    #[must_use]
    pub fn shard(&self, number: u32) -> Arc<ShardMetrics> {
        Arc::new(ShardMetrics::new(&self.meter, number))
    }

    /// What calls are measured with.
    #[must_use]
    pub fn calls(&self) -> Calls {
        Calls::new(&self.meter)
    }

    /// What connections that were refused are counted with.
    #[must_use]
    pub fn doors(&self) -> Doors {
        Doors::new(&self.meter)
    }

    /// What waits for permits are measured with.
    #[must_use]
    pub fn waits(&self) -> Waits {
        Waits(instruments::histogram(&self.meter, &names::WAIT_DURATION))
    }

    /// What decides which appends are traced.
    #[must_use]
    pub fn tracing(&self, config: &Config) -> trace::Tracing {
        let per_second = config.telemetry.traced_appends_per_second;
        trace::Tracing::new(if self.providers.traces.is_some() { per_second } else { 0 })
    }

    /// Lets whoever collects read everything that is put down somewhere.
    pub fn observe(
        &self,
        config: &Config,
        shards: &[Arc<ShardMetrics>],
        tenants: &Arc<dyn Tenants>,
        fs: Arc<dyn FileSystem>,
    ) {
        if self.providers.metrics.is_none() {
            return;
        }
        shards::observe(&self.meter, shards);
        tenants::observe(&self.meter, tenants);
        process::observe(&self.meter, self.started);
        self.states.observe(&self.meter);
        instruments::observe(&self.meter, &names::DISK_FREE, move |tell| {
            if let Ok(bytes) = fs.free_bytes() {
                tell(bytes, &[]);
            }
        });
        let (limit, shards) = (config.wal.max_bytes, shards.len() as u64);
        instruments::observe(&self.meter, &names::WAL_LIMIT, move |tell| {
            for number in 0..shards {
                tell(limit, &[KeyValue::new(names::SHARD, i64::try_from(number).unwrap_or(i64::MAX))]);
            }
        });
    }

    /// Delivers the last batches, within a bounded time, and ends.
    pub fn stop(self) {
        let Providers { traces, metrics, logs } = self.providers;
        // Each on a thread of its own, and none of them waited for longer than that: a collector that hangs must not
        // keep the process.
        let (done, ended) = std::sync::mpsc::channel::<()>();
        let last_words = |provider: Box<dyn FnOnce() + Send>| {
            let done = done.clone();
            let deliver = move || {
                provider();
                drop(done);
            };
            // Without a thread they are lost: there is nobody left to wait for.
            let _ = std::thread::Builder::new().name("last-words".to_owned()).spawn(deliver);
        };
        // What cannot be delivered was told when it began to fail.
        last_words(Box::new(move || _ = traces.map(|provider| provider.shutdown_with_timeout(LAST_WORDS))));
        last_words(Box::new(move || _ = metrics.map(|provider| provider.shutdown_with_timeout(LAST_WORDS))));
        last_words(Box::new(move || _ = logs.map(|provider| provider.shutdown_with_timeout(LAST_WORDS))));
        drop(done);
        let _ = ended.recv_timeout(LAST_WORDS);
        if let Some(runtime) = self.runtime {
            runtime.shutdown_background();
        }
    }
}

/// See [`names::WAIT_DURATION`]. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Waits(Histogram<f64>);

impl Waits {
    /// An append has waited for its permits.
    pub fn ended(&self, tenant: &Arc<str>, limit: Limit, took: Duration) {
        let tenant = KeyValue::new(names::TENANT, Arc::clone(tenant));
        self.0.record(took.as_secs_f64(), &[tenant, KeyValue::new(names::LIMIT, limit.name())]);
    }
}
