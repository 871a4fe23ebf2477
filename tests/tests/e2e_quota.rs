//! What a tenant may have in flight: waiting without the timer, notices, refusals, and permits that come back.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::{
    Admission, AppendRequest, ErrorReason as Reason, Nack, Open, WriteRequest, write_request::Frame as Ask,
    write_response::Frame as Say,
};
use inkpot_tests::{
    RawSession, Server, Setup,
    harness::{
        assert_nack, assert_refused,
        session::{append, open, open_as, payload, unary},
        wait,
    },
};
use rustix::process::Signal;
use std::time::{Duration, Instant};
use tonic::Code;
use tonic_types::StatusExt as _;

const BOUND: Duration = Duration::from_secs(60);
const LIMITED: &str = "limited-token-0123456789";
const EAGER: &str = "eager-token-0123456789";
const MIB: usize = 1 << 20;

fn rejecting(channel: u32, path: &str, producer: &str) -> Open {
    Open { admission: Admission::Reject.into(), ..open_as(channel, path, producer, 1) }
}

/// Sends appends `1..=count` of one byte while taking the answers, and half-closes. Returns the answers.
async fn stream(mut session: RawSession, count: u64) -> Vec<Say> {
    session.opened(open_as(1, "f", "p", 1)).await;
    for seq in 1..=count {
        session.append(append(1, seq, "x")).await;
    }
    session.half_close();
    let (frames, end) = session.drain().await;
    assert!(end.is_ok(), "{end:?}");
    frames
}

#[tokio::test]
async fn ten_permits_and_a_policy_of_a_hundred_records_do_not_wait_for_the_timer() {
    let setup = Setup::default().token("limited", LIMITED).token("eager", EAGER).config(
        "[tenants.limited.limits]\nwrites_in_flight = 10\nflush = { records = 100, delay = \"100ms\" }\n\
             [tenants.eager.limits]\nwrites_in_flight = 10\nflush = { records = 1 }",
    );
    let server = Server::start(setup);
    // How long a hundred rounds take here without any timer: what the disk needs.
    let mut bound = BOUND;
    for token in [EAGER, LIMITED] {
        let session = RawSession::start(server.client_as(Some(token))).await.unwrap();
        let begin = Instant::now();
        let frames = stream(session, 1000).await;
        let took = begin.elapsed();
        println!("{token}: {took:?}, {} answers", frames.len());
        // With ten permits there are a hundred rounds or more; had each waited for the timer, it were 10 s more.
        assert!(took < bound, "1000 appends took {took:?}");
        bound = 3 * took + Duration::from_secs(5);
        let throttled = frames.iter().filter(|frame| matches!(frame, Say::Throttled(_))).count();
        assert!(throttled < 20, "{throttled} times without room for longer than the timer");
        let Some(Say::Ack(last)) = frames.last() else { panic!("{:?}", frames.last()) };
        assert_eq!((last.through_seq, last.end_offset), (1000, Some(1000)));
    }
}

