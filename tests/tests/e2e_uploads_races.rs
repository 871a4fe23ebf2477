//! Uploads and what happens to their path meanwhile: other uploads, appends, conditions, renames, deletions.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::{ErrorReason as Reason, FinishAction, Open, RenameRequest};
use inkpot_tests::{
    Server, Setup,
    harness::{
        assert_nack, assert_refused,
        files::{assert_absent, assert_content, stat, write_state},
        operate::{Operation, delete, operator, rename, seal, truncate},
        session::{append, finish, open, open_as, unary},
        upload::{bytes, create, create_as, replace, replace_as, send_chunks},
    },
};
use tonic::Code;

const PRECONDITION: Code = Code::FailedPrecondition;

async fn write(server: &Server, path: &str, data: &str) -> u64 {
    server.client().append(unary(path, data)).await.unwrap().into_inner().generation
}

#[tokio::test]
async fn create_on_a_path_that_is_taken_is_refused_at_once() {
    let server = Server::start(Setup::default());
    write(&server, "dir/f", "x\n").await;
    let mut session = server.session().await;
    for producer in ["", "p"] {
        for (path, code, reason) in [
            ("dir/f", Code::AlreadyExists, Reason::FileExists),
            ("dir", PRECONDITION, Reason::IsADirectory),
            ("dir/f/below", PRECONDITION, Reason::NotADirectory),
        ] {
            let nack = session.open(create_as(1, path, producer, 0)).await.unwrap_err();
            assert_nack(&nack, 1, 0, code, reason);
        }
        for (path, reason) in [("dir", Reason::IsADirectory), ("dir/f/below", Reason::NotADirectory)] {
            let nack = session.open(replace_as(1, path, producer, 0)).await.unwrap_err();
            assert_nack(&nack, 1, 0, PRECONDITION, reason);
        }
    }
    // None of these is kept as an upload.
    assert!(!write_state(&server, "dir/f", "p").await.upload);
}

#[tokio::test]
async fn of_two_creations_the_first_to_finish_wins() {
    let server = Server::start(Setup::default());
    let mut one = server.session().await;
    let mut two = server.session().await;
    one.opened(create_as(1, "f", "one", 1)).await;
    two.opened(create_as(1, "f", "two", 1)).await;
    one.write(1, 1, "one").await.unwrap();
    two.write(1, 1, "two").await.unwrap();
    two.finish(1).await.unwrap();
    let nack = one.finish(1).await.unwrap_err();
    assert_nack(&nack, 1, 0, Code::AlreadyExists, Reason::FileExists);
    assert_content(&server, "f", b"two").await;
    // It is not lost: if the path becomes free, it may still be published.
    delete("f").on(&server).await.unwrap();
    let opened = one.opened(create_as(1, "f", "one", 1)).await;
    assert_eq!((opened.upload, opened.published, opened.next_offset), (true, false, 3), "{opened:?}");
    one.finish(1).await.unwrap();
    assert_content(&server, "f", b"one").await;
}

#[tokio::test]
async fn of_two_replacements_the_last_to_finish_stays() {
    let mut server = Server::start(Setup::default());
    write(&server, "f", "old").await;
    let mut session = server.session().await;
    session.opened(replace_as(1, "f", "one", 1)).await;
    session.opened(replace_as(2, "f", "two", 1)).await;
    session.opened(replace(3, "f")).await;
    for (channel, content) in [(1, "one"), (2, "two"), (3, "three")] {
        session.write(channel, 1, content).await.unwrap();
    }
    let mut generations = Vec::new();
    for (channel, content) in [(2, "two"), (3, "three"), (1, "one")] {
        generations.push(session.finish(channel).await.unwrap().generation);
        let info = assert_content(&server, "f", content.as_bytes()).await;
        assert_eq!(info.generation, *generations.last().unwrap());
    }
    generations.sort_unstable();
    generations.dedup();
    assert_eq!(generations.len(), 3, "each is a generation of its own");
    server.kill9();
    server.restart();
    assert_content(&server, "f", b"one").await;
}

