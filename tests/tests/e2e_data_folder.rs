//! Data folders that cannot be used, and disks that fill up while one is.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::{ErrorReason as Reason, ReadRequest, StatRequest, write_response::Frame as Say};
use inkpot_tests::{
    RawSession, Server, Setup,
    harness::{
        assert_nack, assert_refused,
        disk::Mount,
        files::folder_content,
        session::{append, open_as, unary, within},
        wait,
    },
};
use std::{fs, path::PathBuf, process::Output, time::Duration};
use tonic::Code;

const BOUND: Duration = Duration::from_secs(60);
const MIB: usize = 1 << 20;

/// A folder that a server has used, and left in order.
fn used_folder() -> (tempfile::TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let mut server = Server::start(Setup::default().data_dir(&data));
    assert!(server.terminate().success());
    (home, data)
}

#[track_caller]
fn refuses(ended: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(ended.stdout.is_empty(), "it must not say that it listens");
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("inkpotd: "), "the last line is the reason: {said}");
    for word in words {
        assert!(last.contains(word), "{word:?} is not in: {last}");
    }
}

#[test]
fn folder_of_a_newer_version_is_refused_and_not_changed() {
    let (_home, data) = used_folder();
    let manifest = data.join("inkpot.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("format_version = 2", "format_version = 99") + "new_key = 1\n").unwrap();
    let before = folder_content(&data);
    let ended = Setup::default().data_dir(&data).run_to_end();
    refuses(&ended, &["format version 99", "newer inkpotd", data.to_str().unwrap()]);
    assert_eq!(folder_content(&data), before);
}

#[tokio::test]
async fn folder_in_use_is_refused_and_its_server_goes_on() {
    let mut server = Server::start(Setup::default());
    server.client().append(unary("f", "x\n")).await.unwrap();
    let ended = Setup::default().data_dir(server.data_dir()).run_to_end();
    refuses(&ended, &["another inkpotd uses it", "--data-dir"]);
    server.client().append(unary("f", "y\n")).await.unwrap();
    // The lock goes with the process, however that ends.
    server.kill9();
    let again = Server::start(Setup::default().data_dir(server.data_dir()));
    let info = again.files().stat(StatRequest { path: "f".into() }).await.unwrap().into_inner().file.unwrap();
    assert_eq!(info.size, 4);
}

#[test]
fn read_only_folder_is_refused_with_the_remedy() {
    let (_home, data) = used_folder();
    let before = folder_content(&data);
    let mount = Mount::read_only(&data);
    refuses(&Setup::default().data_dir(&data).run_to_end(), &["cannot be written to", "--data-dir"]);
    drop(mount);
    assert_eq!(folder_content(&data), before);
    let empty = tempfile::tempdir().unwrap();
    let _mount = Mount::read_only(empty.path());
    refuses(&Setup::default().data_dir(empty.path()).run_to_end(), &["cannot be written to"]);
    let new = empty.path().join("new");
    refuses(&Setup::default().data_dir(&new).run_to_end(), &["cannot be written to"]);
}

#[test]
fn folder_of_somebody_else_is_refused_and_not_changed() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("thesis.txt"), "mine\n").unwrap();
    let before = folder_content(home.path());
    refuses(&Setup::default().data_dir(home.path()).run_to_end(), &["thesis.txt", "--data-dir"]);
    assert_eq!(folder_content(home.path()), before);
    let file = home.path().join("thesis.txt");
    refuses(&Setup::default().data_dir(&file).run_to_end(), &["not a directory"]);
    assert_eq!(folder_content(home.path()), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn folder_that_lost_its_manifest_is_refused_and_not_changed() {
    let mut server = Server::start(Setup::default());
    server.client().append(unary("f", "x\n")).await.unwrap();
    assert!(server.terminate().success());
    fs::remove_file(server.data_dir().join("inkpot.toml")).unwrap();
    let before = folder_content(server.data_dir());
    refuses(&Setup::default().data_dir(server.data_dir()).run_to_end(), &["inkpot.toml", "backup"]);
    assert_eq!(folder_content(server.data_dir()), before);
}

#[test]
fn port_that_is_taken_is_refused_before_the_folder_is_touched() {
    let server = Server::start(Setup::default());
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let address = server.address().to_string();
    let ended = Setup::default().data_dir(&data).arg("--listen").arg(&address).run_to_end();
    refuses(&ended, &["cannot listen on", &address]);
    assert!(!data.exists());
}

/// Every fault of one configuration, and what must be said of it.
const FAULTS: [(&str, &str); 9] = [
    ("nonsense = 1", "nonsense"),
    ("listen = \"nowhere\"", "listen"),
    ("[wal]\nsegment_bytes = \"8 parsecs\"\nsegmnt_bytes = \"8MiB\"", "wal.segment_bytes"),
    ("", "wal.segmnt_bytes"),
    ("[flush]\nrecords = 0\ndelay = \"5 bananas\"", "flush.records"),
    ("", "flush.delay"),
    ("[tenant_defaults]\nwrites_in_flight = 0\nbytes_in_flight = 0", "tenant_defaults.writes_in_flight"),
    ("", "tenant_defaults.bytes_in_flight"),
    ("[memory]\nwrites_bytes = \"0B\"", "memory.writes_bytes"),
];

#[test]
fn all_faults_of_the_configuration_are_told_at_once() {
    let config: String = FAULTS.iter().map(|(text, _)| format!("{text}\n")).collect();
    for check in [true, false] {
        let setup = Setup::default().config(&config).env("INKPOT_SHARDS", "0").env("INKPOT_NO_SUCH_KEY", "1");
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        let setup = if check { setup.arg("--check-config") } else { setup };
        let ended = setup.data_dir(&data).run_to_end();
        let words = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(78), "{words}");
        for key in FAULTS.iter().map(|(_, key)| *key).chain(["shards", "INKPOT_NO_SUCH_KEY"]) {
            // The address comes from a flag here, which wins over the file.
            if key != "listen" {
                let told = words.lines().filter(|line| line.contains(key)).count();
                assert_eq!(told, 1, "{key} must be told once in: {words}");
            }
        }
        assert!(ended.stdout.is_empty() && !data.exists());
    }
}

