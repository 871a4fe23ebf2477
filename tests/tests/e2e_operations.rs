//! Delete and Rename: what is there afterwards, in answers and in the directory tree, over restarts; and what is refused.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::{AppendRequest, DeleteRequest, ErrorReason as Reason, RenameRequest};
use inkpot_tests::{
    Server, Setup,
    harness::{
        PATIENCE, assert_nack, assert_refused,
        files::{assert_absent, assert_content, list, plain_files, stat, write_state},
        operate::{Operation, delete, rename},
        session::{append, open, open_as, unary},
        upload::create,
        wait,
    },
};
use std::fs;
use tonic::Code;

const PRECONDITION: Code = Code::FailedPrecondition;

async fn write(server: &Server, path: &str, data: &str) -> u64 {
    server.client().append(unary(path, data)).await.unwrap().into_inner().generation
}

/// With all files in one shard, and with shards enough that a rename goes from one to another.
fn one_shard_and_many() -> [Setup; 2] {
    ["1", "4"].map(|shards| Setup::default().arg("--shards").arg(shards))
}

#[tokio::test]
async fn deleted_file_is_gone_and_its_path_begins_anew() {
    let mut server = Server::start(Setup::default());
    let first = write(&server, "logs/app.log", "first\n").await;
    write(&server, "logs/other.log", "other\n").await;
    assert!(!delete("logs/app.log").on(&server).await.unwrap().duplicate);
    assert_absent(&server, "logs/app.log").await;
    assert_refused(&delete("logs/app.log").on(&server).await.unwrap_err(), Code::NotFound, Reason::FileNotFound);
    let ack = server.client().append(unary("logs/app.log", "second\n")).await.unwrap().into_inner();
    assert_eq!((ack.first_offset, ack.end_offset), (Some(0), Some(7)));
    assert_ne!(ack.generation, first);
    assert_content(&server, "logs/app.log", b"second\n").await;
    delete("logs/other.log").on(&server).await.unwrap();
    server.kill9();
    server.restart();
    assert_absent(&server, "logs/other.log").await;
    assert_eq!(assert_content(&server, "logs/app.log", b"second\n").await.generation, ack.generation);
    assert_refused(&delete("logs/other.log").on(&server).await.unwrap_err(), Code::NotFound, Reason::FileNotFound);
}

#[tokio::test]
async fn what_is_not_a_file_is_not_deleted() {
    let server = Server::start(Setup::default());
    write(&server, "dir/f", "x\n").await;
    write(&server, "dir/deeper/f", "x\n").await;
    for path in ["dir", "dir/deeper"] {
        let status = delete(path).on(&server).await.unwrap_err();
        assert_refused(&status, PRECONDITION, Reason::DirectoryNotEmpty);
    }
    for path in ["nothing", "dir/nothing", "dir/f/below", "nothing/at/all"] {
        assert_refused(&delete(path).on(&server).await.unwrap_err(), Code::NotFound, Reason::FileNotFound);
    }
    assert_refused(&delete("../f").on(&server).await.unwrap_err(), Code::InvalidArgument, Reason::InvalidPath);
    // An upload that is not published is no file.
    let mut session = server.session().await;
    session.opened(create(1, "upload")).await;
    assert_refused(&delete("upload").on(&server).await.unwrap_err(), Code::NotFound, Reason::FileNotFound);
    session.write(1, 1, "x").await.unwrap();
    session.finish(1).await.unwrap();
    assert_content(&server, "upload", b"x").await;
    assert_content(&server, "dir/f", b"x\n").await;
    assert_content(&server, "dir/deeper/f", b"x\n").await;
}

#[tokio::test]
async fn delete_and_rename_ask_for_the_generation() {
    for setup in one_shard_and_many() {
        let server = Server::start(setup);
        let generation = write(&server, "f", "x\n").await;
        for wrong in [0, generation - 1, generation ^ 1] {
            let request = DeleteRequest { if_generation: Some(wrong), ..delete("f") };
            assert_refused(&request.on(&server).await.unwrap_err(), PRECONDITION, Reason::GenerationChanged);
            for to in ["to-1", "to-2", "to-3", "f"] {
                let request = RenameRequest { if_generation: Some(wrong), ..rename("f", to) };
                assert_refused(&request.on(&server).await.unwrap_err(), PRECONDITION, Reason::GenerationChanged);
            }
        }
        assert_content(&server, "f", b"x\n").await;
        let request = RenameRequest { if_generation: Some(generation), ..rename("f", "to-1") };
        let renamed = request.on(&server).await.unwrap().generation;
        DeleteRequest { if_generation: Some(renamed), ..delete("to-1") }.on(&server).await.unwrap();
        assert_eq!(list(&server).await, [] as [String; 0]);
    }
}

