#![allow(clippy::unwrap_used)]

mod rotation;

use super::*;
use crate::{
    admission::Admission,
    catalog::Catalog,
    host::Host,
    recovery::{Ground, recover},
    shard::{
        Open, Write, WriteBody,
        outbox::{Ack, Event},
        testing::{key, session, tenant_of, told},
    },
};
use bytes::Bytes;
use inkpot_proto::v1::Durability;
use inkpot_wal::fs::{
    Attributes,
    faulty::{FaultKind, FaultyFs, Op, When},
    memory::MemoryFs,
};
use tokio::sync::oneshot;

/// A shard on a disk in memory, a session of it, and a clock that goes by hand.
struct Rig {
    faulty: FaultyFs,
    memory: MemoryFs,
    backlog: Arc<Backlog>,
    writer: ShardWriter,
    session: Arc<SessionLink>,
    now: Instant,
}

impl Rig {
    fn new(config: Config) -> Self {
        let memory = MemoryFs::new();
        for dir in ["files", "staging", "shards", "shards/0000", "shards/0000/wal", "shards/0000/parked"] {
            memory.create_dir(dir, Attributes::PRIVATE_DIR).unwrap();
        }
        Catalog::create(&memory, 0).unwrap();
        let faulty = FaultyFs::over_memory(&memory);
        let fs: Arc<dyn FileSystem> = Arc::new(faulty.clone());
        let (registry, now) = (Arc::new(Registry::default()), Instant::now());
        let backlog = Arc::new(Backlog::new(config.apply.budget_bytes));
        let ground = Ground { number: 0, fs: &fs, config: &config, registry: &registry };
        let (recovered, _) = recover(&ground, None).unwrap();
        let session = session(&tenant_of(config.clone(), "t"), 1);
        let config = Arc::new(config);
        let admission = Arc::new(Admission::new(Arc::clone(&config)));
        let spec =
            Spec { number: 0, fs, config, admission, metrics: ShardMetrics::off(), salt: 0, host: Host::Threads };
        let writer = ShardWriter::new(&spec, registry, Arc::clone(&backlog), recovered, now);
        Self { faulty, memory, backlog, writer, session, now }
    }

    fn open(&mut self, channel: u32, path: &str, producer: Option<(&str, u64)>) {
        let producer = producer.map(|(id, epoch)| (id.into(), epoch));
        let session = Arc::clone(&self.session);
        let open =
            Open { session, channel, key: key(path), mode: crate::shard::Mode::Append, producer, if_generation: None };
        let tenant = Arc::clone(&self.session.tenant);
        self.writer.turns().push(&tenant, Item::Open(open));
    }

    fn send(&mut self, channel: u32, seq: u64, len: usize, durability: Durability) {
        self.send_bytes(channel, seq, vec![b'a' + u8::try_from(seq % 26).unwrap(); len].into(), durability);
    }

    fn send_bytes(&mut self, channel: u32, seq: u64, data: Bytes, durability: Durability) {
        let permit = self.session.tenant.try_acquire(data.len() as u64).unwrap();
        let crc32c = crc32c::crc32c(&data);
        let body = WriteBody { data, records: 1, crc32c, expected_offset: None, durability, permit, trace: None };
        let writes = vec![Write { channel, seq, body: Ok(body) }];
        self.writer.push_batch(Batch { session: Arc::clone(&self.session), writes, since: self.now }, self.now);
    }

    fn commit(&mut self) -> Vec<Event> {
        self.writer.commit(self.now).unwrap();
        told(&self.session)
    }

    fn syncs(&self) -> u64 {
        self.faulty.count(Op::SyncData, "wal/")
    }
}

fn ack(event: &Event) -> &Ack {
    match event {
        Event::Ack { ack, .. } => ack,
        other => panic!("not an ack: {other:?}"),
    }
}

fn reason(event: &Event) -> ErrorReason {
    match event {
        Event::Nack { refused, .. } => refused.reason,
        other => panic!("not a nack: {other:?}"),
    }
}

#[test]
fn one_commit_syncs_once_for_all_and_writes_one_frame() {
    let mut rig = Rig::new(Config::default());
    rig.open(1, "a", Some(("p", 1)));
    rig.open(2, "b", Some(("p", 1)));
    let (syncs, frame) = (rig.syncs(), rig.writer.log().last_sequence());
    for seq in 1..=3 {
        rig.send(1, seq, 10, Durability::Synced);
        rig.send(2, seq, 10, Durability::Written);
    }
    let events = rig.commit();
    assert_eq!((rig.syncs(), rig.writer.log().last_sequence()), (syncs + 1, frame + 1));
    assert!(matches!(events[..2], [Event::Opened { channel: 1, .. }, Event::Opened { channel: 2, .. }]));
    assert!(events[2..].iter().all(|event| ack(event).level == Durability::Synced));
    assert_eq!(events[2..].iter().map(|event| ack(event).appends).sum::<u32>(), 6);
}

