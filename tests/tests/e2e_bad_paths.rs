//! Paths that no request may have, and names that are taken on disk by something that is no file of Inkpot: each is
//! refused with its code and reason on every way in, nothing comes to be on disk, and the server goes on.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::{
    AppendRequest, ErrorReason as Reason, GetWriteStateRequest, ListRequest, Nack, ReadRequest, StatRequest,
};
use inkpot_tests::{
    RawSession, Server, Setup,
    harness::{
        assert_nack, assert_refused,
        raw::{self, field},
        session::{append, open, open_as, unary},
        wait,
    },
};
use std::{collections::BTreeSet, fs, os::unix::fs::symlink, path::Path, process::Command, time::Duration};
use tonic::{Code, Status};

const OPEN_CHANNEL: u32 = 1;

/// Asks for a path on every way in: session, unary append, read, stat, write state.
struct Asker {
    server: Server,
    session: RawSession,
}

impl Asker {
    async fn start() -> Self {
        let server = Server::start(Setup::default());
        let session = server.session().await;
        Self { server, session }
    }

    async fn session_open(&mut self, path: &str) -> Nack {
        self.session.open(open(OPEN_CHANNEL, path)).await.expect_err(path)
    }

    async fn unary(&self, path: &str) -> Status {
        self.server.client().append(unary(path, "x")).await.expect_err(path)
    }

    async fn read(&self, path: &str) -> Status {
        let request = ReadRequest { path: path.to_owned(), ..ReadRequest::default() };
        match self.server.files().read(request).await {
            Err(status) => status,
            Ok(mut stream) => stream.get_mut().message().await.expect_err(path),
        }
    }

    async fn stat(&self, path: &str) -> Status {
        self.server.files().stat(StatRequest { path: path.to_owned() }).await.expect_err(path)
    }

    async fn write_state(&self, path: &str) -> Status {
        let request = GetWriteStateRequest { path: path.to_owned(), ..GetWriteStateRequest::default() };
        self.server.client().get_write_state(request).await.expect_err(path)
    }

    /// What both ways to write say of a path.
    async fn writes_are_refused(&mut self, path: &str, code: Code, reason: Reason) {
        assert_nack(&self.session_open(path).await, OPEN_CHANNEL, 0, code, reason);
        assert_refused(&self.unary(path).await, code, reason);
    }

    /// The server still does its work, on the same session and on calls.
    async fn goes_on(&mut self) {
        self.session.opened(open(77, "still/here")).await;
        let ack = self.session.write(77, 1, "ok\n").await.unwrap();
        let end = ack.end_offset.unwrap();
        assert_eq!(
            self.server.client().append(unary("still/here", "ok\n")).await.unwrap().get_ref().first_offset,
            Some(end)
        );
        self.session.finish(77).await.unwrap();
    }

    async fn listed(&self) -> Vec<String> {
        let page = self.server.files().list(ListRequest::default()).await.unwrap().into_inner();
        page.files.into_iter().map(|file| file.path).collect()
    }
}

/// Everything below a folder, with what it is.
fn tree(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let entry = entry.unwrap();
            found.insert(format!("{:?} {:?}", entry.path(), entry.file_type().unwrap()));
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
        }
    }
    found
}

fn bad_grammar() -> Vec<(&'static str, String)> {
    let deep = vec!["d"; 33].join("/");
    let long = vec!["x".repeat(200); 6].join("/");
    assert!(long.len() > 1024);
    let named = [
        ("empty", ""),
        ("parent", ".."),
        ("parent below", "../other/f"),
        ("parent inside", "a/../../x"),
        ("absolute", "/etc/passwd"),
        ("absolute, magic", "/proc/self/environ"),
        ("dot", "."),
        ("dot inside", "a/./b"),
        ("empty component", "a//b"),
        ("ends with a slash", "a/"),
        ("NUL", "a\0b"),
        ("NUL hides an end", "file\0.txt"),
        ("not NFC", "cafe\u{301}"),
        ("newline", "a\nb"),
        ("escape", "a\u{1b}[31mb"),
        ("delete", "a\u{7f}"),
        ("C1 control", "a\u{85}b"),
        ("backslash", "a\\b"),
        ("reserved", ".inkpot"),
        ("reserved prefix", ".inkpot-x/f"),
        ("reserved below", "a/.inkpot.tmp"),
    ];
    let mut all: Vec<_> = named.into_iter().map(|(what, path)| (what, path.to_owned())).collect();
    all.extend([("long component", "x".repeat(256)), ("long path", long), ("too deep", deep)]);
    all
}

