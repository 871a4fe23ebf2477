//! `inkpot verify`: what a disk or another program did to plain files is found and named, and nothing else is.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::{
    DeleteRequest, RenameRequest, TruncateRequest, VerifyRequest, admin_service_client::AdminServiceClient,
};
use inkpot_tests::{
    Server, Setup,
    harness::{
        session::{unary, within},
        tool::{Ended, Tool},
        wait,
    },
};
use std::{
    collections::BTreeMap,
    fs::{self, File, FileTimes},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

const BOUND: Duration = Duration::from_secs(60);
/// Of writing, cutting, deleting and renaming files while they are verified.
const ROUNDS: u32 = 60;
/// ... and at least so many looks at them meanwhile.
const CALLS: u32 = 3;
const CONTENT: &str = "what was committed\n";

async fn write(server: &Server, path: &str) {
    server.client().append(unary(path, CONTENT)).await.unwrap();
    let plain = server.plain(path);
    wait::until("the plain file has it", BOUND, || fs::read(&plain).is_ok_and(|found| found.ends_with(b"committed\n")))
        .await;
}

async fn verify(server: &Server, args: &[&str]) -> Ended {
    let tool = Tool::at(server, ["verify"].iter().chain(args));
    tokio::task::spawn_blocking(|| tool.run_within(BOUND, "")).await.unwrap()
}

/// Changes a byte, and leaves the times as they were: what a disk does.
fn rot(plain: &Path) {
    let before = fs::metadata(plain).unwrap();
    let file = File::options().write(true).open(plain).unwrap();
    file.write_all_at(b"X", 5).unwrap();
    file.set_times(FileTimes::new().set_modified(before.modified().unwrap())).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_damage_is_named_and_everything_else_is_good() {
    let server = Server::start(Setup::default());
    for path in ["d/rotten", "d/missing", "d/truncated", "d/longer", "d/written", "d/replaced", "d/good", "e/good"] {
        write(&server, path).await;
    }
    let good = verify(&server, &[]).await.exit(0).text();
    assert!(good.starts_with("8 files verified, 152 bytes; 0 damaged"), "{good}");
    rot(&server.plain("d/rotten"));
    fs::remove_file(server.plain("d/missing")).unwrap();
    File::options().write(true).open(server.plain("d/truncated")).unwrap().set_len(4).unwrap();
    fs::write(server.plain("d/longer"), format!("{CONTENT}more\n")).unwrap();
    File::options().write(true).open(server.plain("d/written")).unwrap().write_all_at(b"THEIRS", 0).unwrap();
    fs::remove_file(server.plain("d/replaced")).unwrap();
    fs::write(server.plain("d/replaced"), CONTENT).unwrap();
    let rows = verify(&server, &["--output", "json"]).await.exit(1).json_lines();
    let (sum, rows) = rows.split_last().unwrap();
    assert_eq!((sum["files"].as_u64(), sum["damaged"].as_u64()), (Some(8), Some(6)), "{sum}");
    let damage: BTreeMap<_, _> =
        rows.iter().map(|row| (row["path"].as_str().unwrap(), row["damage"].as_str().unwrap())).collect();
    let expected = [
        ("d/rotten", "rotten"),
        ("d/missing", "missing"),
        ("d/truncated", "truncated"),
        ("d/longer", "changed"),
        ("d/written", "changed"),
        ("d/replaced", "changed"),
    ];
    assert_eq!(damage, BTreeMap::from(expected));
    let wanted = format!("{:08x}", crc32c::crc32c(CONTENT.as_bytes()));
    let found = format!("{:08x}", crc32c::crc32c(b"what Xas committed\n"));
    let rotten = rows.iter().find(|row| row["path"] == "d/rotten").unwrap();
    assert_eq!((rotten["expected_crc32c"].as_str(), rotten["found_crc32c"].as_str()), (Some(&*wanted), Some(&*found)));
    assert_eq!((rotten["expected_size"].as_u64(), rotten["found_size"].as_u64()), (Some(19), Some(19)));
    let one = verify(&server, &["d/rotten", "e/"]).await.exit(1).text();
    let line = format!("d/rotten: rotten: wanted 19 bytes, crc32c {wanted}; found 19 bytes, crc32c {found}; it holds");
    assert!(one.starts_with(&line) && one.contains("\n2 files verified, ") && one.contains("; 1 damaged"), "{one}");
    let _ = verify(&server, &["e/"]).await.exit(0);
    let _ = verify(&server, &["no/such"]).await.exit(4).says("no file has a path that begins with \"no/such\"");
    // A restart has the same to say: nothing of this lies in memory alone.
    let mut server = server;
    assert!(server.terminate().success());
    server.restart();
    let again = verify(&server, &[]).await.exit(1).text();
    assert!(again.contains("8 files verified") && again.contains("6 damaged"), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_file_is_held_against_what_it_holds() {
    let policy = "[keeper]\ninterval = '50ms'\n[[tenant_defaults.policies]]\npattern = '**'\ncompress = true";
    let server = Server::start(Setup::default().config(policy));
    write(&server, "f").await;
    server.files().seal(inkpot_proto::v1::SealRequest { path: "f".into(), ..Default::default() }).await.unwrap();
    let stored = server.plain("f.zst");
    wait::until("it is compressed", BOUND, || stored.exists()).await;
    let good = verify(&server, &[]).await.exit(0).text();
    assert!(good.starts_with("1 files verified, 19 bytes"), "uncompressed bytes: {good}");
    rot_frame(&stored);
    let rows = verify(&server, &["--output", "json"]).await.exit(1).json_lines();
    assert_eq!((rows[0]["path"].as_str(), rows[0]["damage"].as_str()), (Some("f"), Some("rotten")), "{rows:?}");
}

/// Changes a byte of the content of a compressed file.
fn rot_frame(stored: &Path) {
    let before = fs::metadata(stored).unwrap();
    let mut bytes = fs::read(stored).unwrap();
    bytes[12] ^= 0x10;
    let file = File::options().write(true).open(stored).unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    file.set_times(FileTimes::new().set_modified(before.modified().unwrap())).unwrap();
}

/// Whatever callers do to files while they are looked at is no damage.
#[tokio::test(flavor = "multi_thread")]
async fn files_that_change_hands_meanwhile_are_not_called_damaged() {
    let config = "[keeper]\ninterval = '10ms'\npause = '1ms'\n[checkpoint]\ninterval = '50ms'\n\
                  [[tenant_defaults.policies]]\npattern = 'r/*.log'\nrotate = { size = '4KiB' }\ncompress = true\n\
                  keep = { count = 20 }";
    let server = Server::start(Setup::default().config(config));
    let (rounds, calls) = (AtomicU32::new(0), AtomicU32::new(0));
    let goes_on = || rounds.load(Ordering::Relaxed) < ROUNDS || calls.load(Ordering::Relaxed) < CALLS;
    let writing = async {
        let (mut client, mut files) = (server.client(), server.files());
        while goes_on() {
            let round = rounds.fetch_add(1, Ordering::Relaxed);
            let data = vec![b'a' + (round % 26) as u8; 1500];
            for path in ["r/one.log", "r/two.log", "grows"] {
                client.append(unary(path, data.clone())).await.unwrap();
            }
            let path = format!("whole/{}", round % 7);
            client.append(unary(&path, data)).await.unwrap();
            // Each may find the file gone, by one of the others.
            let _ = match round % 4 {
                0 => files.truncate(TruncateRequest { path, size: 700, ..Default::default() }).await.map(|_| ()),
                1 => files.delete(DeleteRequest { path, ..Default::default() }).await.map(|_| ()),
                2 => {
                    let to = format!("whole/{}", (round + 3) % 7);
                    files
                        .rename(RenameRequest { from: path, to, replace: true, ..Default::default() })
                        .await
                        .map(|_| ())
                }
                _ => Ok(()),
            };
        }
    };
    let verifying = async {
        let mut files = 0;
        while goes_on() {
            let sum = verify(&server, &["--output", "json"]).await.exit(0).json();
            calls.fetch_add(1, Ordering::Relaxed);
            files += sum["files"].as_u64().unwrap();
        }
        files
    };
    let ((), files) = tokio::join!(writing, verifying);
    assert!(files > 20, "{calls:?} calls saw {files} files");
}

#[tokio::test(flavor = "multi_thread")]
async fn call_ends_with_its_caller_and_gives_its_turn_to_the_next() {
    let server = Server::start(Setup::default().config("[keeper]\npause = '10s'"));
    let mut client = server.client();
    for _ in 0..4 {
        client.append(unary("large", vec![b'x'; 900 << 10])).await.unwrap();
    }
    let plain = server.plain("large");
    wait::until("the plain file has it", BOUND, || fs::metadata(&plain).is_ok_and(|found| found.len() == 3_686_400))
        .await;
    let request = |prefix: &str| VerifyRequest { prefix: prefix.to_owned() };
    let mut admin = AdminServiceClient::new(server.channel());
    // Each of them reads for half a minute, and there are only so many turns.
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut steps = admin.verify(request("large")).await.unwrap().into_inner();
        let step = within(BOUND, "how far it is", steps.message()).await.unwrap().unwrap();
        assert!(!step.done && step.files == 0, "{step:?}");
        slow.push(steps);
    }
    drop(slow);
    let mut steps = admin.verify(request("nothing")).await.unwrap().into_inner();
    let step = within(Duration::from_secs(10), "the turn", steps.message()).await.unwrap().unwrap();
    assert!(step.done && step.damaged.is_none(), "{step:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tenant_learns_of_its_own_files_alone() {
    let server =
        Server::start(Setup::default().token("red", "red-token-0123456789").token("blue", "blue-token-012345678"));
    for token in ["red-token-0123456789", "blue-token-012345678"] {
        server.client_as(Some(token)).append(unary("f", CONTENT)).await.unwrap();
    }
    let blue = server.plain_of("blue", "f");
    wait::until("the plain file has it", BOUND, || fs::read(&blue).is_ok_and(|found| found.len() == 19)).await;
    rot(&blue);
    let red = verify(&server, &[]).await.exit(0).text();
    assert!(red.starts_with("1 files verified"), "{red}");
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_files_of_others_are_named_unknown_and_unpublished_uploads_are_counted() {
    let server = Server::start(Setup::default());
    write(&server, "d/ours").await;
    let put = ["put", "-", "d/upload", "--leave-open", "--producer", "u"];
    let _ = Tool::at(&server, put).run(CONTENT).exit(0);
    fs::write(server.plain("d/theirs"), "theirs").unwrap();
    fs::write(server.plain("d/ours.zst"), "no compressed file of ours").unwrap();
    fs::create_dir(server.plain("e")).unwrap();
    fs::write(server.plain("e/other"), "theirs").unwrap();
    let named = verify(&server, &[]).await.exit(0).text();
    let unknown: Vec<&str> =
        named.lines().filter_map(|line| line.split_once(": unknown").map(|(path, _)| path)).collect();
    assert_eq!(unknown, ["d/ours.zst", "d/theirs", "e/other"], "{named}");
    assert!(named.contains("1 files verified") && named.contains("0 damaged; 3 unknown; 1 in staging"), "{named}");
    let below = verify(&server, &["d/t", "--output", "json"]).await.exit(0).json_lines();
    assert_eq!((&below[0]["path"], &below[0]["damage"]), (&"d/theirs".into(), &"unknown".into()), "{below:?}");
    assert_eq!(below[1]["unknown"], 1, "{below:?}");
    let _ = Tool::at(&server, ["adopt", "d/theirs"]).run("").exit(0);
    let named = verify(&server, &["d/t"]).await.exit(0).text();
    assert!(named.starts_with("1 files verified, 6 bytes; 0 damaged"), "{named}");
}
