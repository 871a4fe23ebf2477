//! Files that are cut, kept or removed, and compressed, as their policies say, through kills too.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::{ErrorReason as Reason, FileInfo, ListRequest, ReadRequest, SealRequest, StatRequest};
use inkpot_tests::{
    Server, Setup,
    harness::{
        assert_refused,
        session::{append, open_as, unary, within},
        wait,
    },
};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use std::{fs, path::PathBuf, process::Command, time::Duration};
use tonic::Code;

const BOUND: Duration = Duration::from_secs(60);
const PATH: &str = "logs/app.log";

/// A server with a policy for `logs/` that cuts at 1 KiB, and a keeper that looks all the time.
fn setup(policy: &str) -> Setup {
    Setup::default().config(&format!(
        "[keeper]\ninterval = '20ms'\npause = '1ms'\n[[tenant_defaults.policies]]\npattern = 'logs/**'\n\
         rotate.size = '1KiB'\n{policy}"
    ))
}

fn line(number: u64) -> String {
    format!("line {number:06} {}\n", "x".repeat(87))
}

fn lines(numbers: impl Iterator<Item = u64>) -> String {
    numbers.map(line).collect()
}

/// The files below `logs/`, those that were rotated away first, in their order.
async fn files(server: &Server) -> Vec<FileInfo> {
    let request = ListRequest { prefix: "logs/".to_owned(), page_size: 10_000, ..ListRequest::default() };
    let mut files = server.files().list(request).await.unwrap().into_inner().files;
    files.sort_by_key(|file| (!file.path.contains('@'), file.path.clone()));
    files
}

async fn read(server: &Server, request: ReadRequest) -> String {
    let mut stream = server.files().read(request).await.unwrap().into_inner();
    let mut bytes = Vec::new();
    while let Some(piece) = within(BOUND, "a piece", stream.message()).await.unwrap() {
        bytes.extend_from_slice(&piece.data);
    }
    String::from_utf8(bytes).unwrap()
}

fn whole(path: &str) -> ReadRequest {
    ReadRequest { path: path.to_owned(), ..ReadRequest::default() }
}

async fn content(server: &Server) -> String {
    let mut content = String::new();
    for file in files(server).await {
        content += &read(server, whole(&file.path)).await;
    }
    content
}

fn compressed(server: &Server, path: &str) -> PathBuf {
    server.plain(&format!("{path}.zst"))
}

