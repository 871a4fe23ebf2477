#![allow(clippy::unwrap_used)]
use crate::{
    config::Config,
    rpc::testing::*,
    shard::{
        Batch, Command, Open, ProducerState, WriteState,
        outbox::{Event, OpenState},
    },
};
use inkpot_proto::v1::{
    AppendRequest, AppendResponse, Durability, ErrorReason, GetWriteStateRequest, Payload,
    write_service_client::WriteServiceClient,
};
use std::time::Duration;
use tonic::{Code, Response, Status, transport::Channel};

type Answer = Result<Response<AppendResponse>, Status>;

fn request() -> AppendRequest {
    AppendRequest {
        path: "a".into(),
        producer_id: "p".into(),
        producer_epoch: 4,
        seq: 7,
        payload: Some(Payload { data: "hello".into(), record_lengths: vec![] }),
        ..AppendRequest::default()
    }
}

/// A call under way.
async fn call(fake: &Fake, request: AppendRequest) -> tokio::task::JoinHandle<Answer> {
    let mut client = WriteServiceClient::new(fake.listen().await);
    tokio::spawn(async move { client.append(request).await })
}

/// The two commands of a call.
async fn commands(fake: &mut Fake) -> (Open, Batch) {
    let Command::Open(open) = fake.command(0).await else { panic!("not an open") };
    let Command::Writes(batch) = fake.command(0).await else { panic!("not a batch") };
    (open, batch)
}

#[tokio::test]
async fn append_opens_writes_and_leaves() {
    let mut fake = Fake::new(one_shard());
    let call = call(&fake, request()).await;
    let (open, batch) = commands(&mut fake).await;
    assert_eq!((&open.key, open.producer), (&key("a"), Some(("p".into(), 4))));
    assert_eq!((batch.writes[0].seq, &batch.writes[0].body.as_ref().unwrap().data[..]), (7, &b"hello"[..]));
    open.session.outbox.push(Event::Opened { channel: open.channel, state: OpenState::default() });
    open.session.outbox.push(ack(open.channel, 7, 1));
    let answer = within(call).await.unwrap().unwrap().into_inner();
    assert_eq!((answer.first_offset, answer.end_offset, answer.duplicate), (Some(0), Some(10), false));
    assert_eq!((answer.level(), answer.generation), (Durability::Synced, 9));
    fake.session_ended(0).await;
    drop(batch);
    assert!(fake.at_rest());
}

#[tokio::test]
async fn refused_open_is_the_answer_not_what_follows_from_it() {
    let mut fake = Fake::new(one_shard());
    let call = call(&fake, request()).await;
    let (open, _batch) = commands(&mut fake).await;
    open.session.outbox.push(nack(open.channel, 0, ErrorReason::ProducerFenced));
    open.session.outbox.push(nack(open.channel, 7, ErrorReason::UnknownChannel));
    let status = within(call).await.unwrap().unwrap_err();
    refused(&status, Code::FailedPrecondition, ErrorReason::ProducerFenced);
    fake.session_ended(0).await;
}

#[tokio::test]
async fn append_of_a_commit_that_failed_is_unknown_although_its_open_did_not_happen() {
    let mut fake = Fake::new(one_shard());
    let call = call(&fake, request()).await;
    let (open, _batch) = commands(&mut fake).await;
    open.session.outbox.push(nack(open.channel, 0, ErrorReason::ShardClosed));
    open.session.outbox.push(nack(open.channel, 7, ErrorReason::OutcomeUnknown));
    let status = within(call).await.unwrap().unwrap_err();
    refused(&status, Code::Unknown, ErrorReason::OutcomeUnknown);
    fake.session_ended(0).await;
}

#[tokio::test]
async fn caller_that_hangs_up_leaves_nothing_half_done() {
    let mut fake = Fake::new(one_shard());
    let call = call(&fake, request()).await;
    let Command::Open(open) = fake.command(0).await else { panic!("not an open") };
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    let batch = fake.batch(0).await;
    assert_eq!(batch.writes.len(), 1);
    drop(batch);
    open.session.outbox.push(ack(open.channel, 7, 1));
    fake.session_ended(0).await;
    assert!(fake.at_rest());
}

