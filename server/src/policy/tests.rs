#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

fn at(text: &str) -> SystemTime {
    humantime::parse_rfc3339(text).unwrap()
}

fn seconds(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn path(text: &str) -> FilePath {
    FilePath::parse(text).unwrap()
}

fn rotates(rotate: Rotate) -> Policy {
    Policy { rotate, ..Policy::default() }
}

fn keeps(keep: Keep) -> Policy {
    Policy { keep, ..Policy::default() }
}

fn of(pattern: &str, compress: bool) -> Policy {
    Policy { pattern: Pattern::parse(pattern).unwrap(), compress, ..Policy::default() }
}

#[test]
fn first_policy_that_matches_wins_and_own_ones_come_first() {
    let policies = Policies::new(&[of("logs/*", true), of("logs/a", false)], &[of("**", false)]);
    let compresses = |text| policies.of(&path(text)).map(|policy| policy.compress);
    assert_eq!(compresses("logs/a"), Some(true));
    assert_eq!(compresses("other"), Some(false));
    assert_eq!(Policies::new(&[], &[of("logs/*", true)]).of(&path("other")), None);
}

#[test]
fn file_is_cut_before_the_append_that_would_make_it_too_large() {
    let policy = rotates(Rotate { size: Some(100), ..Rotate::default() });
    let due = |size, len| policy.is_due(Facts { size, began: seconds(0) }, len, seconds(1));
    assert!(!due(60, 40));
    assert!(due(60, 41));
    assert!(due(100, 1));
    assert!(!due(0, 1000), "an empty file is never cut, so a large append gets a file of its own");
    assert!(due(1000, 1), "and is cut off before the next");
    assert!(due(1, u64::MAX));
}

#[test]
fn file_is_cut_when_its_first_byte_is_old_enough() {
    let policy = rotates(Rotate { age: Some(Duration::from_secs(60)), ..Rotate::default() });
    let due = |size, began, now| policy.is_due(Facts { size, began }, 1, now);
    assert!(!due(1, seconds(100), seconds(160) - Duration::from_nanos(1)));
    assert!(due(1, seconds(100), seconds(160)));
    assert!(!due(0, seconds(100), seconds(160)));
    assert!(!due(1, seconds(160), seconds(100)), "the clock went back");
}

#[test]
fn clock_cuts_at_its_boundaries_in_utc() {
    use ClockTime as T;
    let cases = [
        (T::Hourly, "2026-11-23T10:00:00Z", "2026-11-23T10:59:59.999Z", false),
        (T::Hourly, "2026-11-23T10:59:59.999Z", "2026-11-23T11:00:00Z", true),
        (T::Daily, "2026-11-23T00:00:00Z", "2026-11-23T23:59:59.999Z", false),
        (T::Daily, "2026-11-23T23:59:59.999Z", "2026-11-24T00:00:00Z", true),
        (T::Daily, "2028-02-28T23:59:59Z", "2028-02-29T00:00:00Z", true),
        (T::Daily, "2028-02-29T00:00:00Z", "2028-02-29T23:59:59Z", false),
        (T::Daily, "2028-02-29T23:59:59Z", "2028-03-01T00:00:00Z", true),
        (T::Daily, "2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z", true),
        // 2026-11-23 is a Monday.
        (T::Weekly, "2026-11-22T23:59:59.999Z", "2026-11-23T00:00:00Z", true),
        (T::Weekly, "2026-11-23T00:00:00Z", "2026-11-29T23:59:59.999Z", false),
        (T::Weekly, "2026-11-29T23:59:59Z", "2026-11-30T00:00:00Z", true),
        (T::Weekly, "2028-02-28T00:00:00Z", "2028-03-05T23:59:59Z", false),
        (T::Weekly, "2028-02-28T00:00:00Z", "2028-03-06T00:00:00Z", true),
        (T::Weekly, "1970-01-04T23:59:59Z", "1970-01-05T00:00:00Z", true),
        (T::Daily, "2026-11-24T00:00:00Z", "2026-11-23T00:00:00Z", false),
    ];
    for (time, began, now, due) in cases {
        let policy = rotates(Rotate { at: Some(time), ..Rotate::default() });
        assert_eq!(policy.is_due(Facts { size: 1, began: at(began) }, 1, at(now)), due, "{time:?} {began} {now}");
        assert!(!policy.is_due(Facts { size: 0, began: at(began) }, 1, at(now)));
    }
}

#[test]
fn any_reason_is_enough_and_without_one_a_file_is_never_cut() {
    let facts = Facts { size: 50, began: seconds(0) };
    let rotate = Rotate { size: Some(100), age: Some(Duration::from_secs(10)), ..Rotate::default() };
    assert!(rotates(rotate.clone()).is_due(facts, 51, seconds(1)));
    assert!(rotates(rotate.clone()).is_due(facts, 1, seconds(10)));
    assert!(!rotates(rotate).is_due(facts, 1, seconds(1)));
    assert!(!Policy::default().is_due(facts, u64::MAX, seconds(1 << 40)));
}

#[test]
fn clock_times_are_read_as_they_are_shown() {
    for time in [ClockTime::Hourly, ClockTime::Daily, ClockTime::Weekly] {
        assert_eq!(ClockTime::parse(time.name()), Ok(time));
    }
    assert!(ClockTime::parse("monthly").unwrap_err().contains("\"weekly\""));
}

#[test]
fn rotated_names_of_the_policy_and_the_default_are_known_again_and_no_others() {
    let name = NameTemplate::parse("{stem}@{generation}{ext}").unwrap();
    let policy = rotates(Rotate { name, ..Rotate::default() });
    let file = path("mail/user.log");
    let rotated = policy.rotated_name(&file, at("2026-11-23T10:15:00Z"), 7, |_| false).unwrap();
    assert_eq!(rotated.as_str(), "mail/user@0000000000000007.log");
    assert!(rotated.as_str().starts_with(&Policy::rotated_prefix(&file)));
    assert!(policy.is_rotated_name_of(&file, &rotated));
    assert!(policy.is_rotated_name_of(&file, &path("mail/user@20261123T101500000Z.log")));
    assert!(!policy.is_rotated_name_of(&file, &path("mail/user@host.log")), "somebody's own file");
    assert!(!policy.is_rotated_name_of(&file, &file));
}

/// Files of these sizes, rotated so many seconds after the epoch.
fn rotated(files: &[(u64, u64)]) -> Vec<RotatedFile> {
    files.iter().map(|(size, time)| RotatedFile { size: *size, rotated_at: seconds(*time) }).collect()
}

#[test]
fn newest_are_kept_up_to_a_count() {
    let files = rotated(&[(1, 30), (1, 10), (1, 40), (1, 20)]);
    let removed = |count| keeps(Keep { count: Some(count), ..Keep::default() }).to_remove(&files, seconds(50));
    assert_eq!(removed(4), [0_usize; 0]);
    assert_eq!(removed(2), [1, 3], "the oldest first");
    assert_eq!(removed(1), [1, 3, 0]);
    let same_time = rotated(&[(1, 10), (1, 10), (1, 10)]);
    assert_eq!(keeps(Keep { count: Some(1), ..Keep::default() }).to_remove(&same_time, seconds(50)), [0, 1]);
}

#[test]
fn those_that_are_not_too_old_are_kept() {
    let policy = keeps(Keep { age: Some(Duration::from_secs(20)), ..Keep::default() });
    let files = rotated(&[(1, 29), (1, 30), (1, 31), (1, 70)]);
    assert_eq!(policy.to_remove(&files, seconds(50)), [0], "one from the future is not old");
}

#[test]
fn newest_are_kept_while_their_bytes_fit() {
    let policy = |bytes| keeps(Keep { bytes: Some(bytes), ..Keep::default() });
    let files = rotated(&[(10, 1), (50, 2), (30, 3)]);
    assert_eq!(policy(90).to_remove(&files, seconds(9)), [0_usize; 0]);
    assert_eq!(policy(89).to_remove(&files, seconds(9)), [0]);
    assert_eq!(policy(79).to_remove(&files, seconds(9)), [0, 1], "an older small one does not outlive a newer one");
    assert_eq!(policy(29).to_remove(&files, seconds(9)), [0, 1, 2]);
    assert_eq!(policy(u64::MAX).to_remove(&rotated(&[(u64::MAX, 1), (u64::MAX, 2)]), seconds(9)), [0_usize; 0]);
}

#[test]
fn without_keep_all_are_kept() {
    let removed = Policy::default().to_remove(&rotated(&[(u64::MAX, 0), (1, 1)]), seconds(1 << 40));
    assert!(removed.is_empty() && !Policy::default().keep.is_set() && !Policy::default().rotate.is_set());
}

proptest! {
    #[test]
    fn what_is_kept_is_newer_than_what_is_removed_and_within_every_bound(
        files in prop::collection::vec((0..100_u64, 0..100_u64), 0..20),
        count in prop::option::of(1..20_u32),
        age in prop::option::of(0..100_u64),
        bytes in prop::option::of(1..1000_u64),
    ) {
        let keep = Keep { count, age: age.map(Duration::from_secs), bytes };
        let now = 100;
        let removed = keeps(keep).to_remove(&rotated(&files), seconds(now));
        let kept: Vec<_> = (0..files.len()).filter(|index| !removed.contains(index)).collect();
        let newness = |index: &usize| (files[*index].1, *index);
        prop_assert!(removed.is_sorted_by_key(newness));
        prop_assert!(removed.iter().map(newness).max() < kept.iter().map(newness).min() || kept.is_empty());
        let within = |kept: &[usize]| {
            count.is_none_or(|count| kept.len() <= count as usize)
                && age.is_none_or(|age| kept.iter().all(|index| now - files[*index].1 <= age))
                && bytes.is_none_or(|bytes| kept.iter().map(|index| files[*index].0).sum::<u64>() <= bytes)
        };
        prop_assert!(within(&kept));
        if let Some(last) = removed.last() {
            prop_assert!(!within(&[&kept[..], &[*last]].concat()), "nothing is removed without need");
        }
    }

    #[test]
    fn file_stays_within_its_size_but_for_one_append(
        most in 1..1000_u64,
        age in prop::option::of(1..1000_u64),
        clock in prop::sample::select(&[None, Some(ClockTime::Hourly), Some(ClockTime::Daily), Some(ClockTime::Weekly)][..]),
        appends in prop::collection::vec((1..500_u64, 0..7200_u64), 1..50),
    ) {
        let policy = rotates(Rotate { size: Some(most), age: age.map(Duration::from_secs), at: clock, ..Rotate::default() });
        let (mut facts, mut now) = (Facts { size: 0, began: seconds(0) }, 0);
        for (len, pause) in appends {
            now += pause;
            if facts.size == 0 || policy.is_due(facts, len, seconds(now)) {
                facts = Facts { size: 0, began: seconds(now) };
                prop_assert!(!policy.is_due(facts, len, seconds(now)), "once is enough");
            }
            facts.size += len;
            prop_assert!(facts.size <= most || facts.size == len);
        }
    }
}

#[test]
fn rotated_file_is_known_by_the_path_that_it_had() {
    let of = |pattern: &str, name: &str| {
        let rotate = Rotate { size: Some(1024), name: NameTemplate::parse(name).unwrap(), ..Rotate::default() };
        Policy { pattern: Pattern::parse(pattern).unwrap(), rotate, ..Policy::default() }
    };
    let policies =
        Policies::new(&[of("own/*", "{stem}@old@{generation}{ext}"), of("logs/*", "{stem}@{time}{ext}")], &[]);
    let now = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for base in ["logs/app.log", "logs/app", "logs/app.tar.gz", "logs/@app.log", "logs/app@1.b.log", "own/app.log"] {
        let base = path(base);
        let rotated = policies.of(&base).unwrap().rotated_name(&base, now, 7, |_| false).unwrap();
        assert_eq!(policies.of_rotated(&rotated).map(|(base, _)| base), Some(base));
    }
    for other in ["logs/app.log", "logs/app@host.log", "other/app@20010909T014640000Z.log"] {
        assert_eq!(policies.of_rotated(&path(other)), None, "{other}");
    }
}
