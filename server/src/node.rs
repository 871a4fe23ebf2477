//! The server behind its listener: how its parts are wired, and how they are taken down. What brings the connections, and
//! what it stands on, come from outside: TCP and the disk ([`crate::app`]), or a simulation of them.

use crate::{
    admission::Admission,
    catalog::Catalog,
    commit::driver::{self, Running, Spec},
    config::Config,
    datadir::{DataDir, DataDirError, Opening},
    host::Host,
    keeper::Keeper,
    lifecycle,
    rpc::{Connected, ServeError, Services, serve_on},
    sets::resolver,
    shard::{Command, ShardHandle},
    telemetry::{Telemetry, Tenants},
};
use futures_util::future::join_all;
use inkpot_wal::fs::{Attributes, FileSystem};
use std::{future::Future, io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinHandle,
};
use tokio_stream::Stream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic_health::{
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

/// A data folder that is open.
#[derive(Clone, Debug)]
pub struct Data {
    /// Where everything lies.
    pub fs: Arc<dyn FileSystem>,
    /// How many shards it has.
    pub shards: u32,
    /// Makes generations of this folder other ones than those of any other.
    pub salt: u64,
}

impl Data {
    /// Opens the data folder; makes its layout at the first start. `probe` proves that it keeps file ids.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open(
        config: &Config,
        fs: Arc<dyn FileSystem>,
        probe: &dyn Fn() -> io::Result<()>,
    ) -> Result<Self, DataDirError> {
        let data = DataDir::open(&Opening {
            fs: fs.as_ref(),
            folder: &config.data_dir,
            shards: config.shards,
            shards_given: config.shards_given,
            cluster_id: rand::random(),
            files: dir_attributes(config),
            probe,
            init_shard: &|fs, shard| Catalog::create(fs, shard).map_err(|error| io::Error::new(error.io_kind(), error)),
        })?;
        tracing::info!(folder = ?config.data_dir, shards = data.shards, cluster = data.cluster_id, "data folder opened");
        // As many bits as a generation has, of an id that was drawn at random.
        let salt = u64::from_str_radix(data.cluster_id.get(..16).unwrap_or_default(), 16).unwrap_or_default();
        Ok(Self { fs, shards: data.shards, salt })
    }
}

/// Mode and owner of the directories of plain files.
#[must_use]
pub fn dir_attributes(config: &Config) -> Attributes {
    Attributes { mode: config.files.dir_mode, uid: config.files.owner, gid: config.files.group }
}

/// A server that runs. Its shards and keeper work from the start; clients come in through [`Node::serve`].
#[derive(Debug)]
pub struct Node {
    config: Arc<Config>,
    running: Vec<Running>,
    services: Arc<Services>,
    health: HealthReporter,
    watcher: JoinHandle<()>,
}

impl Node {
    /// Starts everything but the serving of clients. Must be called inside a tokio runtime, the one that serves.
    ///
    /// # Errors
    /// If the system has no thread for a shard.
    pub fn start(config: Config, data: Data, host: Host, telemetry: &Telemetry) -> io::Result<Self> {
        let Data { fs, shards, salt } = data;
        let config = Arc::new(config);
        let admission = Arc::new(Admission::new(Arc::clone(&config)));
        admission.expect_counts(shards);
        let metrics: Vec<_> = (0..shards).map(|number| telemetry.shard(number)).collect();
        let tenants: Arc<dyn Tenants> = Arc::clone(&admission) as Arc<dyn Tenants>;
        telemetry.observe(&config, &metrics, &tenants, Arc::clone(&fs));
        let mut running = Vec::new();
        for (number, metrics) in (0..shards).zip(metrics.iter().cloned()) {
            let (fs, config, admission) = (Arc::clone(&fs), Arc::clone(&config), Arc::clone(&admission));
            running.push(driver::start(Spec { number, fs, config, admission, metrics, salt, host })?);
        }
        let (drain, tasks) = (CancellationToken::new(), TaskTracker::new());
        let handles: Arc<[ShardHandle]> = running.iter().map(|shard| shard.handle.clone()).collect();
        let services =
            Services::new(handles, admission, Arc::clone(&config), fs, drain.clone(), tasks.clone(), telemetry);
        let services = Arc::new(services);
        let keeper = Keeper {
            shards: Arc::clone(&services.shards),
            metrics,
            admission: Arc::clone(&services.admission),
            config: Arc::clone(&config),
            audit: Arc::clone(&services.audit),
            fs: Arc::clone(&services.fs),
            drain: drain.clone(),
            host,
        };
        tasks.spawn(keeper.run());
        let health = HealthReporter::new();
        let watching: Vec<_> = running.iter().map(|shard| shard.health.clone()).collect();
        resolver::start(&services.sets, watching.clone(), &drain, &tasks);
        let watcher = tokio::spawn(lifecycle::report_health(health.clone(), watching, drain));
        Ok(Self { config, running, services, health, watcher })
    }

    /// Serves clients on these connections, until [`Node::stop`]. Shards that still recover take requests and answer them
    /// when they are open; the health service tells.
    ///
    /// # Errors
    /// Those of the transport.
    pub fn serve<IO, E>(
        &self,
        incoming: impl Stream<Item = Result<IO, E>> + Send + 'static,
    ) -> impl Future<Output = Result<(), ServeError>> + Send + 'static
    where
        IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
        E: Into<ServeError> + Send + 'static,
    {
        let health = HealthServer::new(HealthService::from_health_reporter(self.health.clone()));
        let shutdown = self.services.drain.clone().cancelled_owned();
        serve_on(incoming, Arc::clone(&self.services), health, shutdown)
    }

    /// Stops in stages: sessions end, `server` (what [`Node::serve`] gave) and calls with them, for at most
    /// `shutdown.drain`; then each shard commits what it has, brings it to the plain files, and checkpoints, for at most
    /// `shutdown.close`.
    pub async fn stop(self, server: impl Future) {
        let Self { config, running, services, watcher, .. } = self;
        services.drain.cancel();
        services.tasks.close();
        let drained = async { (server.await, services.tasks.wait().await) };
        if tokio::time::timeout(config.shutdown.drain, drained).await.is_err() {
            tracing::warn!("calls are still running after shutdown.drain; they are cut");
        }
        stop_shards(running, config.shutdown.close).await;
        watcher.abort();
        tracing::info!("stopped; everything acknowledged is kept");
    }
}

/// Lets every shard commit what it has, bring it to the plain files, checkpoint, and end.
async fn stop_shards(running: Vec<Running>, close: Duration) {
    let stopped = async {
        for shard in &running {
            // A shard that has ended needs no telling.
            let _ = shard.handle.send(Command::Stop).await;
        }
        // A loop that panicked has said so.
        join_all(running.into_iter().map(|shard| shard.worker.join())).await;
    };
    if tokio::time::timeout(close + Duration::from_secs(1), stopped).await.is_err() {
        tracing::warn!("shards are still busy after shutdown.close; the next start replays the log");
    }
}
