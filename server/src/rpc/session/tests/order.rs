use super::*;

#[tokio::test]
async fn appends_reach_their_shard_in_the_order_sent() {
    let mut fake = Fake::new(one_shard());
    let mut client = fake.session().await;
    client.opened(&mut fake, open(7, "a")).await;
    for seq in 1..=1000 {
        client.send(Ask::Append(append(7, seq, "record"))).await;
    }
    let writes = fake.writes(0, 1000).await;
    assert_eq!(seqs(&writes), (1..=1000).collect::<Vec<_>>());
    let body = writes[999].body.as_ref().unwrap();
    assert_eq!((&body.data[..], body.crc32c, body.records), (&b"record"[..], crc32c::crc32c(b"record"), 1));
}

#[tokio::test]
async fn frames_that_are_there_go_to_each_shard_as_one_batch() {
    let mut fake = Fake::new(Config { shards: 4, ..Config::default() });
    let paths = ["a", "b", "c", "d", "e", "f"];
    let shards = paths.map(|path| fake.services.shard_of(&tenant(), &key(path).path));
    let opens = (0..).zip(paths).map(|(channel, path)| Ask::Open(open(channel, path)));
    let appends = (1..=50).flat_map(|seq| (0..6).map(move |channel| Ask::Append(append(channel, seq, "x"))));
    let frames = opens.chain(appends).map(|frame| framed(&v1::WriteRequest { frame: Some(frame) }));
    let _answers = fake.raw_session(frames.flatten().collect()).await;
    for shard in 0..4 {
        let channels = shards.iter().filter(|of| **of == shard).count();
        for _ in 0..channels {
            fake.accept_open(shard).await;
        }
        if channels > 0 {
            let batch = fake.batch(shard).await;
            assert_eq!(batch.writes.len(), 50 * channels, "shard {shard}");
            assert!(batch.writes.is_sorted_by_key(|write| write.seq));
        }
    }
}

#[tokio::test]
async fn refused_append_takes_its_turn_among_the_others() {
    let mut fake = Fake::new(one_shard());
    let mut client = fake.session().await;
    let link = client.opened(&mut fake, open(1, "a")).await;
    client.send(Ask::Append(append(1, 1, "one"))).await;
    client.send(Ask::Append(v1::Append { crc32c: Some(1), ..append(1, 2, "two") })).await;
    client.send(Ask::Append(append(1, 3, "three"))).await;
    let writes = fake.writes(0, 3).await;
    assert_eq!(seqs(&writes), [1, 2, 3]);
    assert_eq!(reasons(&writes), [None, Some(ErrorReason::ChecksumMismatch), None]);
    let message = &writes[1].body.as_ref().unwrap_err().message;
    assert!(message.contains("append 2 of channel 1 (\"a\")"), "{message}");
    link.outbox.push(ack(1, 1, 1));
    link.outbox.push(nack(1, 2, ErrorReason::ChecksumMismatch));
    assert!(matches!(client.say().await, Say::Ack(ack) if ack.through_seq == 1));
    client.nacked(1, 2, ErrorReason::ChecksumMismatch).await;
}

#[tokio::test]
async fn open_in_between_parts_the_batch() {
    let mut fake = Fake::new(one_shard());
    let asks = [
        Ask::Open(open(1, "a")),
        Ask::Append(append(1, 1, "x")),
        Ask::Open(open(2, "b")),
        Ask::Append(append(1, 2, "x")),
        Ask::Append(append(2, 1, "x")),
    ];
    let frames = asks.map(|frame| framed(&v1::WriteRequest { frame: Some(frame) }));
    let _answers = fake.raw_session(frames.concat()).await;
    fake.accept_open(0).await;
    assert_eq!(seqs(&fake.batch(0).await.writes), [1]);
    fake.accept_open(0).await;
    let last = fake.batch(0).await.writes;
    assert_eq!(last.iter().map(|write| (write.channel, write.seq)).collect::<Vec<_>>(), [(1, 2), (2, 1)]);
}

#[tokio::test]
async fn ping_is_answered_after_what_came_before_it_is_handed_on() {
    let mut fake = Fake::new(one_shard());
    let mut client = fake.session().await;
    client.opened(&mut fake, open(1, "a")).await;
    client.send(Ask::Append(append(1, 1, "x"))).await;
    client.send(Ask::Ping(v1::Ping { token: 42 })).await;
    assert_eq!(client.say().await, Say::Pong(v1::Pong { token: 42 }));
    let Ok(Command::Writes(batch)) = fake.mailboxes[0].try_recv() else { panic!("the append was not handed on") };
    assert_eq!(seqs(&batch.writes), [1]);
}

#[tokio::test]
async fn flush_follows_the_appends_to_every_shard_in_use() {
    let mut fake = Fake::new(Config { shards: 2, ..Config::default() });
    let mut client = fake.session().await;
    let shard = fake.services.shard_of(&tenant(), &key("a").path);
    client.send(Ask::Open(open(1, "a"))).await;
    fake.accept_open(shard).await;
    client.send(Ask::Append(append(1, 1, "x"))).await;
    client.send(Ask::Flush(v1::Flush {})).await;
    client.send(Ask::Ping(v1::Ping { token: 1 })).await;
    fake.writes(shard, 1).await;
    assert!(matches!(fake.command(shard).await, Command::Flush));
    assert!(matches!(client.say().await, Say::Opened(_)));
    assert!(matches!(client.say().await, Say::Pong(_)));
    assert!(fake.mailboxes[1 - shard].try_recv().is_err(), "the other shard does not know of the session");
}
