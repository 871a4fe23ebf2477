//! A bit of the log of a real data folder is flipped, in bytes spread over all that is in it, or in so many as
//! `INKPOT_TEST_FLIPS` says. The server has everything that was acknowledged afterwards, or refuses the shard and says where
//! the damage is; it never serves other bytes.
#![allow(clippy::unwrap_used)]

use inkpot_proto::{error::Detail, v1::ErrorReason};
use inkpot_tests::harness::{
    files::{content, folder_content},
    lossy::{LossyDisk, Side, Stop},
    server::{Server, Setup},
    session::unary,
    wait,
};
use inkpot_wal::fs::{faulty::Op, memory::Loss};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Duration,
};
use tonic::Code;

const FLIPS: usize = 60;
/// How long anything may take on a machine that is busy with other tests.
const BOUND: Duration = Duration::from_secs(60);
const FILES: usize = 3;

fn path(file: usize) -> String {
    format!("dir/f{file}")
}

struct World {
    disk: LossyDisk,
    server: Server,
    /// What was acknowledged.
    expected: BTreeMap<String, Vec<u8>>,
}

impl World {
    /// One shard that makes no checkpoint, with two epochs in its log. The last frame is a seal, so that each flip before
    /// it can be told from a torn write.
    async fn start() -> Self {
        let disk = LossyDisk::mount(1 << 40);
        let setup = Setup::default().config("[checkpoint]\ninterval = '1h'\nwal_bytes = '64MiB'");
        let server = Server::start(setup.arg("--shards").arg("1").data_dir(disk.path().join("data")));
        let mut world = Self { disk, server, expected: BTreeMap::new() };
        world.append(9).await;
        tokio::task::block_in_place(|| world.server.restart());
        world.append(8).await;
        world.disk.stop_at(Stop { op: Op::SyncData, path: "/wal/", nth: 2, side: Side::After });
        world.append(1).await;
        assert!(tokio::task::block_in_place(|| world.disk.wait_for_stop(BOUND)), "the log is not sealed");
        world.dies();
        world
    }

    async fn append(&mut self, times: usize) {
        for time in 0..times {
            let (path, data) = (path(time % FILES), format!("append {time} of {times} "));
            wait::until_async("an append", BOUND, async || {
                self.server.client().append(unary(&path, data.as_str())).await.is_ok()
            })
            .await;
            self.expected.entry(path).or_default().extend(data.into_bytes());
        }
    }

    fn dies(&mut self) {
        tokio::task::block_in_place(|| self.disk.lose_power(&mut self.server, Loss::All, 0));
    }

    /// Where the log has something: each segment, and how many bytes of it.
    fn log(&self) -> Vec<(PathBuf, u64)> {
        let found = folder_content(&self.server.data_dir().join("shards/0000/wal"));
        let segments = found.into_iter().filter_map(|(path, bytes)| Some((path, bytes?)));
        let used = segments
            .map(|(path, bytes)| (path, bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1)));
        used.collect()
    }

    /// Says whether the shard serves: then it has everything, and takes more.
    async fn serves(&mut self) -> bool {
        let mut refused = None;
        for (path, expected) in &self.expected {
            let mut found = content(&self.server, path).await;
            while found.as_ref().is_err_and(|status| status.code() == Code::Unavailable) {
                tokio::time::sleep(Duration::from_millis(5)).await;
                found = content(&self.server, path).await;
            }
            match found {
                Ok(found) => assert!(found == *expected, "{path}: {found:?}"),
                Err(status) => refused = Some(status),
            }
        }
        let Some(status) = refused else {
            self.append(1).await;
            return true;
        };
        assert_eq!(status.code(), Code::DataLoss, "{status:?}");
        assert_eq!(Detail::of(&status).unwrap().reason, ErrorReason::Damaged);
        let message = status.message();
        assert!(message.contains("shards/0000/wal/") && message.contains("byte "), "it does not say where: {message}");
        false
    }
}

fn flip(path: &Path, at: u64, bit: u8) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1 << bit], at).unwrap();
    file.sync_all().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_flipped_bit_of_the_log_changes_what_is_served() {
    let flips = std::env::var("INKPOT_TEST_FLIPS").map_or(FLIPS, |flips| flips.parse().unwrap());
    let mut world = World::start().await;
    let (kept, expected) = (world.disk.keep(), world.expected.clone());
    let log = world.log();
    let all: u64 = log.iter().map(|(_, bytes)| bytes).sum();
    let mut random = StdRng::seed_from_u64(9);
    let (mut served, mut refused) = (0, 0);
    for number in 0..flips as u64 {
        // Spread over everything, also where there are more flips than bytes.
        let mut at = number * all / flips as u64;
        let (path, _) = log
            .iter()
            .find(|(_, bytes)| {
                at < *bytes || {
                    at -= bytes;
                    false
                }
            })
            .unwrap();
        world.disk.go_back_to(&kept);
        world.expected.clone_from(&expected);
        let bit = random.random_range(0..8);
        flip(path, at, bit);
        tokio::task::block_in_place(|| world.server.restart());
        if world.serves().await {
            served += 1
        } else {
            refused += 1
        }
        world.dies();
    }
    println!("{flips} flips in {all} bytes of log: {served} served everything, {refused} refused");
    assert!(refused > served, "flips go unnoticed");
}
