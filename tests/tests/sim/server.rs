//! The simulated server: all of `inkpotd` but its listener, its disk and its signals.

use super::{
    disk::{self, Disk},
    net,
};
use inkpot_server::{
    config::{Checkpoint, Config, Tenant, TenantOverrides, token_sha256},
    host::{Host, Slowness},
    node::{Data, Node},
    policy::{Pattern, Policy, Rotate},
    telemetry::Telemetry,
};
use std::{cell::RefCell, rc::Rc, time::Duration};
use tokio::{sync::Notify, time::sleep};
use turmoil::net::TcpListener;

/// Its name in the simulated network.
pub const NAME: &str = "server";
/// Where its clients find it.
pub const ENDPOINT: &str = "http://server:7411";
const PORT: u16 = 7411;
/// A tenant: its name, its token, and whether it has little room.
pub const TENANTS: [(&str, &str, bool); 2] =
    [("main", "the token of the main tenant", false), ("flood", "the token of the other tenant", true)];
/// How long whoever watches over the process takes to start it again.
const START_AGAIN: Duration = Duration::from_millis(50);

/// Small enough that checkpoints and new segments come often.
fn config() -> Config {
    let mut config = Config { shards: 2, shards_given: true, ..Config::default() };
    config.wal.segment_bytes = 64 << 10;
    config.wal.max_bytes = 512 << 10;
    config.checkpoint = Checkpoint { wal_bytes: 96 << 10, interval: Duration::from_millis(700) };
    config.apply.delay = Duration::from_millis(5);
    config.apply.max_delay = Duration::from_millis(50);
    config.apply.budget_bytes = 256 << 10;
    config.apply.open_files = 8;
    config.limits.record_bytes = 16 << 10;
    config.limits.append_bytes = 16 << 10;
    config.producers.remembered = 4;
    config.default_policies = vec![Policy {
        pattern: Pattern::parse("**/r*.log").expect("a pattern"),
        rotate: Rotate { size: Some(4 << 10), ..Rotate::default() },
        ..Policy::default()
    }];
    for (name, token, is_poor) in TENANTS {
        let limits = TenantOverrides {
            writes_in_flight: is_poor.then_some(8),
            bytes_in_flight: is_poor.then_some(16 << 10),
            ..TenantOverrides::default()
        };
        let tenant = Tenant { token_sha256: vec![token_sha256(token)], limits, ..Tenant::default() };
        config.tenants.insert(name.to_owned(), tenant);
    }
    config
}

/// One life of the server's process: until it is told to stop, or is crashed. A start that fails is tried again.
pub async fn run(disk: Rc<RefCell<Disk>>, stop: Rc<Notify>) -> turmoil::Result {
    let config = config();
    let data = loop {
        let fs = disk.borrow().file_system();
        match Data::open(&config, fs, &|| Ok(())) {
            Ok(data) => break data,
            Err(_) => sleep(START_AGAIN).await,
        }
    };
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    let node = Node::start(config, data, Host::Tasks(Slowness(disk::took)), &Telemetry::off())?;
    let mut server = tokio::spawn(node.serve(net::incoming(listener)));
    tokio::select! {
        biased;
        () = stop.notified() => node.stop(server).await,
        ended = &mut server => return Err(format!("the server ended by itself: {ended:?}").into()),
    }
    Ok(())
}