#[tokio::test]
async fn call_that_waits_for_room_ends_at_its_deadline_with_nothing_done() {
    let mut config = one_shard();
    config.tenant_defaults.writes_in_flight = 1;
    config.limits.deadline_max = Duration::from_millis(100);
    let mut fake = Fake::new(config);
    let held = fake.services.admission.tenant(&tenant()).try_acquire(1).unwrap();
    let mut client = WriteServiceClient::<Channel>::new(fake.listen().await);
    let status = within(client.append(request())).await.unwrap_err();
    refused(&status, Code::DeadlineExceeded, ErrorReason::Deadline);
    assert!(fake.mailboxes[0].try_recv().is_err());
    let rejecting = AppendRequest { admission: 2, ..request() };
    let status = within(client.append(rejecting)).await.unwrap_err();
    refused(&status, Code::ResourceExhausted, ErrorReason::QuotaExceeded);
    drop(held);
    assert!(fake.at_rest());
}

#[tokio::test]
async fn bad_append_is_refused_before_any_shard_hears_of_it() {
    let mut fake = Fake::new(one_shard());
    let status = within(call(&fake, AppendRequest { payload: None, ..request() }).await).await.unwrap().unwrap_err();
    refused(&status, Code::InvalidArgument, ErrorReason::EmptyAppend);
    assert!(fake.mailboxes[0].try_recv().is_err());
}

#[tokio::test]
async fn append_to_a_stopped_or_stopping_server_is_unavailable() {
    let mut fake = Fake::new(one_shard());
    fake.mailboxes.clear();
    let status = within(call(&fake, request()).await).await.unwrap().unwrap_err();
    refused(&status, Code::Unavailable, ErrorReason::ShardClosed);
    fake.services.drain.cancel();
    let status = within(call(&fake, request()).await).await.unwrap().unwrap_err();
    refused(&status, Code::Unavailable, ErrorReason::Draining);
}

#[tokio::test]
async fn write_state_comes_from_the_shard_of_the_file() {
    let mut fake = Fake::new(Config { shards: 4, ..Config::default() });
    let mut client = WriteServiceClient::new(fake.listen().await);
    let shard = fake.services.shard_of(&tenant(), &key("a").path);
    let asked = GetWriteStateRequest { path: "a".into(), producer_id: "p".into() };
    let call = tokio::spawn(async move { client.get_write_state(asked).await });
    let Command::WriteState { key: asked, producer, reply, .. } = fake.command(shard).await else { panic!() };
    assert_eq!((asked, producer.as_deref()), (key("a"), Some("p")));
    let producer = Some(ProducerState { epoch: 2, last_seq: 5, last_range: Some((10, 20)) });
    reply.send(Ok(WriteState { generation: 9, next_offset: 20, producer, upload: false })).unwrap();
    let state = within(call).await.unwrap().unwrap().into_inner();
    assert_eq!((state.generation, state.next_offset, state.known, state.epoch), (9, 20, true, 2));
    assert_eq!((state.last_seq, state.last_first_offset, state.last_end_offset), (5, Some(10), Some(20)));
}

#[tokio::test]
async fn write_state_of_a_bad_name_is_refused() {
    let fake = Fake::new(one_shard());
    let mut client = WriteServiceClient::new(fake.listen().await);
    let bad = GetWriteStateRequest { path: "/a".into(), ..GetWriteStateRequest::default() };
    let status = within(client.get_write_state(bad)).await.unwrap_err();
    refused(&status, Code::InvalidArgument, ErrorReason::InvalidPath);
    let bad = GetWriteStateRequest { path: "a".into(), producer_id: "a\0".into() };
    let status = within(client.get_write_state(bad)).await.unwrap_err();
    refused(&status, Code::InvalidArgument, ErrorReason::InvalidField);
}