#[tokio::test]
async fn append_channels_of_a_deleted_file_are_told_and_may_begin_anew() {
    let server = Server::start(Setup::default());
    let mut session = server.session().await;
    session.opened(open_as(1, "f", "p", 4)).await;
    session.opened(open(2, "f")).await;
    session.write(1, 1, "one\n").await.unwrap();
    session.write(2, 1, "nameless\n").await.unwrap();
    delete("f").on(&server).await.unwrap();
    for (channel, seq) in [(1, 2), (2, 2)] {
        session.append(append(channel, seq, "too late\n")).await;
        assert_nack(&session.nack(channel).await, channel, seq, PRECONDITION, Reason::GenerationChanged);
        session.finish(channel).await.unwrap();
    }
    assert_absent(&server, "f").await;
    // What the producer had committed is still known: a lost ack does not become a second copy.
    let opened = session.opened(open_as(1, "f", "p", 4)).await;
    assert_eq!((opened.generation == 0, opened.last_seq, opened.next_offset), (true, 1, 0), "{opened:?}");
    session.write(1, 1, "one\n").await.map(|ack| assert_eq!(ack.duplicates, 1)).unwrap();
    assert_absent(&server, "f").await;
    let nack = session.open(open_as(3, "f", "p", 3)).await.unwrap_err();
    assert_nack(&nack, 3, 0, PRECONDITION, Reason::ProducerFenced);
    let ack = session.write(1, 2, "two\n").await.unwrap();
    assert_eq!((ack.first_offset, ack.duplicates), (Some(0), 0));
    assert_content(&server, "f", b"two\n").await;
}

#[tokio::test]
async fn empty_directories_do_not_pile_up() {
    let mut server = Server::start(Setup::default());
    for path in ["a/b/c/one", "a/b/two", "a/three"] {
        write(&server, path, "x\n").await;
        assert_content(&server, path, b"x\n").await;
    }
    let is_dir = |server: &Server, path: &str| server.plain(path).is_dir();
    delete("a/b/c/one").on(&server).await.unwrap();
    wait::until("a/b/c has gone", PATIENCE, || !is_dir(&server, "a/b/c")).await;
    assert!(is_dir(&server, "a/b"), "it has a file");
    rename("a/b/two", "moved/away/two").on(&server).await.unwrap();
    wait::until("a/b has gone", PATIENCE, || !is_dir(&server, "a/b")).await;
    assert_content(&server, "a/three", b"x\n").await;
    // The names are free: for a file too, and for a directory again.
    write(&server, "a/b", "a file\n").await;
    assert_content(&server, "a/b", b"a file\n").await;
    delete("a/b").on(&server).await.unwrap();
    write(&server, "a/b/c/one", "again\n").await;
    assert_content(&server, "a/b/c/one", b"again\n").await;
    for path in ["a/b/c/one", "a/three", "moved/away/two"] {
        delete(path).on(&server).await.unwrap();
    }
    let files = server.data_dir().join("files/default");
    let is_empty = || fs::read_dir(&files).is_ok_and(|mut entries| entries.next().is_none());
    wait::until("the tree is empty", PATIENCE, is_empty).await;
    server.kill9();
    server.restart();
    write(&server, "a/b/c/one", "again\n").await;
    assert_content(&server, "a/b/c/one", b"again\n").await;
}

