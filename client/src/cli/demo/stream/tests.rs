#![allow(clippy::unwrap_used)]
use super::{
    super::{super::bench::wire, verify},
    *,
};
use std::{sync::Arc, time::Duration};
use tokio::{net::TcpListener, time::timeout};

#[test]
fn every_line_is_dealt_once_and_producers_meet_in_the_files() {
    let lines: Vec<Bytes> = (0..1_000).map(|n| Bytes::from(format!("{n}\n"))).collect();
    let shares = deal(&lines, 4, 3);
    let mut dealt: Vec<&Bytes> = shares.iter().flatten().flat_map(|piece| &piece.records).collect();
    dealt.sort_by_key(|line| lines.iter().position(|other| other == *line));
    assert!(dealt.into_iter().eq(&lines));
    for round in 0..shares[0].len() - 1 {
        assert!(shares.iter().all(|share| share[round].file == round % 3), "round {round}");
    }
}

#[test]
fn fewer_lines_than_producers_leave_some_idle() {
    let shares = deal(&[Bytes::from_static(b"a\n")], 4, 2);
    assert_eq!(shares.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0, 0, 0]);
}

/// A server that acks everything, until the test ends.
async fn acking_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(wire::serve(listener));
    endpoint
}

#[tokio::test]
async fn producer_waits_for_the_kill_before_its_last_third_and_then_sends_all() {
    for pieces in [1_usize, 2, 3, 100] {
        let lines: Vec<Bytes> = (0..pieces * BATCH_RECORDS).map(|n| Bytes::from(format!("{n}\n"))).collect();
        let total = lines.len() as u64;
        let dealt = deal(&lines, 1, 2).remove(0);
        let paths = vec!["a".to_owned(), "b".to_owned()];
        let streamer = Streamer { number: 0, endpoint: acking_server().await, paths, pieces: dealt };
        let tally = Arc::new(Tally::new());
        let shared = Arc::clone(&tally);
        let producer = tokio::spawn(async move { streamer.run(&shared).await });
        timeout(Duration::from_secs(10), tally.until_acked(total / 3)).await.unwrap();
        assert!(pieces == 1 || tally.sent() < total, "{pieces} pieces: nothing was held back");
        tally.release();
        let harvest = timeout(Duration::from_secs(10), producer).await.unwrap().unwrap().unwrap();
        assert_eq!((tally.sent(), tally.acked()), (total, total));
        let tiled: u64 = harvest.placed.into_iter().map(|placed| verify::tile(placed).unwrap().bytes).sum();
        assert_eq!(tiled, lines.iter().map(|line| line.len() as u64).sum::<u64>());
    }
}
