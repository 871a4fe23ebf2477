use super::*;
use crate::{
    rpc::session::ending::not_read,
    shard::outbox::{Event, Outbox},
};

#[tokio::test]
async fn empty_session_ends_well() {
    let fake = Fake::new(one_shard());
    let mut client = fake.session().await;
    client.half_close();
    client.ends_well().await;
}

#[tokio::test]
async fn half_closed_session_ends_when_everything_is_answered() {
    let mut fake = Fake::new(one_shard());
    let mut client = fake.session().await;
    client.send(Ask::Open(open(1, "a"))).await;
    client.send(Ask::Append(append(1, 1, "x"))).await;
    client.half_close();
    let link = fake.accept_open(0).await;
    fake.writes(0, 1).await;
    assert!(matches!(client.say().await, Say::Opened(_)));
    link.outbox.push(ack(1, 1, 1));
    assert!(matches!(client.say().await, Say::Ack(_)));
    client.ends_well().await;
    fake.session_ended(0).await;
}

#[tokio::test]
async fn half_closed_session_waits_for_the_answer_to_an_open() {
    let mut fake = Fake::new(one_shard());
    let mut client = fake.session().await;
    client.send(Ask::Open(open(1, "a"))).await;
    client.half_close();
    let Command::Open(asked) = fake.command(0).await else { panic!("not an open") };
    asked.session.outbox.push(nack(1, 0, ErrorReason::IsADirectory));
    client.nacked(1, 0, ErrorReason::IsADirectory).await;
    client.ends_well().await;
    fake.session_ended(0).await;
}

#[tokio::test]
async fn client_that_vanishes_leaves_its_appends_to_the_shard() {
    let mut fake = Fake::new(one_shard());
    let mut client = fake.session().await;
    let link = client.opened(&mut fake, open(1, "a")).await;
    client.send(Ask::Append(append(1, 1, "x"))).await;
    let writes = fake.writes(0, 1).await;
    drop(client);
    fake.session_ended(0).await;
    assert!(link.outbox.is_closed());
    assert_eq!(link.outbox.outstanding(), 0);
    assert!(!fake.at_rest(), "the permit travels with the append");
    drop(writes);
    assert!(fake.at_rest());
}

#[tokio::test]
async fn client_that_vanishes_while_an_append_waits_gives_up_its_place() {
    let mut config = one_shard();
    config.tenant_defaults.writes_in_flight = 1;
    let mut fake = Fake::new(config);
    let mut client = fake.session().await;
    client.opened(&mut fake, open(1, "a")).await;
    client.send(Ask::Append(append(1, 1, "x"))).await;
    client.send(Ask::Append(append(1, 2, "x"))).await;
    let writes = fake.writes(0, 1).await;
    assert!(matches!(client.say().await, Say::Throttled(_)));
    drop(client);
    fake.session_ended(0).await;
    drop(writes);
    fake.services.tasks.close();
    within(fake.services.tasks.wait()).await;
    assert!(fake.at_rest());
}

#[tokio::test]
async fn drain_says_so_answers_what_was_taken_and_ends() {
    let mut fake = Fake::new(one_shard());
    let mut client = fake.session().await;
    let link = client.opened(&mut fake, open(1, "a")).await;
    client.send(Ask::Append(append(1, 1, "x"))).await;
    fake.writes(0, 1).await;
    fake.services.drain.cancel();
    let Say::GoAway(go_away) = client.say().await else { panic!("no GoAway") };
    assert_eq!((go_away.deadline.unwrap().seconds, &*go_away.reason), (20, "the server is stopping"));
    client.send(Ask::Append(append(1, 2, "x"))).await;
    link.outbox.push(ack(1, 1, 1));
    assert!(matches!(client.say().await, Say::Ack(_)));
    client.ends_with(Code::Unavailable, ErrorReason::Draining).await;
    fake.session_ended(0).await;
}

#[tokio::test]
async fn drain_that_runs_out_of_time_does_not_claim_to_know_the_outcome() {
    let mut config = one_shard();
    config.shutdown.drain = Duration::from_millis(50);
    let mut fake = Fake::new(config);
    let mut client = fake.session().await;
    client.opened(&mut fake, open(1, "a")).await;
    client.send(Ask::Append(append(1, 1, "x"))).await;
    fake.writes(0, 1).await;
    fake.services.drain.cancel();
    assert!(matches!(client.say().await, Say::GoAway(_)));
    let detail = client.ends_with(Code::Unknown, ErrorReason::OutcomeUnknown).await;
    assert_eq!(detail.outcome, v1::Outcome::Unknown);
}