fn decompressed(file: PathBuf) -> String {
    let output = Command::new("zstd").arg("-dc").arg(file).output().expect("zstd can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn file_is_cut_between_appends_and_acks_tell_the_generation() {
    let server = Server::start(setup(""));
    let mut session = server.session().await;
    session.opened(open_as(1, PATH, "p", 1)).await;
    let mut generations = Vec::new();
    for seq in 1..=25 {
        let ack = session.write(1, seq, line(seq)).await.unwrap();
        assert_eq!(ack.first_offset, Some((seq - 1) % 10 * 100), "ten lines of 100 bytes fit into a file");
        generations.push(ack.generation);
    }
    generations.dedup();
    let files = files(&server).await;
    let sizes: Vec<_> = files.iter().map(|file| (file.size, file.sealed)).collect();
    assert_eq!(sizes, [(1000, true), (1000, true), (500, false)]);
    assert_eq!(files.iter().map(|file| file.generation).collect::<Vec<_>>(), generations);
    assert_eq!(files[2].path, PATH);
    for (number, file) in files.iter().enumerate() {
        let first = number as u64 * 10 + 1;
        let expected = lines(first..=(first + 9).min(25));
        assert_eq!(read(&server, whole(&file.path)).await, expected);
        let plain = server.plain(&file.path);
        wait::until("the plain file has it", BOUND, || fs::read_to_string(&plain).is_ok_and(|found| found == expected))
            .await;
    }
    let refused = server.client().append(unary(&files[0].path, "more")).await.unwrap_err();
    assert_refused(&refused, Code::FailedPrecondition, Reason::Sealed);
}

#[tokio::test]
async fn rotated_files_beyond_the_policy_go() {
    let server = Server::start(setup("keep.count = 2"));
    for number in 1..=75 {
        server.client().append(unary(PATH, line(number))).await.unwrap();
    }
    wait::until_async("only two are kept", BOUND, async || files(&server).await.len() == 3).await;
    assert_eq!(content(&server).await, lines(51..=75), "the newest are kept");
    let names = || fs::read_dir(server.plain("logs")).unwrap().count();
    wait::until("their plain files are gone", BOUND, || names() == 3).await;
}

#[tokio::test]
async fn rotated_and_sealed_files_are_compressed_and_read_as_before() {
    let server = Server::start(setup("compress = true"));
    for number in 1..=15 {
        server.client().append(unary(PATH, line(number))).await.unwrap();
    }
    server.client().append(unary("logs/sealed.log", lines(1..=9))).await.unwrap();
    let request = SealRequest { path: "logs/sealed.log".to_owned(), ..SealRequest::default() };
    let sealed = server.files().seal(request).await.unwrap().into_inner();
    let is_done = async || files(&server).await.iter().filter(|file| file.compressed).count() == 2;
    wait::until_async("both are compressed", BOUND, is_done).await;
    let found = files(&server).await;
    let (rotated, present) = (&found[0], &found[1]);
    assert_eq!((rotated.size, rotated.compressed, present.compressed), (1000, true, false));
    assert!(rotated.stored_size < rotated.size, "{rotated:?}");
    let expected = lines(1..=10);
    for path in [rotated.path.as_str(), "logs/sealed.log"] {
        assert!(!server.plain(path).exists(), "{path}");
    }
    assert_eq!(decompressed(compressed(&server, &rotated.path)), expected);
    assert_eq!(decompressed(compressed(&server, "logs/sealed.log")), lines(1..=9));
    assert_eq!(read(&server, whole(&rotated.path)).await, expected);
    let part = ReadRequest { offset: 505, limit: 111, ..whole(&rotated.path) };
    assert_eq!(read(&server, part).await, expected[505..616]);
    let path = "logs/sealed.log".to_owned();
    let info = server.files().stat(StatRequest { path }).await.unwrap().into_inner().file.unwrap();
    assert_eq!((info.size, info.generation, info.crc32c), (900, sealed.generation, Some(sealed.crc32c)));
    assert_eq!(fs::metadata(compressed(&server, "logs/sealed.log")).unwrap().len(), info.stored_size);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_when_the_server_is_killed_while_it_rotates_and_compresses() {
    const KILLS: u32 = 12;
    let seed = rand::random();
    eprintln!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let mut server = Server::start(setup("compress = true").config("[checkpoint]\ninterval = '50ms'"));
    let mut sent = 0;
    for _ in 0..KILLS {
        let mut session = server.session().await;
        let opened = session.opened(open_as(1, PATH, "p", 1)).await;
        sent = opened.last_seq;
        // The last ones are on their way when the server dies.
        for _ in 0..random.random_range(20..120) {
            sent += 1;
            session.append(append(1, sent, line(sent))).await;
        }
        let acked = sent - random.random_range(0..15);
        if acked > opened.last_seq {
            session.acked(1, acked).await.unwrap();
        }
        server.restart();
        let kept = server.session().await.opened(open_as(1, PATH, "p", 1)).await.last_seq;
        assert!(kept >= acked && kept <= sent, "{acked} were acknowledged, {kept} are kept");
        sent = kept;
        assert_eq!(content(&server).await, lines(1..=kept));
    }
    let is_done = async || files(&server).await.iter().all(|file| file.compressed || file.path == PATH);
    wait::until_async("all that was rotated is compressed", BOUND, is_done).await;
    assert_eq!(content(&server).await, lines(1..=sent));
    for file in files(&server).await.iter().filter(|file| file.compressed) {
        assert!(!server.plain(&file.path).exists());
        assert_eq!(decompressed(compressed(&server, &file.path)), read(&server, whole(&file.path)).await);
    }
    assert!(server.terminate().success());
    server.restart();
    assert_eq!(content(&server).await, lines(1..=sent));
    let staged = |dir: PathBuf| fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let left: Vec<_> = staged(server.data_dir().join("staging/default")).flat_map(staged).collect();
    assert!(left.is_empty(), "left in staging: {left:?}");
}
