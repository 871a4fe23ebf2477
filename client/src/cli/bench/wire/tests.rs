#![allow(clippy::unwrap_used)]
use super::*;
use bytes::Bytes;
use futures_util::{StreamExt, stream};

fn request(frame: write_request::Frame) -> Result<WriteRequest, Status> {
    Ok(WriteRequest { frame: Some(frame) })
}

fn open(channel: u32) -> Result<WriteRequest, Status> {
    request(write_request::Frame::Open(v1::Open { channel, ..v1::Open::default() }))
}

fn append(channel: u32, seq: u64, data: &'static str) -> Result<WriteRequest, Status> {
    let payload = v1::Payload { data: Bytes::from_static(data.as_bytes()), record_lengths: Vec::new() };
    let append = v1::Append { channel, seq, payload: Some(payload), ..v1::Append::default() };
    request(write_request::Frame::Append(append))
}

async fn answers(requests: Vec<Result<WriteRequest, Status>>) -> Vec<write_response::Frame> {
    let acks = Acks::new(stream::iter(requests));
    acks.map(|response| response.unwrap().frame.unwrap()).collect().await
}

#[tokio::test]
async fn ready_input_is_acked_once_for_each_channel() {
    let answers = answers(vec![open(1), open(2), append(1, 1, "ab"), append(2, 1, "x"), append(1, 2, "cde")]).await;
    let acks: Vec<_> = answers
        .iter()
        .filter_map(|frame| match frame {
            write_response::Frame::Ack(ack) => {
                Some((ack.channel, ack.through_seq, ack.first_offset, ack.end_offset, ack.level()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(acks, [(1, 2, Some(0), Some(5), Durability::Synced), (2, 1, Some(0), Some(1), Durability::Synced)]);
}

#[tokio::test]
async fn opened_comes_first_and_finished_after_the_acks() {
    let finish = request(write_request::Frame::Finish(v1::Finish { channel: 1, ..v1::Finish::default() }));
    let answers = answers(vec![open(1), append(1, 1, "ab"), finish]).await;
    assert!(matches!(answers[0], write_response::Frame::Opened(_)));
    assert!(matches!(answers[1], write_response::Frame::Ack(_)));
    assert!(matches!(&answers[2], write_response::Frame::Finished(finished) if finished.size == 2));
}

#[tokio::test]
async fn pong_follows_the_acks_of_what_came_before_the_ping() {
    let ping = request(write_request::Frame::Ping(v1::Ping { token: 7 }));
    let answers = answers(vec![open(1), append(1, 1, "ab"), ping]).await;
    assert!(matches!(answers[1], write_response::Frame::Ack(_)));
    assert!(matches!(&answers[2], write_response::Frame::Pong(pong) if pong.token == 7));
}
