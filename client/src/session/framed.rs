//! How many bytes an append takes in the file, with what the server adds to its records. Pure.

use crate::batch::Sealed;
use inkpot_proto::v1::Framing;

/// RFC 3339 in UTC with milliseconds, and a space.
const TIMESTAMP_BYTES: u64 = 25;

/// Bytes of an append in the file.
pub(crate) fn stored_bytes(append: &Sealed, framing: Framing, timestamps: bool) -> u64 {
    let bytes = append.data.len() as u64;
    let stamp = if timestamps { TIMESTAMP_BYTES } else { 0 };
    let added = match framing {
        Framing::Unspecified | Framing::None | Framing::Lines => 0,
        Framing::Newline | Framing::NewlineKeep => without_newline(append),
        Framing::LengthDelimited => lengths(append).map(|length| varint_bytes(length + stamp)).sum(),
    };
    bytes + u64::from(append.records) * stamp + added
}

/// Lengths of the records in bytes.
fn lengths(append: &Sealed) -> impl Iterator<Item = u64> {
    let single = append.lengths.is_empty().then_some(append.data.len() as u64);
    single.into_iter().chain(append.lengths.iter().map(|length| u64::from(*length)))
}

/// How many records do not end with a newline.
fn without_newline(append: &Sealed) -> u64 {
    let mut end = 0;
    let ends = lengths(append).map(|length| {
        end += usize::try_from(length).unwrap_or(usize::MAX);
        end
    });
    ends.filter(|end| append.data.get(end - 1) != Some(&b'\n')).count() as u64
}

/// Bytes of a protobuf varint: seven bits in each.
fn varint_bytes(value: u64) -> u64 {
    u64::from(u64::BITS - (value | 1).leading_zeros()).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::{Framing, Sealed, stored_bytes, varint_bytes};
    use bytes::Bytes;

    fn append(records: &[&str]) -> Sealed {
        let records: Vec<_> = records.iter().map(|record| Bytes::copy_from_slice(record.as_bytes())).collect();
        Sealed::of(&records, 0)
    }

    #[test]
    fn stored_bytes_count_what_the_server_adds() {
        let stored = |records: &[&str], framing, timestamps| stored_bytes(&append(records), framing, timestamps);
        for framing in [Framing::Unspecified, Framing::None, Framing::Lines] {
            assert_eq!(stored(&["a\n", "bc\n"], framing, false), 5);
            assert_eq!(stored(&["a\n", "bc\n"], framing, true), 55);
        }
        for framing in [Framing::Newline, Framing::NewlineKeep] {
            assert_eq!(stored(&["a", "bc\n", "d\ne"], framing, false), 9);
            assert_eq!(stored(&["a"], framing, false), 2);
            assert_eq!(stored(&["a\n"], framing, false), 2);
            assert_eq!(stored(&["a", "bc\n"], framing, true), 55);
        }
        let long = "x".repeat(128);
        assert_eq!(stored(&["a", &long], Framing::LengthDelimited, false), 1 + 1 + 2 + 128);
        // The time counts in the length: 25 + 103 no longer fits one byte.
        assert_eq!(stored(&[&long[..103]], Framing::LengthDelimited, true), 2 + 25 + 103);
    }

    #[test]
    fn varints_grow_every_seven_bits() {
        for (value, bytes) in [(0, 1), (1, 1), (127, 1), (128, 2), (16_383, 2), (16_384, 3), (u64::MAX, 10)] {
            assert_eq!(varint_bytes(value), bytes, "{value}");
        }
    }
}
