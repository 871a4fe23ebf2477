//! What a tenant may store: appends, uploads and files are refused at the limit, exactly, and what goes makes room again,
//! over restarts too.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::{AppendRequest, ErrorReason as Reason, FinishAction, RenameRequest};
use inkpot_tests::{
    RawSession, Server, Setup,
    harness::{
        PATIENCE, assert_nack, assert_refused,
        files::{assert_absent, assert_content, staged_files},
        operate::{Operation, delete, rename, seal, truncate},
        session::{append, finish, open_as, unary},
        upload::{create, create_as, replace_as, send_chunks},
        wait,
    },
};
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_types::StatusExt as _;

const EXHAUSTED: Code = Code::ResourceExhausted;
/// The least that a limit may be, as the appends are set.
const LIMIT: usize = 1_000;

/// A server on which the tenant may store [`LIMIT`] bytes and as many files as given.
fn limited(files: u32) -> Setup {
    Setup::default().config(&format!(
        "[limits]\nrecord_bytes = \"{LIMIT}B\"\nappend_bytes = \"{LIMIT}B\"\n[uploads]\nper_tenant = 3\n\
         [checkpoint]\ninterval = \"300ms\"\n[tenants.default.limits]\nstored_bytes = \"{LIMIT}B\"\nfiles = {files}\n"
    ))
}

async fn write(server: &Server, path: &str, bytes: usize) -> Result<(), Status> {
    server.client().append(unary(path, vec![b'x'; bytes])).await.map(|_| ())
}

/// Waits until each shard has counted what it stores: a server listens before that.
async fn all_shards_serve(server: &Server) {
    let mut health = HealthClient::new(server.channel());
    for shard in 0..4 {
        wait::until_async(&format!("shard {shard} serves"), PATIENCE, async || {
            let request = HealthCheckRequest { service: format!("inkpot.v1.shard-{shard:04}") };
            health.check(request).await.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::Serving)
        })
        .await;
    }
}

#[track_caller]
fn assert_over(status: &Status, limit: &str) {
    assert_refused(status, EXHAUSTED, Reason::QuotaExceeded);
    let quota = status.get_details_quota_failure().unwrap();
    assert!(quota.violations[0].subject.contains(limit), "{quota:?}");
    assert!(status.message().contains(limit), "{status:?}");
}

/// Asserts that there is room for exactly so many bytes; leaves the file as it was.
async fn assert_room(server: &Server, bytes: usize) {
    if bytes < LIMIT {
        assert_over(&write(server, "probe", bytes + 1).await.unwrap_err(), "stored_bytes");
    }
    if bytes > 0 {
        write(server, "probe", bytes).await.unwrap();
        assert_over(&write(server, "probe", 1).await.unwrap_err(), "stored_bytes");
        delete("probe").on(server).await.unwrap();
    }
}

#[tokio::test]
async fn stored_bytes_are_exact_through_every_operation() {
    let mut server = Server::start(limited(100));
    write(&server, "f", 300).await.unwrap();
    assert_room(&server, 700).await;
    write(&server, "dir/g", 200).await.unwrap();
    assert_room(&server, 500).await;
    truncate("f", 100).on(&server).await.unwrap();
    assert_room(&server, 700).await;
    rename("f", "h").on(&server).await.unwrap();
    assert_room(&server, 700).await;
    RenameRequest { replace: true, ..rename("dir/g", "h") }.on(&server).await.unwrap();
    assert_room(&server, 800).await;
    let mut session = server.session().await;
    session.opened(replace_as(1, "h", "p", 1)).await;
    session.write(1, 1, vec![b'u'; 350]).await.unwrap();
    // Until it takes the place of the other, both are there.
    assert_room(&server, 450).await;
    session.finish(1).await.unwrap();
    assert_room(&server, 650).await;
    seal("h").on(&server).await.unwrap();
    session.opened(create_as(1, "i", "p", 1)).await;
    session.write(1, 1, vec![b'u'; 50]).await.unwrap();
    session.end(finish(1, FinishAction::LeaveOpen)).await.unwrap();
    for restarted in [false, true] {
        println!("restarted: {restarted}");
        assert_room(&server, 600).await;
        server.kill9();
        server.restart();
        all_shards_serve(&server).await;
    }
    let mut session = server.session().await;
    session.opened(create_as(1, "i", "p", 1)).await;
    session.end(finish(1, FinishAction::Abort)).await.unwrap();
    assert_room(&server, 650).await;
    delete("h").on(&server).await.unwrap();
    assert_room(&server, LIMIT).await;
    server.kill9();
    server.restart();
    all_shards_serve(&server).await;
    assert_room(&server, LIMIT).await;
}

