//! What a frame carries.

use crate::memory::within;
use bytes::Bytes;
use inkpot_server::shard::{
    codec::Undecodable,
    record::{Encoder, Record, decode},
};

/// Memory of a record, beside what the input itself has.
const OF_A_BYTE: usize = 512;
const BASE: usize = 64 << 10;

/// Bytes as the payload of a frame. What is decoded encodes to something that decodes to the same.
pub fn records(bytes: &[u8]) {
    let payload = Bytes::copy_from_slice(bytes);
    // As they are, and with the length of the records where it has to be, which is hard to guess.
    check(&payload);
    let mut fitting = (bytes.len() as u32).to_le_bytes().to_vec();
    fitting.extend_from_slice(bytes);
    check(&Bytes::from(fitting));
}

fn check(payload: &Bytes) {
    let Some(found) = within(BASE + OF_A_BYTE * payload.len(), || all(payload)) else { return };
    let mut encoder = Encoder::default();
    for record in &found {
        encoder.push(record);
    }
    let (again, _) = encoder.finish();
    assert_eq!(all(&again).as_ref(), Some(&found), "what was decoded does not encode to the same");
}

fn all(payload: &Bytes) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    let visit = |record| {
        records.push(record);
        Ok::<(), Undecodable>(())
    };
    decode(payload, visit).ok().map(|()| records)
}
