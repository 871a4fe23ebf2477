//! 16 producers write real log lines into 1 000 files while the server is killed (SIGKILL) at random moments, 50 times
//! over, or as often as `INKPOT_TEST_KILLS` says; clients reconnect and send again. In the end every file is exactly the
//! lines of each producer.
#![allow(clippy::unwrap_used)]

use inkpot_tests::harness::{
    load::{Load, Shape},
    server::{Server, Setup},
    wait,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::time::Duration;

const KILLS: u64 = 50;
/// How long anything may take on a machine that is busy with other tests.
const BOUND: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acked_is_lost_or_doubled_by_kills() {
    let kills = std::env::var("INKPOT_TEST_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    // Small segments and frequent checkpoints, so that kills also fall into rolling, recycling and checkpointing.
    let mut server = Server::start(Setup::default().config(
        "[wal]\nsegment_bytes = \"5MiB\"\nmax_bytes = \"64MiB\"\n[checkpoint]\nwal_bytes = \"8MiB\"\ninterval = \"400ms\"",
    ));
    let pace = Duration::from_micros(300);
    let keepalive = Duration::from_secs(10);
    let load = Load::start(&server, Shape { producers: 16, files: 1000, pace, bound: BOUND, keepalive }).await;
    let mut random = StdRng::seed_from_u64(7);
    for kill in 0..kills {
        let until = load.sent() + random.random_range(1..6_000);
        wait::until(&format!("lines before kill {kill}"), BOUND, || load.sent() >= until).await;
        tokio::task::block_in_place(|| server.restart());
    }
    let done = load.finish().await;
    let reconnects = done.reconnects();
    assert!(reconnects > kills / 5, "a producer noticed only {reconnects} of {kills} kills");
    assert!(server.terminate().success());
    done.check(&server);
}
