#![allow(clippy::unwrap_used)]
use super::*;

/// Gives `bytes` in pieces of `step`, and records how it was cut.
struct Dribble<'a> {
    bytes: &'a [u8],
    step: usize,
}

impl Read for Dribble<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.step.min(self.bytes.len()).min(into.len());
        into[..n].copy_from_slice(&self.bytes[..n]);
        self.bytes = &self.bytes[n..];
        Ok(n)
    }
}

fn cut_all(bytes: &'static [u8], step: usize, cut: Cut, limit: usize) -> (Vec<Bytes>, Option<InputError>) {
    let mut receiver = spawn(Dribble { bytes, step }, cut, limit).unwrap();
    let mut all = Vec::new();
    while let Some(records) = receiver.blocking_recv() {
        match records {
            Ok(records) => all.extend(records),
            Err(error) => return (all, Some(error)),
        }
    }
    (all, None)
}

#[test]
fn lines_keep_their_newlines_whatever_the_reads() {
    for step in 1..20 {
        let (lines, error) = cut_all(b"one\n\ntwo\r\nlast", step, Cut::Lines, 100);
        assert!(error.is_none());
        assert_eq!(lines, [&b"one\n"[..], b"\n", b"two\r\n", b"last"], "step {step}");
    }
}

#[test]
fn nothing_gives_no_record() {
    let (lines, error) = cut_all(b"", 1, Cut::Lines, 100);
    assert!(lines.is_empty() && error.is_none());
}

#[test]
fn line_too_long_is_named_and_those_before_it_are_kept() {
    for step in [1, 3, 100] {
        let (lines, error) = cut_all(b"ab\ncd\nlonger\nef\n", step, Cut::Lines, 4);
        assert_eq!(lines, [&b"ab\n"[..], b"cd\n"], "step {step}");
        assert!(matches!(error, Some(InputError::LineTooLong { line: 3, limit: 4 })), "step {step}: {error:?}");
    }
}

#[test]
fn line_of_exactly_the_limit_passes() {
    let (lines, error) = cut_all(b"abc\nabcd", 2, Cut::Lines, 4);
    assert!(error.is_none());
    assert_eq!(lines, [&b"abc\n"[..], b"abcd"]);
}

#[test]
fn endless_line_is_refused_without_being_gathered() {
    let mut receiver = spawn(io::repeat(b'x'), Cut::Lines, 1 << 20).unwrap();
    assert!(matches!(receiver.blocking_recv(), Some(Err(InputError::LineTooLong { line: 1, .. }))));
    assert!(receiver.blocking_recv().is_none());
}

#[test]
fn chunks_have_their_size_except_the_last() {
    for step in 1..12 {
        let (chunks, error) = cut_all(b"0123456789", step, Cut::Chunks(4), 4);
        assert!(error.is_none());
        assert_eq!(chunks, [&b"0123"[..], b"4567", b"89"], "step {step}");
    }
}

#[test]
fn broken_stream_tells_how_far_it_came() {
    struct Broken(bool);
    impl Read for Broken {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            if std::mem::replace(&mut self.0, true) {
                return Err(io::Error::other("gone"));
            }
            into[..2].copy_from_slice(b"a\n");
            Ok(2)
        }
    }
    let mut receiver = spawn(Broken(false), Cut::Lines, 10).unwrap();
    assert_eq!(receiver.blocking_recv().unwrap().unwrap(), [&b"a\n"[..]]);
    assert!(matches!(receiver.blocking_recv(), Some(Err(InputError::Read { records: 1, .. }))));
}