#[test]
fn text_that_is_no_toml_names_the_place() {
    let ended = Setup::default().config("[wal\nx = 1").run_to_end();
    let words = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(78), "{words}");
    assert!(words.contains("inkpotd.toml") && words.contains("line 1"), "{words}");
}

#[test]
fn check_config_says_ok_and_dump_config_comes_back_the_same() {
    let config = "[files]\nfile_mode = \"0644\"\n[flush]\nrecords = 7\ndelay = \"3ms\"\n\
                  [tenants.red.limits]\nweight = 3\nflush = { bytes = \"64KiB\" }";
    let setup = || Setup::default().config(config).token("red", "red-token-0123456789");
    let checked = setup().arg("--check-config").run_to_end();
    assert_eq!((checked.status.code(), checked.stdout.as_slice()), (Some(0), b"ok\n".as_slice()));
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let first = setup().data_dir(&data).arg("--dump-config").run_to_end();
    assert_eq!(first.status.code(), Some(0));
    let text = String::from_utf8(first.stdout).unwrap();
    for line in ["file_mode = \"0644\"", "records = 7", "delay = \"3ms\"", "weight = 3"] {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
    let second = Setup::default().config(&text).data_dir(&data).arg("--dump-config").run_to_end();
    assert_eq!(second.status.code(), Some(0), "{}", String::from_utf8_lossy(&second.stderr));
    assert_eq!(String::from_utf8(second.stdout).unwrap(), text);
    assert!(!data.exists());
}

#[tokio::test]
async fn plain_files_have_the_mode_and_group_that_were_set() {
    use std::os::unix::fs::MetadataExt as _;
    let setup = Setup::default().config("[files]\nfile_mode = \"0664\"\ndir_mode = \"0775\"\ngroup = 4711");
    let server = Server::start(setup);
    server.client().append(unary("dir/f", "x\n")).await.unwrap();
    let plain = server.plain("dir/f");
    wait::until("the plain file", BOUND, || fs::metadata(&plain).is_ok_and(|metadata| metadata.len() == 2)).await;
    let (file, dir) = (fs::metadata(&plain).unwrap(), fs::metadata(server.plain("dir")).unwrap());
    assert_eq!((file.mode() & 0o7777, file.gid()), (0o664, 4711));
    assert_eq!((dir.mode() & 0o7777, dir.gid()), (0o775, 4711));
}

/// One shard with a small log, so that a small disk is enough.
fn small() -> Setup {
    Setup::default().arg("--shards").arg("1").config(
        "[limits]\nrecord_bytes = \"512KiB\"\nappend_bytes = \"512KiB\"\n[wal]\nsegment_bytes = \"1MiB\"\n\
         max_bytes = \"8MiB\"\n[checkpoint]\nwal_bytes = \"4MiB\"\ninterval = \"200ms\"\n\
         [apply]\nbudget_bytes = \"4MiB\"",
    )
}

fn record(seq: u64) -> Vec<u8> {
    (0..256 << 10_u32).map(|n: u32| (n as u64 * 31 + seq * 7) as u8).collect()
}

/// Appends until the disk is full; the seq that was refused.
async fn fill(session: &mut RawSession, mut seq: u64) -> u64 {
    loop {
        match session.write(1, seq, record(seq)).await {
            Ok(_) => seq += 1,
            Err(nack) => {
                assert_nack(&nack, 1, seq, Code::ResourceExhausted, Reason::DiskFull);
                return seq;
            }
        }
    }
}

async fn read_all(server: &Server, path: &str) -> Vec<u8> {
    let request = ReadRequest { path: path.into(), ..ReadRequest::default() };
    let mut stream = server.files().read(request).await.unwrap().into_inner();
    let mut bytes = Vec::new();
    while let Some(piece) = within(BOUND, "a piece", stream.message()).await.unwrap() {
        bytes.extend_from_slice(&piece.data);
    }
    bytes
}

/// Sends the refused append until it is taken.
async fn resume(session: &mut RawSession, seq: u64) {
    wait::until_async("writing resumes by itself", BOUND, async || match session.write(1, seq, record(seq)).await {
        Ok(_) => true,
        Err(nack) => {
            assert_nack(&nack, 1, seq, Code::ResourceExhausted, Reason::DiskFull);
            false
        }
    })
    .await;
}

#[tokio::test]
async fn full_disk_refuses_appends_serves_reads_and_resumes_by_itself() {
    let disk = Mount::small_disk(80 << 20);
    let ballast = disk.path().join("ballast");
    let server = Server::start(small().data_dir(disk.path().join("data")));
    fs::write(&ballast, vec![1; 30 * MIB]).unwrap();
    let mut session = server.session().await;
    session.opened(open_as(1, "f", "p", 1)).await;
    let refused = fill(&mut session, 1).await;
    assert!(refused > 8, "the disk was full after {refused} appends already");
    // What comes behind waits for it, calls are refused alike, and what was acked is there.
    session.append(append(1, refused + 1, record(refused + 1))).await;
    assert_nack(&session.nack(1).await, 1, refused + 1, Code::Aborted, Reason::EarlierSeqRefused);
    let status = server.client().append(unary("g", vec![1; 256 << 10])).await.unwrap_err();
    let detail = assert_refused(&status, Code::ResourceExhausted, Reason::DiskFull);
    assert!(detail.retry_after.is_some(), "{status:?}");
    let expected: Vec<u8> = (1..refused).flat_map(record).collect();
    assert!(read_all(&server, "f").await == expected, "acked bytes are not there");
    fs::remove_file(&ballast).unwrap();
    resume(&mut session, refused).await;
    for seq in refused + 1..=refused + 4 {
        session.write(1, seq, record(seq)).await.unwrap();
    }
    let expected: Vec<u8> = (1..=refused + 4).flat_map(record).collect();
    let plain = server.plain("f");
    wait::until("the plain file has everything", BOUND, || fs::read(&plain).is_ok_and(|bytes| bytes == expected)).await;
}

#[tokio::test]
async fn disk_without_a_byte_left_loses_nothing_over_a_kill() {
    let disk = Mount::small_disk(80 << 20);
    let ballast = disk.path().join("ballast");
    let mut server = Server::start(small().data_dir(disk.path().join("data")));
    let mut session = server.session().await;
    session.opened(open_as(1, "f", "p", 1)).await;
    for seq in 1..=40 {
        session.write(1, seq, record(seq)).await.unwrap();
    }
    // Another program takes every byte that is left.
    let mut taker = fs::File::create(&ballast).unwrap();
    while std::io::Write::write(&mut taker, &[1; 4096]).is_ok_and(|written| written > 0) {}
    let refused = fill(&mut session, 41).await;
    let expected: Vec<u8> = (1..refused).flat_map(record).collect();
    assert!(read_all(&server, "f").await == expected, "acked bytes are not there");
    server.kill9();
    server.restart();
    wait::until_async("reads are served again", BOUND, async || {
        server.files().stat(StatRequest { path: "f".into() }).await.is_ok()
    })
    .await;
    assert!(read_all(&server, "f").await == expected, "acked bytes are not there after the restart");
    drop(taker);
    fs::remove_file(&ballast).unwrap();
    let mut session = server.session().await;
    let opened = wait_for_open(&mut session).await;
    assert_eq!(opened, refused - 1);
    resume(&mut session, refused).await;
    let expected: Vec<u8> = (1..=refused).flat_map(record).collect();
    let plain = server.plain("f");
    wait::until("the plain file has everything", BOUND, || fs::read(&plain).is_ok_and(|bytes| bytes == expected)).await;
}

/// Opens file `f` as soon as the shard takes it; the last seq.
async fn wait_for_open(session: &mut RawSession) -> u64 {
    let mut last_seq = 0;
    wait::until_async("the shard is open", BOUND, async || match session.open(open_as(1, "f", "p", 1)).await {
        Ok(opened) => {
            last_seq = opened.last_seq;
            true
        }
        Err(_) => false,
    })
    .await;
    last_seq
}

#[test]
fn full_disk_at_the_first_start_is_refused_with_the_remedy() {
    let disk = Mount::small_disk(1 << 20);
    fs::write(disk.path().join("ballast"), vec![1; 900 << 10]).unwrap();
    let ended = Setup::default().data_dir(disk.path().join("data")).run_to_end();
    refuses(&ended, &["disk is full", "make space"]);
}

/// Writes to a file of its own until the session ends; the last seq that was acked.
async fn write_until_it_ends(mut session: RawSession, path: String) -> u64 {
    session.opened(open_as(1, &path, "p", 1)).await;
    let (mut seq, mut acked) = (0, 0);
    loop {
        if seq < acked + 50 {
            seq += 1;
            let frame = inkpot_proto::v1::write_request::Frame::Append(append(1, seq, format!("line {seq:06}\n")));
            if session.try_send(inkpot_proto::v1::WriteRequest { frame: Some(frame) }, BOUND).await.is_ok() {
                continue;
            }
        }
        match session.next().await {
            Ok(Some(Say::Ack(ack))) => acked = ack.through_seq,
            Ok(Some(Say::GoAway(_))) => session.half_close(),
            Ok(Some(Say::Nack(nack))) => assert_eq!(nack.reason(), Reason::Draining, "{nack:?}"),
            Ok(Some(other)) => panic!("{other:?}"),
            Ok(None) => return acked,
            Err(status) => {
                assert!([Code::Unavailable, Code::Unknown].contains(&status.code()), "{status:?}");
                return acked;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_exits_0_with_everything_acked_in_the_plain_files() {
    let mut server = Server::start(Setup::default());
    let mut writers = Vec::new();
    for number in 0..8 {
        writers.push(tokio::spawn(write_until_it_ends(server.session().await, format!("f{number}"))));
    }
    let plains: Vec<_> = (0..8).map(|number| server.plain(&format!("f{number}"))).collect();
    wait::until("all of them write", BOUND, || plains.iter().all(|f| fs::metadata(f).is_ok_and(|m| m.len() > 0))).await;
    let status = server.terminate();
    assert_eq!(status.code(), Some(0), "{}", server.stderr());
    for (writer, plain) in writers.into_iter().zip(plains) {
        let acked = writer.await.unwrap();
        assert!(acked > 0);
        let found = fs::read_to_string(&plain).unwrap();
        let count = found.len() as u64 / 12;
        assert!(count >= acked, "{acked} acked, {count} in the plain file");
        let expected: String = (1..=count).map(|seq| format!("line {seq:06}\n")).collect();
        assert!(found == expected, "the plain file is not the lines in order");
    }
    // A stop in order leaves nothing to do.
    server.restart();
    assert!(!server.stderr().contains("ERROR"), "{}", server.stderr());
}

#[test]
fn second_sigterm_exits_at_once_and_loses_nothing() {
    use rustix::process::Signal;
    // Its runtime stands still but for what is awaited: the connection never ends by itself.
    let client = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut server = Server::start(Setup::default().config("[shutdown]\ndrain = \"10m\""));
    let mut session = client.block_on(async {
        let mut session = server.session().await;
        session.opened(open_as(1, "f", "p", 1)).await;
        session.write(1, 1, "line\n").await.unwrap();
        session
    });
    server.signal(Signal::TERM);
    wait::until_blocking("it takes no more connections", BOUND, || {
        std::net::TcpStream::connect(server.address()).is_err()
    });
    assert!(server.is_running(), "it should wait for the session: {}", server.stderr());
    server.signal(Signal::TERM);
    let status = server.wait_for_end(Duration::from_secs(10));
    assert!(!status.success(), "{status}");
    server.restart();
    client.block_on(async {
        session.half_close();
        let mut session = server.session().await;
        assert_eq!(session.opened(open_as(1, "f", "p", 1)).await.last_seq, 1);
        assert_eq!(read_all(&server, "f").await, b"line\n");
    });
}
