//! Data folders as each format of them was written, kept in `tests/kept`: the present server opens them, has everything,
//! and writes on. Each is an image of a small ext4, because what a folder is includes inodes and times.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::{ErrorReason, FinishAction, Opened, SealRequest};
use inkpot_tests::harness::{
    disk::Mount,
    files::content,
    server::{Server, Setup},
    session::{finish, open_as},
    upload::create_as,
    wait,
};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// How long anything may take on a machine that is busy with other tests.
const BOUND: Duration = Duration::from_secs(60);
/// Size of the volume, in bytes; next to nothing of it is kept.
const IMAGE_BYTES: u64 = 192 << 20;
/// Files that are cut at 1 KiB and compressed then.
const CONFIG: &str = "[wal]\nsegment_bytes = \"5MiB\"\n[keeper]\ninterval = '20ms'\npause = '1ms'\n\
    [[tenant_defaults.policies]]\npattern = 'logs/**'\nrotate.size = '1KiB'\ncompress = true";

fn setup(data: &Path) -> Setup {
    Setup::default().config(CONFIG).arg("--shards").arg("1").data_dir(data)
}

fn run(program: &str, args: &[&str]) {
    let done = Command::new(program).args(args).status();
    assert!(done.is_ok_and(|status| status.success()), "{program} {args:?} is needed (packages e2fsprogs, zstd)");
}

fn line(number: u64) -> String {
    format!("line {number:04} {}\n", "x".repeat(89))
}

fn lines(count: u64) -> String {
    (1..=count).map(line).collect()
}

async fn write(server: &Server, path: &str, from: u64, to: u64) -> Opened {
    let mut session = server.session().await;
    let opened = session.opened(open_as(1, path, "p", 1)).await;
    for seq in from..=to {
        session.write(1, seq, line(seq)).await.unwrap();
    }
    session.finish(1).await.unwrap();
    opened
}

/// What is below `logs/`, in its order.
async fn logs(server: &Server) -> (String, usize) {
    let mut paths = inkpot_tests::harness::files::list(server).await;
    paths.retain(|path| path.starts_with("logs/"));
    paths.sort_by_key(|path| (!path.contains('@'), path.clone()));
    let mut found = Vec::new();
    for path in &paths {
        found.extend(content(server, path).await.unwrap());
    }
    (String::from_utf8(found).unwrap(), paths.len())
}

/// Makes one of everything: for the next format.
async fn make(data: &Path) {
    let mut server = Server::start(setup(data));
    write(&server, "dir/appended", 1, 5).await;
    write(&server, "dir/sealed", 1, 2).await;
    let sealed = SealRequest { path: "dir/sealed".to_owned(), ..SealRequest::default() };
    server.files().seal(sealed).await.unwrap();
    write(&server, "logs/app", 1, 25).await;
    let compressed = || fs::read_dir(data.join("files/default/logs")).unwrap();
    let is_compressed = || {
        compressed().filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "zst")).count() == 2
    };
    wait::until("what was cut is compressed", BOUND, is_compressed).await;
    for (path, ends) in [("whole/published", true), ("whole/open", false)] {
        let mut session = server.session().await;
        session.opened(create_as(1, path, "u", 1)).await;
        session.write(1, 1, lines(30)).await.unwrap();
        if ends {
            session.end(finish(1, FinishAction::Commit)).await.unwrap();
        }
    }
    // In the catalog so far; from here on in the log.
    assert!(tokio::task::block_in_place(|| server.terminate()).success());
    tokio::task::block_in_place(|| server.restart());
    write(&server, "dir/appended", 6, 8).await;
    write(&server, "dir/new", 1, 3).await;
    tokio::task::block_in_place(|| server.kill9());
}

async fn check(data: &Path) {
    let mut server = Server::start(setup(data));
    wait::until_async("the shard is open", BOUND, async || content(&server, "dir/new").await.is_ok()).await;
    let read = async |path: &str| String::from_utf8(content(&server, path).await.unwrap()).unwrap();
    assert_eq!(read("dir/appended").await, lines(8));
    assert_eq!(read("dir/sealed").await, lines(2));
    assert_eq!(read("dir/new").await, lines(3));
    assert_eq!(read("whole/published").await, lines(30));
    assert!(content(&server, "whole/open").await.is_err());
    assert_eq!(logs(&server).await, (lines(25), 3));
    // It is known who wrote what, and everything goes on.
    let opened = write(&server, "dir/appended", 8, 9).await;
    assert_eq!(opened.last_seq, 8);
    assert_eq!(read("dir/appended").await, lines(9));
    write(&server, "logs/app", 26, 40).await;
    assert_eq!(logs(&server).await.0, lines(40));
    let mut session = server.session().await;
    let nack = session.open(open_as(1, "dir/sealed", "p", 1)).await;
    match nack {
        Err(nack) => assert_eq!(nack.reason(), ErrorReason::Sealed),
        Ok(_) => assert_eq!(session.write(1, 3, "more").await.unwrap_err().reason(), ErrorReason::Sealed),
    }
    let opened = session.opened(create_as(2, "whole/open", "u", 1)).await;
    assert_eq!((opened.upload, opened.last_seq, opened.next_offset), (true, 1, lines(30).len() as u64));
    session.end(finish(2, FinishAction::Commit)).await.unwrap();
    drop(session);
    assert!(tokio::task::block_in_place(|| server.terminate()).success());
    for (path, expected) in [("dir/appended", 9), ("dir/new", 3), ("whole/open", 30)] {
        assert_eq!(fs::read_to_string(server.plain(path)).unwrap(), lines(expected), "{path}");
    }
}

fn kept() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("kept");
    let found = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    found.filter(|path| path.extension().is_some_and(|ending| ending == "zst")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_of_every_format_are_read_and_written_on() {
    let home = tempfile::tempdir().unwrap();
    let image = home.path().join("image");
    let image_path = image.to_str().unwrap();
    if let Ok(to) = std::env::var("INKPOT_TEST_KEEP") {
        File::create(&image).unwrap().set_len(IMAGE_BYTES).unwrap();
        run("mkfs.ext4", &["-q", "-F", "-m", "0", "-N", "256", "-O", "^has_journal", image_path]);
        let volume = Mount::image(&image);
        make(&volume.path().join("data")).await;
        volume.unmount();
        run("zstd", &["-q", "-f", "-19", image_path, "-o", &to]);
    }
    let kept = kept();
    assert!(!kept.is_empty(), "no folder is kept");
    for folder in kept {
        run("zstd", &["-q", "-d", "-f", folder.to_str().unwrap(), "-o", image_path]);
        let volume = Mount::image(&image);
        check(&volume.path().join("data")).await;
        volume.unmount();
        println!("{} is read and written on", folder.display());
    }
}
