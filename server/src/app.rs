//! Wires the parts of the server together, and takes them down in stages.

use crate::{
    admission::Admission,
    catalog::Catalog,
    commit::driver::{self, Running, Spec},
    config::Config,
    datadir::{self, DataDir, DataDirError, Opening},
    keeper::Keeper,
    lifecycle,
    rpc::{Services, serve},
    sets::resolver,
    shard::{Command, ShardHandle},
    telemetry::{Telemetry, Tenants},
};
use inkpot_wal::fs::{Attributes, FileSystem, real::RealFs};
use std::{
    io::{self, Write},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Descriptors that are left for what is neither a connection nor a plain file.
const OTHER_DESCRIPTORS: u64 = 1024;

/// Why the server could not start, or ended.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address.
    #[error("cannot listen on {address}; is another server running there? (--listen IP:PORT takes another address)")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
    /// The address of the Prometheus endpoint.
    #[error("cannot listen on {address} for metrics; --metrics-listen IP:PORT takes another address")]
    Metrics {
        /// Which.
        address: SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
    /// The data folder.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A thread, a signal handler.
    #[error("the system refuses what the server needs")]
    System(#[from] io::Error),
    /// The transport.
    #[error("the server failed")]
    Serve(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Serves until it is told to stop; returns when everything acknowledged is in synced plain files, or the deadlines of
/// the stop have passed.
///
/// # Errors
/// What kept it from starting, or the failure of the transport.
pub async fn run(config: Config, telemetry: &Telemetry) -> Result<(), StartError> {
    let mut signals = lifecycle::Signals::new()?;
    let listener = listen(config.listen).await?;
    let address = listener.local_addr()?;
    let metrics_address =
        config.telemetry.metrics_listen.map(|address| serve_metrics(telemetry, address)).transpose()?;
    let Data { fs, shards, salt } = open_data(&config)?;
    let config = Arc::new(with_room_for_descriptors(config, shards));
    let admission = Arc::new(Admission::new(Arc::clone(&config)));
    admission.expect_counts(shards);
    let metrics: Vec<_> = (0..shards).map(|number| telemetry.shard(number)).collect();
    let tenants: Arc<dyn Tenants> = Arc::clone(&admission) as Arc<dyn Tenants>;
    telemetry.observe(&config, &metrics, &tenants, Arc::clone(&fs));
    let mut running = Vec::new();
    for (number, metrics) in (0..shards).zip(metrics.iter().cloned()) {
        let (fs, config, admission) = (Arc::clone(&fs), Arc::clone(&config), Arc::clone(&admission));
        running.push(driver::start(Spec { number, fs, config, admission, metrics, salt })?);
    }
    let drain = CancellationToken::new();
    let handles: Arc<[ShardHandle]> = running.iter().map(|shard| shard.handle.clone()).collect();
    let tasks = TaskTracker::new();
    let services = Services::new(handles, admission, Arc::clone(&config), fs, drain.clone(), tasks.clone(), telemetry);
    let services = Arc::new(services);
    let keeper = Keeper {
        shards: Arc::clone(&services.shards),
        metrics,
        admission: Arc::clone(&services.admission),
        config: Arc::clone(&config),
        audit: Arc::clone(&services.audit),
        fs: Arc::clone(&services.fs),
        drain: drain.clone(),
    };
    tasks.spawn(keeper.run());
    let (health, health_service) = tonic_health::server::health_reporter();
    let watching: Vec<_> = running.iter().map(|shard| shard.health.clone()).collect();
    resolver::start(&services.sets, watching.clone(), &drain, &tasks);
    let watcher = tokio::spawn(lifecycle::report_health(health, watching, drain.clone()));
    // Shards that still recover take requests and answer them when they are open; the health service tells.
    say_hello(&config, address, metrics_address);
    let server = tokio::spawn(serve(listener, services, health_service, drain.clone().cancelled_owned()));
    let mut server = std::pin::pin!(server);
    tokio::select! {
        () = signals.stop() => {}
        ended = &mut server => return Err(serve_failed(ended)),
    }
    tokio::spawn(async move {
        signals.stop().await;
        tracing::warn!("told to stop a second time: stopping at once, the next start replays the log");
        std::process::exit(130);
    });
    drain.cancel();
    tasks.close();
    let drained = tokio::time::timeout(config.shutdown.drain, async { (server.await, tasks.wait().await) }).await;
    if drained.is_err() {
        tracing::warn!("calls are still running after shutdown.drain; they are cut");
    }
    stop_shards(running, config.shutdown.close).await;
    watcher.abort();
    tracing::info!("stopped; everything acknowledged is kept");
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })
}

fn serve_metrics(telemetry: &Telemetry, address: SocketAddr) -> Result<SocketAddr, StartError> {
    telemetry.serve_metrics(address).map_err(|source| StartError::Metrics { address, source })
}

/// A data folder that is open.
struct Data {
    fs: Arc<dyn FileSystem>,
    shards: u32,
    salt: u64,
}

/// Claims the data folder; makes it at the first start.
fn open_data(config: &Config) -> Result<Data, StartError> {
    let files = Attributes { mode: config.files.dir_mode, uid: config.files.owner, gid: config.files.group };
    let real: RealFs = datadir::claim(&config.data_dir, files)?;
    let real = Arc::new(real);
    let fs: Arc<dyn FileSystem> = Arc::clone(&real) as Arc<dyn FileSystem>;
    let data = DataDir::open(&Opening {
        fs: fs.as_ref(),
        folder: &config.data_dir,
        shards: config.shards,
        shards_given: config.shards_given,
        cluster_id: rand::random(),
        files,
        probe: &|| real.probe_file_ids(""),
        init_shard: &|fs, shard| Catalog::create(fs, shard).map_err(|error| io::Error::new(error.io_kind(), error)),
    })?;
    tracing::info!(folder = ?config.data_dir, shards = data.shards, cluster = data.cluster_id, "data folder opened");
    // As many bits as a generation has, of an id that was drawn at random.
    let salt = u64::from_str_radix(data.cluster_id.get(..16).unwrap_or_default(), 16).unwrap_or_default();
    Ok(Data { fs, shards: data.shards, salt })
}

/// Raises the limit of descriptors as far as allowed, and keeps connections and the caches of the shards below it:
/// connections get half of them at most.
fn with_room_for_descriptors(mut config: Config, shards: u32) -> Config {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let connections = most / 2;
    if u64::from(config.limits.connections) > connections {
        tracing::warn!(connections, "the limit of open files leaves room for fewer than limits.connections");
        config.limits.connections = u32::try_from(connections).unwrap_or(u32::MAX);
    }
    let others = OTHER_DESCRIPTORS + u64::from(config.limits.connections);
    let each = most.saturating_sub(others) / u64::from(shards.max(1));
    config.apply.open_files = config.apply.open_files.min(usize::try_from(each).unwrap_or(usize::MAX)).max(16);
    config
}

/// Tells people on standard error and scripts on standard output that the server is there.
fn say_hello(config: &Config, address: SocketAddr, metrics: Option<SocketAddr>) {
    if config.development() {
        tracing::warn!(
            "DEVELOPMENT MODE: nobody has to show a token, everyone is tenant \"default\"; give tenants tokens in the \
             configuration (tenants.NAME.token_sha256) before others can reach this server"
        );
    }
    let mut out = io::stdout();
    // Whoever closed standard output does not want to know.
    let _ = writeln!(out, "listening on {address}");
    if let Some(metrics) = metrics {
        let _ = writeln!(out, "metrics on http://{metrics}/metrics");
    }
    let _ = out.flush();
    tracing::info!(%address, "serving");
}

/// Lets every shard commit what it has, bring it to the plain files, checkpoint, and end.
async fn stop_shards(running: Vec<Running>, close: Duration) {
    let stopped = async {
        for shard in &running {
            // A shard that has ended needs no telling.
            let _ = shard.handle.send(Command::Stop).await;
        }
        let threads = running.into_iter().map(|shard| shard.thread);
        tokio::task::spawn_blocking(|| threads.for_each(|thread| _ = thread.join())).await
    };
    if tokio::time::timeout(close + Duration::from_secs(1), stopped).await.is_err() {
        tracing::warn!("shards are still busy after shutdown.close; the next start replays the log");
    }
}

fn serve_failed(ended: Result<Result<(), crate::rpc::ServeError>, tokio::task::JoinError>) -> StartError {
    StartError::Serve(match ended {
        Ok(Err(error)) => error,
        Ok(Ok(())) => "it ended without being told to".into(),
        Err(error) => error.into(),
    })
}
