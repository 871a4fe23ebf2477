//! A real server dies, or its machine loses power, at each named place of its work, under load: it is held at a call of
//! the disk, before that has any effect or when it has it, and never gets further. Appends, uploads, sets, renames from
//! shard to shard, rotation and compression go on meanwhile; nothing that was acknowledged is lost or doubled.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use futures_util::future::try_join_all;
use inkpot_client::{BatchPolicy, Client, ErrorReason, OpenOptions, Operator, Producer, RenameOptions, UploadOptions};
use inkpot_proto::v1::{FileInfo, ListRequest};
use inkpot_tests::harness::{
    files::content,
    lossy::{LossyDisk, Side, Stop},
    server::{Server, Setup},
    witness::{Shape, Witness},
};
use inkpot_wal::fs::{faulty::Op, memory::Loss};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinHandle;

/// How long anything may take on a machine that is busy with other tests.
const BOUND: Duration = Duration::from_secs(120);
/// Room on the disk, in bytes.
const ROOM: u64 = 1 << 40;
/// Frequent checkpoints, small segments, small files and a keeper that looks all the time, so that each place comes soon.
const CONFIG: &str = "[wal]\nsegment_bytes = \"5MiB\"\nmax_bytes = \"64MiB\"\n[checkpoint]\nwal_bytes = \"1MiB\"\ninterval = \"200ms\"\n\
    [keeper]\ninterval = '20ms'\npause = '1ms'\n[[tenant_defaults.policies]]\npattern = 'logs/**'\n\
    rotate.size = '8KiB'\ncompress = true";

/// A place, with a name: what is done at that moment.
type Point = (&'static str, Op, &'static str, Side);

const POINTS: [Point; 22] = [
    ("a frame is about to be written", Op::Write, "/wal/", Side::Before),
    ("a frame is written and not synced", Op::Write, "/wal/", Side::After),
    ("a frame is synced and not acknowledged", Op::SyncData, "/wal/", Side::After),
    ("a file is made and has no name", Op::Create, "staging/", Side::After),
    ("a file is stamped", Op::SetFileId, "staging/", Side::After),
    ("apply is between two files", Op::Write, "files/", Side::After),
    ("a checkpoint has synced some files", Op::SyncAll, "files/", Side::After),
    ("a checkpoint is about to sync directories", Op::SyncDir, "files", Side::Before),
    ("a checkpoint has synced directories", Op::SyncDir, "files", Side::After),
    ("a checkpoint is about to write the catalog", Op::Write, "/catalog", Side::Before),
    ("the catalog is written and not synced", Op::Write, "/catalog", Side::After),
    ("the catalog is synced and no segment is let go", Op::SyncData, "/catalog", Side::After),
    ("a segment is about to be used again", Op::Rename, "/wal/", Side::Before),
    ("a segment has its name and that is not synced", Op::Rename, "/wal/", Side::After),
    ("a segment is ready", Op::SyncDir, "/wal/", Side::After),
    ("a chunk of an upload is written and not synced", Op::Write, "staging/", Side::After),
    ("a chunk of an upload is synced and not recorded", Op::SyncData, "staging/", Side::After),
    ("a change of a name is recorded and not done", Op::Rename, "files/", Side::Before),
    ("a change of a name is done and not synced", Op::Rename, "files/", Side::After),
    ("a file is cut, and its new name is not synced", Op::Rename, "files/default/logs/app@", Side::After),
    ("a compressed copy takes the place of its file", Op::Rename, ".zst", Side::After),
    ("what was displaced is about to go", Op::Remove, "staging/", Side::Before),
];

/// Places in a start: recovery, and the beginning of a new epoch.
const RECOVERY: [Point; 8] = [
    ("the new epoch has no segment yet", Op::Create, "/wal/", Side::Before),
    ("a segment of the new epoch has no name yet", Op::Rename, "/wal/", Side::Before),
    ("the new epoch has its segment", Op::Rename, "/wal/", Side::After),
    ("frames are carried over and not synced", Op::Write, "/wal/", Side::After),
    ("the new epoch is about to be synced", Op::SyncData, "/wal/", Side::Before),
    ("the new epoch is synced", Op::SyncData, "/wal/", Side::After),
    ("the log is read", Op::Read, "/wal/", Side::Before),
    ("the catalog is read", Op::Read, "/catalog", Side::After),
];

fn stop_at((_, op, path, side): Point, nth: u64) -> Stop {
    Stop { op, path, nth, side }
}

struct World {
    disk: LossyDisk,
    server: Server,
    random: StdRng,
}

impl World {
    fn start(seed: u64) -> Self {
        let disk = LossyDisk::mount(ROOM);
        let server = Server::start(Setup::default().config(CONFIG).data_dir(disk.path().join("data")));
        Self { disk, server, random: StdRng::seed_from_u64(seed) }
    }

    async fn client(&self) -> Client {
        Client::builder(self.server.endpoint()).give_up_after(BOUND).connect().await.unwrap()
    }

