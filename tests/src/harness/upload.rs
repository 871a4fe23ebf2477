//! Uploads on a session, as short as tests need them.

use super::session::{RawSession, append, open, open_as};
use inkpot_proto::v1::{Ack, Durability, Mode, Nack, Open};

/// Bytes of the largest record, unless `limits.record_bytes` says otherwise.
const RECORD_BYTES: usize = 1 << 20;

/// An `Open` in mode CREATE, without a producer.
#[must_use]
pub fn create(channel: u32, path: &str) -> Open {
    Open { mode: Mode::Create.into(), ..open(channel, path) }
}

/// An `Open` in mode CREATE.
#[must_use]
pub fn create_as(channel: u32, path: &str, producer: &str, epoch: u64) -> Open {
    Open { mode: Mode::Create.into(), ..open_as(channel, path, producer, epoch) }
}

/// An `Open` in mode REPLACE, without a producer.
#[must_use]
pub fn replace(channel: u32, path: &str) -> Open {
    Open { mode: Mode::Replace.into(), ..open(channel, path) }
}

/// An `Open` in mode REPLACE.
#[must_use]
pub fn replace_as(channel: u32, path: &str, producer: &str, epoch: u64) -> Open {
    Open { mode: Mode::Replace.into(), ..open_as(channel, path, producer, epoch) }
}

/// Sends chunks without waiting in between, the first with seq `first`, and waits for the ack of the last. Every ack must
/// say SYNCED.
///
/// # Errors
/// The nack.
///
/// # Panics
/// If an ack says less, or there are no chunks.
pub async fn send_chunks<'a>(
    session: &mut RawSession,
    channel: u32,
    first: u64,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Ack, Nack> {
    let mut last = None;
    for (seq, chunk) in (first..).zip(chunks) {
        let mut append = append(channel, seq, chunk);
        if let Some(payload) = &mut append.payload {
            // No record may be larger.
            payload.record_lengths = chunk
                .chunks(RECORD_BYTES)
                .map(|record| u32::try_from(record.len()).expect("a record of at most 1 MiB"))
                .collect();
        }
        session.append(append).await;
        last = Some(seq);
    }
    let ack = session.acked(channel, last.expect("an upload has chunks")).await?;
    assert_eq!((ack.level(), ack.synced_seq), (Durability::Synced, ack.through_seq), "{ack:?}");
    Ok(ack)
}

/// Bytes that look like nothing else: `seed` and the place decide on each.
#[must_use]
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[7]
    };
    (0..len).map(next).collect()
}
