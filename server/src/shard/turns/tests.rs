#![allow(clippy::unwrap_used)]

use super::*;
use crate::{
    admission::Admission,
    config::Flush,
    shard::testing::{Alarm, batch, gathering, name, poll, session, tenant, tenant_of, weighted, write},
};
use inkpot_proto::v1::ErrorReason;
use proptest::prelude::*;
use std::{collections::HashMap, pin::pin};

const DELAY: Duration = Duration::from_millis(50);

fn policy() -> Flush {
    Flush { records: 10, bytes: 1000, delay: DELAY }
}

fn finish(session: &Arc<SessionLink>, channel: u32) -> Item {
    Item::Finish { session: Arc::clone(session), channel, ending: crate::shard::Ending::default() }
}

/// Session and seq of an append, session and channel of a finish.
fn label(item: &Item) -> (&'static str, u64, u64) {
    match item {
        Item::Write(session, write, _) => ("write", session.id, write.seq),
        Item::Finish { session, channel, .. } => ("finish", session.id, u64::from(*channel)),
        other => panic!("not in these tests: {other:?}"),
    }
}

fn drain(turns: &mut Turns) -> Vec<(&'static str, u64, u64)> {
    std::iter::from_fn(|| turns.take()).map(|item| label(&item)).collect()
}

/// What the next item is charged, and the tenant that has it.
fn serve(turns: &mut Turns) -> Option<(String, u64)> {
    turns.take().map(|item| match item {
        Item::Write(session, write, _) => (session.tenant.name.to_string(), cost(&write)),
        other => panic!("not an append: {other:?}"),
    })
}

fn refused(seq: u64) -> Write {
    Write { channel: 1, seq, body: Err(Box::new(Refused::new(ErrorReason::InvalidField, "no"))) }
}

#[test]
fn items_of_a_tenant_come_in_the_order_they_were_queued() {
    let tenant = tenant();
    let (one, two) = (session(&tenant, 1), session(&tenant, 2));
    let mut turns = Turns::default();
    let now = Instant::now();
    turns.push_batch(batch(&one, &[10, 100_000]), now);
    turns.push(&tenant, finish(&one, 1));
    turns.push_batch(batch(&two, &[1]), now);
    turns.push_batch(batch(&one, &[3, 4]), now);
    turns.push(&tenant, finish(&two, 7));
    assert!(!turns.is_empty());
    let expected = [
        ("write", 1, 1),
        ("write", 1, 2),
        ("finish", 1, 1),
        ("write", 2, 1),
        ("write", 1, 1),
        ("write", 1, 2),
        ("finish", 2, 7),
    ];
    assert_eq!(drain(&mut turns), expected);
    assert!(turns.is_empty() && turns.take().is_none());
}

#[test]
fn batch_without_appends_is_no_item() {
    let one = session(&tenant(), 1);
    let mut turns = Turns::default();
    turns.push_batch(batch(&one, &[]), Instant::now());
    turns.push_batch(batch(&one, &[5]), Instant::now());
    turns.push_batch(batch(&one, &[]), Instant::now());
    assert_eq!(drain(&mut turns), [("write", 1, 1)]);
    assert!(turns.is_empty());
}

#[test]
fn nothing_waits_once_the_last_item_is_taken() {
    let one = session(&tenant(), 1);
    let mut turns = Turns::default();
    let now = Instant::now();
    turns.push_batch(batch(&one, &[5]), now);
    assert!(turns.take().is_some());
    assert_eq!((turns.is_empty(), turns.due(now)), (true, None));
}

