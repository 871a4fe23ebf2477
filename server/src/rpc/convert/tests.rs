#![allow(clippy::unwrap_used)]
use super::*;
use crate::config::Limits as ConfigLimits;
use std::time::UNIX_EPOCH;

mod files;

const TERMS: Terms =
    Terms { durability: Durability::Synced, reject: false, framing: Framing::NONE, upload: false, has_producer: false };
const PRODUCER: Terms = Terms { has_producer: true, ..TERMS };
const WRITTEN: Terms = Terms { durability: Durability::Written, ..TERMS };

fn an_open() -> v1::Open {
    v1::Open { path: "logs/a".into(), producer_id: "p".into(), producer_epoch: 2, ..v1::Open::default() }
}

fn payload(data: &'static str, record_lengths: &[u32]) -> Option<v1::Payload> {
    Some(v1::Payload { data: data.into(), record_lengths: record_lengths.to_vec() })
}

fn an_append(data: &'static str, record_lengths: &[u32]) -> v1::Append {
    v1::Append { channel: 1, seq: 1, payload: payload(data, record_lengths), ..v1::Append::default() }
}

fn small() -> ConfigLimits {
    ConfigLimits { record_bytes: 10, append_bytes: 20, ..ConfigLimits::default() }
}

/// Checks an append at the beginning of time.
fn append(message: v1::Append, terms: &Terms, limits: &ConfigLimits) -> Result<Checked, Refused> {
    super::append(message, terms, limits, || UNIX_EPOCH)
}

fn framed(framing: v1::Framing, timestamps: bool) -> Terms {
    Terms { framing: Framing::parse(framing as i32, timestamps).unwrap(), ..TERMS }
}

fn of_open(change: impl FnOnce(&mut v1::Open)) -> ErrorReason {
    let mut message = an_open();
    change(&mut message);
    open(&message).unwrap_err().reason
}

fn of_append(message: v1::Append, terms: &Terms) -> ErrorReason {
    append(message, terms, &small()).unwrap_err().reason
}

#[test]
fn open_with_nothing_said_is_synced_and_waits() {
    let open = open(&v1::Open { path: "a".into(), ..v1::Open::default() }).unwrap();
    assert_eq!((open.path.as_str(), open.producer, open.if_generation), ("a", None, None));
    assert_eq!(open.terms, TERMS);
}

#[test]
fn open_keeps_what_was_asked_for() {
    let message = v1::Open {
        mode: v1::Mode::Append as i32,
        durability: Durability::Written as i32,
        admission: v1::Admission::Reject as i32,
        framing: v1::Framing::Lines as i32,
        timestamps: true,
        if_generation: Some(0),
        ..an_open()
    };
    let open = open(&message).unwrap();
    assert_eq!((open.producer, open.if_generation), (Some(("p".into(), 2)), Some(0)));
    let framing = framed(v1::Framing::Lines, true).framing;
    let terms = Terms { durability: Durability::Written, reject: true, framing, upload: false, has_producer: true };
    assert_eq!(open.terms, terms);
}

#[test]
fn paths_that_break_the_grammar_are_refused() {
    let long = "x/".repeat(600);
    for bad in ["", "..", "a/../b", "/a", "a\0b", "a//b", "a/", ".", ".inkpot/x", "a\\b", "e\u{301}", &long] {
        assert_eq!(of_open(|open| open.path = bad.to_owned()), ErrorReason::InvalidPath, "{bad:?}");
    }
}

#[test]
fn uploads_are_told_from_appends() {
    for (wire, mode) in
        [(v1::Mode::Append, Mode::Append), (v1::Mode::Create, Mode::Create), (v1::Mode::Replace, Mode::Replace)]
    {
        let open = open(&v1::Open { mode: wire as i32, ..an_open() }).unwrap();
        assert_eq!((open.mode, open.terms.upload), (mode, mode != Mode::Append));
    }
    assert_eq!(
        of_open(|open| (open.mode, open.if_generation) = (v1::Mode::Create as i32, Some(3))),
        ErrorReason::InvalidField
    );
}

#[test]
fn unknown_enum_values_of_an_open_are_refused() {
    assert_eq!(of_open(|open| open.mode = 9), ErrorReason::UnknownEnumValue);
    assert_eq!(of_open(|open| open.durability = 4), ErrorReason::UnknownEnumValue);
    assert_eq!(of_open(|open| open.durability = -1), ErrorReason::UnknownEnumValue);
    assert_eq!(of_open(|open| open.admission = 3), ErrorReason::UnknownEnumValue);
    assert_eq!(of_open(|open| open.framing = 6), ErrorReason::UnknownEnumValue);
}

#[test]
fn replicated_is_refused_never_lowered() {
    let replicated = Durability::Replicated as i32;
    assert_eq!(of_open(|open| open.durability = replicated), ErrorReason::DurabilityUnavailable);
    let message = v1::Append { durability: replicated, ..an_append("x", &[]) };
    assert_eq!(of_append(message, &TERMS), ErrorReason::DurabilityUnavailable);
}

