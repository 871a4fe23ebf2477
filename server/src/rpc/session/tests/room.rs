use super::*;

/// A tenant that may have so many writes in flight.
fn with_writes_in_flight(writes: u32) -> Config {
    let limits = TenantOverrides { writes_in_flight: Some(writes), ..TenantOverrides::default() };
    let tenants = [("default".to_owned(), Tenant { limits, ..Tenant::default() })].into();
    Config { tenants, ..one_shard() }
}

const REJECT: i32 = v1::Admission::Reject as i32;

#[tokio::test]
async fn append_waits_for_room_after_what_came_before_it_was_handed_on() {
    let mut fake = Fake::new(with_writes_in_flight(2));
    let mut client = fake.session().await;
    client.opened(&mut fake, open(1, "a")).await;
    for seq in 1..=4 {
        client.send(Ask::Append(append(1, seq, "x"))).await;
    }
    let first = fake.writes(0, 2).await;
    assert_eq!(seqs(&first), [1, 2]);
    let Say::Throttled(throttled) = client.say().await else { panic!("not throttled") };
    assert_eq!(throttled.limit, "writes_in_flight");
    assert!(throttled.since.is_some_and(|since| since.seconds > 0));
    assert!(fake.mailboxes[0].try_recv().is_err());
    drop(first);
    let rest = fake.writes(0, 2).await;
    assert_eq!(seqs(&rest), [3, 4]);
    drop(rest);
    assert!(fake.at_rest());
}

#[tokio::test]
async fn rejecting_channel_gets_the_refusal_in_its_turn() {
    let mut fake = Fake::new(with_writes_in_flight(1));
    let mut client = fake.session().await;
    client.opened(&mut fake, v1::Open { admission: REJECT, ..open(1, "a") }).await;
    client.send(Ask::Append(append(1, 1, "x"))).await;
    client.send(Ask::Append(append(1, 2, "x"))).await;
    let writes = fake.writes(0, 2).await;
    assert_eq!(reasons(&writes), [None, Some(ErrorReason::QuotaExceeded)]);
    let refused = writes[1].body.as_ref().unwrap_err();
    assert_eq!(refused.limit.as_deref(), Some("writes_in_flight"));
    assert!(refused.message.contains("tenant default: writes_in_flight = 1"), "{refused}");
}

#[tokio::test]
async fn memory_of_the_node_has_its_own_reason() {
    let mut config = one_shard();
    config.memory.writes_bytes = 300;
    let mut fake = Fake::new(config);
    let mut client = fake.session().await;
    client.opened(&mut fake, v1::Open { admission: REJECT, ..open(1, "a") }).await;
    client.send(Ask::Append(append(1, 1, "x"))).await;
    client.send(Ask::Append(append(1, 2, "x"))).await;
    let writes = fake.writes(0, 2).await;
    assert_eq!(reasons(&writes), [None, Some(ErrorReason::NodeMemory)]);
}

#[tokio::test]
async fn append_that_never_fits_does_not_wait() {
    let mut config = one_shard();
    config.tenant_defaults.bytes_in_flight = 300;
    let mut fake = Fake::new(config);
    let mut client = fake.session().await;
    client.opened(&mut fake, open(1, "a")).await;
    let payload = Some(v1::Payload { data: vec![b'x'; 301].into(), record_lengths: vec![] });
    client.send(Ask::Append(v1::Append { payload, ..append(1, 1, "") })).await;
    let writes = fake.writes(0, 1).await;
    let refused = writes[0].body.as_ref().unwrap_err();
    assert_eq!((refused.reason, refused.limit.as_deref()), (ErrorReason::RecordTooLarge, Some("bytes_in_flight")));
}

#[tokio::test]
async fn reading_stops_at_the_bound_of_unanswered_appends() {
    let mut fake = Fake::new(with_limits(|limits| limits.session_appends_in_flight = 10));
    let mut client = fake.session().await;
    let link = client.opened(&mut fake, open(1, "a")).await;
    for seq in 1..=15 {
        client.send(Ask::Append(append(1, seq, "x"))).await;
    }
    assert_eq!(seqs(&fake.writes(0, 10).await), (1..=10).collect::<Vec<_>>());
    // Nobody says that the session reads no more; it has had time for it.
    tokio::time::timeout(Duration::from_millis(50), fake.mailboxes[0].recv()).await.unwrap_err();
    assert_eq!(link.outbox.outstanding(), 10);
    link.outbox.push(ack(1, 3, 3));
    assert!(matches!(client.say().await, Say::Ack(_)));
    assert_eq!(seqs(&fake.writes(0, 3).await), [11, 12, 13]);
}

#[tokio::test]
async fn sessions_beyond_the_limit_are_refused_with_its_name() {
    let fake = Fake::new(with_limits(|limits| limits.sessions = 1));
    let mut service = v1::write_service_client::WriteServiceClient::new(fake.listen().await);
    let mut first = Client::open(&mut service).await;
    let refusal = Client::try_open(&mut service).await.err().unwrap();
    let detail = refused(&refusal, Code::ResourceExhausted, ErrorReason::QuotaExceeded);
    assert_eq!(detail.limit.as_deref(), Some("limits.sessions"));
    first.half_close();
    first.ends_well().await;
    fake.services.tasks.close();
    within(fake.services.tasks.wait()).await;
    Client::open(&mut service).await;
}

#[tokio::test]
async fn reading_stops_for_a_client_that_asks_and_takes_no_answers() {
    let mut fake = Fake::new(with_limits(|limits| limits.session_appends_in_flight = 10));
    let pings = (0..30).map(|token| Ask::Ping(v1::Ping { token }));
    let asks = pings.chain([Ask::Open(open(1, "a"))]);
    let bytes = asks.flat_map(|frame| framed(&v1::WriteRequest { frame: Some(frame) })).collect();
    let mut answers = fake.raw_session(bytes).await;
    // Nobody says that the session reads no more; it has had time for it.
    tokio::time::timeout(Duration::from_millis(50), fake.mailboxes[0].recv()).await.unwrap_err();
    for token in 0..30 {
        let answer = within(answers.message()).await.unwrap().unwrap();
        assert_eq!(answer.frame, Some(Say::Pong(v1::Pong { token })));
    }
    fake.accept_open(0).await;
}