#[tokio::test]
async fn path_that_breaks_the_grammar_is_invalid_path_on_every_way_in() {
    let mut asker = Asker::start().await;
    let before = tree(&asker.server.data_dir().join("files"));
    for (what, path) in bad_grammar() {
        println!("{what}: {path:?}");
        asker.writes_are_refused(&path, Code::InvalidArgument, Reason::InvalidPath).await;
        assert_refused(&asker.read(&path).await, Code::InvalidArgument, Reason::InvalidPath);
        assert_refused(&asker.stat(&path).await, Code::InvalidArgument, Reason::InvalidPath);
        assert_refused(&asker.write_state(&path).await, Code::InvalidArgument, Reason::InvalidPath);
    }
    assert_eq!(tree(&asker.server.data_dir().join("files")), before);
    assert_eq!(asker.listed().await, Vec::<String>::new());
    asker.goes_on().await;
}

#[tokio::test]
async fn longest_and_deepest_path_and_both_cases_of_a_name_are_taken() {
    let asker = Asker::start().await;
    let deepest = format!("{}/f", vec!["d"; 31].join("/"));
    // 4 times 255 and 3 slashes are 1023; one more component of a byte would be too long.
    let longest = ["a", "b", "c", "d"].map(|c| c.repeat(255)).join("/");
    for path in [deepest.as_str(), longest.as_str(), "Case", "case", "café", "..a", "a..b", " ", "-rf", "a b"] {
        asker.server.client().append(unary(path, path)).await.unwrap();
    }
    for path in [deepest.as_str(), longest.as_str(), "Case", "case", "café", "..a", "a..b", " ", "-rf", "a b"] {
        wait::until("the plain file has its bytes", Duration::from_secs(30), || {
            fs::read(asker.server.plain(path)).is_ok_and(|bytes| bytes == path.as_bytes())
        })
        .await;
    }
}

#[tokio::test]
async fn path_that_is_not_utf8_is_malformed_and_ends_only_its_stream() {
    let mut asker = Asker::start().await;
    let before = tree(&asker.server.data_dir().join("files"));
    let path = b"not\xff\xfeutf8";
    let calls = [
        ("/inkpot.v1.WriteService/Append", field(1, path)),
        ("/inkpot.v1.WriteService/GetWriteState", field(1, path)),
        ("/inkpot.v1.FileService/Stat", field(1, path)),
        ("/inkpot.v1.FileService/List", field(1, path)),
    ];
    for (method, message) in calls {
        let status = raw::unary(&asker.server, method, message).await.expect_err(method);
        assert_refused(&status, Code::InvalidArgument, Reason::MalformedMessage);
    }
    let streams =
        [("/inkpot.v1.FileService/Read", field(1, path)), ("/inkpot.v1.WriteService/Write", field(1, &field(2, path)))];
    for (method, message) in streams {
        let status = match raw::stream(&asker.server, None, method, vec![message]).await {
            Err(status) => status,
            Ok(mut stream) => stream.message().await.expect_err(method),
        };
        assert_refused(&status, Code::InvalidArgument, Reason::MalformedMessage);
    }
    assert_eq!(tree(&asker.server.data_dir().join("files")), before);
    asker.goes_on().await;
}

/// What the other program has put where.
struct Planted {
    outside: tempfile::TempDir,
}

impl Planted {
    /// In the folder of tenant `default`, which has to exist.
    fn plant(root: &Path) -> Self {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "secret\n").unwrap();
        fs::write(root.join("foreign"), "theirs\n").unwrap();
        fs::create_dir(root.join("directory")).unwrap();
        symlink(root.join("foreign"), root.join("link-to-file")).unwrap();
        symlink(root.join("directory"), root.join("link-to-directory")).unwrap();
        symlink(outside.path().join("secret"), root.join("link-out")).unwrap();
        symlink(outside.path(), root.join("link-out-directory")).unwrap();
        symlink(outside.path().join("not-there"), root.join("link-dangling")).unwrap();
        symlink("../other-tenant", root.join("link-to-tenant")).unwrap();
        fs::hard_link(outside.path().join("secret"), root.join("hard-link")).unwrap();
        assert!(Command::new("mkfifo").arg(root.join("fifo")).status().unwrap().success());
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
        Self { outside }
    }

    fn is_untouched(&self) {
        assert_eq!(fs::read(self.outside.path().join("secret")).unwrap(), b"secret\n");
        assert_eq!(fs::read_dir(self.outside.path()).unwrap().count(), 1);
    }
}

/// An asker whose tenant has its folder on disk.
async fn with_folder() -> Asker {
    let asker = Asker::start().await;
    asker.server.client().append(unary("file", "line\n")).await.unwrap();
    let plain = asker.server.plain("file");
    wait::until("the folder of the tenant", Duration::from_secs(30), || {
        fs::metadata(&plain).is_ok_and(|m| m.len() == 5)
    })
    .await;
    asker
}

