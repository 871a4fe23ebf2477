#![allow(clippy::unwrap_used)]
use crate::{
    config::{Config, Tenant, token_sha256},
    rpc::testing::*,
};
use inkpot_proto::v1::{ErrorReason, StatRequest, file_service_client::FileServiceClient};
use std::sync::Arc;
use tokio::{net::TcpListener, sync::oneshot};
use tonic::{Code, Request, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::{
    v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    },
    v1alpha,
};

const TOKEN: &str = "correct-horse-battery";

fn with_token() -> Config {
    let tenant = Tenant { token_sha256: vec![token_sha256(TOKEN)], ..Tenant::default() };
    Config { tenants: [("acme".to_owned(), tenant)].into(), ..one_shard() }
}

fn list_services() -> ServerReflectionRequest {
    let message_request = Some(MessageRequest::ListServices(String::new()));
    ServerReflectionRequest { host: String::new(), message_request }
}

async fn services(channel: Channel) -> Vec<String> {
    let mut client = ServerReflectionClient::new(channel);
    let mut answers =
        within(client.server_reflection_info(tokio_stream::once(list_services()))).await.unwrap().into_inner();
    match within(answers.message()).await.unwrap().unwrap().message_response {
        Some(MessageResponse::ListServicesResponse(list)) => {
            list.service.into_iter().map(|service| service.name).collect()
        }
        other => panic!("no list: {other:?}"),
    }
}

#[tokio::test]
async fn development_mode_reflects_what_is_served() {
    let channel = Fake::new(one_shard()).listen().await;
    let names = services(channel.clone()).await;
    for name in ["inkpot.v1.WriteService", "inkpot.v1.FileService", "grpc.health.v1.Health"] {
        assert!(names.iter().any(|found| found == name), "{name} is not in {names:?}");
    }
    let mut alpha = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1alpha::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    within(alpha.server_reflection_info(tokio_stream::once(request))).await.unwrap();
}

#[tokio::test]
async fn server_with_tokens_reflects_nothing_and_asks_who_calls() {
    let mut fake = Fake::new(with_token());
    fake.answer_about_files();
    let channel = fake.listen().await;
    let mut files = FileServiceClient::new(channel.clone());
    let status = within(files.stat(StatRequest { path: "a".into() })).await.unwrap_err();
    refused(&status, Code::Unauthenticated, ErrorReason::Unauthenticated);
    let mut known = Request::new(StatRequest { path: "a".into() });
    known.metadata_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    let status = within(files.stat(known)).await.unwrap_err();
    refused(&status, Code::NotFound, ErrorReason::FileNotFound);
    assert!(status.message().contains("tenant acme"), "{status}");
    let mut reflection = Request::new(tokio_stream::once(list_services()));
    reflection.metadata_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    let status = within(ServerReflectionClient::new(channel).server_reflection_info(reflection)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn health_is_served_to_everybody() {
    let channel = Fake::new(with_token()).listen().await;
    let answer = within(HealthClient::new(channel).check(HealthCheckRequest::default())).await.unwrap();
    assert_eq!(answer.into_inner().status, 1);
}

#[tokio::test]
async fn server_that_shuts_down_lets_sessions_end_first() {
    let mut fake = Fake::new(one_shard());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let health = tonic_health::server::health_reporter().1;
    let serving = crate::rpc::serve_on(
        crate::rpc::tcp(listener, &fake.services.config.limits, crate::telemetry::Doors::default()),
        Arc::clone(&fake.services),
        health,
        async { drop(stopped.await) },
    );
    let serving = tokio::spawn(serving);
    let channel = tonic::transport::Endpoint::from_shared(address.clone()).unwrap().connect().await.unwrap();
    let mut client = Client::open(&mut super::super::testing::writer(channel)).await;
    let link = client.opened(&mut fake, open(1, "a")).await;
    client.send(inkpot_proto::v1::write_request::Frame::Append(append(1, 1, "x"))).await;
    drop(fake.writes(0, 1).await);
    stop.send(()).unwrap();
    fake.services.drain.cancel();
    assert!(matches!(client.say().await, inkpot_proto::v1::write_response::Frame::GoAway(_)));
    link.outbox.push(ack(1, 1, 1));
    assert!(matches!(client.say().await, inkpot_proto::v1::write_response::Frame::Ack(_)));
    client.ends_with(Code::Unavailable, ErrorReason::Draining).await;
    drop(client);
    within(serving).await.unwrap().unwrap();
    tokio::net::TcpStream::connect(address.trim_start_matches("http://")).await.unwrap_err();
}
