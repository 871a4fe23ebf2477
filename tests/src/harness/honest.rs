//! A tenant that does nothing wrong, beside whatever others do: it appends, waits for each ack, and appends again.

use super::{
    PATIENCE, files,
    server::{Server, Setup},
    session::open_as,
    wait,
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use tokio::task::JoinHandle;

/// The file that it writes.
const PATH: &str = "honest.log";
/// Appends that show that it goes on.
const STEPS: u64 = 20;
/// Its token.
pub const TOKEN: &str = "honest-tenant-token";
/// The token of another tenant, for whoever is to do something wrong.
pub const HOSTILE_TOKEN: &str = "hostile-tenant-token";

/// The tenant at work.
#[derive(Debug)]
pub struct Honest {
    acked: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

/// A server that knows this tenant as `default`, and another one as `hostile`.
#[must_use]
pub fn setup() -> Setup {
    Setup::default().token("default", TOKEN).token("hostile", HOSTILE_TOKEN)
}

impl Honest {
    /// Begins; returns after the first acks.
    pub async fn start(server: &Server) -> Self {
        let mut session = server.session().await;
        session.opened(open_as(1, PATH, "honest", 1)).await;
        let (acked, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, stopping) = (Arc::clone(&acked), Arc::clone(&stop));
        let task = tokio::spawn(async move {
            let mut seq = 0;
            while !stopping.load(Ordering::Relaxed) {
                seq += 1;
                session.write(1, seq, line(seq)).await.expect("an honest append is acked");
                counted.store(seq, Ordering::Relaxed);
            }
        });
        let honest = Self { acked, stop, task };
        honest.goes_on().await;
        honest
    }

    /// Waits until some more of its appends are acked.
    ///
    /// # Panics
    /// If they are not within [`PATIENCE`], which is far more than they need on a machine that is busy with other tests.
    pub async fn goes_on(&self) {
        let goal = self.acked.load(Ordering::Relaxed) + STEPS;
        wait::until("the honest tenant's appends are acked", PATIENCE, || {
            self.task.is_finished() || self.acked.load(Ordering::Relaxed) >= goal
        })
        .await;
        assert!(!self.task.is_finished(), "the honest tenant was refused");
    }

    /// Stops; returns how many appends were acked.
    ///
    /// # Panics
    /// If one was not.
    pub async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("the honest tenant was served to the end");
        self.acked.load(Ordering::Relaxed)
    }

    /// Stops, and looks whether all that was acked is in the file, and nothing else.
    ///
    /// # Panics
    /// If it is not.
    pub async fn finish(self, server: &Server) {
        let acked = self.stop().await;
        let expected: String = (1..=acked).map(line).collect();
        files::assert_content(server, PATH, expected.as_bytes()).await;
    }
}

fn line(seq: u64) -> String {
    format!("honest line {seq}\n")
}