#[test]
fn bad_producers_are_refused() {
    assert_eq!(of_open(|open| open.producer_id = "x".repeat(65)), ErrorReason::InvalidField);
    assert_eq!(of_open(|open| open.producer_id = "a\nb".into()), ErrorReason::InvalidField);
    assert_eq!(of_open(|open| open.producer_id = "\u{85}".into()), ErrorReason::InvalidField);
    assert_eq!(of_open(|open| open.producer_id.clear()), ErrorReason::InvalidField, "epoch without producer");
    assert_eq!(of_open(|open| open.producer_epoch = 1 << 63), ErrorReason::OutOfRange);
    assert!(open(&v1::Open { producer_id: "x".repeat(64), producer_epoch: 0, ..an_open() }).is_ok());
}

#[test]
fn append_without_lengths_is_one_record() {
    let checked = append(an_append("hello", &[]), &TERMS, &small()).unwrap();
    assert_eq!((&checked.data[..], checked.records, checked.expected_offset), (&b"hello"[..], 1, None));
    // Computed with an independent implementation.
    assert_eq!(checked.crc32c, 0x9a71_bb4c);
    assert_eq!(checked.durability, Durability::Synced);
}

#[test]
fn append_with_lengths_and_checksum_is_taken() {
    let message = v1::Append { crc32c: Some(crc32c::crc32c(b"aabb")), ..an_append("aabb", &[2, 2]) };
    assert_eq!(append(message, &TERMS, &small()).unwrap().records, 2);
}

#[test]
fn empty_appends_are_refused() {
    assert_eq!(of_append(an_append("", &[]), &TERMS), ErrorReason::EmptyAppend);
    assert_eq!(of_append(v1::Append { payload: None, ..an_append("", &[]) }, &TERMS), ErrorReason::EmptyAppend);
}

#[test]
fn lengths_that_do_not_add_up_are_refused() {
    assert_eq!(of_append(an_append("abc", &[1, 1]), &TERMS), ErrorReason::LengthMismatch);
    assert_eq!(of_append(an_append("abc", &[2, 2]), &TERMS), ErrorReason::LengthMismatch);
    assert_eq!(of_append(an_append("abc", &[u32::MAX, u32::MAX]), &TERMS), ErrorReason::LengthMismatch);
    assert_eq!(of_append(an_append("abc", &[3, 0]), &TERMS), ErrorReason::InvalidField);
}

#[test]
fn what_is_too_large_is_refused_with_the_limit() {
    let limit = |message| append(message, &TERMS, &small()).unwrap_err();
    let record = limit(an_append("12345678901", &[]));
    assert_eq!((record.reason, record.limit.as_deref()), (ErrorReason::RecordTooLarge, Some("limits.record_bytes")));
    let whole = limit(an_append("123456789012345678901", &[7, 7, 7]));
    assert_eq!((whole.reason, whole.limit.as_deref()), (ErrorReason::RecordTooLarge, Some("limits.append_bytes")));
    let many = limit(an_append("x", &[1; MAX_RECORDS_PER_APPEND + 1]));
    assert_eq!((many.reason, many.limit.as_deref()), (ErrorReason::RecordTooLarge, Some("max_records_per_append")));
    assert!(append(an_append("12345678901234567890", &[10, 10]), &TERMS, &small()).is_ok());
}

#[test]
fn wrong_checksum_is_refused() {
    let message = v1::Append { crc32c: Some(0), ..an_append("abc", &[]) };
    assert_eq!(of_append(message, &TERMS), ErrorReason::ChecksumMismatch);
}

#[test]
fn append_is_stored_as_its_channel_frames_it_and_known_by_what_was_sent() {
    let taken = append(an_append("ab", &[1, 1]), &framed(v1::Framing::Newline, false), &small()).unwrap();
    assert_eq!((&taken.data[..], taken.records, taken.crc32c), (&b"a\nb\n"[..], 2, crc32c::crc32c(b"ab")));
    let violated = of_append(an_append("a", &[]), &framed(v1::Framing::Lines, false));
    assert_eq!(violated, ErrorReason::FramingViolated);
}

#[test]
fn append_that_framing_makes_larger_than_the_limit_is_refused_and_says_so() {
    let newlines = framed(v1::Framing::Newline, false);
    let refused = append(an_append("12345678901234567890", &[10, 10]), &newlines, &small()).unwrap_err();
    assert_eq!((refused.reason, refused.limit.as_deref()), (ErrorReason::RecordTooLarge, Some("limits.append_bytes")));
    assert!(refused.message.contains("framing") && refused.message.contains("22 bytes"), "{}", refused.message);
    assert_eq!(append(an_append("123456789012345678", &[9, 9]), &newlines, &small()).unwrap().data.len(), 20);
    assert_eq!(of_append(an_append("x", &[]), &framed(v1::Framing::None, true)), ErrorReason::RecordTooLarge);
}