#[test]
fn lone_tenant_is_served_without_end_whatever_its_weight_and_sizes() {
    for weight in [1, 1000] {
        let tenant = tenant_of(weighted(&[("t", weight)]), "t");
        let one = session(&tenant, 1);
        let mut turns = Turns::default();
        turns.push_batch(batch(&one, &[3 << 20, 1, 3 << 20, 1]), Instant::now());
        assert_eq!(drain(&mut turns).iter().map(|(_, _, seq)| *seq).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }
}

/// Serves until a tenant has nothing left; returns what each was served, in bytes charged.
fn serve_until_one_is_empty(turns: &mut Turns, mut left: HashMap<String, usize>) -> HashMap<String, u64> {
    let mut served: HashMap<String, u64> = HashMap::new();
    while left.values().all(|left| *left > 0) {
        let (tenant, cost) = serve(turns).unwrap();
        *left.get_mut(&tenant).unwrap() -= 1;
        *served.entry(tenant).or_default() += cost;
    }
    served
}

#[test]
fn tenant_with_large_appends_gets_as_many_bytes_as_one_with_small_ones() {
    let admission = Admission::new(Arc::new(weighted(&[])));
    let (large, small) = (session(&admission.tenant(&name("large")), 1), session(&admission.tenant(&name("small")), 2));
    let mut turns = Turns::default();
    turns.push_batch(batch(&large, &[1 << 20; 20]), Instant::now());
    turns.push_batch(batch(&small, &[1 << 10; 10_000]), Instant::now());
    let left = HashMap::from([("large".to_owned(), 20), ("small".to_owned(), 10_000)]);
    let served = serve_until_one_is_empty(&mut turns, left);
    let (large, small) = (served["large"], served["small"]);
    assert!(small > 9 << 20, "small tenant was served {small} bytes");
    assert!(large.abs_diff(small) <= (1 << 20) + QUANTUM_BYTES, "{large} and {small} bytes");
}

#[test]
fn three_tenants_are_served_by_their_weights() {
    let weights = [("a", 1), ("b", 2), ("c", 5)];
    let admission = Admission::new(Arc::new(weighted(&weights)));
    let mut turns = Turns::default();
    for (tenant, _) in weights {
        turns.push_batch(batch(&session(&admission.tenant(&name(tenant)), 1), &[4 << 10; 5000]), Instant::now());
    }
    let left = weights.iter().map(|(tenant, _)| ((*tenant).to_owned(), 5000)).collect();
    let served = serve_until_one_is_empty(&mut turns, left);
    for (tenant, weight) in weights {
        let share = served[tenant] / weight as u64;
        assert!(share.abs_diff(served["c"] / 5) <= QUANTUM_BYTES, "{tenant} was served {share} bytes a unit of weight");
    }
}

#[test]
fn smallest_appends_are_charged_for_their_place() {
    let one = session(&tenant(), 1);
    let costs = [(1, 256), (255, 256), (256, 256), (257, 257)];
    for (len, charged) in costs {
        assert_eq!(cost(&write(&one.tenant, 1, len, 1)), charged);
    }
    assert_eq!(cost(&refused(1)), 256);
}

#[test]
fn newcomer_is_served_after_one_turn_of_each_other_tenant() {
    let admission = Admission::new(Arc::new(weighted(&[])));
    let tenants = ["a", "b", "c"].map(|tenant| session(&admission.tenant(&name(tenant)), 1));
    let mut turns = Turns::default();
    for busy in &tenants[..2] {
        turns.push_batch(batch(busy, &[16 << 10; 100]), Instant::now());
    }
    for _ in 0..13 {
        turns.take().unwrap();
    }
    turns.push_batch(batch(&tenants[2], &[100]), Instant::now());
    let mut before = HashMap::<String, u64>::new();
    loop {
        let (tenant, cost) = serve(&mut turns).unwrap();
        if tenant == "c" {
            break;
        }
        *before.entry(tenant).or_default() += cost;
    }
    assert!(before.values().all(|bytes| *bytes <= 2 * QUANTUM_BYTES), "{before:?}");
    assert!(before.values().sum::<u64>() <= 2 * QUANTUM_BYTES, "{before:?}");
}

#[test]
fn large_append_is_not_starved_by_small_ones() {
    let admission = Admission::new(Arc::new(weighted(&[("hog", 3)])));
    let (large, hog) = (session(&admission.tenant(&name("large")), 1), session(&admission.tenant(&name("hog")), 2));
    let mut turns = Turns::default();
    turns.push_batch(batch(&hog, &[1 << 10; 20_000]), Instant::now());
    turns.push_batch(batch(&large, &[3 << 20]), Instant::now());
    let mut hogged = 0;
    loop {
        let (tenant, cost) = serve(&mut turns).unwrap();
        if tenant == "large" {
            break;
        }
        hogged += cost;
    }
    assert_eq!(hogged, 3 * (3 << 20), "three times the weight, three times the bytes");
}

#[test]
fn tenant_that_was_away_has_saved_nothing_up() {
    let admission = Admission::new(Arc::new(weighted(&[("a", 100)])));
    let (a, b) = (session(&admission.tenant(&name("a")), 1), session(&admission.tenant(&name("b")), 2));
    let mut turns = Turns::default();
    turns.push_batch(batch(&b, &[1 << 10; 1000]), Instant::now());
    // Of its 6400 KiB it takes 1.
    for _ in 0..3 {
        turns.push_batch(batch(&a, &[1 << 10]), Instant::now());
        while serve(&mut turns).unwrap().0 == "b" {}
    }
    turns.push_batch(batch(&a, &[1 << 10; 10_000]), Instant::now());
    while serve(&mut turns).unwrap().0 == "b" {}
    let mut served = 1 << 10;
    while let (tenant, cost) = serve(&mut turns).unwrap()
        && tenant == "a"
    {
        served += cost;
    }
    assert_eq!(served, 100 * QUANTUM_BYTES);
}

#[test]
fn nothing_is_due_when_nothing_waits() {
    assert_eq!(Turns::default().due(Instant::now()), None);
}

#[test]
fn appends_may_gather_for_the_delay_of_the_first() {
    let one = session(&gathering(policy()), 1);
    let mut turns = Turns::default();
    let began = Instant::now();
    turns.push_batch(batch(&one, &[1]), began);
    turns.push_batch(batch(&one, &[1]), began + DELAY / 2);
    for later in [Duration::ZERO, DELAY, DELAY * 2] {
        assert_eq!(turns.due(began + later), Some(began + DELAY));
    }
}

#[test]
fn gathering_ends_with_so_many_records() {
    let tenant = gathering(policy());
    let one = session(&tenant, 1);
    let mut turns = Turns::default();
    let now = Instant::now();
    let of_records = |seq, records| Batch {
        session: Arc::clone(&one),
        writes: vec![write(&tenant, seq, 1, records)],
        since: Instant::now(),
    };
    turns.push_batch(of_records(1, 4), now);
    turns.push_batch(of_records(2, 5), now);
    assert_eq!(turns.due(now), Some(now + DELAY));
    turns.push_batch(of_records(3, 1), now);
    assert_eq!(turns.due(now), Some(now));
    assert_eq!(label(&turns.take().unwrap()), ("write", 1, 1));
    assert_eq!(turns.due(now), Some(now + DELAY), "what was taken does not count");
}

#[test]
fn gathering_ends_with_so_many_bytes() {
    let one = session(&gathering(policy()), 1);
    let mut turns = Turns::default();
    let now = Instant::now();
    turns.push_batch(batch(&one, &[500, 499]), now);
    assert_eq!(turns.due(now), Some(now + DELAY));
    turns.push_batch(batch(&one, &[1]), now);
    assert_eq!(turns.due(now), Some(now));
    turns.take().unwrap();
    assert_eq!(turns.due(now), Some(now + DELAY));
}

#[test]
fn without_a_delay_everything_is_due_at_once() {
    let one = session(&gathering(Flush { delay: Duration::ZERO, ..policy() }), 1);
    let mut turns = Turns::default();
    let now = Instant::now();
    turns.push_batch(batch(&one, &[1]), now);
    assert_eq!(turns.due(now), Some(now));
}

#[test]
fn nothing_gathers_behind_an_item_a_refusal_or_a_flush() {
    let one = session(&gathering(policy()), 1);
    let now = Instant::now();
    let urged: [fn(&mut Turns, &Arc<SessionLink>); 3] = [
        |turns, one| turns.push(&one.tenant, finish(one, 1)),
        |turns, one| {
            let writes = vec![write(&one.tenant, 1, 1, 1), refused(2)];
            turns.push_batch(Batch { session: Arc::clone(one), writes, since: Instant::now() }, Instant::now());
        },
        |turns, _| turns.flush(),
    ];
    for urge in urged {
        let mut turns = Turns::default();
        turns.push_batch(batch(&one, &[1]), now);
        assert_eq!(turns.due(now), Some(now + DELAY));
        urge(&mut turns, &one);
        assert_eq!(turns.due(now), Some(now));
        drain(&mut turns);
        assert_eq!(turns.due(now), None);
        turns.push_batch(batch(&one, &[1]), now + DELAY);
        assert_eq!(turns.due(now + DELAY), Some(now + DELAY * 2), "what comes later gathers anew");
    }
}

#[test]
fn what_is_left_of_a_turn_is_due_as_it_was() {
    let one = session(&gathering(policy()), 1);
    let mut turns = Turns::default();
    let began = Instant::now();
    turns.push_batch(batch(&one, &[1, 1]), began);
    turns.take().unwrap();
    turns.push_batch(batch(&one, &[1]), began + DELAY * 2);
    assert_eq!(turns.due(began + DELAY * 2), Some(began + DELAY));
}

#[test]
fn nothing_gathers_while_a_session_waits_for_the_permits() {
    let mut config = weighted(&[]);
    (config.flush, config.tenant_defaults.writes_in_flight) = (policy(), 1);
    let tenant = tenant_of(config, "t");
    let one = session(&tenant, 1);
    let mut turns = Turns::default();
    let now = Instant::now();
    turns.push_batch(batch(&one, &[1]), now);
    {
        let mut waiting = pin!(tenant.acquire(1));
        assert!(poll(&Arc::new(Alarm::default()), waiting.as_mut()).is_pending());
        assert_eq!(turns.due(now), Some(now));
    }
    assert_eq!(turns.due(now), Some(now + DELAY), "nobody waits any longer");
}

#[test]
fn first_of_all_tenants_decides() {
    let mut config = weighted(&[]);
    config.flush = policy();
    let admission = Admission::new(Arc::new(config));
    let (a, b) = (session(&admission.tenant(&name("a")), 1), session(&admission.tenant(&name("b")), 2));
    let mut turns = Turns::default();
    let now = Instant::now();
    turns.push_batch(batch(&a, &[1]), now + DELAY / 5);
    turns.push_batch(batch(&b, &[1]), now);
    assert_eq!(turns.due(now), Some(now + DELAY));
    turns.push(&a.tenant, finish(&a, 1));
    assert_eq!(turns.due(now), Some(now));
}

fn backlog() -> impl Strategy<Value = Vec<(u32, Vec<usize>)>> {
    let len = prop_oneof![4 => 1..2000usize, 2 => 2000..100_000usize, 1 => 100_000..400_000usize];
    prop::collection::vec((1..6u32, prop::collection::vec(len, 1..40)), 2..5)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// The bound of deficit round robin: while two tenants both have something waiting, what they were served by weight
    /// differs by a quantum and a largest append at most.
    #[test]
    fn everything_is_served_once_in_order_and_fairly(tenants in backlog()) {
        let names: Vec<String> = (0..tenants.len()).map(|n| format!("t{n}")).collect();
        let weights: Vec<(&str, u32)> = names.iter().map(String::as_str).zip(tenants.iter().map(|(weight, _)| *weight)).collect();
        let admission = Admission::new(Arc::new(weighted(&weights)));
        let mut turns = Turns::default();
        for (n, (_, lens)) in tenants.iter().enumerate() {
            turns.push_batch(batch(&session(&admission.tenant(&name(&names[n])), n as u64), lens), Instant::now());
        }
        let mut served = vec![(0usize, 0u64); tenants.len()];
        while let Some(item) = turns.take() {
            let Item::Write(session, write, _) = item else { panic!("not an append: {item:?}") };
            let at = usize::try_from(session.id).unwrap();
            served[at] = (served[at].0 + 1, served[at].1 + cost(&write));
            prop_assert_eq!(write.seq, served[at].0 as u64);
            let waiting: Vec<usize> = (0..tenants.len()).filter(|n| served[*n].0 < tenants[*n].1.len()).collect();
            for (a, b) in waiting.iter().flat_map(|a| waiting.iter().map(move |b| (*a, *b))) {
                let share = |n: usize| served[n].1 as f64 / f64::from(tenants[n].0);
                let largest = |n: usize| *tenants[n].1.iter().max().unwrap() as f64 / f64::from(tenants[n].0);
                let bound = QUANTUM_BYTES as f64 + largest(a).max(256.0) + largest(b).max(256.0);
                prop_assert!(share(a) - share(b) <= bound, "tenants {} and {}: {} and {}", a, b, share(a), share(b));
            }
        }
        prop_assert!(served.iter().zip(&tenants).all(|((count, _), (_, lens))| *count == lens.len()));
        prop_assert!(turns.is_empty());
        prop_assert!(admission.is_at_rest());
    }
}