    /// Waits until the server is at this place.
    fn holds_at(&mut self, point: Point, nth: u64) {
        self.disk.stop_at(stop_at(point, nth));
        self.is_held(point);
    }

    /// Starts the server, and waits until it is at this place.
    fn starts_until(&mut self, point: Point) {
        // Before it starts: it is there soon, and perhaps only once.
        self.disk.stop_at(stop_at(point, 1));
        self.server.restart_unawaited();
        self.is_held(point);
    }

    fn is_held(&self, point: Point) {
        let reached = tokio::task::block_in_place(|| self.disk.wait_for_stop(BOUND));
        assert!(reached, "nothing came to where {} ({point:?})", point.0);
    }

    /// The server dies where it is; says whether power was lost.
    fn dies(&mut self, how: Loss) -> bool {
        let seed = self.random.random();
        tokio::task::block_in_place(|| self.disk.lose_power(&mut self.server, how, seed));
        how != Loss::All
    }

    fn any_loss(&mut self) -> Loss {
        *Loss::EVERY.choose(&mut self.random).unwrap()
    }

    fn restarts(&mut self) {
        tokio::task::block_in_place(|| self.server.restart());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn death_and_power_loss_at_each_place_lose_and_double_nothing() {
    let mut world = World::start(5);
    let shape = Shape { producers: 2, files: 8, window: 8, rest: Duration::from_millis(10), bound: BOUND };
    let load = Witness::start(&world.server, shape, 5).await;
    let others = Others::start(&world).await;
    for (number, point) in POINTS.into_iter().enumerate() {
        // Once only the process dies, once power is lost.
        let loss = [Loss::Nothing, Loss::Prefix, Loss::Subset, Loss::Torn][number % 4];
        for how in [Loss::All, loss] {
            load.goes_on(50, point.0).await;
            let nth = world.random.random_range(1..4);
            world.holds_at(point, nth);
            if world.dies(how) {
                load.power_lost();
            }
            // Every other start dies too, somewhere.
            if number % 2 == 0 {
                let point = RECOVERY[(number / 2 + usize::from(how == Loss::All) * 4) % RECOVERY.len()];
                world.starts_until(point);
                let how = world.any_loss();
                if world.dies(how) {
                    load.power_lost();
                }
            }
            world.restarts();
        }
    }
    load.goes_on(200, "appends in the end").await;
    let (acked, published) = (load.acked(), load.published());
    let done = others.finish(&world).await;
    load.judge(&mut world.server).await;
    println!("{acked} appends, {published} uploads, {done:?}");
}

/// What else goes on: sets, a file that moves from shard to shard, and one that is cut and compressed.
struct Others {
    stop: Arc<AtomicBool>,
    sets: JoinHandle<usize>,
    moves: JoinHandle<usize>,
    lines: JoinHandle<u64>,
}

/// How much of it there was.
#[derive(Debug)]
#[allow(dead_code, reason = "for the eye")]
struct Done {
    sets: usize,
    moves: usize,
    lines: u64,
    cuts: usize,
}

impl Others {
    async fn start(world: &World) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let [one, two, three] = [world.client().await, world.client().await, world.client().await];
        let sets = tokio::spawn(publish_sets(one, Arc::clone(&stop)));
        let moves = tokio::spawn(wander(two, Arc::clone(&stop)));
        let lines = tokio::spawn(write_lines(three, Arc::clone(&stop)));
        Self { stop, sets, moves, lines }
    }

    async fn finish(self, world: &World) -> Done {
        self.stop.store(true, Ordering::Relaxed);
        let (sets, moves, lines) = tokio::join!(self.sets, self.moves, self.lines);
        let (sets, moves, lines) = (sets.unwrap(), moves.unwrap(), lines.unwrap());
        for set in 0..sets {
            assert_set(world, set).await;
        }
        let expected: String = (0..moves).map(move_line).collect();
        let there: Vec<String> = files(world, "moves/").await.into_iter().map(|file| file.path).collect();
        assert_eq!(there, [place(moves)]);
        assert_eq!(content(&world.server, &place(moves)).await.unwrap(), expected.into_bytes());
        let cut = files(world, "logs/").await;
        let mut next = 0;
        for file in &cut {
            let found = String::from_utf8(content(&world.server, &file.path).await.unwrap()).unwrap();
            for found in found.split_inclusive('\n') {
                assert_eq!(found, log_line(next), "in {}", file.path);
                next += 1;
            }
        }
        assert_eq!(next, lines);
        Done { sets, moves, lines, cuts: cut.len() - 1 }
    }
}

/// Those below a prefix, what was cut off first, in its order.
async fn files(world: &World, prefix: &str) -> Vec<FileInfo> {
    let request = ListRequest { prefix: prefix.to_owned(), page_size: 10_000, ..ListRequest::default() };
    let mut files = world.server.files().list(request).await.unwrap().into_inner().files;
    files.sort_by_key(|file| (!file.path.contains('@'), file.path.clone()));
    files
}

const SET_FILES: usize = 3;

fn set_path(set: usize, file: usize) -> String {
    format!("sets/{set:04}/{file}")
}

fn set_content(set: usize, file: usize) -> String {
    format!("set {set} file {file} ").repeat(1 + (set * 7 + file * 13) % 40)
}

async fn publish_sets(client: Client, stop: Arc<AtomicBool>) -> usize {
    let mut set = 0;
    while !stop.load(Ordering::Relaxed) {
        publish_set(&client, set).await;
        set += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    set
}

async fn publish_set(client: &Client, set: usize) {
    let session = client.session().await;
    let parts = try_join_all((0..SET_FILES).map(|file| {
        let session = &session;
        let producer = Producer::Named { id: "p".to_owned(), epoch: Some(1) };
        async move {
            let options = UploadOptions { producer, ..UploadOptions::default() };
            let mut upload = session.upload(&set_path(set, file), options).await?;
            upload.write(set_content(set, file).into()).await?;
            upload.leave_open().await
        }
    }));
    let parts = parts.await.unwrap();
    while let Err(error) = client.files().commit_files(parts.clone()).await {
        assert_eq!(error.reason(), Some(ErrorReason::BeingDecided), "set {set}: {error:?}");
    }
}

async fn assert_set(world: &World, set: usize) {
    for file in 0..SET_FILES {
        let found = content(&world.server, &set_path(set, file)).await;
        assert!(found.is_ok_and(|found| found == set_content(set, file).into_bytes()), "{}", set_path(set, file));
    }
}

fn place(n: usize) -> String {
    format!("moves/d{}/f{n}", n % 7)
}

fn move_line(n: usize) -> String {
    format!("line {n}\n")
}

/// A file goes from path to path, with a line more each time.
async fn wander(client: Client, stop: Arc<AtomicBool>) -> usize {
    let session = client.session().await;
    let mut n = 0;
    while n == 0 || !stop.load(Ordering::Relaxed) {
        let producer = Producer::Named { id: "p".to_owned(), epoch: Some(1) };
        let writer = session.open(&place(n), OpenOptions { producer, ..OpenOptions::default() }).await.unwrap();
        writer.write(move_line(n).into()).await.unwrap();
        writer.finish().await.unwrap();
        // Each line has a seq, and each rename.
        let operator = Operator { producer_id: "p".to_owned(), producer_epoch: 1, seq: 2 * n as u64 + 2 };
        let options = RenameOptions { operator: Some(operator), ..RenameOptions::default() };
        while let Err(error) = client.files().rename(&place(n), &place(n + 1), options.clone()).await {
            assert_eq!(error.reason(), Some(ErrorReason::BeingDecided), "rename {n}: {error:?}");
        }
        n += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    n
}

fn log_line(n: u64) -> String {
    format!("line {n:06} {}\n", "words ".repeat(10))
}

/// Writes to a file that is cut and compressed.
async fn write_lines(client: Client, stop: Arc<AtomicBool>) -> u64 {
    let session = client.session().await;
    let options = OpenOptions {
        producer: Producer::Named { id: "p".to_owned(), epoch: Some(1) },
        batch: BatchPolicy { max_records: 4, ..BatchPolicy::default() },
        ..OpenOptions::default()
    };
    let writer = session.open("logs/app.log", options).await.unwrap();
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        writer.write(Bytes::from(log_line(n))).await.unwrap();
        n += 1;
        if n % 8 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    writer.finish().await.unwrap();
    n
}

/// Each step of a set is a frame that is synced: uploads, what each shard prepares, the decision, what each settles.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_loss_at_each_sync_of_a_set_leaves_it_whole_in_the_end() {
    let mut world = World::start(6);
    let client = world.client().await;
    let mut reached = 0;
    for nth in 1..=12 {
        for side in [Side::Before, Side::After] {
            let set = usize::try_from(nth).unwrap() * 2 + usize::from(side == Side::After);
            world.disk.stop_at(Stop { op: Op::SyncData, path: "/wal/", nth, side });
            let task = tokio::spawn({
                let client = client.clone();
                async move { publish_set(&client, set).await }
            });
            // A set of one shard has fewer syncs.
            if tokio::task::block_in_place(|| world.disk.wait_for_stop(Duration::from_secs(2))) {
                reached += 1;
                let how = world.any_loss();
                world.dies(how);
                world.restarts();
            }
            tokio::time::timeout(BOUND, task).await.expect("the set is settled").unwrap();
            assert_set(&world, set).await;
        }
    }
    assert!(reached >= 12, "only {reached} places were reached");
    assert!(tokio::task::block_in_place(|| world.server.terminate()).success());
    for set in 2..=25 {
        for file in 0..SET_FILES {
            let plain = std::fs::read(world.server.plain(&set_path(set, file))).unwrap();
            assert!(plain == set_content(set, file).into_bytes(), "{}", set_path(set, file));
        }
    }
    println!("{reached} places");
}
