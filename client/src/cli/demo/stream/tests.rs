use super::*;

#[test]
fn every_line_is_dealt_once_and_producers_meet_in_the_files() {
    let lines: Vec<Bytes> = (0..1_000).map(|n| Bytes::from(format!("{n}\n"))).collect();
    let shares = deal(&lines, 4, 3);
    let mut dealt: Vec<&Bytes> = shares.iter().flatten().flat_map(|piece| &piece.records).collect();
    dealt.sort_by_key(|line| lines.iter().position(|other| other == *line));
    assert!(dealt.into_iter().eq(&lines));
    for round in 0..shares[0].len() - 1 {
        assert!(shares.iter().all(|share| share[round].file == round % 3), "round {round}");
    }
}

#[test]
fn fewer_lines_than_producers_leave_some_idle() {
    let shares = deal(&[Bytes::from_static(b"a\n")], 4, 2);
    assert_eq!(shares.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0, 0, 0]);
}