#[tokio::test]
async fn name_taken_by_something_else_is_refused_for_writing_and_leaves_it_alone() {
    let mut asker = with_folder().await;
    let planted = Planted::plant(&asker.server.plain(""));
    let before = tree(&asker.server.plain(""));
    let cases = [
        ("link-to-file", Code::PermissionDenied, Reason::Symlink),
        ("link-to-directory", Code::PermissionDenied, Reason::Symlink),
        ("link-to-directory/f", Code::PermissionDenied, Reason::Symlink),
        ("link-out", Code::PermissionDenied, Reason::Symlink),
        ("link-out-directory/f", Code::PermissionDenied, Reason::Symlink),
        ("link-out-directory/secret", Code::PermissionDenied, Reason::Symlink),
        ("link-dangling", Code::PermissionDenied, Reason::Symlink),
        ("link-to-tenant/f", Code::PermissionDenied, Reason::Symlink),
        ("hard-link", Code::FailedPrecondition, Reason::NotAPlainFile),
        ("fifo", Code::FailedPrecondition, Reason::NotAPlainFile),
        ("socket", Code::FailedPrecondition, Reason::NotAPlainFile),
        ("directory", Code::FailedPrecondition, Reason::IsADirectory),
        ("foreign", Code::FailedPrecondition, Reason::ForeignChange),
        ("foreign/f", Code::FailedPrecondition, Reason::NotADirectory),
        ("file/f", Code::FailedPrecondition, Reason::NotADirectory),
        ("fifo/f", Code::FailedPrecondition, Reason::NotADirectory),
    ];
    for (path, code, reason) in cases {
        println!("{path}");
        asker.writes_are_refused(path, code, reason).await;
    }
    planted.is_untouched();
    assert_eq!(tree(&asker.server.plain("")), before);
    assert_eq!(fs::read(asker.server.plain("foreign")).unwrap(), b"theirs\n");
    assert_eq!(asker.listed().await, ["file"]);
    asker.goes_on().await;
}

#[tokio::test]
async fn name_taken_by_something_else_shows_nothing_to_a_reader() {
    let asker = with_folder().await;
    let planted = Planted::plant(&asker.server.plain(""));
    let paths = [
        "link-to-file",
        "link-out",
        "link-out-directory/secret",
        "hard-link",
        "fifo",
        "directory",
        "foreign",
        "file/f",
    ];
    for path in paths {
        println!("{path}");
        assert_refused(&asker.read(path).await, Code::NotFound, Reason::FileNotFound);
        assert_refused(&asker.stat(path).await, Code::NotFound, Reason::FileNotFound);
    }
    planted.is_untouched();
}

#[tokio::test]
async fn file_and_directory_of_one_name_are_told_apart_before_any_ack() {
    let mut asker = Asker::start().await;
    // Not yet in the plain files: the server has to know by itself.
    asker.session.opened(open_as(2, "log", "p", 1)).await;
    asker.session.append(append(2, 1, "one\n")).await;
    asker.session.acked(2, 1).await.unwrap();
    asker.writes_are_refused("log/below", Code::FailedPrecondition, Reason::NotADirectory).await;
    asker.session.opened(open_as(3, "dir/sub/file", "p", 1)).await;
    asker.session.write(3, 1, "one\n").await.unwrap();
    for path in ["dir", "dir/sub"] {
        asker.writes_are_refused(path, Code::FailedPrecondition, Reason::IsADirectory).await;
    }
    asker.session.write(2, 2, "two\n").await.unwrap();
    asker.session.write(3, 2, "two\n").await.unwrap();
    assert_eq!(asker.listed().await, ["dir/sub/file", "log"]);
}

#[tokio::test]
async fn two_opens_of_a_name_as_file_and_as_directory_come_to_one_file() {
    let mut asker = Asker::start().await;
    // Both before any bytes: the first append decides.
    asker.session.opened(open(2, "x")).await;
    match asker.session.open(open(3, "x/y")).await {
        Err(nack) => {
            assert_nack(&nack, 3, 0, Code::FailedPrecondition, Reason::NotADirectory);
            asker.session.write(2, 1, "file\n").await.unwrap();
        }
        Ok(_) => {
            asker.session.write(2, 1, "file\n").await.unwrap();
            asker.session.append(append(3, 1, "below\n")).await;
            let nack = asker.session.nack(3).await;
            assert_nack(&nack, 3, 1, Code::FailedPrecondition, Reason::NotADirectory);
        }
    }
    let plain = asker.server.plain("x");
    wait::until("the plain file", Duration::from_secs(30), || fs::read(&plain).is_ok_and(|bytes| bytes == b"file\n"))
        .await;
    let request = AppendRequest { producer_id: "p".into(), producer_epoch: 1, seq: 1, ..unary("x/y", "below\n") };
    let status = asker.server.client().append(request).await.unwrap_err();
    assert_refused(&status, Code::FailedPrecondition, Reason::NotADirectory);
}