#[tokio::test]
async fn new_session_while_draining_is_refused() {
    let fake = Fake::new(one_shard());
    let mut service = v1::write_service_client::WriteServiceClient::new(fake.listen().await);
    fake.services.drain.cancel();
    let refusal = Client::try_open(&mut service).await.err().unwrap();
    refused(&refusal, Code::Unavailable, ErrorReason::Draining);
}

#[tokio::test]
async fn silence_at_the_beginning_ends_the_session() {
    let fake = Fake::new(with_limits(|limits| limits.first_message = Duration::from_millis(50)));
    let mut client = fake.session().await;
    client.ends_with(Code::DeadlineExceeded, ErrorReason::Deadline).await;
}

#[tokio::test]
async fn silence_after_the_first_message_is_fine() {
    let mut fake = Fake::new(with_limits(|limits| limits.first_message = Duration::from_millis(50)));
    let mut client = fake.session().await;
    client.opened(&mut fake, open(1, "a")).await;
    tokio::time::timeout(Duration::from_millis(200), fake.mailboxes[0].recv()).await.unwrap_err();
    client.half_close();
    client.ends_well().await;
}

#[tokio::test]
async fn malformed_message_ends_the_session_after_what_came_before_it() {
    let mut fake = Fake::new(one_shard());
    let mut bytes = framed(&v1::WriteRequest { frame: Some(Ask::Open(open(1, "a"))) });
    bytes.extend([0, 0, 0, 0, 2, 0x7f, 0x7f]);
    let mut answers = fake.raw_session(bytes).await;
    fake.accept_open(0).await;
    assert!(matches!(within(answers.message()).await.unwrap().unwrap().frame, Some(Say::Opened(_))));
    let status = within(answers.message()).await.unwrap_err();
    refused(&status, Code::InvalidArgument, ErrorReason::MalformedMessage);
    fake.session_ended(0).await;
}

#[tokio::test]
async fn stream_that_ends_within_a_message_is_malformed() {
    let fake = Fake::new(one_shard());
    let mut answers = fake.raw_session(vec![0, 0, 0, 0, 9, b'a']).await;
    let status = within(answers.message()).await.unwrap_err();
    refused(&status, Code::InvalidArgument, ErrorReason::MalformedMessage);
}

#[tokio::test]
async fn message_beyond_the_limit_ends_the_session() {
    let fake = Fake::new(one_shard());
    let mut answers = fake.raw_session(vec![0, 0, 0x50, 0, 0]).await;
    let status = within(answers.message()).await.unwrap_err();
    let detail = refused(&status, Code::ResourceExhausted, ErrorReason::MessageTooLarge);
    assert_eq!(detail.limit.as_deref(), Some("max_message_bytes"));
    assert_eq!(detail.outcome, v1::Outcome::NotApplied);
}

#[tokio::test]
async fn deadline_of_the_call_ends_the_session() {
    let mut fake = Fake::new(one_shard());
    let mut service = v1::write_service_client::WriteServiceClient::new(fake.listen().await);
    let (requests, frames) = tokio::sync::mpsc::channel(1);
    let mut call = tonic::Request::new(tokio_stream::wrappers::ReceiverStream::new(frames));
    call.set_timeout(Duration::from_secs(1));
    let mut answers = within(service.write(call)).await.unwrap().into_inner();
    requests.send(v1::WriteRequest { frame: Some(Ask::Open(open(1, "a"))) }).await.unwrap();
    fake.accept_open(0).await;
    assert!(matches!(within(answers.message()).await.unwrap().unwrap().frame, Some(Say::Opened(_))));
    let status = within(answers.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    fake.session_ended(0).await;
}

#[tokio::test]
async fn answers_that_nobody_takes_are_noticed_and_those_taken_are_not() {
    let patience = Duration::from_millis(60);
    let outbox = Outbox::default();
    tokio::time::timeout(5 * patience, not_read(&outbox, patience)).await.unwrap_err();
    outbox.push(Event::Pong { token: 1 });
    within(not_read(&outbox, patience)).await;
}

#[tokio::test]
async fn cut_session_ends_with_the_reason_alone() {
    let fake = Fake::new(one_shard());
    let link = fake.services.link(&tenant(), false);
    link.outbox.expect_answers(3);
    link.outbox.push(Event::Pong { token: 1 });
    link.outbox.cut(Box::new(crate::rpc::session::ending::lost("the client has not read its answers")));
    assert_eq!(link.outbox.outstanding(), 0);
    let mut answers =
        crate::rpc::answer::Answers::new(link, Default::default(), v1::Limits::default(), Default::default());
    let status = tokio_stream::StreamExt::next(&mut answers).await.unwrap().unwrap_err();
    refused(&status, Code::Unknown, ErrorReason::OutcomeUnknown);
    assert!(tokio_stream::StreamExt::next(&mut answers).await.is_none());
}