#[tokio::test]
async fn renamed_file_has_its_content_producers_and_nothing_at_its_old_path() {
    for setup in one_shard_and_many() {
        let mut server = Server::start(setup);
        for to in ["g", "other/dir/g", "dir/g", "dir/f.2", "x/1", "x/2"] {
            println!("{to}");
            let mut session = server.session().await;
            session.opened(open_as(1, "dir/f", "p", 2)).await;
            let opened_at = session.write(1, 1, "one\n").await.unwrap().generation;
            let renamed = rename("dir/f", to).on(&server).await.unwrap();
            assert!(!renamed.duplicate && renamed.generation > 0, "{renamed:?}, {opened_at} before");
            assert_absent(&server, "dir/f").await;
            assert_eq!(assert_content(&server, to, b"one\n").await.generation, renamed.generation);
            session.append(append(1, 2, "too late\n")).await;
            assert_nack(&session.nack(1).await, 1, 2, PRECONDITION, Reason::GenerationChanged);
            let state = write_state(&server, to, "p").await;
            assert_eq!((state.known, state.epoch, state.last_seq), (true, 2, 1), "{state:?}");
            server.kill9();
            server.restart();
            assert_absent(&server, "dir/f").await;
            let call = AppendRequest { producer_id: "p".into(), producer_epoch: 2, ..unary(to, "one\n") };
            let again = server.client().append(AppendRequest { seq: 1, ..call.clone() }).await.unwrap().into_inner();
            assert_eq!((again.duplicate, again.first_offset), (true, Some(0)), "{again:?}");
            let next = AppendRequest { seq: 2, ..call };
            let next = server.client().append(next).await.unwrap().into_inner();
            assert_eq!((next.duplicate, next.first_offset), (false, Some(4)), "{next:?}");
            assert_content(&server, to, b"one\none\n").await;
            // The old path begins anew, for a new producer of that name too.
            write(&server, "dir/f", "new\n").await;
            assert_content(&server, "dir/f", b"new\n").await;
            delete("dir/f").on(&server).await.unwrap();
            delete(to).on(&server).await.unwrap();
        }
        wait::until("the tree is empty", PATIENCE, || plain_files(&server).is_empty()).await;
    }
}

#[tokio::test]
async fn rename_replaces_only_if_asked() {
    for setup in one_shard_and_many() {
        let mut server = Server::start(setup);
        for to in ["to-1", "to-2", "to/3"] {
            let old = write(&server, to, "old\n").await;
            write(&server, "from", "new\n").await;
            assert_refused(&rename("from", to).on(&server).await.unwrap_err(), Code::AlreadyExists, Reason::FileExists);
            assert_content(&server, "from", b"new\n").await;
            assert_content(&server, to, b"old\n").await;
            let mut session = server.session().await;
            session.opened(open(1, to)).await;
            let renamed = RenameRequest { replace: true, ..rename("from", to) }.on(&server).await.unwrap();
            assert_ne!(renamed.generation, old);
            session.append(append(1, 1, "too late\n")).await;
            assert_nack(&session.nack(1).await, 1, 1, PRECONDITION, Reason::GenerationChanged);
            assert_absent(&server, "from").await;
            assert_content(&server, to, b"new\n").await;
            server.kill9();
            server.restart();
            assert_absent(&server, "from").await;
            assert_content(&server, to, b"new\n").await;
        }
    }
}

#[tokio::test]
async fn rename_to_where_no_file_can_be_is_refused_and_changes_nothing() {
    for setup in one_shard_and_many() {
        let server = Server::start(setup);
        let generation = write(&server, "f", "x\n").await;
        write(&server, "dir/g", "x\n").await;
        for replace in [false, true] {
            for (to, code, reason) in [
                ("dir", PRECONDITION, Reason::IsADirectory),
                ("dir/g/below", PRECONDITION, Reason::NotADirectory),
                ("f/below", PRECONDITION, Reason::NotADirectory),
                ("f/far/below", PRECONDITION, Reason::NotADirectory),
                ("a/../b", Code::InvalidArgument, Reason::InvalidPath),
                ("", Code::InvalidArgument, Reason::InvalidPath),
            ] {
                println!("{to}, replace: {replace}");
                let request = RenameRequest { replace, ..rename("f", to) };
                assert_refused(&request.on(&server).await.unwrap_err(), code, reason);
            }
            let request = RenameRequest { replace, ..rename("nothing", "to") };
            assert_refused(&request.on(&server).await.unwrap_err(), Code::NotFound, Reason::FileNotFound);
            // Its own path is no other.
            let itself = RenameRequest { replace, ..rename("f", "f") }.on(&server).await.unwrap();
            assert_eq!(itself.generation, generation);
        }
        assert_content(&server, "f", b"x\n").await;
        assert_content(&server, "dir/g", b"x\n").await;
        assert_eq!(list(&server).await, ["dir/g", "f"]);
        assert_eq!(stat(&server, "f").await.unwrap().generation, generation);
    }
}

#[tokio::test]
async fn files_change_places_by_way_of_a_third_path() {
    for setup in one_shard_and_many() {
        let mut server = Server::start(setup);
        write(&server, "a", "was a\n").await;
        write(&server, "b", "was b\n").await;
        for (from, to) in [("a", "third"), ("b", "a"), ("third", "b")] {
            rename(from, to).on(&server).await.unwrap();
        }
        for restarted in [false, true] {
            println!("restarted: {restarted}");
            assert_content(&server, "a", b"was b\n").await;
            assert_content(&server, "b", b"was a\n").await;
            assert_absent(&server, "third").await;
            server.kill9();
            server.restart();
        }
    }
}