#[test]
fn what_is_only_written_is_acked_as_such_and_synced_after_100_ms() {
    let mut rig = Rig::new(Config::default());
    rig.open(1, "a", Some(("p", 1)));
    rig.commit();
    let syncs = rig.syncs();
    rig.send(1, 1, 10, Durability::Written);
    let events = rig.commit();
    assert_eq!((ack(&events[0]).level, ack(&events[0]).synced_seq), (Durability::Written, 0));
    assert_eq!(rig.syncs(), syncs);
    assert!(rig.backlog.synced() < rig.writer.log().last_sequence());
    assert!(rig.writer.tick_at().unwrap() <= rig.now + SYNC_WRITTEN_AFTER);
    rig.writer.tick(rig.now + SYNC_WRITTEN_AFTER).unwrap();
    assert!(rig.syncs() > syncs);
    assert_eq!(rig.backlog.synced(), rig.writer.log().synced_sequence());
    rig.send(1, 2, 10, Durability::Written);
    assert_eq!(ack(&rig.commit()[0]).synced_seq, 1, "the sync in between is told");
}

#[test]
fn duplicate_is_acked_only_at_the_level_that_it_asks_for() {
    let mut rig = Rig::new(Config::default());
    rig.open(1, "a", Some(("p", 1)));
    rig.send(1, 1, 10, Durability::Written);
    rig.commit();
    rig.send(1, 2, 10, Durability::Written);
    let first = *ack(&rig.commit()[0]);
    let (syncs, frame) = (rig.syncs(), rig.writer.log().last_sequence());
    rig.send(1, 2, 10, Durability::Written);
    let again = *ack(&rig.commit()[0]);
    assert_eq!((again.duplicates, again.level, rig.syncs()), (1, Durability::Written, syncs));
    rig.send(1, 2, 10, Durability::Synced);
    let again = *ack(&rig.commit()[0]);
    assert_eq!((again.duplicates, again.level, rig.syncs()), (1, Durability::Synced, syncs + 1));
    assert_eq!((again.first_offset, again.end_offset), (first.first_offset, first.end_offset));
    assert_eq!(rig.writer.log().last_sequence(), frame, "a duplicate writes nothing");
}

#[test]
fn idle_log_is_sealed_once() {
    let mut rig = Rig::new(Config::default());
    rig.open(1, "a", Some(("p", 1)));
    rig.commit();
    assert!(!rig.writer.log().is_sealed());
    let at = rig.writer.tick_at().unwrap();
    assert_eq!(at, rig.now + SEAL_AFTER);
    rig.writer.tick(at).unwrap();
    assert!(rig.writer.log().is_sealed());
    assert_eq!(rig.writer.tick_at(), None);
}

#[test]
fn many_large_appends_fit_the_smallest_segments_that_may_be_set() {
    let mut config = Config::default();
    config.limits.append_bytes = 64 << 10;
    config.wal.segment_bytes = config.limits.append_bytes + crate::config::SEGMENT_OVERHEAD_BYTES;
    let mut rig = Rig::new(config);
    rig.open(1, "a", Some(("p", 1)));
    for seq in 1..=30 {
        rig.send(1, seq, 64 << 10, Durability::Synced);
    }
    let mut acked = 0;
    while !rig.writer.turns().is_empty() {
        acked += rig
            .commit()
            .iter()
            .map(|event| if let Event::Ack { ack, .. } = event { ack.appends } else { 0 })
            .sum::<u32>();
    }
    assert_eq!(acked, 30);
}

#[test]
fn refusals_name_the_seq_that_comes_next_and_let_the_channel_go_on() {
    let mut rig = Rig::new(Config::default());
    rig.open(1, "a", Some(("p", 1)));
    for seq in [1, 3, 4, 2, 3] {
        rig.send(1, seq, 10, Durability::Synced);
    }
    let events = rig.commit();
    let kinds: Vec<String> = events[1..]
        .iter()
        .map(|event| match event {
            Event::Ack { ack, .. } => format!("ack {} {}", ack.through_seq, ack.appends),
            event => format!("{:?}", reason(event)),
        })
        .collect();
    assert_eq!(kinds, ["ack 1 1", "SequenceGap", "EarlierSeqRefused", "ack 3 2"]);
}

