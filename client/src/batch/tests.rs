use super::{Batch, BatchPolicy, Sealed};
use bytes::Bytes;
use std::time::Duration;

const POLICY: BatchPolicy = BatchPolicy { max_records: 3, max_bytes: 10, linger: Duration::from_millis(1) };

#[test]
fn batch_is_full_at_the_last_record_or_byte_that_fits() {
    let mut batch = Batch::default();
    batch.push(b"1234", 4);
    assert!(batch.fits(6, &POLICY) && !batch.fits(7, &POLICY) && !batch.is_full(&POLICY));
    batch.push(b"123456", 6);
    assert!(batch.is_full(&POLICY));
    let mut batch = Batch::default();
    [b"1", b"2", b"3"].iter().for_each(|record| batch.push(*record, 1));
    assert!(batch.is_full(&POLICY) && !batch.fits(1, &POLICY));
}

#[test]
fn sealed_batch_has_all_records_and_leaves_nothing_behind() {
    let mut batch = Batch::default();
    batch.push(b"ab", 2);
    batch.push(b"c", 1);
    let sealed = batch.seal();
    assert_eq!((&sealed.data[..], &sealed.lengths[..], sealed.records), (&b"abc"[..], &[2, 1][..], 2));
    assert_eq!((sealed.crc32c, sealed.window_bytes), (crc32c::crc32c(b"abc"), 3));
    assert!(batch.is_empty() && batch.deadline.is_none());
    batch.push(b"d", 1);
    let next = batch.seal();
    assert_eq!((&next.data[..], next.window_bytes), (&b"d"[..], 1));
}

#[test]
fn single_record_needs_no_lengths_and_no_copy() {
    let record = Bytes::from_static(b"record");
    for sealed in [Sealed::single(record.clone(), 6), Sealed::of(std::slice::from_ref(&record), 6)] {
        assert_eq!((sealed.data.as_ptr(), sealed.lengths.len(), sealed.records), (record.as_ptr(), 0, 1));
    }
    let mut batch = Batch::default();
    batch.push(b"x", 1);
    assert!(batch.seal().lengths.is_empty());
}

#[test]
fn record_goes_alone_if_the_policy_leaves_nothing_to_wait_for() {
    assert!(BatchPolicy { max_records: 1, ..POLICY }.alone(1));
    assert!(BatchPolicy { linger: Duration::ZERO, ..POLICY }.alone(1));
    assert!(POLICY.alone(10) && !POLICY.alone(9));
}
