#![allow(clippy::unwrap_used)]
use super::*;
use tokio::sync::Semaphore;
use tokio_stream::StreamExt;

const STALL: Duration = Duration::from_secs(60);

fn outlet() -> (Outlet, Pieces, Arc<Semaphore>) {
    let places = Arc::new(Semaphore::new(2));
    let place = || Arc::clone(&places).try_acquire_owned().unwrap();
    let (outlet, pieces) = Outlet::new(STALL, [place(), place()]);
    (outlet, pieces, places)
}

fn piece(offset: u64) -> Answer {
    Ok(v1::ReadResponse { offset, ..v1::ReadResponse::default() })
}

#[tokio::test(start_paused = true)]
async fn piece_that_is_not_taken_in_time_is_taken_back_and_the_place_stays_until_the_answer_is_dropped() {
    let (outlet, mut pieces, places) = outlet();
    outlet.send(piece(0)).await.unwrap();
    let begun = Instant::now();
    assert_eq!(outlet.send(piece(1)).await.unwrap_err(), Stalled);
    assert_eq!(outlet.taken().await, Err(Stalled));
    assert_eq!(begun.elapsed().as_secs(), 2 * STALL.as_secs());
    outlet.end(Status::resource_exhausted("too slow"));
    outlet.closed().await;
    drop(outlet);
    assert_eq!(pieces.next().await.unwrap().unwrap_err().message(), "too slow");
    assert!(pieces.next().await.is_none());
    assert_eq!(places.available_permits(), 0);
    drop(pieces);
    assert_eq!(places.available_permits(), 2);
}

#[tokio::test(start_paused = true)]
async fn piece_that_is_taken_late_but_in_time_is_no_stall_and_having_nothing_to_send_is_none() {
    let (outlet, mut pieces, _places) = outlet();
    outlet.send(piece(0)).await.unwrap();
    let taking = async {
        tokio::time::sleep(STALL / 2).await;
        pieces.next().await.unwrap().unwrap()
    };
    let (sent, taken) = tokio::join!(outlet.send(piece(1)), taking);
    assert_eq!((sent, taken.offset), (Ok(STALL / 2), 0));
    assert_eq!(pieces.next().await.unwrap().unwrap().offset, 1);
    tokio::time::sleep(10 * STALL).await;
    assert_eq!(outlet.taken().await, Ok(()));
    assert_eq!(outlet.send(piece(2)).await, Ok(Duration::ZERO));
    drop(pieces);
    outlet.closed().await;
}

#[test]
fn pieces_grow_while_they_are_taken_at_once_and_begin_small_again_behind_a_slow_one() {
    let mut pace = Pace::new();
    assert_eq!(pace.bytes(), SMALL_BYTES);
    for _ in 0..10 {
        pace.sent(Duration::ZERO);
    }
    assert_eq!(pace.bytes(), READ_CHUNK_BYTES);
    pace.sent(SLOW);
    assert_eq!(pace.bytes(), READ_CHUNK_BYTES);
    pace.sent(2 * SLOW);
    assert_eq!(pace.bytes(), SMALL_BYTES);
}