#[tokio::test]
async fn append_channels_go_on_in_the_new_content_with_what_they_had_counted() {
    let server = Server::start(Setup::default());
    let mut session = server.session().await;
    session.opened(open_as(1, "f", "p", 2)).await;
    session.opened(open(2, "f")).await;
    for seq in 1..=3 {
        session.write(1, seq, "line\n").await.unwrap();
    }
    session.write(2, 1, "nameless\n").await.unwrap();
    session.opened(replace_as(3, "f", "uploader", 1)).await;
    session.write(3, 1, "new\n").await.unwrap();
    // Until it is published the old content goes on.
    session.write(1, 4, "line\n").await.unwrap();
    let generation = session.finish(3).await.unwrap().generation;
    for (channel, seq) in [(1, 5), (2, 2)] {
        session.append(append(channel, seq, "too late\n")).await;
        assert_nack(&session.nack(channel).await, channel, seq, PRECONDITION, Reason::GenerationChanged);
        session.append(append(channel, seq + 1, "too late\n")).await;
        let nack = session.nack(channel).await;
        assert!(matches!(nack.reason(), Reason::GenerationChanged | Reason::EarlierSeqRefused), "{nack:?}");
        session.finish(channel).await.unwrap();
    }
    let opened = session.opened(open_as(1, "f", "p", 2)).await;
    assert_eq!((opened.generation, opened.last_seq, opened.next_offset), (generation, 4, 4), "{opened:?}");
    let again = session.write(1, 4, "line\n").await.unwrap();
    assert_eq!(again.duplicates, 1, "it was acked in the content before: {again:?}");
    let ack = session.write(1, 5, "line 5\n").await.unwrap();
    assert_eq!((ack.first_offset, ack.generation), (Some(4), generation));
    assert_content(&server, "f", b"new\nline 5\n").await;
}

#[tokio::test]
async fn generation_is_asked_for_at_open_and_again_at_finish() {
    let server = Server::start(Setup::default());
    let generation = write(&server, "f", "old\n").await;
    let mut session = server.session().await;
    let asking = |channel, generation, producer: &str| Open {
        if_generation: Some(generation),
        ..replace_as(channel, "f", producer, u64::from(!producer.is_empty()))
    };
    for wrong in [0, generation ^ 1] {
        let nack = session.open(asking(1, wrong, "")).await.unwrap_err();
        assert_nack(&nack, 1, 0, PRECONDITION, Reason::GenerationChanged);
    }
    // It is the same at both times: published. An append in between is no new generation.
    session.opened(asking(1, generation, "one")).await;
    session.opened(asking(2, generation, "two")).await;
    session.opened(asking(3, generation, "")).await;
    for channel in 1..=3 {
        session.write(channel, 1, format!("content {channel}\n")).await.unwrap();
    }
    write(&server, "f", "more\n").await;
    session.finish(1).await.unwrap();
    assert_content(&server, "f", b"content 1\n").await;
    // It is another one meanwhile: refused.
    for channel in [2, 3] {
        let nack = session.finish(channel).await.unwrap_err();
        assert_nack(&nack, channel, 0, PRECONDITION, Reason::GenerationChanged);
    }
    assert_content(&server, "f", b"content 1\n").await;
    // 0 stands for no file.
    let absent = |channel, path: &str| Open { if_generation: Some(0), ..replace(channel, path) };
    for (channel, path) in [(4, "free"), (5, "taken")] {
        session.opened(absent(channel, path)).await;
        session.write(channel, 1, "upload\n").await.unwrap();
    }
    write(&server, "taken", "append\n").await;
    session.finish(4).await.unwrap();
    assert_content(&server, "free", b"upload\n").await;
    let nack = session.finish(5).await.unwrap_err();
    assert_nack(&nack, 5, 0, PRECONDITION, Reason::GenerationChanged);
    assert_content(&server, "taken", b"append\n").await;
}

#[tokio::test]
async fn rename_onto_the_path_of_an_open_upload_takes_it() {
    for shards in ["1", "4"] {
        let server = Server::start(Setup::default().arg("--shards").arg(shards));
        for to in ["to-1", "to-2", "dir/to-3"] {
            write(&server, "from", "renamed\n").await;
            let mut session = server.session().await;
            session.opened(create_as(1, to, "creating", 1)).await;
            session.opened(replace_as(2, to, "replacing", 1)).await;
            session.write(1, 1, "created\n").await.unwrap();
            session.write(2, 1, "replaced\n").await.unwrap();
            rename("from", to).on(&server).await.unwrap();
            assert_content(&server, to, b"renamed\n").await;
            let nack = session.finish(1).await.unwrap_err();
            assert_nack(&nack, 1, 0, Code::AlreadyExists, Reason::FileExists);
            assert_content(&server, to, b"renamed\n").await;
            session.write(2, 2, "more\n").await.unwrap();
            session.finish(2).await.unwrap();
            assert_content(&server, to, b"replaced\nmore\n").await;
            assert_absent(&server, "from").await;
        }
    }
}

