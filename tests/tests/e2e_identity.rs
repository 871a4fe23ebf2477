//! Who may call: tokens, tenants that know nothing of each other, and what is open to everybody.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::{ErrorReason as Reason, GetWriteStateRequest, ListRequest, ReadRequest, StatRequest};
use inkpot_tests::{
    RawSession, Server, Setup,
    harness::{
        assert_ended, assert_nack, assert_refused, raw,
        session::{open_as, unary},
        wait,
    },
};
use std::{fs, time::Duration};
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

const RED: &str = "red-token-0123456789";
const RED_TOO: &str = "red-second-0123456789";
const BLUE: &str = "blue-token-0123456789";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

fn two_tenants() -> Setup {
    Setup::default().token("red", RED).token("red", RED_TOO).token("blue", BLUE)
}

async fn read_all(server: &Server, token: &str, path: &str) -> Result<Vec<u8>, Status> {
    let request = ReadRequest { path: path.to_owned(), ..ReadRequest::default() };
    let mut stream = server.files_as(Some(token)).read(request).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(piece) = stream.message().await? {
        bytes.extend_from_slice(&piece.data);
    }
    Ok(bytes)
}

/// What every call of both services says to this token.
async fn every_call(server: &Server, token: Option<&str>) -> Vec<(&'static str, Status)> {
    let path = || "f".to_owned();
    let mut writes = server.client_as(token);
    let mut files = server.files_as(token);
    let session = RawSession::start(server.client_as(token)).await;
    vec![
        ("Write", session.expect_err("Write")),
        ("Append", writes.append(unary("f", "x")).await.expect_err("Append")),
        (
            "GetWriteState",
            writes
                .get_write_state(GetWriteStateRequest { path: path(), ..Default::default() })
                .await
                .expect_err("state"),
        ),
        ("Read", files.read(ReadRequest { path: path(), ..Default::default() }).await.expect_err("Read")),
        ("Stat", files.stat(StatRequest { path: path() }).await.expect_err("Stat")),
        ("List", files.list(ListRequest::default()).await.expect_err("List")),
        ("Delete", files.delete(inkpot_proto::v1::DeleteRequest::default()).await.expect_err("Delete")),
    ]
}

#[tokio::test]
async fn missing_or_wrong_token_is_unauthenticated_on_every_call() {
    let server = Server::start(two_tenants());
    let almost = &RED[..RED.len() - 1];
    for token in [None, Some("wrong-token-0123456789"), Some(almost), Some("red"), Some("")] {
        for (call, status) in every_call(&server, token).await {
            println!("{call} with {token:?}");
            assert_refused(&status, Code::Unauthenticated, Reason::Unauthenticated);
            assert!(!status.message().contains("0123456789"), "a token in {status:?}");
        }
    }
    assert!(!server.data_dir().join("files/default").exists());
    assert_eq!(fs::read_dir(server.data_dir().join("files")).unwrap().count(), 0);
}

#[tokio::test]
async fn tokens_stand_neither_in_the_log_nor_in_the_dump() {
    let setup = || two_tenants().env("INKPOT_LOG__FILTER", "trace");
    let server = Server::start(setup());
    server.client().append(unary("f", "payload-never-logged")).await.unwrap();
    every_call(&server, Some("wrong-token-9876543210")).await;
    let dump = setup().arg("--dump-config").run_to_end();
    assert!(dump.status.success());
    for secret in [RED, RED_TOO, BLUE, "wrong-token-9876543210", "payload-never-logged"] {
        assert!(!server.stderr().contains(secret), "{secret} is in the log");
        assert!(!String::from_utf8_lossy(&dump.stdout).contains(secret), "{secret} is in the dump");
    }
}

#[tokio::test]
async fn tenants_do_not_see_each_others_files() {
    let server = Server::start(two_tenants());
    for token in [RED, RED_TOO] {
        server.client_as(Some(token)).append(unary("f", "red\n")).await.unwrap();
    }
    // To the other tenant a file that is there and one that is not are the same.
    let mut strangers = server.files_as(Some(BLUE));
    for path in ["f", "nothing", "red/f"] {
        let status = strangers.stat(StatRequest { path: path.into() }).await.unwrap_err();
        assert_refused(&status, Code::NotFound, Reason::FileNotFound);
        assert_refused(&read_all(&server, BLUE, path).await.unwrap_err(), Code::NotFound, Reason::FileNotFound);
    }
    for path in ["../red/f", "/red/f"] {
        let status = strangers.stat(StatRequest { path: path.into() }).await.unwrap_err();
        assert_refused(&status, Code::InvalidArgument, Reason::InvalidPath);
    }
    assert!(strangers.list(ListRequest::default()).await.unwrap().into_inner().files.is_empty());
    server.client_as(Some(BLUE)).append(unary("f", "blue\n")).await.unwrap();
    assert_eq!(read_all(&server, RED, "f").await.unwrap(), b"red\nred\n");
    assert_eq!(read_all(&server, BLUE, "f").await.unwrap(), b"blue\n");
    let listed = strangers.list(ListRequest::default()).await.unwrap().into_inner().files;
    assert_eq!(listed.iter().map(|file| (file.path.as_str(), file.size)).collect::<Vec<_>>(), [("f", 5)]);
    for (tenant, bytes) in [("red", b"red\nred\n".as_slice()), ("blue", b"blue\n")] {
        let plain = server.plain_of(tenant, "f");
        wait::until(tenant, Duration::from_secs(30), || fs::read(&plain).is_ok_and(|found| found == bytes)).await;
    }
}

