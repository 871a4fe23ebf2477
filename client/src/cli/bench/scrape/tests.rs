#![allow(clippy::unwrap_used)]
use super::*;

const ANSWER: &str = "HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\n\
    # HELP inkpot_commit_appends Appends that a group commit acknowledged.\n\
    inkpot_commit_appends_sum{shard=\"0\"} 300\n\
    inkpot_commit_appends_sum{shard=\"1\"} 20\n\
    inkpot_commit_appends_count{shard=\"0\"} 4\n\
    inkpot_wal_sync_duration_seconds_count{shard=\"0\"} 7\n\
    inkpot_wal_sync_duration_seconds_counted 1000\n";

#[test]
fn counts_are_summed_over_the_shards() {
    let counts = parse(ANSWER).unwrap();
    assert_eq!(counts, Counts { syncs: 7.0, commits: 4.0, appends: 320.0 });
    assert_eq!(counts.since(Counts { syncs: 2.0, commits: 1.0, appends: 20.0 }).appends, 300.0);
}

#[test]
fn other_answers_are_refused() {
    for answer in ["", "HTTP/1.0 404 Not Found\r\n\r\ninkpot_x 1", "HTTP/1.0 200 OK\r\n\r\nhello"] {
        assert_eq!(parse(answer), None, "{answer:?}");
    }
}

#[tokio::test]
async fn endpoint_that_nobody_serves_is_named() {
    let failure = counts("127.0.0.1:1".parse().unwrap()).await.unwrap_err();
    assert!(format!("{failure:?}").contains("127.0.0.1:1"), "{failure:?}");
}