#[tokio::test]
async fn delete_rename_and_cut_during_an_upload_leave_it_alone() {
    let mut server = Server::start(Setup::default());
    for (path, restarts) in
        [("deleted", false), ("renamed", false), ("cut", false), ("sealed", false), ("deleted", true)]
    {
        println!("{path}, restarts: {restarts}");
        write(&server, path, "old\n").await;
        let sent = bytes(7, 50_000);
        let mut session = server.session().await;
        session.opened(replace_as(1, path, "p", 1 + u64::from(restarts))).await;
        send_chunks(&mut session, 1, 1, sent[..30_000].chunks(9_000)).await.unwrap();
        match path {
            "deleted" => _ = delete(path).on(&server).await.unwrap(),
            "renamed" => _ = rename(path, "elsewhere").on(&server).await.unwrap(),
            "cut" => _ = truncate(path, 1).on(&server).await.unwrap(),
            _ => _ = seal(path).on(&server).await.unwrap(),
        }
        if restarts {
            server.kill9();
            server.restart();
            session = server.session().await;
            let opened = session.opened(replace_as(1, path, "p", 2)).await;
            assert_eq!((opened.last_seq, opened.next_offset), (4, 30_000));
        }
        send_chunks(&mut session, 1, 5, sent[30_000..].chunks(9_000)).await.unwrap();
        session.finish(1).await.unwrap();
        assert!(!assert_content(&server, path, &sent).await.sealed);
    }
    assert_content(&server, "elsewhere", b"old\n").await;
}

#[tokio::test]
async fn directory_or_file_that_comes_in_the_way_of_an_upload_is_found_at_finish() {
    let server = Server::start(Setup::default());
    let mut session = server.session().await;
    session.opened(create_as(1, "a", "p", 1)).await;
    session.opened(create_as(2, "b/c", "p", 1)).await;
    session.write(1, 1, "upload").await.unwrap();
    session.write(2, 1, "upload").await.unwrap();
    write(&server, "a/file", "below").await;
    write(&server, "b", "above").await;
    assert_nack(&session.finish(1).await.unwrap_err(), 1, 0, PRECONDITION, Reason::IsADirectory);
    assert_nack(&session.finish(2).await.unwrap_err(), 2, 0, PRECONDITION, Reason::NotADirectory);
    delete("a/file").on(&server).await.unwrap();
    delete("b").on(&server).await.unwrap();
    session.opened(create_as(1, "a", "p", 1)).await;
    session.opened(create_as(2, "b/c", "p", 1)).await;
    session.finish(1).await.unwrap();
    session.finish(2).await.unwrap();
    assert_content(&server, "a", b"upload").await;
    assert_content(&server, "b/c", b"upload").await;
}

#[tokio::test]
async fn deleted_after_publishing_the_upload_is_over() {
    let server = Server::start(Setup::default());
    let mut session = server.session().await;
    session.opened(create_as(1, "f", "p", 1)).await;
    session.write(1, 1, "upload").await.unwrap();
    session.finish(1).await.unwrap();
    rename("f", "g").on(&server).await.unwrap();
    // The path is free: the same producer may fill it again, and what it had published stays where it is now.
    let opened = session.opened(create_as(1, "f", "p", 2)).await;
    assert!(opened.upload && !opened.published, "{opened:?}");
    session.write(1, 1, "again").await.unwrap();
    session.finish(1).await.unwrap();
    assert_content(&server, "f", b"again").await;
    assert_content(&server, "g", b"upload").await;
}

#[tokio::test]
async fn operation_on_the_path_counts_for_the_file_and_not_for_the_upload() {
    let server = Server::start(Setup::default());
    write(&server, "f", "old").await;
    let mut session = server.session().await;
    session.opened(replace_as(1, "f", "p", 1)).await;
    session.write(1, 1, "upload").await.unwrap();
    let request = RenameRequest { operator: operator("other", 1, 1), ..rename("f", "g") };
    request.on(&server).await.unwrap();
    let request = RenameRequest { replace: true, ..rename("f", "g") };
    assert_refused(&request.on(&server).await.unwrap_err(), Code::NotFound, Reason::FileNotFound);
    session.end(finish(1, FinishAction::LeaveOpen)).await.unwrap();
    let state = write_state(&server, "f", "p").await;
    assert_eq!((state.upload, state.last_seq, state.next_offset), (true, 1, 6), "{state:?}");
    assert!(stat(&server, "f").await.is_err());
    session.opened(create(2, "h")).await;
    session.end(finish(2, FinishAction::Abort)).await.unwrap();
}