#[tokio::test]
async fn producer_of_one_tenant_means_nothing_to_another() {
    let server = Server::start(two_tenants());
    let mut red = RawSession::start(server.client_as(Some(RED))).await.unwrap();
    let mut blue = RawSession::start(server.client_as(Some(BLUE))).await.unwrap();
    red.opened(open_as(1, "f", "p", 7)).await;
    red.write(1, 1, "red\n").await.unwrap();
    let opened = blue.opened(open_as(1, "f", "p", 1)).await;
    assert_eq!((opened.epoch, opened.last_seq, opened.next_offset), (1, 0, 0));
    blue.write(1, 1, "blue\n").await.unwrap();
    // Nobody is fenced.
    red.write(1, 2, "red\n").await.unwrap();
    let state = GetWriteStateRequest { path: "f".into(), producer_id: "p".into() };
    let state = server.client_as(Some(BLUE)).get_write_state(state).await.unwrap().into_inner();
    assert_eq!((state.epoch, state.last_seq, state.next_offset), (1, 1, 5));
    let nack = blue.open(open_as(2, "f", "p", 0)).await.map(|opened| opened.epoch);
    assert_eq!(nack, Ok(2));
    let fenced = blue.nack(1).await;
    assert_nack(&fenced, 1, 0, Code::FailedPrecondition, Reason::ProducerFenced);
}

#[tokio::test]
async fn reflection_is_there_in_development_mode_only() {
    let list_services = raw::field(7, b"*");
    let server = Server::start(Setup::default());
    let mut stream = raw::stream(&server, None, REFLECTION, vec![list_services.clone()]).await.unwrap();
    let answer = stream.message().await.unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer);
    for service in ["inkpot.v1.WriteService", "inkpot.v1.FileService", "grpc.health.v1.Health"] {
        assert!(answer.contains(service), "{service} is not in {answer:?}");
    }
    let server = Server::start(two_tenants());
    for (token, code, reason) in [
        (None, Code::Unauthenticated, Reason::Unauthenticated),
        (Some(RED), Code::Unimplemented, Reason::Unimplemented),
    ] {
        let answer = raw::stream(&server, token, REFLECTION, vec![list_services.clone()]).await;
        let status = match answer {
            Err(status) => status,
            Ok(mut stream) => stream.message().await.unwrap_err(),
        };
        assert_ended(&status, code, reason);
    }
}

#[tokio::test]
async fn health_needs_no_token_and_knows_whether_writes_are_served() {
    for setup in [Setup::default(), two_tenants()] {
        let server = Server::start(setup);
        let mut health = HealthClient::new(server.channel());
        for service in ["", "inkpot.v1.WriteService", "inkpot.v1.shard-0000"] {
            // It listens before its shards have recovered.
            wait::until_async(&format!("{service:?} is served"), Duration::from_secs(30), async || {
                let request = HealthCheckRequest { service: service.to_owned() };
                health.check(request).await.unwrap().into_inner().status() == ServingStatus::Serving
            })
            .await;
        }
        let nothing = HealthCheckRequest { service: "nothing".to_owned() };
        assert_eq!(health.check(nothing).await.unwrap_err().code(), Code::NotFound);
    }
}

#[test]
fn address_beyond_loopback_without_a_token_is_refused_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    for address in ["0.0.0.0:0", "[::]:0"] {
        let ended = Setup::default().data_dir(&data).arg("--listen").arg(address).run_to_end();
        let words = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(78), "{words}");
        assert!(words.contains("--allow-remote-without-token") && words.contains("token_sha256"), "{words}");
        assert!(ended.stdout.is_empty());
        assert!(!data.exists(), "nothing is made before the configuration is without fault");
    }
}

#[tokio::test]
async fn address_beyond_loopback_is_taken_with_a_token_or_when_told_in_so_many_words() {
    let open = Server::start(Setup::default().arg("--listen").arg("0.0.0.0:0").arg("--allow-remote-without-token"));
    open.client().append(unary("f", "x")).await.unwrap();
    assert!(open.stderr().contains("DEVELOPMENT MODE"), "{}", open.stderr());
    let closed = Server::start(two_tenants().arg("--listen").arg("0.0.0.0:0"));
    closed.client().append(unary("f", "x")).await.unwrap();
    let status = closed.client_as(None).append(unary("f", "x")).await.unwrap_err();
    assert_refused(&status, Code::Unauthenticated, Reason::Unauthenticated);
    assert!(!closed.stderr().contains("DEVELOPMENT MODE"), "{}", closed.stderr());
}
