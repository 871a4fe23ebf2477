//! The power fails under load, 6 times over, or as often as `INKPOT_TEST_POWER` says: a real server on a disk that keeps
//! only what was synced, and of the rest nothing, a part, or torn pieces. Everything that was acknowledged as SYNCED is
//! there afterwards, once, where the ack said; of what was only WRITTEN a tail may be gone.
#![allow(clippy::unwrap_used)]

use inkpot_tests::harness::{
    lossy::LossyDisk,
    server::{Server, Setup},
    witness::{Shape, Witness},
};
use inkpot_wal::fs::memory::Loss;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    time::Duration,
};

const LOSSES: u64 = 6;
/// How long anything may take on a machine that is busy with other tests.
const BOUND: Duration = Duration::from_secs(120);
/// Room on the disk, in bytes.
const ROOM: u64 = 1 << 40;
/// Small segments and frequent checkpoints, so that losses also fall into rolling, recycling and checkpointing.
const CONFIG: &str =
    "[wal]\nsegment_bytes = \"5MiB\"\nmax_bytes = \"64MiB\"\n[checkpoint]\nwal_bytes = \"2MiB\"\ninterval = \"300ms\"";

fn losses() -> u64 {
    std::env::var("INKPOT_TEST_POWER").map_or(LOSSES, |losses| losses.parse().unwrap())
}

/// A server under load, and chance.
struct World {
    server: Server,
    load: Witness,
    random: StdRng,
}

impl World {
    async fn start(data: &Path, seed: u64) -> Self {
        let server = Server::start(Setup::default().config(CONFIG).data_dir(data));
        let shape = Shape { producers: 3, files: 12, window: 8, rest: Duration::from_millis(10), bound: BOUND };
        let load = Witness::start(&server, shape, seed).await;
        Self { server, load, random: StdRng::seed_from_u64(seed) }
    }

    /// Lets the load go on for a while, and draws what a loss leaves. Now and then only the process dies, so that the next
    /// loss finds what two lives left unsynced.
    async fn goes_on(&mut self, loss: u64) -> Loss {
        let more = self.random.random_range(1..2_000);
        self.load.goes_on(more, &format!("appends before loss {loss}")).await;
        *Loss::EVERY.choose(&mut self.random).unwrap()
    }

    /// Starts the server again, after such a loss.
    fn restarts(&mut self, how: Loss) {
        if how != Loss::All {
            self.load.power_lost();
        }
        tokio::task::block_in_place(|| self.server.restart());
    }

    /// Judges, and gives the server back: it has ended.
    async fn judge(mut self, losses: u64, unsynced: usize) {
        self.load.goes_on(500, "appends after the last loss").await;
        let (acked, published, lost) = (self.load.acked(), self.load.published(), self.load.lost());
        println!(
            "{losses} losses: {unsynced} operations were not synced; {acked} appends, {published} uploads; {lost} tails lost"
        );
        assert!(unsynced > 0, "no loss had anything to take");
        self.load.judge(&mut self.server).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_losses_take_nothing_that_was_synced_and_of_the_rest_a_tail() {
    let disk = LossyDisk::mount(ROOM);
    let mut world = World::start(&disk.path().join("data"), 11).await;
    let mut unsynced = 0;
    for loss in 0..losses() {
        let how = world.goes_on(loss).await;
        unsynced += disk.unsynced();
        let seed = world.random.random();
        tokio::task::block_in_place(|| disk.lose_power(&mut world.server, how, seed));
        world.restarts(how);
    }
    world.judge(losses(), unsynced).await;
}

/// A file system of Linux, on a block device that loses what was not flushed: the lossy disk has only its image.
fn sync(path: &Path) {
    File::open(path).unwrap().sync_all().unwrap();
}

/// The disk itself, before anything is built on it: through the kernel, as a server would.
#[test]
fn lossy_disk_keeps_what_was_synced_and_nothing_else() {
    let disk = LossyDisk::mount(ROOM);
    let at = |name: &str| disk.path().join(name);
    fs::create_dir(at("dir")).unwrap();
    sync(disk.path());
    // Content without a name, a name without content, both, and a change of both that is not synced.
    let mut no_name = File::create(at("dir/no-name")).unwrap();
    fs::write(at("dir/no-content"), "content").unwrap();
    fs::write(at("dir/both"), "first").unwrap();
    sync(&at("dir/both"));
    sync(&at("dir"));
    fs::remove_file(at("dir/no-name")).unwrap();
    sync(&at("dir"));
    fs::rename(at("dir/no-content"), at("dir/renamed")).unwrap();
    fs::write(at("dir/new"), "new").unwrap();
    sync(&at("dir/new"));
    no_name.write_all(b"content").unwrap();
    no_name.sync_all().unwrap();
    drop(no_name);
    fs::OpenOptions::new().append(true).open(at("dir/both")).unwrap().write_all(b" second").unwrap();
    assert_eq!(fs::read(at("dir/both")).unwrap(), b"first second");
    disk.lose_power_alone(Loss::Nothing, 0);
    let mut names: Vec<_> = fs::read_dir(at("dir")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["both", "no-content"]);
    assert_eq!(fs::read(at("dir/both")).unwrap(), b"first");
    assert_eq!(fs::read(at("dir/no-content")).unwrap(), b"");
    // A sync of the directory keeps a rename, and what is there goes on to work.
    fs::rename(at("dir/both"), at("dir/moved")).unwrap();
    sync(&at("dir"));
    disk.lose_power_alone(Loss::Nothing, 0);
    assert_eq!(fs::read(at("dir/moved")).unwrap(), b"first");
}