#[tokio::test]
async fn upload_at_the_limit_is_refused_to_the_byte_and_goes_on_when_there_is_room() {
    let server = Server::start(limited(100));
    write(&server, "f", 400).await.unwrap();
    let mut session = server.session().await;
    session.opened(create_as(1, "up", "p", 1)).await;
    send_chunks(&mut session, 1, 1, [&[b'u'; 500][..], &[b'v'; 99]]).await.unwrap();
    session.append(append(1, 3, "xy")).await;
    let nack = session.nack(1).await;
    assert_nack(&nack, 1, 3, EXHAUSTED, Reason::QuotaExceeded);
    assert!(nack.status.unwrap().message.contains("stored_bytes"));
    session.write(1, 3, "z").await.unwrap();
    session.append(append(1, 4, "!")).await;
    assert_nack(&session.nack(1).await, 1, 4, EXHAUSTED, Reason::QuotaExceeded);
    truncate("f", 399).on(&server).await.unwrap();
    session.write(1, 4, "!").await.unwrap();
    let whole = [&[b'u'; 500][..], &[b'v'; 99], b"z!"].concat();
    session.finish(1).await.unwrap();
    assert_content(&server, "up", &whole).await;
    // What is there is a duplicate, and needs no room.
    let mut session = server.session().await;
    session.opened(create_as(1, "up", "p", 1)).await;
    assert_eq!(session.write(1, 4, "!").await.unwrap().duplicates, 1);
}

#[tokio::test]
async fn duplicates_need_no_room() {
    let server = Server::start(limited(1));
    let call =
        |seq, bytes| AppendRequest { producer_id: "p".into(), producer_epoch: 1, seq, ..unary("f", vec![b'x'; bytes]) };
    server.client().append(call(1, LIMIT)).await.unwrap();
    assert!(server.client().append(call(1, LIMIT)).await.unwrap().into_inner().duplicate);
    assert_over(&server.client().append(call(2, 1)).await.unwrap_err(), "stored_bytes");
}

#[tokio::test]
async fn files_are_counted_exactly_and_uploads_when_they_are_published() {
    let mut server = Server::start(limited(3));
    for path in ["a", "b"] {
        write(&server, path, 1).await.unwrap();
    }
    let mut session = server.session().await;
    session.opened(create_as(1, "c", "p", 1)).await;
    session.opened(create_as(2, "d", "p", 1)).await;
    session.opened(replace_as(3, "a", "p", 1)).await;
    for channel in 1..=3 {
        session.write(channel, 1, "upload").await.unwrap();
    }
    session.finish(1).await.unwrap();
    let nack = session.finish(2).await.unwrap_err();
    assert_nack(&nack, 2, 0, EXHAUSTED, Reason::QuotaExceeded);
    assert!(nack.status.unwrap().message.contains("files"), "it says which limit");
    assert_absent(&server, "d").await;
    // What takes the place of a file is no further one.
    session.finish(3).await.unwrap();
    assert_over(&write(&server, "e", 1).await.unwrap_err(), "files");
    rename("b", "other/b").on(&server).await.unwrap();
    write(&server, "a", 1).await.unwrap();
    assert_over(&write(&server, "e", 1).await.unwrap_err(), "files");
    server.kill9();
    server.restart();
    all_shards_serve(&server).await;
    assert_over(&write(&server, "e", 1).await.unwrap_err(), "files");
    delete("other/b").on(&server).await.unwrap();
    let mut session = server.session().await;
    let opened = session.opened(create_as(2, "d", "p", 1)).await;
    assert_eq!(opened.next_offset, 6);
    session.finish(2).await.unwrap();
    assert_content(&server, "d", b"upload").await;
    assert_over(&write(&server, "e", 1).await.unwrap_err(), "files");
}

#[tokio::test]
async fn vanished_nameless_upload_gives_its_room_back() {
    let server = Server::start(limited(100));
    let mut session = server.session().await;
    session.opened(create(1, "up")).await;
    session.write(1, 1, vec![b'u'; LIMIT]).await.unwrap();
    assert_over(&write(&server, "f", 1).await.unwrap_err(), "stored_bytes");
    drop(session);
    wait::until_async("there is room", PATIENCE, async || write(&server, "f", LIMIT).await.is_ok()).await;
    wait::until("staging is empty", PATIENCE, || staged_files(&server).is_empty()).await;
}

async fn filled(server: &Server) -> RawSession {
    let mut session = server.session().await;
    for channel in 0..3 {
        session.opened(create_as(channel, &format!("up-{channel}"), "p", 1)).await;
    }
    session
}

#[tokio::test]
async fn uploads_per_tenant_are_bounded() {
    let mut server = Server::start(limited(100).arg("--shards").arg("1"));
    let mut session = filled(&server).await;
    let nack = session.open(create_as(3, "up-3", "p", 1)).await.unwrap_err();
    assert_nack(&nack, 3, 0, EXHAUSTED, Reason::QuotaExceeded);
    assert!(nack.status.unwrap().message.contains("uploads.per_tenant"));
    session.end(finish(0, FinishAction::LeaveOpen)).await.unwrap();
    server.kill9();
    server.restart();
    let mut session = server.session().await;
    let nack = session.open(create_as(3, "up-3", "p", 1)).await.unwrap_err();
    assert_nack(&nack, 3, 0, EXHAUSTED, Reason::QuotaExceeded);
    // One that is there may be taken up again, and one that ends makes room.
    session.opened(create_as(0, "up-0", "p", 1)).await;
    session.finish(0).await.unwrap();
    session.opened(create_as(3, "up-3", "p", 1)).await;
    session.opened(create_as(1, "up-1", "p", 1)).await;
    session.end(finish(1, FinishAction::Abort)).await.unwrap();
    session.opened(open_as(4, "appends", "p", 1)).await;
    session.opened(create_as(5, "up-5", "p", 1)).await;
}
