//! The server on a real machine: its listener, its data folder, its signals. [`crate::node`] has the rest.

use crate::{
    config::Config,
    datadir::{self, DataDirError},
    host::Host,
    lifecycle,
    node::{Data, Node, dir_attributes},
    rpc::tcp,
    telemetry::Telemetry,
};
use inkpot_wal::fs::FileSystem;
use std::{
    io::{self, Write},
    net::SocketAddr,
    sync::Arc,
};
use thiserror::Error;
use tokio::net::TcpListener;

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
    let data = open_data(&config)?;
    let config = with_room_for_descriptors(config, data.shards);
    let is_development = config.development();
    let incoming = tcp(listener, &config.limits, telemetry.doors());
    let node = Node::start(config, data, Host::Threads, telemetry)?;
    say_hello(is_development, address, metrics_address);
    let mut server = tokio::spawn(node.serve(incoming));
    tokio::select! {
        () = signals.stop() => {}
        ended = &mut server => return Err(serve_failed(ended)),
    }
    tokio::spawn(async move {
        signals.stop().await;
        tracing::warn!("told to stop a second time: stopping at once, the next start replays the log");
        std::process::exit(130);
    });
    node.stop(server).await;
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })
}

fn serve_metrics(telemetry: &Telemetry, address: SocketAddr) -> Result<SocketAddr, StartError> {
    telemetry.serve_metrics(address).map_err(|source| StartError::Metrics { address, source })
}

/// Claims the data folder; makes it at the first start.
fn open_data(config: &Config) -> Result<Data, StartError> {
    let real = Arc::new(datadir::claim(&config.data_dir, dir_attributes(config))?);
    let fs: Arc<dyn FileSystem> = Arc::clone(&real) as Arc<dyn FileSystem>;
    Ok(Data::open(config, fs, &|| real.probe_file_ids(""))?)
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
fn say_hello(is_development: bool, address: SocketAddr, metrics: Option<SocketAddr>) {
    if is_development {
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

fn serve_failed(ended: Result<Result<(), crate::rpc::ServeError>, tokio::task::JoinError>) -> StartError {
    StartError::Serve(match ended {
        Ok(Err(error)) => error,
        Ok(Ok(())) => "it ended without being told to".into(),
        Err(error) => error.into(),
    })
}
