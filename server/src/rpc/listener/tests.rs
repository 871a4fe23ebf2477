#![allow(clippy::unwrap_used)]
use super::{
    Bounds, Complaints,
    connection::Connection,
    frames::{END_HEADERS, END_STREAM, Frames, Head, kind},
    meter::Meter,
    places::Places,
    socket::Socket,
};
use crate::telemetry::{ConnectionLimit, Doors};
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    time::{Instant, sleep, timeout},
};

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
    assert_eq!(places.take(one).unwrap_err(), (ConnectionLimit::PerAddress, 2));
    let _third = places.take(other).unwrap();
    assert_eq!(places.take(other).unwrap_err(), (ConnectionLimit::Total, 3));
    drop(first);
    places.take(one).unwrap();
}

/// Longer than anything takes here.
const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn client_that_has_read_nothing_yet_is_still_told_why_its_connection_ended() {
    let bounds = Bounds { handshake: LONG, frame: LONG, idle: LONG, control_frames_per_second: 10, linger: LONG };
    let listener = TcpSocket::new_v4().unwrap();
    listener.set_send_buffer_size(1 << 20).unwrap();
    listener.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = listener.listen(1).unwrap();
    let client = TcpSocket::new_v4().unwrap();
    // So that most of what the server says waits at the server.
    client.set_recv_buffer_size(4096).unwrap();
    let mut client = client.connect(listener.local_addr().unwrap()).await.unwrap();
    let (tcp, peer) = listener.accept().await.unwrap();
    let (places, doors) = (Places::new(1, 1), Doors::default());
    let complaints = Arc::new(Complaints { doors: doors.clone(), ..Complaints::default() });
    let socket = Socket::new(tcp, places.take(peer.ip()).unwrap(), LONG);
    let mut connection = Connection::new(socket, peer, bounds, Arc::clone(&complaints));

    let ping = frame(head(PING, 0, 8));
    let mut flood = vec![b'x'; 24];
    flood.extend(ping.repeat(1000));
    client.write_all(&flood).await.unwrap();
    connection.write_all(&ping.repeat(4000)).await.unwrap();
    let mut piece = [0; 512];
    let error = loop {
        match connection.read(&mut piece).await {
            Ok(read) => assert!(read > 0, "the client has not closed"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.to_string(), "limits.control_frames_per_second");
    drop(connection);
    assert_eq!(doors.refused(ConnectionLimit::ControlFrames), 1);
    assert!(places.take(peer.ip()).is_err(), "its place is taken while it lingers");
    let mut said = Vec::new();
    timeout(LONG, client.read_to_end(&mut said)).await.unwrap().expect("it is closed, and not reset");
    assert!(said.ends_with(b"limits.control_frames_per_second"), "{} bytes came", said.len());
    drop(client);
    let comes_back = async {
        while places.take(peer.ip()).is_err() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, comes_back).await.expect("the place comes back");
}