#[tokio::test]
async fn two_sessions_that_share_ten_permits_do_not_wait_for_the_timer_either() {
    let server = Server::start(
        Setup::default().config("[tenant_defaults]\nwrites_in_flight = 10\nflush = { records = 100, delay = \"10s\" }"),
    );
    // One holds nine and says no more; the other needs the tenth again and again.
    let mut holder = server.session().await;
    holder.opened(open_as(1, "held", "p", 1)).await;
    for seq in 1..=9 {
        holder.append(append(1, seq, "x")).await;
    }
    holder.ping(1).await;
    let mut other = server.session().await;
    other.opened(open_as(1, "other", "p", 1)).await;
    let begin = Instant::now();
    for seq in 1..=100 {
        other.append(append(1, seq, "x")).await;
    }
    // The last round of up to ten may gather; whatever had to make room may not.
    other.acked(1, 90).await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn waiting_is_told_and_goes_on_by_itself() {
    let server = Server::start(
        Setup::default().config("[tenant_defaults]\nbytes_in_flight = \"1MiB\"\n[limits]\nappend_bytes = \"1MiB\""),
    );
    // Room for one append at a time, and so many that want it that each waits for all the others.
    let mut tasks = Vec::new();
    for number in 0..64 {
        let mut session = server.session().await;
        tasks.push(tokio::spawn(async move {
            session.opened(open_as(1, &format!("f{number}"), "p", 1)).await;
            for seq in 1..=3 {
                session.append(append(1, seq, vec![b'x'; MIB])).await;
            }
            session.half_close();
            session.drain().await
        }));
    }
    // Each time that the process stands still, those that wait then have waited for long when it goes on.
    while !tasks.iter().all(tokio::task::JoinHandle::is_finished) {
        server.signal(Signal::STOP);
        tokio::time::sleep(Duration::from_millis(150)).await;
        server.signal(Signal::CONT);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut notices = 0;
    for task in tasks {
        let (frames, end) = task.await.unwrap();
        assert!(end.is_ok(), "{end:?}");
        let mut last = 0;
        for frame in frames {
            match frame {
                Say::Throttled(told) => {
                    assert!(["bytes_in_flight", "memory.writes_bytes"].contains(&told.limit.as_str()), "{told:?}");
                    assert!(told.since.is_some());
                    notices += 1;
                }
                Say::Ack(ack) => last = ack.through_seq,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(last, 3);
    }
    assert!(notices > 0, "nobody was told of waiting");
}

/// What a refusal for want of room says.
fn assert_no_room(nack: &Nack, seq: u64, reason: Reason, limit: &str) {
    let detail = assert_nack(nack, 1, seq, Code::ResourceExhausted, reason);
    assert_eq!(detail.limit.as_deref(), Some(limit), "{nack:?}");
    assert!(detail.retry_after.is_some_and(|after| after > Duration::ZERO), "no RetryInfo in {nack:?}");
    let rpc = nack.status.as_ref().unwrap();
    let details = tonic_types::RpcStatusExt::get_error_details(rpc);
    assert_eq!(details.quota_failure().unwrap().violations[0].subject, limit);
    assert!(rpc.message.contains(limit), "{}", rpc.message);
}

#[tokio::test]
async fn append_without_room_is_rejected_at_once_and_names_the_limit() {
    // What gathers holds its room for 10 s, unless somebody waits for it; those who reject do not.
    let gather = "flush = { records = 100000, bytes = \"1GiB\", delay = \"10s\" }";
    let small = "[limits]\nrecord_bytes = \"64KiB\"\nappend_bytes = \"64KiB\"\n";
    let cases = [
        (format!("[tenant_defaults]\nwrites_in_flight = 10\n{gather}"), 1, Reason::QuotaExceeded, "writes_in_flight"),
        (
            format!("{small}[tenant_defaults]\nbytes_in_flight = \"64KiB\"\n{gather}"),
            6 << 10,
            Reason::QuotaExceeded,
            "bytes_in_flight",
        ),
        (
            format!("{small}[memory]\nwrites_bytes = \"64KiB\"\n[tenant_defaults]\n{gather}"),
            6 << 10,
            Reason::NodeMemory,
            "memory.writes_bytes",
        ),
    ];
    for (config, size, reason, limit) in cases {
        println!("{limit}");
        let server = Server::start(Setup::default().config(&config));
        // Both are open before anything gathers: an open does not wait for the timer, nor does what is before it in
        // the queue of its shard, and the two paths may well have one shard.
        let (mut holder, mut late) = (server.session().await, server.session().await);
        holder.opened(rejecting(1, "held", "p")).await;
        late.opened(rejecting(1, "late", "p")).await;
        for seq in 1..=10 {
            holder.append(append(1, seq, vec![b'x'; size])).await;
        }
        holder.ping(1).await;
        late.append(append(1, 1, vec![b'x'; size])).await;
        late.append(append(1, 2, vec![b'x'; size])).await;
        assert_no_room(&late.nack(1).await, 1, reason, limit);
        let second = late.nack(1).await;
        assert_nack(&second, 1, 2, Code::Aborted, Reason::EarlierSeqRefused);
        let call = AppendRequest {
            payload: Some(payload(vec![b'x'; size])),
            admission: Admission::Reject.into(),
            ..unary("late", "")
        };
        let status = server.client().append(call).await.unwrap_err();
        let detail = assert_refused(&status, Code::ResourceExhausted, reason);
        assert_eq!((detail.limit.as_deref(), detail.retry_after.is_some()), (Some(limit), true));
        assert_eq!(status.get_details_quota_failure().unwrap().violations[0].subject, limit);
        // At once: what holds the room is still gathering.
        assert!(
            holder.next_within(Duration::ZERO).await.is_none(),
            "the room was held for less than it took to refuse"
        );
        holder.frame(Ask::Flush(inkpot_proto::v1::Flush {})).await;
        holder.acked(1, 10).await.unwrap();
        // And now there is room for the one that was refused, on the same channel.
        late.append(append(1, 1, vec![b'x'; size])).await;
        late.frame(Ask::Flush(inkpot_proto::v1::Flush {})).await;
        late.acked(1, 1).await.unwrap();
    }
}

#[tokio::test]
async fn unary_append_that_waits_is_let_in_when_there_is_room() {
    let server = Server::start(
        Setup::default().config("[tenant_defaults]\nwrites_in_flight = 2\nflush = { records = 100, delay = \"10s\" }"),
    );
    let begin = Instant::now();
    let calls = (0..20).map(|number| {
        let mut client = server.client();
        async move { client.append(unary(&format!("f{number}"), "x")).await }
    });
    let answers = futures_util::future::join_all(calls).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    // The last two may gather until the timer.
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn every_permit_is_back_after_a_storm() {
    let config = "[limits]\nrecord_bytes = \"64KiB\"\nappend_bytes = \"64KiB\"\n\
                  [tenant_defaults]\nwrites_in_flight = 64\nbytes_in_flight = \"256KiB\"\n\
                  [memory]\nwrites_bytes = \"256KiB\"";
    let server = Server::start(Setup::default().config(config));
    let storm = (0..40_u32).map(|number| {
        let server = &server;
        async move {
            let mut session = server.session().await;
            let path = format!("storm/{number}");
            let open = if number % 2 == 0 { rejecting(1, &path, "p") } else { open_as(1, &path, "p", 1) };
            session.opened(open).await;
            for seq in 1..=40 {
                // Some of it bad, some of it for nobody, all of it larger than there is room for.
                let channel = if seq % 11 == 0 { 9 } else { 1 };
                let mut append = append(channel, seq, vec![b'x'; 10_000]);
                append.crc32c = (seq % 7 == 0).then_some(1);
                if session.try_send(WriteRequest { frame: Some(Ask::Append(append)) }, BOUND).await.is_err() {
                    break;
                }
            }
            match number % 4 {
                0 => drop(session),
                1 => {
                    session.half_close();
                    session.drain().await.1.unwrap();
                }
                2 => {
                    let _ = session.next().await;
                }
                _ => {
                    let call = server.client().append(unary("storm/unary", vec![b'x'; 60_000])).await;
                    call.unwrap();
                }
            }
        }
    });
    futures_util::future::join_all(storm).await;
    // As much as there is room for is admitted at once: by count, and by bytes.
    for (name, count, size) in [("count", 64, 1), ("bytes", 4, 64 << 10)] {
        wait::until_async("the whole quota is there", BOUND, async || {
            let mut session = server.session().await;
            session.opened(Open { admission: Admission::Reject.into(), ..open(1, name) }).await;
            for seq in 1..=count {
                session.append(append(1, seq, vec![b'x'; size])).await;
            }
            session.acked(1, count).await.is_ok()
        })
        .await;
    }
}
