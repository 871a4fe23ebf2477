#![allow(clippy::unwrap_used)]
use super::{
    frames::{END_HEADERS, END_STREAM, Frames, Head, kind},
    meter::Meter,
    places::Places,
};
use std::{net::IpAddr, time::Duration};
use tokio::time::Instant;

const PING: u8 = 6;

fn head(kind: u8, flags: u8, length: usize) -> Head {
    Head { length, kind, flags, stream: 1 }
}

fn frame(head: Head) -> Vec<u8> {
    let length = u32::try_from(head.length).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], head.kind, head.flags];
    bytes.extend_from_slice(&head.stream.to_be_bytes());
    bytes.resize(bytes.len() + head.length, 0xff);
    bytes
}

#[test]
fn frames_are_found_however_the_bytes_are_cut() {
    let heads = [
        head(4, 0, 12),
        head(kind::HEADERS, 0, 300),
        head(kind::CONTINUATION, END_HEADERS, 0),
        head(kind::DATA, END_STREAM, 70_000),
        head(PING, 0, 8),
    ];
    let mut bytes = vec![b'x'; 24];
    bytes.extend(heads.into_iter().flat_map(frame));
    for cut in [1, 2, 9, 10, 1000, bytes.len()] {
        let (mut frames, mut found) = (Frames::of_client(), Vec::new());
        assert!(frames.is_midway(), "the preface is still to come");
        for piece in bytes.chunks(cut) {
            frames.feed(piece, |head| found.push(head));
        }
        assert_eq!(found, heads, "in pieces of {cut}");
        assert!(!frames.is_midway() && frames.is_between());
    }
}

#[test]
fn header_block_without_its_end_is_midway_between_its_frames() {
    let mut frames = Frames::default();
    assert!(frames.feed(&frame(head(kind::HEADERS, 0, 4)), |_| ()), "nothing was begun before");
    assert!(frames.is_midway() && frames.is_between());
    assert!(!frames.feed(&frame(head(kind::CONTINUATION, 0, 4)), |_| ()));
    assert!(frames.feed(&frame(head(kind::CONTINUATION, END_HEADERS, 4)), |_| ()));
    assert!(!frames.is_midway());
}

#[test]
fn control_frames_beyond_the_burst_are_too_many_until_time_passes() {
    let begin = Instant::now();
    let mut meter = Meter::new(10, begin);
    let ping = head(PING, 0, 8);
    for _ in 0..100 {
        assert!(!meter.received(ping, begin));
    }
    assert!(meter.received(ping, begin));
    let later = begin + Duration::from_secs(1);
    for _ in 0..10 {
        assert!(!meter.received(ping, later));
    }
    assert!(meter.received(ping, later));
}

#[test]
fn calls_and_their_content_are_free_and_data_of_ours_pays_for_windows() {
    let now = Instant::now();
    let mut meter = Meter::new(10, now);
    while !meter.received(head(PING, 0, 8), now) {}
    for free in [head(kind::HEADERS, 4, 20), head(kind::DATA, 0, 1), head(kind::DATA, END_STREAM, 0)] {
        assert!(!meter.received(free, now), "{free:?}");
    }
    for charged in [head(kind::DATA, 0, 0), head(kind::RST_STREAM, 0, 4), head(200, 0, 0)] {
        assert!(meter.received(charged, now), "{charged:?}");
    }
    meter.sent(head(kind::DATA, 0, 100));
    assert!((0..4).all(|_| !meter.received(head(8, 0, 4), now)));
    assert!(meter.received(head(8, 0, 4), now));
}

#[test]
fn places_are_counted_in_all_and_by_address_and_come_back() {
    let places = Places::new(3, 2);
    let [one, other]: [IpAddr; 2] = ["10.0.0.1", "10.0.0.2"].map(|address| address.parse().unwrap());
    let first = places.take(one).unwrap();
    let _second = places.take(one).unwrap();
    assert!(places.take(one).unwrap_err().contains("connections_per_address = 2"));
    let _third = places.take(other).unwrap();
    assert!(places.take(other).unwrap_err().contains("limits.connections = 3"));
    drop(first);
    places.take(one).unwrap();
}
