#![allow(clippy::unwrap_used)]

use super::*;
use crate::{
    config::{Tenant as TenantConfig, TenantOverrides},
    shard::testing::{Alarm, name, poll},
};
use proptest::prelude::*;
use std::{
    collections::VecDeque,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

/// Tenants `a` and `b` may have this many writes and bytes each, on a node with this much memory.
fn admission(writes: u32, bytes: u64, memory: u64) -> Admission {
    let mut config = Config::default();
    (config.tenant_defaults.writes_in_flight, config.tenant_defaults.bytes_in_flight) = (writes, bytes);
    config.memory.writes_bytes = memory;
    Admission::new(Arc::new(config))
}

fn tenant(admission: &Admission) -> Arc<Tenant> {
    admission.tenant(&name("a"))
}

/// Permits that may be taken now: writes, bytes, memory.
fn free(tenant: &Tenant) -> (usize, usize, usize) {
    (tenant.writes.available_permits(), tenant.bytes.available_permits(), tenant.memory.bytes.available_permits())
}

fn ready<T>(poll: Poll<T>) -> T {
    match poll {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn tenant_is_one_and_has_its_own_limits_or_the_defaults() {
    let mut config = Config::default();
    let own = TenantOverrides { writes_in_flight: Some(7), weight: Some(3), ..TenantOverrides::default() };
    config.tenants.insert("a".to_owned(), TenantConfig { limits: own, ..TenantConfig::default() });
    config.flush.delay = Duration::from_millis(9);
    config.tenant_defaults.weight = 0;
    let (writes, bytes) = (u64::from(config.tenant_defaults.writes_in_flight), config.tenant_defaults.bytes_in_flight);
    let memory = config.memory.writes_bytes;
    let admission = Admission::new(Arc::new(config));
    let (a, b) = (admission.tenant(&name("a")), admission.tenant(&name("b")));
    assert!(Arc::ptr_eq(&a, &admission.tenant(&name("a"))) && !Arc::ptr_eq(&a, &b));
    let limits = |tenant: &Tenant| {
        [Limit::WritesInFlight, Limit::BytesInFlight, Limit::NodeMemory].map(|limit| tenant.limit(limit))
    };
    assert_eq!((limits(&a), a.weight), ([7, bytes, memory], 3));
    assert_eq!((limits(&b), b.weight), ([writes, bytes, memory], 1), "no share at all would be none for ever");
    assert_eq!(a.flush.delay, Duration::from_millis(9));
}

#[test]
fn limits_are_named_as_in_the_configuration_and_have_their_reasons() {
    let named = [
        (Limit::WritesInFlight, "writes_in_flight", ErrorReason::QuotaExceeded),
        (Limit::BytesInFlight, "bytes_in_flight", ErrorReason::QuotaExceeded),
        (Limit::NodeMemory, "memory.writes_bytes", ErrorReason::NodeMemory),
    ];
    for (limit, name, reason) in named {
        assert_eq!((limit.name(), limit.reason()), (name, reason));
    }
}

#[test]
fn first_limit_without_room_is_told_and_nothing_is_taken() {
    let cases = [
        (admission(1, 4096, 4096), Limit::WritesInFlight),
        (admission(1, 1000, 1000), Limit::WritesInFlight),
        (admission(9, 1000, 1000), Limit::BytesInFlight),
        (admission(9, 4096, 1000), Limit::NodeMemory),
    ];
    for (admission, limit) in cases {
        let tenant = tenant(&admission);
        let held = tenant.try_acquire(600).unwrap();
        let before = free(&tenant);
        assert_eq!(tenant.try_acquire(600).unwrap_err(), limit);
        assert_eq!((free(&tenant), tenant.in_flight()), (before, (1, 600)));
        assert!(!admission.is_at_rest());
        drop(held);
        assert!(admission.is_at_rest());
        tenant.try_acquire(600).unwrap();
    }
}

#[test]
fn tenant_without_room_takes_none_from_another() {
    let admission = admission(2, 1000, 5000);
    let (a, b) = (admission.tenant(&name("a")), admission.tenant(&name("b")));
    let _held = [a.try_acquire(400).unwrap(), a.try_acquire(400).unwrap()];
    assert_eq!(a.try_acquire(100).unwrap_err(), Limit::WritesInFlight);
    b.try_acquire(1000).unwrap();
    assert_eq!((a.in_flight(), b.in_flight()), ((2, 800), (0, 0)));
}

#[test]
fn small_appends_are_charged_for_their_place() {
    let admission = admission(9, 10_000, 10_000);
    let tenant = tenant(&admission);
    for (len, charged) in [(0, 256), (1, 256), (256, 256), (257, 257)] {
        let _held = tenant.try_acquire(len).unwrap();
        assert_eq!(tenant.in_flight(), (1, charged));
    }
}

#[test]
fn as_much_comes_back_as_was_taken_however_large_the_append() {
    let admission = admission(9, u64::MAX, u64::MAX);
    let tenant = tenant(&admission);
    let before = free(&tenant);
    for len in [u64::from(u32::MAX), u64::from(u32::MAX) + 1, u64::MAX] {
        drop(tenant.try_acquire(len).unwrap());
        let alarm = Arc::new(Alarm::default());
        drop(ready(poll(&alarm, pin!(tenant.acquire(len)))));
        assert_eq!(free(&tenant), before);
    }
    assert!(admission.is_at_rest());
}

#[test]
fn merged_permits_come_back_once_and_together() {
    let admission = admission(9, 10_000, 10_000);
    let tenant = tenant(&admission);
    let mut held = tenant.try_acquire(1000).unwrap();
    held.merge(tenant.try_acquire(500).unwrap());
    let mut more = tenant.try_acquire(1).unwrap();
    more.merge(tenant.try_acquire(2).unwrap());
    held.merge(more);
    assert_eq!(tenant.in_flight(), (4, 1000 + 500 + 2 * 256));
    assert!(Arc::ptr_eq(held.tenant(), &tenant));
    drop(held);
    assert_eq!(free(&tenant), (9, 10_000, 10_000));
}

#[test]
fn waiting_append_gets_its_permits_when_they_come_back() {
    for (admission, len) in
        [(admission(1, 9000, 9000), 300), (admission(9, 1000, 9000), 600), (admission(9, 9000, 1000), 600)]
    {
        let tenant = tenant(&admission);
        let held = tenant.try_acquire(600).unwrap();
        let alarm = Arc::new(Alarm::default());
        let mut waiting = pin!(tenant.acquire(len));
        assert!(poll(&alarm, waiting.as_mut()).is_pending());
        assert_eq!(alarm.rings(), 0);
        drop(held);
        assert_eq!(alarm.rings(), 1);
        let permit = ready(poll(&alarm, waiting.as_mut()));
        assert_eq!(tenant.in_flight(), (1, usize::try_from(len).unwrap()));
        drop(permit);
        assert!(admission.is_at_rest());
    }
}

#[test]
fn small_append_does_not_overtake_a_large_one_that_waits() {
    let admission = admission(9, 1000, 9000);
    let tenant = tenant(&admission);
    let (first, second) = (tenant.try_acquire(300).unwrap(), tenant.try_acquire(300).unwrap());
    let [large_alarm, small_alarm] = [(); 2].map(|()| Arc::new(Alarm::default()));
    let mut large = pin!(tenant.acquire(900));
    let mut small = pin!(tenant.acquire(256));
    assert!(poll(&large_alarm, large.as_mut()).is_pending());
    assert!(poll(&small_alarm, small.as_mut()).is_pending());
    drop(first);
    // 700 bytes are free, and enough for the small one, and for one that does not wait.
    assert_eq!((large_alarm.rings(), small_alarm.rings()), (0, 0));
    assert_eq!(tenant.try_acquire(256).unwrap_err(), Limit::BytesInFlight);
    drop(second);
    assert_eq!((large_alarm.rings(), small_alarm.rings()), (1, 0));
    let permit = ready(poll(&large_alarm, large.as_mut()));
    assert!(poll(&small_alarm, small.as_mut()).is_pending());
    drop(permit);
    assert_eq!(small_alarm.rings(), 1);
    drop(ready(poll(&small_alarm, small.as_mut())));
    assert!(admission.is_at_rest());
}

#[test]
fn append_that_waits_for_memory_is_not_overtaken_by_another_tenant() {
    let admission = admission(9, 9000, 1000);
    let (a, b) = (admission.tenant(&name("a")), admission.tenant(&name("b")));
    let held = a.try_acquire(600).unwrap();
    let alarm = Arc::new(Alarm::default());
    let mut waiting = pin!(a.acquire(900));
    assert!(poll(&alarm, waiting.as_mut()).is_pending());
    assert_eq!(b.try_acquire(256).unwrap_err(), Limit::NodeMemory);
    assert_eq!(b.in_flight(), (0, 0));
    drop(held);
    drop(ready(poll(&alarm, waiting.as_mut())));
    b.try_acquire(256).unwrap();
}

/// An admission in which an append of 300 bytes waits at one of the three awaits of `acquire`.
fn stuck(at: Limit) -> (Admission, Permit) {
    let admission = match at {
        Limit::WritesInFlight => admission(1, 9000, 9000),
        Limit::BytesInFlight => admission(9, 800, 9000),
        Limit::NodeMemory => admission(9, 9000, 800),
    };
    let held = tenant(&admission).try_acquire(600).unwrap();
    (admission, held)
}

const LIMITS: [Limit; 3] = [Limit::WritesInFlight, Limit::BytesInFlight, Limit::NodeMemory];

#[test]
fn cancelled_acquire_leaks_nothing_wherever_it_waits() {
    for at in LIMITS {
        let (admission, held) = stuck(at);
        let tenant = tenant(&admission);
        let before = free(&tenant);
        drop(Box::pin(tenant.acquire(300)));
        assert_eq!(free(&tenant), before, "never polled");
        let mut waiting = Box::pin(tenant.acquire(300));
        assert!(poll(&Arc::new(Alarm::default()), waiting.as_mut()).is_pending());
        assert!(tenant.is_waited_for());
        drop(waiting);
        assert_eq!((free(&tenant), tenant.in_flight()), (before, (1, 600)), "at {at:?}");
        assert!(!tenant.is_waited_for());
        drop(held);
        assert!(admission.is_at_rest());
    }
}

#[test]
fn acquire_that_is_cancelled_after_it_was_given_permits_hands_them_on() {
    for at in LIMITS {
        let (admission, held) = stuck(at);
        let tenant = tenant(&admission);
        let [first_alarm, next_alarm] = [(); 2].map(|()| Arc::new(Alarm::default()));
        let mut first = Box::pin(tenant.acquire(300));
        let mut next = pin!(tenant.acquire(700));
        assert!(poll(&first_alarm, first.as_mut()).is_pending());
        assert!(poll(&next_alarm, next.as_mut()).is_pending());
        drop(held);
        assert_eq!((first_alarm.rings(), next_alarm.rings()), (1, 0));
        drop(first);
        assert_eq!(next_alarm.rings(), 1, "at {at:?}");
        drop(ready(poll(&next_alarm, next.as_mut())));
        assert!(admission.is_at_rest() && !tenant.is_waited_for());
    }
}

#[test]
fn session_that_begins_to_wait_hurries_the_shards() {
    let (admission, _held) = stuck(Limit::NodeMemory);
    let tenant = tenant(&admission);
    let alarm = Arc::new(Alarm::default());
    let mut hurried = pin!(admission.hurried());
    assert!(poll(&alarm, hurried.as_mut()).is_pending());
    let mut waiting = pin!(tenant.acquire(300));
    assert!(poll(&Arc::new(Alarm::default()), waiting.as_mut()).is_pending());
    assert_eq!(alarm.rings(), 1);
    ready(poll(&alarm, hurried.as_mut()));
}

#[test]
fn session_that_goes_on_to_wait_for_the_memory_hurries_again() {
    let admission = admission(9, 800, 1000);
    let (a, b) = (admission.tenant(&name("a")), admission.tenant(&name("b")));
    let (of_a, of_b) = (a.try_acquire(300).unwrap(), b.try_acquire(600).unwrap());
    let mut waiting = pin!(a.acquire(600));
    assert!(poll(&Arc::new(Alarm::default()), waiting.as_mut()).is_pending());
    assert_eq!((a.is_waited_for(), b.is_waited_for()), (true, false), "it waits for its own tenant");
    let alarm = Arc::new(Alarm::default());
    let mut hurried = pin!(admission.hurried());
    assert!(poll(&alarm, hurried.as_mut()).is_pending());
    drop(of_a);
    assert!(poll(&Arc::new(Alarm::default()), waiting.as_mut()).is_pending());
    assert_eq!((a.is_waited_for(), b.is_waited_for()), (true, true), "it waits for what any tenant holds");
    ready(poll(&alarm, hurried.as_mut()));
    drop(of_b);
    drop(ready(poll(&alarm, waiting.as_mut())));
    assert_eq!((a.is_waited_for(), b.is_waited_for()), (false, false));
    assert!(admission.is_at_rest());
}

#[test]
fn nobody_is_at_rest_while_a_waiting_append_holds_a_part() {
    let (admission, held) = stuck(Limit::NodeMemory);
    let tenant = tenant(&admission);
    let mut waiting = Box::pin(tenant.acquire(700));
    assert!(poll(&Arc::new(Alarm::default()), waiting.as_mut()).is_pending());
    drop(held);
    assert!(!admission.is_at_rest(), "it was given its permits and has not looked");
    drop(waiting);
    assert!(admission.is_at_rest());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn crowd_that_comes_waits_and_gives_up_leaves_everything_at_rest() {
    let admission = Arc::new(admission(3, 2000, 3000));
    let crowd = (0..200u64).map(|n| {
        let tenant = admission.tenant(&name(if n % 2 == 0 { "a" } else { "b" }));
        tokio::spawn(async move {
            for round in 0..20 {
                let patience = Duration::from_micros(if (n + round) % 3 == 0 { 1 } else { 20_000_000 });
                let permit = tokio::time::timeout(patience, tenant.acquire((n * 37 + round * 101) % 2000)).await;
                let (writes, bytes) = tenant.in_flight();
                assert!(writes <= 3 && bytes <= 2000);
                tokio::task::yield_now().await;
                assert!(permit.is_ok() || patience < Duration::from_secs(1), "it waits for ever");
            }
        })
    });
    for member in crowd.collect::<Vec<_>>() {
        member.await.unwrap();
    }
    assert!(admission.is_at_rest());
}

#[derive(Clone, Debug)]
enum Step {
    Try(usize, u64),
    Acquire(usize, u64),
    Give(usize),
    Merge(usize, usize),
    Cancel(usize),
    Look(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let len = || prop_oneof![0..300u64, 300..1000u64];
    let n = || 0..8usize;
    prop_oneof![
        (0..2usize, len()).prop_map(|(tenant, len)| Step::Try(tenant, len)),
        (0..2usize, len()).prop_map(|(tenant, len)| Step::Acquire(tenant, len)),
        n().prop_map(Step::Give),
        (n(), n()).prop_map(|(a, b)| Step::Merge(a, b)),
        n().prop_map(Step::Cancel),
        n().prop_map(Step::Look),
    ]
}

type Wait = Pin<Box<dyn Future<Output = Permit>>>;

fn acquire(tenant: &Arc<Tenant>, len: u64) -> Wait {
    let tenant = Arc::clone(tenant);
    Box::pin(async move { tenant.acquire(len).await })
}

proptest! {
    #[test]
    fn whatever_happens_limits_hold_and_everything_comes_back(steps in prop::collection::vec(step(), 1..80)) {
        let admission = admission(4, 2000, 2500);
        let tenants = ["a", "b"].map(|tenant| admission.tenant(&name(tenant)));
        let alarm = Arc::new(Alarm::default());
        let mut held: Vec<Permit> = Vec::new();
        let mut waiting: VecDeque<Wait> = VecDeque::new();
        for step in steps {
            match step {
                Step::Try(tenant, len) => held.extend(tenants[tenant].try_acquire(len)),
                Step::Acquire(tenant, len) => waiting.push_back(acquire(&tenants[tenant], len)),
                Step::Give(n) if n < held.len() => drop(held.swap_remove(n)),
                Step::Merge(a, b) if a < b && b < held.len() && Arc::ptr_eq(held[a].tenant(), held[b].tenant()) => {
                    let other = held.swap_remove(b);
                    held[a].merge(other);
                }
                Step::Cancel(n) => drop(waiting.remove(n)),
                Step::Look(n) if n < waiting.len() => {
                    if let Poll::Ready(permit) = poll(&alarm, waiting[n].as_mut()) {
                        held.push(permit);
                        drop(waiting.remove(n));
                    }
                }
                _ => {}
            }
            for tenant in &tenants {
                let mine = || held.iter().filter(|permit| Arc::ptr_eq(permit.tenant(), tenant));
                let (writes, bytes) = tenant.in_flight();
                prop_assert!(writes <= 4 && bytes <= 2000);
                prop_assert!(writes >= mine().map(|permit| permit.writes as usize).sum());
                prop_assert!(bytes as u64 >= mine().map(|permit| permit.bytes).sum());
            }
            prop_assert!(held.iter().map(|permit| permit.bytes).sum::<u64>() <= 2500);
            prop_assert!(free(&tenants[0]).2 <= 2500);
        }
        held.clear();
        // Whoever waits gets in, one after the other, if only those that are done give back.
        for _ in 0..waiting.len() * 3 {
            waiting.retain_mut(|wait| poll(&alarm, wait.as_mut()).is_pending());
        }
        prop_assert!(waiting.is_empty(), "{} wait for ever", waiting.len());
        prop_assert!(admission.is_at_rest());
        prop_assert_eq!((free(&tenants[0]), free(&tenants[1])), ((4, 2000, 2500), (4, 2000, 2500)));
        prop_assert!(!tenants[0].is_waited_for() && !tenants[1].is_waited_for());
    }
}
