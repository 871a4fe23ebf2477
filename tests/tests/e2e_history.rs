//! A busy server without any fault: what producers, readers and uploaders were told, and what the files have in the end, is
//! a history that the checker accepts.
#![allow(clippy::unwrap_used)]

use inkpot_tests::harness::{
    server::{Server, Setup},
    witness::{Shape, Witness},
};
use std::time::Duration;

/// How long anything may take on a machine that is busy with other tests.
const BOUND: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_everybody_was_told_is_what_the_files_have() {
    // Small segments and frequent checkpoints, and less room than all of them want.
    let config = "[wal]\nsegment_bytes = \"5MiB\"\n[checkpoint]\nwal_bytes = \"1MiB\"\ninterval = \"200ms\"\n\
                  [tenant_defaults]\nwrites_in_flight = 40";
    let mut server = Server::start(Setup::default().config(config));
    let shape = Shape { producers: 4, files: 12, window: 8, rest: Duration::from_millis(2), bound: BOUND };
    let load = Witness::start(&server, shape, 5).await;
    load.goes_on(20_000, "appends").await;
    load.judge(&mut server).await;
}
