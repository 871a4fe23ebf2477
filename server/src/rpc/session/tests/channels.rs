use super::*;

#[tokio::test]
async fn opened_tells_state_and_limits() {
    let mut fake = Fake::new(with_limits(|limits| limits.session_channels = 77));
    let mut client = fake.session().await;
    client.send(Ask::Open(v1::Open { producer_id: "p".into(), producer_epoch: 3, ..open(5, "a/b") })).await;
    let Command::Open(asked) = fake.command(0).await else { panic!("not an open") };
    assert_eq!((asked.channel, &asked.key, asked.producer), (5, &key("a/b"), Some(("p".into(), 3))));
    let state = crate::shard::outbox::OpenState { epoch: 3, last_seq: 8, ..Default::default() };
    asked.session.outbox.push(crate::shard::outbox::Event::Opened { channel: 5, state });
    let Say::Opened(opened) = client.say().await else { panic!("not opened") };
    assert_eq!((opened.channel, opened.epoch, opened.last_seq), (5, 3, 8));
    let limits = opened.limits.unwrap();
    assert_eq!((limits.max_channels, limits.max_record_bytes, limits.remembered_appends), (77, 1 << 20, 64));
}

#[tokio::test]
async fn unknown_channel_is_nacked_and_the_session_goes_on() {
    let mut fake = Fake::new(one_shard());
    let mut client = fake.session().await;
    client.send(Ask::Append(append(9, 4, "x"))).await;
    let nack = client.nacked(9, 4, ErrorReason::UnknownChannel).await;
    assert_eq!((nack.status.as_ref().unwrap().code, nack.outcome()), (3, v1::Outcome::NotApplied));
    client.send(Ask::Finish(v1::Finish { channel: 9, action: 1, ..Default::default() })).await;
    client.nacked(9, 0, ErrorReason::UnknownChannel).await;
    client.opened(&mut fake, open(9, "a")).await;
}

#[tokio::test]
async fn request_without_frame_is_nacked_and_the_session_goes_on() {
    let mut fake = Fake::new(one_shard());
    let mut client = fake.session().await;
    client.send_nothing().await;
    client.nacked(0, 0, ErrorReason::InvalidField).await;
    client.opened(&mut fake, open(1, "a")).await;
}

#[tokio::test]
async fn bad_opens_are_nacked_and_never_reach_a_shard() {
    let mut fake = Fake::new(one_shard());
    let mut client = fake.session().await;
    let bad = [
        (open(1, "../x"), ErrorReason::InvalidPath),
        (v1::Open { durability: 3, ..open(1, "a") }, ErrorReason::DurabilityUnavailable),
        (v1::Open { admission: 9, ..open(1, "a") }, ErrorReason::UnknownEnumValue),
    ];
    for (open, reason) in bad {
        client.send(Ask::Open(open)).await;
        client.nacked(1, 0, reason).await;
    }
    client.opened(&mut fake, open(1, "a")).await;
}

#[tokio::test]
async fn number_in_use_is_nacked_and_the_open_channel_is_unharmed() {
    let mut fake = Fake::new(one_shard());
    let mut client = fake.session().await;
    client.opened(&mut fake, open(1, "a")).await;
    client.send(Ask::Open(open(1, "b"))).await;
    client.nacked(1, 0, ErrorReason::ChannelInUse).await;
    client.send(Ask::Append(append(1, 1, "x"))).await;
    assert_eq!(seqs(&fake.writes(0, 1).await), [1]);
    client.send(Ask::Open(open(1, "b"))).await;
    client.nacked(1, 0, ErrorReason::ChannelInUse).await;
}

#[tokio::test]
async fn channel_that_a_shard_took_back_may_be_opened_anew() {
    let mut fake = Fake::new(one_shard());
    let mut client = fake.session().await;
    let link = client.opened(&mut fake, open(1, "a")).await;
    link.outbox.push(nack(1, 0, ErrorReason::ProducerFenced));
    client.nacked(1, 0, ErrorReason::ProducerFenced).await;
    client.opened(&mut fake, open(1, "b")).await;
    client.send(Ask::Open(open(1, "c"))).await;
    client.nacked(1, 0, ErrorReason::ChannelInUse).await;
}

#[tokio::test]
async fn finished_channel_is_answered_and_its_number_is_free() {
    let mut fake = Fake::new(one_shard());
    let mut client = fake.session().await;
    let link = client.opened(&mut fake, open(1, "a")).await;
    client.send(Ask::Append(append(1, 1, "x"))).await;
    client.send(Ask::Finish(v1::Finish { channel: 1, action: 1, ..Default::default() })).await;
    fake.writes(0, 1).await;
    let command = fake.command(0).await;
    assert!(matches!(command, Command::Finish { channel: 1, .. }), "{command:?}");
    link.outbox.push(ack(1, 1, 1));
    link.outbox.push(crate::shard::outbox::Event::Finished { channel: 1, generation: 9, size: 1, crc32c: 0 });
    assert!(matches!(client.say().await, Say::Ack(_)));
    assert_eq!(client.say().await, Say::Finished(v1::Finished { channel: 1, generation: 9, size: 1, crc32c: 0 }));
    client.opened(&mut fake, open(1, "b")).await;
}

#[tokio::test]
async fn finish_without_action_is_nacked_and_the_channel_stays() {
    let mut fake = Fake::new(one_shard());
    let mut client = fake.session().await;
    client.opened(&mut fake, open(1, "a")).await;
    for (action, reason) in [(0, ErrorReason::InvalidField), (9, ErrorReason::UnknownEnumValue)] {
        client.send(Ask::Finish(v1::Finish { channel: 1, action, ..Default::default() })).await;
        client.nacked(1, 0, reason).await;
    }
    client.send(Ask::Append(append(1, 1, "x"))).await;
    assert_eq!(seqs(&fake.writes(0, 1).await), [1]);
}

#[tokio::test]
async fn channels_beyond_the_limit_are_nacked_with_its_name() {
    let mut fake = Fake::new(with_limits(|limits| limits.session_channels = 2));
    let mut client = fake.session().await;
    client.opened(&mut fake, open(1, "a")).await;
    let link = client.opened(&mut fake, open(2, "b")).await;
    client.send(Ask::Open(open(3, "c"))).await;
    let nack = client.nacked(3, 0, ErrorReason::TooManyChannels).await;
    assert!(nack.status.unwrap().message.contains("limits.session_channels = 2"));
    link.outbox.push(super::nack(2, 0, ErrorReason::ProducerFenced));
    client.nacked(2, 0, ErrorReason::ProducerFenced).await;
    client.opened(&mut fake, open(3, "c")).await;
}

#[tokio::test]
async fn appends_to_a_shard_that_has_stopped_are_nacked_one_by_one() {
    let mut fake = Fake::new(one_shard());
    let mut client = fake.session().await;
    client.opened(&mut fake, open(1, "a")).await;
    fake.mailboxes.clear();
    client.send(Ask::Append(append(1, 1, "x"))).await;
    client.send(Ask::Append(append(1, 2, "x"))).await;
    client.nacked(1, 1, ErrorReason::ShardClosed).await;
    client.nacked(1, 2, ErrorReason::ShardClosed).await;
    client.send(Ask::Open(open(2, "b"))).await;
    client.nacked(2, 0, ErrorReason::ShardClosed).await;
    client.half_close();
    client.ends_well().await;
    assert!(fake.at_rest());
}