#[test]
fn later_open_of_a_producer_fences_what_the_earlier_one_had_queued() {
    let mut rig = Rig::new(Config::default());
    rig.open(1, "a", Some(("p", 1)));
    rig.send(1, 1, 10, Durability::Synced);
    rig.open(2, "a", Some(("p", 1)));
    rig.send(1, 2, 10, Durability::Synced);
    rig.send(2, 2, 10, Durability::Synced);
    let events = rig.commit();
    assert!(matches!(events[3], Event::Opened { channel: 2, state } if state.last_seq == 1), "{events:?}");
    assert_eq!((reason(&events[2]), reason(&events[4])), (ErrorReason::ProducerFenced, ErrorReason::ProducerFenced));
    assert_eq!(ack(&events[5]).through_seq, 2);
}

#[test]
fn question_about_a_producer_waits_until_its_answer_is_durable() {
    let mut rig = Rig::new(Config::default());
    rig.open(1, "a", Some(("p", 1)));
    rig.commit();
    rig.send(1, 1, 10, Durability::Written);
    let syncs = rig.syncs();
    let (reply, mut answer) = oneshot::channel();
    let tenant = Arc::clone(&rig.session.tenant);
    rig.writer.turns().push(&tenant, Item::WriteState { key: key("a"), producer: Some("p".into()), reply });
    rig.commit();
    let state = answer.try_recv().unwrap().unwrap();
    assert_eq!((state.next_offset, state.producer.unwrap().last_range), (10, Some((0, 10))));
    assert_eq!(rig.syncs(), syncs + 1);
}

#[test]
fn failed_commit_answers_everything_and_gives_every_permit_back() {
    let mut rig = Rig::new(Config::default());
    rig.open(1, "a", Some(("p", 1)));
    rig.commit();
    rig.faulty.fail(Op::SyncData, "wal/", When::Always, FaultKind::LostSync);
    rig.send(1, 1, 10, Durability::Synced);
    rig.send(1, 2, 10, Durability::Synced);
    rig.open(2, "b", Some(("p", 1)));
    let error = rig.writer.commit(rig.now).unwrap_err();
    rig.send(1, 3, 10, Durability::Synced);
    let (retained, lost) = rig.writer.close(&unknown(&error));
    assert!(lost.contains(&(1, 1)), "{lost:?}");
    assert_eq!(retained.frames.last().unwrap().header.sequence, retained.last_sequence);
    let reasons: Vec<ErrorReason> = told(&rig.session).iter().map(reason).collect();
    let (unknown, closed) = (ErrorReason::OutcomeUnknown, ErrorReason::ShardClosed);
    assert_eq!(reasons[..4], [unknown, unknown, closed, closed], "both appends, the open, the queue");
    assert!(reasons[4..].iter().all(|reason| *reason == closed), "{reasons:?}");
    assert_eq!(rig.session.tenant.in_flight(), (0, 0));
}

#[test]
fn commits_wait_while_too_much_is_unapplied() {
    let mut config = Config::default();
    config.apply.budget_bytes = 100;
    let mut rig = Rig::new(config);
    rig.open(1, "a", Some(("p", 1)));
    rig.send(1, 1, 100, Durability::Synced);
    rig.commit();
    rig.send(1, 2, 1, Durability::Synced);
    assert_eq!(rig.writer.due(rig.now), None);
    rig.backlog.done(1);
    assert_eq!(rig.writer.due(rig.now), Some(rig.now));
}

#[test]
fn file_that_only_opens_know_leaves_no_trace() {
    let mut rig = Rig::new(Config::default());
    rig.open(1, "a", None);
    rig.commit();
    assert_eq!(rig.writer.files.iter().count(), 1);
    let (session, tenant) = (Arc::clone(&rig.session), Arc::clone(&rig.session.tenant));
    rig.writer.turns().push(&tenant, Item::Finish { session, channel: 1, ending: crate::shard::Ending::default() });
    assert_eq!(rig.commit(), [Event::Finished { channel: 1, generation: 0, size: 0, crc32c: 0 }]);
    assert_eq!(rig.writer.files.iter().count(), 0);
    assert!(rig.writer.lookup(&key("a")).unwrap().is_none());
    assert!(rig.faulty.metadata("files/t").is_err());
}

#[test]
fn refused_append_with_an_absurd_seq_does_not_disturb_counting() {
    let mut rig = Rig::new(Config::default());
    rig.open(1, "a", None);
    rig.commit();
    let refused = Box::new(Refused::new(ErrorReason::OutOfRange, "too high"));
    let writes = vec![Write { channel: 1, seq: u64::MAX, body: Err(refused) }];
    rig.writer.push_batch(Batch { session: Arc::clone(&rig.session), writes, since: rig.now }, rig.now);
    rig.send(1, 0, 4, Durability::Synced);
    let events = rig.commit();
    assert_eq!(reason(&events[0]), ErrorReason::OutOfRange);
    assert_eq!((ack(&events[1]).through_seq, ack(&events[1]).end_offset), (1, Some(4)));
}

