#![allow(clippy::unwrap_used)]
use super::*;

fn placed(producer: usize, order: u64, first: u64, text: &'static str) -> Placed {
    Placed {
        producer,
        order,
        records: text.split_inclusive('\n').map(|line| Bytes::from_static(line.as_bytes())).collect(),
        first_offset: Some(first),
        end_offset: Some(first + text.len() as u64),
    }
}

fn sha256(text: &str) -> String {
    let mut content = Content::default();
    content.push(text.as_bytes());
    content.finish().1
}

#[test]
fn interleaved_appends_tile_in_the_order_of_their_offsets() {
    let tiled =
        tile(vec![placed(0, 0, 0, "a\n"), placed(0, 1, 6, "c\n"), placed(1, 0, 2, "b\nb\n"), placed(1, 1, 8, "d\n")]);
    assert_eq!(tiled, Ok(Tiled { bytes: 10, sha256: sha256("a\nb\nb\nc\nd\n") }));
}

#[test]
fn digest_is_that_of_sha256sum() {
    assert_eq!(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(tile(Vec::new()).unwrap().sha256, sha256(""));
}

#[test]
fn lost_append_leaves_a_hole() {
    let history = vec![placed(0, 0, 0, "a\n"), placed(1, 0, 4, "c\n")];
    assert_eq!(tile(history), Err(Fault::Hole { from: 2, to: 4 }));
}

#[test]
fn file_that_does_not_begin_with_our_bytes_has_a_hole() {
    assert_eq!(tile(vec![placed(0, 0, 3, "a\n")]), Err(Fault::Hole { from: 0, to: 3 }));
}

#[test]
fn one_place_acked_twice_is_an_overlap() {
    let history = vec![placed(0, 0, 0, "a\n"), placed(1, 0, 0, "b\n")];
    assert_eq!(tile(history), Err(Fault::Overlap { at: 0 }));
    let history = vec![placed(0, 0, 0, "abc\n"), placed(1, 0, 2, "b\n")];
    assert_eq!(tile(history), Err(Fault::Overlap { at: 2 }));
}

#[test]
fn appends_of_a_producer_out_of_order_are_told() {
    let history = vec![placed(0, 1, 0, "b\n"), placed(0, 0, 2, "a\n")];
    assert_eq!(tile(history), Err(Fault::Missing { producer: 0, missing: 0 }));
    let history = vec![placed(0, 0, 0, "a\n"), placed(0, 1, 2, "b\n"), placed(0, 0, 4, "a\n")];
    assert_eq!(tile(history), Err(Fault::OutOfOrder { producer: 0, earlier: 0, later: 1 }));
}

#[test]
fn skipped_append_of_a_producer_is_missing() {
    let history = vec![placed(0, 0, 0, "a\n"), placed(0, 2, 2, "c\n")];
    assert_eq!(tile(history), Err(Fault::Missing { producer: 0, missing: 1 }));
}

#[test]
fn ack_of_another_length_is_told() {
    let mut append = placed(0, 0, 0, "a\n");
    append.end_offset = Some(3);
    assert_eq!(tile(vec![append]), Err(Fault::WrongLength { bytes: 2, first: 0, end: 3 }));
}

#[test]
fn ack_without_offset_proves_nothing() {
    let mut append = placed(4, 0, 0, "a\n");
    append.first_offset = None;
    assert_eq!(tile(vec![append]), Err(Fault::NoOffset { producer: 4 }));
}