#[test]
fn durability_of_an_append_raises_and_never_lowers() {
    let level = |asked: i32, terms| {
        append(v1::Append { durability: asked, ..an_append("x", &[]) }, terms, &small()).map(|append| append.durability)
    };
    assert_eq!(level(0, &WRITTEN), Ok(Durability::Written));
    assert_eq!(level(Durability::Synced as i32, &WRITTEN), Ok(Durability::Synced));
    assert_eq!(level(Durability::Written as i32, &TERMS), Ok(Durability::Synced));
    assert_eq!(level(7, &TERMS).unwrap_err().reason, ErrorReason::UnknownEnumValue);
}

#[test]
fn seq_and_offset_have_their_bounds() {
    assert_eq!(of_append(v1::Append { seq: 0, ..an_append("x", &[]) }, &PRODUCER), ErrorReason::InvalidField);
    assert!(append(v1::Append { seq: 0, ..an_append("x", &[]) }, &TERMS, &small()).is_ok());
    assert_eq!(of_append(v1::Append { seq: u64::MAX, ..an_append("x", &[]) }, &PRODUCER), ErrorReason::OutOfRange);
    let at = |offset| v1::Append { expected_offset: Some(offset), ..an_append("x", &[]) };
    assert_eq!(of_append(at(u64::MAX), &TERMS), ErrorReason::OutOfRange);
    assert_eq!(of_append(at(MAX_NUMBER), &TERMS), ErrorReason::OutOfRange, "the end does not fit");
    assert_eq!(append(at(MAX_NUMBER - 1), &TERMS, &small()).unwrap().expected_offset, Some(MAX_NUMBER - 1));
    let newline = framed(v1::Framing::Newline, false);
    assert_eq!(of_append(at(MAX_NUMBER - 1), &newline), ErrorReason::OutOfRange, "nor with the newline");
}

#[test]
fn traceparent_has_a_bound() {
    let message = v1::Append { traceparent: "x".repeat(65), ..an_append("x", &[]) };
    assert_eq!(of_append(message, &TERMS), ErrorReason::InvalidField);
}

#[test]
fn unary_append_is_checked_like_open_and_append() {
    let request = v1::AppendRequest {
        path: "a".into(),
        producer_id: "p".into(),
        producer_epoch: 1,
        seq: 5,
        payload: payload("x", &[]),
        durability: Durability::Written as i32,
        framing: v1::Framing::LengthDelimited as i32,
        ..v1::AppendRequest::default()
    };
    let unary = |request, limits: &_| super::unary(request, limits, || UNIX_EPOCH);
    let taken = unary(request.clone(), &small()).unwrap();
    assert_eq!(&taken.append.data[..], b"\x01x");
    let large = v1::AppendRequest { timestamps: true, ..request.clone() };
    let stamped = unary(large, &ConfigLimits::default()).unwrap().append.data;
    assert_eq!(&stamped[..], b"\x1a1970-01-01T00:00:00.000Z x");
    assert_eq!((taken.open.producer, taken.seq), (Some(("p".into(), 1)), 5));
    assert_eq!(taken.append.durability, Durability::Written);
    let reason = |change: &dyn Fn(&mut v1::AppendRequest)| {
        let mut request = request.clone();
        change(&mut request);
        unary(request, &small()).unwrap_err().reason
    };
    assert_eq!(reason(&|request| request.producer_epoch = 0), ErrorReason::InvalidField);
    assert_eq!(reason(&|request| request.seq = 0), ErrorReason::InvalidField);
    assert_eq!(reason(&|request| request.producer_id.clear()), ErrorReason::InvalidField);
    assert_eq!(reason(&|request| request.path.clear()), ErrorReason::InvalidPath);
    assert_eq!(reason(&|request| request.payload = None), ErrorReason::EmptyAppend);
    assert_eq!(reason(&|request| request.admission = 8), ErrorReason::UnknownEnumValue);
    assert_eq!(reason(&|request| request.framing = 9), ErrorReason::UnknownEnumValue);
}

#[test]
fn finish_needs_a_known_action_and_checks_no_upload() {
    let reason = |message: v1::Finish| finish(&message, &TERMS).unwrap_err().reason;
    assert_eq!(reason(v1::Finish::default()), ErrorReason::InvalidField);
    assert_eq!(reason(v1::Finish { action: 4, ..v1::Finish::default() }), ErrorReason::UnknownEnumValue);
    let commit = v1::Finish { action: v1::FinishAction::Commit as i32, ..v1::Finish::default() };
    assert!(finish(&commit, &TERMS).is_ok());
    assert_eq!(reason(v1::Finish { size: Some(1), ..commit }), ErrorReason::InvalidField);
    assert_eq!(reason(v1::Finish { crc32c: Some(1), ..commit }), ErrorReason::InvalidField);
}