#[test]
fn number_of_a_fenced_channel_can_be_opened_again() {
    let mut rig = Rig::new(Config::default());
    rig.open(1, "a", Some(("p", 1)));
    rig.open(2, "a", Some(("p", 1)));
    rig.commit();
    rig.open(1, "a", Some(("p", 1)));
    let events = rig.commit();
    let is_opened = |event: &Event| matches!(event, Event::Opened { channel: 1, .. });
    assert!(events.iter().any(is_opened), "{events:?}");
    rig.send(1, 1, 4, Durability::Synced);
    assert_eq!(ack(&rig.commit()[0]).through_seq, 1);
}

#[test]
fn append_for_a_channel_that_a_failure_took_away_is_told_to_open_again() {
    let mut rig = Rig::new(Config::default());
    rig.writer.set_lost([(rig.session.id, 1)].into_iter().collect());
    rig.send(1, 5, 4, Durability::Synced);
    rig.send(2, 1, 4, Durability::Synced);
    let events = rig.commit();
    assert_eq!([reason(&events[0]), reason(&events[1])], [ErrorReason::ShardClosed, ErrorReason::UnknownChannel]);
}

#[test]
fn idle_shard_says_that_there_is_room_again() {
    let mut rig = Rig::new(Config::default());
    rig.open(1, "a", None);
    rig.send(1, 1, 10, Durability::Synced);
    let _ = rig.commit();
    let full = |rig: &Rig| rig.writer.metrics.disk_full.get();
    assert_eq!(full(&rig), 0);
    rig.memory.set_capacity(1);
    rig.now += ROOM_CHECK;
    rig.send(1, 2, 10, Durability::Synced);
    assert_eq!(reason(&rig.commit()[0]), ErrorReason::DiskFull);
    assert_eq!(full(&rig), 1);
    rig.memory.set_capacity(u64::MAX);
    rig.now += ROOM_CHECK;
    let mark = rig.writer.snapshot(rig.now).unwrap().progress.mark;
    rig.writer.checkpointed(&mark, rig.now).unwrap();
    assert_eq!(full(&rig), 0, "without a write");
}

#[test]
fn segments_that_are_kept_for_use_again_are_given_back_when_the_disk_is_full() {
    let mut config = Config::default();
    config.wal.segment_bytes = 16 << 20;
    let mut rig = Rig::new(config);
    rig.open(1, "a", None);
    let mut seq = 0;
    while rig.writer.unreleased_bytes() == 0 {
        seq += 1;
        rig.send(1, seq, 512 << 10, Durability::Synced);
        let _ = rig.commit();
    }
    let mark = rig.writer.snapshot(rig.now).unwrap().progress.mark;
    rig.writer.checkpointed(&mark, rig.now).unwrap();
    // Too little for what waits and the reserve, unless the released segment goes.
    let (capacity, wanted) = (1 << 40, rig.backlog.bytes() + ROOM_RESERVE_BYTES);
    rig.memory.set_capacity(capacity);
    let used = capacity - rig.memory.free_bytes().unwrap();
    rig.memory.set_capacity(used + wanted - (1 << 20));
    rig.now += ROOM_CHECK;
    rig.send(1, seq + 1, 10, Durability::Synced);
    assert_eq!(ack(&rig.commit()[0]).through_seq, seq + 1);
    assert_eq!(rig.writer.metrics.disk_full.get(), 0);
}

#[test]
fn segment_that_is_ready_is_given_back_when_the_disk_is_full_and_none_is_made_ahead_of_need() {
    let mut config = Config::default();
    config.wal.segment_bytes = 16 << 20;
    let mut rig = Rig::new(config);
    rig.open(1, "a", None);
    let _ = rig.commit();
    let maker = rig.writer.log().maker();
    maker.prepare(0).unwrap();
    assert!(maker.is_ready());
    let (capacity, wanted) = (1 << 40, rig.backlog.bytes() + ROOM_RESERVE_BYTES);
    rig.memory.set_capacity(capacity);
    let used = capacity - rig.memory.free_bytes().unwrap();
    // Too little for what waits, unless the segment goes.
    rig.memory.set_capacity(used + wanted - (1 << 20));
    rig.now += ROOM_CHECK;
    rig.send(1, 1, 10, Durability::Synced);
    assert_eq!(ack(&rig.commit()[0]).through_seq, 1);
    assert!(!maker.is_ready());
    maker.prepare(wanted).unwrap();
    assert!(!maker.is_ready(), "it would be what the disk is full of");
    rig.memory.set_capacity(capacity);
    maker.prepare(wanted).unwrap();
    assert!(maker.is_ready());
}
