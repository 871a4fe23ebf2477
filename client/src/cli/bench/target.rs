//! What is measured: the server of the user, one that is started for it, or the reference.

use super::{
    super::{
        checksum::hex_of,
        child::{self, ChildServer},
        failure::Failure,
        global::GlobalArgs,
    },
    args::Args,
    load::{self, Goal, Load, Seen},
};
use inkpot_client::{Client, ClientBuilder};
use rand::RngCore;
use sha2::{Digest, Sha256};
use std::{
    ffi::OsString,
    fs, io,
    net::{SocketAddr, TcpListener},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;

/// A run against the server of the user, on files of its own.
pub(super) async fn remote(global: &GlobalArgs, load: &Load, args: &Args) -> Result<Seen, Failure> {
    let run = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let goal = Goal {
        tenants: vec![global.target()?.builder()?],
        prefix: format!("bench-{run}"),
        pid: args.pid,
        metrics: args.metrics,
        check: args.check,
    };
    load::run(&goal, load).await
}

/// A run against a new server, which leaves nothing behind.
pub(super) async fn spawned(load: &Load, args: &Args) -> Result<Seen, Failure> {
    let folder = scratch(args.data_dir.as_deref())?;
    let metrics = free_port().map_err(|error| Failure::error("no port is free for the metrics", error))?;
    let tenants = Tenants::new(load.tenants);
    let mut more: Vec<OsString> = vec!["--metrics-listen".into(), metrics.to_string().into()];
    if let Some(config) = tenants.config() {
        let path = folder.path().join("server.toml");
        fs::write(&path, config).map_err(|error| Failure::error("cannot write a configuration", error))?;
        more.extend(["--config".into(), path.into()]);
    } else if let Some(config) = &args.server_config {
        more.extend(["--config".into(), config.into()]);
    }
    let log = folder.path().join("server.log");
    let server = ChildServer::coordinator(child::ANY_PORT, &folder.path().join("data"), &log, more).await?;
    let goal = Goal {
        tenants: tenants.builders(&server.endpoint())?,
        prefix: "bench".into(),
        pid: server.pid(),
        metrics: Some(metrics),
        check: args.check,
    };
    end(server, load::run(&goal, load).await).await
}

/// A run against the reference.
pub(super) async fn wire(load: &Load) -> Result<Seen, Failure> {
    let folder = scratch(None)?;
    let server = ChildServer::start(["wire-server".into()], &folder.path().join("server.log")).await?;
    let goal = Goal {
        tenants: vec![Client::builder(server.endpoint())],
        prefix: "bench".into(),
        pid: server.pid(),
        metrics: None,
        check: false,
    };
    end(server, load::run(&goal, load).await).await
}

async fn end(server: ChildServer, seen: Result<Seen, Failure>) -> Result<Seen, Failure> {
    let seen = seen?;
    server.kill().await?;
    Ok(seen)
}

fn scratch(parent: Option<&Path>) -> Result<TempDir, Failure> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("inkpot-bench-");
    let made = parent.map_or_else(|| builder.tempdir(), |parent| builder.tempdir_in(parent));
    made.map_err(|error| Failure::error("cannot make a temporary folder", error))
}

/// An address that nobody listens on now.
fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// The tenants of a server that is started here, each with a token. One alone needs none.
struct Tenants(Vec<String>);

impl Tenants {
    fn new(count: usize) -> Self {
        let tokens = (0..count).map(|_| {
            let mut token = [0_u8; 32];
            rand::rng().fill_bytes(&mut token);
            hex_of(&token)
        });
        Self(if count > 1 { tokens.collect() } else { Vec::new() })
    }

    fn config(&self) -> Option<String> {
        let tables = self.0.iter().enumerate().map(|(number, token)| {
            format!("[tenants.bench-{number}]\ntoken_sha256 = [\"{}\"]\n", hex_of(&Sha256::digest(token)))
        });
        (!self.0.is_empty()).then(|| tables.collect())
    }

    fn builders(&self, endpoint: &str) -> Result<Vec<ClientBuilder>, Failure> {
        if self.0.is_empty() {
            return Ok(vec![Client::builder(endpoint)]);
        }
        Ok(self.0.iter().map(|token| Client::builder(endpoint).token(token)).collect())
    }
}
